//! Happy Eyeballs of QUIC: the addresses of one host race, each with a handshake of its own, and
//! the first whose handshake is done is the connection. Read RFC 8305 §4 and §5 first.
//!
//! ```text
//! resolved ─▶ A ──────────────────────────────▶ closed: drains, unheard of
//!              └ delay ▶ B ── fails ┐
//!                                   └ at once ▶ C ── first to be done ─▶ Connected
//! ```
//!
//! Role: which address is tried when, on which socket, who has won. Not role: resolving, and the
//! order of the addresses (`engine::race`).
//!
//! *Invariants*
//! - A connection that races has no session of its own. Its attempts are beside the table, with
//!   those that drain; the winner moves into the table, the others stay and drain.
//! - What becomes of an attempt is looked at in one place, after it was settled.
//! - A socket that all attempts share is held while the race lasts.
//! - There are as many places for attempts as for connections, and a race that has addresses has an
//!   attempt under way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::drains::{Drain, Rest};
use crate::code;
use crate::config::{HostOrAddr, QuicConnectConfig};
use crate::conn::Phase;
use crate::engine::Engine;
use crate::engine::race::{ATTEMPTS_MAX, errno_of, interleave};
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, Protocol};
use crate::proto::App;
use crate::proto::quic::endpoint::Route;
use crate::proto::quic::parts::ClientParts;
use crate::proto::quic::signal::Settled;
use crate::sys::addr::SockAddr;
use crate::sys::errno;
use crate::time::Time;

/// How long an attempt has when there is no place for another one: RFC 8305 §8, "Maximum Connection
/// Attempt Delay", at which an attempt is not waited for any longer.
const CROWDED_DELAY: Duration = Duration::from_secs(2);

/// What is still to be tried for one connection, and what is being tried.
struct Race {
    conn: ConnId,
    config: Arc<QuicConnectConfig>,
    /// The socket that the configuration names; the attempts choose one each otherwise.
    socket: Option<u32>,
    /// Not tried yet, the next one first. Empty while the name is being resolved.
    addrs: VecDeque<SocketAddr>,
    /// Attempts under way, by their places among those that drain.
    running: Vec<u32>,
    /// When the last attempt began.
    began_at: Time,
    /// When the next address is tried, unless an attempt fails before.
    next_at: Time,
    /// Why the last attempt failed.
    last_code: u64,
}

impl Race {
    /// When it is to be looked at again; never, when only the attempts under way can go on.
    fn next_at(&self) -> Time {
        if self.addrs.is_empty() || self.running.len() >= ATTEMPTS_MAX {
            Time::MAX
        } else {
            self.next_at
        }
    }
}

/// The races of one shard. Few at a time, and none on the hot path.
#[derive(Default)]
pub(super) struct Races(Vec<Race>);

impl Races {
    fn of(&mut self, conn: ConnId) -> Option<&mut Race> {
        self.0.iter_mut().find(|race| race.conn == conn)
    }

    pub(super) fn has(&self, conn: ConnId) -> bool {
        self.0.iter().any(|race| race.conn == conn)
    }

    /// The one with the most attempts under way.
    fn largest(&mut self) -> Option<&mut Race> {
        self.0.iter_mut().max_by_key(|race| race.running.len())
    }

    /// Who races on that socket.
    pub(super) fn on(&self, socket: u32) -> Option<ConnId> {
        self.0.iter().find(|race| race.socket == Some(socket)).map(|race| race.conn)
    }

    fn remove(&mut self, conn: ConnId) -> Option<Race> {
        let at = self.0.iter().position(|race| race.conn == conn)?;
        Some(self.0.swap_remove(at))
    }
}

impl Engine {
    /// Begins with the addresses of a host, once they are known.
    pub(super) fn quic_connect_host(&mut self, config: &QuicConnectConfig) -> Result<ConnId> {
        let HostOrAddr::Host(host, port) = &config.target else {
            return Err(NO_PORT);
        };
        if *port == 0 {
            return Err(NO_PORT);
        }
        // A host whose certificate no name could be asked for is told of at once.
        config.tls.server_name_for(Some(&config.target))?;
        let socket = self.quic_named_socket(config, None)?;
        let now = self.ring.now();
        let index = match self.conns.insert(Phase::Waiting, Protocol::Quic, now) {
            Ok(index) => index,
            Err(error) => {
                socket.into_iter().for_each(|socket| self.quic_let_go(socket));
                return Err(error);
            }
        };
        let conn = self.conns.at(index);
        conn.deadline = now.saturating_add(config.connect_timeout);
        let id = conn.id(index);
        if let Some(udp) = socket.and_then(|socket| self.endpoints.quic(socket)) {
            udp.users += 1;
        }
        self.quic.races.0.push(Race {
            conn: id,
            // There is nothing to send early on before one of them has won.
            config: Arc::new(config.clone().with(|config| config.early_data = false)),
            socket,
            addrs: VecDeque::new(),
            running: Vec::new(),
            began_at: now,
            next_at: Time::MAX,
            last_code: errno::EADDRNOTAVAIL as u64,
        });
        if let Err(error) = self.resolve_host(id, host.clone(), *port) {
            self.quic_end_race(id, None);
            self.conns.remove(index);
            return Err(error);
        }
        self.quic_arm_race(id);
        Ok(id)
    }

    /// The resolver's answer: the race begins, or there is nobody to race.
    pub(in crate::engine) fn quic_resolved(&mut self, id: ConnId, found: Option<Vec<SocketAddr>>) {
        let addrs = interleave(found.unwrap_or_default());
        if addrs.is_empty() {
            return self.quic_end(id, code::RESOLVE_FAILED, false);
        }
        let Some(race) = self.quic.races.of(id) else { return };
        race.addrs = addrs;
        self.conns.at(id.index()).enter(Phase::Connecting);
        self.quic_next_attempt(id);
    }

    /// A deadline of a connection that races: its own, or the delay since the last attempt.
    pub(super) fn quic_race_timeout(&mut self, id: ConnId, is_overdue: bool) {
        if is_overdue {
            return self.quic_end(id, code::CONNECT_TIMEOUT, false);
        }
        let now = self.now;
        if self.quic.races.of(id).is_some_and(|race| race.next_at() <= now) {
            return self.quic_next_attempt(id);
        }
        self.quic_arm_race(id);
    }

    fn quic_arm_race(&mut self, id: ConnId) {
        let Some(race) = self.quic.races.of(id) else { return };
        let due = race.next_at();
        self.quic_arm(id, due);
    }

    /// Starts the next attempt; an address for which none can be started is passed over, and one
    /// for which there is no room now is tried later. Without any left, and none under way, the
    /// connection ends.
    fn quic_next_attempt(&mut self, id: ConnId) {
        let untried = self.quic.races.of(id).map_or(0, |race| race.addrs.len());
        for _ in 0..untried {
            let Some(race) = self.quic.races.of(id) else { return };
            if race.running.len() >= ATTEMPTS_MAX || !self.quic_has_place(id) {
                break;
            }
            let Some(race) = self.quic.races.of(id) else { return };
            let Some(addr) = race.addrs.pop_front() else { break };
            race.began_at = self.ring.now();
            race.next_at = race.began_at.saturating_add(race.config.attempt_delay);
            let (config, socket) = (Arc::clone(&race.config), race.socket);
            match self.quic_attempt(id, &config, socket, addr) {
                Ok(()) => break,
                Err(error) => {
                    // Attempts that are under way, of this race or another, leave a place.
                    let is_crowded = is_want_of_room(&error) && self.quic.drains.has_racers();
                    let Some(race) = self.quic.races.of(id) else { return };
                    race.last_code = attempt_code(&error);
                    if is_crowded {
                        race.addrs.push_back(addr);
                    }
                }
            }
        }
        let Some(race) = self.quic.races.of(id) else { return };
        if race.running.is_empty() && race.addrs.is_empty() {
            let code = race.last_code;
            return self.quic_end(id, code, false);
        }
        self.quic_arm_race(id);
    }

    /// Whether there is a place for another attempt of a race. Where all are taken, one makes way:
    /// of this race, once it had its time; of a race that has several, where this one has none.
    fn quic_has_place(&mut self, id: ConnId) -> bool {
        if self.quic.drains.racers_left() > 0 {
            return true;
        }
        let Some(race) = self.quic.races.of(id) else { return false };
        let from = if race.running.is_empty() {
            self.quic.races.largest()
        } else {
            let due = race.began_at.saturating_add(CROWDED_DELAY);
            if due > self.now {
                race.next_at = due;
                return false;
            }
            Some(race)
        };
        let Some(from) = from.filter(|from| !from.running.is_empty()) else { return false };
        let oldest = from.running.remove(0);
        self.quic_give_up(oldest);
        true
    }

    fn quic_attempt(
        &mut self,
        id: ConnId,
        config: &QuicConnectConfig,
        socket: Option<u32>,
        addr: SocketAddr,
    ) -> Result<()> {
        let target = canonical(addr);
        let socket = match socket {
            Some(socket) => socket,
            None => self.quic_client_socket(target)?,
        };
        let begun = self.quic_begin_attempt(id, config, socket, target);
        if begun.is_err() {
            self.quic_let_go(socket);
        }
        begun
    }

    fn quic_begin_attempt(
        &mut self,
        id: ConnId,
        config: &QuicConnectConfig,
        socket: u32,
        target: SocketAddr,
    ) -> Result<()> {
        let exhausted = IoError::exhausted(PoolKind::Connections);
        let now = self.ring.now();
        let udp = self.endpoints.quic(socket).ok_or(exhausted)?;
        udp.check_reach(target.ip())?;
        if self.quic.drains.racers_left() == 0 {
            return Err(exhausted);
        }
        let memory = self.quic.memory.as_mut().ok_or(exhausted)?;
        // Tickets and certificates expire by it.
        memory.past.wall.set(self.ring.wall_secs());
        let client = ClientParts::new(config, &udp.endpoint, &mut memory.past)?;
        let session = udp.endpoint.connect(now, client, target, id)?;
        udp.users += 1;
        self.quic.users += 1;
        let rest = Rest::Session(session);
        let drain = Drain { rest, socket, timer: None, races_for: Some(id), refused: 0 };
        let at = self.quic.drains.insert(drain);
        if let Some(session) = self.quic.drains.session(at) {
            session.reroute(&mut udp.endpoint, Route::Drain(at));
        }
        if let Some(race) = self.quic.races.of(id) {
            race.running.push(at);
        }
        self.quic_settle(socket, Route::Drain(at));
        Ok(())
    }

    /// An attempt was settled: whether it is the connection, or has failed.
    pub(super) fn quic_raced(&mut self, id: ConnId, at: u32, settled: Settled) {
        let Some(drain) = self.quic.drains.get(at) else { return };
        let Some(session) = drain.session() else { return };
        let outcome = match (session.outcome(), drain.refused) {
            (Some(Ok(())), _) => return self.quic_won(id, at),
            (Some(Err(code)), _) => Some(code),
            (None, 0) => None,
            (None, errno) => Some(errno as u64),
        };
        let Some(code) = outcome else { return self.quic_arm_drain(at, settled.deadline) };
        if let Some(race) = self.quic.races.of(id) {
            race.running.retain(|running| *running != at);
            race.last_code = code;
        }
        self.quic_give_up(at);
        // RFC 8305 §5: the delay is there because the first attempt may be about to succeed; one
        // that failed is followed at once.
        self.quic_next_attempt(id);
    }

    fn quic_won(&mut self, id: ConnId, at: u32) {
        self.quic_end_race(id, Some(at));
        let Some(Drain { rest, socket, timer, .. }) = self.quic.drains.remove(at) else {
            return;
        };
        // An attempt is never less.
        let Rest::Session(mut session) = rest else { return };
        if let Some(timer) = timer {
            self.conn_timers.cancel(timer);
        }
        let endpoint = self.endpoints.id(socket);
        let (Some(conn), Some(endpoint)) = (self.conns.find(id), endpoint) else { return };
        (session.is_dirty, session.is_touched, session.is_listed) = (false, false, false);
        conn.peer = SockAddr::from(session.peer());
        conn.endpoint = endpoint.as_u64();
        if let Some(udp) = self.endpoints.quic(socket) {
            session.reroute(&mut udp.endpoint, Route::Conn(id));
        }
        conn.app = App::Quic(session);
        self.quic_settle(socket, Route::Conn(id));
    }

    /// Ends the race of a connection, if it is in one: its attempts are closed but for the winner.
    pub(super) fn quic_end_race(&mut self, id: ConnId, winner: Option<u32>) {
        let Some(race) = self.quic.races.remove(id) else { return };
        for at in race.running {
            // The winner keeps its place until it moves.
            if Some(at) != winner {
                self.quic_give_up(at);
            }
        }
        let Some(socket) = race.socket else { return };
        if let Some(udp) = self.endpoints.quic(socket) {
            udp.users -= 1;
        }
        self.quic_let_go(socket);
    }

    /// An attempt is over: it drains, as any connection that is over.
    fn quic_give_up(&mut self, at: u32) {
        let now = self.ring.now();
        self.quic_make_room_to_drain();
        let Some(drain) = self.quic.drains.get(at) else { return };
        drain.races_for = None;
        // Refused are codes of more than 62 bits alone.
        let _ = drain.session().map(|session| session.close(now, 0, b""));
        let socket = drain.socket;
        self.quic_settle(socket, Route::Drain(at));
    }

    /// The kernel has no way to a peer: an attempt has failed, which the next tick looks at. Others
    /// have the time that they were given, since a way may come.
    pub(super) fn quic_no_way(&mut self, (socket, route): (u32, Route), errno: i32) {
        let Route::Drain(at) = route else { return };
        let races = |drain: &&mut Drain| drain.socket == socket && drain.races_for.is_some();
        if let Some(drain) = self.quic.drains.get(at).filter(races) {
            drain.refused = errno;
            let now = self.now;
            self.quic_arm_drain(at, now);
        }
    }

    /// Whether addresses of a host are still being found and tried for a connection.
    pub(in crate::engine) fn quic_races(&self, id: ConnId) -> bool {
        self.quic.races.has(id)
    }

    /// A connection on that socket whose handshake is not done, if there is one.
    pub(super) fn quic_shaking_on(&self, socket: u32) -> Option<ConnId> {
        let of_table = self.conns.iter().find_map(|(index, conn)| match &conn.app {
            App::Quic(session) if super::socket_of(conn) == socket && session.is_handshaking() => {
                Some(conn.id(index))
            }
            _ => None,
        });
        of_table
            .or_else(|| self.quic.races.on(socket))
            .or_else(|| self.quic.drains.racer_on(socket))
    }
}

/// IPv4 as such, also when it was written as IPv6.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    let ip = addr.ip().to_canonical();
    if ip == addr.ip() { addr } else { SocketAddr::new(ip, addr.port()) }
}

const NO_PORT: IoError = IoError::InvalidArgument {
    what: "QUIC target",
    why: "an address and a port other than 0 are needed",
};

const fn is_want_of_room(error: &IoError) -> bool {
    matches!(error, IoError::PoolExhausted { .. } | IoError::NofileLimit { .. })
}

/// What an attempt that could not be started says as the code of its connection.
const fn attempt_code(error: &IoError) -> u64 {
    let errno = match error {
        IoError::PoolExhausted { .. } => errno::ENOBUFS,
        other => errno_of(other),
    };
    errno as u64
}
