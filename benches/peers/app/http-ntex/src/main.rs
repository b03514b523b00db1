//! ntex HTTP/1.1 server on its tokio runtime, one worker: the answers of `httpkit`, the file by ntex-files.
//!
//! Usage: `http-ntex PORT`
use ntex::util::Bytes;
use ntex::web::{self, App, HttpRequest, HttpResponse};
peerkit::counting!();

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(httpkit::HELLO)
}

async fn json(page: web::types::State<httpkit::Page>) -> HttpResponse {
    HttpResponse::Ok().json(page.get_ref())
}

async fn body() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(Bytes::from_static(&httpkit::BODY))
}

async fn file(_: HttpRequest) -> std::io::Result<ntex_files::NamedFile> {
    ntex_files::NamedFile::open(httpkit::file())
}

#[ntex::main]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let app = async || {
        App::new()
            .state(httpkit::Page::new())
            .route("/", web::get().to(hello))
            .route("/json", web::get().to(json))
            .route("/body", web::get().to(body))
            .route(httpkit::FILE_ROUTE, web::get().to(file))
    };
    web::server(app).workers(1).bind(("127.0.0.1", peerkit::port()))?.run().await
}
