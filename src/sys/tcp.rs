//! TCP sockets, tcp(7).
//!
//! Role: turn a configuration into socket options, and read `TCP_INFO`. Not role: connecting, time
//! limits, framing; the engine does that.
//!
//! *Invariant*: a connection inherits all of these options from its listener, so that accepting one
//! costs no further call.

use std::time::Duration;

use super::addr::SockAddr;
use super::socket::{NewSocket, POSITIVE_INT, int, optional_int, read_option};
use super::sockopt::TcpInfo;
use crate::config::{Keepalive, TcpConnectConfig, TcpListenConfig};
use crate::error::{IoError, Result};

/// The kernel's limit on keep-alive times, seconds.
const KEEPALIVE_SECS_MAX: u64 = 32_767;
const KEEPALIVE_COUNT_MAX: u8 = 127;
const TCP: i32 = libc::IPPROTO_TCP;

/// A listening socket.
pub(crate) fn listen(config: &TcpListenConfig) -> Result<i32> {
    const BACKLOG: &str = "TcpListenConfig::backlog";
    let backlog = int(BACKLOG, u64::from(config.backlog), 1, POSITIVE_INT)?;
    let fastopen = int(
        "TcpListenConfig::fastopen_queue",
        u64::from(config.fastopen_queue),
        0,
        "up to 2^31-1",
    )?;
    let recv = optional_int("TcpListenConfig::recv_buffer", config.recv_buffer)?;
    let send = optional_int("TcpListenConfig::send_buffer", config.send_buffer)?;
    let socket = NewSocket::new(SockAddr::from(config.addr).family(), libc::SOCK_STREAM, 0)?;
    // A restart must not wait for the connections of its predecessor to leave TIME-WAIT.
    socket.set("SO_REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    socket.switch_on("SO_REUSEPORT", libc::SOL_SOCKET, libc::SO_REUSEPORT, config.reuseport)?;
    if config.addr.is_ipv6() {
        let only = i32::from(!config.dual_stack);
        socket.set("IPV6_V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only)?;
    }
    socket.set_buffers(recv, send)?;
    set_stream(&socket, config.nodelay, config.keepalive, config.user_timeout)?;
    socket.bind(config.addr)?;
    if fastopen > 0 {
        socket.set("TCP_FASTOPEN", TCP, libc::TCP_FASTOPEN, fastopen)?;
    }
    socket.listen(backlog, Some(config.addr))?;
    Ok(socket.release())
}

/// Whether the options of a socket to be can be set: before a host is looked up for it.
pub(crate) fn check_connecting(config: &TcpConnectConfig) -> Result<()> {
    buffers_of(config)?;
    config.keepalive.map_or(Ok(()), |keepalive| keepalive_values(keepalive).map(drop))?;
    config.user_timeout.map_or(Ok(()), |limit| user_timeout_ms(limit).map(drop))
}

fn buffers_of(config: &TcpConnectConfig) -> Result<(Option<i32>, Option<i32>)> {
    let recv = optional_int("TcpConnectConfig::recv_buffer", config.recv_buffer)?;
    let send = optional_int("TcpConnectConfig::send_buffer", config.send_buffer)?;
    Ok((recv, send))
}

/// A socket that is ready to be connected to `peer`.
pub(crate) fn connecting(config: &TcpConnectConfig, peer: &SockAddr) -> Result<i32> {
    let (recv, send) = buffers_of(config)?;
    let family = peer.family();
    if config.bind.is_some_and(|addr| SockAddr::from(addr).family() != family) {
        return Err(IoError::InvalidArgument {
            what: "TcpConnectConfig::bind",
            why: "it is not of the peer's address family",
        });
    }
    let socket = NewSocket::new(family, libc::SOCK_STREAM, 0)?;
    socket.set_buffers(recv, send)?;
    set_stream(&socket, config.nodelay, config.keepalive, config.user_timeout)?;
    socket.switch_on("TCP_FASTOPEN_CONNECT", TCP, libc::TCP_FASTOPEN_CONNECT, config.fastopen)?;
    if let Some(addr) = config.bind {
        if addr.port() == 0 {
            // The port is then chosen with the peer known: the same one serves several peers.
            let option = libc::IP_BIND_ADDRESS_NO_PORT;
            socket.set("IP_BIND_ADDRESS_NO_PORT", libc::IPPROTO_IP, option, 1)?;
        } else {
            socket.set("SO_REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        }
        socket.bind(addr)?;
    }
    Ok(socket.release())
}

fn set_stream(
    socket: &NewSocket,
    nodelay: bool,
    keepalive: Option<Keepalive>,
    user_timeout: Option<Duration>,
) -> Result<()> {
    socket.switch_on("TCP_NODELAY", TCP, libc::TCP_NODELAY, nodelay)?;
    if let Some(keepalive) = keepalive {
        let (idle, interval, count) = keepalive_values(keepalive)?;
        socket.set("SO_KEEPALIVE", libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        socket.set("TCP_KEEPIDLE", TCP, libc::TCP_KEEPIDLE, idle)?;
        socket.set("TCP_KEEPINTVL", TCP, libc::TCP_KEEPINTVL, interval)?;
        socket.set("TCP_KEEPCNT", TCP, libc::TCP_KEEPCNT, count)?;
    }
    if let Some(limit) = user_timeout {
        let ms = user_timeout_ms(limit)?;
        socket.set("TCP_USER_TIMEOUT", TCP, libc::TCP_USER_TIMEOUT, ms)?;
    }
    Ok(())
}

fn user_timeout_ms(limit: Duration) -> Result<i32> {
    let ms = u64::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    int("user_timeout", ms, 1, "1 ms to 2,147,483,647 ms")
}

fn keepalive_values(keepalive: Keepalive) -> Result<(i32, i32, i32)> {
    let seconds = |field, span: Duration| {
        let secs = span.as_secs();
        if span.subsec_nanos() != 0 || !(1..=KEEPALIVE_SECS_MAX).contains(&secs) {
            let range = "whole seconds, 1 to 32,767";
            return Err(IoError::InvalidConfig { field, value: secs, range });
        }
        Ok(secs as i32)
    };
    let count = keepalive.count;
    if !(1..=KEEPALIVE_COUNT_MAX).contains(&count) {
        return Err(IoError::InvalidConfig {
            field: "Keepalive::count",
            value: u64::from(count),
            range: "1 to 127",
        });
    }
    let idle = seconds("Keepalive::idle", keepalive.idle)?;
    let interval = seconds("Keepalive::interval", keepalive.interval)?;
    Ok((idle, interval, i32::from(count)))
}

/// `TCP_INFO`. A kernel that knows less answers with fewer bytes, and the rest stays 0.
pub(crate) fn info(fd: i32) -> Result<TcpInfo> {
    /// `struct tcp_info` of <linux/tcp.h> up to `tcpi_bytes_retrans`.
    const LEN: usize = 216;
    let mut bytes = [0; LEN];
    read_option(fd, "TCP_INFO", TCP, libc::TCP_INFO, &mut bytes)?;
    let half =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let whole = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    Ok(TcpInfo {
        rtt_us: half(68),
        rtt_var_us: half(72),
        rtt_min_us: half(148),
        cwnd_packets: half(80),
        mss: half(16),
        retransmits_total: half(100),
        lost: half(32),
        bytes_sent: whole(200),
        bytes_acked: whole(120),
        sent_ago: Duration::from_millis(u64::from(half(44))),
        bytes_received: whole(128),
        segs_out: half(136),
        segs_in: half(140),
        delivery_rate: whole(160),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::{FromRawFd, OwnedFd};

    use super::super::socket::{self, int_option};
    use super::*;
    use crate::ids::Protocol;
    use crate::sys::sockopt::Adopted;

    fn own(fd: i32) -> OwnedFd {
        // SAFETY: the tests own what they are handed.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }

    fn localhost() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn accept_one(listener: i32) -> (i32, SockAddr) {
        for _ in 0..2000 {
            if let Some(found) = socket::accept(listener).unwrap() {
                return found;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing to accept");
    }

    #[test]
    fn a_connection_inherits_the_options_of_its_listener() {
        let keepalive =
            Keepalive { idle: Duration::from_secs(7), interval: Duration::from_secs(3), count: 5 };
        let config = TcpListenConfig::new(localhost()).with(|c| {
            c.keepalive = Some(keepalive);
            c.user_timeout = Some(Duration::from_micros(1_500));
            c.recv_buffer = Some(100_000);
            c.send_buffer = Some(50_000);
            c.fastopen_queue = 16;
            c.reuseport = true;
        });
        let listener = listen(&config).unwrap();
        let _owner = own(listener);
        assert_eq!(socket::accept(listener).unwrap(), None);
        assert_eq!(socket::adopt(listener).unwrap(), Adopted::Listener(Protocol::Tcp));
        let addr = socket::local_addr(listener).unwrap().ip().unwrap();
        let client = TcpStream::connect(addr).unwrap();
        let (fd, peer) = accept_one(listener);
        let _conn = own(fd);
        assert_eq!(peer.ip(), Some(client.local_addr().unwrap()));
        assert_eq!(socket::peer_addr(fd).unwrap(), peer);
        assert_eq!(socket::adopt(fd).unwrap(), Adopted::Stream(Protocol::Tcp));
        let expected = [
            (TCP, libc::TCP_NODELAY, 1),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
            (TCP, libc::TCP_KEEPIDLE, 7),
            (TCP, libc::TCP_KEEPINTVL, 3),
            (TCP, libc::TCP_KEEPCNT, 5),
            (TCP, libc::TCP_USER_TIMEOUT, 2),
            (libc::SOL_SOCKET, libc::SO_RCVBUF, 200_000),
            (libc::SOL_SOCKET, libc::SO_SNDBUF, 100_000),
        ];
        for (level, option, value) in expected {
            assert_eq!(int_option(fd, "test", level, option).unwrap(), value, "{level} {option}");
        }
        assert_eq!(socket::recv_buffer_len(fd).unwrap(), 200_000);
        // SAFETY: the calls take no pointers.
        let flags = unsafe { (libc::fcntl(fd, libc::F_GETFL), libc::fcntl(fd, libc::F_GETFD)) };
        assert!(flags.0 & libc::O_NONBLOCK != 0 && flags.1 & libc::FD_CLOEXEC != 0);
    }

    #[test]
    fn a_connecting_socket_has_its_options_and_its_address() {
        let server = std::net::TcpListener::bind(localhost()).unwrap();
        let peer = SockAddr::from(server.local_addr().unwrap());
        let config = TcpConnectConfig::new(server.local_addr().unwrap()).with(|c| {
            c.bind = Some("127.0.0.2:0".parse().unwrap());
            c.fastopen = true;
            c.nodelay = false;
            c.user_timeout = Some(Duration::from_secs(9));
        });
        let fd = connecting(&config, &peer).unwrap();
        let _owner = own(fd);
        assert_eq!(socket::local_addr(fd).unwrap().ip().unwrap().ip().to_string(), "127.0.0.2");
        assert!(matches!(socket::adopt(fd), Err(IoError::InvalidArgument { .. })));
        let read = |option| int_option(fd, "test", TCP, option).unwrap();
        assert_eq!(read(libc::TCP_FASTOPEN_CONNECT), 1);
        assert_eq!(read(libc::TCP_NODELAY), 0);
        assert_eq!(read(libc::TCP_USER_TIMEOUT), 9000);
        let mixed = config.with(|c| c.bind = Some("[::1]:0".parse().unwrap()));
        assert!(matches!(connecting(&mixed, &peer), Err(IoError::InvalidArgument { .. })));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = listen(&TcpListenConfig::new(localhost())).unwrap();
        let _owner = own(first);
        let addr = socket::local_addr(first).unwrap().ip().unwrap();
        let error = listen(&TcpListenConfig::new(addr)).unwrap_err();
        assert_eq!(error, IoError::AddrInUse { addr });
    }

    #[test]
    fn dual_stack_is_as_told() {
        for dual_stack in [true, false] {
            let any: SocketAddr = "[::]:0".parse().unwrap();
            let fd =
                listen(&TcpListenConfig::new(any).with(|c| c.dual_stack = dual_stack)).unwrap();
            let _owner = own(fd);
            let port = socket::local_addr(fd).unwrap().ip().unwrap().port();
            assert_eq!(TcpStream::connect(("127.0.0.1", port)).is_ok(), dual_stack);
        }
    }

    #[test]
    fn bad_values_are_named() {
        let keepalive = |idle_ms, count| {
            let idle = Duration::from_millis(idle_ms);
            Some(Keepalive { idle, interval: Duration::from_secs(1), count })
        };
        let base = TcpListenConfig::new(localhost());
        let bad: [(TcpListenConfig, &str); 6] = [
            (base.clone().with(|c| c.backlog = 0), "backlog"),
            (base.clone().with(|c| c.recv_buffer = Some(0)), "recv_buffer"),
            (base.clone().with(|c| c.keepalive = keepalive(1500, 1)), "Keepalive::idle"),
            (base.clone().with(|c| c.keepalive = keepalive(1000, 128)), "Keepalive::count"),
            (base.clone().with(|c| c.user_timeout = Some(Duration::ZERO)), "user_timeout"),
            (base.with(|c| c.user_timeout = Some(Duration::MAX)), "user_timeout"),
        ];
        for (config, name) in bad {
            let error = listen(&config).unwrap_err();
            assert!(matches!(error, IoError::InvalidConfig { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn info_counts_what_was_sent_and_received() {
        let listener = listen(&TcpListenConfig::new(localhost())).unwrap();
        let _owner = own(listener);
        let addr = socket::local_addr(listener).unwrap().ip().unwrap();
        let mut client = TcpStream::connect(addr).unwrap();
        let (fd, _) = accept_one(listener);
        let mut server = TcpStream::from(own(fd));
        server.set_nonblocking(false).unwrap();
        client.write_all(&[1; 1000]).unwrap();
        server.read_exact(&mut [0; 1000]).unwrap();
        server.write_all(&[2; 300]).unwrap();
        client.read_exact(&mut [0; 300]).unwrap();
        let info = info(fd).unwrap();
        assert_eq!((info.bytes_received, info.bytes_sent), (1000, 300));
        assert!(info.mss > 500 && info.cwnd_packets > 0 && info.rtt_us > 0, "{info:?}");
        assert!(info.segs_in >= 2 && info.segs_out >= 2 && info.retransmits_total == 0, "{info:?}");
    }

    #[test]
    fn linger_zero_makes_the_close_a_reset() {
        let listener = listen(&TcpListenConfig::new(localhost())).unwrap();
        let _owner = own(listener);
        let addr = socket::local_addr(listener).unwrap().ip().unwrap();
        let mut client = TcpStream::connect(addr).unwrap();
        let (fd, _) = accept_one(listener);
        socket::linger_zero(fd).unwrap();
        socket::close(fd);
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
