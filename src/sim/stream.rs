//! Streams: bytes in order, a window, FIN and RST.
//!
//! Role: what TCP and Unix stream sockets do once they exist. Not role: how they come to be
//! (`listen`).
//!
//! *Invariants*: bytes arrive in the order in which they were taken; a FIN arrives behind them;
//! after a reset nothing arrives. Read RFC 9293 §3.6 and §3.10 first, and tcp(7), unix(7).

use super::fault::{Fault, PPM};
use super::file::{Addr, FileId, Kind, Phase};
use super::kernel::{Event, Kernel};
use super::mem::{self, Piece};
use super::node::Claim;
use super::trace::What;

/// The pause between two pieces of one burst.
const SEGMENT_GAP_NS: u64 = 1_000;

/// What a read of a stream would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readable {
    Data(usize),
    Eof,
    Error(i32),
    Nothing,
}

impl Kernel {
    /// What a read would find. It does not consume an error.
    pub(super) fn readable(&self, id: FileId) -> Readable {
        let Some(s) = self.files.stream(id) else { return Readable::Error(libc::ENOTSOCK) };
        if !s.inbound.is_empty() {
            return Readable::Data(s.inbound.len());
        }
        // TCP: the end of the stream comes before a pending error; Unix: after it.
        if s.fin_received && (!s.is_unix || s.error == 0) {
            return Readable::Eof;
        }
        if s.error != 0 {
            return Readable::Error(s.error);
        }
        match s.phase {
            _ if s.read_shut => Readable::Eof,
            Phase::Dead => Readable::Eof,
            Phase::Fresh => Readable::Error(libc::ENOTCONN),
            Phase::SynSent | Phase::Open => Readable::Nothing,
        }
    }

    /// Whether a reset is all that is left to be read.
    pub(super) fn is_about_to_fail(&self, id: FileId) -> bool {
        matches!(self.readable(id), Readable::Error(_))
    }

    /// Moves `len` received bytes to the engine's memory.
    pub(super) fn read_into(&mut self, id: FileId, ptr: *mut u8, len: usize) {
        let Some(s) = self.files.stream_mut(id) else { return };
        mem::fill(ptr, len, &mut s.inbound);
        let (peer, is_unix) = (s.peer, s.is_unix);
        let Some(peer) = peer else { return };
        if is_unix {
            self.wake(peer);
        } else if self.files.stream(peer).is_some_and(|p| p.has_outbound() && !p.pumping) {
            // The window opens.
            self.kick(peer);
        }
    }

    pub(super) fn take_error(&mut self, id: FileId) {
        if let Some(s) = self.files.stream_mut(id) {
            s.error = 0;
        }
    }

    /// Takes up to `len_max` bytes to send, from byte `from` of `pieces` on; 0: no room.
    pub(super) fn write_from(
        &mut self,
        id: FileId,
        pieces: &[Piece],
        from: usize,
        len_max: usize,
    ) -> Result<usize, i32> {
        let room = self.write_room(id)?;
        let Some(s) = self.files.stream_mut(id) else { return Err(libc::ENOTSOCK) };
        let taken = mem::copy_out(pieces, from, len_max.min(room), &mut s.outbound);
        s.bytes_sent += taken as u64;
        if taken > 0 {
            self.kick(id);
        }
        Ok(taken)
    }

    /// A send that does not wait: a count, or a negative errno.
    pub(super) fn send_at_once(
        &mut self,
        node: usize,
        name: &'static str,
        id: FileId,
        data: &[u8],
    ) -> i32 {
        if let Some(errno) = self.forced_failure(name) {
            return -errno;
        }
        // K6 holds for these sends as well: they would go between the bytes of another.
        if self.nodes[node].has_claim(Claim::Send(id)) {
            self.violation(node, format!("K6: a send at once beside another on {id:?}"));
        }
        if self.hit(Fault::SendAgain) {
            return -libc::EAGAIN;
        }
        if self.hit(Fault::SendError) {
            self.break_connection(id);
        }
        let short = self.hit(Fault::SendShort);
        let len_max = if short { self.between(1, data.len() as u64) as usize } else { data.len() };
        let piece = Piece { ptr: data.as_ptr(), len: data.len() };
        match self.write_from(id, &[piece], 0, len_max) {
            Ok(0) => -libc::EAGAIN,
            Ok(taken) => taken as i32,
            Err(errno) => -errno,
        }
    }

    /// The room for a send, or why there will be none.
    fn write_room(&mut self, id: FileId) -> Result<usize, i32> {
        let Some(s) = self.files.stream_mut(id) else { return Err(libc::ENOTSOCK) };
        if s.error != 0 {
            return Err(std::mem::take(&mut s.error));
        }
        match s.phase {
            _ if s.fin_queued => return Err(libc::EPIPE),
            Phase::Dead => return Err(libc::EPIPE),
            Phase::Fresh => return Err(libc::ENOTCONN),
            Phase::SynSent => return Ok(0),
            Phase::Open => {}
        }
        let len_max = s.outbound_len_max;
        let (used, is_unix, peer) = (s.outbound.len(), s.is_unix, s.peer);
        if !is_unix {
            return Ok(len_max.saturating_sub(used));
        }
        let peer = peer.and_then(|peer| self.files.stream(peer)).ok_or(libc::EPIPE)?;
        if peer.read_shut {
            Err(libc::EPIPE)
        } else {
            Ok(len_max.saturating_sub(peer.inbound.len()))
        }
    }

    /// Readiness as poll(2) tells it.
    pub(super) fn stream_readiness(&mut self, id: FileId) -> u32 {
        let readable = self.readable(id);
        let room = match self.files.stream(id) {
            Some(s) if s.error == 0 && !s.fin_queued => self.write_room(id).unwrap_or(1),
            _ => 1,
        };
        let Some(s) = self.files.stream(id) else { return libc::POLLNVAL as u32 };
        if s.phase == Phase::Fresh && s.error == 0 {
            return (libc::POLLOUT | libc::POLLHUP) as u32;
        }
        let mut ready = 0;
        if readable != Readable::Nothing {
            ready |= libc::POLLIN;
        }
        if room > 0 {
            ready |= libc::POLLOUT;
        }
        if s.fin_received || s.read_shut || s.phase == Phase::Dead {
            ready |= libc::POLLRDHUP;
        }
        if s.phase == Phase::Dead || (s.fin_received && s.fin_queued) {
            ready |= libc::POLLHUP;
        }
        if s.error != 0 {
            ready |= libc::POLLERR;
        }
        ready as u32
    }

    // ---- the way to the peer

    /// Sees to it that what this stream has to send is carried on.
    pub(super) fn kick(&mut self, id: FileId) {
        let Some(s) = self.files.stream_mut(id) else { return };
        if s.is_unix {
            return self.pump(id);
        }
        if s.pumping {
            return;
        }
        s.pumping = true;
        let mut delay_ns = self.latency_ns();
        if self.hit(Fault::NetStall) {
            delay_ns += self.between(1_000_000, 3_000_000_000);
        }
        self.schedule(delay_ns, Event::Pump(id));
    }

    /// Carries one piece to the peer.
    pub(super) fn pump(&mut self, id: FileId) {
        let Some(s) = self.files.stream_mut(id) else { return };
        s.pumping = false;
        if s.phase != Phase::Open || !s.has_outbound() {
            return;
        }
        let (is_unix, peer_id, waiting) = (s.is_unix, s.peer, s.outbound.len());
        if !is_unix && self.hit(Fault::NetReset) {
            return self.break_connection(id);
        }
        let segment = self.between(1, u64::from(self.faults.shape.segment_len_max)) as usize;
        let peer = peer_id.and_then(|peer| self.files.stream(peer));
        // RFC 9293 §3.6.1: data for a process that has closed is answered with a reset.
        let Some(peer) = peer.filter(|peer| !(peer.orphan && waiting > 0)) else {
            if waiting > 0 && !is_unix {
                if let Some(gone) = peer_id {
                    self.forget_stream(gone);
                }
                let delay_ns = self.latency_ns();
                self.schedule(delay_ns, Event::Reset(id));
            }
            return self.fin_leaves(id, None);
        };
        let room = peer.inbound_len_max.saturating_sub(peer.inbound.len());
        let count = if is_unix { waiting } else { waiting.min(segment).min(room) };
        self.carry(id, peer_id, count);
        let Some(s) = self.files.stream_mut(id) else { return };
        if !s.outbound.is_empty() {
            // A closed window: the peer's next read continues.
            if room > count {
                s.pumping = true;
                self.schedule(SEGMENT_GAP_NS, Event::Pump(id));
            }
        } else if s.fin_queued {
            self.fin_leaves(id, peer_id);
        }
    }

    fn carry(&mut self, id: FileId, peer_id: Option<FileId>, count: usize) {
        if count == 0 {
            return;
        }
        let Some(peer_id) = peer_id else { return };
        let now_ns = self.now_ns;
        let Some(s) = self.files.stream_mut(id) else { return };
        s.sent_at_ns = now_ns;
        let ports = [Some(&s.local), s.remote.as_ref()].map(|addr| addr.map_or(0, Addr::port));
        let mut bytes = mem::take_front(&mut s.outbound, count);
        self.corrupt(ports, &mut bytes);
        self.note_carried(&bytes);
        if let Some(peer) = self.files.stream_mut(peer_id) {
            peer.inbound.extend(&bytes);
            peer.bytes_received += count as u64;
        }
        let node = self.files.get(id).map_or(0, |file| file.node);
        self.trace(node, What::Net("data", id, count));
        self.wake(peer_id);
        self.wake(id);
    }

    /// What [`World::corrupt`](super::World::corrupt) asked for.
    fn corrupt(&mut self, ports: [u16; 2], bytes: &mut [u8]) {
        let rate_ppm = ports.iter().filter_map(|port| self.noise.get(port)).max();
        let Some(rate_ppm) = rate_ppm.copied().filter(|rate| *rate > 0) else { return };
        if self.rng.below(PPM.into()) < rate_ppm.into() {
            let bit = self.between(0, bytes.len() as u64 * 8 - 1) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn fin_leaves(&mut self, id: FileId, peer: Option<FileId>) {
        let Some(s) = self.files.stream_mut(id) else { return };
        if !s.fin_queued || s.fin_sent || !s.outbound.is_empty() {
            return;
        }
        s.fin_sent = true;
        let orphan = s.orphan;
        let node = self.files.get(id).map_or(0, |file| file.node);
        self.trace(node, What::Net("fin", id, 0));
        if let Some(peer_id) = peer
            && let Some(peer) = self.files.stream_mut(peer_id)
        {
            peer.fin_received = true;
            self.wake(peer_id);
        }
        if orphan {
            self.forget_if_done(id);
        }
    }

    /// An orphan that has sent its FIN stays only to answer data with a reset; the missing file
    /// does that as well.
    fn forget_if_done(&mut self, id: FileId) {
        if self.files.stream(id).is_some_and(|s| s.orphan && s.fin_sent) {
            self.files.remove(id);
        }
    }

    fn forget_stream(&mut self, id: FileId) {
        if self.files.stream(id).is_some_and(|s| s.orphan) {
            self.files.remove(id);
        }
    }

    // ---- ends

    /// A reset reaches this stream.
    pub(super) fn reset_arrives(&mut self, id: FileId) {
        let Some(s) = self.files.stream_mut(id) else { return };
        if s.phase != Phase::Open {
            return;
        }
        // What was received before stays readable. The errno is Linux's, tcp_reset(): EPIPE in
        // CLOSE-WAIT alone.
        let is_close_wait = s.fin_received && !s.fin_queued;
        s.error = if is_close_wait { libc::EPIPE } else { libc::ECONNRESET };
        s.phase = Phase::Dead;
        s.outbound.clear();
        let orphan = s.orphan;
        let node = self.files.get(id).map_or(0, |file| file.node);
        self.trace(node, What::Net("rst", id, 0));
        if orphan {
            self.files.remove(id);
        } else {
            self.wake(id);
        }
    }

    /// The network gives a connection up: both ends see a reset.
    pub(super) fn break_connection(&mut self, id: FileId) {
        let peer = self.files.stream(id).and_then(|s| s.peer);
        self.reset_arrives(id);
        if let Some(peer) = peer {
            self.reset_arrives(peer);
        }
    }

    /// shutdown(2).
    pub(super) fn shutdown(&mut self, id: FileId, how: i32) -> i32 {
        match self.files.get_mut(id).map(|file| &mut file.kind) {
            Some(Kind::Listener(listener)) => listener.shut = true,
            Some(Kind::Stream(s)) => match s.phase {
                Phase::Fresh | Phase::Dead => return -libc::ENOTCONN,
                Phase::SynSent => {
                    s.phase = Phase::Fresh;
                    s.error = libc::ECONNRESET;
                }
                Phase::Open => {
                    s.fin_queued |= how != libc::SHUT_RD;
                    s.read_shut |= how != libc::SHUT_WR;
                    self.kick(id);
                }
            },
            Some(_) => return -libc::ENOTCONN,
            None => return -libc::EBADF,
        }
        self.wake(id);
        0
    }

    /// The last reference is gone.
    pub(super) fn stream_closed(&mut self, id: FileId) {
        let Some(s) = self.files.stream_mut(id) else { return };
        let (phase, peer, is_unix) = (s.phase, s.peer, s.is_unix);
        // RFC 2525 §2.17 and tcp(7): unread data or linger 0 turns the close into a reset.
        let abort = s.linger_zero || !s.inbound.is_empty();
        if phase != Phase::Open {
            self.files.remove(id);
            return;
        }
        if is_unix {
            return self.unix_closed(id, peer, abort);
        }
        if abort {
            self.files.remove(id);
            if let Some(peer) = peer {
                let delay_ns = self.latency_ns();
                self.schedule(delay_ns, Event::Reset(peer));
            }
            return;
        }
        s.orphan = true;
        s.fin_queued = true;
        if s.fin_sent {
            self.files.remove(id);
        } else {
            self.kick(id);
        }
    }

    fn unix_closed(&mut self, id: FileId, peer: Option<FileId>, unread: bool) {
        self.files.remove(id);
        let Some(peer_id) = peer else { return };
        if let Some(peer) = self.files.stream_mut(peer_id) {
            // unix(7): a close with unread data is a reset for the other side.
            if unread {
                peer.error = libc::ECONNRESET;
            }
            peer.fin_received = true;
            peer.fin_queued = true;
            peer.fin_sent = true;
            self.wake(peer_id);
        }
    }
}
