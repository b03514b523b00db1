//! HTTP connections of a cluster that is shut down.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use zero_io::{ClusterReadiness, DrainOptions, Event, IoCluster, ZeroResponse};

use crate::common::PATIENCE;
use crate::kit::{Running, config};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// `/late` is answered after a moment, by a timer; everything else at once.
fn running() -> (Running, SocketAddr) {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.http_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        let mut late = Vec::new();
        while shard.is_running() {
            shard.poll(PATIENCE)?;
            let (mut events, mut sender) = shard.split();
            while let Some(event) = events.next_event() {
                match event {
                    Event::HttpRequest { conn, id, request } if request.path() == "/late" => {
                        late.push((conn, id));
                        sender.timer_set(Duration::from_millis(400), 0)?;
                    }
                    Event::HttpRequest { conn, id, .. } => {
                        sender.http_respond(conn, id, ZeroResponse::ok().text("hello"))?;
                    }
                    Event::Timer { .. } => {
                        let (conn, id) = late.remove(0);
                        sender.http_respond(conn, id, ZeroResponse::ok().text("hello"))?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    });
    running.wait_for(None, ClusterReadiness::Ready);
    (running, addr)
}

fn client(addr: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// One answer, or an end before its first byte. Whether it says that the connection ends.
fn answer(client: &mut TcpStream) -> Option<bool> {
    let mut got = Vec::new();
    let mut piece = [0; 512];
    while !got.ends_with(b"hello") {
        let len = client.read(&mut piece).unwrap();
        if len == 0 {
            assert!(got.is_empty(), "cut: {:?}", String::from_utf8_lossy(&got));
            return None;
        }
        got.extend_from_slice(&piece[..len]);
    }
    let head = String::from_utf8(got).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    Some(head.contains("connection: close"))
}

fn patient() -> DrainOptions {
    DrainOptions::default().with(|drain| drain.deadline = Some(PATIENCE))
}

/// Every request has an answer, or an end of the connection before its first byte; who has an
/// answer that does not say it is the last may send the next one.
#[test]
fn requests_during_drain() {
    let (running, addr) = running();
    let visitor = move || {
        let mut answered = 0_u64;
        loop {
            let mut client = match TcpStream::connect_timeout(&addr, PATIENCE) {
                Ok(client) => client,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                    return answered;
                }
            };
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            for _ in 0..50 {
                // What was closed may refuse it.
                if client.write_all(GET).is_err() {
                    break;
                }
                let Some(is_last) = answer(&mut client) else { break };
                answered += 1;
                if is_last {
                    assert_eq!(client.read(&mut [0]).unwrap(), 0);
                    break;
                }
            }
        }
    };
    let visitors = (0..8).map(|_| std::thread::spawn(visitor)).collect::<Vec<_>>();
    std::thread::sleep(Duration::from_millis(150));
    let start = Instant::now();
    running.handle.shutdown(patient()).unwrap();
    assert!(running.end().is_clean());
    assert!(start.elapsed() < PATIENCE, "nothing held it up");
    let answered = visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum::<u64>();
    assert!(answered > 0);
}

/// What is idle ends at once; what waits for an answer gets it, and is told that it is the last.
#[test]
fn idle_connections_end_and_late_answers_come() {
    let (running, addr) = running();
    let mut idle = (0..8).map(|_| client(addr)).collect::<Vec<_>>();
    for client in &mut idle {
        client.write_all(GET).unwrap();
        assert_eq!(answer(client), Some(false));
    }
    let mut late = (0..8).map(|_| client(addr)).collect::<Vec<_>>();
    for client in &mut late {
        client.write_all(b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    // It has connected, and is about to ask; half of a request is there of the other one.
    let mut fresh = client(addr);
    let mut half = client(addr);
    half.write_all(&GET[..20]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    running.handle.shutdown(patient()).unwrap();
    for client in &mut idle {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    assert!(start.elapsed() < Duration::from_millis(200), "at once: {:?}", start.elapsed());
    fresh.write_all(GET).unwrap();
    assert_eq!(answer(&mut fresh), Some(true));
    half.write_all(&GET[20..]).unwrap();
    assert_eq!(answer(&mut half), Some(true));
    for client in &mut late {
        assert_eq!(answer(client), Some(true));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    drop((idle, late, fresh, half));
    assert!(running.end().is_clean());
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// Who has connected and not asked anything is waited for until its connection is a second old:
/// a client cannot tell that its first request will come too late, and does not send it again. Then
/// the connection is ended as one is that was used: with a FIN and no reset, whatever comes just
/// then.
#[test]
fn fresh_connections_hold_it_up_for_a_second() {
    let (running, addr) = running();
    let connected = Instant::now();
    let askers = (0..24).map(|number: u64| {
        let mut client = client(addr);
        std::thread::spawn(move || {
            let delay = Duration::from_millis(400 + 50 * number);
            std::thread::sleep(delay);
            // It may be closed already.
            let asked = client.write_all(GET).map(|()| connected.elapsed());
            (asked.ok(), answer(&mut client))
        })
    });
    let askers = askers.collect::<Vec<_>>();
    let mut silent = (0..4).map(|_| client(addr)).collect::<Vec<_>>();
    std::thread::sleep(Duration::from_millis(100));
    running.handle.shutdown(patient()).unwrap();
    for client in &mut silent {
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    assert!(connected.elapsed() >= Duration::from_millis(900), "{:?}", connected.elapsed());
    drop(silent);
    for asker in askers {
        let (asked, answer) = asker.join().unwrap();
        if asked.is_some_and(|asked| asked < Duration::from_millis(900)) {
            assert_eq!(answer, Some(true), "{asked:?}");
        }
    }
    assert!(running.end().is_clean());
    assert!(connected.elapsed() < PATIENCE / 4, "{:?}", connected.elapsed());
}
