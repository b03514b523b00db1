//! What is sent from where it lies: send buffers and guards.

use std::sync::Arc;

use zero_io::{Config, ConnId, IoError, SendOutcome, StreamDir, StreamId};

use super::kit::{BOTH, CLIENT, Net, SERVER, Seen, pattern};

fn uni(net: &mut Net, conn: ConnId) -> StreamId {
    net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).expect("a stream")
}

/// The guards that are done, in the order in which that was told.
fn done(net: &Net) -> Vec<(u64, usize, SendOutcome)> {
    let told = net.nodes[CLIENT].seen.iter().filter_map(|seen| match seen {
        Seen::SendDone(_, token, bytes, outcome) => Some((*token, *bytes, *outcome)),
        _ => None,
    });
    told.collect()
}

#[test]
fn all_kinds_arrive_in_order_and_guards_are_told_once() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        // Most of it waits at the stream.
        let (conn, accepted) = net.pair(|l| l.transport.stream_window = 65_536, |_| ());
        let stream = uni(&mut net, conn);
        let data = pattern(400_000);
        let shared: Arc<[u8]> = Arc::from(&data[30_000..180_000]);
        let client = &mut net.nodes[CLIENT].io;
        let copied = client.io_stats().bytes_copied_tx;
        assert_eq!(client.stream_write(conn, stream, &data[..10]), Ok(10));
        let mut cell = client.send_buffer_for(conn, 12_000).unwrap();
        cell[..9_990].copy_from_slice(&data[10..10_000]);
        cell.set_len(9_990);
        client.stream_write_buffer(conn, stream, cell).unwrap();
        let mut slot = client.send_buffer(20_000).unwrap();
        slot.copy_from_slice(&data[10_000..30_000]);
        client.stream_write_buffer(conn, stream, slot).unwrap();
        client.stream_write_guard(conn, stream, Arc::clone(&shared), 1).unwrap();
        client.stream_write_guard(conn, stream, &[][..], 2).unwrap();
        let rest: Arc<[u8]> = Arc::from(&data[180_000..]);
        client.stream_write_guard(conn, stream, Arc::clone(&rest), 3).unwrap();
        client.stream_finish(conn, stream).unwrap();
        assert_eq!(client.stream_write(conn, stream, b"x"), Err(IoError::WriteClosed { conn }));
        net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
        assert!(net.nodes[SERVER].got(accepted, stream).data == data, "{backend:?}");
        net.until("all to be acknowledged", |net| {
            net.nodes[CLIENT].has(&Seen::Finished(conn, stream)) && done(net).len() == 3
        });
        let sent = SendOutcome::Sent;
        assert_eq!(done(&net), [(2, 0, sent), (1, 150_000, sent), (3, 220_000, sent)]);
        assert_eq!((Arc::strong_count(&shared), Arc::strong_count(&rest)), (1, 1));
        assert_eq!(net.nodes[CLIENT].io.io_stats().bytes_copied_tx - copied, 10);
        net.all_home();
        assert_eq!(done(&net).len(), 3);
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Reset,
    Stopped,
    Close,
    PeerCloses,
    Graceful,
}

#[test]
fn guards_that_are_given_up_are_told_once_and_let_go() {
    use Ending::{Close, Graceful, PeerCloses, Reset, Stopped};
    for backend in BOTH {
        let endings = [Reset, Stopped, Close, PeerCloses, Graceful];
        for (ending, is_later) in endings.into_iter().flat_map(|e| [(e, false), (e, true)]) {
            let mut net = Net::new(backend);
            let (conn, accepted) = net.pair(|l| l.transport.stream_window = 8192, |_| ());
            net.nodes[SERVER].io.pause_recv(accepted).unwrap();
            let stream = uni(&mut net, conn);
            let shared: Arc<[u8]> = Arc::from(&pattern(100_000)[..]);
            let client = &mut net.nodes[CLIENT].io;
            for token in [1, 2] {
                client.stream_write_guard(conn, stream, Arc::clone(&shared), token).unwrap();
            }
            // With and without an acknowledgement of what the window took; a peer that stops a
            // stream has heard of it.
            for _ in 0..20 * u32::from(is_later || ending == Stopped) {
                net.run_for(std::time::Duration::from_millis(1));
            }
            assert_eq!((done(&net), Arc::strong_count(&shared)), (vec![], 3));
            match ending {
                Reset => net.nodes[CLIENT].io.stream_reset(conn, stream, 1).unwrap(),
                Stopped => net.nodes[SERVER].io.stop_sending(accepted, stream, 1).unwrap(),
                Close => net.nodes[CLIENT].io.close(conn).unwrap(),
                PeerCloses => net.nodes[SERVER].io.close(accepted).unwrap(),
                Graceful => {
                    let limit = std::time::Duration::from_millis(50);
                    net.nodes[CLIENT].io.close_graceful(conn, limit).unwrap();
                }
            }
            net.until("both to be told", |net| done(net).len() == 2);
            assert_eq!(Arc::strong_count(&shared), 1, "{backend:?}, {ending:?}");
            let aborted = SendOutcome::Aborted;
            assert_eq!(done(&net), [(1, 0, aborted), (2, 0, aborted)], "{ending:?}");
            net.all_home();
            assert_eq!(done(&net).len(), 2);
            let seen = &net.nodes[CLIENT].seen;
            let last = seen.iter().rposition(|seen| matches!(seen, Seen::SendDone(..)));
            let end = seen.iter().position(|seen| matches!(seen, Seen::Disconnected { .. }));
            assert!(last < end, "nothing follows the end");
        }
    }
}

#[test]
fn what_waits_at_a_stream_is_bounded_and_writable_follows() {
    for backend in BOTH {
        let mut net = Net::with(backend, 2, |c| c.send_high_water = 50_000);
        let (conn, accepted) = net.pair(|l| l.transport.stream_window = 8192, |_| ());
        net.nodes[SERVER].io.pause_recv(accepted).unwrap();
        let stream = uni(&mut net, conn);
        let data: Arc<[u8]> = Arc::from(&pattern(30_000)[..]);
        let client = &mut net.nodes[CLIENT].io;
        // 8192 go, 51,808 wait.
        for token in [1, 2] {
            client.stream_write_guard(conn, stream, Arc::clone(&data), token).unwrap();
        }
        let full = Err(IoError::QueueFull { queue: "QUIC stream", capacity: 50_000 });
        assert_eq!(client.stream_write_guard(conn, stream, Arc::clone(&data), 3), full);
        let buffer = client.send_buffer_for(conn, 10).unwrap();
        assert_eq!(client.stream_write_buffer(conn, stream, buffer), full);
        assert_eq!(client.stream_write(conn, stream, b"later"), Ok(0));
        net.nodes[SERVER].io.resume_recv(accepted).unwrap();
        net.until("Writable", |net| net.nodes[CLIENT].has(&Seen::Writable(conn, stream)));
        let client = &mut net.nodes[CLIENT].io;
        assert_eq!(client.stream_write(conn, stream, b"later"), Ok(5));
        client.stream_finish(conn, stream).unwrap();
        net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
        let got = net.nodes[SERVER].got(accepted, stream).data;
        assert!(got == [&data[..], &data[..], b"later"].concat());
        net.until("both guards", |net| done(net).len() == 2);
        net.all_home();
    }
}

#[test]
fn datagrams_from_buffers() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, _) = net.pair(|_| (), |_| ());
        let client = &mut net.nodes[CLIENT].io;
        let copied = client.io_stats().bytes_copied_tx;
        let max = client.max_datagram_size(conn).unwrap();
        for (i, len) in [0, 1, 1000, max].into_iter().enumerate() {
            let mut buffer = match i % 2 {
                0 => client.send_buffer_for(conn, len).unwrap(),
                _ => client.send_buffer(len).unwrap(),
            };
            buffer.fill(i as u8);
            client.send_datagram_buffer(conn, buffer).unwrap();
        }
        let long = client.send_buffer_for(conn, max + 1).unwrap();
        let refused = client.send_datagram_buffer(conn, long);
        assert_eq!(refused, Err(IoError::DatagramTooLarge { len: max + 1, max }));
        net.until("all of them", |net| net.nodes[SERVER].datagrams().len() == 4);
        let expected = [vec![], vec![1], vec![2; 1000], vec![3; max]];
        assert_eq!(net.nodes[SERVER].datagrams(), expected);
        assert_eq!(net.nodes[CLIENT].io.io_stats().bytes_copied_tx, copied);
        net.all_home();
    }
}

#[test]
fn buffers_of_a_connection_go_to_other_threads_and_nowhere_else() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let stream = uni(&mut net, conn);
        let client = &mut net.nodes[CLIENT].io;
        let buffers: Vec<_> = (0..4).map(|_| client.send_buffer_for(conn, 5000).unwrap()).collect();
        let write = |mut buffer: zero_io::SendBuffer| {
            assert_eq!((buffer.len(), buffer.capacity()), (5000, 5000));
            buffer.copy_from_slice(&pattern(5000));
            buffer
        };
        let mut buffers =
            std::thread::spawn(move || buffers.into_iter().map(write).collect::<Vec<_>>())
                .join()
                .unwrap();
        // Dropped elsewhere, it comes home.
        let unsent = buffers.pop().unwrap();
        std::thread::spawn(move || drop(unsent)).join().unwrap();
        // Of another Io, or by another protocol, it is not sent.
        let foreign = net.nodes[SERVER].io.send_buffer_for(accepted, 10).unwrap();
        let client = &mut net.nodes[CLIENT].io;
        let refused = client.stream_write_buffer(conn, stream, foreign);
        assert!(matches!(refused, Err(IoError::InvalidArgument { .. })));
        let udp = client.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = client.local_addr(udp).unwrap().inet().unwrap();
        let other = buffers.pop().unwrap();
        assert!(matches!(client.udp_send(udp, to, other), Err(IoError::InvalidArgument { .. })));
        for buffer in buffers {
            client.stream_write_buffer(conn, stream, buffer).unwrap();
        }
        client.stream_finish(conn, stream).unwrap();
        net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
        let got = net.nodes[SERVER].got(accepted, stream).data;
        assert!(got == [pattern(5000), pattern(5000)].concat());
        net.nodes[CLIENT].io.endpoint_close(udp).unwrap();
        net.all_home();
    }
}

#[test]
fn more_buffers_than_there_are_numbers_are_the_pools() {
    let mut net = Net::with(super::kit::Backend::Sim, 2, |c| {
        *c = Config::default().with(|c| c.debug.audit_every_tick = true);
    });
    let (conn, accepted) = net.pair(|_| (), |_| ());
    let stream = uni(&mut net, conn);
    let client = &mut net.nodes[CLIENT].io;
    let buffers: Vec<_> = (0..1500).map(|_| client.send_buffer_for(conn, 100)).collect();
    assert!(buffers.iter().all(Result::is_ok));
    for buffer in buffers.into_iter().flatten().skip(1) {
        client.stream_write_buffer(conn, stream, buffer).unwrap();
    }
    client.stream_finish(conn, stream).unwrap();
    net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
    assert_eq!(net.nodes[SERVER].got(accepted, stream).data.len(), 1499 * 100);
    net.all_home();
}
