//! The kernel, or its double: one interface, one enum, one variant per backend.
//!
//! Role: hand operations over, bring completions back, and make the cold system calls (sockets).
//! Not role: any decision. What is asked and answered is written down in [`op`] and in
//! docs/KERNEL.md.
//!
//! *Invariant*: nothing above this module reads a clock, calls the system or touches a ring.

mod bufring;
mod fixed;
pub(crate) mod op;
pub(crate) mod ports;
mod setup;
mod uring;
#[cfg(not(feature = "_sim"))]
#[path = "worlds_off.rs"]
mod worlds;

use std::path::Path;

pub(crate) use op::{Completion, Fd, Op, Sock, Tag, Token, Wait};

use crate::config::{
    Effective, MulticastGroup, TcpConnectConfig, TcpListenConfig, UdpEndpointConfig,
    UdsListenConfig,
};
use crate::error::{Errno, Result};
#[cfg(feature = "_sim")]
use crate::sim::{SimRing, ports as worlds};
use crate::sys::addr::SockAddr;
use crate::sys::batch::{RecvBatch, SendBatch};
use crate::sys::ktls;
use crate::sys::sockopt::{PeerCred, TcpInfo};
use crate::sys::wake::Waker;
use crate::time::Time;
use ports::Passed;
pub(crate) use uring::Uring;

/// Whether the kernel is asked to do TLS at all.
pub(crate) const KTLS: bool = cfg!(feature = "tls-ktls");

/// The backend of one shard.
#[cfg_attr(
    feature = "_sim",
    expect(clippy::large_enum_variant, reason = "there is one ring per shard, in a box")
)]
pub(crate) enum Ring {
    /// io_uring.
    Uring(Uring),
    /// The simulated kernel and network.
    #[cfg(feature = "_sim")]
    Sim(SimRing),
}

impl Ring {
    /// Operations that were pushed and whose last completion was not moved out. Of a simulated ring
    /// its world knows.
    pub(crate) const fn in_flight(&self) -> Option<u64> {
        match self {
            Self::Uring(ring) => Some(ring.in_flight()),
            #[cfg(feature = "_sim")]
            Self::Sim(_) => None,
        }
    }
}

/// Writes one method that every backend has under the same name.
macro_rules! forward {
    ($(
        $(#[$doc:meta])*
        fn $name:ident(&mut self $(, $arg:ident: $ty:ty)* $(,)?) $(-> $ret:ty)?;
    )*) => {
        impl Ring {
            $(
                $(#[$doc])*
                #[inline]
                pub(crate) fn $name(&mut self $(, $arg: $ty)*) $(-> $ret)? {
                    match self {
                        Self::Uring(ring) => ring.$name($($arg),*),
                        #[cfg(feature = "_sim")]
                        Self::Sim(ring) => ring.$name($($arg),*),
                    }
                }
            )*
        }
    };
}

forward! {
    // ---- the ring proper: the hot path

    /// The clock, monotonic.
    fn now(&mut self) -> Time;
    /// Queues one operation; submits on its own account when the queue is full.
    fn push(&mut self, op: Op, token: Token);
    /// Submits what is queued, lets deferred work run, and waits as told for one completion.
    /// `EINTR`, `ETIME`, `EBUSY` and `EAGAIN` are not errors.
    fn enter(&mut self, wait: Wait) -> Result<()>;
    /// Whether `enter(Wait::None)` would do anything.
    fn has_work(&mut self) -> bool;
    /// Moves completions out, oldest first; how many. Those that do not fit stay in the kernel.
    fn reap(&mut self, into: &mut [Completion]) -> usize;

    /// The time of day: whole seconds since 1970.
    fn wall_secs(&mut self) -> u64;
    /// Where the clock's origin lies in the standard library's terms.
    fn instant_base(&mut self) -> std::time::Instant;
    /// Fills `out` with what nobody can guess; in a simulation, with what follows from its seed.
    fn entropy(&mut self, out: &mut [u8]) -> Result<()>;

    // ---- provided buffers

    /// Registers group `group` with room for `entries` buffers (a power of two).
    fn group_register(&mut self, group: u16, entries: u16) -> Result<()>;
    /// Stages one buffer for the kernel. `bid` comes back in [`Completion::buffer`].
    fn group_provide(&mut self, group: u16, bid: u16, ptr: *mut u8, len: u32);
    /// Makes the staged buffers visible to the kernel.
    fn group_publish(&mut self, group: u16);

    // ---- facts

    /// What the kernel gave.
    fn effective(&mut self) -> Effective;
    /// The other threads' way to end an `enter`. Completes with [`Tag::Wake`] while armed.
    fn waker(&mut self) -> Waker;
    /// Arms (or arms again) the wake-up: a multishot poll with token (`Tag::Wake`, 0, 0).
    fn arm_wake(&mut self);

    /// Cancels everything and waits for it, a second at most. True: no operation is left and no
    /// memory named by one is used any more. False: that memory must be leaked.
    fn shutdown(&mut self) -> bool;

    /// Looks a host up. `Some`: the addresses were known at once; `None`: `done` is called with
    /// them later, on another thread where there are threads.
    fn resolve(
        &mut self,
        host: String,
        port: u16,
        done: crate::sys::resolve::Done,
    ) -> Result<crate::sys::resolve::Found>;

    // ---- sockets: cold calls, answered at once. The engine owns the descriptors it gets.

    /// A listening TCP socket.
    fn tcp_listen(&mut self, config: &TcpListenConfig) -> Result<Fd>;
    /// A listening Unix socket.
    fn uds_listen(&mut self, config: &UdsListenConfig) -> Result<Fd>;
    /// The next connection of a listener, non-blocking, with the peer's address; `None` when there
    /// is none.
    fn accept(&mut self, listener: Fd) -> Result<Option<(Fd, SockAddr)>>;
    /// A TCP socket, configured and bound, to be connected to `peer` by [`Op::Connect`].
    fn tcp_socket(&mut self, config: &TcpConnectConfig, peer: &SockAddr) -> Result<Fd>;
    /// A connected Unix socket; `None` when the listener's backlog is full.
    fn uds_connect(&mut self, path: &Path) -> Result<Option<Fd>>;
    /// A UDP socket, configured and bound.
    fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<Fd>;
    /// Receives into the staged buffers; how many were used. 0: no datagram is there. An error
    /// clears a pending error of the socket, which goes on.
    fn udp_recv(&mut self, fd: Fd, batch: &mut RecvBatch) -> Result<usize>;
    /// Sends the staged datagrams in order; how many the kernel took. 0: it takes none now. An
    /// error concerns the first staged one: drop it and go on.
    fn udp_send(&mut self, fd: Fd, batch: &mut SendBatch) -> Result<usize>;
    /// Joins or leaves a group.
    fn multicast(&mut self, fd: Fd, group: &MulticastGroup, join: bool) -> Result<()>;
    /// The socket's own address.
    fn local_addr(&mut self, fd: Fd) -> Result<SockAddr>;
    /// The peer's address.
    fn peer_addr(&mut self, fd: Fd) -> Result<SockAddr>;
    /// Whether a descriptor from outside is a listening stream socket, a connected one, or a UDP
    /// socket; it is made non-blocking.
    fn adopt(&mut self, fd: Fd) -> Result<crate::sys::sockopt::Adopted>;
    /// Takes in what was passed; the engine owns the descriptor from here on.
    fn import(&mut self, passed: Passed) -> Result<Fd>;
    /// What a braked listener accepted drops nothing.
    fn release_brake(&mut self, fd: Fd);
    /// Gives a descriptor away, on which nothing is under way.
    fn export(&mut self, fd: Fd) -> Result<Passed>;
    /// `TCP_INFO`.
    fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo>;
    /// `SO_PEERCRED`.
    fn peer_cred(&mut self, fd: Fd) -> Result<PeerCred>;
    /// The size of the receive buffer that the kernel really gave.
    fn recv_buffer_len(&mut self, fd: Fd) -> Result<u32>;
    /// With linger 0 the close is a reset, RFC 9293 §3.10.7.
    fn linger_zero(&mut self, fd: Fd) -> Result<()>;

    // ---- the kernel's TLS: cold calls too

    /// Lets the kernel do the records of one direction from here on, or gives it the next key.
    fn ktls_hand_over(
        &mut self,
        fd: Fd,
        side: ktls::Side,
        key: &ktls::Key<'_>,
    ) -> std::result::Result<(), ktls::Refusal>;
    /// The number of the next record that the kernel seals.
    fn ktls_seq(&mut self, fd: Fd, suite: ktls::Suite) -> Option<u64>;
    /// Sends one record that is no data; whole, or not at all (`EAGAIN`).
    fn ktls_send(
        &mut self,
        fd: Fd,
        kind: u8,
        content: &[u8],
    ) -> std::result::Result<(), Errno>;
    /// Takes the record at the front: its type, and its length.
    fn ktls_recv(&mut self, fd: Fd, room: &mut [u8]) -> std::result::Result<(u8, usize), Errno>;
    /// Bytes that TCP was handed ever, up to a constant: at the least, or exactly if that can be
    /// told at the moment.
    fn tcp_handed(&mut self, fd: Fd, exactly: bool) -> Option<u64>;

    // ----

    /// Sends up to `len` bytes of a file, from byte `at` on, to a non-blocking stream socket;
    /// answers as a completion: a count (0: the file ends there), or a negative errno. After
    /// `EAGAIN` a poll for `POLLOUT` completes when there is room, or the socket has failed.
    fn sendfile(&mut self, fd: Fd, file: Fd, at: u64, len: usize) -> i32;
    /// Sends what precedes a file; answers as `sendfile`.
    fn send_before_file(&mut self, fd: Fd, data: &[u8]) -> i32;
    /// Reads a file from byte `at` on; answers as `sendfile`.
    fn read_file(&mut self, file: Fd, at: u64, into: &mut [u8]) -> i32;
    /// Closes a descriptor on which nothing is under way.
    fn close_now(&mut self, fd: Fd);
}
