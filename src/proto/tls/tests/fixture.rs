//! Certificates and configurations for tests.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{
    ClientConfig, NamedGroup, RootCertStore, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};

pub(super) const NAME: &str = "host.example";

/// A certificate with its chain and key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

struct Pki {
    root: CertificateDer<'static>,
    ecdsa: Identity,
    rsa: Identity,
    client: Identity,
}

fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root = params.self_signed(&ca_key).unwrap().der().clone();
        let issuer = Issuer::new(params, ca_key);
        let issue = |name: &str, algorithm, usage| {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
            params.extended_key_usages = vec![usage];
            let leaf = params.signed_by(&key, &issuer).unwrap().der().clone();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            Identity { chain: vec![leaf], key }
        };
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        Pki {
            ecdsa: issue(NAME, &PKCS_ECDSA_P256_SHA256, server.clone()),
            rsa: issue(NAME, &PKCS_RSA_SHA256, server),
            client: issue(
                "client.example",
                &PKCS_ECDSA_P256_SHA256,
                ExtendedKeyUsagePurpose::ClientAuth,
            ),
            root,
        }
    })
}

pub(super) fn roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(pki().root.clone()).unwrap();
    Arc::new(roots)
}

pub(super) fn client_leaf() -> &'static [u8] {
    pki().client.chain[0].as_ref()
}

pub(super) fn server_leaf() -> &'static [u8] {
    pki().ecdsa.chain[0].as_ref()
}

pub(super) fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

/// What a test wants.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) version: &'static SupportedProtocolVersion,
    pub(super) suite: SupportedCipherSuite,
    pub(super) client_cert: bool,
    pub(super) alpn: Vec<&'static str>,
    pub(super) tickets: usize,
    /// Makes rustls cut its own messages small.
    pub(super) fragment: Option<usize>,
    /// The server takes no group for which the client sends a share at once.
    pub(super) retry: bool,
}

pub(super) static TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
pub(super) static TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// Every suite, with its version.
pub(super) fn suites() -> Vec<(&'static SupportedProtocolVersion, SupportedCipherSuite)> {
    let all = aws_lc_rs::ALL_CIPHER_SUITES.iter();
    all.map(|suite| (if suite.tls13().is_some() { TLS13 } else { TLS12 }, *suite)).collect()
}

impl Setup {
    pub(super) fn new(
        (version, suite): (&'static SupportedProtocolVersion, SupportedCipherSuite),
    ) -> Self {
        Self {
            version,
            suite,
            client_cert: false,
            alpn: Vec::new(),
            tickets: 2,
            fragment: None,
            retry: false,
        }
    }

    pub(super) fn tls13() -> Self {
        Self::new((TLS13, aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256))
    }

    pub(super) fn tls12() -> Self {
        let suite = aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
        Self::new((TLS12, suite))
    }

    pub(super) fn both() -> [Self; 2] {
        [Self::tls13(), Self::tls12()]
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn provider(&self) -> CryptoProvider {
        CryptoProvider { cipher_suites: vec![self.suite], ..aws_lc_rs::default_provider() }
    }

    fn protocols(&self) -> Vec<Vec<u8>> {
        self.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        let mut provider = self.provider();
        if self.retry {
            provider.kx_groups.retain(|group| group.name() == NamedGroup::secp384r1);
        }
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[self.version])
            .unwrap();
        let builder = match self.client_cert {
            true => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(roots(), provider).build().unwrap(),
            ),
            false => builder.with_no_client_auth(),
        };
        let is_rsa = format!("{:?}", self.suite.suite()).contains("_RSA_");
        let identity = if is_rsa { &pki().rsa } else { &pki().ecdsa };
        let mut config =
            builder.with_single_cert(identity.chain.clone(), identity.key.clone_key()).unwrap();
        config.enable_secret_extraction = true;
        config.alpn_protocols = self.protocols();
        config.send_tls13_tickets = self.tickets;
        config.session_storage = ServerSessionMemoryCache::new(32);
        config.max_fragment_size = self.fragment;
        Arc::new(config)
    }

    pub(super) fn client(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider()))
            .with_protocol_versions(&[self.version])
            .unwrap()
            .with_root_certificates(roots());
        let mut config = match self.client_cert {
            true => {
                let client = &pki().client;
                builder.with_client_auth_cert(client.chain.clone(), client.key.clone_key()).unwrap()
            }
            false => builder.with_no_client_auth(),
        };
        config.enable_secret_extraction = true;
        config.alpn_protocols = self.protocols();
        config.max_fragment_size = self.fragment;
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(32)));
        Arc::new(config)
    }
}
