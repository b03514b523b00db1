//! Allocations and copies of HTTP, once warm, by a counting allocator: none, and the answer's own
//! bytes. Run with `--nocapture` to see the figures.

#[path = "common/counting.rs"]
mod counting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use counting::so_far;
use zero_io::{Config, Event, HttpListenConfig, Io, Sender, TcpListenConfig, ZeroResponse};

const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: usize = 8;
const PIPELINED: usize = 16;
const WARM: u64 = 4000;
const COUNTED: u64 = 20_000;
const BODY: &str = "Hello, World!";

/// Asks again and again; every answer has to be as long as the first one.
fn ask(addr: SocketAddr, request: Vec<u8>, stop: &AtomicBool) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&request).unwrap();
    let mut first = vec![0; 64 * 1024];
    let n = stream.read(&mut first).unwrap();
    let head = first[..n].windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let text = String::from_utf8_lossy(&first[..head]).into_owned();
    let body: usize = match text.split_once("Content-Length: ") {
        Some((_, rest)) => rest.split_once("\r\n").unwrap().0.parse().unwrap(),
        None => panic!("{text}"),
    };
    let len = head + body;
    let mut rest = vec![0; len - n.min(len)];
    stream.read_exact(&mut rest).unwrap();
    let out = request.repeat(PIPELINED);
    let mut back = vec![0; len * PIPELINED];
    while !stop.load(Ordering::Relaxed) {
        if stream.write_all(&out).and_then(|()| stream.read_exact(&mut back)).is_err() {
            return;
        }
        assert!(back.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// Serves `request` with `serve`, and counts: allocations, and bytes copied per request.
#[track_caller]
fn check(
    what: &str,
    request: &str,
    http: impl FnOnce(&mut HttpListenConfig),
    mut serve: impl FnMut(&mut Sender<'_>, &Event<'_>) -> u64,
) -> (f64, f64) {
    let mut io = Io::new(Config::default()).unwrap();
    let tcp = TcpListenConfig::new("127.0.0.1:0".parse().unwrap());
    let endpoint = io.http_listen_with(HttpListenConfig::new(tcp).with(http)).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS)
        .map(|_| {
            let (stop, request) = (Arc::clone(&stop), request.as_bytes().to_vec());
            std::thread::spawn(move || ask(addr, request, &stop))
        })
        .collect();
    let start = Instant::now();
    let mut run = |io: &mut Io, requests: u64| {
        let mut done = 0;
        while done < requests {
            assert!(start.elapsed() < PATIENCE, "{what}: {done} of {requests}");
            io.poll(Duration::from_millis(5)).unwrap();
            let (mut events, mut sender) = io.split();
            while let Some(event) = events.next_event() {
                done += serve(&mut sender, &event);
            }
        }
        done
    };
    // A client that comes late is a connection to be made, while the others are counted.
    while io.io_stats().accepted < CLIENTS as u64 {
        run(&mut io, 1);
    }
    run(&mut io, WARM);
    let (calls, before) = (so_far().0, io.io_stats());
    let requests = run(&mut io, COUNTED);
    let (allocations, after) = (so_far().0 - calls, io.io_stats());
    let per = |bytes: u64| bytes as f64 / requests as f64;
    let rx = per(after.bytes_copied_rx - before.bytes_copied_rx);
    let tx = per(after.bytes_copied_tx - before.bytes_copied_tx);
    eprintln!(
        "{what}: {allocations} allocations in {requests} requests; copied per request: \
         {rx:.2} B in, {tx:.2} B out"
    );
    assert_eq!(allocations, 0, "{what}: in {requests} requests");
    stop.store(true, Ordering::Relaxed);
    drop(io);
    for client in clients {
        client.join().expect("a client");
    }
    (rx, tx)
}

const GET: &str =
    "GET /plain HTTP/1.1\r\nHost: test\r\nUser-Agent: count/1.0\r\nAccept: */*\r\n\r\n";

#[test]
fn a_fixed_answer() {
    let (rx, tx) = check(
        "GET, text",
        GET,
        |_| {},
        |sender, event| {
            let Event::HttpRequest { conn, id, request } = event else { return 0 };
            assert_eq!((request.path(), request.header("accept")), ("/plain", Some("*/*")));
            sender.http_respond(*conn, *id, ZeroResponse::ok().text(BODY)).unwrap();
            1
        },
    );
    // A batch of requests may straddle two buffers: no more than its last request is copied.
    assert!(rx < 10.0, "{rx} B copied on the way in");
    assert_eq!(tx, BODY.len() as f64);
}

#[test]
fn an_access_log_and_the_figures() {
    let logged = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&logged);
    let log = zero_io::AccessLog::new(move |access| {
        assert!(access.status == 200 && access.body_bytes == BODY.len() as u64);
        count.fetch_add(1, Ordering::Relaxed);
    });
    let mut endpoint = None;
    let mut served = 0;
    check(
        "GET, with an access log, and the figures taken each time",
        GET,
        |c| c.access_log = Some(log),
        |sender, event| {
            match *event {
                Event::Connected { endpoint: at, .. } => endpoint = at.or(endpoint),
                Event::HttpRequest { conn, id, .. } => {
                    sender.http_respond(conn, id, ZeroResponse::ok().text(BODY)).unwrap();
                    served += 1;
                    let figures = sender.http_counters(endpoint.unwrap()).unwrap();
                    assert!(figures.requests >= served && figures.answers[1] == served);
                    assert_eq!(figures.latency_us_log2.iter().sum::<u64>(), served);
                    return 1;
                }
                _ => {}
            }
            0
        },
    );
    assert_eq!(logged.load(Ordering::Relaxed), served);
}

#[test]
fn json_and_header_fields() {
    let value = [1, 2, 3];
    check(
        "GET, JSON with fields",
        GET,
        |_| {},
        |sender, event| {
            let Event::HttpRequest { conn, id, .. } = event else { return 0 };
            let answer = ZeroResponse::ok().header("x-a", "b").header("age", 7).json(&value);
            sender.http_respond(*conn, *id, answer).unwrap();
            1
        },
    );
}

#[test]
fn a_large_static_body_is_not_copied() {
    let (_, tx) = check(
        "GET, 20 KB static",
        GET,
        |_| {},
        |sender, event| {
            let Event::HttpRequest { conn, id, .. } = event else { return 0 };
            sender.http_respond(*conn, *id, ZeroResponse::ok().static_bytes(&[7; 20_000])).unwrap();
            1
        },
    );
    assert_eq!(tx, 0.0);
}

#[test]
fn files_are_not_copied() {
    let path = std::env::temp_dir().join(format!("zero-io-alloc-{}", std::process::id()));
    for (len, copied) in [(1000, 1000.0), (20_000, 0.0)] {
        std::fs::write(&path, vec![7; len]).unwrap();
        let file = zero_io::HttpFile::open(&path).unwrap();
        let (_, tx) = check(
            &format!("GET, a file of {len} B"),
            GET,
            |_| {},
            |sender, event| {
                let Event::HttpRequest { conn, id, request } = event else { return 0 };
                sender.http_respond(*conn, *id, file.answer(request)).unwrap();
                1
            },
        );
        assert_eq!(tx, copied);
    }
    std::fs::remove_file(&path).unwrap();
}

#[cfg(feature = "http-gzip")]
#[test]
fn compressed_answers() {
    let page = "all work and no play ".repeat(100);
    let request = "GET / HTTP/1.1\r\nHost: test\r\nAccept-Encoding: gzip\r\n\r\n";
    let (_, tx) = check(
        "GET, 2.1 kB of text, compressed",
        request,
        |_| {},
        |sender, event| {
            let Event::HttpRequest { conn, id, .. } = event else { return 0 };
            sender.http_respond(*conn, *id, ZeroResponse::ok().text(&page)).unwrap();
            1
        },
    );
    assert!(tx < 200.0, "{tx} B: it is not compressed");
}

#[test]
fn bodies_in_and_out() {
    let body = "x".repeat(500);
    let post = format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 500\r\n\r\n{body}");
    check(
        "POST, inline body",
        &post,
        |_| {},
        |sender, event| {
            let Event::HttpRequest { conn, id, request } = event else { return 0 };
            sender.http_respond(*conn, *id, ZeroResponse::ok().bytes(request.body())).unwrap();
            1
        },
    );
    let (_, tx) = check(
        "POST, body as it comes",
        &post,
        |c| c.max_body_inline = 0,
        |sender, event| match event {
            Event::HttpRequest { conn, id, .. } => {
                sender.http_respond(*conn, *id, ZeroResponse::ok().stream_of(500)).unwrap();
                0
            }
            Event::HttpBodyChunk { conn, id, data, last } => {
                sender.http_forward(*conn, *id, data).unwrap();
                if *last {
                    sender.http_finish(*conn, *id).unwrap();
                }
                u64::from(*last)
            }
            _ => 0,
        },
    );
    assert_eq!(tx, 0.0);
}

/// Uploads of 100 kB, each read by another thread; all on as many connections as there are clients.
#[test]
fn uploads_to_another_thread() {
    const LEN: usize = 100_000;
    let mut io = Io::new(Config::default()).unwrap();
    let endpoint = io.http_listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let upload = format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {LEN}\r\n\r\n");
    let upload = [upload.into_bytes(), vec![b'x'; LEN]].concat();
    let client = |_| {
        let (stop, upload) = (Arc::clone(&stop), upload.clone());
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            let mut answer = [0; 1024];
            while !stop.load(Ordering::Relaxed) && stream.write_all(&upload).is_ok() {
                match stream.read(&mut answer) {
                    Ok(n @ 1..) => assert!(answer[..n].starts_with(b"HTTP/1.1 200 OK\r\n")),
                    _ => return,
                }
            }
        })
    };
    let clients: Vec<JoinHandle<()>> = (0..CLIENTS).map(client).collect();
    let (give, take) = std::sync::mpsc::sync_channel::<zero_io::HttpOwnedRequest>(2 * CLIENTS);
    let handle = io.handle();
    let worker = std::thread::spawn(move || {
        while let Ok(mut request) = take.recv() {
            let (mut body, mut len) = (request.body_stream().unwrap(), 0);
            while let Some(zero_io::BodyPart::Chunk(chunk)) = body.next(None) {
                len += chunk.len();
            }
            // Before the answer: the next upload has its place then.
            drop(body);
            assert!(len == LEN || handle.send_buffer(1).is_err(), "{len}");
            let answer = ZeroResponse::ok().text("thanks");
            let _ = handle.http_respond(request.conn(), request.id(), answer);
        }
    });
    let start = Instant::now();
    let run = |io: &mut Io, uploads: u64| {
        let mut done = 0;
        while done < uploads {
            assert!(start.elapsed() < PATIENCE, "{done} of {uploads}");
            io.poll(Duration::from_millis(5)).unwrap();
            while let Some(event) = io.next_event() {
                match event {
                    Event::HttpRequest { .. } => {
                        give.send(io.detach_http_request().unwrap()).unwrap();
                        done += 1;
                    }
                    Event::HttpBodyChunk { .. } => panic!("the body is the worker's"),
                    _ => {}
                }
            }
        }
    };
    while io.io_stats().accepted < CLIENTS as u64 {
        run(&mut io, 1);
    }
    run(&mut io, 1000);
    let (calls, before) = (so_far().0, io.io_stats());
    run(&mut io, 2000);
    let (allocations, after) = (so_far().0 - calls, io.io_stats());
    let copied = after.bytes_copied_rx - before.bytes_copied_rx;
    eprintln!("uploads: {allocations} allocations in 2000 uploads, {copied} bytes copied");
    assert_eq!(allocations, 0);
    // A head may straddle two buffers.
    assert!(copied < 2000 * 100, "{copied} bytes copied");
    stop.store(true, Ordering::Relaxed);
    drop((io, give));
    worker.join().expect("the worker");
    for client in clients {
        client.join().expect("a client");
    }
}

#[test]
fn answers_out_of_order() {
    let mut kept = Vec::with_capacity(16);
    check(
        "GET, answered in pairs, the second one first",
        GET,
        |_| {},
        |sender, event| {
            let Event::HttpRequest { conn, id, .. } = event else { return 0 };
            if id.as_u64() == 0 {
                // The client wants to see one answer before it goes on.
                sender.http_respond(*conn, *id, ZeroResponse::ok().text(BODY)).unwrap();
                return 1;
            }
            if id.as_u64() % 2 == 1 {
                kept.push((*conn, *id));
                return 0;
            }
            let first = kept.iter().position(|(c, _)| c == conn).unwrap();
            for (conn, id) in [(*conn, *id), kept.swap_remove(first)] {
                sender.http_respond(conn, id, ZeroResponse::ok().text(BODY)).unwrap();
            }
            2
        },
    );
}

/// A pool and its server on one `Io`: what `request` makes is asked again and again, `AT_ONCE` at a
/// time.
#[cfg(feature = "http-client")]
fn check_client(
    what: &str,
    pool: impl FnOnce(&mut zero_io::HttpPoolConfig),
    mut request: impl FnMut(&mut Io, zero_io::HttpPool, &str) -> zero_io::RequestId,
) {
    const AT_ONCE: u64 = 8;
    let mut io = Io::new(Config::default()).unwrap();
    let endpoint = io.http_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/path?query", io.local_addr(endpoint).unwrap());
    let pool = io.http_pool(zero_io::HttpPoolConfig::default().with(pool)).unwrap();
    let start = Instant::now();
    let mut under_way = 0;
    let mut run = |io: &mut Io, requests: u64| {
        let mut done = 0;
        while done < requests {
            assert!(start.elapsed() < PATIENCE, "{what}: {done} of {requests}");
            while under_way < AT_ONCE {
                request(io, pool, &url);
                under_way += 1;
            }
            io.poll(Duration::from_millis(5)).unwrap();
            let (mut events, mut sender) = io.split();
            while let Some(event) = events.next_event() {
                match event {
                    Event::HttpRequest { conn, id, .. } => {
                        sender.http_respond(conn, id, ZeroResponse::ok().text(BODY)).unwrap();
                    }
                    Event::HttpResponse { response, .. } => {
                        assert_eq!(response.body(), BODY.as_bytes());
                        (under_way, done) = (under_way - 1, done + 1);
                    }
                    Event::HttpFailed { failure, .. } => panic!("{what}: {failure}"),
                    _ => {}
                }
            }
        }
        done
    };
    run(&mut io, WARM);
    let calls = so_far().0;
    let requests = run(&mut io, COUNTED);
    let allocations = so_far().0 - calls;
    eprintln!("{what}: {allocations} allocations in {requests} requests");
    assert_eq!(allocations, 0, "{what}: in {requests} requests");
}

#[cfg(feature = "http-client")]
#[test]
fn requests_of_a_client() {
    use zero_io::ZeroRequest;
    check_client(
        "client, GET",
        |_| {},
        |io, pool, url| {
            let request = ZeroRequest::get(url).header("accept", "*/*").header("user-agent", "x");
            io.http_request(pool, request).unwrap()
        },
    );
    check_client(
        "client, GET, which wait for one of two connections, with a limit of time",
        |c| c.max_connections_per_host = 2,
        |io, pool, url| {
            let limit = Duration::from_secs(10);
            io.http_request(pool, ZeroRequest::get(url).timeout(limit)).unwrap()
        },
    );
    check_client(
        "client, GET, pipelined",
        |c| (c.max_connections_per_host, c.pipeline) = (1, 8),
        |io, pool, url| io.http_request(pool, ZeroRequest::get(url)).unwrap(),
    );
    let (value, body) = ([1, 2, 3], vec![b'x'; 5_000]);
    check_client(
        "client, POST, JSON",
        |_| {},
        |io, pool, url| io.http_request(pool, ZeroRequest::post(url).json(&value)).unwrap(),
    );
    check_client(
        "client, PUT, 5 kB",
        |_| {},
        |io, pool, url| io.http_request(pool, ZeroRequest::put(url).bytes(&body)).unwrap(),
    );
}
