//! A node: its listeners, its connections, and what it holds on to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use zero_io::sim::World;
use zero_io::{
    Config, ConnId, EndpointId, Event, Io, OwnedSlot, PeerAddr, QuicListenConfig, RetryPolicy,
};

use super::hosts::Route;
use super::model::End;
use super::past::{Memory, Origin, Ties};
use super::wide::Limits;
use super::{Cx, hosts, limits, past};

/// Connections that a node begins, at a time.
const CLIENTS_MAX: usize = 5;
/// Connections that a node begins at most, so that a run has an end.
const DIALS_MAX: usize = 14;
/// Payloads that a node keeps.
const KEPT_MAX: usize = 40;
const LISTENERS_MAX: usize = 4;

pub(super) struct Node {
    pub(super) index: usize,
    pub(super) io: Io,
    pub(super) state: State,
    pub(super) config: Config,
    /// What it keeps when it is started anew; none in worlds where nobody is.
    pub(super) memory: Option<Memory>,
}

/// A listener, and what it was made with.
pub(super) struct Listener {
    id: EndpointId,
    pub(super) addr: SocketAddr,
    pub(super) config: QuicListenConfig,
}

/// What the connections of a listener have.
pub(super) struct Known {
    pub(super) limits: Limits,
    pub(super) origin: Option<Origin>,
    /// Each client is asked to retry, unless it shows a token.
    pub(super) asks: bool,
}

/// All but the `Io`.
#[derive(Default)]
pub(super) struct State {
    /// Numbers of the ends that are not over.
    pub(super) conns: BTreeMap<ConnId, usize>,
    pub(super) ended: BTreeSet<ConnId>,
    pub(super) listeners: Vec<Listener>,
    /// Listeners there ever were, with what their connections have.
    pub(super) known: BTreeMap<EndpointId, Known>,
    /// Those that are still to be opened again.
    pub(super) waiting: Vec<QuicListenConfig>,
    kept: Vec<OwnedSlot>,
    pub(super) dials: usize,
    /// Clients that got to listeners which ask all to retry.
    pub(super) asked_count: u64,
}

impl Node {
    pub(super) fn new(index: usize, config: Config, world: &World) -> Self {
        let io = Io::in_world(config.clone(), world).expect("a node");
        Self { index, io, state: State::default(), config, memory: None }
    }

    /// Listens, if nothing fails.
    pub(super) fn listen(&mut self, cx: &mut Cx, is_patient: bool) {
        let tls = cx.tls.0.clone();
        let mut config = limits::listen(cx, tls, is_patient);
        if let Some(memory) = &self.memory {
            past::listen(&mut config, cx);
            memory.apply(&mut config, &cx.past);
        }
        if cx.parts.by_name && !is_patient {
            hosts::listen(&mut config, cx);
        }
        let Some(addr) = self.open(config) else { return };
        cx.model.has_lives |= cx.places.contains(&addr);
        if is_patient && !cx.has_patient {
            cx.has_patient = true;
            cx.places.insert(0, addr);
        } else {
            cx.places.push(addr);
        }
    }

    /// Opens a listener; where it is.
    pub(super) fn open(&mut self, config: QuicListenConfig) -> Option<SocketAddr> {
        let id = self.io.quic_listen_with(config.clone()).ok()?;
        let limits = Limits::of(&config.transport);
        let origin = self.memory.as_ref().map(|memory| memory.origin(&config));
        let asks = config.retry == RetryPolicy::Always;
        self.state.known.insert(id, Known { limits, origin, asks });
        let Ok(PeerAddr::Inet(addr)) = self.io.local_addr(id) else {
            self.io.endpoint_close(id).expect("it is open");
            return None;
        };
        self.state.listeners.push(Listener { id, addr, config });
        Some(addr)
    }

    /// Whether one of its listeners is there.
    pub(super) fn is_at(&self, addr: SocketAddr) -> bool {
        self.state.listeners.iter().any(|listener| listener.addr == addr)
    }

    /// Closes the last listener, but for the one that is there to the end, or opens another.
    fn change_listeners(&mut self, cx: &mut Cx) {
        let count = self.state.listeners.len();
        if count > 1 && cx.chance.once_in(2) {
            let last = self.state.listeners.pop().expect("there are two");
            if cx.places.first() == Some(&last.addr) {
                return self.state.listeners.insert(0, last);
            }
            self.io.endpoint_close(last.id).expect("it is open");
        } else if count < LISTENERS_MAX && self.state.known.len() < 10 {
            self.listen(cx, false);
        }
    }

    pub(super) fn close_listeners(&mut self) {
        self.state.waiting.clear();
        for listener in std::mem::take(&mut self.state.listeners) {
            self.io.endpoint_close(listener.id).expect("it is open");
        }
    }

    /// Where its connections go out from, if it has any.
    pub(super) fn client_addr(&mut self, cx: &Cx) -> Option<SocketAddr> {
        let is_client = |end: &&usize| cx.model.ends[**end].is_client;
        let (conn, _) = self.state.conns.iter().find(|(_, end)| is_client(end))?;
        match self.io.conn_local_addr(*conn) {
            Ok(PeerAddr::Inet(addr)) => Some(hosts::loopback(addr)),
            _ => None,
        }
    }

    /// All ports that it has.
    pub(super) fn ports(&mut self, cx: &Cx) -> Vec<u16> {
        let mut ports: Vec<u16> = self.state.listeners.iter().map(|l| l.addr.port()).collect();
        ports.extend(self.client_addr(cx).map(|addr| addr.port()));
        ports
    }

    pub(super) fn act(&mut self, cx: &mut Cx) {
        self.reopen(cx);
        if !cx.is_liveness && cx.chance.once_in(120) {
            self.change_listeners(cx);
        }
        let dials_max = DIALS_MAX + usize::from(cx.is_liveness) * cx.parts.late_dials();
        let has_room = self.state.clients(cx) < CLIENTS_MAX && self.state.dials < dials_max;
        if cx.may_start && has_room && !cx.places.is_empty() && cx.chance.once_in(12) {
            self.dial(cx);
        }
        let is_long = cx.is_liveness || cx.chance.once_in(30);
        self.state.kept.truncate(if is_long { 0 } else { KEPT_MAX });
        let (_, mut sender) = self.io.split();
        let conns: Vec<(ConnId, usize)> = self.state.conns.iter().map(|(c, e)| (*c, *e)).collect();
        for (conn, end) in conns {
            super::act::progress(&mut sender, conn, end, cx);
            super::wide::progress(&mut sender, conn, end, cx);
        }
    }

    fn dial(&mut self, cx: &mut Cx) {
        let count = if cx.is_liveness { 1 } else { cx.places.len() };
        let to = cx.places[cx.chance.below(count)];
        let tls = cx.tls.1.clone();
        let mut config = limits::connect(cx, to, tls);
        let limits = Limits::of(&config.transport);
        let route = match cx.parts.by_name {
            true => hosts::choose(&mut config, to, cx),
            false => Route::to(to),
        };
        let ties = match cx.parts.returns {
            true => past::offer(&mut config, route.is_by_name, &mut self.io, cx),
            false => Ties::default(),
        };
        let Ok(conn) = self.io.quic_connect_with(config) else { return };
        self.state.dials += 1;
        let is_sure = cx.is_liveness;
        let plan = super::act::plan(cx);
        let end = cx.model.add(true);
        (end.is_sure, end.plan) = (is_sure, plan);
        (end.route, end.ties) = (route, ties);
        limits.apply(end);
        let number = end.number;
        assert!(!self.state.ended.contains(&conn), "{conn} was used before");
        assert!(self.state.conns.insert(conn, number).is_none(), "{conn} is in use");
        if cx.parts.returns {
            past::begin(&mut self.io.split().1, conn, number, cx);
        }
    }

    pub(super) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        let (mut events, mut sender) = self.io.split();
        for _ in 0..count_max {
            let Some(event) = events.next_event() else { break };
            let has_payload = matches!(event, Event::StreamFrame { .. } | Event::Datagram { .. });
            self.state.on_event(event, &mut sender, cx);
            if has_payload && !cx.is_liveness && cx.chance.once_in(8) {
                self.state.kept.extend(events.detach_event_data());
            }
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.state.conns.is_empty()
    }

    pub(super) fn describe(&self, cx: &Cx) -> String {
        let ends = self.state.conns.values().map(|end| format!("\n  {:?}", cx.model.ends[*end]));
        format!("\nnode {} {:?}:{}", self.index, self.io, ends.collect::<String>())
    }
}

impl State {
    fn clients(&self, cx: &Cx) -> usize {
        self.conns.values().filter(|end| cx.model.ends[**end].is_client).count()
    }

    /// The end that an event is about, which must be there, be open and not have been closed.
    pub(super) fn living<'a>(&self, conn: ConnId, what: &str, cx: &'a mut Cx) -> &'a mut End {
        assert!(!self.ended.contains(&conn), "{what} of {conn} after its Disconnected");
        let end = self.conns.get(&conn).unwrap_or_else(|| panic!("{what} of {conn}"));
        let end = &mut cx.model.ends[*end];
        assert!(end.is_connected, "{what} of {conn} before its Connected");
        let is_muted = matches!(end.closing, Some(super::model::Closing::Now(_)));
        assert!(!is_muted, "{what} of {conn} after close");
        end
    }
}
