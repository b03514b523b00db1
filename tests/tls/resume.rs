//! Sessions that are resumed: with tickets and without, in both versions and both roles, as both
//! ends see it.

use std::net::SocketAddr;

use zero_io::{TlsClientConfig, TlsServerBuilder, TlsVersion};

use super::certs::World;
use super::common::Shard;
use super::kit::{close_in_order, listen};
use super::peers::{close_pair, s_server};
use super::process::Program;

const BOTH: [(TlsVersion, &str); 2] =
    [(TlsVersion::Tls12, "-tls1_2"), (TlsVersion::Tls13, "-tls1_3")];

/// Connects to ourselves and exchanges a little, so that tickets arrive: whether each end says that
/// the session was resumed.
fn visit(server: &TlsServerBuilder, client: &TlsClientConfig, times: usize) -> Vec<(bool, bool)> {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, server.clone().build().unwrap());
    let mut seen = Vec::new();
    for _ in 0..times {
        let conn = shard.io.tls_connect(addr, client.clone()).unwrap();
        let served = shard.wait_connected(Some(endpoint));
        assert_eq!(shard.wait_connected(None), conn);
        shard.write_all(served, b"welcome");
        assert_eq!(shard.wait_bytes(conn, 7), b"welcome");
        let [ours, theirs] = [conn, served].map(|c| shard.io.conn_tls_info(c).unwrap());
        assert!(ours.peer.is_some(), "the identity is that of the full handshake");
        seen.push((ours.resumed, theirs.resumed));
        close_pair(&mut shard, conn, served);
    }
    shard.finish();
    seen
}

#[test]
fn our_own_sessions_are_resumed() {
    let world = World::new();
    for (version, _) in BOTH {
        let client = || world.ca.client().versions(version, version);
        let server = world.server.server();
        let again = vec![(false, false), (true, true), (true, true)];
        assert_eq!(visit(&server, &client().build().unwrap(), 3), again, "{version:?}");
        let stateful = server.clone().session_tickets(false);
        assert_eq!(visit(&stateful, &client().build().unwrap(), 3), again, "{version:?}");
        let never = vec![(false, false); 3];
        let forgetful = client().session_cache(0).build().unwrap();
        assert_eq!(visit(&server, &forgetful, 3), never, "{version:?}");
        let server = stateful.session_cache(0);
        assert_eq!(visit(&server, &client().build().unwrap(), 3), never, "{version:?}");
    }
}

#[test]
fn openssl_s_client_resumes_at_our_server() {
    let world = World::new();
    for (version, flag) in BOTH {
        for tickets in [true, false] {
            let mut shard = Shard::new();
            let tls = world.server.server().session_tickets(tickets).build().unwrap();
            let (endpoint, addr) = listen(&mut shard, tls);
            let name = format!("session{flag}{tickets}");
            let (file, addr) = (world.dir.path(&name), addr.to_string());
            for (option, resumed, word) in
                [("-sess_out", false, "New, TLSv"), ("-sess_in", true, "Reused, TLSv")]
            {
                let args = ["s_client", "-connect", &addr, flag, option, &file];
                let program = Program::start("openssl", &args);
                let conn = shard.wait_connected(Some(endpoint));
                shard.write_all(conn, b"welcome\n");
                program.expect_with(&mut shard, "welcome");
                program.expect_with(&mut shard, word);
                let info = shard.io.conn_tls_info(conn).unwrap();
                assert_eq!((info.version, info.resumed), (version, resumed), "{}", program.text());
                close_in_order(&mut shard, conn);
                program.end_with(&mut shard);
            }
            shard.finish();
        }
    }
}

#[test]
fn gnutls_cli_resumes_at_our_server() {
    let world = World::new();
    for name in ["TLS1.2", "TLS1.3"] {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
        let port = addr.port().to_string();
        let ca = format!("--x509cafile={}", world.dir.path("ca.pem"));
        let priority = format!("--priority=NORMAL:-VERS-ALL:+VERS-{name}");
        let args = ["--resume", "--waitresumption", "--port", &port, &ca, &priority, "localhost"];
        let program = Program::start("gnutls-cli", &args);
        let first = shard.wait_connected(Some(endpoint));
        assert!(!shard.io.conn_tls_info(first).unwrap().resumed);
        // It says goodbye and comes back by itself.
        shard.wait_read_closed(first);
        shard.io.close(first).unwrap();
        let second = shard.wait_connected(Some(endpoint));
        assert!(shard.io.conn_tls_info(second).unwrap().resumed);
        program.expect_with(&mut shard, "This is a resumed session");
        drop(program);
        shard.finish();
    }
}

/// Connects once and reads the page that `s_server -www` makes of the connection: whether we say
/// that it was resumed, and whether the page does.
fn visit_www(shard: &mut Shard, addr: SocketAddr, client: &TlsClientConfig) -> (bool, bool) {
    let conn = shard.io.tls_connect(addr, client.clone()).unwrap();
    shard.wait_connected(None);
    shard.write_all(conn, b"GET / HTTP/1.0\r\n\r\n");
    shard.until("the page", |s| s.bytes_of(conn).windows(7).any(|w| w == b"</HTML>"));
    let page = String::from_utf8_lossy(&shard.bytes_of(conn)).into_owned();
    let resumed = shard.io.conn_tls_info(conn).unwrap().resumed;
    let (new, reused) = (page.contains("\nNew, TLSv"), page.contains("\nReused, TLSv"));
    assert!(new != reused, "{page}");
    shard.io.close(conn).unwrap();
    shard.wait_end(conn);
    (resumed, reused)
}

#[test]
fn our_client_resumes_at_openssl_s_server() {
    let world = World::new();
    for (version, flag) in BOTH {
        for more in [&["-www", flag][..], &["-www", "-no_ticket", flag]] {
            let (_program, addr) = s_server(&world, more);
            let mut shard = Shard::new();
            let client = world.ca.client().versions(version, version).build().unwrap();
            assert_eq!(visit_www(&mut shard, addr, &client), (false, false));
            assert_eq!(visit_www(&mut shard, addr, &client), (true, true), "{more:?}");
            assert_eq!(visit_www(&mut shard, addr, &client), (true, true), "{more:?}");
            shard.finish();
        }
    }
}
