//! What is written arrives: whole, in order, once; and its memory is let go.

use std::io::{IoSlice, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use zero_io::{Config, ConnId, IoError, SendOutcome, Toggle, code};

use crate::world::*;

/// Reads to the end on a thread of its own.
fn reader(mut client: TcpStream) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    })
}

/// Says goodbye, and gives what the client read.
fn finish(world: &mut World, conn: ConnId, reader: std::thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    world.io.shutdown_write(conn, S0).unwrap();
    world.until("the client's end", |_| reader.is_finished());
    reader.join().unwrap()
}

/// Every way of writing, mixed: the order of the calls is the order of the bytes.
fn mixed(config: Config) {
    let mut world = World::new(config);
    // Sends have to wait, so that there is something to write while one is under way.
    let addr = world.listen_with(|c| c.send_buffer = Some(8192));
    let (conn, client) = world.join(addr);
    let reader = reader(client);
    let mut rng = Rng(11);
    let mut expected = Vec::new();
    let handle = world.io.handle();
    let mut guards = 0;
    for n in 0..600 {
        let data = pattern(n, 1 + rng.below(30_000) as usize);
        match rng.below(5) {
            0 => {
                let mut done = 0;
                while done < data.len() {
                    done += world.io.stream_write(conn, S0, &data[done..]).unwrap();
                    world.turn(Duration::from_micros(200));
                }
            }
            1 => {
                let (head, tail) = data.split_at(data.len() / 2);
                let parts = [IoSlice::new(head), IoSlice::new(tail)];
                let done = world.io.stream_writev(conn, S0, &parts).unwrap();
                expected.extend_from_slice(&data[..done]);
                continue;
            }
            2 => {
                let data = &data[..data.len().min(2048)];
                let mut buffer = world.io.send_buffer(data.len()).unwrap();
                buffer.copy_from_slice(data);
                match world.io.stream_write_buffer(conn, S0, buffer) {
                    Ok(()) => expected.extend_from_slice(data),
                    Err(IoError::QueueFull { .. }) => world.turn(Duration::from_millis(1)),
                    Err(error) => panic!("{error}"),
                }
                continue;
            }
            3 => match world.io.stream_write_guard(conn, S0, Arc::new(data.clone()), n) {
                Ok(()) => guards += 1,
                Err(IoError::QueueFull { .. }) => {
                    world.turn(Duration::from_millis(1));
                    continue;
                }
                Err(error) => panic!("{error}"),
            },
            _ => {
                // What a handle asked is queued behind what was written before the next poll.
                if handle.stream_write(conn, S0, &data).is_err() {
                    continue;
                }
                world.turn(Duration::ZERO);
            }
        }
        expected.extend_from_slice(&data);
    }
    let got = finish(&mut world, conn, reader);
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "the bytes are out of order");
    // The reader has gone: its FIN ends the connection. A notification may still be due then.
    world.end_of(conn);
    let sent = |e: &&Ev| matches!(e, Ev::SendDone(_, _, _, SendOutcome::Sent));
    world.until("every guard's end", |w| w.log.iter().filter(sent).count() == guards);
    world.must_be_idle();
    assert!(world.io.io_stats().zero_copy_sends > 0, "{:?}", world.io.io_stats());
}

#[test]
fn hazard_43_every_way_of_writing_keeps_the_order() {
    mixed(strict());
}

#[test]
fn hazard_43_also_with_zero_copy() {
    mixed(strict().with(|c| {
        c.uring.zero_copy_send = Toggle::On;
        c.uring.zero_copy_min = 1024;
    }));
}

/// What the kernel could not send it would offer for minutes, out of the writer's own memory.
#[test]
fn hazard_04_a_peer_that_never_reads_pins_no_memory_for_good() {
    let mut world = World::new(strict().with(|c| {
        c.uring.zero_copy_send = Toggle::On;
        c.uring.zero_copy_min = 1024;
    }));
    let addr = world.listen_with(|c| c.timeouts.write = Some(Duration::from_millis(300)));
    let (conn, client) = world.join(addr);
    let data = Arc::new(pattern(1, 16 << 20));
    world.io.stream_write_guard(conn, S0, Arc::clone(&data), 1).unwrap();
    assert_eq!(world.end_of(conn), (code::WRITE_TIMEOUT, false));
    world.until("the memory", |_| Arc::strong_count(&data) == 1);
    assert!(world.io.io_stats().zero_copy_sends > 0, "it was copied");
    drop(client);
    world.must_be_idle();
}

#[test]
fn hazard_45_and_49_a_large_send_through_a_small_socket_buffer() {
    let mut world = World::new(strict());
    let addr = world.listen_with(|c| c.send_buffer = Some(4096));
    let (conn, client) = world.join(addr);
    let data = Arc::new(pattern(1, 6 << 20));
    world.io.stream_write_guard(conn, S0, Arc::clone(&data), 7).unwrap();
    world.turn(Duration::ZERO);
    let reader = reader(client);
    let got = finish(&mut world, conn, reader);
    assert!(got == *data, "{} bytes of {}", got.len(), data.len());
    world.end_of(conn);
    // 49: the token is told once, with all of the bytes.
    let done: Vec<_> = world.log.iter().filter(|e| matches!(e, Ev::SendDone(..))).collect();
    assert_eq!(done, [&Ev::SendDone(conn, 7, data.len(), SendOutcome::Sent)]);
    world.must_be_idle();
    assert_eq!(Arc::strong_count(&data), 1);
}

#[test]
fn hazard_56_zero_copy_memory_is_held_until_the_kernel_lets_go() {
    let mut world = World::new(strict().with(|c| {
        c.uring.zero_copy_send = Toggle::On;
        c.uring.zero_copy_min = 1024;
    }));
    for abort in [false, true] {
        let before = world.io.io_stats().zero_copy_sends;
        let (conn, client) = world.pair();
        let data: Vec<Arc<Vec<u8>>> = (0..4).map(|n| Arc::new(pattern(n, 1 << 20))).collect();
        for (n, data) in (0..).zip(&data) {
            match world.io.stream_write_guard(conn, S0, Arc::clone(data), n) {
                Ok(()) => {}
                // Above the high-water mark nothing more is taken.
                Err(error) => assert!(n > 0 && matches!(error, IoError::QueueFull { .. })),
            }
            world.turn(Duration::ZERO);
        }
        if abort {
            world.io.reset_on_close(conn).unwrap();
            world.io.close(conn).unwrap();
            world.end_of(conn);
            drop(client);
        } else {
            let reader = reader(client);
            finish(&mut world, conn, reader);
            world.end_of(conn);
        }
        assert!(world.io.io_stats().zero_copy_sends > before, "it was copied");
        world.until("the memory", |_| data.iter().all(|d| Arc::strong_count(d) == 1));
        world.must_be_idle();
    }
}

/// What the socket could not send yet lies where it was written: a buffer that went back to the
/// pool too early would be overwritten, and that would arrive.
#[test]
fn hazard_56_zero_copy_buffers_are_not_used_again_before_the_notification() {
    let mut world = World::new(strict().with(|c| {
        c.uring.zero_copy_send = Toggle::On;
        c.uring.zero_copy_min = 1024;
    }));
    let addr = world.listen_with(|c| c.send_buffer = Some(2 << 20));
    let (conn, client) = world.join(addr);
    let data = pattern(7, 120 * 2048);
    for part in data.chunks(2048) {
        let mut buffer = world.io.send_buffer(part.len()).unwrap();
        buffer.copy_from_slice(part);
        match world.io.stream_write_buffer(conn, S0, buffer) {
            Ok(()) => world.turn(Duration::ZERO),
            Err(error) => panic!("{error}"),
        }
    }
    world.run_for(Duration::from_millis(50));
    let reader = reader(client);
    let got = finish(&mut world, conn, reader);
    assert!(got == data, "{} bytes, not as they were written", got.len());
    let lent = world.io.io_stats().zero_copy_sends;
    assert!(lent > 50, "{lent} of 120 buffers were lent");
    world.end_of(conn);
    world.must_be_idle();
}

#[test]
fn hazard_90_every_guard_write_has_an_answer_of_its_own() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    let reader = reader(client);
    for token in 0..200 {
        world.io.stream_write_guard(conn, S0, &b"0123456789"[..], token).unwrap();
    }
    world.until("200 answers", |w| {
        w.log.iter().filter(|e| matches!(e, Ev::SendDone(..))).count() == 200
    });
    let expected = |n| Ev::SendDone(conn, n, 10, SendOutcome::Sent);
    let answers = world.log.iter().filter(|e| matches!(e, Ev::SendDone(..)));
    assert!(answers.eq((0..200).map(expected).collect::<Vec<_>>().iter()), "out of order");
    assert_eq!(finish(&mut world, conn, reader).len(), 2000);
}

#[test]
fn hazard_95_what_was_not_accepted_is_asked_for_again() {
    let mut world = World::new(strict().with(|c| c.send_high_water = 16 << 10));
    let (conn, client) = world.pair();
    let data = pattern(5, 4 << 20);
    let mut done = world.io.stream_write(conn, S0, &data).unwrap();
    assert!(done <= 16 << 10, "{done} bytes above the mark");
    let reader = reader(client);
    while done < data.len() {
        world.until("Writable", |w| w.has(&Ev::Writable(conn)));
        world.log.clear();
        let accepted = world.io.stream_write(conn, S0, &data[done..]).unwrap();
        assert!(accepted > 0, "Writable, and nothing is taken");
        done += accepted;
    }
    assert!(finish(&mut world, conn, reader) == data);
}

#[test]
fn hazard_53_a_fin_comes_after_what_was_written() {
    let mut world = World::new(strict());
    for graceful in [false, true] {
        let (conn, client) = world.pair();
        // More than the sockets hold.
        let data = pattern(9, 16 << 20);
        world.io.stream_write_guard(conn, S0, Arc::new(data.clone()), 0).unwrap();
        if graceful {
            world.io.close_graceful(conn, PATIENCE).unwrap();
        } else {
            world.io.shutdown_write(conn, S0).unwrap();
        }
        let refused = world.io.stream_write(conn, S0, b"more").unwrap_err();
        assert_eq!(refused, IoError::WriteClosed { conn });
        let reader = reader(client);
        world.until("the client's end", |_| reader.is_finished());
        assert!(reader.join().unwrap() == data);
        assert_eq!(world.end_of(conn), (0, true));
    }
    world.must_be_idle();
}

#[test]
fn hazard_62_the_peers_fin_does_not_drop_the_answer() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    client.shutdown(Shutdown::Write).unwrap();
    world.until("ReadClosed", |w| w.has(&Ev::ReadClosed(conn)));
    let data = pattern(4, 16 << 20);
    world.io.stream_write_guard(conn, S0, Arc::new(data.clone()), 0).unwrap();
    world.io.close_graceful(conn, PATIENCE).unwrap();
    let reader = reader(client);
    world.until("the client's end", |_| reader.is_finished());
    assert!(reader.join().unwrap() == data);
    assert_eq!(world.end_of(conn), (0, true));
    world.must_be_idle();
}
