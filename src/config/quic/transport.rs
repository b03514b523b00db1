//! Limits, windows and timers of a connection: the same knobs for both sides.

use std::time::Duration;

use super::qlog::Qlog;
use crate::config::Toggle;
use crate::config::{check, check_ms};
use crate::error::Result;

/// The longest payload of a UDP datagram over IPv6.
const UDP_PAYLOAD_MAX: usize = 65_527;
const HOUR_MS: u64 = 3_600_000;

/// How the sending rate follows what the path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// RFC 9002 §7.
    NewReno,
    /// RFC 9438.
    #[default]
    Cubic,
    /// BBR as draft-ietf-ccwg-bbr describes it (its third version): sends at the rate that the path
    /// was seen to deliver, paced, instead of filling queues until something is lost.
    Bbr,
}

/// Looking for longer datagrams than the initial ones: RFC 8899.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MtuDiscovery {
    /// The longest UDP payload that is tried. Default 1452, Ethernet's less IPv6 and UDP headers;
    /// 1200 to 65,527.
    pub max: u16,
    /// From one search that ended to the next. Default 600 s; 1 s to 1 h.
    pub interval: Duration,
    /// The rest after long datagrams turned out to be swallowed. Default 60 s; 1 s to 1 h.
    pub black_hole_cooldown: Duration,
}

impl Default for MtuDiscovery {
    fn default() -> Self {
        Self {
            max: 1452,
            interval: Duration::from_secs(600),
            black_hole_cooldown: Duration::from_secs(60),
        }
    }
}

/// Asks the peer for fewer acknowledgements, where it has the extension
/// (draft-ietf-quic-ack-frequency).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AckFrequency {
    /// Packets that may go unacknowledged before the peer must. Default 1, which is every second
    /// one; any number.
    pub threshold: u32,
    /// The longest delay that is asked for, in place of the `max_ack_delay` of RFC 9000 §18.2.
    /// Default: the peer's own. 1 ms to 1 s.
    pub max_delay: Option<Duration>,
    /// Packets out of order before the peer tells at once; 0 is never. Default 2; any number.
    pub reordering: u32,
}

impl Default for AckFrequency {
    fn default() -> Self {
        Self { threshold: 1, max_delay: None, reordering: 2 }
    }
}

/// What becomes of a datagram for which the queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DatagramsFull {
    /// The oldest ones make room, and are counted as dropped.
    #[default]
    DropOldest,
    /// `send_datagram` returns `QueueFull`.
    Refuse,
}

/// Datagrams: RFC 9221.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuicDatagrams {
    /// Bytes of received datagrams that wait for the application; beyond, the oldest are dropped.
    /// Default 256 KiB; 66 KiB to 64 MiB, so that the longest one that a peer may send fits.
    pub recv_bytes: u32,
    /// Bytes of datagrams that wait to be sent. Default 256 KiB; 2 KiB to 64 MiB.
    pub send_bytes: u32,
    /// What becomes of a datagram beyond that. Default `DropOldest`.
    pub when_full: DatagramsFull,
}

impl Default for QuicDatagrams {
    fn default() -> Self {
        Self { recv_bytes: 256 << 10, send_bytes: 256 << 10, when_full: DatagramsFull::default() }
    }
}

/// How the bytes of streams come to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QuicReceive {
    /// As `Event::StreamFrame`, from where they were received.
    #[default]
    Push,
    /// `Event::Readable` says that there are some, and `stream_read` copies them to where the
    /// application wants them. What it does not read fills the stream's window, and the peer waits.
    Pull,
}

/// What a connection is made with, on either side.
///
/// ```
/// use zero_io::QuicTransport;
/// let transport = QuicTransport::default().with(|t| t.max_bidi_streams = 1000);
/// assert!(transport.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QuicTransport {
    /// Nothing received for this long ends the connection in silence (RFC 9000 §10.1); the smaller
    /// of both sides' counts. Default 30 s; 10 ms to 1 h. `None`: no limit of ours.
    pub idle_timeout: Option<Duration>,
    /// A packet is sent after this much silence, so that the idle timeout does not pass (RFC 9000
    /// §10.1.2). Default off; 1 ms to below `idle_timeout`, or 1 h where that is off.
    pub keep_alive: Option<Duration>,
    /// Bidirectional streams that the peer may have open (RFC 9000 §4.6). Default 100; 0 to
    /// 65,536. Each takes some 100 bytes when the connection is made.
    pub max_bidi_streams: u32,
    /// Unidirectional streams that the peer may have open. Default 100; 0 to 65,536.
    pub max_uni_streams: u32,
    /// Bytes that the peer may send on a stream before the application took them (RFC 9000 §4.1).
    /// Default 1,250,000; 4096 to 1 GiB.
    pub stream_window: u32,
    /// The same for all streams together. Default 16 MiB; `stream_window` to 1 GiB.
    pub conn_window: u32,
    /// Bytes that were written and are not acknowledged, of all streams; beyond, writes are cut.
    /// Default 4 MiB; 16 KiB to 1 GiB.
    pub send_window: u32,
    /// Streams of the same priority take turns; otherwise the one that was written first is sent
    /// first. Default on.
    pub fair: bool,
    /// How fast is sent. Default CUBIC.
    pub congestion: Congestion,
    /// The congestion window at the start, in bytes. Default: ten times `initial_mtu`, but at most
    /// 14,720 or twice `initial_mtu` (RFC 9002 §7.2). 2400 bytes to 16 MiB; never less than two
    /// packets.
    pub initial_window: Option<u32>,
    /// The round-trip time that is believed until one was seen. Default 333 ms (RFC 9002 §6.2.2);
    /// 1 ms to 10 s.
    pub initial_rtt: Duration,
    /// The longest UDP payload that is sent before a longer one was seen to arrive. Default 1200,
    /// which every path takes (RFC 9000 §14); 1200 to 65,527.
    pub initial_mtu: u16,
    /// Whether longer ones are tried (RFC 9000 §14.3). Default on.
    pub mtu_discovery: Option<MtuDiscovery>,
    /// Packets say that the path may mark them instead of dropping them (RFC 9000 §13.4). Default
    /// on.
    pub ecn: bool,
    /// Whether fewer acknowledgements are asked for. Default off.
    pub ack_frequency: Option<AckFrequency>,
    /// Datagrams, with their bounds. Default on. `None`: the peer is told to send none, and none
    /// can be sent (`DatagramsUnsupported`).
    pub datagrams: Option<QuicDatagrams>,
    /// How the bytes of streams come. Datagrams are events in any case. Default `Push`.
    pub receive: QuicReceive,
    /// Trains of packets in one operation (`UDP_SEGMENT`). Default `Auto`; that and `On` try it,
    /// and go without on paths that refuse it.
    pub gso: Toggle,
    /// A log of each connection. Default none; feature `quic-qlog`, without which it is
    /// `InvalidArgument`.
    pub qlog: Option<Qlog>,
    /// The spin bit, by which an observer can tell the round-trip time (RFC 9000 §17.4). Default
    /// on.
    pub spin_bit: bool,
}

impl Default for QuicTransport {
    fn default() -> Self {
        Self {
            idle_timeout: Some(Duration::from_secs(30)),
            keep_alive: None,
            max_bidi_streams: 100,
            max_uni_streams: 100,
            stream_window: 1_250_000,
            conn_window: 16 << 20,
            send_window: 4 << 20,
            fair: true,
            congestion: Congestion::default(),
            initial_window: None,
            initial_rtt: Duration::from_millis(333),
            initial_mtu: 1200,
            mtu_discovery: Some(MtuDiscovery::default()),
            ecn: true,
            ack_frequency: None,
            datagrams: Some(QuicDatagrams::default()),
            receive: QuicReceive::Push,
            gso: Toggle::Auto,
            qlog: None,
            spin_bit: true,
        }
    }
}

impl QuicTransport {
    /// The same after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`](crate::IoError::InvalidConfig) with the first bad field, its
    /// value and its range.
    pub fn validate(&self) -> Result<()> {
        self.validate_times()?;
        self.validate_sizes()?;
        let Some(datagrams) = &self.datagrams else { return Ok(()) };
        let QuicDatagrams { recv_bytes, send_bytes, .. } = *datagrams;
        let fits = (67_584..=64 << 20).contains(&recv_bytes);
        let field = "QuicDatagrams::recv_bytes";
        check(field, recv_bytes as usize, fits, "67,584 to 67,108,864")?;
        let fits = (2048..=64 << 20).contains(&send_bytes);
        check("QuicDatagrams::send_bytes", send_bytes as usize, fits, "2048 to 67,108,864")
    }

    fn validate_times(&self) -> Result<()> {
        if let Some(idle) = self.idle_timeout {
            check_ms("QuicTransport::idle_timeout", idle, 10, HOUR_MS, "10 to 3,600,000 ms")?;
        }
        if let Some(every) = self.keep_alive {
            let longest = self.idle_timeout.unwrap_or(Duration::from_millis(HOUR_MS));
            let fits = every >= Duration::from_millis(1) && every < longest;
            let field = "QuicTransport::keep_alive";
            check(field, every.as_millis() as usize, fits, "1 ms to below idle_timeout")?;
        }
        check_ms("QuicTransport::initial_rtt", self.initial_rtt, 1, 10_000, "1 to 10,000 ms")?;
        if let Some(AckFrequency { max_delay: Some(delay), .. }) = self.ack_frequency {
            check_ms("AckFrequency::max_delay", delay, 1, 1000, "1 to 1000 ms")?;
        }
        if let Some(discovery) = &self.mtu_discovery {
            for (field, value) in [
                ("MtuDiscovery::interval", discovery.interval),
                ("MtuDiscovery::black_hole_cooldown", discovery.black_hole_cooldown),
            ] {
                check_ms(field, value, 1000, HOUR_MS, "1000 to 3,600,000 ms")?;
            }
        }
        Ok(())
    }

    fn validate_sizes(&self) -> Result<()> {
        const GIB: usize = 1 << 30;
        let stream_window = self.stream_window as usize;
        let mtu_max = self.mtu_discovery.map_or(1200, |d| usize::from(d.max));
        let rows: [(&'static str, usize, usize, usize, &'static str); 8] = [
            (
                "QuicTransport::max_bidi_streams",
                self.max_bidi_streams as usize,
                0,
                65_536,
                "0 to 65,536",
            ),
            (
                "QuicTransport::max_uni_streams",
                self.max_uni_streams as usize,
                0,
                65_536,
                "0 to 65,536",
            ),
            ("QuicTransport::stream_window", stream_window, 4096, GIB, "4096 to 1,073,741,824"),
            (
                "QuicTransport::conn_window",
                self.conn_window as usize,
                stream_window,
                GIB,
                "stream_window to 1,073,741,824",
            ),
            (
                "QuicTransport::send_window",
                self.send_window as usize,
                16 << 10,
                GIB,
                "16,384 to 1,073,741,824",
            ),
            (
                "QuicTransport::initial_window",
                self.initial_window.map_or(2400, |window| window as usize),
                2400,
                16 << 20,
                "2400 to 16,777,216",
            ),
            (
                "QuicTransport::initial_mtu",
                usize::from(self.initial_mtu),
                1200,
                UDP_PAYLOAD_MAX,
                "1200 to 65,527",
            ),
            ("MtuDiscovery::max", mtu_max, 1200, UDP_PAYLOAD_MAX, "1200 to 65,527"),
        ];
        for (field, value, low, high, range) in rows {
            check(field, value, low <= value && value <= high, range)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let t = QuicTransport::default();
        assert!(t.validate().is_ok());
        assert_eq!((t.max_bidi_streams, t.max_uni_streams, t.initial_mtu), (100, 100, 1200));
        assert_eq!((t.stream_window, t.conn_window, t.send_window), (1_250_000, 1 << 24, 1 << 22));
        assert_eq!(t.datagrams.map(|d| (d.recv_bytes, d.send_bytes)), Some((1 << 18, 1 << 18)));
    }

    #[test]
    fn a_bad_field_is_named() {
        type Change = fn(&mut QuicTransport);
        let mtu = |max| Some(MtuDiscovery { max, ..MtuDiscovery::default() });
        assert!(
            QuicTransport::default().with(|t| t.mtu_discovery = mtu(65_527)).validate().is_ok()
        );
        let bad: [(Change, &str); 12] = [
            (|t| t.idle_timeout = Some(Duration::from_millis(9)), "idle_timeout"),
            (|t| t.keep_alive = t.idle_timeout, "keep_alive"),
            (|t| t.keep_alive = Some(Duration::ZERO), "keep_alive"),
            (|t| t.max_uni_streams = 65_537, "max_uni_streams"),
            (|t| t.stream_window = 4095, "stream_window"),
            (|t| t.conn_window = t.stream_window - 1, "conn_window"),
            (|t| t.send_window = 1000, "send_window"),
            (|t| t.initial_window = Some(1200), "initial_window"),
            (|t| t.initial_rtt = Duration::from_secs(11), "initial_rtt"),
            (|t| t.initial_mtu = 1199, "initial_mtu"),
            (
                |t| t.mtu_discovery = Some(MtuDiscovery { max: 600, ..MtuDiscovery::default() }),
                "MtuDiscovery::max",
            ),
            (
                |t| {
                    t.datagrams = Some(QuicDatagrams { recv_bytes: 1, ..QuicDatagrams::default() });
                },
                "recv_bytes",
            ),
        ];
        for (change, name) in bad {
            let error = QuicTransport::default().with(change).validate().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
