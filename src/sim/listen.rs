//! Listeners and the way into a connection.
//!
//! Role: listen, connect, the handshake, the backlog, accept. Not role: what a connection does
//! (`stream`).
//!
//! *Invariant*: a child belongs to the backlog, to a descriptor, or is gone; never to two of them.

use std::net::SocketAddr;

use super::fault::Fault;
use super::file::{Addr, FileId, Kind, Listener, Phase, Stream};
use super::kernel::{Event, Kernel};
use super::net::Binding;
use super::trace::What;
use crate::ring::op::Fd;

/// After so many lost SYNs an attempt is given up, as `tcp_syn_retries` says.
const SYN_ATTEMPT_MAX: u32 = 6;
/// The wait after the first lost SYN; it doubles.
const SYN_RETRY_NS: u64 = 1_000_000_000;
/// When an attempt without any answer is given up.
const CONNECT_GIVE_UP_NS: u64 = 127_000_000_000;
/// What an accept answers that loses its connection.
const LOST_WITH: [i32; 3] = [libc::ECONNABORTED, libc::EPROTO, libc::EPERM];

impl Kernel {
    /// A socket that listens at `wanted`.
    pub(super) fn listen_ip(
        &mut self,
        node: usize,
        wanted: SocketAddr,
        listener: Listener,
        shared: bool,
        dual: bool,
    ) -> Result<Fd, i32> {
        let addr = self.free_addr(wanted, false, shared)?;
        let listener = Listener { local: Addr::Ip(addr), ..listener };
        let fd = self.open(node, Kind::Listener(listener))?;
        let file = self.fd_file(node, fd, "listen")?;
        let binding = Binding { file, is_udp: false, addr, shared, dual };
        self.bindings.push(binding);
        if shared {
            self.join_group(&binding);
        }
        Ok(fd)
    }

    /// A socket that listens under a Unix name.
    pub(super) fn listen_unix(
        &mut self,
        node: usize,
        name: &[u8],
        listener: Listener,
    ) -> Result<Fd, i32> {
        if self.unix_names.contains_key(name) {
            return Err(libc::EADDRINUSE);
        }
        let fd = self.open(node, Kind::Listener(listener))?;
        let file = self.fd_file(node, fd, "listen")?;
        self.unix_names.insert(name.to_vec(), file);
        Ok(fd)
    }

    /// accept4(2). `Ok(None)`: nobody is there.
    pub(super) fn accept(&mut self, node: usize, fd: Fd) -> Result<Option<(Fd, Addr)>, i32> {
        let id = self.fd_file(node, fd, "accept")?;
        let Some(listener) = self.files.listener_mut(id) else { return Err(libc::EINVAL) };
        if listener.shut {
            return Err(libc::EINVAL);
        }
        if listener.backlog.is_empty() {
            return Ok(None);
        }
        if self.hit(Fault::AcceptNothing) {
            // K16: whoever is there after all is reported again.
            let delay_ns = self.delay_ns();
            self.schedule(delay_ns, Event::Announce(id));
            return Ok(None);
        }
        if self.hit(Fault::AcceptExhausted) {
            let all = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
            return Err(self.pick(&all));
        }
        if self.nodes[node].fd_count() >= self.faults.shape.fd_count_max as usize {
            return Err(libc::EMFILE);
        }
        if self.hit(Fault::AcceptAborted) {
            self.lose_first(id);
            return Err(self.pick(&LOST_WITH));
        }
        let Some(listener) = self.files.listener_mut(id) else { return Err(libc::EINVAL) };
        let Some(child) = listener.backlog.pop_front() else { return Ok(None) };
        let remote = self.files.stream(child).and_then(|s| s.remote.clone());
        if let Some(file) = self.files.get_mut(child) {
            file.node = node;
        }
        // The backlog's reference becomes the descriptor's.
        let fd = self.nodes[node].fd_insert(child);
        Ok(Some((fd, remote.unwrap_or(Addr::Unix))))
    }

    /// A failed accept: K22, what concerns one connection loses it.
    pub(super) fn accept_fails(
        &mut self,
        node: usize,
        fd: Fd,
        errno: i32,
    ) -> Result<Option<(Fd, Addr)>, i32> {
        let id = self.fd_file(node, fd, "accept")?;
        if LOST_WITH.contains(&errno) {
            self.lose_first(id);
        }
        Err(errno)
    }

    fn lose_first(&mut self, listener: FileId) {
        let backlog = self.files.listener_mut(listener).map(|listener| &mut listener.backlog);
        if let Some(child) = backlog.and_then(std::collections::VecDeque::pop_front) {
            self.abort_stream(child);
        }
    }

    /// Gives a connection up from this side.
    fn abort_stream(&mut self, id: FileId) {
        if let Some(s) = self.files.stream_mut(id) {
            s.linger_zero = true;
        }
        self.release(id);
    }

    pub(super) fn listener_closed(&mut self, id: FileId) {
        self.leave_group(id);
        self.bindings.retain(|binding| binding.file != id);
        self.unix_names.retain(|_, file| *file != id);
        let Some(removed) = self.files.remove(id) else { return };
        if let Kind::Listener(listener) = removed.kind {
            for child in listener.backlog {
                // Whoever waits in the backlog of a closed listener is reset.
                if let Some(s) = self.files.stream_mut(child) {
                    s.linger_zero = true;
                    if s.is_unix {
                        s.inbound.push_back(0);
                    }
                }
                self.release(child);
            }
        }
    }

    // ---- connecting

    /// Starts an attempt; the answer comes through the network.
    pub(super) fn connect_start(&mut self, id: FileId, to: SocketAddr) -> Result<(), i32> {
        let node = self.files.get(id).map_or(0, |file| file.node);
        let port = self.ephemeral_port();
        let Some(s) = self.files.stream_mut(id) else { return Err(libc::ENOTSOCK) };
        match s.phase {
            Phase::Fresh => {}
            Phase::SynSent => return Ok(()),
            Phase::Open | Phase::Dead => return Err(libc::EISCONN),
        }
        s.phase = Phase::SynSent;
        s.error = 0;
        let to = Self::canonical(to);
        if let Addr::Ip(local) = &mut s.local {
            if local.ip().is_unspecified() {
                local.set_ip(Self::source_ip(node, to.ip()));
            }
            if local.port() == 0 {
                local.set_port(port);
            }
        }
        s.remote = Some(Addr::Ip(to));
        self.trace(node, What::Net("syn", id, 0));
        let delay_ns = self.latency_ns();
        if self.hit(Fault::ConnectBlackhole) {
            self.connect_fails_in(CONNECT_GIVE_UP_NS, id, libc::ETIMEDOUT);
        } else if self.hit(Fault::ConnectUnreachable) {
            let errno = self.pick(&[libc::EHOSTUNREACH, libc::ENETUNREACH]);
            self.connect_fails_in(delay_ns, id, errno);
        } else if self.hit(Fault::ConnectRefused) {
            self.connect_fails_in(delay_ns, id, libc::ECONNREFUSED);
        } else {
            self.schedule(delay_ns, Event::Syn { client: id, attempt: 0 });
        }
        Ok(())
    }

    fn connect_fails_in(&mut self, delay_ns: u64, client: FileId, errno: i32) {
        self.schedule(delay_ns, Event::ConnectFailed { client, errno });
    }

    fn is_connecting(&self, id: FileId) -> bool {
        self.files.stream(id).is_some_and(|s| s.phase == Phase::SynSent)
    }

    pub(super) fn connect_failed(&mut self, id: FileId, errno: i32) {
        if !self.is_connecting(id) {
            return;
        }
        if let Some(s) = self.files.stream_mut(id) {
            s.phase = Phase::Fresh;
            s.error = errno;
        }
        self.wake(id);
    }

    pub(super) fn syn_arrives(&mut self, client: FileId, attempt: u32) {
        let Some(s) = self.files.stream(client).filter(|s| s.phase == Phase::SynSent) else {
            return;
        };
        let (Some(Addr::Ip(to)), from) = (s.remote.clone(), s.local.clone()) else { return };
        let found = self.best_at(to, false);
        let delay_ns = self.latency_ns();
        if found.is_empty() {
            return self.connect_fails_in(delay_ns, client, libc::ECONNREFUSED);
        }
        let found = found.iter().map(|binding| binding.file).collect::<Vec<_>>();
        let chosen = match &from {
            Addr::Ip(from) => self.steered(&found, *from, &[]),
            Addr::Unix => None,
        };
        let listener_id =
            chosen.unwrap_or_else(|| found[self.rng.below(found.len() as u64) as usize]);
        let node = self.files.get(listener_id).map_or(0, |file| file.node);
        let Some(listener) = self.files.listener_mut(listener_id) else { return };
        if listener.shut {
            return self.connect_fails_in(delay_ns, client, libc::ECONNREFUSED);
        }
        let waiting = listener.backlog.len() as u32 + listener.half_open_count;
        if waiting > listener.backlog_max || listener.is_braked {
            // The SYN is dropped and sent again.
            if attempt == SYN_ATTEMPT_MAX {
                return self.connect_fails_in(0, client, libc::ETIMEDOUT);
            }
            let event = Event::Syn { client, attempt: attempt + 1 };
            return self.schedule(SYN_RETRY_NS << attempt, event);
        }
        listener.half_open_count += 1;
        let mut child = Stream::new(false, Addr::Ip(to), listener.send_len, listener.recv_len);
        child.phase = Phase::Open;
        child.remote = Some(from);
        child.peer = Some(client);
        let child = self.files.insert(node, Kind::Stream(child));
        self.schedule(delay_ns, Event::SynAck { client, child, listener: listener_id });
    }

    pub(super) fn syn_ack_arrives(&mut self, client: FileId, child: FileId, listener: FileId) {
        let delay_ns = self.latency_ns();
        if self.is_connecting(client) {
            if let Some(s) = self.files.stream_mut(client) {
                s.phase = Phase::Open;
                s.peer = Some(child);
            }
            self.wake(client);
        } else {
            // Whoever asked is gone: its side answers with a reset.
            self.schedule(delay_ns, Event::Reset(child));
        }
        self.schedule(delay_ns, Event::Established { child, listener });
    }

    pub(super) fn established(&mut self, child: FileId, listener_id: FileId) {
        let Some(listener) = self.files.listener_mut(listener_id) else {
            return self.abort_stream(child);
        };
        listener.half_open_count -= 1;
        if listener.shut {
            return self.abort_stream(child);
        }
        listener.backlog.push_back(child);
        self.wake(listener_id);
    }

    /// connect(2) of a Unix socket: at once or not at all. `Ok(None)`: the backlog is full.
    pub(super) fn connect_unix(&mut self, node: usize, name: &[u8]) -> Result<Option<Fd>, i32> {
        let Some(listener_id) = self.unix_names.get(name).copied() else {
            // A file without a listener refuses; the simulator has no files.
            let absent =
                if name.first() == Some(&b'@') { libc::ECONNREFUSED } else { libc::ENOENT };
            return Err(absent);
        };
        let shape = self.faults.shape;
        let server_node = self.files.get(listener_id).map_or(0, |file| file.node);
        let Some(listener) = self.files.listener_mut(listener_id) else {
            return Err(libc::ECONNREFUSED);
        };
        if listener.shut || listener.is_braked {
            return Err(libc::ECONNREFUSED);
        }
        if listener.backlog.len() as u32 > listener.backlog_max {
            return Ok(None);
        }
        let (send_len, recv_len) = (shape.send_buffer_len, shape.recv_buffer_len);
        let mut client = Stream::new(true, Addr::Unix, send_len, recv_len);
        client.phase = Phase::Open;
        client.remote = Some(Addr::Unix);
        let fd = self.open(node, Kind::Stream(client))?;
        let client_id = self.fd_file(node, fd, "connect")?;
        let mut child = Stream::new(true, Addr::Unix, send_len, recv_len);
        child.phase = Phase::Open;
        child.remote = Some(Addr::Unix);
        child.peer = Some(client_id);
        let child_id = self.files.insert(server_node, Kind::Stream(child));
        if let Some(s) = self.files.stream_mut(client_id) {
            s.peer = Some(child_id);
        }
        if let Some(listener) = self.files.listener_mut(listener_id) {
            listener.backlog.push_back(child_id);
        }
        self.wake(listener_id);
        Ok(Some(fd))
    }
}
