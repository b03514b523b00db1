//! hyper 1.x HTTP server on tokio current_thread; answers every request with "Hello, World!".
//!
//! Usage: `http-hyper PORT [h2c]`  (h2c: HTTP/2 with prior knowledge instead of HTTP/1.1)
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{header, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
peerkit::counting!();

async fn hello(_: Request<Incoming>) -> Result<Response<http_body_util::Full<Bytes>>, Infallible> {
    let mut r = Response::new(http_body_util::Full::new(Bytes::from_static(b"Hello, World!")));
    r.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    Ok(r)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let h2 = peerkit::arg(2, "") == "h2c";
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?;
    loop {
        let (s, _) = l.accept().await?;
        s.set_nodelay(true)?;
        tokio::spawn(async move {
            if h2 {
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(1024)
                    .serve_connection(TokioIo::new(s), service_fn(hello))
                    .await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new()
                    .pipeline_flush(true)
                    .serve_connection(TokioIo::new(s), service_fn(hello))
                    .await;
            }
        });
    }
}
