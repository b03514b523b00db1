//! tokio current_thread TLS echo, with tokio-rustls.
//!
//! Usage: `tls-tokio PORT [BUFSZ=16384]`
use rustls::crypto::{CryptoProvider, aws_lc_rs as aws};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
peerkit::counting!();

/// The same for all servers: conf/nginx.conf.in, c/tls-openssl.c, tls-zero.
fn tls() -> rustls::ServerConfig {
    let provider = CryptoProvider {
        cipher_suites: vec![aws::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws::kx_group::X25519],
        ..aws::default_provider()
    };
    let chain = CertificateDer::pem_file_iter(peerkit::cert("cert.pem")).expect("cert.pem");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("cert.pem");
    let key = PrivateKeyDer::from_pem_file(peerkit::cert("key.pem")).expect("key.pem");
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    // Without it sessions are kept in a table of 256, which resumption would outrun.
    config.ticketer = aws::Ticketer::new().expect("a ticketer");
    config
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    let sz: usize = peerkit::arg(2, "16384").parse().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls()));
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?;
    peerkit::backend!("epoll");
    loop {
        let (s, _) = l.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let _ = s.set_nodelay(true);
            let Ok(mut s) = acceptor.accept(s).await else { return };
            let mut b = vec![0u8; sz];
            loop {
                match s.read(&mut b).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => {
                        if s.write_all(&b[..n]).await.is_err() || s.flush().await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
}
