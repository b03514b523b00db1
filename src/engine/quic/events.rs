//! What connections tell, as events.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{session, socket_of};
use crate::config::MessageKind;
use crate::engine::Engine;
use crate::engine::end::Notice;
use crate::event::{Event, reason_bytes};
use crate::ids::{ConnId, EndpointId, PeerAddr, Protocol};
use crate::proto::quic::endpoint::Route;
use crate::proto::quic::signal::Signal;
use crate::sys::addr::SockAddr;

/// Events of one connection in a row, while others wait.
const TURN_EVENTS_MAX: u32 = 64;

impl Engine {
    /// What a connection that was on the list tells next; then it stays there.
    pub(in crate::engine) fn quic_notice(&mut self, id: ConnId) -> Option<Notice> {
        let Self { conns, quic, .. } = self;
        let session = conns.find(id).and_then(session)?;
        let Some(signal) = session.next(quic.shown.place()) else {
            session.is_listed = false;
            let wants_send = session.wants_send;
            self.quic.turn = 0;
            if wants_send {
                self.quic_dirty_conn(id);
            }
            self.quic_finish_graceful(id);
            return None;
        };
        self.quic.turn += 1;
        if self.quic.turn < TURN_EVENTS_MAX {
            self.lists.notices.push_front(id);
        } else {
            self.quic.turn = 0;
            let is_alone = self.lists.notices.is_empty();
            let flushes = is_alone && session.is_worth_sending();
            self.lists.notices.push_back(id);
            self.quic_dirty_conn(id);
            if flushes {
                self.quic_flush_early(id);
            }
        }
        Some(Notice::Quic { conn: id, signal })
    }

    /// Sends what one connection has so far, while there is more to be told of it alone: its peer
    /// works on that meanwhile, instead of waiting for all of it.
    fn quic_flush_early(&mut self, id: ConnId) {
        let Some(conn) = self.conns.find(id) else { return };
        let socket = socket_of(conn);
        self.quic_flush(socket);
    }

    /// What the connection whose turn it is tells next, the short way; `None` where there is a
    /// longer one.
    #[inline]
    pub(in crate::engine) fn quic_next_of_turn<'a>(&mut self) -> Option<Event<'a>> {
        let is_turn = self.quic.turn != 0 && self.quic.turn + 1 < TURN_EVENTS_MAX;
        if is_turn { self.quic_go_on() } else { None }
    }

    fn quic_go_on<'a>(&mut self) -> Option<Event<'a>> {
        let Self { conns, quic, lists, .. } = self;
        let conn = *lists.notices.front()?;
        let session = conns.find(conn).and_then(session)?;
        if session.next_datagram(quic.shown.place()) {
            quic.turn += 1;
            return Some(Event::Datagram { conn, data: self.quic_show() });
        }
        let told = session.next(quic.shown.place());
        quic.turn += u32::from(told.is_some());
        // The frequent ones are taken where they lie: to move a signal costs more than to make it.
        Some(match told {
            None => return None,
            Some(Signal::Frame { stream, fin, .. }) => {
                let data = self.quic_show();
                Event::StreamFrame { conn, stream, kind: MessageKind::Binary, data, fin }
            }
            Some(Signal::ReadClosed(stream)) => Event::ReadClosed { conn, stream },
            Some(Signal::Finished(stream)) => Event::StreamFinished { conn, stream },
            Some(signal) => self.quic_event(conn, signal),
        })
    }

    /// The signal that was taken last, as an event.
    pub(in crate::engine) fn quic_event<'a>(&mut self, conn: ConnId, signal: Signal) -> Event<'a> {
        match signal {
            Signal::EarlyData(accepted) => Event::EarlyData { conn, accepted },
            Signal::Connected => self.quic_connected(conn),
            Signal::Secured => {
                self.quic_secured(conn);
                Event::Secured { conn, alpn: self.quic_alpn(conn) }
            }
            Signal::Frame { stream, fin, .. } => {
                let data = self.quic_show();
                Event::StreamFrame { conn, stream, kind: MessageKind::Binary, data, fin }
            }
            Signal::Readable(stream) => Event::Readable { conn, stream },
            Signal::ReadClosed(stream) => Event::ReadClosed { conn, stream },
            Signal::Writable(stream) => Event::Writable { conn, stream, credit: 1 },
            Signal::Finished(stream) => Event::StreamFinished { conn, stream },
            Signal::Reset { stream, error_code } => Event::StreamReset { conn, stream, error_code },
            Signal::Stop { stream, error_code } => Event::StopSending { conn, stream, error_code },
            Signal::Available(dir) => Event::StreamsAvailable { conn, dir },
            Signal::Datagram(()) => Event::Datagram { conn, data: self.quic_show() },
            Signal::Migrated { old, new } => {
                if let Some(entry) = self.conns.find(conn) {
                    entry.peer = SockAddr::from(new);
                }
                Event::PathMigration { conn, old_peer: old, new_peer: new }
            }
            Signal::Lost { code, clean, .. } => self.quic_lost(conn, code, clean),
        }
    }

    fn quic_connected<'a>(&mut self, conn: ConnId) -> Event<'a> {
        self.quic_opened(conn);
        let entry = self.conns.find(conn);
        let (endpoint, peer) = entry.map_or((0, None), |c| (c.endpoint, c.peer.ip()));
        // Of our own connections on a listener's socket too it is not said.
        let is_accepted =
            self.conns.find(conn).and_then(session).is_some_and(|session| session.is_accepted());
        let endpoint = is_accepted.then(|| EndpointId::from_u64(endpoint));
        let alpn = self.quic_alpn(conn);
        let peer = peer.map_or(PeerAddr::Unix, PeerAddr::Inet);
        Event::Connected { conn, endpoint, peer, protocol: Protocol::Quic, alpn }
    }

    fn quic_alpn<'a>(&mut self, conn: ConnId) -> Option<&'a [u8]> {
        let alpn = self.conns.find(conn).and_then(session).and_then(|session| session.alpn());
        let alpn: Bytes = alpn?.into();
        *self.quic.shown.place() = alpn;
        let alpn = self.quic_show();
        // Nothing of it is to be kept.
        self.quic.shown_at = 0;
        Some(alpn)
    }

    /// The last event of a connection that was not closed here.
    fn quic_lost<'a>(&mut self, conn: ConnId, code: u64, clean: bool) -> Event<'a> {
        crate::trace::conn_ended(conn, code, clean);
        self.quic_retire(conn);
        let user_data = self.conns.at(conn.index()).user_data;
        self.conns.remove(conn.index());
        // A listener may have waited for the place.
        self.lists.endpoint_work = true;
        let words = self.quic.shown.place();
        let reason = match words.is_empty() {
            true => reason_bytes(code),
            false => {
                // They are not left in a receive buffer.
                *words = Bytes::copy_from_slice(words);
                self.quic_show()
            }
        };
        self.quic.shown_at = 0;
        Event::Disconnected { conn, error_code: code, reason, clean, user_data }
    }

    /// Lends out the payload that was taken last, which is kept until the next one is.
    #[inline]
    fn quic_show<'a>(&mut self) -> &'a [u8] {
        // The event is counted when it is handed out.
        self.quic.shown_at = self.stats.events + 1;
        // SAFETY: it is kept until the next event of QUIC is asked for, or the next tick, which the
        // caller's borrow excludes while the slice lives.
        unsafe { self.quic.shown.slice() }
    }

    /// The address of the socket, and the one that the peer knows where there are several.
    pub(in crate::engine) fn quic_local(&mut self, conn: ConnId) -> Option<SocketAddr> {
        let entry = self.conns.find(conn)?;
        let socket = socket_of(entry);
        let ip = session(entry)?.local_ip();
        let fd = self.endpoints.at(socket)?.fd;
        let mut addr = self.ring.local_addr(fd).ok()?.ip()?;
        if let Some(ip) = ip.filter(|_| addr.ip().is_unspecified()) {
            addr.set_ip(ip);
        }
        Some(addr)
    }

    /// The peer was heard of anew, or is to be.
    pub(super) fn quic_look(&mut self, conn: ConnId) {
        let Some(entry) = self.conns.find(conn) else { return };
        let socket = socket_of(entry);
        self.quic_settle(socket, Route::Conn(conn));
    }
}
