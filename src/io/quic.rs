//! QUIC: RFC 9000, and its datagrams, RFC 9221.

use std::net::SocketAddr;

use super::split::both;
use crate::config::{
    QuicConnectConfig, QuicListenConfig, Roots, SessionTicket, TlsClientConfig, TlsServerConfig,
};
use crate::error::{IoError, Result, TlsConfigFault};
use crate::ids::{ConnId, EndpointId, StreamDir, StreamId};
use crate::pool::SendBuffer;

both! {
    /// Listens for QUIC connections with the defaults of [`QuicListenConfig`]: `cert_pem` is the
    /// chain, `key_pem` its key, both in PEM. Without ALPN, which clients may insist on.
    ///
    /// # Errors
    /// As [`quic_listen_with`](Self::quic_listen_with).
    pub fn quic_listen(
        &mut self_,
        addr: SocketAddr,
        cert_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<EndpointId> {
        let tls = TlsServerConfig::from_pem_bytes(cert_pem, key_pem).build()?;
        self_.quic_listen(&QuicListenConfig::new(addr, tls))
    }

    /// Listens for QUIC connections: `Event::Connected` tells of each once its handshake is done.
    ///
    /// # Errors
    /// `AddrInUse`; `InvalidConfig`; `TlsConfig`; `PoolExhausted`; `NofileLimit`; `Os` with the
    /// call that failed.
    pub fn quic_listen_with(&mut self_, config: QuicListenConfig) -> Result<EndpointId> {
        self_.quic_listen(&config)
    }

    /// Connects with the defaults of [`QuicConnectConfig`], trusting the roots that come with the
    /// build (features `tls-platform-roots` and `tls-webpki-roots`).
    ///
    /// # Errors
    /// As [`quic_connect_with`](Self::quic_connect_with); `TlsConfig` when the build has no roots.
    pub fn quic_connect(&mut self_, addr: SocketAddr) -> Result<ConnId> {
        let no_roots = IoError::TlsConfig { fault: TlsConfigFault::NoRoots, line: 0 };
        let roots = Roots::built_in().ok_or(no_roots)?;
        let tls = TlsClientConfig::with_roots(roots).build()?;
        self_.quic_connect(&QuicConnectConfig::new(addr, tls))
    }

    /// Connects. `Event::Connected` or `Event::Disconnected` follows. The name of a host is
    /// resolved off this thread; then its addresses race, and only the winner is heard of. When
    /// none answers, `Disconnected` has the code of the last failure (of what its server said, or
    /// the kernel), `RESOLVE_FAILED`, or `CONNECT_TIMEOUT`.
    ///
    /// # Errors
    /// `InvalidConfig`; `TlsConfig`; `InvalidArgument` when the target has no port, or when the
    /// socket asked for cannot reach its family; `AddrInUse` of `bind`; `StaleEndpoint` and
    /// `WrongEndpoint` of `endpoint`; `PoolExhausted` when the connection table is full;
    /// `QueueFull` when too many names are being resolved; `NofileLimit`; `Os` with the call that
    /// failed.
    pub fn quic_connect_with(&mut self_, config: QuicConnectConfig) -> Result<ConnId> {
        self_.quic_connect(&config)
    }

    /// Moves a client to another local address (RFC 9000 §9), port 0 for any: a new socket is
    /// bound there, and the server follows once it hears from it. The connection goes on, with
    /// another connection id; so do all others that share its socket, which are all of the same
    /// family unless [`bind`](QuicConnectConfig::bind) gave them one of their own. There is
    /// another id as long as the server gave some to spare: one of ours gives four, and others
    /// when it hears of a move. What is on its way to the old address is sent again. A server
    /// without [`migration`](QuicListenConfig::migration) does not hear the new address: the
    /// connection then ends with `IDLE_TIMEOUT`, unless it moves back in time.
    ///
    /// It may move once the server has confirmed the handshake, a round trip after
    /// `Event::Connected` while nothing is lost: [`QuicStats::is_confirmed`](crate::QuicStats).
    ///
    /// # Errors
    /// `NotConnected` with the connection on that socket whose handshake is not done;
    /// `HandshakeUnconfirmed` with the one whose handshake was not confirmed: call again after the
    /// next `poll`; `InvalidArgument` for an address of the other family, or a connection on a
    /// listener's socket; `AddrInUse`; `PoolExhausted`, `NofileLimit`, `Os`. In any case the
    /// connection stays where it is. `StaleConn`, `NotForProtocol`.
    pub fn quic_rebind(&mut self_, conn: ConnId, bind: SocketAddr) -> Result<()> {
        self_.quic_rebind(conn, bind)
    }

    /// Opens a stream of a QUIC connection. The peer learns of it by what is sent on it: bytes, or
    /// its end. A stream that the peer opens is first heard of by its first event.
    ///
    /// # Errors
    /// `StreamLimit` when the peer lets no more be open now (then `Event::StreamsAvailable`
    /// follows); `StaleConn`, `NotConnected`, `WriteClosed`, `NotForProtocol`.
    pub fn stream_open(&mut self_, conn: ConnId, dir: StreamDir) -> Result<StreamId> {
        self_.quic_open(conn, dir)
    }

    /// Ends the sending direction of a QUIC stream behind what was written to it. Once all of it
    /// was acknowledged, `Event::StreamFinished` follows. The same as
    /// [`shutdown_write`](Self::shutdown_write), which TCP has too.
    ///
    /// # Errors
    /// `NoSuchStream`; `StreamStopped` when the peer does not want it; `StaleConn`,
    /// `NotConnected`, `WriteClosed`, `NotForProtocol`.
    pub fn stream_finish(&mut self_, conn: ConnId, stream: StreamId) -> Result<()> {
        self_.quic_finish(conn, stream)
    }

    /// Gives the sending direction of a QUIC stream up: what was written and did not arrive is not
    /// sent any more. The peer is told the code, of 62 bits.
    ///
    /// # Errors
    /// `NoSuchStream`; `InvalidArgument` for a longer code; `StaleConn`, `NotConnected`,
    /// `WriteClosed`, `NotForProtocol`.
    pub fn stream_reset(&mut self_, conn: ConnId, stream: StreamId, error_code: u64) -> Result<()> {
        self_.quic_reset(conn, stream, error_code)
    }

    /// Asks the peer to send no more on a QUIC stream: what arrives of it is not handed out, and
    /// its end is not told. The peer is told the code, of 62 bits.
    ///
    /// # Errors
    /// As [`stream_reset`](Self::stream_reset).
    pub fn stop_sending(&mut self_, conn: ConnId, stream: StreamId, error_code: u64) -> Result<()> {
        self_.quic_stop(conn, stream, error_code)
    }

    /// Streams of a QUIC connection with a higher number are sent first. 0 at first.
    ///
    /// # Errors
    /// `NoSuchStream`, `StreamStopped`, `StaleConn`, `NotConnected`, `WriteClosed`,
    /// `NotForProtocol`.
    pub fn stream_priority(
        &mut self_,
        conn: ConnId,
        stream: StreamId,
        priority: i32,
    ) -> Result<()> {
        self_.quic_priority(conn, stream, priority)
    }

    /// Hands nothing of one QUIC stream out until [`stream_resume`](Self::stream_resume): its
    /// window closes, and the peer waits. What comes of it by then is kept in order; its end is
    /// told behind that. A connection that ends does not wait for it.
    ///
    /// # Errors
    /// `NoSuchStream`, `StaleConn`, `NotForProtocol`.
    pub fn stream_pause(&mut self_, conn: ConnId, stream: StreamId) -> Result<()> {
        self_.quic_pause_stream(conn, stream)
    }

    /// Hands out again what comes of a stream. Of one that is not paused, nothing.
    ///
    /// # Errors
    /// As [`stream_pause`](Self::stream_pause).
    pub fn stream_resume(&mut self_, conn: ConnId, stream: StreamId) -> Result<()> {
        self_.quic_resume_stream(conn, stream)
    }

    /// Sends a datagram on a QUIC connection: it may be lost, and may arrive in any order. It is
    /// copied.
    ///
    /// # Errors
    /// `DatagramTooLarge`; `QueueFull` where `DatagramsFull::Refuse` was chosen;
    /// `DatagramsUnsupported`; `StaleConn`, `NotConnected`, `NotForProtocol`.
    pub fn send_datagram(&mut self_, conn: ConnId, data: &[u8]) -> Result<()> {
        self_.quic_send_datagram(conn, data)
    }

    /// Sends a buffer as a datagram from where it lies, without a copy. On an error the buffer goes
    /// back to where it came from.
    ///
    /// # Errors
    /// As [`send_datagram`](Self::send_datagram); `InvalidArgument` for a buffer of another `Io`.
    pub fn send_datagram_buffer(&mut self_, conn: ConnId, buffer: SendBuffer) -> Result<()> {
        self_.quic_send_datagram_buffer(conn, buffer)
    }

    /// The longest datagram that can be sent now: it changes with the path.
    ///
    /// # Errors
    /// `DatagramsUnsupported`, `StaleConn`, `NotConnected`, `NotForProtocol`.
    pub fn max_datagram_size(&mut self_, conn: ConnId) -> Result<usize> {
        self_.quic_datagram_max(conn)
    }

    /// Ends a QUIC connection at once, as [`close`](Self::close), and tells the peer why: a code of
    /// 62 bits, and words, of which at most 256 bytes are sent.
    ///
    /// # Errors
    /// `StaleConn` when it is ending already; `InvalidArgument` for a longer code;
    /// `NotForProtocol`.
    pub fn close_with(&mut self_, conn: ConnId, error_code: u64, reason: &[u8]) -> Result<()> {
        self_.quic_close(conn, error_code, reason)
    }

    /// Sends on a new bidirectional stream before the handshake is done (0-RTT, RFC 9001 §4.6):
    /// call it right after connecting, and it leaves with the first packets. Returns the stream and
    /// how much was taken: of all streams together a quarter of `QuicTransport::initial_window`,
    /// which is 3,000 bytes by default, and no more than the windows that the ticket remembers.
    /// More can be written to the stream, and it can be ended; what was not taken can be written
    /// when `Event::Writable` comes.
    ///
    /// The server may get it twice, from whoever recorded it. `Event::EarlyData` tells whether it
    /// took it; if not, the stream is gone.
    ///
    /// # Errors
    /// `EarlyDataUnavailable` without a ticket that allows it, to a host, whose addresses race, and
    /// once the handshake is done; `StreamLimit`, `StaleConn`, `NotForProtocol`.
    pub fn early_data_send(&mut self_, conn: ConnId, data: &[u8]) -> Result<(StreamId, usize)> {
        self_.quic_early_send(conn, data)
    }

    /// Whether what comes of a QUIC connection may have been recorded and sent again: between
    /// `Event::Connected` and `Event::Secured`, where a listener takes early data. Once it is
    /// secured, all of it came from the client, also what was handed out before.
    ///
    /// # Errors
    /// `StaleConn`, `NotConnected`, `NotForProtocol`.
    pub fn may_be_replayed(&mut self_, conn: ConnId) -> Result<bool> {
        self_.quic_may_be_replayed(conn)
    }

    /// The newest ticket that the server gave on a QUIC connection, which another one can resume
    /// with; `None` as long as there is none, and when it was used. Servers send them after the
    /// handshake: ask before closing.
    ///
    /// Without asking, later connections with the same `TlsClientConfig` use it; with that, it is
    /// the application's to give, here or to another shard.
    ///
    /// # Errors
    /// `StaleConn`, `NotConnected`, `NotForProtocol`.
    pub fn session_ticket(&mut self_, conn: ConnId) -> Result<Option<SessionTicket>> {
        self_.quic_ticket(conn)
    }

    /// Keeps a ticket for the next QUIC connection to that server, whose certificate is for that
    /// name or address. At most 256 are kept, one for each name.
    ///
    /// # Errors
    /// `InvalidArgument` when another server gave it.
    pub fn set_session_ticket(&mut self_, server_name: &str, ticket: SessionTicket) -> Result<()> {
        self_.quic_keep_ticket(server_name, ticket)
    }
}
