//! [`Cells`]: where written bytes are until they are acknowledged.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes in a cell.
const CELL_LEN: usize = 16 << 10;
/// Cells that a write which needs another one looks at, to find some that came home.
const LOOKS: usize = 4;

/// Cells, each made when it is first needed. All connections of a shard write to the same one, so
/// that an idle connection holds nothing.
pub(crate) struct Cells {
    /// What is left of the cell that is being written.
    open: Option<BytesMut>,
    /// Written full, the oldest first: their bytes wait to be acknowledged.
    out: VecDeque<BytesMut>,
    free: Vec<BytesMut>,
    made: usize,
    max: usize,
    /// Writes that got memory of their own.
    strays: u64,
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
            let len = data.len().min(cell.capacity());
            cell.extend_from_slice(&data[..len]);
            return cell.split().freeze();
        }
        self.strays += u64::from(!data.is_empty());
        Bytes::copy_from_slice(&data[..data.len().min(CELL_LEN)])
    }

    /// Copies all of `data`, in one piece. What is longer than a cell, or finds none at home, gets
    /// memory of its own.
    pub(crate) fn write_whole(&mut self, data: &[u8]) -> Bytes {
        if self.open.as_ref().is_some_and(|cell| cell.capacity() < data.len())
            && data.len() <= CELL_LEN
            && let Some(full) = self.open.take()
        {
            self.out.push_back(full);
        }
        match self.open() {
            Some(cell) if data.len() <= cell.capacity() && !data.is_empty() => {
                cell.extend_from_slice(data);
                cell.split().freeze()
            }
            _ => {
                self.strays += u64::from(!data.is_empty());
                Bytes::copy_from_slice(data)
            }
        }
    }

    /// The cell to write to, which has room.
    fn open(&mut self) -> Option<&mut BytesMut> {
        if self.open.as_ref().is_none_or(|cell| cell.capacity() == 0) {
            if let Some(full) = self.open.take() {
                self.out.push_back(full);
            }
            self.open = self.take_free();
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
        let mut cell = BytesMut::with_capacity(CELL_LEN);
        // The count of what refers to it is allocated when it is first cut.
        drop(cell.split());
        Some(cell)
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

    /// Whether all had come home when that was last looked at, but for the one that is being
    /// written.
    pub(crate) fn is_all_home(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether nothing refers to any cell.
    pub(crate) fn is_home(&mut self) -> bool {
        self.reclaim(self.out.len());
        self.out.is_empty() && self.open.as_mut().is_none_or(|cell| cell.try_reclaim(CELL_LEN))
    }
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
}
