//! Connections for a pool: made, through a proxy and behind TLS where that is so, until requests
//! can be sent on them.
//!
//! ```text
//! dial ─▶ socket ──────────────────────▶ open            http
//!           ├────────────▶ TLS ────────▶ open            https
//!           └─ CONNECT ──▶ TLS ────────▶ open            https through a proxy
//! ```
//!
//! *Invariant*: until a connection is open its pool gives it no request.

use std::rc::Rc;
use std::time::Duration;

use super::client;
use crate::code;
use crate::config::{ConnTimeouts, HostOrAddr, PoolTls, TcpConnectConfig, UdsConnectConfig};
use crate::conn::{Flags, Phase};
use crate::engine::Engine;
use crate::error::Result;
use crate::http::{HttpMethod, HttpUrl};
use crate::ids::ConnId;
use crate::pool::HEADROOM;
use crate::proto::App;
use crate::proto::http::{HostKind, Out, Route, tunnel_head};
use crate::proto::http_client::{Asked, HttpClient};
use crate::proto::tls::Start;

/// What a limit of no length stands for.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

impl Engine {
    /// Begins a connection to a host of a pool.
    pub(super) fn client_dial(&mut self, pool: u32, host: u32, member: u32) -> Result<ConnId> {
        let none = ConnId::from_u64(0);
        let Some(found) = self.clients.pools.get(pool) else { return Ok(none) };
        let (shared, config) = (Rc::clone(&found.shared), Rc::clone(&found.config));
        let tls = Option::clone(&found.tls);
        let (kind, origin) = found.origin(host);
        found.stats.connects += 1;
        let url = HttpUrl::parse(&origin)?;
        let route = match kind {
            HostKind::Proxy => Route::Direct,
            kind => Route::of(config.proxy.as_ref(), &url, kind.is_tunnel()),
        };
        let mut machine = Box::new(HttpClient::new(shared, pool, member));
        let start = match kind {
            HostKind::Https => start(tls.as_ref(), &url)?,
            _ => None,
        };
        let connect_timeout = match config.connect_timeout_ms {
            0 => NO_LIMIT,
            ms => Duration::from_millis(ms),
        };
        machine.tunnel_until = self.now.saturating_add(connect_timeout);
        let app = App::HttpClient(machine);
        // A server that reads nothing is as late as one that sends nothing.
        let write = (config.body_timeout_ms > 0).then_some(config.body_timeout_ms);
        let write = write.map(Duration::from_millis);
        let timeouts = ConnTimeouts { idle: None, read: None, write };
        if let Some(path) = &config.unix_socket {
            let uds = UdsConnectConfig::new(path);
            return self.uds_dial(
                UdsConnectConfig { connect_timeout, timeouts, ..uds },
                app,
                start,
            );
        }
        let tcp = TcpConnectConfig::new(target(&route.peer(url)));
        self.tcp_dial(TcpConnectConfig { connect_timeout, timeouts, ..tcp }, app, start)
    }

    pub(in crate::engine) fn is_client(&mut self, index: u32) -> bool {
        client(self.conns.at(index)).is_some()
    }

    /// The socket is connected, or TLS is on it. Whether it is a pool's connection.
    pub(in crate::engine) fn client_opened(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let is_sealed = conn.has(Flags::TLS);
        let Some(machine) = client(conn) else { return false };
        let is_tunnelled = machine.is_tunnelled;
        let needs_tunnel =
            !is_tunnelled && self.origin_of(index).is_some_and(|(_, kind, _)| kind.is_tunnel());
        if needs_tunnel {
            self.ask_proxy(index);
        } else if is_sealed && !self.speaks_http1(index) {
            self.begin_end(index, code::HTTP_VERSION, false);
        } else {
            self.book_opened(index);
        }
        true
    }

    /// Whether TLS agreed on HTTP/1.1, or on nothing (RFC 7301).
    fn speaks_http1(&mut self, index: u32) -> bool {
        let id = self.conns.at(index).id(index);
        self.alpn(id).is_none_or(|name| name == b"http/1.1" || name == b"http/1.0")
    }

    /// Asks the proxy for a tunnel (RFC 9110 §9.3.6).
    fn ask_proxy(&mut self, index: u32) {
        let now = self.now;
        let Some((pool, _, origin)) = self.origin_of(index) else { return };
        let Some(config) = self.clients.pools.get(pool).map(|pool| Rc::clone(&pool.config)) else {
            return;
        };
        let Ok(url) = HttpUrl::parse(&origin) else { return };
        let Route::Tunnel(proxy) = Route::of(config.proxy.as_ref(), &url, true) else { return };
        let head = tunnel_head(proxy, url);
        let Some((buf, end)) = self.http_room(index, head.len_max(), false) else {
            return self.begin_end(index, crate::sys::errno::ENOBUFS as u64, false);
        };
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        head.write(&mut out);
        let len = out.len();
        self.queue_written(index, (buf, end), len, false);
        let Some(machine) = client(self.conns.at(index)) else { return };
        let method = HttpMethod::Connect;
        machine
            .ask(Asked { key: 0, hop: 0, method, upgrades: false, is_tunnel: true, from: 0 }, now);
        self.arm_conn_timer(index);
    }

    /// The proxy opened the tunnel: TLS follows, with the server behind it, or the requests do.
    pub(super) fn client_opened_by_proxy(&mut self, index: u32) {
        let Some((pool, kind, origin)) = self.origin_of(index) else { return };
        let tls = self.clients.pools.get(pool).and_then(|pool| Option::clone(&pool.tls));
        if !kind.is_tls() {
            self.client_opened(index);
            return;
        }
        match HttpUrl::parse(&origin).map(|url| start(tls.as_ref(), &url)) {
            Ok(Ok(Some(tls))) => {
                self.secure(index, tls, true);
                self.shake(index);
                self.settle_recv(index);
            }
            _ => self.begin_end(index, code::TLS_HANDSHAKE_EOF, false),
        }
    }

    /// The pool of a connection, and what it is to reach.
    fn origin_of(&mut self, index: u32) -> Option<(u32, HostKind, String)> {
        let machine = client(self.conns.at(index))?;
        let (pool, member) = (machine.pool, machine.member);
        let found = self.clients.pools.get(pool)?;
        let (kind, origin) = found.origin(found.book.host_of(member));
        Some((pool, kind, origin))
    }

    /// Whether a connection is still being made.
    pub(super) fn is_dialing(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        conn.phase < Phase::Open || conn.has(Flags::SHAKING)
    }
}

/// TLS towards an origin.
fn start(tls: Option<&PoolTls>, origin: &HttpUrl<'_>) -> Result<Option<Start>> {
    match tls {
        Some(tls) => Ok(Some(Start::client(tls, Some(&target(origin)))?)),
        None => Ok(None),
    }
}

/// Host and port of a URL, to be connected to.
fn target(url: &HttpUrl<'_>) -> HostOrAddr {
    match url.ip() {
        Some(ip) => HostOrAddr::Addr((ip, url.port()).into()),
        None => HostOrAddr::Host(url.host().to_owned(), url.port()),
    }
}
