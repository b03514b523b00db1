//! The TLS machine: allocations per record, once established, and what a connection holds. By a
//! counting allocator, which does not see what aws-lc takes in C: `benches/tls_record.rs` does.
//!
//! Run with `--nocapture` to see the figures.

#[path = "common/counting.rs"]
mod counting;

use std::hint::black_box;
use std::sync::Arc;

use counting::so_far;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use zero_io::tls_fuzz::{Machine, ROOM_BEFORE, ROOM_BEHIND, Said};

type Version = &'static SupportedProtocolVersion;

const NAME: &str = "host.example";

fn configs(version: Version) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let own = rcgen::generate_simple_self_signed([NAME.to_string()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let chain = vec![own.cert.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

/// Gives everything that `from` has to `to`.
fn carry(from: &mut Machine, to: &mut Machine) -> bool {
    let mut bytes = from.transmit();
    let mut at = 0;
    while at < bytes.len() {
        match to.open(&mut bytes[at..]) {
            Said::Control(len) | Said::Established(len) => at += len,
            other => panic!("{other:?}"),
        }
    }
    at > 0
}

fn pair(configs: &(Arc<ClientConfig>, Arc<ServerConfig>)) -> (Machine, Machine) {
    let name = ServerName::try_from(NAME).unwrap();
    let mut client = Machine::client(Arc::clone(&configs.0), name).unwrap();
    let mut server = Machine::server(Arc::clone(&configs.1)).unwrap();
    while carry(&mut client, &mut server) | carry(&mut server, &mut client) {}
    assert!(client.is_established() && server.is_established());
    (client, server)
}

const VERSIONS: [Version; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
const RECORDS: usize = 10_000;

#[test]
fn no_allocation_per_record() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(&configs(version));
        let mut buf = vec![7; ROOM_BEFORE + 16_384 + ROOM_BEHIND];
        let plain = vec![7; 1000];
        let before = so_far().0;
        for i in 0..RECORDS {
            let len = [0, 1, 1000, 16_384][i % 4];
            let range =
                client.seal_in_place(&mut buf, ROOM_BEFORE..ROOM_BEFORE + len).expect("sealed");
            let Said::Data(opened, _) = server.open(&mut buf[range]) else { panic!("data") };
            assert_eq!(black_box(opened).len(), len);
            let sealed_len = server.seal_into(&plain, &mut buf).expect("sealed");
            let Said::Data(opened, _) = client.open(&mut buf[..sealed_len]) else { panic!("data") };
            assert_eq!(black_box(opened).len(), plain.len());
        }
        let allocations = so_far().0 - before;
        eprintln!("{version:?}: {allocations} allocations for {} records", 2 * RECORDS);
        assert_eq!(allocations, 0);
    }
}

/// What Rust's side of a connection may hold. aws-lc holds two keys besides, in C.
const HELD_MAX: i64 = 2_560;

#[test]
fn an_established_connection_is_small() {
    for version in VERSIONS {
        let configs = configs(version);
        // Tickets and caches fill up first: they are bounded, and not a connection's.
        for _ in 0..600 {
            drop(pair(&configs));
        }
        let before = so_far().1;
        let (client, server) = pair(&configs);
        let both = so_far().1 - before;
        drop(client);
        let server_bytes = so_far().1 - before;
        drop(server);
        let client_bytes = both - server_bytes;
        eprintln!("{version:?}: client {client_bytes} bytes, server {server_bytes} bytes");
        assert!(server_bytes <= HELD_MAX, "{server_bytes}");
        assert!(client_bytes <= HELD_MAX, "{client_bytes}");
    }
}
