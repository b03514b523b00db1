//! [`Cells`]: where written bytes are until they are acknowledged.
//!
//! ```text
//! | given out: frozen, shared | not given out: written by Cells alone |
//! 0                          at                                CELL_LEN
//! ```
//!
//! *Invariant*: a byte of a cell is written once, before anybody looks at it, and not again until
//! nothing refers to any byte of the cell. A [`Region`] is given out unwritten, to one owner.

use std::collections::VecDeque;
use std::ptr::NonNull;

use bytes::{Bytes, BytesMut};

use super::held::Region;

/// Bytes in a cell.
const CELL_LEN: usize = 16 << 10;
/// Cells that a write which needs another one looks at, to find some that came home.
const LOOKS: usize = 4;

/// Cells, each made when it is first needed. All connections of a shard write to the same one, so
/// that an idle connection holds nothing.
pub(crate) struct Cells {
    /// The cell that is being written.
    open: Option<Open>,
    /// Written full, the oldest first: their bytes wait to be acknowledged.
    out: VecDeque<BytesMut>,
    free: Vec<BytesMut>,
    made: usize,
    max: usize,
    /// Writes that got memory of their own.
    strays: u64,
}

/// The cell that is being written.
struct Open {
    /// What takes the memory home.
    home: BytesMut,
    whole: Bytes,
    base: NonNull<u8>,
    /// Bytes that were given out.
    at: usize,
}

impl Open {
    /// Of an empty cell, all of whose memory was written at some time.
    fn new(mut home: BytesMut) -> Self {
        debug_assert!(home.is_empty() && home.capacity() >= CELL_LEN);
        // SAFETY: the capacity is that long, and was filled with zeroes when the cell was made.
        unsafe { home.set_len(CELL_LEN) };
        let base = NonNull::from(&mut home[..]).cast();
        let whole = home.split().freeze();
        Self { home, whole, base, at: 0 }
    }

    const fn room(&self) -> usize {
        CELL_LEN - self.at
    }

    /// The next byte to be given out.
    fn next(&self) -> NonNull<u8> {
        // SAFETY: `at` is at most the cell's length.
        unsafe { self.base.add(self.at) }
    }

    /// The next bytes, which are to be written before anybody looks at them, and given out with
    /// `at`.
    fn peek(&self, len: usize) -> Bytes {
        self.whole.slice(self.at..self.at + len)
    }

    /// Writes the next bytes and gives them out.
    fn fill(&mut self, data: &[u8]) {
        assert!(data.len() <= self.room(), "outside the cell");
        // SAFETY: inside the cell; nobody but this cell refers to what was not given out, or looks
        // at it, and `data` is of somebody else.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.next().as_ptr(), data.len());
        }
        self.at += data.len();
    }
}

impl Cells {
    /// At most `max` cells.
    pub(crate) fn new(max: usize) -> Self {
        let (out, free) = (VecDeque::with_capacity(max), Vec::with_capacity(max));
        Self { open: None, out, free, made: 0, max, strays: 0 }
    }

    /// Copies the front of `data`, as much as fits the open cell, but at least one byte if there is
    /// one. With no cell at home, into memory of its own.
    pub(crate) fn write(&mut self, data: &[u8]) -> Bytes {
        if let Some(cell) = self.open()
            && !data.is_empty()
        {
            let len = data.len().min(cell.room());
            let piece = cell.peek(len);
            cell.fill(&data[..len]);
            return piece;
        }
        self.strays += u64::from(!data.is_empty());
        Bytes::copy_from_slice(&data[..data.len().min(CELL_LEN)])
    }

    /// Copies the front of `data` behind `piece`, which `write` gave out, where nothing else was
    /// written behind it and the cell has room. How many bytes.
    pub(crate) fn extend(&mut self, piece: &mut Bytes, data: &[u8]) -> usize {
        let Some(cell) = &mut self.open else { return 0 };
        let begin = (piece.as_ptr() as usize).wrapping_sub(cell.base.as_ptr() as usize);
        // A piece of the cell before may end where this one begins.
        let is_here = begin < cell.at && begin + piece.len() == cell.at;
        if !is_here {
            return 0;
        }
        let len = data.len().min(cell.room());
        cell.fill(&data[..len]);
        *piece = cell.whole.slice(begin..cell.at);
        len
    }

    /// As `write`, for one who says only when asked how many bytes it takes: `take` gets the memory
    /// first, and so many bytes are copied there as it says. It does not look at them.
    pub(crate) fn write_taken<E>(
        &mut self,
        data: &[u8],
        take: impl FnOnce(Bytes) -> Result<usize, E>,
    ) -> Result<usize, E> {
        if let Some(cell) = self.open() {
            let len = data.len().min(cell.room());
            let taken = take(cell.peek(len))?.min(len);
            cell.fill(&data[..taken]);
            return Ok(taken);
        }
        let mut own = Open::new(empty_cell());
        let len = data.len().min(CELL_LEN);
        let taken = take(own.peek(len))?.min(len);
        own.fill(&data[..taken]);
        self.strays += u64::from(taken > 0);
        Ok(taken)
    }

    /// Copies all of `data`, in one piece. What is longer than a cell, or finds none at home, gets
    /// memory of its own.
    pub(crate) fn write_whole(&mut self, data: &[u8]) -> Bytes {
        if !data.is_empty()
            && let Some(cell) = self.open_for(data.len())
        {
            let piece = cell.peek(data.len());
            cell.fill(data);
            return piece;
        }
        self.strays += u64::from(!data.is_empty());
        Bytes::copy_from_slice(data)
    }

    /// Memory to be written by one owner, which comes home when it is dropped, or when what it was
    /// frozen to is. `None` for more than a cell, or without one at home.
    pub(crate) fn lend(&mut self, len: usize) -> Option<Region> {
        let cell = self.open_for(len)?;
        // SAFETY: the bytes are initialised and given out to nobody else; the region keeps them.
        let region = unsafe { Region::new(cell.peek(len), cell.next()) };
        cell.at += len;
        Some(region)
    }

    /// The cell to write to, which has room.
    fn open(&mut self) -> Option<&mut Open> {
        self.open_for(1)
    }

    /// A cell that has room for so many bytes.
    fn open_for(&mut self, len: usize) -> Option<&mut Open> {
        if len > CELL_LEN {
            return None;
        }
        if let Some(full) = self.open.take_if(|cell| cell.room() == 0) {
            self.out.push_back(full.home);
        }
        if self.open.as_ref().is_none_or(|cell| cell.room() < len) {
            let next = Open::new(self.take_free()?);
            if let Some(full) = self.open.replace(next) {
                self.out.push_back(full.home);
            }
        }
        self.open.as_mut()
    }

    fn take_free(&mut self) -> Option<BytesMut> {
        if self.free.is_empty() {
            self.reclaim(LOOKS);
        }
        if let Some(cell) = self.free.pop() {
            return Some(cell);
        }
        if self.made == self.max {
            return None;
        }
        self.made += 1;
        Some(empty_cell())
    }

    /// Looks at up to `looks` of the cells that are out, the oldest first, and takes home those
    /// that nothing refers to any more.
    pub(crate) fn reclaim(&mut self, looks: usize) {
        for _ in 0..looks.min(self.out.len()) {
            let Some(mut cell) = self.out.pop_front() else { return };
            // With less than all of its capacity asked for, it might come home in part.
            if cell.try_reclaim(CELL_LEN) {
                self.free.push(cell);
            } else {
                self.out.push_back(cell);
            }
        }
    }

    /// Writes that got memory of their own, for want of a cell.
    #[cfg(test)]
    pub(crate) const fn strays(&self) -> u64 {
        self.strays
    }

    /// Whether all had come home when that was last looked at.
    pub(crate) fn is_all_home(&self) -> bool {
        self.out.is_empty() && self.open.is_none()
    }

    /// Whether nothing refers to any cell.
    pub(crate) fn is_home(&mut self) -> bool {
        if let Some(open) = self.open.take() {
            self.out.push_back(open.home);
        }
        self.reclaim(self.out.len());
        self.out.is_empty()
    }
}

/// A cell that was never used. The system gives zeroes without writing them.
fn empty_cell() -> BytesMut {
    let mut cell = BytesMut::zeroed(CELL_LEN);
    // The count of what refers to it is allocated when it is first cut.
    drop(cell.split());
    let home = cell.try_reclaim(CELL_LEN);
    debug_assert!(home, "nothing refers to it");
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_home_at_the_same_address() {
        let mut cells = Cells::new(3);
        let mut heads = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            // It fills a cell from its head to its end.
            let piece = cells.write(&[7; CELL_LEN]);
            assert_eq!(piece.len(), CELL_LEN);
            heads.insert(piece.as_ptr() as usize);
        }
        assert!(cells.is_home());
        assert_eq!((heads.len(), cells.made, cells.strays()), (1, 1, 0));
    }

    #[test]
    fn what_is_held_is_never_overwritten() {
        let mut cells = Cells::new(4);
        let mut held = std::collections::VecDeque::new();
        for round in 0..10_000_u32 {
            let piece = cells.write(&round.to_le_bytes().repeat(50));
            held.push_back((round, piece));
            if held.len() > 200 {
                let (round, piece): (u32, Bytes) = held.pop_front().unwrap();
                let whole = round.to_le_bytes().repeat(50);
                assert_eq!(piece, whole[..piece.len()]);
            }
        }
        assert!(!cells.is_home());
        drop(held);
        assert!(cells.is_home());
        assert_eq!(cells.strays(), 0);
    }

    #[test]
    fn without_a_cell_a_write_gets_its_own_memory() {
        let mut cells = Cells::new(1);
        let first = cells.write(&[1; CELL_LEN + 1]);
        assert_eq!(first.len(), CELL_LEN);
        let second = cells.write(&[2; 20]);
        assert_eq!((second.as_ref(), cells.strays()), ([2; 20].as_slice(), 1));
        drop(first);
        assert_eq!(cells.write(&[3; 20]).len(), 20);
        assert_eq!(cells.strays(), 1);
        assert!(cells.write(&[]).is_empty());
        assert_eq!(cells.strays(), 1);
    }

    #[test]
    fn a_piece_grows_while_nothing_is_written_behind_it() {
        let mut cells = Cells::new(2);
        let mut piece = cells.write(b"some");
        assert_eq!(cells.extend(&mut piece, b" more"), 5);
        assert_eq!(piece, b"some more".as_slice());
        let mut other = cells.write(b"x");
        assert_eq!(cells.extend(&mut piece, b"!"), 0);
        assert_eq!(cells.extend(&mut other, &[7; 2 * CELL_LEN]), CELL_LEN - 10);
        assert_eq!(cells.extend(&mut other, b"!"), 0, "the cell is full");
        assert_eq!((piece.as_ref(), other[0]), (b"some more".as_slice(), b'x'));
        assert_eq!(cells.extend(&mut Bytes::new(), b"!"), 0);
        let next = cells.write(b"next");
        assert_eq!(cells.extend(&mut other, b"!"), 0, "it is in another cell");
        drop((piece, other, next));
        assert!(cells.is_home() && cells.made == 2);
    }

    #[test]
    fn no_more_is_copied_than_was_taken() {
        let mut cells = Cells::new(1);
        let mut kept = Vec::new();
        let taken = cells.write_taken(&[1; 100], |mut piece| {
            kept.push(piece.split_to(30));
            Ok::<_, ()>(30)
        });
        assert_eq!(taken, Ok(30));
        assert_eq!(cells.write_taken(&[2; 100], |_| Ok::<_, ()>(0)), Ok(0));
        assert_eq!(cells.write_taken(&[2; 100], |_| Err(5)), Err(5));
        kept.push(cells.write(&[3; 10]));
        assert_eq!(kept, [[1; 30].as_slice(), &[3; 10]]);
        assert_eq!(kept[1].as_ptr(), kept[0].as_ptr().wrapping_add(30), "and no room is lost");
        // With no cell at home.
        kept.push(cells.write(&[4; CELL_LEN - 40]));
        let taken = cells.write_taken(&[5; 2 * CELL_LEN], |piece| {
            kept.push(piece);
            Ok::<_, ()>(CELL_LEN)
        });
        assert_eq!((taken, cells.strays()), (Ok(CELL_LEN), 1));
        assert_eq!(kept[3], [5; CELL_LEN].as_slice());
        kept.clear();
        assert!(cells.is_home());
    }

    #[test]
    fn a_region_is_its_owners() {
        let mut cells = Cells::new(1);
        let before = cells.write(&[1; 10]);
        let region = cells.lend(1000).unwrap();
        let behind = cells.write(&[3; 10]);
        // SAFETY: it is this owner's.
        unsafe { region.base().write_bytes(2, 1000) };
        let frozen = region.freeze(..999);
        assert_eq!(frozen, [2; 999].as_slice());
        assert_eq!((before.as_ref(), behind.as_ref()), (&[1; 10][..], &[3; 10][..]));
        assert!(cells.lend(CELL_LEN + 1).is_none() && cells.lend(CELL_LEN).is_none());
        drop((before, frozen, behind));
        assert!(cells.is_home());
    }
}
