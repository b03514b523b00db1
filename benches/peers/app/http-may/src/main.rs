//! may_minihttp HTTP/1.1 server, one coroutine worker: the answers of `httpkit`, the file read for each request.
//!
//! Usage: `http-may PORT`
use may_minihttp::{HttpServer, HttpService, Request, Response};
use std::io;
peerkit::counting!();

#[derive(Clone)]
struct Site {
    page: httpkit::Page,
    body: &'static str,
}

impl HttpService for Site {
    fn call(&mut self, request: Request, answer: &mut Response) -> io::Result<()> {
        match request.path() {
            "/" => answer.header("Content-Type: text/plain").body(httpkit::HELLO),
            "/json" => {
                answer.header("Content-Type: application/json");
                answer.body_vec(serde_json::to_vec(&self.page)?);
            }
            "/body" => answer.header("Content-Type: text/plain").body(self.body),
            httpkit::FILE_ROUTE => {
                answer.header("Content-Type: text/plain").body_vec(std::fs::read(httpkit::file())?)
            }
            _ => drop(answer.status_code(404, "Not Found")),
        }
        Ok(())
    }
}

fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    may::config().set_workers(1).set_stack_size(0x1000);
    let site = Site { page: httpkit::Page::new(), body: httpkit::body_text() };
    HttpServer(site).start(format!("127.0.0.1:{}", peerkit::port())).unwrap().join().unwrap();
}
