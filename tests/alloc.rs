//! Allocations per message, once warm, by a counting allocator: none.
//!
//! The count is of the calling thread, so that the peers' own allocations do not matter. Run with
//! `--nocapture` to see the figures.

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{PATIENCE, STREAM, TICK, dial, localhost};
use counting::so_far;
use zero_io::{Config, ConnId, Event, Io, IoError, UdpEndpointConfig, UdpTransmit};

fn calls() -> u64 {
    so_far().0
}

#[test]
fn the_counter_counts() {
    let before = calls();
    drop(std::hint::black_box(vec![1; 1000]));
    assert_eq!(calls() - before, 1);
}

const WARM: u64 = 4000;
const COUNTED: u64 = 20_000;

/// Runs `round`, which answers how many messages it handled, and counts after warming up.
#[track_caller]
fn check(what: &str, mut round: impl FnMut() -> u64) {
    let start = Instant::now();
    let mut run = |messages: u64| {
        let mut done = 0;
        while done < messages {
            assert!(start.elapsed() < PATIENCE, "{what}: {done} of {messages}");
            done += round();
        }
        done
    };
    run(WARM);
    let before = calls();
    let messages = run(COUNTED);
    let allocations = calls() - before;
    eprintln!("{what}: {allocations} allocations in {messages} messages");
    assert_eq!(allocations, 0, "{what}: in {messages} messages");
}

const CLIENTS: usize = 8;
const MESSAGE: usize = 64;
const PIPELINED: usize = 16;

/// Writes and reads until the other side closes or `stop` is set.
fn pound(mut stream: impl Read + Write, stop: &AtomicBool) {
    let out = [7; MESSAGE * PIPELINED];
    let mut back = [0; MESSAGE * PIPELINED];
    while !stop.load(Ordering::Relaxed) {
        if stream.write_all(&out).and_then(|()| stream.read_exact(&mut back)).is_err() {
            return;
        }
        assert_eq!(out, back);
    }
}

/// Clients, and the switch that ends them.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn new(start: impl Fn(Arc<AtomicBool>) -> JoinHandle<()>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..CLIENTS).map(|_| start(Arc::clone(&stop))).collect();
        Self { stop, threads }
    }

    fn end(self, io: Io) {
        self.stop.store(true, Ordering::Relaxed);
        drop(io);
        for thread in self.threads {
            thread.join().expect("a client");
        }
    }
}

fn tcp() -> (Io, Load) {
    let mut io = Io::new(Config::default()).unwrap();
    let endpoint = io.tcp_listen(localhost()).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let load = Load::new(|stop| {
        let stream = dial(addr);
        thread::spawn(move || pound(stream, &stop))
    });
    (io, load)
}

/// One poll; `on_data` is called for each payload. How many bytes came, in messages.
fn messages(io: &mut Io, mut on_data: impl FnMut(&mut Io, ConnId)) -> u64 {
    io.poll(TICK).unwrap();
    let mut bytes = 0;
    loop {
        let conn = match io.next_event() {
            None => break,
            Some(Event::StreamFrame { conn, data, .. }) => {
                bytes += data.len();
                conn
            }
            Some(_) => continue,
        };
        on_data(io, conn);
    }
    (bytes / MESSAGE) as u64
}

#[test]
fn tcp_echo_by_copy() {
    let (mut io, load) = tcp();
    check("TCP, stream_write", || echo_by_split(&mut io, false));
    load.end(io);
}

#[test]
fn tcp_echo_by_forward() {
    let (mut io, load) = tcp();
    check("TCP, forward", || echo_by_split(&mut io, true));
    load.end(io);
}

fn echo_by_split(io: &mut Io, forward: bool) -> u64 {
    io.poll(TICK).unwrap();
    let (mut events, mut sender) = io.split();
    let mut bytes = 0;
    while let Some(event) = events.next_event() {
        let Event::StreamFrame { conn, stream, data, .. } = event else { continue };
        bytes += data.len();
        if forward {
            sender.forward(conn, stream, data).unwrap();
        } else {
            assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
        }
    }
    (bytes / MESSAGE) as u64
}

#[test]
fn tcp_echo_by_owned_slots() {
    let (mut io, load) = tcp();
    check("TCP, OwnedSlot to SendBuffer", || {
        messages(&mut io, |io, conn| {
            let slot = io.detach_event_data().expect("a payload");
            let buffer = slot.try_into_send_buffer().expect("it is not shared");
            io.stream_write_buffer(conn, STREAM, buffer).unwrap();
        })
    });
    load.end(io);
}

#[test]
fn tcp_echo_by_send_buffers_and_guards() {
    let (mut io, load) = tcp();
    let memory: Arc<[u8]> = Arc::from([7; MESSAGE * PIPELINED]);
    let mut lens = Vec::with_capacity(1024);
    check("TCP, send_buffer and guard writes", || {
        io.poll(TICK).unwrap();
        lens.clear();
        while let Some(event) = io.next_event() {
            if let Event::StreamFrame { conn, data, .. } = event {
                lens.push((conn, data.len()));
            }
        }
        for (n, (conn, len)) in lens.iter().enumerate() {
            if n % 2 == 0 && *len == memory.len() {
                io.stream_write_guard(*conn, STREAM, Arc::clone(&memory), n as u64).unwrap();
            } else {
                let mut buffer = io.send_buffer(*len).unwrap();
                buffer.fill(7);
                io.stream_write_buffer(*conn, STREAM, buffer).unwrap();
            }
        }
        lens.iter().map(|(_, len)| (len / MESSAGE) as u64).sum()
    });
    load.end(io);
}

#[test]
fn uds_echo() {
    let mut io = Io::new(Config::default()).unwrap();
    let path = std::env::temp_dir().join(format!("zio-alloc-{}", std::process::id()));
    io.uds_listen(path.to_str().unwrap()).unwrap();
    let load = Load::new(|stop| {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        thread::spawn(move || pound(stream, &stop))
    });
    let _ = std::fs::remove_file(&path);
    check("Unix, stream_write", || echo_by_split(&mut io, false));
    load.end(io);
}

fn udp_load(addr: SocketAddr) -> Load {
    Load::new(|stop| {
        let socket = UdpSocket::bind(localhost()).unwrap();
        socket.connect(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        thread::spawn(move || {
            let mut back = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..PIPELINED {
                    let _ = socket.send(&[7; MESSAGE]);
                }
                for _ in 0..PIPELINED {
                    let _ = socket.recv(&mut back);
                }
            }
        })
    })
}

#[test]
fn udp_echo() {
    let mut io = Io::new(Config::default()).unwrap();
    let config = UdpEndpointConfig::new(localhost()).with(|c| {
        c.local_addr = true;
        c.ecn = true;
        c.timestamps = true;
    });
    let endpoint = io.udp_bind_with(config).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let load = udp_load(addr);
    let mut turn = 0;
    check("UDP, forward and bytes", || {
        io.poll(TICK).unwrap();
        let (mut events, mut sender) = io.split();
        let mut count = 0;
        while let Some(event) = events.next_event() {
            let Event::UdpRecv { endpoint, from, data, .. } = event else { continue };
            count += 1;
            turn += 1;
            if turn % 2 == 0 {
                sender.udp_forward(endpoint, from, data).unwrap();
            } else {
                sender.udp_send_bytes(endpoint, from, data).unwrap();
            }
        }
        count
    });
    load.end(io);
}

#[test]
fn udp_trains() {
    let mut from = Io::new(Config::default()).unwrap();
    let mut to = Io::new(Config::default()).unwrap();
    let config = UdpEndpointConfig::new(localhost()).with(|c| c.gro = true);
    let receiver = to.udp_bind_with(config).unwrap();
    let addr = to.local_addr(receiver).unwrap().inet().unwrap();
    let sender = from.udp_bind(localhost()).unwrap();
    check("UDP, GSO to GRO", || {
        let buffer = from.send_buffer(40 * 1200).unwrap();
        from.udp_send_with(sender, buffer, UdpTransmit::to(addr).with_segment(1200)).unwrap();
        from.poll(Duration::ZERO).unwrap();
        to.poll(Duration::ZERO).unwrap();
        let mut count = 0;
        while let Some(event) = to.next_event() {
            count += u64::from(matches!(event, Event::UdpRecv { .. }));
        }
        count
    });
}

#[test]
fn timers() {
    let mut io = Io::new(Config::default()).unwrap();
    check("timers", || {
        for n in 0..32 {
            let timer = io.timer_set(Duration::from_micros(n * 50), n).unwrap();
            if n % 2 == 0 {
                io.timer_cancel(timer);
            }
        }
        let mut count = 0;
        while count < 16 {
            io.poll(TICK).unwrap();
            while let Some(event) = io.next_event() {
                count += u64::from(matches!(event, Event::Timer { .. }));
            }
        }
        count * 2
    });
}

#[test]
fn handles() {
    let mut io = Io::new(Config::default()).unwrap();
    let endpoint = io.tcp_listen(localhost()).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let peer = dial(addr);
    let mut conn = None;
    while conn.is_none() {
        io.poll(TICK).unwrap();
        while let Some(event) = io.next_event() {
            if let Event::Connected { conn: c, .. } = event {
                conn = Some(c);
            }
        }
    }
    let conn = conn.unwrap();
    let sink = thread::spawn(move || drain(peer));
    let handle = io.handle();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let worker = thread::spawn(move || {
        let insist = |ask: &dyn Fn() -> Result<(), IoError>| {
            while !stopped.load(Ordering::Relaxed) && ask().is_err() {
                thread::yield_now();
            }
        };
        let mut before = None;
        let mut asked = 0_u64;
        while !stopped.load(Ordering::Relaxed) {
            insist(&|| handle.post(1));
            insist(&|| handle.post_data(2, &[1; MESSAGE]));
            insist(&|| handle.stream_write(conn, STREAM, &[2; MESSAGE]));
            asked += 3;
            if asked > WARM && before.is_none() {
                before = Some(calls());
            }
        }
        (asked, calls() - before.expect("warmed up"))
    });
    check("handles, in the shard", || {
        io.poll(TICK).unwrap();
        let mut count = 0;
        while let Some(event) = io.next_event() {
            count += u64::from(matches!(event, Event::User { .. }));
        }
        count
    });
    stop.store(true, Ordering::Relaxed);
    let (asked, allocations) = worker.join().unwrap();
    eprintln!("handles, in the other thread: {allocations} allocations in {asked} requests");
    assert_eq!(allocations, 0);
    drop(io);
    sink.join().unwrap();
}

fn drain(mut peer: TcpStream) {
    let mut room = [0; 65_536];
    while peer.read(&mut room).is_ok_and(|n| n > 0) {}
}
