//! New keys on an established connection: key updates of TLS 1.3, and 1.2's renegotiation, refused.

use std::time::Duration;

use zero_io::{ConnId, TlsVersion, code};

use super::certs::World;
use super::common::{STREAM, Shard, assert_same, pattern};
use super::kit::{ClientPeer, VERSIONS, alert, close_in_order, echo, listen, part};
use super::peers::s_server;
use super::process::Program;

fn s_client(world: &World, addr: std::net::SocketAddr, version: &str) -> Program {
    let (addr, ca) = (addr.to_string(), world.dir.path("ca.pem"));
    let args = ["s_client", "-connect", &addr, "-CAfile", &ca, version, "-no_ign_eof"];
    Program::start("openssl", &args)
}

/// A line from a program, behind those of the rounds before, and one to it.
#[track_caller]
fn talk(shard: &mut Shard, conn: ConnId, program: &mut Program, round: usize) {
    program.say(format!("line {round}\n"));
    let all: String = (0..=round).map(|i| format!("line {i}\n")).collect();
    assert_same(&shard.wait_bytes(conn, all.len()), all.as_bytes());
    let answer = format!("answer {round}\n");
    shard.write_all(conn, answer.as_bytes());
    program.expect_with(shard, &answer);
}

#[test]
fn openssl_updates_keys_and_asks_us_to() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let mut program = s_client(&world, addr, "-tls1_3");
    let conn = shard.wait_connected(Some(endpoint));
    for round in 0..10 {
        // `k` is a new key of its own, `K` asks for ours too.
        let command = if round % 2 == 0 { "K\n" } else { "k\n" };
        program.say(command);
        shard.until("the key update", |_| program.text().matches("KEYUPDATE").count() > round);
        talk(&mut shard, conn, &mut program, round);
    }
    program.close_input();
    shard.wait_read_closed(conn);
    close_in_order(&mut shard, conn);
    drop(program);
    shard.finish();
}

#[test]
fn openssl_s_server_updates_keys() {
    let world = World::new();
    let mut shard = Shard::new();
    let (mut program, addr) = s_server(&world, &["-tls1_3"]);
    let tls = world.ca.client().build().unwrap();
    let conn = shard.io.tls_connect(addr, tls).unwrap();
    shard.wait_connected(None);
    for round in 0..6 {
        program.say(if round % 2 == 0 { "K\n" } else { "k\n" });
        // It reads a command and what follows apart only if they come apart.
        shard.run_for(Duration::from_millis(50));
        talk(&mut shard, conn, &mut program, round);
    }
    shard.io.close(conn).unwrap();
    shard.wait_end(conn);
    shard.finish();
}

#[test]
fn gnutls_rekeys() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let port = addr.port().to_string();
    let ca = format!("--x509cafile={}", world.dir.path("ca.pem"));
    let priority = "--priority=NORMAL:-VERS-ALL:+VERS-TLS1.3";
    let args = ["--inline-commands", "--port", &port, &ca, priority, "localhost"];
    let mut program = Program::start("gnutls-cli", &args);
    let conn = shard.wait_connected(Some(endpoint));
    for round in 0..4 {
        program.say("^rekey^\n");
        talk(&mut shard, conn, &mut program, round);
    }
    drop(program);
    shard.wait_end(conn);
    shard.finish();
}

#[test]
fn a_storm_of_key_updates_is_bounded() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    // With data in between it may go on for ever.
    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[1], addr);
    let thread = std::thread::spawn(move || {
        peer.shake();
        for _ in 0..200 {
            peer.tls.refresh_traffic_keys().unwrap();
            peer.write(&[7; 10]);
            (0..9).for_each(|_| peer.write(&[7; 10]));
            // rustls has the same bound for our answers.
            assert_eq!(peer.read_exact(100), [7; 100]);
        }
        peer.close_notify();
        peer.read_to_end().1
    });
    let conn = shard.wait_connected(Some(endpoint));
    assert_eq!(echo(&mut shard, conn, 200 * 100).len(), 20_000);
    part(&mut shard, conn, thread);
    // Without, it is refused.
    let before = shard.io.io_stats().bytes_sent;
    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[1], addr);
    let thread = std::thread::spawn(move || {
        peer.shake();
        for _ in 0..10_000 {
            peer.tls.refresh_traffic_keys().unwrap();
            if peer.tls.write_tls(&mut peer.sock).is_err() {
                break;
            }
        }
    });
    let conn = shard.wait_connected(Some(endpoint));
    let (code, clean) = shard.wait_end(conn);
    assert_eq!((code, clean), (code::TLS_ALERT_SENT | alert::UNEXPECTED_MESSAGE, false));
    let answered = shard.io.io_stats().bytes_sent - before;
    assert!(answered < 10_000, "{answered} bytes of answers");
    shard.join(thread);
    shard.finish();
}

#[test]
fn renegotiation_is_refused() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let mut program = s_client(&world, addr, "-tls1_2");
    let conn = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.io.conn_tls_info(conn).unwrap().version, TlsVersion::Tls12);
    program.say("before\n");
    shard.wait_bytes(conn, 7);
    program.say("R\n");
    program.expect_with(&mut shard, "RENEGOTIATING");
    let (status, out) = program.end_with(&mut shard);
    let out = String::from_utf8_lossy(&out);
    // OpenSSL gives up on a warning `no_renegotiation` (RFC 5246 §7.2.2) by itself.
    assert!(out.contains("no renegotiation") || out.contains("alert number 100"), "{status} {out}");
    let (code, clean) = shard.wait_end(conn);
    assert!(!clean, "{code:x}");
    assert_eq!(shard.bytes_of(conn), b"before\n");
    shard.finish();
}

#[test]
fn a_server_that_asks_to_renegotiate_is_told_no() {
    let world = World::new();
    let mut shard = Shard::new();
    let (mut program, addr) = s_server(&world, &["-tls1_2"]);
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    shard.wait_connected(None);
    program.say("r\n");
    shard.run_for(Duration::from_millis(50));
    // Whether OpenSSL then gives up or goes on, nothing hangs and nothing is renegotiated.
    let wrote = shard.io.stream_write(conn, STREAM, &pattern(1, 100));
    if wrote.is_ok() {
        shard.io.close_graceful(conn, Duration::from_secs(1)).unwrap();
    }
    shard.wait_end(conn);
    shard.finish();
}
