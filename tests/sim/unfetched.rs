//! Events that nobody fetches while connections go on.

use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{Event, Io, StreamId};

use crate::nth;

const STREAM: StreamId = StreamId::ZERO;
const STEPS_MAX: usize = 10_000;

/// A connection has up to three events that are noted and not queued: `Connected`, where it is made
/// at once, `Writable` and `Disconnected`. With one connection, their list is as short as can be.
#[test]
fn all_that_is_noted_of_a_connection_has_room() {
    let world = World::new(1, Faults::none());
    let mut server = Io::in_world(nth::config(), &world).expect("a node");
    let alone = nth::config().with(|c| c.max_connections = 1);
    let mut client = Io::in_world(alone, &world).expect("a node");
    server.uds_listen("@unfetched").expect("listen");
    let conn = client.uds_connect("@unfetched").expect("room");
    let step = |server: &mut Io, client: &mut Io| {
        // It audits each tick.
        client.poll(Duration::ZERO).expect("a tick");
        server.poll(Duration::ZERO).expect("a tick");
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    };
    // It is established when it takes bytes: more than it has room for.
    let data = [7; 1 << 20];
    let mut taken = 0;
    for _ in 0..STEPS_MAX {
        step(&mut server, &mut client);
        taken = client.stream_write(conn, STREAM, &data).unwrap_or(0);
        if taken > 0 {
            break;
        }
    }
    assert!(taken > 0 && taken < data.len(), "{taken} bytes");
    // Once all of them arrived there is room again, and then it ends.
    let mut got = 0;
    for _ in 0..STEPS_MAX {
        step(&mut server, &mut client);
        while let Some(event) = server.next_event() {
            if let Event::StreamFrame { data, .. } = event {
                got += data.len();
            }
        }
        if got == taken {
            break;
        }
    }
    assert_eq!(got, taken);
    (0..100).for_each(|_| step(&mut server, &mut client));
    client.close(conn).expect("open");
    (0..100).for_each(|_| step(&mut server, &mut client));
    while client.next_event().is_some() {}
    assert!(client.is_idle());
}
