//! Listening and connecting.

use std::time::Duration;

use zero_io::{
    ConnId, IoError, PeerAddr, PoolKind, Protocol, QuicConnectConfig, QuicListenConfig,
    RetryPolicy, Roots, StreamDir, StreamId, TlsClientConfig, code,
};

use super::kit::{BOTH, CLIENT, Net, SERVER, Seen};

#[test]
fn both_sides_are_told_of_a_connection() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (endpoint, addr) = net.listen_at(SERVER, "127.0.0.1:0", |_| ());
        let conn = net.dial(addr, |_| ());
        let (conn, accepted) = net.connected(conn);
        let PeerAddr::Inet(local) = net.nodes[CLIENT].io.conn_local_addr(conn).unwrap() else {
            panic!()
        };
        let alpn = b"echo".to_vec();
        let told = Seen::Connected { conn, endpoint: None, peer: addr, alpn: alpn.clone() };
        assert!(net.nodes[CLIENT].has(&told), "{:?}", net.nodes[CLIENT].seen);
        let endpoint = Some(endpoint);
        // The client's own socket is bound to no address.
        let local = (addr.ip(), local.port()).into();
        let told = Seen::Connected { conn: accepted, endpoint, peer: local, alpn };
        assert!(net.nodes[SERVER].has(&told), "{:?}", net.nodes[SERVER].seen);
        let server = &mut net.nodes[SERVER].io;
        assert_eq!(server.peer_addr(accepted), Ok(PeerAddr::Inet(local)));
        assert_eq!(server.conn_local_addr(accepted), Ok(PeerAddr::Inet(addr)));
        assert_eq!((server.io_stats().quic_handshakes, server.io_stats().accepted), (1, 1));
        net.all_home();
    }
}

#[test]
fn what_is_not_trusted_is_refused_with_its_alert() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        let elsewhere = Net::new(backend);
        let tls = elsewhere.client_tls(&["echo"]);
        let conn = net.dial(addr, |c| c.tls = tls);
        let (ended, _, clean) = net.end_of(CLIENT, conn);
        assert!((code::TLS_ALERT_SENT..code::TLS_ALERT_SENT + 256).contains(&ended), "{ended:#x}");
        assert!(!clean);
        net.until("the server to be told", |net| {
            let mut seen = net.nodes[SERVER].seen.iter();
            seen.any(|seen| {
                matches!(seen, Seen::Disconnected { code, .. }
                if (code::TLS_ALERT_RECEIVED..code::TLS_ALERT_RECEIVED + 256).contains(code))
            })
        });
        net.all_home();
    }
}

#[test]
fn without_a_protocol_in_common_there_is_no_connection() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        let tls = net.client_tls(&["other"]);
        let conn = net.dial(addr, |c| c.tls = tls);
        // no_application_protocol
        assert_eq!(net.end_of(CLIENT, conn).0, code::TLS_ALERT_RECEIVED + 120);
        net.all_home();
    }
}

#[test]
fn a_server_that_is_not_there_is_given_up_in_time() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let nowhere = "127.0.0.1:9".parse().unwrap();
        let conn = net.dial(nowhere, |c| c.connect_timeout = Duration::from_millis(300));
        assert_eq!(net.nodes[CLIENT].io.stream_write(conn, StreamId::ZERO, b"x"), {
            Err(IoError::NotConnected { conn })
        });
        assert_eq!(net.end_of(CLIENT, conn).0, code::CONNECT_TIMEOUT);
        net.all_home();
    }
}

#[test]
fn with_retry_every_client_shows_where_it_is() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, _) = net.pair(|l| l.retry = RetryPolicy::Always, |_| ());
        assert_eq!(net.nodes[SERVER].io.io_stats().quic_retried, 1);
        assert!(net.nodes[CLIENT].io.conn_stats(conn).unwrap().quic.is_some());
        net.all_home();
    }
}

#[test]
fn a_full_table_refuses_and_those_inside_go_on() {
    for backend in BOTH {
        let mut net = Net::with(backend, 2, |c| c.max_connections = 2);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let first = net.dial(addr, |_| ());
        let (first, _) = net.connected(first);
        let second = net.dial(addr, |_| ());
        net.connected(second);
        // The client's own table is full too: it tells so.
        let tls = net.client_tls(&["echo"]);
        let config = QuicConnectConfig::new(addr, tls);
        let full = net.nodes[CLIENT].io.quic_connect_with(config);
        assert_eq!(full, Err(IoError::PoolExhausted { pool: PoolKind::Connections }));
        net.nodes[CLIENT].io.close(second).unwrap();
        net.end_of(CLIENT, second);
        let stream = net.nodes[CLIENT].io.stream_open(first, StreamDir::Bidi).unwrap();
        net.send_all(CLIENT, first, stream, b"still here");
        net.until("the echo", |net| net.nodes[CLIENT].got(first, stream).closed);
        net.all_home();
    }
}

#[test]
fn a_third_is_refused_by_the_server() {
    let policies = [(RetryPolicy::UnderLoad, 1), (RetryPolicy::Never, 0)];
    for (backend, (retry, asked)) in BOTH.into_iter().flat_map(|b| policies.map(|p| (b, p))) {
        let mut net = Net::with(backend, 3, |c| c.max_connections = 2);
        let addr = net.listen(|l| l.retry = retry);
        for _ in 0..2 {
            let conn = net.dial(addr, |_| ());
            net.connected(conn);
        }
        let config = QuicConnectConfig::new(addr, net.client_tls(&["echo"]));
        let conn = net.nodes[2].io.quic_connect_with(config).unwrap();
        assert_eq!(net.end_of(2, conn).0, code::QUIC_REFUSED);
        let stats = net.nodes[SERVER].io.io_stats();
        assert_eq!((stats.quic_retried, stats.quic_refused), (asked, 1), "asked first, if at all");
        net.all_home();
    }
}

#[test]
fn an_ipv6_wildcard_takes_both_families() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (_, addr) = net.listen_at(SERVER, "[::]:0", |_| ());
        for host in ["127.0.0.1", "::1"] {
            let target = (host.parse::<std::net::IpAddr>().unwrap(), addr.port()).into();
            let conn = net.dial(target, |_| ());
            let (conn, accepted) = net.connected(conn);
            let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
            net.send_all(CLIENT, conn, stream, host.as_bytes());
            net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
            assert_eq!(net.nodes[CLIENT].got(conn, stream).data, host.as_bytes());
            let local = net.nodes[SERVER].io.conn_local_addr(accepted).unwrap();
            assert_eq!(local, PeerAddr::Inet(target));
        }
        net.all_home();
    }
}

#[test]
fn an_answer_comes_from_where_the_question_went() {
    let mut net = Net::new(super::kit::Backend::Uring);
    for bind in ["0.0.0.0:0", "[::]:0"] {
        let (_, addr) = net.listen_at(SERVER, bind, |_| ());
        // Of the whole network of 127 the kernel would answer from the first.
        let target = (std::net::Ipv4Addr::new(127, 0, 0, 77), addr.port()).into();
        let conn = net.dial(target, |_| ());
        let (_, accepted) = net.connected(conn);
        let local = net.nodes[SERVER].io.conn_local_addr(accepted).unwrap();
        assert_eq!(local, PeerAddr::Inet(target), "{bind}");
    }
    net.all_home();
}

#[test]
fn two_listeners_and_a_client_on_one_io() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (one, one_addr) = net.listen_at(CLIENT, "127.0.0.1:0", |_| ());
        let (two, two_addr) = net.listen_at(CLIENT, "127.0.0.1:0", |_| ());
        let conns = [net.dial(one_addr, |_| ()), net.dial(two_addr, |_| ())];
        net.until("all four ends", |net| net.nodes[CLIENT].open.len() == 4);
        for endpoint in [one, two] {
            let told = net.nodes[CLIENT].seen.iter().filter_map(|seen| match seen {
                Seen::Connected { endpoint, .. } => *endpoint,
                _ => None,
            });
            assert_eq!(told.filter(|told| *told == endpoint).count(), 1);
        }
        assert!(conns.iter().all(|conn| net.nodes[CLIENT].open.contains(conn)));
        net.all_home();
    }
}

#[test]
fn the_short_forms_listen_and_connect() {
    let mut net = Net::new(super::kit::Backend::Uring);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let addr = "127.0.0.1:0".parse().unwrap();
    let io = &mut net.nodes[SERVER].io;
    let endpoint = io.quic_listen(addr, &pem, key.serialize_pem()).unwrap();
    let PeerAddr::Inet(addr) = io.local_addr(endpoint).unwrap() else { panic!() };
    // Nobody whom the machine trusts has signed it.
    let conn = net.nodes[CLIENT].io.quic_connect(addr).unwrap();
    let (ended, _, _) = net.end_of(CLIENT, conn);
    assert_eq!(ended & !0xFF, code::TLS_ALERT_SENT, "{ended:#x}");
    let tls = TlsClientConfig::with_roots(Roots::from_pem_bytes(&pem)).server_name("localhost");
    let config = QuicConnectConfig::new(addr, tls.build().unwrap());
    let conn = net.nodes[CLIENT].io.quic_connect_with(config).unwrap();
    let (conn, _) = net.connected(conn);
    let told = Seen::Connected { conn, endpoint: None, peer: addr, alpn: Vec::new() };
    assert!(net.nodes[CLIENT].has(&told));
    net.all_home();
}

#[test]
fn bad_configurations_are_named() {
    let mut net = Net::new(super::kit::Backend::Uring);
    let any = "127.0.0.1:0".parse().unwrap();
    let tls = net.server_tls(&[]);
    let config = QuicListenConfig::new(any, tls).with(|c| c.incoming_max = 0);
    let error = net.nodes[SERVER].io.quic_listen_with(config).unwrap_err();
    assert!(error.to_string().contains("incoming_max"), "{error}");
    for (recv, send, name) in [(0, 1, "recv_buffer"), (1, u32::MAX, "send_buffer")] {
        let config = QuicListenConfig::new(any, net.server_tls(&[])).with(|c| {
            (c.recv_buffer, c.send_buffer) = (Some(recv), Some(send));
        });
        let error = config.validate().unwrap_err();
        assert!(error.to_string().contains(&format!("QuicListenConfig::{name}")), "{error}");
    }
    // Bound to one address, to another port, and to no IPv4 at all.
    let rows = [("127.0.0.1:443", true), ("0.0.0.0:444", true), ("[::]:443", false)];
    for (addr, dual_stack) in rows {
        let config = QuicListenConfig::new(addr.parse().unwrap(), net.server_tls(&[])).with(|c| {
            c.preferred_v4 = Some("127.0.0.2:443".parse().unwrap());
            c.dual_stack = dual_stack;
        });
        let error = config.validate().unwrap_err();
        assert!(error.to_string().contains("preferred_v4"), "{addr}: {error}");
    }
    let config = QuicConnectConfig::new(any, net.client_tls(&[]));
    let error = net.nodes[CLIENT].io.quic_connect_with(config).unwrap_err();
    assert!(error.to_string().contains("port"), "{error}");
    assert!(net.nodes[CLIENT].io.is_idle(), "nothing is left of it");
    let taken = net.listen(|_| ());
    let config = QuicListenConfig::new(taken, net.server_tls(&[]));
    let error = net.nodes[SERVER].io.quic_listen_with(config).unwrap_err();
    assert!(matches!(error, IoError::AddrInUse { .. }), "{error}");
}

#[test]
fn other_protocols_have_nothing_of_it() {
    let mut net = Net::new(super::kit::Backend::Uring);
    let (conn, _) = net.pair(|_| (), |_| ());
    let stale = ConnId::from_u64(0);
    let io = &mut net.nodes[CLIENT].io;
    assert_eq!(io.stream_open(stale, StreamDir::Uni), Err(IoError::StaleConn { conn: stale }));
    let of =
        |error: IoError| matches!(error, IoError::NotForProtocol { protocol: Protocol::Quic, .. });
    assert!(of(io.reset_on_close(conn).unwrap_err()));
    let stream = io.stream_open(conn, StreamDir::Bidi).unwrap();
    assert!(matches!(
        io.stream_read(conn, stream, &mut [0; 8]),
        Err(IoError::StreamNotPullable { protocol: Protocol::Quic })
    ));
    let listener = io.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let PeerAddr::Inet(addr) = io.local_addr(listener).unwrap() else { panic!() };
    let tcp = io.tcp_connect(addr).unwrap();
    let of =
        |error: IoError| matches!(error, IoError::NotForProtocol { protocol: Protocol::Tcp, .. });
    assert!(of(io.stream_open(tcp, StreamDir::Bidi).unwrap_err()));
    assert!(of(io.send_datagram(tcp, b"x").unwrap_err()));
    assert!(of(io.close_with(tcp, 1, b"").unwrap_err()));
}
