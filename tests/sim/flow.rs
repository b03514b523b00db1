//! What the workload knows of each connection, and what it may see of it.

use std::collections::{BTreeSet, VecDeque};

use zero_io::ConnId;

use crate::pattern::{Check, Source};

/// How a flow is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With what came.
    Echo,
    /// With a stream of the server's own.
    Stream,
}

/// One conversation, from end to end.
#[derive(Debug, Clone)]
pub struct Flow {
    pub key: u64,
    pub answer: Answer,
    pub framed: bool,
    /// Bytes, or messages, by direction.
    pub goal: [u64; 2],
    /// Bytes that were accepted from the two ends.
    pub sent: [u64; 2],
    /// Bytes that arrived at the two ends: of the client's, of the server's.
    pub got: [u64; 2],
    /// How the two ends ended.
    pub ended: [Option<Ended>; 2],
    pub relayed: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub code: u64,
    pub clean: bool,
    /// The workload called `close`.
    pub aborted: bool,
}

impl Flow {
    /// Both ends say that everything went through: then everything must have.
    pub fn check_complete(&self) -> bool {
        let [Some(client), Some(server)] = self.ended else { return false };
        let orderly = |e: &Ended| e.clean && e.code == 0 && !e.aborted;
        if self.relayed || !orderly(&client) || !orderly(&server) {
            return false;
        }
        assert_eq!(self.sent, self.got, "flow {}: {self:?}", self.key);
        true
    }
}

/// Who a connection is.
#[derive(Debug, Clone)]
pub enum Part {
    Client { flow: usize },
    /// The head has not arrived yet.
    Unknown { head: Vec<u8> },
    Server { flow: usize },
    /// One half of a relay; the other one.
    Relay { other: Option<ConnId> },
}

/// One connection of one node.
#[derive(Debug)]
pub struct Conn {
    pub part: Part,
    pub framed: bool,
    pub connected: bool,
    pub read_closed: bool,
    /// `close` was called.
    pub aborted: bool,
    /// `close_graceful` was called.
    pub closing: bool,
    /// `shutdown_write` was called, or `close_graceful`.
    pub fin: bool,
    /// A write was short: `Writable` has to follow.
    pub blocked: bool,
    pub paused: bool,
    /// Everything goes through the handle.
    pub by_handle: bool,
    pub source: Option<Source>,
    pub check: Option<Check>,
    /// Produced or received, and not accepted yet.
    pub backlog: VecDeque<u8>,
    /// Guard writes under way.
    pub guards: BTreeSet<u64>,
}

impl Conn {
    pub const fn new(part: Part, framed: bool) -> Self {
        Self {
            part,
            framed,
            connected: false,
            read_closed: false,
            aborted: false,
            closing: false,
            fin: false,
            blocked: false,
            paused: false,
            by_handle: false,
            source: None,
            check: None,
            backlog: VecDeque::new(),
            guards: BTreeSet::new(),
        }
    }

    pub fn takes_writes(&self) -> bool {
        self.connected && !self.fin && !self.aborted
    }

    /// Everything that is to be sent was accepted.
    pub fn is_drained(&self) -> bool {
        self.backlog.is_empty() && self.source.as_ref().is_none_or(Source::is_done)
    }
}
