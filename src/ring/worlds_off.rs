//! What `sim::ports` has, where there is no simulator: nothing.

use std::net::SocketAddr;

use super::ports::Transport;
use crate::config::{TcpListenConfig, UdpEndpointConfig, UdsListenConfig};
use crate::error::{IoError, Result};
use crate::ids::Protocol;
use crate::sys::addr::SockAddr;
use crate::sys::steer::{Plan, Router};
use crate::time::Time;

/// Nobody is told.
pub(crate) const ELSEWHERE: IoError =
    IoError::NotSupportedOnBackend { backend: "sim", feature: "sockets of another world" };

/// There is none.
#[derive(Debug)]
pub(crate) enum SimPassed {}

/// There are none.
#[derive(Debug)]
pub(crate) enum SimPorts {}

/// Writes methods that nobody can call.
macro_rules! none {
    ($(fn $name:ident($($arg:ty),*) -> $ret:ty;)*) => {
        impl SimPorts {
            $(
                pub(crate) fn $name(&self, $(_: $arg),*) -> $ret {
                    match *self {}
                }
            )*
        }
    };
}

none! {
    fn tcp_listen(&TcpListenConfig) -> Result<SimPassed>;
    fn uds_listen(&UdsListenConfig) -> Result<SimPassed>;
    fn udp_bind(&UdpEndpointConfig) -> Result<SimPassed>;
    fn dup(&SimPassed) -> Result<SimPassed>;
    fn is_free(SocketAddr, Transport) -> Result<()>;
    fn now() -> Time;
    fn entropy(&mut [u8]) -> Result<()>;
    fn accept(&SimPassed) -> Result<Option<(SimPassed, SockAddr)>>;
    fn steer(&[&SimPassed], &Plan, &Router) -> Result<()>;
    fn probe(bool) -> Result<()>;
    fn brake(&SimPassed, Protocol) -> Result<()>;
    fn local_addr(&SimPassed) -> Result<SockAddr>;
}
