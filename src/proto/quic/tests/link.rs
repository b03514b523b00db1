//! [`Link`]: clients that send as much as they can through one bottleneck to one server; and how
//! the congestion controllers do there.

#![expect(clippy::print_stdout, reason = "the figures, for whoever asks for the output")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::pair::{Datagram, NOON, Node, addr, connect_config, listen_config, secrets};
use crate::config::{Congestion, QuicConnectConfig};
use crate::ids::{StreamDir, StreamId};
use crate::proto::quic::parts::{ClientParts, EndpointParts};
use crate::proto::quic::resume::Past;
use crate::proto::quic::signal::Signal;
use crate::proto::quic::time::{Base, Wall};
use crate::rng::Rng;
use crate::stats::ConnStats;
use crate::time::Time;

/// Bytes that are written at a time.
static BLOCK: [u8; 16 << 10] = [7; 16 << 10];
const CE: u8 = 0b11;

/// The way there: a rate, a queue in front of it, and what gets lost behind. The way back has
/// neither.
#[derive(Clone, Copy)]
struct Way {
    /// Bytes per second.
    rate: f64,
    /// Bytes that wait at most; what comes beyond is lost.
    queue_max: f64,
    /// Bytes that wait when marking begins.
    mark_at: Option<f64>,
    /// From end to end and back, without waiting.
    rtt: Duration,
    /// Datagrams lost by chance, of a thousand.
    loss: u64,
}

impl Way {
    /// A queue that holds `queue` times what the path holds.
    fn new(megabits: f64, rtt_ms: u64, queue: f64) -> Self {
        let (rate, rtt) = (megabits * 125_000.0, Duration::from_millis(rtt_ms));
        let queue_max = queue * rate * rtt.as_secs_f64();
        Self { rate, queue_max, mark_at: None, rtt, loss: 0 }
    }
}

struct Flow {
    node: Node,
    stream: Option<StreamId>,
    /// Bytes per second that the application has; as many as go otherwise.
    limit: Option<f64>,
    written: f64,
    /// Bytes that arrived at the server's application.
    arrived: u64,
    starts_at: Time,
}

struct Link {
    way: Way,
    now: Time,
    server: Node,
    flows: Vec<Flow>,
    on_way: BTreeMap<(Time, u64), Datagram>,
    count: u64,
    free_at: Time,
    rng: Rng,
    /// What waited, in bytes, each time that something came.
    waits: Vec<f64>,
    dropped: u64,
    marked: u64,
}

impl Link {
    fn new(way: Way) -> Self {
        let base = Base::new(Instant::now());
        let listen = listen_config().with(|c| {
            c.transport.stream_window = 16 << 20;
            c.transport.conn_window = 64 << 20;
        });
        let parts = EndpointParts::listen(&listen, &secrets(1), &Wall::new(NOON)).unwrap();
        let start = Time::from_nanos(1_000_000_000);
        Self {
            way,
            now: start,
            server: Node::new(addr(2, 443), parts, base),
            flows: Vec::new(),
            on_way: BTreeMap::new(),
            count: 0,
            free_at: start,
            rng: Rng::from_seed(11),
            waits: Vec::new(),
            dropped: 0,
            marked: 0,
        }
    }

    fn connect(&mut self, congestion: Congestion, change: impl FnOnce(&mut QuicConnectConfig)) {
        let number = self.flows.len() as u64 + 10;
        let base = Base::new(Instant::now());
        let parts = EndpointParts::connect(&secrets(number)).unwrap();
        let mut node = Node::new(addr(number as u8, 1000), parts, base);
        let config = connect_config().with(|c| {
            c.transport.congestion = congestion;
            c.transport.send_window = 16 << 20;
        });
        let mut past = Past::new(Wall::new(NOON));
        let parts = ClientParts::new(&config.with(change), &node.endpoint, &mut past).unwrap();
        let (index, id) = node.vacant();
        let session = node.endpoint.connect(self.now, parts, self.server.addr, id).unwrap();
        node.sessions[index] = Some(session);
        self.flows.push(Flow {
            node,
            stream: None,
            limit: None,
            written: 0.0,
            arrived: 0,
            starts_at: self.now,
        });
    }

    fn flow(&mut self, congestion: Congestion) -> &mut Flow {
        self.connect(congestion, |_| ());
        self.flows.last_mut().unwrap()
    }

    /// Puts what was sent on its way.
    fn post(&mut self, from: SocketAddr, out: super::super::signal::Outgoing, bytes: &[u8]) {
        let segment = if out.segment == 0 { bytes.len() } else { usize::from(out.segment) };
        for data in bytes.chunks(segment.max(1)) {
            let mut ecn = out.ecn;
            let mut at = self.now.saturating_add(self.way.rtt / 2);
            if out.to == self.server.addr {
                let waits = self.free_at.saturating_since(self.now).as_secs_f64() * self.way.rate;
                self.waits.push(waits);
                if waits + data.len() as f64 > self.way.queue_max {
                    self.dropped += 1;
                    continue;
                }
                if self.way.mark_at.is_some_and(|mark_at| waits > mark_at) && ecn != 0 {
                    self.marked += 1;
                    ecn = CE;
                }
                let takes = Duration::from_secs_f64(data.len() as f64 / self.way.rate);
                self.free_at = self.free_at.max(self.now).saturating_add(takes);
                if self.rng.below(1000) < self.way.loss {
                    self.dropped += 1;
                    continue;
                }
                at = self.free_at.saturating_add(self.way.rtt / 2);
            }
            self.count += 1;
            let data = data.to_vec();
            self.on_way.insert((at, self.count), Datagram { at, from, to: out.to, ecn, data });
        }
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.on_way.first_entry().filter(|e| e.key().0 <= self.now) {
            let datagram = entry.remove();
            let node = match datagram.to == self.server.addr {
                true => &mut self.server,
                false => {
                    let found = self.flows.iter_mut().find(|f| f.node.addr == datagram.to);
                    &mut found.unwrap().node
                }
            };
            let from = node.addr;
            if let Some((out, bytes)) = node.on_datagram(self.now, &datagram) {
                self.post(from, out, &bytes);
            }
        }
    }

    /// When something is to happen next.
    fn round(&mut self) -> Time {
        self.arrive();
        let now = self.now;
        let mut next = Time::MAX;
        for at in 0..self.flows.len() {
            let flow = &mut self.flows[at];
            if flow.starts_at > now {
                next = next.min(flow.starts_at);
                continue;
            }
            next = next.min(flow.write(now));
            let (from, mut sent) = (flow.node.addr, Vec::new());
            next = next.min(flow.node.turn(now, &mut sent));
            flow.node.told.clear();
            sent.iter().for_each(|(out, bytes)| self.post(from, *out, bytes));
        }
        let mut sent = Vec::new();
        next = next.min(self.server.turn(now, &mut sent));
        let from = self.server.addr;
        for (index, signal) in std::mem::take(&mut self.server.told) {
            if let Signal::Frame { data, .. } = signal {
                let peer = self.server.session(index).peer();
                let flow = self.flows.iter_mut().find(|f| f.node.addr == peer).unwrap();
                flow.arrived += data.len() as u64;
            }
        }
        sent.iter().for_each(|(out, bytes)| self.post(from, *out, bytes));
        next.min(self.on_way.first_key_value().map_or(Time::MAX, |((at, _), _)| *at))
    }

    fn run(&mut self, span: Duration) {
        let end = self.now.saturating_add(span);
        while self.now < end {
            let next = self.round();
            self.now = next.max(self.now.saturating_add(Duration::from_nanos(1))).min(end);
        }
    }

    /// What each flow got through while `span` passes, in megabits per second.
    fn rates(&mut self, span: Duration) -> Vec<f64> {
        let before: Vec<u64> = self.flows.iter().map(|f| f.arrived).collect();
        self.waits.clear();
        self.run(span);
        let got = self.flows.iter().zip(before).map(|(f, before)| (f.arrived - before) as f64);
        got.map(|bytes| bytes * 8.0 / span.as_secs_f64() / 1e6).collect()
    }

    /// How long what came waited, on average.
    fn mean_wait(&self) -> Duration {
        let sum: f64 = self.waits.iter().sum();
        Duration::from_secs_f64(sum / self.waits.len().max(1) as f64 / self.way.rate)
    }

    fn stats(&mut self, at: usize) -> ConnStats {
        self.flows[at].node.session(0).stats()
    }
}

impl Flow {
    /// Writes what the windows and the application's rate allow; when there is more.
    fn write(&mut self, now: Time) -> Time {
        let Some(session) = &mut self.node.sessions[0] else { return Time::MAX };
        if session.is_handshaking() {
            return Time::MAX;
        }
        let stream = *self.stream.get_or_insert_with(|| session.open(StreamDir::Uni).unwrap());
        let since = now.saturating_since(self.starts_at).as_secs_f64();
        loop {
            let len = match self.limit {
                None => BLOCK.len(),
                Some(rate) if self.written + 2000.0 > since * rate => {
                    return now.saturating_add(Duration::from_secs_f64(2000.0 / rate));
                }
                Some(_) => 2000,
            };
            let taken = session.write(stream, &mut [Bytes::from_static(&BLOCK[..len])]).unwrap();
            self.written += taken as f64;
            if taken < len {
                return Time::MAX;
            }
        }
    }
}

const SEC: Duration = Duration::from_secs(1);

#[test]
fn bbr_fills_a_path_and_keeps_its_queue_short() {
    let mut link = Link::new(Way::new(10.0, 40, 1.0));
    link.flow(Congestion::Bbr);
    link.run(SEC);
    let rates = link.rates(SEC * 12);
    println!("bbr: {rates:?}, waits {:?}, {:?}", link.mean_wait(), link.stats(0));
    assert!(rates[0] > 9.0, "{rates:?}");
    assert!(link.mean_wait() < Duration::from_millis(25), "{:?}", link.mean_wait());
    let stats = link.stats(0);
    let rate = stats.quic.unwrap().pacing_rate as f64;
    assert!((600_000.0..2_000_000.0).contains(&rate), "{rate}");
}

#[test]
fn where_buffers_are_long_bbr_does_not_fill_them() {
    let mut waits = Vec::new();
    for congestion in [Congestion::Bbr, Congestion::Cubic] {
        let mut link = Link::new(Way::new(10.0, 40, 12.0));
        link.flow(congestion);
        link.run(SEC * 2);
        let rates = link.rates(SEC * 12);
        println!("{congestion:?}: {rates:?}, waits {:?}", link.mean_wait());
        assert!(rates[0] > 8.8, "{congestion:?}: {rates:?}");
        waits.push(link.mean_wait());
    }
    assert!(waits[0] * 5 < waits[1], "{waits:?}");
}

#[test]
fn loss_by_chance_does_not_slow_bbr_down() {
    let mut rates = Vec::new();
    for congestion in [Congestion::Bbr, Congestion::Cubic, Congestion::NewReno] {
        let mut link = Link::new(Way { loss: 10, ..Way::new(50.0, 40, 2.0) });
        link.flow(congestion);
        link.run(SEC);
        rates.push(link.rates(SEC * 4)[0]);
    }
    println!("bbr, cubic, reno with 1 % loss: {rates:?}");
    assert!(rates[0] > 5.0 * rates[1] && rates[0] > 5.0 * rates[2], "{rates:?}");
    assert!(rates[0] > 35.0, "{rates:?}");
}

#[test]
fn bbr_and_cubic_share_a_path() {
    for queue in [1.0, 3.0] {
        let mut link = Link::new(Way::new(20.0, 40, queue));
        link.flow(Congestion::Bbr);
        link.flow(Congestion::Cubic);
        link.run(SEC * 4);
        let rates = link.rates(SEC * 14);
        println!("queue {queue}: bbr, cubic {rates:?}");
        assert!(rates[0] + rates[1] > 17.0, "{rates:?}");
        // Nobody starves.
        assert!(rates[0] > 2.0 && rates[1] > 2.0, "{rates:?}");
    }
}

#[test]
fn two_of_bbr_come_to_terms() {
    let mut link = Link::new(Way::new(20.0, 40, 2.0));
    link.flow(Congestion::Bbr);
    link.run(SEC * 3);
    link.flow(Congestion::Bbr);
    link.run(SEC * 9);
    let rates = link.rates(SEC * 10);
    println!("bbr, bbr {rates:?}");
    assert!(rates[0] + rates[1] > 17.5, "{rates:?}");
    assert!(rates.iter().all(|rate| *rate > 5.0), "{rates:?}");
}

#[test]
fn marks_hold_bbr_back_before_anything_is_lost() {
    let way = Way::new(10.0, 40, 20.0);
    let mut link = Link::new(Way { mark_at: Some(way.rate * 0.02), ..way });
    link.flow(Congestion::Bbr);
    link.run(SEC * 2);
    let rates = link.rates(SEC * 8);
    println!("marked {}: {rates:?}, waits {:?}", link.marked, link.mean_wait());
    assert!(link.marked > 0 && link.dropped == 0);
    assert!(rates[0] > 7.5, "{rates:?}");
    assert!(link.mean_wait() < Duration::from_millis(25), "{:?}", link.mean_wait());
}

#[test]
fn an_application_that_sends_little_is_not_believed_to_be_the_path() {
    let mut link = Link::new(Way::new(10.0, 40, 4.0));
    link.flow(Congestion::Bbr).limit = Some(125_000.0);
    link.run(SEC * 12);
    let stats = link.stats(0);
    println!("app limited: {stats:?}");
    // It believes in no more than the path has, and its window is bounded by that.
    let rate = stats.quic.unwrap().pacing_rate as f64;
    assert!(rate < 2.77 * 1.4 * link.way.rate, "{rate}");
    assert!(stats.cwnd < 300_000, "{stats:?}");
    link.flows[0].limit = None;
    link.run(SEC * 4);
    let rates = link.rates(SEC * 6);
    assert!(rates[0] > 9.0, "{rates:?}");
}

#[test]
fn a_slow_path_is_paced_too() {
    let mut link = Link::new(Way::new(0.5, 100, 3.0));
    link.flow(Congestion::Bbr);
    link.run(SEC * 5);
    let rates = link.rates(SEC * 20);
    println!("slow: {rates:?}, waits {:?}", link.mean_wait());
    assert!(rates[0] > 0.4, "{rates:?}");
}

#[test]
fn a_slow_sender_that_is_paced_acknowledges_in_time() {
    const MS: Duration = Duration::from_millis(1);
    // A packet takes 40 ms, and two of them go at a time.
    let mut link = Link::new(Way::new(0.25, 400, 3.0));
    link.flow(Congestion::Bbr);
    link.run(SEC * 10);
    let stream = link.server.session(0).open(StreamDir::Uni).unwrap();
    let mut delays = Vec::new();
    for _ in 0..100 {
        link.run(MS * 37);
        link.server.session(0).write(stream, &mut [Bytes::from_static(b"x")]).unwrap();
        let (heard, mut last) = link.flows[0].node.session(0).counts();
        let mut came: Option<(Time, u64)> = None;
        delays.push(loop {
            link.run(MS);
            let (received, acks) = link.flows[0].node.session(0).counts();
            if came.is_none() && received > heard {
                came = Some((link.now, last));
            }
            if let Some((at, before)) = came
                && acks > before
            {
                break link.now.saturating_since(at);
            }
            last = acks;
        });
    }
    delays.sort();
    println!("acknowledged after {delays:?}");
    // Where the window is closed as well, as for `ProbeRTT`, each of some in a row waits longer.
    let late = delays.iter().filter(|delay| **delay > MS * 25).count();
    assert!(late <= 20 && delays.iter().all(|delay| *delay <= MS * 400), "{delays:?}");
}

#[test]
fn acknowledgements_are_not_in_flight() {
    let mut link = Link::new(Way::new(1.0, 40, 4.0));
    // It says nothing, and its windows need no word.
    link.connect(Congestion::Bbr, |c| {
        c.transport.stream_window = 16 << 20;
        c.transport.conn_window = 64 << 20;
    });
    link.flows[0].limit = Some(1.0);
    link.run(SEC);
    let (_, before) = link.flows[0].node.session(0).counts();
    let stream = link.server.session(0).open(StreamDir::Uni).unwrap();
    for _ in 0..100 {
        let server = link.server.session(0);
        server.write(stream, &mut [Bytes::from_static(&BLOCK)]).unwrap();
        link.run(Duration::from_millis(10));
    }
    let client = link.flows[0].node.session(0);
    let (_, acks) = client.counts();
    assert!(acks > before + 100);
    assert_eq!(client.in_flight(), 0);
}

#[test]
fn two_runs_are_the_same() {
    let run = || {
        let mut link = Link::new(Way { loss: 5, ..Way::new(10.0, 40, 1.0) });
        link.flow(Congestion::Bbr);
        link.run(SEC * 6);
        (link.flows[0].arrived, link.dropped, link.flows[0].node.datagrams)
    };
    assert_eq!(run(), run());
}

#[test]
fn every_controller_fills_a_clean_path() {
    for congestion in [Congestion::NewReno, Congestion::Cubic, Congestion::Bbr] {
        let mut link = Link::new(Way::new(10.0, 40, 1.0));
        link.flow(congestion);
        link.run(SEC * 2);
        let rates = link.rates(SEC * 8);
        println!("{congestion:?}: {rates:?}, waits {:?}", link.mean_wait());
        assert!(rates[0] > 8.8, "{congestion:?}: {rates:?}");
    }
}
