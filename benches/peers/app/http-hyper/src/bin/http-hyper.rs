//! hyper 1.x HTTP server on tokio current_thread: the answers of `httpkit`, the file read for each request.
//!
//! Usage: `http-hyper PORT [h2c|tls]`  (h2c: HTTP/2 with prior knowledge; tls: HTTP/1.1 on tokio-rustls)
use http_body_util::Full;
use httpkit::Page;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::{aws_lc_rs as aws, CryptoProvider};
use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
peerkit::counting!();

async fn answer(page: Arc<Page>, r: Request<Incoming>) -> std::io::Result<Response<Full<Bytes>>> {
    let (kind, body) = match r.uri().path() {
        "/" => ("text/plain", Bytes::from_static(httpkit::HELLO.as_bytes())),
        "/json" => ("application/json", serde_json::to_vec(&*page)?.into()),
        "/body" => ("text/plain", Bytes::from_static(&httpkit::BODY)),
        httpkit::FILE_ROUTE => ("text/plain", std::fs::read(httpkit::file())?.into()),
        _ => ("", Bytes::new()),
    };
    let mut r = Response::new(Full::new(body));
    if kind.is_empty() {
        *r.status_mut() = StatusCode::NOT_FOUND;
    }
    r.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(r)
}

/// The same for all servers: conf/nginx.conf.in, http-zero.
fn tls() -> rustls::ServerConfig {
    let provider = CryptoProvider {
        cipher_suites: vec![aws::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws::kx_group::X25519],
        ..aws::default_provider()
    };
    let chain = CertificateDer::pem_file_iter(peerkit::cert("cert.pem")).expect("cert.pem");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("cert.pem");
    let key = PrivateKeyDer::from_pem_file(peerkit::cert("key.pem")).expect("key.pem");
    rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair")
}

async fn serve(s: impl AsyncRead + AsyncWrite + Unpin, page: Arc<Page>, h2: bool) {
    let service = service_fn(move |r| answer(page.clone(), r));
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(1024)
            .serve_connection(TokioIo::new(s), service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(s), service)
            .await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let mode = peerkit::arg(2, "");
    let acceptor = (mode == "tls").then(|| TlsAcceptor::from(Arc::new(tls())));
    let h2 = mode == "h2c";
    let page = Arc::new(Page::new());
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?;
    loop {
        let (s, _) = l.accept().await?;
        s.set_nodelay(true)?;
        let (page, acceptor) = (page.clone(), acceptor.clone());
        tokio::spawn(async move {
            let Some(acceptor) = acceptor else { return serve(s, page, h2).await };
            if let Ok(s) = acceptor.accept(s).await {
                serve(s, page, h2).await;
            }
        });
    }
}
