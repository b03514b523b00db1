//! TLS behind a header: the balancer passes it through.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, DEFAULT_VERSIONS};
use zero_io::{EndpointId, TcpListenConfig, TlsListenConfig, code};

use crate::certs::World;
use crate::common::{PATIENCE, Seen, Shard, dial, localhost};
use crate::kit::{CLIENT, V1, inet, loopback, v2, wait_peer, wait_unknown_end};

fn listen(shard: &mut Shard, world: &World) -> (EndpointId, std::net::SocketAddr) {
    let tls = world.server.server().build().unwrap();
    let tcp = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(loopback()));
    let endpoint = shard.io.tls_listen_with(TlsListenConfig::tcp(tcp, tls)).unwrap();
    (endpoint, shard.addr_of(endpoint))
}

/// A client, and the ClientHello that it begins with.
fn client(world: &World) -> (ClientConnection, Vec<u8>) {
    let config = world.ca.rustls_client(DEFAULT_VERSIONS);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut hello).unwrap();
    }
    (client, hello)
}

/// Shakes hands to the end, asks, and hears the answer.
fn ask(mut client: ClientConnection, mut sock: TcpStream) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut stream = rustls::Stream::new(&mut client, &mut sock);
        stream.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"world");
    })
}

#[track_caller]
fn talk(shard: &mut Shard, endpoint: EndpointId, client: ClientConnection, sock: TcpStream) {
    let thread = ask(client, sock);
    let (conn, peer) = wait_peer(shard, endpoint);
    assert_eq!(peer, inet(CLIENT));
    assert_eq!(shard.wait_bytes(conn, 5), b"hello");
    shard.write_all(conn, b"world");
    shard.join(thread);
    let _ = shard.io.close(conn);
    shard.wait_end(conn);
    shard.seen.clear();
}

#[test]
fn the_hello_comes_with_the_header() {
    let (mut shard, world) = (Shard::new(), World::new());
    let (endpoint, addr) = listen(&mut shard, &world);
    for header in [V1.to_vec(), v2(&[(0x02, b"localhost")])] {
        let (client, hello) = client(&world);
        let mut sock = dial(addr);
        sock.write_all(&[header, hello].concat()).unwrap();
        talk(&mut shard, endpoint, client, sock);
    }
    shard.finish();
}

#[test]
fn the_hello_may_be_cut_from_the_header_anywhere() {
    let (mut shard, world) = (Shard::new(), World::new());
    let (endpoint, addr) = listen(&mut shard, &world);
    for cut in (V1.len() - 2..V1.len() + 12).chain([1, V1.len() + 60]) {
        let (client, hello) = client(&world);
        let all = [V1, &hello].concat();
        let mut sock = dial(addr);
        sock.write_all(&all[..cut]).unwrap();
        for _ in 0..3 {
            shard.step(Duration::from_millis(2));
        }
        sock.write_all(&all[cut..]).unwrap();
        talk(&mut shard, endpoint, client, sock);
    }
    shard.finish();
}

#[test]
fn a_hello_without_a_header_is_no_header() {
    let (mut shard, world) = (Shard::new(), World::new());
    let (_, addr) = listen(&mut shard, &world);
    let (_, hello) = client(&world);
    let mut sock = dial(addr);
    sock.write_all(&hello).unwrap();
    assert_eq!(wait_unknown_end(&mut shard), code::PROXY_HEADER);
    let mut answer = Vec::new();
    sock.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = sock.read_to_end(&mut answer);
    assert!(answer.is_empty(), "not even an alert");
    // And what follows a header has to be TLS.
    let mut sock = dial(addr);
    sock.write_all(&[V1, b"GET / HTTP/1.1\r\n\r\n"].concat()).unwrap();
    let code = wait_unknown_end(&mut shard);
    assert_eq!(code & !0xFF, code::TLS_ALERT_SENT);
    assert_eq!(shard.io.io_stats().proxied, 1);
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Connected { .. })), 0);
    shard.finish();
}
