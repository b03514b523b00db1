//! What shards send each other, and what the cluster tells them.
//!
//! *Invariants*
//! - Mail of one sender is taken in its order.
//! - Nothing is dropped for want of room in the event queue: it waits, and what came later with it.

use super::connect::Connect;
use super::drain::Order;
use super::listen::ListenPlan;
use super::move_conn::Moved;
use crate::engine::{Command, Engine};
use crate::error::{IoError, Result};
use crate::pool::SendBuffer;
use crate::ring::ports::Passed;
use crate::sync::mpsc::PushError;
use crate::sys::addr::SockAddr;

/// Mail taken in one tick at most.
const MAIL_PER_TICK_MAX: usize = 256;

/// What is sent to a shard.
pub(crate) enum Mail {
    /// A message of the application's; the buffer is of the receiver's reserve.
    Post { token: u64, buffer: Option<SendBuffer> },
    /// A connection that came to another shard's listener of that group.
    Accepted { group: u16, fd: Passed, peer: SockAddr },
    /// A connection that another shard gives away.
    Moved(Box<Moved>),
    /// A connection that a handle of the cluster asks for.
    Connect(Box<Connect>),
    /// The cluster's.
    Control(Box<Control>),
}

/// What the cluster has a shard do.
pub(crate) enum Control {
    /// Take a socket in.
    Listen(ListenPlan, Passed),
    /// End it, or one of its listeners, in order.
    Drain(Order),
    /// Leave the loop.
    Stop,
}

impl Engine {
    /// Takes the mail, up to the first that finds no room.
    pub(super) fn run_mail(&mut self) {
        for _ in 0..MAIL_PER_TICK_MAX {
            let Some(fleet) = &mut self.fleet else { return };
            let Some(mail) = fleet.mail_waits.pop_front().or_else(|| fleet.mail.pop()) else {
                return;
            };
            match mail {
                _ if self.inbox.room() == 0 => {
                    fleet.mail_waits.push_front(mail);
                    return;
                }
                Mail::Post { token, buffer } => {
                    fleet.stats.posts_in += 1;
                    self.posted(token, buffer);
                }
                Mail::Accepted { group, fd, peer } => self.accepted_elsewhere(group, fd, peer),
                Mail::Moved(moved) => {
                    if let Some(moved) = self.take_moved(moved) {
                        self.wait_for_place(moved);
                    }
                }
                Mail::Connect(connect) => self.run_connect(connect),
                Mail::Control(control) => self.run_control(*control),
            }
        }
    }

    fn run_control(&mut self, control: Control) {
        match control {
            Control::Listen(plan, passed) => {
                let group = plan.group;
                if let Err(error) = self.take_in(plan, passed) {
                    crate::trace::listen_failed(self.shard_id(), group, &error);
                }
                self.open_pier();
            }
            Control::Drain(order) => self.begin_drain(order),
            Control::Stop => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.stopped = true;
                }
            }
        }
    }

    /// Takes in a connection that came to another shard. Who finds no place is closed, as is who
    /// comes when the listener has gone.
    fn accepted_elsewhere(&mut self, group: u16, fd: Passed, peer: SockAddr) {
        let Ok(fd) = self.ring.import(fd) else { return };
        match self.endpoints.of_group(group).filter(|_| !self.conns.is_full()) {
            Some(listener) => {
                self.note_accepted(listener.index(), fd);
                self.take_accepted(listener.index(), fd, peer);
            }
            None => {
                self.stats.accept_errors += 1;
                self.ring.close_now(fd);
            }
        }
    }

    /// Whether `run_mail` would do anything.
    pub(super) fn has_mail_to_run(&self) -> bool {
        match &self.fleet {
            None => false,
            Some(fleet) if !fleet.mail_waits.is_empty() => self.inbox.room() > 0,
            Some(fleet) => !fleet.mail.is_empty(),
        }
    }

    /// Sends a message to the loop of a shard. It is woken, if it sleeps, when what was written in
    /// this tick is sent.
    pub(crate) fn post_to(&mut self, shard: u16, token: u64, data: Option<&[u8]>) -> Result<()> {
        let Some(fleet) = &mut self.fleet else { return self.post_alone(shard, token, data) };
        fleet.shared.post(shard, token, data)?;
        fleet.stats.posts_out += 1;
        fleet.nudge_later(shard);
        Ok(())
    }

    /// The same where there is no other shard.
    fn post_alone(&self, shard: u16, token: u64, data: Option<&[u8]>) -> Result<()> {
        if shard != 0 {
            return Err(IoError::NoSuchShard { shard, shards: 1 });
        }
        let buffer = data.map(|data| self.pool.shared().reserve_filled(data)).transpose()?;
        self.producer.push(Command::Post { token, buffer }).map_err(|error| match error {
            PushError::Closed(_) => IoError::IoGone,
            PushError::Full(_) => {
                IoError::QueueFull { queue: "handle", capacity: self.producer.capacity() }
            }
        })
    }
}
