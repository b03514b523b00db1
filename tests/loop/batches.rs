//! Completions that are taken from the ring together, and make more events than one poll hands out.

use std::io::{Read, Write};
use std::time::Duration;

use zero_io::{Event, Frame, Framing, MessageKind};

use crate::common::{STREAM, Shard, dial};

const CONNECTIONS: usize = 8;
const EVENTS_PER_POLL: usize = 16;
/// What every client says at once, in messages of one byte.
const WORDS: [u8; 32] = *b"thirty-two messages at one time.";
/// It takes about 16 polls to hand all of it out.
const ENTERS_MAX: u64 = 4;

#[test]
fn what_a_batch_makes_is_sent_together() {
    let mut shard = Shard::with(|c| c.max_events_per_poll = EVENTS_PER_POLL);
    let framing = Framing::new(MessageKind::User(1), |_| Frame::Ready(1));
    let (listener, addr) = shard.listen_with(|c| c.framing = Some(framing));
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| dial(addr)).collect();
    for _ in &clients {
        shard.wait_connected(Some(listener));
    }
    shard.run_for(Duration::from_millis(50));
    for client in &mut clients {
        client.write_all(&WORDS).unwrap();
    }
    // All of it is there when the ring is entered.
    std::thread::sleep(Duration::from_millis(50));
    let before = shard.io.io_stats().enters;
    let mut answered = 0;
    while answered < CONNECTIONS * WORDS.len() {
        shard.io.poll(Duration::from_secs(5)).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            if let Event::StreamFrame { conn, data, .. } = event {
                assert_eq!(sender.stream_write(conn, STREAM, data), Ok(data.len()));
                answered += 1;
            }
        }
    }
    let enters = shard.io.io_stats().enters - before;
    assert!(enters <= ENTERS_MAX, "the kernel was entered {enters} times for one batch");
    // And nothing is kept back behind the last of it.
    shard.io.poll(Duration::ZERO).unwrap();
    for client in &mut clients {
        let mut echo = [0; WORDS.len()];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(echo, WORDS);
    }
    shard.finish();
}
