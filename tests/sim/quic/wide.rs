//! What only a part of the worlds does: streams whose bytes are asked for, pauses of single
//! streams, and clients that take another socket.

use zero_io::{ConnId, IoError, PeerAddr, QuicReceive, QuicTransport, Sender, StreamId};

use super::model::{Closing, End};
use super::{Cx, hosts};

/// Bytes that one call asks for at most.
const READ_LEN_MAX: usize = 100_000;

/// What the model knows of a transport.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    windows: [u64; 2],
    is_pull: bool,
}

impl Limits {
    pub(super) fn of(transport: &QuicTransport) -> Self {
        Self {
            windows: [transport.stream_window.into(), transport.conn_window.into()],
            is_pull: transport.receive == QuicReceive::Pull,
        }
    }

    pub(super) const fn apply(self, end: &mut End) {
        (end.windows, end.is_pull) = (self.windows, self.is_pull);
    }
}

/// A stream has bytes to be asked for.
pub(super) fn readable(end: &mut End, stream: StreamId) {
    assert!(end.is_pull && !end.is_paused, "Readable of {stream:?} at {}", end.number);
    let reading = end.reading.entry(stream).or_default();
    let is_due = !reading.is_readable && reading.end.is_none() && reading.stopped.is_none();
    assert!(is_due && !reading.is_paused, "Readable of {stream:?}: {reading:?}");
    reading.is_readable = true;
}

/// One step of a connection, beside all others.
pub(super) fn progress(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let state = &cx.model.ends[end];
    if !cx.parts.is_wide || !state.is_connected || matches!(state.closing, Some(Closing::Now(_))) {
        return;
    }
    if cx.is_liveness {
        resume_all(sender, conn, end, cx);
    } else if cx.model.ends[end].is_open() {
        match cx.chance.below(60) {
            0..3 => pause(sender, conn, end, cx),
            3 if cx.model.ends[end].is_client => rebind(sender, conn),
            _ => {}
        }
    }
    if cx.model.ends[end].is_pull && (cx.is_liveness || cx.chance.once_in(3)) {
        read(sender, conn, end, cx);
    }
}

/// Asks for bytes, of those streams that have some.
fn read(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let reading = cx.model.ends[end].reading.iter();
    let with_some = reading.filter(|(_, half)| {
        half.is_readable && !half.is_paused && half.end.is_none() && half.stopped.is_none()
    });
    for stream in with_some.map(|(stream, _)| *stream).collect::<Vec<_>>() {
        let all = cx.is_liveness;
        let len = if all { READ_LEN_MAX } else { cx.chance.pick(&[1, 100, 5_000, READ_LEN_MAX]) };
        let mut into = vec![0; len];
        loop {
            match sender.stream_read(conn, stream, &mut into) {
                Ok(0) => {
                    if let Some(half) = cx.model.ends[end].reading.get_mut(&stream) {
                        half.is_readable = false;
                    }
                    break;
                }
                Ok(count) => cx.model.frame(end, stream, &into[..count], false),
                // All was read, or it was reset: its end is told next.
                Err(IoError::NoSuchStream { .. } | IoError::StaleConn { .. }) => break,
                Err(error) => panic!("stream_read: {error}"),
            }
            if !all {
                break;
            }
        }
    }
}

/// Pauses a stream that is read, or goes on with it.
fn pause(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let Cx { chance, model, .. } = cx;
    let reading = &mut model.ends[end].reading;
    let place = chance.below(reading.len().max(1));
    let Some((stream, half)) = reading.iter_mut().nth(place) else { return };
    let changed = match half.is_paused {
        true => sender.stream_resume(conn, *stream),
        false => sender.stream_pause(conn, *stream),
    };
    match changed {
        Ok(()) => half.is_paused = !half.is_paused,
        Err(IoError::NoSuchStream { .. } | IoError::StaleConn { .. }) => {}
        Err(error) => panic!("a pause of {stream:?}: {error}"),
    }
}

fn resume_all(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    for (stream, half) in &mut cx.model.ends[end].reading {
        if std::mem::take(&mut half.is_paused) {
            match sender.stream_resume(conn, *stream) {
                Ok(()) | Err(IoError::NoSuchStream { .. } | IoError::StaleConn { .. }) => {}
                Err(error) => panic!("stream_resume: {error}"),
            }
        }
    }
}

/// Takes another socket, with all connections that share this one: not before each is confirmed.
fn rebind(sender: &mut Sender<'_>, conn: ConnId) {
    let Ok(PeerAddr::Inet(peer)) = sender.peer_addr(conn) else { return };
    let mut any = hosts::loopback(peer);
    any.set_port(0);
    match sender.quic_rebind(conn, any) {
        Ok(())
        | Err(
            IoError::NotConnected { .. }
            | IoError::HandshakeUnconfirmed { .. }
            | IoError::StaleConn { .. }
            | IoError::PoolExhausted { .. }
            | IoError::NofileLimit { .. }
            | IoError::Os { .. },
        ) => {}
        Err(error) => panic!("quic_rebind: {error}"),
    }
}
