//! Shutdowns that lose nothing, and end in time.

#![expect(clippy::print_stdout, reason = "a figure")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zero_io::{ClusterEndpoint, ClusterReadiness, DrainOptions, Event, IoCluster, IoError, code};

use crate::common::PATIENCE;
use crate::kit::{Running, config, serve, slower};

const ANY: &str = "127.0.0.1:0";

fn inet(cluster: &IoCluster, endpoint: ClusterEndpoint) -> SocketAddr {
    cluster.local_addr(endpoint).unwrap().inet().unwrap()
}

/// Echoes one message of each connection, and closes it then.
fn once(cluster: IoCluster) -> Running {
    let running = Running::start(cluster, |shard| {
        serve(shard, |event, sender| {
            if let Event::StreamFrame { conn, stream, data, .. } = event {
                assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
                sender.close_graceful(conn, PATIENCE).unwrap();
            }
        })
    });
    running.wait_for(None, ClusterReadiness::Ready);
    running
}

fn deadline(deadline: Duration) -> DrainOptions {
    DrainOptions::default().with(|drain| drain.deadline = Some(deadline))
}

/// Clients that connect at full speed until they are refused: how many were served.
fn visit_until_refused(addr: SocketAddr) -> u64 {
    let mut served = 0;
    loop {
        let mut client = match TcpStream::connect_timeout(&addr, PATIENCE) {
            Ok(client) => client,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "after {served}");
                return served;
            }
        };
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"ping").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"ping", "after {served}");
        served += 1;
    }
}

/// Whoever got a connection gets an answer and a FIN, however the shutdown falls.
#[test]
fn drain_loses_nothing() {
    for round in 0..4 {
        let mut cluster = IoCluster::new(config(2)).unwrap();
        let endpoint = cluster.tcp_listen(ANY.parse().unwrap()).unwrap();
        let addr = inet(&cluster, endpoint);
        let running = once(cluster);
        let visitors = (0..8).map(|_| std::thread::spawn(move || visit_until_refused(addr)));
        let visitors = visitors.collect::<Vec<_>>();
        std::thread::sleep(Duration::from_millis(100 + 7 * round));
        let start = Instant::now();
        running.handle.shutdown(deadline(PATIENCE)).unwrap();
        assert_eq!(running.handle.readiness(), ClusterReadiness::Draining);
        let report = running.end();
        let took = start.elapsed();
        assert!(report.is_clean(), "{report:?}");
        let served = visitors.into_iter().map(|visitor| visitor.join().unwrap());
        let served = served.sum::<u64>();
        assert!(served > 0);
        println!("{served} connections, all served; over within {} ms", took.as_millis());
    }
}

/// In the grace nothing changes but what is said of it.
#[test]
fn grace_comes_first() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.tcp_listen(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let running = once(cluster);
    let start = Instant::now();
    let grace = Duration::from_millis(300);
    running.handle.shutdown(DrainOptions::default().with(|d| d.grace = Some(grace))).unwrap();
    let mut visits = 0;
    while start.elapsed() < grace - Duration::from_millis(100) {
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        visits += 1;
    }
    assert_eq!(running.handle.readiness(), ClusterReadiness::Draining);
    assert!(visits > 0);
    assert!(running.end().is_clean());
    assert!(start.elapsed() >= grace);
}

/// A peer that takes nothing is cut off, with the code that says why.
#[test]
fn a_slow_reader_ends_by_the_deadline() {
    let mut cluster = IoCluster::new(config(1)).unwrap();
    let endpoint = cluster.tcp_listen(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let (told, codes) = std::sync::mpsc::channel();
    let (ready, filled) = std::sync::mpsc::channel();
    let running = Running::start(cluster, move |shard| {
        serve(shard, |event, sender| match event {
            Event::StreamFrame { conn, stream, .. } => {
                let more = vec![1; 64 * 1024];
                while sender.stream_write(conn, stream, &more).is_ok_and(|n| n == more.len()) {}
                ready.send(()).unwrap();
            }
            Event::Writable { conn, stream, credit } => {
                let _ = sender.stream_write(conn, stream, &vec![1; credit]);
            }
            Event::Draining { deadline } => told.send(deadline.as_millis() as u64).unwrap(),
            Event::Disconnected { error_code, .. } => told.send(error_code).unwrap(),
            _ => {}
        })
    });
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"x").unwrap();
    filled.recv_timeout(PATIENCE).unwrap();
    let start = Instant::now();
    running.handle.shutdown(deadline(Duration::from_millis(400))).unwrap();
    assert!(running.end().is_clean());
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_millis(1500) * slower(), "{took:?}");
    assert_eq!(codes.iter().collect::<Vec<_>>(), [400, code::SHUTDOWN]);
}

/// Asked again with less time, it takes less.
#[test]
fn a_second_shutdown_hastens_the_first() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.tcp_listen(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let running = once(cluster);
    let _idle = TcpStream::connect(addr).unwrap();
    let start = Instant::now();
    running.handle.shutdown(deadline(Duration::from_secs(600))).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    running.handle.shutdown(deadline(Duration::ZERO)).unwrap();
    running.end();
    assert!(start.elapsed() < PATIENCE);
}

/// One endpoint ends; what came to it has time, and the other endpoint goes on.
#[test]
fn an_endpoint_is_closed_in_order() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let [first, second] = [(); 2].map(|()| cluster.tcp_listen(ANY.parse().unwrap()).unwrap());
    let udp = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let (addr, other) = (inet(&cluster, first), inet(&cluster, second));
    let udp_addr = inet(&cluster, udp);
    let cuts = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for seed in cluster.seeds().unwrap() {
        let cuts = Arc::clone(&cuts);
        threads.push(std::thread::spawn(move || {
            let mut shard = seed.grow().unwrap();
            serve(&mut shard, |event, sender| match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
                }
                Event::Disconnected { error_code, .. } => {
                    cuts.fetch_add(u64::from(error_code == code::SHUTDOWN), Ordering::Relaxed);
                }
                _ => {}
            })
            .unwrap();
        }));
    }
    let mut clients = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect::<Vec<_>>();
    let mut others = (0..16).map(|_| TcpStream::connect(other).unwrap()).collect::<Vec<_>>();
    let is_answered = |client: &mut TcpStream| {
        client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()
    };
    assert!(clients.iter_mut().all(is_answered));
    cluster.endpoint_close(first, deadline(Duration::from_millis(500))).unwrap();
    cluster.endpoint_close(udp, DrainOptions::default()).unwrap();
    assert!(matches!(cluster.local_addr(first), Err(IoError::InvalidArgument { .. })));
    assert!(cluster.endpoint_close(first, DrainOptions::default()).is_err());
    assert!(clients.iter_mut().all(is_answered), "they have time");
    let end = Instant::now() + PATIENCE;
    // The addresses are free when every shard has let go of them.
    while let Err(error) = std::net::TcpListener::bind(addr) {
        assert!(Instant::now() < end, "{error}");
        cluster.supervise(Duration::from_millis(5)).unwrap();
    }
    while let Err(error) = UdpSocket::bind(udp_addr) {
        assert!(Instant::now() < end, "{error}");
        cluster.supervise(Duration::from_millis(5)).unwrap();
    }
    while cuts.load(Ordering::Relaxed) < 16 {
        assert!(Instant::now() < end);
        cluster.supervise(Duration::from_millis(5)).unwrap();
    }
    assert!(!clients.iter_mut().any(is_answered));
    assert!(others.iter_mut().all(is_answered));
    drop(others);
    cluster.handle().shutdown(deadline(Duration::ZERO)).unwrap();
    while !matches!(cluster.supervise(PATIENCE), Ok(zero_io::Supervised::Over)) {
        assert!(Instant::now() < end);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
