//! Networks that lose, repeat and reorder: what arrives is a prefix of what was written, and each
//! connection ends once.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::pair::{Faults, Pair, connect_config, listen_config};
use crate::ids::{StreamDir, StreamId};
use crate::proto::quic::signal::Signal;
use crate::rng::Rng;

/// Byte `at` of stream `id`.
fn byte(id: StreamId, at: usize) -> u8 {
    (id.as_u64() as usize * 31 + at * 7 + at / 253) as u8
}

/// What one side heard of streams.
#[derive(Default)]
struct Heard {
    streams: HashMap<StreamId, (usize, bool)>,
    lost: usize,
}

impl Heard {
    fn take(&mut self, told: Vec<Signal<Bytes>>) {
        for signal in told {
            assert_eq!(self.lost, 0, "{signal:?} after the end");
            match signal {
                Signal::Frame { stream, data, fin } => {
                    let (at, ended) = self.streams.entry(stream).or_default();
                    assert!(!*ended && !data.is_empty());
                    for (i, got) in data.iter().enumerate() {
                        assert_eq!(*got, byte(stream, *at + i), "{stream:?} at {}", *at + i);
                    }
                    *at += data.len();
                    let _ = fin;
                }
                Signal::ReadClosed(stream) => {
                    let (_, ended) = self.streams.entry(stream).or_default();
                    assert!(!std::mem::replace(ended, true), "{stream:?} ended twice");
                }
                Signal::Lost { .. } => self.lost += 1,
                _ => {}
            }
        }
    }
}

fn schedule(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let listen = listen_config().with(|c| {
        c.transport.stream_window = 4096 << rng.below(6);
        c.transport.conn_window = c.transport.stream_window << rng.below(4);
        c.transport.max_uni_streams = 1 + rng.below(4) as u32;
    });
    let mut pair = Pair::with(listen, connect_config());
    pair.rng = Rng::from_seed(seed ^ 0xabcd);
    pair.faults = Faults {
        loss: rng.below(25),
        duplicate: rng.below(20),
        reorder: rng.below(50),
        ..Faults::default()
    };
    pair.connect();
    pair.until("connected or lost", |pair| {
        pair.client.told.iter().any(|t| matches!(t.1, Signal::Connected | Signal::Lost { .. }))
    });
    let (mut client, mut server) = (Heard::default(), Heard::default());
    // What is to be written of each stream, and was.
    let mut plans: Vec<(StreamId, usize, usize)> = Vec::new();
    let wanted = 1 + rng.below(6) as usize;
    for _ in 0..300 {
        if let Some(Some(session)) = pair.client.sessions.first_mut() {
            let dir = if rng.chance(1, 2) { StreamDir::Bidi } else { StreamDir::Uni };
            if plans.len() < wanted
                && rng.chance(1, 3)
                && let Ok(id) = session.open(dir)
            {
                plans.push((id, rng.below(60_000) as usize, 0));
            }
            for (id, len, sent) in &mut plans {
                if *sent > *len {
                    continue;
                }
                let step = (*len - *sent).min(1 + rng.below(8000) as usize);
                let data: Bytes = (*sent..*sent + step).map(|at| byte(*id, at)).collect();
                let Ok(taken) = session.write(*id, &mut [data]) else { continue };
                *sent += taken;
                if *sent == *len && session.finish(*id).is_ok() {
                    *sent += 1;
                }
            }
        }
        pair.run(Duration::from_millis(rng.below(60)));
        client.take(pair.client.take(0));
        server.take(pair.server.take(0));
        if rng.chance(1, 200) {
            break;
        }
    }
    // One side goes away, and the other one is told once, by that or by silence.
    let now = pair.now;
    let closer_is_client = rng.chance(1, 2);
    let closer = if closer_is_client { &mut pair.client } else { &mut pair.server };
    let mut was_open = false;
    if let Some(Some(session)) = closer.sessions.first_mut() {
        was_open = true;
        session.close(now, 5, b"").unwrap();
    }
    pair.run(Duration::from_secs(120));
    client.take(pair.client.take(0));
    server.take(pair.server.take(0));
    assert!(client.lost <= 1 && server.lost <= 1);
    if was_open && !pair.server.sessions.is_empty() {
        assert_eq!(client.lost + server.lost, 1, "the other side");
    }
    assert_eq!(pair.client.endpoint.open_connections(), 0);
    assert_eq!(pair.server.endpoint.open_connections(), 0);
}

/// Seeds of each test: 50, or an eighth of what `ZERO_IO_QUIC_SEEDS` says.
fn schedules(share: u64) {
    let wanted = std::env::var("ZERO_IO_QUIC_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let seeds = wanted.map_or(50, |seeds: u64| seeds / 8);
    for seed in share * seeds..(share + 1) * seeds {
        let run = std::panic::catch_unwind(|| schedule(seed));
        assert!(run.is_ok(), "seed {seed}");
    }
}

macro_rules! shares {
    ($($name:ident $share:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            schedules($share);
        }
    )*};
}

// They run side by side.
shares! {
    schedules_0 0,
    schedules_1 1,
    schedules_2 2,
    schedules_3 3,
    schedules_4 4,
    schedules_5 5,
    schedules_6 6,
    schedules_7 7,
}

/// How long the client's handshake takes, if it is done at all.
fn handshake(seed: u64, faults: Faults) -> Option<Duration> {
    const PATIENCE: Duration = Duration::from_secs(100);
    let listen = listen_config().with(|c| {
        c.handshake_timeout = PATIENCE;
        c.transport.initial_rtt = Duration::from_millis(20);
        c.transport.idle_timeout = Some(PATIENCE);
    });
    let connect = connect_config().with(|c| {
        c.connect_timeout = PATIENCE;
        c.transport.initial_rtt = Duration::from_millis(20);
        c.transport.idle_timeout = Some(PATIENCE);
    });
    let mut pair = Pair::with(listen, connect);
    pair.rng = Rng::from_seed(seed);
    pair.faults = faults;
    let start = pair.now;
    pair.connect();
    pair.until("connected or lost", |pair| !pair.client.told.is_empty());
    let is_connected = pair.client.told.first().is_some_and(|told| told.1 == Signal::Connected);
    is_connected.then(|| pair.now.saturating_since(start))
}

/// Of a path that spoils so much of a handshake that its probes are what it lives by.
fn handshakes(faults: Faults) {
    let mut spans: Vec<_> = (0..500)
        .map(|seed| handshake(seed, faults).unwrap_or_else(|| panic!("seed {seed}: never")))
        .collect();
    spans.sort();
    let [median, late] = [spans[250], spans[475]];
    assert!(median < Duration::from_millis(150) && late < Duration::from_secs(1), "{spans:?}");
}

#[test]
fn handshakes_get_through_where_three_of_ten_packets_are_lost() {
    handshakes(Faults { loss: 30, ..Faults::default() });
}

#[test]
fn handshakes_get_through_where_three_of_ten_packets_are_changed() {
    handshakes(Faults { corrupt: 30, ..Faults::default() });
}
