//! Sends that the kernel takes a part of, most of the time.

use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{Event, Io, SendOutcome, StreamId};

use crate::nth;

const LEN: usize = 100_000;
const ROUNDS_MAX: usize = 100_000;

/// What a short send left comes next, and a guard write is told when all of it is done.
#[test]
fn hazard_45_and_49_the_rest_of_a_short_send_follows() {
    let data: &'static [u8] = (0..LEN).map(|n| (n * 7 % 251) as u8).collect::<Vec<_>>().leak();
    for seed in 0..20 {
        let world = World::new(seed, Faults::none().with(Fault::SendShort, 900_000));
        let [mut server, mut client] =
            [0, 1].map(|_| Io::in_world(nth::config(), &world).expect("a node"));
        let listener = server.tcp_listen(([127, 0, 0, 1], 0).into()).expect("listen");
        let addr = server.local_addr(listener).expect("bound").inet().expect("an IP address");
        let conn = client.tcp_connect(addr).expect("room");
        let (mut got, mut is_done) = (Vec::new(), false);
        for _ in 0..ROUNDS_MAX {
            client.poll(Duration::ZERO).expect("a tick");
            while let Some(event) = client.next_event() {
                match event {
                    Event::Connected { .. } => {
                        client.stream_write_guard(conn, StreamId::ZERO, data, 5).expect("room");
                    }
                    Event::SendDone { token: 5, bytes, outcome: SendOutcome::Sent, .. } => {
                        assert_eq!(bytes, LEN, "seed {seed}");
                        assert!(!std::mem::replace(&mut is_done, true), "it was told twice");
                    }
                    other => panic!("seed {seed}: {other:?}"),
                }
            }
            server.poll(Duration::ZERO).expect("a tick");
            while let Some(event) = server.next_event() {
                if let Event::StreamFrame { data, .. } = event {
                    got.extend_from_slice(data);
                }
            }
            if is_done && got.len() >= LEN {
                break;
            }
            if !world.advance_to_next() {
                world.advance_by(Duration::from_millis(1));
            }
        }
        assert!(is_done && got == data, "seed {seed}: {} of {LEN} bytes", got.len());
        assert_eq!(world.violations(), [""; 0], "seed {seed}");
    }
}
