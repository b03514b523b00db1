//! Shards that panic, end and begin anew, while the others serve.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use zero_io::{
    ClusterReadiness, ClusterWarnings, DrainOptions, Event, IoCluster, IoError, OnPanic, Sender,
    ShardExit, Supervised, allowed_cpus,
};

use crate::common::PATIENCE;
use crate::kit::{LONG, Running, config, serve};

const POISON: u64 = 666;

/// Echoes, says which shard it is first, and panics when it is told to.
fn echo(me: u16, event: &Event<'_>, sender: &mut Sender<'_>) {
    match *event {
        Event::Connected { conn, .. } => {
            let sent = sender.stream_write(conn, zero_io::StreamId::ZERO, &[me as u8]);
            assert_eq!(sent, Ok(1));
        }
        Event::StreamFrame { conn, stream, data, .. } => {
            assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
        }
        Event::ReadClosed { conn, .. } => sender.close_graceful(conn, PATIENCE).unwrap(),
        Event::User { token: POISON, .. } => panic!("poisoned"),
        _ => {}
    }
}

fn listening(config: zero_io::ClusterConfig) -> (IoCluster, SocketAddr) {
    let mut cluster = IoCluster::new(config).unwrap();
    let endpoint = cluster.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    (cluster, addr)
}

fn running(config: zero_io::ClusterConfig) -> (Running, SocketAddr) {
    let (cluster, addr) = listening(config);
    let running = Running::start(cluster, |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| echo(me, &event, sender))
    });
    running.wait_for(None, ClusterReadiness::Ready);
    (running, addr)
}

/// A client, and the shard that serves it.
fn client(addr: SocketAddr) -> (TcpStream, u16) {
    let mut client = TcpStream::connect(addr).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut shard = [0];
    client.read_exact(&mut shard).unwrap();
    (client, shard[0].into())
}

fn is_answered(client: &mut TcpStream) -> bool {
    client.write_all(b"ping").is_ok() && matches!(client.read_exact(&mut [0; 4]), Ok(()))
}

/// Clients until each shard has some.
fn clients_of_all(addr: SocketAddr, shards: u16) -> Vec<(TcpStream, u16)> {
    let mut clients = Vec::new();
    while !(0..shards).all(|shard| clients.iter().any(|(_, of)| *of == shard)) {
        assert!(clients.len() < 1000, "some shard gets none");
        clients.push(client(addr));
    }
    clients
}

/// Whoever connects to the dead one's socket is served by the others, and theirs go on.
#[test]
fn a_panic_hurts_nobody_else() {
    let (running, addr) = running(config(4));
    let mut clients = clients_of_all(addr, 4);
    running.handle.post_to(2, POISON).unwrap();
    running.wait_for(Some(2), ClusterReadiness::Stopped);
    assert_eq!(running.handle.readiness(), ClusterReadiness::Ready);
    for (client, shard) in &mut clients {
        assert_eq!(is_answered(client), *shard != 2);
    }
    for _ in 0..64 {
        assert_ne!(client(addr).1, 2);
    }
    assert_eq!(running.handle.post_to(2, 0), Err(IoError::ShardDown { shard: 2 }));
    let drain = DrainOptions::default();
    assert_eq!(running.handle.drain_shard(2, drain), Err(IoError::ShardDown { shard: 2 }));
    running.handle.shutdown(drain).unwrap();
    let report = running.end();
    assert!(!report.is_clean());
    for shard in report.shards {
        let poisoned = ShardExit::Panicked("poisoned".into());
        assert_eq!(shard.exit, if shard.shard == 2 { poisoned } else { ShardExit::Done });
    }
}

/// A shard that panics before its first poll, with messages in its mail, begins anew.
#[test]
fn a_shard_that_panics_begins_anew() {
    let lives = Arc::new(AtomicU32::new(0));
    let config = config(2).with(|c| c.on_panic = OnPanic::Restart { max: 8 });
    let (cluster, addr) = listening(config);
    let count = Arc::clone(&lives);
    let running = Running::start(cluster, move |shard| {
        let me = shard.shard();
        if me == 0 && count.fetch_add(1, Ordering::Relaxed) == 0 {
            for token in 0..100 {
                shard.post_data_to(0, token, b"never read").unwrap();
            }
            panic!("at once");
        }
        serve(shard, |event, sender| echo(me, &event, sender))
    });
    running.wait_for(None, ClusterReadiness::Ready);
    for expected in 2..5 {
        while lives.load(Ordering::Relaxed) < expected {
            std::thread::sleep(Duration::from_millis(1));
        }
        running.wait_for(Some(0), ClusterReadiness::Ready);
        assert_eq!(clients_of_all(addr, 2).len().min(2), 2);
        running.handle.post_to(0, POISON).unwrap();
    }
    while lives.load(Ordering::Relaxed) < 5 {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.handle.shutdown(DrainOptions::default()).unwrap();
    let report = running.end();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.shards[0].restarts, report.shards[1].restarts), (4, 0));
}

#[test]
fn restarts_run_out() {
    let config = config(2).with(|c| c.on_panic = OnPanic::Restart { max: 3 });
    let cluster = IoCluster::new(config).unwrap();
    let lives = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&lives);
    let running = Running::start(cluster, move |shard| {
        let me = shard.shard();
        count.fetch_add(u32::from(me), Ordering::Relaxed);
        assert!(me != 1, "again");
        serve(shard, |event, sender| echo(me, &event, sender))
    });
    // The first one, and three more.
    while lives.load(Ordering::Relaxed) < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.wait_for(Some(1), ClusterReadiness::Stopped);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(lives.load(Ordering::Relaxed), 4);
    running.handle.shutdown(DrainOptions::default()).unwrap();
    let report = running.end();
    assert_eq!(report.shards[1].restarts, 3);
    assert_eq!(report.shards[1].exit, ShardExit::Panicked("again".into()));
    assert_eq!((report.shards[0].restarts, &report.shards[0].exit), (0, &ShardExit::Done));
}

#[test]
fn more_shards_than_processors_serve() {
    let shards = (allowed_cpus().unwrap().len() as u16 + 1).next_power_of_two().max(8);
    let config = config(shards).with(|c| c.cpu_affinity = zero_io::CpuAffinity::Auto);
    let (cluster, addr) = listening(config);
    let warnings = cluster.effective_routing().warnings;
    assert!(warnings.contains(ClusterWarnings::MORE_SHARDS_THAN_CPUS));
    let running = Running::start(cluster, |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| echo(me, &event, sender))
    });
    running.wait_for(None, ClusterReadiness::Ready);
    for (client, _) in &mut clients_of_all(addr, shards) {
        assert!(is_answered(client));
    }
    running.shut_down();
}

/// The connections of the others stay, and whoever comes meanwhile is served by them.
#[test]
fn a_restart_leaves_the_others_alone() {
    let (running, addr) = running(config(2));
    let mut clients = clients_of_all(addr, 2);
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let visitors = threads.spawn(|| {
            let mut visits = 0;
            while !over.load(Ordering::Relaxed) {
                assert!(is_answered(&mut client(addr).0));
                visits += 1;
            }
            visits
        });
        for _ in 0..3 {
            let drain =
                DrainOptions::default().with(|d| d.deadline = Some(Duration::from_millis(300)));
            running.handle.restart_shard(0, drain).unwrap();
            let busy = running.handle.restart_shard(0, drain);
            assert!(matches!(busy, Ok(()) | Err(IoError::ClusterBusy { shard: 0 })), "{busy:?}");
            running.wait_for(Some(0), ClusterReadiness::Ready);
        }
        over.store(true, Ordering::Relaxed);
        assert!(visitors.join().unwrap() > 0);
    });
    for (client, shard) in &mut clients {
        assert_eq!(is_answered(client), *shard == 1);
    }
    clients_of_all(addr, 2);
    running.handle.shutdown(DrainOptions::default()).unwrap();
    let report = running.end();
    assert!(report.is_clean() && report.shards[0].restarts >= 3, "{report:?}");
}

/// Who connects while there is nobody waits for the next life.
#[test]
fn the_only_shards_backlog_waits_for_it() {
    let (mut cluster, addr) = listening(config(1));
    let seed = cluster.seeds().unwrap().pop().unwrap();
    let handle = cluster.handle();
    assert_eq!(handle.readiness(), ClusterReadiness::Starting);
    let busy = handle.restart_shard(0, DrainOptions::default());
    assert_eq!(busy, Err(IoError::ClusterBusy { shard: 0 }));
    drop(seed.grow().unwrap());
    assert!(matches!(cluster.supervise(Duration::ZERO), Ok(Supervised::Over)));
    assert_eq!(handle.shard_readiness(0), Ok(ClusterReadiness::Stopped));
    let mut clients = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect::<Vec<_>>();
    handle.restart_shard(0, DrainOptions::default()).unwrap();
    let Ok(Supervised::Reseed(seed)) = cluster.supervise(LONG) else { panic!("a seed") };
    let mut shard = seed.grow().unwrap();
    assert_eq!(handle.readiness(), ClusterReadiness::Ready);
    let mut came = 0;
    while came < clients.len() {
        shard.poll(PATIENCE).unwrap();
        let (mut events, mut sender) = shard.split();
        while let Some(event) = events.next_event() {
            came += usize::from(matches!(event, Event::Connected { .. }));
            echo(0, &event, &mut sender);
        }
    }
    shard.poll(Duration::ZERO).unwrap();
    clients.iter_mut().for_each(|client| client.read_exact(&mut [0]).unwrap());
    drop(cluster);
    assert_eq!(handle.readiness(), ClusterReadiness::Stopped);
    assert_eq!(handle.drain_shard(0, DrainOptions::default()), Err(BUSY));
}

const BUSY: IoError = IoError::ClusterBusy { shard: 0 };

/// Datagrams go to the others while a shard is gone, and to it again when it is back.
#[test]
fn datagrams_are_led_around_who_is_gone() {
    let mut cluster = IoCluster::new(config(4)).unwrap();
    let endpoint = cluster.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| match event {
            Event::UdpRecv { endpoint, from, .. } => {
                sender.udp_send_bytes(endpoint, from, &[me as u8]).unwrap();
            }
            event => echo(me, &event, sender),
        })
    });
    running.wait_for(None, ClusterReadiness::Ready);
    let peers = (0..64).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect::<Vec<_>>();
    let ask = |peer: &UdpSocket| {
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.send_to(b"who", addr).unwrap();
        let mut shard = [0];
        peer.recv(&mut shard).unwrap();
        u16::from(shard[0])
    };
    let before = peers.iter().map(ask).collect::<Vec<_>>();
    assert!((0..4).all(|shard| before.contains(&shard)));
    running.handle.drain_shard(2, DrainOptions::default()).unwrap();
    running.wait_for(Some(2), ClusterReadiness::Stopped);
    std::thread::sleep(Duration::from_millis(50));
    for (peer, before) in peers.iter().zip(&before) {
        let now = ask(peer);
        // Those of the others stay where they were.
        assert!(now != 2 && (*before == 2 || now == *before));
    }
    running.handle.restart_shard(2, DrainOptions::default()).unwrap();
    running.wait_for(Some(2), ClusterReadiness::Ready);
    assert_eq!(peers.iter().map(ask).collect::<Vec<_>>(), before);
    running.shut_down();
}

/// One shard is drained for good; the rest of the cluster goes on.
#[test]
fn a_drained_shard_stays_away() {
    let (running, addr) = running(config(2));
    let mut clients = clients_of_all(addr, 2);
    running.handle.drain_shard(1, DrainOptions::default()).unwrap();
    for _ in 0..32 {
        client(addr);
    }
    // Its own have until the deadline.
    assert!(clients.iter_mut().all(|(client, _)| is_answered(client)));
    running.wait_for(Some(1), ClusterReadiness::Stopped);
    for (client, shard) in &mut clients {
        assert_eq!(is_answered(client), *shard == 0);
    }
    for _ in 0..32 {
        assert_eq!(client(addr).1, 0);
    }
    running.shut_down();
}
