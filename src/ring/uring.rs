//! The io_uring backend.
//!
//! *Invariant*: this type has no value yet; the methods give the signatures.

use std::path::Path;

use super::op::{Completion, Fd, Op, Token, Wait};
use crate::config::{
    Effective, MulticastGroup, TcpConnectConfig, TcpListenConfig, UdpEndpointConfig,
    UdsListenConfig,
};
use crate::error::Result;
use crate::sys::addr::SockAddr;
use crate::sys::batch::{RecvBatch, SendBatch};
use crate::sys::sockopt::{PeerCred, TcpInfo};
use crate::sys::wake::Waker;
use crate::time::Time;

pub(crate) enum Uring {}

impl Uring {
    pub(crate) fn now(&mut self) -> Time {
        match *self {}
    }

    pub(crate) fn push(&mut self, _op: Op, _token: Token) {
        match *self {}
    }

    pub(crate) fn enter(&mut self, _wait: Wait) -> Result<()> {
        match *self {}
    }

    pub(crate) fn has_work(&mut self) -> bool {
        match *self {}
    }

    pub(crate) fn reap(&mut self, _into: &mut [Completion]) -> usize {
        match *self {}
    }

    pub(crate) fn group_register(&mut self, _group: u16, _entries: u16) -> Result<()> {
        match *self {}
    }

    pub(crate) fn group_provide(&mut self, _group: u16, _bid: u16, _ptr: *mut u8, _len: u32) {
        match *self {}
    }

    pub(crate) fn group_publish(&mut self, _group: u16) {
        match *self {}
    }

    pub(crate) fn effective(&mut self) -> Effective {
        match *self {}
    }

    pub(crate) fn waker(&mut self) -> Waker {
        match *self {}
    }

    pub(crate) fn arm_wake(&mut self) {
        match *self {}
    }

    pub(crate) fn tcp_listen(&mut self, _config: &TcpListenConfig) -> Result<Fd> {
        match *self {}
    }

    pub(crate) fn uds_listen(&mut self, _config: &UdsListenConfig) -> Result<Fd> {
        match *self {}
    }

    pub(crate) fn accept(&mut self, _listener: Fd) -> Result<Option<(Fd, SockAddr)>> {
        match *self {}
    }

    pub(crate) fn tcp_socket(
        &mut self,
        _config: &TcpConnectConfig,
        _peer: &SockAddr,
    ) -> Result<Fd> {
        match *self {}
    }

    pub(crate) fn uds_connect(&mut self, _path: &Path) -> Result<Option<Fd>> {
        match *self {}
    }

    pub(crate) fn udp_bind(&mut self, _config: &UdpEndpointConfig) -> Result<Fd> {
        match *self {}
    }

    pub(crate) fn udp_recv(&mut self, _fd: Fd, _batch: &mut RecvBatch) -> Result<usize> {
        match *self {}
    }

    pub(crate) fn udp_send(&mut self, _fd: Fd, _batch: &mut SendBatch) -> Result<usize> {
        match *self {}
    }

    pub(crate) fn multicast(
        &mut self,
        _fd: Fd,
        _group: &MulticastGroup,
        _join: bool,
    ) -> Result<()> {
        match *self {}
    }

    pub(crate) fn local_addr(&mut self, _fd: Fd) -> Result<SockAddr> {
        match *self {}
    }

    pub(crate) fn peer_addr(&mut self, _fd: Fd) -> Result<SockAddr> {
        match *self {}
    }

    pub(crate) fn adopt(&mut self, _fd: Fd) -> Result<crate::sys::sockopt::Adopted> {
        match *self {}
    }

    pub(crate) fn tcp_info(&mut self, _fd: Fd) -> Result<TcpInfo> {
        match *self {}
    }

    pub(crate) fn peer_cred(&mut self, _fd: Fd) -> Result<PeerCred> {
        match *self {}
    }

    pub(crate) fn recv_buffer_len(&mut self, _fd: Fd) -> Result<u32> {
        match *self {}
    }

    pub(crate) fn linger_zero(&mut self, _fd: Fd) -> Result<()> {
        match *self {}
    }

    pub(crate) fn close_now(&mut self, _fd: Fd) {
        match *self {}
    }
}
