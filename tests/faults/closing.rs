//! Closing at the wrong moment, twice, or while the event is looked at.

use std::net::Shutdown;
use std::time::Duration;

use zero_io::{Event, IoError, code};

use crate::world::*;

#[test]
fn hazard_61_close_says_fin_although_a_receive_is_armed() {
    let mut world = World::new(strict());
    for linger in [false, true] {
        let (conn, client) = world.pair();
        if linger {
            world.io.reset_on_close(conn).unwrap();
        }
        world.io.close(conn).unwrap();
        assert_eq!(world.end_of(conn), (code::LOCAL_CLOSE, false));
        let expected = if linger { Found::Reset } else { Found::End };
        world.until("an end", |_| look(&client) == expected);
    }
    world.must_be_idle();
}

#[test]
fn hazard_65_closing_twice_is_an_error_and_no_more() {
    let mut world = World::new(strict());
    let (conn, _client) = world.pair();
    world.io.close_graceful(conn, PATIENCE).unwrap();
    // A second goodbye changes its time limit only; a hard close cuts it short.
    world.io.close_graceful(conn, PATIENCE).unwrap();
    assert_eq!(world.io.shutdown_write(conn, S0), Ok(()));
    world.turn(Duration::ZERO);
    world.io.close(conn).unwrap();
    let stale = IoError::StaleConn { conn };
    assert_eq!(world.io.close(conn), Err(stale));
    assert_eq!(world.io.close_graceful(conn, PATIENCE), Err(stale));
    assert_eq!(world.io.stream_write(conn, S0, b"x"), Err(stale));
    assert_eq!(world.io.pause_recv(conn), Err(stale));
    assert_eq!(world.io.user_data(conn), Err(stale));
    assert_eq!(world.end_of(conn), (code::LOCAL_CLOSE, false));
    assert_eq!(world.io.close(conn), Err(stale));
    world.must_be_idle();
}

#[test]
fn the_connection_of_the_current_event_is_closed() {
    let mut world = World::new(strict());
    let addr = world.listen();
    let (conn, client) = world.join(addr);
    let (other, other_client) = world.join(addr);
    let data = pattern(1, 1000);
    push(&client, &data);
    push(&other_client, &data);
    let mut seen = 0;
    for _ in 0..1000 {
        world.io.poll(Duration::from_millis(1)).unwrap();
        let (mut events, mut sender) = world.io.split();
        while let Some(event) = events.next_event() {
            let Event::StreamFrame { conn: from, data: payload, .. } = event else { continue };
            seen += 1;
            // Forwarded to both, then closed: the payload stays what it is.
            sender.forward(from, S0, payload).unwrap();
            let to = if from == conn { other } else { conn };
            let _ = sender.forward(to, S0, payload);
            sender.close(from).unwrap();
            assert_eq!(
                sender.forward(from, S0, payload).unwrap_err(),
                IoError::StaleConn { conn: from }
            );
            assert!(payload == data, "the payload changed under the event");
            let kept = events.detach_event_data().unwrap();
            assert!(*kept == data[..]);
            assert!(events.detach_event_data().is_none(), "detached twice");
        }
        if seen == 2 {
            break;
        }
    }
    // Whichever came first closed itself before the other's was handed out.
    assert!(seen >= 1);
    let _ = world.io.close(conn);
    let _ = world.io.close(other);
    world.until("both ends", |w| w.ends(conn).len() + w.ends(other).len() == 2);
    world.must_be_idle();
}

#[test]
fn nothing_is_said_of_a_closed_connection_but_its_end() {
    let mut world = World::new(strict());
    let addr = world.listen();
    let pairs: Vec<_> = (0..5).map(|_| world.join(addr)).collect();
    for (_, client) in &pairs {
        push(client, b"queued");
        client.shutdown(Shutdown::Write).unwrap();
    }
    // Received and queued; the first event closes all of them.
    world.io.poll(PATIENCE).unwrap();
    for _ in 0..5 {
        world.io.poll(Duration::from_millis(1)).unwrap();
    }
    world.log.clear();
    assert!(world.take_event());
    let Ev::Data(first, _) = world.log[0] else { panic!("{:?}", world.log) };
    for (conn, _) in &pairs {
        world.io.close(*conn).unwrap();
    }
    world.until("five ends", |w| w.log.len() == 6);
    assert!(world.log[1..].iter().all(|e| matches!(e, Ev::Disconnected(_, code::LOCAL_CLOSE, _))));
    assert!(world.ends(first).len() == 1);
    world.must_be_idle();
}

#[test]
fn a_graceful_close_delivers_what_still_comes() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    world.io.stream_write(conn, S0, b"goodbye").unwrap();
    world.io.close_graceful(conn, PATIENCE).unwrap();
    world.until("goodbye", |_| look(&client) == Found::Bytes(b"goodbye".to_vec()));
    let data = pattern(3, 50_000);
    assert_eq!(push(&client, &data), data.len());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(world.end_of(conn), (0, true));
    assert!(world.received(conn) == data);
    world.must_be_idle();
}

#[test]
fn a_graceful_close_has_an_end_of_its_own() {
    let mut world = World::new(strict());
    let (conn, _client) = world.pair();
    world.io.close_graceful(conn, Duration::from_millis(100)).unwrap();
    assert_eq!(world.end_of(conn), (code::CLOSE_TIMEOUT, false));
    let (stuck, _silent) = world.pair();
    while world.io.stream_write(stuck, S0, &[7; 65_536]).unwrap() > 0 {
        world.turn(Duration::ZERO);
    }
    world.io.close_graceful(stuck, Duration::from_millis(100)).unwrap();
    assert_eq!(world.end_of(stuck), (code::CLOSE_TIMEOUT, false));
    world.must_be_idle();
}
