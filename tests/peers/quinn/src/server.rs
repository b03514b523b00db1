//! The server.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream};
use quinn::{ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The same in every process, so that one can reset the connections of another.
const RESET_KEY: [u8; 64] = [7; 64];

pub(crate) async fn run(addr: SocketAddr, cert: &Path, key: &Path, retry: bool) {
    let chain = CertificateDer::pem_file_iter(cert).expect("--cert");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("--cert");
    let key = PrivateKeyDer::from_pem_file(key).expect("--key");
    let builder = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13]);
    let mut tls =
        builder.with_no_client_auth().with_single_cert(chain, key).expect("a certificate");
    tls.alpn_protocols = vec![b"echo".to_vec()];
    tls.max_early_data_size = u32::MAX;
    let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3");
    let config = ServerConfig::with_crypto(Arc::new(crypto));
    let socket = UdpSocket::bind(addr).expect("a socket");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &RESET_KEY);
    let mut endpoint = EndpointConfig::new(Arc::new(key));
    // It resets only what has an id that it may have made.
    endpoint.cid_generator(|| Box::new(HashedConnectionIdGenerator::from_key(7)));
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new(endpoint, Some(config), socket, runtime).expect("an endpoint");
    kit::say(format_args!("listening on {}", endpoint.local_addr().expect("an address")));
    while let Some(incoming) = endpoint.accept().await {
        if retry && !incoming.remote_address_validated() {
            kit::say("retry");
            incoming.retry().expect("not validated");
        } else {
            tokio::spawn(serve(incoming));
        }
    }
}

async fn serve(incoming: Incoming) {
    let connecting = incoming.accept().expect("a first packet");
    let conn = match connecting.into_0rtt() {
        Ok((conn, _)) => conn,
        Err(connecting) => match connecting.await {
            Ok(conn) => conn,
            Err(error) => return kit::say(format_args!("handshake: {error}")),
        },
    };
    let bidi = async {
        while let Ok((send, recv)) = conn.accept_bi().await {
            tokio::spawn(answer(conn.clone(), send, recv));
        }
    };
    let uni = async {
        while let Ok(mut recv) = conn.accept_uni().await {
            let conn = conn.clone();
            tokio::spawn(async move {
                let data = recv.read_to_end(usize::MAX).await.expect("a stream");
                let mut send = conn.open_uni().await.expect("a stream");
                send.write_all(&data).await.expect("to be read");
                send.finish().expect("once");
            });
        }
    };
    let datagrams = async {
        while let Ok(data) = conn.read_datagram().await {
            conn.send_datagram(data).expect("one that fits");
        }
    };
    let watch = async {
        let mut from = conn.remote_address();
        while conn.close_reason().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let now = conn.remote_address();
            if std::mem::replace(&mut from, now) != now {
                kit::say(format_args!("migrated to {now}"));
            }
        }
    };
    tokio::join!(bidi, uni, datagrams, watch);
    kit::say(format_args!("closed: {}", conn.closed().await));
}

async fn answer(conn: Connection, mut send: SendStream, mut recv: RecvStream) {
    let mut first = true;
    loop {
        match recv.read_chunk(1 << 16, true).await {
            Ok(Some(chunk)) => match &chunk.bytes[..] {
                kit::RESET if first => return drop(send.reset(kit::RESET_CODE.into())),
                kit::STOP if first => {
                    recv.stop(kit::STOP_CODE.into()).expect("not read to its end");
                    return drop(send.finish());
                }
                kit::CLOSE if first => {
                    return conn.close(kit::CLOSE_CODE.into(), kit::CLOSE_REASON);
                }
                data => {
                    if first && data == kit::UPDATE {
                        conn.force_key_update();
                    }
                    first = false;
                    if send.write_all(data).await.is_err() {
                        return;
                    }
                }
            },
            Ok(None) => return drop(send.finish()),
            Err(quinn::ReadError::Reset(code)) => return drop(send.reset(code)),
            Err(_) => return,
        }
    }
}
