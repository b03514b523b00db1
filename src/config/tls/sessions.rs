//! What lets a client resume: ticket keys, and the cache for those without tickets.
//!
//! Invariant: both can be replaced while handshakes run, and then nothing from before resumes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
};

use super::crypto::Crypto;
use super::error::TlsConfigError;
use super::knobs::refused;

/// The keys that seal tickets: RFC 8446 §4.6.1 for TLS 1.3, RFC 5077 for TLS 1.2. The library makes
/// a new one every six hours and accepts the one before.
#[derive(Debug)]
pub(super) struct TicketKeys {
    sealer: ArcSwap<Arc<dyn ProducesTickets>>,
    crypto: Crypto,
}

impl TicketKeys {
    pub(super) fn new(crypto: Crypto) -> Result<Self, TlsConfigError> {
        let sealer = ArcSwap::from_pointee((crypto.ticketer)().map_err(refused)?);
        Ok(Self { sealer, crypto })
    }

    fn renew(&self) -> Result<(), TlsConfigError> {
        self.sealer.store(Arc::new((self.crypto.ticketer)().map_err(refused)?));
        Ok(())
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        self.sealer.load().enabled()
    }

    fn lifetime(&self) -> u32 {
        self.sealer.load().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.sealer.load().encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.sealer.load().decrypt(cipher)
    }
}

/// Sessions that the server remembers itself.
#[derive(Debug)]
pub(super) struct Cache {
    len_max: usize,
    stored: ArcSwap<Arc<dyn StoresServerSessions>>,
}

impl Cache {
    /// Of so many sessions; 0 is none.
    pub(super) fn new(len_max: usize) -> Self {
        Self { len_max, stored: ArcSwap::from_pointee(Self::empty(len_max)) }
    }

    fn empty(len_max: usize) -> Arc<dyn StoresServerSessions> {
        match len_max {
            0 => Arc::new(NoServerSessionStorage {}),
            len_max => ServerSessionMemoryCache::new(len_max),
        }
    }
}

impl StoresServerSessions for Cache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.stored.load().put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.stored.load().get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.stored.load().take(key)
    }

    fn can_cache(&self) -> bool {
        self.stored.load().can_cache()
    }
}

/// Sessions that only those find who name the scope that they were stored under: of one cache,
/// which they share with others.
#[derive(Debug)]
pub(super) struct Scoped {
    scope: Box<[u8]>,
    cache: Arc<Cache>,
}

impl Scoped {
    pub(super) fn new(scope: &[u8], cache: &Arc<Cache>) -> Self {
        Self { scope: scope.into(), cache: Arc::clone(cache) }
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [&self.scope, key].concat()
    }
}

impl StoresServerSessions for Scoped {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.cache.put(self.key(&key), value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.get(&self.key(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.cache.take(&self.key(key))
    }

    fn can_cache(&self) -> bool {
        self.cache.can_cache()
    }
}

/// No tickets: sessions are remembered instead.
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Both, for whoever replaces them.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    /// `None`: no tickets.
    pub(super) tickets: Option<Arc<TicketKeys>>,
    pub(super) cache: Arc<Cache>,
}

impl Sessions {
    pub(super) fn forget(&self) -> Result<(), TlsConfigError> {
        if let Some(tickets) = &self.tickets {
            tickets.renew()?;
        }
        self.cache.stored.store(Arc::new(Cache::empty(self.cache.len_max)));
        Ok(())
    }
}
