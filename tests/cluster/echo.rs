//! Connections and datagrams are spread over the shards, and answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zero_io::{ClusterEndpoint, Event, IoCluster, PeerAddr};

use crate::common::{PATIENCE, pattern};
use crate::kit::{Running, config, serve};

const ANY: &str = "127.0.0.1:0";
const SHARDS: usize = 2;

fn inet(cluster: &IoCluster, endpoint: ClusterEndpoint) -> SocketAddr {
    cluster.local_addr(endpoint).unwrap().inet().unwrap()
}

type Counts = Arc<[AtomicU64; SHARDS]>;

/// Every shard sends back what it gets, and counts its peers.
fn echo(cluster: IoCluster) -> (Running, Counts) {
    let counts = Counts::default();
    let seen = Arc::clone(&counts);
    let running = Running::start(cluster, move |shard| {
        let me = usize::from(shard.shard());
        serve(shard, |event, sender| match event {
            Event::Connected { .. } => {
                seen[me].fetch_add(1, Ordering::Relaxed);
            }
            Event::StreamFrame { conn, stream, data, .. } => {
                assert_eq!(sender.stream_write(conn, stream, data).unwrap(), data.len());
            }
            Event::UdpRecv { endpoint, from, data, .. } => {
                seen[me].fetch_add(1, Ordering::Relaxed);
                sender.udp_send_bytes(endpoint, from, data).unwrap();
            }
            _ => {}
        })
    });
    (running, counts)
}

fn assert_all_used(counts: &Counts, total: u64) {
    let counts = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), total, "{counts:?}");
}

fn exchange(mut client: impl Read + Write, seed: usize) {
    let sent = pattern(seed as u64, 5000);
    client.write_all(&sent).unwrap();
    let mut got = vec![0; sent.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, sent);
}

#[test]
fn tcp_clients_are_spread_and_answered() {
    const CLIENTS: usize = 64;
    for any in [ANY, "[::1]:0", "[::]:0"] {
        let mut cluster = IoCluster::new(config(2)).unwrap();
        let endpoint = cluster.tcp_listen(any.parse().unwrap()).unwrap();
        let port = inet(&cluster, endpoint).port();
        let (running, counts) = echo(cluster);
        let host = if any == ANY { "127.0.0.1" } else { "::1" };
        let clients = (0..CLIENTS).map(|_| TcpStream::connect((host, port)).unwrap());
        let clients = clients.collect::<Vec<_>>();
        for (seed, client) in clients.iter().enumerate() {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            exchange(client, seed);
        }
        assert_all_used(&counts, CLIENTS as u64);
        running.shut_down();
    }
}

#[test]
fn udp_peers_are_spread_and_answered() {
    const CLIENTS: usize = 64;
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.udp_bind(ANY.parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let (running, counts) = echo(cluster);
    for seed in 0..CLIENTS {
        let client = UdpSocket::bind(ANY).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(addr).unwrap();
        let sent = pattern(seed as u64, 900);
        client.send(&sent).unwrap();
        let mut got = [0; 1024];
        let len = client.recv(&mut got).unwrap();
        assert_eq!(got[..len], sent[..]);
    }
    assert_all_used(&counts, CLIENTS as u64);
    running.shut_down();
}

#[test]
fn unix_clients_are_answered_by_whoever_is_first() {
    let name = format!("zero-io-cluster-{}", std::process::id());
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let endpoint = cluster.uds_listen(&format!("@{name}")).unwrap();
    assert_eq!(cluster.local_addr(endpoint), Ok(PeerAddr::Unix));
    let (running, counts) = echo(cluster);
    let addr = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()
    };
    for seed in 0..16 {
        let client = UnixStream::connect_addr(&addr).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(client, seed);
    }
    let total = counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
    assert_eq!(total, 16);
    running.shut_down();
}
