//! Who may use how much of a class: the partition 60 / 10 / 25 / 5.
//!
//! Each use has a share. While there is room (state `Healthy`) a use may borrow far beyond its
//! share, and only a floor is kept free for the others; under pressure the shares hold strictly.
//! So receiving can never starve sending (the classic deadlock: a slot is needed to send what
//! would free slots), and a program that only sends still has most of the class.
//!
//! *Invariant*: a use below its guarantee is refused only when nothing at all is free.

/// What a buffer is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Use {
    /// Receiving, the kernel's ring included: 60 %.
    Rx = 0,
    /// Control traffic that frees other resources when sent: 10 %.
    TxCritical = 1,
    /// Application data: 25 %.
    TxBulk = 2,
    /// Partial messages and copies: 5 %.
    Scratch = 3,
    /// Set aside for handles; counted against sending.
    Handle = 4,
}

const USES: usize = 5;
/// Under pressure.
const SHARE_PCT: [u32; USES] = [60, 10, 25, 5, 0];
/// While there is room.
const FLOOR_PCT: [u32; USES] = [30, 10, 12, 5, 0];

/// Shares and use of one class.
pub(crate) struct Budget {
    count: u32,
    guaranteed: [u32; USES],
    /// Buffers out for each use but receiving, whose place stays 0.
    used: [u32; USES],
    /// All guarantees together: with more than this free, nobody has to be asked.
    plenty: u32,
}

impl Budget {
    pub(crate) fn new(count: u32) -> Self {
        let mut budget = Self { count, guaranteed: [0; USES], used: [0; USES], plenty: 0 };
        budget.set_strict(false);
        budget
    }

    /// Shares under pressure, floors otherwise.
    pub(crate) fn set_strict(&mut self, strict: bool) {
        let table = if strict { SHARE_PCT } else { FLOOR_PCT };
        self.guaranteed = table.map(|pct| self.count * pct / 100);
        self.plenty = self.guaranteed.iter().sum();
    }

    /// Whether `usage` may take one of `free` buffers.
    #[inline]
    pub(crate) fn allows(&self, usage: Use, free: u32) -> bool {
        free > self.plenty || self.allows_scarce(usage, free)
    }

    #[cold]
    fn allows_scarce(&self, usage: Use, free: u32) -> bool {
        let used = self.used(free);
        if used[usage as usize] < self.guaranteed[usage as usize] {
            return free > 0;
        }
        let pairs = self.guaranteed.iter().zip(&used);
        free > pairs.map(|(share, used)| share.saturating_sub(*used)).sum()
    }

    /// The shares of all other uses.
    #[inline]
    pub(crate) const fn set_aside(&self, usage: Use) -> u32 {
        self.plenty - self.guaranteed[usage as usize]
    }

    /// Buffers out for each use. What is out and not counted was taken for receiving.
    fn used(&self, free: u32) -> [u32; USES] {
        let mut used = self.used;
        used[Use::Rx as usize] = (self.count - free) - used.iter().sum::<u32>();
        used
    }

    /// Counts a buffer that was taken. Receiving, the most frequent use, is what remains.
    #[inline]
    pub(crate) fn charge(&mut self, usage: Use) {
        if usage != Use::Rx {
            self.used[usage as usize] += 1;
        }
    }

    #[inline]
    pub(crate) fn discharge(&mut self, usage: Use) {
        if usage != Use::Rx {
            self.used[usage as usize] -= 1;
        }
    }

    /// A buffer that was taken for `from` is now used for `to`.
    pub(crate) fn recharge(&mut self, from: Use, to: Use) {
        self.discharge(from);
        self.charge(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(budget: &mut Budget, usage: Use, free: &mut u32) -> u32 {
        let mut taken = 0;
        while budget.allows(usage, *free) {
            budget.charge(usage);
            *free -= 1;
            taken += 1;
        }
        taken
    }

    #[test]
    fn everyone_keeps_a_share_under_pressure() {
        let (mut budget, mut free) = (Budget::new(1000), 1000);
        budget.set_strict(true);
        assert_eq!(take_all(&mut budget, Use::Rx, &mut free), 600);
        assert_eq!(take_all(&mut budget, Use::TxBulk, &mut free), 250);
        assert_eq!(take_all(&mut budget, Use::TxCritical, &mut free), 100);
        assert_eq!(take_all(&mut budget, Use::Scratch, &mut free), 50);
        assert_eq!(free, 0);
    }

    #[test]
    fn one_use_may_borrow_while_there_is_room() {
        let (mut budget, mut free) = (Budget::new(1000), 1000);
        assert_eq!(take_all(&mut budget, Use::TxBulk, &mut free), 550);
        assert_eq!(take_all(&mut budget, Use::Rx, &mut free), 300);
        assert_eq!(take_all(&mut budget, Use::TxCritical, &mut free), 100);
        budget.set_strict(true);
        assert!(!budget.allows(Use::TxBulk, free), "over its share now");
        assert!(budget.allows(Use::Scratch, free));
    }
}
