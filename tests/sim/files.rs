//! Answers out of files in worlds with faults: whatever goes wrong, a client gets the bytes that it
//! was promised in order, or the end of its connection.

use std::collections::BTreeMap;
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    Config, ConnId, Event, HttpFile, HttpListenConfig, Io, StreamId, TcpConnectConfig,
    TcpListenConfig, ZeroResponse,
};

use crate::chance::Chance;
use crate::secure::{self, Secure};

const SEEDS: u64 = 60;
const ROUNDS: usize = 400;
const ROUNDS_MAX: usize = 60_000;
const CLIENTS: usize = 6;
const TEXT: &[u8] = b"between two files";
/// Of each file in turn; what is short is read, not sent.
const LENS: [usize; 4] = [150_000, 900, 40_000, 1];

fn content(which: usize) -> Vec<u8> {
    (0..LENS[which]).map(|i| (i * 31 + i / 251 + which) as u8).collect()
}

fn config(chance: &mut Chance) -> Config {
    Config::default().with(|c| {
        c.pool_slot_count = 64;
        c.handle_reserve_count = 4;
        c.stream_buffer_count = 32;
        c.max_connections = 32;
        c.send_high_water = chance.pick(&[32, 64, 256]) * 1024;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}

/// What a client asked for and got.
#[derive(Default)]
struct Asked {
    bodies: Vec<Vec<u8>>,
    got: Vec<u8>,
    is_over: bool,
}

impl Asked {
    /// Bodies that came whole. Panics on a byte that is not the right one.
    fn whole(&self) -> usize {
        let (mut rest, mut whole) = (&self.got[..], 0);
        for body in &self.bodies {
            let Some(head_len) = rest.windows(4).position(|w| w == b"\r\n\r\n") else { break };
            let head = String::from_utf8_lossy(&rest[..head_len]);
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            rest = &rest[head_len + 4..];
            let len = rest.len().min(body.len());
            assert!(rest[..len] == body[..len], "other bytes than those of the file");
            rest = &rest[len..];
            whole += usize::from(len == body.len());
        }
        assert!(rest.is_empty() || whole < self.bodies.len(), "more than was asked for");
        whole
    }
}

fn serve(io: &mut Io, files: &[HttpFile]) {
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        if let Event::HttpRequest { conn, id, request } = event {
            let answer = match request.path()[1..].parse::<usize>() {
                Ok(which) => files[which].answer(&request),
                Err(_) => ZeroResponse::ok().bytes(TEXT),
            };
            if sender.http_respond(conn, id, answer).is_err() {
                // No buffer is left for its head: the client sees the end, and asks elsewhere.
                let _ = sender.close(conn);
            }
        }
    }
}

fn ask(io: &mut Io, conn: ConnId, asked: &mut Asked, chance: &mut Chance) {
    let mut request = String::new();
    for _ in 0..1 + chance.below(4) {
        let which = chance.below(LENS.len() + 1);
        let is_file = which < LENS.len();
        let name = if is_file { which.to_string() } else { "text".to_string() };
        request += &format!("GET /{name} HTTP/1.1\r\nHost: t\r\n\r\n");
        asked.bodies.push(if is_file { content(which) } else { TEXT.to_vec() });
    }
    let n = io.stream_write(conn, StreamId::ZERO, request.as_bytes()).unwrap_or(0);
    if n < request.len() {
        let _ = io.close(conn);
    }
}

fn drain(io: &mut Io, clients: &mut BTreeMap<ConnId, Asked>, chance: &mut Chance) {
    let mut connected = Vec::new();
    while let Some(event) = io.next_event() {
        match event {
            Event::Connected { conn, .. } => connected.push(conn),
            Event::StreamFrame { conn, data, .. } => {
                clients.get_mut(&conn).expect("asked for").got.extend_from_slice(data);
            }
            Event::Disconnected { conn, .. } => {
                clients.get_mut(&conn).expect("asked for").is_over = true;
            }
            _ => {}
        }
    }
    for conn in connected {
        ask(io, conn, clients.get_mut(&conn).expect("asked for"), chance);
    }
}

fn run(seed: u64, files: &[HttpFile], is_secure: bool) -> usize {
    let faults = if seed.is_multiple_of(4) { Faults::none() } else { Faults::from_seed(seed) };
    let world = World::new(seed, faults);
    let mut chance = Chance::new(seed);
    let mut server = Io::in_world(config(&mut chance), &world).expect("a node");
    let mut client = Io::in_world(config(&mut chance), &world).expect("a node");
    let secure = is_secure.then(|| Secure::new(&mut chance));
    let addr = "127.0.0.1:80".parse().expect("an address");
    let listen = || HttpListenConfig::new(TcpListenConfig::new(addr));
    while match &secure {
        None => server.http_listen_with(listen()),
        Some(secure) => secure.http_listen(&mut server.split().1, listen()),
    }
    .is_err()
    {}
    let mut clients: BTreeMap<ConnId, Asked> = BTreeMap::new();
    let mut is_settled = false;
    for round in 0..ROUNDS_MAX {
        if round < ROUNDS && clients.len() < CLIENTS && chance.once_in(20) {
            let to = TcpConnectConfig::new(addr);
            let conn = match &secure {
                None => client.tcp_connect_with(to).ok(),
                Some(secure) => secure.connect(&mut client.split().1, to).ok(),
            };
            clients.extend(conn.map(|conn| (conn, Asked::default())));
        }
        if round == ROUNDS {
            world.heal();
        }
        for (conn, asked) in &mut clients {
            let is_answered = !asked.is_over && asked.whole() == asked.bodies.len();
            let gives_up = round < ROUNDS && chance.once_in(2000);
            if gives_up || (round > ROUNDS && is_answered) {
                let _ = client.close(*conn);
            }
        }
        server.poll(Duration::from_secs(1)).expect("a tick");
        serve(&mut server, files);
        client.poll(Duration::from_secs(1)).expect("a tick");
        drain(&mut client, &mut clients, &mut chance);
        assert_eq!(world.violations(), [""; 0], "the contract\n{}", world.trace());
        is_settled = round > ROUNDS
            && clients.values().all(|asked| asked.is_over)
            && client.is_idle()
            && world.open_fds(1) == 0
            && world.open_fds(0) == 1;
        if is_settled {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    assert!(is_settled, "it does not come to rest\n{}", world.describe_files());
    clients.values().map(Asked::whole).sum()
}

#[test]
fn files_come_whole_or_the_connection_ends() {
    run_all("plain", false);
}

#[test]
fn files_come_whole_over_tls_or_the_connection_ends() {
    if secure::ON {
        run_all("tls", true);
    }
}

fn run_all(name: &str, is_secure: bool) {
    let files: Vec<(std::path::PathBuf, HttpFile)> = (0..LENS.len())
        .map(|which| {
            let file_name = format!("zero-io-sim-{}-{name}-{which}", std::process::id());
            let path = std::env::temp_dir().join(file_name);
            std::fs::write(&path, content(which)).expect("a file");
            let file = HttpFile::open(&path).expect("the same");
            (path, file)
        })
        .collect();
    let opened: Vec<HttpFile> = files.iter().map(|(_, file)| file.clone()).collect();
    for (path, _) in &files {
        std::fs::remove_file(path).expect("it is there");
    }
    let mut whole = 0;
    for seed in 0..SEEDS {
        let run = std::panic::AssertUnwindSafe(|| run(seed, &opened, is_secure));
        whole += std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
    }
    eprintln!("{whole} answers came whole");
    assert!(whole > SEEDS as usize * 4, "the workload does too little: {whole}");
}
