//! A shard that echoes, and posts to the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zero_io::{ConnId, Event, IoError, ShardIo, StreamId};

use super::Cx;
use super::model::{data_len, flow_of};
use crate::pattern::bytes;

/// A connection that a shard serves.
#[derive(Default)]
struct Served {
    /// Where it speaks.
    stream: Option<StreamId>,
    head: Vec<u8>,
    came: u64,
    /// What is to be sent back and found no room yet.
    waits: Vec<u8>,
    read_closed: bool,
    is_closing: bool,
}

/// One life of a shard, while it lasts.
pub(super) struct Shard {
    pub(super) io: ShardIo,
    pub(super) number: u16,
    /// Its place among all lives.
    pub(super) life: usize,
    pub(super) node: usize,
    served: BTreeMap<ConnId, Served>,
    ended: BTreeSet<ConnId>,
    drains: u32,
}

impl Shard {
    pub(super) fn new(io: ShardIo, node: usize, life: usize) -> Self {
        let number = io.shard();
        Self { io, number, life, node, served: BTreeMap::new(), ended: BTreeSet::new(), drains: 0 }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.served.is_empty()
    }

    pub(super) fn describe(&self) -> String {
        let flows = self.served.values().map(|served| flow_of(&served.head)).collect::<Vec<_>>();
        format!(
            "\nshard {} life {} node {} running {} serves {flows:?}",
            self.number,
            self.life,
            self.node,
            self.io.is_running()
        )
    }

    /// Posts something to somebody.
    pub(super) fn act(&mut self, cx: &mut Cx) {
        if cx.is_over || !cx.chance.once_in(4) {
            return;
        }
        let to = cx.chance.below(cx.shards.into()) as u16;
        let token = cx.model.next_post(Some(self.life), to);
        let data = bytes(token, 1, 0, data_len(token));
        let posted = match data.len() {
            0 => self.io.post_to(to, token),
            _ => self.io.post_data_to(to, token, &data),
        };
        match posted {
            Ok(()) => cx.model.posted(Some(self.life), to, cx.life_of[usize::from(to)]),
            Err(
                IoError::QueueFull { .. }
                | IoError::ShardDown { .. }
                | IoError::PoolExhausted { .. }
                | IoError::BufferTooLarge { .. },
            ) => {}
            Err(error) => panic!("a post: {error}"),
        }
    }

    /// Takes up to so many events, and answers them.
    pub(super) fn drain(&mut self, cx: &mut Cx, count_max: usize) {
        for _ in 0..count_max {
            let (mut events, mut sender) = self.io.split();
            let Some(event) = events.next_event() else { break };
            let conn = match event {
                Event::Connected { conn, .. } => {
                    assert!(!self.ended.contains(&conn), "{conn} was connected behind its end");
                    let known = self.served.insert(conn, Served::default());
                    assert!(known.is_none(), "{conn} was connected twice");
                    continue;
                }
                Event::StreamFrame { conn, stream, data, .. } => {
                    let served = self.served.get_mut(&conn).expect("it is served");
                    cx.model.came(&mut served.head, served.came, data, self.life);
                    served.came += data.len() as u64;
                    served.stream = Some(stream);
                    served.waits.extend(data);
                    conn
                }
                Event::ReadClosed { conn, .. } => {
                    self.served.get_mut(&conn).expect("it is served").read_closed = true;
                    conn
                }
                Event::Writable { conn, .. } => conn,
                Event::Disconnected { conn, .. } => {
                    // Of a handshake that failed, nothing was told before.
                    assert!(self.ended.insert(conn), "{conn} ended twice");
                    self.served.remove(&conn);
                    continue;
                }
                Event::User { token, data } => {
                    cx.model.post_came(token, data, self.number, self.life);
                    continue;
                }
                Event::Draining { .. } => {
                    assert!(cx.model.lives[self.life].is_hurt, "it drains unasked");
                    self.drains += 1;
                    assert_eq!(self.drains, 1, "it is told once");
                    continue;
                }
                _ => continue,
            };
            let Some(served) = self.served.get_mut(&conn) else { continue };
            served.go_on(conn, &mut sender);
        }
    }
}

impl Served {
    /// Sends back what there is room for, and then ends what the client has ended.
    fn go_on(&mut self, conn: ConnId, sender: &mut zero_io::Sender<'_>) {
        if let Some(stream) = self.stream.filter(|_| !self.waits.is_empty()) {
            match sender.stream_write(conn, stream, &self.waits) {
                Ok(count) => drop(self.waits.drain(..count)),
                Err(_) => self.waits.clear(),
            }
        }
        if self.read_closed && self.waits.is_empty() && !self.is_closing {
            self.is_closing = true;
            let _ = sender.close_graceful(conn, Duration::from_secs(5));
        }
    }
}
