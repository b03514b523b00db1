//! What it costs that a datagram came to the wrong shard: `cargo bench --bench cluster_forward`.
//!
//! Two shards on threads of their own and a client that sends QUIC datagrams of 1,200 bytes as fast
//! as it may, on one connection. It moves from port to port until the kernel leads its packets to
//! the shard that has the connection, or to the other one, which passes them on; so in turns. The
//! CPU time of both shards' threads (schedstat, kernel included), divided by the datagrams that
//! were told of, is compared between neighbouring turns; the medians are printed.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "cluster/cpu.rs"]
mod cpu;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::generate_simple_self_signed;
use zero_io::{
    ClusterConfig, Config, ConnId, CpuAffinity, DatagramsFull, DrainOptions, Event, Io, IoCluster,
    IoError, QuicConnectConfig, QuicDatagrams, QuicListenConfig, Roots, RoutingStrategy, ShardIo,
    TlsClientConfig, TlsServerConfig, pin_current_thread,
};

/// Bytes of payload with which a packet has 1,200.
const PAYLOAD: usize = 1160;
const SHARDS: usize = 2;
const TURNS: usize = 15;
const SPAN: Duration = Duration::from_millis(400);
const SETTLE: Duration = Duration::from_millis(100);

/// What one shard says while it runs.
#[derive(Default)]
struct Said {
    told: AtomicU64,
    forwarded: AtomicU64,
    full: AtomicU64,
}

type All = Arc<[Said; SHARDS]>;

fn serve(shard: &mut ShardIo, said: &Said) -> zero_io::Result<()> {
    while shard.is_running() {
        shard.poll(Duration::from_secs(1))?;
        let mut told = 0;
        while let Some(event) = shard.next_event() {
            told += u64::from(matches!(event, Event::Datagram { .. }));
        }
        said.told.fetch_add(told, Ordering::Relaxed);
        let stats = shard.fleet_stats();
        said.forwarded.store(stats.forwarded_out, Ordering::Relaxed);
        said.full.store(stats.forward_full, Ordering::Relaxed);
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Sums {
    cpu_ns: u64,
    told: u64,
    forwarded: u64,
    full: u64,
}

fn sums(said: &All) -> Sums {
    let sum = |of: fn(&Said) -> &AtomicU64| {
        said.iter().map(|said| of(said).load(Ordering::Relaxed)).sum::<u64>()
    };
    Sums {
        cpu_ns: cpu::of_threads("shard-"),
        told: sum(|said| &said.told),
        forwarded: sum(|said| &said.forwarded),
        full: sum(|said| &said.full),
    }
}

struct Client {
    io: Io,
    conn: ConnId,
}

impl Client {
    fn connect(addr: SocketAddr, pem: &str) -> Self {
        let roots = Roots::from_pem_bytes(pem);
        let tls = TlsClientConfig::with_roots(roots).server_name("localhost").build().unwrap();
        let config = QuicConnectConfig::new(addr, tls).with(|c| {
            c.transport.mtu_discovery = None;
            let mut datagrams = QuicDatagrams::default();
            datagrams.when_full = DatagramsFull::Refuse;
            c.transport.datagrams = Some(datagrams);
        });
        let mut io = Io::new(Config::default()).expect("an Io");
        let conn = io.quic_connect_with(config).expect("a connection");
        // It may move once the server has seen the handshake to its end.
        while !is_confirmed(&mut io, conn) {
            io.poll(Duration::from_millis(10)).expect("poll");
            while let Some(event) = io.next_event() {
                assert!(!matches!(event, Event::Disconnected { .. }), "{event:?}");
            }
        }
        Self { io, conn }
    }

    /// Sends as much as is taken.
    fn send_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            for _ in 0..64 {
                match self.io.send_datagram(self.conn, &[7; PAYLOAD]) {
                    Ok(()) => {}
                    Err(IoError::QueueFull { .. }) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            self.io.poll(Duration::ZERO).expect("poll");
            while self.io.next_event().is_some() {}
        }
    }

    /// Moves until its packets are passed on, or until they are not.
    fn aim(&mut self, said: &All, forwarded: bool) {
        loop {
            self.io.quic_rebind(self.conn, "127.0.0.1:0".parse().unwrap()).expect("to move");
            self.send_for(SETTLE);
            let before = sums(said);
            self.send_for(SETTLE);
            let after = sums(said);
            if (after.forwarded > before.forwarded) == forwarded {
                return;
            }
        }
    }
}

fn is_confirmed(io: &mut Io, conn: ConnId) -> bool {
    let stats = io.conn_stats(conn).expect("a connection");
    stats.quic.is_some_and(|quic| quic.is_confirmed)
}

/// Nanoseconds per datagram of one turn.
fn turn(client: &mut Client, said: &All, forwarded: bool) -> f64 {
    client.aim(said, forwarded);
    let before = sums(said);
    client.send_for(SPAN);
    let after = sums(said);
    let told = after.told - before.told;
    let (passed, full) = (after.forwarded - before.forwarded, after.full - before.full);
    // Acknowledgements have none of them.
    assert_eq!(passed > 0, forwarded);
    let ns = (after.cpu_ns - before.cpu_ns) as f64 / told as f64;
    println!("  {ns:7.0} ns, {told} told of, {passed} passed on, {full} found no room");
    ns
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn measure(cpus: [usize; SHARDS]) {
    let certified = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (pem, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let config = ClusterConfig::new(SHARDS as u16).with(|c| {
        c.routing = RoutingStrategy::DcidDispatch;
        c.cpu_affinity = CpuAffinity::List(cpus.to_vec());
    });
    let mut cluster = IoCluster::new(config).expect("a cluster");
    let tls = TlsServerConfig::from_pem_bytes(&pem, key).build().expect("TLS");
    let listen = QuicListenConfig::new("127.0.0.1:0".parse().unwrap(), tls);
    let endpoint = cluster.quic_listen_with(listen).expect("a listener");
    let addr = cluster.local_addr(endpoint).unwrap().inet().expect("an address");
    let (handle, said) = (cluster.handle(), All::default());
    let theirs = Arc::clone(&said);
    let running = std::thread::spawn(move || {
        cluster.run(|shard| serve(shard, &theirs[usize::from(shard.shard())]))
    });
    let mut client = Client::connect(addr, &pem);
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        right.push(turn(&mut client, &said, false));
        wrong.push(turn(&mut client, &said, true));
    }
    let mut more: Vec<f64> = wrong.iter().zip(&right).map(|(wrong, right)| wrong - right).collect();
    println!(
        "shards on {cpus:?}: {:.0} ns of CPU per datagram at the right shard, {:.0} at the wrong \
         one; {:.0} more ({:.0} to {:.0})",
        median(&mut right),
        median(&mut wrong),
        median(&mut more),
        more[TURNS / 4],
        more[TURNS * 3 / 4]
    );
    drop(client);
    handle.shutdown(DrainOptions::default()).expect("room in the mail");
    let report = running.join().expect("no panic").expect("a report");
    assert!(report.is_clean(), "{report:?}");
}

fn main() {
    // `cargo test --benches` runs it too.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let cpus = zero_io::allowed_cpus().expect("processors");
    let (first, last) = (cpus[0], *cpus.last().expect("one at least"));
    pin_current_thread(last).expect("to be allowed there");
    measure([first, first]);
    measure([first, last]);
}
