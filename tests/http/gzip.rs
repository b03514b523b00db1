//! Answers that are compressed for those who accept it (feature `http-gzip`).

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use zero_io::{Event, ZeroResponse};

use crate::kit::{Client, Server};

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip is installed");
    let (mut input, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    out
}

fn text(len: usize) -> String {
    "all work and no play ".chars().cycle().take(len).collect()
}

fn serve() -> Server {
    let (long, short) = (text(100_000), text(99));
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(2000)
    .collect();
    Server::with(
        |c| c.compression_threshold = Some(100),
        |_| {},
        move |sender, event| {
            let Event::HttpRequest { conn, id, request } = event else { return };
            let value = std::collections::BTreeMap::from([("a", long.as_str())]);
            let answer = match request.path() {
                "/long" => ZeroResponse::ok().text(&long),
                "/short" => ZeroResponse::ok().text(&short),
                "/json" => ZeroResponse::ok().json(&value),
                "/shared" => {
                    ZeroResponse::ok().content_type("text/css").static_bytes(&[b'x'; 5000])
                }
                "/bytes" => ZeroResponse::ok().bytes(long.as_bytes()),
                "/coded" => ZeroResponse::ok().header("content-encoding", "br").text(&long),
                "/tagged" => ZeroResponse::ok().header("etag", "\"a\"").text(&long),
                "/noise" => ZeroResponse::ok().content_type("text/plain").bytes(&noise),
                _ => ZeroResponse::not_found().html(&long),
            };
            sender.http_respond(*conn, *id, answer).unwrap();
        },
    )
}

fn ask(client: &mut Client, method: &str, path: &str, accept: &str) -> crate::kit::Answer {
    client
        .send(format!("{method} {path} HTTP/1.1\r\nHost: t\r\nAccept-Encoding: {accept}\r\n\r\n"));
    client.answer_to(method).unwrap()
}

#[test]
fn text_is_compressed_for_those_who_accept_it() {
    let server = serve();
    let mut client = server.dial();
    let json = format!("{{\"a\":\"{}\"}}", text(100_000)).into_bytes();
    let rows = [
        ("/long", 200, text(100_000).into_bytes()),
        ("/json", 200, json),
        ("/shared", 200, vec![b'x'; 5000]),
        ("/none", 404, text(100_000).into_bytes()),
    ];
    for (path, status, body) in rows {
        let answer = ask(&mut client, "GET", path, "br, gzip");
        assert_eq!((answer.status, answer.header("content-encoding")), (status, Some("gzip")));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert!(answer.body.len() < body.len() / 10 && inflated(&answer.body) == body, "{path}");
        let head = ask(&mut client, "HEAD", path, "gzip");
        assert_eq!(head.header("content-length"), answer.header("content-length"));
        let plain = ask(&mut client, "GET", path, "gzip;q=0");
        assert_eq!((plain.status, plain.header("content-encoding")), (status, None));
        assert!(plain.header("vary") == Some("Accept-Encoding") && plain.body == body);
    }
    drop(client);
    server.stop();
}

#[test]
fn other_answers_are_left_alone() {
    let server = serve();
    let mut client = server.dial();
    let rows = [("/short", None), ("/bytes", None), ("/tagged", None), ("/coded", Some("br"))];
    for (path, coding) in rows {
        let answer = ask(&mut client, "GET", path, "gzip");
        assert_eq!((answer.header("content-encoding"), answer.header("vary")), (coding, None));
    }
    // What would not get smaller.
    let answer = ask(&mut client, "GET", "/noise", "gzip");
    assert_eq!((answer.header("content-encoding"), answer.body.len()), (None, 2000));
    drop(client);
    server.stop();
}

#[test]
fn answers_that_wait_for_their_turn_are_compressed_then() {
    let mut first = None;
    let page = text(5000);
    let server = Server::start(move |sender, event| {
        let Event::HttpRequest { conn, id, .. } = event else { return };
        match first.take() {
            None => first = Some(*id),
            Some(before) => {
                sender.http_respond(*conn, *id, ZeroResponse::ok().text(&page)).unwrap();
                sender.http_respond(*conn, before, ZeroResponse::ok().text("first")).unwrap();
            }
        }
    });
    let mut client = server.dial();
    let request = "GET / HTTP/1.1\r\nHost: t\r\nAccept-Encoding: gzip\r\n\r\n";
    client.send([request, request].concat());
    assert_eq!(client.answer().unwrap().text(), "first");
    let answer = client.answer().unwrap();
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(inflated(&answer.body), text(5000).into_bytes());
    drop(client);
    server.stop();
}

#[test]
fn a_listeners_threshold_goes_before_that_of_the_shard() {
    let answer = |own: Option<usize>| {
        let server = Server::with(
            move |c| c.compression_threshold = own,
            |c| c.compression_threshold = 1000,
            |sender, event| {
                let Event::HttpRequest { conn, id, request } = event else { return };
                let len = request.path()[1..].parse().unwrap();
                sender.http_respond(*conn, *id, ZeroResponse::ok().text(&text(len))).unwrap();
            },
        );
        let mut client = server.dial();
        let coded = ["/499", "/500", "/999", "/1000"]
            .map(|path| ask(&mut client, "GET", path, "gzip").header("content-encoding").is_some());
        drop(client);
        server.stop();
        coded
    };
    assert_eq!(answer(None), [false, false, false, true]);
    assert_eq!(answer(Some(500)), [false, true, true, true]);
    assert_eq!(answer(Some(usize::MAX)), [false; 4]);
}
