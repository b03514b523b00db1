//! may_minihttp HTTP/1.1 server, one coroutine worker; answers every request with "Hello, World!".
//!
//! Usage: `http-may PORT`
use may_minihttp::{HttpServer, HttpService, Request, Response};
use std::io;
peerkit::counting!();

#[derive(Clone)]
struct Hello;
impl HttpService for Hello {
    fn call(&mut self, _: Request, rsp: &mut Response) -> io::Result<()> {
        rsp.header("Content-Type: text/plain").body("Hello, World!");
        Ok(())
    }
}

fn main() {
    peerkit::init();
    peerkit::backend!("epoll");
    may::config().set_workers(1).set_stack_size(0x1000);
    HttpServer(Hello).start(format!("127.0.0.1:{}", peerkit::port())).unwrap().join().unwrap();
}
