//! RST while a connection closes: in FIN-WAIT-1, CLOSING and LAST-ACK, which last where packets
//! take their time. tests/faults/reset.rs has the other states, on the real kernel.

use std::sync::Arc;
use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{Config, ConnId, SendOutcome, code};

use crate::nth;
use crate::stage::{PATIENCE, STREAM, Stage};

const ECONNRESET: u64 = libc::ECONNRESET as u64;
const SEEDS: u64 = 5;
const LATENCY: Duration = Duration::from_millis(30);
/// More than the peer's window, and less than that and the own send buffer.
const LEN: usize = 400_000;

/// The state of the client's socket when the reset comes: RFC 9293 §3.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FinWait1,
    Closing,
    LastAck,
}

/// Why the client's FIN has not arrived by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delay {
    /// It is on its way.
    Path,
    /// It waits behind what the server does not read.
    Window,
}

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Shutdown,
    /// The same, and it does not read either until the reset has come.
    Paused,
    Graceful,
}

const STATES: [State; 3] = [State::FinWait1, State::Closing, State::LastAck];
const DELAYS: [Delay; 2] = [Delay::Path, Delay::Window];
const HOWS: [How; 3] = [How::Shutdown, How::Paused, How::Graceful];

fn config() -> Config {
    nth::config().with(|c| {
        c.stream_buffer_count = 64;
        c.uring.zero_copy_min = 1_024;
    })
}

/// Both ends of a connection of the world, `[server, client]`.
struct Pair {
    stage: Stage,
    server: ConnId,
    client: ConnId,
}

impl Pair {
    fn new(seed: u64, faults: Faults) -> Self {
        let faults = faults.shaped(|s| s.latency_min_ns = LATENCY.as_nanos() as u64);
        let world = World::new(seed, faults);
        let mut stage = Stage::simulated(&[config(), config()], world);
        let (listener, addr) = stage.listen(0);
        let [server, client] = stage.connect(addr);
        stage.ios[0].endpoint_close(listener).expect("open");
        Self { stage, server, client }
    }

    /// Fills the window, so that a FIN waits behind data.
    fn fill(&mut self) {
        self.stage.ios[0].pause_recv(self.server).expect("open");
        self.stage.pass(LATENCY);
        let memory: Arc<[u8]> = vec![7; LEN].into();
        self.stage.ios[1].stream_write_guard(self.client, STREAM, memory, 1).expect("room");
        self.stage.until("all handed to the kernel", |stage| !stage.done(1).is_empty());
    }

    fn say_fin(&mut self, how: How) {
        let client = &mut self.stage.ios[1];
        match how {
            How::Paused | How::Shutdown => client.shutdown_write(self.client, STREAM),
            How::Graceful => client.close_graceful(self.client, PATIENCE),
        }
        .expect("open");
    }

    fn servers_fin(&mut self) {
        self.stage.ios[0].shutdown_write(self.server, STREAM).expect("open");
    }

    /// Leads the client's socket into the state, as it is when the reset arrives.
    fn lead_into(&mut self, state: State, delay: Delay, how: How) {
        if delay == Delay::Window {
            self.fill();
        }
        if how == How::Paused {
            self.stage.ios[1].pause_recv(self.client).expect("open");
            self.stage.pass(LATENCY / 10);
        }
        match state {
            State::FinWait1 => {
                self.say_fin(how);
                self.stage.pass(LATENCY / 3);
            }
            State::Closing => {
                // Both are on their way together, and the server's has just arrived.
                self.servers_fin();
                self.stage.pass(LATENCY / 10);
                self.say_fin(how);
                self.stage.pass(LATENCY * 19 / 20);
            }
            State::LastAck => {
                self.servers_fin();
                self.stage.pass(2 * LATENCY);
                self.say_fin(how);
                self.stage.pass(LATENCY / 3);
            }
        }
        assert!(!self.stage.is_read_closed(0, self.server), "the FIN has arrived");
    }

    fn reset(&mut self) {
        self.stage.ios[0].reset_on_close(self.server).expect("open");
        self.stage.ios[0].close(self.server).expect("open");
    }

    /// What the server did arrives, and the client does not look.
    fn arrive(&mut self) {
        (0..5).for_each(|_| self.stage.ios[0].poll(Duration::ZERO).expect("a tick"));
        self.stage.world.as_ref().expect("a world").advance_by(2 * LATENCY);
    }

    /// Nothing is left, and nothing more is told.
    fn finish(mut self, told: usize) {
        let client = self.client;
        self.stage.until("the end", |stage| !stage.ends(1, client).is_empty());
        self.stage.until_idle();
        self.stage.pass(Duration::from_secs(60));
        assert_eq!(self.stage.ends(1, client).len(), 1);
        assert_eq!(self.stage.ends(0, self.server).len(), 1);
        let done = self.stage.done(1);
        assert!(done.iter().all(|done| *done == (client, 1, LEN, SendOutcome::Sent)), "{done:?}");
        assert_eq!(done.len(), told);
        let world = self.stage.world.as_ref().expect("a world");
        assert_eq!(world.violations(), [""; 0]);
        assert_eq!(world.files(), 0, "{}", world.describe_files());
    }
}

fn every_way() -> impl Iterator<Item = (State, Delay, How)> {
    let ways = |state| DELAYS.into_iter().map(move |delay| (state, delay));
    STATES
        .into_iter()
        .flat_map(ways)
        .flat_map(|(s, d)| HOWS.into_iter().map(move |how| (s, d, how)))
}

#[test]
fn while_the_fin_is_not_acknowledged() {
    for (state, delay, how) in every_way() {
        for seed in 0..SEEDS {
            let mut pair = Pair::new(seed, Faults::none());
            pair.lead_into(state, delay, how);
            pair.reset();
            if how == How::Paused {
                pair.stage.pass(2 * LATENCY);
                assert!(pair.stage.ends(1, pair.client).is_empty(), "it was read while paused");
                pair.stage.ios[1].resume_recv(pair.client).expect("open");
            }
            let client = pair.client;
            pair.stage.until("the end", |stage| !stage.ends(1, client).is_empty());
            // Behind the peer's FIN nothing is to come, and all that was written was handed over.
            let end = if state == State::FinWait1 { (ECONNRESET, false) } else { (0, true) };
            assert_eq!(pair.stage.ends(1, client), [end], "{state:?} {delay:?} {how:?}");
            assert_eq!(pair.stage.is_read_closed(1, client), state != State::FinWait1);
            assert_eq!(pair.stage.ends(0, pair.server), [(code::LOCAL_CLOSE, false)]);
            pair.finish(usize::from(delay == Delay::Window));
        }
    }
}

/// The same with completions that are held back, so that the reset finds operations under way.
#[test]
fn while_operations_of_the_close_are_late() {
    for (state, delay, how) in every_way().filter(|(_, _, how)| *how != How::Paused) {
        for seed in 0..4 * SEEDS {
            let mut pair = Pair::new(seed, Faults::none());
            if delay == Delay::Window {
                pair.fill();
            }
            let late = pair.stage.world.as_ref().expect("a world").faults();
            let late = late.with(Fault::CompletionDelay, 600_000).with(Fault::ExecuteLate, 300_000);
            pair.stage.world.as_ref().expect("a world").set_faults(late);
            if state != State::FinWait1 {
                pair.servers_fin();
                let span = if state == State::Closing { LATENCY / 10 } else { 2 * LATENCY };
                pair.stage.pass(span);
            }
            pair.say_fin(how);
            pair.stage.pass(LATENCY / 3);
            if pair.stage.ends(0, pair.server).is_empty() {
                pair.reset();
            }
            pair.finish(usize::from(delay == Delay::Window));
        }
    }
}

/// K29: right behind the last bytes, of which alone the kernel tells. Nothing is sent either.
#[test]
fn right_behind_the_last_bytes() {
    for seed in 0..SEEDS {
        let mut pair = Pair::new(seed, Faults::none().with(Fault::EndUntold, 1_000_000));
        pair.stage.ios[0].stream_write(pair.server, STREAM, b"the last").expect("room");
        pair.arrive();
        pair.reset();
        pair.arrive();
        let client = pair.client;
        pair.stage.until("the bytes", |stage| stage.data(1, client) == b"the last");
        assert!(pair.stage.ends(1, client).is_empty(), "the kernel told of it");
        pair.stage.until("the end", |stage| !stage.ends(1, client).is_empty());
        assert_eq!(pair.stage.ends(1, client), [(ECONNRESET, false)]);
        pair.finish(0);
    }
}

/// A peer that is silent and not gone notices nothing of being looked at.
#[test]
fn none_is_taken_for_silence() {
    for seed in 0..SEEDS {
        let mut pair = Pair::new(seed, Faults::none().with(Fault::EndUntold, 1_000_000));
        let mut sent = Vec::new();
        for round in 0..4 {
            let piece = [round; 100];
            pair.stage.ios[0].stream_write(pair.server, STREAM, &piece).expect("room");
            sent.extend_from_slice(&piece);
            pair.stage.pass(Duration::from_secs(60));
            assert_eq!(pair.stage.data(1, pair.client), sent);
        }
        assert!(pair.stage.ends(1, pair.client).is_empty());
        pair.reset();
        pair.finish(0);
    }
}
