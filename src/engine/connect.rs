//! Outgoing connections: resolve, try one address after the other, give up in time.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::{Command, Engine};
use crate::code;
use crate::config::{ConnTimeouts, HostOrAddr, TcpConnectConfig, UdsConnectConfig};
use crate::conn::{Flags, Phase};
use crate::error::{IoError, Result};
use crate::ids::{ConnId, Protocol};
use crate::proto::App;
use crate::ring::{Completion, Fd, Op, Sock, Tag};
use crate::sys::addr::SockAddr;
use crate::sys::{errno, resolve};
use crate::time::Time;

/// Addresses of one name that are tried at most.
const ADDRESSES_MAX: usize = 16;
/// How often a Unix listener with a full backlog is tried again.
const UDS_RETRY: std::time::Duration = std::time::Duration::from_millis(2);

/// What is still to be tried for one connection.
enum Plan {
    Tcp { config: TcpConnectConfig, addrs: VecDeque<SocketAddr> },
    Uds(UdsConnectConfig),
}

/// The plans of connections that are not established yet. Few at a time, and none on the hot path.
#[derive(Default)]
pub(super) struct Plans {
    list: Vec<(ConnId, Plan)>,
}

impl Plans {
    pub(super) fn remove(&mut self, conn: ConnId) {
        self.list.retain(|(id, _)| *id != conn);
    }

    fn find(&mut self, conn: ConnId) -> Option<&mut Plan> {
        self.list.iter_mut().find(|(id, _)| *id == conn).map(|(_, plan)| plan)
    }
}

impl Engine {
    pub(crate) fn tcp_connect(&mut self, config: TcpConnectConfig) -> Result<ConnId> {
        let now = self.ring.now();
        let target = config.target.clone();
        let phase = match target {
            HostOrAddr::Addr(_) => Phase::Connecting,
            HostOrAddr::Host(..) => Phase::Waiting,
        };
        let index = self.conns.insert(phase, Protocol::Tcp, now)?;
        let conn = self.conns.at(index);
        conn.deadline = now.saturating_add(config.connect_timeout);
        conn.configure(App::new(config.framing), config.timeouts);
        let id = conn.id(index);
        let started = match target {
            HostOrAddr::Addr(addr) => self.connect_to(index, &config, addr),
            HostOrAddr::Host(host, port) => {
                let producer = self.producer.clone();
                let gate = std::sync::Arc::clone(&self.gate);
                let shared = std::sync::Arc::clone(self.pool.shared());
                self.plans.list.push((id, Plan::Tcp { config, addrs: VecDeque::new() }));
                resolve::spawn(host, port, move |addrs| {
                    // The queue may be full for a moment: an answer is never dropped while the
                    // shard lives.
                    let mut command = Command::Resolved { conn: id, addrs };
                    while let Err(error) = producer.push(command) {
                        if error.is_closed() {
                            return;
                        }
                        command = error.into_inner();
                        resolve::pause();
                    }
                    if gate.needs_wake() {
                        shared.wake();
                    }
                })
            }
        };
        if let Err(error) = started {
            self.plans.remove(id);
            self.conns.remove(index);
            // A listener may have waited for the place.
            self.lists.endpoint_work = true;
            return Err(error);
        }
        self.arm_conn_timer(index);
        Ok(id)
    }

    /// Starts one try.
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

    /// The resolver's answer.
    pub(super) fn on_resolved(&mut self, id: ConnId, addrs: Option<Vec<SocketAddr>>) {
        let index = id.index();
        if self.conns.find(id).is_none_or(|c| c.phase != Phase::Waiting) {
            return;
        }
        let found: VecDeque<_> =
            addrs.unwrap_or_default().into_iter().take(ADDRESSES_MAX).collect();
        if found.is_empty() {
            return self.begin_end(index, code::RESOLVE_FAILED, false);
        }
        if let Some(Plan::Tcp { addrs, .. }) = self.plans.find(id) {
            *addrs = found;
        }
        self.try_next(index, errno::EADDRNOTAVAIL);
    }

    /// Tries the next address; without one the connection ends with `error`.
    fn try_next(&mut self, index: u32, error: i32) {
        let id = self.conns.at(index).id(index);
        let mut last = error;
        loop {
            let next = match self.plans.find(id) {
                Some(Plan::Tcp { config, addrs }) => addrs.pop_front().map(|a| (config.clone(), a)),
                _ => None,
            };
            let Some((config, addr)) = next else { break };
            match self.connect_to(index, &config, addr) {
                Ok(()) => return,
                Err(IoError::Os { errno, .. }) => last = errno.0,
                Err(_) => last = errno::EADDRNOTAVAIL,
            }
        }
        self.plans.remove(id);
        self.begin_end(index, last as u64, false);
    }

    pub(super) fn on_connect(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        let index = completion.token.index();
        conn.unset(Flags::CONNECT_BUSY);
        if conn.phase != Phase::Connecting {
            return self.advance_end(index);
        }
        let (fd, id) = (conn.sock.fd, conn.id(index));
        match completion.result {
            0 => {
                self.plans.remove(id);
                self.opened(index, fd);
                self.announce(index);
            }
            error => {
                conn.sock.fd = -1;
                self.ring.close_now(fd);
                self.try_next(index, -error);
            }
        }
    }

    // ---- Unix sockets

    pub(crate) fn uds_connect(&mut self, config: UdsConnectConfig) -> Result<ConnId> {
        let now = self.ring.now();
        // A path that cannot be a socket's is the caller's error, told at once.
        crate::sys::addr::UnixAddr::new(&config.path)?;
        let index = self.conns.insert(Phase::Waiting, Protocol::Uds, now)?;
        let conn = self.conns.at(index);
        conn.deadline = now.saturating_add(config.connect_timeout);
        conn.configure(App::new(config.framing), config.timeouts);
        conn.peer = SockAddr::unix();
        let id = conn.id(index);
        self.plans.list.push((id, Plan::Uds(config)));
        self.try_uds(index);
        if self.conns.find(id).is_some_and(|c| c.phase < Phase::Ending) {
            self.arm_conn_timer(index);
        }
        Ok(id)
    }

    fn try_uds(&mut self, index: u32) {
        let id = self.conns.at(index).id(index);
        let Some(Plan::Uds(config)) = self.plans.find(id) else { return };
        match self.ring.uds_connect(&config.path) {
            Ok(Some(fd)) => {
                self.plans.remove(id);
                self.announce_later(index, fd);
            }
            Ok(None) => {
                let retry = self.now.saturating_add(UDS_RETRY);
                self.lists.retry_at = self.lists.retry_at.min(retry);
            }
            Err(error) => {
                let code = match error {
                    IoError::Os { errno, .. } => errno.0,
                    IoError::NofileLimit { .. } => errno::EMFILE,
                    _ => errno::EINVAL,
                };
                self.begin_end(index, code as u64, false);
            }
        }
    }

    /// Opens a connection whose `Connected` is noted rather than queued, since there may be no
    /// room now. It is read once that was handed out.
    pub(crate) fn announce_later(&mut self, index: u32, fd: Fd) {
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
    pub(crate) fn adopt_stream(&mut self, fd: Fd, protocol: Protocol, app: App) -> Result<ConnId> {
        let peer = self.ring.peer_addr(fd)?;
        let now: Time = self.ring.now();
        let index = self.conns.insert(Phase::Open, protocol, now)?;
        let conn = self.conns.at(index);
        conn.peer = peer;
        conn.configure(app, ConnTimeouts::default());
        let id = conn.id(index);
        self.announce_later(index, fd);
        Ok(id)
    }
}
