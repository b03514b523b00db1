//! Answers out of files, to rustls over blocking sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zero_io::{HttpFile, ReferencePool, TlsServerConfig, code};

use crate::files::{Temporary, serving};
use crate::kit::{Report, Server, get, pattern};

type Client = StreamOwned<ClientConnection, TcpStream>;

struct Secure {
    server: Server,
    client: Arc<ClientConfig>,
}

impl Secure {
    fn start(file: HttpFile) -> Self {
        let names = vec!["localhost".to_string()];
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        let tls =
            TlsServerConfig::from_pem_bytes(issued.cert.pem(), issued.signing_key.serialize_pem());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(issued.cert.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = tls.build().unwrap();
        let server = Server::secure(tls, serving(file));
        Self { server, client: Arc::new(client) }
    }

    fn dial(&self) -> Client {
        let sock = TcpStream::connect(self.server.addr).unwrap();
        sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
        StreamOwned::new(tls, sock)
    }

    fn stop(self) -> Report {
        self.server.stop()
    }
}

/// The body of an answer of that length, and what its head says.
fn body(client: &mut Client, len: usize) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let text = String::from_utf8(head).unwrap();
    assert!(text.contains(&format!("Content-Length: {len}\r\n")), "{text}");
    let mut body = vec![0; len];
    client.read_exact(&mut body).unwrap();
    body
}

#[test]
fn files_are_sealed_record_by_record() {
    for len in [0, 1, 4096, 4097, 16_384, 16_385, 3_000_000] {
        let content = pattern(len);
        let made = Temporary::new(&format!("tls-{len}"), &content);
        let secure = Secure::start(made.open());
        let mut client = secure.dial();
        for _ in 0..2 {
            client.write_all([get("/"), get("/text"), get("/")].concat().as_bytes()).unwrap();
            assert!(body(&mut client, len) == content, "{len}");
            assert_eq!(body(&mut client, 10), b"in between");
            assert!(body(&mut client, len) == content, "{len}");
        }
        let range = "GET / HTTP/1.1\r\nHost: t\r\nRange: bytes=-5000\r\nConnection: close\r\n\r\n";
        client.write_all(range.as_bytes()).unwrap();
        if len > 0 {
            assert!(body(&mut client, len.min(5000)) == content[len.saturating_sub(5000)..]);
            // Its goodbye, in order.
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
        drop(client);
        assert_eq!(secure.stop().ends.len(), 1);
    }
}

#[test]
fn a_slow_reader_of_a_large_file_holds_few_buffers() {
    const LEN: usize = 64 << 20;
    let made = Temporary::sparse("tls-slow", LEN as u64);
    let secure = Secure::start(made.open());
    let mut client = secure.dial();
    client.write_all(get("/").as_bytes()).unwrap();
    client.flush().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(body(&mut client, LEN).iter().all(|byte| *byte == 0));
    drop(client);
    let report = secure.stop();
    // What is sealed and not sent is bounded, however much of the file is left.
    let peak = report.pools.of(ReferencePool::FillRing).peak;
    assert!(peak <= 100, "{peak} stream buffers at once");
}

#[test]
fn a_file_that_shrinks_cuts_its_answer() {
    let made = Temporary::new("tls-shrinks", &pattern(20_000_000));
    let secure = Secure::start(made.open());
    let mut client = secure.dial();
    client.write_all(get("/").as_bytes()).unwrap();
    let mut buffer = vec![0; 100_000];
    client.read_exact(&mut buffer).unwrap();
    made.file().set_len(1_000_000).unwrap();
    let mut rest = Vec::new();
    assert!(client.read_to_end(&mut rest).is_err(), "no goodbye");
    assert!(rest.len() < 19_000_000);
    assert_eq!(secure.stop().ends, [(code::HTTP_ANSWER_CUT, false)]);
}

#[test]
fn a_client_that_vanishes_ends_its_answer() {
    let made = Temporary::sparse("tls-vanishes", 1 << 30);
    let secure = Secure::start(made.open());
    for _ in 0..4 {
        let mut client = secure.dial();
        client.write_all(get("/").as_bytes()).unwrap();
        client.read_exact(&mut [0; 50_000]).unwrap();
        drop(client);
    }
    let ends = secure.stop().ends;
    assert!(ends.len() == 4 && ends.iter().all(|(_, clean)| !clean), "{ends:?}");
}
