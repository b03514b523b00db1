//! Who gets what comes to a cluster's addresses.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zero_io::{
    ClusterEndpoint, ClusterReadiness, ClusterWarnings, CpuAffinity, DrainOptions, Event,
    IoCluster, ShardIo, Steer, Supervised, allowed_cpus, pin_current_thread,
};

use crate::common::PATIENCE;
use crate::kit::{Running, config, serve, slower};

const ANY: &str = "127.0.0.1:0";

fn inet(cluster: &IoCluster, endpoint: ClusterEndpoint) -> SocketAddr {
    cluster.local_addr(endpoint).unwrap().inet().unwrap()
}

pub(crate) fn client(addr: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind(ANY).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(addr).unwrap();
    client
}

/// Answers every datagram with the shard's number before it.
pub(crate) fn naming(shard: &mut ShardIo) -> zero_io::Result<()> {
    let me = shard.shard() as u8;
    serve(shard, |event, sender| {
        if let Event::UdpRecv { endpoint, from, data, .. } = event {
            sender.udp_send_bytes(endpoint, from, &[&[me], data].concat()).unwrap();
        }
    })
}

pub(crate) fn ask(client: &UdpSocket) -> u8 {
    client.send(b"who?").unwrap();
    let mut name = [0xFF];
    client.recv(&mut name).unwrap();
    name[0]
}

/// A flow has one shard, and routers that are made anew give it to the same one.
#[test]
fn flows_keep_their_shard_through_reloads() {
    let mut cluster = IoCluster::new(config(4)).unwrap();
    let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let seeds = cluster.seeds().unwrap();
    let handle = cluster.handle();
    std::thread::scope(|scope| {
        for seed in seeds {
            scope.spawn(|| naming(&mut seed.grow().unwrap()).unwrap());
        }
        let clients = (0..64).map(|_| client(addr)).collect::<Vec<_>>();
        let before = clients.iter().map(ask).collect::<Vec<_>>();
        assert!((0..4).all(|shard| before.contains(&shard)), "{before:?}");
        let routing = cluster.effective_routing();
        assert!(!routing.warnings.contains(ClusterWarnings::SPREAD_BY_KERNEL), "{routing}");
        for _ in 0..20 {
            assert_eq!(cluster.reload_ports(), Ok(routing));
            assert_eq!(clients.iter().map(ask).collect::<Vec<_>>(), before);
        }
        handle.shutdown(DrainOptions::default()).unwrap();
        while !matches!(cluster.supervise(PATIENCE), Ok(Supervised::Over)) {}
    });
}

/// Nothing is lost while programs take each other's place.
#[test]
fn reload_ports_under_traffic() {
    const DATAGRAMS: u64 = 20_000;
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let client = client(inet(&cluster, endpoint));
    let mut shards =
        cluster.seeds().unwrap().into_iter().map(|seed| seed.grow().unwrap()).collect::<Vec<_>>();
    let taken = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&taken);
    let sender = std::thread::spawn(move || {
        for number in 0..DATAGRAMS {
            // What is on the way fits a socket.
            while number - seen.load(Ordering::SeqCst) > 50 {
                std::thread::yield_now();
            }
            client.send(&number.to_be_bytes()).unwrap();
        }
    });
    let (mut reloads, mut owner) = (0, None);
    let end = std::time::Instant::now() + PATIENCE * slower();
    while taken.load(Ordering::SeqCst) < DATAGRAMS {
        assert!(std::time::Instant::now() < end, "{} arrived", taken.load(Ordering::SeqCst));
        cluster.reload_ports().unwrap();
        reloads += 1;
        for shard in &mut shards {
            shard.poll(Duration::ZERO).unwrap();
            let me = shard.shard();
            while let Some(event) = shard.next_event() {
                let Event::UdpRecv { data, .. } = event else { continue };
                let number = u64::from_be_bytes(data.try_into().unwrap());
                assert_eq!(number, taken.fetch_add(1, Ordering::SeqCst), "in order, each once");
                assert_eq!(*owner.get_or_insert(me), me, "one flow, one shard");
            }
        }
    }
    assert!(reloads > 100, "{reloads}");
    sender.join().unwrap();
}

/// To the shard of the processor that receives: on the loopback, the one that sends.
#[test]
fn datagrams_go_by_processor() {
    let cpus = allowed_cpus().unwrap();
    let list = [cpus[0], *cpus.last().unwrap()];
    let config = config(2).with(|c| {
        c.udp_steer = Steer::Cpu;
        c.cpu_affinity = CpuAffinity::List(list.to_vec());
    });
    let mut cluster = IoCluster::new(config).unwrap();
    let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let running = Running::start(cluster, naming);
    for (cpu, shard) in list.into_iter().zip(0..).take(cpus.len()) {
        let pinned = std::thread::spawn(move || {
            pin_current_thread(cpu).unwrap();
            for _ in 0..16 {
                assert_eq!(ask(&client(addr)), shard);
            }
        });
        pinned.join().unwrap();
    }
    running.shut_down();
}

/// A shard that ends gives up its flows, the others keep theirs, and it gets back its own when it
/// has begun anew.
#[test]
fn a_restart_shifts_nothing() {
    let drain = DrainOptions::default().with(|d| d.deadline = Some(Duration::from_millis(100)));
    let mut cluster = IoCluster::new(config(4)).unwrap();
    let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let running = Running::start(cluster, naming);
    running.wait_until_up();
    let clients = (0..64).map(|_| client(addr)).collect::<Vec<_>>();
    let before = clients.iter().map(ask).collect::<Vec<_>>();
    for shard in 0..4 {
        running.handle.drain_shard(shard.into(), drain).unwrap();
        running.wait_for(Some(shard.into()), ClusterReadiness::Stopped);
        for (client, home) in clients.iter().zip(&before) {
            let now = ask_again(client);
            assert!(now != shard && (*home == shard || *home == now), "{home} {now}");
        }
        running.handle.restart_shard(shard.into(), drain).unwrap();
        running.wait_for(Some(shard.into()), ClusterReadiness::Ready);
        assert_eq!(clients.iter().map(ask_again).collect::<Vec<_>>(), before);
    }
    running.shut_down();
}

/// Questions so far.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// The same while shards come and go: what was in the socket of one that went is not answered.
fn ask_again(client: &UdpSocket) -> u8 {
    client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    // A late answer to what was asked at another time tells nothing.
    let question = ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    client.send(&question).unwrap();
    loop {
        let mut answer = [0; 9];
        match client.recv(&mut answer) {
            Ok(9) if answer[1..] == question => return answer[0],
            Ok(_) => continue,
            Err(error) => assert!(std::time::Instant::now() < end, "{error}"),
        }
        client.send(&question).unwrap();
    }
}
