//! What routes packets to shards, and on which processor each shard is.
//!
//! Role: which router a cluster gets, and each group of sockets. Not role: the programs.
//!
//! *Invariant*: a router spares work, and nothing depends on it: what it does not do is told in
//! [`EffectiveRouting`], and shards pass on what is another's.

use super::IoCluster;
use crate::config::cover::Speck;
use crate::config::{
    ClusterConfig, ClusterWarnings, CpuAffinity, EffectiveRouting, ExpectedProtocols,
    RoutingRefusal, RoutingStrategy, ScidCover, Steer, cover_key,
};
use crate::engine::fleet::listen::What;
use crate::error::{Errno, IoError, Result};
use crate::ring::ports::{Passed, Ports, Steering};
use crate::sys::affinity::allowed_cpus;
use crate::sys::errno;
use crate::sys::steer::{By, Plan, Router, ShardSet};

/// What a group of sockets is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Quic,
    /// With connection ids that the application makes.
    QuicOwnIds,
}

impl Kind {
    pub(super) fn of(protocol: ExpectedProtocols, what: &What) -> Self {
        match protocol {
            ExpectedProtocols::QUIC if what.has_own_ids() => Self::QuicOwnIds,
            ExpectedProtocols::QUIC => Self::Quic,
            ExpectedProtocols::UDP => Self::Udp,
            _ => Self::Tcp,
        }
    }
}

/// The strategy that a cluster gets, and why it is not a better one.
///
/// # Errors
/// `RoutingRefused` when one was named that cannot be had.
pub(super) fn choose(
    config: &ClusterConfig,
    plans: &Plans,
    ports: &mut Ports,
) -> Result<EffectiveRouting> {
    let mut routing = EffectiveRouting::new(RoutingStrategy::DcidDispatch);
    let tried = match config.routing {
        RoutingStrategy::Auto => &AUTO[..],
        RoutingStrategy::ReusePortEbpf => &AUTO[..1],
        RoutingStrategy::ReusePortCbpf => &AUTO[1..],
        RoutingStrategy::DcidDispatch => &[],
    };
    for (strategy, refused) in tried.iter().zip(&mut routing.refused) {
        match attempt(*strategy, config, plans, ports) {
            Ok(()) => {
                routing.strategy = *strategy;
                break;
            }
            Err(IoError::RoutingRefused(refusal)) if config.routing == RoutingStrategy::Auto => {
                *refused = Some(refusal);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(routing)
}

const AUTO: [RoutingStrategy; 2] = [RoutingStrategy::ReusePortEbpf, RoutingStrategy::ReusePortCbpf];

fn attempt(
    strategy: RoutingStrategy,
    config: &ClusterConfig,
    plans: &Plans,
    ports: &mut Ports,
) -> Result<()> {
    let refuse = |call, why| {
        let errno = Errno(errno::EOPNOTSUPP);
        Err(IoError::RoutingRefused(RoutingRefusal { strategy, call, errno, why }))
    };
    let has_ids = config.expected_protocols.contains(ExpectedProtocols::QUIC);
    if has_ids && config.scid_cover == ScidCover::Strong {
        return refuse("ClusterConfig::scid_cover", "ids are covered by Strong");
    }
    if strategy == RoutingStrategy::ReusePortEbpf {
        if !has_ids {
            return refuse("ClusterConfig::expected_protocols", RoutingRefusal::NO_QUIC);
        }
        return refused(strategy, ports.probe(&plans.of(strategy, Kind::Quic), true));
    }
    let kind = if has_ids { Kind::Quic } else { Kind::Tcp };
    refused(strategy, ports.probe(&plans.of(strategy, kind), false))
}

/// The kernel's refusal in the cluster's words.
fn refused(strategy: RoutingStrategy, answer: Result<()>) -> Result<()> {
    let Err(IoError::Os { op: call, errno }) = answer else { return answer };
    let is_extended = strategy == RoutingStrategy::ReusePortEbpf;
    let why = match errno.0 {
        errno::EPERM if is_extended => "needs CAP_BPF and CAP_NET_ADMIN",
        errno::EPERM => "forbidden, as by a seccomp filter",
        errno::EINVAL | errno::ENOSYS if is_extended => "kernel before 4.19, or without BPF",
        errno::ENOPROTOOPT => "kernel before 4.5",
        _ => "the kernel does not take it",
    };
    Err(IoError::RoutingRefused(RoutingRefusal { strategy, call, errno, why }))
}

/// What plans are made of.
pub(super) struct Plans {
    server_id: u16,
    shard_bits: u32,
    tcp: By,
    udp: By,
    quic: By,
    seed: u32,
    /// The shards that take what is new.
    open: ShardSet,
    /// Those that get what their ids name.
    alive: ShardSet,
    cpus: Vec<(u32, u16)>,
}

impl Plans {
    pub(super) fn new(
        config: &ClusterConfig,
        cpus: &[Option<usize>],
        ports: &mut Ports,
    ) -> Result<Self> {
        let mut seed = [0; 4];
        ports.entropy(&mut seed)?;
        let steer = |steer| match steer {
            Steer::Spread => By::Spread,
            Steer::Cpu => By::Cpu,
        };
        let cover = config.keys.as_ref().filter(|_| config.scid_cover == ScidCover::Light);
        let cover = cover.map(|keys| *Speck::new(cover_key(keys)).round_keys());
        let all = ShardSet::first(config.shard_count);
        let pinned = cpus.iter().zip(0..).filter_map(|(cpu, shard)| Some(((*cpu)? as u32, shard)));
        Ok(Self {
            server_id: config.server_id,
            shard_bits: config.shard_bits(),
            tcp: steer(config.tcp_steer),
            udp: steer(config.udp_steer),
            quic: By::Cid(cover),
            seed: u32::from_ne_bytes(seed),
            open: all,
            alive: all,
            cpus: pinned.collect(),
        })
    }

    fn of(&self, strategy: RoutingStrategy, kind: Kind) -> Plan {
        let by = match kind {
            Kind::Tcp => self.tcp,
            Kind::Udp => self.udp,
            // Nobody looks at ids: what is new is kept from shards that are draining all the same.
            Kind::Quic if strategy == RoutingStrategy::DcidDispatch => By::Spread,
            Kind::QuicOwnIds => By::Spread,
            Kind::Quic => self.quic,
        };
        Plan {
            server_id: self.server_id,
            shard_bits: self.shard_bits,
            by,
            seed: self.seed,
            open: self.open,
            alive: self.alive,
            cpus: self.cpus.clone(),
        }
    }
}

impl IoCluster {
    /// Puts a router before a new group of sockets: that of the cluster, or the next simpler one
    /// that the kernel takes, unless a better one was named.
    pub(super) fn route(&mut self, kind: Kind, members: &[Passed]) -> Result<Option<Router>> {
        if members.len() == 1 {
            return Ok(None);
        }
        let strategy = self.shared.routing().strategy;
        let plan = self.plans.of(strategy, kind);
        if kind == Kind::QuicOwnIds && strategy != RoutingStrategy::DcidDispatch {
            self.dispatch_own_ids()?;
        }
        let is_extended = (kind, strategy) == (Kind::Quic, RoutingStrategy::ReusePortEbpf);
        if is_extended {
            let mut router = Router::Extended(None);
            let answer = self.ports.steer(members, &plan, &mut router, Steering::Follow);
            match refused(strategy, answer) {
                Ok(()) => return Ok(Some(router)),
                Err(IoError::RoutingRefused(_)) if self.config.routing == RoutingStrategy::Auto => {
                    self.warn(ClusterWarnings::ENDPOINT_FELL_BACK);
                }
                Err(error) => return Err(error),
            }
        }
        let mut router = Router::Classic;
        match self.ports.steer(members, &plan, &mut router, Steering::Follow) {
            Ok(()) => Ok(Some(router)),
            Err(error @ IoError::Os { .. })
                if kind == Kind::Quic && self.config.routing == RoutingStrategy::ReusePortCbpf =>
            {
                refused(strategy, Err(error)).map(|()| None)
            }
            Err(IoError::Os { .. }) => {
                self.warn(ClusterWarnings::SPREAD_BY_KERNEL);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// An endpoint has ids that no program of ours reads: they are dispatched, unless something
    /// better was named.
    fn dispatch_own_ids(&self) -> Result<()> {
        if self.config.routing == RoutingStrategy::Auto {
            self.warn(ClusterWarnings::ENDPOINT_FELL_BACK);
            return Ok(());
        }
        Err(IoError::RoutingRefused(RoutingRefusal {
            strategy: self.config.routing,
            call: "QuicListenConfig::cids",
            errno: Errno(errno::EOPNOTSUPP),
            why: "ids of one's own making are read by shards alone: take DcidDispatch or Auto",
        }))
    }

    /// Says so, once.
    fn warn(&self, warning: ClusterWarnings) {
        if self.shared.warn(warning) {
            crate::trace::routing(&self.shared.routing());
        }
    }

    /// Makes all programs anew, and puts them in the place of those that route, each between two
    /// packets: nothing is lost.
    ///
    /// # Errors
    /// `RoutingRefused`, of a process that has given up the privilege: what is there stays. `Os`.
    pub fn reload_ports(&mut self) -> Result<EffectiveRouting> {
        match self.steer(Steering::Reload) {
            Ok(()) => {
                self.shared.unwarn(ClusterWarnings::RELOAD_REFUSED);
                self.shared.reloaded();
                let routing = self.shared.routing();
                crate::trace::reloaded(&routing);
                Ok(routing)
            }
            Err(error) => {
                self.warn(ClusterWarnings::RELOAD_REFUSED);
                crate::trace::reload_refused(&error);
                Err(error)
            }
        }
    }

    /// Has the routers follow who drains, is gone, or has come back.
    pub(super) fn follow(&mut self) {
        let (mut open, mut alive) = (ShardSet::EMPTY, ShardSet::EMPTY);
        for (shard, place) in (0..).zip(&self.places) {
            if place.takes_new() {
                open = open.with(shard);
            }
            if place.takes_its_own() {
                alive = alive.with(shard);
            }
        }
        let is_known = (self.plans.open, self.plans.alive) == (open, alive);
        // Without anybody there is nobody to lead to, and what comes waits.
        if is_known || open == ShardSet::EMPTY {
            return;
        }
        (self.plans.open, self.plans.alive) = (open, alive);
        if let Err(error) = self.steer(Steering::Follow) {
            crate::trace::steering_failed(&error);
            self.warn(ClusterWarnings::ROUTER_IS_STALE);
        }
    }

    fn steer(&mut self, how: Steering) -> Result<()> {
        let strategy = self.shared.routing().strategy;
        let mut answer = Ok(());
        for group in &mut self.groups {
            let Some((kind, router)) = &mut group.router else { continue };
            let plan = self.plans.of(strategy, *kind);
            let done = self.ports.steer(&group.members, &plan, router, how);
            // One that does not follow keeps no other one from it.
            let done = refused(strategy, done);
            answer = answer.and(done);
        }
        if answer.is_ok() {
            self.shared.unwarn(ClusterWarnings::ROUTER_IS_STALE);
        }
        answer
    }
}

/// The processor of each shard, and what is odd about that.
pub(super) fn place(config: &ClusterConfig) -> Result<(Vec<Option<usize>>, ClusterWarnings)> {
    let shards = usize::from(config.shard_count);
    let allowed = allowed_cpus()?;
    let is_crowded = shards > allowed.len();
    let warnings = match is_crowded {
        true => ClusterWarnings::MORE_SHARDS_THAN_CPUS,
        false => ClusterWarnings::empty(),
    };
    let cpus = match &config.cpu_affinity {
        CpuAffinity::Auto if !is_crowded => allowed.into_iter().take(shards).map(Some).collect(),
        CpuAffinity::List(cpus) => cpus.iter().copied().map(Some).collect(),
        CpuAffinity::Off | CpuAffinity::Auto => vec![None; shards],
    };
    Ok((cpus, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::subprocess;

    fn routed(routing: RoutingStrategy) -> Result<IoCluster> {
        IoCluster::new(ClusterConfig::new(2).with(|c| c.routing = routing))
    }

    fn is_root() -> bool {
        // SAFETY: the call takes no pointers.
        unsafe { libc::geteuid() == 0 }
    }

    /// What is expected of a build without QUIC, and of one with it, as whoever runs it.
    #[test]
    fn the_best_that_can_be_had_is_taken() {
        let routing = routed(RoutingStrategy::Auto).unwrap().effective_routing();
        let best = routing.refused[0].map_or(RoutingStrategy::ReusePortEbpf, |refusal| {
            assert_eq!(refusal.strategy, RoutingStrategy::ReusePortEbpf, "{routing}");
            assert!(refusal.call == "ClusterConfig::expected_protocols" || !is_root());
            RoutingStrategy::ReusePortCbpf
        });
        assert_eq!(routing.strategy, best);
        for strategy in [RoutingStrategy::ReusePortCbpf, RoutingStrategy::DcidDispatch] {
            let routing = routed(strategy).unwrap().effective_routing();
            assert_eq!((routing.strategy, routing.refused), (strategy, [None; 2]));
        }
    }

    #[test]
    fn what_no_program_undoes_is_dispatched() {
        for routing in [RoutingStrategy::Auto, RoutingStrategy::ReusePortCbpf] {
            let config = ClusterConfig::new(2).with(|c| {
                (c.scid_cover, c.routing) = (ScidCover::Strong, routing);
            });
            if !config.expected_protocols.contains(ExpectedProtocols::QUIC) {
                continue;
            }
            match IoCluster::new(config) {
                Ok(cluster) => {
                    assert_eq!(routing, RoutingStrategy::Auto);
                    let effective = cluster.effective_routing();
                    assert_eq!(effective.strategy, RoutingStrategy::DcidDispatch);
                    let whys = effective.refused.map(|refusal| refusal.unwrap().why);
                    assert_eq!(whys, ["ids are covered by Strong"; 2]);
                }
                Err(error) => {
                    assert_eq!(routing, RoutingStrategy::ReusePortCbpf);
                    assert!(error.to_string().contains("Strong"), "{error}");
                }
            }
        }
    }

    #[test]
    fn without_ids_nothing_is_looked_for_in_them() {
        let config = ClusterConfig::new(2).with(|c| c.expected_protocols = ExpectedProtocols::UDP);
        let routing = IoCluster::new(config.clone()).unwrap().effective_routing();
        assert_eq!(routing.strategy, RoutingStrategy::ReusePortCbpf);
        assert_eq!(routing.refused[0].unwrap().why, "no QUIC is expected");
        let named = config.with(|c| c.routing = RoutingStrategy::ReusePortEbpf);
        assert!(matches!(IoCluster::new(named), Err(IoError::RoutingRefused(_))));
    }

    /// A process without privileges gets the classic program, and is told why.
    #[test]
    fn routing_falls_back_and_says_why() {
        subprocess::run("cluster::route::tests::routing_falls_back_and_says_why", || {
            if !ExpectedProtocols::default().contains(ExpectedProtocols::QUIC) {
                return;
            }
            if is_root() {
                subprocess::become_nobody();
            }
            let mut cluster = routed(RoutingStrategy::Auto).unwrap();
            let routing = cluster.effective_routing();
            assert_eq!(routing.strategy, RoutingStrategy::ReusePortCbpf);
            let refusal = routing.refused[0].unwrap();
            assert_eq!(refusal.strategy, RoutingStrategy::ReusePortEbpf);
            assert_eq!(refusal.errno, Errno(errno::EPERM));
            for part in ["ReusePortEbpf", "CAP_BPF", "bpf(", "not permitted"] {
                assert!(routing.to_string().contains(part), "{routing}");
            }
            let error = routed(RoutingStrategy::ReusePortEbpf).map(drop).unwrap_err();
            assert_eq!(error, IoError::RoutingRefused(refusal));
            // What it falls back to serves.
            let any = "127.0.0.1:0".parse().unwrap();
            cluster.udp_bind(any).unwrap();
            assert_eq!(cluster.reload_ports(), Ok(routing));
        });
    }

    /// Where even the classic one is forbidden, the kernel spreads as it likes, and that is told.
    #[test]
    fn a_kernel_that_takes_nothing_is_told() {
        subprocess::run("cluster::route::tests::a_kernel_that_takes_nothing_is_told", || {
            let mut early = routed(RoutingStrategy::Auto).unwrap();
            let strategy = early.effective_routing().strategy;
            subprocess::deny(libc::SYS_bpf, libc::EPERM);
            subprocess::deny(libc::SYS_setsockopt, libc::EPERM);
            let (refused, tried) = match routed(RoutingStrategy::ReusePortCbpf).map(drop) {
                Err(IoError::RoutingRefused(refusal)) => (refusal.strategy, refusal.errno),
                other => panic!("{other:?}"),
            };
            let named = RoutingStrategy::ReusePortCbpf;
            assert_eq!((refused, tried), (named, Errno(errno::EPERM)));
            let routing = routed(RoutingStrategy::Auto).unwrap().effective_routing();
            assert_eq!(routing.strategy, RoutingStrategy::DcidDispatch, "{routing}");
            assert!(routing.refused.iter().all(Option::is_some), "{routing}");
            assert_eq!(early.reload_ports().unwrap().strategy, strategy, "nothing to reload");
        });
    }

    #[test]
    fn every_shard_has_its_processor_while_there_are_enough() {
        let allowed = allowed_cpus().unwrap();
        let (cpus, warnings) = place(&ClusterConfig::new(1)).unwrap();
        assert_eq!((cpus, warnings), (vec![Some(allowed[0])], ClusterWarnings::empty()));
        let (cpus, warnings) = place(&ClusterConfig::new(1024)).unwrap();
        assert_eq!(cpus, [None; 1024]);
        assert_eq!(warnings, ClusterWarnings::MORE_SHARDS_THAN_CPUS);
        let list = CpuAffinity::List(vec![5, 7]);
        let config = ClusterConfig::new(2).with(|c| c.cpu_affinity = list);
        assert_eq!(place(&config).unwrap().0, [Some(5), Some(7)]);
        let off = ClusterConfig::new(1).with(|c| c.cpu_affinity = CpuAffinity::Off);
        assert_eq!(place(&off).unwrap().0, [None]);
    }
}
