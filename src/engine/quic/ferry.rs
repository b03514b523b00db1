//! Datagrams that come to one shard and are another's: how they get there, and what that one does.
//!
//! *Invariant*: what came by ferry is never passed on again: whoever gets it deals with it. So
//! nothing goes round in circles, whatever ids say.

use std::net::{IpAddr, SocketAddr};

use super::Hub;
use super::recv::arrived;
use crate::config::ClusterConfig;
use crate::engine::Engine;
use crate::engine::fleet::Fleet;
use crate::pool::quic::ferry::{Ferry as Cells, Landing, Refused, ferry};
use crate::transport::Endpoint;

/// Datagrams taken in one tick at most.
const FERRIED_PER_TICK_MAX: usize = 512;

/// What goes with a datagram.
pub(crate) struct Note {
    /// The endpoint of the cluster that it came to.
    pub(super) group: u16,
    pub(super) from: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) ecn: u8,
}

/// The way to a shard.
pub(crate) type Ferry = Cells<Note>;

/// The end of it.
#[derive(Default)]
pub(in crate::engine) struct Pier(Option<Landing<Note>>);

impl Pier {
    /// Makes the way, unless there is one already or there are no other shards.
    pub(in crate::engine) fn open(&mut self, config: &ClusterConfig) -> Option<Ferry> {
        if self.0.is_some() || config.shard_count == 1 {
            return None;
        }
        let (ferry, landing) = ferry(config.forward_cells, config.forward_cell_len);
        self.0 = Some(landing);
        Some(ferry)
    }

    /// Frees the memory that nothing refers to any more.
    pub(in crate::engine) fn reclaim(&mut self) {
        if let Some(landing) = &mut self.0 {
            landing.reclaim();
        }
    }

    /// Whether something waits.
    pub(in crate::engine) fn has_work(&self) -> bool {
        self.0.as_ref().is_some_and(Landing::has_some)
    }

    /// Whether nothing waits, and all memory is home.
    pub(in crate::engine) fn is_idle(&self) -> bool {
        self.0.as_ref().is_none_or(|landing| !landing.has_some() && !landing.is_out())
    }
}

impl Fleet {
    /// Passes a datagram on. False when that shard is not there: somebody else has to look at it.
    pub(super) fn pass_on(&mut self, shard: u16, datagram: &[u8], note: Note) -> bool {
        let sent = self.shared().by_ferry(shard, |ferry| ferry.send(datagram, note));
        let counter = match sent {
            Some(Ok(())) => &mut self.stats.forwarded_out,
            Some(Err(Refused::Full)) => &mut self.stats.forward_full,
            Some(Err(Refused::TooLong)) => &mut self.stats.forward_too_long,
            Some(Err(Refused::Closed)) | None => {
                self.stats.forward_down += 1;
                return false;
            }
        };
        *counter += 1;
        // Also where there was no room: to make some, it has to run.
        self.nudge_later(shard);
        true
    }
}

impl Engine {
    /// Takes what other shards passed on, each to this shard's socket of the endpoint that it came
    /// to.
    pub(in crate::engine) fn run_ferried(&mut self) {
        let Some(Pier(Some(landing))) = self.fleet.as_mut().map(|fleet| &mut fleet.pier) else {
            return;
        };
        if !landing.has_some() {
            return;
        }
        self.quic.relax();
        if let Some(memory) = &mut self.quic.memory {
            memory.past.wall.set(self.ring.wall_secs());
        }
        for _ in 0..FERRIED_PER_TICK_MAX {
            if !self.quic_take_ferried() {
                break;
            }
        }
        self.quic_settle_touched();
        self.quic_reclaim();
    }

    /// Takes one; false when there is none.
    fn quic_take_ferried(&mut self) -> bool {
        let Self { conns, endpoints, quic, fleet, now, lists, .. } = self;
        let Some(fleet) = fleet else { return false };
        let Pier(Some(landing)) = &mut fleet.pier else { return false };
        let Some((datagram, note)) = landing.take() else { return false };
        fleet.stats.forwarded_in += 1;
        fleet.stats.forward_copied = landing.copied();
        let Note { group, from, local, ecn } = note;
        // The listener may be closed by now. One that waits for its connections to end is not.
        let is_it = |e: &Endpoint| e.group == group && !e.closing;
        let Some(socket) = endpoints.place_of(is_it) else { return true };
        let Some(udp) = endpoints.quic(socket) else { return true };
        let Hub { drains, touched, .. } = quic;
        let arrival = udp.endpoint.on_datagram(*now, from, local, ecn, datagram);
        arrived((socket, udp), conns, drains, touched, arrival);
        if !udp.waiting.is_empty() {
            // It is looked at after the next receive.
            lists.endpoint_work = true;
            if let Some(endpoint) = endpoints.at(socket) {
                endpoint.ready = true;
            }
        }
        self.quic_list(socket);
        true
    }
}
