//! zero-io HTTP/1.1: the answers of `httpkit`.
//!
//! Usage: `http-zero PORT [tls] [knob=value...]`, with the knobs of `zero_echo::set`.
use std::time::Duration;
use zero_io::{
    Config, Event, HttpFile, HttpRequest, Io, TlsServerConfig, TlsVersion, ZeroResponse,
};
peerkit::counting!();

/// The same for all servers: conf/nginx.conf.in, http-hyper.
fn tls() -> TlsServerConfig {
    TlsServerConfig::from_pem(peerkit::cert("cert.pem"), peerkit::cert("key.pem"))
        .versions(TlsVersion::Tls13, TlsVersion::Tls13)
        .cipher_suites(["TLS_AES_128_GCM_SHA256"])
        .key_exchange(["x25519"])
        .build()
        .expect("certificate")
}

struct Site {
    page: httpkit::Page,
    files: Vec<(String, HttpFile)>,
}

impl Site {
    fn answer<'a>(&'a self, request: &HttpRequest<'_>) -> ZeroResponse<'a> {
        match request.path() {
            "/" => ZeroResponse::ok().content_type("text/plain").text(httpkit::HELLO),
            "/json" => ZeroResponse::ok().json(&self.page),
            "/body" => ZeroResponse::ok().content_type("text/plain").static_bytes(&httpkit::BODY),
            path => match self.files.iter().find(|(route, _)| route == path) {
                Some((_, file)) => file.answer(request),
                None => ZeroResponse::not_found(),
            },
        }
    }
}

/// Those that are there.
fn files() -> Vec<(String, HttpFile)> {
    let file = |name| Some((format!("/files/{name}"), HttpFile::open(httpkit::www(name)).ok()?));
    ["64k", "1024k"].into_iter().filter_map(file).collect()
}

fn main() -> zero_io::Result<()> {
    peerkit::init();
    let mut config = Config::default().with(|c| c.max_connections = 16_384);
    let mut is_tls = false;
    for arg in std::env::args().skip(2) {
        match arg.split_once('=') {
            None if arg == "tls" => is_tls = true,
            Some((knob, value)) if zero_echo::set(&mut config, knob, value) => {}
            _ => panic!("unknown argument {arg}"),
        }
    }
    let site = Site { page: httpkit::Page::new(), files: files() };
    let mut io = Io::new(config)?;
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], peerkit::port()));
    let listening = if is_tls { io.http_listen_tls(addr, tls()) } else { io.http_listen(addr) };
    listening?;
    peerkit::backend!("io_uring");
    loop {
        io.poll(Duration::MAX)?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::HttpRequest { conn, id, request } = event {
                let answered = sender.http_respond(conn, id, site.answer(&request));
                // A client may be gone already: then so is the connection.
                let _ = answered.or_else(|_| sender.close(conn));
            }
        }
    }
}
