//! The node that asks: bytes in pieces, answers read as they come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zero_io::{ConnId, Event, HostOrAddr, Io, IoError, Sender, StreamId, TcpConnectConfig};

use super::Cx;
use super::plan::{Ended, Reply, Stop, Talk};
use super::reader::Reader;

const STREAM: StreamId = StreamId::ZERO;
/// Connections at a time.
const CONN_COUNT_MAX: usize = 6;
/// Rounds that a client waits for `100 Continue`.
const CONTINUE_ROUNDS: usize = 100;

pub(crate) struct Client {
    pub(crate) io: Io,
    pub(crate) state: State,
}

#[derive(Default)]
pub(crate) struct State {
    conns: BTreeMap<ConnId, Conn>,
    ended: BTreeSet<ConnId>,
}

struct Conn {
    talk: usize,
    reader: Reader,
    sent: usize,
    connected: bool,
    blocked: bool,
    /// No more is sent.
    is_mute: bool,
    shut: bool,
    closed: bool,
    read_closed: bool,
    waited: usize,
}

impl Client {
    pub(crate) fn new(io: Io) -> Self {
        Self { io, state: State::default() }
    }

    pub(crate) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        for _ in 0..count_max {
            let Some(event) = self.io.next_event() else { break };
            self.state.on_event(event, cx);
        }
    }

    pub(crate) fn act(&mut self, cx: &mut Cx) {
        let (_, mut sender) = self.io.split();
        if cx.may_start && self.state.conns.len() < CONN_COUNT_MAX && cx.chance.once_in(3) {
            self.state.dial(&mut sender, cx);
        }
        let ids: Vec<ConnId> = self.state.conns.keys().copied().collect();
        for id in ids {
            self.state.progress(id, &mut sender, cx);
        }
    }

    /// Something is about to be sent.
    pub(crate) fn is_busy(&self, cx: &Cx) -> bool {
        self.state.conns.values().any(|conn| {
            let talk = &cx.talks[conn.talk];
            let can = conn.connected && !(conn.closed || conn.blocked || conn.is_mute);
            let left = conn.sent < talk.bytes.len() || talk.shuts && !conn.shut;
            can && left && !conn.reader.is_over() && conn.is_about_to(talk)
        })
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.state.conns.is_empty()
    }

    pub(crate) fn describe(&self, cx: &Cx) -> String {
        let mut out = String::from("\nclient:");
        for (id, c) in &self.state.conns {
            let talk = &cx.talks[c.talk];
            out += &format!(
                "\n  {id} talk {} {}/{} bytes sent, {}/{} answers, blocked {} mute {} shut {} \
                 closed {} read-closed {} polite {} {:?}",
                c.talk,
                c.sent,
                talk.bytes.len(),
                c.reader.count,
                talk.asks.len(),
                c.blocked,
                c.is_mute,
                c.shut,
                c.closed,
                c.read_closed,
                talk.is_polite,
                talk.asks.iter().map(|ask| ask.reply).collect::<Vec<_>>(),
            );
        }
        out
    }
}

impl State {
    fn dial(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        let is_polite = cx.is_liveness;
        let listener = if is_polite { 0 } else { cx.chance.below(cx.places.len()) };
        let (addr, limits) = cx.places[listener];
        let key = cx.talks.len() as u64;
        let config = TcpConnectConfig::new(HostOrAddr::Addr(addr));
        let dialled = match (&cx.secure, limits.is_tls) {
            (Some(secure), true) => secure.connect(sender, config),
            _ => sender.tcp_connect_with(config),
        };
        let Ok(id) = dialled else { return };
        let talk = Talk::new(key, listener, &limits, is_polite, &mut cx.chance);
        cx.talks.push(talk);
        assert!(!self.ended.contains(&id), "{id} was used before");
        let conn = Conn {
            talk: key as usize,
            reader: Reader::new(),
            sent: 0,
            connected: false,
            blocked: false,
            is_mute: false,
            shut: false,
            closed: false,
            read_closed: false,
            waited: 0,
        };
        assert!(self.conns.insert(id, conn).is_none(), "{id} is in use");
    }

    fn living(&mut self, id: ConnId, what: &str) -> &mut Conn {
        assert!(!self.ended.contains(&id), "{what} of {id} after its Disconnected");
        let conn = self.conns.get_mut(&id).unwrap_or_else(|| panic!("{what} of {id}"));
        assert!(conn.connected, "{what} of {id} before its Connected");
        conn
    }

    fn on_event(&mut self, event: Event<'_>, cx: &mut Cx) {
        match event {
            Event::Connected { conn, .. } => {
                let conn = self.conns.get_mut(&conn).expect("a connection that was asked for");
                assert!(!std::mem::replace(&mut conn.connected, true), "two Connected");
            }
            Event::StreamFrame { conn, data, .. } => {
                let living = self.living(conn, "StreamFrame");
                let talk = &mut cx.talks[living.talk];
                let limits = cx.places[talk.listener].1;
                living.reader.feed(data, talk, &limits);
            }
            Event::ReadClosed { conn, .. } => self.living(conn, "ReadClosed").read_closed = true,
            Event::Writable { conn, .. } => self.living(conn, "Writable").blocked = false,
            Event::Disconnected { conn: id, error_code: code, clean, .. } => {
                let mut conn = self.conns.remove(&id).expect("a connection that was there");
                assert!(self.ended.insert(id), "two Disconnected");
                conn.reader.end(conn.read_closed);
                let talk = &mut cx.talks[conn.talk];
                talk.ended[0] = conn.connected.then_some(Ended { code, clean });
                cx.answers += conn.reader.count as u64;
                talk.is_complete = conn.reader.count == talk.asks.len()
                    && conn.reader.tunnel_len == talk.tunnel.len();
                talk.has_last = conn.reader.is_over();
                cx.own_answers += u64::from(conn.reader.own.is_some());
                talk.check(&conn.reader);
            }
            Event::PoolPressure { .. } | Event::SendDone { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn progress(&mut self, id: ConnId, sender: &mut Sender<'_>, cx: &mut Cx) {
        let conn = self.conns.get_mut(&id).expect("it is there");
        if !conn.connected || conn.closed {
            return;
        }
        let talk = &mut cx.talks[conn.talk];
        if !cx.is_liveness && cx.chance.once_in(600) {
            talk.broken_off = true;
            conn.closed = true;
            // It may have ended, which is not told yet.
            let _ = sender.close(id);
            return;
        }
        let is_done = conn.reader.is_over()
            || (conn.reader.count == talk.asks.len()
                && talk.bad.is_none()
                && conn.reader.tunnel_len == talk.tunnel.len()
                && conn.sent == talk.bytes.len());
        if is_done || conn.read_closed {
            return leave(id, conn, talk, cx.places[talk.listener].1.idle_ms, sender);
        }
        if conn.blocked || conn.is_mute {
            return;
        }
        conn.waited += 1;
        let end = conn.may_send(talk);
        if conn.sent < end {
            let len = cx.chance.pick(&[1, 7, 100, 5_000, usize::MAX]).min(end - conn.sent);
            match sender.stream_write(id, STREAM, &talk.bytes[conn.sent..conn.sent + len]) {
                Ok(n) => {
                    conn.sent += n;
                    conn.blocked = n < len;
                    conn.waited = 0;
                }
                Err(IoError::StaleConn { .. } | IoError::WriteClosed { .. }) => conn.is_mute = true,
                Err(error) => panic!("stream_write: {error}"),
            }
        } else if conn.sent == talk.bytes.len() && talk.shuts && !conn.shut {
            conn.shut = true;
            let _ = sender.shutdown_write(id, STREAM);
        }
    }
}

impl Conn {
    /// Whether it does not wait for an answer.
    fn is_about_to(&self, talk: &Talk) -> bool {
        let end = self.may_send(talk);
        let waits = |stop: &(usize, Stop)| stop.0 == end && matches!(stop.1, Stop::Continue(_));
        end > self.sent || end == talk.bytes.len() || talk.stops.iter().any(waits)
    }

    /// Up to where it may send now.
    fn may_send(&self, talk: &Talk) -> usize {
        for (at, stop) in &talk.stops {
            let is_past = match *stop {
                _ if *at < self.sent => true,
                Stop::Answers(count) => self.reader.count >= count,
                Stop::Continue(n) => {
                    let is_told = self.reader.count == n && self.reader.continued;
                    is_told || self.reader.count > n || self.waited > CONTINUE_ROUNDS
                }
            };
            if !is_past {
                return (*at).max(self.sent);
            }
        }
        talk.bytes.len()
    }
}

/// The talk is over for the client: it ends it, or waits for the server to do so.
fn leave(id: ConnId, conn: &mut Conn, talk: &Talk, idle_ms: u64, sender: &mut Sender<'_>) {
    let is_tunnel = talk.asks.last().is_some_and(|ask| ask.reply == Reply::Upgrade);
    let waits = talk.asks.len().is_multiple_of(2) && idle_ms < 1_000 && !is_tunnel;
    if conn.read_closed || !(waits || conn.reader.is_over()) {
        conn.closed = true;
        let _ = sender.close_graceful(id, Duration::from_secs(20));
    }
}
