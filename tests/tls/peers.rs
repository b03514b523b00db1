//! Other implementations, as clients and as servers, with TLS 1.2 and 1.3.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use zero_io::{
    ConnId, TlsClientConfig, TlsConnectConfig, TlsListenConfig, TlsVersion, UdsConnectConfig,
    UdsListenConfig, code,
};

use super::certs::World;
use super::common::{STREAM, Seen, Shard, assert_same, pattern};
use super::kit::{VERSIONS, client_conn, close_in_order, echo, listen, wait_alpn};
use super::process::{Program, free_port};

const LEN: usize = 300_000;

/// Text, since some of the programs give a meaning to other bytes.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut out = pattern(seed, len);
    out.iter_mut().for_each(|b| *b = b'a' + *b % 26);
    out.iter_mut().skip(78).step_by(79).for_each(|b| *b = b'\n');
    if let Some(last) = out.last_mut() {
        *last = b'\n';
    }
    out
}

fn version_of(shard: &mut Shard, conn: ConnId) -> TlsVersion {
    shard.io.conn_tls_info(conn).expect("a TLS connection").version
}

const BOTH: [(TlsVersion, &str); 2] = [(TlsVersion::Tls12, "1_2"), (TlsVersion::Tls13, "1_3")];

// ---- programs as clients

#[test]
fn openssl_s_client_is_echoed() {
    let world = World::new();
    for (version, words) in BOTH {
        let mut shard = Shard::new();
        let (endpoint, addr) =
            listen(&mut shard, world.server.server().alpn(["echo"]).build().unwrap());
        let (addr, ca) = (addr.to_string(), world.dir.path("ca.pem"));
        let flag = format!("-tls{words}");
        let args = ["s_client", "-connect", &addr, "-CAfile", &ca, "-verify_return_error", &flag];
        let more = ["-servername", "localhost", "-alpn", "other,echo", "-quiet"];
        let mut program = Program::start("openssl", &[&args[..], &more].concat());
        let data = text(1, LEN);
        let _input = program.feed(data.clone(), false);
        let (conn, alpn) = wait_alpn(&mut shard, Some(endpoint));
        assert_eq!(alpn.as_deref(), Some(&b"echo"[..]));
        assert_same(&echo(&mut shard, conn, LEN), &data);
        let info = shard.io.conn_tls_info(conn).unwrap();
        assert_eq!((info.version, info.server_name.as_deref()), (version, Some("localhost")));
        assert!(!info.resumed && info.peer.is_none(), "{info:?}");
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        let out = program.good_with(&mut shard);
        let start = out.len() - LEN;
        assert_same(&out[start..], &data);
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        shard.finish();
    }
}

#[test]
fn gnutls_cli_is_echoed() {
    let world = World::new();
    for (version, priority) in [
        (TlsVersion::Tls12, "NORMAL:-VERS-ALL:+VERS-TLS1.2"),
        (TlsVersion::Tls13, "NORMAL:-VERS-ALL:+VERS-TLS1.3"),
    ] {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
        let port = addr.port().to_string();
        let ca = format!("--x509cafile={}", world.dir.path("ca.pem"));
        let log = format!("--logfile={}", world.dir.path("gnutls.log"));
        let priority = format!("--priority={priority}");
        let args = ["--port", &port, &ca, &log, &priority, "localhost"];
        let mut program = Program::start("gnutls-cli", &args);
        let data = text(2, LEN);
        let input = program.feed(data.clone(), false);
        let conn = shard.wait_connected(Some(endpoint));
        assert_same(&echo(&mut shard, conn, LEN), &data);
        assert_eq!(version_of(&mut shard, conn), version);
        shard.until("the echo to be read", |_| program.output().len() >= LEN);
        // Its end of input is a goodbye.
        drop(input.join().unwrap());
        shard.wait_read_closed(conn);
        close_in_order(&mut shard, conn);
        assert_same(&program.good_with(&mut shard), &data);
        shard.finish();
    }
}

#[test]
fn curl_gets_an_answer() {
    let world = World::new();
    for (version, words) in [(TlsVersion::Tls12, "1.2"), (TlsVersion::Tls13, "1.3")] {
        let mut shard = Shard::new();
        let tls = world.server.server().alpn(["http/1.0"]).build().unwrap();
        let (endpoint, addr) = listen(&mut shard, tls);
        let url = format!("https://localhost:{}/a", addr.port());
        let ca = world.dir.path("ca.pem");
        let lowest = format!("--tlsv{words}");
        let args = ["-sS", "--http1.0", "--cacert", &ca, &lowest, "--tls-max", words, &url];
        let program = Program::start("curl", &args);
        let (conn, alpn) = wait_alpn(&mut shard, Some(endpoint));
        assert_eq!(alpn.as_deref(), Some(&b"http/1.0"[..]));
        shard.until("the request", |s| s.bytes_of(conn).ends_with(b"\r\n\r\n"));
        assert!(shard.bytes_of(conn).starts_with(b"GET /a HTTP/1.0\r\n"));
        assert_eq!(version_of(&mut shard, conn), version);
        let body = pattern(3, 1_000_000);
        shard.write_all(conn, b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n");
        shard.write_all(conn, &body);
        // No length: the goodbye is what says that the body is whole.
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        assert_same(&program.good_with(&mut shard), &body);
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        shard.finish();
    }
}

#[test]
fn curl_refuses_a_certificate_and_we_are_told_why() {
    let world = World::new();
    let mut shard = Shard::new();
    let (_, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let url = format!("https://localhost:{}/", addr.port());
    let program = Program::start("curl", &["-sS", &url]);
    let (_, code, clean) = super::kit::wait_any_end(&mut shard);
    let (status, out) = program.end_with(&mut shard);
    let out = String::from_utf8_lossy(&out);
    // The exit code for a certificate that it does not believe.
    assert_eq!(status.code(), Some(60), "{out}");
    assert_eq!((code, clean), (code::TLS_ALERT_RECEIVED | super::kit::alert::UNKNOWN_CA, false));
    shard.finish();
}

const PYTHON_CLIENT: &str = "
import socket, ssl, sys
port, ca, version, size = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
context.set_alpn_protocols(['a', 'b'])
s = context.wrap_socket(socket.create_connection(('127.0.0.1', port)), server_hostname='localhost')
assert s.selected_alpn_protocol() == 'b', s.selected_alpn_protocol()
data = bytes(i * 7 % 256 for i in range(size))
s.sendall(data)
got = b''
while len(got) < size:
    piece = s.recv(65536)
    assert piece, 'ended early'
    got += piece
assert got == data
# close_notify both ways: unwrap() fails when the other side just closes.
s.unwrap().close()
print('content')
";

#[test]
fn pythons_client_is_echoed() {
    let world = World::new();
    for (version, name) in [(TlsVersion::Tls12, "TLSv1_2"), (TlsVersion::Tls13, "TLSv1_3")] {
        let mut shard = Shard::new();
        let tls = world.server.server().alpn(["b", "a"]).build().unwrap();
        let (endpoint, addr) = listen(&mut shard, tls);
        let (port, len) = (addr.port().to_string(), LEN.to_string());
        let ca = world.dir.path("ca.pem");
        let program = Program::start("python3", &["-c", PYTHON_CLIENT, &port, &ca, name, &len]);
        let conn = shard.wait_connected(Some(endpoint));
        echo(&mut shard, conn, LEN);
        assert_eq!(version_of(&mut shard, conn), version);
        shard.wait_read_closed(conn);
        close_in_order(&mut shard, conn);
        let out = program.good_with(&mut shard);
        assert_eq!(String::from_utf8_lossy(&out).trim(), "content");
        shard.finish();
    }
}

// ---- programs as servers

fn client_of(world: &World, version: TlsVersion) -> TlsClientConfig {
    world.ca.client().versions(version, version).server_name("localhost").build().unwrap()
}

/// `openssl s_server` on a port of its choice.
pub(crate) fn s_server(world: &World, more: &[&str]) -> (Program, SocketAddr) {
    let (cert, key) = (world.dir.path("server.pem"), world.dir.path("server.key"));
    let args = ["s_server", "-accept", "127.0.0.1:0", "-cert", &cert, "-key", &key];
    let program = Program::start_in(&world.dir.path(""), "openssl", &[&args[..], more].concat());
    let addr = port_of(&program);
    (program, addr)
}

#[test]
fn openssl_s_server_answers() {
    let world = World::new();
    for (version, words) in BOTH {
        let mut shard = Shard::new();
        let flag = format!("-tls{words}");
        let more = ["-rev", "-alpn", "two", &flag];
        let (_program, addr) = s_server(&world, &more);
        let tls = world.ca.client().versions(version, version).server_name("localhost");
        let conn = shard.io.tls_connect(addr, tls.alpn(["one", "two"]).build().unwrap()).unwrap();
        let (connected, alpn) = wait_alpn(&mut shard, None);
        assert_eq!((connected, alpn.as_deref()), (conn, Some(&b"two"[..])));
        // It reverses lines.
        for len in [1, 5000] {
            let mut line = text(len as u64, len);
            line.retain(|b| *b != b'\n');
            let mut wanted: Vec<u8> = line.iter().rev().copied().collect();
            line.push(b'\n');
            wanted.push(b'\n');
            let before = shard.bytes_of(conn).len();
            shard.write_all(conn, &line);
            let all = shard.wait_bytes(conn, before + wanted.len());
            assert_same(&all[before..], &wanted);
        }
        let info = shard.io.conn_tls_info(conn).unwrap();
        assert_eq!(info.version, version);
        let peer = info.peer.expect("a server shows a certificate");
        assert_eq!(peer.certificate(), world.server.cert_der);
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        let (code, _) = shard.wait_end(conn);
        assert_eq!(code, code::NONE);
        shard.finish();
    }
}

#[test]
fn openssl_s_server_sends_a_large_file() {
    let world = World::new();
    let body = pattern(4, 3_000_000);
    world.dir.write("body", &body);
    for (version, words) in BOTH {
        let mut shard = Shard::new();
        let flag = format!("-tls{words}");
        let (_program, addr) = s_server(&world, &["-HTTP", &flag]);
        let conn = shard.io.tls_connect(addr, client_of(&world, version)).unwrap();
        shard.wait_connected(None);
        shard.write_all(conn, b"GET /body HTTP/1.0\r\n\r\n");
        let all = shard.wait_bytes(conn, body.len());
        assert!(all.ends_with(&body) || all == body, "{} bytes came", all.len());
        shard.finish();
    }
}

/// Where `openssl s_server` says that it accepts.
pub(crate) fn port_of(program: &Program) -> SocketAddr {
    program.expect("ACCEPT 127.0.0.1:");
    let port = loop {
        // The line may come in pieces.
        let text = program.text();
        let (_, rest) = text.split_once("ACCEPT 127.0.0.1:").unwrap();
        if let Some((port, _)) = rest.split_once('\n') {
            break port.trim().parse().unwrap();
        }
    };
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn gnutls_serv_echoes() {
    let world = World::new();
    for (version, name) in [(TlsVersion::Tls12, "TLS1.2"), (TlsVersion::Tls13, "TLS1.3")] {
        let mut shard = Shard::new();
        let port = free_port();
        let priority = format!("--priority=NORMAL:-VERS-ALL:+VERS-{name}");
        let cert = format!("--x509certfile={}", world.dir.path("server.pem"));
        let key = format!("--x509keyfile={}", world.dir.path("server.key"));
        let port_text = port.to_string();
        let args = ["--echo", "--port", &port_text, &cert, &key, &priority, "--nodb"];
        let program = Program::start("gnutls-serv", &args);
        // Said once the socket listens.
        program.expect("...done");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let conn = shard.io.tls_connect(addr, client_of(&world, version)).unwrap();
        shard.wait_connected(None);
        assert_eq!(version_of(&mut shard, conn), version);
        let line = b"and here is a line\n";
        shard.write_all(conn, line);
        assert_eq!(shard.wait_bytes(conn, line.len()), line);
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        assert_eq!(shard.wait_end(conn).0, code::NONE);
        shard.finish();
    }
}

const PYTHON_SERVER: &str = "
import socket, ssl, sys
cert, key, version = sys.argv[1:4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
listener = socket.create_server(('127.0.0.1', 0))
print('ACCEPT 127.0.0.1:%d' % listener.getsockname()[1], flush=True)
s = context.wrap_socket(listener.accept()[0], server_side=True)
while piece := s.recv(65536):
    s.sendall(piece)
s.unwrap().close()
print('content', flush=True)
";

#[test]
fn pythons_server_echoes() {
    let world = World::new();
    for (version, name) in [(TlsVersion::Tls12, "TLSv1_2"), (TlsVersion::Tls13, "TLSv1_3")] {
        let mut shard = Shard::new();
        let (cert, key) = (world.dir.path("server.pem"), world.dir.path("server.key"));
        let program = Program::start("python3", &["-c", PYTHON_SERVER, &cert, &key, name]);
        let addr = port_of(&program);
        let conn = shard.io.tls_connect(addr, client_of(&world, version)).unwrap();
        shard.wait_connected(None);
        let data = pattern(6, LEN);
        shard.write_all(conn, &data);
        assert_same(&shard.wait_bytes(conn, LEN), &data);
        close_in_order(&mut shard, conn);
        let out = program.good_with(&mut shard);
        assert!(String::from_utf8_lossy(&out).contains("content"));
        shard.finish();
    }
}

// ---- other sockets

#[test]
fn over_a_unix_socket() {
    let world = World::new();
    let path = world.dir.path("socket");
    let mut shard = Shard::new();
    let tls = world.server.server().build().unwrap();
    let listener = UdsListenConfig::new(&path);
    let endpoint = shard.io.tls_listen_with(TlsListenConfig::uds(listener, tls)).unwrap();
    // A client of ours, which must be told the name.
    let nameless = world.ca.client().build().unwrap();
    let config = TlsConnectConfig::uds(UdsConnectConfig::new(&path), nameless);
    let refused = shard.io.tls_connect_with(config).unwrap_err();
    assert!(matches!(refused, zero_io::IoError::TlsConfig { .. }), "{refused:?}");
    let tls = world.ca.client().server_name("localhost").build().unwrap();
    let config = TlsConnectConfig::uds(UdsConnectConfig::new(&path), tls);
    let conn = shard.io.tls_connect_with(config).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.wait_connected(None), conn);
    let data = pattern(7, 2_000_000);
    let mut sent = 0;
    shard.until("the data to cross", |shard| {
        sent += shard.io.stream_write(conn, STREAM, &data[sent..]).unwrap();
        shard.bytes_of(served).len() == data.len()
    });
    assert_same(&shard.bytes_of(served), &data);
    close_pair(&mut shard, conn, served);
    // And rustls over one.
    let peer = std::thread::spawn(move || {
        let sock = UnixStream::connect(path).unwrap();
        sock.set_read_timeout(Some(super::common::PATIENCE)).unwrap();
        let world = client_conn(&world.ca, VERSIONS[1]);
        let mut stream = rustls::StreamOwned::new(world, sock);
        std::io::Write::write_all(&mut stream, b"hello").unwrap();
        let mut answer = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        stream.conn.send_close_notify();
        std::io::Write::flush(&mut stream).unwrap();
        answer
    });
    let served = shard.wait_connected(Some(endpoint));
    assert_eq!(echo(&mut shard, served, 5), b"hello");
    shard.wait_read_closed(served);
    assert_eq!(&shard.join(peer), b"hello");
    close_in_order(&mut shard, served);
    shard.finish();
}

/// Closes both ends of a pair of one shard, in order.
pub(crate) fn close_pair(shard: &mut Shard, one: ConnId, other: ConnId) {
    shard.io.close_graceful(one, Duration::from_secs(10)).unwrap();
    shard.wait_read_closed(other);
    shard.io.close_graceful(other, Duration::from_secs(10)).unwrap();
    for conn in [one, other] {
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
    }
}

#[test]
fn over_ipv6_with_the_address_as_the_name() {
    let world = World::new();
    let mut shard = Shard::new();
    let at = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let endpoint = shard.io.tls_listen(at, world.server.server().build().unwrap()).unwrap();
    let addr = shard.addr_of(endpoint);
    assert!(addr.is_ipv6());
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.wait_connected(None), conn);
    // An address is not sent as a name (RFC 6066 §3).
    assert_eq!(shard.io.conn_tls_info(served).unwrap().server_name, None);
    shard.write_all(conn, b"over v6");
    assert_eq!(shard.wait_bytes(served, 7), b"over v6");
    close_pair(&mut shard, conn, served);
    shard.finish();
}

#[test]
fn a_host_name_is_resolved_and_is_the_name() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let tls = world.ca.client().build().unwrap();
    let conn = shard.io.tls_connect(("localhost", addr.port()), tls).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.wait_connected(None), conn);
    let info = shard.io.conn_tls_info(served).unwrap();
    assert_eq!(info.server_name.as_deref(), Some("localhost"));
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Disconnected { .. })), 0);
    close_pair(&mut shard, conn, served);
    shard.finish();
}
