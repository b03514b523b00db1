//! What can go wrong, whose fault it is, and what to do about it.
//!
//! Role: the one error type of the crate. Not role: the reasons for which a connection ended,
//! which are numbers in [`code`](crate::code) carried by `Event::Disconnected`.
//!
//! *Invariant*: an error is `Copy` and holds no heap memory, so that "full" and "try again" cost
//! nothing.

use std::net::SocketAddr;
use std::{fmt, io};

use crate::config::RoutingRefusal;
use crate::ids::{ConnId, EndpointId, Protocol, StreamDir};

mod tls;

pub use tls::TlsConfigFault;

/// The crate's result type.
pub type Result<T, E = IoError> = std::result::Result<T, E>;

/// A Linux version, as in `uname -r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The `6` of 6.1.
    pub major: u16,
    /// The `1` of 6.1.
    pub minor: u16,
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// An `errno` value. `Display` is the system's own text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The same as `std::io::Error`'s kind.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        io::Error::from_raw_os_error(self.0).kind()
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl Errno {
    /// What to do about those that have one answer, to be put behind the system's own text.
    const fn fix(self) -> &'static str {
        match self.0 {
            libc::EACCES | libc::EPERM => {
                "; it wants a privilege (a port below 1024: CAP_NET_BIND_SERVICE) or a path that \
                 this user may use"
            }
            libc::EADDRNOTAVAIL => "; use an address of this machine, or another port",
            libc::EAFNOSUPPORT => "; use an address of a family that this machine has",
            libc::ENETUNREACH | libc::EHOSTUNREACH => "; look at the routes (ip route)",
            libc::ENOENT => "; look at the path",
            libc::ENODEV => "; use an interface of this machine (ip link)",
            libc::EBADF | libc::ENOTSOCK => "; hand in an open socket",
            libc::ENOMEM | libc::ENOBUFS => "; free memory, or raise its limits",
            _ => "",
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({} = {self})", self.0)
    }
}

/// Why the kernel refuses io_uring although it is new enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UringDenied {
    /// `kernel.io_uring_disabled` is 1 and the process is neither privileged nor in
    /// `io_uring_group`.
    SysctlUnprivileged,
    /// `kernel.io_uring_disabled` is 2.
    SysctlAll,
    /// A seccomp filter answers `EPERM` (the default of Docker and containerd).
    SeccompEperm,
    /// A seccomp filter answers `ENOSYS` (the default of Podman).
    SeccompEnosys,
    /// None of the causes that can be told apart from inside.
    Unknown,
}

impl fmt::Display for UringDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SysctlUnprivileged => {
                "the sysctl kernel.io_uring_disabled=1 shuts out unprivileged processes; \
                 set it to 0, or add the group to kernel.io_uring_group"
            }
            Self::SysctlAll => {
                "the sysctl kernel.io_uring_disabled=2 shuts out everyone; set it to 0"
            }
            Self::SeccompEperm => {
                "a seccomp filter denies it (the default of Docker and containerd); run the \
                 container with --security-opt seccomp=<profile that allows io_uring_*>"
            }
            Self::SeccompEnosys => {
                "a seccomp filter hides it (the default of Podman); run the container with \
                 --security-opt seccomp=<profile that allows io_uring_*>"
            }
            Self::Unknown => {
                "neither the sysctl kernel.io_uring_disabled nor a seccomp filter explains it; \
                 look at the security module's log (SELinux, AppArmor)"
            }
        })
    }
}

/// The pools and queues whose exhaustion has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolKind {
    /// Slots of `Config::pool_slot_size`: datagrams, small sends, detached copies.
    Slots,
    /// Stream receive buffers of `Config::stream_buffer_size`.
    StreamBuffers,
    /// 64 KiB buffers for GRO endpoints and large UDP sends.
    GroBuffers,
    /// Jumbo buffers, for messages that straddle stream buffers.
    Jumbo,
    /// The reserve from which `IoHandle` takes send buffers.
    HandleReserve,
    /// Entries of the send queues, shared by all connections.
    SendQueue,
    /// Memory kept alive for guard writes.
    Guards,
    /// Payloads that the application holds as `OwnedSlot`.
    Detached,
    /// The connection table.
    Connections,
    /// The table of listeners and UDP endpoints.
    Endpoints,
    /// The timer wheel.
    Timers,
    /// The table of watched descriptors.
    Watches,
}

impl PoolKind {
    /// The `Config` field that sets its size.
    #[must_use]
    pub const fn config_field(self) -> &'static str {
        match self {
            Self::Slots => "pool_slot_count",
            Self::StreamBuffers => "stream_buffer_count",
            Self::GroBuffers => "gro_buffer_count",
            Self::Jumbo => "jumbo_count",
            Self::HandleReserve => "handle_reserve_count",
            Self::SendQueue => "send_queue_entries",
            Self::Guards => "guard_count",
            Self::Detached => "detached_max_pct",
            Self::Connections => "max_connections",
            Self::Endpoints => "max_endpoints",
            Self::Timers => "max_timers",
            Self::Watches => "max_watches",
        }
    }
}

/// Any failure of this crate's functions.
///
/// `Display` names what failed, the cause and the fix. docs/ERRORS.md has a section for each
/// variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The running kernel lacks what the io_uring backend is built on.
    #[error(
        "Linux {found} is too old: the io_uring backend needs {required} or later; upgrade the \
         kernel"
    )]
    KernelTooOld {
        /// The oldest version that works.
        required: KernelVersion,
        /// The running one.
        found: KernelVersion,
    },
    /// The kernel is new enough and yet refuses io_uring to this process.
    #[error("{syscall} was denied ({errno}): {denied}")]
    UringDenied {
        /// `io_uring_setup`, `io_uring_register` or `io_uring_enter`.
        syscall: &'static str,
        /// What it answered.
        errno: Errno,
        /// The most likely cause, with its fix.
        denied: UringDenied,
    },
    /// `RLIMIT_MEMLOCK` does not leave room for the rings.
    #[error(
        "{syscall} ran out of lockable memory (RLIMIT_MEMLOCK is {limit_bytes} bytes, shared by \
         all processes of the user); raise it (ulimit -l, LimitMEMLOCK=), grant CAP_IPC_LOCK, or \
         lower UringConfig::sq_entries"
    )]
    MemlockLimit {
        /// The call that failed.
        syscall: &'static str,
        /// The soft limit in bytes.
        limit_bytes: u64,
    },
    /// `RLIMIT_NOFILE` or the system's file table is exhausted.
    #[error(
        "{syscall} ran out of file descriptors (RLIMIT_NOFILE is {limit}); raise it (ulimit -n, \
         LimitNOFILE=) or close connections"
    )]
    NofileLimit {
        /// The call that failed.
        syscall: &'static str,
        /// The soft limit.
        limit: u64,
    },
    /// `stream_read` on a transport that pushes.
    #[error("{protocol} streams cannot be pulled: data arrives as Event::StreamFrame")]
    StreamNotPullable {
        /// The connection's protocol.
        protocol: Protocol,
    },
    /// The operating system or processor is not served. Nothing returns it today: the crate does
    /// not compile there.
    #[error("not supported on {platform}: zero-io needs Linux on a 64-bit machine")]
    NotSupportedOnPlatform {
        /// What was found.
        platform: &'static str,
    },
    /// The running backend or kernel lacks one capability.
    #[error(
        "{feature} is not available on the {backend} backend of this machine: set its knob to \
         Auto, or do without (docs/KERNEL.md has what each kernel adds)"
    )]
    NotSupportedOnBackend {
        /// `io_uring` or `sim`.
        backend: &'static str,
        /// The capability.
        feature: &'static str,
    },
    /// A pool or table is empty. Nothing was accepted; try again after the next `poll`.
    #[error(
        "{pool:?} is exhausted; retry after the next poll (Event::Writable, Event::PoolPressure \
         tell when), or raise Config::{}", .pool.config_field()
    )]
    PoolExhausted {
        /// Which.
        pool: PoolKind,
    },
    /// A name could not be resolved. No call of [`Io`](crate::Io) returns it: a connect says so
    /// later, by `Event::Disconnected` with [`code::RESOLVE_FAILED`](crate::code::RESOLVE_FAILED).
    #[error("the host name could not be resolved; check the name and /etc/resolv.conf")]
    DnsError,
    /// A connection was not established in time. No call of [`Io`](crate::Io) returns it: a connect
    /// says so later, by `Event::Disconnected` with
    /// [`code::CONNECT_TIMEOUT`](crate::code::CONNECT_TIMEOUT).
    #[error(
        "the connection was not established within {timeout_ms} ms; check the peer or raise \
         connect_timeout"
    )]
    ConnectTimeout {
        /// The limit that passed.
        timeout_ms: u64,
    },
    /// A TLS handshake failed. No call of [`Io`](crate::Io) returns it: the end of the connection
    /// says so, with a code that [`code::tls_alert`](crate::code::tls_alert) reads.
    #[error(
        "the TLS handshake failed with alert {alert}; check certificates and versions on both sides"
    )]
    TlsHandshakeFailed {
        /// The TLS alert, RFC 8446 §6.
        alert: u8,
    },
    /// A TLS configuration is refused. Nothing returns it without the feature `tls`, whose
    /// `TlsConfigError` also has the file and becomes this one by `?`.
    #[error("the TLS configuration is refused{}: {fault}", AtLine(*.line))]
    TlsConfig {
        /// What is wrong.
        fault: TlsConfigFault,
        /// The line of the file or text, from 1; 0 when there is none.
        line: u32,
    },
    /// A request of the ops protocol was not signed with the shared key. Kept for the ops API,
    /// which is not there yet.
    #[error("the HMAC of the ops request does not match; check the shared key on both sides")]
    HmacMismatch,
    /// A nonce of the ops protocol was seen before. Kept for the ops API, too.
    #[error(
        "the nonce of the ops request was seen before; a request must be signed anew for each try"
    )]
    NonceReplay,
    /// The ops profile does not allow the operation. Kept for the ops API, too.
    #[error("the active ops profile forbids this operation; use a profile that allows it")]
    ProfileForbidden,
    /// A configuration field is out of its range.
    #[error("{field} = {value} is out of range: {range}")]
    InvalidConfig {
        /// The field, with the name of its struct.
        field: &'static str,
        /// What it was set to.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// An argument cannot be used.
    #[error("invalid {what}: {why}")]
    InvalidArgument {
        /// The argument.
        what: &'static str,
        /// What is wrong with it, and what would be right.
        why: &'static str,
    },
    /// The connection is ending or over, or never was.
    #[error(
        "{conn} is not open: it has ended (its Disconnected event came or is on its way), or it \
         belongs to another Io; drop the id"
    )]
    StaleConn {
        /// The id that was used.
        conn: ConnId,
    },
    /// Bytes that came in the clear wait to be handed out on a connection that is to be upgraded
    /// to TLS: a peer that follows the protocol sends none (RFC 3207 §5).
    #[error("{conn} has unread bytes that came before TLS: an injection; close the connection")]
    PlaintextPending {
        /// The connection.
        conn: ConnId,
    },
    /// The endpoint does not exist any more, or never did.
    #[error("{endpoint} is not open: it was closed, or it belongs to another Io")]
    StaleEndpoint {
        /// The id that was used.
        endpoint: EndpointId,
    },
    /// The endpoint exists but is of another kind.
    #[error(
        "{endpoint} is a {protocol} endpoint, which cannot do this: use the id of one that can"
    )]
    WrongEndpoint {
        /// The id that was used.
        endpoint: EndpointId,
        /// What it is.
        protocol: Protocol,
    },
    /// The connection is still being established.
    #[error("{conn} is not connected yet: wait for Event::Connected")]
    NotConnected {
        /// The id that was used.
        conn: ConnId,
    },
    /// A client may not move yet: its handshake is done, and the server has not confirmed it.
    #[error(
        "{conn} cannot move yet: its server has not confirmed the handshake, which takes a round \
         trip from Event::Connected on; call again after the next poll"
    )]
    HandshakeUnconfirmed {
        /// The connection that is not confirmed, of those that share the socket.
        conn: ConnId,
    },
    /// The sending side was shut down, or the connection is closing.
    #[error(
        "{conn} no longer takes data: its sending side was shut down or it is closing; what was \
         accepted before is still sent, drop what is left"
    )]
    WriteClosed {
        /// The id that was used.
        conn: ConnId,
    },
    /// A stream number that the connection does not have.
    #[error(
        "{conn} has no such stream, or not this direction of it, or not any more; TCP and Unix \
         connections have StreamId::ZERO alone"
    )]
    NoSuchStream {
        /// The connection.
        conn: ConnId,
    },
    /// The peer does not let more QUIC streams be opened now.
    #[error(
        "the peer of {conn} takes no more {dir:?} streams now: Event::StreamsAvailable tells when"
    )]
    StreamLimit {
        /// The connection.
        conn: ConnId,
        /// Of which kind.
        dir: StreamDir,
    },
    /// The peer asked that no more be sent on a QUIC stream (STOP_SENDING).
    #[error(
        "the peer of {conn} does not want the rest of the stream (its code: {error_code}), which \
         was reset; open another"
    )]
    StreamStopped {
        /// The connection.
        conn: ConnId,
        /// The peer application's reason.
        error_code: u64,
    },
    /// The peer takes no datagrams, or we take none (`QuicTransport::datagrams`).
    #[error("{conn} has no datagrams: both sides must allow them (QuicTransport::datagrams)")]
    DatagramsUnsupported {
        /// The connection.
        conn: ConnId,
    },
    /// Nothing can be sent on a QUIC connection before its handshake is done, or it is done.
    #[error(
        "{conn} sends no early data: that takes QuicConnectConfig::early_data, an unused ticket of \
         a server that allows it, and a handshake under way; send after Connected"
    )]
    EarlyDataUnavailable {
        /// The connection.
        conn: ConnId,
    },
    /// The connection's protocol has nothing of the kind.
    #[error(
        "{protocol} connections have no {what}: Event::Connected has the protocol, ask one that \
         does"
    )]
    NotForProtocol {
        /// The connection's protocol.
        protocol: Protocol,
        /// What was asked for.
        what: &'static str,
    },
    /// The connection has no such request that waits for an answer: it was answered, its time ran
    /// out, or it never was. Nothing returns it without the feature `http`.
    #[error(
        "{conn} has no request {request} to be answered: it was answered already, or timed out"
    )]
    NoSuchRequest {
        /// The connection.
        conn: ConnId,
        /// The request's number.
        request: u64,
    },
    /// A bounded queue is full. Nothing was accepted.
    #[error("the {queue} queue is full ({capacity} entries); retry after the next poll")]
    QueueFull {
        /// Which.
        queue: &'static str,
        /// Its bound.
        capacity: usize,
    },
    /// The datagram exceeds what the socket can send.
    #[error("a datagram of {len} bytes does not fit: at most {max} bytes here; split the message")]
    DatagramTooLarge {
        /// The payload's length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// No buffer class holds that much.
    #[error("{len} bytes do not fit a buffer: the largest class holds {max}; split the message")]
    BufferTooLarge {
        /// What was asked for.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The shard of this handle was dropped. What it had not done yet is dropped.
    #[error("the Io of this handle is gone; nothing was sent")]
    IoGone,
    /// A routing strategy that was asked for by name cannot be had.
    #[error("{0}; RoutingStrategy::Auto takes what there is")]
    RoutingRefused(RoutingRefusal),
    /// The shard does not run: it is not grown yet, or it ended. Nothing was sent.
    #[error("shard {shard} does not run: it is not grown yet, or it ended; nothing was sent")]
    ShardDown {
        /// Its number.
        shard: u16,
    },
    /// The shard is starting or draining, or the whole cluster is.
    #[error("shard {shard} is starting or draining already; ask again when it is ready")]
    ClusterBusy {
        /// Its number.
        shard: u16,
    },
    /// The cluster has no shard of that number.
    #[error("there is no shard {shard}: this cluster has {shards}, counted from 0")]
    NoSuchShard {
        /// The number.
        shard: u16,
        /// How many there are.
        shards: u16,
    },
    /// The connection cannot be handed over to another shard. It is where it was.
    #[error("{conn} cannot be handed over to another shard: {why}")]
    NotMovable {
        /// Which.
        conn: ConnId,
        /// What keeps it.
        why: &'static str,
    },
    /// The process forked, and the ring belongs to the parent.
    #[error(
        "this Io belongs to the parent process: an io_uring cannot be used after fork; make \
         a new Io"
    )]
    Forked,
    /// The address is in use by another socket.
    #[error("{addr} is in use; choose another port, or close its owner")]
    AddrInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// A system call failed for a reason without a variant of its own.
    #[error("{op} failed: {errno}{}", .errno.fix())]
    Os {
        /// The call.
        op: &'static str,
        /// Its answer.
        errno: Errno,
    },
}

/// ` at line N`, or nothing.
struct AtLine(u32);

impl fmt::Display for AtLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            line => write!(f, " at line {line}"),
        }
    }
}

impl IoError {
    /// The zero-io error inside a `std::io::Error` that was made from one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }

    /// Whether the same call may succeed after the next `poll`, with nothing else changed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::PoolExhausted { .. }
                | Self::QueueFull { .. }
                | Self::NotConnected { .. }
                | Self::HandshakeUnconfirmed { .. }
        )
    }

    pub(crate) const fn exhausted(pool: PoolKind) -> Self {
        Self::PoolExhausted { pool }
    }

    pub(crate) const fn os(op: &'static str, errno: i32) -> Self {
        Self::Os { op, errno: Errno(errno) }
    }
}

impl From<IoError> for io::Error {
    fn from(error: IoError) -> Self {
        use io::ErrorKind as K;
        let kind = match &error {
            IoError::KernelTooOld { .. }
            | IoError::NotSupportedOnPlatform { .. }
            | IoError::NotSupportedOnBackend { .. }
            | IoError::DatagramsUnsupported { .. }
            | IoError::EarlyDataUnavailable { .. }
            | IoError::NotForProtocol { .. }
            | IoError::RoutingRefused(_)
            | IoError::StreamNotPullable { .. } => K::Unsupported,
            IoError::UringDenied { .. } | IoError::ProfileForbidden | IoError::HmacMismatch => {
                K::PermissionDenied
            }
            IoError::MemlockLimit { .. } | IoError::NofileLimit { .. } => K::OutOfMemory,
            IoError::PoolExhausted { .. }
            | IoError::QueueFull { .. }
            | IoError::ClusterBusy { .. }
            | IoError::HandshakeUnconfirmed { .. }
            | IoError::StreamLimit { .. } => K::WouldBlock,
            IoError::ConnectTimeout { .. } => K::TimedOut,
            IoError::InvalidConfig { .. }
            | IoError::TlsConfig { .. }
            | IoError::InvalidArgument { .. }
            | IoError::DatagramTooLarge { .. }
            | IoError::BufferTooLarge { .. }
            | IoError::WrongEndpoint { .. }
            | IoError::NoSuchRequest { .. }
            | IoError::NoSuchShard { .. }
            | IoError::NotMovable { .. }
            | IoError::NoSuchStream { .. } => K::InvalidInput,
            IoError::StaleConn { .. }
            | IoError::StaleEndpoint { .. }
            | IoError::NotConnected { .. } => K::NotConnected,
            IoError::WriteClosed { .. }
            | IoError::StreamStopped { .. }
            | IoError::ShardDown { .. }
            | IoError::IoGone => K::BrokenPipe,
            IoError::AddrInUse { .. } => K::AddrInUse,
            IoError::Os { errno, .. } => errno.kind(),
            _ => K::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_round_trip_through_std() {
        let e = IoError::exhausted(PoolKind::Slots);
        let std: io::Error = e.into();
        assert_eq!(std.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(IoError::of(&std), Some(e));
        assert_eq!(IoError::of(&io::Error::other("foreign")), None);
    }

    #[test]
    fn names_the_fix() {
        let text = IoError::exhausted(PoolKind::Jumbo).to_string();
        assert!(text.contains("jumbo_count"), "{text}");
        let text = IoError::os("bind", libc::EACCES).to_string();
        assert!(text.contains("bind") && text.contains("denied"), "{text}");
    }

    #[test]
    fn stays_small() {
        assert!(size_of::<IoError>() <= 48, "{}", size_of::<IoError>());
    }
}
