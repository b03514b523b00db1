//! What comes before a connection's own protocol: the header of a proxy that says who it is.
//!
//! ```text
//! accepted ─▶ preface ── header read ─▶ TLS, or announced: as a connection without one begins
//!                │ bad, cut, late
//!                └──────────▶ PROXY_HEADER
//! ```
//!
//! Role: who has to send one, what follows from it. Not role: reading it (`proto::proxy`).
//!
//! *Invariants*
//! - Of a peer that is not trusted no header is read, whatever it sends.
//! - Nobody hears of the connection, and nothing behind the header is looked at, before all of it
//!   was read.

use std::time::Duration;

use super::Engine;
use crate::config::{ConnTimeouts, Untrusted};
use crate::conn::Flags;
use crate::error::Result;
use crate::ids::{ConnId, Protocol};
use crate::proto::App;
use crate::proto::preface::{Introduced, Next, Preface};
use crate::proto::proxy::Client;
use crate::proto::tls::Acceptor;
use crate::ring::Fd;
use crate::sys::addr::SockAddr;
use crate::time::Time;
use crate::transport::Listener;

/// How a connection that was accepted begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Greets {
    /// As what it is.
    Directly,
    /// With a header that has to be there within that time.
    Within(Duration),
    /// Not at all.
    Refused,
}

/// How a connection of that peer begins at that listener.
pub(super) fn greets(listener: &Listener, protocol: Protocol, peer: &SockAddr) -> Greets {
    let Some(proxy) = &listener.terms.proxy else { return Greets::Directly };
    let addr = peer.ip().map(|addr| addr.ip());
    let is_known = protocol == Protocol::Uds || addr.is_some();
    match proxy.untrusted {
        _ if is_known && proxy.trusts(addr) => Greets::Within(proxy.timeout),
        Untrusted::Direct => Greets::Directly,
        Untrusted::Refuse => Greets::Refused,
    }
}

/// Who spoke for the peers of connections that are there, by their places. Empty until there is
/// one.
#[derive(Default)]
pub(super) struct Proxied {
    places: Vec<Option<Box<Via>>>,
}

/// How a connection came here.
#[derive(Debug)]
pub(crate) struct Via {
    /// The other end of the socket.
    pub(crate) proxy: SockAddr,
    /// What it said.
    pub(crate) said: Introduced,
}

impl Engine {
    /// Begins with a connection that has a header before all else.
    pub(super) fn begin_preface(&mut self, index: u32, fd: Fd, next: Next, timeout: Duration) {
        let conn = self.conns.at(index);
        // Its own limits begin with its own protocol.
        conn.configure(App::Preface(Box::new(Preface::new(next))), ConnTimeouts::default());
        conn.set(Flags::SHAKING);
        self.opened(index, fd);
        let due = self.now.saturating_add(timeout);
        self.conns.at(index).deadline = due;
        self.arm_conn_timer(index);
    }

    /// The header was read: the connection begins, and is announced if there is no TLS to come
    /// first. There is room for that.
    pub(super) fn begin_behind_preface(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let App::Preface(preface) = std::mem::replace(&mut conn.app, App::Raw) else { return };
        let Some((said, next)) = preface.finish() else { return };
        conn.unset(Flags::SHAKING);
        conn.deadline = Time::MAX;
        (conn.last_rx, conn.last_tx) = (now, now);
        conn.configure(App::new(next.speaks), next.timeouts);
        let proxy = conn.peer;
        match said.client {
            Client::Inet(client) => conn.peer = client.into(),
            Client::Unix => conn.peer = SockAddr::unix(),
            Client::Unknown | Client::Itself => {}
        }
        self.stats.proxied += 1;
        if said.client != Client::Itself {
            self.proxied.keep(index, Via { proxy, said });
        }
        if let Some(code) = self.secure_accepted(index, next.tls.as_deref().map(Acceptor::start)) {
            return self.begin_end(index, code, false);
        }
        self.arm_conn_timer(index);
        self.announce(index);
    }

    /// The stream ended. Whether that was before its header.
    pub(super) fn is_preface_cut(&mut self, index: u32) -> bool {
        let is_cut = matches!(self.conns.at(index).app, App::Preface(_));
        if is_cut {
            self.begin_end(index, crate::code::PROXY_HEADER, false);
        }
        is_cut
    }

    /// A connection begins to end: counts it, if that is before its header was read.
    pub(super) fn note_preface_end(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if let App::Preface(preface) = &conn.app {
            self.stats.proxy_refused += 1;
            let why = preface.lacks().unwrap_or_default();
            crate::trace::proxy_refused(conn.id(index), why);
        }
    }

    /// The connection is gone.
    pub(super) fn forget_proxy(&mut self, index: u32) {
        if let Some(place) = self.proxied.places.get_mut(index as usize) {
            *place = None;
        }
    }

    /// The connection goes to another shard, and who spoke for it with it.
    pub(in crate::engine) fn take_via(&mut self, index: u32) -> Option<Box<Via>> {
        self.proxied.places.get_mut(index as usize)?.take()
    }

    /// It came from another shard.
    pub(in crate::engine) fn keep_via(&mut self, index: u32, via: Option<Box<Via>>) {
        if let Some(via) = via {
            self.proxied.keep(index, *via);
        }
    }

    /// Who spoke for the connection's peer.
    pub(crate) fn via(&mut self, conn: ConnId) -> Result<Option<&Via>> {
        self.conns.get(conn)?;
        let place = self.proxied.places.get(conn.index() as usize);
        Ok(place.and_then(Option::as_deref))
    }
}

impl Proxied {
    fn keep(&mut self, index: u32, via: Via) {
        let index = index as usize;
        if self.places.len() <= index {
            self.places.resize_with(index + 1, || None);
        }
        self.places[index] = Some(Box::new(via));
    }
}
