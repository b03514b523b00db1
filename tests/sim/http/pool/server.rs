//! The node that is asked: what arrives is compared with what was sent, and answered as planned.

use std::collections::BTreeMap;

use zero_io::{ConnId, EndpointId, Event, HttpMethod, HttpPoolConfig, Io, RequestId, Sender};

use super::Cx;
use super::plan::{Ask, End, Reply};

/// Failed attempts at an answer before its connection is given up.
const TRIES_MAX: usize = 60;

pub(super) struct Server {
    pub(super) io: Io,
    pub(super) listeners: Vec<EndpointId>,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    /// Where they were accepted.
    pub(super) conns: BTreeMap<ConnId, EndpointId>,
    jobs: Vec<Job>,
    upgraded: Vec<ConnId>,
    pub(super) handed_out: u64,
}

/// A request that is being read, or answered.
#[derive(Debug)]
struct Job {
    conn: ConnId,
    id: RequestId,
    key: usize,
    hop: usize,
    arrived: usize,
    is_read: bool,
    /// Rounds until it is looked at.
    wait: usize,
    tries: usize,
    /// Bytes of the body, once the head was given.
    sent: Option<usize>,
    is_done: bool,
}

impl Server {
    pub(super) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        let (mut events, mut sender) = self.io.split();
        for _ in 0..count_max {
            let Some(event) = events.next_event() else { break };
            self.state.on_event(event, &mut sender, cx);
        }
    }

    pub(super) fn act(&mut self, cx: &mut Cx) {
        let (_, mut sender) = self.io.split();
        self.state.act(&mut sender, cx);
    }
}

impl State {
    pub(super) fn is_busy(&self) -> bool {
        self.jobs.iter().any(|job| !job.is_done && job.is_read)
    }

    pub(super) fn describe(&self) -> String {
        format!("\nserver: {} connections, jobs {:#?}", self.conns.len(), self.jobs)
    }

    fn on_event(&mut self, event: Event<'_>, sender: &mut Sender<'_>, cx: &mut Cx) {
        match event {
            Event::Connected { conn, endpoint, .. } => {
                let endpoint = endpoint.expect("a listener");
                assert!(self.conns.insert(conn, endpoint).is_none(), "two Connected");
            }
            Event::Disconnected { conn, .. } => {
                self.conns.remove(&conn);
                self.jobs.retain(|job| job.conn != conn);
                self.upgraded.retain(|of| *of != conn);
            }
            Event::HttpRequest { conn, id, request } => {
                let (key, hop) = Ask::parse(request.target());
                let ask = &mut cx.asks[key];
                let (method, has_body) = ask.at_hop(hop);
                assert_eq!(request.method(), method, "{ask:?} at {hop}");
                assert!(hop <= ask.hops, "a hop too many: {ask:?}");
                ask.arrivals.push((conn, id, hop));
                self.handed_out += 1;
                let mut job = Job {
                    conn,
                    id,
                    key,
                    hop,
                    arrived: 0,
                    is_read: !request.body_follows(),
                    wait: cx.chance.pick(&[0, 0, 0, 2, 20]),
                    tries: 0,
                    sent: None,
                    is_done: false,
                };
                if cx.is_liveness {
                    job.wait = 0;
                }
                job.compare(request.body(), ask);
                let is_whole = job.arrived == ask.body_len || !has_body;
                assert!(!job.is_read || is_whole, "{} bytes: {ask:?}", job.arrived);
                self.jobs.push(job);
                self.check_pipeline(conn, cx);
            }
            Event::HttpBodyChunk { conn, id, data, last } => {
                let found = self.jobs.iter_mut().find(|job| job.conn == conn && job.id == id);
                let Some(job) = found else { return };
                let ask = &cx.asks[job.key];
                job.compare(data, ask);
                job.is_read = last;
                assert!(!last || job.arrived == ask.body_len, "{} bytes: {ask:?}", job.arrived);
            }
            Event::StreamFrame { conn, .. } | Event::ReadClosed { conn, .. } => {
                assert!(self.upgraded.contains(&conn), "a stream that is none: {event:?}");
                let _ = sender.close(conn);
            }
            _ => {}
        }
        self.jobs.retain(|job| !(job.is_done && job.is_read));
    }

    /// No more requests are under way on a connection than the pool says, and behind others only
    /// what may be.
    fn check_pipeline(&self, conn: ConnId, cx: &Cx) {
        // Where the server's patience is short it answers by itself.
        if self.conns[&conn] != cx.patient {
            return;
        }
        let is_due = |job: &&Job| job.conn == conn && !job.is_whole(&cx.asks[job.key]);
        let jobs = || self.jobs.iter().filter(is_due);
        let count = jobs().count();
        for job in jobs() {
            let ask = &cx.asks[job.key];
            let max = cx.pools[ask.pool].pipeline;
            assert!(count <= max, "{count} requests, {max} may be: {ask:?}");
            assert!(count == 1 || ask.at_hop(job.hop).0.is_safe(), "behind others: {ask:?}");
        }
    }

    /// Connections of a pool to a host that have something of a living request: no more than may
    /// be. Where requests are sent again, some are on a connection that the client has left.
    pub(super) fn check_conns(&self, cx: &Cx) {
        let mut busy: Vec<(usize, EndpointId, ConnId)> = Vec::new();
        for job in &self.jobs {
            let ask = &cx.asks[job.key];
            let is_current = ask.arrivals.last() == Some(&(job.conn, job.id, job.hop));
            let is_alive = !job.is_whole(ask) && ask.end.is_none() && ask.status == 0 && is_current;
            let config = &cx.pools[ask.pool];
            if is_alive && !config.retry_idempotent && config.pipeline == 1 {
                busy.push((ask.pool, self.conns[&job.conn], job.conn));
            }
        }
        busy.sort_unstable();
        busy.dedup();
        for group in busy.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let max = cx.pools[group[0].0].max_connections_per_host;
            assert!(group.len() <= max, "{max} connections may be: {group:?}");
        }
    }

    fn act(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        let is_hasty = !cx.is_liveness && cx.chance.once_in(400);
        if is_hasty && let Some(conn) = self.conns.keys().next() {
            let _ = sender.close(*conn);
        }
        for job in &mut self.jobs {
            if job.is_done || job.wait > 0 {
                job.wait = job.wait.saturating_sub(1);
                continue;
            }
            let ask = &cx.asks[job.key];
            let is_last_hop = job.hop == ask.hops;
            let is_early = is_last_hop && ask.reply == Reply::Early;
            let is_late = is_last_hop && ask.reply == Reply::Late && !cx.is_liveness;
            if !(job.is_read || is_early) || is_late {
                continue;
            }
            if is_last_hop && ask.reply == Reply::Drop {
                let _ = sender.close(job.conn);
                job.is_done = true;
            } else if job.sent.is_none() {
                job.begin(sender, ask, &cx.origins, &mut self.upgraded);
            } else {
                let max = cx.chance.pick(&[1, 100, 3_000, 200_000]);
                job.go_on(sender, ask, max);
            }
        }
        self.jobs.retain(|job| !(job.is_done && job.is_read));
    }
}

impl Job {
    /// Whether the client may have all of the answer.
    fn is_whole(&self, ask: &Ask) -> bool {
        let is_head = ask.at_hop(self.hop).0 == HttpMethod::Head;
        let is_known = ask.reply == Reply::StreamOf;
        let len = ask.answer(self.hop).len();
        self.is_done || self.sent.is_some_and(|sent| is_head || is_known && sent == len)
    }

    fn compare(&mut self, data: &[u8], ask: &Ask) {
        let end = self.arrived + data.len();
        assert_eq!(ask.body().get(self.arrived..end), Some(data), "the body of {ask:?}");
        self.arrived = end;
    }

    fn begin(
        &mut self,
        sender: &mut Sender<'_>,
        ask: &Ask,
        origins: &[String],
        upgraded: &mut Vec<ConnId>,
    ) {
        let is_last_hop = self.hop == ask.hops;
        match ask.respond(sender, (self.conn, self.id), self.hop, origins) {
            Ok(()) if is_last_hop && ask.reply.is_streamed() => self.sent = Some(0),
            Ok(()) => {
                if is_last_hop && ask.reply == Reply::Upgrade {
                    upgraded.push(self.conn);
                }
                self.is_done = true;
            }
            Err(_) => self.again(sender),
        }
    }

    fn go_on(&mut self, sender: &mut Sender<'_>, ask: &Ask, max: usize) {
        let whole = ask.answer(self.hop);
        let sent = self.sent.unwrap_or_default();
        if ask.reply == Reply::Cut && sent >= whole.len() / 2 {
            let _ = sender.close(self.conn);
            self.is_done = true;
            return;
        }
        let rest = &whole[sent..];
        if rest.is_empty() {
            match sender.http_finish(self.conn, self.id) {
                Ok(()) => self.is_done = true,
                Err(_) => self.again(sender),
            }
            return;
        }
        match sender.http_write(self.conn, self.id, &rest[..rest.len().min(max)]) {
            Ok(n) => self.sent = Some(sent + n),
            // Others are before it.
            Err(_) => self.wait = 1,
        }
    }

    /// It is tried again, not for ever.
    fn again(&mut self, sender: &mut Sender<'_>) {
        self.tries += 1;
        self.wait = 2;
        if self.tries > TRIES_MAX {
            let _ = sender.close(self.conn);
            self.is_done = true;
        }
    }
}

/// What servers saw of a request, when it is over.
pub(super) fn check(ask: &Ask, config: &HttpPoolConfig) {
    for hop in 0..=ask.hops {
        let method = ask.at_hop(hop).0;
        let is_streamed = ask.is_streamed() && hop == 0;
        let is_harmless = config.retry_idempotent && method.is_idempotent() && !is_streamed;
        // The response before it said that nothing else would be read, when it had been.
        let is_behind = config.pipeline > 1 && method.is_safe();
        let max = if is_harmless || is_behind { 2 } else { 1 };
        let count = ask.arrivals.iter().filter(|(.., at)| *at == hop).count();
        assert!(count <= max, "handed out {count} times: {ask:?}");
    }
    if let Some(End::Failed(failure)) = ask.end {
        let is_known = ask.arrivals.is_empty() || failure.was_sent;
        assert!(is_known, "it was sent: {ask:?}");
    }
}
