//! Two ends of a connection in memory: ours, and rustls' buffered ones.

use std::io::{Cursor, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use super::fixture::{Setup, name};
use crate::proto::tls::{Limits, Opened, SealError, TRANSMIT_LEN_MIN, Tls};

/// What [`Tls::open`] said, without the places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Data(Vec<u8>),
    Control,
    Established,
    Closed,
    Fail(u64),
}

/// An end that takes ciphertext and gives it.
pub(super) trait End {
    fn feed(&mut self, bytes: &[u8]);
    fn out(&mut self) -> Vec<u8>;
    fn write(&mut self, plain: &[u8]);
    fn plain(&mut self) -> Vec<u8>;
}

/// Ours.
pub(super) struct Ours {
    pub(super) tls: Box<Tls>,
    pub(super) input: Vec<u8>,
    pub(super) said: Vec<Said>,
    sealed: Vec<u8>,
}

impl Ours {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls: Box::new(tls), input: Vec::new(), said: Vec::new(), sealed: Vec::new() }
    }

    pub(super) fn server(config: Arc<ServerConfig>) -> Self {
        Self::new(Tls::server(config, Limits::default()).unwrap())
    }

    pub(super) fn client(config: Arc<ClientConfig>) -> Self {
        Self::new(Tls::client(config, name(), Limits::default()).unwrap())
    }

    /// The code of a failure, if the last that was said is one.
    pub(super) fn failure(&self) -> Option<u64> {
        match self.said.last() {
            Some(Said::Fail(code)) => Some(*code),
            _ => None,
        }
    }

    pub(super) fn data(&self) -> Vec<u8> {
        let all = self.said.iter();
        all.flat_map(|said| if let Said::Data(data) = said { &data[..] } else { &[] })
            .copied()
            .collect()
    }

    fn step(&mut self) -> bool {
        let before = self.input.clone();
        let opened = self.tls.open(&mut self.input);
        let (consumed, said) = match opened {
            Opened::Need { need } => {
                assert!(need > self.input.len() && need <= 5 + 16_384 + 2048, "{need}");
                assert_eq!(self.input, before, "changed and not consumed");
                return false;
            }
            Opened::Data { consumed, plain } => {
                assert!(plain.end <= consumed);
                (consumed, Said::Data(self.input[plain].to_vec()))
            }
            Opened::Control { consumed } => (consumed, Said::Control),
            Opened::Established { consumed } => {
                assert!(self.tls.is_established());
                (consumed, Said::Established)
            }
            Opened::Closed { consumed } => (consumed, Said::Closed),
            Opened::Fail { error } => {
                self.said.push(Said::Fail(error.code));
                return false;
            }
        };
        assert!(consumed > 0 && consumed <= self.input.len());
        assert_eq!(self.input[consumed..], before[consumed..], "changed and not consumed");
        self.input.drain(..consumed);
        self.said.push(said);
        !self.input.is_empty()
    }
}

impl End for Ours {
    fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.failure().is_none() && !self.input.is_empty() && self.step() {}
    }

    fn out(&mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.sealed);
        let mut room = [0; TRANSMIT_LEN_MIN];
        loop {
            let expected = self.tls.transmit_len().min(room.len());
            let len = self.tls.transmit(&mut room);
            assert_eq!(len, expected, "transmit_len");
            if len == 0 {
                return out;
            }
            out.extend_from_slice(&room[..len]);
        }
    }

    fn write(&mut self, plain: &[u8]) {
        let mut record = vec![0; plain.len() + 64];
        loop {
            match self.tls.seal_into(plain, &mut record) {
                Ok(len) => return self.sealed.extend_from_slice(&record[..len]),
                Err(SealError::TransmitFirst) => self.sealed = self.out(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn plain(&mut self) -> Vec<u8> {
        self.data()
    }
}

/// rustls with its own buffers.
pub(super) struct Theirs {
    pub(super) rustls: Connection,
    pub(super) plain: Vec<u8>,
    pub(super) error: Option<rustls::Error>,
    pub(super) closed: bool,
}

impl Theirs {
    pub(super) fn server(config: Arc<ServerConfig>) -> Self {
        Self::new(ServerConnection::new(config).unwrap())
    }

    pub(super) fn client(config: Arc<ClientConfig>) -> Self {
        Self::new(ClientConnection::new(config, name()).unwrap())
    }

    fn new(rustls: impl Into<Connection>) -> Self {
        Self { rustls: rustls.into(), plain: Vec::new(), error: None, closed: false }
    }
}

impl End for Theirs {
    fn feed(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while (cursor.position() as usize) < bytes.len() && self.error.is_none() {
            if self.rustls.read_tls(&mut cursor).unwrap() == 0 {
                return;
            }
            match self.rustls.process_new_packets() {
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    self.rustls.reader().read_exact(&mut plain).unwrap();
                    self.plain.extend(plain);
                    self.closed |= state.peer_has_closed();
                }
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn out(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.rustls.wants_write() {
            self.rustls.write_tls(&mut out).unwrap();
        }
        out
    }

    fn write(&mut self, plain: &[u8]) {
        self.rustls.writer().write_all(plain).unwrap();
    }

    fn plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }
}

/// Carries bytes both ways until nobody has any; how many rounds it took.
pub(super) fn settle(a: &mut impl End, b: &mut impl End) -> usize {
    for round in 0..100 {
        let (from_a, from_b) = (a.out(), b.out());
        if from_a.is_empty() && from_b.is_empty() {
            return round;
        }
        b.feed(&from_a);
        a.feed(&from_b);
    }
    panic!("the ends do not come to rest");
}

/// Two of ours, established: client and server.
pub(super) fn pair(setup: &Setup) -> (Ours, Ours) {
    pair_with(setup, Limits::default())
}

/// The same, with limits.
pub(super) fn pair_with(setup: &Setup, limits: Limits) -> (Ours, Ours) {
    let client = Tls::client(setup.client(), name(), limits).unwrap();
    let server = Tls::server(setup.server(), limits).unwrap();
    let (mut client, mut server) = (Ours::new(client), Ours::new(server));
    settle(&mut client, &mut server);
    for end in [&mut client, &mut server] {
        assert!(end.tls.is_established(), "{:?}", end.said);
        let times = end.said.iter().filter(|said| **said == Said::Established).count();
        assert_eq!(times, 1, "{:?}", end.said);
        end.said.clear();
    }
    (client, server)
}

/// Data both ways.
pub(super) fn exchange(a: &mut impl End, b: &mut impl End) {
    for len in [1, 0, 100, 16_384, 5000] {
        let data: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        let (before_a, before_b) = (a.plain(), b.plain());
        a.write(&data);
        b.write(&data);
        settle(a, b);
        assert!(b.plain().ends_with(&data) && a.plain().ends_with(&data), "{len} bytes");
        drop((before_a, before_b));
    }
}
