//! Cryptography of which every draw follows from a seed: the simulator's (feature `_sim`).
//!
//! Role: handshakes that are the same bytes in each run of a seed. Not role: keeping anybody out:
//! a key exchange agrees on what everybody saw of it.
//!
//! *Invariant*: all lengths are those of the real thing.

use std::cell::RefCell;
use std::sync::Arc;

use aws_lc_rs::hmac;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{
    ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom,
    SharedSecret, SupportedKxGroup,
};
use rustls::server::ProducesTickets;
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

use super::client::TlsClientBuilder;
use super::crypto::Crypto;
use super::server::TlsServerBuilder;
use crate::rng::Rng;

thread_local! {
    /// A world and all that happens in it have one thread.
    static DRAWS: RefCell<Rng> = const { RefCell::new(Rng::from_seed(0)) };
}

fn draw(out: &mut [u8]) {
    DRAWS.with_borrow_mut(|draws| {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&draws.u64().to_le_bytes()[..chunk.len()]);
        }
    });
}

fn drawn(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    draw(&mut bytes);
    bytes
}

const CRYPTO: Crypto = Crypto { provider, ticketer: Sealer::make };

macro_rules! repeated {
    ($builder:ident) => {
        impl $builder {
            /// For simulations: what handshakes draw follows from `seed`, in this thread, and from
            /// what was drawn since the last call. Protects nothing.
            #[doc(hidden)]
            pub fn repeated(mut self, seed: u64) -> Self {
                DRAWS.set(Rng::from_seed(seed));
                self.knobs.crypto = CRYPTO;
                self
            }
        }
    };
}
repeated!(TlsServerBuilder);
repeated!(TlsClientBuilder);

fn provider() -> CryptoProvider {
    let kx_groups = GROUPS.iter().map(|group| group as &dyn SupportedKxGroup).collect();
    CryptoProvider { kx_groups, secure_random: &Draws, ..default_provider() }
}

#[derive(Debug)]
struct Draws;

impl SecureRandom for Draws {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        draw(out);
        Ok(())
    }
}

/// A key exchange, as it looks on the wire.
#[derive(Debug, Clone, Copy)]
struct Group {
    name: NamedGroup,
    client_len: usize,
    server_len: usize,
    secret_len: usize,
}

static GROUPS: [Group; 2] = [
    Group { name: NamedGroup::X25519, client_len: 32, server_len: 32, secret_len: 32 },
    Group { name: NamedGroup::X25519MLKEM768, client_len: 1216, server_len: 1120, secret_len: 64 },
];

impl Group {
    /// What two shares agree on, whoever has which.
    fn secret(&self, one: &[u8], other: &[u8]) -> SharedSecret {
        let mut secret = vec![0; self.secret_len];
        for share in [one, other] {
            for (at, byte) in share.iter().enumerate() {
                secret[at % self.secret_len] ^= byte;
            }
        }
        SharedSecret::from(secret)
    }
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Exchange { group: *self, share: drawn(self.client_len) }))
    }

    fn start_and_complete(&self, peer: &[u8]) -> Result<CompletedKeyExchange, Error> {
        check_len(peer, self.client_len)?;
        let pub_key = drawn(self.server_len);
        let secret = self.secret(&pub_key, peer);
        Ok(CompletedKeyExchange { group: self.name, pub_key, secret })
    }

    fn name(&self) -> NamedGroup {
        self.name
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.name == NamedGroup::X25519 || version == ProtocolVersion::TLSv1_3
    }
}

/// One that waits for the other share.
struct Exchange {
    group: Group,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        check_len(peer, self.group.server_len)?;
        Ok(self.group.secret(&self.share, peer))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        self.group.name
    }
}

fn check_len(share: &[u8], len: usize) -> Result<(), Error> {
    match share.len() == len {
        true => Ok(()),
        false => Err(Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare)),
    }
}

/// Tickets that are as long as sealed ones, and that nobody else can make.
#[derive(Debug)]
struct Sealer(hmac::Key);

impl Sealer {
    /// The name of the key and the IV.
    const HEAD_LEN: usize = 32;
    const TAG_LEN: usize = 32;
    /// AES-CBC fills up its last block.
    const BLOCK_LEN: usize = 16;

    fn make() -> Result<Arc<dyn ProducesTickets>, Error> {
        Ok(Arc::new(Self(hmac::Key::new(hmac::HMAC_SHA256, &drawn(32)))))
    }
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        12 * 60 * 60
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let padding = Self::BLOCK_LEN - plain.len() % Self::BLOCK_LEN;
        let mut ticket = drawn(Self::HEAD_LEN);
        ticket.extend(plain);
        ticket.resize(ticket.len() + padding, padding as u8);
        let tag = hmac::sign(&self.0, &ticket);
        ticket.extend(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (body, tag) = ticket.split_at_checked(ticket.len().checked_sub(Self::TAG_LEN)?)?;
        hmac::verify(&self.0, body, tag).ok()?;
        let padding = usize::from(*body.last()?);
        Some(body.get(Self::HEAD_LEN..body.len().checked_sub(padding)?)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_every_run_does() {
        let run = || {
            DRAWS.set(Rng::from_seed(7));
            GROUPS.map(|group| {
                let client = group.start().unwrap();
                let server = group.start_and_complete(client.pub_key()).unwrap();
                let secret = client.complete(&server.pub_key).unwrap();
                assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
                secret.secret_bytes().to_vec()
            })
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn shares_and_tickets_are_as_long_as_real_ones() {
        for group in &GROUPS {
            let mut real = default_provider().kx_groups.into_iter();
            let real = real.find(|real| real.name() == group.name).unwrap();
            let client = real.start().unwrap();
            let server = real.start_and_complete(client.pub_key()).unwrap();
            assert_eq!(client.pub_key().len(), group.client_len);
            assert_eq!(server.pub_key.len(), group.server_len);
            assert_eq!(server.secret.secret_bytes().len(), group.secret_len);
        }
        let (real, own) = ((Crypto::default().ticketer)().unwrap(), Sealer::make().unwrap());
        for len in 0..40 {
            let plain = vec![9; len];
            let ticket = own.encrypt(&plain).unwrap();
            assert_eq!(ticket.len(), real.encrypt(&plain).unwrap().len());
            assert_eq!(own.decrypt(&ticket), Some(plain));
            assert_eq!(Sealer::make().unwrap().decrypt(&ticket), None, "of another key");
            assert_eq!(own.decrypt(&ticket[1..]), None);
        }
    }
}
