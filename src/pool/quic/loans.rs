//! [`Loans`]: memory that is not QUIC's own, in the hands of its state machine.
//!
//! Role: keep it alive until the machine lets go of it, say which guards it let go of. Not role:
//! why it did so.
//!
//! Each loan is one allocation, of what counts the references to it.

use std::sync::Arc;

use bytes::Bytes;

use crate::pool::{OwnedSlot, WriteGuard};
use crate::sync::returns::ReturnStack;

/// The guards that are lent.
pub(crate) struct Loans {
    returned: Arc<ReturnStack>,
    /// What was taken from there, the oldest last.
    taken: Vec<u32>,
}

/// Memory of the application; its number is returned when it is dropped.
struct Guarded {
    memory: WriteGuard,
    number: u32,
    returned: Arc<ReturnStack>,
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        self.memory.bytes()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.returned.push(self.number);
    }
}

impl Loans {
    /// For guards of numbers below `guards`.
    pub(crate) fn new(guards: usize) -> Self {
        Self { returned: Arc::new(ReturnStack::with_capacity(guards)), taken: Vec::new() }
    }

    /// Lends memory of the application.
    pub(crate) fn lend(&self, memory: WriteGuard, number: u32) -> Bytes {
        Bytes::from_owner(Guarded { memory, number, returned: Arc::clone(&self.returned) })
    }

    /// The number of a guard that the machine let go of, the oldest first.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if self.taken.is_empty() {
            self.taken.extend(self.returned.take_all());
        }
        self.taken.pop()
    }
}

/// A received payload of another protocol on its way.
pub(crate) fn payload(payload: OwnedSlot) -> Bytes {
    Bytes::from_owner(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_come_back_in_order_when_their_last_piece_is_dropped() {
        let mut loans = Loans::new(4);
        let memory: Arc<[u8]> = Arc::from(&b"memory"[..]);
        let mut first = loans.lend(Arc::clone(&memory).into(), 3);
        let second = loans.lend("static".into(), 1);
        let piece = first.split_to(2);
        drop(first);
        assert!(loans.pop().is_none() && Arc::strong_count(&memory) == 2);
        drop((piece, second));
        assert_eq!(Arc::strong_count(&memory), 1);
        assert_eq!([loans.pop(), loans.pop(), loans.pop()], [Some(3), Some(1), None]);
    }
}
