//! What is known of the streams, the datagrams and the posts of a cluster's world.

use std::collections::BTreeMap;

use crate::pattern::{HEAD_LEN, byte};

/// One life of a shard.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// It was asked to end, or crashed.
    pub(super) is_hurt: bool,
    /// It is over.
    pub(super) is_over: bool,
}

/// One connection, as both its sides know it.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// What the client will write in all.
    pub(super) len: u64,
    /// What it has written, and what came back.
    pub(super) written: u64,
    pub(super) echoed: u64,
    pub(super) is_quic: bool,
    pub(super) is_connected: bool,
    /// The life that serves it, once its head came there.
    pub(super) served_by: Option<usize>,
    /// The lives that it is on its way from and to.
    pub(super) moving: Option<[usize; 2]>,
    /// The client has all of it, and asked for the end.
    pub(super) is_done: bool,
    /// Why it ended, at the client.
    pub(super) ended: Option<u64>,
    /// It began when all was well.
    pub(super) is_sure: bool,
}

/// What has been posted from a sender's life to a shard, and what came.
#[derive(Debug, Default)]
struct Posts {
    posted_count: u64,
    /// The receiver's life at the last post.
    last_to: Option<usize>,
    /// By the receiver's life: the number that came last.
    received: BTreeMap<usize, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) lives: Vec<Life>,
    pub(super) flows: Vec<Flow>,
    /// By the sender's life (none: a handle) and the shard.
    posts: BTreeMap<(Option<usize>, u16), Posts>,
    pub(super) posts_seen: u64,
    /// Restarts, drains and crashes so far.
    pub(super) hurt_count: u64,
    pub(super) crash_count: u64,
    /// Connections that went to another shard, and those that were to, and could not.
    pub(super) moved_count: u64,
    pub(super) stayed_count: u64,
}

/// Senders, in tokens: a life's number behind one, as nobody is none.
const SENDER_SHIFT: u32 = 32;

impl Model {
    pub(super) fn hurt(&mut self, life: usize) {
        self.hurt_count += u64::from(!self.lives[life].is_hurt);
        self.lives[life].is_hurt = true;
    }

    /// Whether whoever serves a connection, or has it on its way, was asked to end, or crashed.
    pub(super) fn is_hurt(&self, flow: &Flow) -> Option<bool> {
        let lives = flow.moving.iter().flatten().chain(&flow.served_by);
        lives.map(|life| self.lives[*life].is_hurt).reduce(|one, other| one || other)
    }

    // ---- streams

    /// Bytes of a stream came to a shard, behind `at` others.
    pub(super) fn came(&mut self, head: &mut Vec<u8>, at: u64, data: &[u8], life: usize) {
        head.extend(data.iter().take(HEAD_LEN.saturating_sub(head.len())));
        let Some(flow) = flow_of(head) else { return };
        let known = self.flows.get_mut(flow as usize).expect("somebody began it");
        assert!(known.served_by.is_none_or(|by| by == life), "{flow} is at two shards");
        known.served_by = Some(life);
        assert!(at + data.len() as u64 <= known.written, "{flow}: more than was written");
        let right = data.iter().zip(at..).all(|(is, at)| *is == byte(flow, 0, at));
        assert!(right, "{flow}: other bytes came to the shard, at {at}");
    }

    /// A shard asked for a connection to be handed over.
    pub(super) fn leaves(&mut self, flow: u64, from: usize, to: Option<usize>) {
        let flow = &mut self.flows[flow as usize];
        assert!(flow.moving.is_none(), "it is on its way already: {flow:?}");
        // Who is not there any more has crashed.
        flow.moving = Some([from, to.unwrap_or(from)]);
    }

    /// It is there, or where it was.
    pub(super) fn settles(&mut self, flow: u64, life: usize) {
        let flow = &mut self.flows[flow as usize];
        let [from, _] = flow.moving.take().expect("it was on its way");
        let count = if from == life { &mut self.stayed_count } else { &mut self.moved_count };
        *count += 1;
        flow.served_by = Some(life);
    }

    /// Bytes came back to the client.
    pub(super) fn came_back(&mut self, flow: usize, data: &[u8]) {
        let known = &mut self.flows[flow];
        assert!(known.ended.is_none() && !known.is_done, "{flow}: bytes behind its end");
        let right = data.iter().zip(known.echoed..).all(|(is, at)| *is == byte(flow as u64, 0, at));
        assert!(right, "{flow}: other bytes came back, at {}", known.echoed);
        known.echoed += data.len() as u64;
        assert!(known.echoed <= known.written, "{flow}: more came back than was written");
    }

    // ---- posts

    /// A token for the next post; `None` is a handle's.
    pub(super) fn next_post(&self, from: Option<usize>, to: u16) -> u64 {
        let number = self.posts.get(&(from, to)).map_or(0, |posts| posts.posted_count) + 1;
        (from.map_or(0, |life| life as u64 + 1)) << SENDER_SHIFT | number
    }

    /// It was taken.
    pub(super) fn posted(&mut self, from: Option<usize>, to: u16, at_life: Option<usize>) {
        let posts = self.posts.entry((from, to)).or_default();
        posts.posted_count += 1;
        posts.last_to = at_life;
    }

    /// It came. Posts of one sender to one life come in order and without a gap.
    pub(super) fn post_came(&mut self, token: u64, data: &[u8], shard: u16, life: usize) {
        let from = (token >> SENDER_SHIFT).checked_sub(1).map(|life| life as usize);
        let number = token & ((1 << SENDER_SHIFT) - 1);
        let posts = self.posts.get_mut(&(from, shard)).expect("somebody posted");
        assert!(number <= posts.posted_count, "a post that nobody sent");
        let last = posts.received.insert(life, number);
        let is_next = last.is_none_or(|last| last + 1 == number);
        assert!(is_next, "post {number} of {from:?} to {shard} came behind {last:?}");
        assert!(posts.received.range(..life).all(|(_, before)| *before < number), "it came twice");
        let right = data.iter().zip(0..).all(|(is, at)| *is == byte(token, 1, at));
        assert!(right && data.len() as u64 == data_len(token), "other bytes were posted");
        self.posts_seen += 1;
    }

    /// All that was posted to shards that live has come.
    pub(super) fn is_silent(&self) -> bool {
        self.posts.values().all(|posts| match posts.last_to {
            Some(life) if !self.lives[life].is_hurt => {
                posts.received.get(&life) == Some(&posts.posted_count)
            }
            _ => true,
        })
    }
}

/// How much data a post has.
pub(super) fn data_len(token: u64) -> u64 {
    if token.is_multiple_of(3) { 0 } else { token % 900 }
}

/// The flow that a head names.
pub(super) fn flow_of(head: &[u8]) -> Option<u64> {
    head.first_chunk().map(|number| u64::from_le_bytes(*number))
}
