#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! Timers, without a socket: one-shot, periodic and cancelled ones.
//! `cargo run --release --example timers`.

use std::time::{Duration, Instant};

use zero_io::{Config, Event, Io};

const TICK: u64 = 0;
const TICKS: u32 = 5;
const PERIOD: Duration = Duration::from_millis(20);
const ONE_SHOTS_MS: [u64; 3] = [50, 10, 30];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut io = Io::new(Config::default())?;
    let start = Instant::now();
    for ms in ONE_SHOTS_MS {
        io.timer_set(Duration::from_millis(ms), ms)?;
    }
    let never = io.timer_set(Duration::from_millis(25), 25)?;
    io.timer_set(PERIOD, TICK)?;
    let mut ticks = 0;
    while ticks < TICKS {
        // Sleeps until the next timer: the time given is a bound only.
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            let Event::Timer { token, .. } = event else { continue };
            let at = start.elapsed();
            if token == TICK {
                ticks += 1;
                println!("tick {ticks} at {at:?}");
                // A periodic timer is one that is set again, here without a drift.
                let next = PERIOD * (ticks + 1);
                sender.timer_set(next.saturating_sub(at), TICK)?;
            } else {
                let late = at.saturating_sub(Duration::from_millis(token));
                println!("{token} ms timer, {late:?} late");
                if token == 10 {
                    println!("cancelled: {}", sender.timer_cancel(never));
                }
            }
        }
    }
    Ok(())
}
