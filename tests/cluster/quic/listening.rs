//! Listeners: what the shards share, and what is refused.

use std::sync::Arc;

use zero_io::{
    ConnectionIds, Event, ExpectedProtocols, IoCluster, IoError, QuicCids, QuicListenConfig,
    RetryPolicy, Roots, TlsClientConfig, TlsServerConfig,
};

use super::site::{Site, certificate, config};

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

/// Shards on threads of their own, and clients that move all the time.
#[test]
fn threads_find_each_others_packets() {
    use crate::kit::{Running, serve};
    const SHARDS: u16 = 2;
    let (pem, key) = certificate();
    let mut cluster = IoCluster::new(config(SHARDS)).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let tls = TlsServerConfig::from_pem_bytes(&pem, key).alpn(["echo"]).build().unwrap();
    let endpoint = cluster.quic_listen_with(QuicListenConfig::new(any, tls)).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let running = Running::start(cluster, |shard| {
        serve(shard, |event, sender| match event {
            Event::StreamFrame { conn, stream, data, .. } => {
                assert_eq!(sender.stream_write(conn, stream, data).unwrap(), data.len());
            }
            Event::ReadClosed { conn, stream } => sender.stream_finish(conn, stream).unwrap(),
            _ => {}
        })
    });
    running.wait_until_up();
    let mut site = Site::new(1);
    (site.addr, site.pem) = (addr, pem);
    for _ in 0..6 {
        let tls = site.client_tls();
        let at = site.dial(addr, tls, |_| ());
        site.until("Connected", |site| site.clients[at].is_connected);
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
