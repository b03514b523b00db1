//! Counters of one shard.
//!
//! Role: figures, plain data. Not role: publishing them, or asking the kernel.

/// A structure of counters, which is also a row of words: so that all of it can be summed up, or
/// put where another thread reads it, without a list of its fields.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            /// How many counters there are.
            pub(crate) const WORDS: usize = [$(stringify!($field)),*].len();

            /// The counters in the order in which they stand above.
            pub(crate) const fn words(&self) -> [u64; Self::WORDS] {
                [$(self.$field),*]
            }

            /// The counters that such a row is.
            pub(crate) const fn from_words(words: [u64; Self::WORDS]) -> Self {
                let [$($field),*] = words;
                Self { $($field),* }
            }
        }

        /// Sums up shards.
        impl std::ops::AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                let (mine, others) = (self.words(), other.words());
                *self = Self::from_words(std::array::from_fn(|at| mine[at] + others[at]));
            }
        }
    };
}

counters! {
    /// What one `Io` has done so far. Single-threaded plain counters; they only grow.
    IoStats {
        /// Calls of `poll`.
        polls,
        /// Entries into the kernel (`io_uring_enter`).
        enters,
        /// Completions taken from the ring.
        completions,
        /// Events handed out.
        events,
        /// Connections accepted.
        accepted,
        /// Times accepting rested for want of descriptors or kernel memory.
        accept_errors,
        /// Connections whose PROXY header was read.
        proxied,
        /// Connections that were to begin with a PROXY header and ended before that was read, or
        /// were refused because their peer is not trusted to send one.
        proxy_refused,
        /// Bytes received on streams.
        bytes_received,
        /// Bytes handed to the kernel on streams.
        bytes_sent,
        /// Sends on streams that were handed to the kernel as zero-copy ones
        /// (`UringConfig::zero_copy_send`). It may have copied all the same, as loopback does.
        zero_copy_sends,
        /// Payload bytes copied in user space on the way in.
        bytes_copied_rx,
        /// Payload bytes copied in user space on the way out, those included that handles copied.
        bytes_copied_tx,
        /// Zero-copy sends for which the kernel would not pin more memory (`RLIMIT_MEMLOCK` of the
        /// user): what they had to send was copied, and so is everything for a second.
        zero_copy_refused,
        /// Datagrams received.
        datagrams_received,
        /// Datagrams (and trains of them) handed to the kernel.
        datagrams_sent,
        /// Datagrams that were accepted for sending and dropped: the kernel refused them, or had
        /// not taken them a second after their socket was closed.
        datagrams_dropped,
        /// Errors reported by UDP sockets.
        udp_errors,
        /// Times a connection's receive ended for want of buffers.
        starved,
        /// QUIC handshakes that were done, as client or server.
        quic_handshakes,
        /// QUIC clients that were refused.
        quic_refused,
        /// QUIC clients that were asked to retry.
        quic_retried,
        /// QUIC packets that were copied on arrival, because peers kept too many buffers from
        /// coming home.
        quic_rx_copied,
        /// Commands taken from handles.
        commands,
        /// Commands of handles that came too late: their connection had ended, or was being closed.
        commands_refused,
    }
}

counters! {
    /// What a shard has had to do with the other shards of its cluster so far; nothing, without a
    /// cluster.
    FleetStats {
        /// Posts that came from other shards, and from handles of the cluster.
        posts_in,
        /// Posts that were sent to other shards.
        posts_out,
        /// Posts that had come and were not handed out when the shard ended.
        posts_lost,
        /// Connections that handles of the cluster had asked for, that were not begun when the
        /// shard ended, and that no other one could be asked for: nobody is told of them.
        connects_lost,
        /// Times that this shard woke another one.
        wakes,
        /// Connections that came from other shards.
        moved_in,
        /// Connections that were handed over to other shards.
        moved_out,
        /// Connections that had come and were not taken in when the shard ended, and that no other
        /// one had room for: they were closed.
        moved_lost,
        /// QUIC datagrams of its own that other shards received and passed on.
        forwarded_in,
        /// Those that were copied a second time, because connections keep too many cells.
        forward_copied,
        /// QUIC datagrams that it received and passed on to the shards whose ids they have.
        forwarded_out,
        /// Those that were dropped because their shard had not read what waits.
        forward_full,
        /// Those that were dropped because they are longer than
        /// [`ClusterConfig::forward_cell_len`](crate::ClusterConfig::forward_cell_len).
        forward_too_long,
        /// Those whose shard was not there; they were looked at here.
        forward_down,
        /// Stateless resets that this shard sent in place of such a one.
        resets_for_dead,
    }
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
/// received are those of UDP payloads; `packets_lost` counts all that were ever. Packets that
/// arrive are counted by their UDP datagrams, which have one each but in the handshake:
/// `packets_received` is `udp_received`. Until a round trip was seen, `rtt_us` is
/// `QuicTransport::initial_rtt`, and the smallest is 0. What only TCP has is 0 (`bytes_queued`,
/// `buffers_held`, `retransmits`, `delivery_rate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QuicStats {
    /// The handshake is confirmed (RFC 9001 §4.1.2): a client may move. For a server it is when it
    /// is done, for a client when the server has said so.
    pub is_confirmed: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_words_in_their_order() {
        let mut stats = IoStats { polls: 1, commands_refused: 2, ..IoStats::default() };
        let words = stats.words();
        assert_eq!(words.len(), IoStats::WORDS);
        assert_eq!((words[0], words[IoStats::WORDS - 1]), (1, 2));
        assert_eq!(IoStats::from_words(words), stats);
        stats += stats;
        assert_eq!((stats.polls, stats.commands_refused, stats.enters), (2, 4, 0));
    }
}
