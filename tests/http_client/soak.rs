//! Whatever happens, in any order: each request has one end, and everything comes home.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use zero_io::{Config, ConnId, Event, HttpMethod, HttpPoolConfig, RequestId, Sender};
use zero_io::{HttpListenConfig, TcpListenConfig, ZeroRequest, ZeroResponse};

use crate::kit::{Shard, pattern};

/// Numbers that a seed decides (xorshift).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What the server still has to do.
#[derive(Default)]
struct Server {
    later: VecDeque<(ConnId, RequestId)>,
    streams: Vec<(ConnId, RequestId, usize)>,
}

impl Server {
    fn on_event(&mut self, dice: &mut Dice, sender: &mut Sender<'_>, event: &Event<'_>) {
        match *event {
            Event::HttpRequest { conn, id, .. } => match dice.below(12) {
                0 => drop(sender.close(conn)),
                1 => self.later.push_back((conn, id)),
                2 => {
                    let _ = sender.http_respond(conn, id, ZeroResponse::redirect("/elsewhere"));
                }
                3 => drop(sender.http_respond(conn, id, ZeroResponse::ok().text("last").close())),
                4 | 5 => {
                    let begun = sender.http_respond(conn, id, ZeroResponse::ok().stream());
                    if begun.is_ok() {
                        self.streams.push((conn, id, dice.below(200_000) as usize));
                    }
                }
                6 => {
                    let body = pattern(dice.below(60_000) as usize);
                    let _ = sender.http_respond(conn, id, ZeroResponse::ok().bytes(&body));
                }
                _ => drop(sender.http_respond(conn, id, ZeroResponse::ok().text("hello"))),
            },
            Event::Disconnected { conn, .. } => {
                self.later.retain(|(of, _)| *of != conn);
                self.streams.retain(|(of, ..)| *of != conn);
            }
            _ => {}
        }
        self.go_on(dice, sender);
    }

    fn go_on(&mut self, dice: &mut Dice, sender: &mut Sender<'_>) {
        if dice.one_in(3)
            && let Some((conn, id)) = self.later.pop_front()
        {
            let _ = sender.http_respond(conn, id, ZeroResponse::ok().text("late"));
        }
        self.streams.retain_mut(|(conn, id, left)| {
            let piece = pattern((*left).min(5_000));
            match sender.http_write(*conn, *id, &piece) {
                Ok(n) => *left -= n,
                Err(_) => return false,
            }
            if *left == 0 {
                let _ = sender.http_finish(*conn, *id);
            }
            *left > 0
        });
    }
}

fn configs(dice: &mut Dice, config: &mut Config) {
    config.max_events_per_poll = [16, 64, 1024][dice.below(3) as usize];
    config.stream_buffer_count = [16, 64, 512][dice.below(3) as usize];
    config.send_high_water = [4_096, 262_144][dice.below(2) as usize];
}

fn pools(dice: &mut Dice, config: &mut HttpPoolConfig) {
    config.max_connections_per_host = 1 + dice.below(4) as usize;
    config.pipeline = [1, 1, 4][dice.below(3) as usize];
    config.retry_idempotent = dice.one_in(2);
    config.redirects = dice.below(3) as u8;
    config.keep_alive_requests = [0, 3][dice.below(2) as usize];
    config.max_body_inline = [0, 100, 16_384][dice.below(3) as usize];
    config.idle_timeout_ms = [5, 30_000][dice.below(2) as usize];
    config.request_timeout_ms = [0, 200][dice.below(2) as usize];
    config.first_byte_timeout_ms = 2_000;
    config.body_timeout_ms = 2_000;
}

fn ask(shard: &mut Shard, dice: &mut Dice, url: &str) -> RequestId {
    let body = pattern(dice.below(20_000) as usize);
    match dice.below(6) {
        0 => shard.ask(ZeroRequest::post(url).bytes(&body)),
        1 => shard.ask(ZeroRequest::put(url).shared(std::sync::Arc::new(body))),
        2 => shard.ask(ZeroRequest::post(url).stream()),
        3 => shard.ask(ZeroRequest::post(url).stream_of(3_000).expect_continue()),
        4 => shard.ask(ZeroRequest::method(HttpMethod::Head, url)),
        _ => shard.ask(ZeroRequest::get(url)),
    }
}

/// The application's side of a streamed body, and of holding back.
fn watch(shard: &mut Shard, mut dice: Dice) {
    shard.watch(move |sender, event| match *event {
        Event::HttpReady { conn, id } if !dice.one_in(10) => {
            let body = pattern(3_000);
            let written = sender.http_write(conn, id, &body);
            if written.is_ok_and(|n| n == body.len()) && !dice.one_in(10) {
                let _ = sender.http_finish(conn, id);
            }
        }
        Event::HttpBodyChunk { conn, .. } if dice.one_in(5) => {
            let _ = sender.pause_recv(conn);
            if dice.one_in(2) {
                let _ = sender.resume_recv(conn);
            }
        }
        _ => {}
    });
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut first, mut second) = (dice.clone(), dice.clone());
    let mut shard = Shard::of(|c| configs(&mut first, c), |c| pools(&mut second, c));
    // A body that is never finished is refused with 408 in the middle of it.
    let tcp = TcpListenConfig::new("127.0.0.1:0".parse().unwrap());
    let listen = HttpListenConfig::new(tcp).with(|c| c.receive_timeout_ms = 100);
    let endpoint = shard.io.http_listen_with(listen).unwrap();
    let url = format!("http://{}/", shard.io.local_addr(endpoint).unwrap());
    let server = Rc::new(RefCell::new(Server::default()));
    let (serves, mut own) = (Rc::clone(&server), Dice(dice.below(u64::MAX) | 1));
    shard.serve_with(move |sender, event| serves.borrow_mut().on_event(&mut own, sender, event));
    watch(&mut shard, Dice(dice.below(u64::MAX) | 1));
    let mut asked = Vec::new();
    for _ in 0..60 {
        for _ in 0..dice.below(4) {
            asked.push(ask(&mut shard, &mut dice, &url));
        }
        if dice.one_in(6) && !asked.is_empty() {
            let at = dice.below(asked.len() as u64) as usize;
            let id = asked.swap_remove(at);
            shard.io.http_cancel(id);
        }
        shard.step();
        for conn in (0..16).flat_map(|i| (1..4).map(move |g| ConnId::from_u64(g << 32 | i))) {
            let _ = shard.io.resume_recv(conn);
        }
    }
    shard.until("every end", |shard| {
        // What is paused goes on, what the server has left to do is done.
        let held = shard.seen.values().filter_map(|outcome| outcome.conn);
        let held: Vec<_> = held.chain(shard.accepted.iter().copied()).collect();
        for conn in held {
            let _ = shard.io.resume_recv(conn);
        }
        let (_, mut sender) = shard.io.split();
        server.borrow_mut().go_on(&mut dice, &mut sender);
        asked.iter().all(|id| shard.seen[id].is_over())
    });
    shard.run_for(Duration::from_millis(5));
    shard.io.endpoint_close(endpoint).unwrap();
    let open: Vec<_> = shard.accepted.iter().copied().collect();
    for conn in open {
        let _ = shard.io.close(conn);
    }
    let stats = shard.finish();
    assert!(stats.requests > 20, "seed {seed}: {stats:?}");
}

#[test]
fn one_end_each_whatever_happens() {
    let seeds = std::env::var("ZERO_IO_SOAK_SEEDS").map_or(6u64, |text| text.parse().unwrap());
    let first = std::env::var("ZERO_IO_SOAK_FIRST").map_or(1, |text| text.parse().unwrap());
    for seed in first..first + seeds {
        eprintln!("seed {seed}");
        run(seed);
    }
}
