//! Who is believed, and what becomes of the others.

use std::io::{Read, Write};
use std::time::Duration;

use zero_io::{PeerAddr, ProxyProtocol, Untrusted};

use crate::common::{Shard, dial};
use crate::kit::{CLIENT, V1, elsewhere, inet, listen, loopback, nets, v2, wait_peer};

#[test]
fn a_header_from_elsewhere_is_not_read() {
    let mut shard = Shard::new();
    let (_, addr) = listen(&mut shard, elsewhere(Untrusted::Refuse));
    for header in [V1, &v2(&[]), b"GET / HTTP/1.1\r\n\r\n"] {
        let mut spoofer = dial(addr);
        spoofer.write_all(header).unwrap();
        let before = shard.io.io_stats().proxy_refused;
        shard.until("it to be refused", |shard| shard.io.io_stats().proxy_refused > before);
        let mut answer = Vec::new();
        let _ = spoofer.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.seen, [], "nobody is told of it");
    let stats = shard.io.io_stats();
    assert_eq!((stats.proxied, stats.proxy_refused, stats.accepted), (0, 3, 3));
    shard.finish();
}

#[test]
fn or_it_is_what_the_client_says() {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, elsewhere(Untrusted::Direct));
    for header in [V1.to_vec(), v2(&[])] {
        let mut spoofer = dial(addr);
        spoofer.write_all(&header).unwrap();
        let (conn, peer) = wait_peer(&mut shard, endpoint);
        assert_eq!(peer, PeerAddr::Inet(spoofer.local_addr().unwrap()));
        assert_eq!(shard.io.proxied_by(conn).unwrap(), None);
        assert_eq!(shard.wait_bytes(conn, header.len()), header);
    }
    // Nor is one waited for.
    let silent = dial(addr);
    let (_, peer) = wait_peer(&mut shard, endpoint);
    assert_eq!(peer, PeerAddr::Inet(silent.local_addr().unwrap()));
    let stats = shard.io.io_stats();
    assert_eq!((stats.proxied, stats.proxy_refused), (0, 0));
    shard.finish();
}

#[test]
fn direct_clients_and_proxies_share_a_listener() {
    let mut shard = Shard::new();
    let proxy = ProxyProtocol::new(nets(&["127.0.0.2"])).with(|p| p.untrusted = Untrusted::Direct);
    let (endpoint, addr) = listen(&mut shard, proxy);
    let mut direct = dial(addr);
    direct.write_all(V1).unwrap();
    let (conn, peer) = wait_peer(&mut shard, endpoint);
    assert_eq!(peer, PeerAddr::Inet(direct.local_addr().unwrap()));
    assert_eq!(shard.wait_bytes(conn, V1.len()), V1);

    let proxy = socket_from("127.0.0.2", addr);
    (&proxy).write_all(V1).unwrap();
    assert_eq!(wait_peer(&mut shard, endpoint).1, inet(CLIENT));
    shard.finish();
}

#[test]
fn an_ipv4_proxy_of_an_ipv6_socket_is_the_same_proxy() {
    let mut shard = Shard::new();
    let proxy = ProxyProtocol::new(nets(&["127.0.0.0/8"]));
    let (endpoint, addr) = shard.listen_with(|c| {
        c.addr = "[::]:0".parse().unwrap();
        c.proxy = Some(proxy);
    });
    let mut proxy = dial(([127, 0, 0, 1], addr.port()).into());
    proxy.write_all(V1).unwrap();
    assert_eq!(wait_peer(&mut shard, endpoint).1, inet(CLIENT));
    // And one that speaks IPv6 is not of that network.
    let mut other = dial(([0, 0, 0, 0, 0, 0, 0, 1], addr.port()).into());
    other.write_all(V1).unwrap();
    shard.until("it to be refused", |shard| shard.io.io_stats().proxy_refused == 1);
    // A client with an IPv4 address that is written as IPv6 has an IPv4 address.
    let mut proxy = dial(([127, 0, 0, 1], addr.port()).into());
    proxy.write_all(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 56324 443\r\n").unwrap();
    assert_eq!(wait_peer(&mut shard, endpoint).1, inet(CLIENT));
    shard.finish();
}

#[test]
fn a_client_behind_the_proxy_cannot_say_who_it_is() {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, loopback());
    let mut proxy = dial(addr);
    // What follows the first header is the client's, whatever it looks like.
    let second = b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n";
    proxy.write_all(&[V1, second].concat()).unwrap();
    let (conn, peer) = wait_peer(&mut shard, endpoint);
    assert_eq!(peer, inet(CLIENT));
    assert_eq!(shard.wait_bytes(conn, second.len()), second);
    shard.finish();
}

/// A connection from that address.
fn socket_from(ip: &str, to: std::net::SocketAddr) -> std::net::TcpStream {
    use std::os::fd::FromRawFd;
    let ip: std::net::Ipv4Addr = ip.parse().unwrap();
    let raw = |addr: std::net::SocketAddrV4| libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: addr.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*addr.ip()).to_be() },
        sin_zero: [0; 8],
    };
    let std::net::SocketAddr::V4(to) = to else { panic!("{to} is no IPv4 address") };
    let (from, to) = (raw(std::net::SocketAddrV4::new(ip, 0)), raw(to));
    let len = size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: the addresses live through the calls and have the length that is told; the
    // descriptor is a new one that nobody else has.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        assert_eq!(libc::bind(fd, (&raw const from).cast(), len), 0);
        assert_eq!(libc::connect(fd, (&raw const to).cast(), len), 0);
        std::net::TcpStream::from_raw_fd(fd)
    }
}
