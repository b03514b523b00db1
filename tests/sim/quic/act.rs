//! What a node does with a connection.

use std::time::Duration;

use zero_io::{ConnId, IoError, Sender, StreamDir, StreamId};

use super::Cx;
use super::model::{self, Closing, DATAGRAM_HEAD_LEN, End, Sending};
use super::past::{self, Early};
use crate::chance::Chance;

/// What a connection of doubtful health is given when all is well.
const WAIT_MAX: Duration = Duration::from_secs(60);
const STREAMS_MAX: usize = 8;

/// How long a stream is to be.
pub(super) fn len(cx: &mut Cx) -> u64 {
    cx.chance.pick(&[0, 1, 8, 9, 1_000, 5_000, 30_000, 100_000])
}

/// The streams that an end opens. A client says something at least, so that it is known.
pub(super) fn plan(cx: &mut Cx) -> Vec<StreamDir> {
    let count = 1 + cx.chance.below(4);
    (0..count).map(|_| cx.chance.pick(&[StreamDir::Bidi, StreamDir::Uni])).collect()
}

/// A stream that there may be, or not.
fn any_stream<T>(of: &std::collections::BTreeMap<StreamId, T>, chance: &mut Chance) -> StreamId {
    if of.is_empty() || chance.once_in(20) {
        let number = chance.pick(&[0, 1, 2, 3, 40_000, u64::MAX >> 2, 1 << 62, u64::MAX]);
        return StreamId::from_u64(number);
    }
    *of.keys().nth(chance.below(of.len())).expect("one of them")
}

/// What any call may say of a stream that was there, or of a connection that may be over.
pub(super) fn is_over(error: IoError) -> bool {
    matches!(
        error,
        IoError::StaleConn { .. } | IoError::WriteClosed { .. } | IoError::StreamStopped { .. }
    )
}

/// One step of a connection.
pub(super) fn progress(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let state = &cx.model.ends[end];
    if state.closing.is_some() {
        return;
    }
    if !state.is_connected {
        let is_short = state.route.is_by_name || state.ties.early == Early::Offered;
        if !cx.is_liveness && cx.chance.once_in(if is_short { 100 } else { 300 }) {
            return close(sender, conn, end, cx);
        }
        if cx.model.ends[end].ties.early == Early::Offered {
            past::speak(sender, conn, end, cx);
        }
        return;
    }
    if cx.parts.returns && cx.model.ends[end].is_client {
        past::look(sender, conn, end, cx);
    }
    open(sender, conn, end, cx);
    write(sender, conn, end, cx);
    if cx.is_liveness {
        return leave(sender, conn, end, cx);
    }
    if cx.chance.once_in(6) {
        datagram(sender, conn, end, cx);
    }
    match cx.chance.below(160) {
        0..4 => finish(sender, conn, end, cx),
        4..7 => reset(sender, conn, end, cx),
        7..10 => stop(sender, conn, end, cx),
        10..13 => pause(sender, conn, end, cx),
        13 if cx.chance.once_in(3) => close(sender, conn, end, cx),
        14..16 => look(sender, conn, end, cx),
        16 if cx.model.ends[end].sending.len() < STREAMS_MAX => {
            let dir = cx.chance.pick(&[StreamDir::Bidi, StreamDir::Uni]);
            cx.model.ends[end].plan.push(dir);
        }
        _ => {}
    }
    cx.model.check_windows(end);
}

fn open(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let target = len(cx);
    let end = &mut cx.model.ends[end];
    let Some(dir) = end.plan.last().copied() else { return };
    if end.wants[dir as usize] {
        return;
    }
    match sender.stream_open(conn, dir) {
        Ok(stream) => {
            assert_eq!((stream.dir(), stream.opened_by_client()), (dir, end.is_client));
            // The first one says who it is.
            let target = if stream.index() == 0 { target.max(8) } else { target };
            let fresh = Sending { target, ..Sending::default() };
            assert!(end.sending.insert(stream, fresh).is_none(), "{stream:?} twice");
            end.plan.pop();
        }
        Err(IoError::StreamLimit { .. }) => end.wants[dir as usize] = true,
        Err(error) => assert!(is_over(error), "stream_open: {error}"),
    }
}

/// Writes to one stream, or to all when there is no other hurry.
pub(super) fn write(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let all = cx.is_liveness;
    let Cx { chance, model, .. } = cx;
    let End { number, sending, .. } = &mut model.ends[end];
    let chosen = if all { 0 } else { chance.below(sending.len().max(1) * 2) };
    for (place, (stream, half)) in sending.iter_mut().enumerate() {
        if half.is_over() || half.is_blocked || !(all || place == chosen) {
            continue;
        }
        let left = half.target - half.written;
        let piece = if all { 1 << 20 } else { chance.pick(&[1, 100, 5_000, 60_000]) };
        let to = half.written + left.min(piece);
        let data = model::text(*number, *stream, half.written, to);
        match sender.stream_write(conn, *stream, &data) {
            Ok(taken) => {
                half.is_blocked = taken < data.len();
                half.written += taken as u64;
            }
            Err(error) => {
                assert!(is_over(error), "stream_write: {error}");
                continue;
            }
        }
        if half.written == half.target && (all || chance.once_in(3)) {
            match sender.stream_finish(conn, *stream) {
                Ok(()) => half.is_finished = true,
                Err(error) => assert!(is_over(error), "stream_finish: {error}"),
            }
        }
    }
}

pub(super) fn finish(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let end = &mut cx.model.ends[end];
    let stream = any_stream(&end.sending, &mut cx.chance);
    let half = end.sending.get_mut(&stream);
    match (sender.stream_finish(conn, stream), half) {
        (Ok(()), Some(half)) => {
            assert!(!half.is_over(), "stream_finish: {half:?}");
            half.is_finished = true;
        }
        // It is there, and was not told of.
        (Ok(()), None) => {
            assert_ne!(stream.opened_by_client(), end.is_client, "{stream:?} is none");
            let fresh = Sending { is_finished: true, ..Sending::default() };
            end.sending.insert(stream, fresh);
        }
        (Err(IoError::NoSuchStream { .. }), None) => {}
        (Err(error), half) => assert!(is_over(error), "stream_finish: {error} {half:?}"),
    }
}

pub(super) fn reset(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let code = cx.chance.next() >> 2;
    let end = &mut cx.model.ends[end];
    let stream = any_stream(&end.sending, &mut cx.chance);
    let half = end.sending.get_mut(&stream);
    match (sender.stream_reset(conn, stream, code), half) {
        (Ok(()), Some(half)) => {
            if half.reset.is_none() {
                half.reset = Some(code);
            }
        }
        (Ok(()), None) => {
            assert_ne!(stream.opened_by_client(), end.is_client, "{stream:?} is none");
            let fresh = Sending { reset: Some(code), ..Sending::default() };
            end.sending.insert(stream, fresh);
        }
        (Err(IoError::NoSuchStream { .. }), None) => {}
        (Err(error), half) => assert!(is_over(error), "stream_reset: {error} {half:?}"),
    }
}

pub(super) fn stop(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let code = cx.chance.next() >> 2;
    let end = &mut cx.model.ends[end];
    let stream = any_stream(&end.reading, &mut cx.chance);
    let half = end.reading.get_mut(&stream);
    match (sender.stop_sending(conn, stream, code), half) {
        (Ok(()), Some(half)) => {
            if half.end.is_none() && half.stopped.is_none() {
                half.stopped = Some(code);
            }
        }
        // It is known by its other half, or nothing of it was told yet.
        (Ok(()), None) => {
            end.reading.entry(stream).or_default().stopped = Some(code);
        }
        (Err(IoError::NoSuchStream { .. }), None) => {}
        (Err(error), half) => assert!(is_over(error), "stop_sending: {error} {half:?}"),
    }
}

fn pause(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let end = &mut cx.model.ends[end];
    let changed = match end.is_paused {
        true => sender.resume_recv(conn),
        false => sender.pause_recv(conn),
    };
    match changed {
        Ok(()) => end.is_paused = !end.is_paused,
        Err(error) => assert!(is_over(error), "pause: {error}"),
    }
}

fn datagram(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let end = &mut cx.model.ends[end];
    let max = match sender.max_datagram_size(conn) {
        Ok(max) => max,
        Err(IoError::DatagramsUnsupported { .. }) => return,
        Err(error) => return assert!(is_over(error), "max_datagram_size: {error}"),
    };
    let len = cx.chance.pick(&[DATAGRAM_HEAD_LEN, 100, 1_000, max, max + 1]);
    let data = model::datagram(end.number, end.datagrams_sent, len);
    match sender.send_datagram(conn, &data) {
        Ok(()) => {
            assert!(data.len() <= max, "a datagram of {} of {max} bytes", data.len());
            end.datagrams_sent += 1;
        }
        Err(IoError::DatagramTooLarge { len, max }) => assert!(len > max, "{len} {max}"),
        Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {}
        Err(error) => assert!(is_over(error), "send_datagram: {error}"),
    }
}

/// Questions that change nothing.
fn look(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let end = &cx.model.ends[end];
    let stream = any_stream(&end.sending, &mut cx.chance);
    let priority = cx.chance.pick(&[-5, 0, 1, i32::MAX]);
    match sender.stream_priority(conn, stream, priority) {
        Ok(()) => {}
        Err(IoError::NoSuchStream { .. }) => assert!(!end.sending.contains_key(&stream)),
        Err(error) => assert!(is_over(error), "stream_priority: {error}"),
    }
    let _ = (sender.conn_stats(conn), sender.peer_addr(conn), sender.conn_local_addr(conn));
    let _ = sender.set_user_data(conn, 7);
}

fn close(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    let code = cx.chance.pick(&[0, 1, 0xC, (1 << 62) - 1]);
    let (closed, how) = match cx.chance.below(3) {
        0 => (sender.close(conn), Closing::Now(0)),
        1 => (sender.close_with(conn, code, b"that was it"), Closing::Now(code)),
        _ => {
            let patience = Duration::from_millis(cx.chance.pick(&[0, 50, 20_000]));
            (sender.close_graceful(conn, patience), Closing::Graceful)
        }
    };
    match closed {
        Ok(()) => note_close(&mut cx.model.ends[end], how),
        // It has ended, which is told next.
        Err(IoError::StaleConn { .. }) => {}
        Err(error) => panic!("{how:?}: {error}"),
    }
}

fn note_close(end: &mut End, how: Closing) {
    let how = match (how, end.is_connected) {
        // There is nothing to wait for.
        (Closing::Graceful, false) => Closing::Now(0),
        _ => how,
    };
    end.closing = Some(how);
    if how == Closing::Graceful {
        end.is_paused = false;
        let open = end.sending.values_mut().filter(|half| !half.is_over());
        open.for_each(|half| half.is_finished = true);
    }
}

/// When all is well: a connection that has nothing more to do is closed by one of its ends.
fn leave(sender: &mut Sender<'_>, conn: ConnId, end: usize, cx: &mut Cx) {
    if cx.model.ends[end].is_paused {
        pause(sender, conn, end, cx);
    }
    let state = &cx.model.ends[end];
    let peer = state.peer.map(|peer| &cx.model.ends[peer]);
    let is_over = |peer: &End| peer.is_silent() || !peer.is_open();
    let is_done = state.is_silent() && peer.is_some_and(is_over);
    // Who knows whether its peer is there gives up some time.
    let is_sure = state.is_sure || peer.is_some_and(|peer| peer.is_sure);
    let now_ns = cx.world.now_ns();
    let since_ns = *cx.model.ends[end].waits_since_ns.get_or_insert(now_ns);
    let has_waited = !is_sure && now_ns - since_ns > WAIT_MAX.as_nanos() as u64;
    if is_done && cx.chance.once_in(3) || has_waited {
        close(sender, conn, end, cx);
    }
}
