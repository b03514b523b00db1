//! TLS in the workload: certificates and configurations, made so that lengths on the wire are the
//! same in each run of a seed.

use std::sync::OnceLock;

use rcgen::{CertificateParams, KeyPair, SerialNumber};
use zero_io::{
    ConnId, EndpointId, Result, Roots, Sender, TcpConnectConfig, TcpListenConfig, TlsClientConfig,
    TlsConnectConfig, TlsListenConfig, TlsServerConfig, TlsVersion,
};

use crate::chance::Chance;

/// Whether there is TLS at all.
pub(crate) const ON: bool = true;
pub(crate) const NAME: &str = "node.example";

/// An Ed25519 key (RFC 8410): its signatures all have one length, and so have handshakes.
const KEY: [u8; 48] = {
    const HEAD: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    let mut key = [7; 48];
    let mut at = 0;
    while at < HEAD.len() {
        key[at] = HEAD[at];
        at += 1;
    }
    key
};

/// The certificate, once per process.
fn certificate() -> &'static [u8] {
    static DER: OnceLock<Vec<u8>> = OnceLock::new();
    DER.get_or_init(|| {
        let key = KeyPair::try_from(&KEY[..]).expect("a key");
        let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
        params.serial_number = Some(SerialNumber::from(0x1234_5678_u64));
        params.self_signed(&key).expect("a certificate").der().to_vec()
    })
}

/// The two sides' configurations.
pub(crate) struct Secure {
    server: TlsServerConfig,
    client: TlsClientConfig,
}

impl Secure {
    /// Either version, with and without tickets, records of several sizes.
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let version = chance.pick(&[TlsVersion::Tls13, TlsVersion::Tls12]);
        let record_len_max = chance.pick(&[512, 3_000, 16_384]);
        let der = certificate().to_vec();
        let seed = chance.clone().next();
        let server = TlsServerConfig::from_der([der.clone()], KEY)
            .repeated(seed)
            .versions(version, version)
            .max_record_size(record_len_max)
            .send_tickets(chance.pick(&[0, 2]))
            .build()
            .expect("a server's configuration");
        // The larger one makes flights that straddle small buffers; TLS 1.2 does not have it.
        let group = match version {
            TlsVersion::Tls13 => chance.pick(&["x25519", "X25519MLKEM768"]),
            _ => "x25519",
        };
        let client = TlsClientConfig::with_roots(Roots::from_der([der]))
            .repeated(seed)
            .versions(version, version)
            .key_exchange([group])
            .server_name(NAME)
            .max_record_size(record_len_max)
            .session_cache(chance.pick(&[0, 256]))
            .build()
            .expect("a client's configuration");
        Self { server, client }
    }

    /// For QUIC, which agrees on an application protocol.
    #[cfg(feature = "quic")]
    pub(crate) fn quic(chance: &mut Chance) -> (TlsServerConfig, TlsClientConfig) {
        let der = certificate().to_vec();
        let seed = chance.clone().next();
        let server = TlsServerConfig::from_der([der.clone()], KEY)
            .repeated(seed)
            .alpn(["sim"])
            .send_tickets(chance.pick(&[0, 2]))
            .build()
            .expect("a server's configuration");
        // The larger one's first flight takes two packets.
        let client = TlsClientConfig::with_roots(Roots::from_der([der]))
            .repeated(seed)
            .alpn(["sim"])
            .versions(TlsVersion::Tls13, TlsVersion::Tls13)
            .key_exchange([chance.pick(&["x25519", "X25519MLKEM768"])])
            .server_name(NAME)
            .session_cache(chance.pick(&[0, 256]))
            .build()
            .expect("a client's configuration");
        (server, client)
    }

    /// A server for the same clients, which resumes its own sessions and no other's.
    #[cfg(feature = "quic")]
    pub(crate) fn quic_server(chance: &mut Chance) -> TlsServerConfig {
        TlsServerConfig::from_der([certificate().to_vec()], KEY)
            .repeated(chance.next())
            .alpn(["sim"])
            .send_tickets(chance.pick(&[1, 2, 4]))
            .build()
            .expect("a server's configuration")
    }

    pub(crate) fn listen(
        &self,
        sender: &mut Sender<'_>,
        config: TcpListenConfig,
    ) -> Result<EndpointId> {
        sender.tls_listen_with(TlsListenConfig::tcp(config, self.server.clone()))
    }

    #[cfg(feature = "http")]
    pub(crate) fn http_listen(
        &self,
        sender: &mut Sender<'_>,
        config: zero_io::HttpListenConfig,
    ) -> Result<EndpointId> {
        sender.http_listen_tls_with(config, self.server.clone())
    }

    pub(crate) fn connect(
        &self,
        sender: &mut Sender<'_>,
        config: TcpConnectConfig,
    ) -> Result<ConnId> {
        sender.tls_connect_with(TlsConnectConfig::tcp(config, self.client.clone()))
    }

    /// STARTTLS, by either side.
    pub(crate) fn upgrade(
        &self,
        sender: &mut Sender<'_>,
        conn: ConnId,
        is_client: bool,
    ) -> Result<()> {
        match is_client {
            true => sender.tls_upgrade(conn, self.client.clone()),
            false => sender.tls_accept_upgrade(conn, self.server.clone()),
        }
    }
}
