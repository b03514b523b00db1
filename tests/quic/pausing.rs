//! Streams that are paused one by one.

use std::time::Duration;

use zero_io::{ConnId, Event, IoError, StreamDir, StreamId};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, pattern};

fn two_streams(backend: Backend, window: u32) -> (Net, ConnId, ConnId, [StreamId; 2]) {
    let mut net = Net::new(backend);
    let (conn, accepted) = net.pair(|l| l.transport.stream_window = window, |_| ());
    let io = &mut net.nodes[CLIENT].io;
    let streams = [StreamDir::Bidi, StreamDir::Uni].map(|dir| {
        let stream = io.stream_open(conn, dir).expect("a stream");
        io.stream_write(conn, stream, b"first").expect("a write");
        stream
    });
    net.until("both", |net| {
        streams.iter().all(|s| net.nodes[SERVER].got(accepted, *s).data == b"first")
    });
    (net, conn, accepted, streams)
}

#[test]
fn one_stream_rests_and_the_other_goes_on() {
    for backend in BOTH {
        let (mut net, conn, accepted, [one, other]) = two_streams(backend, 20_000);
        net.nodes[SERVER].io.stream_pause(accepted, one).unwrap();
        let data = pattern(100_000);
        let mut done = 0;
        net.send_all(CLIENT, conn, other, &data);
        net.until("the other's end", |net| net.nodes[SERVER].got(accepted, other).closed);
        for _ in 0..20 {
            let client = &mut net.nodes[CLIENT].io;
            done += client.stream_write(conn, one, &data[done..]).unwrap();
            net.run_for(Duration::from_millis(2));
        }
        assert_eq!(net.nodes[SERVER].got(accepted, one).data, b"first");
        // Its window, and what of it the first word had not used up.
        assert!((20_000 - 5..=20_000).contains(&done), "{done}");
        net.nodes[SERVER].io.stream_resume(accepted, one).unwrap();
        net.nodes[SERVER].io.stream_resume(accepted, one).unwrap();
        net.send_all(CLIENT, conn, one, &data[done..]);
        net.until("its end", |net| net.nodes[SERVER].got(accepted, one).closed);
        assert!(net.nodes[SERVER].got(accepted, one).data == [b"first", &data[..]].concat());
        net.all_home();
    }
}

/// Pauses after every frame, and resumes some time later.
#[test]
fn pauses_between_frames_change_nothing() {
    for backend in BOTH {
        let (mut net, conn, accepted, streams) = two_streams(backend, 200_000);
        let data = pattern(60_000);
        for stream in streams {
            assert_eq!(net.nodes[CLIENT].io.stream_write(conn, stream, &data), Ok(data.len()));
            net.nodes[CLIENT].io.stream_finish(conn, stream).unwrap();
        }
        let mut got = [Vec::new(), Vec::new()];
        let mut ends = 0;
        let mut paused = Vec::new();
        net.until_custom("both ends", |net| {
            net.round_of(CLIENT);
            let io = &mut net.nodes[SERVER].io;
            for stream in paused.drain(..) {
                io.stream_resume(accepted, stream).unwrap();
            }
            io.poll(Duration::ZERO).unwrap();
            let (mut events, mut sender) = io.split();
            while let Some(event) = events.next_event() {
                match event {
                    Event::StreamFrame { conn, stream, data, .. } => {
                        assert!(!paused.contains(&stream), "nothing of it");
                        let at = streams.iter().position(|s| *s == stream).unwrap();
                        got[at].extend_from_slice(data);
                        sender.stream_pause(conn, stream).unwrap();
                        paused.push(stream);
                    }
                    Event::ReadClosed { stream, .. } => {
                        assert!(!paused.contains(&stream), "not even its end");
                        ends += 1;
                    }
                    _ => {}
                }
            }
            ends == 2
        });
        assert!(got[0] == data && got[1] == data, "{backend:?}");
        net.all_home();
    }
}

#[test]
fn a_lost_connection_does_not_wait_for_a_paused_stream() {
    for backend in BOTH {
        let (mut net, conn, accepted, [one, _]) = two_streams(backend, 20_000);
        net.nodes[SERVER].io.stream_pause(accepted, one).unwrap();
        net.nodes[CLIENT].io.stream_write(conn, one, b"unheard").unwrap();
        net.run_for(Duration::from_millis(40));
        net.nodes[CLIENT].io.close_with(conn, 3, b"over").unwrap();
        let (_, reason, _) = net.end_of(SERVER, accepted);
        assert_eq!(reason, "over");
        assert_eq!(net.nodes[SERVER].got(accepted, one).data, b"first");
        net.all_home();
    }
}

#[test]
fn a_stream_that_is_stopped_is_not_paused_any_more() {
    for backend in BOTH {
        let (mut net, conn, accepted, [one, other]) = two_streams(backend, 20_000);
        let server = &mut net.nodes[SERVER].io;
        server.stream_pause(accepted, one).unwrap();
        server.stop_sending(accepted, one, 4).unwrap();
        server.stream_resume(accepted, one).unwrap();
        let none = Err(IoError::NoSuchStream { conn: accepted });
        assert_eq!(server.stream_pause(accepted, StreamId::from_u64(4)), none);
        let ours = server.stream_open(accepted, StreamDir::Uni).unwrap();
        assert_eq!(server.stream_resume(accepted, ours), none);
        net.send_all(CLIENT, conn, other, b"the end");
        net.until("the other's end", |net| net.nodes[SERVER].got(accepted, other).closed);
        assert_eq!(net.nodes[SERVER].got(accepted, one).data, b"first");
        net.all_home();
    }
}
