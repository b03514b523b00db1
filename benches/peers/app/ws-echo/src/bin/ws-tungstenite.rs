//! tokio-tungstenite echo, on tokio current_thread.
//!
//! Usage: `ws-tungstenite PORT`
use futures_util::{SinkExt, StreamExt};
peerkit::counting!();
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?;
    loop {
        let (s, _) = l.accept().await?;
        s.set_nodelay(true)?;
        tokio::spawn(async move {
            let Ok(mut ws) = tokio_tungstenite::accept_async(s).await else { return };
            while let Some(Ok(m)) = ws.next().await {
                if (m.is_binary() || m.is_text()) && ws.send(m).await.is_err() {
                    return;
                }
            }
        });
    }
}
