//! actix-web HTTP/1.1 server, one worker: the answers of `httpkit`, the file by actix-files.
//!
//! Usage: `http-actix PORT`
use actix_web::{web, App, HttpResponse, HttpServer};
peerkit::counting!();

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(httpkit::HELLO)
}

async fn json(page: web::Data<httpkit::Page>) -> HttpResponse {
    HttpResponse::Ok().json(page.get_ref())
}

async fn body() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(web::Bytes::from_static(&httpkit::BODY))
}

async fn file() -> std::io::Result<actix_files::NamedFile> {
    actix_files::NamedFile::open(httpkit::file())
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    peerkit::init();
    peerkit::backend!("epoll");
    let page = web::Data::new(httpkit::Page::new());
    let app = move || {
        App::new()
            .app_data(page.clone())
            .route("/", web::get().to(hello))
            .route("/json", web::get().to(json))
            .route("/body", web::get().to(body))
            .route(httpkit::FILE_ROUTE, web::get().to(file))
    };
    HttpServer::new(app)
        .workers(1)
        .worker_max_blocking_threads(httpkit::FILE_THREADS)
        .backlog(4096)
        .max_connections(30000)
        .bind(("127.0.0.1", peerkit::port()))?
        .run()
        .await
}
