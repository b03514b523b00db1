//! [`ClusterStats`]: what the shards have done, summed without asking them.

use crate::engine::fleet::shared::Shared;
use crate::stats::{FleetStats, IoStats};

/// What one shard has done, in all of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShardStats {
    /// Its number.
    pub shard: u16,
    /// Connections that it has, those included that are being made.
    pub connections: u64,
    /// As [`Io::io_stats`](crate::Io::io_stats).
    pub io: IoStats,
    /// As [`ShardIo::fleet_stats`](crate::ShardIo::fleet_stats).
    pub fleet: FleetStats,
}

/// What the shards of a cluster have done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// By their numbers.
    pub shards: Vec<ShardStats>,
    /// How often all routers were made anew, as
    /// [`reload_ports`](crate::ClusterHandle::reload_ports) asks for.
    pub reloads: u32,
}

impl ClusterStats {
    pub(super) fn of(shared: &Shared) -> Self {
        let of = |shard| {
            let posted = shared.posted(shard);
            let (connections, io, fleet) = (posted.connections, posted.io, posted.fleet);
            ShardStats { shard, connections, io, fleet }
        };
        let shards = (0..shared.count()).map(of).collect();
        Self { shards, reloads: shared.reloads() }
    }

    /// The sums of all shards. They only grow.
    #[must_use]
    pub fn total(&self) -> (IoStats, FleetStats) {
        let mut total = (IoStats::default(), FleetStats::default());
        for shard in &self.shards {
            total.0 += shard.io;
            total.1 += shard.fleet;
        }
        total
    }

    /// The connections of all shards.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shards.iter().map(|shard| shard.connections).sum()
    }
}

#[cfg(all(test, feature = "tcp"))]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use crate::config::ClusterConfig;
    use crate::event::Event;
    use crate::sys::mem::forbid_writes;
    use crate::{IoCluster, Spin};

    /// A shard that serves writes nowhere that another shard reads from or writes to: the kernel
    /// watches the pages. Its own board is but one that it posts up now and then.
    #[test]
    fn quiet_shards_share_no_written_page() {
        const ECHOES: u32 = 20_000;
        let spin = Spin::Always { max_us: 1_000_000 };
        let mut cluster = IoCluster::new(ClusterConfig::new(2).with(|c| c.io.spin = spin)).unwrap();
        let mut shards = cluster.seeds().unwrap().into_iter().map(|seed| seed.grow().unwrap());
        let (mut shard, _other) = (shards.next().unwrap(), shards.next().unwrap());
        let endpoint = shard.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = shard.local_addr(endpoint).unwrap().inet().unwrap();
        let client = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            let mut back = [0; 64];
            for _ in 0..ECHOES {
                stream.write_all(&[7; 64]).unwrap();
                stream.read_exact(&mut back).unwrap();
            }
        });
        let pages = cluster.shared.quiet_pages(0);
        assert_eq!(pages.len(), 3);
        pages.iter().for_each(|page| forbid_writes(*page, true));
        let (mut bytes, before) = (0, cluster.handle().stats().shards[0]);
        while bytes < ECHOES as usize * 64 {
            shard.poll(Duration::from_secs(1)).unwrap();
            let (mut events, mut sender) = shard.split();
            while let Some(event) = events.next_event() {
                if let Event::StreamFrame { conn, stream, data, .. } = event {
                    bytes += data.len();
                    sender.stream_write(conn, stream, data).unwrap();
                }
            }
        }
        shard.poll(Duration::ZERO).unwrap();
        let after = cluster.handle().stats().shards[0];
        pages.iter().for_each(|page| forbid_writes(*page, false));
        assert!(after.io.events > before.io.events, "it posted up its counters meanwhile");
        client.join().unwrap();
    }
}
