//! Goodbyes: close_notify, half-closes, deadlines; from either side.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use zero_io::{ConnId, EndpointId, IoError, code};

use super::certs::Version;
use super::certs::World;
use super::common::{STREAM, Seen, Shard, assert_same, dial, pattern, read_to_end};
use super::kit::{ClientPeer, VERSIONS, listen, wait_any_end};

/// A connection of ours with a peer whose part is played by `act` in a thread.
fn with_peer<T: Send + 'static>(
    world: &World,
    version: Version,
    act: impl FnOnce(ClientPeer) -> T + Send + 'static,
) -> (Shard, ConnId, std::thread::JoinHandle<T>) {
    let mut shard = Shard::new();
    let (endpoint, addr): (EndpointId, _) =
        listen(&mut shard, world.server.server().build().unwrap());
    let mut peer = ClientPeer::dial(&world.ca, version, addr);
    let thread = std::thread::spawn(move || {
        peer.shake();
        act(peer)
    });
    let conn = shard.wait_connected(Some(endpoint));
    (shard, conn, thread)
}

const SHORT: Duration = Duration::from_millis(150);

#[test]
fn close_graceful_says_goodbye_and_waits_for_the_peers() {
    let world = World::new();
    for version in VERSIONS {
        let (go, wait) = std::sync::mpsc::channel();
        let (mut shard, conn, thread) = with_peer(&world, version, move |mut peer| {
            let read = peer.read_to_end();
            wait.recv().unwrap();
            peer.close_notify();
            // The socket stays open: close_notify alone is the end.
            (read, read_to_end(&peer.sock))
        });
        let data = pattern(1, 100_000);
        shard.write_all(conn, &data);
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        let refused = shard.io.stream_write(conn, STREAM, b"too late").unwrap_err();
        assert_eq!(refused, IoError::WriteClosed { conn });
        shard.run_for(SHORT);
        assert_eq!(shard.count(|seen| matches!(seen, Seen::Disconnected { .. })), 0);
        go.send(()).unwrap();
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        let ((read, end), _) = shard.join(thread);
        assert_same(&read, &data);
        assert_eq!(end, None, "it ended by close_notify");
        shard.finish();
    }
}

#[test]
fn close_graceful_does_not_wait_longer_than_its_deadline() {
    let world = World::new();
    let (mut shard, conn, thread) = with_peer(&world, VERSIONS[1], |mut peer| {
        let (_, end) = peer.read_to_end();
        // It never says goodbye, and keeps the socket open.
        (end, peer)
    });
    let begun = Instant::now();
    shard.io.close_graceful(conn, SHORT).unwrap();
    assert_eq!(shard.wait_end(conn), (code::CLOSE_TIMEOUT, false));
    assert!(begun.elapsed() >= SHORT);
    assert_eq!(shard.join(thread).0, None);
    shard.finish();
}

#[test]
fn a_peer_that_answers_our_goodbye_with_a_plain_end_was_cut_short() {
    let world = World::new();
    let (mut shard, conn, thread) = with_peer(&world, VERSIONS[1], |mut peer| {
        let _ = peer.read_to_end();
    });
    shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
    // Nothing says that the peer had no more to say.
    assert_eq!(shard.wait_end(conn), (code::TLS_TRUNCATED, false));
    shard.join(thread);
    shard.finish();
}

#[test]
fn close_is_at_once_and_without_a_goodbye() {
    let world = World::new();
    let (mut shard, conn, thread) = with_peer(&world, VERSIONS[1], |mut peer| peer.read_to_end());
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    let (_, end) = shard.join(thread);
    assert_eq!(end, Some(ErrorKind::UnexpectedEof), "the peer sees a truncation");
    shard.finish();
}

#[test]
fn after_a_half_close_the_peer_goes_on() {
    let world = World::new();
    for version in VERSIONS {
        let later = pattern(2, 500_000);
        let sent = later.clone();
        let (mut shard, conn, thread) = with_peer(&world, version, move |mut peer| {
            let (read, end) = peer.read_to_end();
            peer.write(&sent);
            peer.close_notify();
            peer.sock.shutdown(std::net::Shutdown::Write).unwrap();
            (read, end)
        });
        shard.write_all(conn, b"all I have");
        shard.io.shutdown_write(conn, STREAM).unwrap();
        let refused = shard.io.stream_write(conn, STREAM, b"x").unwrap_err();
        assert_eq!(refused, IoError::WriteClosed { conn });
        assert_same(&shard.wait_bytes(conn, later.len()), &later);
        shard.wait_read_closed(conn);
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        assert_eq!(shard.join(thread), (b"all I have".to_vec(), None));
        shard.finish();
    }
}

#[test]
fn after_the_peers_goodbye_what_remains_is_sent() {
    let world = World::new();
    for version in VERSIONS {
        let (mut shard, conn, thread) = with_peer(&world, version, move |mut peer| {
            peer.write(b"question");
            peer.close_notify();
            peer.read_to_end()
        });
        shard.wait_read_closed(conn);
        assert_eq!(shard.bytes_of(conn), b"question");
        let answer = pattern(3, 1_500_000);
        shard.write_all(conn, &answer);
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        let (read, end) = shard.join(thread);
        assert_same(&read, &answer);
        assert_eq!(end, None);
        shard.finish();
    }
}

#[test]
fn data_behind_a_goodbye_is_not_delivered() {
    let world = World::new();
    for version in VERSIONS {
        let (mut shard, conn, thread) = with_peer(&world, version, move |mut peer| {
            peer.write(b"before");
            peer.close_notify();
            peer.sock.write_all(&[23, 3, 3, 0, 30]).unwrap();
            peer.sock.write_all(&[5; 30]).unwrap();
            peer.sock.write_all(b"and in the clear").unwrap();
            peer.read_to_end().1
        });
        shard.wait_read_closed(conn);
        shard.run_for(Duration::from_millis(30));
        assert_eq!(shard.bytes_of(conn), b"before");
        super::kit::close_in_order(&mut shard, conn);
        assert_eq!(shard.join(thread), None);
        shard.finish();
    }
}

#[test]
fn a_close_during_the_handshake() {
    let world = World::new();
    let mut shard = Shard::new();
    let (listener, addr) = super::common::plain_listener();
    for graceful in [false, true] {
        let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
        shard.step(Duration::ZERO);
        let (mut sock, _) = listener.accept().unwrap();
        shard.run_for(Duration::from_millis(20));
        let refused = shard.io.stream_write(conn, STREAM, b"x").unwrap_err();
        assert_eq!(refused, IoError::NotConnected { conn });
        let refused = shard.io.shutdown_write(conn, STREAM).unwrap_err();
        assert_eq!(refused, IoError::NotConnected { conn });
        let refused = shard.io.conn_tls_info(conn).unwrap_err();
        assert_eq!(refused, IoError::NotConnected { conn });
        if graceful {
            shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        } else {
            shard.io.close(conn).unwrap();
        }
        let thread = std::thread::spawn(move || {
            let mut hello = Vec::new();
            sock.read_to_end(&mut hello).unwrap();
            hello.len()
        });
        let (code, clean) = shard.wait_end(conn);
        // Nothing was established that could be ended in order.
        assert_eq!((code, clean), (code::LOCAL_CLOSE, false), "{code:x}");
        assert!(shard.join(thread) > 100, "the ClientHello was sent");
    }
    shard.finish();
}

/// A server's answer arrives after the client was told to close.
#[test]
fn a_graceful_close_during_the_handshake_is_no_fault_of_the_peers() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    shard.step(Duration::ZERO);
    shard.step(Duration::ZERO);
    shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
    let (code, _) = shard.wait_end(conn);
    assert_eq!(code::tls_alert(code), None, "no alert for what nobody did wrong: {code:x}");
    let (_, code, _) = wait_any_end(&mut shard);
    assert_eq!(code::tls_alert(code), None, "{code:x}");
    let _ = endpoint;
    shard.finish();
}

#[test]
fn a_time_limit_ends_a_connection_in_the_middle_of_tls() {
    let world = World::new();
    let mut shard = Shard::new();
    let tls = world.server.server().build().unwrap();
    let (_, addr) = super::kit::listen_with(&mut shard, tls, |c| c.timeouts.idle = Some(SHORT));
    let sock = dial(addr);
    // The idle limit also holds while hands are shaken.
    assert_eq!(wait_any_end(&mut shard).1, code::IDLE_TIMEOUT);
    drop(sock);
    shard.finish();
}
