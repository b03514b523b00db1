//! What is said on a connection, decided before: the client's bytes, and the answer to each
//! request.

use std::sync::OnceLock;

use crate::chance::Chance;
use crate::pattern::mix;

use super::http_corpus::{self, Row};

/// Bytes that bodies are cut from.
const PATTERN_LEN: usize = 200_000;
const START_MAX: u64 = 1_000;

/// A body: the same for the same key, number and length.
pub(crate) fn body(key: u64, n: usize, len: usize) -> &'static [u8] {
    static BYTES: OnceLock<&'static [u8]> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let bytes: Vec<u8> = (0..PATTERN_LEN as u64).map(|i| mix(i, 7) as u8).collect();
        Box::leak(bytes.into_boxed_slice())
    });
    let start = (mix(key, n as u64) % START_MAX) as usize;
    &bytes[start..start + len]
}

/// What a listener was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) is_tls: bool,
    pub(crate) request_ms: u64,
    pub(crate) receive_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) pipelined: usize,
    pub(crate) inline: usize,
    pub(crate) body_max: u64,
    pub(crate) requests_max: u32,
    pub(crate) auto_continue: bool,
}

impl Limits {
    /// Of a listener on which nothing is cut short.
    pub(crate) fn patient(chance: &mut Chance, is_tls: bool) -> Self {
        Self {
            is_tls,
            request_ms: 60_000,
            receive_ms: 60_000,
            idle_ms: chance.pick(&[30, 75_000]),
            pipelined: chance.pick(&[1, 2, 8, 32]),
            inline: chance.pick(&[0, 100, 3_000, 16_384]),
            body_max: 1 << 30,
            requests_max: 0,
            auto_continue: chance.pick(&[true, false]),
        }
    }

    pub(crate) fn hasty(chance: &mut Chance, is_tls: bool) -> Self {
        Self {
            request_ms: chance.pick(&[0, 5, 100, 30_000]),
            receive_ms: chance.pick(&[5, 100, 10_000]),
            body_max: chance.pick(&[3_000, 1 << 30]),
            requests_max: chance.pick(&[0, 1, 3]),
            ..Self::patient(chance, is_tls)
        }
    }

    /// Requests may be left without an answer.
    pub(crate) const fn has_short_patience(&self) -> bool {
        self.request_ms > 0 && self.request_ms <= 100
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
}

/// How a request says how long its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    None,
    Known,
    Chunked,
}

/// What the server answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Empty,
    Text,
    Copied,
    Static,
    Shared,
    Buffer,
    Json,
    Stream,
    StreamOf,
    /// In pieces, in buffers of the pool.
    StreamBuffers,
    /// The request's body, when it is there.
    Echo,
    /// The request's body as it comes.
    Forward,
    Upgrade,
    Never,
}

impl Reply {
    const ALL: [Self; 13] = [
        Self::Empty,
        Self::Text,
        Self::Copied,
        Self::Static,
        Self::Shared,
        Self::Buffer,
        Self::Json,
        Self::Stream,
        Self::StreamOf,
        Self::StreamBuffers,
        Self::Echo,
        Self::Forward,
        Self::Never,
    ];

    /// Whether its length is not said in the head.
    pub(crate) const fn is_open_ended(self) -> bool {
        matches!(self, Self::Stream | Self::StreamBuffers | Self::Forward)
    }
}

/// One request, and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) key: u64,
    pub(crate) n: usize,
    pub(crate) method: Method,
    pub(crate) length: Length,
    pub(crate) body: &'static [u8],
    pub(crate) expects: bool,
    pub(crate) is_10: bool,
    pub(crate) closes: bool,
    pub(crate) reply: Reply,
    reply_len: usize,
    /// The application ends the connection with the answer.
    pub(crate) app_closes: bool,
}

impl Ask {
    fn new(key: u64, n: usize, chance: &mut Chance) -> Self {
        let method = chance.pick(&[Method::Get, Method::Get, Method::Head, Method::Post]);
        let length = match method {
            Method::Post => chance.pick(&[Length::Known, Length::Known, Length::Chunked]),
            _ => Length::None,
        };
        let len = match length {
            Length::None => 0,
            _ => chance.pick(&[0, 1, 90, 2_500, 6_000, 40_000]),
        };
        let is_10 = length != Length::Chunked && chance.once_in(10);
        let reply = chance.pick(&Reply::ALL);
        Self {
            key,
            n,
            method,
            length,
            body: body(key, n + 1_000, len),
            expects: len > 0 && !is_10 && chance.once_in(4),
            is_10,
            closes: is_10 && chance.once_in(2),
            reply,
            reply_len: chance.pick(&[0, 5, 300, 1_024, 1_025, 5_000, 20_000, 140_000]),
            app_closes: false,
        }
    }

    pub(crate) fn path(&self) -> String {
        format!("/t/{}/{}", self.key, self.n)
    }

    /// What the body of the answer is.
    pub(crate) fn answer(&self) -> Vec<u8> {
        match self.reply {
            Reply::Empty | Reply::Upgrade => Vec::new(),
            Reply::Text | Reply::Never => self.path().into_bytes(),
            Reply::Json => format!("[{},{}]", self.key, self.n).into_bytes(),
            Reply::Echo | Reply::Forward => self.body.to_vec(),
            Reply::Buffer => self.made()[..self.reply_len.min(1_500)].to_vec(),
            _ => self.made().to_vec(),
        }
    }

    /// The pattern of the answer.
    pub(crate) fn made(&self) -> &'static [u8] {
        body(self.key, self.n, self.reply_len)
    }

    pub(crate) const fn status(&self) -> u16 {
        match self.reply {
            Reply::Empty => 204,
            Reply::Upgrade => 101,
            _ => 200,
        }
    }

    /// Whether no request may follow.
    pub(crate) const fn is_last(&self, limits: &Limits) -> bool {
        self.closes || limits.requests_max > 0 && self.n as u32 + 1 >= limits.requests_max
    }

    /// Whether the answer has to say that it is the last one.
    pub(crate) fn must_close(&self, limits: &Limits) -> bool {
        let until_close = self.is_10 && self.reply.is_open_ended();
        self.is_last(limits) || self.app_closes || until_close
    }

    fn write(&self, out: &mut Vec<u8>, stops: &mut Vec<(usize, Stop)>, chance: &mut Chance) {
        let method = match self.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
        };
        let version = if self.is_10 { "1.0" } else { "1.1" };
        let mut head = format!("{method} {} HTTP/{version}\r\nHost: server\r\n", self.path());
        match (self.is_10, self.closes) {
            (true, false) => head += "Connection: keep-alive\r\n",
            (false, true) => head += "Connection: close\r\n",
            _ => {}
        }
        match self.length {
            Length::None => {}
            Length::Known => head += &format!("Content-Length: {}\r\n", self.body.len()),
            Length::Chunked => head += "Transfer-Encoding: chunked\r\n",
        }
        if self.expects {
            head += "Expect: 100-continue\r\n";
        }
        if self.reply == Reply::Upgrade {
            head += "Connection: upgrade\r\nUpgrade: echo\r\n";
        }
        if chance.once_in(8) {
            head += &format!("X-Long: {}\r\n", "y".repeat(chance.pick(&[100, 3_000])));
        }
        out.extend(head.into_bytes());
        out.extend(b"\r\n");
        if self.expects {
            stops.push((out.len(), Stop::Continue(self.n)));
        }
        if self.length != Length::Chunked {
            return out.extend(self.body);
        }
        let mut rest = self.body;
        while !rest.is_empty() {
            let len_max = chance.pick(&[10, 1_000, 50_000]);
            let len = rest.len().min(1 + chance.below(len_max));
            let extension = chance.pick(&["", "", ";a=b"]);
            out.extend(format!("{len:x}{extension}\r\n").bytes());
            out.extend(&rest[..len]);
            out.extend(b"\r\n");
            rest = &rest[len..];
        }
        out.extend(chance.pick(&[&b"0\r\n\r\n"[..], b"0\r\nX-Trailer: z\r\n\r\n"]));
    }
}

/// Where the client waits before it says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// For so many answers.
    Answers(usize),
    /// For `100 Continue` or the answer to that request, or for a while.
    Continue(usize),
}

/// How a connection ended for one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: u64,
    pub(crate) clean: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) listener: usize,
    pub(crate) asks: Vec<Ask>,
    /// What the client sends, and where it waits.
    pub(crate) bytes: Vec<u8>,
    pub(crate) stops: Vec<(usize, Stop)>,
    /// Behind the requests something is sent that is refused with this.
    pub(crate) bad: Option<u16>,
    /// What goes through the tunnel that the last request makes.
    pub(crate) tunnel: &'static [u8],
    /// The client says that it sends no more, before it has its answers.
    pub(crate) shuts: bool,
    /// Nobody breaks anything off, and no fault is left.
    pub(crate) is_polite: bool,
    // What happened.
    pub(crate) handed_out: usize,
    pub(crate) answer_count: usize,
    pub(crate) is_complete: bool,
    pub(crate) has_last: bool,
    /// The client, or the server, broke it off.
    pub(crate) broken_off: bool,
    pub(crate) ended: [Option<Ended>; 2],
}

impl Talk {
    pub(crate) fn new(
        key: u64,
        listener: usize,
        limits: &Limits,
        is_polite: bool,
        chance: &mut Chance,
    ) -> Self {
        let count_max = chance.pick(&[1, 4, 12]);
        let count = 1 + chance.below(count_max);
        let is_pipelined = chance.once_in(2);
        let mut asks: Vec<Ask> = (0..count).map(|n| Ask::new(key, n, chance)).collect();
        for ask in &mut asks {
            if ask.reply == Reply::Never && !limits.has_short_patience() {
                ask.reply = Reply::Text;
            }
            // A body that follows is all there is to forward.
            if ask.reply == Reply::Forward && ask.length == Length::None {
                ask.reply = Reply::Stream;
            }
            if !is_polite && chance.once_in(20) {
                ask.app_closes = true;
            }
            // What follows is sent all the same, and must not be seen.
            if chance.once_in(if is_polite { 1_000_000 } else { 15 }) {
                ask.closes = true;
            }
        }
        if is_polite {
            // Who says that it sends no more does not.
            asks.iter_mut().for_each(|ask| ask.closes = false);
        }
        let mut tunnel = &[][..];
        let mut bad: Option<Row> = None;
        if let Some(last) = asks.last_mut() {
            match chance.below(6) {
                0 if !last.is_10 && last.method == Method::Get => {
                    last.reply = Reply::Upgrade;
                    (last.closes, last.app_closes) = (false, false);
                    tunnel = body(key, 5_000, chance.pick(&[0, 10, 3_000, 30_000]));
                }
                1 => last.closes = true,
                2 if !is_polite => bad = Some(refused(chance)),
                _ => {}
            }
        }
        let (mut bytes, mut stops) = (Vec::new(), Vec::new());
        for ask in &asks {
            if !is_pipelined && ask.n > 0 {
                stops.push((bytes.len(), Stop::Answers(ask.n)));
            }
            ask.write(&mut bytes, &mut stops, chance);
        }
        if let Some(bad) = &bad {
            bytes.extend(&bad.bytes);
        }
        if asks.last().is_some_and(|last| last.reply == Reply::Upgrade) {
            if chance.once_in(2) {
                stops.push((bytes.len(), Stop::Answers(asks.len())));
            }
            bytes.extend(tunnel);
        }
        Self {
            listener,
            asks,
            bytes,
            stops,
            bad: bad.map(|row| match row.answer {
                http_corpus::Answer::Refused(status) => status,
                http_corpus::Answer::Requests(_) => unreachable!("only what is refused"),
            }),
            tunnel,
            shuts: chance.once_in(4),
            is_polite,
            handed_out: 0,
            answer_count: 0,
            is_complete: false,
            has_last: false,
            broken_off: false,
            ended: [None; 2],
        }
    }
}

/// A row of the corpus that is refused.
fn refused(chance: &mut Chance) -> Row {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let is_refused = |row: &Row| matches!(row.answer, http_corpus::Answer::Refused(_));
        http_corpus::rows().into_iter().filter(is_refused).collect()
    });
    rows[chance.below(rows.len())].clone()
}
