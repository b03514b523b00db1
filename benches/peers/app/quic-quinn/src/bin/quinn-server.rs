//! quinn QUIC server on tokio current_thread.
//!
//! Speaks the protocol of `quic-client` and `quic-load`, ALPN h3. A bidirectional stream that begins with the frame
//! * 'B' alone is answered by an endless download
//! * 'U' is read and thrown away
//! * 'D', length in two bytes: datagrams of that length without end
//! * 'C': the count of datagrams that were received and not echoed, in eight bytes
//!
//! Any other stream is echoed up to its FIN. Datagrams that begin with 'S' are counted, the others echoed.
//!
//! Usage: `quinn-server PORT [STREAMS] [UNIDIRECTIONAL]`  (certificate: `$PEER_CERT_DIR`, default `run/cert`)
use quinn::crypto::rustls::QuicServerConfig;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
peerkit::counting!();

#[tokio::main(flavor = "current_thread")]
async fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    let pem = |file: &str| {
        std::fs::read(peerkit::cert(file))
            .unwrap_or_else(|e| panic!("{}: {e}", peerkit::cert(file).display()))
    };
    use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer};
    let cert = CertificateDer::from_pem_slice(&pem("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&pem("key.pem")).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![cert], key)
    .unwrap();
    tls.send_tls13_tickets = 0;
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut sc =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let mut t = quinn::TransportConfig::default();
    // It allocates for all of them when a connection is made.
    let streams: u32 = peerkit::arg(2, "1024").parse().expect("streams");
    t.max_concurrent_bidi_streams(streams.into());
    let uni: u32 = peerkit::arg(3, "100").parse().expect("unidirectional streams");
    t.max_concurrent_uni_streams(uni.into());
    t.datagram_receive_buffer_size(Some(4 << 20));
    t.datagram_send_buffer_size(4 << 20);
    t.send_window(8 << 20);
    sc.transport_config(Arc::new(t));
    let s = std::net::UdpSocket::bind(("127.0.0.1", peerkit::port())).unwrap();
    let v: i32 = 8 << 20;
    for o in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
        unsafe {
            libc::setsockopt(s.as_raw_fd(), libc::SOL_SOCKET, o, (&v as *const i32).cast(), 4)
        };
    }
    let ep = quinn::Endpoint::new(Default::default(), Some(sc), s, Arc::new(quinn::TokioRuntime))
        .unwrap();
    while let Some(inc) = ep.accept().await {
        tokio::spawn(async move {
            let Ok(c) = inc.await else { return };
            let d = c.clone();
            let counted = Arc::new(AtomicU64::new(0));
            let count = counted.clone();
            tokio::spawn(async move {
                while let Ok(b) = d.read_datagram().await {
                    if b.first() == Some(&b'S') {
                        count.fetch_add(1, Relaxed);
                    } else {
                        let _ = d.send_datagram(b);
                    }
                }
            });
            while let Ok((s, r)) = c.accept_bi().await {
                tokio::spawn(stream(c.clone(), counted.clone(), s, r));
            }
        });
    }
}

async fn stream(
    c: quinn::Connection,
    counted: Arc<AtomicU64>,
    mut s: quinn::SendStream,
    mut r: quinn::RecvStream,
) {
    let chunk = || bytes::Bytes::from(vec![0x5a; 64 << 10]);
    while let Ok(Some(b)) = r.read_chunk(usize::MAX, true).await {
        match b.bytes[..] {
            [b'B'] => {
                let chunk = chunk();
                while s.write_chunk(chunk.clone()).await.is_ok() {}
                return;
            }
            [b'U', ..] => {
                let mut b: [bytes::Bytes; 32] = Default::default();
                while let Ok(Some(_)) = r.read_chunks(&mut b).await {}
                return;
            }
            [b'D', high, low] => {
                let b = chunk().split_to(u16::from_be_bytes([high, low]).into());
                while c.send_datagram_wait(b.clone()).await.is_ok() {}
                return;
            }
            [b'C'] => {
                let _ = s.write_all(&counted.load(Relaxed).to_be_bytes()).await;
            }
            _ => {
                if s.write_chunk(b.bytes).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = s.finish();
}
