//! HTTP/1.1 clients: pools of connections, and the requests that are under way on them.
//!
//! ```text
//! http_request ─▶ order, in the pool's queue ─ drive ─▶ a connection: send queue ─▶ bytes
//!                        ▲        │ none is free: dial                               │
//!                        │        ▼                                                  ▼
//!                  retry, redirect ◀── ends ◀── failed        HttpResponse ◀── machine ◀── bytes
//! ```
//!
//! Role: what happens on the connections of pools, and what follows for their requests. Not role:
//! which connection gets which request (`proto::http`'s book), parsing (`proto::http_client`).
//!
//! *Invariants*
//! - Every accepted request has exactly one end: its last chunk, a response without one, or one
//!   `HttpFailed`; or it was cancelled.
//! - A connection is free for the next request when the last event of the one before was handed
//!   out: what the application says of the connection until then is meant for that.
//! - Connections are made, and requests sent, by [`Engine::run_http_clients`] and by the
//!   application's calls alone, never from within a completion.
//! - A connection of a pool gives no `Connected` and no `Disconnected`, unless it became a stream
//!   of the application's.

mod calls;
mod conns;
mod dial;
mod drive;
mod ends;
mod pools;
mod redirects;
mod requests;
mod responses;
mod send;
mod stream;
mod time;

use std::collections::VecDeque;

use super::Engine;
use crate::conn::Conn;
use crate::http::ResponseFlags;
use crate::ids::ConnId;
use crate::proto::App;
use crate::proto::http_client::HttpClient;
use crate::time::Time;
use pools::Pools;
use requests::Requests;

/// What the HTTP clients of a shard share.
#[derive(Default)]
pub(super) struct Clients {
    pools: Pools,
    requests: Requests,
    /// Requests of which something is to be told that is no queued event, so that there is always
    /// room for it.
    notices: VecDeque<u64>,
    /// Connections that are over, whose places can be freed.
    ended: Vec<ConnId>,
    /// Values are serialised here.
    scratch: Vec<u8>,
    /// The response that was handed out last: its request, its head's length, its flags.
    current: Option<(u64, u16, ResponseFlags)>,
    /// Where redirects lead is put together here.
    url_scratch: String,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// What was handed out last is not current any more.
    #[inline]
    pub(super) const fn forget(&mut self) {
        self.current = None;
    }

    /// Whether `next_event` has something of theirs to hand out.
    pub(super) fn has_notice(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Whether there is something to do that no completion will announce.
    pub(super) fn has_work(&self) -> bool {
        !self.ended.is_empty() || self.pools.is_due()
    }

    /// When something falls due.
    pub(super) fn next_due(&self) -> Time {
        self.pools.next_due()
    }

    /// Whether no request is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.requests.used() == 0
    }
}

/// The machine of a pool's connection.
pub(super) const fn client(conn: &mut Conn) -> Option<&mut HttpClient> {
    match &mut conn.app {
        App::HttpClient(machine) => Some(machine),
        App::Raw | App::Framed(_) | App::Http1(_) | App::Quic(_) | App::Preface(_) => None,
    }
}

impl Engine {
    /// Does what is due: connections that ended, times that passed, requests that can be sent.
    pub(super) fn run_http_clients(&mut self) {
        if self.clients.pools.is_empty() {
            return;
        }
        self.free_ended();
        self.run_client_timers();
        while let Some(pool) = self.clients.pools.take_due() {
            self.drive(pool);
        }
    }

    /// Frees the places of connections that are over.
    fn free_ended(&mut self) {
        while let Some(id) = self.clients.ended.pop() {
            let Some(conn) = self.conns.find(id) else { continue };
            if conn.has(crate::conn::Flags::MUTED) {
                self.lists.muted -= 1;
            }
            crate::trace::conn_ended(id, conn.code, conn.is_clean);
            self.conns.remove(id.index());
            self.lists.endpoint_work = true;
        }
    }
}
