//! What the workload knows of each connection, and what it may see of it.

use std::collections::{BTreeSet, VecDeque};

use zero_io::ConnId;

use crate::pattern::{Check, Source};

/// How a flow is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With what came.
    Echo,
    /// With a stream of the server's own.
    Stream,
}

/// One conversation, from end to end.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) key: u64,
    pub(crate) answer: Answer,
    /// Bytes, or messages, by direction.
    pub(crate) goal: [u64; 2],
    /// Bytes that were accepted from the two ends.
    pub(crate) sent: [u64; 2],
    /// Bytes that arrived at the two ends: of the client's, of the server's.
    pub(crate) got: [u64; 2],
    /// How the two ends ended.
    pub(crate) ended: [Option<Ended>; 2],
    pub(crate) relayed: bool,
    pub(crate) speech: Speech,
}

/// What is spoken below the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    Plain,
    Tls,
    /// TLS after a word in the clear and an answer to it.
    StartTls,
}

/// What a client says first in STARTTLS, and what it is answered.
pub(crate) const ASK: &[u8] = b"S";
pub(crate) const CONSENT: &[u8] = b"R";

/// How far STARTTLS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The client asks, waits, and upgrades.
    Ask,
    Asked,
    Upgrade,
    /// The server waits, then answers and upgrades.
    Offered,
    Accept,
    /// Something else came in the clear.
    Refuse,
    Shaking,
    /// Or it was never wanted.
    Done,
}

impl Start {
    /// What came in the clear.
    pub(crate) fn told(self, data: &[u8]) -> Self {
        match self {
            Self::Asked if data == CONSENT => Self::Upgrade,
            Self::Offered if data == ASK => Self::Accept,
            Self::Shaking | Self::Done => panic!("{self:?}: in the clear: {data:?}"),
            _ => Self::Refuse,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) code: u64,
    pub(crate) clean: bool,
    /// The workload called `close`.
    pub(crate) aborted: bool,
}

impl Flow {
    /// Both ends say that everything went through: then everything must have.
    pub(crate) fn check_complete(&self) -> bool {
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
pub(crate) enum Part {
    Client {
        flow: usize,
    },
    /// The head has not arrived yet.
    Unknown {
        head: Vec<u8>,
    },
    Server {
        flow: usize,
    },
    /// One half of a relay; the other one.
    Relay {
        other: Option<ConnId>,
    },
}

/// One connection of one node.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) part: Part,
    pub(crate) framed: bool,
    pub(crate) connected: bool,
    pub(crate) read_closed: bool,
    /// `close` was called.
    pub(crate) aborted: bool,
    /// `close_graceful` was called.
    pub(crate) closing: bool,
    /// `close` was asked for through the handle: it happens later.
    pub(crate) closing_by_handle: bool,
    /// `shutdown_write` was called, or `close_graceful`.
    pub(crate) fin: bool,
    /// A write was short: `Writable` has to follow.
    pub(crate) blocked: bool,
    pub(crate) paused: bool,
    /// Everything goes through the handle.
    pub(crate) by_handle: bool,
    pub(crate) start: Start,
    pub(crate) source: Option<Source>,
    pub(crate) check: Option<Check>,
    /// Produced or received, and not accepted yet.
    pub(crate) backlog: VecDeque<u8>,
    /// Guard writes under way.
    pub(crate) guards: BTreeSet<u64>,
}

impl Conn {
    pub(crate) const fn new(part: Part, framed: bool) -> Self {
        Self {
            part,
            framed,
            connected: false,
            read_closed: false,
            aborted: false,
            closing: false,
            closing_by_handle: false,
            fin: false,
            blocked: false,
            paused: false,
            by_handle: false,
            start: Start::Done,
            source: None,
            check: None,
            backlog: VecDeque::new(),
            guards: BTreeSet::new(),
        }
    }

    pub(crate) fn takes_writes(&self) -> bool {
        self.connected && self.start == Start::Done && !self.fin && !self.aborted
    }

    /// Everything that is to be sent was accepted.
    pub(crate) fn is_drained(&self) -> bool {
        self.backlog.is_empty() && self.source.as_ref().is_none_or(Source::is_done)
    }
}
