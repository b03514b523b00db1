//! TLS on stream connections: handshakes, records of ciphertext to stretches of payload, goodbyes.
//!
//! ```text
//! opened ─▶ shaking ── Established ─▶ announced: payload goes on to what speaks on the connection
//!               │                          │ close_notify: ReadClosed
//!               └───────── Fail ◀──────────┘ : the alert is sent, FIN, and the peer's FIN awaited
//! ```
//!
//! Role: when the machine is fed, and what follows from its answers. Not role: sealing (`seal`),
//! TLS itself (`proto::tls`).
//!
//! *Invariants*
//! - A record is opened where it lies: in the receive buffer, in bytes that no event names yet
//!   (P2), or in the carry if it straddles two.
//! - What the machine has to send is queued before anything is sealed after it.
//! - Nothing is handed to the application before the handshake is done, nor after TLS failed.

use super::Engine;
use crate::code;
use crate::conn::secure::{Goodbye, Secure};
use crate::conn::{Flags, Phase, Span};
use crate::event::record::{Kind, Record};
use crate::ids::ConnId;
use crate::pool::{BufId, Class};
use crate::proto::tls::{Opened, Start, TlsFailure};
use crate::time::Time;

/// Beginnings of records stay in their receive buffers while more than one in so many of those is
/// free, or with the kernel.
const ADOPTED_SHARE: u32 = 2;

impl Engine {
    // ---- the beginning

    /// Puts TLS on a connection that is not announced yet, or on one that is (`is_upgrade`).
    pub(crate) fn secure(&mut self, index: u32, start: Start, is_upgrade: bool) {
        let conn = self.conns.at(index);
        conn.secure = Some(Box::new(Secure::new(start, is_upgrade)));
        conn.set(Flags::COOKED | Flags::TLS | Flags::SHAKING);
    }

    /// The socket is connected: the first flight goes out, or is waited for.
    pub(crate) fn shake(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let Some(secure) = &conn.secure else { return };
        conn.deadline = now.saturating_add(secure.handshake_timeout);
        self.arm_conn_timer(index);
        self.transmit(index);
    }

    fn established(&mut self, index: u32) {
        let conn = self.conns.at(index);
        conn.unset(Flags::SHAKING);
        if !conn.has(Flags::GRACEFUL) {
            conn.deadline = Time::MAX;
        }
        let is_upgrade = conn.secure.as_ref().is_some_and(|s| s.is_upgrade);
        let id = conn.id(index).as_u64();
        self.plan_kernel(index);
        self.arm_conn_timer(index);
        if self.client_opened(index) {
            return;
        }
        if is_upgrade {
            self.inbox.push(Record::bare(Kind::Secured, id, 0));
            self.offer_credit(index);
        } else {
            self.announce(index);
        }
    }

    // ---- ciphertext

    /// Opens the records of received bytes. The span's hold is consumed.
    pub(super) fn feed_tls(&mut self, index: u32, mut span: Span) {
        while span.len > 0 {
            if self.inbox.room() == 0 {
                self.stall(index, Span::NONE);
                return self.keep_rest(index, span);
            }
            let conn = self.conns.at(index);
            if conn.phase != Phase::Open || conn.has(Flags::TLS_FAILED | Flags::EOF) {
                break;
            }
            let Some((opened, at)) = self.open_next(index, &mut span) else {
                if self.conns.at(index).has(Flags::STALLED) {
                    return self.keep_rest(index, span);
                }
                break;
            };
            match opened {
                Opened::Data { plain, .. } => {
                    let payload = Span {
                        buf: at.buf,
                        offset: at.offset + plain.start as u32,
                        len: plain.len() as u32,
                    };
                    self.feed_payload(index, payload);
                    if self.conns.at(index).has(Flags::STALLED) {
                        return self.keep_rest(index, span);
                    }
                    continue;
                }
                Opened::Established { .. } => self.established(index),
                // close_notify: a clean end of its data, whatever TCP says later.
                Opened::Closed { .. } => self.end_of_data(index),
                Opened::Fail { error } => self.tls_failed(index, &error),
                Opened::Control { .. } | Opened::Need { .. } => {}
            }
            if at.buf != BufId::NONE {
                self.pool.release(at.buf);
            }
            self.transmit(index);
        }
        if span.buf != BufId::NONE {
            self.pool.release(span.buf);
        }
        self.settle_credits();
    }

    /// Payload goes on to what speaks on the connection. The span's hold is consumed.
    fn feed_payload(&mut self, index: u32, payload: Span) {
        if payload.len > 0 {
            self.feed(index, payload);
        } else {
            self.pool.release(payload.buf);
        }
    }

    /// What the machine makes of the next record, and where that lies: with a hold of its own.
    /// `None`: it is not whole, or there was no buffer for it.
    fn open_next(&mut self, index: u32, span: &mut Span) -> Option<(Opened, Span)> {
        loop {
            let conn = self.conns.at(index);
            let secure = conn.secure.as_mut()?;
            if secure.cipher.is_empty() {
                // SAFETY: P2, the span holds the buffer; what it names was not handed out, and what
                // was lies before it.
                let input = unsafe { self.pool.slice_mut(span.buf, span.offset, span.len) };
                let opened = secure.tls.open(input);
                if let Opened::Need { need } = opened {
                    if self.may_adopt(*span, need) {
                        let Span { buf, offset, len } = std::mem::replace(span, Span::NONE);
                        let secure = self.conns.at(index).secure.as_mut()?;
                        secure.cipher.adopt(buf, offset, len, need);
                        self.read_if_kept(index);
                        return None;
                    }
                    self.keep_partial(index, span, span.len, need);
                    return None;
                }
                let at = *span;
                let consumed = consumed(&opened).unwrap_or(at.len);
                span.offset += consumed;
                span.len -= consumed;
                self.pool.hold(at.buf);
                return Some((opened, at));
            }
            let (had, need) = (secure.cipher.len(), secure.cipher.need());
            let given = (need.saturating_sub(had) as u32).min(span.len);
            if given > 0 && !self.keep_partial(index, span, given, need) {
                return None;
            }
            let secure = self.conns.at(index).secure.as_mut()?;
            if secure.cipher.len() < need {
                return None;
            }
            match secure.tls.open(secure.cipher.bytes_mut(&mut self.pool)) {
                Opened::Need { need } => secure.cipher.set_need(need),
                opened => {
                    let (buf, offset, len) = secure.cipher.take();
                    return Some((opened, Span { buf, offset, len }));
                }
            }
        }
    }

    /// Whether the beginning of a record may stay in its receive buffer: what it lacks is then
    /// copied behind it, and not both. Only while most buffers are free, or slow peers would keep
    /// them all; and not for what a slot holds.
    fn may_adopt(&self, span: Span, need: usize) -> bool {
        need > self.pool.class_size(Class::Slots)
            && span.offset as usize + need <= self.pool.extent_of(span.buf)
            && self.receivable() > self.pool.count(Class::Stream) / ADOPTED_SHARE
    }

    /// Moves the front of the span into the carry of ciphertext. Whether the connection goes on.
    fn keep_partial(&mut self, index: u32, span: &mut Span, len: u32, need: usize) -> bool {
        let Some(secure) = self.conns.at(index).secure.as_mut() else { return false };
        // SAFETY: as in `open_next`.
        let data = unsafe { self.pool.slice(span.buf, span.offset, len) };
        let size = need.max(secure.cipher.len() + len as usize);
        let kept = secure.cipher.append(&mut self.pool, need, data);
        match kept {
            Ok(Some(copied)) => {
                secure.cipher.set_need(need);
                span.offset += len;
                span.len -= len;
                self.stats.bytes_copied_rx += copied as u64;
                true
            }
            // As with a message that straddles buffers: there will be one.
            Ok(None) if self.waits_in_inbox(size) => {
                self.stall(index, Span::NONE);
                self.inbox.shut();
                false
            }
            Ok(None) => {
                self.begin_end(index, code::CARRY_EXHAUSTED, false);
                false
            }
            Err(_) => {
                self.begin_end(index, code::FRAME_TOO_LONG, false);
                false
            }
        }
    }

    /// Ciphertext behind what stalled waits with it.
    fn keep_rest(&mut self, index: u32, span: Span) {
        match &mut self.conns.at(index).secure {
            Some(secure) if span.len > 0 => secure.rest = span,
            _ if span.buf != BufId::NONE => self.pool.release(span.buf),
            _ => {}
        }
    }

    /// Goes on with ciphertext that waited.
    pub(super) fn resume_tls(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.has(Flags::STALLED) {
            return;
        }
        let Some(secure) = &mut conn.secure else { return };
        let rest = std::mem::replace(&mut secure.rest, Span::NONE);
        if rest.buf != BufId::NONE {
            self.feed_tls(index, rest);
        }
    }

    /// Lets go of ciphertext: the connection is ending.
    pub(super) fn drop_cipher(&mut self, index: u32) {
        let Some(secure) = &mut self.conns.at(index).secure else { return };
        secure.cipher.clear(&mut self.pool);
        let rest = std::mem::replace(&mut secure.rest, Span::NONE);
        if rest.buf != BufId::NONE {
            self.pool.release(rest.buf);
        }
    }

    // ---- the end

    /// The stream ended below TLS. Whether that cut something short.
    pub(super) fn is_truncated(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let Some(secure) = &conn.secure else { return false };
        let code = match secure.tls.on_eof() {
            Ok(()) => return false,
            Err(_) if conn.has(Flags::TLS_FAILED) && !conn.has(Flags::SHUT_DONE) => {
                // The peer may still read: the alert goes out before the end.
                conn.set(Flags::EOF);
                return true;
            }
            Err(_) if conn.has(Flags::TLS_FAILED) => conn.code,
            Err(failure) => failure.code,
        };
        self.begin_end(index, code, false);
        true
    }

    /// Whether the peer said goodbye, and our own is all that it may miss.
    pub(super) fn is_goodbye_alone(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let goodbye = conn.secure.as_ref().and_then(|secure| secure.goodbye);
        conn.has(Flags::EOF) && goodbye == Some(Goodbye::Alone)
    }

    /// Behind close_notify nothing is lost, unless there is data to be sent: many close the socket
    /// with our goodbye unread.
    pub(super) fn is_reset_harmless(&mut self, index: u32) -> bool {
        let goodbye_alone = self.is_goodbye_alone(index);
        let conn = self.conns.at(index);
        let is_queue_sent = conn.tx.is_empty() && !conn.has(Flags::UNSEALED);
        let is_sent = is_queue_sent && !conn.app.has_unsent();
        conn.has(Flags::TLS) && conn.has(Flags::EOF) && (is_sent || goodbye_alone)
    }

    /// An upgrade is given up: what is queued is still sent, and nothing is taken in.
    pub(super) fn abandon_handshake(&mut self, index: u32) {
        let conn = self.conns.at(index);
        conn.code = code::LOCAL_CLOSE;
        conn.set(Flags::TLS_FAILED);
    }

    /// TLS is over. The alert that says why is still sent, and the peer given time to read it: a
    /// close with bytes unread would be a reset, which takes the alert with it.
    pub(super) fn tls_failed(&mut self, index: u32, failure: &TlsFailure) {
        let now = self.now;
        let conn = self.conns.at(index);
        crate::trace::tls_failed(conn.id(index), failure.code, &failure.reason);
        let wait = conn.secure.as_ref().map(|s| s.close_notify_timeout).unwrap_or_default();
        conn.code = failure.code;
        // Nothing is handed out any more, not even where the kernel opens.
        conn.set(Flags::TLS_FAILED | Flags::SHUT_WANTED | Flags::COOKED);
        conn.unset(Flags::PAUSED | Flags::WANT_WRITABLE | Flags::SHAKING);
        let until = now.saturating_add(wait);
        conn.deadline = if conn.has(Flags::GRACEFUL) { conn.deadline.min(until) } else { until };
        self.arm_conn_timer(index);
        self.drop_unsealed(index);
        self.http_drop_file(index);
        self.mark_dirty(index);
    }

    /// A message of the connection, once its handshake is done; for events.
    pub(super) fn alpn<'a>(&mut self, conn: ConnId) -> Option<&'a [u8]> {
        let alpn = self.conns.find(conn)?.secure.as_ref()?.tls.alpn()?;
        // SAFETY: what was agreed on does not change or move while the connection has its place,
        // and it keeps that until its `Disconnected` is asked for, which the caller's borrow
        // excludes while the slice lives.
        Some(unsafe { std::slice::from_raw_parts(alpn.as_ptr(), alpn.len()) })
    }
}

/// Bytes of input that a record took; `None`: all, since nothing follows a failure.
fn consumed(opened: &Opened) -> Option<u32> {
    match opened {
        Opened::Data { consumed, .. }
        | Opened::Control { consumed }
        | Opened::Established { consumed }
        | Opened::Closed { consumed } => Some(*consumed as u32),
        Opened::Need { .. } | Opened::Fail { .. } => None,
    }
}
