//! What the handshake agreed on.

use rustls::pki_types::ServerName;

/// The name of a server, as SNI would say it.
pub(crate) fn sni(name: &ServerName<'_>) -> Option<Box<str>> {
    match name {
        ServerName::DnsName(dns) => Some(Box::from(dns.as_ref())),
        _ => None,
    }
}
