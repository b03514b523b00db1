//! What a node is told, held against the model.

use zero_io::{Event, PeerAddr, Protocol, Sender};

use super::Cx;
use super::model::{Ended, ReadEnd};
use super::node::State;
use super::{lives, past};

impl State {
    pub(super) fn on_event(&mut self, event: Event<'_>, sender: &mut Sender<'_>, cx: &mut Cx) {
        match event {
            Event::EarlyData { conn, accepted } => self.on_early(conn, accepted, cx),
            Event::Secured { conn, alpn } => {
                assert_eq!(alpn, Some(&b"sim"[..]));
                self.on_secured(conn, sender, cx);
            }
            Event::Connected { conn, endpoint, peer, protocol, alpn } => {
                assert_eq!((protocol, alpn), (Protocol::Quic, Some(&b"sim"[..])));
                assert!(!self.ended.contains(&conn), "Connected of {conn} after its end");
                if let Some(endpoint) = endpoint {
                    let known = &self.known[&endpoint];
                    let (limits, origin) = (known.limits, known.origin);
                    self.asked_count += u64::from(known.asks);
                    let plan = super::act::plan(cx);
                    let end = cx.model.add(false);
                    end.plan = plan;
                    limits.apply(end);
                    past::accept(end, origin);
                    assert!(self.conns.insert(conn, end.number).is_none(), "{conn} is in use");
                }
                let end = &mut cx.model.ends[self.conns[&conn]];
                assert_eq!(end.is_client, endpoint.is_none());
                assert!(!std::mem::replace(&mut end.is_connected, true), "two Connected");
                if let PeerAddr::Inet(peer) = peer
                    && end.is_client
                {
                    end.route.arrived(peer);
                }
                if cx.parts.returns {
                    self.tie(conn, sender, end);
                }
            }
            Event::StreamFrame { conn, stream, data, fin, .. } => {
                let target = super::act::len(cx);
                let end = self.living(conn, "StreamFrame", cx);
                let is_paused =
                    end.is_paused || end.reading.get(&stream).is_some_and(|r| r.is_paused);
                assert!(!is_paused || cx.is_liveness, "a frame while paused");
                let end = self.living(conn, "StreamFrame", cx);
                assert!(!end.is_pull, "a frame of {stream:?} that nobody asked for");
                end.heard_of(stream, target);
                let number = end.number;
                cx.model.frame(number, stream, data, fin);
            }
            Event::Readable { conn, stream } => {
                let target = super::act::len(cx);
                let end = self.living(conn, "Readable", cx);
                end.heard_of(stream, target);
                super::wide::readable(end, stream);
            }
            Event::ReadClosed { conn, stream } => {
                let target = super::act::len(cx);
                let end = self.living(conn, "ReadClosed", cx);
                end.heard_of(stream, target);
                let number = end.number;
                cx.model.read_end(number, stream, ReadEnd::Closed);
            }
            Event::StreamReset { conn, stream, error_code } => {
                let target = super::act::len(cx);
                let end = self.living(conn, "StreamReset", cx);
                end.heard_of(stream, target);
                let number = end.number;
                cx.model.read_end(number, stream, ReadEnd::Reset(error_code));
            }
            Event::StopSending { conn, stream, error_code } => {
                let target = super::act::len(cx);
                let end = self.living(conn, "StopSending", cx);
                end.heard_of(stream, target);
                let (number, peer) = (end.number, end.peer);
                let sending = end.sending.get_mut(&stream).expect("a stream that we send on");
                assert!(sending.stopped.is_none(), "stopped twice: {stream:?} of {number}");
                assert!(!sending.is_done, "stopped when all of it had arrived");
                sending.stopped = Some(error_code);
                let reading = peer.and_then(|peer| cx.model.ends[peer].reading.get(&stream));
                if peer.is_some() {
                    let by_peer = reading.and_then(|reading| reading.stopped);
                    assert_eq!(by_peer, Some(error_code), "{stream:?} of {number}");
                }
            }
            Event::StreamFinished { conn, stream } => {
                let end = self.living(conn, "StreamFinished", cx);
                end.heard_of(stream, 0);
                let sending = end.sending.get_mut(&stream).expect("a stream that we send on");
                let is_due = sending.is_finished && sending.stopped.is_none();
                assert!(is_due && !sending.is_done, "StreamFinished: {sending:?}");
                sending.is_done = true;
            }
            Event::Writable { conn, stream, credit } => {
                let end = self.living(conn, "Writable", cx);
                let sending = end.sending.get_mut(&stream).expect("a stream that we send on");
                assert!(credit > 0 && sending.is_blocked, "Writable: {sending:?}");
                sending.is_blocked = false;
            }
            Event::StreamsAvailable { conn, dir } => {
                let end = self.living(conn, "StreamsAvailable", cx);
                let wanted = &mut end.wants[dir as usize];
                assert!(std::mem::take(wanted), "StreamsAvailable of {conn}");
            }
            Event::Datagram { conn, data } => {
                let number = self.living(conn, "Datagram", cx).number;
                cx.model.datagram(number, data);
            }
            Event::PathMigration { conn, old_peer, new_peer } => {
                let end = self.living(conn, "PathMigration", cx);
                assert!(!end.is_client && old_peer != new_peer, "{old_peer} {new_peer}");
                let addr = sender.peer_addr(conn).ok();
                assert_eq!(addr, Some(PeerAddr::Inet(new_peer)));
            }
            Event::Disconnected { conn, error_code: code, clean, .. } => {
                assert!(self.ended.insert(conn), "two Disconnected of {conn}");
                // Of one that was accepted, nothing was told before.
                let Some(number) = self.conns.remove(&conn) else { return };
                let end = &mut cx.model.ends[number];
                end.ended = Some(Ended { code, clean });
                lives::check_forgotten(end);
                cx.model.check_windows(number);
            }
            Event::PoolPressure { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
