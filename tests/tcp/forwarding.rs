//! Sending on what was received, from where it lies.

use std::io::Write;
use std::thread;
use std::time::Duration;

use zero_io::Event;

use crate::common::{PATIENCE, Shard, TICK, assert_same, dial, pattern, read_to_end};

#[test]
fn forward_echoes_from_where_it_was_received() {
    const TOTAL: usize = 4 << 20;
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let client = thread::spawn(move || {
        let stream = dial(addr);
        let mut writer = stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            writer.write_all(&pattern(5, TOTAL)).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let got = read_to_end(stream);
        sending.join().unwrap();
        assert_same(&got, &pattern(5, TOTAL));
    });
    let conn = shard.wait_connected(Some(endpoint));
    let start = std::time::Instant::now();
    let mut ended = false;
    while !ended {
        assert!(start.elapsed() < PATIENCE, "{:?}", shard.io.conn_stats(conn));
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            match event {
                // In two parts, since a part of an event's data is good too.
                Event::StreamFrame { conn, stream, data, .. } => {
                    let (head, tail) = data.split_at(data.len() / 3);
                    sender.forward(conn, stream, head).unwrap();
                    sender.forward(conn, stream, tail).unwrap();
                }
                Event::ReadClosed { conn, .. } => {
                    sender.close_graceful(conn, Duration::ZERO).unwrap();
                }
                Event::Disconnected { error_code, clean, .. } => {
                    assert_eq!((error_code, clean), (0, true));
                    ended = true;
                }
                _ => {}
            }
        }
    }
    client.join().unwrap();
    let stats = shard.io.io_stats();
    assert_eq!((stats.bytes_copied_rx, stats.bytes_copied_tx), (0, 0));
    shard.seen.clear();
    shard.until("nothing to be left", |shard| shard.io.is_idle());
}

#[test]
fn a_proxy_slows_its_source_down_to_its_sink() {
    const TOTAL: usize = 8 << 20;
    let mut shard = Shard::with(|c| c.held_buffers_max = 8);
    let (source, from) = shard.accepted_with(|c| c.recv_buffer = Some(64 * 1024));
    let (sink, to) = shard.accepted_with(|c| c.send_buffer = Some(64 * 1024));
    let sending = thread::spawn(move || {
        let mut from = from;
        from.write_all(&pattern(9, TOTAL)).unwrap();
        from.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let reading = thread::spawn(move || {
        // Slow at first: the queue has to be bounded meanwhile.
        thread::sleep(Duration::from_millis(300));
        read_to_end(to)
    });
    let mut queued_most = 0;
    let start = std::time::Instant::now();
    let mut open = 2;
    while open > 0 {
        assert!(start.elapsed() < PATIENCE, "the proxy is stuck");
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    assert_eq!(conn, source);
                    sender.forward(sink, stream, data).unwrap();
                    queued_most = queued_most.max(sender.conn_stats(sink).unwrap().bytes_queued);
                }
                Event::ReadClosed { conn, .. } if conn == source => {
                    sender.close_graceful(source, PATIENCE).unwrap();
                    sender.close_graceful(sink, PATIENCE).unwrap();
                }
                Event::Disconnected { error_code, .. } => {
                    assert_eq!(error_code, 0);
                    open -= 1;
                }
                _ => {}
            }
        }
    }
    sending.join().unwrap();
    assert_same(&reading.join().unwrap(), &pattern(9, TOTAL));
    // The bound, and the buffers that the kernel had when it was reached.
    assert!(queued_most <= (8 + 128) * 32 * 1024, "{queued_most} bytes were queued");
}
