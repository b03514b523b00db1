//! Connections that handles of the cluster ask for.
//!
//! *Invariant*: who asks is told by one event of the shard that was chosen: `ConnectFailed`, or one
//! of the connection, whose `user_data` is the token.

use crate::engine::Engine;
use crate::error::{IoError, Result};
use crate::event::record::{Kind, Record};
use crate::ids::ConnId;

/// What makes the connection.
type Dial = Box<dyn FnOnce(&mut Engine) -> Result<ConnId> + Send>;

/// A connection that a shard is to make.
pub(crate) struct Connect {
    token: u64,
    dial: Dial,
}

impl Connect {
    pub(crate) fn new(
        token: u64,
        dial: impl FnOnce(&mut Engine) -> Result<ConnId> + Send + 'static,
    ) -> Self {
        Self { token, dial: Box::new(dial) }
    }
}

impl Engine {
    /// Does what was asked for, there being room for an event.
    pub(super) fn run_connect(&mut self, connect: Connect) {
        let Connect { token, dial } = connect;
        let dialled = dial(self);
        if let Ok(conn) = dialled {
            self.conns.at(conn.index()).user_data = token;
        }
        let Some(fleet) = &mut self.fleet else { return };
        fleet.asked_taken += 1;
        fleet.publish_at = super::publish::AT_ONCE;
        if let Err(error) = dialled {
            fleet.connects_failed.push_back(error);
            self.inbox.push(Record::bare(Kind::ConnectFailed, 0, token));
        }
    }

    /// Why the oldest one failed that was not told yet.
    pub(in crate::engine) fn connect_error(&mut self) -> Option<IoError> {
        self.fleet.as_mut()?.connects_failed.pop_front()
    }
}
