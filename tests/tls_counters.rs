//! TLS through the whole `Io`: bytes copied, allocations once established, and what an idle
//! connection holds.
//!
//! Run with `--nocapture` to see the figures.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use common::{PATIENCE, STREAM, TICK, dial, localhost};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zero_io::{Config, Event, Io, TlsServerConfig, TlsVersion};

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and is of no interest.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: handed through.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: handed through.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: handed through.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

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
