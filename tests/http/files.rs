//! Answers out of files.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zero_io::{Event, HttpFile, IoError, Sender, ZeroResponse, code};

use crate::kit::{Answer, Client, Server, get, pattern};

/// A file that is gone with the test.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(crate) fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("zero-io-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    /// A file of that length with nothing in it.
    pub(crate) fn sparse(name: &str, len: u64) -> Self {
        let made = Self::new(name, b"");
        made.file().set_len(len).unwrap();
        made
    }

    pub(crate) fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.0).unwrap()
    }

    pub(crate) fn open(&self) -> HttpFile {
        HttpFile::open(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers every request with the file, but `/text`.
pub(crate) fn serving(file: HttpFile) -> impl FnMut(&mut Sender<'_>, &Event<'_>) + Send + 'static {
    move |sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        let answer = match request.path() {
            "/text" => ZeroResponse::ok().text("in between"),
            _ => file.answer(request),
        };
        let sent = sender.http_respond(*conn, *id, answer);
        // A client that asks and goes without reading may be gone before it is its turn.
        assert!(matches!(sent, Ok(()) | Err(IoError::StaleConn { .. })), "{sent:?}");
    }
}

fn serve(file: HttpFile) -> Server {
    Server::start(serving(file))
}

fn ask(client: &mut Client, method: &str, fields: &[(&str, &str)]) -> Answer {
    let fields: String =
        fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.send(format!("{method} / HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
    client.answer_to(method).unwrap()
}

#[test]
fn what_cannot_be_answered_with_is_refused() {
    use std::io::ErrorKind;
    let kind = |path: &str| HttpFile::open(path).unwrap_err().kind();
    assert_eq!(kind("/nowhere/at/all"), ErrorKind::NotFound);
    assert_eq!(kind("/tmp"), ErrorKind::IsADirectory);
    assert_eq!(kind("/dev/null"), ErrorKind::InvalidInput);
    let (pipe, _other) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    assert_eq!(HttpFile::from_file(pipe).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn files_of_every_length_are_sent() {
    for len in [0, 1, 4096, 16_384, 16_385, 262_144, 262_145, 3_000_000] {
        let content = pattern(len);
        let made = Temporary::new(&format!("length-{len}.css"), &content);
        let file = made.open();
        assert_eq!(file.len(), len as u64);
        let server = serve(file.clone());
        let mut client = server.dial();
        for _ in 0..3 {
            let answer = ask(&mut client, "GET", &[]);
            assert!(answer.status == 200 && answer.body == content, "{len}");
            assert_eq!(answer.header("content-type"), Some("text/css; charset=utf-8"));
            assert_eq!(answer.header("etag"), Some(file.etag()));
            assert_eq!(answer.header("last-modified"), Some(file.last_modified()));
            assert_eq!(answer.header("accept-ranges"), Some("bytes"));
            let head = ask(&mut client, "HEAD", &[]);
            let len = len.to_string();
            assert_eq!((head.status, head.header("content-length")), (200, Some(len.as_str())));
        }
        drop(client);
        let report = server.stop();
        assert_eq!(report.ends, [(0, true)]);
        // What fits into one buffer is read behind its head.
        let copied = if len <= 16_384 { 3 * len as u64 } else { 0 };
        assert_eq!(report.stats.bytes_copied_tx, copied, "{len}");
    }
}

#[test]
fn ranges_are_sent_to_the_byte() {
    const LEN: usize = 100_000;
    let content = pattern(LEN);
    let made = Temporary::new("ranges", &content);
    let server = serve(made.open());
    let mut client = server.dial();
    let rows = [
        ("bytes=0-0", 0..1),
        ("bytes=0-4095", 0..4096),
        ("bytes=1-4097", 1..4098),
        ("bytes=50000-", 50_000..LEN),
        ("bytes=99999-", 99_999..LEN),
        ("bytes=99999-100000", 99_999..LEN),
        ("bytes=-1", 99_999..LEN),
        ("bytes=-99999", 1..LEN),
        ("bytes=-100001", 0..LEN),
    ];
    for (range, bytes) in rows {
        let answer = ask(&mut client, "GET", &[("Range", range)]);
        assert!(answer.status == 206 && answer.body == content[bytes.clone()], "{range}");
        let said = format!("bytes {}-{}/{LEN}", bytes.start, bytes.end - 1);
        assert_eq!(answer.header("content-range"), Some(said.as_str()));
    }
    for range in ["bytes=100000-", "bytes=-0"] {
        let answer = ask(&mut client, "GET", &[("Range", range)]);
        assert_eq!((answer.status, answer.body.len()), (416, 0), "{range}");
        assert_eq!(answer.header("content-range"), Some("bytes */100000"));
    }
    for range in ["bytes=0-1,5-6", "bytes=2-1", "pages=1"] {
        let answer = ask(&mut client, "GET", &[("Range", range)]);
        assert_eq!((answer.status, answer.body.len()), (200, LEN), "{range}");
    }
    let head = ask(&mut client, "HEAD", &[("Range", "bytes=0-0")]);
    assert_eq!((head.status, head.header("content-length")), (200, Some("100000")));
    drop(client);
    server.stop();
}

#[test]
fn conditions_decide() {
    let made = Temporary::new("conditions", b"0123456789");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(1000);
    made.file().set_modified(long_ago).unwrap();
    let file = made.open();
    let (tag, weak) = (file.etag().to_string(), format!("W/{}", file.etag()));
    let date = file.last_modified().to_string();
    let old = "Sun, 06 Nov 1994 08:49:37 GMT";
    let server = serve(file);
    let mut client = server.dial();
    let range = ("Range", "bytes=2-3");
    let rows: [(&[(&str, &str)], u16); 17] = [
        (&[("If-None-Match", &tag)], 304),
        (&[("If-None-Match", &weak)], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"other\"")], 200),
        (&[("If-None-Match", "\"other\""), ("If-Modified-Since", &date)], 200),
        (&[("If-Modified-Since", &date)], 304),
        (&[("If-Modified-Since", old)], 200),
        (&[("If-Match", &tag)], 200),
        (&[("If-Match", &weak)], 412),
        (&[("If-Match", "\"other\"")], 412),
        (&[("If-Unmodified-Since", &date)], 200),
        (&[("If-Unmodified-Since", old)], 412),
        (&[range, ("If-Range", &tag)], 206),
        (&[range, ("If-Range", &weak)], 200),
        (&[range, ("If-Range", &date)], 206),
        (&[range, ("If-Range", old)], 200),
        (&[range, ("If-None-Match", &tag)], 304),
    ];
    for (fields, status) in rows {
        let answer = ask(&mut client, "GET", fields);
        let body: &[u8] = match status {
            200 => b"0123456789",
            206 => b"23",
            _ => b"",
        };
        assert_eq!((answer.status, &answer.body[..]), (status, body), "{fields:?}");
        if status == 304 {
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
            assert_eq!(answer.header("last-modified"), Some(date.as_str()));
            assert_eq!(answer.header("content-length"), None);
        }
    }
    let answer = ask(&mut client, "DELETE", &[]);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    drop(client);
    server.stop();
}

#[test]
fn a_file_that_is_replaced_is_sent_as_it_was() {
    let made = Temporary::new("replaced", &pattern(50_000));
    let file = made.open();
    std::fs::remove_file(&made.0).unwrap();
    std::fs::write(&made.0, b"new").unwrap();
    let new = made.open();
    assert_ne!(file.etag(), new.etag());
    let server = serve(file.content_type("x/y"));
    let answer = server.dial().ask(get("/"));
    assert_eq!(answer.header("content-type"), Some("x/y"));
    assert_eq!(answer.body, pattern(50_000));
    assert!(server.stop().ends.len() == 1);
}

#[test]
fn files_and_other_answers_leave_in_order() {
    const COUNT: usize = 30;
    let content = pattern(700_000);
    let made = Temporary::new("order", &content);
    let server = serve(made.open());
    let mut client = server.dial();
    let all: String = (0..COUNT).map(|i| get(["/", "/text", "/"][i % 3])).collect();
    client.send(all);
    for i in 0..COUNT {
        let answer = client.answer().unwrap();
        if i % 3 == 1 {
            assert_eq!(answer.text(), "in between");
        } else {
            assert!(answer.body == content, "{i}");
        }
    }
    drop(client);
    let report = server.stop();
    assert_eq!((report.ends, report.counters.answers[1]), (vec![(0, true)], COUNT as u64));
    assert_eq!(report.stats.bytes_copied_tx, 10 * "in between".len() as u64);
}

#[test]
fn a_file_may_be_the_answer_of_another_thread_and_early() {
    let content = pattern(300_000);
    let made = Temporary::new("thread", &content);
    let file = made.open();
    let (give, given) = std::sync::mpsc::channel::<zero_io::HttpOwnedRequest>();
    let server = Server::full(
        |_| {},
        |_| {},
        |_, event, take| *take = matches!(event, Event::HttpRequest { .. }),
        move |request| give.send(request).unwrap(),
    );
    let handle = server.handle.clone();
    let worker = std::thread::spawn(move || {
        let mut requests: Vec<_> = (0..4).map(|_| given.recv().unwrap()).collect();
        // The last one first.
        while let Some(owned) = requests.pop() {
            let (conn, id) = (owned.conn(), owned.id());
            let answer = if requests.len() == 1 {
                ZeroResponse::ok().text("one")
            } else {
                file.answer(&owned.request())
            };
            handle.http_respond(conn, id, answer).unwrap();
        }
    });
    let mut client = server.dial();
    client.send([get("/"), get("/"), get("/"), get("/")].concat());
    let lens: Vec<_> = (0..4).map(|_| client.answer().unwrap().body.len()).collect();
    assert_eq!(lens, [300_000, 3, 300_000, 300_000]);
    worker.join().unwrap();
    drop(client);
    server.stop();
}

#[test]
fn a_slow_reader_of_a_large_file_costs_no_memory() {
    const LEN: u64 = 100 << 20;
    let made = Temporary::sparse("slow", LEN);
    made.file().write_at(b"end", LEN - 3).unwrap();
    let server = serve(made.open());
    let mut client = server.dial();
    client.send(get("/"));
    let mut buffer = vec![0; 1 << 20];
    std::thread::sleep(Duration::from_millis(200));
    let (mut got, mut tail) = (0_u64, Vec::new());
    let head_len = loop {
        let n = client.stream.read(&mut buffer).unwrap();
        got += n as u64;
        if tail.is_empty() {
            tail = buffer[..n].to_vec();
            break tail.windows(4).position(|w| w == b"\r\n\r\n").unwrap() as u64 + 4;
        }
    };
    let whole = head_len + LEN;
    while got < whole {
        if got % 5 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let n = client.stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{got} of {whole}");
        got += n as u64;
        tail = buffer[n.saturating_sub(3)..n].to_vec();
    }
    assert_eq!((got, &tail[..]), (whole, &b"end"[..]));
    // The connection goes on.
    assert_eq!(client.ask(get("/text")).text(), "in between");
    drop(client);
    let report = server.stop();
    assert_eq!(report.ends, [(0, true)]);
    assert_eq!(report.stats.bytes_copied_tx, "in between".len() as u64);
    assert_eq!(report.stats.bytes_sent, report.counters.bytes_sent);
}

#[test]
fn a_file_that_shrinks_cuts_its_answer() {
    let made = Temporary::new("shrinks", &pattern(30_000_000));
    let file = made.open();
    let short = made.open();
    let server = Server::start(move |sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        let file = if request.path() == "/short" { &short } else { &file };
        sender.http_respond(*conn, *id, file.answer(request)).unwrap();
    });
    let mut client = server.dial();
    client.send(get("/"));
    let mut buffer = vec![0; 100_000];
    client.stream.read_exact(&mut buffer).unwrap();
    made.file().set_len(10_000_000).unwrap();
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    assert!(rest.len() < 20_000_000, "cut, and told by the end of the connection");
    // Before it began, and a part that is read rather than sent.
    made.file().set_len(0).unwrap();
    for fields in ["", "Range: bytes=5-9\r\n"] {
        let mut client = server.dial();
        client.send(format!("GET /short HTTP/1.1\r\nHost: t\r\n{fields}\r\n"));
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.ends_with(b"\r\n\r\n"));
    }
    assert_eq!(server.stop().ends, [(code::HTTP_ANSWER_CUT, false); 3]);
}

#[test]
fn a_client_that_vanishes_ends_its_answer() {
    let made = Temporary::sparse("vanishes", 1 << 30);
    let file = made.open();
    let server = serve(file);
    for round in 0..6 {
        let mut client = server.dial();
        client.send(get("/"));
        let mut buffer = vec![0; 10_000];
        if round % 2 == 0 {
            client.stream.read_exact(&mut buffer).unwrap();
        }
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
        drop(client);
    }
    assert_eq!(server.dial().ask(get("/text")).text(), "in between");
    let ends = server.stop().ends;
    assert_eq!(ends.len(), 7);
    assert_eq!(ends.iter().filter(|(_, clean)| *clean).count(), 1, "{ends:?}");
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let made = Temporary::sparse("nothing", 1 << 30);
    let server = Server::with(
        |c| match &mut c.socket {
            zero_io::HttpSocket::Tcp(tcp) => {
                tcp.timeouts.write = Some(Duration::from_millis(300));
            }
            _ => unreachable!(),
        },
        |_| {},
        serving(made.open()),
    );
    let mut client = server.dial();
    client.send(get("/"));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(server.stop().ends, [(code::WRITE_TIMEOUT, false)]);
}

#[test]
fn the_connection_ends_behind_the_file_it_was_to_end_with() {
    let content = pattern(5_000_000);
    let made = Temporary::new("closes", &content);
    let server = serve(made.open());
    let mut client = server.dial();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert!(client.answer().unwrap().body == content);
    client.end();
    let mut client = server.dial();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert!(client.answer().unwrap().body == content);
    client.end();
    // A client that says no more still gets what it asked for.
    let mut client = server.dial();
    client.send([get("/"), get("/text")].concat());
    client.shut();
    assert!(client.answer().unwrap().body == content);
    assert_eq!(client.answer().unwrap().text(), "in between");
    client.end();
    drop(client);
    assert_eq!(server.stop().ends, [(0, true); 3]);
}

#[test]
fn one_answer_is_enough() {
    let made = Temporary::new("twice", &pattern(2_000_000));
    let file = made.open();
    let server = Server::start(move |sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        sender.http_respond(*conn, *id, file.answer(request)).unwrap();
        assert!(sender.http_respond(*conn, *id, ZeroResponse::ok()).is_err());
        assert!(sender.http_write(*conn, *id, b"more").is_err());
        assert!(sender.http_finish(*conn, *id).is_err());
    });
    assert_eq!(server.dial().ask(get("/")).body.len(), 2_000_000);
    server.stop();
}

#[test]
fn a_media_type_with_a_line_break_is_refused() {
    let made = Temporary::new("injected", b"x");
    let file = made.open().content_type("x/y\r\nset-cookie: a=b");
    let server = Server::start(move |sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        assert!(sender.http_respond(*conn, *id, file.answer(request)).is_err());
        sender.http_respond(*conn, *id, ZeroResponse::internal_error()).unwrap();
    });
    assert_eq!(server.dial().ask(get("/")).status, 500);
    server.stop();
}

#[test]
fn many_clients_get_the_same_file_at_once() {
    let content: Arc<[u8]> = Arc::from(pattern(4_000_000));
    let made = Temporary::new("many", &content);
    let server = serve(made.open());
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (mut client, content) = (server.dial(), Arc::clone(&content));
            std::thread::spawn(move || {
                for _ in 0..3 {
                    assert!(client.ask(get("/")).body == content[..]);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    server.stop();
}

#[test]
fn unix_sockets_get_files_as_well() {
    let content = pattern(2_000_000);
    let made = Temporary::new("unix", &content);
    let path = made.0.with_extension("sock");
    let path_too = path.clone();
    let server = Server::with(
        move |c| c.socket = zero_io::UdsListenConfig::new(&path_too).into(),
        |_| {},
        serving(made.open()),
    );
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head_len = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[head_len..] == content);
    drop(stream);
    let report = server.stop();
    assert_eq!((report.ends, report.stats.bytes_copied_tx), (vec![(0, true)], 0));
}
