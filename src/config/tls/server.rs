//! What a TLS listener, or the accepting side of STARTTLS, is made with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::error::TlsConfigFault as Fault;

use super::client_auth::{ClientAuth, CrlSource, Demand};
use super::error::TlsConfigError;
use super::identity::TlsIdentity;
use super::knobs::{Knobs, in_range, knob_getters, knob_methods, refused};
use super::names::TlsVersion;
use super::reload::CertReloadHandle;
use super::roots::Roots;
use super::sessions::{Cache, NoTickets, Scoped, Sessions, TicketKeys};
use super::sni::{NameTable, SniName};
use super::table::{Entry, Table, UnknownName};

/// Entries of the table of certificates.
const NAMES_MAX: usize = 65_536;
const SESSION_CACHE_MAX: usize = 1 << 20;
const TICKETS_MAX: usize = 8;

/// The TLS of a server: made once, checked, cheap to clone. Clones share certificates, ticket keys
/// and the session cache; so shards that are given clones resume each other's sessions.
///
/// ```no_run
/// use zero_io::TlsServerConfig;
/// let config = TlsServerConfig::from_pem("chain.pem", "key.pem").alpn(["h2"]).build()?;
/// let reload = config.reload_handle();
/// reload.reload_from_pem("chain.pem", "key.pem")?;
/// # Ok::<(), zero_io::TlsConfigError>(())
/// ```
#[derive(Clone)]
pub struct TlsServerConfig(Arc<Built>);

struct Built {
    rustls: Arc<ServerConfig>,
    reload: CertReloadHandle,
    session_cache: usize,
    knobs: Knobs,
}

/// A [`TlsServerConfig`] in the making. Nothing is read or checked before
/// [`build`](Self::build).
#[derive(Debug, Clone)]
#[must_use = "build() makes the configuration"]
pub struct TlsServerBuilder {
    identity: TlsIdentity,
    names: Vec<(String, TlsIdentity)>,
    unknown: UnknownName,
    client_auth: ClientAuth,
    has_tickets: bool,
    tickets_sent: usize,
    session_cache: usize,
    pub(super) knobs: Knobs,
}

impl TlsServerConfig {
    /// With that default certificate.
    pub fn with_identity(identity: TlsIdentity) -> TlsServerBuilder {
        TlsServerBuilder {
            identity,
            names: Vec::new(),
            unknown: UnknownName::default(),
            client_auth: ClientAuth::default(),
            has_tickets: true,
            tickets_sent: 2,
            session_cache: 256,
            knobs: Knobs::default(),
        }
    }

    /// With the chain and key of two PEM files: see [`TlsIdentity::from_pem`].
    pub fn from_pem(
        cert_chain_path: impl Into<PathBuf>,
        key_path: impl Into<PathBuf>,
    ) -> TlsServerBuilder {
        Self::with_identity(TlsIdentity::from_pem(cert_chain_path, key_path))
    }

    /// With the chain and key of two PEM texts.
    pub fn from_pem_bytes(cert_chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> TlsServerBuilder {
        Self::with_identity(TlsIdentity::from_pem_bytes(cert_chain, key))
    }

    /// With certificates in DER, leaf first, and a key in DER.
    pub fn from_der(
        cert_chain: impl IntoIterator<Item = Vec<u8>>,
        key: impl AsRef<[u8]>,
    ) -> TlsServerBuilder {
        Self::with_identity(TlsIdentity::from_der(cert_chain, key))
    }

    /// Replaces certificates while the server runs.
    #[must_use]
    pub fn reload_handle(&self) -> CertReloadHandle {
        self.0.reload.clone()
    }

    knob_getters!();

    /// What the handshake takes.
    pub(crate) fn rustls(&self) -> &Arc<ServerConfig> {
        &self.0.rustls
    }

    /// Whether it is good for QUIC, which knows no TLS before 1.3 (RFC 9001 §4.2), and for early
    /// data, which needs sessions that are remembered.
    pub(crate) fn check_quic(&self, takes_early_data: bool) -> crate::error::Result<()> {
        self.0.knobs.require_tls13()?;
        let fits = !takes_early_data || self.0.session_cache > 0;
        let field = "TlsServerBuilder::session_cache";
        crate::config::check(field, self.0.session_cache, fits, "1 to 1,048,576 with early data")
    }

    /// The same for a QUIC listener. With early data it remembers sessions instead of sealing them
    /// in tickets, since what is taken out of the cache cannot come again: RFC 8446 §8.1. `scope`
    /// is what such a session depends on: it is found again by those who give the same.
    pub(crate) fn quic(
        &self,
        takes_early_data: bool,
        scope: &[u8],
        time: Arc<dyn TimeProvider>,
    ) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.0.rustls);
        config.time_provider = time;
        if takes_early_data {
            // RFC 9001 §4.6.1: "Servers MUST NOT send the early_data extension with a
            // max_early_data_size field set to any value other than 0xffffffff."
            config.max_early_data_size = u32::MAX;
            config.ticketer = Arc::new(NoTickets);
            config.session_storage = Arc::new(Scoped::new(scope, &self.0.reload.sessions.cache));
        }
        Arc::new(config)
    }
}

impl fmt::Debug for TlsServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsServerConfig").field("knobs", &self.0.knobs).finish_non_exhaustive()
    }
}

impl TlsServerBuilder {
    /// Another certificate for clients that ask for `name` (SNI, RFC 6066 §3): a host name, or
    /// `*.example.com` for every name with one label in front of `example.com`. An exact name goes
    /// before a wildcard. The certificate must be for that name; for a wildcard it must have the
    /// wildcard. At most 65,536.
    pub fn server_name(mut self, name: impl Into<String>, identity: TlsIdentity) -> Self {
        self.names.push((name.into(), identity));
        self
    }

    /// What clients get that ask for a name without a certificate. Default: the default one.
    pub fn unknown_names(mut self, unknown: UnknownName) -> Self {
        self.unknown = unknown;
        self
    }

    /// Asks clients for a certificate; one that shows none is let in, one that shows a bad one is
    /// not. Default: clients are not asked.
    pub fn client_auth_optional(mut self, roots: Roots) -> Self {
        self.client_auth.demand = Demand::Optional(roots);
        self
    }

    /// Lets in only clients whose certificate leads to one of `roots`.
    pub fn client_auth_required(mut self, roots: Roots) -> Self {
        self.client_auth.demand = Demand::Required(roots);
        self
    }

    /// Revocation lists for client certificates, from a PEM file. With any list, every issuer in a
    /// client's chain needs one, otherwise the client is refused. A list that is out of date counts
    /// as it is.
    pub fn client_crls_from_pem_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.client_auth.crls.push(CrlSource::File(path.into()));
        self
    }

    /// The same from a PEM text.
    pub fn client_crls_from_pem_bytes(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.client_auth.crls.push(CrlSource::Pem(pem.as_ref().into()));
        self
    }

    /// Tickets, with which clients resume and the server remembers nothing. Their keys change every
    /// six hours and are good for twelve. Default on.
    pub fn session_tickets(mut self, on: bool) -> Self {
        self.has_tickets = on;
        self
    }

    /// Tickets sent after a TLS 1.3 handshake; each is good for one connection. Default 2; 0 to 8.
    pub fn send_tickets(mut self, count: usize) -> Self {
        self.tickets_sent = count;
        self
    }

    /// Sessions that the server remembers, for clients that resume without tickets. With tickets,
    /// these are few old ones of TLS 1.2. Default 256; 0 (off) to 1,048,576.
    pub fn session_cache(mut self, sessions: usize) -> Self {
        self.session_cache = sessions;
        self
    }

    knob_methods!();

    /// Reads the files and checks everything.
    ///
    /// # Errors
    /// See [`TlsConfigFault`](crate::error::TlsConfigFault); each says the file, the line, the
    /// reason and the fix. A certificate that has expired is an error, as no client would take it:
    /// [`TlsIdentity::allow_expired`] is for those who know better.
    pub fn build(self) -> Result<TlsServerConfig, TlsConfigError> {
        self.validate()?;
        let provider = self.knobs.provider()?;
        let verifier = self.client_auth.verifier(&provider)?;
        let now = UnixTime::now();
        let default = Entry::from_pointee(self.identity.load(&provider, now, None)?);
        let mut names = NameTable::new();
        for (name, identity) in &self.names {
            let name = SniName::parse(name)?;
            let entry = Entry::from_pointee(identity.load(&provider, now, Some(&name))?);
            if !names.insert(name.clone(), entry) {
                return Err(TlsConfigError::because(Fault::DuplicateServerName, name));
            }
        }
        let table = Arc::new(Table { default, names, unknown: self.unknown });
        let sessions = self.sessions()?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.knobs.protocol_versions())
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Table>::clone(&table));
        config.alpn_protocols.clone_from(&self.knobs.alpn);
        config.max_fragment_size = self.knobs.max_fragment_size();
        config.key_log = self.knobs.key_log();
        // The record layer, ours or the kernel's, takes over after the handshake.
        config.enable_secret_extraction = true;
        config.session_storage = Arc::<Cache>::clone(&sessions.cache);
        if let Some(tickets) = &sessions.tickets {
            config.ticketer = Arc::<TicketKeys>::clone(tickets);
        }
        let resumes = self.has_tickets || self.session_cache > 0;
        config.send_tls13_tickets = if resumes { self.tickets_sent } else { 0 };
        let reload = CertReloadHandle { table, sessions, provider, name: None };
        let (rustls, session_cache) = (Arc::new(config), self.session_cache);
        Ok(TlsServerConfig(Arc::new(Built { rustls, reload, session_cache, knobs: self.knobs })))
    }

    fn validate(&self) -> Result<(), TlsConfigError> {
        self.knobs.validate()?;
        let rows = [
            ("send_tickets", self.tickets_sent, TICKETS_MAX, "0 to 8"),
            ("session_cache", self.session_cache, SESSION_CACHE_MAX, "0 to 1,048,576"),
            ("server_name entries", self.names.len(), NAMES_MAX, "0 to 65,536"),
        ];
        for (field, value, max, range) in rows {
            in_range(value <= max, field, value as u128, range)?;
        }
        Ok(())
    }

    fn sessions(&self) -> Result<Sessions, TlsConfigError> {
        let make = || TicketKeys::new(self.knobs.crypto).map(Arc::new);
        let tickets = self.has_tickets.then(make).transpose()?;
        Ok(Sessions { tickets, cache: Arc::new(Cache::new(self.session_cache)) })
    }
}
