//! Hosts: names that are resolved, addresses that race. The real kernel's networks that swallow
//! what is sent to them are in `tests/namespace`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{
    ConnId, IoError, PeerAddr, Protocol, QuicConnectConfig, StreamDir, StreamId, TlsClientConfig,
    code,
};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, Seen};

const HOST: &str = "localhost";
const DELAY: Duration = Duration::from_millis(250);

/// A host in the simulator, with those addresses.
fn named(addrs: &[&str]) -> Net {
    let world = World::new(7, Faults::none());
    let addrs: Vec<IpAddr> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
    world.name_host(HOST, &addrs);
    Net::in_world(Some(world), 2, |_| ())
}

/// A host on either backend, which is this machine.
fn local(backend: Backend) -> Net {
    let net = Net::new(backend);
    if let Some(world) = &net.world {
        world.name_host(HOST, &["127.0.0.1".parse().unwrap()]);
    }
    net
}

fn dial(net: &mut Net, port: u16, change: impl FnOnce(&mut QuicConnectConfig)) -> ConnId {
    let config = QuicConnectConfig::new((HOST, port), net.client_tls(&["echo"])).with(change);
    net.nodes[CLIENT].io.quic_connect_with(config).expect("a race")
}

/// What it told, and that it was told once.
fn told_once(net: &Net, conn: ConnId) -> SocketAddr {
    let told = net.nodes[CLIENT].seen.iter().filter_map(|seen| match seen {
        Seen::Connected { conn: c, peer, endpoint, .. } if *c == conn => {
            assert_eq!(*endpoint, None);
            Some(*peer)
        }
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{:?}", net.nodes[CLIENT].seen);
    told[0]
}

fn now(net: &Net) -> Duration {
    Duration::from_nanos(net.world.as_ref().unwrap().now_ns())
}

#[test]
fn a_name_is_resolved_and_its_certificate_is_for_it() {
    for backend in BOTH {
        let mut net = local(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        // The name that is connected to is the one that the certificate must have.
        let (pem, _) = net.certificate();
        let roots = zero_io::Roots::from_pem_bytes(pem);
        let tls = TlsClientConfig::with_roots(roots).alpn(["echo"]).build().unwrap();
        let conn = dial(&mut net, addr.port(), |c| c.tls = tls);
        let (conn, _) = net.connected(conn);
        assert_eq!(told_once(&net, conn), addr);
        assert_eq!(net.nodes[CLIENT].io.peer_addr(conn), Ok(PeerAddr::Inet(addr)));
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
        net.send_all(CLIENT, conn, stream, b"by name");
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        assert_eq!(net.nodes[CLIENT].got(conn, stream).data, b"by name");
        net.all_home();
    }
}

#[test]
fn a_name_that_nobody_knows_is_told() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        // A label of more than 63 bytes is no name: the resolver need not ask anybody.
        let host = "a".repeat(70);
        let config = QuicConnectConfig::new((host.as_str(), 443), net.client_tls(&[]));
        let conn = net.nodes[CLIENT].io.quic_connect_with(config).unwrap();
        assert_eq!(net.end_of(CLIENT, conn).0, code::RESOLVE_FAILED);
        net.all_home();
    }
}

#[test]
fn a_dead_address_costs_one_delay() {
    let mut net = named(&["fd00::99", "127.0.0.1"]);
    let addr = net.listen(|_| ());
    let start = now(&net);
    let conn = dial(&mut net, addr.port(), |_| ());
    let (conn, _) = net.connected(conn);
    let took = now(&net) - start;
    assert!(took >= DELAY && took < DELAY + Duration::from_millis(100), "{took:?}");
    assert_eq!(told_once(&net, conn), addr);
    // The loser drains, out of sight, on a socket of its own family.
    net.all_home();
}

#[test]
fn an_address_that_refuses_is_followed_at_once() {
    // The first server takes nobody: its table is full.
    let world = World::new(7, Faults::none());
    world.name_host(HOST, &["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let mut net = Net::in_world(Some(world), 3, |_| ());
    let (_, refusing) = net.listen_at(2, "[::1]:7777", |c| c.tls = other_tls());
    let (_, taking) = net.listen_at(SERVER, "127.0.0.1:7777", |_| ());
    assert_eq!(refusing.port(), taking.port());
    let start = now(&net);
    let conn = dial(&mut net, 7777, |c| c.attempt_delay = Duration::from_secs(2));
    let (conn, _) = net.connected(conn);
    assert!(now(&net) - start < Duration::from_millis(100));
    assert_eq!(told_once(&net, conn), taking);
    net.all_home();
}

/// Of a server that nobody trusts.
fn other_tls() -> zero_io::TlsServerConfig {
    Net::new(Backend::Sim).server_tls(&["echo"])
}

#[test]
fn the_first_that_answers_wins_and_the_others_are_not_heard_of() {
    let mut net = named(&["::1", "127.0.0.1"]);
    let (_, v6) = net.listen_at(SERVER, "[::1]:7777", |_| ());
    net.listen_at(SERVER, "127.0.0.1:7777", |_| ());
    let world = net.world.clone().unwrap();
    // Both are on their way before the first has answered.
    world.set_faults(Faults::none().shaped(|shape| shape.latency_min_ns = 200_000_000));
    let conn = dial(&mut net, 7777, |c| c.attempt_delay = Duration::from_millis(10));
    let (conn, _) = net.connected(conn);
    assert_eq!(told_once(&net, conn), v6);
    net.run_for(Duration::from_secs(3));
    assert_eq!(told_once(&net, conn), v6);
    // The server had two, and was told of the end of one.
    let ended = |seen: &&Seen| matches!(seen, Seen::Disconnected { .. });
    assert!(net.nodes[SERVER].seen.iter().filter(ended).count() <= 1);
    assert_eq!(net.nodes[SERVER].open.len(), 1);
    assert!(net.nodes[CLIENT].end(conn).is_none());
    net.all_home();
}

#[test]
fn when_all_are_dead_it_is_told_once() {
    let mut net = named(&["fd00::99", "10.0.0.99", "fd00::98"]);
    let limit = Duration::from_secs(2);
    let conn = dial(&mut net, 7777, |c| c.connect_timeout = limit);
    let io = &mut net.nodes[CLIENT].io;
    assert_eq!(io.stream_write(conn, StreamId::ZERO, b"x"), Err(IoError::NotConnected { conn }));
    assert_eq!(io.stream_open(conn, StreamDir::Uni), Err(IoError::NotConnected { conn }));
    assert_eq!(io.peer_addr(conn), Err(IoError::NotConnected { conn }));
    assert_eq!(io.conn_local_addr(conn), Err(IoError::NotConnected { conn }));
    assert!(io.conn_stats(conn).is_ok() && !io.is_idle());
    let bind = "127.0.0.1:0".parse().unwrap();
    assert_eq!(io.quic_rebind(conn, bind), Err(IoError::NotConnected { conn }));
    assert_eq!(net.end_of(CLIENT, conn).0, code::CONNECT_TIMEOUT);
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.nodes[CLIENT].seen.len(), 1);
    net.all_home();
}

#[test]
fn when_all_refuse_the_last_reason_is_told() {
    let mut net = named(&["::1", "127.0.0.1"]);
    net.listen_at(SERVER, "[::1]:7777", |c| c.tls = other_tls());
    net.listen_at(SERVER, "127.0.0.1:7777", |c| c.tls = other_tls());
    let conn = dial(&mut net, 7777, |_| ());
    let (ended, reason, clean) = net.end_of(CLIENT, conn);
    assert_eq!(ended & !0xFF, code::TLS_ALERT_SENT, "{ended:#x}");
    assert!(!reason.is_empty() && !clean);
    net.all_home();
}

#[test]
fn a_kernel_without_a_way_is_a_failure() {
    let mut net = named(&["::1", "127.0.0.1"]);
    let world = net.world.clone().unwrap();
    world.set_faults(Faults::none().with(Fault::UdpSendError, 1_000_000));
    let conn = dial(&mut net, 7777, |_| ());
    let start = now(&net);
    let (ended, _, _) = net.end_of(CLIENT, conn);
    assert!([libc::ENETUNREACH as u64, libc::EPERM as u64].contains(&ended), "{ended}");
    assert!(now(&net) - start < DELAY);
    world.heal();
    net.all_home();
}

#[test]
fn a_close_ends_the_race() {
    for graceful in [false, true] {
        let mut net = named(&["fd00::99", "10.0.0.99", "127.0.0.1"]);
        let conn = dial(&mut net, 7777, |c| c.attempt_delay = Duration::from_millis(20));
        net.run_for(Duration::from_millis(30));
        let io = &mut net.nodes[CLIENT].io;
        if graceful {
            io.close_graceful(conn, Duration::from_secs(5)).unwrap();
        } else {
            io.close(conn).unwrap();
        }
        assert_eq!(io.close(conn), Err(IoError::StaleConn { conn }));
        assert_eq!(net.end_of(CLIENT, conn).0, code::LOCAL_CLOSE);
        net.run_for(Duration::from_secs(5));
        assert_eq!(net.nodes[CLIENT].seen.len(), 1);
        net.all_home();
    }
}

#[test]
fn a_close_while_the_name_is_being_resolved() {
    let mut net = Net::new(Backend::Uring);
    for _ in 0..3 {
        let conn = dial(&mut net, 7777, |_| ());
        net.nodes[CLIENT].io.close(conn).unwrap();
        assert_eq!(net.end_of(CLIENT, conn).0, code::LOCAL_CLOSE);
    }
    net.all_home();
}

/// A world in which the resolver takes its time, as it does in the real one, and a client whose
/// handles have a queue of two.
fn slow_resolver(seed: u64) -> Net {
    let world = World::new(seed, Faults::none().with(Fault::ResolveLate, 1_000_000));
    world.name_host(HOST, &["127.0.0.1".parse().unwrap()]);
    Net::in_world(Some(world), 2, |c| c.handle_queue_entries = 2)
}

#[test]
fn an_answer_that_comes_late_is_waited_for() {
    for seed in 0..4 {
        let mut net = slow_resolver(seed);
        let addr = net.listen(|_| ());
        let conn = dial(&mut net, addr.port(), |_| ());
        net.until("a connection", |net| net.nodes[CLIENT].open.contains(&conn));
        assert_eq!(told_once(&net, conn), addr);
        net.all_home();
    }
}

#[test]
fn an_answer_for_nobody_is_no_news() {
    for seed in 0..8 {
        let mut net = slow_resolver(seed);
        let limit = Duration::from_millis(10);
        let conn = dial(&mut net, 7777, |c| c.connect_timeout = limit);
        let is_closed = seed.is_multiple_of(2);
        if is_closed {
            net.nodes[CLIENT].io.close(conn).unwrap();
        }
        // The resolver takes ten seconds at the most.
        net.world.as_ref().unwrap().advance_by(Duration::from_secs(11));
        let (ended, ..) = net.end_of(CLIENT, conn);
        let expected = if is_closed { code::LOCAL_CLOSE } else { code::CONNECT_TIMEOUT };
        assert_eq!(ended, expected);
        assert_eq!(net.nodes[CLIENT].seen.len(), 1, "{:?}", net.nodes[CLIENT].seen);
        net.all_home();
    }
}

#[test]
fn an_answer_for_which_there_is_no_room_is_offered_again() {
    for seed in 0..3 {
        let mut net = slow_resolver(seed);
        let addr = net.listen(|_| ());
        let gone = dial(&mut net, addr.port(), |_| ());
        net.nodes[CLIENT].io.close(gone).unwrap();
        net.end_of(CLIENT, gone);
        let conn = dial(&mut net, addr.port(), |_| ());
        let handle = net.nodes[CLIENT].io.handle();
        for _ in 0..2 {
            handle.close(gone).unwrap();
        }
        let full = handle.close(gone);
        assert!(matches!(full, Err(IoError::QueueFull { .. })), "{full:?}");
        // The answer comes while the queue is full, and nobody polls.
        net.world.as_ref().unwrap().advance_by(Duration::from_secs(11));
        net.until("a connection", |net| net.nodes[CLIENT].open.contains(&conn));
        net.all_home();
    }
}

#[test]
fn as_many_as_the_table_holds_may_race() {
    let world = World::new(7, Faults::none());
    let addrs = ["fd00::99", "10.0.0.99", "fd00::98", "127.0.0.1"];
    world.name_host(HOST, &addrs.map(|addr| addr.parse().unwrap()));
    let mut net = Net::in_world(Some(world), 2, |c| c.max_connections = 4);
    let addr = net.listen(|_| ());
    // 16 addresses, and places for 4 attempts: one that finds none is passed over.
    let delay = |c: &mut QuicConnectConfig| {
        c.attempt_delay = Duration::from_millis(10);
        c.connect_timeout = Duration::from_secs(3);
    };
    let conns: Vec<_> = (0..4).map(|_| dial(&mut net, addr.port(), delay)).collect();
    net.until("all to be decided", |net| {
        let node = &net.nodes[CLIENT];
        conns.iter().all(|conn| node.open.contains(conn) || node.end(*conn).is_some())
    });
    for conn in &conns {
        let ended = net.nodes[CLIENT].end(*conn).map(|(code, _, _)| code);
        assert!([None, Some(code::CONNECT_TIMEOUT)].contains(&ended), "{ended:?}");
    }
    net.all_home();
}

/// A world with a dead host and one that has somebody behind a dead address, and a client that has
/// room for two connections and two attempts.
fn crowded() -> (Net, u16) {
    let world = World::new(7, Faults::none());
    let dead = ["fd00::99", "10.0.0.99", "fd00::98", "10.0.0.98"];
    world.name_host("dead", &dead.map(|addr| addr.parse().unwrap()));
    world.name_host(HOST, &["fd00::99", "127.0.0.1"].map(|addr| addr.parse().unwrap()));
    let mut net = Net::in_world(Some(world), 2, |c| c.max_connections = 2);
    let port = net.listen(|_| ()).port();
    (net, port)
}

#[test]
fn a_race_without_a_place_takes_one_of_a_race_that_has_several() {
    let (mut net, port) = crowded();
    net.world.as_ref().unwrap().name_host("one", &["127.0.0.1".parse().unwrap()]);
    let waits = dial(&mut net, port, |c| {
        (c.target, c.attempt_delay) = (("dead", port).into(), Duration::from_millis(10));
    });
    net.run_for(Duration::from_millis(100));
    let start = now(&net);
    let conn = dial(&mut net, port, |c| c.target = ("one", port).into());
    net.connected(conn);
    assert!(now(&net) - start < Duration::from_millis(100));
    assert!(net.nodes[CLIENT].end(waits).is_none(), "it goes on");
    net.nodes[CLIENT].io.close(waits).unwrap();
    net.all_home();
}

#[test]
fn a_dead_address_makes_way_where_there_is_no_other_place() {
    let (mut net, port) = crowded();
    let start = now(&net);
    let conns = [(); 2].map(|()| dial(&mut net, port, |_| ()));
    net.until("both", |net| conns.iter().all(|conn| net.nodes[CLIENT].open.contains(conn)));
    let took = now(&net) - start;
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
    net.all_home();
}

#[test]
fn attempts_that_were_given_up_take_nothing_from_those_who_come() {
    let world = World::new(7, Faults::none());
    let dead = ["fd00::99", "10.0.0.99", "fd00::98", "10.0.0.98"];
    world.name_host(HOST, &dead.map(|addr| addr.parse().unwrap()));
    let mut net = Net::in_world(Some(world), 2, |c| c.max_connections = 2);
    let soon = |c: &mut QuicConnectConfig| {
        c.attempt_delay = Duration::from_millis(10);
        c.connect_timeout = Duration::from_secs(1);
    };
    for _ in 0..8 {
        // Each leaves two attempts, which drain for longer than this takes.
        let conn = dial(&mut net, 7777, soon);
        net.run_for(Duration::from_millis(50));
        net.nodes[CLIENT].io.close(conn).unwrap();
        net.end_of(CLIENT, conn);
    }
    let conn = dial(&mut net, 7777, soon);
    net.run_for(Duration::from_secs(2));
    let ended = net.nodes[CLIENT].end(conn).map(|(code, _, _)| code);
    assert_eq!(ended, Some(code::CONNECT_TIMEOUT), "in its time");
    net.all_home();
}

#[test]
fn a_socket_of_its_own_for_all_attempts() {
    for backend in BOTH {
        let mut net = local(backend);
        let addr = net.listen(|_| ());
        let free = net.listen_at(CLIENT, "127.0.0.1:0", |_| ());
        let bind = free.1;
        // It is taken: told at once, and nothing is left.
        let tls = net.client_tls(&["echo"]);
        let config = QuicConnectConfig::new((HOST, addr.port()), tls).with(|c| c.bind = Some(bind));
        let error = net.nodes[CLIENT].io.quic_connect_with(config).unwrap_err();
        assert!(matches!(error, IoError::AddrInUse { .. }), "{error}");
        net.nodes[CLIENT].io.endpoint_close(free.0).unwrap();
        net.round();
        let conn = dial(&mut net, addr.port(), |c| c.bind = Some(bind));
        let (conn, accepted) = net.connected(conn);
        let local = net.nodes[CLIENT].io.conn_local_addr(conn);
        assert_eq!(local, Ok(PeerAddr::Inet(bind)));
        assert_eq!(net.nodes[SERVER].io.peer_addr(accepted), Ok(PeerAddr::Inet(bind)));
        net.all_home();
    }
}

#[test]
fn a_listeners_socket_serves_both_directions() {
    for backend in BOTH {
        let mut net = local(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let (endpoint, own) = net.listen_at(CLIENT, "127.0.0.1:0", |_| ());
        for by_name in [false, true] {
            let conn = if by_name {
                dial(&mut net, addr.port(), |c| c.endpoint = Some(endpoint))
            } else {
                net.dial(addr, |c| c.endpoint = Some(endpoint))
            };
            let (conn, accepted) = net.connected(conn);
            assert_eq!(told_once(&net, conn), addr);
            assert_eq!(net.nodes[SERVER].io.peer_addr(accepted), Ok(PeerAddr::Inet(own)));
            let bind = "127.0.0.1:0".parse().unwrap();
            let error = net.nodes[CLIENT].io.quic_rebind(conn, bind).unwrap_err();
            assert!(error.to_string().contains("listener"), "{error}");
        }
        // A peer can come to it all the same, and its end is not one of ours.
        let config = QuicConnectConfig::new(own, net.client_tls(&["echo"]));
        let back = net.nodes[SERVER].io.quic_connect_with(config).unwrap();
        net.until("a connection the other way", |net| {
            let told = |seen: &Seen| {
                matches!(seen, Seen::Connected { endpoint: Some(e), .. }
                if *e == endpoint)
            };
            net.nodes[SERVER].open.contains(&back) && net.nodes[CLIENT].seen.iter().any(told)
        });
        // It is closed with connections of both kinds on it.
        net.nodes[CLIENT].io.endpoint_close(endpoint).unwrap();
        net.run_for(Duration::from_millis(50));
        net.all_home();
    }
}

#[test]
fn sockets_that_cannot_be_used_are_named() {
    let mut net = local(Backend::Uring);
    let (v4, _) = net.listen_at(CLIENT, "127.0.0.1:0", |_| ());
    let tcp = net.nodes[CLIENT].io.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let v6: SocketAddr = "[::1]:7777".parse().unwrap();
    let mut refused = |change: &dyn Fn(&mut QuicConnectConfig)| {
        let config = QuicConnectConfig::new(v6, net.client_tls(&[])).with(change);
        net.nodes[CLIENT].io.quic_connect_with(config).unwrap_err()
    };
    let error = refused(&|c| c.endpoint = Some(v4));
    assert!(error.to_string().contains("family"), "{error}");
    let error = refused(&|c| c.endpoint = Some(tcp));
    assert!(matches!(error, IoError::WrongEndpoint { protocol: Protocol::Tcp, .. }), "{error}");
    let error = refused(&|c| c.bind = Some("127.0.0.1:0".parse().unwrap()));
    assert!(error.to_string().contains("family"), "{error}");
    let error = refused(&|c| {
        c.bind = Some(v6);
        c.endpoint = Some(v4);
    });
    assert!(error.to_string().contains("one of the two"), "{error}");
    let error = refused(&|c| c.attempt_delay = Duration::from_millis(9));
    assert!(error.to_string().contains("attempt_delay"), "{error}");
    let error = refused(&|c| c.target = (HOST, 0).into());
    assert!(error.to_string().contains("port"), "{error}");
    net.nodes[CLIENT].io.endpoint_close(v4).unwrap();
    let config = QuicConnectConfig::new(v6, net.client_tls(&[])).with(|c| c.endpoint = Some(v4));
    let error = net.nodes[CLIENT].io.quic_connect_with(config).unwrap_err();
    assert_eq!(error, IoError::StaleEndpoint { endpoint: v4 });
}
