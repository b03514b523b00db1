//! Servers that others wrote.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use zero_io::ZeroRequest;

use crate::kit::{Shard, pattern};
use crate::nginx::Nginx;

#[test]
fn nginx_keeps_connections() {
    let dir = std::env::temp_dir().join(format!("zero-io-client-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let page = pattern(300_000);
    std::fs::write(dir.join("page"), &page).unwrap();
    let nginx = Nginx::start(&format!(
        "location /files/ {{ alias {}/; }} location /moved {{ return 301 /files/page; }}\n\
         location /close {{ keepalive_timeout 0; return 200 'bye'; }} keepalive_requests 5;",
        dir.display()
    ));
    let mut shard = Shard::with(|c| c.redirects = 2);
    let url = |path: &str| format!("http://{}{path}", nginx.addr);
    for _ in 0..12 {
        assert_eq!(shard.fetch(ZeroRequest::get(&url("/"))).text(), "ok");
    }
    assert_eq!(shard.stats().connects, 3, "five requests each");
    assert!(shard.fetch(ZeroRequest::get(&url("/files/page"))).body == page);
    assert!(shard.fetch(ZeroRequest::get(&url("/moved"))).body == page, "moved");
    let head = shard.fetch(ZeroRequest::head(&url("/files/page")));
    assert_eq!((head.status, head.header("content-length")), (200, Some("300000")));
    let part = shard.fetch(ZeroRequest::get(&url("/files/page")).header("range", "bytes=10-19"));
    assert_eq!((part.status, &part.body[..]), (206, &page[10..20]));
    assert_eq!(shard.fetch(ZeroRequest::get(&url("/files/none"))).status, 404);
    assert_eq!(shard.fetch(ZeroRequest::get(&url("/close"))).text(), "bye");
    assert_eq!(shard.fetch(ZeroRequest::get(&url("/close"))).text(), "bye");
    assert_eq!(shard.finish().failures, 0);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn pythons_server_speaks_an_older_version() {
    let dir = std::env::temp_dir().join(format!("zero-io-python-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let page = pattern(50_000);
    std::fs::write(dir.join("page"), &page).unwrap();
    let mut server = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"])
        .args([dir.as_os_str(), "0".as_ref()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 is installed: `cargo xtask setup`");
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.split_once(" port ").unwrap().1.split(' ').next().unwrap();
    let mut shard = Shard::new();
    for _ in 0..3 {
        let outcome = shard.fetch(ZeroRequest::get(&format!("http://127.0.0.1:{port}/page")));
        assert!(outcome.status == 200 && outcome.body == page, "{outcome:?}");
    }
    assert_eq!(shard.stats().connects, 3, "HTTP/1.0 closes each time");
    assert_eq!(shard.fetch(ZeroRequest::get(&format!("http://127.0.0.1:{port}/no"))).status, 404);
    shard.finish();
    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
}
