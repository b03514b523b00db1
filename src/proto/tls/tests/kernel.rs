//! What is handed to the kernel, and what of TLS is still ours then.

use std::collections::BTreeSet;

use super::ends::{End, Ours, exchange, pair};
use super::fixture::{Setup, suites};
use super::forge::Forge;
use crate::code;
use crate::config::{KtlsReason, KtlsSide, KtlsState};
use crate::proto::tls::{HandOver, Opened, SealError};
use crate::sys::errno;
use crate::sys::ktls::{Refusal, Side};

const SENT: u64 = code::TLS_ALERT_SENT;

fn hand_over(end: &mut Ours, side: Side, rekeys: bool) {
    end.tls.kernel_key(side).map(drop).unwrap();
    end.tls.hand_over(side, HandOver { rekeys, bytes_sent: 0 });
}

/// What is to be sent for TLS itself, as often as there is something.
fn own_records(end: &mut Ours) -> Vec<(u8, Vec<u8>)> {
    let mut out = Vec::new();
    while let Some((kind, own)) = end.tls.own_record() {
        out.push((kind, own.as_slice().to_vec()));
        end.tls.own_record_sent();
    }
    out
}

fn failure(opened: Opened) -> u64 {
    let Opened::Fail { error } = opened else { panic!("{opened:?}") };
    error.code
}

#[test]
fn keys_are_handed_over_between_messages_only() {
    for suite in suites() {
        let (mut client, mut server) = pair(&Setup::new(suite));
        exchange(&mut client, &mut server);
        for (a, b) in [(Side::Tx, Side::Rx), (Side::Rx, Side::Tx)] {
            let (a, b) = (client.tls.kernel_key(a).unwrap(), server.tls.kernel_key(b).unwrap());
            assert_eq!((a.key, a.seq, a.suite, a.iv), (b.key, b.seq, b.suite, b.iv));
            assert!(a.seq >= 1);
        }
    }
    let why = |end: &Ours, side| end.tls.kernel_key(side).err().unwrap();
    let setup = Setup::tls13();
    assert_eq!(why(&Ours::server(setup.server()), Side::Rx), "the handshake is not done");
    let (client, mut server) = pair(&setup);
    let mut forge = Forge::new(client);
    server.feed(&forge.typed(22, &[24]));
    assert_eq!(why(&server, Side::Rx), "a handshake message is not whole yet");
    assert!(server.tls.kernel_key(Side::Tx).is_ok(), "the other direction is");
    let (client, mut server) = pair(&setup);
    server.feed(&Forge::new(client).key_update(1));
    assert_eq!(why(&server, Side::Tx), "a record of TLS's own waits to be sent");
    let (mut client, _) = pair(&setup);
    client.tls.close_notify();
    client.out();
    assert_eq!(why(&client, Side::Tx), "sending has ended");
    hand_over(&mut client, Side::Rx, false);
    assert_eq!(why(&client, Side::Rx), "the kernel has it");
}

#[test]
fn a_flight_goes_out_before() {
    let setup = Setup::tls13();
    let mut client = Ours::client(setup.client());
    let mut server = Ours::server(setup.server());
    server.feed(&client.out());
    client.feed(&server.out());
    assert!(client.tls.is_established());
    let why = client.tls.kernel_key(Side::Tx).err().unwrap();
    assert_eq!(why, "the last flight waits to be sent");
    client.out();
    assert!(client.tls.kernel_key(Side::Tx).is_ok());
}

/// RFC 5288 §3: "The nonce_explicit MUST be distinct for each invocation of the GCM encrypt
/// function for any fixed key."
#[test]
fn the_kernels_explicit_nonces_are_none_of_ours() {
    let (mut client, _) = pair(&Setup::tls12());
    let mut used = BTreeSet::new();
    for _ in 0..500 {
        client.write(b"x");
        let record = client.out();
        used.insert(u64::from_be_bytes(*record[5..].first_chunk().unwrap()));
    }
    assert_eq!(used.len(), 500);
    let key = client.tls.kernel_key(Side::Tx).unwrap();
    let start = u64::from_be_bytes(*key.iv.last_chunk().unwrap());
    // All that it can count to differs from all of ours in the first bit.
    for theirs in [start, start + (1 << 24), start + u64::from(u32::MAX)] {
        assert!(used.iter().all(|ours| (ours ^ theirs) >> 63 == 1), "{start:x}");
    }
}

#[test]
fn what_the_kernel_does_is_not_done_twice() {
    for setup in Setup::both() {
        let (mut client, _) = pair(&setup);
        for side in [Side::Tx, Side::Rx] {
            hand_over(&mut client, side, false);
        }
        assert_eq!(client.tls.seal_into(b"x", &mut [0; 100]), Err(SealError::Kernel));
        assert_eq!(client.tls.seal_in_place(&mut [0; 100], 20..30), Err(SealError::Kernel));
        assert_eq!(client.tls.overhead(), (0, 0));
        let opened = client.tls.open(&mut [23, 3, 3, 0, 20].repeat(6));
        assert_eq!(failure(opened), SENT + 80);
    }
}

#[test]
fn tls_has_its_own_to_say_there_too() {
    for setup in Setup::both() {
        let (mut client, _) = pair(&setup);
        hand_over(&mut client, Side::Tx, true);
        assert_eq!(own_records(&mut client), []);
        client.tls.close_notify();
        assert_eq!((client.tls.transmit_len(), client.tls.transmit(&mut [0; 100])), (0, 0));
        let (_, own) = client.tls.own_record().unwrap();
        assert!(own.is_last());
        assert_eq!(own_records(&mut client), [(21, vec![1, 0])]);
    }
    let (mut client, _) = pair(&Setup::tls12());
    for side in [Side::Tx, Side::Rx] {
        hand_over(&mut client, side, false);
    }
    let opened = client.tls.on_kernel_record(22, &[0, 0, 0, 0], 0);
    assert!(matches!(opened, Opened::Control { .. }));
    assert_eq!(own_records(&mut client), [(21, vec![1, 100])], "no_renegotiation");
    assert_eq!(failure(client.tls.on_kernel_record(22, &[0, 0, 0, 0], 0)), SENT + 40);
    assert_eq!(own_records(&mut client), [(21, vec![2, 40])]);
}

#[test]
fn kernels_that_change_keys_get_the_peers_next_ones() {
    let (mut client, mut server) = pair(&Setup::tls13());
    for end in [&mut client, &mut server] {
        for side in [Side::Tx, Side::Rx] {
            hand_over(end, side, true);
        }
    }
    client.tls.update_key();
    assert_eq!(own_records(&mut client), [(22, vec![24, 0, 0, 1, 0])]);
    // It asks for one in return, which one of ours does not.
    let opened = server.tls.on_kernel_record(22, &[24, 0, 0, 1, 1], 0);
    assert!(matches!(opened, Opened::Control { .. }));
    let told = |end: &Ours, side| {
        let key = end.tls.next_kernel_key(side)?;
        Some((key.key.to_vec(), key.iv, key.seq))
    };
    assert!(told(&client, Side::Tx).is_some());
    assert_eq!(told(&client, Side::Tx), told(&server, Side::Rx));
    assert_eq!(told(&server, Side::Tx), None, "not before it is said");
    assert_eq!(own_records(&mut server), [(22, vec![24, 0, 0, 1, 0])]);
    client.tls.on_kernel_record(22, &[24, 0, 0, 1, 0], 0);
    assert_eq!(told(&server, Side::Tx), told(&client, Side::Rx));
    server.tls.kernel_renewed(Side::Rx, 0);
    assert_eq!(told(&server, Side::Rx), None);
    let failed = server.tls.kernel_not_renewed(Side::Tx);
    assert_eq!(failed.code, code::TLS_NO_REKEY);
    assert_eq!(own_records(&mut server), [], "nothing that the peer could read");
}

#[test]
fn kernels_that_cannot_change_keys_end_it_by_name() {
    let cases =
        [(Side::Rx, 0, true), (Side::Rx, 1, true), (Side::Tx, 0, false), (Side::Tx, 1, true)];
    for (side, asks, ends) in cases {
        let (client, mut server) = pair(&Setup::tls13());
        hand_over(&mut server, side, false);
        let opened = match side {
            Side::Rx => server.tls.on_kernel_record(22, &[24, 0, 0, 1, asks], 0),
            Side::Tx => {
                let mut record = Forge::new(client).key_update(asks);
                server.tls.open(&mut record)
            }
        };
        match ends {
            true => assert_eq!(failure(opened), code::TLS_NO_REKEY, "{side:?} {asks}"),
            false => assert!(matches!(opened, Opened::Control { .. })),
        }
    }
    let (mut client, _) = pair(&Setup::tls13());
    hand_over(&mut client, Side::Tx, false);
    client.tls.update_key();
    assert_eq!(own_records(&mut client), [], "and nobody asks them");
}

#[test]
fn a_key_of_the_kernels_is_not_worn_out() {
    const RECORDS_MAX: u64 = (1 << 24) - 16;
    for (setup, rekeys) in [(Setup::tls12(), false), (Setup::tls13(), false)] {
        let (mut client, _) = pair(&setup);
        hand_over(&mut client, Side::Tx, rekeys);
        // By bytes: so many full records went out before this send.
        assert_eq!(client.tls.check_kernel_send((RECORDS_MAX - 100) << 14), Ok(()));
        assert_eq!(client.tls.check_kernel_send(RECORDS_MAX << 14), Err(SealError::KeyExhausted));
        client.tls.close_notify();
        assert_eq!(own_records(&mut client), [(21, vec![1, 0])], "a goodbye is still possible");
    }
    let (mut client, _) = pair(&Setup::tls13());
    hand_over(&mut client, Side::Tx, true);
    assert_eq!(client.tls.check_kernel_send(((1 << 23) - 100) << 14), Ok(()));
    assert_eq!(own_records(&mut client), []);
    assert_eq!(client.tls.check_kernel_send(1 << 23 << 14), Ok(()));
    assert_eq!(own_records(&mut client), [(22, vec![24, 0, 0, 1, 0])], "with as many to spare");
    client.tls.kernel_renewed(Side::Tx, 1 << 23 << 14);
    assert_eq!(client.tls.check_kernel_send(1 << 23 << 14), Ok(()));
    assert_eq!(own_records(&mut client), [], "the next key is new");
    // By sends: each may end with a short record.
    let (mut client, _) = pair(&Setup::tls12());
    hand_over(&mut client, Side::Tx, false);
    let mut sends = 0_u64;
    while client.tls.check_kernel_send(0).is_ok() {
        sends += 1;
    }
    assert!((RECORDS_MAX - 5..RECORDS_MAX).contains(&sends), "{sends}");
}

#[test]
fn records_that_the_kernel_opened_mean_the_same() {
    let end = |setup: &Setup| {
        let (mut client, _) = pair(setup);
        hand_over(&mut client, Side::Rx, true);
        client
    };
    for setup in Setup::both() {
        let mut client = end(&setup);
        assert!(matches!(client.tls.on_kernel_record(21, &[1, 0], 0), Opened::Closed { .. }));
        assert!(client.tls.on_eof().is_ok());
        // Nothing behind it is looked at.
        let late = client.tls.on_kernel_record(21, &[2, 40], 0);
        assert!(matches!(late, Opened::Control { .. }));
        assert_eq!(end(&setup).tls.on_eof().unwrap_err().code, code::TLS_TRUNCATED);
        let fatal = end(&setup).tls.on_kernel_record(21, &[2, 40], 0);
        assert_eq!(failure(fatal), code::TLS_ALERT_RECEIVED + 40);
        assert_eq!(failure(end(&setup).tls.on_kernel_record(20, &[1], 0)), SENT + 10);
        assert_eq!(failure(end(&setup).tls.on_kernel_record(22, &[], 0)), SENT + 10);
    }
    let mut client = end(&Setup::tls13());
    let ticket = [4, 0, 1, 0];
    assert!(matches!(client.tls.on_kernel_record(22, &ticket, 0), Opened::Control { .. }));
    let between = client.tls.on_kernel_record(22, &[0; 256], 1);
    assert_eq!(failure(between), SENT + 10, "data in the middle of a message");
}

#[test]
fn control_records_without_data_are_bounded() {
    let (mut client, _) = pair(&Setup::tls13());
    hand_over(&mut client, Side::Rx, true);
    let update = [24, 0, 0, 1, 0];
    for _ in 0..1000 {
        let opened = client.tls.on_kernel_record(22, &update, 64 << 10);
        assert!(matches!(opened, Opened::Control { .. }), "data in between is enough");
    }
    let mut storm = (0..40).map(|_| client.tls.on_kernel_record(22, &update, 0));
    let end = storm.find(|opened| !matches!(opened, Opened::Control { .. }));
    assert_eq!(failure(end.unwrap()), SENT + 10);
}

#[test]
fn what_the_kernel_cannot_open_has_its_alert() {
    for (errno, alert) in [(errno::EBADMSG, 20), (errno::EMSGSIZE, 22), (errno::EINVAL, 50)] {
        for setup in Setup::both() {
            let (mut client, _) = pair(&setup);
            for side in [Side::Tx, Side::Rx] {
                hand_over(&mut client, side, false);
            }
            assert_eq!(client.tls.on_kernel_fault(errno).code, SENT + u64::from(alert));
            assert_eq!(own_records(&mut client), [(21, vec![2, alert])]);
        }
    }
}

#[test]
fn who_does_the_records_is_told() {
    let (mut client, _) = pair(&Setup::tls13());
    let told = |end: &Ours| end.tls.info().unwrap().kernel;
    assert_eq!(told(&client), KtlsState::default());
    client.tls.note_layer(Side::Rx, Err(Refusal::NoModule));
    hand_over(&mut client, Side::Tx, false);
    let [tx, rx] = [KtlsSide::Kernel, KtlsSide::UserSpace(KtlsReason::NoModule)];
    assert_eq!((told(&client).tx, told(&client).rx), (tx, rx));
}
