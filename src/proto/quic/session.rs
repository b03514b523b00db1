//! [`Session`]: one connection.
//!
//! ```text
//! on_input  on_timeout  calls of the application
//!     └─────────┴──────────┘
//!            settle            endpoint and connection agree; events become bounded state
//!     ┌─────────┼──────────┐
//! transmit    next      deadline
//! ```
//!
//! *Invariants*
//! - After any number of inputs, a timeout or calls comes one `settle`; nothing is told or sent in
//!   between.
//! - `Connected` precedes everything else that is told, and `Lost` follows it; after the
//!   application's own `close` nothing is told.

mod calls;
mod early;
mod husk;
mod preferred;
mod told;
mod writes;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{Connection, ConnectionId, Dir, Event, StreamEvent, Transmit};

use super::endpoint::{Endpoint, Handle, Input, Route, outgoing};
use super::lost::Lost;
use super::meter::Meter;
use super::pacer::{Pacer, Reins};
use super::parts::How;
use super::plain;
use super::reader::Reader;
use super::signal::{Outgoing, Settled, Signal};
use super::stall::Stall;
use super::streams::{Streams, own_dir, own_id, wire_dir, wire_id};
use super::time::Base;
use super::tls::Agreed;
use crate::ids::{ConnId, StreamDir};
use crate::stats::{ConnStats, EcnState, QuicStats};
use crate::time::Time;
use early::Early;
pub(crate) use husk::Husk;
use preferred::{Frames, Preferred};

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshaking,
    Open,
    /// The peer, or time, ended it: what had arrived is still told.
    Lost,
    /// The application closed it: nothing is told.
    Closed,
}

/// One connection.
pub(crate) struct Session {
    conn: Connection,
    handle: Handle,
    id: ConnId,
    base: Base,
    how: How,
    phase: Phase,
    streams: Streams,
    tail: writes::Tail,
    reader: Reader,
    /// What is told as it is. Bounded: of each kind one per stream, and that only after the
    /// application asked for it, or while the peer may not open another stream in its place.
    notes: VecDeque<Signal>,
    is_connected_due: bool,
    early: Early,
    /// The peer's address as the application knows it.
    told_peer: SocketAddr,
    /// It has another one by now.
    has_moved: bool,
    has_datagrams: bool,
    /// Something of a stream was told or written since there was last nothing to send.
    has_used_streams: bool,
    /// Datagrams and streams take turns.
    is_datagrams_turn: bool,
    is_paused: bool,
    lost: Option<Lost>,
    /// Datagrams that were taken for sending.
    datagrams_taken: u64,
    datagrams_dropped: u64,
    /// Datagrams that were handed out.
    pub(super) datagrams_told: u64,
    datagrams_lost: u64,
    ecn: EcnState,
    preferred: Option<Preferred>,
    /// Keeps to the rate of the congestion controller, if that names one.
    pacer: Option<Pacer>,
    stall: Stall,
    /// Of a client: the connection id that its first packets went to.
    first: Option<ConnectionId>,
    /// A timer that stays in the past is not looked at before.
    not_before: Time,
    /// Its endpoint has forgotten it, and the handle may be another's.
    is_gone: bool,
    /// The first packet that came of it closed it.
    is_stillborn: bool,
    /// It may have something to send: there was an input, a timeout or a call since `transmit` had
    /// nothing.
    pub(crate) wants_send: bool,
    /// The path refuses trains.
    pub(crate) no_gso: bool,
    /// On its socket's list of those with something to send.
    pub(crate) is_dirty: bool,
    /// On the list of those that took something in since they were settled.
    pub(crate) is_touched: bool,
    /// On the list of those with something to tell.
    pub(crate) is_listed: bool,
    #[cfg(test)]
    pieces: usize,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        conn: Connection,
        handle: Handle,
        id: ConnId,
        base: Base,
        how: How,
        reins: Option<Arc<Reins>>,
    ) -> Box<Self> {
        let (is_client, told_peer) = (conn.side().is_client(), conn.remote_address());
        let is_stillborn = conn.is_closed() && conn.stats().frame_rx.connection_close > 0;
        let stall = Stall::new(Meter::gate(conn.congestion_state()));
        Box::new(Self {
            conn,
            handle,
            id,
            base,
            how,
            phase: Phase::Handshaking,
            streams: Streams::new(is_client),
            tail: writes::Tail::default(),
            reader: Reader::new(how.is_pull),
            notes: VecDeque::new(),
            is_connected_due: false,
            early: Early::default(),
            told_peer,
            has_moved: false,
            has_datagrams: false,
            has_used_streams: false,
            is_datagrams_turn: false,
            is_paused: false,
            lost: None,
            datagrams_taken: 0,
            datagrams_dropped: 0,
            datagrams_told: 0,
            datagrams_lost: 0,
            pacer: reins.map(Pacer::new),
            stall,
            first: None,
            not_before: Time::ZERO,
            ecn: if how.ecn { EcnState::On } else { EcnState::Off },
            preferred: Preferred::new(how.preferred),
            is_gone: false,
            is_stillborn,
            wants_send: true,
            no_gso: !how.gso,
            is_dirty: false,
            is_touched: false,
            is_listed: false,
            #[cfg(test)]
            pieces: 0,
        })
    }

    // ---- in

    /// Takes in what its endpoint had for it.
    pub(crate) fn on_input(&mut self, input: Input) {
        let Input { event, local, plain } = input;
        if plain.is_some_and(|packet| !self.is_answer(&packet)) {
            return;
        }
        self.stall.on_input();
        let place = self.preferred.as_ref().zip(local).filter(|(known, ip)| known.is_new(*ip));
        let Some((_, local)) = place else {
            self.conn.handle_event(event);
            self.wants_send = true;
            return;
        };
        let before = Frames::of(&self.conn.stats().frame_rx);
        self.conn.handle_event(event);
        self.wants_send = true;
        let after = Frames::of(&self.conn.stats().frame_rx);
        if let Some(preferred) = &mut self.preferred {
            preferred.on_arrival(local, before, after);
        }
    }

    /// Whether a packet that is not protected may answer what was sent first, as it does a client.
    fn is_answer(&self, packet: &[u8]) -> bool {
        self.first.is_some_and(|first| plain::is_answer(packet, &first))
    }

    /// Its deadline has passed. Too early is harmless.
    pub(crate) fn on_timeout(&mut self, now: Time) {
        let was_stuck = self.not_before != Time::ZERO;
        let is_probe = !was_stuck && self.is_machine_due(now) && !self.is_confirmed();
        self.stall.on_timeout(now, is_probe);
        self.conn.handle_timeout(self.base.instant(now));
        // A probe that cannot be sent leaves its timer in the past once its backoff is at its
        // bound. It is looked at again after the granularity of RFC 9002 §6.1.2, not at once.
        let is_stuck = self.is_machine_due(now);
        self.not_before = if is_stuck { now.saturating_add(GRANULARITY) } else { Time::ZERO };
        if let Some(pacer) = &mut self.pacer {
            pacer.release(now);
        }
        self.wants_send = true;
    }

    fn is_machine_due(&mut self, now: Time) -> bool {
        self.conn.poll_timeout().is_some_and(|due| self.base.time(due) <= now)
    }

    /// Lets connection and endpoint agree and takes the events in.
    pub(crate) fn settle(&mut self, endpoint: &mut Endpoint) -> Settled {
        while let Some(event) = self.conn.poll_endpoint_events() {
            if self.is_gone {
                // Its handle is free, or another's: of one that is over until it is told of, there
                // is nothing to agree on.
                continue;
            }
            self.is_gone = event.is_drained();
            if let Some(answer) = endpoint.exchange(self.handle, event) {
                self.conn.handle_event(answer);
                self.wants_send = true;
            }
        }
        while let Some(event) = self.conn.poll() {
            self.fold(event);
        }
        self.begin_early();
        self.has_moved = self.told_peer != self.conn.remote_address();
        let drained = self.is_drained();
        self.wants_send &= !drained;
        Settled { ready: self.is_ready(), deadline: self.deadline(), drained }
    }

    fn fold(&mut self, event: Event) {
        match event {
            Event::Connected => self.shaken(),
            Event::Stream(event) => self.fold_stream(event),
            Event::DatagramReceived => self.has_datagrams = true,
            Event::ConnectionLost { reason } => {
                if self.phase != Phase::Closed {
                    if self.phase == Phase::Handshaking {
                        // Of what was sent early, or came so, there may be something to tell: not
                        // without a `Connected`.
                        self.notes.clear();
                        self.reader.clear();
                        self.has_datagrams = false;
                    }
                    self.phase = Phase::Lost;
                    self.lost = Some(Lost::from(reason));
                    self.drop_all_writes();
                }
            }
            Event::HandshakeDataReady | Event::DatagramsUnblocked => {}
        }
    }

    fn fold_stream(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened { dir } => self.accept_all(own_dir(dir)),
            StreamEvent::Readable { id } => self.on_readable(id),
            StreamEvent::Writable { id } => self.on_room(own_id(id)),
            StreamEvent::Finished { id } => {
                let stream = own_id(id);
                self.streams.on_over(stream);
                self.notes.push_back(Signal::Finished(stream));
            }
            StreamEvent::Stopped { id, error_code } => {
                let stream = own_id(id);
                if self.conn.send_stream(id).stopped().is_err() {
                    // All of it was acknowledged meanwhile, which is told next.
                    return;
                }
                // RFC 9000 §3.5: "An endpoint that receives a STOP_SENDING frame MUST send a
                // RESET_STREAM frame if the stream is in the "Ready" or "Send" state", and "SHOULD
                // copy the error code".
                let _ = self.conn.send_stream(id).reset(error_code);
                self.drop_writes(stream);
                self.wants_send = true;
                let error_code = error_code.into_inner();
                self.notes.push_back(Signal::Stop { stream, error_code });
            }
            StreamEvent::Available { dir } => {
                let dir = own_dir(dir);
                if self.streams.take_wanted(dir) {
                    self.notes.push_back(Signal::Available(dir));
                }
            }
        }
    }

    /// Something came of a stream. That it was reset is taken at once, whether it is told now or
    /// later: while it is not, the machine counts the same frame, sent again, against the windows
    /// once more, and ends the connection with FLOW_CONTROL_ERROR.
    fn on_readable(&mut self, id: quinn_proto::StreamId) {
        let stream = own_id(id);
        if self.reader.may_keep_reset()
            && let Ok(Some(code)) = self.conn.recv_stream(id).received_reset()
        {
            self.wants_send = true;
            return self.reader.on_reset(stream, code.into_inner());
        }
        self.reader.push(stream);
    }

    /// Takes every stream that the peer opened, also by opening a later one; of the first frame of
    /// each it is not said that there is something to read.
    fn accept_all(&mut self, dir: StreamDir) {
        while let Some(id) = self.conn.streams().accept(wire_dir(dir)) {
            let stream = own_id(id);
            self.streams.on_accepted(stream);
            self.on_readable(id);
            if self.streams.is_finishing() && dir == StreamDir::Bidi {
                let _ = self.finish(stream);
            }
        }
    }

    // ---- its endpoint

    /// Datagrams for it are kept for this place from now on.
    pub(crate) fn reroute(&self, endpoint: &mut Endpoint, route: Route) {
        if !self.is_gone {
            endpoint.set_route(self.handle, route);
        }
    }

    // ---- out

    /// Writes what is to be sent next into `buf`, which is empty: a datagram, or a train of at most
    /// `segments_max`. `None`: nothing for now. To be settled afterwards.
    pub(crate) fn transmit(
        &mut self,
        now: Time,
        segments_max: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Outgoing> {
        buf.clear();
        self.flush_tail();
        let segments_max = if self.no_gso { 1 } else { segments_max.max(1) };
        let segments_max = segments_max.min(self.allowance(now));
        let may_answer = self.preferred.as_ref().is_some_and(Preferred::may_answer);
        let before = may_answer.then(|| Frames::of(&self.conn.stats().frame_tx));
        let transmit = self.poll_transmit(now, segments_max, buf);
        if let Some(pacer) = &mut self.pacer {
            let bytes = transmit.as_ref().map(|transmit| transmit.size);
            pacer.end(bytes, &self.conn.stats().frame_tx);
        }
        let Some(transmit) = transmit else {
            self.wants_send = false;
            self.has_used_streams = false;
            return None;
        };
        let mut out = outgoing(&transmit);
        if let Some(preferred) = &mut self.preferred {
            let after = || Frames::of(&self.conn.stats().frame_tx);
            let has_answer = before.is_some_and(|before| after().has_answered_since(before));
            out.from = preferred.from(has_answer).or(out.from);
        }
        if self.how.ecn {
            self.ecn = if out.ecn == 0 { EcnState::Failed } else { EcnState::On };
        } else {
            out.ecn = 0;
        }
        Some(out)
    }

    fn poll_transmit(
        &mut self,
        now: Time,
        segments_max: usize,
        buf: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let instant = self.base.instant(now);
        self.stall.begin();
        let transmit = self.conn.poll_transmit(instant, segments_max, buf);
        if transmit.is_some() {
            self.stall.on_sent();
        } else if self.stall.is_blocked() {
            let gate = self.stall.cause(now, &self.conn.stats())?;
            return gate.opened(|| self.conn.poll_transmit(instant, 1, buf));
        }
        transmit
    }

    /// Whether what there is to send is worth packets of its own, while the application still looks
    /// at what came: whatever has to do with streams, since each of their events is work for the
    /// peer; of datagrams, which are little of it, so many that packets and trains are full.
    pub(crate) fn is_worth_sending(&mut self) -> bool {
        if !self.wants_send || self.phase != Phase::Open {
            return false;
        }
        self.has_used_streams || self.datagrams_waiting() >= EARLY_DATAGRAMS_MIN
    }

    /// Bytes of datagrams that wait to be sent, as the machine counts them.
    fn datagrams_waiting(&mut self) -> usize {
        if !self.how.has_datagrams {
            return 0;
        }
        let space = self.conn.datagrams().send_buffer_space();
        self.how.datagrams_max.saturating_sub(DATAGRAM_OVERHEAD).saturating_sub(space)
    }

    /// Packets to ask for now.
    fn allowance(&mut self, now: Time) -> usize {
        let mtu = self.mtu();
        let (Some(pacer), Phase::Open) = (&mut self.pacer, self.phase) else { return usize::MAX };
        let bits = self.conn.congestion_state().metrics().pacing_rate;
        bits.map_or(usize::MAX, |bits| pacer.begin(now, bits as f64 / 8.0, mtu))
    }

    /// When `on_timeout` is due.
    pub(crate) fn deadline(&mut self) -> Time {
        let due = self.conn.poll_timeout().map_or(Time::MAX, |instant| self.base.time(instant));
        let due = due.max(self.not_before).min(self.stall.deadline());
        match &self.pacer {
            Some(pacer) if self.phase == Phase::Open => due.min(pacer.blocked_until()),
            _ => due,
        }
    }

    // ---- facts

    /// The peer has not shown who it is, nor that it is there.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.phase == Phase::Handshaking || self.may_be_replayed()
    }

    /// Its handshake is done, and the server has not said so.
    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.phase == Phase::Open && !self.is_confirmed()
    }

    /// RFC 9001 §4.1.2: "The TLS handshake is considered confirmed at the server when the handshake
    /// completes", and "At the client, the handshake is considered confirmed when a HANDSHAKE_DONE
    /// frame is received".
    fn is_confirmed(&self) -> bool {
        match self.is_accepted() {
            true => !self.is_handshaking(),
            false => self.conn.stats().frame_rx.handshake_done > 0,
        }
    }

    /// The peer began it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.conn.side().is_server()
    }

    /// What became of its handshake, before anything of it was told: done, or given up with that
    /// code. `None` while it lasts.
    pub(crate) fn outcome(&self) -> Option<Result<(), u64>> {
        if self.is_connected_due {
            return Some(Ok(()));
        }
        self.lost.as_ref().map(|lost| Err(lost.code))
    }

    /// Our address has changed: the peer is to see it soon, and by another connection id (RFC 9000
    /// §9.5).
    pub(crate) fn on_moved(&mut self) {
        self.conn.local_address_changed();
        self.no_gso = !self.how.gso;
        self.wants_send = true;
    }

    /// Nothing more comes of it. A client whose very first packet closes its connection leaves the
    /// machine draining without the timer that ends that, until the idle timeout, if there is one.
    pub(crate) fn is_drained(&mut self) -> bool {
        let conn = &mut self.conn;
        conn.is_drained()
            || self.is_stillborn
            || (conn.is_closed() && conn.poll_timeout().is_none())
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.conn.remote_address()
    }

    /// Our address, where it is known.
    pub(crate) fn local_ip(&self) -> Option<IpAddr> {
        self.conn.local_ip()
    }

    /// The longest UDP payload that is sent.
    pub(crate) fn mtu(&self) -> usize {
        usize::from(self.conn.current_mtu())
    }

    /// The application protocol that ALPN chose, once the handshake is done. It allocates.
    pub(crate) fn alpn(&self) -> Option<Vec<u8>> {
        let data = self.conn.crypto_session().handshake_data()?;
        data.downcast::<Agreed>().ok()?.0
    }

    pub(crate) fn stats(&mut self) -> ConnStats {
        let stats = self.conn.stats();
        let noted = Meter::read(self.conn.congestion_state());
        let (path, sent, received) = (&stats.path, &stats.udp_tx, &stats.udp_rx);
        let micros = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        // The machine's own is what is believed, before there was one.
        let has_rtt = !noted.rtt_latest.is_zero();
        ConnStats {
            bytes_received: received.bytes,
            bytes_sent: sent.bytes,
            rtt_us: micros(path.rtt),
            rtt_var_us: micros(noted.rtt_var),
            rtt_min_us: if has_rtt { micros(path.min_rtt) } else { 0 },
            cwnd: path.cwnd,
            mss: u32::from(path.current_mtu),
            packets_lost: count(path.lost_packets),
            packets_sent: count(path.sent_packets),
            packets_received: count(received.datagrams),
            quic: Some(QuicStats {
                is_confirmed: self.is_confirmed(),
                rtt_latest_us: micros(noted.rtt_latest),
                pacing_rate: self.pacing_rate(),
                streams_sending: self.conn.streams().send_streams() as u64,
                streams_of_peer: self.streams_of_peer(),
                mtu: path.current_mtu,
                bytes_lost: path.lost_bytes,
                congestion_events: path.congestion_events,
                ecn: self.ecn,
                udp_sent: sent.datagrams,
                udp_received: received.datagrams,
                datagrams_sent: stats.frame_tx.datagram,
                datagrams_received: stats.frame_rx.datagram,
                datagrams_dropped_tx: self.count_dropped(stats.frame_tx.datagram),
                datagrams_dropped_rx: self.count_unread(stats.frame_rx.datagram),
            }),
            ..ConnStats::default()
        }
    }

    /// Bytes per second, where the controller names a rate.
    fn pacing_rate(&self) -> u64 {
        self.conn.congestion_state().metrics().pacing_rate.map_or(0, |bits| bits / 8)
    }

    fn streams_of_peer(&mut self) -> u64 {
        let streams = self.conn.streams();
        streams.remote_open_streams(Dir::Bi) + streams.remote_open_streams(Dir::Uni)
    }

    /// Datagrams that came and were dropped before they were handed out. What waits is told apart
    /// from what was dropped when nothing waits.
    const fn count_unread(&mut self, received: u64) -> u64 {
        if !self.has_datagrams {
            self.datagrams_lost = received.saturating_sub(self.datagrams_told);
        }
        self.datagrams_lost
    }

    /// Datagrams that made room for later ones. What waits is told apart from what was dropped
    /// when nothing waits.
    fn count_dropped(&mut self, sent: u64) -> u64 {
        if self.datagrams_waiting() == 0 {
            self.datagrams_dropped = self.datagrams_taken.saturating_sub(sent);
        }
        self.datagrams_dropped
    }
}

#[cfg(test)]
impl Session {
    /// What a peer would do that does not keep to our driver.
    pub(super) const fn machine(&mut self) -> &mut Connection {
        self.wants_send = true;
        &mut self.conn
    }

    pub(super) const fn handle(&self) -> Handle {
        self.handle
    }

    /// Frames so far: those received that are to be acknowledged, and acknowledgements sent.
    pub(super) fn counts(&self) -> (u64, u64) {
        let stats = self.conn.stats();
        (super::pacer::eliciting(&stats.frame_rx), stats.frame_tx.acks)
    }

    /// Bytes that its controller, which is BBR, believes to be in flight.
    pub(super) fn in_flight(&self) -> u64 {
        super::meter::Meter::of(self.conn.congestion_state()).in_flight()
    }

    /// Pieces that the machine was given of streams.
    pub(super) const fn pieces(&self) -> usize {
        self.pieces
    }

    /// Entries of all queues.
    pub(super) fn backlog(&self) -> usize {
        self.notes.len() + self.reader.backlog()
    }
}

/// RFC 9002 §6.1.2: "the RECOMMENDED value of the timer granularity (kGranularity) is 1 ms".
const GRANULARITY: Duration = Duration::from_millis(1);
/// Datagrams that are worth sending before the application has seen all that came, as the machine
/// counts them: 256 of 64 bytes, in a dozen packets. With fewer, packets cost more than is won by
/// the peer's having something to do; with many more it has nothing to do again.
const EARLY_DATAGRAMS_MIN: usize = 24 << 10;
/// What the machine counts of a datagram that waits, besides its payload.
const DATAGRAM_OVERHEAD: usize = size_of::<quinn_proto::Datagram>();
