//! Allocations of what shards do for each other, once warm, by a counting allocator. All shards are
//! on one thread, and what each call allocates is counted on its own account. Run with
//! `--nocapture` to see the figures.

#[path = "common/counting.rs"]
mod counting;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use counting::so_far;
use rcgen::{CertificateParams, KeyPair};
use zero_io::{
    ClusterConfig, Config, ConnId, CpuAffinity, Event, FleetStats, Io, IoCluster,
    QuicConnectConfig, QuicListenConfig, Roots, RoutingStrategy, ShardIo, TlsClientConfig,
    TlsServerConfig,
};

const PATIENCE: Duration = Duration::from_secs(30);
const WARM: u64 = 2000;
const COUNTED: u64 = 8000;
const DATAGRAM: usize = 1000;
const CELLS: usize = 16;

fn counted<T>(sum: &mut u64, work: impl FnOnce() -> T) -> T {
    let before = so_far().0;
    let result = work();
    *sum += so_far().0 - before;
    result
}

/// Two shards, and a client whose connection is with shard 0.
struct Site {
    _cluster: IoCluster,
    shards: Vec<ShardIo>,
    addr: SocketAddr,
    client: Io,
    conn: ConnId,
    /// Datagrams that came to shard 0.
    came: u64,
    /// Allocations of each shard while it was polled and took what there was, and of shard 0 while
    /// it was polled again to send acknowledgements: those are the machine's (`quic_alloc`).
    allocated: [u64; 2],
    sent: u64,
}

impl Site {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        let config = ClusterConfig::new(2).with(|c| {
            c.routing = RoutingStrategy::DcidDispatch;
            c.cpu_affinity = CpuAffinity::Off;
            c.forward_cells = CELLS;
        });
        let mut cluster = IoCluster::new(config).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let tls = TlsServerConfig::from_pem_bytes(cert.pem(), key.serialize_pem());
        let listen = QuicListenConfig::new(any, tls.build().unwrap());
        let endpoint = cluster.quic_listen_with(listen).unwrap();
        let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
        let shards = cluster.seeds().unwrap().into_iter().map(|seed| seed.grow().unwrap());
        let shards = shards.collect();
        let roots = Roots::from_pem_bytes(cert.pem());
        let tls = TlsClientConfig::with_roots(roots).server_name("localhost").build().unwrap();
        let connect = QuicConnectConfig::new(addr, tls).with(|c| {
            c.transport.mtu_discovery = None;
            // What is not acknowledged is not to stop it.
            c.transport.initial_window = Some(1 << 20);
        });
        let mut client = Io::new(Config::default()).unwrap();
        let conn = client.quic_connect_with(connect.clone()).unwrap();
        let (came, allocated, sent) = (0, [0; 2], 0);
        let mut site =
            Self { _cluster: cluster, shards, addr, client, conn, came, allocated, sent };
        site.reach_first(&connect);
        site.move_elsewhere();
        site
    }

    /// Connects again, until it is with shard 0.
    fn reach_first(&mut self, connect: &QuicConnectConfig) {
        let start = Instant::now();
        for before in 0.. {
            while self.handshakes() == before {
                assert!(start.elapsed() < PATIENCE);
                self.round();
            }
            self.settle();
            if self.shards[0].io_stats().quic_handshakes > 0 {
                return;
            }
            self.client.close(self.conn).unwrap();
            self.settle();
            let connect = connect.clone().with(|c| c.bind = Some("127.0.0.1:0".parse().unwrap()));
            self.conn = self.client.quic_connect_with(connect).unwrap();
        }
    }

    fn handshakes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.io_stats().quic_handshakes).sum()
    }

    /// Moves the client until shard 1 receives what it sends.
    fn move_elsewhere(&mut self) {
        let start = Instant::now();
        while self.fleet(1).forwarded_out == 0 {
            assert!(start.elapsed() < PATIENCE);
            let bind = "127.0.0.1:0".parse().unwrap();
            self.client.quic_rebind(self.conn, bind).unwrap();
            self.send(1);
            self.settle();
        }
    }

    fn settle(&mut self) {
        let end = Instant::now() + Duration::from_millis(100);
        while Instant::now() < end {
            self.round();
        }
    }

    fn fleet(&self, shard: usize) -> FleetStats {
        self.shards[shard].fleet_stats()
    }

    fn send(&mut self, count: usize) {
        for _ in 0..count {
            self.client.send_datagram(self.conn, &[7; DATAGRAM]).unwrap();
        }
    }

    fn poll(&mut self, shard: usize) {
        let Self { shards, came, allocated, .. } = self;
        counted(&mut allocated[shard], || {
            shards[shard].poll(Duration::ZERO).unwrap();
            while let Some(event) = shards[shard].next_event() {
                *came += u64::from(matches!(event, Event::Datagram { .. }));
            }
        });
    }

    /// Polls the client, then who receives, then whose it is.
    fn round(&mut self) {
        self.client.poll(Duration::ZERO).unwrap();
        while self.client.next_event().is_some() {}
        self.poll(1);
        self.poll(0);
        counted(&mut self.sent, || self.shards[0].poll(Duration::ZERO).unwrap());
    }

    /// Sends until so many more were passed on.
    fn run(&mut self, count: u64) {
        let start = Instant::now();
        let until = self.fleet(1).forwarded_out + count;
        while self.fleet(1).forwarded_out < until {
            assert!(start.elapsed() < PATIENCE);
            self.send(4);
            self.round();
        }
    }
}

#[test]
fn a_datagram_that_is_passed_on_allocates_nothing() {
    let mut site = Site::new();
    site.run(WARM);
    (site.came, site.allocated, site.sent) = (0, [0; 2], 0);
    let before = site.fleet(0);
    site.run(COUNTED);
    let after = site.fleet(0);
    let taken = after.forwarded_in - before.forwarded_in;
    eprintln!(
        "{taken} datagrams passed on, {} told of; allocations: who receives {}, whose they are {}, \
         its acknowledgements {}",
        site.came, site.allocated[1], site.allocated[0], site.sent
    );
    assert!(site.came * 100 > COUNTED * 99);
    assert_eq!((after.forward_copied, site.fleet(1).forward_full), (0, 0));
    assert_eq!(site.allocated, [0, 0]);
}

/// A stranger who has seen an id, and sends more than the shard takes, and who makes some up.
#[test]
fn floods_allocate_nothing() {
    let mut site = Site::new();
    site.run(WARM);
    let flooder = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Ids of both shards that nobody made.
    let mut packet = [0x55; 1200];
    packet[0] = 0x40;
    let mut flood = |site: &mut Site, packets: u32| {
        for at in 0..packets {
            packet[1..3].copy_from_slice(&[0, (at % 2) as u8]);
            packet[3..7].copy_from_slice(&at.to_le_bytes());
            let _ = flooder.send_to(&packet, site.addr);
            if at % 50 == 0 {
                site.round();
            }
        }
    };
    flood(&mut site, 2000);
    let before = [site.fleet(0), site.fleet(1)];
    site.allocated = [0; 2];
    flood(&mut site, 100_000);
    assert_eq!([site.fleet(0), site.fleet(1)], before, "nothing is passed on");
    assert_eq!(site.allocated, [0, 0]);
}

/// The shard whose datagrams they are does not run: what waits is bounded, the rest is dropped.
#[test]
fn a_full_ferry_allocates_nothing() {
    let mut site = Site::new();
    site.run(WARM);
    let poll = |site: &mut Site| {
        site.client.poll(Duration::ZERO).unwrap();
        while site.client.next_event().is_some() {}
        site.poll(1);
    };
    let start = Instant::now();
    site.allocated = [0; 2];
    while site.fleet(1).forward_full < 20 {
        assert!(start.elapsed() < PATIENCE, "{:?}", site.fleet(1));
        site.send(1);
        poll(&mut site);
    }
    assert_eq!(site.allocated, [0, 0]);
    let waiting = site.fleet(1).forwarded_out - site.fleet(0).forwarded_in;
    assert!(waiting > 0 && waiting <= CELLS as u64, "{waiting}");
    site.settle();
    assert_eq!(site.fleet(1).forwarded_out, site.fleet(0).forwarded_in);
}
