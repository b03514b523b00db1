//! Connections that handles of the cluster ask for.
//!
//! *Invariant*: who asks is told by an event of one shard: `ConnectFailed`, or those of the
//! connection, whose `user_data` is the token. What a shard did not begin before it ended is asked
//! of another one, and counted where there is none.

use super::mail::Mail;
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
    /// Does what was asked for, there being room for an event. A shard that is about to end begins
    /// nothing new: it asks another one.
    pub(super) fn run_connect(&mut self, connect: Box<Connect>) {
        let Some(fleet) = &mut self.fleet else { return };
        fleet.asked_taken += 1;
        fleet.publish_at = super::publish::AT_ONCE;
        let (shard, is_ending) = (fleet.me, fleet.is_ending());
        let connect = match is_ending {
            true => match fleet.shared.pass_on(shard, Mail::Connect(connect)) {
                Err(Mail::Connect(connect)) => connect,
                _ => return,
            },
            false => connect,
        };
        let Connect { token, dial } = *connect;
        match if is_ending { Err(IoError::ShardDown { shard }) } else { dial(self) } {
            Ok(conn) => self.conns.at(conn.index()).user_data = token,
            Err(error) => self.connect_failed(token, error),
        }
    }

    fn connect_failed(&mut self, token: u64, error: IoError) {
        let Some(fleet) = &mut self.fleet else { return };
        fleet.connects_failed.push_back(error);
        self.inbox.push(Record::bare(Kind::ConnectFailed, 0, token));
    }

    /// Why the oldest one failed that was not told yet.
    pub(in crate::engine) fn connect_error(&mut self) -> Option<IoError> {
        self.fleet.as_mut()?.connects_failed.pop_front()
    }
}
