//! Certificates to order, files to put them in, and two ends that shake hands in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection, Error, ServerConnection};

use super::super::{Roots, TlsClientBuilder, TlsClientConfig, TlsIdentity, TlsServerConfig};

/// Who issues certificates.
pub(super) struct Authority(pub(super) CertifiedIssuer<'static, KeyPair>);

/// A certificate chain with its key.
pub(super) struct Issued {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
    pub(super) chain_der: Vec<Vec<u8>>,
    pub(super) key_der: Vec<u8>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority below this one.
    pub(super) fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::signed_by(ca_params(name), key, &self.0).unwrap())
    }

    pub(super) fn roots(&self) -> Roots {
        Roots::from_pem_bytes(self.0.pem())
    }

    /// For those names, which may be IP addresses; the first is also the subject.
    pub(super) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    pub(super) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params(names);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued::of(certificate.pem(), vec![certificate.der().to_vec()], &key)
    }
}

impl Issued {
    /// Without an authority.
    pub(super) fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf_params(names).self_signed(&key).unwrap();
        Self::of(certificate.pem(), vec![certificate.der().to_vec()], &key)
    }

    fn of(chain_pem: String, chain_der: Vec<Vec<u8>>, key: &KeyPair) -> Self {
        let (key_pem, key_der) = (key.serialize_pem(), key.serialize_der());
        Self { chain_pem, key_pem, chain_der, key_der }
    }

    pub(super) fn identity(&self) -> TlsIdentity {
        TlsIdentity::from_pem_bytes(&self.chain_pem, &self.key_pem)
    }

    pub(super) fn leaf(&self) -> &[u8] {
        &self.chain_der[0]
    }
}

fn named(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(CertificateParams::default(), name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    named(params, names.first().map_or("nobody", |name| name))
}

/// A directory that goes with the value.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("zero-io-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

impl AsRef<Path> for Dir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn client(authority: &Authority) -> TlsClientBuilder {
    TlsClientConfig::with_roots(authority.roots())
}

/// Two ends of a connection.
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) server: ServerConnection,
    /// What each end ended with; the client's comes first.
    pub(super) errors: (Option<Error>, Option<Error>),
}

impl Pair {
    pub(super) fn new(client: &TlsClientConfig, server: &TlsServerConfig, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self {
            client: ClientConnection::new(client.rustls().clone(), name).unwrap(),
            server: ServerConnection::new(server.rustls().clone()).unwrap(),
            errors: (None, None),
        }
    }

    /// Passes on what the client has to say.
    pub(super) fn client_speaks(&mut self) -> bool {
        let mut wire = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() && self.errors.1.is_none() {
            self.server.read_tls(&mut rest).unwrap();
            self.errors.1 = self.server.process_new_packets().err();
        }
        !wire.is_empty()
    }

    /// Passes on what the server has to say.
    pub(super) fn server_speaks(&mut self) -> bool {
        let mut wire = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() && self.errors.0.is_none() {
            self.client.read_tls(&mut rest).unwrap();
            self.errors.0 = self.client.process_new_packets().err();
        }
        !wire.is_empty()
    }

    /// Until both have nothing more to say, alerts included.
    pub(super) fn finish(mut self) -> Self {
        while self.client_speaks() | self.server_speaks() {}
        self
    }

    pub(super) fn is_good(&self) -> bool {
        self.errors == (None, None)
            && !self.client.is_handshaking()
            && !self.server.is_handshaking()
    }

    /// The certificate that the client saw.
    pub(super) fn shown(&self) -> Option<&[u8]> {
        self.client.peer_certificates().map(|chain| chain[0].as_ref())
    }
}

/// A whole handshake.
pub(super) fn shake(client: &TlsClientConfig, server: &TlsServerConfig, name: &str) -> Pair {
    Pair::new(client, server, name).finish()
}

/// The same, which must succeed.
#[track_caller]
pub(super) fn good(client: &TlsClientConfig, server: &TlsServerConfig, name: &str) -> Pair {
    let pair = shake(client, server, name);
    assert!(pair.is_good(), "{name}: {:?}", pair.errors);
    pair
}

/// The same, which the client must refuse; what for.
#[track_caller]
pub(super) fn refused_by_client(
    client: &TlsClientConfig,
    server: &TlsServerConfig,
    name: &str,
) -> Error {
    let pair = shake(client, server, name);
    // The server is told, by an alert.
    assert!(matches!(pair.errors.1, Some(Error::AlertReceived(_))), "{:?}", pair.errors);
    pair.errors.0.expect("the client refuses")
}

/// The alert with which the server refuses.
#[track_caller]
pub(super) fn alert_of_server(
    client: &TlsClientConfig,
    server: &TlsServerConfig,
    name: &str,
) -> AlertDescription {
    let pair = shake(client, server, name);
    match pair.errors {
        (Some(Error::AlertReceived(alert)), Some(_)) => alert,
        errors => panic!("{errors:?}"),
    }
}
