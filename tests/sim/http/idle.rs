//! When idle connections are closed, by a clock that is exact.

use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    ConnId, Event, HostOrAddr, HttpListenConfig, Io, RequestId, StreamId, TcpConnectConfig,
    TcpListenConfig, ZeroResponse, code,
};

use crate::chance::Chance;
use crate::nth;

const LIMIT: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(5);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";
const HALF: usize = 9;

/// What the client sends, and when: a request whole or in two halves, answered at once or later.
fn lateness(seed: u64) -> Duration {
    let mut chance = Chance::new(seed);
    let world = World::new(seed, Faults::none());
    let mut ios = [0, 1].map(|_| Io::in_world(nth::config(), &world).expect("a node"));
    let tcp = TcpListenConfig::new("127.0.0.1:0".parse().expect("an address"));
    let config = HttpListenConfig::new(tcp).with(|c| {
        c.keep_alive_timeout_ms = LIMIT.as_millis() as u64;
        c.request_timeout_ms = chance.pick(&[0, 700, 30_000]);
        c.receive_timeout_ms = chance.pick(&[0, 400, 10_000]);
    });
    let listener = ios[0].http_listen_with(config).expect("listens");
    let addr = ios[0].local_addr(listener).expect("bound").inet().expect("an address");
    ios[1].tcp_connect_with(TcpConnectConfig::new(HostOrAddr::Addr(addr))).expect("room");
    let mut client: Option<ConnId> = None;
    let mut waiting: Option<(ConnId, RequestId)> = None;
    let (mut sent, mut answers) = (0, 0);
    let rounds = 1 + chance.below(6);
    let ms = |n: usize| Duration::from_millis(n as u64);
    let mut next = ms(chance.below(900));
    let mut last = Duration::ZERO;
    loop {
        let now = Duration::from_nanos(world.now_ns());
        ios.iter_mut().for_each(|io| io.poll(Duration::ZERO).expect("a tick"));
        while let Some(event) = ios[0].next_event() {
            match event {
                Event::HttpRequest { conn, id, .. } => {
                    waiting = Some((conn, id));
                    let late = chance.pick(&[0, 0, 300, 650]);
                    next = now + ms(chance.below(late + 1));
                }
                Event::Disconnected { error_code, .. } => {
                    assert_eq!(error_code, code::HTTP_IDLE, "seed {seed}");
                    assert!(now >= last + LIMIT - STEP, "seed {seed}: too early");
                    return now - (last + LIMIT);
                }
                _ => {}
            }
        }
        while let Some(event) = ios[1].next_event() {
            match event {
                Event::Connected { conn, .. } => (client, last) = (Some(conn), now),
                Event::StreamFrame { .. } => last = now,
                Event::ReadClosed { conn, .. } => {
                    ios[1].close_graceful(conn, Duration::ZERO).expect("open");
                }
                _ => {}
            }
        }
        if let Some(conn) = client
            && now >= next
            && sent < rounds * GET.len()
            && sent / GET.len() == answers
        {
            let at = sent % GET.len();
            let len = if at > 0 || chance.once_in(2) { GET.len() - at } else { HALF };
            ios[1].stream_write(conn, StreamId::ZERO, &GET[at..at + len]).expect("open");
            sent += len;
            next = now + ms(chance.below(if at + len == GET.len() { 900 } else { 300 }));
        } else if let Some((conn, id)) = waiting.filter(|_| now >= next) {
            ios[0].http_respond(conn, id, ZeroResponse::ok()).expect("in time");
            answers += 1;
            waiting = None;
            next = now + ms(chance.below(900));
        }
        world.advance_by(STEP);
    }
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let worst = (0..400).map(|seed| (lateness(seed), seed)).max();
    assert!(worst.is_some_and(|(late, _)| late <= LIMIT / 8), "{worst:?}");
}
