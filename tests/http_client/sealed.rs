//! HTTPS, to a server of our own and through a proxy's tunnel.

use zero_io::{
    HttpPhase, HttpProxy, Io, Roots, TlsClientConfig, TlsServerConfig, ZeroRequest, code,
};

use crate::kit::{Shard, echo, pattern};
use crate::proxied::Proxy;

struct Pair {
    server: TlsServerConfig,
    client: TlsClientConfig,
}

fn pair() -> Pair {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = TlsServerConfig::from_pem_bytes(cert.clone(), key).alpn(["http/1.1"]);
    let client = TlsClientConfig::with_roots(Roots::from_pem_bytes(cert)).alpn(["http/1.1"]);
    Pair { server: server.build().unwrap(), client: client.build().unwrap() }
}

/// Listens with TLS on the shard; where.
fn listen(io: &mut Io, tls: TlsServerConfig) -> u16 {
    let endpoint = io.http_listen_tls("127.0.0.1:0".parse().unwrap(), tls).unwrap();
    io.local_addr(endpoint).unwrap().inet().unwrap().port()
}

#[test]
fn requests_behind_tls() {
    let Pair { server, client } = pair();
    let mut shard = Shard::with(|c| c.tls = Some(client));
    let port = listen(&mut shard.io, server);
    shard.serve_with(echo);
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("https://{host}:{port}/a");
        assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "GET /a");
        for len in [10, 5_000, 300_000] {
            let body = pattern(len);
            assert!(shard.fetch(ZeroRequest::post(&url).bytes(&body)).body == body, "{len}");
        }
        let value = shard.fetch(ZeroRequest::get(&url));
        let info = shard.io.conn_tls_info(value.conn.unwrap()).unwrap();
        assert_eq!(info.alpn.as_deref(), Some(&b"http/1.1"[..]));
    }
    assert_eq!((shard.stats().connects, shard.stats().failures), (2, 0));
}

#[test]
fn a_certificate_that_is_not_believed() {
    let Pair { server, .. } = pair();
    let mut shard = Shard::with(|c| c.tls = Some(pair().client));
    let port = listen(&mut shard.io, server);
    shard.serve_with(echo);
    let failure =
        shard.fetch(ZeroRequest::get(&format!("https://localhost:{port}/"))).failure.unwrap();
    assert_eq!((failure.phase, failure.was_sent), (HttpPhase::Connecting, false));
    assert_eq!(failure.code & !0xFF, code::TLS_ALERT_SENT, "{failure}");
}

#[test]
fn tls_that_is_nobody() {
    let mut shard = Shard::with(|c| {
        c.tls = Some(pair().client);
    });
    let addr = shard.serve(echo);
    let failure = shard.fetch(ZeroRequest::get(&format!("https://{addr}/"))).failure.unwrap();
    assert_eq!(failure.phase, HttpPhase::Connecting);
    assert!(failure.code > code::FIRST_OWN, "{failure}");
}

#[test]
fn through_a_tunnel() {
    let Pair { server, client } = pair();
    let proxy = Proxy::start("Basic dXNlcjpwYXNz");
    let url = format!("http://user:pass@{}", proxy.addr);
    let mut shard = Shard::with(|c| {
        c.tls = Some(client);
        c.proxy = Some(HttpProxy::new(&url).unwrap());
    });
    let port = listen(&mut shard.io, server);
    shard.serve_with(echo);
    let url = format!("https://localhost:{port}/through");
    for _ in 0..3 {
        assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "GET /through");
    }
    let body = pattern(200_000);
    assert!(shard.fetch(ZeroRequest::post(&url).bytes(&body)).body == body);
    assert_eq!(shard.stats().connects, 1);
    let heads = proxy.stop(shard);
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{heads:?}");
}

#[test]
fn a_tunnel_that_is_refused() {
    let proxy = Proxy::start("Basic other");
    let url = format!("http://user:pass@{}", proxy.addr);
    let mut shard = Shard::with(|c| {
        c.tls = Some(pair().client);
        c.proxy = Some(HttpProxy::new(&url).unwrap());
    });
    let failure = shard.fetch(ZeroRequest::get("https://localhost:1/")).failure.unwrap();
    assert_eq!((failure.code, failure.phase), (code::HTTP_PROXY_REFUSED, HttpPhase::Connecting));
    assert!(!failure.was_sent);
    proxy.stop(shard);
}
