//! TLS endpoints, with a certificate for `localhost` that lasts as long as the process.

use std::io::{Write, stdout};

use zero_io::TlsServerConfig;

use super::host::{Host, on};

/// Listens, and says how to try it.
pub(super) fn listen(host: &mut Host) -> Result<(), Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let tls = TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem());
    let tls = tls.build()?;
    let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let addr = on!(host, io => {
        let echo = io.tls_listen(at(7443), tls.clone()).or_else(|_| io.tls_listen(at(0), tls))?;
        io.local_addr(echo)?
    });
    writeln!(stdout(), "TLS echo               openssl s_client -quiet -connect {addr}")?;
    Ok(())
}
