//! The shape of `secure` without the feature: there is none, so nothing of it is ever run.

use zero_io::{ConnId, EndpointId, Result, Sender, TcpConnectConfig, TcpListenConfig};

use crate::chance::Chance;

pub(crate) const ON: bool = false;

pub(crate) struct Secure(());

impl Secure {
    pub(crate) fn new(_: &mut Chance) -> Self {
        none()
    }

    pub(crate) fn listen(&self, _: &mut Sender<'_>, _: TcpListenConfig) -> Result<EndpointId> {
        none()
    }

    #[cfg(feature = "http")]
    pub(crate) fn http_listen(
        &self,
        _: &mut Sender<'_>,
        _: zero_io::HttpListenConfig,
    ) -> Result<EndpointId> {
        none()
    }

    pub(crate) fn connect(&self, _: &mut Sender<'_>, _: TcpConnectConfig) -> Result<ConnId> {
        none()
    }

    pub(crate) fn upgrade(&self, _: &mut Sender<'_>, _: ConnId, _: bool) -> Result<()> {
        none()
    }
}

fn none() -> ! {
    unreachable!("there is no TLS without the feature tls")
}
