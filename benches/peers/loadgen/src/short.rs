//! `--proto http --per N`: HTTP connections of N requests each, one at a time. What is counted are requests.
//!
//! One unit is: connect, N times a request and its answer, reset.
use crate::units::{self, Unit};
use crate::{handshake, Opt};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What all have in common.
struct Exchange {
    to: SocketAddr,
    request: Vec<u8>,
    answer_len: usize,
}

struct Short<'a> {
    exchange: &'a Exchange,
    socket: TcpStream,
    /// Bytes of the current answer.
    received: usize,
    /// Answers to come.
    left: u64,
}

impl<'a> Short<'a> {
    fn new(n: u64, exchange: &'a Exchange, left: u64) -> Self {
        let short = Short { exchange, socket: units::connect(n, exchange.to), received: 0, left };
        short.ask();
        short
    }

    fn ask(&self) {
        let len = (&self.socket).write(&self.exchange.request).expect("send");
        assert!(len == self.exchange.request.len(), "send: the socket has room for a request");
    }
}

impl Unit for Short<'_> {
    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn on_readable(&mut self) -> (u64, bool) {
        let mut bytes = [0; 16_384];
        let len = self.socket.read(&mut bytes).expect("recv");
        assert!(len > 0, "the server closed");
        self.received += len;
        if self.received < self.exchange.answer_len {
            return (0, false);
        }
        assert!(self.received == self.exchange.answer_len, "more than an answer");
        self.received = 0;
        self.left -= 1;
        if self.left > 0 {
            self.ask();
        }
        (1, self.left == 0)
    }
}

pub fn run(o: &Opt) {
    let mut first = TcpStream::connect(o.addr).expect("connect");
    let (request, answer_len) = handshake(o, 0, &mut first);
    drop(first);
    let exchange = Exchange { to: o.addr, request, answer_len };
    units::run(o, |n| Short::new(n, &exchange, o.per), |_| {}, |_| String::new());
}
