//! A client that shakes hands and, under the handshake's keys, sends what nobody should before it
//! finishes. rustls sees these records; held is that nothing panics and nothing is established.

use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use rustls::{ClientConfig, KeyLog};

use super::ends::{End, Ours, Theirs};
use super::fixture::Setup;
use super::told::check_told;
use crate::code;

/// Records of one attempt.
const SEQUENCE_LEN: u32 = 3;

/// Keeps the client's handshake secret.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_HANDSHAKE_TRAFFIC_SECRET" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of RFC 8446 §7.1 with an empty context.
fn expand<const N: usize>(secret: &[u8], label: &str) -> [u8; N] {
    let label = format!("tls13 {label}");
    let info = [&[0, N as u8, label.len() as u8][..], label.as_bytes(), &[0]].concat();
    let mut out = [0; N];
    let prk = Prk::new_less_safe(HKDF_SHA256, secret);
    prk.expand(&[&info], Len(N)).unwrap().fill(&mut out).unwrap();
    out
}

struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
    seq: u8,
}

impl Sealer {
    fn new(secret: &[u8]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &expand::<16>(secret, "key")).unwrap();
        Self { key: LessSafeKey::new(key), iv: expand(secret, "iv"), seq: 0 }
    }

    fn record(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        nonce[11] ^= self.seq;
        self.seq += 1;
        let mut record = vec![23, 3, 3, 0, inner.len() as u8 + 16];
        let mut sealed = inner.to_vec();
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(record.clone()));
        self.key.seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
        record.extend(sealed);
        record
    }
}

/// The `choice`th kind of record.
fn record(sealer: &mut Sealer, choice: u32) -> Vec<u8> {
    match choice {
        0 => sealer.record(&[22]),
        1 => sealer.record(&[22, 0, 0, 0, 0]),
        2 => sealer.record(&[20, 0, 0, 22]),
        3 => sealer.record(&[1, 90, 21]),
        4 => sealer.record(&[1, 0, 21]),
        5 => sealer.record(&[23]),
        6 => vec![20, 3, 3, 0, 1, 1],
        _ => vec![21, 3, 3, 0, 2, 1, 90],
    }
}

#[test]
fn records_under_handshake_keys_never_panic() {
    let setup = Setup::tls13();
    let server = setup.server();
    let (mut alone, mut untold) = (0, 0);
    for sequence in 0..8u32.pow(SEQUENCE_LEN) {
        let secret = Arc::new(Secret::default());
        let mut config = ClientConfig::clone(&setup.client());
        config.key_log = Arc::clone(&secret) as Arc<dyn KeyLog>;
        let (mut client, mut ours) =
            (Theirs::client(config.into()), Ours::server(Arc::clone(&server)));
        ours.feed(&client.out());
        client.feed(&ours.out());
        let finished = client.out();
        let mut sealer = Sealer::new(&secret.0.lock().unwrap());
        for at in 0..SEQUENCE_LEN {
            let is_over = ours.failure().is_some();
            ours.feed(&record(&mut sealer, sequence >> (3 * at) & 7));
            let out = ours.out();
            if let Some(failure) = ours.failure().filter(|_| !is_over)
                && failure & !0xFF != code::TLS_ALERT_RECEIVED
            {
                untold += u32::from(!check_told(failure, &out));
            }
        }
        // Sealed as the first, it is the first only if nothing was sealed before.
        ours.feed(&finished);
        ours.out();
        assert_eq!(ours.tls.is_established(), sealer.seq == 0 && ours.failure().is_none());
        alone += u32::from(ours.tls.is_established());
        assert!(ours.tls.is_established() || ours.failure().is_some(), "{:?}", ours.said);
    }
    // rustls ends some without an alert, and we have no key to seal one with.
    assert!(untold > 0, "{untold} were not told");
    // Warnings in the clear, and one ChangeCipherSpec beside the client's own.
    assert_eq!(alone, 1 + SEQUENCE_LEN, "sequences that are borne");
}
