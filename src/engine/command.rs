//! What handles ask from other threads, in the order in which each handle asked.

use std::net::SocketAddr;

use super::{Engine, QuicCommand};
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, EndpointId, StreamId};
use crate::pool::WriteGuard;
use crate::pool::{BufId, RawSend, SendBuffer};
use crate::proto::http1::Reply;

/// Commands run in one tick at most.
const COMMANDS_PER_TICK_MAX: usize = 1024;

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

impl Engine {
    /// Runs what handles asked for, up to the first command that finds no room; it waits for some,
    /// and what was asked for later with it. Then what other shards sent.
    #[inline]
    pub(super) fn run_commands(&mut self) {
        if self.looks_further || !self.commands.is_empty() {
            self.run_waiting_commands();
            self.run_fleet();
            self.looks_further = self.command_waits.is_some() || self.fleet.is_some();
        }
    }

    fn run_waiting_commands(&mut self) {
        for _ in 0..COMMANDS_PER_TICK_MAX {
            let Some(command) = self.command_waits.take().or_else(|| self.commands.pop()) else {
                return;
            };
            if !self.has_room_for(&command) {
                self.command_waits = Some(command);
                return;
            }
            self.run_command(command);
        }
    }

    /// Whether `run_commands` would run anything. What lacks room is no work: what makes room is a
    /// completion or a call of this thread, and the next poll looks again.
    #[inline]
    pub(super) fn has_command_to_run(&self) -> bool {
        if self.looks_further { self.has_more_to_run() } else { !self.commands.is_empty() }
    }

    fn has_more_to_run(&self) -> bool {
        let has_command = match &self.command_waits {
            None => !self.commands.is_empty(),
            Some(command) => self.has_room_for(command),
        };
        has_command || self.fleet_has_work()
    }

    /// Ends and posts need no room in the send queues: a peer that does not read cannot keep a
    /// thread from closing its connection.
    fn has_room_for(&self, command: &Command) -> bool {
        match command {
            Command::Write { .. } | Command::HttpReply { .. } => self.segments.room() > 0,
            Command::WriteGuard { .. } => self.segments.room() > 0 && !self.guards.is_full(),
            Command::Post { .. } => self.inbox.room() > 0,
            Command::UdpSend { .. }
            | Command::ShutdownWrite { .. }
            | Command::Close { .. }
            | Command::CloseGraceful { .. }
            | Command::Quic { .. }
            | Command::Resolved { .. } => true,
        }
    }

    fn run_command(&mut self, command: Command) {
        self.stats.commands += 1;
        self.stats.bytes_copied_tx += copied_len(&command) as u64;
        let result = match command {
            Command::Write { conn, stream, buffer, .. } => {
                self.append_buffer(conn, stream, buffer).is_ok()
            }
            Command::WriteGuard { conn, stream, memory, token } => {
                self.append_guard(conn, stream, memory, token).is_ok()
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

    pub(crate) fn graceful_deadline(&mut self, timeout: std::time::Duration) -> crate::time::Time {
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
