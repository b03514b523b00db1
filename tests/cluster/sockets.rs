//! The sockets of a cluster: whose they are, and how long they stay.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use zero_io::{
    ClusterEndpoint, Config, Event, ExpectedProtocols, Io, IoCluster, IoError, PoolKind, ShardIo,
    TcpListenConfig, UdpEndpointConfig,
};

use crate::common::{PATIENCE, TICK};
use crate::kit::config;

const ANY: &str = "127.0.0.1:0";

fn any() -> SocketAddr {
    ANY.parse().unwrap()
}

fn inet(cluster: &IoCluster, endpoint: ClusterEndpoint) -> SocketAddr {
    cluster.local_addr(endpoint).unwrap().inet().unwrap()
}

fn cluster() -> IoCluster {
    IoCluster::new(config(2)).unwrap()
}

fn grown(cluster: &mut IoCluster) -> Vec<ShardIo> {
    cluster.seeds().unwrap().into_iter().map(|seed| seed.grow().unwrap()).collect()
}

/// Somebody who would share the address would get a part of what comes.
#[test]
fn a_second_cluster_on_the_address_is_refused() {
    let (mut first, mut second) = (cluster(), cluster());
    let endpoint = first.tcp_listen(any()).unwrap();
    let addr = inet(&first, endpoint);
    assert_eq!(second.tcp_listen(addr), Err(IoError::AddrInUse { addr }));
    let endpoint = first.udp_bind(any()).unwrap();
    let addr = inet(&first, endpoint);
    assert_eq!(second.udp_bind(addr), Err(IoError::AddrInUse { addr }));
    drop(first);
    second.udp_bind(addr).unwrap();
}

#[test]
fn a_stranger_who_would_share_is_refused() {
    let mut io = Io::new(Config::default()).unwrap();
    let config = TcpListenConfig::new(any()).with(|c| c.reuseport = true);
    let endpoint = io.tcp_listen_with(config).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    assert_eq!(cluster().tcp_listen(addr), Err(IoError::AddrInUse { addr }));
    let config = UdpEndpointConfig::new(any()).with(|c| c.reuseport = true);
    let endpoint = io.udp_bind_with(config).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    assert_eq!(cluster().udp_bind(addr), Err(IoError::AddrInUse { addr }));
}

#[test]
fn one_shards_sockets_are_refused() {
    let mut cluster = cluster();
    let peer = UdpEndpointConfig::new(any()).with(|c| c.connect = Some(any()));
    let group = UdpEndpointConfig::new("224.0.0.251:5353".parse().unwrap());
    let shared = UdpEndpointConfig::new(any()).with(|c| c.reuseaddr = true);
    for config in [peer, group, shared] {
        let error = cluster.udp_bind_with(config).unwrap_err();
        assert!(matches!(error, IoError::InvalidArgument { .. }), "{error}");
    }
}

#[test]
fn what_no_shard_could_take_is_refused_at_once() {
    let small = config(2).with(|c| {
        c.io.max_endpoints = 1;
        c.io.gro_buffer_count = 0;
        c.expected_protocols = ExpectedProtocols::UDP;
    });
    let mut cluster = IoCluster::new(small).unwrap();
    let gro = UdpEndpointConfig::new(any()).with(|c| c.gro = true);
    let exhausted = |pool| IoError::PoolExhausted { pool };
    assert_eq!(cluster.udp_bind_with(gro), Err(exhausted(PoolKind::GroBuffers)));
    let error = cluster.tcp_listen(any()).unwrap_err();
    assert!(error.to_string().contains("expected_protocols"), "{error}");
    let endpoint = cluster.udp_bind(any()).unwrap();
    assert_eq!(cluster.udp_bind(any()), Err(exhausted(PoolKind::Endpoints)));
    assert_eq!(endpoint.to_string(), "cluster_endpoint#0");
}

#[test]
fn ids_lead_from_the_cluster_to_the_shard_and_back() {
    let mut cluster = cluster();
    let tcp = cluster.tcp_listen(any()).unwrap();
    let mut shards = grown(&mut cluster);
    assert!(cluster.seeds().unwrap().is_empty(), "all are out");
    // An endpoint that comes later is told by mail.
    let udp = cluster.udp_bind(any()).unwrap();
    for shard in &mut shards {
        assert!(matches!(shard.endpoint(udp), Err(IoError::InvalidArgument { .. })));
        shard.poll(Duration::ZERO).unwrap();
        for endpoint in [tcp, udp] {
            let own = shard.endpoint(endpoint).unwrap();
            assert_eq!(shard.cluster_endpoint(own), Some(endpoint));
            assert_eq!(shard.local_addr(own), cluster.local_addr(endpoint));
        }
        let own = shard.udp_bind(any()).unwrap();
        assert_eq!(shard.cluster_endpoint(own), None);
    }
}

/// Who connects while a shard is not there waits in its backlog, until the cluster is gone too.
#[test]
fn sockets_outlive_their_shards() {
    let mut cluster = cluster();
    let tcp = cluster.tcp_listen(any()).unwrap();
    let tcp = inet(&cluster, tcp);
    drop(grown(&mut cluster));
    let mut clients = (0..32).map(|_| TcpStream::connect(tcp).unwrap()).collect::<Vec<_>>();
    let mut byte = [0];
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut byte).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    drop(cluster);
    for client in &mut clients {
        // The rings of the shards are still being taken down, which interrupts.
        let mut reads = std::iter::repeat_with(|| client.read(&mut byte))
            .map(|read| read.map_err(|error| error.kind()));
        let read = reads.find(|read| *read != Err(ErrorKind::Interrupted));
        assert_eq!(read, Some(Err(ErrorKind::ConnectionReset)));
    }
}

/// Shards grown late find what came before them.
#[test]
fn a_backlog_waits_for_the_shard() {
    let mut cluster = cluster();
    let tcp = cluster.tcp_listen(any()).unwrap();
    let addr = inet(&cluster, tcp);
    let mut clients = (0..16).map(|_| TcpStream::connect(addr).unwrap()).collect::<Vec<_>>();
    clients.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
    let mut shards = grown(&mut cluster);
    let (mut frames, end) = (0, Instant::now() + PATIENCE);
    while frames < clients.len() {
        assert!(Instant::now() < end, "{frames} of {}", clients.len());
        for shard in &mut shards {
            shard.poll(TICK).unwrap();
            while let Some(event) = shard.next_event() {
                frames += usize::from(matches!(event, Event::StreamFrame { .. }));
            }
        }
    }
}
