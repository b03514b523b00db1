//! TLS through the whole `Io`: bytes copied, allocations once established, and what an idle
//! connection holds.
//!
//! Run with `--nocapture` to see the figures.

mod common;
#[path = "common/counting.rs"]
mod counting;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use common::{PATIENCE, STREAM, TICK, dial, localhost};
use counting::so_far;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zero_io::{Config, Event, Io, TlsServerConfig, TlsVersion};

const NAME: &str = "host.example";
const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls13, TlsVersion::Tls12];

struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let own = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
        Identity { certificate: own.cert.der().clone(), key: own.signing_key.serialize_der() }
    })
}

/// A listening `Io`, and where.
fn listening(config: Config, version: TlsVersion) -> (Io, SocketAddr) {
    let Identity { certificate, key } = identity();
    let tls = TlsServerConfig::from_der([certificate.to_vec()], key)
        .versions(version, version)
        .build()
        .expect("a configuration");
    let mut io = Io::new(config).expect("an Io");
    let endpoint = io.tls_listen(localhost(), tls).expect("listen");
    let addr = io.local_addr(endpoint).expect("bound").inet().expect("an IP address");
    (io, addr)
}

type Peer = StreamOwned<ClientConnection, TcpStream>;

/// A blocking client whose handshake is done.
fn peer(addr: SocketAddr) -> Peer {
    let mut roots = RootCertStore::empty();
    roots.add(identity().certificate.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = dial(addr);
    while client.is_handshaking() {
        client.complete_io(&mut stream).expect("a handshake");
    }
    StreamOwned::new(client, stream)
}

/// Polls, with what `on_data` does about each payload, until the thread has ended.
fn serve<T>(
    io: &mut Io,
    thread: JoinHandle<T>,
    mut on_data: impl FnMut(&mut zero_io::Sender<'_>, zero_io::ConnId, &[u8]),
) -> T {
    let start = Instant::now();
    while !thread.is_finished() {
        assert!(start.elapsed() < PATIENCE, "{:?}", io.io_stats());
        io.poll(TICK).expect("a tick");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, data, .. } => on_data(&mut sender, conn, data),
                Event::Connected { conn, .. } => on_data(&mut sender, conn, &[]),
                Event::ReadClosed { conn, .. } => sender.close(conn).expect("open"),
                _ => {}
            }
        }
    }
    thread.join().expect("the peer is content")
}

const RECORD: usize = 16_384;
const RECORDS: usize = 4_096;
/// Bytes copied for a byte of payload received.
const COPIED_MAX: f64 = 0.3;

#[test]
fn few_received_bytes_are_copied() {
    for version in VERSIONS {
        let (mut io, addr) = listening(Config::default(), version);
        let sender = thread::spawn(move || {
            let mut peer = peer(addr);
            for _ in 0..RECORDS {
                peer.write_all(&[7; RECORD]).expect("it is read");
                peer.flush().expect("it is read");
            }
            peer.conn.send_close_notify();
            let _ = peer.flush();
            let _ = peer.read(&mut [0; 1]);
        });
        let mut received = 0;
        serve(&mut io, sender, |_, _, data| received += data.len());
        let stats = io.io_stats();
        let share = stats.bytes_copied_rx as f64 / received as f64;
        eprintln!("{version:?}: {share:.3} bytes copied for a byte of {received} received");
        assert_eq!(received, RECORD * RECORDS);
        assert!(share <= COPIED_MAX, "{share}");
    }
}

const BUFFERS: usize = 2_000;

#[test]
fn a_send_buffer_is_not_copied() {
    for version in VERSIONS {
        let (mut io, addr) = listening(Config::default(), version);
        let len = 16_000;
        let reader = thread::spawn(move || {
            let mut got = vec![0; len * BUFFERS];
            peer(addr).read_exact(&mut got).expect("all of it");
            assert!(got.iter().all(|byte| *byte == 9));
        });
        let (mut to, mut sent) = (None, 0);
        let start = Instant::now();
        while !reader.is_finished() {
            assert!(start.elapsed() < PATIENCE, "{:?}", io.io_stats());
            io.poll(TICK).expect("a tick");
            while let Some(event) = io.next_event() {
                if let Event::Connected { conn, .. } = event {
                    to = Some(conn);
                }
            }
            let Some(conn) = to else { continue };
            while sent < BUFFERS {
                let Ok(mut buffer) = io.send_buffer(len) else { break };
                buffer.as_mut_slice().fill(9);
                if io.stream_write_buffer(conn, STREAM, buffer).is_err() {
                    break;
                }
                sent += 1;
            }
        }
        reader.join().expect("the peer is content");
        let stats = io.io_stats();
        eprintln!("{version:?}: {} bytes copied of {} sent", stats.bytes_copied_tx, len * BUFFERS);
        assert_eq!((sent, stats.bytes_copied_tx), (BUFFERS, 0));
    }
}

const MESSAGE: usize = 64;
const WARM: usize = 4_000;
const COUNTED: usize = 20_000;

/// Writes and reads back until told to stop: small records, and now and then one that is not.
fn pound(addr: SocketAddr, stop: &AtomicBool) {
    let mut peer = peer(addr);
    let out = [7; 20_000];
    let mut back = [0; 20_000];
    for round in 0.. {
        let len = if round % 50 == 0 { out.len() } else { MESSAGE };
        let sent = peer.write_all(&out[..len]).and_then(|()| peer.flush());
        let got = sent.and_then(|()| peer.read_exact(&mut back[..len]));
        if stop.load(Ordering::Relaxed) || got.is_err() {
            return;
        }
        assert_eq!(out[..len], back[..len]);
    }
}

#[test]
fn established_records_allocate_nothing() {
    for (version, forward) in VERSIONS.into_iter().flat_map(|v| [(v, false), (v, true)]) {
        let (mut io, addr) = listening(Config::default(), version);
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<JoinHandle<()>> = (0..4)
            .map(|_| {
                let stop = Arc::clone(&stop);
                thread::spawn(move || pound(addr, &stop))
            })
            .collect();
        let start = Instant::now();
        let mut run = |records: usize| {
            let mut done = 0;
            while done < records {
                assert!(start.elapsed() < PATIENCE, "{done} of {records}");
                io.poll(TICK).expect("a tick");
                let (mut events, mut sender) = io.split();
                while let Some(event) = events.next_event() {
                    let Event::StreamFrame { conn, stream, data, .. } = event else { continue };
                    if forward {
                        sender.forward(conn, stream, data).expect("room");
                    } else {
                        assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
                    }
                    done += 1;
                }
            }
            done
        };
        run(WARM);
        let before = so_far().0;
        let records = run(COUNTED);
        let allocations = so_far().0 - before;
        eprintln!("{version:?}, forward {forward}: {allocations} allocations, {records} records");
        stop.store(true, Ordering::Relaxed);
        drop(io);
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        assert_eq!(allocations, 0);
    }
}

const IDLE: usize = 1_000;
/// Bytes that an idle connection may hold.
const IDLE_BYTES_MAX: usize = 8 << 10;
const GREETING: usize = 100;

/// All that is allocated, by C too.
fn in_use() -> usize {
    // SAFETY: a plain query.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Sockets of clients that shook hands, were greeted, and forgot their keys.
fn idle_peers(addr: SocketAddr, count: usize) -> JoinHandle<Vec<TcpStream>> {
    thread::spawn(move || {
        let one = |_| {
            let mut peer = peer(addr);
            peer.read_exact(&mut [0; GREETING]).expect("a greeting");
            peer.sock
        };
        (0..count).map(one).collect()
    })
}

#[test]
fn an_idle_connection_is_small() {
    for version in VERSIONS {
        let config = Config::default().with(|c| c.max_connections = 2 * IDLE);
        let (mut io, addr) = listening(config, version);
        let greet = |io: &mut Io, count| {
            let peers = idle_peers(addr, count);
            serve(io, peers, |sender, conn, data| {
                assert_eq!(data, b"");
                sender.stream_write(conn, STREAM, &[1; GREETING]).expect("room");
            })
        };
        // Tickets and caches fill up first: they are bounded, and not a connection's.
        drop(greet(&mut io, 600));
        let start = Instant::now();
        while io.pool_stats().of(zero_io::ReferencePool::PerConn).used > 0 {
            assert!(start.elapsed() < PATIENCE);
            io.poll(TICK).expect("a tick");
            while io.next_event().is_some() {}
        }
        let before = in_use();
        let peers = greet(&mut io, IDLE);
        let bytes = in_use().saturating_sub(before) / IDLE;
        let buffers = io.pool_stats();
        eprintln!("{version:?}: {bytes} bytes for an idle connection; {:?}", buffers.pools);
        assert!(bytes > 0 && bytes <= IDLE_BYTES_MAX, "{bytes}");
        drop(peers);
    }
}
