//! What happened: the events that `next_event` hands out.
//!
//! Role: the public enum and its parts. Not role: how events wait ([`inbox`]) and what they are
//! made from ([`record`]).

#[cfg(feature = "http")]
pub(crate) mod body;
#[cfg(feature = "http")]
pub(crate) mod http;
#[cfg(not(feature = "http"))]
#[path = "http_off.rs"]
pub(crate) mod http;
#[cfg(feature = "http-client")]
pub(crate) mod http_client;
#[cfg(not(feature = "http-client"))]
#[path = "http_client_off.rs"]
pub(crate) mod http_client;
pub(crate) mod inbox;
#[cfg(feature = "http")]
mod owned;
#[cfg(feature = "http-client")]
mod owned_response;
pub(crate) mod record;

#[cfg(feature = "http")]
pub use body::{BodyChunk, BodyPart, BodyStream};
#[cfg(feature = "http-client")]
pub use http_client::{HttpFailure, HttpPhase};
#[cfg(feature = "http")]
pub use owned::HttpOwnedRequest;
#[cfg(feature = "http-client")]
pub use owned_response::HttpOwnedResponse;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::code;
use crate::config::MessageKind;
use crate::error::IoError;
use crate::ids::{ConnId, EndpointId, PeerAddr, Protocol, StreamDir, StreamId, TimerId, WatchId};
use crate::pool::PoolPressureInfo;

bitflags::bitflags! {
    /// What a watched descriptor is ready for; poll(2). Errors and hang-ups are always reported.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Readiness: u32 {
        /// There is something to read, or the end was reached.
        const READABLE = 0x001;
        /// Urgent data.
        const PRIORITY = 0x002;
        /// A write would take something.
        const WRITABLE = 0x004;
        /// An error is pending on the descriptor.
        const ERROR = 0x008;
        /// The other side is gone.
        const HANGUP = 0x010;
        /// The descriptor cannot be watched, or was closed.
        const INVALID = 0x020;
        /// The other side shut down its sending half.
        const READ_HANGUP = 0x2000;
    }
}

/// How a guard write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendOutcome {
    /// All of it was handed to the kernel, which no longer refers to the memory; on a QUIC stream,
    /// it was acknowledged.
    Sent,
    /// The connection, or the QUIC stream, ended first. `bytes` of the event were handed over.
    Aborted,
}

/// One thing that happened. Borrowed: it is valid until the next call on its source.
///
/// The payload lies in the receive buffer. To keep it, call
/// [`Io::detach_event_data`](crate::Io::detach_event_data) (no copy) or copy it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'poll> {
    /// A datagram arrived at a UDP endpoint.
    UdpRecv {
        /// The socket.
        endpoint: EndpointId,
        /// Its sender.
        from: SocketAddr,
        /// The address it was sent to; when `UdpEndpointConfig::local_addr` is on.
        local: Option<IpAddr>,
        /// The ECN bits, RFC 3168: 0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE; 0 unless
        /// `UdpEndpointConfig::ecn` is on.
        ecn: u8,
        /// The kernel's receive time in nanoseconds since 1970; when
        /// `UdpEndpointConfig::timestamps` is on.
        timestamp_ns: Option<u64>,
        /// The datagram was longer than the endpoint's `datagram_max`; the rest is lost.
        truncated: bool,
        /// The payload; may be empty.
        data: &'poll [u8],
    },
    /// A connection is established: accepted by `endpoint`, or made by a `connect` call.
    Connected {
        /// The connection.
        conn: ConnId,
        /// The listener that accepted it; `None` for an outgoing one.
        endpoint: Option<EndpointId>,
        /// The other side: the client, where a proxy said who that is
        /// ([`ProxyProtocol`](crate::ProxyProtocol)).
        peer: PeerAddr,
        /// What it speaks.
        protocol: Protocol,
        /// The application protocol that ALPN chose (RFC 7301); `None` without TLS or ALPN.
        alpn: Option<&'poll [u8]>,
    },
    /// TLS is on a connection that was upgraded: what is written and read from now on is sealed. Or
    /// a QUIC client that had sent early data has shown that it is there: see
    /// `QuicListenConfig::early_data`.
    Secured {
        /// The connection.
        conn: ConnId,
        /// The application protocol that ALPN chose (RFC 7301).
        alpn: Option<&'poll [u8]>,
    },
    /// A connection is gone, and its id with it: the last event of each connection, but for the
    /// `SendDone` of memory that the kernel still refers to (a zero-copy send that the peer has not
    /// taken). A `connect` that fails gives this without a `Connected`, as does a client that does
    /// not get through its PROXY header or its TLS handshake.
    Disconnected {
        /// The connection.
        conn: ConnId,
        /// Why: see [`code`].
        error_code: u64,
        /// The same in words.
        reason: &'poll [u8],
        /// Both directions ended in order and all that was written was handed to the kernel.
        clean: bool,
        /// What [`set_user_data`](crate::Io::set_user_data) set last; 0 where nothing did.
        user_data: u64,
    },
    /// Bytes of a stream, or one message of it where a framing is set. Bytes of a QUIC stream come
    /// in order.
    StreamFrame {
        /// The connection.
        conn: ConnId,
        /// The stream; `StreamId::ZERO` for TCP and Unix connections.
        stream: StreamId,
        /// What it is.
        kind: MessageKind,
        /// The bytes; never empty: a framing's messages have at least one byte too
        /// ([`Frame::Ready`](crate::Frame::Ready)).
        data: &'poll [u8],
        /// The QUIC stream is known to end with these bytes; `ReadClosed` follows. Where it is
        /// false, more may come or not. Always false on other connections.
        fin: bool,
    },
    /// A request of an HTTP connection: answer it with `http_respond`, in any order, now or later.
    #[cfg(feature = "http")]
    HttpRequest {
        /// The connection.
        conn: ConnId,
        /// The key under which it is answered.
        id: crate::ids::RequestId,
        /// Method, path, header fields, and the body if it came with it.
        request: crate::http::HttpRequest<'poll>,
    },
    /// A piece of the body of a request or a response that has
    /// [`body_follows`](crate::HttpRequest::body_follows).
    /// To slow the peer down, see [`Io::pause_recv`](crate::Io::pause_recv).
    #[cfg(feature = "http")]
    HttpBodyChunk {
        /// The connection.
        conn: ConnId,
        /// The request.
        id: crate::ids::RequestId,
        /// The bytes; empty for the end of a chunked body.
        data: &'poll [u8],
        /// The body ends here.
        last: bool,
    },
    /// The response to a request of a pool: status, header fields, and the body if it came with it.
    /// Where none [follows](crate::HttpResponse::body_follows), it is the request's last event.
    #[cfg(feature = "http-client")]
    HttpResponse {
        /// The connection that it came on, for `pause_recv`, `conn_stats` and the like: until the
        /// request's last event it is the request's.
        conn: ConnId,
        /// The request.
        id: crate::ids::RequestId,
        /// What the server answered.
        response: crate::http::HttpResponse<'poll>,
    },
    /// The head of a request with a streamed body is on its way: write the body now, with
    /// `http_write` and `http_finish`.
    #[cfg(feature = "http-client")]
    HttpReady {
        /// The connection to write it to.
        conn: ConnId,
        /// The request.
        id: crate::ids::RequestId,
    },
    /// A request of a pool has failed: its last event. It may come behind a response whose body did
    /// not come whole.
    #[cfg(feature = "http-client")]
    HttpFailed {
        /// The request.
        id: crate::ids::RequestId,
        /// Why, and how far it had come.
        failure: HttpFailure,
    },
    /// The peer will send no more (FIN). The connection still takes writes. Not told of HTTP
    /// connections, which end when their requests are answered. Of a QUIC stream: all of it was
    /// handed out.
    ReadClosed {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// A stream that accepted less than it was given takes more.
    Writable {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
        /// Bytes it takes now; of a QUIC stream at the least 1.
        credit: usize,
    },
    /// A QUIC stream has bytes for `stream_read`, where the application asks for them itself
    /// ([`QuicReceive::Pull`](crate::QuicReceive)). It is not told again before a `stream_read`
    /// returned 0.
    Readable {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// All that was written to a QUIC stream, and its end, was acknowledged.
    StreamFinished {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// The peer gave up sending on a QUIC stream: nothing more of it comes.
    StreamReset {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
        /// The peer application's reason.
        error_code: u64,
    },
    /// The peer does not want the rest of a QUIC stream, which was reset with the peer's code and
    /// takes no more writes.
    StopSending {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
        /// The peer application's reason.
        error_code: u64,
    },
    /// The peer lets more QUIC streams be opened, after `stream_open` was refused one.
    StreamsAvailable {
        /// The connection.
        conn: ConnId,
        /// Of which kind.
        dir: StreamDir,
    },
    /// What a QUIC server did with the data that was sent to it before the handshake was done. Told
    /// once, before `Connected`, of connections that could send some.
    EarlyData {
        /// The connection.
        conn: ConnId,
        /// It has it. Otherwise every stream that was opened is gone, the next one has the first
        /// number again, and nothing is sent again of itself.
        accepted: bool,
    },
    /// A datagram of a QUIC connection: RFC 9221.
    Datagram {
        /// The connection.
        conn: ConnId,
        /// The payload; may be empty.
        data: &'poll [u8],
    },
    /// The peer of a QUIC connection has another address: RFC 9000 §9.
    PathMigration {
        /// The connection.
        conn: ConnId,
        /// Where it was.
        old_peer: SocketAddr,
        /// Where it is.
        new_peer: SocketAddr,
    },
    /// A guard write ended, and its memory is released: nothing refers to it any more. Where the
    /// kernel still does when the connection ends, this comes after `Disconnected`.
    SendDone {
        /// The connection.
        conn: ConnId,
        /// What the application gave it.
        token: u64,
        /// Bytes that were handed to the kernel; of a QUIC stream: all of them, acknowledged by the
        /// peer, or 0 where it was aborted and nobody knows.
        bytes: usize,
        /// How it ended.
        outcome: SendOutcome,
    },
    /// A timer came due. It is gone.
    Timer {
        /// The timer.
        timer: TimerId,
        /// What the application gave it.
        token: u64,
    },
    /// A watched descriptor changed its readiness. As in epoll's edge mode: read or write until it
    /// would block.
    FdReady {
        /// The watch.
        watch: WatchId,
        /// What the application gave it.
        token: u64,
        /// What it is ready for. A hint: the operation may still block.
        readiness: Readiness,
    },
    /// A message from an [`IoHandle`](crate::IoHandle), another shard, or a
    /// [`ClusterHandle`](crate::ClusterHandle).
    User {
        /// What the sender gave it.
        token: u64,
        /// The message's bytes; empty for `IoHandle::post`.
        data: &'poll [u8],
    },
    /// A connection could not be handed over to another shard: its mail was full, as many as that
    /// has entries were on their way there and waited for a place, it had ended, or what was
    /// written did not go out in time. It is where it was, and nothing of it is lost.
    HandOverFailed {
        /// The connection.
        conn: ConnId,
    },
    /// A connection that a [`ClusterHandle`](crate::ClusterHandle) asked for could not be started.
    /// One that was is told of as others are; its `user_data` is the token.
    ConnectFailed {
        /// What the asker gave it.
        token: u64,
        /// Why.
        error: IoError,
    },
    /// The shard is about to end, once: finish what is under way, and begin nothing new. No
    /// listener takes connections any more, or will not for long; HTTP connections end by
    /// themselves. What came to the shard and is left after `deadline` is closed with the code
    /// [`SHUTDOWN`](crate::code::SHUTDOWN).
    Draining {
        /// How long there is.
        deadline: Duration,
    },
    /// The pools changed their state. What was taken back before it could be told is not.
    PoolPressure {
        /// The new state, the one that was told last, and the pool that caused it.
        info: PoolPressureInfo,
    },
}

/// The words for a code.
pub(crate) fn reason_bytes(error_code: u64) -> &'static [u8] {
    match code::reason(error_code) {
        Some(text) => text.as_bytes(),
        None => code::errno_name(error_code).as_bytes(),
    }
}
