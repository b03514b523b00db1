//! The node that serves: what it was asked is compared, and answered in any order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use zero_io::{
    ConnId, EndpointId, Event, Events, HttpOwnedRequest, HttpRequest, Io, IoError, IoHandle,
    RequestId, Sender, StreamId, ZeroResponse,
};

use super::Cx;
use super::plan::{Ask, Ended, Length, Limits, Method, Reply, Talk};
use super::upload::{Progress, Upload};

const STREAM: StreamId = StreamId::ZERO;

pub(crate) struct Server {
    pub(crate) io: Io,
    pub(crate) listeners: Vec<(EndpointId, Limits)>,
    pub(crate) state: State,
}

pub(crate) struct State {
    handle: IoHandle,
    conns: BTreeMap<ConnId, Conn>,
    ended: BTreeSet<ConnId>,
    jobs: Vec<Job>,
    held: Vec<HttpOwnedRequest>,
    uploads: Vec<Upload>,
    pub(crate) handed_out: u64,
}

struct Conn {
    limits: Limits,
    talk: Option<usize>,
    /// Requests so far.
    asked: u64,
    /// The request whose body is being read, and how much of it was.
    body: Option<(u64, usize)>,
    /// It is closing: no request may follow.
    is_closed: bool,
    /// What is behind the requests came as one: whatever follows is not compared.
    is_foreign: bool,
    tunnel: Option<Tunnel>,
}

#[derive(Default)]
struct Tunnel {
    backlog: VecDeque<u8>,
    blocked: bool,
    read_closed: bool,
    shut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    /// Its body is written; so much was.
    Body(usize),
    Done,
}

/// An answer to be given.
#[derive(Debug)]
struct Job {
    conn: ConnId,
    id: RequestId,
    ask: Ask,
    /// Rounds until it is looked at.
    wait: usize,
    stage: Stage,
    by_handle: bool,
    blocked: bool,
    /// Of the request's body, for what is made from it.
    arrived: usize,
    /// It is to be forwarded, and some of it could not be.
    behind: bool,
    /// Its body is too long to be given as one.
    in_pieces: bool,
}

/// Whether the payload is to be taken out of its event.
type Detach = bool;

impl Server {
    pub(crate) fn new(io: Io) -> Self {
        let handle = io.handle();
        Self {
            io,
            listeners: Vec::new(),
            state: State {
                handle,
                conns: BTreeMap::new(),
                ended: BTreeSet::new(),
                jobs: Vec::new(),
                held: Vec::new(),
                uploads: Vec::new(),
                handed_out: 0,
            },
        }
    }

    pub(crate) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        let (mut events, mut sender) = self.io.split();
        for _ in 0..count_max {
            let Some(event) = events.next_event() else { break };
            let detach = self.state.on_event(event, &self.listeners, &mut sender, cx);
            self.state.detach(detach, &mut events, cx);
        }
    }

    pub(crate) fn act(&mut self, cx: &mut Cx) {
        let (_, mut sender) = self.io.split();
        self.state.act(&mut sender, cx);
    }

    /// Answers are about to be given.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.jobs.iter().any(|job| !job.blocked)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.state.conns.is_empty()
    }

    pub(crate) fn describe(&self, cx: &Cx) -> String {
        let mut out = String::from("\nserver:");
        for (id, conn) in &self.state.conns {
            let tunnel = conn.tunnel.as_ref().map(|t| (t.backlog.len(), t.blocked, t.read_closed));
            out +=
                &format!("\n  {id} talk {:?} asked {} body {:?}", conn.talk, conn.asked, conn.body);
            out += &format!(" closed {} tunnel {tunnel:?}", conn.is_closed);
            if let Some(talk) = conn.talk.map(|talk| &cx.talks[talk]) {
                out += &format!(" bad {:?} {:?}", talk.bad, conn.limits);
            }
        }
        for job in &self.state.jobs {
            out += &format!("\n  {job:?}").chars().take(400).collect::<String>();
        }
        out
    }
}

impl State {
    fn living(&mut self, id: ConnId, what: &str) -> &mut Conn {
        assert!(!self.ended.contains(&id), "{what} of {id} after its Disconnected");
        self.conns.get_mut(&id).unwrap_or_else(|| panic!("{what} of {id} before its Connected"))
    }

    fn on_event(
        &mut self,
        event: Event<'_>,
        listeners: &[(EndpointId, Limits)],
        sender: &mut Sender<'_>,
        cx: &mut Cx,
    ) -> Detach {
        match event {
            Event::Connected { conn, endpoint, .. } => {
                assert!(!self.ended.contains(&conn) && !self.conns.contains_key(&conn), "{conn}");
                let limits = listeners.iter().find(|(id, _)| Some(*id) == endpoint);
                let limits = limits.expect("the listener").1;
                let (talk, asked, body) = (None, 0, None);
                let (is_closed, is_foreign, tunnel) = (false, false, None);
                let new = Conn { limits, talk, asked, body, is_closed, is_foreign, tunnel };
                self.conns.insert(conn, new);
            }
            Event::HttpRequest { conn, id, request } => {
                return self.on_request(conn, id, &request, sender, cx);
            }
            Event::HttpBodyChunk { conn, id, data, last } => {
                self.on_chunk(conn, id, (data, last), sender, cx);
            }
            Event::StreamFrame { conn, data, .. } => {
                let living = self.living(conn, "StreamFrame");
                let tunnel = living.tunnel.as_mut().expect("a tunnel");
                assert!(!tunnel.read_closed, "data behind ReadClosed");
                tunnel.backlog.extend(data);
            }
            Event::ReadClosed { conn, .. } => {
                let living = self.living(conn, "ReadClosed");
                living.tunnel.as_mut().expect("told of tunnels alone").read_closed = true;
            }
            Event::Writable { conn, .. } => {
                let living = self.living(conn, "Writable");
                if let Some(tunnel) = &mut living.tunnel {
                    tunnel.blocked = false;
                }
                let jobs = self.jobs.iter_mut().filter(|job| job.conn == conn);
                jobs.for_each(|job| job.blocked = false);
            }
            Event::Disconnected { conn, error_code: code, clean, .. } => {
                assert!(self.ended.insert(conn), "two Disconnected");
                let Some(ended) = self.conns.remove(&conn) else {
                    assert!(cx.secure.is_some() && code != 0 && !clean, "{conn}: {code}");
                    return false;
                };
                self.jobs.retain(|job| job.conn != conn);
                if let Some(talk) = ended.talk {
                    cx.talks[talk].ended[1] = Some(Ended { code, clean });
                }
            }
            Event::PoolPressure { .. } | Event::SendDone { .. } => {}
            other => panic!("{other:?}"),
        }
        false
    }

    fn detach(&mut self, detach: Detach, events: &mut Events<'_>, cx: &Cx) {
        let request = if detach { events.detach_http_request() } else { None };
        let Some(mut request) = request else { return };
        if let Some(stream) = request.body_stream() {
            let (id, number) = (request.conn(), request.id());
            let conn = self.living(id, "a detached request");
            let talk = &cx.talks[conn.talk.expect("it was asked for")];
            let ask = talk.asks[number.as_u64() as usize].clone();
            // No event of it may follow.
            assert!(conn.body.take().is_some(), "a body that came with its request");
            self.uploads.push(Upload::new(id, number, ask, stream));
        }
        self.held.push(request);
    }

    /// Goes on with bodies that come beside the events.
    fn read_uploads(&mut self, cx: &mut Cx) {
        let jobs = &mut self.jobs;
        self.uploads.retain_mut(|upload| {
            let job = jobs.iter_mut().find(|job| job.conn == upload.conn && job.id == upload.id);
            let (arrived, is_over) = match upload.read(cx) {
                Progress::Read(got) => (got, false),
                // What is lacking is made up, so that there is an answer.
                Progress::Over => (usize::MAX, true),
            };
            if let Some(job) = job {
                job.arrived = arrived.min(job.ask.body.len());
                job.behind = true;
            }
            !is_over
        });
    }

    fn on_request(
        &mut self,
        id: ConnId,
        request: RequestId,
        seen: &HttpRequest<'_>,
        sender: &mut Sender<'_>,
        cx: &mut Cx,
    ) -> Detach {
        self.handed_out += 1;
        let conn = self.living(id, "HttpRequest");
        assert!(conn.tunnel.is_none(), "a request in a tunnel");
        assert!(!conn.is_closed, "a request behind the last one");
        assert!(!conn.is_foreign, "a request behind what is refused");
        assert_eq!(conn.body, None, "a request in the middle of a body");
        assert_eq!(request.as_u64(), conn.asked, "requests are numbered");
        let n = conn.asked as usize;
        conn.asked += 1;
        let mut words = seen.path().split('/').skip(1);
        if words.next() != Some("t") {
            // Its head is sound, and what follows is not.
            let talk = &cx.talks[conn.talk.expect("not the first request")];
            assert!(talk.bad.is_some() && n == talk.asks.len(), "{seen:?}");
            assert!(seen.body_follows(), "it is to be refused: {seen:?}");
            conn.is_foreign = true;
            return false;
        }
        let key: usize = words.next().and_then(|word| word.parse().ok()).expect("a key");
        assert_eq!(*conn.talk.get_or_insert(key), key, "another connection's request");
        let ask = cx.talks[key].asks.get(n).expect("a request that was sent").clone();
        check(&ask, seen, &conn.limits);
        cx.talks[key].handed_out += 1;
        conn.is_closed = ask.is_last(&conn.limits);
        if seen.body_follows() {
            conn.body = Some((request.as_u64(), 0));
        }
        if seen.expects_continue() && cx.chance.once_in(2) {
            let _ = sender.http_continue(id, request);
        }
        let arrived = seen.body().len();
        let chance = &mut cx.chance;
        let job = Job {
            conn: id,
            id: request,
            wait: chance.pick(&[0, 0, 1, 5, 30]),
            stage: Stage::Fresh,
            by_handle: chance.once_in(6) && ask.reply != Reply::Upgrade,
            blocked: false,
            arrived,
            behind: false,
            in_pieces: false,
            ask,
        };
        self.jobs.push(job);
        if cx.chance.once_in(2) {
            let last = self.jobs.len() - 1;
            self.step(last, sender, cx);
        }
        cx.chance.once_in(6)
    }

    fn on_chunk(
        &mut self,
        id: ConnId,
        request: RequestId,
        (data, last): (&[u8], bool),
        sender: &mut Sender<'_>,
        cx: &Cx,
    ) {
        let conn = self.living(id, "HttpBodyChunk");
        if conn.is_foreign {
            return;
        }
        let talk = &cx.talks[conn.talk.expect("behind a request")];
        let (of, got) = conn.body.expect("a body that is due");
        assert_eq!(request.as_u64(), of, "a piece of another body");
        let ask = &talk.asks[of as usize];
        let end = got + data.len();
        assert!(end <= ask.body.len() && ask.body[got..end] == *data, "a body's bytes");
        assert!(last || !data.is_empty(), "an empty piece");
        if last {
            assert_eq!(end, ask.body.len(), "the end of a body");
        }
        conn.body = (!last).then_some((of, end));
        let found = self.jobs.iter_mut().find(|job| job.conn == id && job.id == request);
        let Some(job) = found else { return };
        job.arrived = end;
        let Stage::Body(sent) = job.stage else {
            job.behind = true;
            return;
        };
        if job.ask.reply == Reply::Forward && !job.behind && !data.is_empty() {
            match sender.http_forward(id, request, data) {
                Ok(()) => job.stage = Stage::Body(sent + data.len()),
                Err(error) => {
                    is_over(&error);
                    job.behind = true;
                }
            }
        }
    }

    // ---- answers

    fn act(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        self.read_uploads(cx);
        let mut at = 0;
        while at < self.jobs.len() {
            // In any order.
            let other = at + cx.chance.below(self.jobs.len() - at);
            self.jobs.swap(at, other);
            self.jobs[at].wait = self.jobs[at].wait.saturating_sub(1);
            if self.jobs[at].wait == 0 || cx.is_liveness {
                self.step(at, sender, cx);
            }
            at += 1;
        }
        self.jobs.retain(|job| job.stage != Stage::Done);
        for (id, conn) in &mut self.conns {
            if let Some(tunnel) = &mut conn.tunnel {
                echo(*id, tunnel, sender);
            }
        }
        if cx.is_liveness || cx.chance.once_in(10) {
            for held in self.held.drain(..) {
                let mut words = held.path().split('/').skip(2);
                let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
                let (key, n) = (number(), number());
                if let (Some(key), Some(n)) = (key, n) {
                    let body = cx.talks[key].asks[n].body;
                    let is_whole = held.request().body_follows() || held.body() == body;
                    assert!(is_whole, "a request that was kept changed");
                }
            }
        }
        if !cx.is_liveness && cx.chance.once_in(60) {
            self.break_off(sender, cx);
        }
    }

    /// Closes some connection.
    fn break_off(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        let count = self.conns.len();
        let Some((id, conn)) = self.conns.iter_mut().nth(cx.chance.below(count)) else { return };
        let Some(talk) = conn.talk.map(|talk| &mut cx.talks[talk]) else { return };
        talk.broken_off = true;
        conn.is_closed = false;
        let closed = match cx.chance.below(3) {
            0 => sender.close(*id),
            1 => sender.close_graceful(*id, Duration::from_millis(50)),
            _ => self.handle.close_graceful(*id, Duration::ZERO),
        };
        if let Err(error) = closed {
            assert!(matches!(error, IoError::StaleConn { .. } | IoError::QueueFull { .. }));
        }
    }

    fn step(&mut self, at: usize, sender: &mut Sender<'_>, cx: &mut Cx) {
        let job = &mut self.jobs[at];
        if job.stage == Stage::Done {
            return;
        }
        match job.stage {
            Stage::Fresh => answer(job, &mut self.conns, &self.handle, sender, cx),
            Stage::Body(_) => write(job, sender, cx),
            Stage::Done => {}
        }
        if job.stage == Stage::Done {
            let talk = self.conns.get(&job.conn).and_then(|conn| conn.talk);
            if let Some(talk) = talk {
                cx.talks[talk].answer_count += 1;
            }
        }
    }
}

/// What was handed out is what was sent.
fn check(ask: &Ask, seen: &HttpRequest<'_>, limits: &Limits) {
    let method = match ask.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
    };
    assert_eq!((seen.method_name(), seen.target()), (method, &*ask.path()));
    assert_eq!(seen.version_minor(), u8::from(!ask.is_10));
    assert_eq!(seen.header("host"), Some("server"));
    assert_eq!(seen.wants_upgrade(), ask.reply == Reply::Upgrade);
    let follows = ask.length == Length::Chunked || ask.body.len() > limits.inline;
    assert_eq!(seen.body_follows(), follows, "{ask:?}");
    if !follows {
        assert!(seen.body() == ask.body, "the body that came with it");
    }
    assert!(ask.length == Length::Chunked || ask.body.len() as u64 <= limits.body_max);
    assert!(!seen.expects_continue() || ask.expects && !limits.auto_continue);
}

/// Whether the error says that the answer is not wanted any more; else it may be tried again.
fn is_over(error: &IoError) -> bool {
    match error {
        IoError::StaleConn { .. } | IoError::WriteClosed { .. } | IoError::NoSuchRequest { .. } => {
            true
        }
        IoError::PoolExhausted { .. } | IoError::QueueFull { .. } => false,
        other => panic!("{other}"),
    }
}

fn answer(
    job: &mut Job,
    conns: &mut BTreeMap<ConnId, Conn>,
    handle: &IoHandle,
    sender: &mut Sender<'_>,
    cx: &mut Cx,
) {
    let Some(conn) = conns.get_mut(&job.conn) else { return };
    let ask = job.ask.clone();
    let reply = ask.reply;
    if reply == Reply::Never {
        job.stage = Stage::Done;
        return;
    }
    if reply == Reply::Echo && job.arrived < ask.body.len() {
        return;
    }
    if reply == Reply::Upgrade {
        return upgrade(job, conn, sender);
    }
    let name = format!("{}-{}", ask.key, ask.n);
    let text = ask.answer();
    let numbers = [ask.key, ask.n as u64];
    let made = ask.made();
    let mut response = ZeroResponse::status(ask.status()).header("x-n", &*name);
    if ask.app_closes {
        response = response.close();
    }
    response = match reply {
        _ if job.in_pieces => response.stream_of(text.len() as u64),
        Reply::Empty => response,
        Reply::Text => response.text(std::str::from_utf8(&text).expect("a path")),
        Reply::Copied | Reply::Echo => response.bytes(&text),
        Reply::Static => response.static_bytes(made),
        Reply::Shared => response.shared(Arc::<[u8]>::from(&text[..])),
        Reply::Json => response.json(&numbers),
        Reply::StreamOf => response.stream_of(text.len() as u64),
        Reply::Stream | Reply::StreamBuffers | Reply::Forward => response.stream(),
        Reply::Buffer => {
            match sender.send_buffer(text.len()) {
                Ok(mut buffer) => {
                    buffer.as_mut_slice()[..text.len()].copy_from_slice(&text);
                    buffer.set_len(text.len());
                    response.buffer(buffer)
                }
                // The handles' reserve may leave none at all.
                Err(_) => response.bytes(&text),
            }
        }
        Reply::Upgrade | Reply::Never => unreachable!("looked for above"),
    };
    let has_body = reply.is_open_ended() || reply == Reply::StreamOf || job.in_pieces;
    let outcome = match job.by_handle {
        true => handle.http_respond(job.conn, job.id, response),
        false => sender.http_respond(job.conn, job.id, response),
    };
    match outcome {
        Ok(()) => job.stage = if has_body { Stage::Body(0) } else { Stage::Done },
        // Without guard writes there is a bound: then in pieces.
        Err(IoError::BufferTooLarge { .. }) => job.in_pieces = true,
        Err(error) if is_over(&error) => {
            check_over(&error, conn, &cx.talks, job);
            job.stage = Stage::Done;
        }
        Err(_) => job.wait = 2,
    }
}

/// The request is not there any more: zero-io has answered it.
fn check_over(error: &IoError, conn: &Conn, talks: &[Talk], job: &Job) {
    let Some(talk) = conn.talk.map(|talk| &talks[talk]) else { return };
    if matches!(error, IoError::NoSuchRequest { .. }) {
        let closed = talk.asks[..job.ask.n].iter().any(|ask| ask.must_close(&conn.limits));
        assert!(closed || !talk.is_polite, "{error} {job:?}");
    }
}

fn upgrade(job: &mut Job, conn: &mut Conn, sender: &mut Sender<'_>) {
    let name = format!("{}-{}", job.ask.key, job.ask.n);
    let response = ZeroResponse::status(101).header("upgrade", "echo").header("x-n", &*name);
    match sender.http_upgrade(job.conn, job.id, response) {
        Ok(()) => {
            conn.tunnel = Some(Tunnel::default());
            job.stage = Stage::Done;
        }
        // Others are due before it.
        Err(IoError::InvalidArgument { .. }) => job.wait = 1,
        Err(error) if is_over(&error) => job.stage = Stage::Done,
        Err(_) => job.wait = 2,
    }
}

fn write(job: &mut Job, sender: &mut Sender<'_>, cx: &mut Cx) {
    let Stage::Body(sent) = job.stage else { return };
    if job.blocked {
        return;
    }
    let whole = job.ask.answer();
    // What is forwarded goes on here once it could not be done in its event.
    let available = match job.ask.reply {
        Reply::Forward if !job.behind && job.arrived < whole.len() => return,
        Reply::Forward => job.arrived,
        _ => whole.len(),
    };
    let rest = &whole[sent..available];
    if rest.is_empty() && available < whole.len() {
        return;
    }
    if rest.is_empty() {
        let trailers: &[(&str, &str)] =
            if cx.chance.once_in(2) { &[("X-Count", "1")] } else { &[] };
        match sender.http_finish_with(job.conn, job.id, trailers) {
            Ok(()) => job.stage = Stage::Done,
            Err(error) if is_over(&error) => gone(job, &error),
            Err(_) => job.wait = 2,
        }
        return;
    }
    let len = rest.len().min(cx.chance.pick(&[1, 100, 3_000, 200_000]));
    let piece = &rest[..len];
    if job.ask.reply == Reply::StreamBuffers
        && let Ok(mut buffer) = sender.send_buffer(len)
    {
        buffer.as_mut_slice()[..len].copy_from_slice(piece);
        buffer.set_len(len);
        match sender.http_write_buffer(job.conn, job.id, buffer) {
            Ok(()) => job.stage = Stage::Body(sent + len),
            Err(error) if is_over(&error) => gone(job, &error),
            Err(_) => job.blocked = true,
        }
        return;
    }
    match sender.http_write(job.conn, job.id, piece) {
        Ok(n) => {
            job.stage = Stage::Body(sent + n);
            job.blocked = n < len;
        }
        Err(error) if is_over(&error) => gone(job, &error),
        Err(error) => panic!("http_write: {error}"),
    }
}

/// Its turn has not come, or never will.
const fn gone(job: &mut Job, error: &IoError) {
    match error {
        IoError::NoSuchRequest { .. } => job.wait = 1,
        _ => job.stage = Stage::Done,
    }
}

fn echo(id: ConnId, tunnel: &mut Tunnel, sender: &mut Sender<'_>) {
    if tunnel.blocked || tunnel.shut {
        return;
    }
    let data = tunnel.backlog.make_contiguous();
    if !data.is_empty() {
        let len = data.len();
        match sender.stream_write(id, STREAM, data) {
            Ok(n) => {
                tunnel.blocked = n < len;
                tunnel.backlog.drain(..n);
            }
            Err(_) => tunnel.shut = true,
        }
    } else if tunnel.read_closed {
        let _ = sender.shutdown_write(id, STREAM);
        tunnel.shut = true;
    }
}
