//! A cluster as an operator has it: asked over each protocol, and ended by signals.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Example, ask_udp, exchange_tcp, pattern, tcp};

struct Cluster {
    example: Example,
    tcp: String,
    udp: String,
    tls: String,
    http: String,
    quic: String,
}

impl Cluster {
    fn start() -> Self {
        let mut example = Example::start("cluster", &["127.0.0.1:0", "2"]);
        let tcp = example.place();
        let mut rest = |what: &str| {
            let line = example.line();
            line.strip_prefix(what).unwrap_or_else(|| panic!("{line:?}")).trim().to_owned()
        };
        let [udp, tls, http, quic] = ["UDP", "TLS", "HTTP", "QUIC"].map(&mut rest);
        assert!(!example.line().is_empty(), "how packets are routed");
        Self { example, tcp, udp, tls, http, quic }
    }

    fn signal(&self, name: &str) {
        let pid = self.example.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn client(&self) -> TcpStream {
        let mut client = tcp(self.tcp.parse().unwrap());
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        client
    }
}

/// Every client is told, and none is cut off.
#[test]
fn ends_in_order_by_sigterm() {
    let mut cluster = Cluster::start();
    let data = pattern(2_000_000);
    assert!(exchange_tcp(&tcp(cluster.tcp.parse().unwrap()), &data) == data);
    assert_eq!(ask_udp(&cluster.udp, b"hello"), b"hello");
    super::tls::ask(&["-quiet"], &cluster.tls, "sealed\n", "sealed\n");
    assert_eq!(super::quic::ask(&[&cluster.quic], b"by QUIC\n"), b"by QUIC\n");
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
    let mut web = tcp(cluster.http.parse().unwrap());
    web.write_all(post.as_bytes()).unwrap();
    let mut head = vec![0; 15];
    web.read_exact(&mut head).unwrap();
    assert_eq!(head, b"HTTP/1.1 200 OK");
    let mut clients = (0..32).map(|_| cluster.client()).collect::<Vec<_>>();
    let start = Instant::now();
    cluster.signal("-TERM");
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "a FIN, and no reset");
    }
    let mut rest = Vec::new();
    web.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"hello"));
    drop((clients, web));
    let said = cluster.example.finish();
    assert_eq!(said, "shard 0: Done after 0 restarts\nshard 1: Done after 0 restarts\n");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// TLS and HTTP are at the ports behind the one that is given.
#[test]
fn a_port_without_two_behind_it_is_an_error_with_a_fix() {
    for port in ["127.0.0.1:65534", "127.0.0.1:65535"] {
        let done = super::program("cluster").args([port, "2"]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("up to 65533") && !said.contains("panicked"), "{said}");
    }
}

/// Who does not go is not waited for when the operator says so twice.
#[test]
fn ends_at_once_by_a_second_signal() {
    let mut cluster = Cluster::start();
    let clients = (0..8).map(|_| cluster.client()).collect::<Vec<_>>();
    cluster.signal("-INT");
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    cluster.signal("-INT");
    cluster.example.finish();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    drop(clients);
}
