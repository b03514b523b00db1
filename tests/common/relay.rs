//! A relay for UDP on the real network: what comes from clients goes to a server, and back, after
//! whatever may happen to datagrams on their way.
//!
//! *Invariants*
//! - What happens follows from the seed and the order of arrival.
//! - Bytes are counted as they arrive, before anything happens to them.

use std::collections::{BinaryHeap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the relay rests when nothing is to be done.
const REST: Duration = Duration::from_micros(100);
const DATAGRAM_LEN_MAX: usize = 65_536;

/// What happens to datagrams, both ways.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path {
    /// So many of a thousand are lost, doubled, held back for a while, or changed by a bit.
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    pub(crate) reorder: u64,
    pub(crate) corrupt: u64,
    /// How long each takes, one way.
    pub(crate) delay: Duration,
    /// Longer ones are lost.
    pub(crate) len_max: usize,
    /// All are lost, from clients and from the server.
    pub(crate) holes: [bool; 2],
}

impl Path {
    pub(crate) const CLEAR: Self = Self {
        loss: 0,
        duplicate: 0,
        reorder: 0,
        corrupt: 0,
        delay: Duration::ZERO,
        len_max: DATAGRAM_LEN_MAX,
        holes: [false; 2],
    };
}

/// Who sent.
pub(crate) const CLIENTS: usize = 0;
pub(crate) const SERVER: usize = 1;

#[derive(Debug, Default)]
struct Counts {
    datagrams: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
}

#[derive(Debug)]
struct Shared {
    path: Mutex<Path>,
    /// The last datagram of a client.
    last: Mutex<Vec<u8>>,
    server: Mutex<SocketAddr>,
    /// Where its last datagram came from.
    answered: Mutex<Option<SocketAddr>>,
    counts: Counts,
    rebinds: AtomicBool,
    ends: AtomicBool,
}

/// A relay, with a thread of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    /// What clients are to send to.
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn new(server: SocketAddr, seed: u64, path: Path) -> Self {
        let front = socket();
        let addr = front.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            path: Mutex::new(path),
            last: Mutex::default(),
            server: Mutex::new(server),
            answered: Mutex::default(),
            counts: Counts::default(),
            rebinds: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let worker = Worker {
            front,
            shared: Arc::clone(&shared),
            backs: HashMap::new(),
            waiting: BinaryHeap::new(),
            state: seed,
            serial: 0,
        };
        let thread = Some(std::thread::spawn(move || worker.run()));
        Self { addr, shared, thread }
    }

    /// What happens from now on.
    pub(crate) fn set(&self, path: Path) {
        *self.shared.path.lock().expect("the thread does not panic") = path;
    }

    /// Clients seem to be somewhere else from now on.
    pub(crate) fn rebind(&self) {
        self.shared.rebinds.store(true, Ordering::Relaxed);
    }

    /// Clients' datagrams go to that address of the server from now on.
    pub(crate) fn redirect(&self, server: SocketAddr) {
        *self.shared.server.lock().expect("the thread does not panic") = server;
    }

    /// The address that the server's last datagram left from.
    pub(crate) fn answered_from(&self) -> Option<SocketAddr> {
        *self.shared.answered.lock().expect("the thread does not panic")
    }

    /// Bytes that arrived from clients, or from the server.
    pub(crate) fn bytes(&self, from: usize) -> u64 {
        self.shared.counts.bytes[from].load(Ordering::Relaxed)
    }

    /// The last datagram that came from a client.
    pub(crate) fn last(&self) -> Vec<u8> {
        self.shared.last.lock().expect("the thread does not panic").clone()
    }

    pub(crate) fn datagrams(&self, from: usize) -> u64 {
        self.shared.counts.datagrams[from].load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_nonblocking(true).expect("a socket that does not block");
    socket
}

/// A datagram that waits for its time; the earliest is the greatest.
#[derive(PartialEq, Eq)]
struct Waiting {
    at: Instant,
    serial: u64,
    client: SocketAddr,
    from: usize,
    bytes: Vec<u8>,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Worker {
    front: UdpSocket,
    shared: Arc<Shared>,
    /// The sockets that each client's datagrams leave from.
    backs: HashMap<SocketAddr, UdpSocket>,
    waiting: BinaryHeap<Waiting>,
    state: u64,
    serial: u64,
}

impl Worker {
    fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_LEN_MAX];
        while !self.shared.ends.load(Ordering::Relaxed) {
            if self.shared.rebinds.swap(false, Ordering::Relaxed) {
                self.backs.values_mut().for_each(|back| *back = socket());
            }
            let mut is_idle = true;
            while let Some((len, client)) = received(self.front.recv_from(&mut buffer)) {
                is_idle = false;
                self.backs.entry(client).or_insert_with(socket);
                self.take(client, CLIENTS, &buffer[..len]);
            }
            let clients: Vec<SocketAddr> = self.backs.keys().copied().collect();
            for client in clients {
                while let Some((len, from)) = received(self.backs[&client].recv_from(&mut buffer)) {
                    is_idle = false;
                    *self.shared.answered.lock().expect("nobody panics with it") = Some(from);
                    self.take(client, SERVER, &buffer[..len]);
                }
            }
            self.pass_on();
            if is_idle {
                std::thread::sleep(REST);
            }
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^ (x >> 27)
    }

    /// Whether it happens to this one.
    fn hits(&mut self, of_thousand: u64) -> bool {
        of_thousand > 0 && self.next() % 1_000 < of_thousand
    }

    fn take(&mut self, client: SocketAddr, from: usize, bytes: &[u8]) {
        self.shared.counts.datagrams[from].fetch_add(1, Ordering::Relaxed);
        self.shared.counts.bytes[from].fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if from == CLIENTS {
            *self.shared.last.lock().expect("nobody panics with it") = bytes.to_vec();
        }
        let path = *self.shared.path.lock().expect("nobody panics with it");
        let is_lost = path.holes[from] || bytes.len() > path.len_max || self.hits(path.loss);
        if is_lost {
            return;
        }
        let copies = if self.hits(path.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut bytes = bytes.to_vec();
            if self.hits(path.corrupt) && !bytes.is_empty() {
                let at = self.next() as usize % bytes.len();
                bytes[at] ^= 1 << (self.next() % 8);
            }
            let late =
                if self.hits(path.reorder) { Duration::from_millis(3) } else { Duration::ZERO };
            self.serial += 1;
            let (at, serial) = (Instant::now() + path.delay + late, self.serial);
            self.waiting.push(Waiting { at, serial, client, from, bytes });
        }
    }

    fn pass_on(&mut self) {
        let now = Instant::now();
        let server = *self.shared.server.lock().expect("nobody panics with it");
        while self.waiting.peek().is_some_and(|first| first.at <= now) {
            let Some(Waiting { client, from, bytes, .. }) = self.waiting.pop() else { return };
            // What the kernel does not take is lost.
            let _ = match from {
                CLIENTS => self.backs[&client].send_to(&bytes, server),
                _ => self.front.send_to(&bytes, client),
            };
        }
    }
}

/// What was received, if anything. An ICMP error is none.
fn received(result: std::io::Result<(usize, SocketAddr)>) -> Option<(usize, SocketAddr)> {
    match result {
        Ok(found) => Some(found),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(_) => None,
    }
}
