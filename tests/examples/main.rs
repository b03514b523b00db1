//! The examples, run as a user would run them: started, talked to over the standard library's
//! sockets, and killed.
//!
//! Not role: what the engine does. *Invariant*: a program that is missing fails its test.

#![cfg(feature = "tcp")]

#[cfg(feature = "http")]
mod browser;
#[cfg(all(feature = "http", feature = "tls", feature = "quic"))]
mod cluster;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "http")]
mod showcase_page;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running example. Killed when dropped.
struct Example {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = program(name).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line; empty at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The rest of its first line, which says where it listens.
    fn place(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned()
    }

    fn connect(&mut self) -> TcpStream {
        tcp(self.place().parse().unwrap())
    }

    /// All that is still written, from a program that ends by itself.
    fn finish(&mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {rest}");
        rest
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --examples`", path.display());
    Command::new(path)
}

fn tcp(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Writes, says that it is done, and reads to the end. The writer is a thread of its own, so that
/// more can be sent than fits on the way.
fn exchange<S: Sync>(stream: &S, data: &[u8], shut: impl Fn(&S) + Sync) -> Vec<u8>
where
    for<'a> &'a S: Read + Write,
{
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = stream;
            writer.write_all(data).unwrap();
            shut(stream);
        });
        let mut reader = stream;
        reader.read_to_end(&mut answer).unwrap();
    });
    answer
}

fn exchange_tcp(stream: &TcpStream, data: &[u8]) -> Vec<u8> {
    exchange(stream, data, |s| s.shutdown(Shutdown::Write).unwrap())
}

fn ask_udp(addr: &str, data: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(data, addr).unwrap();
    let mut answer = vec![0; 2048];
    let (len, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from.to_string(), addr);
    answer.truncate(len);
    answer
}

#[test]
fn tcp_echo() {
    let mut server = Example::start("tcp_echo", &["127.0.0.1:0"]);
    let mut first = server.connect();
    let addr = first.peer_addr().unwrap();
    first.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    let data = pattern(5_000_000);
    assert!(exchange_tcp(&tcp(addr), &data) == data, "a large echo came back changed");
    // A client that resets with an answer on its way does not end the server.
    for _ in 0..20 {
        let mut rude = tcp(addr);
        rude.write_all(&pattern(200_000)).unwrap();
        drop(rude);
    }
    assert_eq!(exchange_tcp(&first, b"still there"), b"still there");
}

#[test]
fn udp_echo() {
    let mut server = Example::start("udp_echo", &["127.0.0.1:0"]);
    let addr = server.place();
    for data in [&b"hello"[..], b"", &pattern(1400)] {
        assert_eq!(ask_udp(&addr, data), data);
    }
}

#[test]
fn uds_echo() {
    let path = std::env::temp_dir().join(format!("zero-io-test-{}.sock", std::process::id()));
    let mut server = Example::start("uds_echo", &[path.to_str().unwrap()]);
    assert_eq!(server.place(), path.to_str().unwrap());
    let data = pattern(3_000_000);
    let stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = exchange(&stream, &data, |s| s.shutdown(Shutdown::Write).unwrap());
    assert!(answer == data, "the echo came back changed");
    let who = server.line();
    assert!(who.contains(&format!("process {}", std::process::id())), "{who}");
    assert!(server.line().ends_with("closed"));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn proxy() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream_addr = upstream.local_addr().unwrap();
    let mut server = Example::start("proxy", &["127.0.0.1:0", &upstream_addr.to_string()]);
    let client = server.connect();
    let proxy_addr = client.peer_addr().unwrap();
    // Written before anybody accepts at the other side; then a half-close each way.
    (&client).write_all(b"early ").unwrap();
    let (served, _) = upstream.accept().unwrap();
    let data = pattern(4_000_000);
    let back = pattern(3_000_000);
    let seen = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut seen = Vec::new();
            (&served).read_to_end(&mut seen).unwrap();
            // The client is done sending, and is still answered.
            (&served).write_all(&back).unwrap();
            served.shutdown(Shutdown::Write).unwrap();
            seen
        });
        assert!(exchange_tcp(&client, &data) == back, "the answer came back changed");
        seen.join().unwrap()
    });
    assert!(seen.starts_with(b"early ") && seen[6..] == data, "the request was changed");
    // Nobody is there any more: the client is closed rather than left waiting.
    drop(upstream);
    let mut refused = tcp(proxy_addr);
    let end = refused.read(&mut [0; 16]);
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let waited = end.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!waited, "the client was left waiting");
}

#[test]
fn a_proxy_holds_back_a_client_whose_server_does_not_read() {
    let (_proxy, client, served) = proxied();
    hold_back(&client, &served);
}

#[test]
fn a_proxy_holds_back_a_server_whose_client_does_not_read() {
    let (_proxy, client, served) = proxied();
    hold_back(&served, &client);
}

/// A proxy, and both ends of a connection through it.
fn proxied() -> (Example, TcpStream, TcpStream) {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = upstream.local_addr().unwrap().to_string();
    let mut proxy = Example::start("proxy", &["127.0.0.1:0", &addr]);
    let client = proxy.connect();
    let (served, _) = upstream.accept().unwrap();
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    (proxy, client, served)
}

/// Writes at one end until nothing more is taken, while nobody reads at the other one; and then all
/// of that is read.
fn hold_back(mut sender: &TcpStream, mut receiver: &TcpStream) {
    // The kernel's buffers of both sides and 64 buffers of 32 KiB between them, with room to spare.
    const BOUND: usize = 32 << 20;
    sender.set_nonblocking(true).unwrap();
    let block = pattern(1 << 16);
    let (mut sent, mut idle) = (0, 0);
    while idle < 20 {
        match sender.write(&block[sent % 1000..]) {
            Ok(n) => (sent, idle) = (sent + n, 0),
            Err(_) => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(25));
            }
        }
        assert!(sent < BOUND, "{sent} bytes were taken that nobody reads");
    }
    sender.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    receiver.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent, "all that was taken arrives");
}

#[test]
fn timers() {
    let output = Example::start("timers", &[]).finish();
    let at = |what: &str| output.find(what).unwrap_or_else(|| panic!("no {what:?} in {output}"));
    assert!(at("10 ms timer") < at("30 ms timer") && at("30 ms timer") < at("50 ms timer"));
    assert!(at("tick 1 ") < at("tick 5 "));
    at("cancelled: true");
    assert!(!output.contains("25 ms timer"), "a cancelled timer came: {output}");
}

#[test]
fn multicast() {
    let group = format!("239.255.77.1:{}", 20_000 + std::process::id() % 10_000);
    let output = Example::start("multicast", &[&group, "3"]).finish();
    assert_eq!(output.matches("hello from process").count(), 3, "{output}");
}

#[test]
fn workers() {
    let mut server = Example::start("workers", &["127.0.0.1:0"]);
    let first = server.connect();
    let addr = first.peer_addr().unwrap();
    let text = b"in order, please; ".repeat(5_000);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let answer = exchange_tcp(&tcp(addr), &text);
                assert!(answer == text.to_ascii_uppercase(), "{} bytes came", answer.len());
            });
        }
    });
    assert_eq!(exchange_tcp(&first, b"done"), b"DONE");
}

#[test]
fn showcase() {
    show(&["--seconds", "4"]);
}

#[test]
fn showcase_on_a_cluster() {
    show(&["--seconds", "4", "--shards", "2"]);
}

fn show(args: &[&str]) {
    let mut server = Example::start("showcase", args);
    let said: [String; 7] = std::array::from_fn(|_| server.line());
    let [echo, lines, udp, unix, tls, quic, web] = said;
    let addr = |line: &str, tool: &str| {
        let (_, addr) = line.split_once(tool).unwrap_or_else(|| panic!("no {tool} in {line:?}"));
        addr.trim().replace(' ', ":")
    };
    let echo = tcp(addr(&echo, "nc ").parse().unwrap());
    assert_eq!(exchange_tcp(&echo, b"as it came"), b"as it came");
    let lines = tcp(addr(&lines, "nc ").parse().unwrap());
    assert_eq!(exchange_tcp(&lines, b"one\ntwo\n"), b"ONE\nTWO\n");
    assert_eq!(ask_udp(&addr(&udp, "nc -u "), b"datagram"), b"datagram");
    let path = addr(&unix, "nc -U ");
    let unix = UnixStream::connect(&path).unwrap();
    assert_eq!(exchange(&unix, b"local", |s| s.shutdown(Shutdown::Write).unwrap()), b"local");
    #[cfg(feature = "tls")]
    {
        let tls = addr(&tls, "-connect ");
        tls::ask(&["-quiet"], &tls, "sealed\n", "sealed\n");
        // Who does not get through the handshake was never a connection.
        let mut stranger = tcp(tls.parse().unwrap());
        stranger.write_all(b"no handshake\n").unwrap();
        let _ = stranger.read_to_end(&mut Vec::new());
    }
    assert!(tls.starts_with("TLS "), "{tls}");
    #[cfg(feature = "quic")]
    assert_eq!(quic::ask(&[&addr(&quic, "quic_client ")], b"by QUIC\n"), b"by QUIC\n");
    assert!(quic.starts_with("QUIC "), "{quic}");
    assert!(web.starts_with("HTTP, "), "{web}");
    #[cfg(feature = "http")]
    if args.contains(&"--shards") {
        // Whichever shard is asked has figures of its own.
        http::page(web.split_whitespace().last().unwrap());
    } else {
        http::page_and_figures(web.split_whitespace().last().unwrap());
    }
    let status = server.finish();
    let last = status.lines().last().unwrap_or_default();
    let messages = 5 + usize::from(cfg!(feature = "tls")) + usize::from(cfg!(feature = "quic"));
    // Not a terminal: lines, two a second. A cluster may tell once more while it ends.
    assert!((8..10).contains(&status.lines().count()) && !status.contains('\r'), "{status:?}");
    assert!(
        last.contains("0 connections") && last.contains(&format!("{messages} messages")),
        "{status}"
    );
    assert!(last.ends_with("Healthy"), "{status}");
    assert!(!PathBuf::from(path).exists(), "the socket file was left behind");
}

#[test]
fn the_showcase_ends_quietly_when_nobody_reads_on() {
    let mut showcase = program("showcase");
    showcase.args(["--seconds", "20"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = showcase.spawn().unwrap();
    let socket = std::env::temp_dir().join(format!("zero-io-{}.sock", child.id()));
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.is_empty(), "{}: {said}", ended.status);
    assert!(!socket.exists(), "the socket file was left behind");
}

#[cfg(feature = "http")]
mod http {
    use super::*;

    /// What curl prints. It must be installed: `cargo xtask setup`.
    fn curl(args: &[&str]) -> String {
        let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(args).output();
        let output = output.expect("curl is installed");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "curl {args:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn page(url: &str) {
        let page = curl(&[url]);
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    }

    pub(super) fn page_and_figures(url: &str) {
        page(url);
        std::thread::sleep(Duration::from_millis(600));
        let figures = curl(&[&format!("{url}status")]);
        for part in
            ["\"requests\":1,", "\"connections\":", "\"pressure\":\"Healthy\"", "\"pools\":[{"]
        {
            assert!(figures.contains(part), "no {part} in {figures}");
        }
    }

    #[test]
    fn http_workers() {
        let mut server = Example::start("http_workers", &["127.0.0.1:0", "3"]);
        let addr = server.place();
        let ask = |path: &str| curl(&[&format!("http://{addr}{path}")]);
        assert_eq!(ask("/primes/100"), "25 primes below 100\n");
        assert_eq!(ask("/other"), "ask for /primes/NUMBER, or send to /upload\n");
        let many: Vec<String> = (0..30).map(|i| format!("http://{addr}/primes/{i}000")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let said = curl(&many);
        assert!(said.starts_with("0 primes below 0\n168 primes below 1000\n"), "{said}");
        assert_eq!(said.lines().count(), 30);
        // A body behind its request, of a known length and in chunks, and one that comes with it.
        let file = std::env::temp_dir().join(format!("zero-io-upload-{}", std::process::id()));
        let url = format!("http://{addr}/upload");
        for len in [64 << 20, 100] {
            let body = pattern(1 << 20).repeat(64);
            std::fs::write(&file, &body[..len]).unwrap();
            let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
            let sum = body[..len].iter().fold(0xCBF2_9CE4_8422_2325, step);
            let wanted = format!("{len} bytes, checksum {sum:016x}\n");
            let path = file.to_str().unwrap();
            let coded = ["-T", path, "-H", "Transfer-Encoding: chunked", &url];
            assert_eq!(curl(&["-T", path, &url]), wanted);
            assert_eq!(curl(&coded), wanted);
        }
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn http_files() {
        let dir = std::env::temp_dir().join(format!("zero-io-files-{}", std::process::id()));
        let sub = dir.join("sub dir");
        std::fs::create_dir_all(&sub).unwrap();
        let big = pattern(3_000_000);
        std::fs::write(dir.join("index.html"), "<p>welcome").unwrap();
        std::fs::write(dir.join(".secret"), "hidden").unwrap();
        std::fs::write(sub.join("big.bin"), &big).unwrap();
        let mut server = Example::start("http_files", &["127.0.0.1:0", dir.to_str().unwrap()]);
        let base = format!("http://{}", server.place());
        assert_eq!(curl(&[&base]), "<p>welcome");
        let url = format!("{base}/sub%20dir/big.bin");
        let out = dir.join("out");
        let to = ["-o", out.to_str().unwrap()];
        // All of it, a part, and the rest of a download that was cut.
        curl(&[&to[..], &[&url]].concat());
        assert!(std::fs::read(&out).unwrap() == big);
        curl(&[&to[..], &["-r", "1000000-1999999", &url]].concat());
        assert!(std::fs::read(&out).unwrap() == big[1_000_000..2_000_000]);
        std::fs::write(&out, &big[..1_234_567]).unwrap();
        curl(&[&to[..], &["-C", "-", &url]].concat());
        assert!(std::fs::read(&out).unwrap() == big);
        let code = |more: &[&str]| {
            let asked = ["--path-as-is", "-o", "/dev/null", "-w", "%{http_code}"];
            curl(&[&asked, more].concat())
        };
        // A copy that is still good, by date and by tag.
        assert_eq!(code(&["-z", out.to_str().unwrap(), &url]), "304");
        let head = curl(&["-I", &url]);
        assert!(head.contains("Content-Length: 3000000\r\n"), "{head}");
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
        assert_eq!(code(&["-H", &format!("If-None-Match: {tag}"), &url]), "304");
        assert_eq!(code(&["-H", "If-Match: \"other\"", &url]), "412");
        assert_eq!(code(&["-r", "3000000-", &url]), "416");
        assert_eq!(code(&["-X", "POST", &url]), "405");
        assert_eq!(code(&[&format!("{base}/sub%20dir")]), "302");
        // Nothing outside, nothing hidden, nothing that is no file.
        let name = dir.file_name().unwrap().to_str().unwrap();
        let outside = format!("/../{name}/index.html");
        let encoded = format!("/%2e%2e/{name}/index.html");
        let slashed = format!("/..%2f{name}%2findex.html");
        let paths = [&outside, &encoded, &slashed, "/.secret", "/index.html%00", "//index.html"];
        for path in paths.into_iter().chain(["/none", "/sub%20dir/", "/%", "/%2", "/%zz", "/a//b"])
        {
            assert_eq!(code(&[&format!("{base}{path}")]), "404", "{path}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[cfg(all(feature = "http-client", feature = "tls"))]
    #[test]
    fn http_client() {
        for (scheme, args) in [("http", &["127.0.0.1:0"][..]), ("https", &["127.0.0.1:0", "--tls"])]
        {
            let mut server = Example::start("http_hello", args);
            let base = format!("{scheme}://{}", server.place());
            let client = |path: &str, more: &[&str]| {
                let url = format!("{base}{path}");
                let args = [&[&*url, "--insecure"], more].concat();
                Example::start("http_client", &args).finish()
            };
            let shown = client("/", &[]);
            assert!(shown.starts_with("HTTP/1.1 200 OK\n"), "{shown}");
            assert!(shown.contains("\nContent-Length: 13\n"), "{shown}");
            assert!(shown.ends_with("\n\nHello, World!"), "{shown}");
            let shown = client("/echo", &["--data", "hello", "--header", "x-a: b"]);
            assert!(shown.ends_with("\n\nhello"), "{shown}");
            let shown = client("/", &["--method", "PUT"]);
            assert!(shown.starts_with("HTTP/1.1 405 "), "{shown}");
            let shown = client("/", &["--repeat", "300", "--concurrency", "4"]);
            assert!(shown.starts_with("300 responses, 0 failures, 3900 bytes"), "{shown}");
            assert!(shown.contains("4 connections, 296 requests"), "{shown}");
        }
    }

    /// A certificate and its key in files of one's own.
    #[cfg(feature = "tls")]
    #[test]
    fn http_hello_with_a_certificate() {
        let made = rcgen::generate_simple_self_signed(["hello.example".to_owned()]).unwrap();
        let dir = std::env::temp_dir().join(format!("zero-io-cert-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.join(name).display().to_string());
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut server = Example::start("http_hello", &["127.0.0.1:0", "--tls", &cert, &key]);
        let addr: SocketAddr = server.place().parse().unwrap();
        // Nothing is taken on trust: the name, and who vouches for it.
        let to = format!("hello.example:{}:127.0.0.1", addr.port());
        let url = format!("https://hello.example:{}/", addr.port());
        assert_eq!(curl(&["--cacert", &cert, "--resolve", &to, &url]), "Hello, World!");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[cfg(feature = "tls")]
    #[test]
    fn http_hello() {
        for (scheme, args) in [("http", &["127.0.0.1:0"][..]), ("https", &["127.0.0.1:0", "--tls"])]
        {
            let mut server = Example::start("http_hello", args);
            let base = format!("{scheme}://{}", server.place());
            let root = format!("{base}/");
            assert_eq!(curl(&["-k", &root]), "Hello, World!");
            let head = curl(&["-k", "-I", &root]);
            assert!(head.contains("Content-Length: 13\r\n"), "{head}");
            let code = ["-k", "-o", "/dev/null", "-w", "%{http_code}"];
            let code = |more: &[&str]| curl(&[&code, more].concat());
            assert_eq!(code(&[&format!("{base}/none")]), "404");
            assert_eq!(code(&["-X", "PUT", &root]), "405");
            let echo = format!("{base}/echo");
            assert_eq!(curl(&["-k", "-d", "short", &echo]), "short");
            // Longer than what comes inline, and as chunks; curl asks for leave to send it.
            let body: String = (0..60_000).map(|i| format!("{i},")).collect();
            let file =
                std::env::temp_dir().join(format!("zero-io-{scheme}-{}", std::process::id()));
            std::fs::write(&file, &body).unwrap();
            let data = format!("@{}", file.display());
            let back = curl(&["-k", "--data-binary", &data, &echo]);
            assert!(back == body, "{} of {} bytes", back.len(), body.len());
            let chunked = ["-k", "-H", "Transfer-Encoding: chunked", "--data-binary", &data, &echo];
            assert!(curl(&chunked) == body);
            assert!(curl(&["-k", "-0", &root]) == "Hello, World!");
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;

    /// What `openssl s_client` prints until `last` is there, after it was told `input`. It must be
    /// installed: `cargo xtask setup`.
    pub(super) fn ask(more: &[&str], addr: &str, input: &str, last: &str) -> String {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", addr])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
        let mut output = child.stdout.take().unwrap();
        let (said, heard) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut byte = [0];
            while output.read(&mut byte).is_ok_and(|n| n > 0) && said.send(byte[0]).is_ok() {}
        });
        let mut all = String::new();
        while !all.contains(last) {
            let Ok(byte) = heard.recv_timeout(PATIENCE) else { break };
            all.push(char::from(byte));
        }
        // Its end of input would end it before the answer: so it is killed after that.
        let _ = child.kill();
        child.wait().unwrap();
        reader.join().unwrap();
        assert!(all.contains(last), "no {last:?} in {all:?}");
        all
    }

    #[test]
    fn tls_echo() {
        let mut server = Example::start("tls_echo", &["127.0.0.1:0"]);
        let addr = server.place();
        for flag in ["-tls1_2", "-tls1_3"] {
            assert_eq!(ask(&["-quiet", flag], &addr, "to and fro\n", "fro\n"), "to and fro\n");
        }
    }

    #[test]
    fn starttls() {
        let mut server = Example::start("starttls", &["127.0.0.1:0"]);
        let addr = server.place();
        let more = ["-starttls", "smtp", "-quiet", "-crlf"];
        let said = ask(&more, &addr, "EHLO me\nNOOP\nQUIT\n", "221 bye");
        assert!(said.contains("250 hello, sealed") && said.contains("502 not here"), "{said}");
        assert!(server.line().ends_with("is secured"));
        // Commands behind STARTTLS end the connection, and are not answered.
        let mut evil = tcp(addr.parse().unwrap());
        evil.write_all(b"STARTTLS\r\nEHLO injected\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = evil.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains("250"), "{answer}");
    }
}
