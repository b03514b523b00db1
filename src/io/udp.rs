//! UDP and multicast.

use std::net::SocketAddr;

use super::split::both;
use crate::config::{MulticastGroup, UdpEndpointConfig};
use crate::error::{IoError, Result};
use crate::ids::EndpointId;
use crate::pool::SendBuffer;

/// How a buffer is sent, where the plain `udp_send` does not say enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UdpTransmit {
    /// The peer; `None` in connected mode.
    pub to: Option<SocketAddr>,
    /// Cut the buffer into datagrams of so many bytes (the last may be shorter), at most 64, all
    /// handed to the kernel at once (`UDP_SEGMENT`). 0: one datagram.
    pub segment: u16,
    /// ECN bits of this datagram, RFC 3168; `None`: the socket's.
    pub ecn: Option<u8>,
}

impl UdpTransmit {
    /// One datagram to that peer.
    #[must_use]
    pub const fn to(peer: SocketAddr) -> Self {
        Self { to: Some(peer), segment: 0, ecn: None }
    }

    /// The same, cut into datagrams of `len` bytes.
    #[must_use]
    pub const fn with_segment(mut self, len: u16) -> Self {
        self.segment = len;
        self
    }

    /// The same, with these ECN bits.
    #[must_use]
    pub const fn with_ecn(mut self, ecn: u8) -> Self {
        self.ecn = Some(ecn);
        self
    }
}

both! {
    /// Binds a UDP socket with the defaults of [`UdpEndpointConfig`].
    ///
    /// # Errors
    /// As [`udp_bind_with`](Self::udp_bind_with).
    pub fn udp_bind(&mut self_, addr: SocketAddr) -> Result<EndpointId> {
        self_.udp_bind(&UdpEndpointConfig::new(addr))
    }

    /// Binds a UDP socket. `Event::UdpRecv` brings its datagrams.
    ///
    /// # Errors
    /// `AddrInUse`; `InvalidConfig`; `PoolExhausted`; `NofileLimit`; `Os` with the call that
    /// failed.
    pub fn udp_bind_with(&mut self_, config: UdpEndpointConfig) -> Result<EndpointId> {
        self_.udp_bind(&config)
    }

    /// Queues a datagram, without a copy. On an error the buffer goes back to the pool.
    ///
    /// # Errors
    /// `StaleEndpoint`, `WrongEndpoint`, `DatagramTooLarge`, `InvalidArgument`, and `QueueFull`
    /// when `UdpEndpointConfig::send_queue` datagrams wait.
    pub fn udp_send(
        &mut self_,
        endpoint: EndpointId,
        to: SocketAddr,
        buffer: SendBuffer,
    ) -> Result<()> {
        self_.udp_send(endpoint, Some(to), buffer, 0, None)
    }

    /// Queues a datagram, or a train of equal ones.
    ///
    /// # Errors
    /// As [`udp_send`](Self::udp_send).
    pub fn udp_send_with(
        &mut self_,
        endpoint: EndpointId,
        buffer: SendBuffer,
        how: UdpTransmit,
    ) -> Result<()> {
        self_.udp_send(endpoint, how.to, buffer, how.segment, how.ecn)
    }

    /// Copies a datagram and queues it.
    ///
    /// # Errors
    /// As [`udp_send`](Self::udp_send), and `PoolExhausted` when no buffer is left.
    #[inline]
    pub fn udp_send_bytes(
        &mut self_,
        endpoint: EndpointId,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<()> {
        self_.udp_send_bytes(endpoint, Some(to), data)
    }

    /// As [`udp_send_bytes`](Self::udp_send_bytes), to the peer of a connected socket.
    ///
    /// # Errors
    /// As `udp_send_bytes`; `InvalidArgument` when the socket is not connected.
    pub fn udp_send_connected(&mut self_, endpoint: EndpointId, data: &[u8]) -> Result<()> {
        self_.udp_send_bytes(endpoint, None, data)
    }

    /// Sends the payload of the current event on from where it was received, without a copy.
    ///
    /// # Errors
    /// As [`udp_send`](Self::udp_send).
    #[inline]
    pub fn udp_forward(
        &mut self_,
        endpoint: EndpointId,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<()> {
        self_.udp_forward(endpoint, Some(&to), data)
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    /// `StaleEndpoint`, `WrongEndpoint`; `InvalidArgument` when the group is no multicast address;
    /// `Os` (`ENOBUFS`: more groups on one socket than `igmp_max_memberships`).
    pub fn multicast_join(&mut self_, endpoint: EndpointId, group: MulticastGroup) -> Result<()> {
        self_.multicast(endpoint, group, true)
    }

    /// Leaves a multicast group.
    ///
    /// # Errors
    /// As [`multicast_join`](Self::multicast_join); `Os` (`EADDRNOTAVAIL`) when it was not joined.
    pub fn multicast_leave(&mut self_, endpoint: EndpointId, group: MulticastGroup) -> Result<()> {
        self_.multicast(endpoint, group, false)
    }

    /// The receive buffer that the kernel really gave a UDP socket or a QUIC listener, in bytes: it
    /// may be less than was asked for (`net.core.rmem_max`).
    ///
    /// # Errors
    /// `StaleEndpoint`, `WrongEndpoint`; `Os` from getsockopt(2).
    pub fn udp_recv_buffer(&mut self_, endpoint: EndpointId) -> Result<u32> {
        let fd = self_.endpoints.datagrams_fd(endpoint)?;
        self_.ring.recv_buffer_len(fd)
    }
}

impl crate::engine::Engine {
    fn multicast(&mut self, endpoint: EndpointId, group: MulticastGroup, join: bool) -> Result<()> {
        self.endpoints.udp(endpoint)?;
        let address = match group {
            MulticastGroup::AnySource { group, .. } => group.into(),
            MulticastGroup::AnySourceV6 { group, .. } => std::net::IpAddr::V6(group),
            MulticastGroup::SourceSpecific { group, .. } => group,
        };
        if !address.is_multicast() {
            return Err(IoError::InvalidArgument {
                what: "multicast group",
                why: "it is no multicast address (224.0.0.0/4 or ff00::/8)",
            });
        }
        let fd = self.endpoints.get(endpoint)?.fd;
        self.ring.multicast(fd, &group, join)
    }
}
