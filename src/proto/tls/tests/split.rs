//! C6: however the same bytes are cut, the same is said.

use std::sync::Arc;

use super::ends::{End, Ours, Said, Theirs, settle};
use super::fixture::Setup;

/// What a client says of everything that a server sent, cut after every `step` bytes.
///
/// The server's answers depend on what the client sends, which has random numbers in it, so the
/// stream is made anew for each cut; what is said is compared.
fn said(setup: &Setup, ours_is_client: bool, step: usize, together: bool) -> Vec<Said> {
    let (client, server) = (setup.client(), setup.server());
    let (mut ours, mut theirs) = match ours_is_client {
        true => (Ours::client(Arc::clone(&client)), Theirs::server(server)),
        false => (Ours::server(server), Theirs::client(client)),
    };
    let mut sent_data = false;
    for _ in 0..20 {
        let out = ours.out();
        theirs.feed(&out);
        if !sent_data && !theirs.rustls.is_handshaking() {
            sent_data = true;
            for len in [0, 1, 300] {
                theirs.write(&vec![5; len]);
            }
            if setup.version == super::TLS13 {
                theirs.rustls.refresh_traffic_keys().unwrap();
            }
            theirs.write(b"bye");
            theirs.rustls.send_close_notify();
        }
        let bytes = theirs.out();
        let whole = if together { bytes.len().max(1) } else { step };
        for piece in bytes.chunks(whole) {
            ours.feed(piece);
        }
    }
    assert_eq!(theirs.error, None);
    ours.said
}

#[test]
fn the_same_is_said_however_the_stream_is_cut() {
    for setup in Setup::both() {
        for client_cert in [false, true] {
            for fragment in [None, Some(64)] {
                let setup = setup.clone().with(|s| {
                    s.client_cert = client_cert;
                    s.fragment = fragment;
                });
                for ours_is_client in [false, true] {
                    let whole = said(&setup, ours_is_client, 0, true);
                    assert_eq!(whole.last(), Some(&Said::Closed), "{whole:?}");
                    let count = whole.iter().filter(|said| **said == Said::Established).count();
                    assert_eq!(count, 1);
                    for step in [1, 2, 3, 5, 7, 64, 1000] {
                        let cut = said(&setup, ours_is_client, step, false);
                        // Certificates vary by a byte or so in their signatures: what counts is
                        // the order and the data.
                        assert_eq!(cut, whole, "{step} bytes at a time");
                    }
                }
            }
        }
    }
}

#[test]
fn records_cut_at_every_byte() {
    for setup in Setup::both() {
        let (mut ours, mut theirs) = (Ours::server(setup.server()), Theirs::client(setup.client()));
        settle(&mut theirs, &mut ours);
        for at in 0..200 {
            ours.said.clear();
            theirs.write(&[1; 40]);
            theirs.write(&[2; 30]);
            let bytes = theirs.out();
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            ours.feed(a);
            ours.feed(b);
            assert_eq!(ours.said, [Said::Data(vec![1; 40]), Said::Data(vec![2; 30])], "{at}");
        }
    }
}
