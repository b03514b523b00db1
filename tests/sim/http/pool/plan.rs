//! What is asked and what is answered, drawn before; and what came of it.

use std::sync::Arc;
use std::time::Duration;

use zero_io::{
    ConnId, HttpFailure, HttpMethod, HttpPoolConfig, IoError, RequestId, Sender, ZeroRequest,
    ZeroResponse,
};

use crate::chance::Chance;
use crate::http::plan::body;

/// How the body of a request is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    None,
    Copied,
    Static,
    Shared,
    Buffer,
    Stream,
    StreamOf,
}

/// How the last server on the way answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Empty,
    Copied,
    Shared,
    Stream,
    StreamOf,
    /// Whole, and the connection ends with it.
    Last,
    /// Before the body of the request was read.
    Early,
    /// The connection is closed instead.
    Drop,
    /// The same, in the middle of the body of the answer.
    Cut,
    /// Nothing, until all is healed.
    Late,
    Upgrade,
}

impl Reply {
    pub(super) const fn is_streamed(self) -> bool {
        matches!(self, Self::Stream | Self::StreamOf | Self::Cut)
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    Whole,
    Failed(HttpFailure),
    Cancelled,
}

/// One request: its plan, what the servers saw of it, what the client did.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) key: usize,
    pub(super) pool: usize,
    pub(super) method: HttpMethod,
    pub(super) content: Content,
    pub(super) body_len: usize,
    expects: bool,
    no_redirects: bool,
    timeout_ms: u64,
    pub(super) reply: Reply,
    reply_len: usize,
    /// Redirects before the reply, and their status code.
    pub(super) hops: usize,
    redirect: u16,

    /// As the server handed it out: on which connection, as which hop.
    pub(super) arrivals: Vec<(ConnId, RequestId, usize)>,

    pub(super) status: u16,
    /// The hop whose response it has; `None` for one of the server's own.
    pub(super) answered_hop: Option<usize>,
    pub(super) got: usize,
    pub(super) was_ready: bool,
    pub(super) end: Option<End>,
}

const METHODS: [HttpMethod; 7] = [
    HttpMethod::Get,
    HttpMethod::Get,
    HttpMethod::Head,
    HttpMethod::Options,
    HttpMethod::Delete,
    HttpMethod::Post,
    HttpMethod::Put,
];

impl Ask {
    pub(super) fn new(key: usize, pool: usize, is_polite: bool, chance: &mut Chance) -> Self {
        let method = chance.pick(&METHODS);
        let content = match method {
            HttpMethod::Post | HttpMethod::Put => chance.pick(&[
                Content::None,
                Content::Copied,
                Content::Static,
                Content::Shared,
                Content::Buffer,
                Content::Stream,
                Content::StreamOf,
            ]),
            _ => Content::None,
        };
        let longest = chance.pick(&[100, 100, 3_000, 60_000]);
        let reply = match chance.below(if is_polite { 7 } else { 12 }) {
            0 => Reply::Empty,
            1 => Reply::Shared,
            2 => Reply::Stream,
            3 => Reply::StreamOf,
            4 => Reply::Last,
            7 => Reply::Early,
            8 => Reply::Drop,
            9 => Reply::Cut,
            10 => Reply::Late,
            11 if method == HttpMethod::Get => Reply::Upgrade,
            _ => Reply::Copied,
        };
        let hops = if reply != Reply::Upgrade && chance.once_in(4) { chance.below(4) } else { 0 };
        let longest_reply = chance.pick(&[10, 200, 5_000, 100_000]);
        let reply_len = chance.below(longest_reply);
        let is_hasty = !is_polite && chance.once_in(8);
        Self {
            key,
            pool,
            method,
            content,
            body_len: if content == Content::None { 0 } else { chance.below(longest) },
            expects: content != Content::None && chance.once_in(3),
            no_redirects: chance.once_in(5),
            timeout_ms: if is_hasty { chance.pick(&[1, 50, 2_000]) } else { 0 },
            reply,
            reply_len,
            hops,
            redirect: chance.pick(&[301, 302, 303, 307, 308]),
            arrivals: Vec::new(),
            status: 0,
            answered_hop: None,
            got: 0,
            was_ready: false,
            end: None,
        }
    }

    pub(super) const fn is_streamed(&self) -> bool {
        matches!(self.content, Content::Stream | Content::StreamOf)
    }

    pub(super) fn body(&self) -> &'static [u8] {
        body(self.key as u64, 0, self.body_len)
    }

    /// What is asked of the server at a hop: the method, and whether the body is still there.
    pub(super) fn at_hop(&self, hop: usize) -> (HttpMethod, bool) {
        let is_changed = match self.redirect {
            301 | 302 => self.method == HttpMethod::Post,
            303 => !matches!(self.method, HttpMethod::Get | HttpMethod::Head),
            _ => false,
        };
        match hop {
            1.. if is_changed => (HttpMethod::Get, false),
            _ => (self.method, self.content != Content::None),
        }
    }

    /// Whether a redirect takes the body along.
    fn keeps_body(&self) -> bool {
        self.at_hop(1).1
    }

    /// The body that the server gives at a hop, HEAD or not.
    pub(super) fn answer(&self, hop: usize) -> &'static [u8] {
        let is_empty = hop == self.hops && matches!(self.reply, Reply::Empty | Reply::Upgrade);
        body(self.key as u64, 1 + hop, if is_empty { 0 } else { self.reply_len })
    }

    /// The status code at a hop.
    pub(super) const fn status_at(&self, hop: usize) -> u16 {
        match (hop < self.hops, self.reply) {
            (true, _) => self.redirect,
            (_, Reply::Empty) => 204,
            (_, Reply::Upgrade) => 101,
            _ => 200,
        }
    }

    pub(super) fn name(&self, hop: usize) -> String {
        format!("{}-{hop}", self.key)
    }

    /// The key and the hop that a name says.
    pub(super) fn parse(name: &str) -> (usize, usize) {
        let (key, hop) = name.trim_start_matches('/').split_once('-').expect("a name");
        (key.parse().expect("a key"), hop.parse().expect("a hop"))
    }

    /// Asks. The origin has no slash behind it.
    pub(super) fn send(
        &self,
        sender: &mut Sender<'_>,
        pool: zero_io::HttpPool,
        origin: &str,
    ) -> Result<RequestId, IoError> {
        let url = format!("{origin}/{}", self.name(0));
        let mut request = ZeroRequest::method(self.method, &url).header("x-pool", "of ours");
        if self.expects {
            request = request.expect_continue();
        }
        if self.no_redirects {
            request = request.no_redirects();
        }
        if self.timeout_ms > 0 {
            request = request.timeout(Duration::from_millis(self.timeout_ms));
        }
        if self.reply == Reply::Upgrade {
            request = request.upgrade("echo");
        }
        let body = self.body();
        request = match self.content {
            Content::None => request,
            Content::Copied => request.bytes(body),
            Content::Static => request.static_bytes(body),
            Content::Shared => request.shared(Arc::new(body.to_vec())),
            Content::Stream => request.stream(),
            Content::StreamOf => request.stream_of(body.len() as u64),
            Content::Buffer => match sender.send_buffer(body.len().max(1)) {
                Ok(mut buffer) => {
                    buffer.as_mut_slice()[..body.len()].copy_from_slice(body);
                    buffer.set_len(body.len());
                    request.buffer(buffer)
                }
                Err(_) => request.bytes(body),
            },
        };
        sender.http_request(pool, request)
    }

    /// Answers at a hop, but for the body where it is streamed.
    pub(super) fn respond(
        &self,
        sender: &mut Sender<'_>,
        (conn, id): (ConnId, RequestId),
        hop: usize,
        origins: &[String],
    ) -> Result<(), IoError> {
        let name = self.name(hop);
        let response = ZeroResponse::status(self.status_at(hop)).header("x-name", &*name);
        let body = self.answer(hop);
        let next = format!("{}/{}", origins[(self.key + hop) % origins.len()], self.name(hop + 1));
        if hop < self.hops {
            return sender.http_respond(conn, id, response.header("location", &*next).bytes(body));
        }
        let response = match self.reply {
            Reply::Empty => response,
            Reply::Upgrade => {
                return sender.http_upgrade(conn, id, response.header("upgrade", "echo"));
            }
            Reply::Shared => response.shared(Arc::new(body.to_vec())),
            Reply::Stream | Reply::Cut => response.stream(),
            Reply::StreamOf => response.stream_of(body.len() as u64),
            Reply::Last => response.bytes(body).close(),
            _ => response.bytes(body),
        };
        sender.http_respond(conn, id, response)
    }

    /// The response began: whose it is.
    pub(super) fn on_response(&mut self, status: u16, name: Option<&str>, limit: u8) {
        assert!(self.end.is_none() && self.status == 0, "a second response: {self:?}");
        self.status = status;
        let Some(name) = name else {
            assert!(status >= 400, "a response of the server's own: {status} {self:?}");
            return;
        };
        let (key, hop) = Self::parse(name);
        assert_eq!(key, self.key, "the response of another request: {self:?}");
        assert!(self.arrivals.iter().any(|(.., at)| *at == hop), "nobody was asked: {self:?}");
        assert_eq!(status, self.status_at(hop), "the status of {name}: {self:?}");
        let due = if self.no_redirects { 0 } else { self.hops.min(limit.into()) };
        let is_due = match self.content {
            // What was given away cannot be sent again.
            Content::Stream | Content::StreamOf if self.keeps_body() => hop == 0,
            // Without room for a buffer it was given as a copy, and with `Expect` it is kept.
            Content::Buffer if self.keeps_body() => hop <= due,
            _ => hop == due,
        };
        assert!(is_due, "{hop} redirects that were followed, {due} are due: {self:?}");
        self.answered_hop = Some(hop);
    }

    /// A piece of the response's body.
    pub(super) fn on_body(&mut self, data: &[u8], is_last: bool) {
        assert!(self.end.is_none() && self.status != 0, "a body of nothing: {self:?}");
        let end = self.got + data.len();
        if let Some(hop) = self.answered_hop {
            let whole = self.answer(hop);
            assert_eq!(whole.get(self.got..end), Some(data), "the body at {}: {self:?}", self.got);
            let is_head = self.at_hop(hop).0 == HttpMethod::Head;
            let due = if is_head { 0 } else { whole.len() };
            assert!(!is_last || end == due, "{end} of {due} bytes: {self:?}");
        }
        self.got = end;
        if is_last {
            self.end = Some(End::Whole);
        }
    }
}

/// The limits of a pool, all of them small.
pub(super) fn limits(chance: &mut Chance) -> HttpPoolConfig {
    HttpPoolConfig::default().with(|c| {
        c.max_connections_per_host = chance.pick(&[1, 2, 4]);
        c.max_connections = chance.pick(&[1, 2, 3, 8]);
        c.max_idle_per_host = chance.pick(&[0, 1, 8]);
        c.max_waiting = chance.pick(&[1, 4, 64]);
        c.pipeline = chance.pick(&[1, 1, 2, 3, 4]);
        c.keep_alive_requests = chance.pick(&[0, 0, 1, 3]) as u32;
        c.idle_timeout_ms = chance.pick(&[1, 20, 30_000]);
        c.connect_timeout_ms = chance.pick(&[5, 2_000]);
        c.first_byte_timeout_ms = chance.pick(&[20, 5_000, 20_000]);
        c.body_timeout_ms = chance.pick(&[20, 5_000, 20_000]);
        c.request_timeout_ms = chance.pick(&[0, 0, 30, 10_000]);
        c.max_body_inline = chance.pick(&[0, 100, 3_000, 16_384]);
        c.max_body_size = chance.pick(&[3_000, 1 << 30, 1 << 30, 1 << 30]);
        c.redirects = chance.pick(&[0, 1, 3, 5]);
        c.retry_idempotent = chance.once_in(2);
    })
}
