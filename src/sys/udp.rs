//! UDP sockets, udp(7), ip(7), ipv6(7).
//!
//! Role: turn a configuration into socket options, receive and send batches, join groups. Not role:
//! cutting trains of datagrams into datagrams.
//!
//! *Invariant*: an IPv6 socket that also takes IPv4 has the options of both families set, since
//! each works on its own family's packets alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::addr::SockAddr;
use super::batch::{RecvBatch, SendBatch};
use super::socket::{NewSocket, optional_int, set_option};
use super::{check, errno};
use crate::config::{MulticastGroup, UdpEndpointConfig};
use crate::error::{IoError, Result};

const V4: i32 = libc::IPPROTO_IP;
const V6: i32 = libc::IPPROTO_IPV6;
/// The longest payload: what is left of an IPv6 packet of 64 KiB after the UDP header.
const DATAGRAM_MAX: usize = 65_527;
const SEND_QUEUE_MAX: usize = 65_536;

/// A bound socket.
pub(crate) fn bind(config: &UdpEndpointConfig) -> Result<i32> {
    validate(config)?;
    let recv = optional_int("UdpEndpointConfig::recv_buffer", config.recv_buffer)?;
    let send = optional_int("UdpEndpointConfig::send_buffer", config.send_buffer)?;
    let family = SockAddr::from(config.bind).family();
    let socket = NewSocket::new(family, libc::SOCK_DGRAM, 0)?;
    let sol = libc::SOL_SOCKET;
    socket.switch_on("SO_REUSEADDR", sol, libc::SO_REUSEADDR, config.reuseaddr)?;
    socket.switch_on("SO_REUSEPORT", sol, libc::SO_REUSEPORT, config.reuseport)?;
    socket.switch_on("SO_BROADCAST", sol, libc::SO_BROADCAST, config.broadcast)?;
    socket.switch_on("SO_TIMESTAMPNS", sol, libc::SO_TIMESTAMPNS, config.timestamps)?;
    socket.switch_on("UDP_GRO", libc::SOL_UDP, libc::UDP_GRO, config.gro)?;
    socket.set_buffers(recv, send)?;
    let is_v6 = config.bind.is_ipv6();
    if is_v6 {
        socket.set("IPV6_V6ONLY", V6, libc::IPV6_V6ONLY, i32::from(!config.dual_stack))?;
        set_v6(&socket, config)?;
    }
    if !is_v6 || config.dual_stack {
        set_v4(&socket, config)?;
    }
    socket.bind(config.bind)?;
    if let Some(peer) = config.connect {
        let peer = SockAddr::from(peer).for_family(family);
        // SAFETY: pointer and length describe a whole address, which outlives the call.
        check("connect", unsafe { libc::connect(socket.fd(), peer.as_ptr(), peer.len()) })?;
    }
    Ok(socket.release())
}

fn validate(config: &UdpEndpointConfig) -> Result<()> {
    let range = |field, value: usize, ok, range| {
        if ok { Ok(()) } else { Err(IoError::InvalidConfig { field, value: value as u64, range }) }
    };
    if let Some(max) = config.datagram_max {
        let ok = (1..=DATAGRAM_MAX).contains(&max);
        range("UdpEndpointConfig::datagram_max", max, ok, "1 to 65,527")?;
    }
    let queue = config.send_queue;
    let ok = (1..=SEND_QUEUE_MAX).contains(&queue);
    range("UdpEndpointConfig::send_queue", queue, ok, "1 to 65,536")?;
    range("UdpEndpointConfig::ttl", 0, config.ttl != Some(0), "1 to 255")?;
    let why = "an IPv4 socket, or an IPv6 one without dual_stack, cannot reach the other family";
    let mismatch = config.connect.is_some_and(|peer| match (config.bind, peer) {
        (SocketAddr::V4(_), SocketAddr::V6(_)) => true,
        (SocketAddr::V6(_), SocketAddr::V4(_)) => !config.dual_stack,
        _ => false,
    });
    if mismatch {
        return Err(IoError::InvalidArgument { what: "UdpEndpointConfig::connect", why });
    }
    Ok(())
}

fn set_v4(socket: &NewSocket, config: &UdpEndpointConfig) -> Result<()> {
    socket.switch_on("IP_PKTINFO", V4, libc::IP_PKTINFO, config.local_addr)?;
    socket.switch_on("IP_RECVTOS", V4, libc::IP_RECVTOS, config.ecn)?;
    // Without this a socket hears every group that any socket of the machine has joined.
    socket.set("IP_MULTICAST_ALL", V4, libc::IP_MULTICAST_ALL, 0)?;
    let loop_back = i32::from(config.multicast_loop);
    socket.set("IP_MULTICAST_LOOP", V4, libc::IP_MULTICAST_LOOP, loop_back)?;
    if config.tos != 0 {
        socket.set("IP_TOS", V4, libc::IP_TOS, i32::from(config.tos))?;
    }
    if let Some(ttl) = config.ttl {
        socket.set("IP_TTL", V4, libc::IP_TTL, i32::from(ttl))?;
    }
    if let Some(ttl) = config.multicast_ttl {
        socket.set("IP_MULTICAST_TTL", V4, libc::IP_MULTICAST_TTL, i32::from(ttl))?;
    }
    if let Some(interface) = config.multicast_interface_v4 {
        let raw = in_addr(interface);
        set_option(socket.fd(), "IP_MULTICAST_IF", V4, libc::IP_MULTICAST_IF, &raw)?;
    }
    if config.dont_fragment {
        socket.set("IP_MTU_DISCOVER", V4, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    }
    Ok(())
}

fn set_v6(socket: &NewSocket, config: &UdpEndpointConfig) -> Result<()> {
    socket.switch_on("IPV6_RECVPKTINFO", V6, libc::IPV6_RECVPKTINFO, config.local_addr)?;
    socket.switch_on("IPV6_RECVTCLASS", V6, libc::IPV6_RECVTCLASS, config.ecn)?;
    socket.set("IPV6_MULTICAST_ALL", V6, libc::IPV6_MULTICAST_ALL, 0)?;
    let loop_back = i32::from(config.multicast_loop);
    socket.set("IPV6_MULTICAST_LOOP", V6, libc::IPV6_MULTICAST_LOOP, loop_back)?;
    if config.tos != 0 {
        socket.set("IPV6_TCLASS", V6, libc::IPV6_TCLASS, i32::from(config.tos))?;
    }
    if let Some(hops) = config.ttl {
        socket.set("IPV6_UNICAST_HOPS", V6, libc::IPV6_UNICAST_HOPS, i32::from(hops))?;
    }
    if let Some(hops) = config.multicast_ttl {
        socket.set("IPV6_MULTICAST_HOPS", V6, libc::IPV6_MULTICAST_HOPS, i32::from(hops))?;
    }
    if let Some(interface) = config.multicast_interface_v6 {
        set_option(socket.fd(), "IPV6_MULTICAST_IF", V6, libc::IPV6_MULTICAST_IF, &interface)?;
    }
    if config.dont_fragment {
        let probe = libc::IPV6_PMTUDISC_PROBE;
        socket.set("IPV6_MTU_DISCOVER", V6, libc::IPV6_MTU_DISCOVER, probe)?;
    }
    Ok(())
}

/// Receives into the wanted buffers; how many were used. 0: no datagram is there.
///
/// # Errors
/// [`IoError::Os`]: a pending error of the socket, such as `ECONNREFUSED` in connected mode. It is
/// thereby cleared; the socket goes on.
pub(crate) fn recv(fd: i32, batch: &mut RecvBatch) -> Result<usize> {
    let room = batch.wanted();
    if room == 0 {
        return Ok(0);
    }
    let headers = batch.prepare();
    let flags = libc::MSG_DONTWAIT as _;
    let count = retry_interrupted(|| {
        // SAFETY: `prepare` made `room` headers whose buffers the batch's owner keeps alive; there
        // is no time limit.
        unsafe { libc::recvmmsg(fd, headers, room as u32, flags, std::ptr::null_mut()) }
    });
    match count {
        Ok(count) => {
            batch.collect(count);
            Ok(count)
        }
        Err(libc::EAGAIN) => Ok(0),
        Err(code) => Err(IoError::os("recvmmsg", code)),
    }
}

/// Sends the staged datagrams in order; how many the kernel took. 0: it takes none now.
///
/// # Errors
/// [`IoError::Os`]: the *first* staged datagram cannot be sent, or a pending error of the socket
/// was reported in its place. None was taken. The caller drops the first and goes on.
pub(crate) fn send(fd: i32, batch: &mut SendBatch) -> Result<usize> {
    let staged = batch.len();
    if staged == 0 {
        return Ok(0);
    }
    let headers = batch.prepare();
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
    let count = retry_interrupted(|| {
        // SAFETY: `prepare` made `staged` headers whose buffers the batch's owner keeps alive.
        unsafe { libc::sendmmsg(fd, headers, staged as u32, flags) }
    });
    match count {
        Err(libc::EAGAIN) => Ok(0),
        other => other.map_err(|code| IoError::os("sendmmsg", code)),
    }
}

fn retry_interrupted(mut call: impl FnMut() -> i32) -> Result<usize, i32> {
    /// A signal can come once; a storm of them ends as "none now".
    const INTERRUPTIONS_MAX: usize = 16;
    for _ in 0..INTERRUPTIONS_MAX {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => match errno() {
                libc::EINTR => {}
                code => return Err(code),
            },
        }
    }
    Err(libc::EAGAIN)
}

/// Joins or leaves a group.
///
/// # Errors
/// [`IoError::InvalidArgument`] when it is not a group, or the source is of the other family;
/// [`IoError::Os`] with `ENOBUFS` beyond `igmp_max_memberships` (20 by default) on one socket.
pub(crate) fn multicast(fd: i32, group: &MulticastGroup, join: bool) -> Result<()> {
    match *group {
        MulticastGroup::AnySource { group, interface } => {
            check_group(group.into())?;
            let request =
                libc::ip_mreq { imr_multiaddr: in_addr(group), imr_interface: in_addr(interface) };
            let options = [
                ("IP_ADD_MEMBERSHIP", libc::IP_ADD_MEMBERSHIP),
                ("IP_DROP_MEMBERSHIP", libc::IP_DROP_MEMBERSHIP),
            ];
            change(fd, V4, options, join, &request)
        }
        MulticastGroup::AnySourceV6 { group, interface } => {
            check_group(group.into())?;
            let request =
                libc::ipv6_mreq { ipv6mr_multiaddr: in6_addr(group), ipv6mr_interface: interface };
            let options = [
                ("IPV6_ADD_MEMBERSHIP", libc::IPV6_ADD_MEMBERSHIP),
                ("IPV6_DROP_MEMBERSHIP", libc::IPV6_DROP_MEMBERSHIP),
            ];
            change(fd, V6, options, join, &request)
        }
        MulticastGroup::SourceSpecific { group, source, interface_v4, interface_v6 } => {
            check_group(group)?;
            match (group, source) {
                (IpAddr::V4(group), IpAddr::V4(source)) => {
                    source_v4(fd, group, source, interface_v4, join)
                }
                (IpAddr::V6(group), IpAddr::V6(source)) => {
                    source_v6(fd, group, source, interface_v6, join)
                }
                _ => Err(IoError::InvalidArgument {
                    what: "MulticastGroup::source",
                    why: "it is not of the group's address family",
                }),
            }
        }
    }
}

fn check_group(group: IpAddr) -> Result<()> {
    if group.is_multicast() {
        return Ok(());
    }
    let why = "it is not a multicast address (224.0.0.0/4 or ff00::/8)";
    Err(IoError::InvalidArgument { what: "MulticastGroup::group", why })
}

/// Sets the first option to join, the second to leave.
fn change<T: Copy>(
    fd: i32,
    level: i32,
    options: [(&'static str, i32); 2],
    join: bool,
    request: &T,
) -> Result<()> {
    let (name, option) = options[usize::from(!join)];
    set_option(fd, name, level, option, request)
}

fn source_v4(
    fd: i32,
    group: Ipv4Addr,
    source: Ipv4Addr,
    interface: Ipv4Addr,
    join: bool,
) -> Result<()> {
    let request = libc::ip_mreq_source {
        imr_multiaddr: in_addr(group),
        imr_interface: in_addr(interface),
        imr_sourceaddr: in_addr(source),
    };
    let options = [
        ("IP_ADD_SOURCE_MEMBERSHIP", libc::IP_ADD_SOURCE_MEMBERSHIP),
        ("IP_DROP_SOURCE_MEMBERSHIP", libc::IP_DROP_SOURCE_MEMBERSHIP),
    ];
    change(fd, V4, options, join, &request)
}

fn source_v6(fd: i32, group: Ipv6Addr, source: Ipv6Addr, interface: u32, join: bool) -> Result<()> {
    // SAFETY: all zeroes is a valid value of this structure of numbers.
    let mut request: libc::group_source_req = unsafe { std::mem::zeroed() };
    request.gsr_interface = interface;
    request.gsr_group = storage(group);
    request.gsr_source = storage(source);
    let options = [
        ("MCAST_JOIN_SOURCE_GROUP", libc::MCAST_JOIN_SOURCE_GROUP),
        ("MCAST_LEAVE_SOURCE_GROUP", libc::MCAST_LEAVE_SOURCE_GROUP),
    ];
    change(fd, V6, options, join, &request)
}

fn storage(ip: Ipv6Addr) -> libc::sockaddr_storage {
    let addr = SockAddr::from(SocketAddr::new(ip.into(), 0));
    // SAFETY: all zeroes is a valid value of this structure of numbers.
    let mut out: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: the storage is larger than any address that a `SockAddr` holds.
    unsafe {
        std::ptr::copy_nonoverlapping(
            addr.as_ptr().cast::<u8>(),
            (&raw mut out).cast::<u8>(),
            addr.len() as usize,
        );
    }
    out
}

const fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

const fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr { s6_addr: ip.octets() }
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
