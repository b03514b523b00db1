//! QUIC: many connections on one UDP socket.
//!
//! ```text
//! datagrams ─▶ endpoint ─▶ sessions ─▶ settle ─▶ events, when they are asked for
//!                                        └──▶ dirty ─▶ trains ─▶ the kernel, at the next tick
//! ```
//!
//! Role: when sessions are fed, settled, asked for packets and for what they have to tell. Not
//! role: the protocol (`proto::quic`), memory (`pool::quic`).
//!
//! *Invariants*
//! - After any number of inputs a session is settled once: [`Engine::quic_settle`] alone does it.
//! - What a session tells stays with it until it is asked for: nothing of QUIC is in the event
//!   queue, and flow control is what slows a peer down.
//! - A connection is in the table until its `Disconnected`; what the protocol still owes its peer
//!   is then done in [`drains`], out of the application's sight.
//! - A session is where its route says. The socket lives as long as one of its sessions.

mod admit;
mod command;
mod drains;
mod early;
mod end;
mod events;
mod ferry;
mod lend;
mod open;
mod ops;
mod race;
mod rebind;
mod recv;
mod send;
mod time;

use std::collections::VecDeque;

use super::Engine;
use crate::config::Config;
use crate::conn::Conn;
use crate::conn::table::Table;
use crate::error::{IoError, Result};
use crate::ids::{ConnId, EndpointId, Protocol};
use crate::pool::quic::cells::Cells;
use crate::pool::quic::loans::Loans;
use crate::pool::quic::packets::Packets;
use crate::pool::quic::shown::Shown;
use crate::proto::App;
use crate::proto::quic::endpoint::Route;
use crate::proto::quic::resume::Past;
use crate::proto::quic::session::Session;
use crate::proto::quic::signal::Settled;
use crate::proto::quic::time::{Base, Wall};
use crate::ring::Ring;
use crate::sys::batch::RecvBatch;
pub(crate) use command::QuicCommand;
use drains::Drains;
pub(crate) use ferry::Ferry;
pub(super) use ferry::Pier;
pub(crate) use open::{QuicPlan, listening};
use race::Races;

/// What the QUIC sockets of a shard share.
pub(super) struct Hub {
    memory: Option<Box<Memory>>,
    /// The payload that was handed out last.
    shown: Shown,
    /// The number of the event that it was handed out with.
    shown_at: u64,
    drains: Drains,
    races: Races,
    /// Sessions that took something in, to be settled.
    touched: VecDeque<(u32, Route)>,
    /// The sockets of our own connections, by family.
    clients: [Option<u32>; 2],
    /// Accepted connections whose handshake is not done.
    handshaking: usize,
    /// Connections on all sockets, those included that are over for the application.
    users: usize,
    /// Events that the first connection on the list had in its turn.
    turn: u32,
}

/// What is made for the first socket.
struct Memory {
    packets: Packets,
    cells: Cells,
    loans: Loans,
    rx: RecvBatch,
    base: Base,
    past: Past,
}

impl Hub {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            memory: None,
            shown: Shown::default(),
            shown_at: 0,
            drains: Drains::new(connections),
            races: Races::default(),
            touched: VecDeque::new(),
            clients: [None; 2],
            handshaking: 0,
            users: 0,
            turn: 0,
        }
    }

    /// Timers that it may need, besides one per connection: of those that drain, and of attempts.
    pub(super) const fn timers_max(connections: usize) -> usize {
        2 * connections
    }

    /// The payload of the event that was handed out as number `events`, if it was QUIC's.
    pub(super) const fn current(&self, events: u64) -> Option<&Shown> {
        if self.shown_at == events && events > 0 { Some(&self.shown) } else { None }
    }

    /// Lets go of what was handed out: called when no event can be looked at any more.
    fn relax(&mut self) {
        self.shown.clear();
        self.shown_at = 0;
    }

    /// Takes home what is left when nobody uses any: a payload that was still looked at when the
    /// last connection went. Called once a tick, when nothing is looked at.
    #[inline]
    pub(super) fn rest(&mut self) {
        if self.users > 0 || self.is_idle() {
            return;
        }
        self.relax();
        if let Some(memory) = &mut self.memory {
            memory.packets.is_home();
            memory.cells.is_home();
        }
    }

    /// Whether nothing is left of any connection.
    pub(super) fn is_idle(&self) -> bool {
        self.users == 0 && self.memory.as_ref().is_none_or(|memory| memory.is_home())
    }
}

impl Memory {
    fn new(config: &Config, ring: &mut Ring) -> Self {
        let packets = config.quic_recv_buffers;
        Self {
            packets: Packets::new(packets),
            cells: Cells::new(config.quic_send_cells),
            loans: Loans::new(config.guard_count),
            rx: RecvBatch::new(packets),
            base: Base::new(ring.instant_base()),
            past: Past::new(Wall::new(ring.wall_secs())),
        }
    }

    /// Whether all of it had come home when the last connection went.
    fn is_home(&self) -> bool {
        self.packets.is_all_home() && self.cells.is_all_home()
    }
}

/// The session of a connection.
const fn session(conn: &mut Conn) -> Option<&mut Session> {
    match &mut conn.app {
        App::Quic(session) => Some(session),
        _ => None,
    }
}

/// The session that is kept there. A list of a socket may still name the place of a drain which
/// another socket's has now: that is nobody.
fn session_at<'a>(
    conns: &'a mut Table,
    drains: &'a mut Drains,
    (socket, route): (u32, Route),
) -> Option<&'a mut Session> {
    match route {
        Route::Free => None,
        Route::Conn(id) => session(conns.find(id)?),
        Route::Drain(at) => drains.session_on(socket, at),
    }
}

/// The place of its socket.
const fn socket_of(conn: &Conn) -> u32 {
    EndpointId::from_u64(conn.endpoint).index()
}

impl Engine {
    /// Lets a session and its endpoint agree, and sees what comes of it.
    fn quic_settle(&mut self, socket: u32, route: Route) {
        self.quic_giving_up(|engine| engine.quic_settle_now(socket, route));
    }

    fn quic_settle_now(&mut self, socket: u32, route: Route) {
        let Some(udp) = self.endpoints.quic(socket) else { return };
        let Some(session) = session_at(&mut self.conns, &mut self.quic.drains, (socket, route))
        else {
            return;
        };
        session.is_touched = false;
        let settled = session.settle(&mut udp.endpoint);
        let Settled { ready, deadline, drained } = settled;
        if session.wants_send {
            self.quic_dirty(socket, route);
        }
        match route {
            Route::Free => {}
            Route::Conn(id) => {
                if ready {
                    self.quic_ready(id);
                }
                self.quic_arm(id, deadline);
                self.quic_finish_graceful(id);
            }
            Route::Drain(at) => match self.quic.drains.get(at).and_then(|drain| drain.races_for) {
                Some(id) => self.quic_raced(id, at, settled),
                None if drained => self.quic_drop_drain(at),
                None => {
                    self.quic_arm_drain(at, deadline);
                    self.quic_shrink_drain(at);
                }
            },
        }
    }

    /// Puts a connection on the list of those with something to tell.
    fn quic_ready(&mut self, id: ConnId) {
        let Some(session) = self.conns.find(id).and_then(session) else { return };
        if !std::mem::replace(&mut session.is_listed, true) {
            self.lists.notices.push_back(id);
        }
    }

    /// Puts a session on its socket's list of those with something to send.
    fn quic_dirty(&mut self, socket: u32, route: Route) {
        let Some(session) = session_at(&mut self.conns, &mut self.quic.drains, (socket, route))
        else {
            return;
        };
        if std::mem::replace(&mut session.is_dirty, true) {
            return;
        }
        let Some(udp) = self.endpoints.quic(socket) else { return };
        udp.dirty.push_back(route);
        self.quic_list(socket);
    }

    /// The same for a connection.
    fn quic_dirty_conn(&mut self, id: ConnId) {
        let Some(conn) = self.conns.find(id) else { return };
        let socket = socket_of(conn);
        self.quic_dirty(socket, Route::Conn(id));
    }

    /// Puts a socket on the list of those with something to send, if it has something and can.
    pub(super) fn quic_list(&mut self, socket: u32) {
        let Some(udp) = self.endpoints.quic(socket) else { return };
        let has_some = !udp.dirty.is_empty() || !udp.staged().is_empty();
        if has_some && !*udp.out_armed() && !std::mem::replace(&mut udp.is_listed, true) {
            self.lists.udp_dirty.push_back(socket);
        }
    }

    /// A connection of QUIC, established or not.
    fn quic_conn(&mut self, conn: ConnId, what: &'static str) -> Result<&mut Conn> {
        let entry = self.conns.get(conn)?;
        match entry.app {
            App::Quic(_) => Ok(entry),
            // Its host's addresses still race.
            _ if entry.protocol == Protocol::Quic => Err(IoError::NotConnected { conn }),
            _ => Err(IoError::NotForProtocol { protocol: entry.protocol, what }),
        }
    }

    /// Its session.
    fn quic_session(&mut self, conn: ConnId, what: &'static str) -> Result<&mut Session> {
        session(self.quic_conn(conn, what)?).ok_or(IoError::StaleConn { conn })
    }

    /// Whether a connection is one of QUIC.
    pub(super) fn is_quic(&mut self, conn: ConnId) -> bool {
        self.conns.find(conn).is_some_and(|conn| conn.protocol == Protocol::Quic)
    }

    /// Checks what must hold between ticks.
    ///
    /// # Panics
    /// When something is unaccounted for.
    pub(super) fn quic_audit(&self) {
        let conns = self.conns.iter().filter(|(_, conn)| matches!(conn.app, App::Quic(_))).count();
        let found = conns + self.quic.drains.len();
        assert!(found == self.quic.users, "{} QUIC connections, {found} found", self.quic.users);
        self.quic.drains.audit();
        if let Some(memory) = &self.quic.memory {
            memory.packets.audit(memory.rx.len());
        }
    }
}
