//! The record layer against the bare cipher and against rustls' buffered connections:
//! `cargo bench --features _sim,tls --bench tls_record`.
//!
//! One record is sealed and opened again, in one thread, over memory that stays warm. The kinds
//! take turns in short slices, and of each the fastest slice counts, so that a noisy machine
//! hurts all alike. *Share* is the bare cipher's time in the time of a kind.
//!
//! At the end: what an idle connection holds, by the allocator's own books, aws-lc's part in C
//! included.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../tests/common/machines.rs"]
mod machines;

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use machines::{Configs, NAME, carry, pair};
use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, SupportedCipherSuite};
use zero_io::tls_fuzz::{Machine, ROOM_BEFORE, ROOM_BEHIND, Said};

const SIZES: [usize; 2] = [1024, 16_384];
const SLICES: usize = 60;
const SLICE: Duration = Duration::from_millis(8);
const IDLE: usize = 400;

/// Seals and opens one record.
type Run = Box<dyn FnMut()>;
type Row = (&'static str, SupportedCipherSuite, &'static Algorithm);

const ROWS: [Row; 5] = [
    ("1.3 AES-128-GCM", suite::TLS13_AES_128_GCM_SHA256, &AES_128_GCM),
    ("1.3 AES-256-GCM", suite::TLS13_AES_256_GCM_SHA384, &AES_256_GCM),
    ("1.3 ChaCha20-Poly1305", suite::TLS13_CHACHA20_POLY1305_SHA256, &CHACHA20_POLY1305),
    ("1.2 AES-128-GCM", suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &AES_128_GCM),
    (
        "1.2 ChaCha20-Poly1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &CHACHA20_POLY1305,
    ),
];

fn main() {
    println!("| suite | bytes | kind | MB/s | share of the bare cipher |");
    println!("|---|---|---|---|---|");
    for row in ROWS {
        for size in SIZES {
            compare(row, size);
        }
    }
    println!();
    println!("| version | idle connection, bytes: client | server |");
    println!("|---|---|---|");
    for row in [ROWS[0], ROWS[3]] {
        idle(row);
    }
}

fn configs(suite: SupportedCipherSuite) -> Configs {
    let is_tls13 = suite.tls13().is_some();
    let version = if is_tls13 { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
    machines::configs(version, Some(suite))
}

fn compare((name, suite, algorithm): Row, size: usize) {
    let configs = configs(suite);
    let mut kinds: [(&str, Run); 4] = [
        ("bare cipher", bare(algorithm, size)),
        ("seal_in_place, open", in_place(&configs, size)),
        ("seal_into, open", into(&configs, size)),
        ("rustls, buffered", rustls_buffered(&configs, size)),
    ];
    let mut best = [f64::INFINITY; 4];
    for _ in 0..SLICES {
        for ((_, run), best) in kinds.iter_mut().zip(&mut best) {
            *best = best.min(slice(run));
        }
    }
    for ((kind, _), seconds) in kinds.iter().zip(best) {
        let rate = size as f64 / seconds / 1e6;
        println!("| {name} | {size} | {kind} | {rate:.0} | {:.3} |", best[0] / seconds);
    }
}

/// Seconds of one run.
fn slice(run: &mut dyn FnMut()) -> f64 {
    let (start, mut runs) = (Instant::now(), 0);
    while start.elapsed() < SLICE {
        for _ in 0..16 {
            run();
        }
        runs += 16;
    }
    start.elapsed().as_secs_f64() / f64::from(runs)
}

fn bare(algorithm: &'static Algorithm, size: usize) -> Run {
    let key = vec![7; algorithm.key_len()];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("a key"));
    let mut buf = vec![7; size];
    let mut seq = 0u64;
    Box::new(move || {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&seq.to_be_bytes());
        seq += 1;
        let (seal, open) =
            (Nonce::assume_unique_for_key(nonce), Nonce::assume_unique_for_key(nonce));
        let aad = [1; 5];
        let tag = key.seal_in_place_separate_tag(seal, Aad::from(aad), &mut buf).expect("sealed");
        let opened = key.open_in_place_separate_tag(open, Aad::from(aad), tag.as_ref(), &mut buf);
        black_box(opened.expect("opened"));
    })
}

fn in_place(configs: &Configs, size: usize) -> Run {
    let (mut client, mut server) = pair(configs);
    let mut buf = vec![7; ROOM_BEFORE + size + ROOM_BEHIND];
    Box::new(move || {
        let payload = ROOM_BEFORE..ROOM_BEFORE + size;
        let record = client.seal_in_place(&mut buf, payload).expect("sealed");
        let Said::Data(plain, _) = server.open(&mut buf[record]) else { panic!("not data") };
        black_box(plain);
        catch_up(&mut client, &mut server);
    })
}

fn into(configs: &Configs, size: usize) -> Run {
    let (mut client, mut server) = pair(configs);
    let plain = vec![7; size];
    let mut out = vec![0; ROOM_BEFORE + size + ROOM_BEHIND];
    Box::new(move || {
        let len = client.seal_into(&plain, &mut out).expect("sealed");
        let Said::Data(plain, _) = server.open(&mut out[..len]) else { panic!("not data") };
        black_box(plain);
        catch_up(&mut client, &mut server);
    })
}

/// A key update, once in a long while.
fn catch_up(client: &mut Machine, server: &mut Machine) {
    if client.transmit_len() > 0 {
        carry(client, server);
    }
}

fn rustls_buffered(configs: &Configs, size: usize) -> Run {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&configs.0), name).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(&configs.1)).expect("a server");
    let mut wire = Vec::with_capacity(2 * size + 4096);
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        wire.clear();
        client.write_tls(&mut wire).expect("written");
        take(&mut server, &wire);
        wire.clear();
        server.write_tls(&mut wire).expect("written");
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("read");
            client.process_new_packets().expect("good");
        }
    }
    let plain = vec![7; size];
    let mut opened = vec![0; size];
    Box::new(move || {
        wire.clear();
        client.writer().write_all(&plain).expect("written");
        while client.wants_write() {
            client.write_tls(&mut wire).expect("written");
        }
        take(&mut server, &wire);
        server.reader().read_exact(&mut opened).expect("the payload");
        black_box(&opened);
    })
}

fn take(server: &mut ServerConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).expect("read");
        server.process_new_packets().expect("good");
    }
}

fn idle((name, suite, _): Row) {
    let configs = configs(suite);
    // Caches of sessions and tickets fill up first.
    for _ in 0..600 {
        drop(pair(&configs));
    }
    let before = in_use();
    let (clients, servers): (Vec<_>, Vec<_>) = (0..IDLE).map(|_| pair(&configs)).unzip();
    let both = in_use() - before;
    drop(clients);
    let server = in_use().saturating_sub(before);
    drop(servers);
    let client = both - server;
    println!("| {} | {} | {} |", &name[..3], client / IDLE, server / IDLE);
}

/// Bytes that the C library's allocator has given out, to Rust and to aws-lc.
fn in_use() -> usize {
    // SAFETY: a plain query of this, the only thread.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
