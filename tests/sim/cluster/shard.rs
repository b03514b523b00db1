//! A shard that echoes, and posts to the others.

use std::collections::{BTreeMap, BTreeSet};

use zero_io::{ConnId, Event, IoError, ShardIo, code};

use super::Cx;
use super::model::{data_len, flow_of};
use super::served::Served;
use super::udp;
use crate::pattern::bytes;

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

    /// Posts something to somebody, and hands a connection over.
    pub(super) fn act(&mut self, cx: &mut Cx) {
        if cx.is_wide && !cx.is_over && cx.chance.once_in(6) {
            self.hand_over(cx);
        }
        self.post(cx);
    }

    fn hand_over(&mut self, cx: &mut Cx) {
        let to = cx.chance.below(cx.shards.into()) as u16;
        let mut movable = self.served.iter_mut().filter(|(_, served)| served.may_leave());
        if let Some((conn, served)) = movable.next() {
            served.leave(*conn, (self.life, to), &mut self.io.split().1, cx);
        }
    }

    fn post(&mut self, cx: &mut Cx) {
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
                    let served = Served::begin(conn, self.life, &mut sender, cx);
                    let known = self.served.insert(conn, served);
                    assert!(known.is_none(), "{conn} was connected twice");
                    conn
                }
                Event::StreamFrame { conn, stream, data, .. } => {
                    let served = self.served.get_mut(&conn).expect("it is served");
                    assert!(!served.is_leaving(), "{conn} tells something while it leaves");
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
                Event::HandOverFailed { conn } => {
                    self.served.get_mut(&conn).expect("it is here").stay(self.life, cx);
                    conn
                }
                Event::Disconnected { conn, error_code, .. } => {
                    // Of a handshake that failed, nothing was told before.
                    assert!(self.ended.insert(conn), "{conn} ended twice");
                    let served = self.served.remove(&conn);
                    let has_left = served.is_some_and(|served| served.is_leaving());
                    assert!(has_left || error_code != code::HANDED_OVER, "{conn} left unasked");
                    continue;
                }
                Event::UdpRecv { endpoint, from, data, truncated, .. } => {
                    assert!(!truncated, "there was room for all of it");
                    udp::answer((endpoint, from, data), self.number, &mut sender, cx);
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
