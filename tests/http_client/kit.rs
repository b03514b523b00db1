//! A client's shard that keeps what it saw, and a server of our own on the same `Io`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zero_io::{
    Config, ConnId, Event, HttpFailure, HttpPool, HttpPoolConfig, HttpPoolStats, Io, RequestId,
    Sender, ZeroRequest, ZeroResponse,
};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// It came whole.
    pub(crate) is_whole: bool,
    pub(crate) failure: Option<HttpFailure>,
    /// Of its response.
    pub(crate) conn: Option<ConnId>,
    /// Connections on which its body was asked for.
    pub(crate) ready: Vec<ConnId>,
}

impl Outcome {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_whole || self.failure.is_some()
    }

    /// The code of its failure.
    pub(crate) fn code(&self) -> u64 {
        self.failure.map_or(0, |failure| failure.code)
    }
}

type Serve = Box<dyn FnMut(&mut Sender<'_>, &Event<'_>)>;

/// One `Io` with a pool, and whatever it serves itself.
pub(crate) struct Shard {
    pub(crate) io: Io,
    pub(crate) pool: HttpPool,
    pub(crate) seen: BTreeMap<RequestId, Outcome>,
    /// Events of streams that left the pool, and all that is not of requests.
    pub(crate) others: Vec<String>,
    /// Connections that the shard's own listeners took.
    pub(crate) accepted: BTreeSet<ConnId>,
    serve: Option<Serve>,
    watch: Option<Serve>,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut HttpPoolConfig)) -> Self {
        Self::of(|_| {}, change)
    }

    pub(crate) fn of(
        config: impl FnOnce(&mut Config),
        change: impl FnOnce(&mut HttpPoolConfig),
    ) -> Self {
        let config = Config::default()
            .with(|c| {
                c.debug.audit_every_tick = true;
                c.debug.poison_freed = true;
            })
            .with(config);
        let mut io = Io::new(config).unwrap();
        let pool = io.http_pool(HttpPoolConfig::default().with(change)).unwrap();
        let (seen, others) = (BTreeMap::new(), Vec::new());
        let accepted = BTreeSet::new();
        Self { io, pool, seen, others, accepted, serve: None, watch: None }
    }

    /// Serves HTTP on the same `Io`; where.
    pub(crate) fn serve(
        &mut self,
        serve: impl FnMut(&mut Sender<'_>, &Event<'_>) + 'static,
    ) -> SocketAddr {
        let endpoint = self.io.http_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        self.serve = Some(Box::new(serve));
        self.io.local_addr(endpoint).unwrap().inet().unwrap()
    }

    /// Answers the server's requests.
    pub(crate) fn serve_with(&mut self, serve: impl FnMut(&mut Sender<'_>, &Event<'_>) + 'static) {
        self.serve = Some(Box::new(serve));
    }

    /// Looks at every event of the client's.
    pub(crate) fn watch(&mut self, watch: impl FnMut(&mut Sender<'_>, &Event<'_>) + 'static) {
        self.watch = Some(Box::new(watch));
    }

    pub(crate) fn ask(&mut self, request: ZeroRequest<'_>) -> RequestId {
        let id = self.io.http_request(self.pool, request).unwrap();
        assert!(self.seen.insert(id, Outcome::default()).is_none(), "{id:?} is not new");
        id
    }

    /// One poll, and all its events.
    pub(crate) fn step(&mut self) {
        self.io.poll(Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = self.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::HttpResponse { conn, id, response } => {
                    let outcome = self.seen.get_mut(&id).expect("a request that was made");
                    assert!(!outcome.is_over() && outcome.status == 0, "{outcome:?} {response:?}");
                    outcome.status = response.status();
                    outcome.reason = response.reason().into();
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    let headers = response.headers();
                    outcome.headers = headers.iter().map(|(n, v)| (n.into(), text(v))).collect();
                    outcome.body = response.body().to_vec();
                    outcome.is_whole = !response.body_follows();
                    outcome.conn = Some(conn);
                }
                Event::HttpBodyChunk { id, data, last, .. } if self.seen.contains_key(&id) => {
                    let outcome = self.seen.get_mut(&id).unwrap();
                    assert!(!outcome.is_over() && outcome.status != 0, "{outcome:?}");
                    outcome.body.extend_from_slice(data);
                    outcome.is_whole = last;
                }
                Event::HttpFailed { id, failure } => {
                    let outcome = self.seen.get_mut(&id).expect("a request that was made");
                    assert!(!outcome.is_over(), "{outcome:?} {failure:?}");
                    outcome.failure = Some(failure);
                }
                Event::HttpReady { conn, id } => {
                    self.seen.get_mut(&id).expect("a request that was made").ready.push(conn);
                }
                Event::Connected { endpoint: None, .. } | Event::StreamFrame { .. } => {
                    self.others.push(format!("{event:?}"));
                }
                Event::Connected { conn, .. } => {
                    self.accepted.insert(conn);
                }
                Event::Disconnected { conn, .. } if self.accepted.remove(&conn) => {}
                Event::Disconnected { .. } | Event::ReadClosed { .. } => {
                    self.others.push(format!("{event:?}"));
                }
                _ => {}
            }
            if let Some(watch) = &mut self.watch {
                watch(&mut sender, &event);
            }
            let is_ours =
                matches!(event, Event::HttpBodyChunk { id, .. } if self.seen.contains_key(&id));
            if let Some(serve) = self.serve.as_mut().filter(|_| !is_ours) {
                serve(&mut sender, &event);
            }
        }
    }

    /// Polls until `done`.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            if Instant::now() > end {
                let stats = self.io.http_pool_stats(self.pool);
                let others: Vec<_> = self.others.iter().rev().take(5).collect();
                let open: Vec<_> = self.seen.iter().filter(|(_, seen)| !seen.is_over()).collect();
                panic!("in vain: {what}; {open:?} {others:?} {stats:?}");
            }
            self.step();
        }
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.step();
        }
    }

    /// What came of a request, when it is over.
    #[track_caller]
    pub(crate) fn end_of(&mut self, id: RequestId) -> Outcome {
        self.until("the end of a request", |shard| shard.seen[&id].is_over());
        self.seen[&id].clone()
    }

    #[track_caller]
    pub(crate) fn fetch(&mut self, request: ZeroRequest<'_>) -> Outcome {
        let id = self.ask(request);
        self.end_of(id)
    }

    pub(crate) fn stats(&mut self) -> HttpPoolStats {
        self.io.http_pool_stats(self.pool).unwrap()
    }

    /// Closes the pool, and looks whether everything came home. Listeners are the caller's to
    /// close.
    #[track_caller]
    pub(crate) fn finish(mut self) -> HttpPoolStats {
        let stats = self.stats();
        self.io.http_pool_close(self.pool).unwrap();
        self.until("everything to come home", |shard| shard.io.is_idle());
        assert!(self.io.http_pool_stats(self.pool).is_err(), "the pool is gone");
        self.io.audit();
        stats
    }
}

/// Answers with what was asked: method, path, body.
pub(crate) fn echo(sender: &mut Sender<'_>, event: &Event<'_>) {
    match *event {
        Event::HttpRequest { conn, id, request } if request.body_follows() => {
            sender.http_respond(conn, id, ZeroResponse::ok().stream()).unwrap();
        }
        Event::HttpRequest { conn, id, request } if !request.body().is_empty() => {
            sender.http_respond(conn, id, ZeroResponse::ok().bytes(request.body())).unwrap();
        }
        Event::HttpRequest { conn, id, request } => {
            let text = format!("{} {}", request.method_name(), request.target());
            sender.http_respond(conn, id, ZeroResponse::ok().text(&text)).unwrap();
        }
        Event::HttpBodyChunk { conn, id, data, last } => {
            sender.http_forward(conn, id, data).unwrap();
            if last {
                sender.http_finish(conn, id).unwrap();
            }
        }
        _ => {}
    }
}

/// Bytes that can be told apart.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}
