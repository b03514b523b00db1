//! Streams of responses, each at once and cut everywhere: the same comes out (C6).

use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::http::HttpMethod as M;

fn shared() -> Rc<ClientShared> {
    Rc::new(ClientShared {
        limits: Limits { header_count: 8, header_size: 512 },
        body_inline: 8,
        body_max: 64,
        first_byte_timeout: Some(Duration::from_secs(3)),
        body_timeout: Some(Duration::from_secs(5)),
    })
}

fn asked(key: u64, method: M) -> Asked {
    Asked { key, hop: 0, method, upgrades: false, is_tunnel: false, from: 0 }
}

/// What came of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Out {
    /// Request, head, inline body.
    Response(u64, String, String),
    Body(u64, String),
    Last(u64),
    Stream(String),
    Close(u64),
}

/// Feeds pieces as the engine does, with a carry for what is not whole.
struct Feed {
    machine: HttpClient,
    carry: Vec<u8>,
    need: usize,
    out: Vec<Out>,
}

impl Feed {
    fn new(asks: &[Asked]) -> Self {
        let mut machine = HttpClient::new(shared(), 0, 0);
        for asked in asks {
            machine.ask(*asked, Time::ZERO);
        }
        Self { machine, carry: Vec::new(), need: 0, out: Vec::new() }
    }

    fn is_over(&self) -> bool {
        matches!(self.out.last(), Some(Out::Close(_)))
    }

    fn feed(&mut self, piece: &[u8]) {
        self.carry.extend_from_slice(piece);
        while !self.carry.is_empty() && self.carry.len() >= self.need && !self.is_over() {
            let step = self.machine.step(&self.carry);
            self.need = 0;
            match step {
                Step::Message { kind, extra, skip, len } => {
                    self.carry.drain(..skip);
                    let data: Vec<u8> = self.carry.drain(..len).collect();
                    self.message(kind, extra, data);
                }
                Step::Need { need } => {
                    assert!(need > self.carry.len(), "it has what it asks for");
                    self.need = need;
                }
                Step::Skip { len } => drop(self.carry.drain(..len)),
                Step::Close { code } => self.out.push(Out::Close(code)),
                Step::Refuse { .. } | Step::Begin { .. } => panic!("a client has no answer"),
            }
        }
    }

    fn message(&mut self, kind: Kind, extra: u64, data: Vec<u8>) {
        let key = extra & ((1 << KEY_BITS) - 1);
        let text = String::from_utf8(data).unwrap();
        match kind {
            Kind::HttpClient(ClientKind::Response { .. }) => {
                let (head, body) = text.split_at((extra >> KEY_BITS) as usize);
                self.out.push(Out::Response(key, head.into(), body.into()));
            }
            Kind::HttpClient(ClientKind::Body { last }) => {
                match self.out.last_mut() {
                    Some(Out::Body(same, all)) if *same == key => all.push_str(&text),
                    _ if text.is_empty() => {}
                    _ => self.out.push(Out::Body(key, text)),
                }
                if last {
                    self.out.push(Out::Last(key));
                }
            }
            Kind::StreamFrame(_) => match self.out.last_mut() {
                Some(Out::Stream(all)) => all.push_str(&text),
                _ => self.out.push(Out::Stream(text)),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// The same out of every cut; then what the end of the stream means.
#[track_caller]
fn check(asks: &[Asked], bytes: &str, expected: &[Out], eof: Option<Eof>) {
    let whole = bytes.as_bytes();
    let run = |pieces: &mut dyn Iterator<Item = &[u8]>, how: &str| {
        let mut feed = Feed::new(asks);
        for piece in pieces {
            feed.feed(piece);
        }
        assert_eq!(feed.out, expected, "{bytes:?} {how}");
        if !feed.is_over() {
            let end = feed.machine.on_eof();
            assert_eq!(Some(end), eof, "{bytes:?} {how}");
        }
    };
    run(&mut [whole].into_iter(), "at once");
    for cut in 1..whole.len() {
        let (first, second) = whole.split_at(cut);
        run(&mut [first, second].into_iter(), &format!("cut at {cut}"));
    }
    run(&mut whole.chunks(1), "byte by byte");
    run(&mut whole.chunks(3), "by threes");
}

fn response(key: u64, head: &str, body: &str) -> Out {
    Out::Response(key, head.into(), body.into())
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[test]
fn bodies_of_every_kind() {
    let get = [asked(7, M::Get)];
    let inline = format!("{OK}Content-Length: 3\r\n\r\n");
    check(&get, &format!("{inline}abc"), &[response(7, &inline, "abc")], Some(Eof::Idle));
    let long = format!("{OK}Content-Length: 12\r\n\r\n");
    let out = [response(7, &long, ""), Out::Body(7, "0123456789ab".into()), Out::Last(7)];
    check(&get, &format!("{long}0123456789ab"), &out, Some(Eof::Idle));
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    let out = [response(7, &chunked, ""), Out::Body(7, "abcdef".into()), Out::Last(7)];
    check(
        &get,
        &format!("{chunked}3\r\nabc\r\n3;x=y\r\ndef\r\n0\r\nT: v\r\n\r\n"),
        &out,
        Some(Eof::Idle),
    );
    let until = format!("{OK}\r\n");
    let out = [response(7, &until, ""), Out::Body(7, "to the end".into())];
    check(&get, &format!("{until}to the end"), &out, Some(Eof::Last(7)));
    let none = format!("{OK}Content-Length: 900\r\n\r\n");
    check(&[asked(7, M::Head)], &none, &[response(7, &none, "")], Some(Eof::Idle));
}

#[test]
fn responses_belong_to_their_requests_in_order() {
    let asks = [asked(1, M::Get), asked(2, M::Head), asked(3, M::Get)];
    let inline = format!("{OK}Content-Length: 1\r\n\r\n");
    let stream = format!("{inline}x{inline}{inline}y");
    let out = [response(1, &inline, "x"), response(2, &inline, ""), response(3, &inline, "y")];
    check(&asks, &stream, &out, Some(Eof::Idle));
    // One response less.
    check(&asks[..2], &format!("{inline}x"), &out[..1], Some(Eof::NoResponse));
}

#[test]
fn what_nobody_asked_for_ends_the_connection() {
    let inline = format!("{OK}Content-Length: 1\r\n\r\n");
    check(&[], "H", &[Out::Close(code::HTTP_UNSOLICITED)], None);
    let mut early = Feed::new(&[asked(1, M::Get)]);
    early.machine.note_unsent();
    early.feed(b"H");
    assert_eq!(early.out, [Out::Close(code::HTTP_UNSOLICITED)], "before it was asked for");
    let out = [response(1, &inline, "x"), Out::Close(code::HTTP_UNSOLICITED)];
    check(&[asked(1, M::Get)], &format!("{inline}x{inline}y"), &out, None);
}

#[test]
fn nothing_is_read_behind_the_last_response() {
    let close = format!("{OK}Connection: close\r\nContent-Length: 1\r\n\r\n");
    let asks = [asked(1, M::Get), asked(2, M::Get)];
    let out = [response(1, &close, "x")];
    check(&asks, &format!("{close}x{close}y"), &out, Some(Eof::Idle));
    let mut feed = Feed::new(&asks);
    feed.feed(format!("{close}x").as_bytes());
    assert!(feed.machine.is_closed());
    assert_eq!(feed.machine.asked().map(|a| a.key).collect::<Vec<_>>(), [2], "it is still due");
    assert_eq!((feed.machine.take_answered(), feed.machine.take_answered()), (1, 0));
}

#[test]
fn interim_responses_are_passed_over() {
    let inline = format!("{OK}Content-Length: 1\r\n\r\n");
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let out = [response(1, &inline, "x")];
    check(&[asked(1, M::Get)], &format!("{go_on}{early}{inline}x"), &out, Some(Eof::Idle));
    let mut feed = Feed::new(&[asked(1, M::Post)]);
    feed.feed(early.as_bytes());
    assert!(!feed.machine.take_continued());
    feed.feed(go_on.as_bytes());
    assert!(feed.machine.take_continued() && !feed.machine.take_continued());
    let flood = early.repeat(usize::from(INTERIM_MAX));
    check(&[asked(1, M::Get)], &format!("{flood}{inline}x"), &out, Some(Eof::Idle));
    let out = [Out::Close(code::HTTP_INTERIM_FLOOD)];
    check(&[asked(1, M::Get)], &format!("{flood}{early}"), &out, None);
}

#[test]
fn what_is_malformed_or_too_long_ends_the_connection() {
    let rows: [(String, u64); 8] = [
        ("ICY 200 OK\r\n\r\n".into(), code::HTTP_BAD_STATUS_LINE),
        (format!("{OK}a : b\r\n\r\n"), code::HTTP_BAD_HEADER),
        (format!("{OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), code::HTTP_BAD_FRAMING),
        (format!("{OK}x: {}", "y".repeat(600)), code::HTTP_HEAD_TOO_LARGE),
        (format!("{OK}{}\r\n", "a: b\r\n".repeat(9)), code::HTTP_HEAD_TOO_LARGE),
        (format!("{OK}Content-Length: 65\r\n\r\n"), code::HTTP_BODY_TOO_LARGE),
        (
            "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into(),
            code::HTTP_UNASKED_UPGRADE,
        ),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), code::HTTP_VERSION),
    ];
    for (bytes, code) in rows {
        check(&[asked(1, M::Get)], &bytes, &[Out::Close(code)], None);
    }
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    let mut feed = Feed::new(&[asked(1, M::Get)]);
    feed.feed(format!("{chunked}1\r\nx\r\n41\r\n{}", "y".repeat(65)).as_bytes());
    assert_eq!(feed.out.last(), Some(&Out::Close(code::HTTP_BODY_TOO_LARGE)));
    let mut feed = Feed::new(&[asked(1, M::Get)]);
    feed.feed(format!("{OK}\r\n{}", "y".repeat(64)).as_bytes());
    feed.feed(b"z");
    assert_eq!(feed.out.last(), Some(&Out::Close(code::HTTP_BODY_TOO_LARGE)));
}

#[test]
fn an_end_in_the_middle_is_told_from_one_before() {
    let get = [asked(1, M::Get)];
    check(&get, "", &[], Some(Eof::NoResponse));
    check(&get, "H", &[], Some(Eof::Truncated));
    let long = format!("{OK}Content-Length: 12\r\n\r\n");
    let out = [response(1, &long, ""), Out::Body(1, "01".into())];
    check(&get, &format!("{long}01"), &out, Some(Eof::Truncated));
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    let out = [response(1, &chunked, ""), Out::Body(1, "abc".into())];
    check(&get, &format!("{chunked}3\r\nabc\r\n"), &out, Some(Eof::Truncated));
    check(&get, "HTTP/1.1 100 Continue\r\n\r\n", &[], Some(Eof::Truncated));
}

#[test]
fn another_protocol_begins_behind_its_head() {
    let go = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let upgrades = Asked { upgrades: true, ..asked(1, M::Get) };
    let out = [response(1, go, ""), Out::Stream("raw".into())];
    check(&[upgrades], &format!("{go}raw"), &out, Some(Eof::Tunnel));
    let connect = format!("{OK}\r\n");
    let out = [response(1, &connect, ""), Out::Stream("raw".into())];
    check(&[asked(1, M::Connect)], &format!("{connect}raw"), &out, Some(Eof::Tunnel));
}

#[test]
fn a_proxy_opens_a_tunnel_or_does_not() {
    let tunnel = Asked { is_tunnel: true, ..asked(0, M::Connect) };
    let mut feed = Feed::new(&[tunnel]);
    feed.feed(b"HTTP/1.1 200 Connection est");
    assert!(!feed.machine.is_tunnelled);
    feed.feed(b"ablished\r\n\r\n");
    assert!(feed.machine.is_tunnelled && feed.out.is_empty());
    assert_eq!((feed.machine.asked().len(), feed.machine.has_no_response()), (0, true));
    let mut feed = Feed::new(&[tunnel]);
    feed.feed(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(feed.out, [Out::Close(code::HTTP_UNSOLICITED)]);
    for status in ["407 Proxy Authentication Required", "502 Bad Gateway", "301 Moved"] {
        check(
            &[tunnel],
            &format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\n"),
            &[Out::Close(code::HTTP_PROXY_REFUSED)],
            None,
        );
    }
}

#[test]
fn an_early_response_ends_the_connection() {
    let inline = format!("{OK}Content-Length: 1\r\n\r\n");
    let mut feed = Feed::new(&[asked(1, M::Post)]);
    feed.machine.writing = Writing::Chunked;
    assert!(feed.machine.is_writing(1) && !feed.machine.is_writing(2));
    feed.feed(format!("{inline}x").as_bytes());
    assert_eq!(feed.out, [response(1, &inline, "x")]);
    assert!(feed.machine.is_closed() && !feed.machine.is_writing(1));
}

#[test]
fn a_last_request_ends_the_connection() {
    let inline = format!("{OK}Content-Length: 1\r\n\r\n");
    let mut feed = Feed::new(&[asked(1, M::Get), asked(2, M::Get)]);
    feed.machine.says_close = true;
    feed.feed(format!("{inline}x").as_bytes());
    assert!(!feed.machine.is_closed());
    feed.feed(format!("{inline}y").as_bytes());
    assert!(feed.machine.is_closed(), "whatever the server says");
    assert_eq!(feed.machine.take_bytes(), 2 * (inline.len() as u64 + 1));
}

#[test]
fn deadlines_follow_what_is_waited_for() {
    let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
    let due = |machine: &HttpClient, now: u64, rx: u64, tx: u64| {
        machine.next_deadline(at(now), (at(rx), at(tx)), false)
    };
    let mut machine = HttpClient::new(shared(), 0, 0);
    assert!(due(&machine, 5, 1, 1).is_never(), "an idle one is the pool's");
    machine.ask(asked(1, M::Get), at(100));
    assert_eq!(due(&machine, 100, 0, 0), at(3_100));
    assert_eq!(due(&machine, 100, 0, 500), at(3_500), "the socket took some of it later");
    machine.wait_for_continue(at(100));
    assert_eq!(due(&machine, 100, 0, 0), at(1_100));
    assert!(machine.end_continue() && !machine.end_continue());
    assert!(machine.wants_timer(at(100), (at(0), at(0))));
    machine.timer_armed(at(3_000));
    assert!(!machine.wants_timer(at(100), (at(0), at(0))));
    machine.step(format!("{OK}Content-Length: 12\r\n\r\n").as_bytes());
    assert_eq!(due(&machine, 900, 700, 0), at(5_700));
    assert_eq!(machine.late_code(), code::HTTP_BODY_TIMEOUT);
    assert_eq!(machine.next_deadline(at(9_000), (at(0), at(0)), true), at(14_000), "it is held");
    // A tunnel is part of being connected, and that began before.
    let mut machine = HttpClient::new(shared(), 0, 0);
    machine.tunnel_until = at(2_000);
    machine.ask(Asked { is_tunnel: true, ..asked(0, M::Connect) }, at(1_500));
    assert_eq!(due(&machine, 1_500, 1_600, 1_700), at(2_000));
    assert_eq!(machine.late_code(), code::CONNECT_TIMEOUT);
}
