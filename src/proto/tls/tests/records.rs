//! Records after the handshake: sizes, padding, tampering, floods, the three ways to seal.

use super::ends::{End, Ours, Said, Theirs, exchange, pair, pair_with, settle};
use super::fixture::{Setup, suites};
use super::forge::Forge;
use crate::code;
use crate::proto::tls::wire::PLAIN_LEN_MAX;
use crate::proto::tls::{HEAD_MAX, Limits, Opened, SealError, TAIL_MAX};

const SENT: u64 = code::TLS_ALERT_SENT;

/// The forged client's first record makes the server say this, and nothing else.
#[track_caller]
fn check(setup: &Setup, forge: impl FnOnce(&mut Forge) -> Vec<u8>, expected: &[Said]) -> Ours {
    let (client, mut server) = pair(setup);
    let record = forge(&mut Forge::new(client));
    server.feed(&record);
    assert_eq!(server.said, expected, "{:?}", setup.version);
    server
}

#[test]
fn all_sizes_and_all_ways_to_seal() {
    for suite in suites() {
        let (mut client, mut server) = pair(&Setup::new(suite));
        for len in [0, 1, 2, 15, 16, 17, 1000, PLAIN_LEN_MAX - 1, PLAIN_LEN_MAX] {
            let data: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            let (head_len, tail_len) = client.tls.overhead();

            let mut into = vec![0; HEAD_MAX + len + TAIL_MAX];
            let sealed_len = client.tls.seal_into(&data, &mut into).unwrap();
            assert_eq!(sealed_len, head_len + len + tail_len);
            server.feed(&into[..sealed_len]);

            let mut buf = vec![0xEE; 7 + HEAD_MAX + len + TAIL_MAX];
            let payload = 7 + HEAD_MAX..7 + HEAD_MAX + len;
            buf[payload.clone()].copy_from_slice(&data);
            let range = client.tls.seal_in_place(&mut buf, payload).unwrap();
            assert!(buf[..range.start].iter().all(|byte| *byte == 0xEE), "written before");
            assert!(buf[range.end..].iter().all(|byte| *byte == 0xEE), "written behind");
            server.feed(&buf[range]);

            assert_eq!(std::mem::take(&mut server.said), vec![Said::Data(data); 2]);
        }
    }
}

#[test]
fn sealing_is_refused_without_room() {
    for setup in Setup::both() {
        let (mut client, mut server) = pair(&setup);
        let (head_len, tail_len) = client.tls.overhead();
        let need = head_len + 10 + tail_len;
        let short = Err(SealError::NoRoom { need });
        assert_eq!(client.tls.seal_into(&[7; 10], &mut vec![0; need - 1]), short);
        let mut buf = vec![0; need];
        for payload in [head_len - 1..head_len + 9, head_len + 1..head_len + 11] {
            let refused = client.tls.seal_in_place(&mut buf, payload).unwrap_err();
            assert_eq!(refused, SealError::NoRoom { need });
        }
        let max = client.tls.plain_max();
        let refused = client.tls.seal_into(&vec![0; max + 1], &mut vec![0; 20_000]);
        assert_eq!(refused, Err(SealError::TooLong { len: max + 1, max }));
        // None of these took a sequence number.
        exchange(&mut client, &mut server);
    }
}

#[test]
fn sealing_waits_for_the_handshake_and_its_flight() {
    for setup in Setup::both() {
        let mut client = Ours::client(setup.client());
        let mut out = [0; 100];
        assert_eq!(client.tls.seal_into(b"x", &mut out), Err(SealError::NotEstablished));
        let mut server = Ours::server(setup.server());
        while !client.tls.is_established() || !server.tls.is_established() {
            for _ in 0..2 {
                let flight = client.out();
                server.feed(&flight);
                if server.tls.is_established() && server.tls.transmit_len() > 0 {
                    let refused = server.tls.seal_into(b"x", &mut out);
                    assert_eq!(refused, Err(SealError::TransmitFirst));
                }
                std::mem::swap(&mut client, &mut server);
            }
        }
        settle(&mut client, &mut server);
        exchange(&mut client, &mut server);
    }
}

#[test]
fn a_smaller_record_size_is_kept() {
    let limits = Limits { plain_len_max: 100, ..Limits::default() };
    let (mut client, _) = pair_with(&Setup::tls13(), limits);
    assert_eq!(client.tls.plain_max(), 100);
    let refused = client.tls.seal_into(&[0; 101], &mut [0; 200]);
    assert_eq!(refused, Err(SealError::TooLong { len: 101, max: 100 }));
}

#[test]
fn padding_is_stripped() {
    let setup = Setup::tls13();
    for (len, padding) in
        [(0, 0), (0, 1), (5, 1), (5, 15), (5, 16), (5, 17), (5, 16_379), (1000, 100)]
    {
        let data = vec![9; len];
        let inner = [&data[..], &[23], &vec![0; padding][..]].concat();
        check(&setup, |forge| forge.record(23, &inner), &[Said::Data(data)]);
    }
    check(&setup, |forge| forge.record(23, &[0; 40]), &[Said::Fail(SENT + 10)]);
    check(&setup, |forge| forge.record(23, &[]), &[Said::Fail(SENT + 10)]);
}

#[test]
fn zeros_at_the_end_of_data_stay() {
    let mut inner = vec![1; 10];
    inner.extend([0; 50]);
    let data = inner.clone();
    inner.push(23);
    inner.extend([0; 50]);
    check(&Setup::tls13(), |forge| forge.record(23, &inner), &[Said::Data(data)]);
}

#[test]
fn records_that_are_too_long() {
    let [new, old] = Setup::both();
    // Content of one byte more than allowed, and padding beyond the longest inner plaintext.
    let overflow = [Said::Fail(SENT + 22)];
    check(&new, |forge| forge.typed(23, &vec![1; PLAIN_LEN_MAX + 1]), &overflow);
    let mut padded = vec![0; PLAIN_LEN_MAX + 2];
    padded[0] = 23;
    check(&new, |forge| forge.record(23, &padded), &overflow);
    check(&old, |forge| forge.typed(23, &vec![1; PLAIN_LEN_MAX + 1]), &overflow);
    // Refused at the header, without waiting for the rest.
    for (setup, len) in [(&new, PLAIN_LEN_MAX + 257), (&old, PLAIN_LEN_MAX + 2049)] {
        let [high, low] = (len as u16).to_be_bytes();
        check(setup, |_| vec![23, 3, 3, high, low], &overflow);
        let [high, low] = (len as u16 - 1).to_be_bytes();
        check(setup, |_| vec![23, 3, 3, high, low], &[]);
    }
}

#[test]
fn records_that_are_too_short() {
    for setup in Setup::both() {
        for len in 0..16 + 8 {
            let record = [&[23, 3, 3, 0, len as u8][..], &vec![1; len]].concat();
            check(&setup, |_| record, &[Said::Fail(SENT + 20)]);
        }
    }
}

#[test]
fn types_that_cannot_come() {
    let [new, old] = Setup::both();
    let unexpected = [Said::Fail(SENT + 10)];
    for kind in [0, 19, 20, 24, 25, 255] {
        check(&new, |forge| forge.typed(kind, b"x"), &unexpected);
        check(&old, |forge| forge.typed(kind, b"x"), &unexpected);
    }
    for outer in [20, 21, 22, 24] {
        check(&new, |forge| forge.record(outer, b"x\x17"), &unexpected);
    }
    // In the clear.
    for setup in [&new, &old] {
        check(setup, |_| vec![20, 3, 3, 0, 1, 1], &unexpected);
    }
    check(&new, |_| vec![21, 3, 3, 0, 2, 1, 0], &unexpected);
    check(&old, |_| vec![21, 3, 3, 0, 2, 1, 0], &[Said::Fail(SENT + 20)]);
}

#[test]
fn a_bit_flipped_anywhere_is_noticed() {
    for suite in suites() {
        let (client, server) = pair(&Setup::new(suite));
        let (client, server) = (Forge::new(client), Forge::new(server));
        drop((client, server));
        let setup = Setup::new(suite);
        let (mut client, mut server) = pair(&setup);
        client.write(b"forty-two");
        let record = client.out();
        let version = client.tls.info().unwrap().version;
        let server = std::mem::replace(&mut server, Ours::server(setup.server()));
        let mut cipher = server.tls.into_parts().rx;
        let seq = cipher.seq();
        for at in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[at / 8] ^= 1 << (at % 8);
            let (header, body) = changed.split_first_chunk_mut().unwrap();
            let header = super::Header::read(*header);
            // A changed length cuts the body elsewhere; what is there is opened as it is.
            cipher.set_seq(seq);
            let opened = cipher.open(header, body);
            let is_length = (24..40).contains(&at);
            assert!(opened.is_err() || is_length && version == super::TlsVersion::Tls12, "{at}");
        }
        cipher.set_seq(seq + 1);
        let (header, body) = record.split_first_chunk().unwrap();
        let replayed = cipher.open(super::Header::read(*header), &mut body.to_vec());
        assert!(replayed.is_err(), "another sequence number");
        cipher.set_seq(seq);
        let opened = cipher.open(super::Header::read(*header), &mut body.to_vec());
        assert_eq!(opened.unwrap().1.len(), 9);
    }
}

#[test]
fn tampering_ends_the_connection_with_an_alert() {
    for setup in Setup::both() {
        let (mut client, mut server) = pair(&setup);
        client.write(b"some data");
        let mut record = client.out();
        *record.last_mut().unwrap() ^= 1;
        server.feed(&record);
        assert_eq!(server.said, [Said::Fail(SENT + 20)]);
        assert_eq!(server.tls.seal_into(b"x", &mut [0; 100]), Err(SealError::Closed));
        settle(&mut client, &mut server);
        assert_eq!(client.said, [Said::Fail(code::TLS_ALERT_RECEIVED + 20)]);
        assert_eq!(client.tls.transmit_len(), 0, "an alert is not answered");
        assert_eq!(client.tls.seal_into(b"x", &mut [0; 100]), Err(SealError::Closed));
        assert!(matches!(server.tls.open(&mut [23]), Opened::Fail { .. }));
    }
}

#[test]
fn replayed_and_reordered_records_are_refused() {
    for setup in Setup::both() {
        let (mut client, mut server) = pair(&setup);
        client.write(b"one");
        let one = client.out();
        client.write(b"two");
        let two = client.out();
        server.feed(&two);
        assert_eq!(server.said, [Said::Fail(SENT + 20)], "the second first");
        let (mut client, mut server) = pair(&setup);
        client.write(b"one");
        let again = client.out();
        server.feed(&again);
        server.feed(&again);
        assert_eq!(server.said, [Said::Data(b"one".to_vec()), Said::Fail(SENT + 20)]);
        drop(one);
    }
}

#[test]
fn empty_records_are_bounded() {
    for setup in Setup::both() {
        let max = Limits::default().empty_records_max;
        let (client, mut server) = pair(&setup);
        let mut forge = Forge::new(client);
        // Data in between is enough.
        for _ in 0..3 {
            for _ in 0..max {
                server.feed(&forge.typed(23, b""));
            }
            server.feed(&forge.typed(23, b"x"));
        }
        assert_eq!(server.failure(), None);
        for _ in 0..=max {
            assert_eq!(server.failure(), None);
            server.feed(&forge.typed(23, b""));
        }
        assert_eq!(server.failure(), Some(SENT + 10));
    }
}

#[test]
fn rustls_reads_what_is_sealed_in_place() {
    for suite in suites() {
        let setup = Setup::new(suite);
        let (mut ours, mut theirs) = (Ours::client(setup.client()), Theirs::server(setup.server()));
        settle(&mut ours, &mut theirs);
        for len in [0, 1, 1000, PLAIN_LEN_MAX] {
            let mut buf = vec![0; HEAD_MAX + len + TAIL_MAX];
            buf[HEAD_MAX..HEAD_MAX + len].fill(3);
            let range = ours.tls.seal_in_place(&mut buf, HEAD_MAX..HEAD_MAX + len).unwrap();
            theirs.feed(&buf[range]);
            assert_eq!(theirs.plain(), vec![3; len]);
        }
        assert_eq!(theirs.error, None);
    }
}
