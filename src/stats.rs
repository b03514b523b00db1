//! Counters of one shard.

/// What one `Io` has done so far. Single-threaded plain counters; they only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IoStats {
    /// Calls of `poll`.
    pub polls: u64,
    /// Entries into the kernel (`io_uring_enter`).
    pub enters: u64,
    /// Completions taken from the ring.
    pub completions: u64,
    /// Events handed out.
    pub events: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Times accepting rested for want of descriptors or kernel memory.
    pub accept_errors: u64,
    /// Bytes received on streams.
    pub bytes_received: u64,
    /// Bytes handed to the kernel on streams.
    pub bytes_sent: u64,
    /// Payload bytes copied in user space on the way in.
    pub bytes_copied_rx: u64,
    /// Payload bytes copied in user space on the way out, those included that handles copied.
    pub bytes_copied_tx: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams (and trains of them) handed to the kernel.
    pub datagrams_sent: u64,
    /// Datagrams that the kernel refused and that were dropped.
    pub datagrams_dropped: u64,
    /// Errors reported by UDP sockets.
    pub udp_errors: u64,
    /// Times a connection's receive ended for want of buffers.
    pub starved: u64,
    /// QUIC handshakes that were done, as client or server.
    pub quic_handshakes: u64,
    /// QUIC clients that were refused.
    pub quic_refused: u64,
    /// QUIC clients that were asked to retry.
    pub quic_retried: u64,
    /// QUIC packets that were copied on arrival, because peers kept too many buffers from coming
    /// home.
    pub quic_rx_copied: u64,
    /// Commands taken from handles.
    pub commands: u64,
    /// Commands of handles that came too late: their connection had ended.
    pub commands_refused: u64,
}

/// Figures of one connection: the engine's own, and for TCP the kernel's (`TCP_INFO`, tcp(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConnStats {
    /// Bytes received from the peer.
    pub bytes_received: u64,
    /// Bytes handed to the kernel for the peer.
    pub bytes_sent: u64,
    /// Bytes queued and not yet taken by the kernel.
    pub bytes_queued: u64,
    /// Receive buffers held on this connection's account.
    pub buffers_held: u32,
    /// Smoothed round-trip time in microseconds; 0 where there is none (Unix sockets).
    pub rtt_us: u32,
    /// Its variation in microseconds.
    pub rtt_var_us: u32,
    /// The smallest seen, in microseconds.
    pub rtt_min_us: u32,
    /// The congestion window in bytes.
    pub cwnd: u64,
    /// The maximum segment size in bytes.
    pub mss: u32,
    /// Segments lost and not yet retransmitted.
    pub packets_lost: u32,
    /// Segments retransmitted since the start.
    pub retransmits: u32,
    /// Segments sent.
    pub packets_sent: u32,
    /// Segments received.
    pub packets_received: u32,
    /// The kernel's estimate of the delivery rate in bytes per second.
    pub delivery_rate: u64,
    /// The figures that QUIC connections have besides; `None` for others.
    pub quic: Option<QuicStats>,
}

/// Whether the path marks packets instead of dropping them: RFC 9000 §13.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EcnState {
    /// `QuicTransport::ecn` is off.
    #[default]
    Off,
    /// What is sent says that it may be marked.
    On,
    /// The path, or the peer, does not keep the marks; they are no longer sent.
    Failed,
}

/// Figures of a QUIC connection. Of [`ConnStats`], a segment is a QUIC packet, and bytes sent and
/// received are those of UDP payloads; `packets_lost` counts all that were ever, `packets_received`
/// nothing: of what arrives UDP datagrams are counted, below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QuicStats {
    /// The last round-trip time in microseconds, the peer's delay included; 0 before the first one.
    pub rtt_latest_us: u32,
    /// What the congestion controller sends at, in bytes per second; 0 where it names no rate.
    pub pacing_rate: u64,
    /// Streams whose sending direction is not over, whoever opened them: not ended, or the end is
    /// not acknowledged.
    pub streams_sending: u64,
    /// Streams that the peer opened and that count against its limit: not over in both directions.
    pub streams_of_peer: u64,
    /// The longest UDP payload that is sent.
    pub mtu: u16,
    /// Bytes of packets that were lost ever.
    pub bytes_lost: u64,
    /// Times that the congestion window shrank.
    pub congestion_events: u64,
    /// As it was when something was last sent.
    pub ecn: EcnState,
    /// UDP datagrams sent.
    pub udp_sent: u64,
    /// UDP datagrams received.
    pub udp_received: u64,
    /// Datagrams (RFC 9221) sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams that made room for later ones before they were sent.
    pub datagrams_dropped_tx: u64,
    /// Datagrams that made room for later ones before they were handed out; brought up to date
    /// whenever all that wait were.
    pub datagrams_dropped_rx: u64,
}
