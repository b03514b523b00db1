//! One shard among others. Without a cluster, it is shard 0 of 1.

use super::split::both;
use crate::error::Result;
use crate::ids::ConnId;

both! {
    /// The number of this shard.
    pub fn shard_id(&mut self_) -> u16 {
        self_.shard_id()
    }

    /// How many shards the cluster has.
    pub fn shard_count(&mut self_) -> u16 {
        self_.shard_count()
    }

    /// Sends the loop of a shard, which may be this one, a message: `Event::User` with this token
    /// and no data. Messages of one shard to another arrive in their order. The other shard is
    /// woken, if it sleeps, by the next `poll`.
    ///
    /// # Errors
    /// `NoSuchShard`, `ShardDown`, `QueueFull` when `ClusterConfig::mail_entries` wait there.
    pub fn post_to(&mut self_, shard: u16, token: u64) -> Result<()> {
        self_.post_to(shard, token, None)
    }

    /// Sends the loop of a shard a message with up to `Config::pool_slot_size` bytes, which are
    /// copied into that shard's reserve: `Event::User`.
    ///
    /// # Errors
    /// As [`post_to`](Self::post_to); `BufferTooLarge`; `PoolExhausted` when all of that shard's
    /// `Config::handle_reserve_count` are out.
    pub fn post_data_to(&mut self_, shard: u16, token: u64, data: &[u8]) -> Result<()> {
        self_.post_to(shard, token, Some(data))
    }

    /// Hands a TCP or Unix connection over to another shard, with its `user_data`, its framing and
    /// what it received that was not handed out. What was written before is sent before. Here it
    /// takes no more writes, tells nothing more, and ends with `Disconnected` and the code
    /// [`HANDED_OVER`](crate::code::HANDED_OVER); there it begins with `Connected`. If it cannot
    /// go after all, `Event::HandOverFailed` follows instead, and it goes on here: so it is after
    /// `Config::close_timeout`, if the peer does not take what was written, and at once while
    /// `ClusterConfig::mail_entries` connections are on their way to that shard, which has no place
    /// for them.
    ///
    /// # Errors
    /// `NotMovable` with the reason; `StaleConn`, `NoSuchShard`, `ShardDown`.
    pub fn hand_over(&mut self_, conn: ConnId, shard: u16) -> Result<()> {
        self_.hand_over(conn, shard)
    }
}
