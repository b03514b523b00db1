//! How connections and endpoints end.

use std::time::Duration;

use zero_io::code::{QuicClose, QuicCloser, quic_close};
use zero_io::{IoError, StreamDir, StreamId, code};

use super::kit::{BOTH, CLIENT, Net, SERVER, Seen, pattern};

#[test]
fn a_close_with_code_and_words_reaches_the_peer() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let client = &mut net.nodes[CLIENT].io;
        let error = client.close_with(conn, 1 << 62, b"").unwrap_err();
        assert!(matches!(error, IoError::InvalidArgument { .. }), "{error}");
        client.close_with(conn, 0x1234, b"enough of it").unwrap();
        assert_eq!(client.close(conn), Err(IoError::StaleConn { conn }));
        assert_eq!(net.end_of(CLIENT, conn).0, code::LOCAL_CLOSE);
        let (ended, words, clean) = net.end_of(SERVER, accepted);
        let by = QuicCloser::PeerApplication;
        assert_eq!(quic_close(ended), Some(QuicClose { by, code: 0x1234 }));
        assert_eq!((words.as_str(), clean), ("enough of it", false));
        net.all_home();
    }
}

#[test]
fn a_plain_close_is_an_orderly_end_for_the_peer() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        net.nodes[SERVER].io.close(accepted).unwrap();
        assert_eq!(net.end_of(SERVER, accepted).0, code::LOCAL_CLOSE);
        let (ended, _, clean) = net.end_of(CLIENT, conn);
        assert_eq!((ended, clean), (code::QUIC_APP, true));
        net.all_home();
    }
}

#[test]
fn a_close_in_the_handshake_is_told_once() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        for rounds in 0..6 {
            let conn = net.dial(addr, |_| ());
            for _ in 0..rounds {
                net.round();
            }
            net.nodes[CLIENT].io.close(conn).unwrap();
            assert_eq!(net.end_of(CLIENT, conn).0, code::LOCAL_CLOSE);
        }
        net.run_for(Duration::from_millis(50));
        net.all_home();
    }
}

/// What a client says when it gives up may be all that a server ever hears of it.
#[test]
fn a_client_of_which_nothing_but_its_close_arrives_is_forgotten() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let place = net.listen_at(SERVER, "127.0.0.1:0", |_| ());
        net.nodes[SERVER].io.endpoint_close(place.0).unwrap();
        net.round();
        let conn = net.dial(place.1, |_| ());
        net.round();
        net.nodes[CLIENT].io.close(conn).unwrap();
        let (endpoint, _) = net.listen_at(SERVER, &place.1.to_string(), |_| ());
        net.until("its end", |net| {
            let mut seen = net.nodes[SERVER].seen.iter();
            seen.any(|seen| matches!(seen, Seen::Disconnected { .. }))
        });
        // Long before the idle timeout has passed.
        net.nodes[SERVER].io.endpoint_close(endpoint).unwrap();
        let begun = net.now();
        net.until("it to be forgotten", |net| net.nodes[SERVER].io.is_idle());
        assert!(net.now() - begun < Duration::from_secs(5), "{:?}", net.now() - begun);
        net.all_home();
    }
}

#[test]
fn what_was_written_before_a_graceful_close_arrives() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let client = &mut net.nodes[CLIENT].io;
        let stream = client.stream_open(conn, StreamDir::Uni).unwrap();
        let data = pattern(500_000);
        assert_eq!(client.stream_write(conn, stream, &data), Ok(data.len()));
        client.close_graceful(conn, Duration::from_secs(10)).unwrap();
        let late = client.stream_write(conn, stream, b"late");
        assert!(late.is_err());
        assert_eq!(net.end_of(CLIENT, conn), (code::NONE, net.end_of(CLIENT, conn).1, true));
        net.until("all of it", |net| net.nodes[SERVER].end(accepted).is_some());
        let got = net.nodes[SERVER].got(accepted, stream);
        assert!(got.data == data && got.closed);
        let (ended, _, clean) = net.end_of(SERVER, accepted);
        assert_eq!((ended, clean), (code::QUIC_APP, true));
        net.all_home();
    }
}

#[test]
fn a_graceful_close_has_a_deadline() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|l| l.transport.stream_window = 4096, |_| ());
        net.nodes[SERVER].io.pause_recv(accepted).unwrap();
        let client = &mut net.nodes[CLIENT].io;
        let stream = client.stream_open(conn, StreamDir::Uni).unwrap();
        client.stream_write(conn, stream, &pattern(50_000)).unwrap();
        // All of the window is acknowledged, so what holds it up is what was not sent at all.
        client.stream_write(conn, stream, b"more").unwrap();
        client.close_graceful(conn, Duration::from_millis(200)).unwrap();
        let ended = net.end_of(CLIENT, conn).0;
        assert!(ended == code::CLOSE_TIMEOUT || ended == code::NONE, "{ended:#x}");
        net.end_of(SERVER, accepted);
        net.all_home();
    }
}

#[test]
fn silence_ends_a_connection_on_both_sides() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let idle = Some(Duration::from_millis(300));
        let (conn, accepted) = net.pair(|l| l.transport.idle_timeout = idle, |_| ());
        assert_eq!(net.end_of(CLIENT, conn).0, code::IDLE_TIMEOUT);
        assert_eq!(net.end_of(SERVER, accepted).0, code::IDLE_TIMEOUT);
        net.all_home();
    }
}

#[test]
fn keep_alive_keeps_it() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let idle = Some(Duration::from_secs(1));
        let (conn, _) = net.pair(
            |l| l.transport.idle_timeout = idle,
            |c| c.transport.keep_alive = Some(Duration::from_millis(200)),
        );
        net.run_for(Duration::from_millis(2500));
        assert_eq!(net.nodes[CLIENT].end(conn), None);
        net.all_home();
    }
}

#[test]
fn an_endpoint_that_is_closed_keeps_its_connections() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (endpoint, addr) = net.listen_at(SERVER, "127.0.0.1:0", |_| ());
        let conn = net.dial(addr, |_| ());
        let (conn, _) = net.connected(conn);
        let server = &mut net.nodes[SERVER].io;
        server.endpoint_close(endpoint).unwrap();
        assert_eq!(server.endpoint_close(endpoint), Err(IoError::StaleEndpoint { endpoint }));
        assert!(server.local_addr(endpoint).is_err());
        let late = net.dial(addr, |_| ());
        assert_eq!(net.end_of(CLIENT, late).0, code::QUIC_REFUSED);
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
        net.send_all(CLIENT, conn, stream, b"still here");
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        net.all_home();
        if let Some(world) = &net.world {
            assert_eq!(world.files(), 0, "every socket is closed");
        }
        let (_, again) = net.listen_at(SERVER, &addr.to_string(), |_| ());
        assert_eq!(again, addr, "the port is free");
    }
}

#[test]
fn ids_of_the_past_name_nothing() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        let first = net.dial(addr, |_| ());
        net.connected(first);
        net.nodes[CLIENT].io.close(first).unwrap();
        net.end_of(CLIENT, first);
        let second = net.dial(addr, |_| ());
        net.connected(second);
        let client = &mut net.nodes[CLIENT].io;
        let stale = Err(IoError::StaleConn { conn: first });
        assert_eq!(client.stream_open(first, StreamDir::Bidi).map(drop), stale);
        assert_eq!(client.stream_write(first, StreamId::ZERO, b"x").map(drop), stale);
        assert_eq!(client.send_datagram(first, b"x"), stale);
        assert_eq!(client.close(first), stale);
        assert_eq!(client.conn_stats(first).map(drop), stale);
        net.all_home();
    }
}
