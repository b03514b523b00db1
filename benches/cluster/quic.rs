//! Echoes by QUIC: a certificate, and connections with sockets of their own.

use std::net::SocketAddr;

use rcgen::generate_simple_self_signed;
use zero_io::{
    ClusterEndpoint, ConnId, Io, IoCluster, QuicConnectConfig, QuicListenConfig, Result, Roots,
    TlsClientConfig, TlsServerConfig,
};

/// Who the server is, in PEM.
#[derive(Clone)]
pub(crate) struct Keys {
    cert: String,
    key: String,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        Self { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    pub(crate) fn listen(&self, cluster: &mut IoCluster) -> Result<ClusterEndpoint> {
        let tls = TlsServerConfig::from_pem_bytes(&self.cert, &self.key).build()?;
        let any = "127.0.0.1:0".parse().expect("an address");
        cluster.quic_listen_with(QuicListenConfig::new(any, tls))
    }

    /// From a port of its own, so that connections are spread over the shards.
    pub(crate) fn connect(&self, io: &mut Io, addr: SocketAddr) -> Result<ConnId> {
        let roots = Roots::from_pem_bytes(&self.cert);
        let tls = TlsClientConfig::with_roots(roots).server_name("localhost").build()?;
        let any = "127.0.0.1:0".parse().expect("an address");
        io.quic_connect_with(QuicConnectConfig::new(addr, tls).with(|c| c.bind = Some(any)))
    }
}
