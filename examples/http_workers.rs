#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! Requests answered on threads: the shard receives and sends, workers think.
//!
//! `cargo run --release --features http --example http_workers -- 127.0.0.1:8080 [THREADS]`. Try it
//! with `curl http://127.0.0.1:8080/primes/100000`, or `curl -T FILE http://127.0.0.1:8080/upload`:
//! the body goes to the worker as it comes, and a slow worker holds the client back.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use zero_io::{BodyPart, Config, Event, HttpOwnedRequest, Io, IoHandle, ZeroResponse};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addr = args.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned()).parse()?;
    let threads: usize = args.next().unwrap_or_else(|| "4".to_owned()).parse()?;
    let mut io = Io::new(Config::default())?;
    let endpoint = io.http_listen(addr)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    let (give, take) = mpsc::sync_channel::<HttpOwnedRequest>(1024);
    let take = Arc::new(Mutex::new(take));
    for _ in 0..threads {
        let (take, handle) = (Arc::clone(&take), io.handle());
        std::thread::spawn(move || work(&take, &handle));
    }
    loop {
        io.poll(Duration::from_secs(1))?;
        while let Some(event) = io.next_event() {
            let Event::HttpRequest { conn, id, .. } = event else { continue };
            // The request leaves in the buffer that it arrived in: no copy.
            let given = io.detach_http_request().map(|request| give.try_send(request));
            if !matches!(given, Some(Ok(()))) {
                // RFC 9110 §15.6.4: too much to do; the client may try again.
                let busy = ZeroResponse::status(503).header("retry-after", 1);
                let _ = io.http_respond(conn, id, busy);
            }
        }
    }
}

fn work(requests: &Mutex<mpsc::Receiver<HttpOwnedRequest>>, handle: &IoHandle) {
    loop {
        let Ok(Ok(mut request)) = requests.lock().map(|taken| taken.recv()) else { return };
        let said = match request.path() {
            "/upload" => match digest(&mut request) {
                Some(sum) => Some(sum),
                // The client is gone: nobody waits for an answer.
                None => continue,
            },
            path => path
                .strip_prefix("/primes/")
                .and_then(|n| n.parse().ok())
                .map(|n: u32| format!("{} primes below {n}\n", primes_below(n))),
        };
        let answer = match &said {
            Some(text) => ZeroResponse::ok().text(text),
            None => ZeroResponse::not_found().text("ask for /primes/NUMBER, or send to /upload\n"),
        };
        if handle.http_respond(request.conn(), request.id(), answer).is_err() {
            return;
        }
    }
}

/// Length and checksum (FNV-1a) of a body; `None` when not all of it came.
fn digest(request: &mut HttpOwnedRequest) -> Option<String> {
    let (mut len, mut sum) = (0, 0xCBF2_9CE4_8422_2325);
    let mut add = |bytes: &[u8]| {
        len += bytes.len();
        let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        sum = bytes.iter().fold(sum, step);
    };
    match request.body_stream() {
        // It is short, and came with the request.
        None => add(request.body()),
        Some(mut body) => loop {
            match body.next(None)? {
                BodyPart::Chunk(chunk) => add(&chunk),
                BodyPart::End => break,
                _ => return None,
            }
        },
    }
    Some(format!("{len} bytes, checksum {sum:016x}\n"))
}

fn primes_below(n: u32) -> usize {
    let n = n.min(10_000_000) as usize;
    let mut is_composite = vec![false; n];
    let mut count = 0;
    for i in 2..n {
        if !is_composite[i] {
            count += 1;
            is_composite.iter_mut().skip(i * i).step_by(i).for_each(|place| *place = true);
        }
    }
    count
}
