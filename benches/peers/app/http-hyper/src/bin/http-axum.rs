//! axum HTTP/1.1 server on tokio current_thread; `GET /` answers "Hello, World!".
//!
//! Usage: `http-axum PORT`
use axum::{routing::get, Router};
peerkit::counting!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    use axum::serve::ListenerExt;
    peerkit::init();
    peerkit::backend!("epoll");
    let app = Router::new().route("/", get(|| async { "Hello, World!" }));
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?.tap_io(|s| {
        let _ = s.set_nodelay(true);
    });
    axum::serve(l, app).await
}
