//! tonic gRPC server, unary echo (`echo.Echo/Unary`), on tokio current_thread.
//!
//! Usage: `grpc-tonic PORT`
pub mod pb {
    tonic::include_proto!("echo");
}
use tonic::{transport::Server, Request, Response, Status};
peerkit::counting!();
struct E;
#[tonic::async_trait]
impl pb::echo_server::Echo for E {
    async fn unary(&self, r: Request<pb::Msg>) -> Result<Response<pb::Msg>, Status> {
        Ok(Response::new(r.into_inner()))
    }
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(1024)
        .add_service(pb::echo_server::EchoServer::new(E))
        .serve(([127, 0, 0, 1], peerkit::port()).into())
        .await
        .unwrap();
}
