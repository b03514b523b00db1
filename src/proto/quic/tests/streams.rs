//! Streams: what is written is what is read, and every half ends once.

use bytes::Bytes;
use std::time::Duration;

use super::pair::{Pair, connect_config, heard, listen_config, next_of};
use crate::error::{IoError, Result};
use crate::ids::{ConnId, StreamDir, StreamId};
use crate::proto::quic::signal::Signal;

const ID: ConnId = ConnId::new(0, 1);
const SHORT: Duration = Duration::from_millis(100);

fn pair() -> Pair {
    Pair::connected(listen_config(), connect_config())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn any_length_both_kinds_and_both_ways() {
    let mut pair = pair();
    for len in [0, 1, 1200, 40_000] {
        for dir in [StreamDir::Bidi, StreamDir::Uni] {
            let data = pattern(len);
            let id = pair.say(dir, &data);
            pair.client.session(0).finish(id).unwrap();
            pair.run(SHORT);
            assert_eq!(heard(&pair.server.take(0), id), (data.clone(), true), "{len} {dir:?}");
            assert_eq!(pair.client.take(0), [Signal::Finished(id)]);

            let server = pair.server.session(0);
            let id = if dir == StreamDir::Bidi { id } else { server.open(dir).unwrap() };
            assert_eq!(server.write(id, &mut [data.clone().into()]), Ok(len));
            server.finish(id).unwrap();
            pair.run(SHORT);
            assert_eq!(heard(&pair.client.take(0), id), (data, true), "{len} {dir:?}");
            assert_eq!(pair.server.take(0), [Signal::Finished(id)]);
        }
    }
    assert!(pair.client.session(0).is_all_acked() && pair.server.session(0).is_all_acked());
}

#[test]
fn fin_comes_with_the_last_bytes_or_alone() {
    let mut pair = pair();
    let id = pair.say(StreamDir::Uni, b"all");
    pair.client.session(0).finish(id).unwrap();
    pair.run(SHORT);
    let whole = Signal::Frame { stream: id, data: Bytes::from_static(b"all"), fin: true };
    assert_eq!(pair.server.take(0), [whole, Signal::ReadClosed(id)]);

    let id = pair.say(StreamDir::Uni, b"first");
    pair.run(SHORT);
    let first = Signal::Frame { stream: id, data: Bytes::from_static(b"first"), fin: false };
    assert_eq!(pair.server.take(0), [first]);
    pair.client.session(0).finish(id).unwrap();
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [Signal::ReadClosed(id)]);
}

#[test]
fn a_later_stream_opens_the_ones_before() {
    let mut pair = pair();
    let client = pair.client.session(0);
    let ids: Vec<_> = (0..3).map(|_| client.open(StreamDir::Bidi).unwrap()).collect();
    assert_eq!(ids.iter().map(|id| id.as_u64()).collect::<Vec<_>>(), [0, 4, 8]);
    client.write(ids[1], &mut [Bytes::from_static(b"second")]).unwrap();
    pair.run(SHORT);
    assert_eq!(heard(&pair.server.take(0), ids[1]).0, b"second");
    // The server may write to the one before, of which nothing came, and not to the one behind.
    let server = pair.server.session(0);
    assert_eq!(server.write(ids[0], &mut [Bytes::from_static(b"hello")]), Ok(5));
    let unknown = server.write(ids[2], &mut [Bytes::from_static(b"hello")]);
    assert_eq!(unknown, Err(IoError::NoSuchStream { conn: ID }));
    pair.run(SHORT);
    assert_eq!(heard(&pair.client.take(0), ids[0]).0, b"hello");
}

#[test]
fn wrong_halves_are_named_errors() {
    let mut pair = pair();
    let bidi = pair.say(StreamDir::Bidi, b"x");
    let uni = pair.say(StreamDir::Uni, b"x");
    pair.run(SHORT);
    let none: Result<()> = Err(IoError::NoSuchStream { conn: ID });
    let code: Result<()> =
        Err(IoError::InvalidArgument { what: "QUIC error code", why: "it has at most 62 bits" });
    let server = pair.server.session(0);
    let wrong = [4, 1, 5, 3, 7, 6, 1 << 62, u64::MAX].map(StreamId::from_u64);
    for id in wrong.into_iter().chain([uni]) {
        assert_eq!(server.write(id, &mut [Bytes::from_static(b"x")]).map(drop), none);
        assert_eq!(server.write(id, &mut []).map(drop), none);
        assert_eq!(server.finish(id), none);
        assert_eq!(server.reset(id, 0), none);
        assert_eq!(server.set_priority(id, 1), none);
    }
    for id in wrong {
        assert_eq!(server.stop(id, 0), none, "{id:?}");
    }
    assert_eq!(server.reset(bidi, 1 << 62), code);
    assert_eq!(server.stop(bidi, u64::MAX), code);
    assert_eq!(server.reset(bidi, (1 << 62) - 1), Ok(()));
    assert_eq!(server.stop(uni, (1 << 62) - 1), Ok(()));
    let client = pair.client.session(0);
    assert_eq!(client.stop(uni, 0), none, "the half that sends");
    assert_eq!(client.set_priority(uni, -3), Ok(()));
}

#[test]
fn a_half_that_was_ended_takes_no_more() {
    let mut pair = pair();
    let closed: Result<()> = Err(IoError::WriteClosed { conn: ID });
    for ends_by_reset in [false, true] {
        let id = pair.say(StreamDir::Bidi, b"x");
        let client = pair.client.session(0);
        match ends_by_reset {
            true => client.reset(id, 7).unwrap(),
            false => client.finish(id).unwrap(),
        }
        // At once, and when it was acknowledged.
        for _ in 0..2 {
            let client = pair.client.session(0);
            assert_eq!(client.write(id, &mut [Bytes::from_static(b"x")]).map(drop), closed);
            assert_eq!(client.finish(id), closed);
            assert_eq!(client.reset(id, 9), Ok(()), "nothing is left to be reset");
            pair.run(SHORT);
        }
        let told = pair.server.take(0);
        let (_, ended) = heard(&told, id);
        let reset = told.contains(&Signal::Reset { stream: id, error_code: 7 });
        // A reset right after the end of a stream replaces that end.
        let replaced = told.contains(&Signal::Reset { stream: id, error_code: 9 });
        assert_eq!((ended, reset || replaced), (false, true), "{told:?}");
    }
}

#[test]
fn stop_sending_is_answered_with_a_reset() {
    let mut pair = pair();
    let id = pair.say(StreamDir::Bidi, b"begin");
    pair.run(SHORT);
    pair.server.take(0);
    pair.server.session(0).stop(id, 77).unwrap();
    assert_eq!(pair.server.session(0).stop(id, 78), Ok(()), "once is enough");
    pair.run(DELAY_AND_A_BIT);
    let stopped = IoError::StreamStopped { conn: ID, error_code: 77 };
    assert_eq!(pair.client.take(0), [Signal::Stop { stream: id, error_code: 77 }]);
    let client = pair.client.session(0);
    assert_eq!(client.write(id, &mut [Bytes::from_static(b"x")]), Err(stopped));
    assert_eq!(client.finish(id), Err(stopped));
    assert_eq!(client.reset(id, 0), Ok(()));
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [], "who stops a stream is told nothing of it any more");
    // The other half goes on.
    let server = pair.server.session(0);
    server.write(id, &mut [Bytes::from_static(b"end")]).unwrap();
    server.finish(id).unwrap();
    pair.run(SHORT);
    assert_eq!(heard(&pair.client.take(0), id), (b"end".to_vec(), true));
    assert!(pair.client.session(0).is_all_acked());
}

/// So that what was sent is there, and the answer is not.
const DELAY_AND_A_BIT: Duration = Duration::from_millis(6);

#[test]
fn read_after_end_in_every_state() {
    let mut pair = pair();
    // A reset overtakes what was not read: it is told, and the bytes are gone.
    pair.server.is_deaf = true;
    let id = pair.say(StreamDir::Uni, &pattern(5000));
    pair.run(SHORT);
    pair.client.session(0).reset(id, 3).unwrap();
    pair.run(SHORT);
    pair.server.is_deaf = false;
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [Signal::Reset { stream: id, error_code: 3 }]);
    // Stopped with bytes, and an end, that wait.
    pair.server.is_deaf = true;
    let id = pair.say(StreamDir::Uni, &pattern(5000));
    pair.client.session(0).finish(id).unwrap();
    pair.run(SHORT);
    pair.server.session(0).stop(id, 3).unwrap();
    pair.server.is_deaf = false;
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), []);
    assert_eq!(pair.client.take(0), [Signal::Finished(id)]);
}

#[test]
fn stop_in_the_middle_of_reading_drops_the_rest() {
    let mut pair = pair();
    pair.server.is_deaf = true;
    let id = pair.say(StreamDir::Uni, &pattern(50_000));
    pair.run(SHORT);
    let server = pair.server.session(0);
    assert!(matches!(next_of(server), Some(Signal::Frame { .. })));
    server.stop(id, 1).unwrap();
    assert_eq!(next_of(server), None);
}

#[test]
fn streams_are_available_when_others_end() {
    let listen = listen_config().with(|c| c.transport.max_uni_streams = 2);
    let mut pair = Pair::connected(listen, connect_config());
    let one = pair.say(StreamDir::Uni, b"1");
    pair.say(StreamDir::Uni, b"2");
    let client = pair.client.session(0);
    let limit = IoError::StreamLimit { conn: ID, dir: StreamDir::Uni };
    assert_eq!(client.open(StreamDir::Uni), Err(limit));
    assert!(client.open(StreamDir::Bidi).is_ok());
    client.finish(one).unwrap();
    pair.run(SHORT);
    let told = pair.client.take(0);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&Signal::Finished(one)));
    assert!(told.contains(&Signal::Available(StreamDir::Uni)));
    assert!(pair.client.session(0).open(StreamDir::Uni).is_ok());
}

#[test]
fn many_streams_one_after_the_other() {
    let mut pair = pair();
    for round in 0..300_u32 {
        let data = round.to_le_bytes();
        let id = pair.say(StreamDir::Bidi, &data);
        pair.client.session(0).finish(id).unwrap();
        pair.until("the end of the stream", |pair| {
            pair.server.told.iter().any(|(_, signal)| *signal == Signal::ReadClosed(id))
        });
        assert_eq!(heard(&pair.server.take(0), id), (data.to_vec(), true));
        pair.server.session(0).finish(id).unwrap();
        // Now and then both sides come to rest.
        if round % 50 == 0 {
            pair.run(SHORT);
        }
    }
}

#[test]
fn writes_resume_after_both_kinds_of_blocking() {
    // The stream's window, the connection's, and our own send window, each the smallest.
    let windows =
        [(4096, 1 << 20, 1 << 20), (1 << 18, 1 << 18, 1 << 20), (1 << 18, 1 << 20, 16 << 10)];
    for (stream, conn, send) in windows {
        let listen = listen_config().with(|c| {
            c.transport.stream_window = stream;
            c.transport.conn_window = conn;
        });
        let connect = connect_config().with(|c| c.transport.send_window = send);
        let mut pair = Pair::connected(listen, connect);
        let data = Bytes::from(pattern(3 << 20));
        let ids = [StreamDir::Uni, StreamDir::Bidi].map(|dir| {
            let id = pair.client.session(0).open(dir).unwrap();
            (id, std::cell::Cell::new(0_usize))
        });
        let more = |pair: &mut Pair, (id, sent): &(StreamId, std::cell::Cell<usize>)| {
            let client = pair.client.session(0);
            let taken = client.write(*id, &mut [data.slice(sent.get()..)]).unwrap();
            sent.set(sent.get() + taken);
            if sent.get() == data.len() {
                client.finish(*id).unwrap();
            } else {
                assert_eq!(client.write(*id, &mut [data.slice(sent.get()..)]), Ok(0));
            }
        };
        ids.iter().for_each(|stream| more(&mut pair, stream));
        assert!(ids.iter().all(|(_, sent)| sent.get() < data.len()));
        pair.until("all of it", |pair| {
            for signal in pair.client.take(0) {
                match signal {
                    Signal::Writable(id) => {
                        let stream = ids.iter().find(|stream| stream.0 == id).unwrap();
                        more(pair, stream);
                    }
                    Signal::Finished(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            pair.server.told.iter().filter(|t| matches!(t.1, Signal::ReadClosed(_))).count() == 2
        });
        let told = pair.server.take(0);
        for (id, _) in &ids {
            let (bytes, ended) = heard(&told, *id);
            assert!(ended && bytes == data, "{} of {}", bytes.len(), data.len());
        }
    }
}

#[test]
fn a_paused_reader_stops_the_writer_within_its_window() {
    let listen = listen_config().with(|c| {
        c.transport.stream_window = 20_000;
        c.transport.conn_window = 50_000;
    });
    let mut pair = Pair::connected(listen, connect_config());
    pair.server.session(0).pause();
    let id = pair.client.session(0).open(StreamDir::Uni).unwrap();
    let data = Bytes::from(pattern(1 << 20));
    let taken = pair.client.session(0).write(id, &mut [data.clone()]).unwrap();
    assert_eq!(taken, 20_000);
    pair.run(Duration::from_secs(5));
    assert_eq!((pair.server.take(0), pair.client.take(0)), (vec![], vec![]));
    pair.server.session(0).resume();
    pair.run(SHORT);
    assert_eq!(heard(&pair.server.take(0), id).0, data[..taken]);
    assert_eq!(pair.client.take(0), [Signal::Writable(id)]);
}

#[test]
fn higher_priorities_go_first() {
    let mut pair = pair();
    let low = pair.client.session(0).open(StreamDir::Uni).unwrap();
    let high = pair.client.session(0).open(StreamDir::Uni).unwrap();
    let client = pair.client.session(0);
    client.set_priority(high, 5).unwrap();
    for id in [low, high] {
        assert_eq!(client.write(id, &mut [pattern(100_000).into()]), Ok(100_000));
        client.finish(id).unwrap();
    }
    pair.until("both", |pair| {
        pair.server.told.iter().filter(|t| matches!(t.1, Signal::ReadClosed(_))).count() == 2
    });
    let ends: Vec<_> = pair
        .server
        .take(0)
        .into_iter()
        .filter_map(|signal| match signal {
            Signal::ReadClosed(id) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [high, low]);
}

#[test]
fn trains_are_long() {
    let mut pair = pair();
    let id = pair.client.session(0).open(StreamDir::Uni).unwrap();
    pair.client.session(0).write(id, &mut [pattern(1 << 20).into()]).unwrap();
    pair.run(Duration::from_secs(2));
    let (trains, datagrams) = (pair.client.trains, pair.client.datagrams);
    assert!(datagrams > 4 * trains, "{datagrams} datagrams in {trains} trains");
}

#[test]
fn finishing_all_ends_what_comes_later_too() {
    let mut pair = pair();
    let ours = pair.say(StreamDir::Bidi, b"ours");
    pair.run(SHORT);
    let theirs = pair.server.session(0).open(StreamDir::Bidi).unwrap();
    pair.client.session(0).finish_all();
    pair.server.session(0).write(theirs, &mut [Bytes::from_static(b"theirs")]).unwrap();
    pair.run(SHORT);
    let told = pair.server.take(0);
    assert_eq!(heard(&told, ours), (b"ours".to_vec(), true));
    assert_eq!(heard(&told, theirs), (vec![], true));
    assert_eq!(heard(&pair.client.take(0), theirs).0, b"theirs");
    assert!(pair.client.session(0).is_all_acked());
}
