//! From a configuration to a machine.

use std::time::Duration;

use super::{Limits, Tls, TlsFailure};
use crate::config::{HostOrAddr, TlsClientConfig, TlsConfigError, TlsServerConfig, Toggle};

/// A machine that has not begun, and how long it may take.
pub(crate) struct Start {
    pub(crate) tls: Tls,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_notify_timeout: Duration,
    pub(crate) ktls: Toggle,
}

/// What listeners accept with.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor(TlsServerConfig);

impl Acceptor {
    pub(crate) const fn new(config: TlsServerConfig) -> Self {
        Self(config)
    }

    pub(crate) const fn config(&self) -> &TlsServerConfig {
        &self.0
    }

    pub(crate) fn start(&self) -> Result<Start, TlsFailure> {
        let config = &self.0;
        Ok(Start {
            tls: Tls::server(config.rustls().clone(), limits(config.max_record_size()))?,
            handshake_timeout: config.handshake_timeout(),
            close_notify_timeout: config.close_notify_timeout(),
            ktls: config.ktls(),
        })
    }
}

impl Start {
    /// A client's machine for a server at `target`; `None` is a target without a name.
    pub(crate) fn client(
        config: &TlsClientConfig,
        target: Option<&HostOrAddr>,
    ) -> Result<Self, TlsConfigError> {
        let name = config.server_name_for(target)?;
        let limits = limits(config.max_record_size());
        let tls = Tls::client(config.rustls().clone(), name, limits);
        Ok(Self {
            tls: tls.map_err(|failure| TlsConfigError::refused(failure.reason))?,
            handshake_timeout: config.handshake_timeout(),
            close_notify_timeout: config.close_notify_timeout(),
            ktls: config.ktls(),
        })
    }
}

fn limits(plain_len_max: usize) -> Limits {
    Limits { plain_len_max, ..Limits::default() }
}
