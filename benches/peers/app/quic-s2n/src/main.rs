//! s2n-quic QUIC server on tokio current_thread; same protocol as `quinn-server`.
//!
//! Usage: `quic-s2n PORT`  (certificate: `$PEER_CERT_DIR`, default `run/cert`)
use s2n_quic::provider::datagram::default::{Endpoint as Dg, Receiver, Sender};
use s2n_quic::{provider::limits::Limits, Server};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
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
            let dg = h.clone();
            let counted = Arc::new(AtomicU64::new(0));
            let count = counted.clone();
            tokio::spawn(async move {
                loop {
                    let r = std::future::poll_fn(|cx| {
                        match dg.datagram_mut(|r: &mut Receiver| r.poll_recv_datagram(cx)) {
                            Ok(p) => p.map(|x| x.ok()),
                            Err(_) => std::task::Poll::Ready(None),
                        }
                    })
                    .await;
                    let Some(b) = r else { return };
                    if b.first() == Some(&b'S') {
                        count.fetch_add(1, Relaxed);
                    } else {
                        let _ = dg.datagram_mut(|s: &mut Sender| s.send_datagram(b));
                    }
                }
            });
            while let Ok(Some(mut s)) = conn.accept_bidirectional_stream().await {
                let (h, counted) = (h.clone(), counted.clone());
                tokio::spawn(async move {
                    while let Ok(Some(b)) = s.receive().await {
                        match b[..] {
                            [b'B'] => {
                                let chunk = bytes::Bytes::from(vec![0x5a; 64 << 10]);
                                while s.send(chunk.clone()).await.is_ok() {}
                                return;
                            }
                            [b'U', ..] => {
                                while let Ok(Some(_)) = s.receive().await {}
                                return;
                            }
                            [b'D', high, low] => {
                                let b = bytes::Bytes::from(vec![
                                    0x5a;
                                    u16::from_be_bytes([high, low]).into()
                                ]);
                                flood(h, b).await;
                                return;
                            }
                            [b'C'] => {
                                let n = counted.load(Relaxed).to_be_bytes();
                                let _ = s.send(bytes::Bytes::copy_from_slice(&n)).await;
                            }
                            _ => {
                                if s.send(b).await.is_err() {
                                    return;
                                }
                            }
                        }
                    }
                    let _ = s.finish();
                });
            }
        });
    }
}

/// Datagrams as fast as the queue takes them, until the connection is over.
async fn flood(h: s2n_quic::connection::Handle, b: bytes::Bytes) {
    loop {
        let mut next = b.clone();
        let sent = std::future::poll_fn(|cx| {
            match h.datagram_mut(|s: &mut Sender| s.poll_send_datagram(&mut next, cx)) {
                Ok(p) => p.map(|x| x.is_ok()),
                Err(_) => std::task::Poll::Ready(false),
            }
        });
        if !sent.await {
            return;
        }
    }
}
