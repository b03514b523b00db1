//! [`Husk`]: what is left of a session that has nothing to say any more.

use super::Session;
use crate::proto::quic::endpoint::{Endpoint, Handle};

/// Its place at its endpoint, which what comes late still finds.
#[derive(Debug)]
pub(crate) struct Husk(Option<Handle>);

impl Husk {
    /// Gives the place up: a peer that goes on is told by a stateless reset.
    pub(crate) fn forget(self, endpoint: &mut Endpoint) {
        if let Some(handle) = self.0 {
            endpoint.forget(handle);
        }
    }
}

impl Session {
    /// Drops it, drained or not.
    pub(crate) fn forget(self: Box<Self>, endpoint: &mut Endpoint) {
        self.husk().forget(endpoint);
    }

    /// What its endpoint has of it.
    pub(crate) fn husk(&self) -> Husk {
        Husk((!self.is_gone).then_some(self.handle))
    }

    /// It is over, its peer knows, and so nothing more is said whatever comes. RFC 9000 §10.2.2:
    /// "An endpoint MUST NOT send further packets" once it was told by the peer; before, it may
    /// answer with one CONNECTION_CLOSE, which the machine does.
    pub(crate) fn is_spent(&self) -> bool {
        let was_told = || self.conn.stats().frame_rx.connection_close > 0;
        !self.wants_send && self.conn.is_closed() && was_told()
    }
}
