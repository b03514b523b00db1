//! quiche as a server and as a client: see the crate `kit`.

mod client;
mod server;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use kit::Role;
use quiche::{Config, Connection, ConnectionId};

/// The longest UDP payload either way.
const PAYLOAD_MAX: usize = 1350;
/// The longest wait for a packet, so that no timer is far behind.
const TICK: Duration = Duration::from_millis(5);

fn main() {
    match kit::role() {
        Role::Server { addr, cert, key, retry } => server::run(addr, &cert, &key, retry),
        Role::Client { addr, ca, cases } => {
            for case in cases {
                client::run(&case, addr, &ca);
                kit::say(case);
            }
        }
    }
}

fn configured(version: u32) -> Config {
    let mut config = Config::new(version).expect("a version");
    config.set_application_protos(&[b"echo"]).expect("ALPN");
    config.set_max_idle_timeout(30_000);
    config.set_max_recv_udp_payload_size(PAYLOAD_MAX);
    config.set_max_send_udp_payload_size(PAYLOAD_MAX);
    config.set_initial_max_data(16 << 20);
    config.set_initial_max_stream_data_bidi_local(1 << 20);
    config.set_initial_max_stream_data_bidi_remote(1 << 20);
    config.set_initial_max_stream_data_uni(1 << 20);
    config.set_initial_max_streams_bidi(100);
    config.set_initial_max_streams_uni(100);
    config.set_active_connection_id_limit(4);
    config.enable_dgram(true, 64, 64);
    config
}

fn random_id() -> ConnectionId<'static> {
    let random = |seed: u8| RandomState::new().hash_one(seed).to_le_bytes();
    ConnectionId::from_vec([random(0), random(1)].concat())
}

/// Has one id to spare, so that the peer can change it. With more on their way at once, quiche
/// fails when the peer retires all that it did not get, and one of them again (`OutOfIdentifiers`).
fn give_ids(conn: &mut Connection) {
    while conn.is_established() && conn.active_scids() < 2 && conn.scids_left() > 0 {
        let token = RandomState::new().hash_one(conn.scids_left());
        conn.new_scid(&random_id(), u128::from(token), false).expect("there is room");
    }
}

fn bound(addr: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(addr).expect("a socket");
    socket.set_read_timeout(Some(TICK)).expect("a time limit");
    socket
}

/// The next packet, unless none comes for a while.
fn receive<'a>(socket: &UdpSocket, buffer: &'a mut [u8]) -> Option<(&'a mut [u8], SocketAddr)> {
    match socket.recv_from(buffer) {
        Ok((len, from)) => Some((&mut buffer[..len], from)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Sends what there is to send, and lets the timers pass.
fn flush(conn: &mut Connection, socket: &UdpSocket) {
    if conn.timeout().is_some_and(|left| left.is_zero()) {
        conn.on_timeout();
    }
    let mut packet = [0; PAYLOAD_MAX];
    while let Ok((len, info)) = conn.send(&mut packet) {
        socket.send_to(&packet[..len], info.to).expect("to be sent");
    }
}
