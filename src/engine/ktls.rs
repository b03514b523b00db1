//! TLS records in the kernel: when it takes over, what it cannot say by itself, and what it says.
//!
//! ```text
//! send     data of the queue, in the clear ──────────▶ socket      records are the kernel's
//!          alerts, key updates ── control message ───▶ socket      between two sends
//! receive  data ◀── the ring's own receive ───────────  socket
//!          all else ◀── control message ── after EIO ─  socket
//! ```
//!
//! Role: the occasions and the order. Not role: TLS (`proto::tls`), the calls (`sys::ktls`).
//! ADR 0007 has the reasons.
//!
//! *Invariants*
//! - A direction is handed over when nothing of it is under way: sending with an empty queue,
//!   receiving with no receive armed and no part of a record in hand.
//! - A refusal is noted and costs nothing more: that direction stays ours.
//! - Records of TLS's own go between two sends, the last of them behind all data.
//! - No FIN before TCP has all records: what waits in the kernel's TLS would be lost.

use super::Engine;
use crate::config::Toggle;
use crate::conn::secure::{Goodbye, KernelTx, Layer};
use crate::conn::tx::{NO_BLOCK, Segment, Source, TxQueue};
use crate::conn::{Flags, Phase};
use crate::error::{Errno, KernelVersion};
use crate::ids::Protocol;
use crate::proto::App;
use crate::proto::tls::{HandOver, Opened};
use crate::ring::{Completion, KTLS, Op, Tag};
use crate::sys::ktls::{Refusal, Side};
use crate::sys::{POLLOUT, errno};

/// With `Toggle::Auto` the kernel seals from the first guard write or file of so many bytes on.
const UNPASSED_MIN: u64 = 64 << 10;
/// Below, its record layer lacks too many repairs.
const SINCE: KernelVersion = KernelVersion { major: 6, minor: 7 };
/// Where it changes keys.
const REKEYS_SINCE: KernelVersion = KernelVersion { major: 6, minor: 14 };
/// Payload of the records that it makes, and of any record.
const RECORD_LEN_MAX: usize = 16_384;
/// The content type that is data.
const DATA: u8 = 23;

impl Engine {
    // ---- taking over

    /// The handshake is done: what of its records may be the kernel's, once there is an occasion.
    pub(super) fn plan_kernel(&mut self, index: u32) {
        if !KTLS {
            return;
        }
        for side in [Side::Tx, Side::Rx] {
            let refusal = self.kernel_refusal(index, side);
            let Some(secure) = &mut self.conns.at(index).secure else { return };
            let layer = if refusal.is_none() { Layer::OursYet } else { Layer::Ours };
            let until_then =
                if secure.ktls == Toggle::On { Refusal::Pending } else { Refusal::NotWanted };
            secure.tls.note_layer(side, Err(refusal.unwrap_or(until_then)));
            match side {
                Side::Tx => secure.tx = layer,
                Side::Rx => secure.rx = layer,
            }
        }
    }

    /// Why the kernel is not to be asked.
    fn kernel_refusal(&mut self, index: u32, side: Side) -> Option<Refusal> {
        let since = self.effective.kernel;
        let conn = self.conns.at(index);
        let secure = conn.secure.as_ref()?;
        let wanted = match side {
            Side::Tx => secure.ktls != Toggle::Off,
            Side::Rx => secure.ktls == Toggle::On,
        };
        // What is automatic must not end a connection that we could go on with.
        let needs_rekey = secure.ktls == Toggle::Auto && secure.tls.changes_keys();
        match () {
            () if !wanted => Some(Refusal::NotWanted),
            () if conn.protocol != Protocol::Tcp => Some(Refusal::NotTcp),
            () if since.is_none_or(|found| found < SINCE) => Some(Refusal::OldKernel),
            () if self.ktls_absent => Some(Refusal::NoModule),
            () if side == Side::Tx && secure.tls.plain_max() < RECORD_LEN_MAX => {
                Some(Refusal::RecordSize)
            }
            () if needs_rekey && !self.kernel_rekeys() => Some(Refusal::Rekey),
            () => None,
        }
    }

    fn kernel_rekeys(&self) -> bool {
        self.effective.kernel.is_some_and(|found| found >= REKEYS_SINCE)
    }

    /// Before something is written: lets the kernel seal from here on, if this is an occasion and
    /// nothing is under way. What waited to be sealed is sent as it is. So many bytes of what is
    /// written would not have to pass through our buffers then.
    #[inline]
    pub(super) fn offer_tx(&mut self, index: u32, unpassed: u64) {
        let conn = self.conns.at(index);
        let Some(secure) = &conn.secure else { return };
        let is_occasion = secure.ktls == Toggle::On || unpassed >= UNPASSED_MIN;
        if is_occasion && secure.tx == Layer::OursYet && conn.tx.is_empty() {
            self.hand_over_tx(index);
        }
    }

    /// Whether what is next to be sealed is for the kernel, as soon as the queue is empty: that is
    /// one completion away, and a header before a large body is the usual case.
    pub(super) fn waits_for_kernel(&mut self, index: u32, unpassed: u64) -> bool {
        let conn = self.conns.at(index);
        let may_take = conn.secure.as_ref().is_some_and(|secure| secure.tx == Layer::OursYet);
        may_take && unpassed >= UNPASSED_MIN && !conn.tx.is_empty()
    }

    fn hand_over_tx(&mut self, index: u32) {
        if self.ktls_absent {
            // Another connection has asked in the meantime.
            return self.refused(index, Side::Tx, Refusal::NoModule);
        }
        let rekeys = self.kernel_rekeys();
        let conn = self.conns.at(index);
        if conn.phase != Phase::Open || conn.has(Flags::SEND_BUSY | Flags::TLS_FAILED) {
            return;
        }
        let (fd, bytes_sent) = (conn.sock.fd, conn.bytes_sent);
        let Some(secure) = &mut conn.secure else { return };
        // A record of TLS's own goes first, and acknowledgements settle: the next time, then.
        let Ok(key) = secure.tls.kernel_key(Side::Tx) else { return };
        let Some(handed) = self.ring.tcp_handed(fd, true) else { return };
        let records = -(key.seq as i64);
        if let Err(refusal) = self.ring.ktls_hand_over(fd, Side::Tx, &key) {
            return self.refused(index, Side::Tx, refusal);
        }
        let (head_len, tail_len) = secure.tls.overhead();
        let overhead = (head_len + tail_len) as u64;
        secure.kernel_tx = KernelTx { handed, sent: bytes_sent, own: 0, records, overhead };
        secure.tls.hand_over(Side::Tx, HandOver { rekeys, bytes_sent });
        secure.tx = Layer::Kernel;
        conn.tx = std::mem::replace(&mut secure.unsealed, TxQueue::EMPTY);
        conn.unset(Flags::UNSEALED);
        conn.set(Flags::KERNEL_TX);
        self.mark_dirty(index);
    }

    /// After a receive completed: lets the kernel open from here on, if it is to and no receive is
    /// armed. One try: a peer that sends all the time would be asked to wait again and again.
    pub(super) fn offer_rx(&mut self, index: u32) {
        let rekeys = self.kernel_rekeys();
        let conn = self.conns.at(index);
        let over = Flags::RECV_ARMED | Flags::STALLED | Flags::EOF | Flags::TLS_FAILED;
        if conn.phase != Phase::Open || conn.has(over) {
            return;
        }
        let (fd, received) = (conn.sock.fd, conn.bytes_received);
        let Some(secure) = &mut conn.secure else { return };
        if secure.rx != Layer::OursYet {
            return;
        }
        let key = match secure.tls.kernel_key(Side::Rx) {
            Ok(_) if self.ktls_absent => return self.refused(index, Side::Rx, Refusal::NoModule),
            Ok(key) if secure.cipher.is_empty() => key,
            _ => return self.refused(index, Side::Rx, Refusal::Pending),
        };
        if let Err(refusal) = self.ring.ktls_hand_over(fd, Side::Rx, &key) {
            return self.refused(index, Side::Rx, refusal);
        }
        secure.tls.hand_over(Side::Rx, HandOver { rekeys, bytes_sent: 0 });
        secure.rx = Layer::Kernel;
        secure.data_before = received;
        conn.set(Flags::KERNEL_RX);
        // What arrives is payload: without framing it is on the short path.
        conn.flags.set(Flags::COOKED, !matches!(conn.app, App::Raw));
    }

    /// That direction stays ours.
    fn refused(&mut self, index: u32, side: Side, refusal: Refusal) {
        self.ktls_absent |= refusal == Refusal::NoModule;
        let Some(secure) = &mut self.conns.at(index).secure else { return };
        secure.tls.note_layer(side, Err(refusal));
        match side {
            Side::Tx => secure.tx = Layer::Ours,
            Side::Rx => secure.rx = Layer::Ours,
        }
    }

    /// Gives the kernel the next key of a direction, if there is one. Whether TLS goes on.
    fn renew(&mut self, index: u32, side: Side) -> bool {
        let conn = self.conns.at(index);
        let (fd, bytes_sent) = (conn.sock.fd, conn.bytes_sent);
        let Some(secure) = &mut conn.secure else { return true };
        let Some(key) = secure.tls.next_kernel_key(side) else { return true };
        let sealed = match secure.tls.kernel_suite() {
            Some(suite) if side == Side::Tx => self.ring.ktls_seq(fd, suite),
            _ => Some(0),
        };
        match (sealed, self.ring.ktls_hand_over(fd, side, &key)) {
            (Some(sealed), Ok(())) => {
                secure.kernel_tx.records += sealed as i64;
                secure.tls.kernel_renewed(side, bytes_sent);
                true
            }
            _ => {
                let failure = secure.tls.kernel_not_renewed(side);
                self.tls_failed(index, &failure);
                false
            }
        }
    }

    // ---- sending

    /// Before data is sent, and before the sending side is shut: what TLS has to say itself. False:
    /// not now.
    pub(super) fn flush_kernel(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        if conn.has(Flags::SEND_FAILED) {
            return true;
        }
        let bytes_sent = conn.bytes_sent;
        let has_data = conn.has_data();
        let Some(secure) = &mut conn.secure else { return true };
        if has_data && secure.tls.check_kernel_send(bytes_sent).is_err() {
            self.key_exhausted(index);
        }
        if self.conns.at(index).has(Flags::TLS_FAILED) {
            // As with what waits to be sealed by us: the alert is all that is still sent.
            self.drop_queue(index);
        }
        self.say_goodbye(index);
        if !self.send_own_records(index) {
            return false;
        }
        let conn = self.conns.at(index);
        let ends = !conn.has_data() && conn.has(Flags::SHUT_WANTED);
        if ends && !conn.has(Flags::SHUT_DONE) && !self.has_tcp_all(index) {
            self.wait_for_room(index);
            return false;
        }
        true
    }

    /// Asks for close_notify behind the last data.
    fn say_goodbye(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let is_due = !conn.has_data() && conn.has(Flags::SHUT_WANTED);
        if !is_due || conn.secure.as_ref().is_none_or(|secure| secure.goodbye.is_some()) {
            return;
        }
        let alone = self.has_tcp_all(index);
        let Some(secure) = &mut self.conns.at(index).secure else { return };
        secure.goodbye = Some(if alone { Goodbye::Alone } else { Goodbye::BehindData });
        secure.tls.close_notify();
    }

    /// Has the kernel seal what TLS says itself; the last of it only behind all data. Whether data
    /// may follow.
    fn send_own_records(&mut self, index: u32) -> bool {
        loop {
            let conn = self.conns.at(index);
            let (fd, has_data) = (conn.sock.fd, conn.has_data());
            let Some(secure) = &mut conn.secure else { return true };
            let Some((kind, own)) = secure.tls.own_record() else { return true };
            if own.is_last() && has_data {
                return true;
            }
            match self.ring.ktls_send(fd, kind, own.as_slice()) {
                Ok(()) => {
                    secure.kernel_tx.own += own.as_slice().len() as u64;
                    secure.tls.own_record_sent();
                }
                Err(Errno(errno::EAGAIN | errno::ENOBUFS | errno::ENOMEM | errno::EINTR)) => {
                    self.wait_for_room(index);
                    return false;
                }
                Err(Errno(error)) => {
                    self.on_send_error(index, error);
                    return false;
                }
            }
            if !self.renew(index, Side::Tx) {
                return false;
            }
        }
    }

    /// Whether the kernel's TLS has passed everything on to TCP. When TCP has no room a send is
    /// done all the same, with a record left over; a FIN would overtake that, and a close drop it.
    fn has_tcp_all(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let (fd, sent) = (conn.sock.fd, conn.bytes_sent);
        let Some(secure) = &conn.secure else { return true };
        let tx = secure.kernel_tx;
        let seq = secure.tls.kernel_suite().and_then(|suite| self.ring.ktls_seq(fd, suite));
        let (Some(seq), Some(handed)) = (seq, self.ring.tcp_handed(fd, false)) else {
            // The socket does not tell any more.
            return true;
        };
        let records = tx.records.saturating_add_unsigned(seq).max(0) as u64;
        handed >= tx.handed + (sent - tx.sent) + tx.own + records * tx.overhead
    }

    /// Goes on when the socket has room; if it had and that was no use, after a while.
    pub(super) fn wait_for_room(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let token = conn.token(Tag::Room, index);
        let Some(secure) = &mut conn.secure else { return };
        if std::mem::replace(&mut secure.had_room, false) {
            return self.send_again_later(index);
        }
        secure.had_room = true;
        conn.set(Flags::SEND_BUSY);
        conn.block = NO_BLOCK;
        let sock = conn.sock;
        self.ring.push(Op::Poll { sock, mask: POLLOUT, multi: false }, token);
    }

    pub(super) fn on_room(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        let index = completion.token.index();
        conn.unset(Flags::SEND_BUSY);
        if conn.phase == Phase::Open {
            self.mark_dirty(index);
        } else {
            self.advance_end(index);
        }
    }

    // ---- receiving

    /// What a receive or a send says when it is the kernel that opens. Whether it was that.
    pub(super) fn on_kernel_error(&mut self, index: u32, error: i32) -> bool {
        let conn = self.conns.at(index);
        let Some(secure) = conn.secure.as_mut().filter(|secure| secure.rx == Layer::Kernel) else {
            return false;
        };
        match error {
            _ if conn.flags.contains(Flags::TLS_FAILED) => {}
            // A record that is no data does not fit into a receive without control messages.
            errno::EIO => self.on_control_record(index),
            errno::EBADMSG | errno::EMSGSIZE | errno::EINVAL | errno::EKEYEXPIRED => {
                let failure = secure.tls.on_kernel_fault(error);
                self.tls_failed(index, &failure);
            }
            _ => return false,
        }
        true
    }

    fn on_control_record(&mut self, index: u32) {
        let now = self.now;
        let mut room = [0; RECORD_LEN_MAX];
        let fd = self.conns.at(index).sock.fd;
        let (kind, len) = match self.ring.ktls_recv(fd, &mut room) {
            Ok((DATA, _)) => return self.begin_end(index, errno::EIO as u64, false),
            Ok(record) => record,
            Err(Errno(errno::EAGAIN | errno::EINTR)) => return,
            Err(Errno(error)) => {
                if error == errno::EIO || !self.on_kernel_error(index, error) {
                    self.begin_end(index, error as u64, false);
                }
                return;
            }
        };
        let conn = self.conns.at(index);
        conn.last_rx = now;
        let received = conn.bytes_received;
        let Some(secure) = &mut conn.secure else { return };
        let data_len = received - std::mem::replace(&mut secure.data_before, received);
        match secure.tls.on_kernel_record(kind, &room[..len], data_len) {
            Opened::Closed { .. } => self.end_of_data(index),
            Opened::Fail { error } => self.tls_failed(index, &error),
            _ => {
                self.renew(index, Side::Rx);
            }
        }
        self.transmit(index);
        self.mark_dirty(index);
    }
}

/// Bytes that need not pass through our buffers where the kernel seals.
pub(super) const fn unpassed(segment: &Segment) -> u64 {
    match segment.source {
        Source::Guard { .. } => segment.len as u64,
        Source::Buf { .. } => 0,
    }
}
