//! Outgoing connections: one address, a Unix path, or a host whose addresses race; and giving up in
//! time.
//!
//! Role: from the call to `Connected` or `Disconnected`. Not role: the race itself (`race`).
//!
//! *Invariant*: a connection has a plan only before it is established: it opens or ends without
//! one.

use std::net::SocketAddr;

use super::race::{Attempts, Race, errno_of};
use super::{Command, Engine};
use crate::config::{ConnTimeouts, HostOrAddr, TcpConnectConfig, UdsConnectConfig};
use crate::conn::{Flags, Phase};
use crate::error::Result;
use crate::ids::{ConnId, Protocol};
use crate::proto::App;
use crate::proto::tls::Start;
use crate::ring::{Completion, Fd, Op, Sock, Tag};
use crate::sys::addr::SockAddr;
use crate::time::Time;

/// How often a Unix listener with a full backlog is tried again.
const UDS_RETRY: std::time::Duration = std::time::Duration::from_millis(2);

/// What is still to be done for one connection.
enum Plan {
    Tcp(Box<Race>),
    Uds(UdsConnectConfig),
}

/// The plans of connections that are not established yet, and the attempts of their races. Few at a
/// time, and none on the hot path.
#[derive(Default)]
pub(super) struct Plans {
    list: Vec<(ConnId, Plan)>,
    pub(super) attempts: Attempts,
}

impl Plans {
    /// Forgets a plan; whether there was one.
    pub(super) fn remove(&mut self, conn: ConnId) -> bool {
        let before = self.list.len();
        self.list.retain(|(id, _)| *id != conn);
        self.list.len() < before
    }

    /// The race that the connection is in.
    pub(super) fn race(&mut self, conn: ConnId) -> Option<&mut Race> {
        self.list.iter_mut().find_map(|(id, plan)| match plan {
            Plan::Tcp(race) if *id == conn => Some(&mut **race),
            _ => None,
        })
    }

    fn uds(&self, conn: ConnId) -> Option<&UdsConnectConfig> {
        self.list.iter().find_map(|(id, plan)| match plan {
            Plan::Uds(config) if *id == conn => Some(config),
            _ => None,
        })
    }

    /// # Panics
    /// When there are more than connections.
    pub(super) fn audit(&self, connections: usize) {
        assert!(self.list.len() <= connections, "{} plans", self.list.len());
    }

    /// Nobody is connecting, and nothing is left of those who were.
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty() && self.attempts.is_empty()
    }
}

impl Engine {
    pub(crate) fn tcp_connect(&mut self, config: TcpConnectConfig) -> Result<ConnId> {
        let app = App::new(config.framing);
        self.tcp_dial(config, app, None)
    }

    /// The same for what is to speak on the connection, behind TLS if there is to be some.
    pub(super) fn tcp_dial(
        &mut self,
        config: TcpConnectConfig,
        app: App,
        tls: Option<Start>,
    ) -> Result<ConnId> {
        config.validate()?;
        crate::sys::tcp::check_connecting(&config)?;
        let now = self.ring.now();
        let index = self.conns.insert(Phase::Waiting, Protocol::Tcp, now)?;
        let conn = self.conns.at(index);
        conn.deadline = now.saturating_add(config.connect_timeout);
        conn.configure(app, config.timeouts);
        let id = conn.id(index);
        if let Some(start) = tls {
            self.secure(index, start, false);
        }
        let started = match config.target.clone() {
            HostOrAddr::Addr(addr) => self.connect_to(index, &config, addr),
            HostOrAddr::Host(host, port) => {
                self.plans.list.push((id, Plan::Tcp(Box::new(Race::new(config)))));
                self.resolve_host(id, host, port)
            }
        };
        if let Err(error) = started {
            self.plans.remove(id);
            self.conns.remove(index);
            // A listener may have waited for the place.
            self.lists.endpoint_work = true;
            return Err(error);
        }
        self.arm_unless_over(id);
        Ok(id)
    }

    /// Asks for the addresses of a host. The answer comes as a command, or was known.
    pub(super) fn resolve_host(&mut self, id: ConnId, host: String, port: u16) -> Result<()> {
        let producer = self.producer.clone();
        let gate = std::sync::Arc::clone(&self.gate);
        let shared = std::sync::Arc::clone(self.pool.shared());
        let done = move |addrs| {
            if let Err(error) = producer.push(Command::Resolved { conn: id, addrs }) {
                // The queue may be full for a moment: an answer is never dropped while the shard
                // lives.
                let is_closed = error.is_closed();
                return match error.into_inner() {
                    Command::Resolved { addrs, .. } if !is_closed => Err(addrs),
                    _ => Ok(()),
                };
            }
            if gate.needs_wake() {
                shared.wake();
            }
            Ok(())
        };
        if let Some(found) = self.ring.resolve(host, port, Box::new(done))? {
            self.on_resolved(id, Some(found));
        }
        Ok(())
    }

    /// Connects to the one address there is.
    fn connect_to(
        &mut self,
        index: u32,
        config: &TcpConnectConfig,
        addr: SocketAddr,
    ) -> Result<()> {
        let peer = SockAddr::from(addr);
        let fd = self.ring.tcp_socket(config, &peer)?;
        let conn = self.conns.at(index);
        conn.enter(Phase::Connecting);
        conn.peer = peer;
        conn.sock = Sock::plain(fd);
        conn.set(Flags::CONNECT_BUSY);
        let (sock, token) = (conn.sock, conn.token(Tag::Connect, index));
        // K5: the table never moves, and the address is not changed while the connect is under way.
        let addr = &raw const conn.peer;
        self.ring.push(Op::Connect { sock, addr }, token);
        Ok(())
    }

    pub(super) fn on_connect(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        let index = completion.token.index();
        conn.unset(Flags::CONNECT_BUSY);
        if conn.phase != Phase::Connecting {
            return self.advance_end(index);
        }
        let fd = conn.sock.fd;
        match completion.result {
            0 => {
                self.opened(index, fd);
                self.announce(index);
            }
            error => {
                conn.sock.fd = -1;
                self.ring.close_now(fd);
                self.begin_end(index, error.unsigned_abs().into(), false);
            }
        }
    }

    // ---- Unix sockets

    pub(crate) fn uds_connect(&mut self, config: UdsConnectConfig) -> Result<ConnId> {
        let app = App::new(config.framing);
        self.uds_dial(config, app, None)
    }

    /// The same for what is to speak on the connection, behind TLS if there is to be some.
    pub(super) fn uds_dial(
        &mut self,
        config: UdsConnectConfig,
        app: App,
        tls: Option<Start>,
    ) -> Result<ConnId> {
        let now = self.ring.now();
        // A path that cannot be a socket's is the caller's error, told at once.
        crate::sys::addr::UnixAddr::new(&config.path)?;
        let index = self.conns.insert(Phase::Waiting, Protocol::Uds, now)?;
        let conn = self.conns.at(index);
        conn.deadline = now.saturating_add(config.connect_timeout);
        conn.configure(app, config.timeouts);
        conn.peer = SockAddr::unix();
        let id = conn.id(index);
        if let Some(start) = tls {
            self.secure(index, start, false);
        }
        self.plans.list.push((id, Plan::Uds(config)));
        self.try_uds(index);
        self.arm_unless_over(id);
        Ok(id)
    }

    fn try_uds(&mut self, index: u32) {
        let id = self.conns.at(index).id(index);
        let Some(config) = self.plans.uds(id) else { return };
        match self.ring.uds_connect(&config.path) {
            Ok(Some(fd)) => {
                self.plans.remove(id);
                self.announce_later(index, fd);
            }
            Ok(None) => {
                let retry = self.now.saturating_add(UDS_RETRY);
                self.lists.retry_at = self.lists.retry_at.min(retry);
            }
            Err(error) => self.begin_end(index, errno_of(&error) as u64, false),
        }
    }

    /// Opens a connection whose `Connected` is noted rather than queued, since there may be no
    /// room now. It is read once that was handed out.
    pub(crate) fn announce_later(&mut self, index: u32, fd: Fd) {
        if self.conns.at(index).has(Flags::SHAKING) {
            self.opened(index, fd);
            return self.shake(index);
        }
        if self.is_client(index) {
            self.opened(index, fd);
            self.client_opened(index);
            return;
        }
        self.conns.at(index).set(Flags::ANNOUNCE_DUE);
        self.opened(index, fd);
        let id = self.conns.at(index).id(index);
        self.lists.notices.push_back(id);
    }

    /// Tries again what waits for room in a backlog.
    pub(super) fn retry_connects(&mut self) {
        let mut at = 0;
        while let Some((id, plan)) = self.plans.list.get(at) {
            let (id, is_unix) = (*id, matches!(plan, Plan::Uds(_)));
            if is_unix && self.conns.find(id).is_some_and(|c| c.phase == Phase::Waiting) {
                self.try_uds(id.index());
            }
            // A plan that is done with was taken off the list: the next one is in its place.
            if self.plans.list.get(at).is_some_and(|(there, _)| *there == id) {
                at += 1;
            }
        }
    }

    /// Takes a connected stream socket from outside in.
    pub(crate) fn adopt_stream(
        &mut self,
        fd: Fd,
        protocol: Protocol,
        app: App,
        timeouts: ConnTimeouts,
    ) -> Result<ConnId> {
        let peer = self.ring.peer_addr(fd)?;
        let now: Time = self.ring.now();
        let index = self.conns.insert(Phase::Open, protocol, now)?;
        let conn = self.conns.at(index);
        conn.peer = peer;
        conn.configure(app, timeouts);
        let id = conn.id(index);
        self.announce_later(index, fd);
        Ok(id)
    }
}
