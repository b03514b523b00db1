//! glommio (io_uring, one executor) TCP echo.
//!
//! Usage: `echo-glommio PORT [BUFSZ=16384]`
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::{net::TcpListener, LocalExecutorBuilder, Placement};
peerkit::counting!();

fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let sz: usize = peerkit::arg(2, "16384").parse().unwrap();
    LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || async move {
            let l = TcpListener::bind(format!("127.0.0.1:{}", peerkit::port())).unwrap();
            loop {
                let mut s = l.accept().await.unwrap();
                let _ = s.set_nodelay(true);
                glommio::spawn_local(async move {
                    let mut b = vec![0u8; sz];
                    loop {
                        match s.read(&mut b).await {
                            Ok(n) if n > 0 => {
                                if s.write_all(&b[..n]).await.is_err() {
                                    return;
                                }
                            }
                            _ => return,
                        }
                    }
                })
                .detach();
            }
        })
        .unwrap()
        .join()
        .unwrap();
}
