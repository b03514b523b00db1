//! A server on a thread of its own, and a client that reads answers by the book.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use zero_io::{
    Config, EndpointId, Event, HttpCounters, HttpListenConfig, Io, IoHandle, IoStats, PoolStats,
    Sender, TcpListenConfig, ZeroResponse,
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
const STOP: u64 = u64::MAX;

/// What is left of a server.
pub(crate) struct Report {
    /// Codes of the connections that ended, and whether in order.
    pub(crate) ends: Vec<(u64, bool)>,
    pub(crate) counters: HttpCounters,
    pub(crate) stats: IoStats,
    pub(crate) pools: PoolStats,
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: IoHandle,
    thread: JoinHandle<Report>,
}

impl Server {
    /// Serves with that function for every event.
    pub(crate) fn start(handler: impl FnMut(&mut Sender<'_>, &Event<'_>) + Send + 'static) -> Self {
        Self::with(|_| {}, |_| {}, handler)
    }

    pub(crate) fn with(
        http: impl FnOnce(&mut HttpListenConfig) + Send + 'static,
        config: impl FnOnce(&mut Config) + Send + 'static,
        mut handler: impl FnMut(&mut Sender<'_>, &Event<'_>) + Send + 'static,
    ) -> Self {
        Self::detaching(http, config, move |sender, event, _| handler(sender, event))
    }

    /// As `with`; the handler can also have the current request taken out: by asking for it, it is
    /// given to the function that the third argument is.
    pub(crate) fn detaching(
        http: impl FnOnce(&mut HttpListenConfig) + Send + 'static,
        config: impl FnOnce(&mut Config) + Send + 'static,
        mut handler: impl FnMut(&mut Sender<'_>, &Event<'_>, &mut bool) + Send + 'static,
    ) -> Self {
        Self::full(http, config, move |sender, event, take| handler(sender, event, take), |_| {})
    }

    pub(crate) fn full(
        http: impl FnOnce(&mut HttpListenConfig) + Send + 'static,
        config: impl FnOnce(&mut Config) + Send + 'static,
        handler: impl FnMut(&mut Sender<'_>, &Event<'_>, &mut bool) + Send + 'static,
        taken: impl FnMut(zero_io::HttpOwnedRequest) + Send + 'static,
    ) -> Self {
        let listen = |io: &mut Io| {
            let tcp = TcpListenConfig::new("127.0.0.1:0".parse().unwrap());
            io.http_listen_with(HttpListenConfig::new(tcp).with(http)).unwrap()
        };
        Self::launch(listen, config, handler, taken)
    }

    /// The same behind TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn secure(
        tls: zero_io::TlsServerConfig,
        mut handler: impl FnMut(&mut Sender<'_>, &Event<'_>) + Send + 'static,
    ) -> Self {
        let addr = "127.0.0.1:0".parse().unwrap();
        let listen = move |io: &mut Io| io.http_listen_tls(addr, tls).unwrap();
        Self::launch(listen, |_| {}, move |sender, event, _| handler(sender, event), |_| {})
    }

    fn launch(
        listen: impl FnOnce(&mut Io) -> EndpointId + Send + 'static,
        config: impl FnOnce(&mut Config) + Send + 'static,
        mut handler: impl FnMut(&mut Sender<'_>, &Event<'_>, &mut bool) + Send + 'static,
        mut taken: impl FnMut(zero_io::HttpOwnedRequest) + Send + 'static,
    ) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let checked = Config::default().with(|c| {
                c.debug.audit_every_tick = true;
                c.debug.poison_freed = true;
                config(c);
            });
            let mut io = Io::new(checked).unwrap();
            let endpoint = listen(&mut io);
            let local = io.local_addr(endpoint).unwrap();
            let addr = local.inet().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
            tell.send((addr, io.handle())).unwrap();
            let ends = serve(&mut io, &mut handler, &mut taken);
            finish(io, endpoint, ends)
        });
        let (addr, handle) = told.recv_timeout(PATIENCE).expect("the server starts");
        Self { addr, handle, thread }
    }

    /// A server that answers `Hello` to everything, and the body where there is one.
    pub(crate) fn hello() -> Self {
        Self::start(hello)
    }

    pub(crate) fn dial(&self) -> Client {
        Client::dial(self.addr)
    }

    /// Stops it and looks whether everything came home.
    pub(crate) fn stop(self) -> Report {
        self.handle.post(STOP).unwrap();
        self.thread.join().unwrap()
    }
}

pub(crate) fn hello(sender: &mut Sender<'_>, event: &Event<'_>) {
    match *event {
        Event::HttpRequest { conn, id, request } if request.body_follows() => {
            // What follows may have been refused already.
            let _ = sender.http_respond(conn, id, ZeroResponse::ok().stream());
        }
        Event::HttpRequest { conn, id, request } if request.body().is_empty() => {
            sender.http_respond(conn, id, ZeroResponse::ok().text("Hello")).unwrap();
        }
        Event::HttpRequest { conn, id, request } => {
            sender.http_respond(conn, id, ZeroResponse::ok().bytes(request.body())).unwrap();
        }
        Event::HttpBodyChunk { conn, id, data, last } => {
            let sent = sender.http_forward(conn, id, data);
            if sent.is_ok() && last {
                sender.http_finish(conn, id).unwrap();
            }
        }
        _ => {}
    }
}

type Handler<'a> = &'a mut dyn FnMut(&mut Sender<'_>, &Event<'_>, &mut bool);

fn serve(
    io: &mut Io,
    handler: Handler<'_>,
    taken: &mut dyn FnMut(zero_io::HttpOwnedRequest),
) -> Vec<(u64, bool)> {
    let mut ends = Vec::new();
    loop {
        io.poll(Duration::from_millis(20)).unwrap();
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::User { token: STOP, .. } => return ends,
                Event::Disconnected { error_code, clean, .. } => ends.push((error_code, clean)),
                Event::ReadClosed { .. } => {}
                _ => {}
            }
            let mut take = false;
            handler(&mut sender, &event, &mut take);
            if take {
                taken(events.detach_http_request().expect("a request to be taken out"));
            }
        }
    }
}

fn finish(mut io: Io, endpoint: EndpointId, mut ends: Vec<(u64, bool)>) -> Report {
    let counters = io.http_counters(endpoint).unwrap();
    io.endpoint_close(endpoint).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while !io.is_idle() {
        io.poll(Duration::from_millis(5)).unwrap();
        let mut open = Vec::new();
        while let Some(event) = io.next_event() {
            match event {
                Event::Disconnected { error_code, clean, .. } => ends.push((error_code, clean)),
                Event::HttpRequest { conn, .. } | Event::HttpBodyChunk { conn, .. } => {
                    open.push(conn);
                }
                _ => {}
            }
        }
        for conn in open {
            let _ = io.close(conn);
        }
        assert!(std::time::Instant::now() < end, "something did not come home: {ends:?}");
    }
    io.audit();
    let stats = io.io_stats();
    let pools = io.pool_stats();
    Report { ends, counters, stats, pools }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn dial(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn shut(&self) {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Segments with data that came so far.
    pub(crate) fn segments_received(&self) -> u32 {
        // SAFETY: a structure of numbers, for which zero is a value.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut len = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the value is a local of the stated size, and the descriptor is open.
        let answer = unsafe {
            libc::getsockopt(
                self.stream.get_ref().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut len,
            )
        };
        assert_eq!(answer, 0);
        info.tcpi_data_segs_in
    }

    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        if line.is_empty() {
            return None;
        }
        assert!(line.ends_with(b"\r\n"), "{line:?}");
        line.truncate(line.len() - 2);
        Some(String::from_utf8(line).unwrap())
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().expect("the empty line behind header fields");
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(": ").expect("a header field");
            fields.push((name.to_string(), value.to_string()));
        }
    }

    /// The next answer to a request that was not HEAD; `None` at the end of the connection.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET")
    }

    pub(crate) fn answer_to(&mut self, method: &str) -> Option<Answer> {
        let start = self.line()?;
        let mut words = start.split(' ');
        assert_eq!(words.next(), Some("HTTP/1.1"), "{start}");
        let status: u16 = words.next().unwrap().parse().unwrap();
        let headers = self.fields();
        let mut answer = Answer { status, headers, body: Vec::new(), trailers: Vec::new() };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            assert_eq!(answer.header("content-length"), None);
            loop {
                let len = usize::from_str_radix(&self.line().unwrap(), 16).unwrap();
                if len == 0 {
                    break;
                }
                let from = answer.body.len();
                answer.body.resize(from + len, 0);
                self.stream.read_exact(&mut answer.body[from..]).unwrap();
                assert_eq!(self.line().as_deref(), Some(""));
            }
            answer.trailers = self.fields();
        } else if let Some(len) = answer.header("content-length") {
            answer.body = vec![0; len.parse().unwrap()];
            self.stream.read_exact(&mut answer.body).unwrap();
        } else {
            self.stream.read_to_end(&mut answer.body).unwrap();
        }
        Some(answer)
    }

    /// Sends a request and reads the answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.send(request);
        self.answer().expect("an answer")
    }

    /// Waits for the end of the connection.
    pub(crate) fn end(&mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        assert!(read.is_ok() && rest.is_empty(), "{read:?} {:?}", String::from_utf8_lossy(&rest));
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Bytes that can be told apart.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}
