//! Figures, self-checks, and the record of the last completions.

use std::collections::VecDeque;

use super::Engine;
use crate::error::{IoError, Result};
use crate::ids::{ConnId, EndpointId, PeerAddr, Protocol};
use crate::pool::{Class, Gauge, PoolStats};
use crate::ring::{Completion, Fd};
use crate::stats::ConnStats;

impl Engine {
    pub(crate) fn pool_stats(&self) -> PoolStats {
        let gauge = |used: usize, peak: usize, capacity: usize| Gauge {
            used: used as u32,
            peak: peak as u32,
            capacity: capacity as u32,
        };
        let inbox = gauge(self.inbox.len(), self.inbox.len(), self.inbox.capacity());
        let segments = &self.segments;
        let conns = &self.conns;
        let waiting = self.reaped_len - self.reaped_at;
        PoolStats {
            pools: [
                self.pool.gauge(Class::Slots),
                self.pool.gauge(Class::Stream),
                inbox,
                gauge(segments.used(), segments.peak(), segments.capacity()),
                gauge(waiting, waiting, self.effective.cq_entries as usize),
                self.pool.gauge(Class::Jumbo),
                gauge(conns.used(), conns.peak(), conns.max()),
            ],
            gro_buffers: self.pool.gauge(Class::Gro),
            detached: self.pool.detached(),
            handle_reserve: self.pool.reserve_out() as u32,
            starved_total: self.stats.starved,
            datagrams_dropped_total: self.stats.datagrams_dropped,
        }
    }

    pub(crate) fn conn_stats(&mut self, conn: ConnId) -> Result<ConnStats> {
        if let Some(stats) = self.quic_stats(conn) {
            return Ok(stats);
        }
        let found = self.conns.get(conn)?;
        let own = ConnStats {
            bytes_received: found.bytes_received,
            bytes_sent: found.bytes_sent,
            bytes_queued: u64::from(found.tx.bytes),
            buffers_held: found.held,
            ..ConnStats::default()
        };
        let fd = found.sock.fd;
        if found.protocol != Protocol::Tcp || fd < 0 {
            return Ok(own);
        }
        let info = self.ring.tcp_info(fd)?;
        Ok(ConnStats {
            rtt_us: info.rtt_us,
            rtt_var_us: info.rtt_var_us,
            rtt_min_us: info.rtt_min_us,
            cwnd: u64::from(info.cwnd_packets) * u64::from(info.mss),
            mss: info.mss,
            packets_lost: info.lost,
            retransmits: info.retransmits_total,
            packets_sent: info.segs_out,
            packets_received: info.segs_in,
            delivery_rate: info.delivery_rate,
            ..own
        })
    }

    /// The connection's descriptor, unless it has none yet: its host is being resolved, or several
    /// addresses of it are being tried.
    pub(crate) fn fd_of(&mut self, conn: ConnId) -> Result<Fd> {
        let found = self.conns.get(conn)?;
        if found.protocol == Protocol::Quic {
            let what = "socket of their own";
            return Err(IoError::NotForProtocol { protocol: Protocol::Quic, what });
        }
        let fd = found.sock.fd;
        if fd < 0 { Err(IoError::NotConnected { conn }) } else { Ok(fd) }
    }

    pub(crate) fn peer_addr(&mut self, conn: ConnId) -> Result<PeerAddr> {
        if self.quic_races(conn) {
            return Err(IoError::NotConnected { conn });
        }
        if !self.is_quic(conn) {
            self.fd_of(conn)?;
        }
        Ok(super::events::peer_addr(&self.conns.get(conn)?.peer))
    }

    pub(crate) fn conn_local_addr(&mut self, conn: ConnId) -> Result<PeerAddr> {
        if let Some(local) = self.quic_local(conn) {
            return Ok(PeerAddr::Inet(local));
        }
        if self.quic_races(conn) {
            return Err(IoError::NotConnected { conn });
        }
        let fd = self.fd_of(conn)?;
        Ok(super::events::peer_addr(&self.ring.local_addr(fd)?))
    }

    pub(crate) fn endpoint_addr(&mut self, endpoint: EndpointId) -> Result<PeerAddr> {
        let fd = self.endpoints.get(endpoint)?.fd;
        Ok(super::events::peer_addr(&self.ring.local_addr(fd)?))
    }

    /// Checks what must hold between ticks. A difference is a bug.
    ///
    /// # Panics
    /// When a buffer or a place is unaccounted for, or something grew past its bound.
    pub(crate) fn audit(&self) {
        self.pool.audit();
        let held: usize =
            self.conns.iter().filter(|(_, c)| c.has(crate::conn::Flags::MUTED)).count();
        assert!(held == self.lists.muted, "{} muted, {held} found", self.lists.muted);
        let holding = self.conns.iter().filter(|(_, c)| c.has(crate::conn::Flags::HOLDING)).count();
        assert!(holding == self.lists.holding as usize, "{holding} hold too many");
        assert!(self.inbox.len() <= self.inbox.capacity());
        self.conns.audit();
        self.segments.audit();
        self.guards.audit();
        self.blocks.audit();
        self.plans.audit(self.conns.max());
        self.quic_audit();
    }

    /// Whether everything came home: nothing is open, queued, lent out or under way but the
    /// buffers in the kernel's ring and the polls that wait for something to do.
    pub(crate) fn is_idle(&self) -> bool {
        // That of the wake-up is always armed.
        let polls = 1 + self.endpoints.polls() + self.watches.polls();
        let slots = self.pool.gauge(Class::Slots).used as usize - self.pool.reserve_out();
        let others = [Class::Stream, Class::Gro, Class::Jumbo];
        self.conns.used() == 0
            && !self.endpoints.any_closing()
            && slots == 0
            && others.iter().all(|c| self.pool.gauge(*c).used == 0)
            && self.segments.used() == 0
            && self.guards.used() == 0
            && self.blocks.busy() == 0
            && self.plans.is_empty()
            && self.pool.detached() == 0
            && self.lists.is_flushed()
            && self.inbox.is_empty()
            && self.quic.is_idle()
            && self.clients.is_idle()
            && self.fleet.as_ref().is_none_or(|fleet| fleet.pier.is_idle())
            && self.ring.in_flight().is_none_or(|count| count == polls)
    }
}

/// The last completions, printed when the thread panics.
pub(super) struct Trace {
    last: VecDeque<Completion>,
    max: usize,
}

impl Trace {
    pub(super) fn new(max: usize) -> Self {
        Self { last: VecDeque::with_capacity(max), max }
    }

    #[inline]
    pub(super) fn note(&mut self, completion: &Completion) {
        if self.max > 0 {
            self.keep(*completion);
        }
    }

    #[cold]
    fn keep(&mut self, completion: Completion) {
        if self.last.len() == self.max {
            self.last.pop_front();
        }
        self.last.push_back(completion);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if self.max == 0 || !std::thread::panicking() {
            return;
        }
        let mut text = format!("the last {} completions, oldest first:\n", self.last.len());
        for completion in &self.last {
            text.push_str(&format!("{completion:?}\n"));
        }
        crate::sys::write_stderr(&text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::ring::{Op, Ring, Sock, Token, Uring};
    use crate::sys::POLLIN;

    #[test]
    fn with_an_operation_under_way_it_is_not_idle() {
        let config = Config::default();
        let ring = Uring::new(&config.uring, 0).unwrap();
        let mut engine = Engine::new(config, Ring::Uring(ring)).unwrap();
        let (here, mut there) = UnixStream::pair().unwrap();
        engine.watch_fd(here.as_raw_fd(), crate::event::Readiness::READABLE, 0).unwrap();
        engine.tick(Duration::ZERO).unwrap();
        assert!(engine.is_idle(), "polls that wait for something are no work");
        let sock = Sock::plain(there.as_raw_fd());
        engine.ring.push(Op::Poll { sock, mask: POLLIN, multi: false }, Token::IGNORE);
        assert!(!engine.is_idle(), "it is queued");
        engine.tick(Duration::ZERO).unwrap();
        assert!(!engine.is_idle(), "it is under way");
        (&here).write_all(b"ready").unwrap();
        engine.tick(Duration::from_secs(5)).unwrap();
        assert!(engine.is_idle());
        there.write_all(b"seen").unwrap();
    }
}
