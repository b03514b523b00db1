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
use super::pools::Host;
use crate::code;
use crate::config::{ConnTimeouts, PoolTls, TcpConnectConfig, UdsConnectConfig};
use crate::conn::{Flags, Phase};
use crate::engine::Engine;
use crate::error::Result;
use crate::http::HttpMethod;
use crate::ids::ConnId;
use crate::pool::HEADROOM;
use crate::proto::App;
use crate::proto::http::{BodyLen, Out, Parts, RequestHead};
use crate::proto::http_client::{Asked, HttpClient};
use crate::proto::tls::Start;

/// What a limit of no length stands for.
const NO_LIMIT: Duration = Duration::from_secs(u32::MAX as u64);

impl Engine {
    /// Begins a connection to a host of a pool.
    pub(super) fn client_dial(&mut self, pool: u32, host: u32) -> Result<ConnId> {
        let Some(found) = self.clients.pools.get(pool) else { return Ok(ConnId::from_u64(0)) };
        let (shared, config) = (Rc::clone(&found.shared), Rc::clone(&found.config));
        let tls = found.tls.clone();
        found.stats.connects += 1;
        let to = found.host(host);
        let app = App::HttpClient(Box::new(HttpClient::new(shared, pool, host)));
        let is_direct = to.is_https && !to.is_tunnelled();
        let start = if is_direct { start(tls.as_ref(), &to)? } else { None };
        let connect_timeout = match config.connect_timeout_ms {
            0 => NO_LIMIT,
            ms => Duration::from_millis(ms),
        };
        let write = (config.body_timeout_ms > 0).then(|| {
            // A server that reads nothing is as late as one that sends nothing.
            Duration::from_millis(config.body_timeout_ms)
        });
        let timeouts = ConnTimeouts { idle: None, read: None, write };
        if let Some(path) = &config.unix_socket {
            let uds = UdsConnectConfig::new(path);
            return self.uds_dial(UdsConnectConfig { connect_timeout, timeouts, ..uds }, app, start);
        }
        let tcp = TcpConnectConfig::new(to.socket());
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
        let (pool, host, is_tunnelled) = (machine.pool, machine.host, machine.is_tunnelled);
        let Some(pool) = self.clients.pools.get(pool) else { return true };
        let needs_tunnel = pool.host(host).is_tunnelled() && !is_tunnelled;
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
        let Some((_, to)) = self.host_of(index) else { return };
        let Some(proxy) = &to.proxy else { return };
        let authority = to.authority();
        let head = RequestHead {
            method: HttpMethod::Connect,
            url: proxy.url(),
            host: "",
            upgrade: "",
            tunnel: &authority,
            parts: Parts::Lines { lines: &[], is_compressible: false },
            body: BodyLen::None,
            expects: false,
            is_absolute: false,
            proxy_authorization: proxy.authorization(),
            close: false,
        };
        let Some((buf, end)) = self.http_room(index, head.len_max(), false) else {
            return self.begin_end(index, crate::sys::errno::ENOBUFS as u64, false);
        };
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        head.write(&mut out);
        let len = out.len();
        self.queue_written(index, (buf, end), len, false);
        let Some(machine) = client(self.conns.at(index)) else { return };
        let method = HttpMethod::Connect;
        machine.ask(Asked { key: 0, hop: 0, method, upgrades: false, is_tunnel: true, from: 0 }, now);
        self.arm_conn_timer(index);
    }

    /// The proxy opened the tunnel: TLS follows, with the server behind it.
    pub(super) fn client_opened_by_proxy(&mut self, index: u32) {
        let Some((tls, to)) = self.host_of(index) else { return };
        match start(tls.as_ref(), &to) {
            Ok(Some(tls)) => {
                self.secure(index, tls, true);
                self.shake(index);
                self.settle_recv(index);
            }
            Ok(None) | Err(_) => self.begin_end(index, code::TLS_HANDSHAKE_EOF, false),
        }
    }

    fn host_of(&mut self, index: u32) -> Option<(Option<PoolTls>, Rc<Host>)> {
        let machine = client(self.conns.at(index))?;
        let (pool, host) = (machine.pool, machine.host);
        let pool = self.clients.pools.get(pool)?;
        Some((pool.tls.clone(), pool.host(host)))
    }

    /// Whether a connection is still being made.
    pub(super) fn is_dialing(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        conn.phase < Phase::Open || conn.has(Flags::SHAKING)
    }
}

/// TLS towards a host, if that is spoken.
fn start(tls: Option<&PoolTls>, to: &Host) -> Result<Option<Start>> {
    match tls {
        Some(tls) if to.is_https => Ok(Some(Start::client(tls, Some(&to.target()))?)),
        _ => Ok(None),
    }
}
