//! Handshakes against rustls: both roles, versions, suites, certificates, resumption, retries.

use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, ServerConfig};

use super::ends::{End, Ours, Said, Theirs, exchange, pair, settle};
use super::fixture::{NAME, Setup, client_leaf, name, server_leaf, suites};
use crate::code;
use crate::config::TlsVersion;
use crate::proto::tls::{Limits, Tls};

/// Shakes hands in both roles and exchanges data; gives our ends to look at.
fn check(setup: &Setup) -> (Ours, Ours) {
    let (mut server, mut client) = (Ours::server(setup.server()), Theirs::client(setup.client()));
    settle(&mut client, &mut server);
    assert!(server.tls.is_established(), "{:?} {:?}", server.said, client.error);
    exchange(&mut client, &mut server);

    let (mut ours, mut theirs) = (Ours::client(setup.client()), Theirs::server(setup.server()));
    settle(&mut ours, &mut theirs);
    assert!(ours.tls.is_established(), "{:?} {:?}", ours.said, theirs.error);
    exchange(&mut ours, &mut theirs);
    (ours, server)
}

#[test]
fn every_suite_in_both_roles() {
    let suites = suites();
    assert_eq!(suites.len(), 9);
    for suite in suites {
        let (client, server) = check(&Setup::new(suite));
        for end in [client, server] {
            let info = end.tls.info().unwrap();
            assert!(info.cipher_suite.starts_with("TLS_"), "{}", info.cipher_suite);
            assert_eq!(info.version == TlsVersion::Tls13, suite.1.tls13().is_some());
            assert_eq!(info.server_name.as_deref(), Some(NAME));
            assert!(!info.resumed && info.key_exchange.is_some());
        }
    }
}

#[test]
fn two_of_ours() {
    for suite in suites() {
        let (mut client, mut server) = pair(&Setup::new(suite));
        exchange(&mut client, &mut server);
        client.tls.close_notify();
        settle(&mut client, &mut server);
        assert_eq!(server.said.last(), Some(&Said::Closed));
        assert!(server.tls.on_eof().is_ok());
        // The other way goes on.
        server.write(b"last words");
        server.tls.close_notify();
        settle(&mut client, &mut server);
        assert!(client.data().ends_with(b"last words"));
        assert_eq!(client.said.last(), Some(&Said::Closed));
    }
}

#[test]
fn alpn_is_told() {
    for setup in Setup::both() {
        let setup = setup.with(|s| s.alpn = vec!["h2", "http/1.1"]);
        let (client, server) = check(&setup);
        for end in [client, server] {
            assert_eq!(end.tls.info().unwrap().alpn.as_deref(), Some(&b"h2"[..]));
        }
        let other = setup.clone().with(|s| s.alpn = vec!["smtp"]);
        let (mut client, mut server) = (Ours::client(other.client()), Ours::server(setup.server()));
        settle(&mut client, &mut server);
        assert_eq!(server.failure(), Some(code::TLS_ALERT_SENT + 120));
        assert_eq!(client.failure(), Some(code::TLS_ALERT_RECEIVED + 120));
    }
}

#[test]
fn certificates_of_both_sides_are_told() {
    for setup in Setup::both() {
        let (client, server) = check(&setup.clone().with(|s| s.client_cert = true));
        let shown = |end: &Ours| {
            let peer = end.tls.info().unwrap().peer.clone().unwrap();
            peer.chain().map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(shown(&server), [client_leaf().to_vec()]);
        assert_eq!(shown(&client), [server_leaf().to_vec()]);

        let none = setup.clone().client();
        let wants = setup.with(|s| s.client_cert = true).server();
        let (mut client, mut server) = (Ours::client(none), Ours::server(wants));
        settle(&mut client, &mut server);
        let sent = server.failure().unwrap();
        assert!(matches!(sent & 0xFF, 116 | 40 | 42), "{sent:x}");
        assert_eq!(client.failure().unwrap() & 0xFF, sent & 0xFF);
    }
}

#[test]
fn sessions_are_resumed() {
    for setup in Setup::both() {
        let (client_config, server_config) = (setup.client(), setup.server());
        for resumed in [false, true, true] {
            let mut client = Ours::client(client_config.clone());
            let mut server = Ours::server(server_config.clone());
            settle(&mut client, &mut server);
            for end in [&client, &server] {
                assert_eq!(end.tls.info().unwrap().resumed, resumed, "{:?}", setup.version);
            }
            exchange(&mut client, &mut server);
        }
        // A ticket that we received is good at rustls' server, and the other way round.
        let mut theirs = Theirs::server(server_config.clone());
        settle(&mut Ours::client(client_config.clone()), &mut theirs);
        assert_eq!(theirs.rustls.handshake_kind(), Some(HandshakeKind::Resumed));
        let mut theirs = Theirs::client(client_config);
        let mut ours = Ours::server(server_config);
        settle(&mut theirs, &mut ours);
        assert_eq!(theirs.rustls.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(ours.tls.info().unwrap().resumed);
    }
}

#[test]
fn a_hello_may_be_asked_for_again() {
    let setup = Setup::tls13().with(|s| s.retry = true);
    let (client, server) = check(&setup);
    for end in [client, server] {
        assert_eq!(end.tls.info().unwrap().key_exchange, Some("secp384r1"));
    }
    let mut theirs = Theirs::client(setup.client());
    settle(&mut theirs, &mut Ours::server(setup.server()));
    assert_eq!(theirs.rustls.handshake_kind(), Some(HandshakeKind::FullWithHelloRetryRequest));
}

#[test]
fn messages_that_straddle_records() {
    for setup in Setup::both() {
        for fragment in [32, 33, 64, 500] {
            let setup = setup.clone().with(|s| {
                s.fragment = Some(fragment);
                s.client_cert = true;
                s.alpn = vec!["a-protocol-with-a-long-name"];
            });
            let (client, server) = check(&setup);
            assert_eq!(server.tls.info().unwrap().server_name.as_deref(), Some(NAME));
            drop(client);
        }
    }
}

#[test]
fn a_wrong_name_is_refused() {
    for setup in Setup::both() {
        let other = ServerName::try_from("other.example").unwrap();
        let mut client = Ours::new(Tls::client(setup.client(), other, Limits::default()).unwrap());
        let mut server = Ours::server(setup.server());
        settle(&mut client, &mut server);
        assert_eq!(client.failure(), Some(code::TLS_ALERT_SENT + 42), "bad_certificate");
        assert_eq!(server.failure(), Some(code::TLS_ALERT_RECEIVED + 42));
        assert!(!client.tls.is_established() && client.tls.info().is_none());
    }
}

#[test]
fn versions_that_do_not_meet() {
    let [new, old] = Setup::both();
    for (a, b) in [(&new, &old), (&old, &new)] {
        let (mut client, mut server) = (Ours::client(a.client()), Ours::server(b.server()));
        settle(&mut client, &mut server);
        let sent = server.failure().unwrap();
        assert_eq!(sent & !0xFF, code::TLS_ALERT_SENT);
        assert!(matches!(sent & 0xFF, 40 | 70), "{sent:x}");
        assert_eq!(client.failure(), Some(sent - code::TLS_ALERT_SENT + code::TLS_ALERT_RECEIVED));
    }
}

#[test]
fn what_is_not_tls_is_refused_at_its_header() {
    let rows: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-x\r\n",
        &[0; 5],
        &[22, 3, 1, 0, 0],
        &[22, 3, 1, 0xFF, 0xFF],
        &[22, 9, 9, 0, 10],
    ];
    for bytes in rows {
        let mut server = Ours::server(Setup::tls13().server());
        server.feed(&bytes[..4]);
        assert_eq!(server.said, []);
        server.feed(&bytes[4..5]);
        let failed = server.failure().unwrap_or_else(|| panic!("{bytes:?}"));
        assert_eq!(failed & !0xFF, code::TLS_ALERT_SENT, "{bytes:?}");
        server.out();
    }
}

#[test]
fn an_early_end_is_told_apart() {
    let setup = Setup::tls13();
    let mut server = Ours::server(setup.server());
    assert_eq!(server.tls.on_eof().unwrap_err().code, code::TLS_HANDSHAKE_EOF);
    server.feed(&[22]);
    assert_eq!(server.tls.on_eof().unwrap_err().code, code::TLS_HANDSHAKE_EOF);
    let (client, mut server) = pair(&setup);
    assert_eq!(client.tls.on_eof().unwrap_err().code, code::TLS_TRUNCATED);
    server.tls.close_notify();
    assert_eq!(server.tls.on_eof().unwrap_err().code, code::TLS_TRUNCATED, "only what came counts");
}

#[test]
fn unusable_configurations_are_refused_by_name() {
    let setup = Setup::tls13();
    let without = |change: fn(&mut ServerConfig)| {
        let mut config = ServerConfig::clone(&setup.server());
        change(&mut config);
        Tls::server(config.into(), Limits::default()).unwrap_err().reason
    };
    assert!(without(|c| c.enable_secret_extraction = false).contains("enable_secret_extraction"));
    assert!(without(|c| c.max_early_data_size = 1).contains("max_early_data_size"));
    let mut config = rustls::ClientConfig::clone(&setup.client());
    config.enable_early_data = true;
    let refused = Tls::client(config.into(), name(), Limits::default()).unwrap_err();
    assert!(refused.reason.contains("enable_early_data"));
}

#[test]
fn a_handshake_message_has_a_longest_length() {
    let mut server = Ours::new(
        Tls::server(
            Setup::tls13().server(),
            Limits { handshake_len_max: 3000, ..Limits::default() },
        )
        .unwrap(),
    );
    // The beginning of a ClientHello of 60,000 bytes, in records of 1,000.
    let mut record = vec![22, 3, 1, 0x03, 0xE8, 1, 0, 0xEA, 0x60];
    record.resize(1005, 7);
    for _ in 0..3 {
        server.feed(&record);
    }
    assert_eq!(server.failure(), Some(code::TLS_ALERT_SENT + 50), "{:?}", server.said);
}
