//! actix-web HTTP/1.1 server, one worker; `GET /` answers "Hello, World!".
//!
//! Usage: `http-actix PORT`
use actix_web::{web, App, HttpResponse, HttpServer};
peerkit::counting!();

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("Hello, World!")
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    HttpServer::new(|| App::new().route("/", web::get().to(hello)))
        .workers(1)
        .backlog(4096)
        .max_connections(30000)
        .bind(("127.0.0.1", peerkit::port()))?
        .run()
        .await
}
