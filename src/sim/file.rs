//! Open files: what descriptors, slots and operations refer to.
//!
//! Role: the table of files with their reference counts, and what each kind holds. Not role:
//! behaviour, which is in `stream`, `listen` and `udp`.
//!
//! *Invariant* K10: a file lives while any descriptor, slot, backlog or operation refers to it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::node::OpRef;
use super::udp::Udp;

/// Names a file for ever: the number of a file that is gone is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    index: u32,
    serial: u32,
}

/// One open file.
pub(super) struct File {
    /// Descriptors, slots, backlogs and operations that refer to it.
    pub(super) refs: u32,
    /// The node that opened it.
    pub(super) node: usize,
    pub(super) kind: Kind,
    /// The operations that wait for something to happen here.
    pub(super) waiters: Vec<OpRef>,
}

pub(super) enum Kind {
    Stream(Stream),
    Listener(Listener),
    Udp(Udp),
    /// Anything else that can be polled, and its readiness.
    Pollable(u32),
}

/// Where a socket is bound, or whom it talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addr {
    Ip(SocketAddr),
    Unix,
}

impl Addr {
    /// Its port; 0: it has none.
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Ip(addr) => addr.port(),
            Self::Unix => 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not connected, or the attempt failed.
    Fresh,
    /// A SYN is under way.
    SynSent,
    /// Established, in one direction at least.
    Open,
    /// Reset.
    Dead,
}

/// One end of a stream.
pub(super) struct Stream {
    pub(super) phase: Phase,
    pub(super) is_unix: bool,
    pub(super) local: Addr,
    pub(super) remote: Option<Addr>,
    pub(super) peer: Option<FileId>,
    /// Received and not yet read.
    pub(super) inbound: VecDeque<u8>,
    pub(super) inbound_len_max: usize,
    /// The peer's FIN, behind `inbound`.
    pub(super) fin_received: bool,
    /// `SHUT_RD`.
    pub(super) read_shut: bool,
    /// Taken from the application and not yet carried away.
    pub(super) outbound: VecDeque<u8>,
    pub(super) outbound_len_max: usize,
    /// A FIN belongs behind `outbound`.
    pub(super) fin_queued: bool,
    pub(super) fin_sent: bool,
    /// A `Pump` is scheduled.
    pub(super) pumping: bool,
    /// `SO_ERROR`.
    pub(super) error: i32,
    pub(super) linger_zero: bool,
    /// Nothing refers to it any more, but it still has to send.
    pub(super) orphan: bool,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// When something last went to the peer.
    pub(super) sent_at_ns: u64,
}

impl Stream {
    pub(super) fn new(is_unix: bool, local: Addr, send_len: u32, recv_len: u32) -> Self {
        Self {
            phase: Phase::Fresh,
            is_unix,
            local,
            remote: None,
            peer: None,
            inbound: VecDeque::new(),
            inbound_len_max: recv_len as usize,
            fin_received: false,
            read_shut: false,
            outbound: VecDeque::new(),
            outbound_len_max: send_len as usize,
            fin_queued: false,
            fin_sent: false,
            pumping: false,
            error: 0,
            linger_zero: false,
            orphan: false,
            bytes_sent: 0,
            bytes_received: 0,
            sent_at_ns: 0,
        }
    }

    fn describe(&self) -> String {
        format!(
            "stream {:?} {:?}-{:?} peer {:?} in {} out {} fin received {} queued {} sent {} \
             error {} orphan {} pumping {}",
            self.phase,
            self.local,
            self.remote,
            self.peer,
            self.inbound.len(),
            self.outbound.len(),
            self.fin_received,
            self.fin_queued,
            self.fin_sent,
            self.error,
            self.orphan,
            self.pumping
        )
    }

    pub(super) fn has_outbound(&self) -> bool {
        !self.outbound.is_empty() || (self.fin_queued && !self.fin_sent)
    }
}

pub(super) struct Listener {
    pub(super) local: Addr,
    /// Established and not yet accepted. The backlog refers to them.
    pub(super) backlog: VecDeque<FileId>,
    /// Connections in their handshake.
    pub(super) half_open_count: u32,
    pub(super) backlog_max: u32,
    pub(super) shut: bool,
    /// Takes nothing new, and finishes what has begun.
    pub(super) is_braked: bool,
    pub(super) send_len: u32,
    pub(super) recv_len: u32,
    /// The name in the Unix namespace.
    pub(super) unix_name: Option<Vec<u8>>,
}

/// The table.
#[derive(Default)]
pub(super) struct Files {
    entries: Vec<(u32, Option<File>)>,
    vacant: Vec<u32>,
}

impl Files {
    pub(super) fn insert(&mut self, node: usize, kind: Kind) -> FileId {
        let file = File { refs: 1, node, kind, waiters: Vec::new() };
        if let Some(index) = self.vacant.pop() {
            let entry = &mut self.entries[index as usize];
            entry.0 += 1;
            entry.1 = Some(file);
            return FileId { index, serial: entry.0 };
        }
        self.entries.push((0, Some(file)));
        FileId { index: self.entries.len() as u32 - 1, serial: 0 }
    }

    pub(super) fn get(&self, id: FileId) -> Option<&File> {
        let (serial, file) = &self.entries[id.index as usize];
        file.as_ref().filter(|_| *serial == id.serial)
    }

    pub(super) fn get_mut(&mut self, id: FileId) -> Option<&mut File> {
        let (serial, file) = &mut self.entries[id.index as usize];
        file.as_mut().filter(|_| *serial == id.serial)
    }

    pub(super) fn remove(&mut self, id: FileId) -> Option<File> {
        let (serial, file) = &mut self.entries[id.index as usize];
        if *serial != id.serial {
            return None;
        }
        let removed = file.take();
        if removed.is_some() {
            self.vacant.push(id.index);
        }
        removed
    }

    pub(super) fn stream(&self, id: FileId) -> Option<&Stream> {
        match &self.get(id)?.kind {
            Kind::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    pub(super) fn stream_mut(&mut self, id: FileId) -> Option<&mut Stream> {
        match &mut self.get_mut(id)?.kind {
            Kind::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    pub(super) fn listener_mut(&mut self, id: FileId) -> Option<&mut Listener> {
        match &mut self.get_mut(id)?.kind {
            Kind::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    pub(super) fn udp_mut(&mut self, id: FileId) -> Option<&mut Udp> {
        match &mut self.get_mut(id)?.kind {
            Kind::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    /// Files in the table, orphans included.
    pub(super) fn count(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// Every file in a line, oldest place first.
    pub(super) fn describe(&self) -> String {
        let mut out = String::new();
        for (index, (serial, file)) in self.entries.iter().enumerate() {
            let Some(file) = file else { continue };
            let (node, refs, waiters) = (file.node, file.refs, file.waiters.len());
            out += &format!("{index}.{serial} node {node} refs {refs} ops {waiters} ");
            out += &match &file.kind {
                Kind::Stream(s) => s.describe(),
                Kind::Listener(l) => format!(
                    "listener {:?} backlog {} half open {}",
                    l.local,
                    l.backlog.len(),
                    l.half_open_count
                ),
                Kind::Udp(udp) => format!("udp {}", udp.local),
                Kind::Pollable(ready) => format!("pollable {ready:#x}"),
            };
            out.push('\n');
        }
        out
    }
}
