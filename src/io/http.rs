//! HTTP/1.1 servers.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::Events;
use super::split::both;
use crate::config::{HttpCounters, HttpListenConfig, HttpSocket, TcpListenConfig};
use crate::engine::{Command, Engine};
use crate::error::{IoError, Result};
use crate::event::HttpOwnedRequest;
use crate::ids::{ConnId, EndpointId, Protocol, RequestId};
use crate::pool::SendBuffer;
use crate::proto::http::{Reply, ZeroResponse};
use crate::proto::tls::Acceptor;
use crate::transport::Terms;

both! {
    /// Serves HTTP on a TCP address, with the defaults of [`HttpListenConfig`]. Requests come as
    /// `Event::HttpRequest`.
    ///
    /// # Errors
    /// As [`http_listen_with`](Self::http_listen_with).
    pub fn http_listen(&mut self_, addr: SocketAddr) -> Result<EndpointId> {
        self_.http_listen(&HttpListenConfig::new(TcpListenConfig::new(addr)), None)
    }

    /// Serves HTTP.
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with) and
    /// [`uds_listen_with`](Self::uds_listen_with).
    pub fn http_listen_with(&mut self_, config: HttpListenConfig) -> Result<EndpointId> {
        self_.http_listen(&config, None)
    }

    /// Serves HTTP on a TCP or Unix socket that listens already: socket activation, or one that was
    /// bound before privileges were dropped. Of `config.socket` the time limits and `proxy` are
    /// used; what else is set on a socket is the caller's (its connections inherit `TCP_NODELAY`).
    ///
    /// # Errors
    /// `InvalidArgument` when it is not a listening stream socket; `InvalidConfig`;
    /// `PoolExhausted`. The descriptor is closed then.
    pub fn adopt_http_listener(
        &mut self_,
        socket: OwnedFd,
        config: HttpListenConfig,
    ) -> Result<EndpointId> {
        self_.adopt_http_listener(socket, &config, None)
    }

    /// Answers a request. Requests of a connection may be answered in any order: the answers leave
    /// in the order of the requests (RFC 9112 §9.3.2), those that are early are kept until then.
    ///
    /// # Errors
    /// `StaleConn`; `NoSuchRequest` when it was answered already or timed out; `WriteClosed` when
    /// the connection is closing; `InvalidArgument` for a header field that would break the
    /// message, a status code outside 200 to 599, or a value that cannot be serialised;
    /// `PoolExhausted` when no buffer is left; `BufferTooLarge` for a body that does not fit one
    /// buffer where `Config::guard_count` is 0: stream it. After these three nothing was sent, and
    /// the request is still to be answered.
    #[inline]
    pub fn http_respond(
        &mut self_,
        conn: ConnId,
        id: RequestId,
        response: ZeroResponse<'_>,
    ) -> Result<()> {
        let (code, media, own) = (response.status, response.content_type, response.has_own_type);
        if let Some(body) = response.short_body()
            && self_.respond_short(conn, id.as_u64(), code, media, own, body)
        {
            // It borrows all that it is made of.
            std::mem::forget(response);
            return Ok(());
        }
        // Taken apart and put together, so that it is in memory here alone: else each answer, of
        // which the short way needs next to nothing, would be copied whole to be looked at.
        let ZeroResponse { status, close, content_type, has_own_type, fields, content } = response;
        let response =
            ZeroResponse { status, close, content_type, has_own_type, fields, content };
        self_.respond_any(conn, id.as_u64(), response)
    }

    /// Writes a piece of a body that was begun with [`ZeroResponse::stream`]. Returns how many
    /// bytes were accepted; fewer than given when the send queue is full: then `Event::Writable`
    /// follows.
    ///
    /// # Errors
    /// `StaleConn`; `NoSuchRequest` when its answer has not begun (answers before it are due) or
    /// was finished; `WriteClosed`; `InvalidArgument` for more than `stream_of` promised.
    pub fn http_write(&mut self_, conn: ConnId, id: RequestId, data: &[u8]) -> Result<usize> {
        self_.http_write(conn, id.as_u64(), data)
    }

    /// As [`http_write`](Self::http_write), from where the bytes lie. All or nothing.
    ///
    /// # Errors
    /// As `http_write`, and `QueueFull` at the high-water mark or `PoolExhausted` (then
    /// `Event::Writable` follows).
    pub fn http_write_buffer(
        &mut self_,
        conn: ConnId,
        id: RequestId,
        buffer: SendBuffer,
    ) -> Result<()> {
        self_.http_write_buffer(conn, id.as_u64(), buffer)
    }

    /// Writes the payload of the current event (or a part of it) as a piece of a body, from where
    /// it was received: an echo, a proxy. All or nothing. As with [`forward`](Self::forward), the
    /// peer that sends is slowed down to the one that receives, and the high-water mark does not
    /// apply.
    ///
    /// # Errors
    /// As `http_write`; `InvalidArgument` when `data` is not of the current event; `PoolExhausted`.
    pub fn http_forward(&mut self_, conn: ConnId, id: RequestId, data: &[u8]) -> Result<()> {
        self_.http_forward(conn, id.as_u64(), data)
    }

    /// Ends a body that was begun with [`ZeroResponse::stream`].
    ///
    /// # Errors
    /// As `http_write`; `PoolExhausted`: try again. `InvalidArgument` when less was written than
    /// `stream_of` promised: the connection is closed, which is how the client can tell.
    pub fn http_finish(&mut self_, conn: ConnId, id: RequestId) -> Result<()> {
        self_.http_finish(conn, id.as_u64(), &[])
    }

    /// The same with trailer fields (RFC 9110 §6.5), which are sent behind a chunked body; behind
    /// another one they are left out.
    ///
    /// # Errors
    /// As `http_finish`, and `InvalidArgument` for a field that would break the message.
    pub fn http_finish_with(
        &mut self_,
        conn: ConnId,
        id: RequestId,
        trailers: &[(&str, &str)],
    ) -> Result<()> {
        self_.http_finish(conn, id.as_u64(), trailers)
    }

    /// Sends `100 Continue` for a request that [`expects_continue`](crate::HttpRequest): with
    /// `HttpListenConfig::auto_continue` off.
    ///
    /// # Errors
    /// `StaleConn`; `NoSuchRequest` when its body is here, or it was answered.
    pub fn http_continue(&mut self_, conn: ConnId, id: RequestId) -> Result<()> {
        self_.http_continue(conn, id.as_u64())
    }

    /// Makes another protocol of the connection (RFC 9110 §7.8): `response` is 101 with an
    /// `Upgrade` field for a request that [`wants_upgrade`](crate::HttpRequest::wants_upgrade), or
    /// 2xx for CONNECT. From then on what arrives comes as `Event::StreamFrame`, and `stream_write`
    /// sends.
    ///
    /// # Errors
    /// As `http_respond`; `InvalidArgument` when the request did not ask for it, or answers before
    /// it are due.
    pub fn http_upgrade(
        &mut self_,
        conn: ConnId,
        id: RequestId,
        response: ZeroResponse<'_>,
    ) -> Result<()> {
        self_.http_upgrade(conn, id.as_u64(), response)
    }

    /// What an HTTP listener has done so far.
    ///
    /// # Errors
    /// `StaleEndpoint`; `WrongEndpoint` when it does not serve HTTP.
    pub fn http_counters(&mut self_, endpoint: EndpointId) -> Result<HttpCounters> {
        self_.http_counters(endpoint)
    }
}

impl super::Io {
    /// The request of the event that `next_event` returned last, to be kept, and answered later or
    /// on another thread: one reference count, no copy. `None` when that event is no `HttpRequest`,
    /// it was detached already, or no buffer is left: then it can still be handled in place.
    ///
    /// A body that comes behind the request goes with it
    /// ([`HttpOwnedRequest::body_stream`]): no `Event::HttpBodyChunk` of it follows.
    pub fn detach_http_request(&mut self) -> Option<HttpOwnedRequest> {
        self.engine().detach_http().ok()
    }
}

impl Events<'_> {
    /// As [`Io::detach_http_request`](super::Io::detach_http_request).
    pub fn detach_http_request(&mut self) -> Option<HttpOwnedRequest> {
        self.engine().detach_http().ok()
    }
}

impl super::IoHandle {
    /// Answers a request, from any thread. The answer is written down here, into the shard's
    /// reserve (`Config::handle_reserve_count`) where it fits a slot.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`: nothing was taken; `InvalidArgument` as
    /// [`Io::http_respond`](crate::Io::http_respond). That the request was answered already, or
    /// timed out, is not told here: `IoStats::commands_refused` counts it.
    pub fn http_respond(
        &self,
        conn: ConnId,
        id: RequestId,
        mut response: ZeroResponse<'_>,
    ) -> Result<()> {
        if response.code() == 101 {
            return Err(IoError::InvalidArgument {
                what: "status code of an answer",
                why: "101 makes another protocol of the connection: use Io::http_upgrade",
            });
        }
        let reply = Reply::new(&mut response, |len| self.send_buffer(len).ok())?;
        let request = id.as_u64();
        self.push(Command::HttpReply { conn, request, reply })
    }
}

const NO_ADDRESS: IoError = IoError::InvalidArgument {
    what: "HttpListenConfig::socket",
    why: "an adopted socket has no address to listen on: give it to adopt_http_listener",
};

/// What the connections of a server begin with.
fn http_terms(config: &HttpListenConfig, tls: Option<Acceptor>) -> Result<Terms> {
    Terms::new(config.socket.timeouts(), tls, config.socket.proxy())
}

impl Engine {
    pub(super) fn http_listen(
        &mut self,
        config: &HttpListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<EndpointId> {
        config.validate()?;
        self.endpoints.check_room()?;
        let terms = http_terms(config, tls)?;
        let speaks = self.http_speaks(config);
        let (fd, protocol) = match &config.socket {
            HttpSocket::Tcp(tcp) => (self.ring.tcp_listen(tcp)?, Protocol::Tcp),
            HttpSocket::Uds(uds) => (self.ring.uds_listen(uds)?, Protocol::Uds),
            HttpSocket::Adopted(_) => return Err(NO_ADDRESS),
        };
        self.add_listener(fd, protocol, terms, speaks)
    }

    pub(super) fn adopt_http_listener(
        &mut self,
        socket: OwnedFd,
        config: &HttpListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<EndpointId> {
        config.validate()?;
        let speaks = self.http_speaks(config);
        self.adopt_listener(socket, http_terms(config, tls)?, speaks)
    }
}
