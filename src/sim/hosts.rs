//! Host names: what the resolver of every node knows, and when it says so.
//!
//! Role: the answer, at once or later. Not role: racing the addresses.
//!
//! *Invariant*: who is answered later is answered once, unless its `Io` is gone; an answer for
//! which it has no room is offered again.

use std::net::SocketAddr;

use super::fault::Fault;
use super::kernel::{Event, Kernel};
use crate::sys::resolve::{Done, Found, PAUSE};
use crate::time::nanos;

/// Somebody who waits for the addresses of a host.
pub(super) struct Lookup {
    found: Found,
    done: Done,
}

impl Kernel {
    /// The addresses of a host, in the order that they were given; none of a host that is unknown.
    pub(super) fn look_up(&mut self, host: &str, port: u16) -> Result<Vec<SocketAddr>, i32> {
        if self.hit(Fault::ResolveError) {
            return Err(libc::EAGAIN);
        }
        if self.hit(Fault::ResolveFails) {
            return Ok(Vec::new());
        }
        let found = self.hosts.get(host).into_iter().flatten();
        Ok(found.map(|ip| SocketAddr::new(*ip, port)).collect())
    }

    /// Answers now; or later, and nothing now.
    pub(super) fn answer(&mut self, found: Vec<SocketAddr>, done: Done) -> Found {
        if !self.hit(Fault::ResolveLate) {
            return Some(found);
        }
        let longest_ns = match self.rng.below(10) {
            0..6 => 1_000_000,
            6..9 => 200_000_000,
            _ => 10_000_000_000,
        };
        let (number, delay_ns) = (self.serial(), self.between(1, longest_ns));
        // Of a name that there is not, the system's resolver says nothing at all.
        let found = (!found.is_empty()).then_some(found);
        self.lookups.insert(number, Lookup { found, done });
        self.schedule(delay_ns, Event::Answer(number));
        None
    }

    pub(super) fn answer_arrives(&mut self, number: u64) {
        let Some(Lookup { found, mut done }) = self.lookups.remove(&number) else { return };
        if let Err(found) = done(found) {
            self.lookups.insert(number, Lookup { found, done });
            self.schedule(nanos(PAUSE), Event::Answer(number));
        }
    }
}
