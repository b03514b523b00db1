//! compio (io_uring driver) TCP echo.
//!
//! Usage: `echo-compio PORT [BUFSZ=16384]`
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::TcpListener;
peerkit::counting!();

#[compio::main]
async fn main() {
    peerkit::init();
    peerkit::backend!("io_uring");
    let sz: usize = peerkit::arg(2, "16384").parse().unwrap();
    let l = TcpListener::bind(format!("127.0.0.1:{}", peerkit::port())).await.unwrap();
    loop {
        let (mut s, _) = l.accept().await.unwrap();
        compio::runtime::spawn(async move {
            let mut buf: Vec<u8> = Vec::with_capacity(sz);
            loop {
                let compio::BufResult(r, b) = s.read(buf).await;
                buf = b;
                match r {
                    Ok(n) if n > 0 => {}
                    _ => return,
                }
                let compio::BufResult(r, b) = s.write_all(buf).await;
                buf = b;
                if r.is_err() {
                    return;
                }
                buf.clear();
            }
        })
        .detach();
    }
}
