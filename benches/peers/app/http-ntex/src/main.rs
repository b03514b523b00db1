//! ntex HTTP/1.1 server on its tokio runtime, one worker; `GET /` answers "Hello, World!".
//!
//! Usage: `http-ntex PORT`
use ntex::web::{self, App, HttpResponse};
peerkit::counting!();

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("Hello, World!")
}

#[ntex::main]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    web::server(async || App::new().route("/", web::get().to(hello)))
        .workers(1)
        .bind(("127.0.0.1", peerkit::port()))?
        .run()
        .await
}
