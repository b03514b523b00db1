//! The book against a model of what it is told and what it says.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::proto::http::HostKind;
use crate::rng::Rng;

const MS: Duration = Duration::from_millis(1);

fn key(host: usize) -> HostKey<'static> {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    HostKey { kind: HostKind::Http, host: NAMES[host], port: 80 }
}

fn config(change: impl FnOnce(&mut HttpPoolConfig)) -> HttpPoolConfig {
    HttpPoolConfig::default().with(change)
}

/// What the caller of a book knows.
struct World {
    book: Book,
    config: HttpPoolConfig,
    now: Time,
    /// By host, those that wait.
    waiting: [VecDeque<u32>; 6],
    safe: BTreeMap<u32, bool>,
    /// Members that are dialing, or connected: host, and what is under way.
    dialing: BTreeMap<u32, usize>,
    connected: BTreeMap<u32, (usize, VecDeque<u32>)>,
    /// Members that `Close` was said of.
    closing: BTreeMap<u32, usize>,
    assigned: u64,
    failed: u64,
}

impl World {
    fn new(config: HttpPoolConfig) -> Self {
        config.validate().unwrap();
        Self {
            book: Book::new(&config),
            config,
            now: Time::ZERO,
            waiting: Default::default(),
            safe: BTreeMap::new(),
            dialing: BTreeMap::new(),
            connected: BTreeMap::new(),
            closing: BTreeMap::new(),
            assigned: 0,
            failed: 0,
        }
    }

    fn host(&self, host: u32) -> usize {
        let name = self.book.key(host).host;
        (0..6).find(|&i| key(i).host == name).unwrap()
    }

    fn ask(&mut self, host: usize, request: u32, is_safe: bool) -> Result<(), Unqueued> {
        self.book.enqueue(request, &key(host), is_safe)?;
        self.waiting[host].push_back(request);
        self.safe.insert(request, is_safe);
        self.drain();
        Ok(())
    }

    fn drain(&mut self) {
        for step in 0.. {
            assert!(step < 10_000, "it never has enough");
            let Some(action) = self.book.next(self.now) else { break };
            self.obey(action);
            self.check_limits();
        }
        self.check_rest();
    }

    fn obey(&mut self, action: Action) {
        match action {
            Action::Dial { host, member } => {
                let host = self.host(host);
                assert!(!self.connected.contains_key(&member));
                assert!(!self.closing.contains_key(&member));
                assert_eq!(self.dialing.insert(member, host), None);
                let dialing = self.dialing.values().filter(|other| **other == host).count();
                assert!(dialing <= self.waiting[host].len(), "more than there is use for");
            }
            Action::Assign { request, member, is_last, .. } => {
                let (host, underway) = self.connected.get_mut(&member).expect("connected");
                assert_eq!(self.waiting[*host].pop_front(), Some(request), "first come");
                underway.push_back(request);
                assert!(underway.len() <= self.config.pipeline);
                assert!(underway.len() == 1 || underway.iter().all(|other| self.safe[other]));
                assert_eq!(is_last, self.config.keep_alive_requests == 1);
                assert_eq!(self.book.key(self.book.host_of(member)), key(*host));
                self.assigned += 1;
            }
            Action::Close { member } => {
                let (host, _) = self.connected.remove(&member).expect("connected");
                self.closing.insert(member, host);
            }
            Action::Fail { request, code } => {
                assert_eq!(code, 111);
                let host = self.waiting.iter().position(|line| line.front() == Some(&request));
                self.waiting[host.expect("first come")].pop_front();
                self.failed += 1;
            }
        }
    }

    fn check_limits(&self) {
        let open = self.dialing.len() + self.connected.len() + self.closing.len();
        assert_eq!(self.book.open(), open);
        assert!(open <= self.config.max_connections);
        for host in 0..6 {
            let all = self.dialing.values().chain(self.closing.values());
            let all = all.chain(self.connected.values().map(|(host, _)| host));
            let open = all.filter(|other| **other == host).count();
            assert!(open <= self.config.max_connections_per_host);
        }
        assert_eq!(self.book.waiting(), self.waiting.iter().map(VecDeque::len).sum::<usize>());
    }

    /// When it has nothing more to say.
    fn check_rest(&self) {
        self.check_limits();
        let mut all_idle = 0;
        for (host, waiting) in self.waiting.iter().enumerate() {
            let members = self.connected.values().filter(|(other, _)| *other == host);
            let idle = members.filter(|(_, underway)| underway.is_empty()).count();
            assert!(waiting.is_empty() || idle == 0, "somebody waits beside an idle connection");
            assert!(idle <= self.config.max_idle_per_host);
            all_idle += idle;
        }
        assert_eq!(self.book.idle(), all_idle);
        let is_full = self.book.open() >= self.config.max_connections;
        let is_kept_out = |host: usize| {
            let open = (self.dialing.values().chain(self.closing.values()))
                .chain(self.connected.values().map(|(host, _)| host));
            !self.waiting[host].is_empty() && !open.into_iter().any(|other| *other == host)
        };
        let kept_out = (0..6).filter(|host| is_kept_out(*host)).count();
        assert!(kept_out == 0 || is_full, "nobody is kept out for nothing");
        assert!(kept_out <= self.closing.len() || all_idle == 0, "idle ones make room");
    }

    fn pick<T: Copy>(rng: &mut Rng, from: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let mut from = from;
        if from.len() == 0 { None } else { from.nth(rng.below(from.len() as u64) as usize) }
    }

    fn connect(&mut self, member: u32) {
        let host = self.dialing.remove(&member).unwrap();
        self.connected.insert(member, (host, VecDeque::new()));
        self.book.connected(member, self.now);
        self.drain();
    }

    fn fail_dial(&mut self, member: u32) {
        self.dialing.remove(&member).unwrap();
        self.book.dial_failed(member, 111, self.now);
        self.drain();
    }

    fn answer(&mut self, member: u32, keeps: bool) {
        let Some((host, underway)) = self.connected.get_mut(&member) else { return };
        if underway.pop_front().is_none() {
            return;
        }
        // What was sent behind the last answer is queued again.
        let rest = if keeps { VecDeque::new() } else { std::mem::take(underway) };
        let host = *host;
        self.book.answered(member, keeps, true, self.now);
        self.requeue(host, rest);
        self.drain();
    }

    fn lose(&mut self, member: u32) {
        let (host, underway) = self.connected.remove(&member).unwrap();
        self.book.closed(member);
        self.requeue(host, underway);
        self.drain();
    }

    fn requeue(&mut self, host: usize, requests: VecDeque<u32>) {
        for request in requests.into_iter().rev() {
            self.book.requeue(request, &key(host), self.safe[&request]);
            self.waiting[host].push_front(request);
        }
    }

    fn finish_close(&mut self, member: u32) {
        self.closing.remove(&member).unwrap();
        self.book.closed(member);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        self.book.on_time(self.now);
        self.drain();
        assert!(self.book.next_deadline() > self.now);
    }

    /// Everything goes well from here on: nobody waits for ever.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 10_000, "{} wait for ever", self.book.waiting());
            let dialing: Vec<_> = self.dialing.keys().copied().collect();
            dialing.into_iter().for_each(|member| self.connect(member));
            let closing: Vec<_> = self.closing.keys().copied().collect();
            closing.into_iter().for_each(|member| self.finish_close(member));
            let connected: Vec<_> = self.connected.keys().copied().collect();
            connected.into_iter().for_each(|member| self.answer(member, true));
            let is_busy = self.connected.values().any(|(_, underway)| !underway.is_empty());
            if self.book.waiting() == 0 && !is_busy {
                return;
            }
            self.pass(MS * 100);
        }
    }
}

fn walk(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let per_host = 1 + rng.below(4) as usize;
    let mut world = World::new(config(|c| {
        c.max_connections_per_host = per_host;
        c.max_connections = 1 + rng.below(8) as usize;
        c.max_idle_per_host = rng.below(4) as usize;
        c.max_waiting = 1 + rng.below(30) as usize;
        c.pipeline = 1 + rng.below(3) as usize;
        c.keep_alive_requests = rng.below(2) as u32;
        c.idle_timeout_ms = rng.below(2) * 1000;
    }));
    let is_last = world.config.keep_alive_requests == 1;
    let hosts = 1 + rng.below(6);
    let mut request = 0;
    for _ in 0..600 {
        match rng.below(12) {
            0..5 => {
                let host = rng.below(hosts) as usize;
                let waiting = world.book.waiting();
                match world.ask(host, request, rng.chance(2, 3)) {
                    Ok(()) => request += 1,
                    Err(error) => assert_eq!(
                        (error, waiting >= world.config.max_waiting),
                        (Unqueued::Full, true)
                    ),
                }
            }
            5 => {
                let host = rng.below(hosts) as usize;
                let waiting = world.waiting[host].iter().copied();
                if let Some(request) = World::pick(&mut rng, waiting) {
                    assert!(world.book.cancel(request) && !world.book.cancel(request));
                    world.waiting[host].retain(|other| *other != request);
                    world.drain();
                }
            }
            6 => {
                let member = World::pick(&mut rng, world.dialing.keys().copied());
                let fails = rng.chance(1, 4);
                match member {
                    Some(member) if fails => world.fail_dial(member),
                    Some(member) => world.connect(member),
                    None => {}
                }
            }
            7 | 8 => {
                let member = World::pick(&mut rng, world.connected.keys().copied());
                let keeps = !is_last && rng.chance(4, 5);
                member.into_iter().for_each(|member| world.answer(member, keeps));
            }
            9 => {
                let member = World::pick(&mut rng, world.connected.keys().copied());
                member.into_iter().for_each(|member| world.lose(member));
            }
            10 => {
                let member = World::pick(&mut rng, world.closing.keys().copied());
                member.into_iter().for_each(|member| world.finish_close(member));
            }
            _ => world.pass(MS * rng.below(700) as u32),
        }
    }
    if is_last {
        world.config.keep_alive_requests = 1;
        return settle_one_by_one(world);
    }
    world.settle();
    world.book.close();
    world.drain();
    assert_eq!(world.ask(0, request, true), Err(Unqueued::Closed));
    world.settle();
    let closing: Vec<_> = world.closing.keys().copied().collect();
    closing.into_iter().for_each(|member| world.finish_close(member));
    assert!(world.book.is_finished(), "{:?}", world.book);
    assert_eq!(world.book.next_deadline(), Time::MAX);
}

/// As `settle`, with connections of one request each.
fn settle_one_by_one(mut world: World) {
    for round in 0.. {
        assert!(round < 10_000, "{} wait for ever", world.book.waiting());
        let dialing: Vec<_> = world.dialing.keys().copied().collect();
        dialing.into_iter().for_each(|member| world.connect(member));
        let connected: Vec<_> = world.connected.keys().copied().collect();
        connected.into_iter().for_each(|member| world.answer(member, false));
        let closing: Vec<_> = world.closing.keys().copied().collect();
        closing.into_iter().for_each(|member| world.finish_close(member));
        if world.book.waiting() == 0 {
            return;
        }
        world.pass(MS * 100);
    }
}

#[test]
fn a_random_walk_keeps_the_promises() {
    let seeds = if cfg!(miri) { 0..2 } else { 0..150 };
    seeds.for_each(walk);
}

#[test]
fn the_connection_used_last_is_used_next() {
    let mut world = World::new(config(|c| c.max_connections_per_host = 3));
    for request in 0..3 {
        world.ask(0, request, true).unwrap();
    }
    assert_eq!(world.dialing.len(), 3);
    (0..3).for_each(|member| world.connect(member));
    for member in [1, 0, 2] {
        world.answer(member, true);
    }
    for member in [2, 0, 1] {
        world.ask(0, 9, true).unwrap();
        world.safe.insert(9, true);
        assert_eq!(world.connected[&member].1.front(), Some(&9), "last in, first out");
        world.book.closed(member);
        world.connected.remove(&member);
        world.drain();
    }
}

#[test]
fn idle_connections_end_with_their_time() {
    let mut world = World::new(config(|c| c.idle_timeout_ms = 1000));
    world.ask(0, 0, true).unwrap();
    world.ask(1, 1, true).unwrap();
    world.connect(0);
    world.connect(1);
    world.answer(0, true);
    world.pass(MS * 300);
    world.answer(1, true);
    assert_eq!(world.book.next_deadline(), Time::ZERO.saturating_add(MS * 1000));
    world.pass(MS * 699);
    assert_eq!(world.closing.len(), 0);
    world.pass(MS);
    assert_eq!(world.closing.keys().copied().collect::<Vec<_>>(), [0]);
    // What is used begins anew.
    world.ask(1, 2, true).unwrap();
    assert_eq!(world.book.next_deadline(), Time::MAX);
    world.pass(MS * 5000);
    world.answer(1, true);
    assert_eq!(world.closing.len(), 1);
    world.pass(MS * 1000);
    assert_eq!(world.closing.len(), 2);
}

#[test]
fn an_idle_connection_makes_room_for_another_host() {
    let mut world = World::new(config(|c| c.max_connections = 2));
    world.ask(0, 0, true).unwrap();
    world.ask(1, 1, true).unwrap();
    world.connect(0);
    world.connect(1);
    world.answer(1, true);
    world.answer(0, true);
    world.ask(2, 2, true).unwrap();
    assert_eq!(world.closing.keys().copied().collect::<Vec<_>>(), [1], "idle for longest");
    assert!(world.dialing.is_empty());
    world.finish_close(1);
    assert_eq!(world.dialing.len(), 1);
}

#[test]
fn a_host_that_never_rests_lets_others_in() {
    for pipeline in [1, 4] {
        let mut world = World::new(config(|c| {
            (c.max_connections, c.pipeline) = (1, pipeline);
        }));
        let mut request = 0;
        let mut ask = |world: &mut World, host| {
            world.ask(host, request, true).unwrap();
            request += 1;
        };
        (0..10).for_each(|_| ask(&mut world, 0));
        world.connect(0);
        ask(&mut world, 1);
        for _ in 0..2 * TURN {
            ask(&mut world, 0);
            world.answer(0, true);
        }
        assert_eq!(world.closing.len(), 1, "its turn is over");
        assert_eq!(world.assigned, u64::from(TURN).max(4));
        world.finish_close(0);
        assert_eq!(world.dialing.values().copied().collect::<Vec<_>>(), [1]);
        world.connect(0);
        assert_eq!(world.connected[&0].1.len(), 1);
        world.answer(0, true);
        assert_eq!(world.closing.len(), 1, "it has nothing more, and the first waits");
        world.settle();
    }
}

#[test]
fn requests_go_behind_others_where_they_may() {
    let mut world = World::new(config(|c| {
        (c.max_connections_per_host, c.pipeline) = (1, 3);
    }));
    world.ask(0, 0, true).unwrap();
    world.connect(0);
    world.ask(0, 1, true).unwrap();
    assert_eq!(world.assigned, 1, "it has not shown yet that it takes several");
    world.answer(0, true);
    world.ask(0, 2, true).unwrap();
    assert_eq!(world.connected[&0].1, [1, 2]);
    world.ask(0, 3, false).unwrap();
    world.ask(0, 4, true).unwrap();
    assert_eq!(world.connected[&0].1, [1, 2], "not behind safe ones, and none before it");
    world.answer(0, true);
    world.answer(0, true);
    assert_eq!(world.connected[&0].1, [3], "nothing behind it");
    world.answer(0, true);
    assert_eq!(world.connected[&0].1, [4]);
}

#[test]
fn a_failed_dial_fails_those_that_wait_for_it() {
    let mut world = World::new(config(|c| c.max_connections_per_host = 2));
    for request in 0..5 {
        world.ask(0, request, true).unwrap();
    }
    world.fail_dial(0);
    assert_eq!(world.failed, 0, "another is tried");
    world.fail_dial(1);
    assert_eq!((world.failed, world.book.open()), (5, 0));
    // One is open: a second is tried again after a pause, not at once.
    world.ask(0, 5, true).unwrap();
    let member = *world.dialing.keys().next().unwrap();
    world.connect(member);
    world.ask(0, 6, true).unwrap();
    let other = *world.dialing.keys().next().unwrap();
    world.fail_dial(other);
    assert!(world.dialing.is_empty());
    assert_eq!(world.book.next_deadline(), world.now.saturating_add(PAUSE));
    world.pass(PAUSE);
    assert_eq!(world.dialing.len(), 1);
    world.answer(member, true);
    assert_eq!(world.connected[&member].1, [6]);
}

#[test]
fn too_many_are_refused_unless_one_is_served_at_once() {
    let mut world = World::new(config(|c| {
        (c.max_waiting, c.max_connections_per_host) = (1, 1);
    }));
    world.ask(0, 0, true).unwrap();
    world.connect(0);
    world.ask(1, 1, true).unwrap();
    assert_eq!(world.ask(0, 2, true), Err(Unqueued::Full));
    world.answer(0, true);
    world.ask(0, 2, true).unwrap();
    assert_eq!(world.connected[&0].1, [2]);
}

#[test]
fn what_was_never_there_does_nothing() {
    let mut book = Book::new(&HttpPoolConfig::default());
    let now = Time::ZERO;
    book.connected(7, now);
    book.answered(7, true, true, now);
    book.closed(7);
    book.on_time(now);
    assert!(!book.cancel(7));
    assert_eq!((book.next(now), book.open(), book.waiting()), (None, 0, 0));
}
