//! What is written, before it is the machine's.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, connect_config, heard, listen_config};
use crate::error::IoError;
use crate::ids::{StreamDir, StreamId};
use crate::pool::quic::cells::Cells;
use crate::proto::quic::signal::Signal;

const CELLS: usize = 64;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[test]
fn ten_thousand_small_writes_are_linear() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let mut cells = Cells::new(CELLS);
    let client = pair.client.session(0);
    let id = client.open(StreamDir::Uni).unwrap();
    let data = pattern(100_000);
    for piece in data.chunks(10) {
        assert_eq!(client.write_copy(id, piece, &mut cells), Ok(10));
    }
    client.finish(id).unwrap();
    // The machine looks through its pieces for every packet: they are few.
    assert!(client.pieces() <= 40, "{} pieces", client.pieces());
    pair.until("its end", |pair| {
        pair.server.told.iter().any(|told| matches!(told.1, Signal::ReadClosed(_)))
    });
    assert!(heard(&pair.server.take(0), id) == (data, true));
}

#[test]
fn writes_of_all_sizes_to_two_streams_stay_in_order() {
    let listen = listen_config().with(|c| c.transport.stream_window = 20_000);
    let mut pair = Pair::connected(listen, connect_config());
    let mut cells = Cells::new(CELLS);
    let ids =
        [StreamDir::Uni, StreamDir::Bidi].map(|dir| pair.client.session(0).open(dir).unwrap());
    let data = Bytes::from(pattern(500_000));
    let mut sent = [0, 0];
    let mut size = 1;
    pair.until("all of it", |pair| {
        let client = pair.client.session(0);
        for (id, sent) in ids.iter().zip(&mut sent) {
            for _ in 0..20 {
                size = size * 7 % 9973;
                let next = data.slice(*sent..data.len().min(*sent + size));
                if next.is_empty() {
                    break;
                }
                if size % 5 == 0 {
                    if client.is_full(*id, 10_000).unwrap() {
                        break;
                    }
                    *sent += next.len();
                    client.write_bytes(*id, next).unwrap();
                } else {
                    let taken = client.write_copy(*id, &next, &mut cells).unwrap();
                    *sent += taken;
                    if taken < next.len() {
                        break;
                    }
                }
                if *sent == data.len() {
                    client.finish(*id).unwrap();
                }
            }
        }
        pair.server.told.iter().filter(|t| matches!(t.1, Signal::ReadClosed(_))).count() == 2
    });
    let told = pair.server.take(0);
    for id in ids {
        assert!(heard(&told, id) == (data.to_vec(), true), "{id:?}");
    }
    pair.until("all to be acknowledged", |pair| pair.client.session(0).is_all_acked());
    assert!(cells.is_home(), "all was acknowledged");
}

/// A client with a stream whose window is smaller than a tail, and a server that gives no other.
fn behind_a_window() -> (Pair, Cells, StreamId) {
    let listen = listen_config().with(|c| c.transport.stream_window = 4096);
    let mut pair = Pair::connected(listen, connect_config());
    pair.server.session(0).pause();
    let id = pair.client.session(0).open(StreamDir::Uni).unwrap();
    (pair, Cells::new(CELLS), id)
}

#[test]
fn an_end_behind_what_waits_is_the_end() {
    let (mut pair, _, id) = behind_a_window();
    let client = pair.client.session(0);
    let data = Bytes::from(pattern(50_000));
    client.write_bytes(id, data.clone()).unwrap();
    client.finish(id).unwrap();
    let conn = client.write_bytes(id, data.clone()).unwrap_err();
    assert!(matches!(conn, IoError::WriteClosed { .. }));
    assert!(client.finish(id).is_err() && client.is_full(id, 1).is_err());
    pair.run(Duration::from_secs(1));
    pair.server.session(0).resume();
    pair.until("its end", |pair| {
        pair.client.told.iter().any(|told| matches!(told.1, Signal::Finished(_)))
    });
    assert!(heard(&pair.server.take(0), id) == (data.to_vec(), true));
}

#[test]
fn what_was_cut_takes_nothing_before_writable() {
    let (mut pair, mut cells, id) = behind_a_window();
    let client = pair.client.session(0);
    assert_eq!(client.write_copy(id, &pattern(10_000), &mut cells), Ok(4096));
    for len in [1, 100, 10_000] {
        assert_eq!(client.write_copy(id, &pattern(len), &mut cells), Ok(0));
    }
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.client.session(0).write_copy(id, b"x", &mut cells), Ok(0));
    assert!(pair.client.take(0).is_empty());
    pair.server.session(0).resume();
    pair.until("Writable", |pair| !pair.client.told.is_empty());
    assert_eq!(pair.client.take(0), [Signal::Writable(id)]);
    assert_eq!(pair.client.session(0).write_copy(id, b"x", &mut cells), Ok(1));
}

#[test]
fn a_tail_that_finds_its_window_closed_waits() {
    let (mut pair, mut cells, id) = behind_a_window();
    let client = pair.client.session(0);
    let data = pattern(6000);
    // Not until a packet is made does the second half meet the window.
    assert_eq!(client.write_copy(id, &data[..3000], &mut cells), Ok(3000));
    assert_eq!(client.write_copy(id, &data[3000..], &mut cells), Ok(3000));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.client.session(0).write_copy(id, b"x", &mut cells), Ok(0));
    pair.server.session(0).resume();
    pair.until("Writable", |pair| !pair.client.told.is_empty());
    pair.client.session(0).finish(id).unwrap();
    pair.until("its end", |pair| {
        pair.server.told.iter().any(|told| matches!(told.1, Signal::ReadClosed(_)))
    });
    assert!(heard(&pair.server.take(0), id) == (data, true));
}
