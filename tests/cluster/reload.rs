//! Routers that are made anew while the cluster runs, as its handle asks for.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use zero_io::{
    ClusterEndpoint, ClusterHandle, ClusterReadiness, ClusterWarnings, DrainOptions, IoCluster,
    IoError,
};

use crate::common::PATIENCE;
use crate::kit::{Running, config};
use crate::steer::naming;

/// Datagrams that are under way at once.
const BURST: u32 = 32;

/// Asks for a reload, again if there is no room for the question.
fn ask(handle: &ClusterHandle) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = handle.reload_ports() {
        assert!(matches!(error, IoError::QueueFull { .. }) && Instant::now() < end, "{error}");
        std::thread::yield_now();
    }
}

#[track_caller]
fn wait_for_reloads(handle: &ClusterHandle, count: u32) {
    let end = Instant::now() + PATIENCE;
    while handle.stats().reloads < count {
        assert!(Instant::now() < end, "{:?}", handle.effective_routing());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn inet(cluster: &IoCluster, endpoint: ClusterEndpoint) -> SocketAddr {
    cluster.local_addr(endpoint).unwrap().inet().unwrap()
}

/// One flow, whose datagrams are numbered.
struct Flow {
    socket: UdpSocket,
    sent: u32,
}

impl Flow {
    fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(to).unwrap();
        Self { socket, sent: 0 }
    }

    /// Sends a burst with `in_between` in its middle; who answered, which is one and the same.
    fn burst(&mut self, in_between: impl FnOnce()) -> u8 {
        let first = self.sent;
        let send = |number: u32| {
            self.socket.send(&number.to_be_bytes()).unwrap();
        };
        (first..first + BURST / 2).for_each(send);
        in_between();
        (first + BURST / 2..first + BURST).for_each(send);
        self.sent += BURST;
        let (mut owner, mut numbers) = (None, Vec::new());
        for _ in 0..BURST {
            let mut answer = [0; 5];
            assert_eq!(self.socket.recv(&mut answer).expect("it is not lost"), 5);
            let [name, number @ ..] = answer;
            numbers.push(u32::from_be_bytes(number));
            assert_eq!(*owner.get_or_insert(name), name, "one flow, one shard");
        }
        // A sender that moves to another processor may overtake itself.
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(first..first + BURST), "each once: {numbers:?}");
        owner.unwrap()
    }
}

/// Nothing is lost, and nothing comes to the socket of a shard that is gone: what does, nobody
/// answers. Its flows come back to it when it does.
#[test]
fn reloads_lose_nothing_while_a_shard_is_gone() {
    const GONE: u8 = 1;
    let drain = DrainOptions::default().with(|d| d.deadline = Some(Duration::from_millis(100)));
    let mut cluster = IoCluster::new(config(4)).unwrap();
    let endpoint = cluster.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = inet(&cluster, endpoint);
    let running = Running::start(cluster, naming);
    running.wait_until_up();
    let handle = &running.handle;
    let mut flows = (0..32).map(|_| Flow::new(addr)).collect::<Vec<_>>();
    let mut owners = |check: &dyn Fn(usize, u8)| {
        for _ in 0..4 {
            let before = handle.stats().reloads;
            for (at, flow) in flows.iter_mut().enumerate() {
                check(at, flow.burst(|| ask(handle)));
            }
            wait_for_reloads(handle, before + 1);
        }
        flows.iter_mut().map(|flow| flow.burst(|| ())).collect::<Vec<_>>()
    };
    let before = owners(&|_, _| ());
    assert!((0..4).all(|shard| before.contains(&shard)), "{before:?}");
    handle.drain_shard(GONE.into(), drain).unwrap();
    running.wait_for(Some(GONE.into()), ClusterReadiness::Stopped);
    owners(&|at, owner| {
        assert!(owner != GONE && (before[at] == GONE || before[at] == owner), "{owner}");
    });
    handle.restart_shard(GONE.into(), drain).unwrap();
    running.wait_for(Some(GONE.into()), ClusterReadiness::Ready);
    assert_eq!(owners(&|at, owner| assert_eq!(owner, before[at])), before);
    assert!(handle.stats().reloads > 12);
    let routing = handle.effective_routing();
    let odd = ClusterWarnings::RELOAD_REFUSED | ClusterWarnings::ROUTER_IS_STALE;
    assert!(!routing.warnings.intersects(odd), "{routing}");
    running.shut_down();
}

/// A cluster that is over has nothing to reload, and says so to nobody.
#[test]
fn a_cluster_that_is_over_is_not_asked() {
    let cluster = IoCluster::new(config(2)).unwrap();
    let routing = cluster.effective_routing();
    let running = Running::start(cluster, naming);
    running.wait_until_up();
    let handle = running.handle.clone();
    running.shut_down();
    for _ in 0..1000 {
        assert_eq!(handle.reload_ports(), Ok(()));
    }
    assert_eq!((handle.stats().reloads, handle.effective_routing()), (0, routing));
}
