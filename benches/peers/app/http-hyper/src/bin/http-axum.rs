//! axum HTTP/1.1 server on tokio current_thread: the answers of `httpkit`, the file by tower-http.
//!
//! Usage: `http-axum PORT`
use axum::extract::State;
use axum::serve::ListenerExt;
use axum::{body::Bytes, routing::get, Json, Router};
use httpkit::Page;
use tower_http::services::ServeFile;
peerkit::counting!();

async fn json(State(page): State<&'static Page>) -> Json<&'static Page> {
    Json(page)
}

fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(httpkit::FILE_THREADS).build()?;
    runtime.block_on(serve())
}

async fn serve() -> std::io::Result<()> {
    let app = Router::new()
        .route("/", get(|| async { httpkit::HELLO }))
        .route("/json", get(json))
        .route("/body", get(|| async { Bytes::from_static(&httpkit::BODY) }))
        .route_service(httpkit::FILE_ROUTE, ServeFile::new(httpkit::file()))
        .with_state(&*Box::leak(Box::new(Page::new())));
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?.tap_io(|s| {
        let _ = s.set_nodelay(true);
    });
    axum::serve(l, app).await
}
