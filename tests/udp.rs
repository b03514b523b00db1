//! UDP and multicast on the real kernel.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use common::{Datagram, PATIENCE, Seen, Shard, TICK, assert_same, localhost, pattern};
use zero_io::{
    Config, EndpointId, Errno, Event, IoError, MulticastGroup, UdpEndpointConfig, UdpTransmit,
};

fn bind(
    shard: &mut Shard,
    addr: &str,
    change: impl FnOnce(&mut UdpEndpointConfig),
) -> (EndpointId, SocketAddr) {
    let config = UdpEndpointConfig::new(addr.parse().unwrap()).with(change);
    let endpoint = shard.io.udp_bind_with(config).unwrap();
    let addr = shard.addr_of(endpoint);
    (endpoint, addr)
}

fn plain(addr: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut room = vec![0; 65_536];
    let (len, from) = socket.recv_from(&mut room).unwrap();
    room.truncate(len);
    (room, from)
}

#[test]
fn echo_v4_v6_and_both_on_one_socket() {
    for (here, there) in
        [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0"), ("[::]:0", "127.0.0.1:0")]
    {
        let mut shard = Shard::new();
        let (endpoint, mut addr) = bind(&mut shard, here, |_| ());
        let (socket, from) = plain(there);
        if addr.ip().is_unspecified() {
            addr.set_ip(from.ip());
        }
        for len in [1, 0, 100, 1472, 2048] {
            let data = pattern(len as u64, len);
            socket.send_to(&data, addr).unwrap();
            let got = shard.wait_datagram(endpoint);
            let wanted = Datagram {
                endpoint,
                from,
                local: None,
                ecn: 0,
                timestamp_ns: None,
                truncated: false,
                data: data.clone(),
            };
            assert_eq!(got, wanted, "also of zero length; IPv4 is not told as mapped");
            shard.io.udp_send_bytes(endpoint, from, &data).unwrap();
            shard.step(Duration::ZERO);
            assert_eq!(receive(&socket), (data, addr));
        }
        shard.finish();
    }
}

#[test]
fn an_ipv6_socket_alone() {
    let mut shard = Shard::new();
    let (_, addr) = bind(&mut shard, "[::]:0", |c| c.dual_stack = false);
    // The port is free for IPv4.
    bind(&mut shard, &format!("0.0.0.0:{}", addr.port()), |_| ());
    shard.finish();
}

#[test]
fn a_datagram_longer_than_the_bound_is_cut_and_marked() {
    let mut shard = Shard::new();
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |c| c.datagram_max = Some(100));
    let (socket, _) = plain("127.0.0.1:0");
    for (len, truncated) in [(100, false), (101, true), (5000, true), (99, false)] {
        let data = pattern(1, len);
        socket.send_to(&data, addr).unwrap();
        let got = shard.wait_datagram(endpoint);
        assert_eq!(got.truncated, truncated, "{len}");
        assert_same(&got.data, &data[..len.min(100)]);
    }
    shard.finish();
}

#[test]
fn large_datagrams_go_both_ways() {
    let mut shard = Shard::new();
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |c| {
        c.datagram_max = Some(65_507);
        c.recv_buffer = Some(1 << 20);
    });
    let (socket, from) = plain("127.0.0.1:0");
    for len in [2049, 9000, 65_507] {
        let data = pattern(len as u64, len);
        socket.send_to(&data, addr).unwrap();
        let got = shard.wait_datagram(endpoint);
        assert!(!got.truncated);
        assert_same(&got.data, &data);
        shard.io.udp_send_bytes(endpoint, from, &data).unwrap();
        shard.step(Duration::ZERO);
        assert_same(&receive(&socket).0, &data);
    }
    let error = shard.io.udp_send_bytes(endpoint, from, &[0; 65_508]).unwrap_err();
    assert_eq!(error, IoError::DatagramTooLarge { len: 65_508, max: 65_507 });
    assert!(shard.io.udp_recv_buffer(endpoint).unwrap() > 100_000);
    shard.finish();
}

#[test]
fn the_local_address_is_reported_on_a_wildcard() {
    for (wildcard, target) in
        [("0.0.0.0:0", "127.0.0.3"), ("[::]:0", "::1"), ("[::]:0", "127.0.0.4")]
    {
        let mut shard = Shard::new();
        let (endpoint, addr) = bind(&mut shard, wildcard, |c| c.local_addr = true);
        let target: IpAddr = target.parse().unwrap();
        let (socket, _) = plain(if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        socket.send_to(b"to which?", (target, addr.port())).unwrap();
        assert_eq!(shard.wait_datagram(endpoint).local, Some(target));
        shard.finish();
    }
}

#[test]
fn ecn_is_sent_and_reported() {
    for (here, there) in
        [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0"), ("[::]:0", "127.0.0.1:0")]
    {
        let mut shard = Shard::new();
        let (receiver, mut addr) = bind(&mut shard, here, |c| c.ecn = true);
        let (sender, from) = bind(&mut shard, there, |c| c.tos = 0b1011_1000);
        if addr.ip().is_unspecified() {
            addr.set_ip(from.ip());
        }
        for ecn in [0, 1, 2, 3] {
            let buffer = shard.io.send_buffer(3).unwrap();
            let how = UdpTransmit::to(addr).with_ecn(ecn);
            shard.io.udp_send_with(sender, buffer, how).unwrap();
            assert_eq!(shard.wait_datagram(receiver).ecn, ecn, "{here}");
        }
        shard.finish();
    }
    // The socket's own, where none is named.
    let mut shard = Shard::new();
    let (receiver, addr) = bind(&mut shard, "127.0.0.1:0", |c| c.ecn = true);
    let (sender, _) = bind(&mut shard, "127.0.0.1:0", |c| c.tos = 2);
    shard.io.udp_send_bytes(sender, addr, b"x").unwrap();
    assert_eq!(shard.wait_datagram(receiver).ecn, 2);
    shard.finish();
}

#[test]
fn the_receive_time_is_reported_on_request() {
    let mut shard = Shard::new();
    let (timed, addr) = bind(&mut shard, "127.0.0.1:0", |c| c.timestamps = true);
    let (socket, _) = plain("127.0.0.1:0");
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    // The first one after it is switched on may be stamped late by the kernel.
    socket.send_to(b"x", addr).unwrap();
    shard.wait_datagram(timed);
    let before = now();
    socket.send_to(b"y", addr).unwrap();
    let stamp = u128::from(shard.wait_datagram(timed).timestamp_ns.expect("a time"));
    let after = now();
    assert!(before <= stamp && stamp <= after, "{before} {stamp} {after}");
    shard.finish();
}

#[test]
fn connected_mode_hears_its_peer_alone_and_reports_refusals() {
    let mut shard = Shard::new();
    let (peer, peer_addr) = plain("127.0.0.1:0");
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |c| c.connect = Some(peer_addr));
    shard.io.udp_send_connected(endpoint, b"hello").unwrap();
    shard.step(Duration::ZERO);
    assert_eq!(receive(&peer), (b"hello".to_vec(), addr));
    let (stranger, _) = plain("127.0.0.1:0");
    let _ = stranger.send_to(b"not for you", addr);
    peer.send_to(b"for you", addr).unwrap();
    assert_same(&shard.wait_datagram(endpoint).data, b"for you");
    assert_eq!(shard.seen, []);
    // The peer goes away: what is sent is answered by ICMP, and the socket goes on.
    drop(peer);
    shard.io.udp_send_connected(endpoint, b"anybody?").unwrap();
    shard.until("the refusal", |shard| shard.io.io_stats().udp_errors > 0);
    assert_eq!(shard.seen, [], "it is counted, and no event");
    let back = UdpSocket::bind(peer_addr).unwrap();
    back.send_to(b"back again", addr).unwrap();
    assert_same(&shard.wait_datagram(endpoint).data, b"back again");
    shard.finish();
}

#[test]
fn every_datagram_after_a_refusal_is_sent() {
    let mut shard = Shard::new();
    let (peer, peer_addr) = plain("127.0.0.1:0");
    let (endpoint, _) = bind(&mut shard, "127.0.0.1:0", |c| c.connect = Some(peer_addr));
    drop(peer);
    shard.io.udp_send_connected(endpoint, b"refused").unwrap();
    shard.step(Duration::ZERO);
    let back = UdpSocket::bind(peer_addr).unwrap();
    back.set_read_timeout(Some(PATIENCE)).unwrap();
    // The pending error is reported by the next call on the socket, perhaps this send: it says
    // nothing about this datagram.
    shard.io.udp_send_connected(endpoint, b"wanted").unwrap();
    shard.run_for(Duration::from_millis(20));
    assert_same(&receive(&back).0, b"wanted");
    shard.finish();
}

#[test]
fn a_refusal_drops_no_datagram_but_the_refused() {
    let mut shard = Shard::new();
    let (peer, peer_addr) = plain("127.0.0.1:0");
    let (endpoint, _) = bind(&mut shard, "127.0.0.1:0", |c| c.connect = Some(peer_addr));
    drop(peer);
    // On loopback each is answered before the next one is sent.
    for n in 0..10 {
        shard.io.udp_send_connected(endpoint, &[n]).unwrap();
    }
    shard.until("all to be sent", |shard| shard.io.io_stats().datagrams_sent == 10);
    let stats = shard.io.io_stats();
    assert_eq!(stats.datagrams_dropped, 0);
    assert!(stats.udp_errors > 0);
    shard.finish();
}

/// Sends trains from one `Io` and receives them in another.
fn trains(receive_gro: bool, segment: u16, lens: &[usize]) {
    let mut from = Shard::new();
    let mut to = Shard::new();
    let (_, addr) = bind(&mut to, "127.0.0.1:0", |c| {
        c.gro = receive_gro;
        c.recv_buffer = Some(4 << 20);
    });
    let (sender, source) = bind(&mut from, "127.0.0.1:0", |_| ());
    let mut wanted = Vec::new();
    for (seed, len) in lens.iter().enumerate() {
        let data = pattern(seed as u64, *len);
        let mut buffer = from.io.send_buffer(*len).unwrap();
        buffer.as_mut_slice().copy_from_slice(&data);
        let how = UdpTransmit::to(addr).with_segment(segment);
        from.io.udp_send_with(sender, buffer, how).unwrap();
        wanted.extend(data.chunks(usize::from(segment)).map(<[u8]>::to_vec));
        from.step(Duration::ZERO);
        to.step(Duration::ZERO);
    }
    to.until("all datagrams", |to| {
        from.step(Duration::ZERO);
        to.count(|seen| matches!(seen, Seen::Udp(_))) >= wanted.len()
    });
    let got: Vec<_> = to
        .seen
        .iter()
        .map(|seen| match seen {
            Seen::Udp(datagram) => {
                assert_eq!((datagram.from, datagram.truncated), (source, false));
                datagram.data.clone()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert_same(got, wanted);
    }
    if receive_gro {
        let calls = to.io.io_stats().datagrams_received;
        assert!(calls < wanted.len() as u64 / 2, "{calls} receives of {} datagrams", wanted.len());
    }
    from.finish();
    to.finish();
}

#[test]
fn hazard_103_trains_are_cut_right() {
    for gro in [true, false] {
        trains(gro, 1200, &[1200 * 40, 1200 * 10 + 1, 1199, 1200, 1201, 50_000]);
        trains(gro, 100, &[6400, 6399, 6301, 101]);
        trains(gro, 1, &[64, 2]);
        trains(gro, 1400, &[64_400, 30_000]);
    }
}

#[test]
fn bad_trains_are_named() {
    let mut shard = Shard::new();
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let long = shard.io.send_buffer(6401).unwrap();
    let error = shard.io.udp_send_with(endpoint, long, UdpTransmit::to(addr).with_segment(100));
    assert!(matches!(error, Err(IoError::InvalidArgument { what: "segment length", .. })));
    let nowhere = shard.io.send_buffer(1).unwrap();
    let error = shard.io.udp_send_with(endpoint, nowhere, UdpTransmit::default());
    assert!(matches!(error, Err(IoError::InvalidArgument { what: "destination", .. })));
    let error = shard.io.udp_send_connected(endpoint, b"x");
    assert!(matches!(error, Err(IoError::InvalidArgument { what: "destination", .. })));
    let port_0 = SocketAddr::new(addr.ip(), 0);
    let error = shard.io.udp_send_bytes(endpoint, port_0, b"x");
    assert!(matches!(error, Err(IoError::InvalidArgument { what: "destination", .. })));
    shard.finish();
}

#[test]
fn a_destination_of_the_other_family_is_named() {
    let mut shard = Shard::new();
    let (four, _) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let error = shard.io.udp_send_bytes(four, "[::1]:9".parse().unwrap(), b"x");
    assert!(matches!(error, Err(IoError::InvalidArgument { .. })), "{error:?}");
    let config =
        UdpEndpointConfig::new(localhost()).with(|c| c.connect = Some("[::1]:9".parse().unwrap()));
    let error = shard.io.udp_bind_with(config);
    assert!(matches!(error, Err(IoError::InvalidArgument { .. })), "{error:?}");
    shard.finish();
}

#[test]
fn a_full_queue_is_named_and_what_was_queued_is_sent() {
    let mut shard = Shard::new();
    let (endpoint, _) = bind(&mut shard, "127.0.0.1:0", |c| c.send_queue = 8);
    let (socket, to) = plain("127.0.0.1:0");
    for n in 0..8 {
        shard.io.udp_send_bytes(endpoint, to, &[n]).unwrap();
    }
    let full = IoError::QueueFull { queue: "UDP send", capacity: 8 };
    assert_eq!(shard.io.udp_send_bytes(endpoint, to, &[8]), Err(full));
    let buffer = shard.io.send_buffer(1).unwrap();
    assert_eq!(shard.io.udp_send(endpoint, to, buffer), Err(full));
    assert!(full.is_retryable());
    shard.step(Duration::ZERO);
    for n in 0..8 {
        assert_eq!(receive(&socket).0, [n]);
    }
    shard.io.udp_send_bytes(endpoint, to, &[9]).expect("there is room again");
    shard.step(Duration::ZERO);
    assert_eq!(receive(&socket).0, [9]);
    shard.finish();
}

#[test]
fn udp_forward_sends_on_what_came() {
    let mut shard = Shard::new();
    let (_, addr) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let (socket, _) = plain("127.0.0.1:0");
    for n in 0..50 {
        let data = pattern(n, 20 + n as usize);
        socket.send_to(&data, addr).unwrap();
        let mut sent = false;
        while !sent {
            shard.io.poll(TICK).unwrap();
            let (mut events, mut sender) = shard.io.split();
            while let Some(event) = events.next_event() {
                if let Event::UdpRecv { endpoint, from, data, .. } = event {
                    sender.udp_forward(endpoint, from, &data[5..]).unwrap();
                    sent = true;
                }
            }
        }
        shard.step(Duration::ZERO);
        assert_same(&receive(&socket).0, &data[5..]);
    }
    assert_eq!(shard.io.io_stats().bytes_copied_tx, 0);
    shard.finish();
}

/// Forwards the next datagram of `shard` by `endpoint`, to where it came from.
fn forward_back(shard: &mut Shard, endpoint: EndpointId) -> Result<(), IoError> {
    loop {
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            if let Event::UdpRecv { from, data, .. } = event {
                return sender.udp_forward(endpoint, from, data);
            }
        }
    }
}

#[test]
fn udp_forward_goes_by_any_socket_of_the_family() {
    let mut shard = Shard::new();
    let (both, both_addr) = bind(&mut shard, "[::]:0", |_| ());
    let (v4, v4_addr) = bind(&mut shard, "127.0.0.1:0", |_| ());
    for (ip, by, from) in [
        ("127.0.0.1", both, both_addr.port()),
        ("::1", both, both_addr.port()),
        ("127.0.0.1", v4, v4_addr.port()),
    ] {
        let (socket, here) = plain(&SocketAddr::new(ip.parse().unwrap(), 0).to_string());
        socket.send_to(b"there and back", (here.ip(), both_addr.port())).unwrap();
        forward_back(&mut shard, by).unwrap();
        shard.step(Duration::ZERO);
        let from = SocketAddr::new(here.ip(), from);
        assert_eq!(receive(&socket), (b"there and back".to_vec(), from), "{ip}");
    }
    let (socket, _) = plain("[::1]:0");
    socket.send_to(b"no way back", ("::1", both_addr.port())).unwrap();
    let error = forward_back(&mut shard, v4).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "destination", .. }), "{error}");
    shard.finish();
}

#[test]
fn a_stream_of_datagrams_is_forwarded_whole_and_leaves_no_buffer_behind() {
    const FLOWS: usize = 64;
    let changes: [fn(&mut Config); 3] = [
        |_| (),
        |c| c.debug.poison_freed = true,
        |c| (c.pool_slot_count, c.handle_reserve_count) = (128, 0),
    ];
    for change in changes {
        let mut shard = Shard::with(|c| {
            c.debug.audit_every_tick = true;
            change(c);
        });
        let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |c| c.recv_buffer = Some(4 << 20));
        let (_, other) = bind(&mut shard, "127.0.0.1:0", |c| c.datagram_max = Some(9));
        let flows: Vec<_> = (0..FLOWS).map(|_| plain("127.0.0.1:0").0).collect();
        for round in 0..40 {
            for (n, socket) in flows.iter().enumerate() {
                // Now and then another socket has its turn, whose buffers are staged otherwise.
                let to = if round % 8 == 7 && n % 8 == 0 { other } else { addr };
                socket.send_to(&[round, n as u8, 1, 2, 3, 4, 5, 6, 7], to).unwrap();
            }
            let mut left = FLOWS;
            while left > 0 {
                shard.io.poll(TICK).unwrap();
                let (mut events, mut sender) = shard.io.split();
                while let Some(event) = events.next_event() {
                    if let Event::UdpRecv { endpoint, from, data, .. } = event {
                        sender.udp_forward(endpoint, from, data).unwrap();
                        left -= 1;
                    }
                }
            }
            shard.io.poll(Duration::ZERO).unwrap();
            for (n, socket) in flows.iter().enumerate() {
                assert_eq!(receive(socket).0, [round, n as u8, 1, 2, 3, 4, 5, 6, 7]);
            }
        }
        // The last ones arrive at a socket that is closed with its buffers staged.
        for socket in &flows {
            socket.send_to(b"late", addr).unwrap();
        }
        shard.io.poll(TICK).unwrap();
        shard.io.endpoint_close(endpoint).unwrap();
        shard.finish();
    }
}

#[test]
fn a_refused_datagram_counts_as_dropped_and_not_as_sent() {
    let mut shard = Shard::new();
    let (endpoint, _) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let (socket, to) = plain("127.0.0.1:0");
    // Without SO_BROADCAST: EACCES.
    shard.io.udp_send_bytes(endpoint, "255.255.255.255:9".parse().unwrap(), b"all").unwrap();
    shard.io.udp_send_bytes(endpoint, to, b"one").unwrap();
    shard.step(Duration::ZERO);
    assert_eq!(receive(&socket).0, b"one");
    let stats = shard.io.io_stats();
    assert_eq!((stats.datagrams_sent, stats.datagrams_dropped), (1, 1));
    assert_eq!(shard.io.pool_stats().datagrams_dropped_total, 1);
    shard.finish();
}

#[test]
fn a_closed_endpoint_says_nothing_more() {
    let mut shard = Shard::new();
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let (socket, to) = plain("127.0.0.1:0");
    for _ in 0..20 {
        socket.send_to(b"too late", addr).unwrap();
    }
    shard.io.poll(TICK).unwrap();
    shard.io.udp_send_bytes(endpoint, to, b"queued").unwrap();
    shard.io.endpoint_close(endpoint).unwrap();
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.seen, []);
    assert_eq!(receive(&socket), (b"queued".to_vec(), addr), "what was accepted goes out");
    let stale = IoError::StaleEndpoint { endpoint };
    assert_eq!(shard.io.udp_send_bytes(endpoint, to, b"x"), Err(stale));
    assert_eq!(shard.io.endpoint_close(endpoint), Err(stale));
    assert_eq!(shard.io.local_addr(endpoint), Err(stale));
    let (next, next_addr) = bind(&mut shard, &addr.to_string(), |_| ());
    assert_ne!(next, endpoint, "the place is the same, the endpoint is not");
    assert_eq!(next_addr, addr, "the port is free again");
    socket.send_to(b"for the next", addr).unwrap();
    assert_same(&shard.wait_datagram(next).data, b"for the next");
    shard.finish();
}

#[test]
fn what_is_queued_is_sent_before_its_socket_closes() {
    // Several batches, and what the peer's receive buffer holds.
    const COUNT: u64 = 150;
    let mut shard = Shard::new();
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let (socket, to) = plain("127.0.0.1:0");
    for n in 0..COUNT {
        shard.io.udp_send_bytes(endpoint, to, &n.to_le_bytes()).unwrap();
    }
    // One that the kernel refuses holds nothing up: EACCES, without SO_BROADCAST.
    shard.io.udp_send_bytes(endpoint, "255.255.255.255:9".parse().unwrap(), b"all").unwrap();
    shard.io.udp_send_bytes(endpoint, to, &COUNT.to_le_bytes()).unwrap();
    shard.io.endpoint_close(endpoint).unwrap();
    assert!(!shard.io.is_idle(), "datagrams wait");
    shard.run_for(Duration::from_millis(20));
    for n in 0..=COUNT {
        assert_same(&receive(&socket).0, &n.to_le_bytes());
    }
    let stats = shard.io.io_stats();
    assert_eq!((stats.datagrams_sent, stats.datagrams_dropped), (COUNT + 1, 1));
    shard.finish();
    UdpSocket::bind(addr).expect("the port is free again");
}

/// What is sent back lies where it was received, and so does its sender's address.
#[test]
fn what_is_forwarded_is_sent_before_its_socket_closes() {
    let mut shard = Shard::new();
    let (endpoint, addr) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let (socket, from) = plain("127.0.0.1:0");
    socket.send_to(b"back to me", addr).unwrap();
    let mut forwarded = false;
    while !forwarded {
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(Event::UdpRecv { data, .. }) = events.next_event() {
            sender.udp_forward(endpoint, from, data).unwrap();
            sender.endpoint_close(endpoint).unwrap();
            forwarded = true;
        }
    }
    shard.step(Duration::ZERO);
    assert_eq!(receive(&socket), (b"back to me".to_vec(), addr));
    shard.finish();
}

#[test]
fn buffers_of_trains_are_told_of() {
    let mut shard = Shard::with(|c| c.gro_buffer_count = 20);
    let (_, addr) = bind(&mut shard, "127.0.0.1:0", |c| c.gro = true);
    let (socket, _) = plain("127.0.0.1:0");
    let idle = shard.io.pool_stats().gro_buffers;
    assert_eq!((idle.used, idle.capacity), (0, 20));
    socket.send_to(b"kept", addr).unwrap();
    let mut kept = None;
    while kept.is_none() {
        shard.io.poll(TICK).unwrap();
        if let Some(Event::UdpRecv { .. }) = shard.io.next_event() {
            kept = shard.io.detach_event_data();
        }
    }
    shard.run_for(Duration::from_millis(5));
    let stats = shard.io.pool_stats();
    assert_eq!((stats.gro_buffers.used, stats.detached), (1, 1));
    assert!(stats.gro_buffers.peak >= 1);
    drop(kept);
    shard.step(Duration::ZERO);
    assert_eq!(shard.io.pool_stats().gro_buffers.used, 0);
    shard.finish();
}

#[test]
fn a_burst_is_received_whole_and_fairly() {
    const COUNT: usize = 2000;
    let mut shard = Shard::with(|c| c.max_events_per_poll = 16);
    let (a, addr_a) = bind(&mut shard, "127.0.0.1:0", |c| c.recv_buffer = Some(4 << 20));
    let (b, addr_b) = bind(&mut shard, "127.0.0.1:0", |c| c.recv_buffer = Some(4 << 20));
    let (socket, _) = plain("127.0.0.1:0");
    // What the receive buffers hold for certain, headers included.
    for n in 0..COUNT as u32 {
        let to = if n % 2 == 0 { addr_a } else { addr_b };
        socket.send_to(&n.to_le_bytes(), to).unwrap();
        if n % 64 == 63 {
            shard.step(Duration::ZERO);
        }
    }
    shard.until("all", |shard| shard.seen.len() == COUNT);
    let of = |endpoint| -> Vec<u32> {
        let datagrams = shard.seen.iter().filter_map(|seen| match seen {
            Seen::Udp(d) if d.endpoint == endpoint => Some(d),
            _ => None,
        });
        datagrams.map(|d| u32::from_le_bytes(d.data[..].try_into().unwrap())).collect()
    };
    assert!(of(a).iter().copied().eq((0..COUNT as u32).step_by(2)), "in order");
    assert!(of(b).iter().copied().eq((1..COUNT as u32).step_by(2)), "in order");
    shard.finish();
}

// ---- multicast, on the loopback interface

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A plain socket that sends multicast from this address through the loopback interface.
fn multicast_source(from: &str) -> UdpSocket {
    let socket = UdpSocket::bind(from).unwrap();
    let interface = libc::in_addr { s_addr: u32::from(LOOPBACK).to_be() };
    // SAFETY: the option's value outlives the call.
    let answer = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_IF,
            (&raw const interface).cast(),
            size_of_val(&interface) as libc::socklen_t,
        )
    };
    assert_eq!(answer, 0);
    socket
}

#[test]
fn any_source_multicast_is_joined_and_left() {
    let mut shard = Shard::new();
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let (endpoint, addr) = bind(&mut shard, "0.0.0.0:0", |c| c.reuseaddr = true);
    let to = SocketAddr::from((group, addr.port()));
    let source = multicast_source("127.0.0.1:0");
    source.send_to(b"before", to).unwrap();
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.seen, [], "not joined yet");
    let join = MulticastGroup::AnySource { group, interface: LOOPBACK };
    shard.io.multicast_join(endpoint, join).unwrap();
    source.send_to(b"joined", to).unwrap();
    assert_same(&shard.wait_datagram(endpoint).data, b"joined");
    shard.io.multicast_leave(endpoint, join).unwrap();
    source.send_to(b"left", to).unwrap();
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.seen, [], "left");
    let again = shard.io.multicast_leave(endpoint, join);
    assert!(
        matches!(again, Err(IoError::Os { errno: Errno(libc::EADDRNOTAVAIL), .. })),
        "{again:?}"
    );
    shard.finish();
}

#[test]
fn a_group_is_sent_to_and_heard_by_two() {
    let mut shard = Shard::new();
    let group = Ipv4Addr::new(239, 1, 2, 4);
    let (a, addr) = bind(&mut shard, "0.0.0.0:0", |c| c.reuseaddr = true);
    let (b, _) = bind(&mut shard, &format!("0.0.0.0:{}", addr.port()), |c| c.reuseaddr = true);
    let join = MulticastGroup::AnySource { group, interface: LOOPBACK };
    shard.io.multicast_join(a, join).unwrap();
    shard.io.multicast_join(b, join).unwrap();
    let (sender, from) =
        bind(&mut shard, "127.0.0.1:0", |c| c.multicast_interface_v4 = Some(LOOPBACK));
    let to = SocketAddr::from((group, addr.port()));
    shard.io.udp_send_bytes(sender, to, b"to all").unwrap();
    for endpoint in [a, b] {
        let got = shard.wait_datagram(endpoint);
        assert_eq!((got.data.as_slice(), got.from), (&b"to all"[..], from));
    }
    shard.finish();
}

#[test]
fn a_source_specific_group_hears_its_source_alone() {
    let mut shard = Shard::new();
    let group = Ipv4Addr::new(232, 1, 2, 3);
    let (right, wrong) = (Ipv4Addr::new(127, 0, 0, 5), Ipv4Addr::new(127, 0, 0, 6));
    let (endpoint, addr) = bind(&mut shard, "0.0.0.0:0", |c| c.reuseaddr = true);
    let join = MulticastGroup::SourceSpecific {
        group: group.into(),
        source: right.into(),
        interface_v4: LOOPBACK,
        interface_v6: 0,
    };
    shard.io.multicast_join(endpoint, join).unwrap();
    let to = SocketAddr::from((group, addr.port()));
    multicast_source(&format!("{wrong}:0")).send_to(b"wrong", to).unwrap();
    multicast_source(&format!("{right}:0")).send_to(b"right", to).unwrap();
    let got = shard.wait_datagram(endpoint);
    assert_eq!((got.data.as_slice(), got.from.ip()), (&b"right"[..], IpAddr::V4(right)));
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.seen, [], "the wrong source is not heard");
    shard.io.multicast_leave(endpoint, join).unwrap();
    multicast_source(&format!("{right}:0")).send_to(b"right", to).unwrap();
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.seen, []);
    shard.finish();
}

/// The loopback interface has no route for IPv6 multicast: what is sent is looked at in
/// tests/namespace, which has one.
#[test]
fn ipv6_groups_are_joined_and_left() {
    let mut shard = Shard::new();
    // SAFETY: the name ends with a zero.
    let lo = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
    let (endpoint, _) = bind(&mut shard, "[::]:0", |c| c.multicast_interface_v6 = Some(lo));
    let groups = [
        MulticastGroup::AnySourceV6 { group: "ff11::1:2:3".parse().unwrap(), interface: lo },
        MulticastGroup::SourceSpecific {
            group: "ff31::8000:1".parse().unwrap(),
            source: "::1".parse().unwrap(),
            interface_v4: Ipv4Addr::UNSPECIFIED,
            interface_v6: lo,
        },
    ];
    for group in groups {
        for _ in 0..2 {
            shard.io.multicast_join(endpoint, group).unwrap();
            shard.io.multicast_leave(endpoint, group).unwrap();
        }
        let again = shard.io.multicast_leave(endpoint, group);
        assert!(matches!(again, Err(IoError::Os { .. })), "{again:?}");
    }
    shard.finish();
}

#[test]
fn what_is_no_group_is_named() {
    let mut shard = Shard::new();
    let (endpoint, _) = bind(&mut shard, "127.0.0.1:0", |_| ());
    let (listener, _) = shard.listen();
    let any = |group| MulticastGroup::AnySource { group, interface: LOOPBACK };
    let error = shard.io.multicast_join(endpoint, any(Ipv4Addr::new(10, 0, 0, 1)));
    assert!(matches!(error, Err(IoError::InvalidArgument { .. })), "{error:?}");
    let error = shard.io.multicast_join(listener, any(Ipv4Addr::new(239, 0, 0, 1)));
    assert!(matches!(error, Err(IoError::WrongEndpoint { .. })), "{error:?}");
    let mixed = MulticastGroup::SourceSpecific {
        group: Ipv4Addr::new(232, 0, 0, 1).into(),
        source: Ipv6Addr::LOCALHOST.into(),
        interface_v4: LOOPBACK,
        interface_v6: 0,
    };
    let error = shard.io.multicast_join(endpoint, mixed);
    assert!(matches!(error, Err(IoError::InvalidArgument { .. })), "{error:?}");
    shard.finish();
}
