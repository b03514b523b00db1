//! How connections begin.

use std::time::Duration;

use super::pair::{Door, Pair, client_tls, connect_config, listen_config, server_tls};
use crate::code;
use crate::config::{Roots, TlsClientConfig, TlsServerConfig, TlsVersion};
use crate::error::{IoError, TlsConfigFault};
use crate::ids::{ConnId, StreamDir};
use crate::proto::quic::signal::Signal;

const SHORT: Duration = Duration::from_millis(100);

/// The code with which the client's connection ended.
fn client_end(pair: &mut Pair) -> u64 {
    let told = pair.client.take(0);
    match told.as_slice() {
        [Signal::Lost { code, clean: false, .. }] => *code,
        _ => panic!("{told:?}"),
    }
}

#[test]
fn both_sides_connect_and_agree_on_a_protocol() {
    let mut pair = Pair::new();
    let index = pair.connect();
    let early = pair.client.session(0).open(StreamDir::Bidi);
    assert_eq!(early, Err(IoError::NotConnected { conn: ConnId::new(0, 1) }));
    pair.run(SHORT);
    assert_eq!(pair.client.take(index), [Signal::Connected]);
    assert_eq!(pair.server.take(0), [Signal::Connected]);
    for node in [&mut pair.client, &mut pair.server] {
        assert_eq!(node.session(0).alpn().as_deref(), Some(b"test".as_slice()));
        assert!(!node.session(0).is_handshaking());
        assert_eq!(node.endpoint.open_connections(), 1);
    }
    assert_eq!(pair.client.session(0).peer(), pair.server.addr);
    assert_eq!(pair.server.session(0).local_ip(), Some(pair.server.addr.ip()));
}

#[test]
fn many_connections_share_two_sockets() {
    let mut pair = Pair::new();
    let indices: Vec<_> = (0..50).map(|_| pair.connect()).collect();
    pair.run(Duration::from_secs(1));
    for index in indices {
        assert_eq!(pair.client.take(index), [Signal::Connected]);
        assert_eq!(pair.server.take(index), [Signal::Connected]);
    }
}

#[test]
fn a_retry_shows_where_the_client_is() {
    let mut pair = Pair::new();
    pair.server.door = Door::Retry;
    pair.connect();
    pair.run(SHORT);
    assert_eq!(pair.client.take(0), [Signal::Connected]);
    assert!(pair.server.door == Door::Accept, "it came back, and was seen to be there");
}

#[test]
fn a_retry_token_is_good_for_one_address() {
    let mut pair = Pair::new();
    pair.server.door = Door::Retry;
    pair.connect();
    pair.run(Duration::from_millis(11));
    let elsewhere = super::pair::addr(9, 9);
    pair.nat = Some(elsewhere);
    pair.net.iter_mut().for_each(|datagram| datagram.from = elsewhere);
    pair.run(SHORT);
    assert!(pair.server.sessions.is_empty());
    let invalid_token = code::QUIC_PEER_TRANSPORT | 0xB;
    assert_eq!(client_end(&mut pair), invalid_token);
}

#[test]
fn a_retry_token_expires() {
    for (late, is_good) in [(14, true), (16, false)] {
        let mut pair = Pair::new();
        pair.server.door = Door::Retry;
        pair.connect();
        pair.run(Duration::from_millis(11));
        pair.wall.set(super::pair::NOON + late);
        pair.run(SHORT);
        match is_good {
            true => assert_eq!(pair.client.take(0), [Signal::Connected]),
            false => assert_eq!(client_end(&mut pair), code::QUIC_PEER_TRANSPORT | 0xB),
        }
    }
}

#[test]
fn refused_and_ignored() {
    let mut pair = Pair::new();
    pair.server.door = Door::Refuse;
    pair.connect();
    pair.run(SHORT);
    assert_eq!(client_end(&mut pair), code::QUIC_REFUSED);

    let mut pair = Pair::new();
    pair.server.door = Door::Ignore;
    pair.connect();
    pair.run(Duration::from_secs(60));
    assert_eq!(client_end(&mut pair), code::IDLE_TIMEOUT);
    assert_eq!(pair.server.endpoint.open_connections(), 0);
}

#[test]
fn alerts_have_their_codes() {
    let (no_protocol, bad_certificate) = (120, 48);
    let other = TlsClientConfig::with_roots(Roots::from_pem_bytes(super::pair::cert_pem()))
        .server_name(super::pair::NAME)
        .alpn(["neither"])
        .build()
        .unwrap();
    let mut pair = Pair::with(listen_config(), connect_config().with(|c| c.tls = other));
    pair.connect();
    pair.run(SHORT);
    assert_eq!(client_end(&mut pair), code::TLS_ALERT_RECEIVED + no_protocol);

    let stranger = rcgen::generate_simple_self_signed(vec!["stranger".to_owned()]).unwrap();
    let trusts_another = TlsClientConfig::with_roots(Roots::from_pem_bytes(stranger.cert.pem()))
        .server_name(super::pair::NAME)
        .alpn(["test"])
        .build()
        .unwrap();
    let mut pair = Pair::with(listen_config(), connect_config().with(|c| c.tls = trusts_another));
    pair.connect();
    pair.run(SHORT);
    assert_eq!(client_end(&mut pair), code::TLS_ALERT_SENT + bad_certificate);
    let told = pair.server.take(0);
    let [Signal::Lost { code, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(*code, code::TLS_ALERT_RECEIVED + bad_certificate);
}

#[test]
fn tls_before_1_3_is_refused_beforehand() {
    let (cert, key) = super::pair::identity_pem();
    let old = TlsServerConfig::from_pem_bytes(cert, key)
        .versions(TlsVersion::Tls12, TlsVersion::Tls12)
        .build()
        .unwrap();
    let error = listen_config().with(|c| c.tls = old).validate();
    assert_eq!(error, Err(IoError::TlsConfig { fault: TlsConfigFault::NoTls13, line: 0 }));
    assert!(error.unwrap_err().to_string().contains("Tls13"));
    let old = TlsClientConfig::with_roots(Roots::from_pem_bytes(cert))
        .versions(TlsVersion::Tls12, TlsVersion::Tls12)
        .build()
        .unwrap();
    assert!(connect_config().with(|c| c.tls = old).validate().is_err());
}

#[test]
fn any_suite_does_also_without_the_initial_one() {
    let (cert, key) = super::pair::identity_pem();
    let tls = TlsServerConfig::from_pem_bytes(cert, key)
        .alpn(["test"])
        .cipher_suites(["TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"])
        .build()
        .unwrap();
    let mut pair = Pair::connected(listen_config().with(|c| c.tls = tls), connect_config());
    let id = pair.say(StreamDir::Uni, b"sealed by ChaCha20");
    pair.run(SHORT);
    assert_eq!(super::pair::heard(&pair.server.take(0), id).0, b"sealed by ChaCha20");
}

#[test]
fn a_second_connection_resumes_the_session() {
    // One configuration each, as an application has it; tickets come after the handshake.
    let (server, client) = (server_tls(), client_tls());
    let listen = listen_config().with(|c| c.tls = server);
    let mut pair = Pair::connected(listen, connect_config().with(|c| c.tls = client));
    let full = pair.server.session(0).stats().bytes_sent;
    pair.connect();
    pair.run(SHORT);
    assert_eq!(pair.client.take(1), [Signal::Connected]);
    let resumed = pair.server.session(1).stats().bytes_sent;
    assert!(resumed < full, "no certificate is sent again: {resumed} of {full} bytes");
}

#[test]
fn certificates_are_replaced_while_the_server_runs() {
    let (listen, connect) = (listen_config(), connect_config());
    let reload = listen.tls.reload_handle();
    let mut pair = Pair::with(listen, connect);
    let other = rcgen::generate_simple_self_signed(vec![super::pair::NAME.to_owned()]).unwrap();
    let (cert, key) = (other.cert.pem(), other.signing_key.serialize_pem());
    reload.reload_from_bytes(cert, key).unwrap();
    pair.connect();
    pair.run(SHORT);
    let unknown_ca = 48;
    assert_eq!(client_end(&mut pair), code::TLS_ALERT_SENT + unknown_ca);
}
