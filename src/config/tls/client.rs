//! What an outgoing TLS connection, or the asking side of STARTTLS, is made with.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;

use crate::config::HostOrAddr;
use crate::error::TlsConfigFault as Fault;

use super::danger::{ClientDanger, Excuses};
use super::error::TlsConfigError;
use super::identity::TlsIdentity;
use super::knobs::{Knobs, in_range, knob_getters, knob_methods, refused};
use super::names::TlsVersion;
use super::pin::Pins;
use super::roots::Roots;
use super::ticket::{Remembered, SessionTicket, Tickets};
use super::verify::{ServerVerifier, Trust};

const SESSION_CACHE_MAX: usize = 65_536;

/// The TLS of a client: made once, checked, cheap to clone. Clones share the sessions that they
/// may resume.
///
/// ```no_run
/// use zero_io::{Roots, TlsClientConfig};
/// let config = TlsClientConfig::with_roots(Roots::from_pem_file("ca.pem")).alpn(["h2"]).build()?;
/// # let _ = config;
/// # Ok::<(), zero_io::TlsConfigError>(())
/// ```
#[derive(Clone)]
pub struct TlsClientConfig(Arc<Built>);

struct Built {
    rustls: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// Of QUIC connections.
    remembered: OnceLock<Arc<Remembered>>,
    session_cache: usize,
    knobs: Knobs,
}

/// A [`TlsClientConfig`] in the making. Nothing is read or checked before
/// [`build`](Self::build).
#[derive(Debug, Clone)]
#[must_use = "build() makes the configuration"]
pub struct TlsClientBuilder {
    /// `None`: pins alone decide.
    roots: Option<Roots>,
    pins: Option<Pins>,
    pub(super) excuses: Excuses,
    server_name: Option<String>,
    identity: Option<TlsIdentity>,
    sends_sni: bool,
    session_cache: usize,
    pub(super) knobs: Knobs,
}

impl TlsClientConfig {
    /// The server's certificate must lead to one of `roots`.
    pub fn with_roots(roots: Roots) -> TlsClientBuilder {
        Self::builder(Some(roots), None)
    }

    /// The server's certificate must be pinned, and needs no issuer that we know: for self-signed
    /// certificates. Its dates and name are checked as always.
    pub fn with_pins(pins: Pins) -> TlsClientBuilder {
        Self::builder(None, Some(pins))
    }

    fn builder(roots: Option<Roots>, pins: Option<Pins>) -> TlsClientBuilder {
        TlsClientBuilder {
            roots,
            pins,
            excuses: Excuses::default(),
            server_name: None,
            identity: None,
            sends_sni: true,
            session_cache: 256,
            knobs: Knobs::default(),
        }
    }

    knob_getters!();

    /// What the handshake takes.
    pub(crate) fn rustls(&self) -> &Arc<ClientConfig> {
        &self.0.rustls
    }

    /// Whether it is good for QUIC, which knows no TLS before 1.3: RFC 9001 §4.2.
    pub(crate) fn check_quic(&self) -> crate::error::Result<()> {
        self.0.knobs.require_tls13()
    }

    /// The same for one QUIC connection to `name`, with the tickets that it has and is given. It
    /// resumes with `ticket`, otherwise with what a connection of this configuration, or of clones
    /// of it, was given.
    pub(crate) fn quic(
        &self,
        name: &ServerName<'_>,
        ticket: Option<SessionTicket>,
        wants_early_data: bool,
        time: Arc<dyn TimeProvider>,
    ) -> (Arc<ClientConfig>, Arc<Tickets>) {
        let make = || Arc::new(Remembered::new(self.0.session_cache));
        let remembered = self.0.remembered.get_or_init(make);
        let tickets = Arc::new(Tickets::new(remembered, &name.to_str(), ticket));
        let mut config = ClientConfig::clone(&self.0.rustls);
        config.enable_early_data =
            wants_early_data && tickets.takes_early_data(&config.alpn_protocols);
        config.resumption = Resumption::store(Arc::<Tickets>::clone(&tickets));
        config.time_provider = time;
        (Arc::new(config), tickets)
    }

    /// The name that the certificate of the server at `target` must have; `None` is a target
    /// without one (a Unix socket).
    pub(crate) fn server_name_for(
        &self,
        target: Option<&HostOrAddr>,
    ) -> Result<ServerName<'static>, TlsConfigError> {
        if let Some(name) = &self.0.server_name {
            return Ok(name.clone());
        }
        match target {
            // Certificates have an IPv4 address as such, also when an IPv6 socket reaches it.
            Some(HostOrAddr::Addr(addr)) => {
                Ok(ServerName::IpAddress(addr.ip().to_canonical().into()))
            }
            Some(HostOrAddr::Host(host, _)) => server_name(host),
            None => Err(TlsConfigError::new(Fault::NoServerName)),
        }
    }
}

impl TlsClientBuilder {
    /// The server's own certificate must be pinned, besides leading to a root.
    pub fn pins(mut self, pins: Pins) -> Self {
        self.pins = Some(pins);
        self
    }

    /// The name or IP address that the certificate must have, which is also what the server is
    /// asked for. Default: the host or address that is connected to. A Unix socket has none, so
    /// there it must be set.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Our own certificate, for servers that ask for one.
    pub fn identity(mut self, identity: TlsIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Whether the server is told the name (RFC 6066 §3), in clear text. Default on. IP addresses
    /// are never sent. Off, the certificate must still have the name.
    pub fn sni(mut self, on: bool) -> Self {
        self.sends_sni = on;
        self
    }

    /// Sessions remembered for resumption, of all servers together. Default 256; 0 (off) to 65,536.
    pub fn session_cache(mut self, sessions: usize) -> Self {
        self.session_cache = sessions;
        self
    }

    /// What weakens the check of the server's certificate.
    pub fn danger(self) -> ClientDanger {
        ClientDanger { builder: self }
    }

    knob_methods!();

    /// Reads the files and checks everything.
    ///
    /// # Errors
    /// See [`TlsConfigFault`](crate::error::TlsConfigFault); each says the file, the line, the
    /// reason and the fix.
    pub fn build(self) -> Result<TlsClientConfig, TlsConfigError> {
        self.knobs.validate()?;
        let cache = self.session_cache;
        in_range(cache <= SESSION_CACHE_MAX, "session_cache", cache as u128, "0 to 65,536")?;
        let name = self.server_name.as_deref().map(server_name).transpose()?;
        let provider = self.knobs.provider()?;
        let verifier = Arc::new(self.verifier(&provider)?);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.knobs.protocol_versions())
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let pair = identity.load(&provider, UnixTime::now(), None)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        config.alpn_protocols.clone_from(&self.knobs.alpn);
        config.max_fragment_size = self.knobs.max_fragment_size();
        config.key_log = self.knobs.key_log();
        // The record layer, ours or the kernel's, takes over after the handshake.
        config.enable_secret_extraction = true;
        config.enable_sni = self.sends_sni;
        config.resumption = match cache {
            0 => Resumption::disabled(),
            sessions => Resumption::in_memory_sessions(sessions),
        };
        let rustls = Arc::new(config);
        Ok(TlsClientConfig(Arc::new(Built {
            rustls,
            server_name: name,
            remembered: OnceLock::new(),
            session_cache: cache,
            knobs: self.knobs,
        })))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<ServerVerifier, TlsConfigError> {
        if let Some(pins) = &self.pins {
            pins.validate()?;
        }
        let trust = match &self.roots {
            _ if self.excuses.any_certificate => Trust::Anything,
            None => Trust::Pins,
            Some(roots) => {
                let provider = Arc::clone(provider);
                let chain = WebPkiServerVerifier::builder_with_provider(roots.load()?, provider);
                Trust::Chain(chain.build().map_err(refused)?)
            }
        };
        Ok(ServerVerifier {
            trust,
            pins: self.pins.clone(),
            checks_name: !self.excuses.name,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl fmt::Debug for TlsClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TlsClientConfig");
        shown.field("server_name", &self.0.server_name).field("knobs", &self.0.knobs);
        shown.finish_non_exhaustive()
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsConfigError> {
    // A final dot is the resolver's business: RFC 6066 §3, "without a trailing dot".
    let host = name.strip_suffix('.').unwrap_or(name);
    let parsed = ServerName::try_from(host.to_owned());
    parsed.map_err(|_| TlsConfigError::because(Fault::BadServerName, format!("{name:?}")))
}
