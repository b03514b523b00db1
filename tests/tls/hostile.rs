//! Peers that are slow, broken or hostile: cuts at every byte, truncation, resets, garbage, stalls.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use zero_io::{ConnId, TlsVersion, code};

use super::certs::World;
use super::common::{STREAM, Seen, Shard, dial, pattern, plain_listener, read_to_end};
use super::kit::{
    ClientPeer, ServerPeer, VERSIONS, alert, client_conn, listen, server_config, wait_any_end,
};

/// Sets `SO_LINGER` to 0: the close of the socket is a reset.
pub(crate) fn reset_on_drop(sock: &TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open, and the value is of that type and length.
    let done = unsafe {
        libc::setsockopt(
            sock.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// The alert of a record in the clear that came, if one did.
fn clear_alert(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [21, 3, _, 0, 2, 2, alert, ..] => Some(*alert),
        _ => None,
    }
}

// ---- cuts

#[test]
fn records_cut_at_every_byte() {
    let world = World::new();
    for version in VERSIONS {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
        let mut sock = dial(addr);
        sock.set_nonblocking(true).unwrap();
        let mut tls = client_conn(&world.ca, version);
        let (mut served, mut echoed, mut said) = (None, Vec::new(), false);
        let words = pattern(1, 300);
        let mut cuts = 0;
        shard.until("the cut stream to be echoed", |shard| {
            if !tls.is_handshaking() && !said {
                // Three records.
                words.chunks(100).for_each(|piece| {
                    tls.writer().write_all(piece).unwrap();
                    tls.writer().flush().unwrap();
                });
                said = true;
            }
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out).unwrap();
            }
            for byte in out {
                // The shard has this byte before the next is sent.
                sock.write_all(&[byte]).unwrap();
                shard.step(Duration::ZERO);
                cuts += 1;
            }
            match tls.read_tls(&mut sock) {
                Ok(_) => drop(tls.process_new_packets().unwrap()),
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
            let _ = tls.reader().read_to_end(&mut echoed);
            served = served.or_else(|| connected_at(shard, endpoint));
            if let Some(conn) = served
                && shard.bytes_of(conn).len() == words.len()
                && shard.io.conn_stats(conn).unwrap().bytes_sent < 100_000
                && echoed.is_empty()
            {
                let all = shard.bytes_of(conn);
                assert_eq!(all, words);
                shard.seen.clear();
                shard.write_all(conn, &all);
            }
            echoed.len() == words.len()
        });
        assert!(cuts > 600, "{cuts} bytes were sent apart");
        assert_eq!(echoed, words);
        shard.finish();
    }
}

fn connected_at(shard: &Shard, of: zero_io::EndpointId) -> Option<ConnId> {
    shard.seen.iter().find_map(|seen| match seen {
        Seen::Connected { conn, endpoint, .. } if *endpoint == Some(of) => Some(*conn),
        _ => None,
    })
}

// ---- truncation

#[test]
fn an_end_without_close_notify_is_a_truncation() {
    let world = World::new();
    for version in VERSIONS {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
        for sends in [0, 5, 100_000] {
            let mut peer = ClientPeer::dial(&world.ca, version, addr);
            let data = pattern(2, sends);
            let thread = std::thread::spawn(move || {
                peer.shake();
                peer.write(&data);
                peer.sock.shutdown(Shutdown::Write).unwrap();
                peer.read_to_end().1
            });
            let conn = shard.wait_connected(Some(endpoint));
            assert_eq!(shard.wait_end(conn), (code::TLS_TRUNCATED, false));
            // What came before is delivered, and no ReadClosed, which would say that it is whole.
            assert_eq!(shard.bytes_of(conn), pattern(2, sends));
            assert_eq!(shard.count(|seen| *seen == Seen::ReadClosed { conn }), 0);
            shard.join(thread);
        }
        shard.finish();
    }
}

#[test]
fn a_server_that_truncates_is_noticed() {
    let world = World::new();
    for version in VERSIONS {
        let mut shard = Shard::new();
        let (listener, addr) = plain_listener();
        let config = std::sync::Arc::new(server_config(&world.server, version));
        let thread = std::thread::spawn(move || {
            let mut peer = ServerPeer::serve(&config, listener.accept().unwrap().0);
            peer.shake();
            peer.write(b"half of wh");
        });
        let tls = world.ca.client().build().unwrap();
        let conn = shard.io.tls_connect(addr, tls).unwrap();
        assert_eq!(shard.wait_end(conn), (code::TLS_TRUNCATED, false));
        assert_eq!(shard.bytes_of(conn), b"half of wh");
        shard.join(thread);
        shard.finish();
    }
}

#[test]
fn an_end_in_the_middle_of_a_record_or_of_the_handshake() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    // Nothing at all, a piece of a header, a piece of a ClientHello, all of it.
    let hello = hello_of(&world);
    for len in [0, 3, 5, 40, hello.len()] {
        let mut sock = dial(addr);
        sock.write_all(&hello[..len]).unwrap();
        sock.shutdown(Shutdown::Write).unwrap();
        let (_, code, clean) = wait_any_end(&mut shard);
        assert_eq!((code, clean), (code::TLS_HANDSHAKE_EOF, false), "after {len} bytes");
    }
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Connected { .. })), 0);
    for version in VERSIONS {
        let mut peer = ClientPeer::dial(&world.ca, version, addr);
        let thread = std::thread::spawn(move || {
            peer.shake();
            let mut record = Vec::new();
            peer.tls.writer().write_all(b"this is cut short").unwrap();
            peer.tls.write_tls(&mut record).unwrap();
            peer.sock.write_all(&record[..record.len() - 1]).unwrap();
            peer.sock.shutdown(Shutdown::Write).unwrap();
            // A close with bytes unread would be a reset.
            read_to_end(&peer.sock);
        });
        let conn = shard.wait_connected(Some(endpoint));
        assert_eq!(shard.wait_end(conn), (code::TLS_TRUNCATED, false));
        assert_eq!(shard.bytes_of(conn), b"");
        shard.join(thread);
    }
    shard.finish();
}

fn hello_of(world: &World) -> Vec<u8> {
    let mut hello = Vec::new();
    client_conn(&world.ca, VERSIONS[1]).write_tls(&mut hello).unwrap();
    hello
}

// ---- resets

#[test]
fn a_reset_in_every_phase_ends_the_connection_alone() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let hello = hello_of(&world);
    for len in [0, 7, hello.len()] {
        let mut sock = dial(addr);
        sock.write_all(&hello[..len]).unwrap();
        shard.run_for(Duration::from_millis(20));
        reset_on_drop(&sock);
        drop(sock);
        let (_, code, clean) = wait_any_end(&mut shard);
        assert_eq!((code, clean), (104, false), "after {len} bytes: {code:x}");
    }
    for version in VERSIONS {
        // Established; in the middle of what we send; after its close_notify.
        for phase in 0..3 {
            let mut peer = ClientPeer::dial(&world.ca, version, addr);
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || {
                peer.shake();
                peer.write(b"x");
                if phase == 2 {
                    peer.close_notify();
                }
                wait.recv().unwrap();
                reset_on_drop(&peer.sock);
            });
            let conn = shard.wait_connected(Some(endpoint));
            shard.wait_bytes(conn, 1);
            if phase == 1 {
                let data = pattern(3, 8_000_000);
                let taken = shard.io.stream_write(conn, STREAM, &data).unwrap();
                assert!(taken < data.len());
                shard.run_for(Duration::from_millis(20));
            } else if phase == 2 {
                shard.wait_read_closed(conn);
            }
            go.send(()).unwrap();
            shard.join(thread);
            if phase == 2 {
                // It said goodbye: nothing of its data is lost by the reset.
                shard.run_for(Duration::from_millis(20));
                let _ = shard.io.close_graceful(conn, Duration::from_secs(1));
                let (code, _) = shard.wait_end(conn);
                assert!([code::NONE, 104, 32].contains(&code), "{code:x}");
            } else {
                let (code, clean) = shard.wait_end(conn);
                assert!((code == 104 || code == 32) && !clean, "{phase}: {code:x}");
            }
        }
    }
    // Nobody else is harmed.
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    super::peers::close_pair(&mut shard, conn, served);
    shard.finish();
}

// ---- garbage

/// Sends bytes to a listener; the code it ends with, and what it answers.
fn answer_to(shard: &mut Shard, addr: std::net::SocketAddr, bytes: &[u8]) -> (u64, Vec<u8>) {
    let mut sock = dial(addr);
    sock.write_all(bytes).unwrap();
    let reader = std::thread::spawn(move || read_to_end(sock));
    let answer = shard.join(reader);
    let (_, code, clean) = wait_any_end(shard);
    assert!(!clean);
    (code, answer)
}

#[test]
fn what_is_no_client_hello_is_answered_with_an_alert() {
    let world = World::new();
    let mut shard = Shard::new();
    let (_, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let mut too_long = vec![22, 3, 1, 0xFF, 0xFF];
    too_long.resize(2000, 0);
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let noise = pattern(4, 40_000);
    let data_first = [&[23, 3, 3, 0, 20][..], &[7; 20]].concat();
    let bad_hello = [&[22, 3, 1, 0, 8][..], &[1, 0, 0, 4, 9, 9, 9, 9]].concat();
    let interrupted = [&[22, 3, 1, 0, 5, 1, 0, 1, 0, 3][..], &[21, 3, 1, 0, 2, 1, 90]].concat();
    for (what, bytes) in [
        ("HTTP", &http),
        ("noise", &noise),
        ("an oversized record", &too_long),
        ("data before the handshake", &data_first),
        ("a broken ClientHello", &bad_hello),
        ("a warning in the middle of a ClientHello", &interrupted),
        ("zeros", &vec![0; 100]),
    ] {
        let (code, answer) = answer_to(&mut shard, addr, bytes);
        let said = clear_alert(&answer);
        assert!(said.is_some(), "{what}: {answer:02x?}");
        assert_eq!(code, code::TLS_ALERT_SENT | u64::from(said.unwrap()), "{what}: {code:x}");
    }
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Connected { .. })), 0);
    shard.finish();
}

#[test]
fn a_server_that_speaks_plain_text_is_refused() {
    let world = World::new();
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let thread = std::thread::spawn(move || {
        let mut sock = super::common::patient(listener.accept().unwrap().0);
        sock.write_all(b"220 mail.test ESMTP ready\r\n").unwrap();
        read_to_end(sock)
    });
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    let (code, _) = shard.wait_end(conn);
    assert_eq!(code & !0xFF, code::TLS_ALERT_SENT, "{code:x}");
    shard.join(thread);
    shard.finish();
}

#[test]
fn broken_records_of_an_established_connection() {
    let world = World::new();
    // Longer than either version allows (RFC 5246 §6.2.3: 2^14 + 2048).
    let mut oversized = vec![23, 3, 3, 0x48, 0x01];
    oversized.resize(5 + 0x4801, 1);
    let forged = [&[23, 3, 3, 0, 40][..], &[9; 40]].concat();
    let short = vec![23, 3, 3, 0, 3, 1, 2, 3];
    let kind = [&[99, 3, 3, 0, 40][..], &[9; 40]].concat();
    for version in VERSIONS {
        let mut shard = Shard::new();
        let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
        for (what, bytes, wanted) in [
            ("oversized", &oversized, &[alert::RECORD_OVERFLOW][..]),
            ("forged", &forged, &[alert::BAD_RECORD_MAC]),
            ("short", &short, &[alert::BAD_RECORD_MAC, alert::DECODE_ERROR]),
            ("of no kind", &kind, &[alert::UNEXPECTED_MESSAGE, alert::DECODE_ERROR]),
        ] {
            let mut peer = ClientPeer::dial(&world.ca, version, addr);
            let bytes = bytes.clone();
            let thread = std::thread::spawn(move || {
                peer.shake();
                peer.write(b"good");
                peer.sock.write_all(&bytes).unwrap();
                // What follows is not looked at.
                let _ = peer.sock.write_all(b"and more");
                let mut out = Vec::new();
                let mut stream = rustls::Stream::new(&mut peer.tls, &mut peer.sock);
                stream.read_to_end(&mut out).unwrap_err().to_string()
            });
            let conn = shard.wait_connected(Some(endpoint));
            let (code, clean) = shard.wait_end(conn);
            let said = code::tls_alert(code).map(u64::from);
            assert_eq!(code & !0xFF, code::TLS_ALERT_SENT, "{what}: {code:x}");
            assert!(said.is_some_and(|a| wanted.contains(&a)) && !clean, "{what}: {code:x}");
            assert_eq!(shard.bytes_of(conn), b"good");
            // The alert was read, and decrypted.
            let heard = shard.join(thread);
            assert!(heard.contains("received fatal alert"), "{what}: {heard}");
        }
        shard.finish();
    }
}

// ---- stalls

#[test]
fn a_handshake_that_stalls_is_ended() {
    let world = World::new();
    let mut shard = Shard::new();
    let limit = Duration::from_millis(150);
    let server = world.server.server().handshake_timeout(limit).build().unwrap();
    let (_, addr) = listen(&mut shard, server);
    let hello = hello_of(&world);
    for len in [0, 3, 50, hello.len()] {
        let begun = Instant::now();
        let mut sock = dial(addr);
        sock.write_all(&hello[..len]).unwrap();
        let (_, code, clean) = wait_any_end(&mut shard);
        assert_eq!((code, clean), (code::TLS_HANDSHAKE_TIMEOUT, false), "{len}: {code:x}");
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
    }
    // One that goes on sending a byte now and then is not given more time.
    let mut sock = dial(addr);
    let begun = Instant::now();
    let mut sent = 0;
    shard.until("the dribbling client to be cut off", |shard| {
        if sent < hello.len() - 1 && sock.write_all(&hello[sent..=sent]).is_ok() {
            sent += 1;
        }
        shard.count(|seen| matches!(seen, Seen::Disconnected { .. })) > 0
    });
    assert!(begun.elapsed() < limit * 20);
    assert_eq!(wait_any_end(&mut shard).1, code::TLS_HANDSHAKE_TIMEOUT);
    // A server that does not answer.
    let (listener, addr) = plain_listener();
    let tls = world.ca.client().handshake_timeout(limit).build().unwrap();
    let conn = shard.io.tls_connect(addr, tls).unwrap();
    assert_eq!(shard.wait_end(conn), (code::TLS_HANDSHAKE_TIMEOUT, false));
    drop(listener);
    shard.finish();
}

#[test]
fn once_established_the_handshake_limit_is_over() {
    let world = World::new();
    let mut shard = Shard::new();
    let limit = Duration::from_millis(300);
    let server = world.server.server().handshake_timeout(limit).build().unwrap();
    let (endpoint, addr) = listen(&mut shard, server);
    let client = world.ca.client().handshake_timeout(limit);
    let client = client.versions(TlsVersion::Tls12, TlsVersion::Tls13).build().unwrap();
    let conn = shard.io.tls_connect(addr, client).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    shard.run_for(limit * 2);
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Disconnected { .. })), 0);
    super::peers::close_pair(&mut shard, conn, served);
    shard.finish();
}
