//! fastwebsockets echo behind a hyper upgrade, on tokio current_thread.
//!
//! Usage: `ws-fast PORT`
use fastwebsockets::{upgrade, FragmentCollector, OpCode, WebSocketError};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, Request, Response};
peerkit::counting!();
async fn echo(fut: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut ws = FragmentCollector::new(fut.await?);
    loop {
        let f = ws.read_frame().await?;
        match f.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(f).await?,
            _ => {}
        }
    }
}
async fn up(
    mut req: Request<Incoming>,
) -> Result<Response<http_body_util::Empty<hyper::body::Bytes>>, WebSocketError> {
    let (r, f) = upgrade::upgrade(&mut req)?;
    tokio::spawn(async move {
        let _ = tokio::task::unconstrained(echo(f)).await;
    });
    Ok(r)
}
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let l = tokio::net::TcpListener::bind(("127.0.0.1", peerkit::port())).await?;
    loop {
        let (s, _) = l.accept().await?;
        s.set_nodelay(true)?;
        tokio::spawn(async move {
            let _ = http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(s), service_fn(up))
                .with_upgrades()
                .await;
        });
    }
}
