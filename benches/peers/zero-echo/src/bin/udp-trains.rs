//! Datagrams per second between two zero-io `Io`s on two cores: trains against single datagrams.
//!
//! Usage: `udp-trains [SECONDS of each turn] [TURNS] [datagram BYTES] [datagrams of a train]`
//!
//! A sender thread on core 1 sends as fast as its endpoint accepts, a receiver thread on core 0 counts what its program
//! is handed, one event per datagram. `plain` sends and receives one by one, `gso` sends trains (`with_segment`), `both`
//! also receives coalesced (`gro`). The ways take turns; ratios are those of one round, against `plain`.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use zero_io::{Config, Event, Io, IoError, UdpEndpointConfig, UdpTransmit, pin_current_thread};

const SOCKET_BUFFER: u32 = 8 << 20;
/// Longest sleep of the receiver: how soon it sees the end of its turn.
const POLL_MAX: Duration = Duration::from_millis(5);
const WARM: Duration = Duration::from_millis(200);
const WAYS: [(&str, bool, bool); 3] =
    [("plain", false, false), ("gso", true, false), ("both", true, true)];

fn endpoint(gro: bool) -> UdpEndpointConfig {
    UdpEndpointConfig::new(SocketAddr::from(([127, 0, 0, 1], 0))).with(|c| {
        c.gro = gro;
        c.recv_buffer = Some(SOCKET_BUFFER);
        c.send_buffer = Some(SOCKET_BUFFER);
    })
}

fn send(to: SocketAddr, size: usize, segments: usize, stop: &AtomicBool) -> zero_io::Result<u64> {
    let _ = pin_current_thread(1);
    let mut io = Io::new(Config::default())?;
    let from = io.udp_bind_with(endpoint(false))?;
    while !stop.load(Ordering::Relaxed) {
        loop {
            let sent = match io.send_buffer(size * segments) {
                Ok(buffer) if segments > 1 => {
                    io.udp_send_with(from, buffer, UdpTransmit::to(to).with_segment(size as u16))
                }
                Ok(buffer) => io.udp_send(from, to, buffer),
                Err(error) => Err(error),
            };
            match sent {
                Ok(()) => {}
                Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        // A datagram that was sent is no event to wait for.
        io.poll(Duration::ZERO)?;
        while io.next_event().is_some() {}
    }
    Ok(io.io_stats().datagrams_sent * segments as u64)
}

/// Datagrams per second that arrive.
fn turn(secs: f64, size: usize, segments: usize, gro: bool) -> zero_io::Result<f64> {
    let mut io = Io::new(Config::default())?;
    let at = io.udp_bind_with(endpoint(gro))?;
    let addr = io.local_addr(at)?.inet().expect("an IP address");
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let sender = std::thread::spawn(move || send(addr, size, segments, &seen));
    let (start, mut received) = (Instant::now(), 0_u64);
    let mut counted = None;
    let mut rate = 0.0;
    while start.elapsed() < WARM + Duration::from_secs_f64(secs) && !sender.is_finished() {
        io.poll(POLL_MAX)?;
        while let Some(event) = io.next_event() {
            if let Event::UdpRecv { data, .. } = event {
                assert_eq!(data.len(), size);
                received += 1;
            }
        }
        match counted {
            None if start.elapsed() >= WARM => counted = Some((Instant::now(), received)),
            Some((from, n)) => rate = (received - n) as f64 / from.elapsed().as_secs_f64(),
            None => {}
        }
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("the sender does not panic")?;
    Ok(rate)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> zero_io::Result<()> {
    let number = |n: usize, default: f64| {
        std::env::args().nth(n).map_or(default, |a| a.parse().expect("a number"))
    };
    let (secs, turns) = (number(1, 0.5), number(2, 7.0) as usize);
    let (size, segments) = (number(3, 1200.0) as usize, number(4, 50.0) as usize);
    let _ = pin_current_thread(0);
    let mut rates = [const { Vec::new() }; WAYS.len()];
    for _ in 0..turns {
        for (way, (_, gso, gro)) in WAYS.iter().enumerate() {
            rates[way].push(turn(secs, size, if *gso { segments } else { 1 }, *gro)?);
        }
    }
    println!(
        "| {size} B, trains of {segments} | datagrams/s | ratio | min..max |\n|---|---|---|---|"
    );
    for (way, (name, ..)) in WAYS.iter().enumerate() {
        let mut ratios: Vec<f64> = rates[way].iter().zip(&rates[0]).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, most) = (ratios[0], ratios[turns - 1]);
        println!(
            "| {name} | {:.0} | {:.2} | {least:.2}..{most:.2} |",
            median(rates[way].clone()),
            median(ratios)
        );
    }
    Ok(())
}
