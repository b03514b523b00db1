//! The server.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use quiche::{
    Config, Connection, ConnectionId, Error, Header, PathEvent, RecvInfo, Shutdown, Type,
};

/// What a token of ours begins with; the client's first id follows.
const TOKEN: &[u8] = b"token of quiche";

pub(crate) fn run(addr: SocketAddr, cert: &Path, key: &Path, retry: bool) {
    let mut config = super::configured(quiche::PROTOCOL_VERSION);
    let (cert, key) = (cert.to_str().expect("a path"), key.to_str().expect("a path"));
    config.load_cert_chain_from_pem_file(cert).expect("--cert");
    config.load_priv_key_from_pem_file(key).expect("--key");
    config.enable_early_data();
    let socket = super::bound(addr);
    let mut server = Server { local: socket.local_addr().expect("an address"), config, retry };
    kit::say(format_args!("listening on {}", server.local));
    let mut clients: Vec<Client> = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if let Some((packet, from)) = super::receive(&socket, &mut buffer) {
            server.on_packet(&mut clients, &socket, packet, from);
        }
        for client in &mut clients {
            client.work();
            super::flush(&mut client.conn, &socket);
        }
        clients.retain(|client| !client.is_over());
    }
}

struct Server {
    local: SocketAddr,
    config: Config,
    retry: bool,
}

impl Server {
    fn on_packet(
        &mut self,
        clients: &mut Vec<Client>,
        socket: &UdpSocket,
        packet: &mut [u8],
        from: SocketAddr,
    ) {
        let Ok(header) = Header::from_slice(packet, 16) else { return };
        if header.ty == Type::Short && !clients.iter().any(|client| client.has(&header.dcid)) {
            return reset(socket, &header.dcid, packet.len(), from);
        }
        let at = match clients.iter().position(|client| client.has(&header.dcid)) {
            Some(at) => at,
            None => {
                let Some(client) = self.accept(socket, &header, from) else { return };
                clients.push(client);
                clients.len() - 1
            }
        };
        // What it cannot use is dropped, or ends the connection.
        let _ = clients[at].conn.recv(packet, RecvInfo { from, to: self.local });
    }

    fn accept(&mut self, socket: &UdpSocket, header: &Header, from: SocketAddr) -> Option<Client> {
        if header.ty != Type::Initial {
            return None;
        }
        let mut out = [0; super::PAYLOAD_MAX];
        let token = header.token.as_deref().unwrap_or_default();
        let first = token.strip_prefix(TOKEN).map(|id| ConnectionId::from_vec(id.to_vec()));
        if self.retry && first.is_none() {
            kit::say("retry");
            let token = [TOKEN, &header.dcid].concat();
            let (id, version) = (super::random_id(), header.version);
            let len = quiche::retry(&header.scid, &header.dcid, &id, &token, version, &mut out);
            let len = len.expect("it fits");
            socket.send_to(&out[..len], from).expect("to be sent");
            return None;
        }
        let id = if first.is_some() { header.dcid.clone() } else { super::random_id() };
        let config = &mut self.config;
        // It has no room for both what a retry takes and a token.
        config.set_stateless_reset_token((!self.retry).then(|| reset_token(&id)));
        let conn = quiche::accept(&id, first.as_ref(), self.local, from, config).expect("a client");
        let first = header.dcid.clone().into_owned();
        Some(Client { conn, first, echoes: HashMap::new(), ways: HashMap::new() })
    }
}

/// The token of stateless resets of the connection with that id: the same in every process, so that
/// one can reset the connections of another. Nobody who can guess it is there.
fn reset_token(id: &ConnectionId<'_>) -> u128 {
    id.iter().fold(7, |token, byte| token << 8 ^ token >> 120 ^ u128::from(*byte))
}

/// RFC 9000 §10.3: looks like a short packet, and is shorter than what it answers. quiche tells
/// clients of the token, but leaves it to the application to send one.
fn reset(socket: &UdpSocket, id: &ConnectionId<'_>, len: usize, to: SocketAddr) {
    const LEN: usize = 40;
    if len > LEN {
        let noise = [super::random_id().to_vec(), super::random_id().to_vec()].concat();
        let mut packet = [&noise[..LEN - 16], &reset_token(id).to_be_bytes()].concat();
        packet[0] = packet[0] & 0x3f | 0x40;
        socket.send_to(&packet, to).expect("to be sent");
    }
}

/// What was received of a stream and not sent on.
#[derive(Default)]
struct Echo {
    data: Vec<u8>,
    fin: bool,
}

struct Client {
    conn: Connection,
    /// The id that it chose for us.
    first: ConnectionId<'static>,
    echoes: HashMap<u64, Echo>,
    /// The streams that answer those of one direction.
    ways: HashMap<u64, u64>,
}

impl Client {
    fn has(&self, id: &ConnectionId<'_>) -> bool {
        self.first == *id || self.conn.source_ids().any(|own| own == id)
    }

    fn is_over(&self) -> bool {
        if self.conn.is_closed() {
            let error = self.conn.peer_error();
            let code = error.map_or(0, |error| error.error_code);
            let reason = error.map(|error| String::from_utf8_lossy(&error.reason));
            kit::say(format_args!("closed: {code} {}", reason.unwrap_or_default()));
        }
        self.conn.is_closed()
    }

    fn work(&mut self) {
        super::give_ids(&mut self.conn);
        while let Some(event) = self.conn.path_event_next() {
            if let PathEvent::PeerMigrated(_, to) = event {
                kit::say(format_args!("migrated to {to}"));
            }
        }
        let mut buffer = [0; 1 << 16];
        while let Ok(len) = self.conn.dgram_recv(&mut buffer) {
            self.conn.dgram_send(&buffer[..len]).expect("it fits");
        }
        for stream in self.conn.readable().collect::<Vec<_>>() {
            self.read(stream, &mut buffer);
        }
        let conn = &mut self.conn;
        self.echoes.retain(|stream, echo| {
            loop {
                match conn.stream_send(*stream, &echo.data, echo.fin) {
                    Ok(sent) => {
                        echo.data.drain(..sent);
                        if echo.data.is_empty() {
                            break !echo.fin;
                        }
                    }
                    Err(Error::Done) => break true,
                    Err(_) => break false,
                }
            }
        });
    }

    fn read(&mut self, stream: u64, buffer: &mut [u8]) {
        let answer = if stream % 4 == 2 {
            let next = self.ways.len() as u64 * 4 + 3;
            *self.ways.entry(stream).or_insert(next)
        } else {
            stream
        };
        loop {
            match self.conn.stream_recv(stream, buffer) {
                Ok((len, fin)) => {
                    let first = !self.echoes.contains_key(&answer);
                    match &buffer[..len] {
                        kit::RESET if first => {
                            return self.shut(stream, Shutdown::Write, kit::RESET_CODE);
                        }
                        kit::STOP if first => {
                            self.shut(stream, Shutdown::Read, kit::STOP_CODE);
                            self.echoes.insert(stream, Echo { data: Vec::new(), fin: true });
                            return;
                        }
                        kit::CLOSE if first => {
                            let (code, reason) = (kit::CLOSE_CODE.into(), kit::CLOSE_REASON);
                            return self.conn.close(true, code, reason).expect("once");
                        }
                        data => {
                            let echo = self.echoes.entry(answer).or_default();
                            echo.data.extend_from_slice(data);
                            echo.fin |= fin;
                        }
                    }
                }
                Err(Error::StreamReset(code)) => {
                    self.echoes.remove(&answer);
                    let _ = self.conn.stream_shutdown(answer, Shutdown::Write, code);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn shut(&mut self, stream: u64, side: Shutdown, code: u32) {
        self.conn.stream_shutdown(stream, side, code.into()).expect("a stream");
    }
}
