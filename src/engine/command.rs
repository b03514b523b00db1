//! What handles ask from other threads.
//!
//! A command of a connection that cannot take it yet (it is being established, its queue is at the
//! mark) is parked there, and what is asked of that connection later waits behind it. Commands of
//! others, posts and closes go on.
//!
//! *Invariants*
//! - What is asked of one stream, or of one socket, is done in the order in which it was asked.
//! - A command that was taken is run, unless what it is for has ended.
//! - The queue is always emptied, unless a post finds no room: each command that can be parked has
//!   taken its place before it was queued.

use std::net::SocketAddr;
use std::sync::Arc;

use super::parked::Key;
use super::{Engine, QuicCommand};
use crate::code;
use crate::config::Config;
use crate::conn::{Conn, Flags, Phase};
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, EndpointId, Protocol, StreamId};
use crate::pool::WriteGuard;
use crate::pool::{BufId, Class, RawSend, SendBuffer};
use crate::proto::App;
use crate::proto::http1::Reply;
use crate::sync::mpsc::{Consumer, Producer, PushError, channel};
use crate::sync::shares::Shares;
use crate::time::Time;

/// Commands run in one tick at most.
const COMMANDS_PER_TICK_MAX: usize = 1024;
/// Pieces that a handle may queue at a connection, however small the mark.
const PIECES_MIN: usize = 16;

/// One request of another thread.
pub(crate) enum Command {
    /// `copied`: the handle copied the bytes into the buffer.
    Write {
        conn: ConnId,
        stream: StreamId,
        buffer: SendBuffer,
        copied: bool,
    },
    /// Without a token it is a copy that the handle made, and nothing is told.
    WriteGuard {
        conn: ConnId,
        stream: StreamId,
        memory: WriteGuard,
        token: Option<u64>,
    },
    /// Always a copy.
    UdpSend {
        endpoint: EndpointId,
        to: SocketAddr,
        buffer: SendBuffer,
    },
    ShutdownWrite {
        conn: ConnId,
        stream: StreamId,
    },
    Close {
        conn: ConnId,
    },
    CloseGraceful {
        conn: ConnId,
        timeout: std::time::Duration,
    },
    /// The same, once it was parked.
    CloseBy {
        conn: ConnId,
        deadline: Time,
    },
    Post {
        token: u64,
        buffer: Option<SendBuffer>,
    },
    Quic {
        conn: ConnId,
        command: QuicCommand,
    },
    HttpReply {
        conn: ConnId,
        request: u64,
        reply: Reply,
    },
    Resolved {
        conn: ConnId,
        addrs: Option<Vec<SocketAddr>>,
    },
}

impl Command {
    /// What it may have to wait for. Ends and posts wait for nothing: a peer that does not read
    /// cannot keep a thread from closing its connection.
    const fn key(&self) -> Option<Key> {
        match self {
            Self::Write { conn, stream, .. }
            | Self::WriteGuard { conn, stream, .. }
            | Self::ShutdownWrite { conn, stream } => Some(Key::Stream(*conn, *stream)),
            Self::HttpReply { conn, .. } => Some(Key::Stream(*conn, StreamId::ZERO)),
            Self::CloseGraceful { conn, .. } | Self::CloseBy { conn, .. } => Some(Key::Conn(*conn)),
            Self::UdpSend { endpoint, .. } => Some(Key::Endpoint(*endpoint)),
            Self::Close { .. } | Self::Post { .. } | Self::Quic { .. } | Self::Resolved { .. } => {
                None
            }
        }
    }
}

/// The end of the queue that handles have. What can be parked takes a place first.
#[derive(Clone)]
pub(crate) struct Requests {
    queue: Producer<Command>,
    shares: Arc<Shares>,
    connections: usize,
}

/// The queue of commands of one shard.
pub(super) fn requests(config: &Config) -> (Requests, Consumer<Command>) {
    let (queue, commands) = channel(config.handle_queue_entries);
    let connections = config.max_connections;
    let shares = Shares::new(queue.capacity(), connections + config.max_endpoints);
    (Requests { queue, shares: Arc::new(shares), connections }, commands)
}

impl Requests {
    /// Whose share it counts to: that of its connection, or of its socket. Ends count to nobody's:
    /// they find a place while there is one.
    fn share_of(&self, command: &Command) -> Option<usize> {
        let nobody = usize::MAX;
        Some(match command.key()? {
            Key::Conn(_) => nobody,
            _ if matches!(command, Command::ShutdownWrite { .. }) => nobody,
            Key::Stream(conn, _) => {
                let index = conn.index() as usize;
                if index < self.connections { index } else { nobody }
            }
            Key::Endpoint(endpoint) => self.connections + endpoint.index() as usize,
        })
    }

    /// Queues a command. Full is the queue, too, for whose share is used up.
    pub(crate) fn push(&self, command: Command) -> Result<(), PushError<Command>> {
        let Some(user) = self.share_of(&command) else { return self.queue.push(command) };
        if !self.shares.take(user) {
            return Err(match self.queue.is_closed() {
                true => PushError::Closed(command),
                false => PushError::Full(command),
            });
        }
        self.queue.push(command).inspect_err(|_| self.shares.give(user))
    }

    /// Its place is free again.
    fn ran(&self, command: &Command) {
        if let Some(user) = self.share_of(command) {
            self.shares.give(user);
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

impl Engine {
    /// Runs what handles asked for, then what other shards sent.
    #[inline]
    pub(super) fn run_commands(&mut self) {
        if self.looks_further || !self.commands.is_empty() {
            self.run_parked();
            self.run_queued();
            self.run_fleet();
            let waits = self.post_waits.is_some() || !self.parked.is_empty();
            self.looks_further = waits || self.fleet.is_some();
        }
    }

    /// Runs what is parked and needs to be no longer, one lane after the other.
    pub(super) fn run_parked(&mut self) {
        self.parked.due = Time::MAX;
        for _ in 0..self.parked.len() {
            let Some(mut lane) = self.parked.take_lane() else { return };
            while let Some(command) = self.parked.front(&lane) {
                if !self.may_run(lane.key, command) {
                    if let Command::CloseBy { deadline, .. } = command {
                        self.parked.due = self.parked.due.min(*deadline);
                    }
                    break;
                }
                if let Some(command) = self.parked.pop(&mut lane) {
                    self.run_command(command);
                }
            }
            self.parked.put_back(lane);
        }
        // The first one finds the room that there is: that is not always the same.
        self.parked.rotate();
    }

    /// Empties the queue, up to a post that finds no room.
    fn run_queued(&mut self) {
        for _ in 0..COMMANDS_PER_TICK_MAX {
            let Some(command) = self.post_waits.take().or_else(|| self.commands.pop()) else {
                return;
            };
            match command.key() {
                Some(key) => self.run_or_park(key, command),
                None if matches!(command, Command::Post { .. }) && self.inbox.room() == 0 => {
                    self.post_waits = Some(command);
                    return;
                }
                None => self.run_command(command),
            }
        }
    }

    fn run_or_park(&mut self, key: Key, command: Command) {
        let lane = if self.parked.is_empty() { None } else { self.parked.lane_for(key) };
        if lane.is_none() && self.may_run(key, &command) {
            return self.run_command(command);
        }
        let command = match command {
            Command::CloseGraceful { conn, timeout } => {
                let deadline = self.graceful_deadline(timeout);
                self.parked.due = self.parked.due.min(deadline);
                Command::CloseBy { conn, deadline }
            }
            command => command,
        };
        self.parked.push(lane, key, command);
    }

    /// Whether `run_commands` would run anything. What lacks room is no work: what makes room is a
    /// completion or a call of this thread, and the next poll looks again.
    #[inline]
    pub(super) fn has_command_to_run(&self) -> bool {
        if self.looks_further { self.has_more_to_run() } else { !self.commands.is_empty() }
    }

    fn has_more_to_run(&self) -> bool {
        let has_queued = match &self.post_waits {
            None => !self.commands.is_empty(),
            Some(_) => self.inbox.room() > 0,
        };
        has_queued
            || self.parked.fronts().any(|(key, command)| self.may_run(key, command))
            || self.fleet_has_work()
    }

    /// Whether the first command of a lane need not wait any longer. What is over takes none, and
    /// says so.
    fn may_run(&self, key: Key, command: &Command) -> bool {
        if let Key::Conn(conn) = key
            && self.parked.has_streams(conn)
        {
            return matches!(command, Command::CloseBy { deadline, .. } if *deadline <= self.now);
        }
        match command {
            Command::WriteGuard { .. } if self.guards.is_full() => false,
            Command::Write { conn, stream, .. } | Command::WriteGuard { conn, stream, .. } => {
                self.conns.peek(*conn).is_none_or(|conn| self.takes_write(conn, *stream))
            }
            Command::ShutdownWrite { conn, .. } => {
                // A stream that was opened for early data can be ended at once.
                let may = |conn: &Conn| !is_coming(conn) || matches!(conn.app, App::Quic(_));
                self.conns.peek(*conn).is_none_or(may)
            }
            Command::UdpSend { endpoint, .. } => {
                self.endpoints.peek_udp(*endpoint).is_none_or(|udp| !udp.is_full())
            }
            _ => true,
        }
    }

    /// Whether a handle's write may be queued at the connection now, or never.
    fn takes_write(&self, conn: &Conn, stream: StreamId) -> bool {
        if is_coming(conn) {
            return false;
        }
        if conn.protocol == Protocol::Quic {
            return !self.quic_waits(conn, stream);
        }
        if !conn.takes_writes() {
            return true;
        }
        // Each piece holds memory of its own, however short it is.
        let (high, slot) = (self.config.send_high_water, self.pool.class_size(Class::Slots));
        let waits = conn.secure.as_ref().map(|secure| &secure.unsealed);
        let queues = || waits.into_iter().chain([&conn.tx]);
        let bytes: usize = queues().map(|queue| queue.bytes as usize).sum();
        let pieces: usize = queues().map(|queue| queue.len()).sum();
        let is_short = bytes < high && pieces * slot < high.max(PIECES_MIN * slot);
        is_short && self.segments.room() > 0
    }

    /// A guard write was not queued: its memory is released.
    fn tell_aborted(&mut self, conn: ConnId, token: Option<u64>) {
        if token.is_some()
            && let Some(guard) = self.guards.insert_lent(conn, token, 0)
        {
            self.guards.abort(guard);
            self.guards.release(guard);
        }
    }

    fn run_command(&mut self, command: Command) {
        self.stats.commands += 1;
        self.producer.ran(&command);
        self.stats.bytes_copied_tx += copied_len(&command) as u64;
        let result = match command {
            Command::Write { conn, stream, buffer, .. } => {
                self.append_buffer(conn, stream, buffer).is_ok()
            }
            Command::WriteGuard { conn, stream, memory, token } => {
                let queued = self.append_guard(conn, stream, memory, token).is_ok();
                if !queued {
                    self.tell_aborted(conn, token);
                }
                queued
            }
            Command::UdpSend { endpoint, to, buffer } => {
                self.udp_send(endpoint, Some(to), buffer, 0, None).is_ok()
            }
            Command::ShutdownWrite { conn, stream } => self.shutdown_write(conn, stream).is_ok(),
            Command::Close { conn } => self.close(conn).is_ok(),
            Command::CloseGraceful { conn, timeout } => {
                let deadline = self.graceful_deadline(timeout);
                self.close_graceful(conn, deadline).is_ok()
            }
            Command::CloseBy { conn, .. }
                if self.parked.has_streams(conn) && !self.is_quic(conn) =>
            {
                // Its time is up, and what was asked for before it is not even queued.
                let is_there = self.conns.get(conn).is_ok();
                if is_there {
                    self.begin_end(conn.index(), code::CLOSE_TIMEOUT, false);
                }
                is_there
            }
            Command::CloseBy { conn, deadline } => self.close_graceful(conn, deadline).is_ok(),
            Command::Quic { conn, command } => self.quic_command(conn, command).is_ok(),
            Command::HttpReply { conn, request, reply } => {
                self.http_reply(conn, request, reply).is_ok()
            }
            Command::Post { token, buffer } => {
                self.posted(token, buffer);
                true
            }
            Command::Resolved { conn, addrs } => {
                self.on_resolved(conn, addrs);
                true
            }
        };
        if !result {
            // The connection ended in the meantime, which its Disconnected says.
            self.stats.commands_refused += 1;
        }
    }

    pub(crate) fn graceful_deadline(&mut self, timeout: std::time::Duration) -> Time {
        let timeout = if timeout.is_zero() { self.config.close_timeout } else { timeout };
        self.ring.now().saturating_add(timeout)
    }

    pub(super) fn posted(&mut self, token: u64, buffer: Option<SendBuffer>) {
        let raw = buffer.and_then(|b| self.pool.adopt(b).ok());
        let raw = raw.unwrap_or(RawSend { buf: BufId::NONE, start: 0, len: 0 });
        self.inbox.push(Record {
            kind: Kind::User,
            buf: raw.buf,
            offset: raw.start,
            len: raw.len,
            id: 0,
            extra: token,
        });
    }
}

/// Whether the connection will take writes, unless it ends: it is being established, or it was to
/// go to another shard and may yet stay.
fn is_coming(conn: &Conn) -> bool {
    conn.phase < Phase::Open
        || conn.is_leaving()
        || (conn.phase == Phase::Open && conn.has(Flags::SHAKING))
}

/// Payload bytes that the handle copied for this.
fn copied_len(command: &Command) -> usize {
    match command {
        Command::Write { buffer, copied: true, .. } | Command::UdpSend { buffer, .. } => {
            buffer.len()
        }
        Command::Quic { command, .. } => command.copied_len(),
        Command::HttpReply { reply, .. } => reply.copied_len(),
        Command::WriteGuard { memory, token: None, .. } => memory.bytes().len(),
        _ => 0,
    }
}
