//! Sessions: resumed, counted, forgotten.

use super::super::{TlsClientConfig, TlsInfo, TlsServerBuilder, TlsServerConfig, TlsVersion};
use super::world::{Authority, Issued, client, good};

const NAME: &str = "a.example";

fn server(issued: &Issued) -> TlsServerBuilder {
    TlsServerConfig::with_identity(issued.identity())
}

/// Whether the next handshake resumes.
#[track_caller]
fn resumes(client: &TlsClientConfig, server: &TlsServerConfig) -> bool {
    let pair = good(client, server, NAME);
    let of_client = TlsInfo::of(&pair.client, None).unwrap();
    let of_server = TlsInfo::of(&pair.server, None).unwrap();
    assert_eq!(of_client.resumed, of_server.resumed);
    // TLS 1.2 resumes without a key exchange, TLS 1.3 never does.
    let exchanged = of_client.version == TlsVersion::Tls13 || !of_client.resumed;
    assert_eq!(of_client.key_exchange.is_some(), exchanged);
    assert_eq!(of_server.key_exchange.is_some(), exchanged);
    // Who the peer is stays known.
    assert!(of_client.peer.is_some());
    of_client.resumed
}

#[test]
fn by_ticket_by_cache_or_not_at_all() {
    type Change = fn(TlsServerBuilder) -> TlsServerBuilder;
    let rows: &[(&str, Change, bool)] = &[
        ("tickets and cache", |b| b, true),
        ("tickets", |b| b.session_cache(0), true),
        ("cache", |b| b.session_tickets(false), true),
        ("neither", |b| b.session_tickets(false).session_cache(0), false),
    ];
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    for (what, change, expected) in rows {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let config = change(server(&issued)).versions(version, version).build().unwrap();
            let willing = client(&root).build().unwrap();
            assert!(!resumes(&willing, &config));
            assert_eq!(resumes(&willing, &config), *expected, "{what}, {version}");
            // Clones share what they know.
            assert_eq!(resumes(&willing.clone(), &config.clone()), *expected);
            let unwilling = client(&root).session_cache(0).build().unwrap();
            assert!(!resumes(&unwilling, &config) && !resumes(&unwilling, &config));
        }
    }
}

#[test]
fn tickets_are_as_many_as_configured() {
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    let willing = client(&root).build().unwrap();
    for count in [0, 1, 2, 8] {
        let config = server(&issued).send_tickets(count).build().unwrap();
        let pair = good(&willing, &config, NAME);
        assert_eq!(pair.client.tls13_tickets_received(), count as u32);
    }
}

#[test]
fn forgetting_ends_resumption_and_no_connection() {
    let root = Authority::new("root");
    let issued = root.issue(&[NAME]);
    for tickets in [true, false] {
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let config = server(&issued).session_tickets(tickets).versions(version, version);
            let config = config.build().unwrap();
            let willing = client(&root).build().unwrap();
            assert!(!resumes(&willing, &config) && resumes(&willing, &config));
            config.reload_handle().forget_sessions().unwrap();
            assert!(!resumes(&willing, &config), "{version}");
            assert!(resumes(&willing, &config), "{version}");
        }
    }
}

#[test]
fn a_session_outlives_its_certificate() {
    // RFC 8446 §4.6.1 permits it; what a resumed handshake tells about the peer is from the first.
    let root = Authority::new("root");
    let (old, new) = (root.issue(&[NAME]), root.issue(&[NAME]));
    let config = server(&old).build().unwrap();
    let willing = client(&root).build().unwrap();
    assert!(!resumes(&willing, &config));
    let handle = config.reload_handle();
    handle.reload_from_bytes(&new.chain_pem, &new.key_pem).unwrap();
    let pair = good(&willing, &config, NAME);
    assert!(TlsInfo::of(&pair.client, None).unwrap().resumed);
    assert_eq!(pair.shown(), Some(old.leaf()));
    handle.forget_sessions().unwrap();
    assert_eq!(good(&willing, &config, NAME).shown(), Some(new.leaf()));
}
