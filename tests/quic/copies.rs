//! How often payload is copied by this library: not at all from where it was received and to where
//! it is sent, once by the methods that take or fill a slice. Run with `--nocapture` to see it.
//!
//! The machine copies payload into the packet, where it is encrypted in place; that is not counted.

use std::sync::Arc;

use zero_io::{ConnId, Io, QuicReceive, StreamDir, StreamId};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, Seen, pattern};

const PAYLOAD: usize = 600_000;
const PIECE: usize = 10_000;

/// Sends a piece, which begins at that place; how many bytes were taken.
type Send = fn(&mut Io, ConnId, StreamId, &[u8], usize) -> usize;

fn by_slice(io: &mut Io, conn: ConnId, stream: StreamId, data: &[u8], _: usize) -> usize {
    io.stream_write(conn, stream, data).unwrap()
}

fn by_cell(io: &mut Io, conn: ConnId, stream: StreamId, data: &[u8], _: usize) -> usize {
    let mut buffer = io.send_buffer_for(conn, data.len()).unwrap();
    buffer.copy_from_slice(data);
    io.stream_write_buffer(conn, stream, buffer).map_or(0, |()| data.len())
}

fn by_pool(io: &mut Io, conn: ConnId, stream: StreamId, data: &[u8], _: usize) -> usize {
    let Ok(mut buffer) = io.send_buffer(data.len()) else { return 0 };
    buffer.copy_from_slice(data);
    io.stream_write_buffer(conn, stream, buffer).map_or(0, |()| data.len())
}

fn by_guard(io: &mut Io, conn: ConnId, stream: StreamId, data: &[u8], at: usize) -> usize {
    let memory: Arc<[u8]> = data.into();
    io.stream_write_guard(conn, stream, memory, at as u64).map_or(0, |()| data.len())
}

/// Sends the payload so, and has it received so; copies per byte, to send and received.
fn copies(backend: Backend, send: Send, receive: QuicReceive) -> (f64, f64) {
    let mut net = Net::new(backend);
    let listen = |l: &mut zero_io::QuicListenConfig| {
        l.transport.receive = receive;
        l.transport.stream_window = (PAYLOAD / 4) as u32;
    };
    let (conn, accepted) = net.pair(listen, |_| ());
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).unwrap();
    let data = pattern(PAYLOAD);
    let (mut at, mut read, mut room) = (0, Vec::new(), [0; 5000]);
    net.until("all of it", |net| {
        let io = &mut net.nodes[CLIENT].io;
        while at < data.len() {
            let piece = &data[at..data.len().min(at + PIECE)];
            match send(io, conn, stream, piece, at) {
                0 => break,
                taken => at += taken,
            }
            if at == data.len() {
                io.stream_finish(conn, stream).unwrap();
            }
        }
        let server = &mut net.nodes[SERVER];
        if receive == QuicReceive::Pull && server.has(&Seen::Readable(accepted, stream)) {
            loop {
                match server.io.stream_read(accepted, stream, &mut room).unwrap() {
                    0 => break,
                    n => read.extend_from_slice(&room[..n]),
                }
            }
        }
        server.has(&Seen::ReadClosed(accepted, stream))
    });
    let got = net.nodes[SERVER].got(accepted, stream).data;
    assert!(if receive == QuicReceive::Pull { read == data } else { got == data });
    let per = |bytes: u64| bytes as f64 / PAYLOAD as f64;
    let sent = per(net.nodes[CLIENT].io.io_stats().bytes_copied_tx);
    let stats = net.nodes[SERVER].io.io_stats();
    assert_eq!(stats.quic_rx_copied, 0);
    (sent, per(stats.bytes_copied_rx))
}

#[test]
fn streams() {
    use QuicReceive::{Pull, Push};
    let rows: [(&str, Send, QuicReceive, (f64, f64)); 5] = [
        ("stream_write, pushed", by_slice, Push, (1.0, 0.0)),
        ("send_buffer_for, pushed", by_cell, Push, (0.0, 0.0)),
        ("send_buffer, pushed", by_pool, Push, (0.0, 0.0)),
        ("stream_write_guard, pushed", by_guard, Push, (0.0, 0.0)),
        ("stream_write, pulled", by_slice, Pull, (1.0, 1.0)),
    ];
    for backend in BOTH {
        for (what, send, receive, wanted) in rows {
            let copied = copies(backend, send, receive);
            eprintln!("{backend:?}: {what}: {:?} B copied per byte sent, received", copied);
            assert_eq!(copied, wanted, "{what}");
        }
    }
}

#[test]
fn datagrams() {
    for backend in BOTH {
        for (what, copies) in [("send_datagram", 1.0), ("send_datagram_buffer", 0.0)] {
            let mut net = Net::new(backend);
            let (conn, _) = net.pair(|_| (), |_| ());
            let io = &mut net.nodes[CLIENT].io;
            for _ in 0..50 {
                if copies > 0.0 {
                    io.send_datagram(conn, &[7; 1000]).unwrap();
                } else {
                    let mut buffer = io.send_buffer_for(conn, 1000).unwrap();
                    buffer.fill(7);
                    io.send_datagram_buffer(conn, buffer).unwrap();
                }
            }
            net.until("all of them", |net| net.nodes[SERVER].datagrams().len() == 50);
            let sent = net.nodes[CLIENT].io.io_stats().bytes_copied_tx as f64 / 50_000.0;
            let received = net.nodes[SERVER].io.io_stats();
            eprintln!("{backend:?}: {what}: {sent:?} B copied per byte sent, 0 received");
            assert_eq!((sent, received.bytes_copied_rx, received.quic_rx_copied), (copies, 0, 0));
            net.all_home();
        }
    }
}
