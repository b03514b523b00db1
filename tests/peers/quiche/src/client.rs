//! The client.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Instant;

use quiche::{Connection, Error, RecvInfo, Shutdown};

/// A version for no other use than this: RFC 9000 §15.
const RESERVED_VERSION: u32 = 0x1a2a_3a4a;

/// `ssl_early_data_accepted` of BoringSSL.
const ACCEPTED: u32 = 2;

pub(crate) fn run(case: &str, addr: SocketAddr, ca: &Path) {
    let version = match case {
        "versionnegotiation" => RESERVED_VERSION,
        _ => quiche::PROTOCOL_VERSION,
    };
    let mut client = Client::new(addr, version, ca);
    if matches!(case, "resumption" | "zerortt") {
        client = client.again(addr, ca);
    }
    if case == "zerortt" {
        let (conn, socket) = (&mut client.conn, &client.socket);
        super::flush(conn, socket);
        assert!(conn.is_in_early_data(), "the ticket allows early data");
        conn.stream_send(0, b"early", true).expect("before the handshake");
    }
    client.until("a handshake", |conn| conn.is_established());
    match case {
        // Of another version it would not have come to an end.
        "handshake" | "versionnegotiation" => client.echo(0, b"hello"),
        "resumption" => {
            assert!(client.conn.is_resumed());
            client.echo(0, b"again");
        }
        "zerortt" => {
            kit::assert_same(&client.read_to_end(0), b"early");
            let reason = client.conn.early_data_reason();
            assert!(client.conn.is_resumed() && reason == ACCEPTED, "early data: {reason}");
        }
        "transfer" => {
            for (i, size) in kit::SIZES.into_iter().enumerate() {
                client.echo(i as u64 * 4, &kit::pattern(size));
            }
        }
        "multiplexing" => client.multiplexing(),
        "unidirectional" => {
            client.conn.stream_send(2, b"one way", true).expect("a stream");
            let came = client.read_to_end(3);
            kit::assert_same(&came, b"one way");
        }
        "datagram" => {
            client.conn.dgram_send(b"a datagram").expect("one that fits");
            let mut came = [0; 100];
            let mut len = None;
            client.until("an answer", |conn| {
                len = conn.dgram_recv(&mut came).ok();
                len.is_some()
            });
            kit::assert_same(&came[..len.unwrap_or(0)], b"a datagram");
        }
        "connectionid" => {
            client.until("other ids", |conn| conn.available_dcids() > 0);
            client.conn.retire_dcid(0).expect("there are others");
            client.echo(0, b"under another name");
        }
        "rebind-port" | "rebind-addr" => {
            client.echo(0, b"from here");
            // As a translator of addresses on the way would: it knows nothing of that itself.
            let local = if case == "rebind-port" { "127.0.0.1:0" } else { "127.0.0.2:0" };
            client.socket = super::bound(local.parse().expect("an address"));
            client.echo(4, b"and from there");
        }
        "connectionmigration" => client.migrate(addr),
        "reset" => client.reset(),
        "statelessreset" => client.stateless_reset(),
        "close" => {
            client.echo(0, b"hello");
            client.conn.close(true, kit::LEAVE_CODE.into(), kit::LEAVE_REASON).expect("once");
        }
        _ => panic!("no case {case}"),
    }
    let _ = client.conn.close(true, 0, b"");
    super::flush(&mut client.conn, &client.socket);
}

struct Client {
    conn: Connection,
    socket: UdpSocket,
    /// What the connection takes for its address.
    local: SocketAddr,
    end: Instant,
}

impl Client {
    fn new(addr: SocketAddr, version: u32, ca: &Path) -> Self {
        let mut config = super::configured(version);
        config.load_verify_locations_from_file(ca.to_str().expect("a path")).expect("--ca");
        config.verify_peer(true);
        config.enable_early_data();
        let socket = super::bound(([127, 0, 0, 1], 0).into());
        let local = socket.local_addr().expect("an address");
        let id = super::random_id();
        let conn = quiche::connect(Some("localhost"), &id, local, addr, &mut config);
        let end = Instant::now() + kit::PATIENCE;
        Self { conn: conn.expect("a connection"), socket, local, end }
    }

    /// Waits for a ticket, ends, and connects with it.
    fn again(mut self, addr: SocketAddr, ca: &Path) -> Self {
        self.until("a ticket", |conn| conn.session().is_some());
        let ticket = self.conn.session().map(<[u8]>::to_vec).unwrap_or_default();
        self.conn.close(true, 0, b"").expect("once");
        super::flush(&mut self.conn, &self.socket);
        let mut again = Self::new(addr, quiche::PROTOCOL_VERSION, ca);
        again.conn.set_session(&ticket).expect("a ticket");
        again
    }

    /// Sends and receives until that is so.
    fn until(&mut self, what: &str, mut is_done: impl FnMut(&mut Connection) -> bool) {
        let mut buffer = vec![0; 1 << 16];
        while !is_done(&mut self.conn) {
            let error = self.conn.peer_error().or(self.conn.local_error());
            assert!(!self.conn.is_closed(), "closed before {what}: {error:?}");
            assert!(Instant::now() < self.end, "in vain: {what}");
            super::give_ids(&mut self.conn);
            super::flush(&mut self.conn, &self.socket);
            if let Some((packet, from)) = super::receive(&self.socket, &mut buffer) {
                // What it cannot use is dropped, or ends the connection.
                let _ = self.conn.recv(packet, RecvInfo { from, to: self.local });
            }
        }
    }

    fn echo(&mut self, stream: u64, data: &[u8]) {
        let (mut sent, mut came, mut buffer, mut ended) = (0, Vec::new(), [0; 1 << 16], false);
        let mut is_finished = false;
        self.until("an echo", |conn| {
            if !is_finished {
                sent += conn.stream_send(stream, &data[sent..], true).unwrap_or(0);
                is_finished = sent == data.len();
            }
            while let Ok((len, fin)) = conn.stream_recv(stream, &mut buffer) {
                came.extend_from_slice(&buffer[..len]);
                ended |= fin;
            }
            ended
        });
        kit::assert_same(&came, data);
    }

    fn read_to_end(&mut self, stream: u64) -> Vec<u8> {
        let (mut came, mut buffer, mut ended) = (Vec::new(), [0; 1 << 16], false);
        self.until("an end", |conn| {
            while let Ok((len, fin)) = conn.stream_recv(stream, &mut buffer) {
                came.extend_from_slice(&buffer[..len]);
                ended |= fin;
            }
            ended
        });
        came
    }

    /// As many at once as the server allows.
    fn multiplexing(&mut self) {
        let body = |i: usize| i.to_string().repeat(100);
        let (mut at, mut sent, mut closed, mut buffer) = (0, 0, 0, [0; 1 << 16]);
        let mut came = vec![Vec::new(); kit::STREAMS];
        self.until("all echoes", |conn| {
            while at < kit::STREAMS && (sent > 0 || conn.peer_streams_left_bidi() > 0) {
                let data = body(at);
                let taken = conn.stream_send(at as u64 * 4, &data.as_bytes()[sent..], true);
                sent += taken.unwrap_or(0);
                if sent < data.len() {
                    break; // the congestion window is full
                }
                (at, sent) = (at + 1, 0);
            }
            for stream in conn.readable().collect::<Vec<_>>() {
                while let Ok((len, fin)) = conn.stream_recv(stream, &mut buffer) {
                    came[stream as usize / 4].extend_from_slice(&buffer[..len]);
                    closed += usize::from(fin);
                }
            }
            closed == kit::STREAMS
        });
        for (i, came) in came.iter().enumerate() {
            kit::assert_same(came, body(i).as_bytes());
        }
    }

    /// It moves on purpose, to another address: RFC 9000 §9.
    fn migrate(&mut self, addr: SocketAddr) {
        self.echo(0, b"from here");
        // One of ours for the other path, too, besides the one that the server has changed to.
        self.until("other ids", |conn| {
            conn.available_dcids() > 0 && conn.retired_scids() > 0 && conn.active_scids() > 1
        });
        self.socket = super::bound(([127, 0, 0, 2], 0).into());
        self.local = self.socket.local_addr().expect("an address");
        self.conn.probe_path(self.local, addr).expect("ids for the other path");
        self.conn.migrate_source(self.local).expect("a path");
        self.echo(4, b"and from there");
        let local = self.local;
        self.until("answers to its probes", |conn| conn.is_path_validated(local, addr) == Ok(true));
    }

    /// What is given up comes back given up, with the code; what is not wanted is not sent.
    fn reset(&mut self) {
        let mut buffer = [0; 100];
        for stream in [0, 4] {
            self.conn.stream_send(stream, b"a part", false).expect("a stream");
            self.until("its echo", |conn| conn.stream_recv(stream, &mut buffer).is_ok());
            kit::assert_same(&buffer[..6], b"a part");
        }
        self.conn.stream_shutdown(0, Shutdown::Write, kit::RESET_CODE.into()).expect("a stream");
        let mut end = None;
        self.until("its end", |conn| {
            end = conn.stream_recv(0, &mut buffer).err().filter(|error| *error != Error::Done);
            end.is_some()
        });
        assert_eq!(end, Some(Error::StreamReset(kit::RESET_CODE.into())));
        self.conn.stream_shutdown(4, Shutdown::Read, kit::STOP_CODE.into()).expect("a stream");
        self.until("the server to want no more", |conn| {
            end = conn.stream_send(4, b"more", false).err().filter(|error| *error != Error::Done);
            end.is_some()
        });
        assert_eq!(end, Some(Error::StreamStopped(kit::STOP_CODE.into())));
    }

    /// Sends until the server says that it knows nothing of the connection.
    fn stateless_reset(&mut self) {
        self.echo(0, b"hello");
        kit::say("connected");
        let mut last = Instant::now();
        self.until("a reset", |conn| {
            if last.elapsed().as_millis() > 50 {
                last = Instant::now();
                let _ = conn.send_ack_eliciting();
            }
            conn.is_draining() || conn.is_closed()
        });
        assert!(self.conn.peer_error().is_none() && !self.conn.is_timed_out());
    }
}
