//! [`Requests`]: the requests of all pools, by number, from the call to their last event.
//!
//! *Invariant*: a request has its place until its last event was handed out, or it was cancelled;
//! its number is then another one, so that whatever still names it is noticed.

use crate::event::HttpFailure;
use crate::http::HttpMethod;
use crate::ids::{ConnId, RequestId};
use crate::proto::http::Order;
use crate::proto::http_client::KEY_BITS;
use crate::time::wheel::TimerKey;

/// Bits of a key that say where the request is: the others are its generation.
const INDEX_BITS: u32 = 20;
/// Requests at most, whatever the pools' bounds say.
pub(super) const REQUESTS_MAX: usize = 1 << INDEX_BITS;
const GENERATION_MASK: u64 = (1 << (KEY_BITS - INDEX_BITS)) - 1;
/// What a request of a client has in its id, and one of a server never.
const CLIENT: u64 = 1 << 63;

/// The id of the request with that key.
pub(super) const fn id_of(key: u64) -> RequestId {
    RequestId::from_u64(CLIENT | key)
}

/// The key in an id; `None` when it is no client's.
pub(super) const fn key_of(id: u64) -> Option<u64> {
    let key = id & !CLIENT;
    if id & CLIENT != 0 && key >> KEY_BITS == 0 { Some(key) } else { None }
}

/// The place of the request with that key.
pub(super) const fn index_of(key: u64) -> u32 {
    (key & (REQUESTS_MAX as u64 - 1)) as u32
}

/// Where a request is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    Free,
    /// In the queue of its pool.
    Waiting,
    /// On a connection.
    Asked,
    /// Over; the event that says so waits to be handed out.
    Failed(HttpFailure),
}

bitflags::bitflags! {
    /// What is known of a request.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Traits: u16 {
        /// Its body is written by the application, piece by piece.
        const STREAMED = 1 << 0;
        /// Its body waits for `100 Continue`.
        const EXPECTS = 1 << 1;
        /// It asks for another protocol.
        const UPGRADES = 1 << 2;
        /// Redirects of it are followed.
        const FOLLOWS = 1 << 3;
        /// It was sent again once.
        const RETRIED = 1 << 4;
        /// The application was told to write the body.
        const READY = 1 << 5;
        /// That waits to be told.
        const READY_DUE = 1 << 6;
        /// The body that is being received is that of a redirect.
        const DROPS_BODY = 1 << 7;
        /// Its response was handed out.
        const ANSWERED = 1 << 8;
        /// A try before this one may have reached a server.
        const SENT = 1 << 9;
    }
}

/// One request.
pub(super) struct Request {
    generation: u64,
    pub(super) state: State,
    pub(super) traits: Traits,
    pub(super) method: HttpMethod,
    /// Which try this is.
    pub(super) hop: u8,
    pub(super) pool: u32,
    /// The connection that it is on, or was last.
    pub(super) conn: ConnId,
    pub(super) order: Option<Order>,
    pub(super) timer: Option<TimerKey>,
}

impl Request {
    const fn blank(generation: u64) -> Self {
        Self {
            generation,
            state: State::Free,
            traits: Traits::empty(),
            method: HttpMethod::Get,
            hop: 0,
            pool: 0,
            conn: ConnId::from_u64(0),
            order: None,
            timer: None,
        }
    }

    pub(super) const fn has(&self, traits: Traits) -> bool {
        self.traits.intersects(traits)
    }
}

/// All requests.
#[derive(Default)]
pub(super) struct Requests {
    places: Vec<Request>,
    free: Vec<u32>,
    used: usize,
}

impl Requests {
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Takes a place; its key. `None` when there are as many as there may be.
    pub(super) fn insert(&mut self) -> Option<(u64, &mut Request)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < REQUESTS_MAX => {
                self.places.push(Request::blank(1));
                self.places.len() as u32 - 1
            }
            None => return None,
        };
        self.used += 1;
        let request = &mut self.places[index as usize];
        request.state = State::Waiting;
        Some((request.generation << INDEX_BITS | u64::from(index), request))
    }

    #[inline]
    pub(super) fn get(&mut self, key: u64) -> Option<&mut Request> {
        let request = self.places.get_mut(index_of(key) as usize)?;
        let is_it = request.generation == key >> INDEX_BITS && request.state != State::Free;
        is_it.then_some(request)
    }

    /// The key of the request in that place.
    pub(super) fn key_at(&self, index: u32) -> Option<u64> {
        let request = self.places.get(index as usize).filter(|r| r.state != State::Free)?;
        Some(request.generation << INDEX_BITS | u64::from(index))
    }

    /// Frees a place; what was kept of the request is given back.
    pub(super) fn remove(&mut self, key: u64) -> Option<(Option<Order>, Option<TimerKey>)> {
        let request = self.get(key)?;
        let rest = (request.order.take(), request.timer.take());
        let next = (request.generation + 1) & GENERATION_MASK;
        *request = Request::blank(next.max(1));
        self.free.push(index_of(key));
        self.used -= 1;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_request_is_not_the_old_one() {
        let mut requests = Requests::default();
        let (old, _) = requests.insert().unwrap();
        assert!(requests.get(old).is_some() && requests.remove(old).is_some());
        assert!(requests.get(old).is_none() && requests.remove(old).is_none());
        let (new, _) = requests.insert().unwrap();
        assert!(new != old && requests.get(new).is_some() && requests.used() == 1);
        assert_eq!(requests.key_at(index_of(new)), Some(new));
    }

    #[test]
    fn ids_are_no_servers() {
        assert_eq!(key_of(id_of(12_345).as_u64()), Some(12_345));
        assert!(id_of(0).as_u64() > u64::from(u32::MAX));
        assert_eq!((key_of(7), key_of(u64::MAX)), (None, None));
    }
}
