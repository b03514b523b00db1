//! The TLS machine: allocations per record, once established, and what a connection holds. By a
//! counting allocator, which does not see what aws-lc takes in C: `benches/tls_record.rs` does.
//!
//! Run with `--nocapture` to see the figures.

#[path = "common/counting.rs"]
mod counting;
#[path = "common/machines.rs"]
mod machines;

use std::hint::black_box;

use counting::so_far;
use machines::{configs, pair};
use rustls::SupportedProtocolVersion;
use zero_io::tls_fuzz::{ROOM_BEFORE, ROOM_BEHIND, Said};

type Version = &'static SupportedProtocolVersion;

const VERSIONS: [Version; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
const RECORDS: usize = 10_000;

#[test]
fn no_allocation_per_record() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(&configs(version, None));
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
        let configs = configs(version, None);
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
