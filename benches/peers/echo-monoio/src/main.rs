//! monoio (io_uring driver) TCP echo.
//!
//! Usage: `echo-monoio PORT [BUFSZ=16384]`
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpListener;
peerkit::counting!();

#[monoio::main(driver = "io_uring", entries = 4096)]
async fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let sz: usize = peerkit::arg(2, "16384").parse().unwrap();
    let l = TcpListener::bind(format!("127.0.0.1:{}", peerkit::port())).unwrap();
    loop {
        let (mut s, _) = l.accept().await.unwrap();
        let _ = s.set_nodelay(true);
        monoio::spawn(async move {
            let mut buf: Vec<u8> = Vec::with_capacity(sz);
            loop {
                let (r, b) = s.read(buf).await;
                buf = b;
                match r {
                    Ok(n) if n > 0 => {}
                    _ => return,
                }
                let (r, b) = s.write_all(buf).await;
                buf = b;
                if r.is_err() {
                    return;
                }
                buf.clear();
            }
        });
    }
}
