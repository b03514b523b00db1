//! QUIC from other threads.

use std::thread;
use std::time::{Duration, Instant};

use zero_io::{IoError, SendOutcome, StreamDir};

use super::kit::{BOTH, CLIENT, Net, PATIENCE, SERVER, Seen, pattern};

const THREADS: usize = 3;

/// Asks until there is room: a full queue and an empty reserve pass.
fn insist(mut ask: impl FnMut() -> Result<(), IoError>) {
    let start = Instant::now();
    while let Err(error) = ask() {
        assert!(error.is_retryable() && start.elapsed() < PATIENCE, "{error}");
        thread::yield_now();
    }
}

#[test]
fn what_threads_write_arrives_whole_and_in_order() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        // What is written waits at the streams most of the time.
        let (conn, accepted) = net.pair(|l| l.transport.stream_window = 30_000, |_| ());
        let io = &mut net.nodes[CLIENT].io;
        let data = pattern(400_000);
        let mut threads = Vec::new();
        let mut streams = Vec::new();
        for i in 0..THREADS {
            let stream = io.stream_open(conn, StreamDir::Uni).unwrap();
            let (handle, data) = (io.handle(), data.clone());
            streams.push(stream);
            threads.push(thread::spawn(move || {
                let mut rest = &data[..];
                let mut size = 100 * i + 1;
                while !rest.is_empty() {
                    size = size * 7 % 9973 + 1;
                    let (piece, behind) = rest.split_at(size.min(rest.len()));
                    match size % 3 {
                        0 if piece.len() <= 2048 => {
                            let mut buffer = None;
                            insist(|| handle.send_buffer(piece.len()).map(|b| buffer = Some(b)));
                            let mut buffer = buffer.expect("a buffer");
                            buffer.copy_from_slice(piece);
                            if handle.stream_write_buffer(conn, stream, buffer).is_err() {
                                // It went home with the buffer; the piece is to be written again.
                                thread::yield_now();
                                continue;
                            }
                        }
                        1 => {
                            let memory: std::sync::Arc<[u8]> = piece.into();
                            insist(|| {
                                let memory = std::sync::Arc::clone(&memory);
                                handle.stream_write_guard(conn, stream, memory, i as u64)
                            });
                        }
                        _ => insist(|| handle.stream_write(conn, stream, piece)),
                    }
                    rest = behind;
                }
                insist(|| handle.stream_finish(conn, stream));
            }));
        }
        net.until("their ends", |net| {
            streams.iter().all(|stream| net.nodes[SERVER].got(accepted, *stream).closed)
        });
        threads.into_iter().for_each(|t| t.join().unwrap());
        for stream in &streams {
            assert!(net.nodes[SERVER].got(accepted, *stream).data == data, "{backend:?}");
            net.until("its acknowledgement", |net| {
                net.nodes[CLIENT].has(&Seen::Finished(conn, *stream))
            });
        }
        assert_eq!(net.nodes[CLIENT].io.io_stats().commands_refused, 0);
        let mut done = net.nodes[CLIENT].seen.iter().filter_map(|seen| match seen {
            Seen::SendDone(_, _, bytes, outcome) => Some((*bytes, *outcome)),
            _ => None,
        });
        assert!(done.all(|(bytes, outcome)| bytes > 0 && outcome == SendOutcome::Sent));
        net.all_home();
    }
}

#[test]
fn a_stream_that_is_not_read_keeps_no_other_and_has_its_share() {
    const ENTRIES: usize = 64;
    for backend in BOTH {
        let mut net = Net::with(backend, 2, |c| {
            c.handle_queue_entries = ENTRIES;
            c.send_high_water = 20_000;
        });
        let (conn, accepted) = net.pair(|l| l.transport.stream_window = 10_000, |_| ());
        let io = &mut net.nodes[CLIENT].io;
        let [stuck, other] = [(); 2].map(|()| io.stream_open(conn, StreamDir::Uni).unwrap());
        assert_eq!(io.stream_write(conn, stuck, b"x"), Ok(1));
        let handle = io.handle();
        net.until("it", |net| net.nodes[SERVER].got(accepted, stuck).frames > 0);
        net.nodes[SERVER].io.stream_pause(accepted, stuck).unwrap();
        net.run_for(Duration::from_millis(5));
        let mut taken = 0;
        let mut write = |net: &mut Net, tries: usize| {
            for _ in 0..tries {
                match handle.stream_write(conn, stuck, &[7; 1000]) {
                    Ok(()) => taken += 1,
                    Err(error) => {
                        let full = IoError::QueueFull { queue: "handle", capacity: ENTRIES };
                        assert_eq!(error, full);
                    }
                }
                net.run_for(Duration::from_micros(200));
            }
            taken
        };
        assert_eq!(write(&mut net, 45), 45);
        handle.stream_write_guard(conn, other, "goes on", 3).unwrap();
        handle.stream_finish(conn, other).unwrap();
        net.until("the other", |net| net.nodes[SERVER].got(accepted, other).closed);
        assert_eq!(net.nodes[SERVER].got(accepted, other).data, b"goes on");
        // The window, the mark, and half of the queue.
        let taken = write(&mut net, 100);
        assert!((50..90).contains(&taken), "{taken}");
        // What waits is sent when it is read, in order.
        net.nodes[SERVER].io.stream_resume(accepted, stuck).unwrap();
        handle.close_graceful(conn, PATIENCE).unwrap();
        net.until("all of it", |net| net.nodes[SERVER].got(accepted, stuck).closed);
        assert_eq!(net.nodes[SERVER].got(accepted, stuck).data.len(), 1 + 1000 * taken);
        assert_eq!(net.nodes[CLIENT].io.io_stats().commands_refused, 0);
        net.all_home();
    }
}

#[test]
fn datagrams_resets_and_ends_from_a_thread() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let io = &mut net.nodes[CLIENT].io;
        let stream = io.stream_open(conn, StreamDir::Bidi).unwrap();
        assert_eq!(io.stream_write(conn, stream, b"x"), Ok(1));
        net.until("it", |net| net.nodes[SERVER].got(accepted, stream).frames > 0);
        let handle = net.nodes[CLIENT].io.handle();
        let thread = thread::spawn(move || {
            insist(|| handle.send_datagram(conn, b"copied"));
            let mut buffer = handle.send_buffer(5).unwrap();
            buffer.copy_from_slice(b"whole");
            handle.send_datagram_buffer(conn, buffer).unwrap();
            // It does not fit a packet: nobody is told, but it is counted.
            insist(|| handle.send_datagram(conn, &[7; 2000]));
            insist(|| handle.stop_sending(conn, stream, 6));
            insist(|| handle.stream_reset(conn, stream, 5));
            handle
        });
        net.until("datagrams and codes", |net| {
            let server = &net.nodes[SERVER];
            server.datagrams().len() == 2
                && server.has(&Seen::Reset(accepted, stream, 5))
                && server.has(&Seen::Stop(accepted, stream, 6))
        });
        assert_eq!(net.nodes[SERVER].datagrams(), [b"copied".to_vec(), b"whole".to_vec()]);
        let stats = net.nodes[CLIENT].io.io_stats();
        assert_eq!(stats.commands_refused, 1);
        let handle = thread.join().unwrap();
        insist(|| handle.close_with(conn, 4, b"from a thread"));
        let (_, reason, clean) = net.end_of(SERVER, accepted);
        assert_eq!((&reason[..], clean), ("from a thread", false));
        insist(|| handle.stream_write(conn, stream, b"late"));
        net.run_for(Duration::from_millis(20));
        assert_eq!(net.nodes[CLIENT].io.io_stats().commands_refused, 2);
        net.all_home();
    }
}
