//! The programs on groups of real sockets.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::kit::{Header, cid, light, packet, plan, random};
use crate::config::{TcpListenConfig, UdpEndpointConfig};
use crate::sys::steer::{By, Plan, Router, ShardSet, probe_classic, probe_extended};
use crate::sys::{socket, tcp, udp};

const LOCAL: [&str; 3] = ["127.0.0.1:0", "[::1]:0", "[::]:0"];
const IDS: u16 = 1 << 14;
/// Datagrams under way at once: one socket has room for them, whatever the system's limit is.
const BATCH: u16 = 256;
const PATIENCE: Duration = Duration::from_secs(20);

/// UDP sockets of one address, in order.
struct Group {
    members: Vec<UdpSocket>,
    addr: SocketAddr,
    router: Router,
}

impl Group {
    fn new(count: u16, local: &str, router: Router) -> Self {
        let config = UdpEndpointConfig::new(local.parse().unwrap());
        let mut config = config.with(|c| (c.reuseport, c.recv_buffer) = (true, Some(8 << 20)));
        let mut members = Vec::new();
        for _ in 0..count {
            // SAFETY: the call just made the descriptor.
            let member = unsafe { OwnedFd::from_raw_fd(udp::bind(&config).unwrap()) };
            members.push(UdpSocket::from(member));
            config.bind = members[0].local_addr().unwrap();
        }
        let mut addr = config.bind;
        if addr.ip().is_unspecified() {
            addr.set_ip("127.0.0.1".parse().unwrap());
        }
        Self { members, addr, router }
    }

    fn steer(&mut self, plan: &Plan) {
        let members = self.members.iter().map(AsFd::as_fd).collect::<Vec<BorrowedFd<'_>>>();
        self.router.steer(&members, plan).unwrap();
    }

    fn reload(&mut self, plan: &Plan) {
        let members = self.members.iter().map(AsFd::as_fd).collect::<Vec<BorrowedFd<'_>>>();
        self.router.reload(&members, plan).unwrap();
    }

    fn client(&self) -> UdpSocket {
        let any = if self.addr.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let client = UdpSocket::bind(any).unwrap();
        client.connect(self.addr).unwrap();
        client
    }

    /// Everything, by the socket that got it, as soon as so much is there. On the loopback what was
    /// sent has come, mostly: a kernel that is behind with its work lets it wait.
    fn received_of(&self, count: usize) -> Vec<(u16, Vec<u8>)> {
        let (mut all, end) = (self.received(), Instant::now() + PATIENCE);
        while all.len() < count && Instant::now() < end {
            std::thread::yield_now();
            all.extend(self.received());
        }
        all
    }

    /// What is there.
    fn received(&self) -> Vec<(u16, Vec<u8>)> {
        let mut all = Vec::new();
        let mut buffer = [0; 2048];
        for (number, member) in self.members.iter().enumerate() {
            loop {
                match member.recv(&mut buffer) {
                    Ok(len) => all.push((number as u16, buffer[..len].to_vec())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        all
    }

    /// Where one datagram from a client comes out.
    fn place_of(&self, client: &UdpSocket, data: &[u8]) -> u16 {
        client.send(data).unwrap();
        let all = self.received_of(1);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].1, data);
        all[0].0
    }
}

/// Both routers, or the one that this process may have.
fn routers() -> Vec<fn() -> Router> {
    let plan = plan(1, 0, By::Cid(None));
    probe_classic(&plan).unwrap();
    let mut routers: Vec<fn() -> Router> = vec![|| Router::Classic];
    match probe_extended(&plan) {
        Ok(()) => routers.push(|| Router::Extended(None)),
        Err(error) => crate::sys::write_stderr(&format!("not tried as extended: {error}\n")),
    }
    routers
}

/// All 16,384 ids, in both headers, clear and covered, to where they belong.
#[test]
fn every_slot() {
    for router in routers() {
        for (shard_bits, local) in [(1, LOCAL[0]), (2, LOCAL[1]), (6, LOCAL[2])] {
            for by in [By::Cid(None), light()] {
                let server_id = (1 << (14 - shard_bits)) - 1;
                let plan = plan(shard_bits, server_id, by);
                let mut group = Group::new(plan.shards(), local, router());
                group.steer(&plan);
                for header in [Header::Short, Header::Long] {
                    every_id(&group, &plan, header);
                }
            }
        }
    }
}

fn every_id(group: &Group, plan: &Plan, header: Header) {
    let client = group.client();
    let mut strangers = HashMap::new();
    for first in (0..IDS).step_by(BATCH.into()) {
        let mut sent = HashMap::new();
        for id in first..first + BATCH {
            let cid = cid(plan.by, id, random(id.into()));
            let packet = packet(header, &cid);
            client.send(&packet).unwrap();
            sent.insert(packet, id);
        }
        for (place, packet) in group.received_of(sent.len()) {
            let id = sent.remove(&packet).expect("what was sent");
            if id >> plan.shard_bits == plan.server_id {
                assert_eq!(place, id & (plan.shards() - 1), "{id:#x} {header:?} {:?}", plan.by);
            } else {
                *strangers.entry(place).or_insert(0) += 1;
            }
        }
        assert!(sent.is_empty(), "{} are lost", sent.len());
    }
    // Another server's ids go by the address: from one address, to one place.
    assert_eq!(strangers.len(), 1, "{strangers:?}");
}

/// What has no id of ours goes where all from that address goes.
#[test]
fn runts_and_strangers_are_spread() {
    for router in routers() {
        for by in [By::Cid(None), light()] {
            for local in LOCAL {
                let plan = plan(3, 1, by);
                let mut group = Group::new(8, local, router());
                group.steer(&plan);
                let mut places = [0; 8];
                for _ in 0..64 {
                    let client = group.client();
                    let place = group.place_of(&client, b"");
                    strangers(&group, &plan, &client, place);
                    places[usize::from(place)] += 1;
                }
                assert!(places.iter().all(|count| (1..32).contains(count)), "{places:?}");
            }
        }
    }
}

fn strangers(group: &Group, plan: &Plan, client: &UdpSocket, place: u16) {
    // One that is not where the address goes, so that a mistake shows.
    let shard = (place + 1) % plan.shards();
    let id = plan.server_id << plan.shard_bits | shard;
    let ours = cid(plan.by, id, random(9));
    for header in [Header::Short, Header::Long] {
        let whole = packet(header, &ours);
        for len in 0..17 {
            assert_eq!(group.place_of(client, &whole[..len]), place, "{len} bytes");
        }
        assert_eq!(group.place_of(client, &whole[..17]), shard);
        let cover_code = ours[0] & 0xC0;
        for other in [0x00, 0x40, 0x80, 0xC0].into_iter().filter(|code| *code != cover_code) {
            let mut other_code = ours;
            other_code[0] = ours[0] & 0x3F | other;
            assert_eq!(group.place_of(client, &packet(header, &other_code)), place);
        }
        let foreign = cid(plan.by, (plan.server_id ^ 1) << plan.shard_bits | shard, random(9));
        assert_eq!(group.place_of(client, &packet(header, &foreign)), place);
    }
    for len in [0, 8, 9, 11, 20] {
        let padded = [ours.as_slice(), &[0; 10]].concat();
        assert_eq!(group.place_of(client, &packet(Header::Long, &padded[..len])), place);
    }
}

/// Who drains gets what names it, and nothing new; who is dead nothing.
#[test]
fn the_drained_and_the_dead_get_nothing_new() {
    for router in routers() {
        let whole = plan(2, 3, By::Cid(None));
        let mut group = Group::new(4, LOCAL[0], router());
        group.steer(&whole);
        let clients = (0..64).map(|_| group.client()).collect::<Vec<_>>();
        let places = |group: &Group| {
            clients.iter().map(|client| group.place_of(client, b"new")).collect::<Vec<_>>()
        };
        let id = |shard: u16| cid(whole.by, 3 << 2 | shard, random(1));
        let before = places(&group);
        let drained = Plan { open: whole.open.without(1), ..whole.clone() };
        let dead = Plan { alive: whole.alive.without(1), ..drained.clone() };
        for (plan, is_dead) in [(&drained, false), (&dead, true)] {
            group.steer(plan);
            let now = places(&group);
            for (before, now) in before.iter().zip(&now) {
                assert!(*now != 1 && (*before == 1 || before == now), "{before} {now}");
            }
            for client in &clients {
                for shard in 0..4 {
                    let place = group.place_of(client, &packet(Header::Short, &id(shard)));
                    match is_dead && shard == 1 {
                        true => assert_ne!(place, 1),
                        false => assert_eq!(place, shard),
                    }
                }
            }
        }
        group.steer(&whole);
        assert_eq!(places(&group), before);
        assert_eq!(group.place_of(&clients[0], &packet(Header::Long, &id(1))), 1);
    }
}

/// A program takes another one's place between two packets: none is lost, none goes elsewhere.
#[test]
fn reload_under_traffic() {
    const DATAGRAMS: u32 = 100_000;
    for router in routers() {
        let plan = plan(2, 0, light());
        let mut group = Group::new(4, LOCAL[0], router());
        group.steer(&plan);
        let client = group.client();
        let sent = std::sync::atomic::AtomicU32::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        let taken = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..DATAGRAMS {
                    // What is on the way fits the sockets.
                    while number - taken.load(order) > u32::from(BATCH) {
                        std::thread::yield_now();
                    }
                    let cid = cid(plan.by, (number % 4) as u16, random(number));
                    let header = if number / 4 % 2 == 0 { Header::Short } else { Header::Long };
                    let mut packet = packet(header, &cid);
                    packet.push((number % 4) as u8);
                    client.send(&packet).unwrap();
                    sent.store(number + 1, order);
                }
            });
            let (mut reloads, mut count) = (0, 0);
            while count < DATAGRAMS {
                let all_sent = sent.load(order) == DATAGRAMS;
                let batch = group.received_of(usize::from(all_sent));
                for (place, packet) in &batch {
                    assert_eq!(Some(place), packet.last().map(|last| u16::from(*last)).as_ref());
                }
                assert!(!(all_sent && batch.is_empty()), "{count} of {DATAGRAMS}");
                count += batch.len() as u32;
                taken.store(count, order);
                if count >= reloads * (DATAGRAMS / 100) {
                    group.reload(&plan);
                    reloads += 1;
                }
            }
            assert!(reloads >= 90, "{reloads}");
        });
    }
}

/// One kind of router in another's place: what is there chooses until then.
#[test]
fn a_router_takes_anothers_place() {
    for (one, other) in routers().into_iter().zip(routers().into_iter().rev()) {
        let plan = plan(2, 0, By::Cid(None));
        let mut group = Group::new(4, LOCAL[0], one());
        group.steer(&plan);
        let client = group.client();
        group.router = other();
        group.steer(&plan);
        for shard in 0..4 {
            let packet = packet(Header::Short, &cid(plan.by, shard, random(7)));
            assert_eq!(group.place_of(&client, &packet), shard);
        }
    }
}

/// To the shard of the processor that sends, as far as that is the one that receives on the
/// loopback; and of one that is closed, to another.
#[test]
fn datagrams_go_by_processor() {
    let cpus = crate::sys::affinity::allowed_cpus().unwrap();
    let mut plan = plan(2, 0, By::Cpu);
    plan.cpus = cpus.iter().take(3).zip([3, 0, 1]).map(|(cpu, at)| (*cpu as u32, at)).collect();
    let mut group = Group::new(4, LOCAL[0], Router::Classic);
    group.steer(&plan);
    for (cpu, shard) in plan.cpus.clone() {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                crate::sys::affinity::pin_current_thread(cpu as usize).unwrap();
                let client = group.client();
                assert_eq!(group.place_of(&client, b"x"), shard);
            });
            done.join().unwrap();
        });
    }
    plan.open = ShardSet::first(4).without(3);
    group.steer(&plan);
    for _ in 0..32 {
        let client = group.client();
        assert_ne!(group.place_of(&client, b"x"), 3);
    }
}

/// Connections too: evenly, and none to who is closed.
#[test]
fn connections_are_spread() {
    for local in LOCAL {
        let mut config = TcpListenConfig::new(local.parse().unwrap()).with(|c| c.reuseport = true);
        let mut members = Vec::new();
        for _ in 0..4 {
            let fd = tcp::listen(&config).unwrap();
            config.addr = socket::local_addr(fd).unwrap().ip().unwrap();
            // SAFETY: the call just made the descriptor.
            members.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let fds = members.iter().map(AsFd::as_fd).collect::<Vec<_>>();
        let mut plan = plan(2, 0, By::Spread);
        let host = if local == LOCAL[0] { "127.0.0.1" } else { "::1" };
        let addr = SocketAddr::new(host.parse().unwrap(), config.addr.port());
        for closed in [None, Some(0), Some(3)] {
            if let Some(closed) = closed {
                plan.open = plan.open.without(closed);
            }
            Router::Classic.steer(&fds, &plan).unwrap();
            let clients = (0..64)
                .map(|_| TcpStream::connect_timeout(&addr, Duration::from_secs(5)).unwrap())
                .collect::<Vec<_>>();
            let counts = fds.iter().map(accept_all).collect::<Vec<_>>();
            assert_eq!(counts.iter().sum::<usize>(), clients.len());
            for (shard, count) in counts.iter().enumerate() {
                assert_eq!(*count > 0, plan.open.contains(shard as u16), "{counts:?}");
            }
        }
    }
}

fn accept_all(listener: &BorrowedFd<'_>) -> usize {
    use std::os::fd::AsRawFd as _;
    let mut count = 0;
    while let Some((fd, _)) = socket::accept(listener.as_raw_fd()).unwrap() {
        socket::close(fd);
        count += 1;
    }
    count
}
