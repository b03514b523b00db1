//! A node that asks: pools, their requests, and whatever an application may do meanwhile.

use std::collections::BTreeMap;

use zero_io::{ConnId, Event, Events, HttpOwnedResponse, HttpPool, Io, IoError, RequestId, Sender};

use super::Cx;
use super::plan::{self, Ask, End};

/// Requests of a node that have no end yet.
const LIVE_MAX: usize = 24;
const POOLS_MAX: usize = 3;
const HELD_MAX: usize = 2;

pub(super) struct Asker {
    pub(super) io: Io,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    /// Those that take requests, with their numbers.
    pools: Vec<(usize, HttpPool)>,
    by_id: BTreeMap<RequestId, usize>,
    live: Vec<RequestId>,
    uploads: Vec<Upload>,
    paused: Vec<ConnId>,
    held: Vec<HttpOwnedResponse>,
    /// Connections that left their pools, and are not over.
    streams: Vec<ConnId>,
}

/// A body that is written piece by piece.
struct Upload {
    conn: ConnId,
    id: RequestId,
    key: usize,
    sent: usize,
    /// There was no room for more: others may have to let go of the server first.
    is_blocked: bool,
}

impl Asker {
    pub(super) fn new(io: Io) -> Self {
        Self { io, state: State::default() }
    }

    pub(super) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        let (mut events, mut sender) = self.io.split();
        for _ in 0..count_max {
            let Some(event) = events.next_event() else { break };
            if self.state.on_event(event, &mut sender, cx) {
                self.state.detach(&mut events);
            }
        }
    }

    pub(super) fn act(&mut self, cx: &mut Cx) {
        let (_, mut sender) = self.io.split();
        self.state.pools(&mut sender, cx);
        if cx.may_start && self.state.live.len() < LIVE_MAX && cx.chance.once_in(3) {
            for _ in 0..=cx.chance.below(3) {
                self.state.ask(&mut sender, cx);
            }
        }
        self.state.cancel(&mut sender, cx);
        self.state.hold_back(&mut sender, cx);
        self.state.upload(&mut sender, cx);
        self.state.held.truncate(if cx.is_liveness { 0 } else { HELD_MAX });
        self.state.check(&mut sender, cx);
    }

    pub(super) fn close_pools(&mut self) {
        for (_, pool) in std::mem::take(&mut self.state.pools) {
            self.io.http_pool_close(pool).expect("it is there");
        }
    }
}

impl State {
    pub(super) fn is_settled(&self) -> bool {
        self.live.is_empty() && self.streams.is_empty()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.uploads.iter().any(|upload| !upload.is_blocked)
    }

    pub(super) fn describe(&self, cx: &Cx) -> String {
        let mut out = format!("\nclient: streams {:?} paused {:?}", self.streams, self.paused);
        for id in &self.live {
            let ask = &cx.asks[self.by_id[id]];
            out += &format!("\n  {id:?} {ask:?} {:?}", cx.pools[ask.pool]);
        }
        out
    }

    fn pools(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        let closes = !cx.is_liveness && cx.chance.once_in(150);
        if closes && let Some((_, pool)) = self.pools.pop() {
            sender.http_pool_close(pool).expect("it is there");
        }
        let max = if self.pools.is_empty() { 1 } else { POOLS_MAX };
        if self.pools.len() < max && cx.may_start && (max == 1 || cx.chance.once_in(20)) {
            let config = plan::limits(&mut cx.chance);
            // There are as many as there may be, those included that are being closed.
            let Ok(pool) = sender.http_pool(config.clone()) else { return };
            self.pools.push((cx.pools.len(), pool));
            cx.pools.push(config);
        }
    }

    fn ask(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        if self.pools.is_empty() {
            return;
        }
        let (number, pool) = cx.chance.pick(&self.pools);
        let ask = Ask::new(cx.asks.len(), number, cx.is_liveness, &mut cx.chance);
        let origin = &cx.origins[cx.chance.below(cx.origins.len())];
        match ask.send(sender, pool, origin) {
            Ok(id) => {
                assert!(self.by_id.insert(id, ask.key).is_none(), "{id:?} was used before");
                self.live.push(id);
                cx.asks.push(ask);
            }
            Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {}
            Err(IoError::BufferTooLarge { .. }) => {}
            Err(error) => panic!("http_request: {error}"),
        }
    }

    /// The request of an event that may come.
    fn living<'a>(&self, id: RequestId, what: &str, cx: &'a mut Cx) -> &'a mut Ask {
        let key = self.by_id.get(&id).unwrap_or_else(|| panic!("{what} of {id:?}"));
        let ask = &mut cx.asks[*key];
        assert!(ask.end.is_none(), "{what} behind the end of {id:?}: {ask:?}");
        ask
    }

    /// Whether what it has is to be kept.
    fn on_event(&mut self, event: Event<'_>, sender: &mut Sender<'_>, cx: &mut Cx) -> bool {
        match event {
            Event::HttpResponse { conn, id, response } => {
                let ask = self.living(id, "HttpResponse", cx);
                let number = ask.pool;
                let limit = cx.pools[number].redirects;
                let ask = self.living(id, "HttpResponse", cx);
                ask.on_response(response.status(), response.header("x-name"), limit);
                let is_upgrade = ask.reply == plan::Reply::Upgrade && response.status() == 101;
                assert_eq!(response.is_upgraded(), is_upgrade, "{ask:?}");
                ask.on_body(response.body(), !response.body_follows());
                if is_upgrade {
                    self.streams.push(conn);
                    let _ = sender.close(conn);
                }
                self.settle(id, cx);
                return self.held.len() < HELD_MAX && cx.chance.once_in(6);
            }
            Event::HttpBodyChunk { conn, id, data, last } => {
                let ask = self.living(id, "HttpBodyChunk", cx);
                ask.on_body(data, last);
                self.settle(id, cx);
                if !cx.is_liveness && cx.chance.once_in(8) && sender.pause_recv(conn).is_ok() {
                    self.paused.push(conn);
                }
            }
            Event::HttpFailed { id, failure } => {
                let ask = self.living(id, "HttpFailed", cx);
                ask.end = Some(End::Failed(failure));
                assert!(failure.code != 0, "it failed for a reason: {ask:?}");
                self.settle(id, cx);
            }
            Event::HttpReady { conn, id } => {
                let ask = self.living(id, "HttpReady", cx);
                assert!(ask.is_streamed(), "it has its body: {ask:?}");
                assert!(!std::mem::replace(&mut ask.was_ready, true), "two HttpReady");
                let key = ask.key;
                self.uploads.push(Upload { conn, id, key, sent: 0, is_blocked: false });
            }
            Event::Disconnected { conn, .. } => {
                let at = self.streams.iter().position(|of| *of == conn);
                let at = at.unwrap_or_else(|| panic!("{event:?} of nobody's stream"));
                self.streams.remove(at);
            }
            Event::StreamFrame { conn, .. } | Event::ReadClosed { conn, .. } => {
                assert!(self.streams.contains(&conn), "{event:?}");
            }
            Event::Writable { .. } | Event::PoolPressure { .. } | Event::SendDone { .. } => {}
            other => panic!("{other:?}"),
        }
        false
    }

    /// A request may be over.
    fn settle(&mut self, id: RequestId, cx: &Cx) {
        if cx.asks[self.by_id[&id]].end.is_some() {
            self.live.retain(|of| *of != id);
            self.uploads.retain(|upload| upload.id != id);
        }
    }

    fn detach(&mut self, events: &mut Events<'_>) {
        self.held.extend(events.detach_http_response());
    }

    fn cancel(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        if cx.is_liveness || self.by_id.is_empty() || !cx.chance.once_in(40) {
            return;
        }
        let ids: Vec<RequestId> = match cx.chance.once_in(5) {
            true => self.by_id.keys().copied().collect(),
            false => self.live.clone(),
        };
        if ids.is_empty() {
            return;
        }
        let id = cx.chance.pick(&ids);
        let ask = &mut cx.asks[self.by_id[&id]];
        let was_living = ask.end.is_none();
        assert_eq!(sender.http_cancel(id), was_living, "{ask:?}");
        ask.end = ask.end.or(Some(End::Cancelled));
        self.settle(id, cx);
    }

    fn hold_back(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        let is_over = cx.is_liveness;
        self.paused.retain(|conn| {
            let goes_on = is_over || cx.chance.once_in(10);
            if goes_on {
                let _ = sender.resume_recv(*conn);
            }
            !goes_on
        });
    }

    fn upload(&mut self, sender: &mut Sender<'_>, cx: &mut Cx) {
        self.uploads.retain_mut(|upload| {
            // It may be forgotten: then time ends the request.
            if !cx.is_liveness && cx.chance.once_in(200) {
                return false;
            }
            let rest = &cx.asks[upload.key].body()[upload.sent..];
            let len = rest.len().min(cx.chance.pick(&[1, 100, 3_000, 100_000]));
            let result = match rest.is_empty() {
                true => sender.http_finish(upload.conn, upload.id).map(|()| 0),
                false => sender.http_write(upload.conn, upload.id, &rest[..len]),
            };
            upload.is_blocked = !rest.is_empty() && result.as_ref().is_ok_and(|n| *n == 0);
            match result {
                Ok(n) => upload.sent += n,
                Err(IoError::PoolExhausted { .. } | IoError::QueueFull { .. }) => return true,
                Err(_) => return false,
            }
            !rest.is_empty()
        });
    }

    fn check(&self, sender: &mut Sender<'_>, cx: &Cx) {
        for (number, pool) in &self.pools {
            let (stats, config) =
                (sender.http_pool_stats(*pool).expect("open"), &cx.pools[*number]);
            assert!(stats.open <= config.max_connections, "{stats:?} {config:?}");
            assert!(stats.waiting <= LIVE_MAX + 3, "{stats:?} {config:?}");
            let accepted = cx.asks.iter().filter(|ask| ask.pool == *number).count();
            assert_eq!(stats.requests, accepted as u64, "{stats:?}");
        }
    }
}
