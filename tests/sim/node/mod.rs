//! One node of the workload: an `Io`, what the application knows, and what it must see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use zero_io::sim::World;
use zero_io::{
    ConnId, ConnTimeouts, EndpointId, Event, Events, HostOrAddr, Io, IoError, IoHandle, OwnedSlot,
    PoolKind, ReferencePool, Sender, StreamId, TcpConnectConfig, TcpListenConfig, UdsConnectConfig,
    UdsListenConfig,
};

use crate::chance::Chance;
use crate::extras::Extras;
use crate::flow::{self, Answer, Conn, Ended, Flow, Part, Speech, Start};
use crate::pattern::{Check, HEAD_LEN, Source, framing};
use crate::secure::Secure;

mod act;
mod open;

const STREAM: StreamId = StreamId::ZERO;
/// Bytes that wait for a connection before the one they come from is paused.
const BACKLOG_HIGH: usize = 16 * 1024;
/// Use of the slots at which sending may be refused: other uses have the rest.
const SCARCE_PCT: u8 = 50;
/// How long a table or a pool may stay full in the liveness phase.
const FULL_LIMIT_NS: u64 = 20_000_000_000;

/// Where to connect to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Tcp { addr: SocketAddr, place: Place },
    Unix { path: String },
}

/// What all nodes share.
pub(crate) struct Shared {
    pub(crate) world: World,
    pub(crate) chance: Chance,
    pub(crate) flows: Vec<Flow>,
    pub(crate) targets: Vec<Target>,
    pub(crate) datagrams: crate::extras::Datagrams,
    /// A part of the connections speak TLS.
    pub(crate) secure: Option<Secure>,
    /// How often a bit of what TLS listeners carry changes.
    pub(crate) noise_ppm: u32,
    pub(crate) is_liveness: bool,
    pub(crate) next_token: u64,
}

impl Shared {
    pub(crate) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }
}

/// What a listener does with whom it accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    framed: bool,
    relay: bool,
    speech: Speech,
}

const PLAIN: Place = Place { framed: false, relay: false, speech: Speech::Plain };

/// A listener, and whether it is open.
struct Listener {
    place: Place,
    is_open: bool,
}

/// A payload that is kept for a while, and what it must still be.
struct Held {
    slot: OwnedSlot,
    expected: Vec<u8>,
}

/// What is to be done with the payload once the event's borrow has ended.
enum Keep {
    Nothing,
    /// Detach it and look at it later.
    Hold(Vec<u8>),
    /// Detach it and send it back from where it lies.
    Return(ConnId, Vec<u8>),
}

pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) io: Io,
    pub(crate) state: State,
}

pub(crate) struct State {
    index: usize,
    /// `Config::max_connections`, and since when so many are there.
    table_max: usize,
    full_since_ns: u64,
    handle: IoHandle,
    /// The handle has buffers of its own.
    has_reserve: bool,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    ended: BTreeSet<ConnId>,
    places: BTreeMap<EndpointId, Listener>,
    held: Vec<Held>,
    /// Guard writes that outlive their connections.
    owed: BTreeSet<(ConnId, u64)>,
    posted: VecDeque<u64>,
    pub(crate) extras: Extras,
    pub(crate) connected_count: u64,
    pub(crate) refused_count: u64,
    pub(crate) upgraded_count: u64,
}

impl Node {
    pub(crate) fn new(index: usize, io: Io, table_max: usize) -> Self {
        let state = State {
            index,
            table_max,
            full_since_ns: 0,
            handle: io.handle(),
            has_reserve: io.handle().send_buffer(1).is_ok(),
            conns: BTreeMap::new(),
            ended: BTreeSet::new(),
            places: BTreeMap::new(),
            held: Vec::new(),
            owed: BTreeSet::new(),
            posted: VecDeque::new(),
            extras: Extras::default(),
            connected_count: 0,
            refused_count: 0,
            upgraded_count: 0,
        };
        Self { index, io, state }
    }

    /// Takes up to `count_max` events.
    pub(crate) fn drain(&mut self, cx: &mut Shared, count_max: usize) {
        let (mut events, mut sender) = self.io.split();
        for _ in 0..count_max {
            let Some(event) = events.next_event() else { break };
            let keep = self.state.on_event(event, &mut sender, cx);
            self.state.keep(keep, &mut events, &mut sender, cx);
        }
    }

    /// What the application does of its own accord in a round.
    pub(crate) fn act(&mut self, cx: &mut Shared) {
        let slots = self.io.pool_stats().of(ReferencePool::FreeStack);
        let is_scarce = self.io.pool_pressure().is_some() || slots.percent() >= SCARCE_PCT;
        let (_, mut sender) = self.io.split();
        let ids: Vec<ConnId> = self.state.conns.keys().copied().collect();
        for id in ids {
            self.state.progress(id, &mut sender, cx);
        }
        if !cx.is_liveness {
            self.state.mischief(&mut sender, cx);
        } else {
            self.state.held.drain(..).for_each(Held::check);
            self.state.shed(is_scarce, &mut sender, cx);
        }
        self.state.extras.act(self.index, &mut sender, cx);
    }

    /// Opens the listeners; those that fail for want of something are left out.
    pub(crate) fn open(&mut self, cx: &mut Shared) {
        let (_, mut sender) = self.io.split();
        let speeches = match cx.secure {
            Some(_) => &[Speech::Plain, Speech::Tls][..],
            None => &[Speech::Plain],
        };
        for speech in speeches.iter().copied() {
            for (framed, relay) in [(false, false), (true, false), (false, true)] {
                self.state.listen_tcp(Place { framed, relay, speech }, &mut sender, cx);
            }
        }
        if cx.secure.is_some() {
            self.state.listen_tcp(Place { speech: Speech::StartTls, ..PLAIN }, &mut sender, cx);
        }
        self.state.listen_unix(&mut sender, cx);
        self.state.extras.open(&mut sender, cx);
    }

    pub(crate) fn close_endpoints(&mut self) {
        let (_, mut sender) = self.io.split();
        for (id, listener) in &mut self.state.places {
            if std::mem::take(&mut listener.is_open) {
                sender.endpoint_close(*id).expect("the listener is open");
            }
        }
        self.state.extras.close(&mut sender);
    }

    /// What is still open or owed.
    pub(crate) fn describe(&self) -> String {
        let state = &self.state;
        let mut out = format!("\nnode {}: ", self.index);
        for (id, c) in &state.conns {
            let flags = [
                (c.connected, "connected"),
                (c.read_closed, "read-closed"),
                (c.aborted, "aborted"),
                (c.closing, "closing"),
                (c.fin, "fin"),
                (c.blocked, "blocked"),
                (c.paused, "paused"),
                (c.by_handle, "by-handle"),
                (c.is_drained(), "drained"),
                (c.framed, "framed"),
                (c.start != Start::Done, "in STARTTLS"),
            ];
            let set: Vec<&str> =
                flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            let waiting = c.backlog.len();
            out += &format!("\n  {id} {:?} {} backlog {waiting}", c.part, set.join(" "));
        }
        let (owed, posted) = (state.owed.len(), state.posted.len());
        let pools = self.io.pool_stats();
        let idle = self.io.is_idle();
        out += &format!("\n  owed {owed} posted {posted} {} idle {idle}", state.extras.describe());
        out += &format!("\n  {:?} detached {}", pools.pools, pools.detached);
        out
    }

    /// Nothing is open and nothing is owed.
    pub(crate) fn is_settled(&self) -> bool {
        let state = &self.state;
        state.conns.is_empty()
            && state.owed.is_empty()
            && state.posted.is_empty()
            && state.extras.is_settled()
    }
}

impl Held {
    /// P2: a frozen payload never changes.
    fn check(self) {
        assert!(*self.slot == *self.expected, "a detached payload changed");
    }
}

impl State {
    /// The connection of an event: it must be there, connected, and not closed by us.
    fn living(&mut self, id: ConnId, what: &str) -> &mut Conn {
        assert!(!self.ended.contains(&id), "{what} of {id} after its Disconnected");
        let conn = self.conns.get_mut(&id);
        let conn = conn.unwrap_or_else(|| panic!("{what} of {id}, which nobody knows"));
        assert!(conn.connected, "{what} of {id} before its Connected");
        conn
    }

    fn on_event(&mut self, event: Event<'_>, sender: &mut Sender<'_>, cx: &mut Shared) -> Keep {
        match event {
            Event::Connected { conn, endpoint, .. } => {
                self.on_connected(conn, endpoint, sender, cx);
            }
            Event::StreamFrame { conn, stream, data, .. } => {
                assert_eq!(stream, STREAM);
                return self.on_data(conn, data, sender, cx);
            }
            Event::ReadClosed { conn, .. } => {
                let living = self.living(conn, "ReadClosed");
                assert!(!living.aborted && !living.read_closed, "two ends of {conn}");
                living.read_closed = true;
            }
            Event::Writable { conn, credit, .. } => {
                let living = self.living(conn, "Writable");
                // What went through the handle happens later than it was asked for.
                let asked_later = living.by_handle || living.closing_by_handle;
                let asked_before = living.start != Start::Done;
                let may_come = living.takes_writes() || asked_later || asked_before;
                assert!(may_come, "{conn} takes no writes");
                assert!(credit > 0, "Writable without credit");
                living.blocked = false;
                self.flush(conn, sender, cx);
            }
            Event::Secured { conn, .. } => {
                let living = self.living(conn, "Secured");
                assert_eq!(living.start, Start::Shaking, "{conn}");
                assert!(!living.aborted && !living.read_closed, "secured after the end of {conn}");
                living.start = Start::Done;
                self.upgraded_count += 1;
                self.flush(conn, sender, cx);
            }
            Event::SendDone { conn, token, .. } => {
                // The kernel may need the memory for longer than the connection lives (K8).
                let known = match self.conns.get_mut(&conn) {
                    Some(living) => living.guards.remove(&token),
                    None => self.owed.remove(&(conn, token)),
                };
                assert!(known, "SendDone {token} of {conn}, which is not owed");
            }
            Event::Disconnected { conn, error_code, clean, .. } => {
                self.on_disconnected(conn, error_code, clean, cx);
            }
            Event::User { token, data } => {
                assert!(data.is_empty());
                assert_eq!(self.posted.pop_front(), Some(token), "posts come in order, once");
            }
            other => self.extras.on_event(&other, sender, cx),
        }
        Keep::Nothing
    }

    fn on_connected(
        &mut self,
        id: ConnId,
        endpoint: Option<EndpointId>,
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) {
        assert!(!self.ended.contains(&id), "Connected of {id} after its Disconnected");
        self.connected_count += 1;
        let Some(endpoint) = endpoint else {
            let conn = self.conns.get_mut(&id).expect("a Connected that nobody asked for");
            assert!(!conn.connected && !conn.aborted, "{id}: a wrong Connected");
            conn.connected = true;
            return self.flush(id, sender, cx);
        };
        let place = self.places[&endpoint].place;
        let part = if place.relay {
            Part::Relay { other: None }
        } else {
            Part::Unknown { head: Vec::new() }
        };
        let mut conn = Conn::new(part, place.framed);
        conn.connected = true;
        if place.speech == Speech::StartTls {
            conn.start = Start::Offered;
        }
        self.insert(id, conn);
        if place.relay {
            self.start_relay(id, sender, cx);
        }
    }

    fn start_relay(&mut self, down: ConnId, sender: &mut Sender<'_>, cx: &mut Shared) {
        let plain = |t: &&Target| match t {
            Target::Tcp { place, .. } => {
                !place.framed && !place.relay && place.speech != Speech::StartTls
            }
            Target::Unix { .. } => false,
        };
        let fit = cx.targets.iter().filter(plain).count();
        let nth = if cx.secure.is_some() { cx.chance.below(fit.min(2)) } else { 0 };
        let target = cx.targets.iter().rev().filter(plain).nth(nth).cloned();
        let Some(Ok(up)) = target.map(|target| self.dial(&target, sender, cx)) else {
            return;
        };
        self.insert(up, Conn::new(Part::Relay { other: Some(down) }, false));
        if let Some(conn) = self.conns.get_mut(&down) {
            conn.part = Part::Relay { other: Some(up) };
        }
    }

    fn on_data(
        &mut self,
        id: ConnId,
        data: &[u8],
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) -> Keep {
        let conn = self.living(id, "StreamFrame");
        assert!(!conn.aborted && !conn.read_closed, "data of {id} after its end");
        assert!(!data.is_empty());
        if conn.start != Start::Done {
            conn.start = conn.start.told(data);
            self.start_tls(id, sender, cx);
            return Keep::Nothing;
        }
        match &mut conn.part {
            Part::Client { flow } => {
                let flow = &mut cx.flows[*flow];
                conn.check.as_mut().expect("a client checks").take(data);
                flow.got[1] += data.len() as u64;
                assert!(flow.got[1] <= flow.sent[1] || flow.relayed, "more than was sent");
            }
            Part::Unknown { head } => {
                head.extend_from_slice(data);
                self.on_head(id, sender, cx);
                return Keep::Nothing;
            }
            Part::Server { flow } => {
                let flow = *flow;
                conn.check.as_mut().expect("a server checks").take(data);
                cx.flows[flow].got[0] += data.len() as u64;
                if cx.flows[flow].answer == Answer::Echo {
                    return self.echo(id, data, sender, cx);
                }
            }
            Part::Relay { other } => {
                if let Some(other) = *other {
                    self.pass_on(other, data, sender, cx);
                    self.hold_back(id, other, sender);
                }
                return Keep::Nothing;
            }
        }
        if cx.chance.once_in(8) { Keep::Hold(data.to_vec()) } else { Keep::Nothing }
    }

    /// Goes on with STARTTLS, as far as it can.
    fn start_tls(&mut self, id: ConnId, sender: &mut Sender<'_>, cx: &mut Shared) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.aborted || conn.closing || conn.fin || !conn.connected {
            return;
        }
        let (word, next) = match conn.start {
            Start::Ask => (flow::ASK, Start::Asked),
            Start::Accept => (flow::CONSENT, Start::Shaking),
            Start::Upgrade => (&[][..], Start::Shaking),
            Start::Refuse => return self.close_gracefully(id, sender, cx),
            _ => return,
        };
        match sender.stream_write(id, STREAM, word) {
            Ok(len) if len == word.len() => {}
            Ok(_) => return,
            Err(error) => return gone(conn, error),
        }
        let is_client = conn.start == Start::Upgrade;
        conn.start = next;
        let Some(secure) = cx.secure.as_ref().filter(|_| next == Start::Shaking) else { return };
        match secure.upgrade(sender, id, is_client) {
            Ok(()) => {
                let again = secure.upgrade(sender, id, is_client);
                assert!(matches!(again, Err(IoError::InvalidArgument { .. })), "{again:?}");
            }
            Err(error) => gone(conn, error),
        }
    }

    /// The number of the flow may be complete.
    fn on_head(&mut self, id: ConnId, sender: &mut Sender<'_>, cx: &mut Shared) {
        let conn = self.conns.get_mut(&id).expect("it is there");
        let Part::Unknown { head } = &mut conn.part else { return };
        let skip = if conn.framed { 2 } else { 0 };
        let number = head.get(skip..).and_then(|rest| rest.first_chunk::<HEAD_LEN>());
        let Some(number) = number.map(|bytes| u64::from_le_bytes(*bytes)) else { return };
        let head = std::mem::take(head);
        let flow = cx.flows.get_mut(number as usize).expect("a flow that exists");
        assert_eq!(flow.got[0], 0, "flow {number} arrives twice");
        let mut check = Check::new(number, 0, conn.framed);
        check.take(&head);
        flow.got[0] = head.len() as u64;
        conn.check = Some(check);
        conn.part = Part::Server { flow: number as usize };
        let goal = if flow.answer == Answer::Stream { flow.goal[1] } else { 0 };
        conn.source = Some(Source::new(number, 1, conn.framed, goal));
        if flow.answer == Answer::Echo {
            self.pass_on(id, &head, sender, cx);
        }
    }

    fn echo(&mut self, id: ConnId, data: &[u8], sender: &mut Sender<'_>, cx: &mut Shared) -> Keep {
        let conn = self.conns.get_mut(&id).expect("it is there");
        let free = conn.takes_writes() && !conn.blocked && conn.backlog.is_empty();
        if free && cx.chance.once_in(4) {
            return Keep::Return(id, data.to_vec());
        }
        self.pass_on(id, data, sender, cx);
        self.hold_back(id, id, sender);
        Keep::Nothing
    }

    /// Sends on what another connection, or this one, received: without a copy if it can be.
    fn pass_on(&mut self, to: ConnId, data: &[u8], sender: &mut Sender<'_>, cx: &mut Shared) {
        let Some(conn) = self.conns.get_mut(&to) else { return };
        if conn.fin || conn.aborted {
            return;
        }
        let mut taken = 0;
        if conn.connected && !conn.blocked && conn.backlog.is_empty() {
            // What is not of the current event, or finds the send queues full, is copied.
            let outcome = match sender.forward(to, STREAM, data) {
                Ok(()) => Ok(data.len()),
                Err(IoError::InvalidArgument { .. } | IoError::PoolExhausted { .. }) => {
                    sender.stream_write(to, STREAM, data)
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(count) => taken = count,
                Err(error) => return gone(conn, error),
            }
            conn.blocked = taken < data.len();
        }
        conn.backlog.extend(&data[taken..]);
        sent(conn, taken, cx);
    }

    /// Pauses `from` while too much waits for `to`.
    fn hold_back(&mut self, from: ConnId, to: ConnId, sender: &mut Sender<'_>) {
        let waiting = self.conns.get(&to).map_or(0, |conn| conn.backlog.len());
        let Some(conn) = self.conns.get_mut(&from) else { return };
        if waiting > BACKLOG_HIGH && !conn.paused && sender.pause_recv(from).is_ok() {
            conn.paused = true;
        }
    }

    fn on_disconnected(&mut self, id: ConnId, code: u64, clean: bool, cx: &mut Shared) {
        assert!(!self.ended.contains(&id), "a second Disconnected of {id}");
        self.ended.insert(id);
        self.refused_count += u64::from(zero_io::code::tls_alert(code).is_some());
        let Some(conn) = self.conns.remove(&id) else {
            assert!(cx.secure.is_some(), "a Disconnected of {id}, which nobody knows");
            assert!(code != 0 && !clean, "{id}: a handshake that failed with {code}");
            return;
        };
        self.owed.extend(conn.guards.iter().map(|token| (id, *token)));
        let is_client = matches!(conn.part, Part::Client { .. } | Part::Relay { .. });
        assert!(conn.connected || is_client, "an accepted connection without Connected");
        let ended = Ended { code, clean, aborted: conn.aborted };
        match conn.part {
            Part::Client { flow } => cx.flows[flow].ended[0] = Some(ended),
            Part::Server { flow } => cx.flows[flow].ended[1] = Some(ended),
            Part::Unknown { .. } | Part::Relay { .. } => {}
        }
    }

    fn keep(
        &mut self,
        keep: Keep,
        events: &mut Events<'_>,
        sender: &mut Sender<'_>,
        cx: &mut Shared,
    ) {
        match keep {
            Keep::Nothing => {}
            Keep::Hold(expected) => {
                if let Some(slot) = events.detach_event_data() {
                    self.held.push(Held { slot, expected });
                }
            }
            Keep::Return(id, data) => {
                let slot = events.detach_event_data();
                let buffer = slot.and_then(|slot| slot.try_into_send_buffer().ok());
                let Some(conn) = self.conns.get_mut(&id) else { return };
                let outcome = match buffer {
                    Some(buffer) => sender.stream_write_buffer(id, STREAM, buffer),
                    None => Err(IoError::PoolExhausted { pool: PoolKind::Detached }),
                };
                match outcome {
                    Ok(()) => sent(conn, data.len(), cx),
                    Err(error) if is_full(&error) => {
                        conn.blocked = true;
                        conn.backlog.extend(data);
                    }
                    Err(IoError::PoolExhausted { .. }) => conn.backlog.extend(data),
                    Err(error) => gone(conn, error),
                }
            }
        }
    }
}

/// Bytes that were accepted, on the account of the flow.
fn sent(conn: &Conn, count: usize, cx: &mut Shared) {
    match conn.part {
        Part::Client { flow } => cx.flows[flow].sent[0] += count as u64,
        Part::Server { flow } => cx.flows[flow].sent[1] += count as u64,
        Part::Unknown { .. } | Part::Relay { .. } => {}
    }
}

/// A write that was refused because the connection ended, which is not told yet.
fn gone(conn: &mut Conn, error: IoError) {
    match error {
        IoError::StaleConn { .. } | IoError::WriteClosed { .. } | IoError::NotConnected { .. } => {
            conn.fin = true;
            conn.backlog.clear();
        }
        other => panic!("a write failed with {other}"),
    }
}

/// Refused, and `Writable` follows.
fn is_full(error: &IoError) -> bool {
    matches!(
        error,
        IoError::QueueFull { .. } | IoError::PoolExhausted { pool: PoolKind::SendQueue }
    )
}

fn timeouts(chance: &mut Chance) -> ConnTimeouts {
    let mut limits = ConnTimeouts::default();
    if chance.once_in(10) {
        let limit = Duration::from_millis(chance.pick(&[2, 50, 5_000]));
        match chance.below(3) {
            0 => limits.idle = Some(limit),
            1 => limits.read = Some(limit),
            _ => limits.write = Some(limit),
        }
    }
    limits
}
