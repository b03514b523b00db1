//! [`Packets`]: what the kernel receives datagrams into.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::config::GRO_BUFFER_SIZE;
use crate::sys::batch::RecvBatch;

/// Bytes of a buffer beyond the longest train, so that the heads of buffers do not share the sets
/// of a cache.
const STAGGER: usize = 3 * 64;

/// Receive buffers of one shard, by number.
///
/// Those that peers keep from coming home are at most as many as are not in the reserve: beyond,
/// each packet gets memory of its own, and the buffer is at home again at once.
pub(crate) struct Packets {
    buffers: Box<[BytesMut]>,
    /// Numbers of buffers at home; the last one is the warmest in the cache.
    free: Vec<u32>,
    /// Numbers of buffers of which packets are referred to, the oldest first.
    out: VecDeque<u32>,
    /// The most that are out.
    out_max: usize,
    /// Packets that were copied.
    copied: u64,
}

impl Packets {
    pub(crate) fn new(count: usize) -> Self {
        let make = |_| {
            let mut buffer = BytesMut::with_capacity(GRO_BUFFER_SIZE + STAGGER);
            // The count of what refers to it is allocated when it is first cut.
            drop(buffer.split());
            buffer
        };
        Self {
            buffers: (0..count).map(make).collect(),
            free: (0..count as u32).rev().collect(),
            out: VecDeque::with_capacity(count),
            out_max: count - (count / 8).max(1),
            copied: 0,
        }
    }

    /// Adds buffers to `batch` until it has `wanted`, or as many as can be spared; how many it has.
    /// `batch` is for keys below the count of buffers.
    pub(crate) fn stage(&mut self, batch: &mut RecvBatch, wanted: usize) -> usize {
        self.reclaim();
        let reserve = self.buffers.len() - self.out_max;
        let spare = match self.out_max - self.out.len() {
            0 => reserve,
            spare => spare,
        };
        while batch.len() < wanted.min(spare)
            && let Some(key) = self.free.pop()
        {
            let room = self.buffers[key as usize].spare_capacity_mut();
            if !batch.push(room.as_mut_ptr().cast(), GRO_BUFFER_SIZE, key) {
                self.free.push(key);
                break;
            }
        }
        batch.len()
    }

    /// Takes back what was staged and not used.
    pub(crate) fn unstage(&mut self, batch: &mut RecvBatch) {
        while let Some(key) = batch.pop() {
            self.free.push(key);
        }
    }

    /// The datagrams in buffer `key`, which a receive call said to hold `len` bytes, each `segment`
    /// bytes long but for the last (0: there is one).
    ///
    /// # Panics
    /// When `len` exceeds what was staged.
    pub(crate) fn take(&mut self, key: u32, len: u32, segment: u16) -> Pieces<'_> {
        let len = len as usize;
        assert!(len <= GRO_BUFFER_SIZE, "more than the buffer holds");
        let buffer = &mut self.buffers[key as usize];
        // SAFETY: K5: the receive call has ended, and wrote so many bytes from the head of the
        // buffer on, which `stage` had pointed it to.
        unsafe { buffer.set_len(len) };
        let rest = buffer.split();
        let segment = if segment == 0 { len } else { usize::from(segment) };
        let copies = self.out.len() >= self.out_max;
        if !copies {
            self.out.push_back(key);
        }
        Pieces { packets: self, key, rest, segment, copies }
    }

    /// Takes home the buffers that nothing refers to any more.
    fn reclaim(&mut self) {
        for _ in 0..self.out.len() {
            let Some(key) = self.out.pop_front() else { return };
            let home = come_home(&mut self.buffers[key as usize]);
            if home { self.free.push(key) } else { self.out.push_back(key) }
        }
    }

    /// Whether there are enough of them for the application to keep some.
    pub(crate) fn may_keep(&self) -> bool {
        self.out.len() < self.out_max / 2
    }

    /// Packets that were copied, because peers kept too many buffers from coming home.
    pub(crate) const fn copied(&self) -> u64 {
        self.copied
    }

    /// Checks that every buffer is in one place.
    ///
    /// # Panics
    /// When one is not.
    pub(crate) fn audit(&self, staged: usize) {
        let found = self.free.len() + self.out.len() + staged;
        assert!(found == self.buffers.len(), "{found} of {} packet buffers", self.buffers.len());
    }

    /// Whether all had come home when that was last looked at.
    pub(crate) fn is_all_home(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether nothing refers to any buffer that is not staged.
    pub(crate) fn is_home(&mut self) -> bool {
        self.reclaim();
        self.out.is_empty()
    }
}

/// Whether nothing refers to the buffer; then it is as it was made. With less than all of its
/// capacity asked for, its head might stay where the last datagram ended.
fn come_home(buffer: &mut BytesMut) -> bool {
    buffer.try_reclaim(GRO_BUFFER_SIZE + STAGGER)
}

/// The datagrams of one buffer.
pub(crate) struct Pieces<'a> {
    packets: &'a mut Packets,
    key: u32,
    rest: BytesMut,
    segment: usize,
    copies: bool,
}

impl Iterator for Pieces<'_> {
    type Item = BytesMut;

    fn next(&mut self) -> Option<BytesMut> {
        if self.rest.is_empty() {
            return None;
        }
        let piece = self.rest.split_to(self.segment.min(self.rest.len()));
        if !self.copies {
            return Some(piece);
        }
        self.packets.copied += 1;
        Some(BytesMut::from(&piece[..]))
    }
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        if !self.copies {
            return;
        }
        self.rest = BytesMut::new();
        let home = come_home(&mut self.packets.buffers[self.key as usize]);
        debug_assert!(home, "copies refer to nothing");
        self.packets.free.push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::batch::{BATCH_MAX, Received};

    /// Receives trains of those lengths, filled with a byte each; the pieces.
    fn receive(
        packets: &mut Packets,
        batch: &mut RecvBatch,
        trains: &[(u8, usize, u16)],
    ) -> Vec<BytesMut> {
        let staged = packets.stage(batch, trains.len());
        let trains = &trains[..staged];
        batch.want(staged, true);
        let room: Vec<_> = batch.iter().collect();
        for (i, ((fill, len, segment), (at, room))) in trains.iter().zip(room).enumerate() {
            assert!(*len <= room);
            // SAFETY: the buffer was staged with that room.
            unsafe { std::slice::from_raw_parts_mut(at, *len) }.fill(*fill);
            let note = Received { segment: *segment, ..Received::EMPTY };
            batch.fill(i, *len as u32, note);
        }
        let arrived: Vec<_> = batch.arrivals(staged).map(|(at, note)| (at, note.segment)).collect();
        let mut pieces = Vec::new();
        for (at, segment) in arrived {
            pieces.extend(packets.take(at.key, at.len, segment));
        }
        batch.consume(staged);
        pieces
    }

    #[test]
    fn a_train_is_cut_and_its_buffer_comes_home() {
        let (mut packets, mut batch) = (Packets::new(8), RecvBatch::new(8));
        let head = {
            let pieces = receive(&mut packets, &mut batch, &[(9, 63_001, 1200)]);
            let lens: Vec<_> = pieces.iter().map(BytesMut::len).collect();
            assert_eq!((lens.len(), lens[0], lens[52]), (53, 1200, 601));
            assert!(pieces.iter().flatten().all(|byte| *byte == 9));
            pieces[0].as_ptr() as usize
        };
        for round in 0..1000_usize {
            let pieces = receive(&mut packets, &mut batch, &[(round as u8, 1 + round * 60, 0)]);
            assert_eq!(pieces[0].as_ptr() as usize, head, "the warmest, at the same address");
            assert_eq!(pieces[0].len(), 1 + round * 60);
        }
        assert!(packets.is_home());
        packets.audit(batch.len());
        assert_eq!(packets.copied(), 0);
    }

    #[test]
    fn what_is_held_stays_and_the_others_go_round() {
        let (mut packets, mut batch) = (Packets::new(8), RecvBatch::new(8));
        let mut held = Vec::new();
        for round in 0..200_u8 {
            let pieces = receive(&mut packets, &mut batch, &[(round, 3000, 1000), (1, 1, 0)]);
            held.extend(pieces.into_iter().next().map(|piece| (round, piece)));
            packets.audit(batch.len());
        }
        for (round, piece) in &held {
            assert!(piece.len() == 1000 && piece.iter().all(|byte| byte == round));
        }
        assert!(packets.copied() > 0, "seven buffers are pinned, the eighth goes on");
        assert_eq!(held.len(), 200);
        drop(held);
        assert!(packets.is_home());
        let copied = packets.copied();
        receive(&mut packets, &mut batch, &[(1, 1, 0)]);
        assert_eq!(packets.copied(), copied);
    }

    #[test]
    fn empty_datagrams_are_nothing() {
        let (mut packets, mut batch) = (Packets::new(8), RecvBatch::new(BATCH_MAX));
        assert!(receive(&mut packets, &mut batch, &[(0, 0, 0), (0, 0, 1200)]).is_empty());
        assert!(packets.is_home());
        assert_eq!(packets.stage(&mut batch, 3), 3);
        packets.audit(3);
        packets.unstage(&mut batch);
        packets.audit(0);
    }
}
