//! tokio current_thread TCP echo.
//!
//! Usage: `echo-tokio PORT [BUFSZ=16384]`
use tokio::io::{AsyncReadExt, AsyncWriteExt};
peerkit::counting!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let sz: usize = peerkit::arg(2, "16384").parse().unwrap();
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?;
    loop {
        let (mut s, _) = l.accept().await?;
        s.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut b = vec![0u8; sz];
            loop {
                match s.read(&mut b).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => {
                        if s.write_all(&b[..n]).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }
}
