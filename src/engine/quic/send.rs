//! Packets of connections, in trains, to the kernel: at the beginning of a tick, so that what the
//! tick before acknowledged, read and wrote goes out together.
//!
//! *Invariants*
//! - Buffers are free when the call that sends them returns; what the kernel did not take stays
//!   staged, in order.
//! - A connection sends so much in its turn, a socket so much in a flush, and what it has then
//!   waits for the next tick: acknowledgements are read in between.

use super::session_at;
use crate::engine::Engine;
use crate::error::IoError;
use crate::proto::quic::endpoint::Route;
use crate::sys::errno;
use crate::transport::Kind as EndpointKind;

/// Bytes that one connection sends in its turn.
const TURN_BYTES_MAX: usize = 256 << 10;
/// What a turn counts at the least.
const TURN_BYTES_MIN: usize = 64;
/// Bytes that one socket sends in a flush.
const FLUSH_BYTES_MAX: usize = 4 << 20;
/// The longest UDP payload over IPv4, of a train as of a datagram.
const TRAIN_BYTES_MAX: usize = 65_507;
/// Datagrams in one train: what every kernel from 4.18 on takes.
const TRAIN_COUNT_MAX: usize = 64;

impl Engine {
    /// Flushes a socket that was taken from the list. It counts as listed meanwhile, so that what
    /// it does puts it there at most once more, for the next tick.
    pub(in crate::engine) fn quic_flush_listed(&mut self, socket: u32) {
        self.quic_flush(socket);
        if let Some(udp) = self.endpoints.quic(socket) {
            udp.is_listed = false;
        }
        self.quic_list(socket);
    }

    /// Sends what connections have, as far as a socket's share goes.
    pub(super) fn quic_flush(&mut self, socket: u32) {
        let mut left = FLUSH_BYTES_MAX;
        // The application had its time since the tick began: round trips are measured from here.
        self.now = self.ring.now();
        while left > 0 {
            let Some(udp) = self.endpoints.quic(socket) else { return };
            let Some(route) = udp.dirty.pop_front() else { break };
            let (is_blocked, bytes) = self.quic_turn(socket, route);
            // A turn that sends nothing counts too, so that there is an end to them.
            left = left.saturating_sub(bytes.max(TURN_BYTES_MIN));
            // Who has more goes to the end of the list.
            self.quic_settle(socket, route);
            if is_blocked {
                return;
            }
        }
        if self.quic_send(socket) {
            self.quic_list(socket);
        }
    }

    /// Stages what a session has to send, as far as its turn goes: whether the kernel takes no
    /// more, and how many bytes. To be settled afterwards.
    fn quic_turn(&mut self, socket: u32, route: Route) -> (bool, usize) {
        let mut bytes = 0;
        loop {
            let now = self.now;
            let Some(udp) = self.endpoints.quic(socket) else { return (false, bytes) };
            let Some(session) = session_at(&mut self.conns, &mut self.quic.drains, (socket, route))
            else {
                return (false, bytes);
            };
            session.is_dirty = false;
            if bytes >= TURN_BYTES_MAX {
                return (false, bytes);
            }
            let Some(mut buffer) = udp.buffer() else {
                if self.quic_send(socket) {
                    continue;
                }
                return (true, bytes);
            };
            let count_max = (TRAIN_BYTES_MAX / session.mtu().max(1)).clamp(1, TRAIN_COUNT_MAX);
            let Some(out) = session.transmit(now, count_max, &mut buffer) else {
                udp.give_back(buffer);
                return (false, bytes);
            };
            bytes += buffer.len();
            udp.stage(buffer, &out, route);
        }
    }

    /// Hands what is staged to the kernel; false when it takes no more now.
    fn quic_send(&mut self, socket: u32) -> bool {
        loop {
            let Some(endpoint) = self.endpoints.at(socket) else { return true };
            let fd = endpoint.fd;
            let EndpointKind::Quic(udp) = &mut endpoint.kind else { return true };
            if *udp.out_armed() {
                return false;
            }
            self.send_batch.clear();
            for staged in udp.staged() {
                let (to, bytes, how) = staged.piece();
                let is_in = self.send_batch.push(Some(to), bytes.as_ptr(), bytes.len(), how);
                if !is_in || !staged.is_last() {
                    break;
                }
            }
            let count = self.send_batch.len();
            if count == 0 {
                return true;
            }
            match self.ring.udp_send(fd, &mut self.send_batch) {
                Ok(sent) => {
                    udp.consume(sent);
                    if sent < count {
                        self.await_writable(socket);
                        return false;
                    }
                }
                Err(error) => self.quic_refused(socket, &error),
            }
        }
    }

    /// The first train was refused: its datagrams go out singly, and its connection sends no more
    /// trains. A single one is given up, as if the network had lost it: the probe of a length that
    /// the path does not take, say.
    fn quic_refused(&mut self, socket: u32, error: &IoError) {
        let is_of_train = matches!(error, IoError::Os { errno, .. }
            if matches!(errno.0, errno::EIO | errno::EINVAL | errno::EMSGSIZE | errno::EOPNOTSUPP));
        let Some(udp) = self.endpoints.quic(socket) else { return };
        if is_of_train && let Some(route) = udp.cut_first() {
            if let Some(session) =
                session_at(&mut self.conns, &mut self.quic.drains, (socket, route))
            {
                session.no_gso = true;
            }
            return;
        }
        let whose = udp.staged().front().map_or(Route::Free, |staged| staged.of);
        self.stats.udp_errors += 1;
        udp.consume(1);
        if let IoError::Os { errno, .. } = error
            && is_no_way(errno.0)
        {
            self.quic_no_way((socket, whose), errno.0);
        }
    }
}

/// Whether an error of sending says that nothing gets there from here: all but those of the packet,
/// and those that pass.
const fn is_no_way(errno: i32) -> bool {
    !matches!(
        errno,
        errno::EAGAIN
            | errno::ECONNREFUSED
            | errno::EINTR
            | errno::EINVAL
            | errno::EIO
            | errno::EMSGSIZE
            | errno::ENOBUFS
            | errno::ENOMEM
            | errno::EOPNOTSUPP
    )
}
