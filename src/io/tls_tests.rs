//! What takes longer to reach than a test may last: keys at their end.

use std::time::{Duration, Instant};

use crate::code;
use crate::config::{Config, Pins, TlsClientConfig, TlsServerConfig, TlsVersion};
use crate::event::Event;
use crate::ids::{ConnId, StreamId};
use crate::io::Io;
use crate::proto::tls::Tls;

/// Records that AES-GCM may seal with one key, less what is kept for the goodbye.
const RECORDS_MAX: u64 = (1 << 24) - 16;
const PATIENCE: Duration = Duration::from_secs(20);

/// Polls until `pick` has an answer to an event.
fn wait<T>(io: &mut Io, mut pick: impl FnMut(&Event<'_>) -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        io.poll(Duration::from_millis(5)).unwrap();
        while let Some(event) = io.next_event() {
            if let Some(found) = pick(&event) {
                return found;
            }
        }
    }
}

fn tls_of(io: &mut Io, conn: ConnId) -> &mut Tls {
    &mut io.engine.conns.get(conn).unwrap().secure.as_mut().unwrap().tls
}

/// A connection to ourselves: the client's end, and the server's.
fn pair(io: &mut Io, version: TlsVersion) -> (ConnId, ConnId) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = own.signing_key.serialize_der();
    let server = TlsServerConfig::from_der([own.cert.der().to_vec()], &key);
    let server = server.versions(version, version).build().unwrap();
    let endpoint = io.tls_listen("127.0.0.1:0".parse().unwrap(), server).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let pins = Pins::new().certificate_der(own.cert.der());
    let client = TlsClientConfig::with_pins(pins).server_name("localhost").build().unwrap();
    let conn = io.tls_connect(addr, client).unwrap();
    let (mut ours, mut theirs) = (None, None);
    wait(io, |event| {
        if let Event::Connected { conn, endpoint, .. } = event {
            *(if endpoint.is_some() { &mut theirs } else { &mut ours }) = Some(*conn);
        }
        ours.zip(theirs)
    });
    (conn, theirs.unwrap())
}

#[test]
fn a_key_of_tls12_at_its_end_ends_the_connection_by_name() {
    let mut io = Io::new(Config::default()).unwrap();
    let (conn, served) = pair(&mut io, TlsVersion::Tls12);
    tls_of(&mut io, conn).set_tx_seq(RECORDS_MAX - 2);
    tls_of(&mut io, served).set_rx_seq(RECORDS_MAX - 2);
    for _ in 0..2 {
        assert_eq!(io.stream_write(conn, StreamId::ZERO, b"x"), Ok(1));
        wait(&mut io, |event| matches!(event, Event::StreamFrame { .. }).then_some(()));
    }
    assert_eq!(io.stream_write(conn, StreamId::ZERO, b"x"), Ok(0), "not one more");
    // The peer is told goodbye, under the same key.
    wait(&mut io, |event| {
        matches!(event, Event::ReadClosed { conn, .. } if *conn == served).then_some(())
    });
    io.close_graceful(served, Duration::from_secs(5)).unwrap();
    let mut ends = Vec::new();
    wait(&mut io, |event| {
        if let Event::Disconnected { conn, error_code, clean, .. } = event {
            ends.push((*conn, *error_code, *clean));
        }
        (ends.len() == 2).then_some(())
    });
    ends.sort_unstable_by_key(|(end, ..)| *end != conn);
    assert_eq!(ends[0], (conn, code::TLS_KEY_EXHAUSTED, false));
    assert_eq!(ends[1].0, served);
}

#[test]
fn a_key_of_tls13_at_its_end_is_followed_by_the_next() {
    let mut io = Io::new(Config::default()).unwrap();
    let (conn, served) = pair(&mut io, TlsVersion::Tls13);
    tls_of(&mut io, conn).set_tx_seq(RECORDS_MAX - 2);
    tls_of(&mut io, served).set_rx_seq(RECORDS_MAX - 2);
    for _ in 0..20 {
        assert_eq!(io.stream_write(conn, StreamId::ZERO, b"x"), Ok(1));
        wait(&mut io, |event| matches!(event, Event::StreamFrame { .. }).then_some(()));
    }
}
