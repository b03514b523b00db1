//! Happy Eyeballs: the addresses of one host race, and the first that answers is the connection.
//!
//! Role: the order of the addresses, when the next one starts, who has won. Not role: resolving the
//! name, and what becomes of the connection (`connect`). Read RFC 8305 §4 and §5 first.
//!
//! ```text
//! resolved ─▶ A ──────────────────────────────────────▶ cancelled, closed
//!              └ delay ▶ B ── fails ┐
//!                                   └ at once ▶ C ── first to succeed ─▶ Connected
//! ```
//!
//! *Invariants*
//! - An attempt's address (K5) and descriptor stay until its completion came, whether its
//!   connection still races, has won with another one, or is gone.
//! - A connection races while it has a [`Race`] in its plan. What completes later is closed, and
//!   said to nobody.
//! - At most [`ATTEMPTS_MAX`] attempts of one connection are under way, and each of its at most
//!   [`ADDRESSES_MAX`] addresses is tried once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::Engine;
use crate::code;
use crate::config::TcpConnectConfig;
use crate::conn::Phase;
use crate::error::IoError;
use crate::ids::{ConnId, GENERATION_BITS, Protocol};
use crate::ring::{Completion, Fd, Op, Sock, Tag, Token};
use crate::sys::addr::SockAddr;
use crate::sys::errno;
use crate::time::Time;

/// Addresses of one name that are tried at most.
pub(super) const ADDRESSES_MAX: usize = 16;
/// Attempts of one connection that are under way at most; beyond it the next one waits until one
/// has failed.
pub(super) const ATTEMPTS_MAX: usize = 8;

/// What is still to be tried for one connection, and what is being tried.
pub(super) struct Race {
    config: TcpConnectConfig,
    /// Not tried yet, the next one first. Empty while the name is being resolved.
    addrs: VecDeque<SocketAddr>,
    /// Attempts under way.
    running: usize,
    /// When the next address is tried, unless an attempt fails before.
    next_at: Time,
    /// Why the last attempt failed.
    last_error: i32,
}

impl Race {
    pub(super) const fn new(config: TcpConnectConfig) -> Self {
        Self {
            config,
            addrs: VecDeque::new(),
            running: 0,
            next_at: Time::MAX,
            last_error: errno::EADDRNOTAVAIL,
        }
    }

    /// When it is to be looked at again; never, when only the attempts under way can go on.
    pub(super) fn next_at(&self) -> Time {
        if self.addrs.is_empty() || self.running >= ATTEMPTS_MAX { Time::MAX } else { self.next_at }
    }
}

/// One connect operation of a race.
struct Attempt {
    conn: ConnId,
    fd: Fd,
    /// Named by the operation (K5).
    peer: SockAddr,
}

#[derive(Default)]
struct Place {
    generation: u32,
    /// In a box, so that the kernel finds the address where it was.
    attempt: Option<Box<Attempt>>,
}

/// The attempts of all races, those included whose race is over. As many as there are at a time;
/// none on the hot path.
#[derive(Default)]
pub(super) struct Attempts {
    places: Vec<Place>,
    used: usize,
}

impl Attempts {
    /// Keeps one; its token, and its address as the operation names it.
    fn insert(&mut self, attempt: Attempt) -> (Token, *const SockAddr) {
        let free = self.places.iter().position(|place| place.attempt.is_none());
        let index = free.unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() - 1
        });
        let place = &mut self.places[index];
        let kept = place.attempt.insert(Box::new(attempt));
        self.used += 1;
        (Token::new(Tag::Attempt, place.generation, index as u32), &raw const kept.peer)
    }

    /// Takes the one that completed. Its token is not made again for a long time, so that a late
    /// cancellation meets nobody else.
    fn take(&mut self, token: Token) -> Option<Box<Attempt>> {
        let place = self.places.get_mut(token.index() as usize)?;
        if place.generation != token.generation() {
            return None;
        }
        let attempt = place.attempt.take()?;
        place.generation = (place.generation + 1) & ((1 << GENERATION_BITS) - 1);
        self.used -= 1;
        Some(attempt)
    }

    /// The tokens of what is under way for a connection.
    fn of(&self, conn: ConnId) -> impl Iterator<Item = Token> {
        (0..).zip(&self.places).filter_map(move |(index, place)| {
            let attempt = place.attempt.as_ref()?;
            let token = Token::new(Tag::Attempt, place.generation, index);
            (attempt.conn == conn).then_some(token)
        })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The descriptors, for whoever closes everything.
    pub(super) fn fds(&self) -> impl Iterator<Item = Fd> {
        self.places.iter().filter_map(|place| place.attempt.as_ref()).map(|attempt| attempt.fd)
    }
}

/// The order in which addresses are tried: the families take turns, and within each the resolver's
/// order stays.
pub(super) fn interleave(found: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    // RFC 8305 §4: the list is sorted as RFC 6724 says, which the resolver did (IPv6 comes first
    // unless the host has no route for it), and then whichever family is first in it is followed by
    // the other one.
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|addr| addr.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut out = VecDeque::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return out;
        }
        for addr in pair.into_iter().flatten() {
            if out.len() < ADDRESSES_MAX && !out.contains(&addr) {
                out.push_back(addr);
            }
        }
    }
}

impl Engine {
    /// The resolver's answer: the race begins, or there is nobody to race.
    pub(super) fn on_resolved(&mut self, id: ConnId, found: Option<Vec<SocketAddr>>) {
        let index = id.index();
        let Some(conn) = self.conns.find(id).filter(|c| c.phase == Phase::Waiting) else { return };
        if conn.protocol == Protocol::Quic {
            return self.quic_resolved(id, found);
        }
        let addrs = interleave(found.unwrap_or_default());
        if addrs.is_empty() {
            return self.begin_end(index, code::RESOLVE_FAILED, false);
        }
        let Some(race) = self.plans.race(id) else { return };
        race.addrs = addrs;
        self.conns.at(index).enter(Phase::Connecting);
        self.start_attempt(id);
    }

    /// The delay since the last attempt may have passed.
    pub(super) fn run_race(&mut self, id: ConnId) {
        let now = self.now;
        if self.plans.race(id).is_some_and(|race| race.next_at() <= now) {
            self.start_attempt(id);
        }
    }

    /// Starts the next attempt; an address for which none can be started is passed over. Without
    /// any left, and none under way, the connection ends.
    fn start_attempt(&mut self, id: ConnId) {
        while let Some(race) = self.plans.race(id)
            && race.running < ATTEMPTS_MAX
            && let Some(addr) = race.addrs.pop_front()
        {
            let delay: Duration = race.config.attempt_delay;
            let peer = SockAddr::from(addr);
            match self.ring.tcp_socket(&race.config, &peer) {
                Ok(fd) => {
                    race.running += 1;
                    race.next_at = self.ring.now().saturating_add(delay);
                    self.push_attempt(Attempt { conn: id, fd, peer });
                    return self.arm_conn_timer(id.index());
                }
                // There may be a descriptor for it later, and others are under way.
                Err(IoError::NofileLimit { .. }) if race.running > 0 => {
                    race.addrs.push_front(addr);
                    race.next_at = self.ring.now().saturating_add(delay);
                    return self.arm_conn_timer(id.index());
                }
                Err(error) => race.last_error = errno_of(&error),
            }
        }
        let Some(race) = self.plans.race(id) else { return };
        if race.running == 0 {
            let code = race.last_error as u64;
            self.begin_end(id.index(), code, false);
        } else {
            self.arm_conn_timer(id.index());
        }
    }

    fn push_attempt(&mut self, attempt: Attempt) {
        let sock = Sock::plain(attempt.fd);
        let (token, addr) = self.plans.attempts.insert(attempt);
        self.ring.push(Op::Connect { sock, addr }, token);
    }

    pub(super) fn on_attempt(&mut self, completion: Completion) {
        let Some(attempt) = self.plans.attempts.take(completion.token) else { return };
        let Attempt { conn: id, fd, peer } = *attempt;
        let Some(race) = self.plans.race(id) else {
            // Another one won, or the connection was given up.
            return self.ring.close_now(fd);
        };
        race.running -= 1;
        if completion.result < 0 {
            race.last_error = -completion.result;
            self.ring.close_now(fd);
            // RFC 8305 §5: the delay is there because the first attempt may be about to succeed;
            // one that failed is followed at once.
            return self.start_attempt(id);
        }
        self.drop_plan(id);
        self.conns.at(id.index()).peer = peer;
        self.opened(id.index(), fd);
        self.announce(id.index());
    }

    /// Forgets what was planned for a connection; attempts under way are cancelled, and closed when
    /// they complete.
    pub(super) fn drop_plan(&mut self, id: ConnId) {
        if !self.plans.remove(id) {
            return;
        }
        for target in self.plans.attempts.of(id) {
            self.ring.push(Op::Cancel { target }, Token::IGNORE);
        }
    }
}

/// What an error of a call says as the code of a connection.
pub(super) const fn errno_of(error: &IoError) -> i32 {
    match error {
        IoError::Os { errno, .. } => errno.0,
        IoError::NofileLimit { .. } => errno::EMFILE,
        IoError::AddrInUse { .. } => errno::EADDRINUSE,
        // The address to bind is not of the peer's family.
        IoError::InvalidArgument { .. } => errno::EADDRNOTAVAIL,
        _ => errno::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(found: &[&str]) -> Vec<String> {
        let found = found.iter().map(|text| text.parse().unwrap()).collect();
        interleave(found).iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let found = ["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"];
        let wanted = ["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"];
        assert_eq!(order(&found), wanted);
        let found = ["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"];
        assert_eq!(order(&found), ["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"]);
        assert_eq!(order(&["1.0.0.1:1", "1.0.0.1:1"]), ["1.0.0.1:1"], "once each");
        assert_eq!(order(&[]), [""; 0]);
    }

    #[test]
    fn a_long_answer_is_cut_and_both_families_stay() {
        let v6 = (0..100_u16).map(|i| SocketAddr::from(([0, 0, 0, 0, 0, 0, 1, i], 1)));
        let v4 = (0..100_u8).map(|i| SocketAddr::from(([10, 0, 0, i], 1)));
        let all = interleave(v6.chain(v4).collect());
        assert_eq!(all.len(), ADDRESSES_MAX);
        assert_eq!(all.iter().filter(|addr| addr.is_ipv4()).count(), ADDRESSES_MAX / 2);
    }

    #[test]
    fn a_token_names_one_attempt() {
        let mut attempts = Attempts::default();
        let conn = ConnId::new(3, 1);
        let attempt = || Attempt { conn, fd: 7, peer: SockAddr::EMPTY };
        let (old, _) = attempts.insert(attempt());
        assert_eq!(attempts.of(conn).collect::<Vec<_>>(), [old]);
        assert!(attempts.take(old).is_some() && attempts.take(old).is_none());
        let (new, _) = attempts.insert(attempt());
        assert!(new != old && attempts.take(old).is_none() && !attempts.is_empty());
        assert_eq!(attempts.fds().collect::<Vec<_>>(), [7]);
    }
}
