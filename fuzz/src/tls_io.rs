//! Target `tls_io`: an `Io` whose TLS listener is sent whatever the input has: bytes as they are,
//! or what a true client says with changes in it, cut anywhere.
//!
//! Held: no panic, whatever comes; no `Connected` without a handshake; payload is a prefix of what
//! the client sealed, however its records were changed; each connection has one end, and then every
//! buffer and descriptor comes home. The keys are random: what is held does not depend on them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use zero_io::sim::{Faults, World};
use zero_io::tls_fuzz::{Machine, ROOM_BEFORE, ROOM_BEHIND, Said};
use zero_io::{Config, ConnId, Event, Io, StreamId, TlsServerConfig, Toggle};

use crate::input::Input;
use crate::tls_record::{NAME, identity};

/// Rounds in which client and server talk.
const ROUNDS_MAX: usize = 200;
/// Rounds in which the world must come to rest.
const REST_ROUNDS_MAX: usize = 60_000;
/// Bytes sealed at once at most.
const SEALED_LEN_MAX: usize = 6_000;
/// Bytes between two changes of what the client says, at most.
const CHANGE_EVERY_MAX: usize = 3_000;
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 443);

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let faults =
        if input.byte() < 128 { Faults::none() } else { Faults::from_seed(input.number()) };
    let world = World::new(input.number(), faults);
    let mut server = Server::new(&world, &mut input);
    let mut peer = Peer::new(&world, input.byte());
    for _ in 0..ROUNDS_MAX {
        peer.say(&mut input);
        peer.tick();
        server.tick(&mut input, &peer);
        check_contract(&world);
        if !world.advance_to_next() {
            world.advance_by(Duration::from_micros(100));
        }
        if input.rest().is_empty() && peer.outbound.is_empty() && peer.is_over {
            break;
        }
    }
    rest(&world, server, peer);
}

fn rest(world: &World, mut server: Server, mut peer: Peer) {
    world.heal();
    let mut nothing = Input::new(&[]);
    server.end();
    let _ = peer.conn.map(|conn| peer.io.close(conn));
    for round in 0.. {
        assert!(round < REST_ROUNDS_MAX, "the world does not come to rest\n{}", world.trace());
        peer.tick();
        server.tick(&mut nothing, &peer);
        check_contract(world);
        let is_closed = (0..2).all(|node| world.open_fds(node) == 0 && world.open_slots(node) == 0);
        if is_closed && server.io.is_idle() && peer.io.is_idle() {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    assert!(server.open.is_empty(), "without a Disconnected: {:?}", server.open);
}

fn check_contract(world: &World) {
    let violations = world.violations();
    assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
}

struct Server {
    io: Io,
    listener: zero_io::EndpointId,
    open: Vec<ConnId>,
    received_len: u64,
}

impl Server {
    fn new(world: &World, input: &mut Input<'_>) -> Self {
        let mut io = Io::in_world(config(input), world).expect("a node");
        let listener = loop {
            // Faults may keep it from listening for a while.
            match io.tls_listen(SocketAddr::from(ADDRESS), configs().1.clone()) {
                Ok(listener) => break listener,
                Err(_) => world.heal(),
            }
        };
        Self { io, listener, open: Vec::new(), received_len: 0 }
    }

    fn tick(&mut self, input: &mut Input<'_>, peer: &Peer) {
        self.io.poll(Duration::ZERO).expect("a tick");
        let (mut events, mut sender) = self.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => {
                    assert!(peer.machine.is_some(), "connected without a handshake");
                    self.open.push(conn);
                    let _ = sender.stream_write(conn, StreamId::ZERO, b"hello");
                }
                Event::StreamFrame { conn, stream, data, .. } => {
                    assert!(self.open.contains(&conn), "before Connected");
                    for byte in data {
                        assert_eq!(*byte, pattern(self.received_len), "at {}", self.received_len);
                        self.received_len += 1;
                    }
                    assert!(self.received_len <= peer.sealed_len, "more than was sealed");
                    let _ = match input.byte() % 4 {
                        0 => sender.forward(conn, stream, data),
                        1 => sender.stream_write(conn, stream, data).map(drop),
                        _ => Ok(()),
                    };
                }
                Event::ReadClosed { conn, .. } => {
                    assert!(self.open.contains(&conn), "before Connected");
                    let _ = sender.close_graceful(conn, Duration::from_secs(1));
                }
                Event::Disconnected { conn, error_code, .. } => {
                    let known = self.open.iter().position(|open| *open == conn);
                    assert!(
                        known.is_some() || error_code != 0,
                        "an orderly end without a beginning"
                    );
                    known.map(|at| self.open.swap_remove(at));
                }
                _ => {}
            }
        }
        self.io.audit();
    }

    fn end(&mut self) {
        self.io.endpoint_close(self.listener).expect("open");
        for conn in &self.open {
            let _ = self.io.close(*conn);
        }
    }
}

/// A plain connection that says what the input has it say.
struct Peer {
    io: Io,
    conn: Option<ConnId>,
    is_connected: bool,
    is_over: bool,
    /// A true client; `None`: raw bytes.
    machine: Option<Machine>,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    sealed_len: u64,
}

impl Peer {
    fn new(world: &World, choice: u8) -> Self {
        let mut io = Io::in_world(Config::default().with(small), world).expect("a node");
        let conn = io.tcp_connect(SocketAddr::from(ADDRESS)).ok();
        let name = ServerName::try_from(NAME).expect("a name");
        let client = &configs().0[usize::from(choice / 4) % 2];
        let machine = (!choice.is_multiple_of(4))
            .then(|| Machine::client(Arc::clone(client), name).expect("a client"));
        Self {
            io,
            is_over: conn.is_none(),
            conn,
            is_connected: false,
            machine,
            inbound: Vec::new(),
            outbound: Vec::new(),
            sealed_len: 0,
        }
    }

    /// What comes next: bytes of the input, or of the machine with one or the other changed.
    fn say(&mut self, input: &mut Input<'_>) {
        let Some(machine) = &mut self.machine else {
            let len = input.size() % CHANGE_EVERY_MAX;
            self.outbound.extend((0..len.min(input.rest().len())).map(|_| input.byte()));
            return;
        };
        let mut said = machine.transmit();
        if machine.is_established() && !input.rest().is_empty() {
            let len = input.size() % SEALED_LEN_MAX;
            let plain: Vec<u8> =
                (self.sealed_len..self.sealed_len + len as u64).map(pattern).collect();
            let mut out = vec![0; ROOM_BEFORE + len + ROOM_BEHIND];
            if let Some(sealed) = machine.seal_into(&plain, &mut out) {
                said.extend_from_slice(&out[..sealed]);
                self.sealed_len += len as u64;
            }
            match input.byte() {
                0..8 => machine.close_notify(),
                8..16 => machine.update_key(),
                _ => {}
            }
        }
        // Half of what is said is left as it is.
        while !said.is_empty() && input.byte() & 1 == 1 {
            let at = input.size() % said.len();
            match input.byte() % 4 {
                0 => said[at] = input.byte(),
                1 => said.insert(at, input.byte()),
                2 => drop(said.remove(at)),
                _ => said.truncate(at),
            }
        }
        self.outbound.extend(said);
    }

    fn tick(&mut self) {
        self.io.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = self.io.next_event() {
            match event {
                Event::Connected { .. } => self.is_connected = true,
                Event::StreamFrame { data, .. } => self.inbound.extend_from_slice(data),
                Event::Disconnected { .. } => (self.is_over, self.conn) = (true, None),
                _ => {}
            }
        }
        self.hear();
        if let Some(conn) = self.conn.filter(|_| self.is_connected) {
            let taken = self.io.stream_write(conn, StreamId::ZERO, &self.outbound).unwrap_or(0);
            self.outbound.drain(..taken);
        }
        self.io.audit();
    }

    fn hear(&mut self) {
        let Some(machine) = &mut self.machine else { return self.inbound.clear() };
        while !self.inbound.is_empty() {
            match machine.open(&mut self.inbound) {
                Said::Data(_, consumed) | Said::Control(consumed) | Said::Established(consumed) => {
                    self.inbound.drain(..consumed);
                }
                Said::Need(_) => return,
                _ => return self.inbound.clear(),
            }
        }
    }
}

/// Clients of either version, and the server.
fn configs() -> &'static ([Arc<ClientConfig>; 2], TlsServerConfig) {
    static CONFIGS: OnceLock<([Arc<ClientConfig>; 2], TlsServerConfig)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let (cert, key) = identity();
        let mut roots = RootCertStore::empty();
        roots.add(cert.clone()).expect("a root");
        let client = |version| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut client = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .expect("a version")
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            client.enable_secret_extraction = true;
            client.resumption = rustls::client::Resumption::disabled();
            Arc::new(client)
        };
        let clients = [client(&rustls::version::TLS13), client(&rustls::version::TLS12)];
        let server = TlsServerConfig::from_der([cert.to_vec()], key.secret_der()).build();
        (clients, server.expect("a server's configuration"))
    })
}

/// Byte `at` of what the client seals.
fn pattern(at: u64) -> u8 {
    ((at ^ at >> 8).wrapping_mul(0x9d) >> 1) as u8
}

fn small(config: &mut Config) {
    config.huge_pages = Toggle::Off;
    config.pool_slot_count = 64;
    config.handle_reserve_count = 4;
    config.stream_buffer_count = 16;
    config.stream_buffer_size = 4_096;
    config.gro_buffer_count = 0;
    config.jumbo_count = 1;
    config.jumbo_size = 65_536;
    config.max_connections = 2;
    config.debug.audit_every_tick = true;
}

/// Small everywhere, so that every bound is met.
fn config(input: &mut Input<'_>) -> Config {
    let mut pick = |choices: &[usize]| choices[usize::from(input.byte()) % choices.len()];
    Config::default().with(|c| {
        small(c);
        c.pool_slot_count = pick(&[16, 64]);
        c.handle_reserve_count = pick(&[0, 4]);
        c.stream_buffer_count = pick(&[8, 32]);
        c.stream_buffer_size = pick(&[2_048, 4_096, 32_768]);
        c.jumbo_count = pick(&[0, 1]);
        c.max_events_per_poll = pick(&[16, 64]);
        c.send_high_water = pick(&[4_096, 20_000]);
        c.held_buffers_max = pick(&[1, 4]);
        c.debug.poison_freed = true;
    })
}
