//! A handshake that fails: what the code says that the peer was told is what went out.

use super::ends::{End, Ours};
use super::fixture::Setup;
use crate::code;
use crate::proto::tls::{Limits, Tls};

/// The alert at the end of what went out; of one that is sealed only that it is there.
fn told(out: &[u8]) -> Option<Option<u8>> {
    let mut rest = out;
    let mut last = None;
    while let [kind, _, _, high, low, behind @ ..] = rest {
        let (body, next) = behind.split_at(u16::from_be_bytes([*high, *low]).into());
        last = match (kind, body) {
            (21, [2, alert]) => Some(Some(*alert)),
            (21, _) => Some(None),
            // The alert, the type and the tag.
            (23, body) if body.len() == 2 + 1 + 16 => Some(None),
            _ => None,
        };
        rest = next;
    }
    last
}

/// Whether an end that refused what came says the truth; whether the peer was told. What went out
/// since the last record that was fine is given.
pub(super) fn check_told(failure: u64, out: &[u8]) -> bool {
    let alert = failure as u8;
    match (failure & !0xFF, told(out)) {
        (code::TLS_ALERT_SENT, Some(Some(sent))) => assert_eq!(sent, alert),
        (code::TLS_ALERT_SENT, Some(None)) => {}
        (code::TLS_ALERT_UNSENT, None) => return false,
        (_, told) => panic!("{failure:x}, and the peer was told {told:?}"),
    }
    true
}

/// The beginning of a ClientHello, in a record of its own.
const PART: [u8; 12] = [22, 3, 1, 0, 7, 1, 0, 1, 0, 3, 3, 7];
const WARNING: [u8; 7] = [21, 3, 1, 0, 2, 1, 90];

/// rustls ends all but the last of these without a word.
#[test]
fn what_is_refused_before_there_are_keys_is_told_in_the_clear() {
    let interleaved = [&PART[..], &WARNING].concat();
    let data = [&PART[..], &[23, 3, 3, 0, 1, 0]].concat();
    let warnings = WARNING.repeat(20);
    let rows =
        [(interleaved, 10), (data, 10), (warnings, 10), (vec![22, 3, 3, 0, 4, 99, 0, 0, 0], 10)];
    for (bytes, alert) in rows {
        for setup in Setup::both() {
            let mut server = Ours::server(setup.server());
            server.feed(&bytes);
            let failure = server.failure().unwrap_or_else(|| panic!("{bytes:?}"));
            assert!(check_told(failure, &server.out()), "{bytes:?}");
            assert_eq!(failure, code::TLS_ALERT_SENT + alert, "{bytes:?}");
        }
    }
}

#[test]
fn a_hello_that_is_too_long_is_told_in_the_clear() {
    let limits = Limits { handshake_len_max: 100, ..Limits::default() };
    let mut server = Ours::new(Tls::server(Setup::tls13().server(), limits).unwrap());
    let mut record = vec![22, 3, 1, 0, 200, 1, 0, 0xEA, 0x60];
    record.resize(205, 7);
    server.feed(&record);
    assert_eq!(server.failure(), Some(code::TLS_ALERT_SENT + 50));
    assert!(check_told(code::TLS_ALERT_SENT + 50, &server.out()));
}

/// A client's own refusals.
#[test]
fn a_server_that_speaks_nonsense_is_told() {
    for setup in Setup::both() {
        for bytes in
            [&b"HTTP/1.1 400 Bad"[..], &[22, 3, 3, 0, 4, 99, 0, 0, 0], &[23, 3, 3, 0, 1, 0]]
        {
            let mut client = Ours::client(setup.client());
            client.out();
            client.feed(bytes);
            let failure = client.failure().unwrap_or_else(|| panic!("{bytes:?}"));
            assert!(check_told(failure, &client.out()), "{bytes:?}");
        }
    }
}

/// After our goodbye nothing is sent any more, whatever comes.
#[test]
fn behind_our_goodbye_a_refusal_is_not_told() {
    for setup in Setup::both() {
        let (_, mut server) = super::ends::pair(&setup);
        server.tls.close_notify();
        server.out();
        server.feed(&[23, 3, 3, 0, 40].iter().chain(&[9; 40]).copied().collect::<Vec<_>>());
        assert_eq!(server.failure(), Some(code::TLS_ALERT_UNSENT + 20));
        assert!(server.out().is_empty());
    }
}
