//! Listeners: readiness from the ring, connections from accept(2).
//!
//! accept(2) in the loop rather than a multishot accept on the ring: it brings the peer's address
//! with it, it takes exactly as many connections as there is room for (the others stay in the
//! kernel's backlog), and errors that last cannot spin (37 of the hazards). docs/adr/0002 has the
//! measurement.

use super::Engine;
use super::events::peer_addr;
use super::preface::{Greets, greets};
use crate::conn::{Flags, Phase};
use crate::error::{IoError, PoolKind, Result};
use crate::event::record::{Kind, Record};
use crate::ids::{EndpointId, Protocol};
use crate::pool::PressureState;
use crate::proto::preface::Next;
use crate::proto::tls::{Acceptor, Start, TlsFailure};
use crate::proto::{App, Speaks};
use crate::ring::{Completion, Fd, Op, Sock, Tag, Token};
use crate::sys::POLLIN;
use crate::sys::addr::SockAddr;
use crate::time::Time;
use crate::transport::{Endpoint, Kind as EndpointKind, Listener, Terms};

/// Connections accepted from one listener in a tick at most.
const ACCEPTS_PER_TICK_MAX: usize = 64;
/// How long accepting rests when descriptors or kernel memory are exhausted.
const REST: std::time::Duration = std::time::Duration::from_millis(50);
/// How long a closed socket of datagrams tries to send what was queued.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

impl Engine {
    /// Takes a listening socket in.
    pub(crate) fn add_listener(
        &mut self,
        fd: Fd,
        protocol: Protocol,
        terms: Terms,
        speaks: impl Into<Speaks>,
    ) -> Result<EndpointId> {
        let listener = Listener { terms, speaks: speaks.into(), resting_until: None };
        let kind = EndpointKind::Listener(listener);
        let index = self.endpoints.insert(fd, protocol, kind)?;
        // Looking comes first: a descriptor from outside may have connections waiting already.
        if let Some(endpoint) = self.endpoints.at(index) {
            endpoint.ready = true;
            self.lists.endpoint_work = true;
        }
        let id = self.endpoints.id(index).ok_or(IoError::exhausted(PoolKind::Endpoints))?;
        crate::trace::endpoint_opened(id, protocol);
        Ok(id)
    }

    /// Arms the readiness poll of an endpoint, unless it is armed or closing. That comes after a
    /// look that found nothing, and the poll looks again when it is armed: so nothing that came
    /// between is missed, however often the kernel tells.
    pub(super) fn arm_endpoint(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        if endpoint.armed || endpoint.closing {
            return;
        }
        endpoint.armed = true;
        let token = endpoint.token(endpoint.kind.readable(), index);
        let sock = Sock::plain(endpoint.fd);
        self.ring.push(Op::Poll { sock, mask: POLLIN, multi: false }, token);
    }

    pub(super) fn on_acceptable(&mut self, completion: Completion) {
        self.on_endpoint_ready(completion);
    }

    /// An endpoint's poll completed: there is something, or it is worth a look.
    pub(super) fn on_endpoint_ready(&mut self, completion: Completion) {
        let Some(endpoint) = self.endpoints.of_token(completion.token) else { return };
        endpoint.armed = completion.more();
        endpoint.ready = true;
        self.lists.endpoint_work = true;
        if endpoint.closing {
            self.finish_endpoint(completion.token.index());
        }
    }

    /// Accepts and receives where there is something, as far as there is room.
    pub(super) fn run_endpoints(&mut self) {
        if self.now >= self.lists.retry_at {
            self.lists.retry_at = self.drains_due();
            self.lists.endpoint_work = true;
            self.retry_connects();
            self.resend();
            self.end_lingering();
        }
        if self.lists.endpoint_starved != 0 {
            self.lists.endpoint_work = true;
        }
        if !self.lists.endpoint_work {
            return;
        }
        self.lists.endpoint_work = false;
        self.lists.endpoint_starved = 0;
        for index in self.endpoints.indices_from(self.lists.endpoint_first) {
            let Some(Endpoint { ready: true, closing: false, kind, .. }) = self.endpoints.at(index)
            else {
                continue;
            };
            match kind {
                EndpointKind::Listener(_) => self.accept_from(index),
                EndpointKind::Udp(_) => self.receive_from(index),
                EndpointKind::Quic(_) => self.quic_receive(index),
            }
        }
        self.lists.endpoint_first = self.lists.endpoint_first.wrapping_add(1);
    }

    fn accept_from(&mut self, index: u32) {
        for _ in 0..ACCEPTS_PER_TICK_MAX {
            if self.inbox.room() == 0 {
                self.lists.endpoint_work = true;
                return;
            }
            if self.conns.is_full() || self.cascade.state() >= PressureState::Critical {
                // Comes back when a connection ends, or when the pressure falls.
                return;
            }
            let now = self.now;
            let Some(endpoint) = self.endpoints.at(index) else { return };
            let (fd, generation) = (endpoint.fd, endpoint.generation);
            let EndpointKind::Listener(listener) = &mut endpoint.kind else { return };
            if let Some(until) = listener.resting_until.filter(|until| now < *until) {
                self.lists.retry_at = self.lists.retry_at.min(until);
                return;
            }
            listener.resting_until = None;
            match self.ring.accept(fd) {
                Ok(Some((fd, peer))) => {
                    if self.looks_further {
                        self.note_accepted(index, fd);
                    }
                    self.take_accepted(index, fd, peer);
                }
                Ok(None) => {
                    if let Some(endpoint) = self.endpoints.at(index) {
                        endpoint.ready = false;
                    }
                    return self.arm_endpoint(index);
                }
                Err(error) => {
                    self.stats.accept_errors += 1;
                    crate::trace::accept_rests(EndpointId::new(index, generation), &error);
                    let until = now.saturating_add(REST);
                    listener_of(self.endpoints.at(index), until);
                    self.lists.retry_at = self.lists.retry_at.min(until);
                    return;
                }
            }
        }
        self.lists.endpoint_work = true;
    }

    /// Begins with a connection that came to the listener at `from`, there being room for its
    /// event.
    pub(super) fn take_accepted(&mut self, from: u32, fd: Fd, peer: SockAddr) {
        let Some(endpoint) = self.endpoints.at(from) else { return self.ring.close_now(fd) };
        let EndpointKind::Listener(listener) = &endpoint.kind else {
            return self.ring.close_now(fd);
        };
        let greets = greets(listener, endpoint.protocol, &peer);
        let id = EndpointId::new(from, endpoint.generation);
        self.stats.accepted += 1;
        if matches!(greets, Greets::Refused) {
            self.stats.proxy_refused += 1;
            crate::trace::proxy_untrusted(id, &peer_addr(&peer));
            return self.ring.close_now(fd);
        }
        let Ok(index) = self.conns.insert(Phase::Open, endpoint.protocol, self.now) else {
            return self.ring.close_now(fd);
        };
        let (Terms { timeouts, tls, .. }, speaks) = (&listener.terms, listener.speaks.clone());
        let conn = self.conns.at(index);
        conn.endpoint = id.as_u64();
        conn.peer = peer;
        if let Greets::Within(timeout) = greets {
            let next = Next { speaks, tls: tls.clone(), timeouts: *timeouts };
            return self.begin_preface(index, fd, next, timeout);
        }
        conn.configure(App::new(speaks), *timeouts);
        let start = tls.as_deref().map(Acceptor::start);
        let failed = self.secure_accepted(index, start);
        self.opened(index, fd);
        match failed {
            None => self.announce(index),
            Some(code) => self.begin_end(index, code, false),
        }
    }

    /// Puts TLS on a connection that was accepted, if there is to be some. Why that failed.
    pub(super) fn secure_accepted(
        &mut self,
        index: u32,
        start: Option<Result<Start, TlsFailure>>,
    ) -> Option<u64> {
        match start? {
            Ok(start) => {
                self.secure(index, start, false);
                None
            }
            Err(failure) => Some(failure.code),
        }
    }

    /// The socket is connected: it goes into the fixed file table, and is read.
    pub(super) fn opened(&mut self, index: u32, fd: Fd) {
        let fixed = index < self.effective.fixed_files;
        let now = self.now;
        let conn = self.conns.at(index);
        crate::trace::conn_opened(conn.id(index), conn.protocol);
        conn.enter(Phase::Open);
        conn.deadline = Time::MAX;
        (conn.last_rx, conn.last_tx) = (now, now);
        conn.sock = Sock::plain(fd);
        if fixed {
            // Until it is in the table operations name the descriptor itself.
            conn.set(Flags::INSTALL_BUSY);
            // K5: the table never moves, so the descriptor's address is stable.
            let fd = &raw const conn.sock.fd;
            let token = conn.token(Tag::Install, index);
            self.ring.push(Op::Install { fd, slot: index }, token);
        }
        self.arm_conn_timer(index);
        self.settle_recv(index);
    }

    /// Queues `Connected`, after the TLS handshake if there is to be one; the caller knows that
    /// there is room.
    pub(super) fn announce(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.has(Flags::SHAKING) {
            return self.shake(index);
        }
        if self.client_opened(index) {
            return;
        }
        let conn = self.conns.at(index);
        conn.is_announced = true;
        let record = Record::bare(Kind::Connected, conn.id(index).as_u64(), conn.endpoint);
        self.inbox.push(record);
    }

    pub(super) fn on_install(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        let index = completion.token.index();
        conn.unset(Flags::INSTALL_BUSY);
        if completion.result >= 0 {
            conn.sock.slot = index;
        }
        if conn.phase == Phase::Ending {
            self.advance_end(index);
        }
    }

    // ---- closing an endpoint

    /// Stops accepting or receiving. Connections that were accepted go on; those in the backlog
    /// are reset. Datagrams that were queued are sent.
    pub(crate) fn endpoint_close(&mut self, id: EndpointId) -> Result<()> {
        self.endpoints.get(id)?;
        if !self.quic_lingers(id.index()) {
            self.end_endpoint(id.index());
        }
        Ok(())
    }

    /// Ends what is under way on an endpoint's descriptor, and closes it then, behind what it has
    /// to send.
    pub(super) fn end_endpoint(&mut self, index: u32) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.at(index) else { return };
        endpoint.closing = true;
        endpoint.ready = false;
        if endpoint.armed {
            let target = endpoint.token(endpoint.kind.readable(), index);
            self.ring.push(Op::Cancel { target }, Token::IGNORE);
        }
        self.notes.unstage(&mut self.pool);
        if let EndpointKind::Udp(udp) = &mut endpoint.kind
            && !udp.queue.is_empty()
        {
            udp.linger_until = now.saturating_add(LINGER);
            self.lists.retry_at = self.lists.retry_at.min(udp.linger_until);
            return;
        }
        self.cancel_writable(index);
        self.finish_endpoint(index);
    }

    /// Ends the poll for writability, if it is armed.
    fn cancel_writable(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        if endpoint.kind.out_armed().is_some_and(|armed| *armed) {
            let target = endpoint.token(Tag::UdpWritable, index);
            self.ring.push(Op::Cancel { target }, Token::IGNORE);
        }
    }

    /// Gives up what closed sockets could not send in time.
    fn end_lingering(&mut self) {
        for index in self.endpoints.indices() {
            let Some(Endpoint { closing: true, kind: EndpointKind::Udp(udp), .. }) =
                self.endpoints.at(index)
            else {
                continue;
            };
            if udp.queue.is_empty() {
                continue;
            }
            if self.now < udp.linger_until {
                self.lists.retry_at = self.lists.retry_at.min(udp.linger_until);
                continue;
            }
            self.drop_datagrams(index);
            self.cancel_writable(index);
            self.finish_endpoint(index);
        }
    }

    /// Closes the descriptor once no poll refers to it and nothing is to be sent on it.
    pub(super) fn finish_endpoint(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        if endpoint.closing && !endpoint.is_busy() {
            let fd = endpoint.fd;
            self.ring.close_now(fd);
            self.endpoints.remove(index);
        }
    }
}

fn listener_of(endpoint: Option<&mut Endpoint>, until: Time) {
    if let Some(Endpoint { kind: EndpointKind::Listener(listener), .. }) = endpoint {
        listener.resting_until = Some(until);
    }
}
