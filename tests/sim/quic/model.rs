//! What must hold: every end of a connection, what it sent, and what came of it at the other end.
//!
//! An end is a number, for the whole world. Each stream begins with the number of the end that
//! sends it, and each datagram too, so that the ends of a connection find each other.

use std::collections::{BTreeMap, BTreeSet};

use zero_io::code::{self, QuicCloser, quic_close};
use zero_io::{StreamDir, StreamId};

use super::hosts::Route;
use super::past::{self, Ties};
use crate::pattern::{self, HEAD_LEN};

/// Bytes of a datagram before its filling: who sends it, and its number.
pub(super) const DATAGRAM_HEAD_LEN: usize = 16;
/// What the reader of a stream may have taken in that was not handed out: it reads so many packets
/// ahead.
const READ_AHEAD: u64 = 16 * 1_500;

/// A direction of a stream, at the end that sends.
#[derive(Debug, Default, Clone)]
pub(super) struct Sending {
    /// Bytes that it is meant to have.
    pub(super) target: u64,
    pub(super) written: u64,
    pub(super) is_finished: bool,
    /// All of it was acknowledged.
    pub(super) is_done: bool,
    pub(super) reset: Option<u64>,
    /// The peer wants no more, with that code.
    pub(super) stopped: Option<u64>,
    /// A write was cut, and `Writable` is due.
    pub(super) is_blocked: bool,
}

impl Sending {
    /// Nothing more is written to it.
    pub(super) const fn is_over(&self) -> bool {
        self.is_finished || self.reset.is_some() || self.stopped.is_some()
    }

    /// And nothing more comes of it.
    pub(super) const fn is_settled(&self) -> bool {
        self.is_done || self.reset.is_some() || self.stopped.is_some()
    }
}

/// How a direction ended where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadEnd {
    Closed,
    Reset(u64),
}

/// A direction of a stream, at the end that reads.
#[derive(Debug, Default, Clone)]
pub(super) struct Reading {
    pub(super) got: u64,
    head: [u8; HEAD_LEN],
    /// A frame said that it was the last.
    has_fin: bool,
    pub(super) end: Option<ReadEnd>,
    /// We want no more.
    pub(super) stopped: Option<u64>,
    pub(super) is_paused: bool,
    /// `Readable` came, and `stream_read` has not returned 0 since.
    pub(super) is_readable: bool,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) code: u64,
    pub(super) clean: bool,
}

/// What this end did to end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// At once, with what the peer is told.
    Now(u64),
    /// When all has arrived.
    Graceful,
}

/// Why nothing more comes of an end, and nothing is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// Its node crashed.
    Crashed,
    /// The server did not take what it sent early: another end goes on.
    Refused,
}

/// One end of a connection.
#[derive(Debug, Default, Clone)]
pub(super) struct End {
    pub(super) number: usize,
    pub(super) is_client: bool,
    /// It was begun when all was well, with limits that cut nothing short.
    pub(super) is_sure: bool,
    pub(super) peer: Option<usize>,
    pub(super) is_connected: bool,
    pub(super) closing: Option<Closing>,
    pub(super) ended: Option<Ended>,
    pub(super) lost: Option<Lost>,
    /// How it got there.
    pub(super) route: Route,
    /// What it has to do with connections before it.
    pub(super) ties: Ties,
    /// The server knows that it is there.
    pub(super) is_confirmed: bool,
    /// Its server has forgotten it since it had written so much, and says so to whoever asks.
    pub(super) forgotten_at: Option<u64>,
    pub(super) is_paused: bool,
    /// It asks for the bytes of streams.
    pub(super) is_pull: bool,
    /// Streams that it still wants to open.
    pub(super) plan: Vec<StreamDir>,
    /// Opening one was refused, and `StreamsAvailable` is due.
    pub(super) wants: [bool; 2],
    pub(super) sending: BTreeMap<StreamId, Sending>,
    pub(super) reading: BTreeMap<StreamId, Reading>,
    pub(super) datagrams_sent: u64,
    pub(super) datagrams_seen: BTreeSet<u64>,
    /// What it lets the peer send ahead: of a stream, and of all.
    pub(super) windows: [u64; 2],
    /// Since when it waits for its end, when all is well.
    pub(super) waits_since_ns: Option<u64>,
}

impl End {
    /// The application may do something with it.
    pub(super) const fn is_open(&self) -> bool {
        self.is_connected && self.closing.is_none() && self.ended.is_none()
    }

    /// What it wrote to all of its streams.
    pub(super) fn written(&self) -> u64 {
        self.sending.values().map(|half| half.written).sum()
    }

    /// Whether nothing more is to be said, nor to be heard of what it knows.
    pub(super) fn is_silent(&self) -> bool {
        self.plan.is_empty()
            && self.sending.values().all(Sending::is_settled)
            && self.reading.values().all(|r| r.end.is_some() || r.stopped.is_some())
    }

    /// A stream was heard of: a bidirectional one of the peer can be written to.
    pub(super) fn heard_of(&mut self, stream: StreamId, target: u64) {
        let is_own = stream.opened_by_client() == self.is_client;
        if !is_own && stream.dir() == StreamDir::Bidi && self.is_connected {
            // A graceful close ends what becomes known later too.
            let is_finished = self.closing == Some(Closing::Graceful);
            let fresh = Sending { target, is_finished, ..Sending::default() };
            self.sending.entry(stream).or_insert(fresh);
        }
    }
}

/// Bytes `from..to` of what an end sends on a stream.
pub(super) fn text(end: usize, stream: StreamId, from: u64, to: u64) -> Vec<u8> {
    let key = (end as u64) << 20 | stream.as_u64();
    let head = (end as u64).to_le_bytes();
    let byte = |at: u64| match head.get(at as usize) {
        Some(byte) => *byte,
        None => pattern::byte(key, 1, at),
    };
    (from..to).map(byte).collect()
}

/// A datagram of an end.
pub(super) fn datagram(end: usize, number: u64, len: usize) -> Vec<u8> {
    let mut out = (end as u64).to_le_bytes().to_vec();
    out.extend(number.to_le_bytes());
    out.resize(len.max(DATAGRAM_HEAD_LEN), number as u8);
    out
}

/// All ends there ever were.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) ends: Vec<End>,
    /// Servers came in the place of others: nodes were started anew, or somebody listens where
    /// there was a listener before.
    pub(super) has_lives: bool,
}

impl Model {
    pub(super) fn add(&mut self, is_client: bool) -> &mut End {
        let number = self.ends.len();
        let end = End { number, is_client, ..End::default() };
        self.ends.push(end);
        &mut self.ends[number]
    }

    /// The node of an end crashed.
    pub(super) fn crash(&mut self, end: usize) {
        let end = &mut self.ends[end];
        (end.lost, end.is_sure) = (Some(Lost::Crashed), false);
        if let Some(peer) = end.peer {
            self.ends[peer].is_sure = false;
        }
    }

    /// What an end sent early was refused: the end that goes on.
    pub(super) fn refuse(&mut self, end: usize) -> &mut End {
        let fresh = self.add(true).number;
        let old = &mut self.ends[end];
        let (ties, route) = (old.ties.clone(), old.route.clone());
        let (is_sure, windows, is_pull) = (old.is_sure, old.windows, old.is_pull);
        (old.lost, old.is_sure) = (Some(Lost::Refused), false);
        let next = &mut self.ends[fresh];
        (next.ties, next.route) = (ties, route);
        (next.is_sure, next.windows, next.is_pull) = (is_sure, windows, is_pull);
        next
    }

    /// These two talk to each other, and to nobody else.
    fn pair(&mut self, end: usize, peer: usize) {
        let count = self.ends.len();
        assert!(peer < count && peer != end, "end {end} hears of end {peer} of {count}");
        assert_ne!(self.ends[end].is_client, self.ends[peer].is_client, "{end} {peer}");
        for (one, other) in [(end, peer), (peer, end)] {
            let known = self.ends[one].peer.get_or_insert(other);
            assert_eq!(*known, other, "the peer of end {one}");
        }
    }

    /// Bytes of a stream arrived.
    pub(super) fn frame(&mut self, end: usize, stream: StreamId, data: &[u8], fin: bool) {
        assert!(!data.is_empty(), "a frame of nothing");
        let (from, head) = {
            let reading = self.ends[end].reading.entry(stream).or_default();
            let is_live = reading.end.is_none() && !reading.has_fin && reading.stopped.is_none();
            assert!(is_live, "a frame behind the end of {stream:?} at {end}: {reading:?}");
            let from = reading.got;
            for (place, byte) in reading.head.iter_mut().skip(from as usize).zip(data) {
                *place = *byte;
            }
            reading.got += data.len() as u64;
            reading.has_fin = fin;
            (from, (reading.got >= HEAD_LEN as u64).then_some(reading.head))
        };
        let Some(head) = head else { return };
        let peer = u64::from_le_bytes(head) as usize;
        self.pair(end, peer);
        let to = from + data.len() as u64;
        let written = self.ends[peer].sending.get(&stream).map_or(0, |sending| sending.written);
        assert!(to <= written, "{to} of {written} bytes of {stream:?} at {end}");
        assert!(data == text(peer, stream, from, to), "{from}..{to} of {stream:?} at {end}");
    }

    /// A stream ended where it is read.
    pub(super) fn read_end(&mut self, end: usize, stream: StreamId, how: ReadEnd) {
        let reading = self.ends[end].reading.entry(stream).or_default();
        assert!(reading.end.is_none(), "{how:?} of {stream:?} at {end}: {reading:?}");
        assert!(reading.stopped.is_none(), "{how:?} of a stopped stream: {reading:?}");
        assert!(!reading.has_fin || how == ReadEnd::Closed, "{how:?} behind the last frame");
        reading.end = Some(how);
        let reading = reading.clone();
        let Some(peer) = self.ends[end].peer else { return };
        if self.ends[peer].closing == Some(Closing::Graceful) {
            // It may not have been told of the stream itself.
            self.ends[peer].heard_of(stream, 0);
        }
        let sending = self.ends[peer].sending.get(&stream);
        let sending = sending.unwrap_or_else(|| panic!("{stream:?} of {peer} was never sent"));
        check_read_end(sending, &reading);
    }

    pub(super) fn datagram(&mut self, end: usize, data: &[u8]) {
        let (head, rest) = data.split_at(DATAGRAM_HEAD_LEN);
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let (peer, number) = (word(0) as usize, word(8));
        self.pair(end, peer);
        assert!(number < self.ends[peer].datagrams_sent, "datagram {number} was never sent");
        assert!(rest.iter().all(|byte| *byte == number as u8), "datagram {number} at {end}");
        assert!(self.ends[end].datagrams_seen.insert(number), "datagram {number} came twice");
    }

    /// No more was taken for sending than the reader's windows let through.
    pub(super) fn check_windows(&self, end: usize) {
        let sender = &self.ends[end];
        let Some(reader) = sender.peer.map(|peer| &self.ends[peer]) else { return };
        let [of_stream, of_all] = reader.windows;
        let mut total = 0;
        for (stream, sending) in &sender.sending {
            let reading = reader.reading.get(stream);
            // What is given up frees windows in its own time.
            let is_given_up = sending.reset.is_some() || sending.stopped.is_some();
            if is_given_up || reading.is_some_and(|r| r.stopped.is_some()) {
                continue;
            }
            let ahead = sending.written - reading.map_or(0, |reading| reading.got);
            assert!(ahead <= of_stream + READ_AHEAD, "{ahead} ahead on {stream:?} of {end}");
            total += ahead;
        }
        assert!(total <= of_all + READ_AHEAD, "{total} ahead on end {end}");
    }

    /// What must hold in the end.
    pub(super) fn check(&self) {
        for end in &self.ends {
            let peer = end.peer.map(|peer| &self.ends[peer]);
            match end.ended {
                Some(ended) => self.check_code(end, ended, peer),
                None => assert!(end.lost.is_some(), "it is settled: {end:?}"),
            }
            let Some(peer) = peer else { continue };
            for (stream, reading) in &end.reading {
                let Some(sending) = peer.sending.get(stream) else {
                    assert!(reading.got == 0 && reading.end.is_none(), "{stream:?}: {reading:?}");
                    continue;
                };
                assert!(reading.got <= sending.written, "{stream:?}: {reading:?} {sending:?}");
                if reading.end.is_some() {
                    check_read_end(sending, reading);
                }
            }
            check_delivery(end, peer);
        }
    }

    /// A connection ends for a reason that somebody gave, or for want of packets.
    fn check_code(&self, end: &End, ended: Ended, peer: Option<&End>) {
        let Ended { code, clean } = ended;
        let text = || format!("{end:?}\npeer: {peer:?}");
        match (end.closing, quic_close(code)) {
            (Some(Closing::Now(_)), _) => {
                assert_eq!((code, clean), (code::LOCAL_CLOSE, false), "{}", text());
            }
            (closing, Some(close)) => {
                let told = quic_close(code).map(|close| close.code);
                let peers: Vec<&End> = match peer {
                    Some(peer) => vec![peer],
                    // Nothing was said that names it.
                    None => self.ends.iter().filter(|e| e.is_client != end.is_client).collect(),
                };
                let is_told = peers.iter().any(|peer| match peer.closing {
                    Some(Closing::Now(code)) => told == Some(code),
                    Some(Closing::Graceful) => told == Some(0),
                    // Its handshake took too long.
                    None => told == Some(0) && peer.ended.is_some_and(|e| e.code < 1 << 32),
                });
                // The client closed attempts of a race that it had won with another one.
                let lost_race =
                    || self.ends.iter().any(|end| end.is_client && end.route.is_by_name);
                let is_told = is_told || told == Some(0) && peer.is_none() && lost_race();
                let is_app = close.by == QuicCloser::PeerApplication;
                assert_eq!(clean, is_app && close.code == 0, "{}", text());
                // RFC 9000 §10.2.3: what the application says waits until the peer is known.
                let is_hidden = !is_app && matches!(close.code, 0 | 0xC);
                let is_peers = close.by == QuicCloser::PeerTransport;
                let is_unsure = end.ties.is_unsure() || peer.is_some_and(|p| p.ties.is_unsure());
                let is_early = !end.is_connected || peer.is_none() || is_unsure;
                let is_early = is_peers && is_early;
                let is_token = is_peers && !end.is_connected && close.code == 0xB;
                let is_past = past::may_end_with(end, close, self.has_lives);
                let is_fine = is_app && is_told || is_early && is_hidden || is_token || is_past;
                assert!(is_fine, "{closing:?} {close:?}: {}", text());
            }
            (Some(Closing::Graceful), None) => {
                let allowed = [
                    code::NONE,
                    code::CLOSE_TIMEOUT,
                    code::LOCAL_CLOSE,
                    code::IDLE_TIMEOUT,
                    code::QUIC_STATELESS_RESET,
                ];
                let is_recording = code == code::CONNECT_TIMEOUT && end.ties.is_unsure();
                assert!(allowed.contains(&code) || is_recording, "{code:#x}: {}", text());
                assert_eq!(clean, code == code::NONE, "{}", text());
            }
            (None, None) => {
                let allowed: &[u64] = match end.is_connected {
                    true => &[code::IDLE_TIMEOUT, code::QUIC_STATELESS_RESET],
                    false => &[
                        code::IDLE_TIMEOUT,
                        code::CONNECT_TIMEOUT,
                        code::QUIC_REFUSED,
                        code::QUIC_STATELESS_RESET,
                    ],
                };
                let is_allowed = match end.is_connected {
                    true => end.ties.is_unsure() && code == code::CONNECT_TIMEOUT,
                    false => end.route.may_fail_with(code),
                };
                let is_allowed = is_allowed || allowed.contains(&code);
                assert!(is_allowed && !clean, "{code:#x}: {}", text());
            }
        }
        // Of two that know each other, one forgets first, for another reason.
        let is_reset =
            |end: &End| end.ended.is_some_and(|ended| ended.code == code::QUIC_STATELESS_RESET);
        let both = is_reset(end) && peer.is_some_and(is_reset);
        assert!(!both, "both were reset: {}", text());
    }
}

fn check_read_end(sending: &Sending, reading: &Reading) {
    match reading.end {
        Some(ReadEnd::Closed) => {
            assert!(sending.is_finished, "an end that nobody set: {sending:?} {reading:?}");
            assert_eq!(reading.got, sending.written, "{sending:?} {reading:?}");
        }
        Some(ReadEnd::Reset(code)) => {
            let by_stop = sending.stopped == Some(code) || sending.reset.is_none();
            assert!(sending.reset == Some(code) || by_stop, "{sending:?} {reading:?}");
        }
        None => {}
    }
}

/// What a peer has acknowledged to the last byte arrived there.
fn check_delivery(sender: &End, reader: &End) {
    let is_clean = sender.ended.is_some_and(|e| e.code == code::NONE && e.clean);
    let told = reader.ended.is_some_and(|e| e.clean && quic_close(e.code).is_some());
    let is_orderly = is_clean && told && !reader.is_paused && reader.closing.is_none();
    for (stream, sending) in &sender.sending {
        let is_whole = is_orderly && sending.is_finished;
        if !is_whole || sending.reset.is_some() || sending.stopped.is_some() {
            continue;
        }
        let reading = reader.reading.get(stream).cloned().unwrap_or_default();
        // Who ends does not wait for what is paused, or was not asked for.
        if reading.stopped.is_some() || reading.is_paused || reader.is_pull {
            continue;
        }
        let is_there = reading.end == Some(ReadEnd::Closed) && reading.got == sending.written;
        assert!(is_there, "{stream:?}: {sending:?} {reading:?}\n{sender:?}\n{reader:?}");
    }
}
