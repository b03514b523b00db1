//! What the tests of TLS share: listeners, echoes, and rustls over blocking sockets as a peer that
//! does as it is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use zero_io::{ConnId, EndpointId, TcpListenConfig, TlsListenConfig, TlsServerConfig};

use super::certs::{Authority, Issued, Version};
use super::common::{STREAM, Seen, Shard, dial, localhost};

pub(crate) const VERSIONS: [Version; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Of the alerts that the tests meet (RFC 8446 §6).
pub(crate) mod alert {
    pub(crate) const UNEXPECTED_MESSAGE: u64 = 10;
    pub(crate) const BAD_RECORD_MAC: u64 = 20;
    pub(crate) const RECORD_OVERFLOW: u64 = 22;
    pub(crate) const HANDSHAKE_FAILURE: u64 = 40;
    pub(crate) const BAD_CERTIFICATE: u64 = 42;
    pub(crate) const CERTIFICATE_EXPIRED: u64 = 45;
    pub(crate) const UNKNOWN_CA: u64 = 48;
    pub(crate) const ACCESS_DENIED: u64 = 49;
    pub(crate) const DECODE_ERROR: u64 = 50;
    pub(crate) const PROTOCOL_VERSION: u64 = 70;
    pub(crate) const CERTIFICATE_REQUIRED: u64 = 116;
    pub(crate) const NO_APPLICATION_PROTOCOL: u64 = 120;
}

pub(crate) fn listen(shard: &mut Shard, tls: TlsServerConfig) -> (EndpointId, SocketAddr) {
    listen_with(shard, tls, |_| ())
}

pub(crate) fn listen_with(
    shard: &mut Shard,
    tls: TlsServerConfig,
    change: impl FnOnce(&mut TcpListenConfig),
) -> (EndpointId, SocketAddr) {
    let socket = TcpListenConfig::new(localhost()).with(change);
    let endpoint = shard.io.tls_listen_with(TlsListenConfig::tcp(socket, tls)).unwrap();
    (endpoint, shard.addr_of(endpoint))
}

/// Writes back what comes on a connection until `len` bytes were; what they are.
#[track_caller]
pub(crate) fn echo(shard: &mut Shard, conn: ConnId, len: usize) -> Vec<u8> {
    let (mut at, mut all, mut done) = (0, Vec::new(), 0);
    shard.until("the echo to be complete", |shard| {
        for seen in &shard.seen[at..] {
            if let Seen::Frame { conn: c, data, .. } = seen
                && *c == conn
            {
                all.extend_from_slice(data);
            }
        }
        at = shard.seen.len();
        done += shard.io.stream_write(conn, STREAM, &all[done..]).expect("write");
        done >= len
    });
    all
}

/// Waits for `Connected` of that listener: the connection, and its protocol of ALPN.
#[track_caller]
pub(crate) fn wait_alpn(shard: &mut Shard, of: Option<EndpointId>) -> (ConnId, Option<Vec<u8>>) {
    shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint, alpn, .. } if *endpoint == of => {
            Some((*conn, alpn.clone()))
        }
        _ => None,
    })
}

#[track_caller]
pub(crate) fn wait_secured(shard: &mut Shard, conn: ConnId) -> Option<Vec<u8>> {
    shard.wait("Secured", |seen| match seen {
        Seen::Secured { conn: c, alpn } if *c == conn => Some(alpn.clone()),
        _ => None,
    })
}

/// Waits for the end of a connection that never was announced: of one that was accepted nobody
/// knows the id before.
#[track_caller]
pub(crate) fn wait_any_end(shard: &mut Shard) -> (ConnId, u64, bool) {
    shard.wait("Disconnected", |seen| match seen {
        Seen::Disconnected { conn, code, clean, .. } => Some((*conn, *code, *clean)),
        _ => None,
    })
}

/// Closes in order, and is told so.
#[track_caller]
pub(crate) fn close_in_order(shard: &mut Shard, conn: ConnId) {
    shard.io.close_graceful(conn, Duration::from_secs(10)).expect("close");
    assert_eq!(shard.wait_end(conn), (zero_io::code::NONE, true));
}

/// The peer says goodbye, and so do we; what its thread found out.
#[track_caller]
pub(crate) fn part<T>(shard: &mut Shard, conn: ConnId, thread: JoinHandle<T>) -> T {
    shard.wait_read_closed(conn);
    close_in_order(shard, conn);
    shard.join(thread)
}

// ---- rustls as a peer

pub(crate) fn server_config(issued: &Issued, version: Version) -> ServerConfig {
    let key = PrivateKeyDer::try_from(issued.key_der.clone()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(issued.cert_der.clone())], key)
        .unwrap()
}

pub(crate) fn client_conn(ca: &Authority, version: Version) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(ca.rustls_client(&[version])), name).unwrap()
}

/// rustls over a blocking socket.
pub(crate) struct Peer<C> {
    pub(crate) tls: C,
    pub(crate) sock: TcpStream,
}

pub(crate) type ClientPeer = Peer<ClientConnection>;
pub(crate) type ServerPeer = Peer<ServerConnection>;

impl ClientPeer {
    pub(crate) fn dial(ca: &Authority, version: Version, addr: SocketAddr) -> Self {
        Self { tls: client_conn(ca, version), sock: dial(addr) }
    }
}

impl ServerPeer {
    pub(crate) fn serve(config: &Arc<ServerConfig>, sock: TcpStream) -> Self {
        let tls = ServerConnection::new(Arc::clone(config)).unwrap();
        Self { tls, sock: super::common::patient(sock) }
    }
}

impl<C, S> Peer<C>
where
    C: std::ops::DerefMut<Target = rustls::ConnectionCommon<S>>,
    S: rustls::SideData,
{
    fn stream(&mut self) -> rustls::Stream<'_, C, TcpStream> {
        rustls::Stream::new(&mut self.tls, &mut self.sock)
    }

    pub(crate) fn shake(&mut self) {
        while self.tls.is_handshaking() {
            self.tls.complete_io(&mut self.sock).expect("the handshake");
        }
    }

    pub(crate) fn write(&mut self, data: &[u8]) {
        self.stream().write_all(data).expect("write");
        self.stream().flush().expect("flush");
    }

    pub(crate) fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.stream().read_exact(&mut out).expect("read");
        out
    }

    /// To close_notify; without one it is an error, which is given.
    pub(crate) fn read_to_end(&mut self) -> (Vec<u8>, Option<ErrorKind>) {
        let mut out = Vec::new();
        let end = self.stream().read_to_end(&mut out).err().map(|e| e.kind());
        (out, end)
    }

    pub(crate) fn close_notify(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.sock).expect("write");
        }
    }
}
