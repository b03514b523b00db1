//! Clients that were there before: tickets, what is sent before the handshake is done (RFC 9001
//! §4.6), and tokens (RFC 9000 §8.1.3).
//!
//! What is sent early, and refused, is an end of its own: what its client says behind that comes
//! from another end, so that nothing of the one can be taken for the other.
//!
//! Held: a ticket resumes once, with a server that has the sessions it is of; early data is offered
//! where a ticket allows it, and nowhere else; it is answered once, before `Connected`. What was
//! taken is read once; what was refused was read by nobody, or by a server to which its client
//! never got: one that crashed, or gave up.

use zero_io::code::{IDLE_TIMEOUT, QuicClose, QuicCloser, quic_close};
use zero_io::{
    ConnId, Io, IoError, QuicConnectConfig, QuicKeys, QuicListenConfig, QuicTransport, Sender,
    SessionTicket, StreamDir, StreamId, TlsServerConfig,
};

use super::model::{Closing, End, Lost, Model, Sending, text};
use super::node::State;
use super::{Cx, act};
use crate::chance::Chance;
use crate::secure::{NAME, Secure};

const INTERNAL_ERROR: u64 = 0x1;
const TRANSPORT_PARAMETER_ERROR: u64 = 0x8;
/// Streams that an end opens early at most.
const EARLY_STREAMS_MAX: usize = 4;

/// What servers remember, and what clients kept.
pub(super) struct Past {
    /// Configurations of servers: none knows anything of another's sessions.
    servers: Vec<TlsServerConfig>,
    keys: Vec<[u8; QuicKeys::LEN]>,
    /// Tickets, and the ends that got them.
    kept: Vec<(SessionTicket, usize)>,
}

impl Past {
    /// In worlds where nobody comes back.
    pub(super) const fn none() -> Self {
        Self { servers: Vec::new(), keys: Vec::new(), kept: Vec::new() }
    }

    pub(super) fn new(chance: &mut Chance) -> Self {
        let servers = (0..3).map(|_| Secure::quic_server(chance)).collect();
        let keys = (0..3).map(|_| std::array::from_fn(|_| chance.next() as u8)).collect();
        Self { servers, keys, kept: Vec::new() }
    }
}

/// What a node knows of what was before it.
#[derive(Clone)]
pub(super) struct Memory {
    /// Whose sessions its listeners resume.
    tls: usize,
    key: usize,
    keys: QuicKeys,
}

impl Memory {
    pub(super) fn new(past: &Past) -> Self {
        Self { tls: 0, key: 0, keys: QuicKeys::from_bytes(&past.keys[0]) }
    }

    /// That of a node which was started anew: it may have lost its sessions, and its keys.
    pub(super) fn next(&self, cx: &mut Cx) -> Self {
        let Cx { chance, past, .. } = cx;
        let tls = if chance.once_in(2) { self.tls } else { chance.below(past.servers.len()) };
        let key = if chance.once_in(3) { chance.below(past.keys.len()) } else { self.key };
        // Which tokens were used, it has forgotten.
        Self { tls, key, keys: QuicKeys::from_bytes(&past.keys[key]) }
    }

    /// The number of its keys: with the same ones, connections of before can be reset.
    pub(super) const fn key(&self) -> usize {
        self.key
    }

    /// What of it a listener has.
    pub(super) fn apply(&self, listen: &mut QuicListenConfig, past: &Past) {
        listen.tls = past.servers[self.tls].clone();
        listen.keys = Some(self.keys.clone());
    }

    pub(super) fn origin(&self, listen: &QuicListenConfig) -> Origin {
        let transport = &listen.transport;
        Origin {
            tls: self.tls,
            takes_early: listen.early_data,
            limits: [
                transport.stream_window,
                transport.conn_window,
                transport.max_bidi_streams,
                transport.max_uni_streams,
                transport.datagrams.map_or(0, |datagrams| datagrams.recv_bytes),
                listen.migration.into(),
            ],
        }
    }
}

/// On what a session depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    tls: usize,
    takes_early: bool,
    limits: [u32; 6],
}

impl Origin {
    /// Whether a session of the other is known here.
    fn resumes(&self, other: &Self) -> bool {
        // Where no early data is taken, sessions are sealed in tickets, and depend on nothing else.
        let is_alike = self.takes_early == other.takes_early && self.tls == other.tls;
        is_alike && (!self.takes_early || self == other)
    }
}

/// What a connection was to be resumed with.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// What its configuration remembers, or nothing.
    #[default]
    Unknown,
    /// A ticket that an end had got, and whether it was good for anything.
    Given { giver: usize, is_fresh: bool, takes_early: bool },
}

/// What became of early data.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Early {
    #[default]
    None,
    Offered,
    Taken,
    Refused,
}

/// What an end has to do with connections before it.
#[derive(Debug, Default, Clone)]
pub(super) struct Ties {
    offer: Offer,
    wants_early: bool,
    /// Bytes that it may send early.
    early_max: u64,
    pub(super) early: Early,
    pub(super) resumed: Option<bool>,
    /// Of a server: on what its sessions depend.
    origin: Option<Origin>,
    /// Of a server: what came first may have been a recording, and was not.
    took_early: bool,
    is_secured: bool,
}

impl Ties {
    /// A server that has only heard what may have been a recording.
    pub(super) const fn is_unsure(&self) -> bool {
        self.took_early && !self.is_secured
    }
}

pub(super) fn listen(config: &mut QuicListenConfig, cx: &mut Cx) {
    let chance = &mut cx.chance;
    config.early_data = !chance.once_in(3);
    config.new_tokens = chance.pick(&[0, 1, 2, 2, 8]);
    if chance.once_in(3) {
        config.new_token_lifetime = std::time::Duration::from_secs(1);
    }
}

/// What a connection is to resume with.
pub(super) fn offer(
    config: &mut QuicConnectConfig,
    by_name: bool,
    io: &mut Io,
    cx: &mut Cx,
) -> Ties {
    let Cx { chance, past, .. } = cx;
    config.early_data = !chance.once_in(4);
    config.new_tokens = !chance.once_in(4);
    let (wants_early, early_max) = (config.early_data, early_max(&config.transport));
    let mut ties = Ties { wants_early, early_max, ..Ties::default() };
    if past.kept.is_empty() || chance.once_in(4) {
        return ties;
    }
    let at = chance.below(past.kept.len());
    let again = chance.once_in(6);
    let (ticket, giver) = if again { past.kept[at].clone() } else { past.kept.swap_remove(at) };
    let (is_fresh, takes_early) = (!ticket.is_used(), ticket.takes_early_data());
    ties.offer = Offer::Given { giver, is_fresh, takes_early };
    if by_name || chance.once_in(2) {
        config.ticket = Some(ticket);
    } else {
        io.set_session_ticket(NAME, ticket).expect("it is of that name");
    }
    ties
}

/// A quarter of the window at the start, which RFC 9002 §7.2 gives where the application does not,
/// and which is more than two packets.
fn early_max(transport: &QuicTransport) -> u64 {
    let mtu = u64::from(transport.initial_mtu);
    let window = transport.initial_window.map_or_else(|| (10 * mtu).min(14_720), u64::from);
    window.max(2 * mtu + 1) / 4
}

/// Sends early, if that is possible, which it is exactly where it should be.
pub(super) fn begin(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let is_possible = {
        let End { ties, route, .. } = &cx.model.ends[end];
        match ties.offer {
            _ if !ties.wants_early || route.is_by_name => Some(false),
            Offer::Given { is_fresh, takes_early, .. } => Some(is_fresh && takes_early),
            Offer::Unknown => None,
        }
    };
    let was_possible = send(sender, conn, end, cx);
    let is_right = is_possible.is_none_or(|is| is == was_possible);
    assert!(is_right, "early data: {was_possible}: {:?}", cx.model.ends[end]);
}

/// Opens a stream early; whether that is possible.
fn send(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) -> bool {
    let target = act::len(cx);
    let state = &mut cx.model.ends[end];
    let stream = StreamId::from_u64(4 * state.sending.len() as u64);
    // The first one says who it is.
    let target = if stream == StreamId::ZERO { target.max(8) } else { target };
    let data = text(end, stream, 0, target);
    match sender.early_data_send(conn, &data) {
        Ok((opened, taken)) => {
            assert_eq!(opened, stream, "streams are numbered in order");
            let (written, is_blocked) = (taken as u64, taken < data.len());
            let fresh = Sending { target, written, is_blocked, ..Sending::default() };
            state.sending.insert(stream, fresh);
            state.ties.early = Early::Offered;
            let sent: u64 = state.sending.values().map(|half| half.written).sum();
            assert!(sent <= state.ties.early_max, "{sent} bytes sent early: {state:?}");
            true
        }
        Err(IoError::StreamLimit { dir: StreamDir::Bidi, .. }) if stream != StreamId::ZERO => {
            state.wants[StreamDir::Bidi as usize] = true;
            true
        }
        // It has ended, which is told next: there is no such host, or its time was up.
        Err(IoError::StaleConn { .. }) => false,
        Err(IoError::EarlyDataUnavailable { .. }) => false,
        Err(error) => panic!("early_data_send: {error}"),
    }
}

/// One step of a connection that has sent early, and was not answered.
pub(super) fn speak(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    // It was answered, which is told next: what was refused is gone.
    if sender.conn_tls_info(conn).is_ok() {
        return;
    }
    if cx.is_liveness {
        return act::write(sender, conn, end, cx);
    }
    let state = &cx.model.ends[end];
    let wants = state.wants[StreamDir::Bidi as usize];
    let may_open = !wants && state.sending.len() < EARLY_STREAMS_MAX;
    match cx.chance.below(40) {
        0..3 if may_open => {
            send(sender, conn, end, cx);
        }
        3..12 => act::write(sender, conn, end, cx),
        12 => act::finish(sender, conn, end, cx),
        13 => act::reset(sender, conn, end, cx),
        14 => act::stop(sender, conn, end, cx),
        15 => {
            let is_refused = |error| {
                let is_early = error == IoError::NotConnected { conn };
                assert!(is_early || act::is_over(error), "not yet: {error}");
            };
            is_refused(sender.stream_open(conn, StreamDir::Uni).expect_err("a stream"));
            is_refused(sender.send_datagram(conn, b"not yet").expect_err("a datagram"));
        }
        _ => {}
    }
}

/// Looks whether the server has confirmed a connection, and what it has given it.
pub(super) fn look(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    if let Ok(stats) = sender.conn_stats(conn) {
        let is_confirmed = stats.quic.is_some_and(|quic| quic.is_confirmed);
        let end = &mut cx.model.ends[end];
        assert!(is_confirmed || !end.is_confirmed, "no longer confirmed: {end:?}");
        end.is_confirmed = is_confirmed;
    }
    if cx.chance.once_in(20) {
        keep(sender, conn, end, cx);
    }
}

/// Keeps a ticket of a connection for one that comes later.
fn keep(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    match sender.session_ticket(conn) {
        Ok(Some(ticket)) => {
            assert!(!ticket.is_used() && ticket.server_name() == NAME);
            assert_eq!(ticket.alpn(), Some(&b"sim"[..]));
            cx.past.kept.push((ticket, end));
        }
        Ok(None) | Err(IoError::StaleConn { .. } | IoError::WriteClosed { .. }) => {}
        Err(error) => panic!("session_ticket: {error}"),
    }
}

impl State {
    /// The server said what became of what was sent early.
    pub(super) fn on_early(&mut self, conn: ConnId, is_taken: bool, cx: &mut Cx) {
        assert!(!self.ended.contains(&conn), "EarlyData of {conn} after its Disconnected");
        let number = self.conns[&conn];
        let end = &mut cx.model.ends[number];
        let is_due = end.ties.early == Early::Offered && !end.is_connected;
        assert!(is_due && end.closing.is_none(), "EarlyData of {end:?}");
        if is_taken {
            end.ties.early = Early::Taken;
            return;
        }
        let plan = act::plan(cx);
        let next = cx.model.refuse(number);
        (next.plan, next.ties.early) = (plan, Early::Refused);
        let next = next.number;
        self.conns.insert(conn, next);
    }

    /// What a connection is by the time of its `Connected`.
    pub(super) fn tie(&self, conn: ConnId, sender: &mut Sender<'_>, end: &mut End) {
        end.ties.resumed = sender.conn_tls_info(conn).ok().map(|info| info.resumed);
        assert_ne!(end.ties.early, Early::Offered, "early data was not answered: {end:?}");
        end.ties.took_early = sender.may_be_replayed(conn) == Ok(true);
        assert!(!end.is_client || !end.ties.took_early, "a client: {end:?}");
    }

    /// The client has shown that it is there.
    pub(super) fn on_secured(&self, conn: ConnId, sender: &mut Sender<'_>, cx: &mut Cx) {
        let end = self.living(conn, "Secured", cx);
        let takes_early = end.ties.origin.is_some_and(|origin| origin.takes_early);
        assert!(!end.is_client && takes_early && !end.ties.is_secured, "Secured: {end:?}");
        end.ties.is_secured = true;
        assert_ne!(sender.may_be_replayed(conn), Ok(true), "{end:?}");
    }
}

/// A server's end was told of.
pub(super) fn accept(end: &mut End, origin: Option<Origin>) {
    end.ties.origin = origin;
}

/// Whether a connection that has to do with earlier ones may end so.
pub(super) fn may_end_with(end: &End, close: QuicClose, has_lives: bool) -> bool {
    match (close.by, close.code) {
        // The new window is smaller than what was allowed early.
        (QuicCloser::OwnTransport, INTERNAL_ERROR) => end.ties.early == Early::Offered,
        // Another is where the client was asked to retry, and does not know that token.
        (QuicCloser::OwnTransport, TRANSPORT_PARAMETER_ERROR) => {
            end.is_client && !end.is_connected && has_lives
        }
        (QuicCloser::PeerTransport, TRANSPORT_PARAMETER_ERROR) => end.ties.is_unsure() && has_lives,
        _ => false,
    }
}

/// A server let a client send less than it had taken early data for, and refused that.
pub(super) fn was_refused(end: &End) -> bool {
    let close = end.ended.and_then(|ended| quic_close(ended.code));
    let close = close.map(|close| (close.by, close.code));
    close == Some((QuicCloser::OwnTransport, INTERNAL_ERROR))
}

/// A client that sent early data has the idle timeout that its ticket remembers, until the server
/// says another: which may be shorter than an answer takes.
pub(super) fn was_hurried(end: &End) -> bool {
    let has_timed_out = end.ended.is_some_and(|ended| ended.code == IDLE_TIMEOUT);
    has_timed_out && end.ties.early == Early::Offered
}

/// What must hold in the end.
pub(super) fn check(model: &Model) {
    for end in &model.ends {
        let Some(peer) = end.peer.map(|peer| &model.ends[peer]) else { continue };
        if end.is_client {
            check_early(end, peer);
            check_resumed(model, end, peer);
        }
    }
}

fn check_early(client: &End, server: &End) {
    let text = || format!("{client:?}\n{server:?}");
    let ties = &server.ties;
    if client.lost == Some(Lost::Refused) {
        // Somebody read it all the same, of whom the client has never heard.
        assert!(ties.is_unsure(), "refused, and read: {}", text());
        return;
    }
    match client.ties.early {
        Early::None | Early::Refused => {
            assert!(!ties.took_early && !ties.is_secured, "not sent, and taken: {}", text());
        }
        Early::Offered => {}
        Early::Taken => {
            let is_muted = server.lost.is_some() || matches!(server.closing, Some(Closing::Now(_)));
            assert!(ties.took_early || ties.is_secured || is_muted, "not taken: {}", text());
        }
    }
}

fn check_resumed(model: &Model, client: &End, server: &End) {
    let text = || format!("{client:?}\n{server:?}");
    let (here, there) = (client.ties.resumed, server.ties.resumed);
    if let (Some(here), Some(there)) = (here, there) {
        assert_eq!(here, there, "resumed: {}", text());
    }
    let Offer::Given { giver, is_fresh, .. } = client.ties.offer else { return };
    let is_resumed = here == Some(true);
    let is_taken = client.ties.early == Early::Taken;
    assert!(is_fresh || !is_resumed, "with a used ticket: {}", text());
    assert!(is_resumed || !is_taken, "early data without a session: {}", text());
    let from = model.ends[giver].peer.and_then(|peer| model.ends[peer].ties.origin);
    let (Some(from), Some(at)) = (from, server.ties.origin) else { return };
    assert!(at.resumes(&from) || !is_resumed, "of another server: {from:?} {}", text());
    if client.is_sure && !client.route.is_by_name && is_fresh && at.resumes(&from) {
        assert!(is_resumed, "a good ticket: {}", text());
        assert_ne!(client.ties.early, Early::Refused, "a good ticket: {}", text());
    }
}
