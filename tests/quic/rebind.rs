//! Clients that move to another address on purpose.

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{ConnId, IoError, PeerAddr, QuicConnectConfig, StreamDir, code};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, Seen, is_confirmed, pattern};

/// Echoes a piece over a new stream.
#[track_caller]
fn echo(net: &mut Net, conn: ConnId, len: usize) {
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    net.send_all(CLIENT, conn, stream, &pattern(len));
    net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    assert_eq!(net.nodes[CLIENT].got(conn, stream).data, pattern(len));
}

fn local(net: &mut Net, conn: ConnId) -> SocketAddr {
    match net.nodes[CLIENT].io.conn_local_addr(conn) {
        Ok(PeerAddr::Inet(addr)) => addr,
        other => panic!("{other:?}"),
    }
}

fn moves(net: &Net, conn: ConnId) -> Vec<(SocketAddr, SocketAddr)> {
    let moves = net.nodes[SERVER].seen.iter().filter_map(|seen| match seen {
        Seen::Migrated(c, old, new) if *c == conn => Some((*old, *new)),
        _ => None,
    });
    moves.collect()
}

#[test]
fn a_client_moves_and_its_connections_go_on() {
    for backend in BOTH {
        for ip in ["127.0.0.1", "127.0.0.2"] {
            let mut net = Net::new(backend);
            net.nodes[SERVER].echoes = true;
            let (conn, accepted) = net.pair(|_| (), |_| ());
            echo(&mut net, conn, 100_000);
            let old = SocketAddr::from(([127, 0, 0, 1], local(&mut net, conn).port()));
            let bind = SocketAddr::new(ip.parse().unwrap(), 0);
            net.nodes[CLIENT].io.quic_rebind(conn, bind).unwrap();
            let new = local(&mut net, conn);
            assert!(new != old && new.ip() == bind.ip() && new.port() != 0);
            echo(&mut net, conn, 300_000);
            assert_eq!(moves(&net, accepted), [(old, new)], "{backend:?}");
            assert_eq!(net.nodes[SERVER].io.peer_addr(accepted), Ok(PeerAddr::Inet(new)));
            // The client itself knows where it is.
            assert!(!net.nodes[CLIENT].seen.iter().any(|s| matches!(s, Seen::Migrated(..))));
            net.all_home();
        }
    }
}

#[test]
fn those_that_share_the_socket_move_together() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let mut conns = Vec::new();
        for at in 0..4 {
            let own = (at == 3).then(|| "127.0.0.1:0".parse().unwrap());
            let conn = net.dial(addr, |c| c.bind = own);
            conns.push(net.connected(conn));
        }
        let apart = local(&mut net, conns[3].0);
        conns.iter().for_each(|(conn, _)| net.confirmed(*conn));
        // One that was closed drains on it.
        net.nodes[CLIENT].io.close(conns[2].0).unwrap();
        let bind = "127.0.0.1:0".parse().unwrap();
        net.nodes[CLIENT].io.quic_rebind(conns[0].0, bind).unwrap();
        let new = local(&mut net, conns[0].0);
        assert_eq!(local(&mut net, conns[1].0), new);
        assert_eq!(local(&mut net, conns[3].0), apart, "it has a socket of its own");
        for (conn, _) in [conns[0], conns[1], conns[3]] {
            echo(&mut net, conn, 10_000);
        }
        for (_, accepted) in &conns[..2] {
            assert_eq!(moves(&net, *accepted).last().map(|m| m.1), Some(new));
        }
        assert_eq!(moves(&net, conns[3].1), []);
        // The next one uses the socket too.
        let conn = net.dial(addr, |_| ());
        let (conn, _) = net.connected(conn);
        assert_eq!(local(&mut net, conn), new);
        net.all_home();
    }
}

#[test]
fn in_the_middle_of_a_transfer_nothing_is_lost() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (conn, _) = net.pair(|_| (), |_| ());
        net.confirmed(conn);
        let data = pattern(3 << 20);
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
        let (mut done, mut rebinds) = (0, 0);
        net.until("all to be written", |net| {
            let io = &mut net.nodes[CLIENT].io;
            done += io.stream_write(conn, stream, &data[done..]).unwrap();
            if done > (rebinds + 1) * (1 << 19) {
                rebinds += 1;
                io.quic_rebind(conn, "127.0.0.1:0".parse().unwrap()).unwrap();
            }
            done == data.len()
        });
        assert!(rebinds >= 3);
        net.nodes[CLIENT].io.stream_finish(conn, stream).unwrap();
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        assert!(net.nodes[CLIENT].got(conn, stream).data == data);
        net.all_home();
    }
}

#[test]
fn a_server_without_migration_does_not_hear_it_until_it_is_back() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let idle = Duration::from_secs(2);
        let home = "127.0.0.1:0".parse().unwrap();
        let (conn, accepted) = net.pair(
            |l| l.migration = false,
            |c| {
                c.bind = Some(home);
                c.transport.idle_timeout = Some(idle);
            },
        );
        net.confirmed(conn);
        let old = local(&mut net, conn);
        net.nodes[CLIENT].io.quic_rebind(conn, home).unwrap();
        net.run_for(Duration::from_millis(300));
        assert_eq!(net.nodes[SERVER].io.peer_addr(accepted), Ok(PeerAddr::Inet(old)));
        net.nodes[CLIENT].io.quic_rebind(conn, old).unwrap();
        echo(&mut net, conn, 1000);
        net.nodes[CLIENT].io.quic_rebind(conn, home).unwrap();
        assert_eq!(net.end_of(CLIENT, conn).0, code::IDLE_TIMEOUT);
        assert_eq!(moves(&net, accepted), []);
        net.until("the server's end", |net| net.nodes[SERVER].end(accepted).is_some());
        net.all_home();
    }
}

#[test]
fn what_cannot_move_stays_where_it_is() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (conn, accepted) = net.pair(|_| (), |_| ());
        net.confirmed(conn);
        let before = local(&mut net, conn);
        let (_, taken) = net.listen_at(CLIENT, "127.0.0.1:0", |_| ());
        let io = &mut net.nodes[CLIENT].io;
        let error = io.quic_rebind(conn, "[::1]:0".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("family"), "{error}");
        let error = io.quic_rebind(conn, taken).unwrap_err();
        assert!(matches!(error, IoError::AddrInUse { .. }), "{error}");
        let io = &mut net.nodes[SERVER].io;
        let error = io.quic_rebind(accepted, "127.0.0.1:0".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("clients alone"), "{error}");
        assert_eq!(local(&mut net, conn), before);
        // Somebody on the socket is still connecting.
        let config = QuicConnectConfig::new("127.0.0.1:9".parse::<SocketAddr>().unwrap(), {
            net.client_tls(&["echo"])
        });
        let io = &mut net.nodes[CLIENT].io;
        let other = io.quic_connect_with(config).unwrap();
        let bind = "127.0.0.1:0".parse().unwrap();
        assert_eq!(io.quic_rebind(conn, bind), Err(IoError::NotConnected { conn: other }));
        io.close(other).unwrap();
        assert_eq!(io.quic_rebind(conn, bind), Ok(()));
        assert_eq!(io.quic_rebind(other, bind), Err(IoError::StaleConn { conn: other }));
        echo(&mut net, conn, 1000);
        net.all_home();
    }
}

#[test]
fn a_full_table_of_endpoints_is_named() {
    let mut net = Net::with(Backend::Sim, 2, |c| c.max_endpoints = 1);
    let (conn, _) = net.pair(|_| (), |_| ());
    net.confirmed(conn);
    let bind = "127.0.0.1:0".parse().unwrap();
    let error = net.nodes[CLIENT].io.quic_rebind(conn, bind).unwrap_err();
    assert!(matches!(error, IoError::PoolExhausted { .. }), "{error}");
    net.all_home();
}

/// RFC 9000 §9: "An endpoint MUST NOT initiate connection migration before the handshake is
/// confirmed", and a client is told that it is by a frame that comes after `Connected`.
#[test]
fn a_client_stays_until_its_handshake_is_confirmed() {
    let bind = "127.0.0.1:0".parse().unwrap();
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let mut first = None;
        // The second one shares the socket of the first, which then may not move either.
        for _ in 0..2 {
            let conn = net.dial(addr, |_| ());
            net.until_custom("the client to be connected", |net| {
                net.round_of(SERVER);
                net.round_of(CLIENT);
                net.nodes[CLIENT].open.contains(&conn)
            });
            let (of, before) = (*first.get_or_insert(conn), local(&mut net, conn));
            assert!(!is_confirmed(&mut net, CLIENT, conn));
            let error = net.nodes[CLIENT].io.quic_rebind(of, bind).unwrap_err();
            assert_eq!(error, IoError::HandshakeUnconfirmed { conn });
            assert!(error.is_retryable());
            assert_eq!(local(&mut net, of), before);
            net.confirmed(conn);
            assert_eq!(net.nodes[CLIENT].io.quic_rebind(of, bind), Ok(()), "{backend:?}");
            assert_ne!(local(&mut net, of), before);
            echo(&mut net, conn, 1000);
        }
        let accepted = net.nodes[SERVER].open.clone();
        assert!(accepted.iter().all(|conn| is_confirmed(&mut net, SERVER, *conn)));
        net.all_home();
    }
}
