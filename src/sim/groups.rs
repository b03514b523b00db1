//! Sockets that share an address (`SO_REUSEPORT`), and the program that chooses among them.
//!
//! Role: who is a member, in the kernel's order, and what the attached program says of a packet,
//! run by the interpreter on the bytes that the kernel would be given. Not role: what happens
//! without a program, which the sockets' own files say.
//!
//! *Invariant*: members are numbered in the order of listen(2) (TCP) or of bind(2) (UDP); when one
//! closes, the last one takes its place: docs/KERNEL.md.

use std::net::{IpAddr, SocketAddr};

use super::classic_run::{View, run};
use super::file::FileId;
use super::kernel::Kernel;
use super::net::Binding;
use crate::sys::steer::asm::Insn;

/// What the interpreter looks at of the headers: IPv6, and the ports behind it.
const HEADERS_LEN: usize = 48;
/// The processors of the simulated machine.
const CPU_COUNT: u16 = 4;

/// The sockets of one address.
pub(super) struct Group {
    is_udp: bool,
    addr: SocketAddr,
    members: Vec<FileId>,
    /// None: the kernel's hash.
    program: Option<Vec<Insn>>,
}

/// The headers of a packet, as far as programs look at them.
fn headers(from: SocketAddr) -> [u8; HEADERS_LEN] {
    let mut bytes = [0; HEADERS_LEN];
    let port = from.port().to_be_bytes();
    match from.ip() {
        IpAddr::V4(ip) => {
            bytes[0] = 0x45;
            bytes[12..16].copy_from_slice(&ip.octets());
            bytes[20..22].copy_from_slice(&port);
        }
        IpAddr::V6(ip) => {
            bytes[0] = 0x60;
            bytes[8..24].copy_from_slice(&ip.octets());
            bytes[40..42].copy_from_slice(&port);
        }
    }
    bytes
}

impl Kernel {
    /// A socket with `SO_REUSEPORT` is the last of its group from now on.
    pub(super) fn join_group(&mut self, binding: &Binding) {
        let Binding { file, is_udp, addr, .. } = *binding;
        match self.groups.iter_mut().find(|group| (group.is_udp, group.addr) == (is_udp, addr)) {
            Some(group) => group.members.push(file),
            None => {
                self.groups.push(Group { is_udp, addr, members: vec![file], program: None });
            }
        }
    }

    pub(super) fn leave_group(&mut self, file: FileId) {
        for group in &mut self.groups {
            if let Some(place) = group.members.iter().position(|member| *member == file) {
                group.members.swap_remove(place);
            }
        }
        self.groups.retain(|group| !group.members.is_empty());
    }

    /// `SO_ATTACH_REUSEPORT_CBPF` on one of a group.
    pub(super) fn attach(&mut self, member: FileId, program: &[Insn]) -> Result<(), i32> {
        let group = self.groups.iter_mut().find(|group| group.members.contains(&member));
        group.ok_or(libc::EINVAL)?.program = Some(program.to_vec());
        Ok(())
    }

    /// Whom the program of a group chooses, if these are of one with a program, and it does.
    pub(super) fn steered(
        &self,
        found: &[FileId],
        from: SocketAddr,
        payload: &[u8],
    ) -> Option<FileId> {
        let first = found.first()?;
        let group = self.groups.iter().find(|group| group.members.contains(first))?;
        let cpu = u32::from(from.port() % CPU_COUNT);
        let answer = run(group.program.as_ref()?, &View { network: &headers(from), payload, cpu });
        group.members.get(answer as usize).copied()
    }
}
