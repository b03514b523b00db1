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

impl Use {
    pub(crate) const fn from_index(index: u8) -> Self {
        match index {
            0 => Self::Rx,
            1 => Self::TxCritical,
            2 => Self::TxBulk,
            3 => Self::Scratch,
            _ => Self::Handle,
        }
    }
}

const USES: usize = 5;
/// Under pressure.
const SHARE_PCT: [u32; USES] = [60, 10, 25, 5, 0];
/// While there is room.
const FLOOR_PCT: [u32; USES] = [30, 10, 12, 5, 0];

/// Shares and use of one class.
pub(crate) struct Budget {
    count: u32,
    strict: bool,
    guaranteed: [u32; USES],
    used: [u32; USES],
    /// Guarantees that are not used: what must stay free for somebody.
    unused: u32,
}

impl Budget {
    pub(crate) fn new(count: u32) -> Self {
        let mut budget =
            Self { count, strict: true, guaranteed: [0; USES], used: [0; USES], unused: 0 };
        budget.set_strict(false);
        budget
    }

    /// Shares under pressure, floors otherwise.
    pub(crate) fn set_strict(&mut self, strict: bool) {
        if self.strict == strict {
            return;
        }
        self.strict = strict;
        let table = if strict { SHARE_PCT } else { FLOOR_PCT };
        self.guaranteed = table.map(|pct| self.count * pct / 100);
        let pairs = self.guaranteed.iter().zip(&self.used);
        self.unused = pairs.map(|(share, used)| share.saturating_sub(*used)).sum();
    }

    /// Whether `usage` may take one of `free` buffers.
    #[inline]
    pub(crate) const fn allows(&self, usage: Use, free: u32) -> bool {
        let i = usage as usize;
        if self.used[i] < self.guaranteed[i] { free > 0 } else { free > self.unused }
    }

    /// How many of `free` buffers `usage` may take.
    pub(crate) const fn available(&self, usage: Use, free: u32) -> u32 {
        let i = usage as usize;
        let own = self.guaranteed[i].saturating_sub(self.used[i]);
        free.saturating_sub(self.unused - own)
    }

    #[inline]
    pub(crate) const fn charge(&mut self, usage: Use) {
        let i = usage as usize;
        if self.used[i] < self.guaranteed[i] {
            self.unused -= 1;
        }
        self.used[i] += 1;
    }

    #[inline]
    pub(crate) const fn discharge(&mut self, usage: Use) {
        let i = usage as usize;
        self.used[i] -= 1;
        if self.used[i] < self.guaranteed[i] {
            self.unused += 1;
        }
    }

    /// A buffer that was taken for `from` is now used for `to`.
    pub(crate) const fn recharge(&mut self, from: Use, to: Use) {
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
