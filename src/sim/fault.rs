//! What goes wrong, and how often: a table of rates drawn from the seed.
//!
//! Role: one named rate per kind of fault, the shape of the network and of the rings (latencies,
//! buffer and queue sizes), and "fail the N-th operation". Not role: doing any of it; the kernel
//! model asks.
//!
//! *Invariant*: a table is plain data; two worlds with the same seed and table behave the same.

use std::fmt;
use std::time::Duration;

use crate::rng::Rng;

/// Rates are in parts per million.
pub const PPM: u32 = 1_000_000;
/// A notification that is late comes after so long at most: the peer takes its time. Until then the
/// memory of a zero-copy send is in use, and so is its place among the guard writes.
pub const NOTIFICATION_LATE_MAX: Duration = Duration::from_secs(20);
/// The longest UDP payload over IPv4.
const DATAGRAM_LEN_MAX: u32 = 65_507;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $label:literal, $cap:literal;)*) => {
        /// One kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the table.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The highest rate that a seed may draw: beyond it no work would ever be done.
            const fn cap_ppm(self) -> u32 {
                match self { $(Self::$name => $cap,)* }
            }
        }
    };
}

kinds! {
    // ---- the rings
    /// `enter` returns without having done anything, as after a signal or `EBUSY`.
    EnterNothing = "enter-nothing", 500_000;
    /// `enter` takes only some of the submissions.
    SubmitPartial = "submit-partial", 500_000;
    /// A completion is held back for a while.
    CompletionDelay = "completion-delay", 600_000;
    /// The completions of one `enter` come in another order.
    CompletionReorder = "completion-reorder", 1_000_000;
    /// An operation is not tried at submission but later.
    ExecuteLate = "execute-late", 600_000;
    /// A receive completes with valid data and without `MORE`, as at an overflow.
    RecvEnds = "recv-ends", 400_000;
    /// A receive delivers less than there is.
    RecvShort = "recv-short", 900_000;
    /// A receive finds no buffer although there are some.
    RecvNoBufs = "recv-enobufs", 300_000;
    /// A receive fails with `ECONNRESET` and the connection is gone.
    RecvError = "recv-error", 20_000;
    /// A send takes less than it was given.
    SendShort = "send-short", 900_000;
    /// A send completes with `EAGAIN`.
    SendAgain = "send-eagain", 400_000;
    /// A send fails and the connection is gone.
    SendError = "send-error", 20_000;
    /// A zero-copy send copied after all.
    ZcCopied = "zc-copied", 1_000_000;
    /// A notification comes very late, see [`NOTIFICATION_LATE_MAX`].
    ZcLate = "zc-late", 500_000;
    /// A failed zero-copy send completes twice.
    ZcErrorTwice = "zc-error-twice", 1_000_000;
    /// A multishot poll ends.
    PollEnds = "poll-ends", 500_000;
    /// A poll reports what is not there.
    PollSpurious = "poll-spurious", 300_000;
    /// A cancellation answers `EALREADY` and happens later.
    CancelLate = "cancel-late", 700_000;
    /// A cancelled receive delivers what there is first.
    CancelRace = "cancel-race", 1_000_000;
    /// An installation into the fixed file table fails.
    InstallError = "install-error", 200_000;
    /// A close answers with an error; the descriptor is gone all the same.
    CloseError = "close-error", 200_000;
    // ---- sockets
    /// `socket` or `bind` fails.
    SocketError = "socket-error", 100_000;
    /// `accept` fails for want of a descriptor or memory; the connection stays in the backlog.
    AcceptExhausted = "accept-exhausted", 300_000;
    /// `accept` fails and the connection is lost.
    AcceptAborted = "accept-aborted", 200_000;
    /// `accept` finds nothing although the listener was reported ready.
    AcceptNothing = "accept-nothing", 300_000;
    /// A connection attempt is refused.
    ConnectRefused = "connect-refused", 200_000;
    /// A connection attempt finds no route.
    ConnectUnreachable = "connect-unreachable", 200_000;
    /// A connection attempt gets no answer at all.
    ConnectBlackhole = "connect-blackhole", 200_000;
    // ---- the network
    /// A stream stands still for a while.
    NetStall = "net-stall", 200_000;
    /// A connection is reset on the way.
    NetReset = "net-reset", 10_000;
    /// A datagram is lost.
    UdpLoss = "udp-loss", 500_000;
    /// A datagram arrives twice.
    UdpDuplicate = "udp-duplicate", 300_000;
    /// A datagram is overtaken.
    UdpReorder = "udp-reorder", 700_000;
    /// A UDP socket takes no more datagrams for a while.
    UdpSendAgain = "udp-eagain", 400_000;
    /// A datagram cannot be sent (`ENETUNREACH`, `EPERM`).
    UdpSendError = "udp-send-error", 100_000;
    // ---- the paths of datagrams: see `Faults::with_paths`
    /// A bit of a datagram changes, among its last 16 bytes.
    UdpCorrupt = "udp-corrupt", 300_000;
    /// A train is refused (`EIO`), as by a device that cannot segment.
    UdpTrainError = "udp-train-error", 1_000_000;
    // ---- the resolver: see `Faults::with_hosts`
    /// A name is not looked up at all: there is no thread for it.
    ResolveError = "resolve-error", 200_000;
    /// A host that has addresses is not found.
    ResolveFails = "resolve-fails", 300_000;
    /// The answer comes later, as it always does where a thread asks for it.
    ResolveLate = "resolve-late", 1_000_000;
    // ---- found later: see `OF_ENDS`
    /// A multishot receive that brings the bytes before a reset does not tell of the reset (K29).
    EndUntold = "end-untold", 1_000_000;
}

/// Kinds that tables of seeds do not have by themselves.
const OF_PATHS: [Fault; 2] = [Fault::UdpCorrupt, Fault::UdpTrainError];
/// Drawn behind all others, so that those of a seed stay what they are.
const OF_ENDS: Fault = Fault::EndUntold;
const OF_HOSTS: [Fault; 3] = [Fault::ResolveError, Fault::ResolveFails, Fault::ResolveLate];

/// The latencies of the network and the sizes of everything that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The shortest way through the network, in nanoseconds.
    pub latency_min_ns: u64,
    /// What chance adds to it at most.
    pub latency_jitter_ns: u64,
    /// The largest piece the network carries of a stream.
    pub segment_len_max: u32,
    /// Bytes of a stream's send buffer.
    pub send_buffer_len: u32,
    /// Bytes of a stream's receive buffer.
    pub recv_buffer_len: u32,
    /// Datagrams in a UDP socket's receive buffer.
    pub datagram_count_max: u32,
    /// The longest UDP payload that leaves a node (`EMSGSIZE`).
    pub datagram_len_max: u32,
    /// The longest UDP payload that arrives: what is longer is lost without a word.
    pub datagram_len_carried: u32,
    /// Submission entries of each ring.
    pub sq_entries: u32,
    /// Completion entries of each ring.
    pub cq_entries: u32,
    /// Places in each fixed file table; 0: there is none.
    pub fixed_files: u32,
    /// Whether the rings offer zero-copy sends.
    pub zero_copy: bool,
    /// Descriptors a node may have open (`RLIMIT_NOFILE`).
    pub fd_count_max: u32,
}

impl Shape {
    /// Generous: nothing is ever full.
    pub const ROOMY: Self = Self {
        latency_min_ns: 20_000,
        latency_jitter_ns: 0,
        segment_len_max: 65_536,
        send_buffer_len: 256 * 1024,
        recv_buffer_len: 256 * 1024,
        datagram_count_max: 1024,
        datagram_len_max: DATAGRAM_LEN_MAX,
        datagram_len_carried: DATAGRAM_LEN_MAX,
        sq_entries: 1024,
        cq_entries: 4096,
        fixed_files: 4096,
        zero_copy: true,
        fd_count_max: 20_000,
    };

    fn from_rng(rng: &mut Rng) -> Self {
        let pick = |rng: &mut Rng, of: &[u32]| of[rng.below(of.len() as u64) as usize];
        let sq_entries = pick(rng, &[4, 16, 64, 256]);
        Self {
            latency_min_ns: u64::from(pick(rng, &[0, 1_000, 50_000, 1_000_000, 40_000_000])),
            latency_jitter_ns: u64::from(pick(rng, &[0, 10_000, 500_000, 20_000_000])),
            segment_len_max: pick(rng, &[1, 100, 1_460, 9_000, 65_536]).max(1),
            send_buffer_len: pick(rng, &[512, 4_096, 30_000, 200_000]),
            recv_buffer_len: pick(rng, &[512, 4_096, 30_000, 200_000]),
            datagram_count_max: pick(rng, &[4, 64, 512]),
            datagram_len_max: Self::ROOMY.datagram_len_max,
            datagram_len_carried: Self::ROOMY.datagram_len_carried,
            sq_entries,
            cq_entries: sq_entries * pick(rng, &[2, 4]),
            fixed_files: pick(rng, &[0, 64, 4096]),
            zero_copy: rng.chance(1, 2),
            fd_count_max: pick(rng, &[48, 1_000, 20_000]),
        }
    }
}

/// The fault table of one world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    rates_ppm: Vec<u32>,
    /// Latencies and sizes.
    pub shape: Shape,
    fail_nth: Option<(u64, i32)>,
}

impl Faults {
    /// A kernel without a fault, and a roomy one.
    #[must_use]
    pub fn none() -> Self {
        Self { rates_ppm: vec![0; Fault::ALL.len()], shape: Shape::ROOMY, fail_nth: None }
    }

    /// The table of a seed: each kind is off (half of them), rare, frequent or extreme.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed ^ 0xfa17);
        let mut faults = Self::none();
        let is_later =
            |kind: &Fault| OF_PATHS.contains(kind) || OF_HOSTS.contains(kind) || *kind == OF_ENDS;
        for kind in Fault::ALL.iter().filter(|kind| !is_later(kind)) {
            faults.draw(*kind, &mut rng);
        }
        faults.shape = Shape::from_rng(&mut rng);
        faults.draw(OF_ENDS, &mut rng);
        faults
    }

    /// The same table with what happens to datagrams on their paths besides: bits that change,
    /// trains that are refused, lengths that are not carried. Never shorter ones than QUIC's 1200.
    #[must_use]
    pub fn with_paths(mut self, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed ^ 0x9a74);
        OF_PATHS.into_iter().for_each(|kind| self.draw(kind, &mut rng));
        let mut len =
            || [DATAGRAM_LEN_MAX, DATAGRAM_LEN_MAX, 1_472, 1_300, 1_200][rng.below(5) as usize];
        (self.shape.datagram_len_max, self.shape.datagram_len_carried) = (len(), len());
        self
    }

    /// The same table with what happens to names besides: they are not found, not looked up, or
    /// answered late.
    #[must_use]
    pub fn with_hosts(mut self, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed ^ 0x4057);
        OF_HOSTS.into_iter().for_each(|kind| self.draw(kind, &mut rng));
        self
    }

    fn draw(&mut self, kind: Fault, rng: &mut Rng) {
        let ceiling: u64 = match rng.below(100) {
            0..50 => 0,
            50..75 => 5_000,
            75..90 => 100_000,
            _ => PPM.into(),
        };
        let drawn = if ceiling == 0 { 0 } else { rng.below(ceiling) as u32 + 1 };
        self.rates_ppm[kind as usize] = drawn.min(kind.cap_ppm());
    }

    /// No fault but one: the `n`-th operation that can fail (from 1) fails with `errno`.
    #[must_use]
    pub fn fail_nth(n: u64, errno: i32) -> Self {
        Self { fail_nth: Some((n, errno)), ..Self::none() }
    }

    /// The same table with another rate for one kind, in parts per million.
    #[must_use]
    pub fn with(mut self, kind: Fault, rate_ppm: u32) -> Self {
        self.rates_ppm[kind as usize] = rate_ppm.min(PPM);
        self
    }

    /// The same table after `change` of the shape.
    #[must_use]
    pub fn shaped(mut self, change: impl FnOnce(&mut Shape)) -> Self {
        change(&mut self.shape);
        self
    }

    /// The rate of one kind.
    #[must_use]
    pub fn rate_ppm(&self, kind: Fault) -> u32 {
        self.rates_ppm[kind as usize]
    }

    /// Whether this operation, the `count`-th, is the one to fail, and how.
    pub(super) fn forced(&self, count: u64) -> Option<i32> {
        self.fail_nth.and_then(|(n, errno)| (n == count).then_some(errno))
    }

    /// Every rate to zero; the sizes stay, and the network becomes fast.
    pub(super) fn heal(&mut self) {
        self.rates_ppm.fill(0);
        self.fail_nth = None;
        self.shape.latency_min_ns = self.shape.latency_min_ns.min(1_000_000);
        self.shape.latency_jitter_ns = 0;
        self.shape.segment_len_max = self.shape.segment_len_max.max(1_460);
        self.shape.fd_count_max = Shape::ROOMY.fd_count_max;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Fault::ALL {
            let rate = self.rate_ppm(*kind);
            if rate > 0 {
                writeln!(f, "  {:<22}{:>9.4} %", kind.label(), f64::from(rate) / 10_000.0)?;
            }
        }
        let s = &self.shape;
        writeln!(f, "  latency {} ns + up to {} ns", s.latency_min_ns, s.latency_jitter_ns)?;
        writeln!(
            f,
            "  segment {} B, send buffer {} B, receive buffer {} B, datagrams {}",
            s.segment_len_max, s.send_buffer_len, s.recv_buffer_len, s.datagram_count_max
        )?;
        let (sent, carried) = (s.datagram_len_max, s.datagram_len_carried);
        if (sent, carried) != (DATAGRAM_LEN_MAX, DATAGRAM_LEN_MAX) {
            writeln!(f, "  datagrams up to {sent} B are sent, up to {carried} B carried")?;
        }
        writeln!(
            f,
            "  sq {}, cq {}, fixed files {}, zero copy {}, descriptors {}",
            s.sq_entries, s.cq_entries, s.fixed_files, s.zero_copy, s.fd_count_max
        )?;
        match self.fail_nth {
            Some((n, errno)) => writeln!(f, "  operation {n} fails with errno {errno}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_table() {
        assert_eq!(Faults::from_seed(5), Faults::from_seed(5));
        assert_ne!(Faults::from_seed(5), Faults::from_seed(6));
        for seed in 0..200 {
            let faults = Faults::from_seed(seed);
            assert!(Fault::ALL.iter().all(|k| faults.rate_ppm(*k) <= k.cap_ppm()));
            let later = OF_PATHS.iter().chain(&OF_HOSTS);
            assert!(later.into_iter().all(|k| faults.rate_ppm(*k) == 0));
            let shape = faults.with_paths(seed).shape;
            assert!(shape.datagram_len_max >= 1_200 && shape.datagram_len_carried >= 1_200);
        }
    }

    #[test]
    fn every_kind_is_off_in_some_seeds_and_extreme_in_others() {
        for kind in Fault::ALL {
            let rate = |s| Faults::from_seed(s).with_paths(s).with_hosts(s).rate_ppm(*kind);
            let rates: Vec<u32> = (0..300).map(rate).collect();
            assert!(rates.contains(&0), "{kind:?}");
            assert!(rates.iter().any(|r| *r >= kind.cap_ppm() / 2), "{kind:?}");
        }
    }

    #[test]
    fn healing_leaves_no_fault() {
        let mut faults = Faults::from_seed(9);
        faults.heal();
        assert!(Fault::ALL.iter().all(|k| faults.rate_ppm(*k) == 0));
        assert_eq!(Faults::fail_nth(3, 24).forced(3), Some(24));
        assert!(Faults::fail_nth(3, 24).forced(2).is_none());
        assert!(Faults::none().to_string().contains("latency"));
    }
}
