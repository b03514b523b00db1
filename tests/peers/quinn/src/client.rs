//! The client.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, ReadError};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub(crate) async fn run(case: &str, addr: SocketAddr, ca: &Path) {
    let endpoint = Endpoint::client(([0, 0, 0, 0], 0).into()).expect("a socket");
    let connect = |config| endpoint.connect_with(config, addr, "localhost").expect("a connection");
    if case == "versionnegotiation" {
        let mut config = configured(ca, false);
        config.version(0xff00_001d); // draft 29, which nobody speaks any more
        let refused = connect(config).await.expect_err("no such version");
        return assert_eq!(refused, ConnectionError::VersionMismatch);
    }
    let config = configured(ca, case == "chacha20");
    let mut conn = connect(config.clone()).await.expect("a handshake");
    match case {
        "handshake" | "chacha20" => echo(&conn, b"hello").await,
        "transfer" => {
            for size in kit::SIZES {
                echo(&conn, &kit::pattern(size)).await;
            }
        }
        "multiplexing" => multiplexing(&conn).await,
        "unidirectional" => {
            let mut send = conn.open_uni().await.expect("a stream");
            send.write_all(b"one way").await.expect("to be read");
            send.finish().expect("once");
            let mut recv = conn.accept_uni().await.expect("a stream");
            kit::assert_same(&recv.read_to_end(100).await.expect("its end"), b"one way");
        }
        "datagram" => {
            conn.send_datagram("a datagram".into()).expect("one that fits");
            let came = conn.read_datagram().await.expect("an answer");
            kit::assert_same(&came, b"a datagram");
        }
        "keyupdate" => {
            for _ in 0..3 {
                conn.force_key_update();
                echo(&conn, b"with other keys").await;
            }
        }
        "rebind-port" | "rebind-addr" => {
            echo(&conn, b"from here").await;
            let local = if case == "rebind-port" { "127.0.0.1:0" } else { "127.0.0.2:0" };
            endpoint.rebind(UdpSocket::bind(local).expect("a socket")).expect("another socket");
            echo(&conn, b"and from there").await;
        }
        "zerortt" => {
            echo(&conn, b"hello").await;
            conn.close(0_u32.into(), b"");
            let early = connect(config).into_0rtt();
            let (again, accepted) = early.unwrap_or_else(|_| panic!("no ticket for early data"));
            echo(&again, b"early").await;
            assert!(accepted.await, "early data is taken");
            conn = again;
        }
        "reset" => reset(&conn).await,
        "statelessreset" => stateless_reset(&conn).await,
        "close" => {
            echo(&conn, b"hello").await;
            conn.close(kit::LEAVE_CODE.into(), kit::LEAVE_REASON);
        }
        _ => panic!("no case {case}"),
    }
    conn.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
}

fn configured(ca: &Path, chacha20: bool) -> ClientConfig {
    let mut provider = aws_lc_rs::default_provider();
    if chacha20 {
        // The one of Initial packets has to be there.
        provider.cipher_suites = vec![
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ];
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("--ca")).expect("--ca");
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
    let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"echo".to_vec()];
    tls.enable_early_data = true;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")))
}

async fn echo(conn: &Connection, data: &[u8]) {
    let (mut send, mut recv) = conn.open_bi().await.expect("a stream");
    let sending = async {
        send.write_all(data).await.expect("to be read");
        send.finish().expect("once");
    };
    let (_, came) = tokio::join!(sending, recv.read_to_end(data.len() + 1));
    kit::assert_same(&came.expect("its end"), data);
}

async fn multiplexing(conn: &Connection) {
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..kit::STREAMS {
        let conn = conn.clone();
        tasks.spawn(async move { echo(&conn, i.to_string().repeat(100).as_bytes()).await });
    }
    tasks.join_all().await;
}

/// What is given up comes back given up, with the code; what is not wanted is not sent.
async fn reset(conn: &Connection) {
    let (mut send, mut recv) = conn.open_bi().await.expect("a stream");
    send.write_all(b"a part").await.expect("to be read");
    let mut part = [0; 6];
    recv.read_exact(&mut part).await.expect("its echo");
    send.reset(kit::RESET_CODE.into()).expect("once");
    let end = recv.read_to_end(100).await.expect_err("no end");
    let given_up = quinn::ReadToEndError::Read(ReadError::Reset(kit::RESET_CODE.into()));
    assert_eq!(end, given_up);

    let (mut send, mut recv) = conn.open_bi().await.expect("a stream");
    send.write_all(b"a part").await.expect("to be read");
    recv.read_exact(&mut part).await.expect("its echo");
    recv.stop(kit::STOP_CODE.into()).expect("once");
    let stopped = send.stopped().await.expect("a connection");
    assert_eq!(stopped, Some(kit::STOP_CODE.into()), "the echo is not wanted, nor its source");
}

/// Sends until the server says that it knows nothing of the connection.
async fn stateless_reset(conn: &Connection) {
    echo(conn, b"hello").await;
    kit::say("connected");
    while conn.close_reason().is_none() {
        if let Ok(mut send) = conn.open_uni().await {
            let _ = send.write_all(b"anybody there?").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(conn.close_reason(), Some(ConnectionError::Reset));
}
