//! The cluster of a world: its shards, who supervises them, and what becomes of them.

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::sim::World;
use zero_io::{
    ClusterConfig, ClusterHandle, ClusterReadiness, CpuAffinity, DrainOptions, ExpectedProtocols,
    IoCluster, IoError, ShardSeed, Supervised, TcpListenConfig,
};

use super::model::{Flow, Life};
use super::quic::Quic;
use super::shard::Shard;
use super::{Cx, events, roomy, timeout, udp};

/// What a drain may take beyond its grace and its deadline: what is closed then goes out for a
/// second, and sleeps take as long.
const OVERTIME: Duration = Duration::from_secs(4);

/// A cluster, and who runs its shards.
pub(super) struct Site {
    pub(super) world: World,
    pub(super) cluster: IoCluster,
    handle: ClusterHandle,
    pub(super) node: usize,
    pub(super) addr: SocketAddr,
    pub(super) shards: Vec<Shard>,
    /// Ends that are under way: the shard, and when they are late.
    pub(super) ends: Vec<(u16, u64)>,
    pub(super) is_over: bool,
    /// The nodes of lives that are over.
    pub(super) over: Vec<usize>,
}

impl Site {
    pub(super) fn new(world: &World, cx: &mut Cx) -> Self {
        let config = ClusterConfig::new(cx.shards).with(|c| {
            c.cpu_affinity = CpuAffinity::Off;
            c.expected_protocols = ExpectedProtocols::TCP | ExpectedProtocols::UDP;
            c.mail_entries = cx.chance.pick(&[2, 8, 1_024]);
            c.io = roomy(&mut cx.chance);
            if cx.quic.is_some() {
                Quic::configure(c, &mut cx.chance);
            }
        });
        let mut cluster = IoCluster::in_world(config, world).expect("a cluster");
        let node = world.nodes() - 1;
        let addr = SocketAddr::from(([127, 0, 0, 1], 7_000));
        let backlog = cx.chance.pick(&[1, 4, 128]);
        let endpoint = insist(|| {
            cluster.tcp_listen_with(TcpListenConfig::new(addr).with(|c| c.backlog = backlog))
        });
        if let Some(quic) = &cx.quic {
            insist(|| quic.listen(&mut cluster, &mut cx.chance).then_some(()).ok_or(()));
        }
        if cx.is_wide {
            let addr = SocketAddr::from(([127, 0, 0, 1], udp::PORT));
            insist(|| cluster.udp_bind(addr));
        }
        let addr = cluster.local_addr(endpoint).expect("it is open").inet().expect("an address");
        let seeds = insist(|| cluster.seeds());
        let handle = cluster.handle();
        let (shards, ends, over) = (Vec::new(), Vec::new(), Vec::new());
        let world = world.clone();
        let mut site =
            Self { world, cluster, handle, node, addr, shards, ends, is_over: false, over };
        seeds.into_iter().for_each(|seed| site.grow(seed, cx));
        site
    }

    fn grow(&mut self, seed: ShardSeed, cx: &mut Cx) {
        let io = seed.grow_in(&self.world).expect("a shard");
        let (life, node) = (cx.model.lives.len(), self.world.nodes() - 1);
        cx.model.lives.push(Life::default());
        cx.life_of[usize::from(io.shard())] = Some(life);
        self.shards.push(Shard::new(io, node, life));
    }

    pub(super) fn is_up(&self) -> bool {
        self.ends.is_empty() && self.shards.len() == usize::from(self.handle.shard_count())
    }

    fn supervise(&mut self, cx: &mut Cx) {
        match self.cluster.supervise(Duration::ZERO).expect("a turn") {
            Supervised::Reseed(seed) => self.grow(seed, cx),
            Supervised::Over => self.is_over = true,
            _ => {}
        }
        if !cx.is_over && cx.is_liveness {
            self.revive();
        }
        let now_ns = self.world.now_ns();
        let late = self.ends.iter().find(|(_, until_ns)| now_ns > *until_ns);
        if let Some(late) = late.filter(|_| cx.is_liveness) {
            let shards = self.shards.iter().map(Shard::describe).collect::<String>();
            panic!("the end of {late:?} is late, at {now_ns}: {:?}{shards}", self.cluster);
        }
    }

    /// Has shards that are down begin anew.
    fn revive(&self) {
        for shard in 0..self.handle.shard_count() {
            if self.handle.shard_readiness(shard) == Ok(ClusterReadiness::Stopped) {
                let asked = self.handle.restart_shard(shard, DrainOptions::default());
                assert!(matches!(asked, Ok(()) | Err(IoError::QueueFull { .. })), "{asked:?}");
            }
        }
    }

    /// Shards are asked to end, or crash.
    fn disturb(&mut self, cx: &mut Cx) {
        if !cx.may_hurt || !cx.chance.once_in(60) {
            return;
        }
        let shard = cx.chance.below(cx.shards.into()) as u16;
        let drain = DrainOptions::default();
        let grace = Duration::from_millis(cx.chance.pick(&[0, 0, 20]));
        let deadline = Duration::from_millis(cx.chance.pick(&[0, 100, 5_000]));
        let drain = drain.with(|d| (d.grace, d.deadline) = (Some(grace), Some(deadline)));
        let asked = match cx.chance.below(4) {
            0 => return self.crash(shard, cx),
            1 => self.handle.drain_shard(shard, drain),
            _ => self.handle.restart_shard(shard, drain),
        };
        match asked {
            Ok(()) => {}
            Err(IoError::ClusterBusy { .. } | IoError::ShardDown { .. }) => return,
            Err(error) => panic!("{error}"),
        }
        if let Some(life) = self.shards.iter().find(|s| s.number == shard).map(|s| s.life) {
            cx.model.hurt(life);
            // While faults go on, nobody promises anything.
            if cx.is_liveness {
                let span = grace + deadline + OVERTIME;
                self.ends.push((shard, self.world.now_ns() + span.as_nanos() as u64));
            }
        }
    }

    fn crash(&mut self, shard: u16, cx: &mut Cx) {
        if let Some(at) = self.shards.iter().position(|s| s.number == shard) {
            cx.model.crash_count += 1;
            self.end(at, cx);
        }
    }

    /// A life is over.
    fn end(&mut self, at: usize, cx: &mut Cx) {
        let Shard { io, number, life, node, .. } = self.shards.remove(at);
        cx.model.hurt(life);
        cx.model.lives[life].is_over = true;
        cx.life_of[usize::from(number)] = None;
        self.ends.retain(|(shard, _)| *shard != number);
        cx.ferried_count += io.fleet_stats().forwarded_in;
        drop(io);
        // In this world what is on its way stays the sender's until it has arrived.
        let is_on_way = |flow: &&Flow| flow.moving.is_some_and(|[from, _]| from == life);
        let on_way_count = cx.model.flows.iter().filter(is_on_way).count();
        let left_count = self.world.open_fds(node);
        assert!(left_count <= on_way_count, "{left_count} descriptors of a shard's node {node}");
        self.over.push(node);
        assert_eq!(self.world.open_slots(node), 0, "slots of a shard's node {node}");
    }

    pub(super) fn shut_down(&mut self, cx: &mut Cx) {
        self.shards.iter().for_each(|shard| cx.model.hurt(shard.life));
        cx.is_over = true;
        self.handle.shutdown(DrainOptions::default()).expect("room for it");
    }

    pub(super) fn round(&mut self, cx: &mut Cx) {
        let first = cx.chance.below(self.shards.len());
        for i in 0..self.shards.len() {
            let at = (first + i) % self.shards.len();
            let shard = &mut self.shards[at];
            shard.act(cx);
            if cx.is_liveness || !cx.chance.once_in(8) {
                shard.io.poll(timeout(cx)).expect("a tick");
            }
            let count_max = events(cx);
            shard.drain(cx, count_max);
            shard.io.audit();
        }
        while let Some(at) = self.shards.iter().position(|shard| !shard.io.is_running()) {
            self.end(at, cx);
        }
        if cx.is_liveness || !cx.chance.once_in(8) {
            self.supervise(cx);
        }
        self.disturb(cx);
    }
}

/// Until it works: the world's faults make calls fail.
fn insist<T, E>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    (0..1_000).find_map(|_| ask().ok()).expect("it works in the end")
}
