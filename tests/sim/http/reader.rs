//! The client's side of the oracle: answers are read by the book, and compared as they come.

use super::plan::{Ask, Length, Limits, Method, Reply, Talk};

/// Bytes of a head at most: ours are short.
const HEAD_LEN_MAX: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    Known {
        left: usize,
    },
    ChunkSize,
    ChunkData {
        left: usize,
    },
    ChunkEnd,
    Trailers,
    UntilClose,
    Tunnel,
    /// Nothing may follow.
    Over,
}

/// What one connection's answers are read with.
#[derive(Debug)]
pub(crate) struct Reader {
    at: At,
    bytes: Vec<u8>,
    /// What the body that is being read must be, and how much of it was read.
    expected: Vec<u8>,
    got: usize,
    /// Answers that were whole.
    pub(crate) count: usize,
    /// `100 Continue` came for the next one.
    pub(crate) continued: bool,
    /// The answer that is being read says that it is the last.
    closes: bool,
    /// It is one of zero-io's own.
    pub(crate) own: Option<u16>,
    pub(crate) tunnel_len: usize,
}

struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("a head is ASCII");
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().expect("a status line");
        let rest = start.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("`{start}`"));
        let status = rest[..3].parse().expect("a status");
        assert_eq!(rest.as_bytes()[3], b' ', "`{start}`");
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("`{line}`"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status, fields: lines.map(field).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(n, _)| n == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        first
    }
}

impl Reader {
    pub(crate) const fn new() -> Self {
        Self {
            at: At::Head,
            bytes: Vec::new(),
            expected: Vec::new(),
            got: 0,
            count: 0,
            continued: false,
            closes: false,
            own: None,
            tunnel_len: 0,
        }
    }

    /// No more answers are to come.
    pub(crate) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    pub(crate) fn feed(&mut self, data: &[u8], talk: &Talk, limits: &Limits) {
        self.bytes.extend(data);
        let mut from = 0;
        loop {
            let rest = &self.bytes[from..];
            if rest.is_empty() {
                break;
            }
            let len = match self.at {
                At::Over => panic!("{:?} behind the last answer", String::from_utf8_lossy(rest)),
                At::Head => {
                    let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
                    let Some(end) = end else {
                        assert!(rest.len() < HEAD_LEN_MAX, "no end of a head");
                        let start = &b"HTTP/1.1 "[..rest.len().min(9)];
                        assert!(rest.starts_with(start), "{:?}", String::from_utf8_lossy(rest));
                        break;
                    };
                    let head = Head::read(&rest[..end + 4]);
                    self.head(&head, talk, limits);
                    end + 4
                }
                At::Known { left } => {
                    let len = left.min(rest.len());
                    self.compare(from, len);
                    self.at = At::Known { left: left - len };
                    if left == len {
                        self.whole();
                    }
                    len
                }
                At::UntilClose => {
                    let len = rest.len();
                    self.compare(from, len);
                    len
                }
                At::ChunkData { left } => {
                    let len = left.min(rest.len());
                    self.compare(from, len);
                    self.at =
                        if left == len { At::ChunkEnd } else { At::ChunkData { left: left - len } };
                    len
                }
                At::ChunkEnd | At::ChunkSize | At::Trailers => {
                    let Some(len) = rest.windows(2).position(|two| two == b"\r\n") else {
                        assert!(rest.len() < 40, "no end of a line");
                        break;
                    };
                    let line = std::str::from_utf8(&rest[..len]).expect("a line").to_owned();
                    self.line(&line);
                    len + 2
                }
                At::Tunnel => {
                    let end = self.tunnel_len + rest.len();
                    assert!(end <= talk.tunnel.len(), "the tunnel gives more than it was given");
                    assert!(talk.tunnel[self.tunnel_len..end] == *rest, "bytes of the tunnel");
                    self.tunnel_len = end;
                    rest.len()
                }
            };
            from += len;
        }
        self.bytes.drain(..from);
    }

    fn line(&mut self, line: &str) {
        self.at = match self.at {
            At::ChunkEnd => {
                assert_eq!(line, "", "behind a chunk");
                At::ChunkSize
            }
            At::ChunkSize => match usize::from_str_radix(line, 16).expect("a chunk's size") {
                0 => At::Trailers,
                left => At::ChunkData { left },
            },
            _ if line.is_empty() => return self.whole(),
            _ => {
                assert_eq!(line, "X-Count: 1", "the trailer that was given");
                At::Trailers
            }
        };
    }

    fn compare(&mut self, from: usize, len: usize) {
        let end = self.got + len;
        assert!(end <= self.expected.len(), "a body of {}: {end}", self.expected.len());
        let data = &self.bytes[from..from + len];
        assert!(
            self.expected[self.got..end] == *data,
            "answer {}: body at {} of {}: {:?}",
            self.count,
            self.got,
            self.expected.len(),
            String::from_utf8_lossy(&data[..data.len().min(180)])
        );
        self.got = end;
    }

    fn whole(&mut self) {
        assert_eq!(self.got, self.expected.len(), "answer {} is short", self.count);
        self.count += 1;
        self.continued = false;
        self.at = if self.closes { At::Over } else { At::Head };
    }

    fn head(&mut self, head: &Head, talk: &Talk, limits: &Limits) {
        let ask = talk.asks.get(self.count);
        if head.status == 100 {
            let ask = ask.expect("100 for a request");
            assert!(ask.expects && !self.continued, "100 that was not asked for: {ask:?}");
            assert!(head.fields.is_empty());
            self.continued = true;
            return;
        }
        if head.get("x-n").is_none() {
            return self.own_answer(head, talk, limits);
        }
        let ask = ask.expect("an answer to a request");
        let name = format!("{}-{}", ask.key, ask.n);
        assert_eq!(head.get("x-n"), Some(&*name), "the answer whose turn it is");
        assert_eq!(head.status, ask.status(), "{ask:?}");
        if ask.reply == Reply::Upgrade {
            assert_eq!(head.get("upgrade"), Some("echo"));
            self.at = At::Tunnel;
            self.count += 1;
            return;
        }
        assert!(head.get("date").is_some());
        let says_close = head.get("connection").is_some_and(|value| value == "close");
        // The server may refuse what follows before it answers this.
        assert_eq!(says_close, ask.must_close(limits), "{ask:?}, {:?}", head.fields);
        self.closes = says_close;
        self.body_of(head, ask);
    }

    fn body_of(&mut self, head: &Head, ask: &Ask) {
        (self.expected, self.got) = (ask.answer(), 0);
        let len = head.get("content-length").map(|len| len.parse::<usize>().expect("a length"));
        let coding = head.get("transfer-encoding");
        let is_chunked = ask.reply.is_open_ended() && !ask.is_10;
        if head.status == 204 {
            assert!(len.is_none() && coding.is_none(), "204 has no body");
        } else {
            let is_known = !ask.reply.is_open_ended();
            assert_eq!(len, is_known.then_some(self.expected.len()), "{ask:?}");
            assert_eq!(coding, is_chunked.then_some("chunked"), "{ask:?}");
        }
        if ask.method == Method::Head || head.status == 204 {
            self.expected.clear();
            return self.whole();
        }
        self.at = match len {
            Some(0) => return self.whole(),
            Some(left) => At::Known { left },
            None if is_chunked => At::ChunkSize,
            None => At::UntilClose,
        };
    }

    /// An answer that the application did not give.
    fn own_answer(&mut self, head: &Head, talk: &Talk, limits: &Limits) {
        let ask = talk.asks.get(self.count);
        assert_eq!(head.get("connection"), Some("close"), "{}", head.status);
        assert_eq!(head.get("content-length"), Some("0"), "{}", head.status);
        match head.status {
            503 => assert!(limits.request_ms > 0 && !talk.is_polite, "503 {ask:?}"),
            408 => assert!(limits.receive_ms > 0 && !talk.is_polite, "408 {ask:?}"),
            413 => {
                let ask = ask.expect("413 to a request");
                assert!(ask.body.len() as u64 > limits.body_max, "413 {ask:?}");
                assert_ne!(ask.length, Length::None);
            }
            status => {
                assert_eq!(self.count, talk.asks.len(), "{status} for {ask:?}");
                assert_eq!(talk.bad, Some(status));
            }
        }
        self.own = Some(head.status);
        self.at = At::Over;
    }

    /// The connection ended: what was not whole was right as far as it came.
    pub(crate) fn end(&mut self, is_orderly: bool) {
        if self.at == At::UntilClose && is_orderly && self.got == self.expected.len() {
            self.whole();
        }
    }
}
