//! Whoever asks for many files at once gets a turn's bytes per tick, as those do who ask for one.

use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zero_io::{Config, ConnId, Event, HttpFile, HttpListenConfig, Io, TcpListenConfig};

use crate::files::Temporary;
use crate::kit::{Client, get, pattern};

const CLIENTS: usize = 2;
/// As many as are answered at once at most: they come in one piece.
const REQUESTS: usize = 32;
/// Long enough to be sent by the system, and many in one turn.
const FILE_LEN: usize = 50_000;
/// Of the files of one connection in one tick.
const TURN: u64 = 256 * 1024;
/// A head is shorter.
const HEAD_MAX: u64 = 512;

fn asking(addr: std::net::SocketAddr, content: Vec<u8>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut client = Client::dial(addr);
        client.send(get("/").repeat(REQUESTS));
        for i in 0..REQUESTS {
            assert!(client.answer().unwrap().body == content, "{i}");
        }
    })
}

#[test]
fn many_files_at_once_are_sent_in_turns() {
    let content = pattern(FILE_LEN);
    let made = Temporary::new("turns", &content);
    let file: HttpFile = made.open();
    let mut io = Io::new(Config::default().with(|c| c.debug.audit_every_tick = true)).unwrap();
    // The socket takes more than a turn.
    let tcp = TcpListenConfig::new("127.0.0.1:0".parse().unwrap());
    let tcp = tcp.with(|c| c.send_buffer = Some(1 << 20));
    let endpoint = io.http_listen_with(HttpListenConfig::new(tcp)).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(|_| asking(addr, content.clone())).collect();
    let (mut sent, mut longest) = (HashMap::<ConnId, u64>::new(), 0);
    let end = Instant::now() + Duration::from_secs(20);
    while !clients.iter().all(JoinHandle::is_finished) {
        assert!(Instant::now() < end, "{sent:?}");
        io.poll(Duration::from_millis(5)).unwrap();
        for (conn, before) in &mut sent {
            let now = io.conn_stats(*conn).map_or(*before, |stats| stats.bytes_sent);
            longest = longest.max(now - std::mem::replace(before, now));
        }
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => drop(sent.insert(conn, 0)),
                Event::HttpRequest { conn, id, request } => {
                    sender.http_respond(conn, id, file.answer(&request)).unwrap();
                }
                _ => {}
            }
        }
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(longest <= TURN + REQUESTS as u64 * HEAD_MAX, "{longest} bytes in one tick");
    assert!(longest > 2 * FILE_LEN as u64, "{longest} bytes in the longest turn");
}
