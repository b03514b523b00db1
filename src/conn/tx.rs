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

/// Where a segment's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A buffer of the pool, held once by the segment. `own`: written by a copying write, so that
    /// the next one may append.
    Buf { buf: BufId, own: bool },
    /// Memory of the application, by the guard's number.
    Guard { guard: u32 },
}

/// A stretch of bytes to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) ptr: *const u8,
    pub(crate) source: Source,
    pub(crate) len: u32,
    next: u32,
}

/// A connection's queue: the ends of a list in [`Segments`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxQueue {
    head: u32,
    tail: u32,
    /// Bytes in the queue.
    pub(crate) bytes: u32,
    /// Segments at the front that the send under way names.
    pub(crate) busy: u32,
    segments: u32,
}

impl TxQueue {
    pub(crate) const EMPTY: Self =
        Self { head: NO_SEGMENT, tail: NO_SEGMENT, bytes: 0, busy: 0, segments: 0 };

    pub(crate) const fn is_empty(&self) -> bool {
        self.head == NO_SEGMENT
    }

    /// Whether it is one segment.
    #[inline]
    pub(crate) const fn is_single(&self) -> bool {
        self.segments == 1
    }
}

/// The segments of all connections.
pub(crate) struct Segments {
    nodes: Vec<Segment>,
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

    /// Segments that can still be queued.
    pub(crate) const fn room(&self) -> usize {
        self.capacity - self.used
    }

    #[inline]
    fn alloc(&mut self, ptr: *const u8, source: Source, len: u32) -> Option<u32> {
        let node = Segment { ptr, source, len, next: NO_SEGMENT };
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

    #[inline]
    fn dealloc(&mut self, index: u32) {
        self.nodes[index as usize].next = self.free;
        self.free = index;
        self.used -= 1;
    }

    /// Appends a segment; false when the bound is reached.
    #[inline]
    pub(crate) fn push(
        &mut self,
        queue: &mut TxQueue,
        ptr: *const u8,
        source: Source,
        len: u32,
    ) -> bool {
        let Some(index) = self.alloc(ptr, source, len) else { return false };
        if queue.tail == NO_SEGMENT {
            queue.head = index;
        } else {
            self.nodes[queue.tail as usize].next = index;
        }
        queue.tail = index;
        queue.bytes += len;
        queue.segments += 1;
        true
    }

    /// The last segment, if a copying write may append to it: it is not under way and its buffer is
    /// the write's own. Gives the buffer and the offset at which it ends.
    pub(crate) fn appendable(&self, queue: &TxQueue, pool: &Pool) -> Option<(BufId, usize)> {
        if queue.tail == NO_SEGMENT || queue.busy >= queue.segments {
            return None;
        }
        let tail = &self.nodes[queue.tail as usize];
        match tail.source {
            Source::Buf { buf, own: true } => {
                let end = tail.ptr.addr() + tail.len as usize;
                Some((buf, end - pool.ptr(buf).addr()))
            }
            _ => None,
        }
    }

    /// Makes the last segment longer by bytes that were appended to it.
    #[inline]
    pub(crate) fn grow_last(&mut self, queue: &mut TxQueue, len: u32) {
        self.nodes[queue.tail as usize].len += len;
        queue.bytes += len;
    }

    /// The segments from the front.
    pub(crate) fn iter(&self, queue: TxQueue) -> impl Iterator<Item = &Segment> {
        let mut at = queue.head;
        std::iter::from_fn(move || {
            let node = self.nodes.get(at as usize)?;
            at = node.next;
            Some(node)
        })
    }

    /// The first segment.
    #[inline]
    pub(crate) fn front(&self, queue: &TxQueue) -> Option<&Segment> {
        self.nodes.get(queue.head as usize)
    }

    /// Takes the only segment off a queue of one.
    #[inline]
    pub(crate) fn pop_single(&mut self, queue: &mut TxQueue) -> Source {
        debug_assert!(queue.segments == 1);
        let source = self.nodes[queue.head as usize].source;
        self.dealloc(queue.head);
        *queue = TxQueue::EMPTY;
        source
    }

    /// Takes `sent` bytes off the front. `done` is called with each piece that was sent (its
    /// source and length) and whether the segment ends with it.
    #[inline]
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
        while queue.head != NO_SEGMENT {
            let index = queue.head;
            let node = &mut self.nodes[index as usize];
            if node.len > left {
                if left > 0 {
                    done(node.source, left, false);
                    node.len -= left;
                    node.ptr = node.ptr.wrapping_add(left as usize);
                }
                return;
            }
            left -= node.len;
            done(node.source, node.len, true);
            queue.head = node.next;
            queue.segments -= 1;
            self.dealloc(index);
            if queue.head == NO_SEGMENT {
                queue.tail = NO_SEGMENT;
            }
            if left == 0 {
                return;
            }
        }
    }

    /// Drops the whole queue.
    pub(crate) fn clear(&mut self, queue: &mut TxQueue, mut drop: impl FnMut(Source)) {
        while queue.head != NO_SEGMENT {
            let index = queue.head;
            let node = self.nodes[index as usize];
            queue.head = node.next;
            self.dealloc(index);
            drop(node.source);
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
    max: usize,
}

impl Blocks {
    /// Gathered sends that can be under way at a time.
    pub(crate) const MAX: usize = 4096;

    pub(crate) fn new(connections: usize) -> Self {
        let max = connections.min(Self::MAX);
        Self { blocks: Vec::with_capacity(max), free: Vec::with_capacity(max), max }
    }

    pub(crate) fn take(&mut self, conn: crate::ids::ConnId) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.blocks.len() < self.max => {
                self.blocks.push(Box::new(Block {
                    gather: Gather::new(),
                    generation: 0,
                    pinned: Vec::with_capacity(Gather::CAPACITY),
                    conn,
                    busy: false,
                }));
                self.blocks.len() as u32 - 1
            }
            None => return None,
        };
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

    /// What zero-copy sends of a connection keep until their notifications.
    pub(crate) fn pinned_of(&self, conn: crate::ids::ConnId) -> impl Iterator<Item = &Source> {
        self.blocks.iter().filter(move |b| b.busy && b.conn == conn).flat_map(|b| &b.pinned)
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

    #[test]
    fn a_short_send_leaves_the_rest_at_the_front() {
        let mut segments = Segments::new(4);
        let mut queue = TxQueue::EMPTY;
        for n in 0..3 {
            assert!(segments.push(&mut queue, BYTES.as_ptr(), buf(n), 100));
        }
        let mut seen = Vec::new();
        segments.advance(&mut queue, 150, |s, n, end| seen.push((s, n, end)));
        assert_eq!(seen, [(buf(0), 100, true), (buf(1), 50, false)]);
        assert_eq!(queue.bytes, 150);
        let front = segments.iter(queue).next().unwrap();
        assert_eq!((front.source, front.ptr), (buf(1), BYTES.as_ptr().wrapping_add(50)));
        assert_eq!(front.len, 50);
        segments.advance(&mut queue, 150, |_, _, _| ());
        assert!(queue.is_empty() && segments.used() == 0);
    }

    #[test]
    fn the_bound_is_shared() {
        let mut segments = Segments::new(2);
        let (mut a, mut b) = (TxQueue::EMPTY, TxQueue::EMPTY);
        assert!(
            segments.push(&mut a, BYTES.as_ptr(), buf(0), 1)
                && segments.push(&mut b, BYTES.as_ptr(), buf(1), 1)
        );
        assert!(!segments.push(&mut a, BYTES.as_ptr(), buf(2), 1));
        segments.clear(&mut b, |_| ());
        assert!(segments.push(&mut a, BYTES.as_ptr(), buf(2), 1));
    }
}
