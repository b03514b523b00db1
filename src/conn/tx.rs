//! What waits to be sent: one queue per connection, and the blocks that hold a send under way.
//!
//! Role: segments in order, appended at the back, taken off the front as the kernel takes them.
//! Not role: submitting.
//!
//! *Invariants*: K5, a segment's memory stays held until the last completion of the send that
//! names it; a segment that is partly sent stays at the front with what is left of it.

use crate::pool::{BufId, Pool};
use crate::sys::gather::Gather;

/// No segment, no block.
pub(crate) const NO_SEGMENT: u32 = u32::MAX;
/// No transmit block.
pub(crate) const NO_BLOCK: u32 = u32::MAX;

/// One connection forwards up to so much of the free segments: an eighth.
const FORWARD_SHARE: usize = 8;

/// Where a segment's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A buffer of the pool, held once by the segment. `own`: written by a copying write, so that
    /// the next one may append.
    Buf { buf: BufId, own: bool },
    /// Memory of the application, by the guard's number.
    Guard { guard: u32 },
}

impl Source {
    /// The kernel may keep a part of the buffer: nothing is appended to it any more.
    const fn share(&mut self) {
        if let Self::Buf { own, .. } = self {
            *own = false;
        }
    }
}

/// A stretch of bytes to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) ptr: *const u8,
    pub(crate) source: Source,
    pub(crate) len: u32,
}

/// How a segment was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Appended {
    /// On its own, with its hold.
    Behind,
    /// The last one became longer: one of both holds is too many.
    Joined,
}

/// A segment behind the first, in the list of its connection.
struct Node {
    segment: Segment,
    next: u32,
}

/// A connection's queue: its first segment, which is the only one most of the time, and the ends of
/// a list in [`Segments`] for the others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxQueue {
    first: Segment,
    head: u32,
    tail: u32,
    /// Bytes in the queue.
    pub(crate) bytes: u32,
    /// Segments at the front that the send under way names.
    pub(crate) busy: u32,
    segments: u32,
}

impl TxQueue {
    pub(crate) const EMPTY: Self = Self {
        first: Segment {
            ptr: std::ptr::null(),
            source: Source::Buf { buf: BufId::NONE, own: false },
            len: 0,
        },
        head: NO_SEGMENT,
        tail: NO_SEGMENT,
        bytes: 0,
        busy: 0,
        segments: 0,
    };

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.segments == 0
    }

    /// Segments in the queue.
    pub(crate) const fn len(&self) -> usize {
        self.segments as usize
    }

    /// Whether it is one segment.
    #[inline]
    pub(crate) const fn is_single(&self) -> bool {
        self.segments == 1
    }

    /// The first segment of a queue that has one.
    #[inline]
    pub(crate) const fn first(&self) -> &Segment {
        &self.first
    }

    /// Makes a segment the only one of an empty queue.
    #[inline]
    pub(crate) const fn push_first(&mut self, segment: Segment) {
        debug_assert!(self.is_empty());
        self.bytes = segment.len;
        self.segments = 1;
        self.first = segment;
    }

    /// Takes the only segment off.
    #[inline]
    pub(crate) const fn pop_single(&mut self) -> Source {
        debug_assert!(self.is_single());
        self.bytes = 0;
        self.busy = 0;
        self.segments = 0;
        self.first.source
    }
}

/// The segments of all connections but the first of each.
pub(crate) struct Segments {
    nodes: Vec<Node>,
    free: u32,
    capacity: usize,
    used: usize,
    peak: usize,
}

impl Segments {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { nodes: Vec::with_capacity(capacity), free: NO_SEGMENT, capacity, used: 0, peak: 0 }
    }

    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    pub(crate) const fn peak(&self) -> usize {
        self.peak
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether one connection may queue another segment of what it forwards. What it may have falls
    /// with what is free, as with receive buffers: one whose peer does not read leaves room to the
    /// others.
    pub(crate) fn may_forward(&self, queue: &TxQueue) -> bool {
        let room = self.room();
        queue.is_empty() || (room > 0 && queue.segments as usize <= (room / FORWARD_SHARE).max(1))
    }

    /// # Panics
    /// When it grew past its bound.
    pub(crate) fn audit(&self) {
        let (places, max) = (self.nodes.len(), self.capacity);
        assert!(self.used <= places && places <= max, "{} of {places} segments", self.used);
    }

    /// Segments that can still be queued, whatever the queue.
    pub(crate) const fn room(&self) -> usize {
        self.capacity - self.used
    }

    fn alloc(&mut self, segment: Segment) -> Option<u32> {
        let node = Node { segment, next: NO_SEGMENT };
        let index = if self.free != NO_SEGMENT {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        } else if self.nodes.len() < self.capacity {
            self.nodes.push(node);
            self.nodes.len() as u32 - 1
        } else {
            return None;
        };
        self.used += 1;
        self.peak = self.peak.max(self.used);
        Some(index)
    }

    /// Appends a segment, or joins it to the last one. `None` when the bound is reached.
    pub(crate) fn append(&mut self, queue: &mut TxQueue, segment: Segment) -> Option<Appended> {
        if self.join_last(queue, &segment) {
            return Some(Appended::Joined);
        }
        self.push(queue, segment).then_some(Appended::Behind)
    }

    /// Appends a segment; false when the bound is reached.
    pub(crate) fn push(&mut self, queue: &mut TxQueue, segment: Segment) -> bool {
        if queue.is_empty() {
            queue.push_first(segment);
            return true;
        }
        let Some(index) = self.alloc(segment) else { return false };
        if queue.tail == NO_SEGMENT {
            queue.head = index;
        } else {
            self.nodes[queue.tail as usize].next = index;
        }
        queue.tail = index;
        queue.bytes += segment.len;
        queue.segments += 1;
        true
    }

    /// Takes the first segment off; the next one becomes the first.
    fn pop_first(&mut self, queue: &mut TxQueue) {
        queue.segments -= 1;
        let index = queue.head;
        if index == NO_SEGMENT {
            return;
        }
        let node = &mut self.nodes[index as usize];
        queue.first = node.segment;
        queue.head = node.next;
        if queue.head == NO_SEGMENT {
            queue.tail = NO_SEGMENT;
        }
        node.next = self.free;
        self.free = index;
        self.used -= 1;
    }

    /// Makes the last segment longer by what lies right behind it in the same memory, unless the
    /// last one is under way.
    fn join_last(&mut self, queue: &mut TxQueue, next: &Segment) -> bool {
        if queue.busy >= queue.segments {
            return false;
        }
        let last = self.last(queue);
        let joins = last.source == next.source
            && last.ptr.wrapping_add(last.len as usize) == next.ptr
            && last.len.checked_add(next.len).is_some();
        if joins {
            self.grow_last(queue, next.len);
        }
        joins
    }

    fn last<'a>(&'a mut self, queue: &'a mut TxQueue) -> &'a mut Segment {
        match self.nodes.get_mut(queue.tail as usize) {
            Some(node) => &mut node.segment,
            None => &mut queue.first,
        }
    }

    /// The last segment, if a copying write may append to it: it is not under way and its buffer is
    /// the write's own. Gives the buffer and the offset at which it ends.
    pub(crate) fn appendable(
        &mut self,
        queue: &mut TxQueue,
        pool: &Pool,
    ) -> Option<(BufId, usize)> {
        if queue.busy >= queue.segments {
            return None;
        }
        let last = self.last(queue);
        match last.source {
            Source::Buf { buf, own: true } => {
                Some((buf, last.ptr.addr() + last.len as usize - pool.ptr(buf).addr()))
            }
            _ => None,
        }
    }

    /// Makes the last segment longer by bytes that were appended to it.
    pub(crate) fn grow_last(&mut self, queue: &mut TxQueue, len: u32) {
        self.last(queue).len += len;
        queue.bytes += len;
    }

    /// The segments from the front.
    pub(crate) fn iter<'a>(&'a self, queue: &'a TxQueue) -> impl Iterator<Item = &'a Segment> {
        let mut at = queue.head;
        let others = std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            Some(&node.segment)
        });
        (!queue.is_empty()).then_some(&queue.first).into_iter().chain(others)
    }

    /// Takes `sent` bytes off the front. `done` is called with each piece that was sent (its source
    /// and length) and whether the segment ends with it.
    pub(crate) fn advance(
        &mut self,
        queue: &mut TxQueue,
        sent: u32,
        mut done: impl FnMut(Source, u32, bool),
    ) {
        debug_assert!(sent <= queue.bytes, "the kernel sent more than it was given");
        queue.bytes -= sent;
        queue.busy = 0;
        let mut left = sent;
        while left > 0 && !queue.is_empty() {
            let first = &mut queue.first;
            if first.len > left {
                done(first.source, left, false);
                first.len -= left;
                first.ptr = first.ptr.wrapping_add(left as usize);
                first.source.share();
                return;
            }
            left -= first.len;
            done(first.source, first.len, true);
            self.pop_first(queue);
        }
    }

    /// Marks the `count` segments at the front as shared with the kernel; each source, in order.
    pub(crate) fn share_front(
        &mut self,
        queue: &mut TxQueue,
        count: usize,
        mut each: impl FnMut(Source),
    ) {
        let mut at = NO_SEGMENT;
        for i in 0..count.min(queue.segments as usize) {
            let segment = match i {
                0 => &mut queue.first,
                _ => &mut self.nodes[at as usize].segment,
            };
            segment.source.share();
            each(segment.source);
            at = if i == 0 { queue.head } else { self.nodes[at as usize].next };
        }
    }

    /// Drops the whole queue.
    pub(crate) fn clear(&mut self, queue: &mut TxQueue, mut drop: impl FnMut(Source)) {
        while !queue.is_empty() {
            drop(queue.first.source);
            self.pop_first(queue);
        }
        *queue = TxQueue::EMPTY;
    }
}

/// What one gathered or zero-copy send needs at a stable address until its last completion.
pub(crate) struct Block {
    pub(crate) gather: Gather,
    pub(crate) generation: u32,
    /// Sources that a zero-copy send has finished with on the socket, and that its notification
    /// will free.
    pub(crate) pinned: Vec<Source>,
    /// Bytes of the connection that those are.
    pub(crate) pinned_bytes: u32,
    /// The connection that the send is of, in its generation.
    pub(crate) conn: crate::ids::ConnId,
    busy: bool,
}

/// The transmit blocks of one shard. Without a free one, segments are sent singly.
pub(crate) struct Blocks {
    /// Boxed, since the kernel knows their addresses.
    #[expect(clippy::vec_box, reason = "a block must not move when the list grows (K5)")]
    blocks: Vec<Box<Block>>,
    free: Vec<u32>,
}

impl Blocks {
    /// Gathered and zero-copy sends that can be under way. Without a free block, segments are sent
    /// one by one.
    pub(crate) const MAX: usize = 256;

    pub(crate) fn new(connections: usize) -> Self {
        let count = connections.min(Self::MAX);
        let block = || {
            Box::new(Block {
                gather: Gather::new(),
                generation: 0,
                pinned: Vec::with_capacity(Gather::CAPACITY),
                pinned_bytes: 0,
                conn: crate::ids::ConnId::from_u64(0),
                busy: false,
            })
        };
        let blocks = (0..count).map(|_| block()).collect();
        Self { blocks, free: (0..count as u32).rev().collect() }
    }

    pub(crate) fn take(&mut self, conn: crate::ids::ConnId) -> Option<u32> {
        let index = self.free.pop()?;
        let block = &mut self.blocks[index as usize];
        debug_assert!(!block.busy && block.pinned.is_empty());
        block.gather.clear();
        block.conn = conn;
        block.busy = true;
        Some(index)
    }

    pub(crate) fn at(&mut self, index: u32) -> &mut Block {
        &mut self.blocks[index as usize]
    }

    /// The block that a completion names, if it is still for the same send.
    pub(crate) fn of_token(&mut self, token: crate::ring::Token) -> Option<&mut Block> {
        let block = self.blocks.get_mut(token.index() as usize)?;
        (block.busy && block.generation == token.generation()).then_some(block)
    }

    pub(crate) fn free(&mut self, index: u32) {
        let block = &mut self.blocks[index as usize];
        debug_assert!(block.busy && block.pinned.is_empty());
        block.busy = false;
        block.generation = (block.generation + 1) & ((1 << crate::ids::GENERATION_BITS) - 1);
        self.free.push(index);
    }

    /// Whether another block may be kept until a peer acknowledges what it was sent: a part of them
    /// stays with those whose sends end soon.
    pub(crate) fn may_be_pinned(&self) -> bool {
        self.free.len() > self.blocks.len() / 4
    }

    /// # Panics
    /// When a block is lent out and free, or neither.
    pub(crate) fn audit(&self) {
        let busy = self.blocks.iter().filter(|block| block.busy).count();
        assert!(busy + self.free.len() == self.blocks.len(), "{busy} blocks lent out");
    }

    /// Blocks of sends whose last completion did not come yet.
    pub(crate) fn busy(&self) -> usize {
        self.blocks.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 100] = [0; 100];

    fn buf(n: u32) -> Source {
        Source::Buf { buf: BufId(n), own: false }
    }

    fn segment(n: u32, len: u32) -> Segment {
        Segment { ptr: BYTES.as_ptr(), source: buf(n), len }
    }

    #[test]
    fn a_short_send_leaves_the_rest_at_the_front() {
        let mut segments = Segments::new(4);
        let mut queue = TxQueue::EMPTY;
        for n in 0..3 {
            assert!(segments.push(&mut queue, segment(n, 100)));
        }
        let mut seen = Vec::new();
        segments.advance(&mut queue, 150, |s, n, end| seen.push((s, n, end)));
        assert_eq!(seen, [(buf(0), 100, true), (buf(1), 50, false)]);
        assert_eq!(queue.bytes, 150);
        let front = queue.first();
        assert_eq!((front.source, front.ptr), (buf(1), BYTES.as_ptr().wrapping_add(50)));
        assert_eq!(front.len, 50);
        assert_eq!(segments.iter(&queue).count(), 2);
        segments.advance(&mut queue, 150, |_, _, _| ());
        assert!(queue.is_empty() && segments.used() == 0);
    }

    #[test]
    fn the_bound_is_shared_and_the_first_of_each_is_free() {
        let mut segments = Segments::new(1);
        let (mut a, mut b) = (TxQueue::EMPTY, TxQueue::EMPTY);
        for (queue, n) in [(&mut a, 0), (&mut b, 1)] {
            assert!(segments.push(queue, segment(n, 1)));
        }
        assert!(segments.push(&mut a, segment(2, 1)) && segments.room() == 0);
        assert!(!segments.push(&mut b, segment(3, 1)));
        let mut dropped = Vec::new();
        segments.clear(&mut a, |source| dropped.push(source));
        assert_eq!(dropped, [buf(0), buf(2)]);
        assert!(segments.push(&mut b, segment(3, 1)));
    }
}
