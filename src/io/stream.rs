//! Connections of every kind, timers, watched descriptors, buffers.

use std::io::IoSlice;
use std::os::fd::RawFd;
use std::time::Duration;

use super::split::both;
use crate::error::Result;
use crate::event::Readiness;
use crate::ids::{ConnId, EndpointId, PeerAddr, StreamId, TimerId, WatchId};
use crate::pool::SendBuffer;
use crate::pool::WriteGuard;
use crate::stats::ConnStats;

both! {
    /// A buffer of the pool with `min` bytes of payload to be written and sent without a copy.
    ///
    /// # Errors
    /// `BufferTooLarge` when no class holds `min` bytes; `PoolExhausted` when none is free.
    pub fn send_buffer(&mut self_, min: usize) -> Result<SendBuffer> {
        self_.pool.send_buffer(min)
    }

    /// As [`send_buffer`](Self::send_buffer), for that connection: with headroom for what it
    /// speaks. For one of QUIC it is memory that its packets are made from, of `min` bytes exactly,
    /// which no other protocol sends: sending it allocates nothing, where another buffer costs one
    /// allocation.
    ///
    /// # Errors
    /// As `send_buffer`, and `StaleConn`.
    pub fn send_buffer_for(&mut self_, conn: ConnId, min: usize) -> Result<SendBuffer> {
        self_.send_buffer_for(conn, min)
    }

    /// Copies bytes into the send queue. Returns how many were accepted: fewer than given when the
    /// queue reached `Config::send_high_water` or no buffer is left; then `Event::Writable`
    /// follows, and the rest is to be written again.
    ///
    /// # Errors
    /// `StaleConn`, `NotConnected`, `WriteClosed`, `NoSuchStream`.
    #[inline]
    pub fn stream_write(&mut self_, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<usize> {
        self_.stream_write(conn, stream, data)
    }

    /// As [`stream_write`](Self::stream_write), from several slices in order.
    ///
    /// # Errors
    /// As `stream_write`.
    pub fn stream_writev(
        &mut self_,
        conn: ConnId,
        stream: StreamId,
        parts: &[IoSlice<'_>],
    ) -> Result<usize> {
        self_.stream_writev(conn, stream, parts)
    }

    /// Sends a buffer of this `Io` from where it lies. All or nothing: on an error nothing is
    /// queued and the buffer goes back to the pool. On a QUIC stream, what its window does not take
    /// waits there, up to `Config::send_high_water` bytes and one buffer.
    ///
    /// # Errors
    /// As `stream_write`, and `QueueFull` at the high-water mark or `PoolExhausted` (then
    /// `Event::Writable` follows); `InvalidArgument` for a buffer of another `Io`.
    pub fn stream_write_buffer(
        &mut self_,
        conn: ConnId,
        stream: StreamId,
        buffer: SendBuffer,
    ) -> Result<()> {
        self_.stream_write_buffer(conn, stream, buffer)
    }

    /// Sends the payload of the current event on (or a part of it) from where it was received,
    /// without a copy: an echo, a proxy. All or nothing.
    ///
    /// The receive buffer stays held until it is sent, and a connection that holds
    /// `Config::held_buffers_max` buffers (fewer when the pool runs low) is not read until some
    /// are free: so the peer that sends is slowed down to the one that receives, and nothing has
    /// to be paused by hand. The high-water mark does not apply.
    ///
    /// To a QUIC stream it does: when so many bytes wait there, keep the payload
    /// ([`detach_event_data`](crate::Io::detach_event_data)), pause its source, and go on after
    /// `Event::Writable`. From a QUIC stream, too, the source is to be paused by hand
    /// (`stream_pause`): its window opens as its payload is handed out.
    ///
    /// # Errors
    /// As `stream_write`; `InvalidArgument` when `data` is not of the current event;
    /// `PoolExhausted` when the send queues are full, or this connection has its share of them (an
    /// eighth of what is free; then `Event::Writable` follows); `QueueFull` for a QUIC stream on
    /// which too much waits.
    #[inline]
    pub fn forward(&mut self_, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<()> {
        self_.forward(conn, stream, data)
    }

    /// Sends memory that stays where it is: static bytes, shared slices, mapped files. It is kept
    /// alive until `Event::SendDone` with this token. All or nothing. On a QUIC stream that comes
    /// when the peer has acknowledged all of it, or when it was given up with the stream or the
    /// connection; what its window does not take waits there, as a buffer does.
    ///
    /// # Errors
    /// As `stream_write_buffer`; `PoolExhausted` also when `Config::guard_count` are under way;
    /// `BufferTooLarge` for more than 4 GiB less 4 KiB.
    pub fn stream_write_guard(
        &mut self_,
        conn: ConnId,
        stream: StreamId,
        memory: impl Into<WriteGuard>,
        token: u64,
    ) -> Result<()> {
        self_.stream_write_guard(conn, stream, memory.into(), token)
    }

    /// Copies what came on a QUIC stream, as much as `into` holds; how many bytes. 0 is nothing
    /// now: `Event::Readable` follows when there is something, or `ReadClosed` or `StreamReset`
    /// when the stream has ended.
    ///
    /// What was not read when `Disconnected` is handed out is gone.
    ///
    /// # Errors
    /// `StreamNotPullable` where bytes come as `Event::StreamFrame`: with
    /// [`QuicReceive::Push`](crate::QuicReceive), and always for TCP and Unix connections;
    /// `NoSuchStream`, `StaleConn`.
    pub fn stream_read(
        &mut self_,
        conn: ConnId,
        stream: StreamId,
        into: &mut [u8],
    ) -> Result<usize> {
        self_.stream_read(conn, stream, into)
    }

    /// Ends the sending direction (FIN) after what is queued. The connection still receives. Of a
    /// QUIC connection it is one stream's.
    ///
    /// # Errors
    /// `StaleConn`, `NotConnected`, `NoSuchStream`.
    pub fn shutdown_write(&mut self_, conn: ConnId, stream: StreamId) -> Result<()> {
        self_.shutdown_write(conn, stream)
    }

    /// Stops reading, so that the peer's window closes. What the kernel had handed over already
    /// still comes as events. A connection that `close_graceful` ends goes on reading, up to the
    /// peer's FIN; one that can no longer send ends, since nothing would come of it any more.
    ///
    /// # Errors
    /// `StaleConn`.
    pub fn pause_recv(&mut self_, conn: ConnId) -> Result<()> {
        self_.pause_recv(conn)
    }

    /// Reads again.
    ///
    /// # Errors
    /// `StaleConn`.
    pub fn resume_recv(&mut self_, conn: ConnId) -> Result<()> {
        self_.resume_recv(conn)
    }

    /// Ends a connection at once. What is queued and not yet taken by the kernel is dropped, and so
    /// is what arrived and was not handed out. `Disconnected` with `code::LOCAL_CLOSE` follows.
    ///
    /// # Errors
    /// `StaleConn` when it is ending already.
    pub fn close(&mut self_, conn: ConnId) -> Result<()> {
        self_.close(conn)
    }

    /// Sends what is queued, then FIN, then waits for the peer's FIN, for at most `timeout`
    /// (`Duration::ZERO`: `Config::close_timeout`). Data that arrives meanwhile still comes as
    /// events; writes are refused. `Disconnected` follows. A QUIC connection ends all of its
    /// streams, and is closed once the peer acknowledged all of them.
    ///
    /// # Errors
    /// `StaleConn` when it is ending already.
    pub fn close_graceful(&mut self_, conn: ConnId, timeout: Duration) -> Result<()> {
        let deadline = self_.graceful_deadline(timeout);
        self_.close_graceful(conn, deadline)
    }

    /// Makes the coming `close` a reset (RST): `SO_LINGER` with 0. What is in flight is lost on
    /// both sides.
    ///
    /// # Errors
    /// `StaleConn`; `NotForProtocol` for QUIC connections; `NotConnected` before a host's address
    /// was chosen; `Os` from setsockopt(2).
    pub fn reset_on_close(&mut self_, conn: ConnId) -> Result<()> {
        let fd = self_.fd_of(conn)?;
        self_.ring.linger_zero(fd)
    }

    /// Figures of a connection.
    ///
    /// # Errors
    /// `StaleConn`; `Os` from getsockopt(2).
    pub fn conn_stats(&mut self_, conn: ConnId) -> Result<ConnStats> {
        self_.conn_stats(conn)
    }

    /// The peer's address: the client's, where a proxy said who that is. The proxy's own is in
    /// [`proxied_by`](Self::proxied_by).
    ///
    /// # Errors
    /// `StaleConn`; `NotConnected` before a host's address was chosen.
    pub fn peer_addr(&mut self_, conn: ConnId) -> Result<PeerAddr> {
        self_.peer_addr(conn)
    }

    /// The connection's own address. Of a QUIC connection that was begun here it is that of its
    /// socket, which is bound to no address but has a port.
    ///
    /// # Errors
    /// `StaleConn`; `NotConnected` before a host's address was chosen; `Os` from getsockname(2).
    pub fn conn_local_addr(&mut self_, conn: ConnId) -> Result<PeerAddr> {
        self_.conn_local_addr(conn)
    }

    /// The address of a listener or UDP socket, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// `StaleEndpoint`; `Os` from getsockname(2).
    pub fn local_addr(&mut self_, endpoint: EndpointId) -> Result<PeerAddr> {
        self_.endpoint_addr(endpoint)
    }

    /// Closes a listener or UDP socket. Accepted connections go on; those still in the backlog are
    /// reset, or refused where it is QUIC: its port is in use until its last connection is over. No
    /// event of a closed UDP socket follows. What was queued on it is sent first, by the next
    /// `poll`: until then its port is in use, and so is its place among `Config::max_endpoints`. A
    /// kernel that has no room for it is waited for a second at most; what is left then is dropped
    /// and counted (`IoStats::datagrams_dropped`).
    ///
    /// # Errors
    /// `StaleEndpoint`.
    pub fn endpoint_close(&mut self_, endpoint: EndpointId) -> Result<()> {
        self_.endpoint_close(endpoint)
    }

    /// A number of the application's own at a connection. 0 at first. The connection may be over
    /// already, as long as `Disconnected`, which has the number, was not handed out.
    ///
    /// # Errors
    /// `StaleConn` after `Disconnected`, and after [`close`](Self::close).
    pub fn set_user_data(&mut self_, conn: ConnId, user_data: u64) -> Result<()> {
        self_.conns.told(conn)?.user_data = user_data;
        Ok(())
    }

    /// The number that was set last.
    ///
    /// # Errors
    /// As [`set_user_data`](Self::set_user_data).
    pub fn user_data(&mut self_, conn: ConnId) -> Result<u64> {
        Ok(self_.conns.told(conn)?.user_data)
    }

    /// Arms a timer: `Event::Timer` with this token, not before `after` has passed, and about 0.1
    /// ms later at the most while the loop polls.
    ///
    /// # Errors
    /// `PoolExhausted` when `Config::max_timers` are armed.
    pub fn timer_set(&mut self_, after: Duration, token: u64) -> Result<TimerId> {
        self_.timer_set(after, token)
    }

    /// Disarms a timer. Whether it was armed: if so, its event will not come.
    pub fn timer_cancel(&mut self_, timer: TimerId) -> bool {
        self_.timer_cancel(timer)
    }

    /// Watches any descriptor that can be polled: `Event::FdReady` with this token at every change
    /// of its readiness, as with epoll's edge mode. The descriptor stays the caller's and must be
    /// open until `unwatch_fd`.
    ///
    /// # Errors
    /// `PoolExhausted` when `Config::max_watches` are watched; `InvalidArgument` for a negative
    /// descriptor. A descriptor that cannot be polled is reported by an event with
    /// `Readiness::INVALID`.
    pub fn watch_fd(&mut self_, fd: RawFd, interest: Readiness, token: u64) -> Result<WatchId> {
        self_.watch_fd(fd, interest, token)
    }

    /// Stops watching. Whether it was watched. No event of it follows.
    pub fn unwatch_fd(&mut self_, watch: WatchId) -> bool {
        self_.unwatch_fd(watch)
    }
}
