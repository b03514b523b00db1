//! Two ends of the TLS machine in memory, for the test and the benchmark of the record layer.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use zero_io::tls_fuzz::{Machine, Said};

pub(crate) const NAME: &str = "host.example";

pub(crate) type Configs = (Arc<ClientConfig>, Arc<ServerConfig>);

/// Both sides with one version; with one suite of it, or all.
pub(crate) fn configs(
    version: &'static SupportedProtocolVersion,
    suite: Option<SupportedCipherSuite>,
) -> Configs {
    let own = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let all = default_provider();
    let cipher_suites = suite.map_or_else(|| all.cipher_suites.clone(), |suite| vec![suite]);
    let provider = Arc::new(CryptoProvider { cipher_suites, ..all });
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("a certificate");
    server.enable_secret_extraction = true;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    (Arc::new(client), Arc::new(server))
}

/// Gives everything that `from` has to `to`. Whether there was something.
pub(crate) fn carry(from: &mut Machine, to: &mut Machine) -> bool {
    let mut bytes = from.transmit();
    let mut at = 0;
    while at < bytes.len() {
        match to.open(&mut bytes[at..]) {
            Said::Control(len) | Said::Established(len) => at += len,
            other => panic!("{other:?}"),
        }
    }
    at > 0
}

/// A client and a server whose handshake is done.
pub(crate) fn pair(configs: &Configs) -> (Machine, Machine) {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = Machine::client(Arc::clone(&configs.0), name).expect("a client");
    let mut server = Machine::server(Arc::clone(&configs.1)).expect("a server");
    while carry(&mut client, &mut server) | carry(&mut server, &mut client) {}
    assert!(client.is_established() && server.is_established());
    (client, server)
}
