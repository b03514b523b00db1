//! Datagrams, from the kernel to their connections.

use std::collections::VecDeque;

use super::drains::Drains;
use super::ferry::Note;
use super::{Hub, Memory, session_at};
use crate::conn::table::Table;
use crate::engine::Engine;
use crate::pool::PressureState;
use crate::proto::quic::endpoint::{Arrival, Route};
use crate::sys::batch::Received;
use crate::transport::quic::QuicSocket;
use crate::transport::{Kind as EndpointKind, NO_GROUP};

/// Receive calls of one socket in a tick at most: so acknowledgements leave in time.
const BATCHES_PER_TICK_MAX: usize = 4;

/// What a receive call brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    /// Nothing is left.
    Empty,
    /// Less than was asked for.
    Short,
    Full,
}

/// Gives what a datagram was to whom it is for.
pub(super) fn arrived(
    (socket, udp): (u32, &mut QuicSocket),
    conns: &mut Table,
    drains: &mut Drains,
    touched: &mut VecDeque<(u32, Route)>,
    arrival: Arrival,
) {
    match arrival {
        Arrival::Nothing => {}
        Arrival::For(route, input) => {
            let Some(session) = session_at(conns, drains, (socket, route)) else { return };
            session.on_input(input);
            if !std::mem::replace(&mut session.is_touched, true) {
                touched.push_back((socket, route));
            }
        }
        Arrival::New(incoming) => udp.knock(incoming),
        Arrival::Reply(out) => udp.stage_reply(&out),
    }
}

impl Engine {
    /// Receives what is there, looks at new clients, and settles whoever got something.
    pub(in crate::engine) fn quic_receive(&mut self, socket: u32) {
        self.quic.relax();
        if let Some(memory) = &mut self.quic.memory {
            memory.past.wall.set(self.ring.wall_secs());
        }
        let mut is_dry = false;
        for _ in 0..BATCHES_PER_TICK_MAX {
            let batch = self.quic_receive_batch(socket);
            is_dry = batch == Batch::Empty;
            // What came while the others were taken waits for the next tick, which begins by
            // sending: asking for it now would mostly be in vain.
            if batch != Batch::Full {
                break;
            }
        }
        let waits = self.quic_admit(socket);
        self.quic_settle_touched();
        if self.looks_further {
            // What was passed on is not to wait for the events of this tick.
            self.nudge_fleet();
        }
        // Of clients that were sent away, or asked to come again.
        self.quic_reclaim();
        if is_dry && !waits {
            if let Some(endpoint) = self.endpoints.at(socket) {
                endpoint.ready = false;
            }
            self.arm_endpoint(socket);
        } else {
            self.lists.endpoint_work = true;
        }
    }

    /// One receive call.
    fn quic_receive_batch(&mut self, socket: u32) -> Batch {
        let Some(endpoint) = self.endpoints.at(socket) else { return Batch::Empty };
        let fd = endpoint.fd;
        let EndpointKind::Quic(udp) = &mut endpoint.kind else { return Batch::Empty };
        let Some(memory) = &mut self.quic.memory else { return Batch::Empty };
        let Memory { packets, rx, .. } = &mut **memory;
        let asked = packets.stage(rx, udp.ask);
        rx.want(asked, true);
        let result = self.ring.udp_recv(fd, rx);
        let got = *result.as_ref().unwrap_or(&0);
        let bytes = rx.arrivals(got).map(|(arrival, _)| arrival.len as usize).sum();
        udp.learn(asked, got, bytes);
        self.quic_take(socket, got);
        if let Some(memory) = &mut self.quic.memory {
            memory.rx.consume(got);
            memory.packets.unstage(&mut memory.rx);
            self.stats.quic_rx_copied = memory.packets.copied();
        }
        match result {
            Ok(0) => Batch::Empty,
            Ok(got) if got < asked => Batch::Short,
            Ok(_) => Batch::Full,
            Err(_) => {
                // An ICMP error: reading goes on.
                self.stats.udp_errors += 1;
                Batch::Full
            }
        }
    }

    /// Gives what arrived in the first `count` buffers to those it is for.
    fn quic_take(&mut self, socket: u32, count: usize) {
        let group = self.endpoints.at(socket).map_or(NO_GROUP, |endpoint| endpoint.group);
        let Self { conns, endpoints, quic, fleet, now, .. } = self;
        let Hub { memory, drains, touched, .. } = quic;
        let (Some(udp), Some(memory)) = (endpoints.quic(socket), memory.as_mut()) else { return };
        let Memory { packets, rx, .. } = &mut **memory;
        for (arrival, note) in rx.arrivals(count) {
            let Received { from, local, segment, ecn, truncated, .. } = *note;
            // Taken in any case: that is how the buffer comes home.
            let pieces = packets.take(arrival.key, arrival.len, segment);
            let Some(from) = from.ip().filter(|_| !truncated) else { continue };
            for piece in pieces {
                let mut is_of_dead = false;
                if let Some(owners) = &mut udp.owners
                    && let Some(shard) = owners.elsewhere(&piece)
                    && let Some(fleet) = fleet
                {
                    let note = Note { group, from, local, ecn };
                    if fleet.pass_on(shard, &piece, note) {
                        continue;
                    }
                    is_of_dead = true;
                }
                let arrival = udp.endpoint.on_datagram(*now, from, local, ecn, piece);
                if is_of_dead
                    && matches!(arrival, Arrival::Reply(_))
                    && let Some(fleet) = fleet
                {
                    fleet.stats.resets_for_dead += 1;
                }
                arrived((socket, udp), conns, drains, touched, arrival);
            }
        }
        self.quic_list(socket);
    }

    pub(super) fn quic_settle_touched(&mut self) {
        while let Some((socket, route)) = self.quic.touched.pop_front() {
            self.quic_settle(socket, route);
        }
    }

    /// Whether new connections are taken at present, as far as memory goes.
    pub(super) fn quic_pressure(&self) -> PressureState {
        self.cascade.state()
    }

    /// Puts a session on the list of those to be settled in this tick.
    pub(super) fn quic_touch(&mut self, socket: u32, route: Route) {
        let Some(session) = session_at(&mut self.conns, &mut self.quic.drains, (socket, route))
        else {
            return;
        };
        if !std::mem::replace(&mut session.is_touched, true) {
            self.quic.touched.push_back((socket, route));
        }
    }
}
