//! Certificates to order, and files for the programs that want them in files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::default_provider;
use zero_io::{Roots, TlsClientBuilder, TlsClientConfig, TlsIdentity, TlsServerConfig};

pub(crate) type Version = &'static rustls::SupportedProtocolVersion;

/// Who issues certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    pub(crate) cert_der: Vec<u8>,
    pub(crate) key_der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::from_pem_bytes(self.0.pem())
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate().unwrap();
        let cert = leaf(names).signed_by(&key, &self.0).unwrap();
        Issued::of(&cert, &key)
    }

    /// One whose time is over.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        Issued::of(&params.signed_by(&key, &self.0).unwrap(), &key)
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> TlsClientBuilder {
        TlsClientConfig::with_roots(self.roots())
    }
}

impl Issued {
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::of(&leaf(names).self_signed(&key).unwrap(), &key)
    }

    fn of(cert: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
            cert_der: cert.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }

    pub(crate) fn identity(&self) -> TlsIdentity {
        TlsIdentity::from_pem_bytes(&self.cert_pem, &self.key_pem)
    }

    pub(crate) fn server(&self) -> zero_io::TlsServerBuilder {
        TlsServerConfig::with_identity(self.identity())
    }
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name.push(DnType::CommonName, names[0].clone());
    params
}

impl Authority {
    /// rustls as a client that trusts it alone.
    pub(crate) fn rustls_client(&self, versions: &[Version]) -> rustls::ClientConfig {
        rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.rustls_roots())
            .with_no_client_auth()
    }

    pub(crate) fn rustls_roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der().into()).unwrap();
        roots
    }
}

/// An authority, a certificate for `localhost` and 127.0.0.1 and ::1, and both in files.
pub(crate) struct World {
    pub(crate) ca: Authority,
    pub(crate) server: Issued,
    pub(crate) dir: Dir,
}

impl World {
    pub(crate) fn new() -> Self {
        let ca = Authority::new("the authority");
        let server = ca.issue(&["localhost", "127.0.0.1", "::1"]);
        let dir = Dir::new();
        dir.write("ca.pem", ca.pem());
        dir.write_pair("server", &server);
        Self { ca, server, dir }
    }
}

/// A directory that goes with the value.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("zio-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    /// `NAME.pem` and `NAME.key`.
    pub(crate) fn write_pair(&self, name: &str, issued: &Issued) {
        self.write(&format!("{name}.pem"), &issued.cert_pem);
        self.write(&format!("{name}.key"), &issued.key_pem);
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Left for the system's cleaning when it fails.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
