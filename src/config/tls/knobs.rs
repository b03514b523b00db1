//! What a server and a client have in common: ALPN, versions, suites, limits.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{DEFAULT_CIPHER_SUITES, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{KeyLog, KeyLogFile, NoKeyLog, SupportedCipherSuite, SupportedProtocolVersion};

use crate::config::Toggle;
use crate::error::{IoError, TlsConfigFault as Fault};

use super::crypto::Crypto;
use super::error::TlsConfigError;
use super::names::{self, TlsVersion};

/// Protocols that ALPN may name.
const ALPN_MAX: usize = 16;
/// RFC 7301 §3.1: a length of one byte.
const ALPN_NAME_LEN_MAX: usize = 255;
/// RFC 8446 §5.1: "the length MUST NOT exceed 2^14 bytes".
const RECORD_LEN_MAX: usize = 16_384;
/// Less would be mostly headers; it is also the least that RFC 6066 §4 knows.
const RECORD_LEN_MIN: usize = 512;
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// What the library counts besides the payload.
const RECORD_HEADER_LEN: usize = 5;

static ONLY_TLS12: &[&SupportedProtocolVersion] = &[&TLS12];
static ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Recorded traffic is safe from later quantum computers first of all.
static DEFAULT_GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

#[derive(Debug, Clone)]
pub(super) struct Knobs {
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) versions: (TlsVersion, TlsVersion),
    pub(super) cipher_suites: Option<Vec<String>>,
    pub(super) key_exchange: Option<Vec<String>>,
    pub(super) handshake_timeout: Duration,
    pub(super) close_notify_timeout: Duration,
    pub(super) record_len_max: usize,
    pub(super) logs_keys: bool,
    pub(super) ktls: Toggle,
    pub(super) crypto: Crypto,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            alpn: Vec::new(),
            versions: (TlsVersion::Tls12, TlsVersion::Tls13),
            cipher_suites: None,
            key_exchange: None,
            handshake_timeout: Duration::from_secs(10),
            close_notify_timeout: Duration::from_secs(1),
            record_len_max: RECORD_LEN_MAX,
            logs_keys: false,
            ktls: Toggle::Auto,
            crypto: Crypto::default(),
        }
    }
}

impl Knobs {
    pub(super) fn validate(&self) -> Result<(), TlsConfigError> {
        self.validate_alpn()?;
        let (lowest, highest) = self.versions;
        if lowest > highest {
            let detail = format!("{lowest} to {highest}");
            return Err(TlsConfigError::because(Fault::VersionRange, detail));
        }
        let timeout = self.handshake_timeout;
        let fits = (Duration::from_millis(1)..=TIMEOUT_MAX).contains(&timeout);
        in_range(fits, "handshake_timeout", timeout.as_millis(), "1 ms to 1 h")?;
        let timeout = self.close_notify_timeout;
        let fits = timeout <= TIMEOUT_MAX;
        in_range(fits, "close_notify_timeout", timeout.as_millis(), "0 to 1 h, in ms")?;
        let len = self.record_len_max;
        let fits = (RECORD_LEN_MIN..=RECORD_LEN_MAX).contains(&len);
        in_range(fits, "max_record_size", len as u128, "512 to 16,384 bytes")
    }

    fn validate_alpn(&self) -> Result<(), TlsConfigError> {
        let bad = |detail: String| Err(TlsConfigError::because(Fault::BadAlpn, detail));
        if self.alpn.len() > ALPN_MAX {
            return bad(format!("{} names", self.alpn.len()));
        }
        for (i, name) in self.alpn.iter().enumerate() {
            let shown = name.escape_ascii();
            if name.is_empty() || name.len() > ALPN_NAME_LEN_MAX {
                return bad(format!("name {} has {} bytes", i + 1, name.len()));
            }
            if self.alpn[..i].contains(name) {
                return bad(format!("{shown} is there twice"));
            }
        }
        Ok(())
    }

    /// Cryptography with the chosen suites and groups. It is passed on explicitly: a default of the
    /// process would be another library's to change.
    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>, TlsConfigError> {
        let cipher_suites = self.suites()?;
        let base = (self.crypto.provider)();
        let mut kx_groups = self.groups()?;
        for group in &mut kx_groups {
            let mut own = base.kx_groups.iter();
            *group = own.find(|own| own.name() == group.name()).copied().unwrap_or(*group);
        }
        Ok(Arc::new(CryptoProvider { cipher_suites, kx_groups, ..base }))
    }

    fn suites(&self) -> Result<Vec<SupportedCipherSuite>, TlsConfigError> {
        let suites = match &self.cipher_suites {
            None => DEFAULT_CIPHER_SUITES.to_vec(),
            Some(wanted) => {
                let known = wanted.iter().map(|name| {
                    let unknown = || TlsConfigError::because(Fault::UnknownCipherSuite, name);
                    names::suite(name).ok_or_else(unknown)
                });
                known.collect::<Result<_, _>>()?
            }
        };
        for version in self.protocol_versions() {
            if !suites.iter().any(|suite| suite.version() == *version) {
                return Err(missing(Fault::NoCipherSuite, version));
            }
        }
        Ok(suites)
    }

    fn groups(&self) -> Result<Vec<&'static dyn SupportedKxGroup>, TlsConfigError> {
        let groups = match &self.key_exchange {
            None => DEFAULT_GROUPS.to_vec(),
            Some(wanted) => {
                let known = wanted.iter().map(|name| {
                    let unknown = || TlsConfigError::because(Fault::BadKeyExchange, name);
                    names::group(name).ok_or_else(unknown)
                });
                known.collect::<Result<_, _>>()?
            }
        };
        for version in self.protocol_versions() {
            if !groups.iter().any(|group| group.usable_for_version(version.version)) {
                return Err(missing(Fault::BadKeyExchange, version));
            }
        }
        Ok(groups)
    }

    pub(super) fn protocol_versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        match self.versions {
            (TlsVersion::Tls12, TlsVersion::Tls12) => ONLY_TLS12,
            (TlsVersion::Tls13, _) => ONLY_TLS13,
            _ => BOTH,
        }
    }

    pub(super) fn require_tls13(&self) -> Result<(), IoError> {
        match self.versions.1 {
            TlsVersion::Tls13 => Ok(()),
            _ => Err(IoError::TlsConfig { fault: Fault::NoTls13, line: 0 }),
        }
    }

    pub(super) fn max_fragment_size(&self) -> Option<usize> {
        Some(self.record_len_max + RECORD_HEADER_LEN)
    }

    pub(super) fn key_log(&self) -> Arc<dyn KeyLog> {
        if self.logs_keys { Arc::new(KeyLogFile::new()) } else { Arc::new(NoKeyLog {}) }
    }
}

/// Nothing is left for that version.
fn missing(fault: Fault, version: &SupportedProtocolVersion) -> TlsConfigError {
    let version = TlsVersion::of(version.version).map(|version| version.to_string());
    TlsConfigError::because(fault, format!("none for {}", version.unwrap_or_default()))
}

pub(super) fn in_range(
    fits: bool,
    field: &str,
    value: u128,
    range: &str,
) -> Result<(), TlsConfigError> {
    match fits {
        true => Ok(()),
        false => Err(TlsConfigError::because(
            Fault::OutOfRange,
            format!("{field} = {value}, possible is {range}"),
        )),
    }
}

/// An error of the library that no check before it foresaw.
pub(super) fn refused(reason: impl std::fmt::Display) -> TlsConfigError {
    TlsConfigError::because(Fault::Refused, reason)
}

/// The methods of both builders that set a field of [`Knobs`].
macro_rules! knob_methods {
    () => {
        /// Application protocols, the preferred first: RFC 7301. At most 16 different names of 1 to
        /// 255 bytes. Default none: ALPN is not used.
        pub fn alpn<N: AsRef<[u8]>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
            self.knobs.alpn = names.into_iter().map(|name| name.as_ref().to_vec()).collect();
            self
        }

        /// The lowest and the highest version. Default 1.2 to 1.3.
        pub fn versions(mut self, lowest: TlsVersion, highest: TlsVersion) -> Self {
            self.knobs.versions = (lowest, highest);
            self
        }

        /// Cipher suites by their registered names, the preferred first; docs/TLS.md has the list.
        /// Each enabled version needs one. Default all, AES-256-GCM first.
        pub fn cipher_suites<N: Into<String>>(
            mut self,
            names: impl IntoIterator<Item = N>,
        ) -> Self {
            self.knobs.cipher_suites = Some(names.into_iter().map(Into::into).collect());
            self
        }

        /// Key exchange groups by their registered names, the preferred first. Default
        /// `X25519MLKEM768`, `x25519`, `secp256r1`, `secp384r1`.
        pub fn key_exchange<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
            self.knobs.key_exchange = Some(names.into_iter().map(Into::into).collect());
            self
        }

        /// How long the handshake may take. Default 10 s; 1 ms to 1 h.
        pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
            self.knobs.handshake_timeout = timeout;
            self
        }

        /// How long to wait for the peer's `close_notify` after ours was sent. Default 1 s; 0 to
        /// 1 h, 0 does not wait.
        pub fn close_notify_timeout(mut self, timeout: Duration) -> Self {
            self.knobs.close_notify_timeout = timeout;
            self
        }

        /// The most payload in one record that is sent, in bytes. Default 16,384; 512 to 16,384.
        /// Less lets the peer use the beginning sooner, and costs 22 bytes or more per record.
        pub fn max_record_size(mut self, bytes: usize) -> Self {
            self.knobs.record_len_max = bytes;
            self
        }

        /// Whether the kernel does the record layer (feature `tls-ktls`, Linux 6.7, TCP). It is
        /// asked in silence: where it cannot, this library does, and
        /// [`conn_tls_info`](crate::Io::conn_tls_info) tells the reason.
        ///
        /// - `Auto`, the default: sending, from the first guard write, or answer of HTTP out of a
        ///   file, of 64 KiB or more, where the kernel can do all that the connection may need:
        ///   with TLS 1.3 from Linux 6.14.
        /// - `On`: both directions, as soon as they are at rest. Before Linux 6.14 the kernel
        ///   cannot change keys: a peer that does ends the connection with `TLS_NO_REKEY`.
        /// - `Off`: this library.
        ///
        /// Records have 16,384 bytes of payload then; with another
        /// [`max_record_size`](Self::max_record_size) the kernel does not send.
        pub fn ktls(mut self, toggle: crate::config::Toggle) -> Self {
            self.knobs.ktls = toggle;
            self
        }

        /// Appends the secrets of every connection to the file that the environment variable
        /// `SSLKEYLOGFILE` names when the configuration is built; without it, nothing happens.
        /// Whoever has the file can read the traffic (Wireshark does): for debugging only. Writing
        /// blocks the shard.
        pub fn key_log_file_from_env(mut self) -> Self {
            self.knobs.logs_keys = true;
            self
        }
    };
}
pub(super) use knob_methods;

/// The getters of both configurations.
macro_rules! knob_getters {
    () => {
        /// How long the handshake may take.
        #[must_use]
        pub fn handshake_timeout(&self) -> Duration {
            self.0.knobs.handshake_timeout
        }

        /// How long to wait for the peer's `close_notify`; zero does not wait.
        #[must_use]
        pub fn close_notify_timeout(&self) -> Duration {
            self.0.knobs.close_notify_timeout
        }

        /// Whether the kernel does the record layer.
        #[must_use]
        pub fn ktls(&self) -> crate::config::Toggle {
            self.0.knobs.ktls
        }

        /// The most payload in one record that is sent, in bytes.
        #[must_use]
        pub fn max_record_size(&self) -> usize {
            self.0.knobs.record_len_max
        }
    };
}
pub(super) use knob_getters;
