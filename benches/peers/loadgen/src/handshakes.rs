//! `--proto tls-hs`: TLS handshakes per second.
//!
//! One unit is: connect, handshake, one byte there and back, reset. The byte makes the server finish the handshake, its
//! tickets included, before the connection goes.
use crate::units::{self, Unit};
use crate::{tls, Opt};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

struct Shake {
    socket: TcpStream,
    tls: ClientConnection,
    is_asked: bool,
}

impl Shake {
    fn new(n: u64, to: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let socket = units::connect(n, to);
        socket.set_nonblocking(true).expect("nonblocking");
        let mut shake = Shake { socket, tls: tls::connection(config), is_asked: false };
        shake.flush();
        shake
    }

    fn flush(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).expect("send: the socket has room for a flight");
        }
    }
}

impl Unit for Shake {
    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// It is over when the byte is back.
    fn on_readable(&mut self) -> (u64, bool) {
        match self.tls.read_tls(&mut self.socket) {
            Ok(0) => panic!("the server closed"),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return (0, false),
            Err(e) => panic!("recv: {e}"),
        }
        self.tls.process_new_packets().expect("a good handshake");
        if !self.tls.is_handshaking() && !self.is_asked {
            self.tls.writer().write_all(b"x").expect("room");
            self.is_asked = true;
        }
        self.flush();
        let mut back = [0; 1];
        let is_back = self.is_asked && matches!(self.tls.reader().read(&mut back), Ok(1));
        (u64::from(is_back), is_back)
    }
}

pub fn run(o: &Opt) {
    let config = tls::config(o.resume);
    let resumed = std::cell::Cell::new(0u64);
    units::run(
        o,
        |n| Shake::new(n, o.addr, &config),
        |shake| {
            let is_resumed = shake.tls.handshake_kind() == Some(HandshakeKind::Resumed);
            resumed.set(resumed.get() + u64::from(is_resumed));
        },
        |n_total| {
            let resumed = resumed.get();
            // The first ones have no ticket yet.
            let expected = n_total.saturating_sub(2 * o.conns as u64);
            assert!(
                if o.resume { resumed >= expected } else { resumed == 0 },
                "{resumed} of {n_total} were resumed"
            );
            format!("\"resumed\":{resumed},")
        },
    );
}
