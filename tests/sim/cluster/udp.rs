//! UDP in the worlds of clusters: clients that ask, and shards that send back what came.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use zero_io::{EndpointId, Io, IoError, Sender};

use super::Cx;
use crate::pattern::bytes;

/// Where the cluster has its sockets.
pub(super) const PORT: u16 = 7_002;
const NUMBER_LEN: usize = 8;

/// A datagram that a client has sent.
#[derive(Debug, Default)]
struct Asked {
    len: u64,
    /// No path doubled it.
    is_single: bool,
    came: u64,
    came_back: u64,
}

/// All datagrams of a world.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    asked: Vec<Asked>,
    /// The shard that the datagrams of an address come to.
    homes: BTreeMap<SocketAddr, u16>,
    pub(super) answered_count: u64,
}

impl Datagrams {
    fn text(number: u64, len: u64) -> Vec<u8> {
        [&number.to_le_bytes()[..], &bytes(number, 2, 0, len)].concat()
    }

    fn find(&mut self, data: &[u8]) -> &mut Asked {
        let number = data.first_chunk::<NUMBER_LEN>().expect("a number is in front");
        let number = u64::from_le_bytes(*number);
        let asked = self.asked.get_mut(number as usize).expect("somebody sent it");
        assert!(*data == Self::text(number, asked.len), "datagram {number} has other bytes");
        asked
    }
}

/// A shard got one: it sends it back.
pub(super) fn answer(
    (endpoint, from, data): (EndpointId, SocketAddr, &[u8]),
    shard: u16,
    sender: &mut Sender<'_>,
    cx: &mut Cx,
) {
    let asked = cx.datagrams.find(data);
    asked.came += 1;
    assert!(asked.came == 1 || !asked.is_single, "a datagram came twice: {asked:?}");
    if cx.model.hurt_count == 0 {
        let home = *cx.datagrams.homes.entry(from).or_insert(shard);
        assert_eq!(home, shard, "the shard of {from}");
    }
    match sender.udp_send_bytes(endpoint, from, data) {
        Ok(()) | Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {}
        Err(error) => panic!("an answer: {error}"),
    }
}

/// A client's socket.
pub(super) struct Asker(Option<EndpointId>);

impl Asker {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Sends something, now and then; closes its socket in the end.
    pub(super) fn act(&mut self, io: &mut Io, cx: &mut Cx) {
        if cx.is_over {
            if let Some(endpoint) = self.0.take() {
                io.endpoint_close(endpoint).expect("it is open");
            }
            return;
        }
        if !cx.is_wide || !cx.chance.once_in(4) {
            return;
        }
        if self.0.is_none() {
            self.0 = io.udp_bind(SocketAddr::from(([127, 0, 0, 1], 0))).ok();
        }
        let Some(endpoint) = self.0 else { return };
        let (number, len) = (cx.datagrams.asked.len() as u64, cx.chance.below(1_000) as u64);
        let to = SocketAddr::from(([127, 0, 0, 1], PORT));
        match io.udp_send_bytes(endpoint, to, &Datagrams::text(number, len)) {
            Ok(()) => {
                let is_single = cx.is_liveness;
                cx.datagrams.asked.push(Asked { len, is_single, ..Asked::default() });
            }
            Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {}
            Err(error) => panic!("a question: {error}"),
        }
    }
}

/// One came back to a client.
pub(super) fn came_back(data: &[u8], cx: &mut Cx) {
    let asked = cx.datagrams.find(data);
    asked.came_back += 1;
    let is_fine = asked.came_back <= asked.came || !asked.is_single;
    assert!(asked.came > 0 && is_fine, "it came back more often than it was sent: {asked:?}");
    cx.datagrams.answered_count += 1;
}
