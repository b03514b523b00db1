//! Listeners: what the shards share, and what is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zero_io::{
    ClusterReadiness, ConnectionIds, DrainOptions, Event, ExpectedProtocols, IoCluster, IoError,
    QuicCids, QuicListenConfig, RetryPolicy, Roots, StreamDir, TlsClientConfig, TlsServerConfig,
};

use super::site::{PATIENCE, Site, certificate, config};
use crate::kit::{Running, serve};

fn tls() -> TlsServerConfig {
    let (pem, key) = certificate();
    TlsServerConfig::from_pem_bytes(pem, key).build().unwrap()
}

#[test]
fn what_a_cluster_cannot_have_is_refused() {
    struct Marked;
    impl ConnectionIds for Marked {
        fn id_len(&self) -> usize {
            8
        }
        fn write(&self, _: &mut [u8]) {}
        fn is_ours(&self, _: &[u8]) -> bool {
            true
        }
    }
    let any = "127.0.0.1:0".parse().unwrap();
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let (pem, key) = certificate();
    cluster.quic_listen(any, pem, key).unwrap();
    let own = QuicListenConfig::new(any, tls());
    let own = own.with(|c| c.cids = QuicCids::Custom(Arc::new(Marked)));
    let error = cluster.quic_listen_with(own).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "QuicListenConfig::cids", .. }));
    let bad = QuicListenConfig::new(any, tls()).with(|c| c.incoming_max = 0);
    let error = cluster.quic_listen_with(bad).unwrap_err();
    assert!(matches!(error, IoError::InvalidConfig { .. }), "{error}");
    let udp = cluster.udp_bind(any).unwrap();
    assert!(cluster.enable_cert_hot_reload(udp).is_err());
    let expected = config(2).with(|c| c.expected_protocols = ExpectedProtocols::UDP);
    let mut other = IoCluster::new(expected).unwrap();
    let error = other.quic_listen_with(QuicListenConfig::new(any, tls())).unwrap_err();
    assert!(error.to_string().contains("expected_protocols"), "{error}");
    // Somebody else's address.
    let endpoint = cluster.quic_listen_with(QuicListenConfig::new(any, tls())).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let mut other = IoCluster::new(config(2)).unwrap();
    let error = other.quic_listen_with(QuicListenConfig::new(addr, tls()));
    assert_eq!(error, Err(IoError::AddrInUse { addr }));
}

#[test]
fn one_shard_is_a_cluster_too() {
    let mut site = Site::new(1);
    let (at, ..) = site.connect();
    site.echo(at, 100_000);
    site.clients[at].rebind("127.0.0.1");
    site.echo(at, 100_000);
    site.all_home();
}

/// A listener that comes when the shards run already.
#[test]
fn a_later_listener_is_found_too() {
    let mut site = Site::new(2);
    let (pem, key) = certificate();
    let any = "127.0.0.1:0".parse().unwrap();
    let tls = TlsServerConfig::from_pem_bytes(&pem, key).alpn(["echo"]).build().unwrap();
    let later = site.cluster.quic_listen_with(QuicListenConfig::new(any, tls)).unwrap();
    site.pem = pem;
    site.addr = site.cluster.local_addr(later).unwrap().inet().unwrap();
    site.round();
    for wanted in [0, 1] {
        let (at, _) = site.connect_to(wanted);
        site.move_elsewhere(at);
        site.echo(at, 100_000);
    }
    site.all_home();
}

#[test]
fn certificates_are_replaced_on_all_shards() {
    let mut site = Site::new(2);
    let reload = site.cluster.enable_cert_hot_reload(site.endpoint).unwrap();
    let (pem, key) = certificate();
    reload.reload_from_bytes(&pem, key).unwrap();
    let old = std::mem::replace(&mut site.pem, pem);
    for wanted in [0, 1] {
        site.connect_to(wanted);
    }
    // Who trusts the old one alone does not get in.
    let tls = TlsClientConfig::with_roots(Roots::from_pem_bytes(&old)).server_name("localhost");
    let at = site.dial(site.addr, tls.build().unwrap(), |_| ());
    site.until("the refusal", |site| site.clients[at].end.is_some());
    assert!(!site.clients[at].is_connected);
    reload.reload_from_bytes(&old, &site.key).unwrap();
    site.pem = old;
    site.connect();
}

/// What a client has of one shard is good with the others.
#[test]
fn tokens_and_sessions_are_good_on_any_shard() {
    let mut site = Site::with(config(4), |l| l.retry = RetryPolicy::Always);
    let tls = site.client_tls();
    let at = site.dial(site.addr, tls.clone(), |_| ());
    let mut resumed = 0;
    for round in 0..12 {
        site.until("Connected", |site| site.clients[at].is_connected);
        // Tokens and tickets come behind the handshake.
        site.echo(at, 1000);
        let client = &mut site.clients[at];
        let info = client.io.conn_tls_info(client.conn).unwrap();
        assert_eq!(info.resumed, round > 0, "round {round}");
        resumed += u32::from(info.resumed);
        client.io.close(client.conn).unwrap();
        site.until("the end", |site| site.clients[at].end.is_some());
        // From another port, and so with whatever shard that leads to.
        let (addr, tls) = (site.addr, tls.clone());
        let client = &mut site.clients[at];
        let config = zero_io::QuicConnectConfig::new(addr, tls)
            .with(|c| c.bind = Some("127.0.0.1:0".parse().unwrap()));
        client.conn = client.io.quic_connect_with(config).unwrap();
        (client.is_connected, client.end) = (false, None);
        client.closed.clear();
    }
    let accepted = site.each(|shard| shard.accepted);
    assert!(resumed == 11 && accepted.iter().filter(|count| **count > 0).count() > 1);
    let retried: u64 = site.each(|shard| shard.io.io_stats().quic_retried).iter().sum();
    assert_eq!(retried, 1, "{accepted:?}");
}

/// Two shards on threads of their own, which echo; and a place for clients of them.
fn threads() -> (Running, Site) {
    let (pem, key) = certificate();
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let tls = TlsServerConfig::from_pem_bytes(&pem, key).alpn(["echo"]).build().unwrap();
    let endpoint = cluster.quic_listen_with(QuicListenConfig::new(any, tls)).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        serve(shard, |event, sender| match event {
            Event::StreamFrame { conn, stream, data, .. } => {
                // One that is being drained takes nothing any more.
                let _ = sender.stream_write(conn, stream, data);
            }
            Event::ReadClosed { conn, stream } => {
                let _ = sender.stream_finish(conn, stream);
            }
            _ => {}
        })
    });
    running.wait_until_up();
    let mut site = Site::new(1);
    (site.addr, site.pem) = (addr, pem);
    (running, site)
}

/// A client of threads; its place.
fn connected(site: &mut Site) -> usize {
    let (addr, tls) = (site.addr, site.client_tls());
    let at = site.dial(addr, tls, |_| ());
    site.until("Connected", |site| site.clients[at].is_connected);
    // With an answer the handshake is known to be over there, too, and it may move.
    site.echo(at, 1000);
    at
}

/// Shards on threads of their own, and clients that move all the time.
#[test]
fn threads_find_each_others_packets() {
    let (running, mut site) = threads();
    for _ in 0..6 {
        connected(&mut site);
    }
    for _ in 0..8 {
        for at in 0..site.clients.len() {
            site.clients[at].rebind("127.0.0.1");
            site.echo(at, 50_000);
        }
    }
    drop(site);
    running.shut_down();
}

/// Shards begin anew while each passes on what is the other one's.
#[test]
fn restarts_while_packets_are_passed_on() {
    let (running, mut site) = threads();
    for _ in 0..4 {
        connected(&mut site);
    }
    let at_once = DrainOptions::default().with(|drain| drain.deadline = Some(Duration::ZERO));
    for round in 0..8 {
        let shard = round % 2;
        running.handle.restart_shard(shard, at_once).unwrap();
        let (mut left, begin) = (false, Instant::now());
        while !left || running.handle.shard_readiness(shard) != Ok(ClusterReadiness::Ready) {
            assert!(begin.elapsed() < PATIENCE, "shard {shard} does not come back");
            left |= running.handle.shard_readiness(shard) != Ok(ClusterReadiness::Ready);
            left |= begin.elapsed() > Duration::from_secs(1);
            for client in &mut site.clients {
                if client.end.is_none() {
                    client.rebind("127.0.0.1");
                    // Streams run out while the shard is not there.
                    if let Ok(stream) = client.io.stream_open(client.conn, StreamDir::Bidi) {
                        let _ = client.io.stream_write(client.conn, stream, &[7; 3000]);
                        let _ = client.io.stream_finish(client.conn, stream);
                    }
                }
            }
            site.run_for(Duration::from_millis(2));
        }
        // Those of the shard were told.
        site.clients.retain(|client| client.end.is_none());
        while site.clients.len() < 4 {
            connected(&mut site);
        }
    }
    drop(site);
    running.shut_down();
}
