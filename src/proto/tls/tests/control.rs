//! What is no data: key updates, tickets, renegotiation, alerts.

use super::ends::{End, Ours, Said, Theirs, exchange, pair, pair_with, settle};
use super::fixture::Setup;
use super::forge::Forge;
use crate::code;
use crate::proto::tls::{Limits, SealError, Tls};

const SENT: u64 = code::TLS_ALERT_SENT;
const RECEIVED: u64 = code::TLS_ALERT_RECEIVED;

fn forged(setup: &Setup) -> (Forge, Ours) {
    let (client, server) = pair(setup);
    (Forge::new(client), server)
}

#[test]
fn key_updates_of_ours_are_understood() {
    let setup = Setup::tls13();
    for mut theirs in [Theirs::server(setup.server()), Theirs::client(setup.client())] {
        let is_server = matches!(theirs.rustls, rustls::Connection::Server(_));
        let mut ours = match is_server {
            true => Ours::client(setup.client()),
            false => Ours::server(setup.server()),
        };
        settle(&mut ours, &mut theirs);
        for _ in 0..5 {
            ours.tls.update_key();
            exchange(&mut ours, &mut theirs);
            theirs.rustls.refresh_traffic_keys().unwrap();
            exchange(&mut ours, &mut theirs);
            ours.tls.update_key();
            theirs.rustls.refresh_traffic_keys().unwrap();
            exchange(&mut ours, &mut theirs);
        }
        assert_eq!(theirs.error, None);
    }
}

#[test]
fn key_updates_on_request_and_without() {
    let (mut forge, mut server) = forged(&Setup::tls13());
    server.feed(&forge.key_update(0));
    server.feed(&forge.typed(23, b"new key"));
    assert_eq!(server.said, [Said::Control, Said::Data(b"new key".to_vec())]);
    assert_eq!(server.tls.transmit_len(), 0, "not asked for");
    // Three requests before anything is sent get one answer.
    for _ in 0..3 {
        server.feed(&forge.key_update(1));
    }
    let mut answer = server.out();
    assert_eq!(answer.len(), 5 + 5 + 1 + 16);
    let (header, body) = answer.split_first_chunk_mut().unwrap();
    let (kind, range) = forge.rx.open(super::Header::read(*header), body).unwrap();
    assert_eq!((kind, &body[range]), (22, &[24, 0, 0, 1, 0][..]));
    forge.turn_rx();
    server.write(b"sent with the next");
    let mut record = server.out();
    let (header, body) = record.split_first_chunk_mut().unwrap();
    let (kind, range) = forge.rx.open(super::Header::read(*header), body).unwrap();
    assert_eq!((kind, &body[range]), (23, &b"sent with the next"[..]));
}

#[test]
fn key_update_storms_are_bounded() {
    let limits = Limits::default();
    let (mut forge, mut server) = forged(&Setup::tls13());
    for _ in 0..limits.control_max {
        server.feed(&forge.key_update(1));
        server.out();
    }
    for _ in 0..limits.control_refill_records {
        server.feed(&forge.typed(23, b"x"));
    }
    for _ in 0..limits.control_max {
        server.feed(&forge.key_update(0));
    }
    // Too few records to be forgiven.
    server.feed(&forge.typed(23, b"x"));
    assert_eq!(server.failure(), None);
    server.feed(&forge.key_update(0));
    assert_eq!(server.failure(), Some(SENT + 10));
}

#[test]
fn malformed_key_updates() {
    let rows: [(&[u8], u64); 6] = [
        (&[24, 0, 0, 1, 2], 47),
        (&[24, 0, 0, 1, 255], 47),
        (&[24, 0, 0, 0], 50),
        (&[24, 0, 0, 2, 0, 0], 50),
        (&[24, 0, 0, 1, 0, 24], 10),
        (&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0], 10),
    ];
    for (message, alert) in rows {
        let (mut forge, mut server) = forged(&Setup::tls13());
        server.feed(&forge.typed(22, message));
        assert_eq!(server.said, [Said::Fail(SENT + alert)], "{message:?}");
    }
    let (mut forge, mut server) = forged(&Setup::tls12());
    server.feed(&forge.typed(22, &[24, 0, 0, 1, 0]));
    assert_eq!(server.said, [Said::Fail(SENT + 10)], "TLS 1.2 has none");
}

#[test]
fn messages_after_the_handshake_straddle_records() {
    let (mut forge, mut server) = forged(&Setup::tls13());
    for byte in [24, 0, 0, 1] {
        server.feed(&forge.typed(22, &[byte]));
    }
    server.feed(&forge.typed(22, &[1]));
    forge.turn_key();
    server.feed(&forge.typed(23, b"x"));
    assert_eq!(server.failure(), None);
    assert_eq!(server.said.len(), 6);
    assert!(server.tls.transmit_len() > 0);

    // Nothing may come in between.
    for (kind, content) in [(23, &b"x"[..]), (23, b""), (21, &[1, 0])] {
        let (mut forge, mut server) = forged(&Setup::tls13());
        server.feed(&forge.typed(22, &[24, 0]));
        server.feed(&forge.typed(kind, content));
        assert_eq!(server.said, [Said::Control, Said::Fail(SENT + 10)], "{kind}");
    }
    for setup in Setup::both() {
        let (mut forge, mut server) = forged(&setup);
        server.feed(&forge.typed(22, &[]));
        assert_eq!(server.said, [Said::Fail(SENT + 10)], "an empty fragment");
    }
}

#[test]
fn messages_after_the_handshake_have_a_longest_length() {
    for setup in Setup::both() {
        let (mut forge, mut server) = forged(&setup);
        let len = (Limits::default().message_len_max as u32 - 3).to_be_bytes();
        server.feed(&forge.typed(22, &[1, len[1], len[2], len[3]]));
        assert_eq!(server.said, [Said::Fail(SENT + 50)]);
    }
}

#[test]
fn other_messages_are_refused() {
    // The server's view, then the client's.
    for (setup, mine, allowed) in [
        (Setup::tls13(), false, &[24][..]),
        (Setup::tls13(), true, &[4, 24]),
        (Setup::tls12(), false, &[1]),
        (Setup::tls12(), true, &[0]),
    ] {
        for kind in 0..=255 {
            if allowed.contains(&kind) {
                continue;
            }
            let (client, server) = pair(&setup);
            let (peer, mut end) = if mine { (server, client) } else { (client, server) };
            end.feed(&Forge::new(peer).typed(22, &[kind, 0, 0, 0]));
            assert_eq!(end.said, [Said::Fail(SENT + 10)], "{:?} {mine} {kind}", setup.version);
            if kind > 30 {
                break;
            }
        }
    }
}

#[test]
fn tickets_that_cannot_be_read() {
    for body in [&[][..], &[1, 2, 3], &[0; 40]] {
        let (client, server) = pair(&Setup::tls13());
        let (mut forge, mut client) = (Forge::new(server), client);
        let mut message = vec![4, 0, 0, body.len() as u8];
        message.extend(body);
        client.feed(&forge.typed(22, &message));
        let failed = client.failure().unwrap();
        assert!(failed == SENT + 50 || failed == SENT + 47, "{failed:x}");
    }
}

#[test]
fn renegotiation_is_refused_with_a_warning_then_fatally() {
    let setup = Setup::tls12();
    for is_client in [false, true] {
        let (client, server) = pair(&setup);
        let (peer, mut end) = if is_client { (server, client) } else { (client, server) };
        let mut forge = Forge::new(peer);
        let hello: &[u8] = if is_client { &[0, 0, 0, 0] } else { &[1, 0, 0, 3, 7, 7, 7] };
        end.feed(&forge.typed(22, hello));
        assert_eq!(end.said, [Said::Control]);
        let mut warning = end.out();
        let (header, body) = warning.split_first_chunk_mut().unwrap();
        let (kind, range) = forge.rx.open(super::Header::read(*header), body).unwrap();
        assert_eq!((kind, &body[range]), (21, &[1, 100][..]));
        end.feed(&forge.typed(23, b"goes on"));
        assert_eq!(end.said.last(), Some(&Said::Data(b"goes on".to_vec())));
        end.feed(&forge.typed(22, hello));
        assert_eq!(end.failure(), Some(SENT + 40));
    }
}

#[test]
fn alerts_of_an_established_connection() {
    for setup in Setup::both() {
        let is_new = setup.version == super::TLS13;
        for level in [1, 2] {
            for alert in 1..=130 {
                let (mut forge, mut server) = forged(&setup);
                server.feed(&forge.typed(21, &[level, alert]));
                let ignored = if is_new { alert == 90 } else { level == 1 };
                let said = match ignored {
                    true => Said::Control,
                    false => Said::Fail(RECEIVED + u64::from(alert)),
                };
                assert_eq!(server.said, [said], "{level} {alert}");
                assert_eq!(server.tls.transmit_len(), 0, "alerts are not answered");
                if alert == 3 {
                    break;
                }
            }
            let (mut forge, mut server) = forged(&setup);
            server.feed(&forge.typed(21, &[level, 90]));
            server.feed(&forge.typed(21, &[level, 0]));
            let is_fatal = !is_new && level == 2;
            assert_eq!(server.said.last() == Some(&Said::Closed), !is_fatal, "{:?}", server.said);
        }
        for (content, alert) in
            [(&[0, 0][..], 47), (&[3, 0], 47), (&[1], 50), (&[1, 0, 1, 0], 50), (&[], 10)]
        {
            let (mut forge, mut server) = forged(&setup);
            server.feed(&forge.typed(21, content));
            assert_eq!(server.said, [Said::Fail(SENT + alert)], "{content:?}");
        }
    }
}

#[test]
fn warnings_are_bounded() {
    for (setup, alert) in [(Setup::tls13(), 90), (Setup::tls12(), 42)] {
        let (mut forge, mut server) = forged(&setup);
        for _ in 0..Limits::default().control_max {
            server.feed(&forge.typed(21, &[1, alert]));
        }
        assert_eq!(server.failure(), None);
        server.feed(&forge.typed(21, &[1, alert]));
        assert_eq!(server.failure(), Some(SENT + 10));
    }
}

#[test]
fn nothing_is_read_behind_close_notify() {
    for setup in Setup::both() {
        let (mut forge, mut server) = forged(&setup);
        let bytes = [forge.typed(21, &[1, 0]), forge.typed(23, b"late"), vec![0xFF; 30]].concat();
        server.feed(&bytes);
        assert_eq!(server.said, [Said::Closed, Said::Closed]);
        assert!(server.input.is_empty() && server.tls.on_eof().is_ok());
        // Sending goes on until we close as well.
        server.write(b"still here");
        assert!(!server.out().is_empty());
        server.tls.close_notify();
        assert_eq!(server.tls.seal_into(b"x", &mut [0; 100]), Err(SealError::Closed));
        assert!(!server.out().is_empty());
        assert_eq!((server.tls.transmit_len(), server.out().len()), (0, 0));
        server.tls.close_notify();
        assert_eq!(server.tls.transmit_len(), 0, "said once");
    }
}

#[test]
fn close_notify_with_rustls() {
    for setup in Setup::both() {
        let (mut ours, mut theirs) = (Ours::client(setup.client()), Theirs::server(setup.server()));
        settle(&mut ours, &mut theirs);
        ours.write(b"the end");
        ours.tls.close_notify();
        settle(&mut ours, &mut theirs);
        assert_eq!(theirs.plain(), b"the end");
        assert!(theirs.closed && theirs.error.is_none());
        theirs.write(b"and yours");
        theirs.rustls.send_close_notify();
        settle(&mut ours, &mut theirs);
        assert_eq!(ours.data(), b"and yours");
        assert_eq!(ours.said.last(), Some(&Said::Closed));
    }
}

#[test]
fn closing_comes_before_an_owed_key_update() {
    let (mut forge, mut server) = forged(&Setup::tls13());
    server.feed(&forge.key_update(1));
    server.tls.close_notify();
    let mut last = server.out();
    let (header, body) = last.split_first_chunk_mut().unwrap();
    let (kind, range) = forge.rx.open(super::Header::read(*header), body).unwrap();
    assert_eq!((kind, &body[range]), (21, &[1, 0][..]));
    assert_eq!(body.len(), 2 + 1 + 16, "nothing behind it");
}

#[test]
fn keys_are_changed_in_time() {
    let setup = Setup::tls13();
    let limits = Limits { records_per_key_max: 4, ..Limits::default() };
    let client = Tls::client(setup.client(), super::fixture::name(), limits).unwrap();
    let (mut ours, mut theirs) = (Ours::new(client), Theirs::server(setup.server()));
    settle(&mut ours, &mut theirs);
    let mut sealed = 0;
    for round in 0..40 {
        ours.write(&[round; 10]);
        let out = ours.out();
        sealed += out.len();
        theirs.feed(&out);
        assert_eq!(theirs.plain(), [round; 10], "{:?}", theirs.error);
    }
    // Ten updates of 27 bytes among 40 records of 32.
    assert!((9..=11).contains(&((sealed - 40 * 32) / 27)), "{sealed}");
    // TLS 1.2 has no other key: nothing happens before the cipher's own limit.
    let (mut client, mut server) = pair_with(&Setup::tls12(), limits);
    exchange(&mut client, &mut server);
    exchange(&mut client, &mut server);
}

#[test]
fn a_key_at_its_end_seals_no_more() {
    let [new, old] = Setup::both();
    for seq in [(1 << 24) - 17, (1 << 23) - 1] {
        let (mut client, _) = pair(&new);
        client.tls.set_tx_seq(seq - 1);
        assert!(client.tls.seal_into(b"x", &mut [0; 100]).is_ok());
        assert_eq!(client.tls.transmit_len() == 0, seq < 1 << 23, "not yet");
        assert!(client.tls.seal_into(b"x", &mut [0; 100]).is_ok());
        if seq > 1 << 23 {
            let refused = client.tls.seal_into(b"x", &mut [0; 100]);
            assert_eq!(refused, Err(SealError::TransmitFirst));
        }
        assert_eq!(client.tls.transmit(&mut [0; 100]), 27, "a key update");
        assert!(client.tls.seal_into(b"x", &mut [0; 100]).is_ok(), "under the next key");
    }
    let (mut client, _) = pair(&old);
    client.tls.set_tx_seq((1 << 24) - 17);
    assert!(client.tls.seal_into(b"x", &mut [0; 100]).is_ok());
    assert_eq!(client.tls.seal_into(b"x", &mut [0; 100]), Err(SealError::KeyExhausted));
    client.tls.close_notify();
    assert!(!client.out().is_empty(), "a goodbye is still possible");
    client.tls.set_tx_seq(1 << 24);
    assert_eq!(client.tls.transmit(&mut [0; 100]), 0, "nothing is sealed beyond");
}
