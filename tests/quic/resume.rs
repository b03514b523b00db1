//! Sessions that are resumed, and their tickets. Early data has its own file.

use std::time::Duration;

use zero_io::{ConnId, IoError, QuicConnectConfig, SessionTicket, TlsClientConfig};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER};

/// Long enough for tickets to come.
pub(crate) const SOON: Duration = Duration::from_millis(60);

/// A ticket of a connection that is over.
#[track_caller]
pub(crate) fn ticket(
    net: &mut Net,
    addr: std::net::SocketAddr,
    tls: &TlsClientConfig,
) -> SessionTicket {
    let conn = net.dial(addr, |c| c.tls = tls.clone());
    let (conn, _) = net.connected(conn);
    let mut ticket = None;
    net.until("a ticket", |net| {
        ticket = net.nodes[CLIENT].io.session_ticket(conn).unwrap();
        ticket.is_some()
    });
    over(net, conn);
    ticket.unwrap()
}

/// Closes a connection of the client and waits until both sides know.
#[track_caller]
pub(crate) fn over(net: &mut Net, conn: ConnId) {
    let before = net.nodes[SERVER].open.len();
    net.nodes[CLIENT].io.close(conn).unwrap();
    net.end_of(CLIENT, conn);
    net.until("the server to know", |net| net.nodes[SERVER].open.len() < before.max(1));
}

/// Whether a connection resumed a session, which both sides must say.
#[track_caller]
fn is_resumed(net: &mut Net, conn: ConnId) -> bool {
    let (conn, accepted) = net.connected(conn);
    let client = net.nodes[CLIENT].io.conn_tls_info(conn).unwrap();
    let server = net.nodes[SERVER].io.conn_tls_info(accepted).unwrap();
    assert_eq!(client.resumed, server.resumed);
    client.resumed
}

#[test]
fn a_later_connection_resumes() {
    for backend in BOTH {
        for early_data in [false, true] {
            let mut net = Net::new(backend);
            let addr = net.listen(|l| l.early_data = early_data);
            let tls = net.client_tls(&["echo"]);
            let mut resumed = Vec::new();
            for _ in 0..3 {
                let conn = net.dial(addr, |c| c.tls = tls.clone());
                resumed.push(is_resumed(&mut net, conn));
                net.run_for(SOON);
                over(&mut net, conn);
            }
            assert_eq!(resumed, [false, true, true]);
            // Another configuration remembers nothing of it.
            let conn = net.dial(addr, |_| ());
            assert!(!is_resumed(&mut net, conn));
            net.all_home();
        }
    }
}

#[test]
fn a_ticket_is_given_to_the_next_connection_and_good_once() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        // Nothing resumes of itself.
        let tls = net.client_builder(&["echo"]).session_cache(0).build().unwrap();
        let kept = ticket(&mut net, addr, &tls);
        assert_eq!((kept.server_name(), kept.alpn()), ("localhost", Some(&b"echo"[..])));
        assert!(!kept.is_used() && !kept.takes_early_data());
        let conn = net.dial(addr, |c| c.tls = tls.clone());
        assert!(!is_resumed(&mut net, conn), "it was not given");
        net.nodes[CLIENT].io.set_session_ticket("LOCALHOST", kept.clone()).unwrap();
        let conn = net.dial(addr, |c| c.tls = tls.clone());
        assert!(is_resumed(&mut net, conn));
        assert!(kept.is_used());
        for _ in 0..2 {
            let conn = net.dial(addr, |c| {
                c.tls = tls.clone();
                c.ticket = Some(kept.clone());
            });
            assert!(!is_resumed(&mut net, conn), "once");
        }
        net.all_home();
    }
}

#[test]
fn a_ticket_goes_to_another_shard() {
    for backend in BOTH {
        let mut net = Net::with(backend, 3, |_| ());
        let addr = net.listen(|_| ());
        let tls = net.client_tls(&["echo"]);
        let given = ticket(&mut net, addr, &tls);
        let given = std::thread::spawn(|| given).join().unwrap();
        let config = QuicConnectConfig::new(addr, tls.clone()).with(|c| c.ticket = Some(given));
        let conn = net.nodes[2].io.quic_connect_with(config).unwrap();
        net.until("it to be connected", |net| net.nodes[2].open.contains(&conn));
        assert!(net.nodes[2].io.conn_tls_info(conn).unwrap().resumed);
        net.all_home();
    }
}

#[test]
fn what_the_application_has_no_connection_takes_of_itself() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let tls = net.server_builder(&["echo"]).send_tickets(1).build().unwrap();
        let addr = net.listen(|l| l.tls = tls);
        let tls = net.client_tls(&["echo"]);
        let kept = ticket(&mut net, addr, &tls);
        let conn = net.dial(addr, |c| c.tls = tls.clone());
        assert!(!is_resumed(&mut net, conn) && !kept.is_used());
        net.all_home();
    }
}

#[test]
fn a_ticket_of_another_server_is_refused() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        let tls = net.client_tls(&["echo"]);
        let kept = ticket(&mut net, addr, &tls);
        let is_named = |error: IoError| {
            matches!(error, IoError::InvalidArgument { what: "session ticket", .. })
        };
        let io = &mut net.nodes[CLIENT].io;
        assert!(is_named(io.set_session_ticket("other.example", kept.clone()).unwrap_err()));
        let other = net.client_builder(&["echo"]).server_name("other.example").build().unwrap();
        let config = QuicConnectConfig::new(addr, other).with(|c| c.ticket = Some(kept.clone()));
        let refused = net.nodes[CLIENT].io.quic_connect_with(config);
        assert!(is_named(refused.unwrap_err()));
        assert!(!kept.is_used());
        net.all_home();
    }
}

#[test]
fn with_another_configuration_there_is_a_full_handshake() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let tls = net.server_tls(&["echo", "other"]);
        let addr = net.listen(|l| {
            l.tls = tls;
            l.early_data = true;
        });
        let tls = net.client_tls(&["echo"]);
        let kept = ticket(&mut net, addr, &tls);
        // Another protocol, and somebody else who decides whom to trust.
        let tls = net.client_tls(&["other"]);
        let conn = net.dial(addr, |c| {
            (c.tls, c.ticket, c.early_data) = (tls, Some(kept.clone()), true);
        });
        let none = Err(IoError::EarlyDataUnavailable { conn });
        assert_eq!(net.nodes[CLIENT].io.early_data_send(conn, b"x"), none);
        assert!(!is_resumed(&mut net, conn));
        net.all_home();
    }
}

#[test]
fn a_ticket_expires() {
    for early_data in [false, true] {
        let mut net = Net::new(Backend::Sim);
        let addr = net.listen(|l| l.early_data = early_data);
        let tls = net.client_tls(&["echo"]);
        for (hours, is_good) in [(11, true), (25, false)] {
            let kept = ticket(&mut net, addr, &tls);
            net.world.as_ref().unwrap().advance_by(Duration::from_secs(hours * 3600));
            let conn = net.dial(addr, |c| {
                (c.tls, c.ticket, c.early_data) = (tls.clone(), Some(kept.clone()), true);
            });
            let sent = net.nodes[CLIENT].io.early_data_send(conn, b"x");
            assert_eq!(sent.is_ok(), is_good && early_data, "{sent:?}");
            assert_eq!(is_resumed(&mut net, conn), is_good, "{hours} h, {early_data}");
            over(&mut net, conn);
        }
        net.all_home();
    }
}

#[test]
fn forgotten_sessions_are_not_resumed() {
    for backend in BOTH {
        for early_data in [false, true] {
            let mut net = Net::new(backend);
            let (endpoint, addr) = net.listen_at(SERVER, "127.0.0.1:0", |l| {
                l.early_data = early_data;
            });
            let tls = net.client_tls(&["echo"]);
            let kept = ticket(&mut net, addr, &tls);
            let reload = net.nodes[SERVER].io.enable_cert_hot_reload(endpoint).unwrap();
            reload.forget_sessions().unwrap();
            let conn = net.dial(addr, |c| (c.tls, c.ticket) = (tls.clone(), Some(kept)));
            assert!(!is_resumed(&mut net, conn));
            net.all_home();
        }
    }
}
