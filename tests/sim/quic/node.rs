//! A node: its listeners, its connections, and what it holds on to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use zero_io::{ConnId, EndpointId, Event, Io, OwnedSlot, PeerAddr};

use super::model::End;
use super::wide::Limits;
use super::{Cx, limits};

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
}

/// All but the `Io`.
#[derive(Default)]
pub(super) struct State {
    /// Numbers of the ends that are not over.
    pub(super) conns: BTreeMap<ConnId, usize>,
    pub(super) ended: BTreeSet<ConnId>,
    listeners: Vec<(EndpointId, SocketAddr)>,
    /// Listeners there ever were, with what their connections have.
    pub(super) known: BTreeMap<EndpointId, Limits>,
    kept: Vec<OwnedSlot>,
    dials: usize,
}

impl Node {
    pub(super) fn new(index: usize, io: Io) -> Self {
        Self { index, io, state: State::default() }
    }

    /// Listens, if nothing fails.
    pub(super) fn listen(&mut self, cx: &mut Cx, is_patient: bool) {
        let tls = cx.tls.0.clone();
        let config = limits::listen(cx, tls, is_patient);
        let limits = Limits::of(&config.transport);
        let Ok(id) = self.io.quic_listen_with(config) else { return };
        self.state.known.insert(id, limits);
        let Ok(PeerAddr::Inet(addr)) = self.io.local_addr(id) else {
            self.io.endpoint_close(id).expect("it is open");
            return;
        };
        self.state.listeners.push((id, addr));
        if is_patient && !cx.has_patient {
            cx.has_patient = true;
            cx.places.insert(0, addr);
        } else {
            cx.places.push(addr);
        }
    }

    /// Closes the last listener, but for the one that is there to the end, or opens another.
    fn change_listeners(&mut self, cx: &mut Cx) {
        let count = self.state.listeners.len();
        if count > 1 && cx.chance.once_in(2) {
            let (id, _) = self.state.listeners.pop().expect("there are two");
            self.io.endpoint_close(id).expect("it is open");
        } else if count < LISTENERS_MAX && self.state.known.len() < 10 {
            self.listen(cx, false);
        }
    }

    pub(super) fn close_listeners(&mut self) {
        for (id, _) in std::mem::take(&mut self.state.listeners) {
            self.io.endpoint_close(id).expect("it is open");
        }
    }

    /// The port that its connections go out from, if it has any.
    pub(super) fn client_port(&mut self, cx: &Cx) -> Option<u16> {
        let is_client = |end: &&usize| cx.model.ends[**end].is_client;
        let (conn, _) = self.state.conns.iter().find(|(_, end)| is_client(end))?;
        match self.io.conn_local_addr(*conn) {
            Ok(PeerAddr::Inet(addr)) => Some(addr.port()),
            _ => None,
        }
    }

    /// All ports that it has.
    pub(super) fn ports(&mut self, cx: &Cx) -> Vec<u16> {
        let mut ports: Vec<u16> = self.state.listeners.iter().map(|(_, a)| a.port()).collect();
        ports.extend(self.client_port(cx));
        ports
    }

    pub(super) fn act(&mut self, cx: &mut Cx) {
        if !cx.is_liveness && cx.chance.once_in(120) {
            self.change_listeners(cx);
        }
        let dials_max = DIALS_MAX + 2 * usize::from(cx.is_liveness);
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
        let config = limits::connect(cx, to, tls);
        let limits = Limits::of(&config.transport);
        let Ok(conn) = self.io.quic_connect_with(config) else { return };
        self.state.dials += 1;
        let is_sure = cx.is_liveness;
        let plan = super::act::plan(cx);
        let end = cx.model.add(true);
        (end.is_sure, end.plan) = (is_sure, plan);
        limits.apply(end);
        assert!(!self.state.ended.contains(&conn), "{conn} was used before");
        assert!(self.state.conns.insert(conn, end.number).is_none(), "{conn} is in use");
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
