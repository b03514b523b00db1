//! tokio current_thread UDP echo.
//!
//! Usage: `udp-tokio PORT`
peerkit::counting!();
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let s = udp_echo::socket(peerkit::port());
    s.set_nonblocking(true)?;
    let s = tokio::net::UdpSocket::from_std(s)?;
    let mut b = vec![0u8; 65536];
    loop {
        let (n, a) = s.recv_from(&mut b).await?;
        let _ = s.send_to(&b[..n], a).await;
    }
}
