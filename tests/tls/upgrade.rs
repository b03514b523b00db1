//! STARTTLS, asked for and granted; and what is pipelined behind it in the clear.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{
    ConnId, EndpointId, Frame, Framing, IoError, MessageKind, TlsServerConfig, TlsVersion, code,
};

use super::certs::World;
use super::common::{STREAM, Seen, Shard, assert_same, dial, pattern, read_to_end};
use super::kit::{ServerPeer, VERSIONS, client_conn, close_in_order, server_config, wait_secured};
use super::peers::close_pair;
use super::process::Program;

const LINE: MessageKind = MessageKind::User(1);
const LINES: Framing = Framing::new(LINE, |bytes| match bytes.iter().position(|b| *b == b'\n') {
    Some(at) => Frame::Ready(at + 1),
    None => Frame::Need(bytes.len() + 1),
});

fn listen_for_lines(shard: &mut Shard) -> (EndpointId, SocketAddr) {
    shard.listen_with(|c| c.framing = Some(LINES))
}

/// Waits for the next message of a connection, and takes it off the list.
#[track_caller]
fn next_line(shard: &mut Shard, conn: ConnId) -> String {
    shard.wait("a line", |seen| match seen {
        Seen::Frame { conn: c, data, .. } if *c == conn => {
            Some(String::from_utf8_lossy(data).trim_end().to_owned())
        }
        _ => None,
    })
}

fn say(shard: &mut Shard, conn: ConnId, line: &str) {
    let line = format!("{line}\r\n");
    assert_eq!(shard.io.stream_write(conn, STREAM, line.as_bytes()), Ok(line.len()));
}

/// The server's part of SMTP up to the upgrade (RFC 3207), and the upgrade.
fn serve_smtp(shard: &mut Shard, conn: ConnId, tls: &TlsServerConfig) {
    say(shard, conn, "220 mail.test ready");
    loop {
        let line = next_line(shard, conn).to_uppercase();
        if line.starts_with("EHLO") {
            say(shard, conn, "250-mail.test\r\n250 STARTTLS");
        } else if line == "STARTTLS" {
            say(shard, conn, "220 go ahead");
            return shard.io.tls_accept_upgrade(conn, tls.clone()).unwrap();
        } else {
            panic!("{line:?}");
        }
    }
}

#[test]
fn openssl_asks_for_starttls() {
    let world = World::new();
    for (version, flag) in [(TlsVersion::Tls12, "-tls1_2"), (TlsVersion::Tls13, "-tls1_3")] {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen_for_lines(&mut shard);
        let (addr, ca) = (addr.to_string(), world.dir.path("ca.pem"));
        let args = ["s_client", "-starttls", "smtp", "-connect", &addr, "-CAfile", &ca, flag];
        let more = ["-verify_return_error", "-quiet", "-crlf"];
        let mut program = Program::start("openssl", &[&args[..], &more].concat());
        let conn = shard.wait_connected(Some(endpoint));
        assert!(shard.io.conn_tls_info(conn).is_err());
        serve_smtp(&mut shard, conn, &world.server.server().build().unwrap());
        let refused = shard.io.stream_write(conn, STREAM, b"too early").unwrap_err();
        assert_eq!(refused, IoError::NotConnected { conn });
        wait_secured(&mut shard, conn);
        assert_eq!(shard.io.conn_tls_info(conn).unwrap().version, version);
        program.say("EHLO again\n");
        assert_eq!(next_line(&mut shard, conn), "EHLO again");
        say(&mut shard, conn, "250 sealed");
        program.expect_with(&mut shard, "250 sealed");
        close_in_order(&mut shard, conn);
        program.good_with(&mut shard);
        shard.finish();
    }
}

const PYTHON_SMTP: &str = "
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with smtplib.SMTP('localhost', int(sys.argv[1]), timeout=20) as smtp:
    smtp.starttls(context=context)
    assert smtp.noop()[0] == 250
print('content')
";

#[test]
fn pythons_smtplib_asks_for_starttls() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen_for_lines(&mut shard);
    let (port, ca) = (addr.port().to_string(), world.dir.path("ca.pem"));
    let program = Program::start("python3", &["-c", PYTHON_SMTP, &port, &ca]);
    let conn = shard.wait_connected(Some(endpoint));
    serve_smtp(&mut shard, conn, &world.server.server().build().unwrap());
    wait_secured(&mut shard, conn);
    assert_eq!(next_line(&mut shard, conn).to_uppercase(), "NOOP");
    say(&mut shard, conn, "250 still here");
    assert_eq!(next_line(&mut shard, conn).to_uppercase(), "QUIT");
    say(&mut shard, conn, "221 bye");
    let out = program.good_with(&mut shard);
    assert_eq!(String::from_utf8_lossy(&out).trim(), "content");
    shard.wait_end(conn);
    shard.finish();
}

/// A mail server in front of `openssl s_server`: it says its part in the clear, and then passes
/// everything on.
fn smtp_front(back: SocketAddr) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let (listener, addr) = super::common::plain_listener();
    let thread = std::thread::spawn(move || {
        let mut front = super::common::patient(listener.accept().unwrap().0);
        front.write_all(b"220 mail.test ready\r\n").unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"STARTTLS\r\n") {
            let mut byte = [0];
            front.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        front.write_all(b"220 go ahead\r\n").unwrap();
        let mut back = dial(back);
        let (mut from, mut to) = (front.try_clone().unwrap(), back.try_clone().unwrap());
        let up = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut back, &mut front);
        let _ = front.shutdown(std::net::Shutdown::Write);
        up.join().unwrap();
    });
    (addr, thread)
}

#[test]
fn we_ask_for_starttls_before_openssl_s_server() {
    let world = World::new();
    for flag in ["-tls1_2", "-tls1_3"] {
        let (_program, back) = super::peers::s_server(&world, &["-rev", flag]);
        let (addr, front) = smtp_front(back);
        let mut shard = Shard::new();
        let conn = shard.io.tcp_connect(addr).unwrap();
        shard.wait_connected(None);
        assert_eq!(shard.wait_bytes(conn, 21), b"220 mail.test ready\r\n");
        say(&mut shard, conn, "STARTTLS");
        shard.seen.clear();
        assert_eq!(shard.wait_bytes(conn, 14), b"220 go ahead\r\n");
        let tls = world.ca.client().build().unwrap();
        shard.io.tls_upgrade(conn, tls.clone()).unwrap();
        let again = shard.io.tls_upgrade(conn, tls).unwrap_err();
        assert!(matches!(again, IoError::InvalidArgument { .. }), "{again:?}");
        shard.seen.clear();
        wait_secured(&mut shard, conn);
        shard.write_all(conn, b"abc\n");
        assert_eq!(shard.wait_bytes(conn, 4), b"cba\n");
        shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        shard.wait_end(conn);
        shard.join(front);
        shard.finish();
    }
}

#[test]
fn both_ends_are_ours_and_a_lot_is_exchanged_before_and_after() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let conn = shard.io.tcp_connect(addr).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    let before = pattern(1, 400_000);
    let mut sent = 0;
    shard.until("the clear part", |shard| {
        sent += shard.io.stream_write(conn, STREAM, &before[sent..]).unwrap();
        shard.bytes_of(served).len() == before.len()
    });
    let server = world.server.server().alpn(["x"]).build().unwrap();
    // Written before the upgrade: sent before it, in the clear.
    say(&mut shard, served, "220 go");
    shard.io.tls_accept_upgrade(served, server).unwrap();
    assert_eq!(shard.wait_bytes(conn, 8), b"220 go\r\n");
    shard.io.tls_upgrade(conn, world.ca.client().alpn(["x"]).build().unwrap()).unwrap();
    for end in [conn, served] {
        assert_eq!(wait_secured(&mut shard, end).as_deref(), Some(&b"x"[..]));
    }
    shard.seen.clear();
    let after = pattern(2, 400_000);
    let mut sent = 0;
    shard.until("the sealed part", |shard| {
        sent += shard.io.stream_write(conn, STREAM, &after[sent..]).unwrap();
        shard.bytes_of(served).len() >= after.len()
    });
    assert_same(&shard.bytes_of(served), &after);
    close_pair(&mut shard, conn, served);
    shard.finish();
}

// ---- injection (RFC 3207 §6, and the attacks of 2011 and 2021 on many servers and clients)

/// Polls until the next message, and acts while it is handed out: others may wait behind it.
fn at_line<T>(shard: &mut Shard, line: &str, act: impl FnOnce(&mut zero_io::Sender<'_>) -> T) -> T {
    let begun = std::time::Instant::now();
    loop {
        assert!(begun.elapsed() < super::common::PATIENCE, "no {line:?}");
        shard.io.poll(Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            if let zero_io::Event::StreamFrame { data, .. } = event {
                assert_eq!(String::from_utf8_lossy(data).trim_end(), line);
                return act(&mut sender);
            }
        }
    }
}

/// A client that pipelines `evil` behind STARTTLS, and then shakes hands as if nothing was. What
/// it is given, and what becomes of the connection.
fn inject(version: super::certs::Version, evil: &'static [u8], apart: Option<Duration>) {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen_for_lines(&mut shard);
    let mut tls = client_conn(&world.ca, version);
    let thread = std::thread::spawn(move || {
        let mut sock = dial(addr);
        let mut hello = [0; 8];
        sock.read_exact(&mut hello).unwrap();
        match apart {
            None => sock.write_all(&[b"STARTTLS\r\n", evil].concat()).unwrap(),
            Some(pause) => {
                sock.write_all(b"STARTTLS\r\n").unwrap();
                std::thread::sleep(pause);
                sock.write_all(evil).unwrap();
            }
        }
        let mut out = Vec::new();
        tls.write_tls(&mut out).unwrap();
        let _ = sock.write_all(&out);
        let mut all = Vec::new();
        let _ = sock.read_to_end(&mut all);
    });
    let conn = shard.wait_connected(Some(endpoint));
    say(&mut shard, conn, "220 hi");
    let tls = world.server.server().build().unwrap();
    let upgraded = at_line(&mut shard, "STARTTLS", |sender| {
        if let Some(pause) = apart {
            // What was injected is in the socket, and the shard has not looked.
            std::thread::sleep(pause * 3);
        }
        sender.stream_write(conn, STREAM, b"220 go\r\n").unwrap();
        sender.tls_accept_upgrade(conn, tls.clone())
    });
    assert!(apart.is_some() || upgraded.is_err(), "it was there already");
    match upgraded {
        Err(error) => {
            assert_eq!(error, IoError::PlaintextPending { conn });
            shard.io.close(conn).unwrap();
            assert_eq!(shard.wait_end(conn).0, code::LOCAL_CLOSE);
        }
        Ok(()) => {
            let (code, clean) = shard.wait_end(conn);
            assert!(code & !0xFF == code::TLS_ALERT_SENT && !clean, "{code:x}");
        }
    }
    // Nothing of what was injected was delivered.
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Secured { .. } | Seen::Frame { .. })), 0);
    shard.join(thread);
    shard.finish();
}

#[test]
fn commands_behind_starttls_are_refused() {
    for version in VERSIONS {
        for evil in [&b"MAIL FROM:<evil@test>\r\nRCPT TO:<you@test>\r\n"[..], b"half a li", b"\x16"]
        {
            inject(version, evil, None);
            inject(version, evil, Some(Duration::from_millis(30)));
        }
    }
}

#[test]
fn bytes_in_a_queued_event_refuse_the_upgrade() {
    let world = World::new();
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted_with(|c| c.framing = Some(LINES));
    peer.write_all(b"STARTTLS\r\nRSET\r\n").unwrap();
    let tls = world.server.server().build().unwrap();
    let refused = at_line(&mut shard, "STARTTLS", |sender| sender.tls_accept_upgrade(conn, tls));
    assert_eq!(refused, Err(IoError::PlaintextPending { conn }));
    // Nothing was changed: whoever insists on going on in the clear may.
    assert_eq!(next_line(&mut shard, conn), "RSET");
    say(&mut shard, conn, "250 ok");
    shard.run_for(Duration::from_millis(20));
    let mut answer = [0; 8];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"250 ok\r\n");
    shard.finish();
}

/// The same at a client: a server's words behind its consent.
#[test]
fn answers_behind_the_consent_are_refused() {
    let world = World::new();
    for version in VERSIONS {
        for apart in [false, true] {
            let mut shard = Shard::new();
            let (listener, addr) = super::common::plain_listener();
            let config = std::sync::Arc::new(server_config(&world.server, version));
            let thread = std::thread::spawn(move || {
                let mut sock = super::common::patient(listener.accept().unwrap().0);
                let mut ask = [0; 10];
                sock.read_exact(&mut ask).unwrap();
                if apart {
                    sock.write_all(b"220 go\r\n").unwrap();
                    std::thread::sleep(Duration::from_millis(30));
                    sock.write_all(b"250 injected\r\n").unwrap();
                } else {
                    sock.write_all(b"220 go\r\n250 injected\r\n").unwrap();
                }
                let mut peer = ServerPeer::serve(&config, sock);
                // It fails, in one way or another.
                let _ = peer.tls.complete_io(&mut peer.sock);
                read_to_end_quietly(&peer.sock);
            });
            let config = zero_io::TcpConnectConfig::new(addr).with(|c| c.framing = Some(LINES));
            let conn = shard.io.tcp_connect_with(config).unwrap();
            shard.wait_connected(None);
            say(&mut shard, conn, "STARTTLS");
            let tls = world.ca.client().build().unwrap();
            let upgraded = at_line(&mut shard, "220 go", |sender| {
                std::thread::sleep(Duration::from_millis(if apart { 90 } else { 0 }));
                sender.tls_upgrade(conn, tls)
            });
            assert!(apart || upgraded.is_err(), "it was there already");
            match upgraded {
                Err(error) => {
                    assert_eq!(error, IoError::PlaintextPending { conn });
                    shard.io.close(conn).unwrap();
                    shard.wait_end(conn);
                }
                Ok(()) => {
                    let (code, _) = shard.wait_end(conn);
                    assert_eq!(code & !0xFF, code::TLS_ALERT_SENT, "{code:x}");
                    let lines = shard.count(|seen| matches!(seen, Seen::Frame { .. }));
                    assert_eq!(lines, 0, "an injected line was delivered");
                }
            }
            assert_eq!(shard.count(|seen| matches!(seen, Seen::Secured { .. })), 0);
            shard.join(thread);
            shard.finish();
        }
    }
}

fn read_to_end_quietly(mut sock: &std::net::TcpStream) {
    let _ = sock.read_to_end(&mut Vec::new());
}

#[test]
fn an_upgrade_that_cannot_be_is_refused() {
    let world = World::new();
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    // A name that is not the peer's address is checked as asked.
    let tls = world.ca.client().server_name("localhost").build().unwrap();
    shard.io.shutdown_write(conn, STREAM).unwrap();
    let refused = shard.io.tls_upgrade(conn, tls.clone()).unwrap_err();
    assert_eq!(refused, IoError::NotConnected { conn });
    drop(peer);
    shard.wait_end(conn);
    let refused = shard.io.tls_upgrade(conn, tls).unwrap_err();
    assert_eq!(refused, IoError::StaleConn { conn });
    shard.finish();
}

#[test]
fn an_upgrade_that_fails_or_stalls_ends_the_connection() {
    let world = World::new();
    let mut shard = Shard::new();
    let limit = Duration::from_millis(100);
    for garbage in [true, false] {
        let (conn, mut peer) = shard.accepted();
        let tls = world.server.server().handshake_timeout(limit).build().unwrap();
        shard.io.tls_accept_upgrade(conn, tls).unwrap();
        if garbage {
            peer.write_all(b"EHLO in the clear\r\n").unwrap();
        }
        let reader = std::thread::spawn(move || read_to_end(peer));
        let (code, clean) = shard.wait_end(conn);
        assert!(!clean);
        match garbage {
            true => assert_eq!(code & !0xFF, code::TLS_ALERT_SENT, "{code:x}"),
            false => assert_eq!(code, code::TLS_HANDSHAKE_TIMEOUT),
        }
        shard.join(reader);
    }
    shard.finish();
}
