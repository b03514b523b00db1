//! Which certificate a ClientHello is answered with.
//!
//! Invariant: each entry is loaded once per ClientHello, so a handshake has one certificate from
//! beginning to end, whatever is reloaded meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::cert::covers;
use super::sni::NameTable;

/// A certificate that can be replaced.
pub(super) type Entry = ArcSwap<CertifiedKey>;

/// What a client gets that asks for a name which the table lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UnknownName {
    /// The default certificate, and it is up to the client: the default.
    #[default]
    Default,
    /// An `access_denied` alert, unless the default certificate is for that name. A client that
    /// asks for no name still gets the default.
    Refuse,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) default: Entry,
    pub(super) names: NameTable<Entry>,
    pub(super) unknown: UnknownName,
}

impl Table {
    pub(super) fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name else { return Some(self.default.load_full()) };
        if let Some(entry) = self.names.find(name) {
            return Some(entry.load_full());
        }
        let default = self.default.load_full();
        match self.unknown {
            UnknownName::Refuse if !covers(&default.cert, name) => None,
            _ => Some(default),
        }
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}
