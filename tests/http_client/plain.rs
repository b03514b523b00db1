//! Requests to a server of our own, on the same `Io`.

use zero_io::{HttpMethod, ZeroRequest};

use crate::kit::{Shard, echo, pattern};

#[test]
fn a_request_and_its_response() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let outcome = shard.fetch(ZeroRequest::get(&format!("http://{addr}/a/b?c=d#e")));
    assert_eq!((outcome.status, outcome.reason.as_str()), (200, "OK"));
    assert_eq!(outcome.text(), "GET /a/b?c=d");
    assert_eq!(outcome.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(shard.others.is_empty(), "a pool's connections are its own: {:?}", shard.others);
    let stats = shard.stats();
    assert_eq!((stats.open, stats.idle, stats.waiting), (1, 1, 0));
    assert_eq!((stats.requests, stats.responses[1], stats.connects), (1, 1, 1));
    assert!(stats.bytes_sent > 40 && stats.bytes_received > 80, "{stats:?}");
}

#[test]
fn a_connection_is_used_again() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let mut conns = Vec::new();
    for i in 0..50 {
        let url = format!("http://{addr}/{i}");
        let outcome = shard.fetch(ZeroRequest::get(&url));
        assert_eq!(outcome.text(), format!("GET /{i}"));
        conns.extend(outcome.conn);
    }
    conns.dedup();
    assert_eq!((conns.len(), shard.stats().connects, shard.stats().reuses), (1, 1, 49));
}

#[test]
fn every_method() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let url = format!("http://{addr}/x");
    let methods = [HttpMethod::Get, HttpMethod::Post, HttpMethod::Put, HttpMethod::Delete];
    for method in methods.into_iter().chain([HttpMethod::Patch, HttpMethod::Options]) {
        let outcome = shard.fetch(ZeroRequest::method(method, &url));
        assert_eq!(outcome.text(), format!("{} /x", method.as_str().unwrap()));
    }
    let head = shard.fetch(ZeroRequest::head(&url));
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("7")));
    assert_eq!(shard.stats().connects, 1, "HEAD has no body to wait for");
}

#[test]
fn bodies_of_every_kind_and_length() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let url = format!("http://{addr}/");
    for len in [1, 100, 1_024, 1_025, 5_000, 16_384, 16_385, 100_000, 1_000_000] {
        let body = pattern(len);
        let outcome = shard.fetch(ZeroRequest::post(&url).bytes(&body));
        assert!(outcome.status == 200 && outcome.body == body, "{len} bytes");
        let outcome = shard.fetch(ZeroRequest::put(&url).shared(std::sync::Arc::new(body.clone())));
        assert!(outcome.status == 200 && outcome.body == body, "{len} shared bytes");
    }
    static PAGE: [u8; 20_000] = [7; 20_000];
    assert_eq!(shard.fetch(ZeroRequest::post(&url).static_bytes(&PAGE)).body, PAGE);
    let mut buffer = shard.io.send_buffer(3_000).unwrap();
    buffer.as_mut_slice().copy_from_slice(&pattern(3_000));
    assert_eq!(shard.fetch(ZeroRequest::post(&url).buffer(buffer)).body, pattern(3_000));
    let value = ["json", "of", "text"];
    assert_eq!(shard.fetch(ZeroRequest::post(&url).json(&value)).text(), r#"["json","of","text"]"#);
    assert_eq!(shard.stats().connects, 1);
}

#[test]
fn a_response_can_be_kept() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let pool = shard.pool;
    let id = shard.io.http_request(pool, ZeroRequest::get(&format!("http://{addr}/kept"))).unwrap();
    let serve = echo;
    let kept = loop {
        shard.io.poll(std::time::Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = shard.io.split();
        let mut kept = None;
        while let Some(event) = events.next_event() {
            if let zero_io::Event::HttpResponse { .. } = event {
                kept = events.detach_http_response();
                assert!(kept.is_some() && events.detach_http_response().is_none());
            } else {
                serve(&mut sender, &event);
                assert!(events.detach_http_response().is_none(), "it is none");
            }
        }
        if let Some(kept) = kept {
            break kept;
        }
    };
    let read = std::thread::spawn(move || {
        assert_eq!((kept.id(), kept.status(), kept.body()), (id, 200, &b"GET /kept"[..]));
        assert_eq!(kept.header("content-length"), Some("9"));
    });
    read.join().unwrap();
}
