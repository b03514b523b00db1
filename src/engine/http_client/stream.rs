//! Bodies of requests that the application writes piece by piece, with the verbs of answers.

use super::client;
use super::requests::{Traits, key_of};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::proto::http1::Writing;

impl Engine {
    /// How the body of that request ends, if it is being written.
    pub(in crate::engine) fn client_writing(&mut self, conn: ConnId, id: u64) -> Option<Writing> {
        let key = key_of(id)?;
        let is_told = self.clients.requests.get(key)?.has(Traits::READY);
        let machine = client(self.conns.find(conn)?)?;
        (is_told && machine.is_writing(key)).then_some(machine.writing)
    }

    /// A piece of it was queued.
    pub(in crate::engine) fn client_wrote(&mut self, index: u32, len: usize) {
        let Some(machine) = client(self.conns.at(index)) else { return };
        if let Writing::Known { left } = &mut machine.writing {
            *left -= len as u64;
        }
        let pool = machine.pool;
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.stats.bytes_sent += len as u64;
        }
    }

    /// All of it was queued: the response is waited for. Whether it was a request's.
    pub(in crate::engine) fn client_wrote_all(&mut self, index: u32) -> bool {
        let now = self.ring.now();
        let Some(machine) = client(self.conns.at(index)) else { return false };
        machine.writing = Writing::Nothing;
        machine.wait_from(now);
        true
    }
}
