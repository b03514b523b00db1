//! What a cluster says about its routing in the log: once, whatever comes afterwards.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{set_global_default, with_default};
use tracing::{Event as Line, Level, Metadata, Subscriber};
use zero_io::{
    ClusterConfig, ClusterReadiness, ClusterWarnings, CpuAffinity, DrainOptions, EffectiveRouting,
    ExpectedProtocols, IoCluster, RoutingStrategy, ScidCover, allowed_cpus, pin_current_thread,
};

use crate::kit::config;
use crate::privileges::without;
use crate::quic::site::certificate;
use crate::steer::{ask, client, naming};

/// Keeps what this library says on the threads that it is the subscriber of.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "zero_io"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, line: &Line<'_>) {
        let mut words = Words(String::new());
        line.record(&mut words);
        self.0.lock().unwrap().push((*line.metadata().level(), words.0));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs `body` with that log. Whoever else runs meanwhile has one too: lines that were passed over
/// for want of any are not always asked for again.
fn listening<R>(log: &Log, body: impl FnOnce() -> R) -> R {
    let _ = set_global_default(Log::default());
    with_default(log.clone(), body)
}

impl Log {
    /// The lines about routing.
    fn routing(&self) -> Vec<(Level, String)> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(_, words)| words.contains("routing")).cloned().collect()
    }
}

/// What is said about routing while a cluster is made, listens at three addresses, serves on all
/// shards, has one begin anew, and ends, on the thread that makes and supervises it; and what it
/// says of itself.
fn said_by(config: ClusterConfig) -> (Vec<(Level, String)>, EffectiveRouting) {
    let (log, shards) = (Log::default(), config.shard_count);
    let routing = listening(&log, || {
        let mut cluster = IoCluster::new(config).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let endpoints = [0; 3].map(|_| cluster.udp_bind(any).unwrap());
        let addr = cluster.local_addr(endpoints[0]).unwrap().inet().unwrap();
        let (routing, handle) = (cluster.effective_routing(), cluster.handle());
        let user = std::thread::spawn(move || {
            while handle.readiness() != ClusterReadiness::Ready {
                std::thread::sleep(Duration::from_millis(1));
            }
            let clients = (0..32 * shards).map(|_| client(addr)).collect::<Vec<_>>();
            let owners = clients.iter().map(ask).collect::<Vec<_>>();
            assert!((0..shards as u8).all(|shard| owners.contains(&shard)), "{owners:?}");
            let at_once =
                DrainOptions::default().with(|drain| drain.deadline = Some(Duration::ZERO));
            handle.restart_shard(0, at_once).unwrap();
            while handle.shard_readiness(0) != Ok(ClusterReadiness::Ready) {
                std::thread::sleep(Duration::from_millis(1));
            }
            handle.shutdown(at_once).unwrap();
        });
        let report = cluster.run(naming).unwrap();
        user.join().unwrap();
        assert!(report.is_clean() && report.shards[0].restarts == 1, "{report:?}");
        routing
    });
    (log.routing(), routing)
}

/// The line, which is the only one, and of that level.
#[track_caller]
fn only(lines: &[(Level, String)], level: Level) -> &str {
    let [(of, line)] = lines else { panic!("not one line: {lines:?}") };
    assert_eq!(*of, level, "{line}");
    line
}

/// Where nothing is lacking: without ids there is nothing for the extended program to do.
#[test]
fn routing_is_told_once() {
    let expected = ExpectedProtocols::UDP | ExpectedProtocols::TCP;
    for routing in [RoutingStrategy::DcidDispatch, RoutingStrategy::Auto] {
        let config = config(1).with(|c| c.routing = routing);
        let (lines, routing) = said_by(config.with(|c| c.expected_protocols = expected));
        assert!(only(&lines, Level::INFO).contains(&routing.to_string()));
        assert!(routing.warnings.is_empty());
    }
}

/// Nothing is lost but speed, and someone should know of it.
#[test]
fn a_fallback_is_told_once() {
    let strong = config(2).with(|c| c.scid_cover = ScidCover::Strong);
    let (lines, routing) = said_by(strong);
    assert_eq!(routing.strategy, RoutingStrategy::DcidDispatch);
    let line = only(&lines, Level::WARN);
    for part in ["DcidDispatch", "ReusePortEbpf cannot be had", "ReusePortCbpf cannot be had"] {
        assert!(line.contains(part), "{line}");
    }
}

/// As a process without privileges gets it.
#[test]
fn a_refusal_of_the_kernel_is_told_once() {
    let (lines, routing) = without(|| said_by(config(2)));
    assert_eq!(routing.strategy, RoutingStrategy::ReusePortCbpf, "{routing}");
    let line = only(&lines, Level::WARN);
    for part in ["ReusePortCbpf", "ReusePortEbpf cannot be had", "CAP_BPF", "not permitted"] {
        assert!(line.contains(part), "{line}");
    }
}

/// More shards than processors work, and that is told with everything else that is odd.
#[test]
fn more_shards_than_processors_are_told_once() {
    // However many there are: this thread may use one, and so may those that it makes.
    let alone = std::thread::spawn(|| {
        pin_current_thread(allowed_cpus().unwrap()[0]).unwrap();
        for routing in [RoutingStrategy::Auto, RoutingStrategy::DcidDispatch] {
            let config = config(2).with(|c| c.routing = routing);
            let (lines, routing) = said_by(config.with(|c| c.cpu_affinity = CpuAffinity::Auto));
            assert!(routing.warnings.contains(ClusterWarnings::MORE_SHARDS_THAN_CPUS), "{routing}");
            assert!(only(&lines, Level::WARN).contains("MORE_SHARDS_THAN_CPUS"), "{lines:?}");
        }
    });
    alone.join().unwrap();
}

/// What turns out later is told when it does, once too. It takes root: without extended BPF there
/// is nothing to be refused.
#[test]
fn a_refused_reload_is_told() {
    let log = Log::default();
    listening(&log, || {
        let config = config(2).with(|c| c.routing = RoutingStrategy::ReusePortEbpf);
        let mut cluster = IoCluster::new(config).expect("extended BPF, which takes root");
        let (pem, key) = certificate();
        cluster.quic_listen("127.0.0.1:0".parse().unwrap(), pem, key).unwrap();
        for _ in 0..2 {
            without(|| cluster.reload_ports()).unwrap_err();
        }
        cluster.reload_ports().unwrap();
    });
    let lines = log.routing();
    let count = |part: &str| lines.iter().filter(|(_, line)| line.contains(part)).count();
    assert_eq!(count("RELOAD_REFUSED"), 1, "as a warning of the cluster: {lines:?}");
    assert_eq!(count("stays what it was"), 2, "each of them: {lines:?}");
    assert_eq!(count("made anew"), 1, "{lines:?}");
}
