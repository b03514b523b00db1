//! s2n-quic QUIC server on tokio current_thread; same protocol as `quinn-server`.
//!
//! Usage: `quic-s2n PORT`  (certificate: `$PEER_CERT_DIR`, default `run/cert`)
use s2n_quic::provider::datagram::default::{Endpoint as Dg, Receiver, Sender};
use s2n_quic::{provider::limits::Limits, Server};
use std::time::Duration;
peerkit::counting!();

#[tokio::main(flavor = "current_thread")]
async fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    let limits = Limits::new()
        .with_max_open_local_bidirectional_streams(1024)
        .unwrap()
        .with_max_open_remote_bidirectional_streams(1024)
        .unwrap()
        .with_max_idle_timeout(Duration::from_secs(30))
        .unwrap()
        .with_max_send_buffer_size(8 << 20)
        .unwrap();
    let io = s2n_quic::provider::io::Default::builder()
        .with_receive_address(([127, 0, 0, 1], peerkit::port()).into())
        .unwrap()
        .with_recv_buffer_size(8 << 20)
        .unwrap()
        .with_send_buffer_size(8 << 20)
        .unwrap()
        .build()
        .unwrap();
    let dg = Dg::builder()
        .with_send_capacity(4096)
        .unwrap()
        .with_recv_capacity(4096)
        .unwrap()
        .build()
        .unwrap();
    let mut server = Server::builder()
        .with_tls((peerkit::cert("cert.pem").as_path(), peerkit::cert("key.pem").as_path()))
        .unwrap()
        .with_io(io)
        .unwrap()
        .with_limits(limits)
        .unwrap()
        .with_datagram(dg)
        .unwrap()
        .start()
        .unwrap();
    while let Some(mut conn) = server.accept().await {
        tokio::spawn(async move {
            let h = conn.handle();
            tokio::spawn(async move {
                loop {
                    let r = std::future::poll_fn(|cx| {
                        match h.datagram_mut(|r: &mut Receiver| r.poll_recv_datagram(cx)) {
                            Ok(p) => p.map(|x| x.ok()),
                            Err(_) => std::task::Poll::Ready(None),
                        }
                    })
                    .await;
                    let Some(b) = r else { return };
                    let _ = h.datagram_mut(|s: &mut Sender| s.send_datagram(b));
                }
            });
            while let Ok(Some(mut s)) = conn.accept_bidirectional_stream().await {
                tokio::spawn(async move {
                    let mut first = true;
                    while let Ok(Some(b)) = s.receive().await {
                        if first && b.first() == Some(&b'B') {
                            let chunk = bytes::Bytes::from(vec![0x5a; 64 << 10]);
                            while s.send(chunk.clone()).await.is_ok() {}
                            return;
                        }
                        first = false;
                        if s.send(b).await.is_err() {
                            return;
                        }
                    }
                    let _ = s.finish();
                });
            }
        });
    }
}
