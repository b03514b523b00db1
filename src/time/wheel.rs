//! Hierarchical timer wheel: every timer of a shard, armed, moved and cancelled in O(1).
//!
//! Role: keeps `(deadline, data)` pairs, says when the shard must wake, and hands over what is due
//! one entry at a time, in the order of the ticks.
//! Not its role: reading the clock, knowing what an entry means, or deciding what happens when it
//! is full (the caller gets [`WheelFull`] and names the error).
//!
//! Time is cut into ticks of 2^16 ns (65.536 us). A deadline is rounded up to a tick and
//! the clock down, so an entry never fires early and at most one tick late. Eight levels of 64
//! slots hold 48 bits of ticks, which is all of [`Time`]: no deadline needs clamping and no level
//! wraps around.
//!
//! ```text
//! bits of a tick   47..42  41..36  35..30  29..24  23..18  17..12  11..6   5..0
//! level               7       6       5       4       3       2      1      0
//! one slot spans    9.1 y    52 d    20 h  18 min    17 s  268 ms  4.2 ms  65.5 us
//! ```
//!
//! Invariants, between calls:
//! - W1: an entry with `tick <= elapsed` is on the due list; one with `tick > TICK_LAST` is on no
//!   list (it never fires); any other is at the level of the highest digit (base 64) in which its
//!   tick differs from `elapsed`, in the slot of its own digit there.
//! - W2: so each filed entry lies after `elapsed`, lower levels before higher ones, lower slots
//!   before higher ones; the first set bit of the first level in use is the earliest slot.
//! - W3: a bit of `occupied` is set if and only if the list of its slot has an entry.
//! - W4: a generation is odd while its entry is armed, even while it is free.
//! - W5: `quiet_until` is not behind the start of the earliest slot: before it, time changes
//!   nothing.
//! - W6: `earliest` is unknown, or between the start of the earliest slot and the tick of the
//!   earliest entry.
//!
//! W1 survives a jump of `elapsed` that stops before the earliest slot, because the digits above
//! an entry's level stay equal: an idle hour costs the same as an idle tick.

use super::Time;
use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;

#[cfg(test)]
/// Resolution of the wheel: an entry fires within this span after its deadline.
pub(crate) const TICK: std::time::Duration = std::time::Duration::from_nanos(1 << TICK_SHIFT);
/// Most entries that one wheel can be built for (indices are 32 bits wide).
pub(crate) const TIMERS_MAX: usize = (NONE - FIRST_ENTRY) as usize;

const TICK_SHIFT: u32 = 16;
const TICK_MASK: u64 = (1 << TICK_SHIFT) - 1;
/// The last tick that a clock can reach; a deadline that rounds up beyond it never fires.
const TICK_LAST: u64 = u64::MAX >> TICK_SHIFT;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const SLOT_MASK: u64 = SLOTS as u64 - 1;
const LEVELS: usize = (u64::BITS - TICK_SHIFT).div_ceil(LEVEL_BITS) as usize;
/// Nodes before [`FIRST_ENTRY`] are list heads: one per slot, then the due list's.
const DUE: u32 = (LEVELS * SLOTS) as u32;
const FIRST_ENTRY: u32 = DUE + 1;
/// Not a node: the end of the free list, and the list of the entries that never fire.
const NONE: u32 = u32::MAX;
/// This many entries of the earliest slot are looked at for an exact answer of `next_deadline`; a
/// slot with more is answered by its start, where `advance` spreads it over the level below.
const NEXT_SCAN_MAX: usize = 8;

/// No tick that lies ahead: the earliest one has to be looked for.
const UNKNOWN: u64 = 0;

/// Names one armed timer: stale once the timer fired or was cancelled (31 bits of generation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerKey(NonZeroU64);

impl TimerKey {
    fn new(index: u32, generation: u32) -> Self {
        // W4: the generation of an armed entry is odd, so the low bit is there already.
        debug_assert!(generation & 1 == 1);
        Self(NonZeroU64::MIN | (u64::from(index) << u32::BITS | u64::from(generation)))
    }

    /// The key as a number, for a token or a `user_data`.
    pub(crate) const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The key back from [`TimerKey::to_bits`]; any other number makes a key that is stale.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    const fn index(self) -> u32 {
        (self.0.get() >> u32::BITS) as u32
    }

    const fn generation(self) -> u32 {
        self.0.get() as u32
    }
}

/// The wheel holds as many timers as it was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WheelFull {
    /// The bound that was reached.
    pub(crate) capacity: usize,
}

impl fmt::Display for WheelFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {} timers of the shard are armed: raise the bound or cancel", self.capacity)
    }
}

impl std::error::Error for WheelFull {}

/// List head or entry. Lists are circular through their head, so unlinking needs no case.
struct Node {
    next: u32,
    prev: u32,
    generation: u32,
    tick: u64,
    data: u64,
}

/// The timers of one shard. Nothing is allocated after construction.
pub(crate) struct Wheel {
    /// List heads, then entries; grows into its reserved capacity, so unused memory stays
    /// untouched.
    nodes: Vec<Node>,
    occupied: [u64; LEVELS],
    /// The tick up to which everything due is on the due list.
    elapsed: u64,
    /// The tick before which no slot in use starts.
    quiet_until: u64,
    /// The answer of `next_deadline`, while it is known.
    earliest: Cell<u64>,
    /// Head of the list of free entries, linked by `next`.
    free: u32,
    armed: usize,
    capacity: usize,
}

impl Wheel {
    /// A wheel for at most `capacity` timers, 32 bytes each.
    ///
    /// # Panics
    /// When `capacity` exceeds [`TIMERS_MAX`].
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        assert!(capacity <= TIMERS_MAX, "a timer wheel holds at most {TIMERS_MAX} timers");
        let mut nodes = Vec::with_capacity(FIRST_ENTRY as usize + capacity);
        nodes.extend((0..FIRST_ENTRY).map(|head| Node {
            next: head,
            prev: head,
            generation: 0,
            tick: 0,
            data: 0,
        }));
        Self {
            nodes,
            occupied: [0; LEVELS],
            elapsed: 0,
            quiet_until: u64::MAX,
            earliest: Cell::new(u64::MAX),
            free: NONE,
            armed: 0,
            capacity,
        }
    }

    /// Arms a timer. A deadline in the past is due at once; [`Time::MAX`] never is.
    pub(crate) fn insert(&mut self, deadline: Time, data: u64) -> Result<TimerKey, WheelFull> {
        let index = self.take_free().ok_or(WheelFull { capacity: self.capacity })?;
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.tick = tick_ceil(deadline);
        node.data = data;
        let key = TimerKey::new(index, node.generation);
        self.file(index);
        self.armed += 1;
        Ok(key)
    }

    /// Disarms a timer, due or not, and gives its data back. `None` when the key is stale.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<u64> {
        let index = self.find(key)?;
        Some(self.remove(index))
    }

    /// Moves a timer to another deadline; one that is due but not popped is armed again.
    /// False when the key is stale.
    pub(crate) fn update(&mut self, key: TimerKey, deadline: Time) -> bool {
        let Some(index) = self.find(key) else { return false };
        let tick = tick_ceil(deadline);
        let node = &mut self.nodes[index as usize];
        let before = std::mem::replace(&mut node.tick, tick);
        self.forget_earliest(before.min(tick));
        // The usual case, an idle timeout pushed out by each message, stays in its coarse slot.
        if self.list_of(before) != self.list_of(tick) {
            self.unlink(index);
            self.file(index);
        }
        true
    }

    /// Moves everything whose deadline has passed at `now` to the due list. The cost follows the
    /// slots in use up to `now` and what is in them (each entry moves down at most once per
    /// level in its life), not the time that passed nor the timers that lie ahead.
    #[inline]
    pub(crate) fn advance(&mut self, now: Time) {
        let target = now.as_nanos() >> TICK_SHIFT;
        if target >= self.quiet_until {
            self.run_until(target);
        }
        // A clock that steps back changes nothing.
        self.elapsed = self.elapsed.max(target);
    }

    /// Apart, so that the moment at which nothing is due costs no call.
    #[inline(never)]
    fn run_until(&mut self, target: u64) {
        self.quiet_until = u64::MAX;
        while let Some((level, slot)) = self.earliest_slot() {
            let start = self.slot_start(level, slot);
            debug_assert!(start > self.elapsed);
            if start > target {
                self.quiet_until = start;
                break;
            }
            self.elapsed = start;
            if level == 0 { self.splice_due(slot) } else { self.cascade(level, slot) }
        }
        self.earliest.set(UNKNOWN);
    }

    /// Takes one due timer, in the order in which they came due. What is not taken stays due.
    #[inline]
    pub(crate) fn pop_due(&mut self) -> Option<(TimerKey, u64)> {
        self.has_due().then(|| self.pop_first_due())
    }

    /// Apart, as `run_until` is.
    #[inline(never)]
    fn pop_first_due(&mut self) -> (TimerKey, u64) {
        let index = self.head(DUE).next;
        let key = TimerKey::new(index, self.nodes[index as usize].generation);
        (key, self.remove(index))
    }

    /// True while a due timer waits to be popped.
    pub(crate) fn has_due(&self) -> bool {
        self.head(DUE).next != DUE
    }

    /// When `advance` must be called next: never after the moment at which the earliest timer
    /// fires (its deadline rounded up to a tick), so sleeping until then delays nothing. It may
    /// be before it when many timers share a coarse slot; then `advance` refines and nothing is
    /// due yet. In the past while `has_due`; `None` when nothing will ever be due.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if self.armed == 0 {
            return None;
        }
        if self.has_due() {
            return Some(time_of(self.elapsed));
        }
        if self.earliest.get() == UNKNOWN {
            self.earliest.set(self.find_earliest());
        }
        let earliest = self.earliest.get();
        (earliest <= TICK_LAST).then(|| time_of(earliest))
    }

    /// The tick of the earliest entry if its slot is not too full, or else the start of the slot.
    fn find_earliest(&self) -> u64 {
        let Some((level, slot)) = self.earliest_slot() else { return u64::MAX };
        let head = slot_list(level, slot);
        let mut index = self.head(head).next;
        let mut earliest = u64::MAX;
        for _ in 0..NEXT_SCAN_MAX {
            let node = &self.nodes[index as usize];
            earliest = earliest.min(node.tick);
            index = node.next;
            // All entries of a slot of level 0 have the same tick.
            if index == head || level == 0 {
                return earliest;
            }
        }
        self.slot_start(level, slot)
    }

    #[cfg(test)]
    /// Timers that are armed, those included that are due and not popped.
    pub(crate) const fn len(&self) -> usize {
        self.armed
    }

    #[cfg(test)]
    /// True when no timer is armed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.armed == 0
    }

    #[cfg(test)]
    /// The bound given at construction.
    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    fn head(&self, list: u32) -> &Node {
        &self.nodes[list as usize]
    }

    fn find(&self, key: TimerKey) -> Option<u32> {
        let node = self.nodes.get(key.index() as usize)?;
        // W4 rules out free entries and list heads: their generations are even.
        let live = node.generation == key.generation() && node.generation & 1 == 1;
        live.then_some(key.index())
    }

    fn take_free(&mut self) -> Option<u32> {
        if self.free != NONE {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            return Some(index);
        }
        let index = self.nodes.len();
        if index == FIRST_ENTRY as usize + self.capacity {
            return None;
        }
        self.nodes.push(Node { next: NONE, prev: NONE, generation: 0, tick: 0, data: 0 });
        Some(index as u32)
    }

    fn remove(&mut self, index: u32) -> u64 {
        self.unlink(index);
        let node = &mut self.nodes[index as usize];
        node.generation = node.generation.wrapping_add(1);
        node.next = self.free;
        let data = node.data;
        self.free = index;
        self.armed -= 1;
        data
    }

    /// The list where an entry of `tick` belongs (W1).
    const fn list_of(&self, tick: u64) -> u32 {
        if tick <= self.elapsed {
            return DUE;
        }
        if tick > TICK_LAST {
            return NONE;
        }
        let digit = (u64::BITS - 1 - (tick ^ self.elapsed).leading_zeros()) / LEVEL_BITS;
        slot_list(digit as usize, ((tick >> (digit * LEVEL_BITS)) & SLOT_MASK) as usize)
    }

    /// Appends the entry to its list; one that never fires is a list of its own.
    fn file(&mut self, index: u32) {
        let list = self.list_of(self.nodes[index as usize].tick);
        let head = if list == NONE { index } else { list };
        let last = if list == NONE { index } else { self.head(list).prev };
        let node = &mut self.nodes[index as usize];
        node.next = head;
        node.prev = last;
        self.nodes[last as usize].next = index;
        self.nodes[head as usize].prev = index;
        if list < DUE {
            let (level, slot) = (list as usize / SLOTS, list as usize % SLOTS);
            self.occupied[level] |= 1 << slot;
            self.earliest.set(self.earliest.get().min(self.nodes[index as usize].tick));
            self.quiet_until = self.quiet_until.min(self.slot_start(level, slot));
        }
    }

    /// An entry of that tick changes: it may be the earliest, or become it (W6).
    fn forget_earliest(&self, tick: u64) {
        if tick <= self.earliest.get() {
            self.earliest.set(UNKNOWN);
        }
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, prev, tick, .. } = self.nodes[index as usize];
        self.forget_earliest(tick);
        self.nodes[prev as usize].next = next;
        self.nodes[next as usize].prev = prev;
        // Both neighbours are the head: the slot is empty now (W3).
        if next == prev && next < DUE {
            self.occupied[next as usize / SLOTS] &= !(1 << (next as usize % SLOTS));
        }
    }

    fn earliest_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// First tick of a slot: the digits of `elapsed` above its level, its own, then zeros.
    const fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = level as u32 * LEVEL_BITS;
        let above = shift + LEVEL_BITS;
        (self.elapsed >> above << above) | ((slot as u64) << shift)
    }

    /// Empties the list of a slot and gives its first and last entry.
    fn detach(&mut self, level: usize, slot: usize) -> (u32, u32) {
        let list = slot_list(level, slot);
        let head = &mut self.nodes[list as usize];
        let ends = (head.next, head.prev);
        head.next = list;
        head.prev = list;
        self.occupied[level] &= !(1 << slot);
        ends
    }

    /// All of a slot of level 0 has the same tick and is due when it comes: one splice.
    fn splice_due(&mut self, slot: usize) {
        let (first, last) = self.detach(0, slot);
        let tail = self.head(DUE).prev;
        self.nodes[tail as usize].next = first;
        self.nodes[first as usize].prev = tail;
        self.nodes[last as usize].next = DUE;
        self.nodes[DUE as usize].prev = last;
    }

    /// Files the entries of a slot anew, now that `elapsed` is its start.
    fn cascade(&mut self, level: usize, slot: usize) {
        let (first, last) = self.detach(level, slot);
        let mut index = first;
        loop {
            let next = self.nodes[index as usize].next;
            self.file(index);
            if index == last {
                break;
            }
            index = next;
        }
    }
}

const fn slot_list(level: usize, slot: usize) -> u32 {
    (level * SLOTS + slot) as u32
}

const fn tick_ceil(deadline: Time) -> u64 {
    let nanos = deadline.as_nanos();
    (nanos >> TICK_SHIFT) + (nanos & TICK_MASK != 0) as u64
}

const fn time_of(tick: u64) -> Time {
    Time::from_nanos(tick << TICK_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    const TICK_NANOS: u64 = 1 << TICK_SHIFT;
    const SECOND: u64 = 1_000_000_000;
    const YEAR: u64 = 365 * 86_400 * SECOND;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    /// When an entry may fire: the deadline rounded up to a tick, or never.
    fn due_nanos(deadline: u64) -> u64 {
        deadline.checked_next_multiple_of(TICK_NANOS).unwrap_or(u64::MAX)
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert { deadline_in: Span },
        InsertPast { ago: u64 },
        Cancel { pick: usize },
        Update { pick: usize, deadline_in: Span },
        Advance { by: Span, pops_max: usize },
        AdvanceToNext,
        Rewind { by: u64 },
    }

    /// `mantissa << shift`, so that every level of the wheel is as likely as any other.
    #[derive(Clone, Copy, Debug)]
    struct Span {
        mantissa: u16,
        shift: u32,
    }

    impl Span {
        fn nanos(self) -> u64 {
            let wide = u128::from(self.mantissa) << self.shift;
            u64::try_from(wide).unwrap_or(u64::MAX)
        }
    }

    /// The wheel beside a sorted set that knows the right answers.
    struct World {
        wheel: Wheel,
        now: u64,
        next_id: u64,
        ordered: BTreeSet<(u64, u64)>,
        armed: HashMap<u64, (TimerKey, u64)>,
        ids: Vec<u64>,
        retired: Vec<TimerKey>,
    }

    impl World {
        fn new(capacity: usize, now: u64) -> Self {
            let mut wheel = Wheel::with_capacity(capacity);
            wheel.advance(at(now));
            let (ordered, armed) = (BTreeSet::new(), HashMap::new());
            Self { wheel, now, next_id: 0, ordered, armed, ids: Vec::new(), retired: Vec::new() }
        }

        fn insert(&mut self, deadline: u64) {
            let id = self.next_id;
            match self.wheel.insert(at(deadline), id) {
                Ok(key) => {
                    assert!(self.armed.len() < self.wheel.capacity());
                    self.next_id += 1;
                    self.ordered.insert((due_nanos(deadline), id));
                    assert!(self.armed.insert(id, (key, due_nanos(deadline))).is_none());
                    self.ids.push(id);
                }
                Err(full) => {
                    assert_eq!(full.capacity, self.armed.len());
                }
            }
        }

        /// The id of some armed timer; ids that fired since are swept out on the way.
        fn pick(&mut self, pick: usize) -> Option<u64> {
            while !self.ids.is_empty() {
                let position = pick % self.ids.len();
                let id = self.ids[position];
                if self.armed.contains_key(&id) {
                    return Some(id);
                }
                self.ids.swap_remove(position);
            }
            None
        }

        fn forget(&mut self, id: u64) -> TimerKey {
            let (key, due) = self.armed.remove(&id).expect("an armed timer");
            assert!(self.ordered.remove(&(due, id)));
            self.retired.push(key);
            key
        }

        fn cancel(&mut self, pick: usize) {
            let Some(id) = self.pick(pick) else { return };
            let key = self.forget(id);
            assert_eq!(self.wheel.cancel(key), Some(id));
            assert_eq!(self.wheel.cancel(key), None);
        }

        fn update(&mut self, pick: usize, deadline: u64) {
            let Some(id) = self.pick(pick) else { return };
            let (key, due) = self.armed[&id];
            assert!(self.wheel.update(key, at(deadline)));
            self.ordered.remove(&(due, id));
            self.ordered.insert((due_nanos(deadline), id));
            self.armed.insert(id, (key, due_nanos(deadline)));
        }

        fn advance(&mut self, to: u64, pops_max: usize) {
            self.now = self.now.max(to);
            self.wheel.advance(at(to));
            for _ in 0..pops_max {
                let Some((key, id)) = self.wheel.pop_due() else { break };
                let (armed_key, due) = self.armed[&id];
                assert_eq!(key, armed_key);
                assert!(due <= self.now, "{id} fired {} ns early", due - self.now);
                self.forget(id);
            }
            self.check();
        }

        fn check(&mut self) {
            assert_eq!(self.wheel.len(), self.armed.len());
            assert_eq!(self.wheel.is_empty(), self.armed.is_empty());
            let now_tick = self.now & !TICK_MASK;
            let earliest = self.ordered.first().map(|(due, _)| *due).filter(|due| *due < u64::MAX);
            assert_eq!(self.wheel.has_due(), earliest.is_some_and(|due| due <= now_tick));
            let next = self.wheel.next_deadline().map(Time::as_nanos);
            assert_eq!(next.is_some(), earliest.is_some());
            if let (Some(next), Some(earliest)) = (next, earliest) {
                if earliest > now_tick {
                    assert!(next <= earliest, "sleeps {} ns too long", next - earliest);
                    assert!(next > now_tick, "does not sleep at all");
                } else {
                    assert!(next <= self.now);
                }
            }
            while let Some(key) = self.retired.pop() {
                assert_eq!(self.wheel.cancel(key), None);
                assert!(!self.wheel.update(key, at(self.now)));
            }
        }

        fn run(&mut self, step: Step) {
            match step {
                Step::Insert { deadline_in } => {
                    self.insert(self.now.saturating_add(deadline_in.nanos()));
                }
                Step::InsertPast { ago } => self.insert(self.now.saturating_sub(ago)),
                Step::Cancel { pick } => self.cancel(pick),
                Step::Update { pick, deadline_in } => {
                    self.update(pick, self.now.saturating_add(deadline_in.nanos()));
                }
                Step::Advance { by, pops_max } => {
                    self.advance(self.now.saturating_add(by.nanos()), pops_max);
                }
                Step::Rewind { by } => self.advance(self.now.saturating_sub(by), 0),
                Step::AdvanceToNext => {
                    if let Some(next) = self.wheel.next_deadline() {
                        self.advance(next.as_nanos(), usize::MAX);
                    }
                }
            }
        }
    }

    fn span() -> impl Strategy<Value = Span> {
        (any::<u16>(), 0_u32..50).prop_map(|(mantissa, shift)| Span { mantissa, shift })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => span().prop_map(|deadline_in| Step::Insert { deadline_in }),
            1 => (0..SECOND).prop_map(|ago| Step::InsertPast { ago }),
            2 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
            3 => (any::<usize>(), span())
                .prop_map(|(pick, deadline_in)| Step::Update { pick, deadline_in }),
            3 => (span(), 0_usize..6).prop_map(|(by, pops_max)| Step::Advance { by, pops_max }),
            2 => Just(Step::AdvanceToNext),
            1 => (0..YEAR).prop_map(|by| Step::Rewind { by }),
        ]
    }

    fn cases(count: u32) -> ProptestConfig {
        let cases = if cfg!(miri) { 2 } else { count };
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(cases(512))]
        #[test]
        fn hazard_148_agrees_with_a_sorted_set(
            start in prop_oneof![Just(0), 0..YEAR, any::<u64>()],
            capacity in 1_usize..200,
            steps in prop::collection::vec(step(), 1..400),
        ) {
            let mut world = World::new(capacity, start);
            for step in steps {
                world.run(step);
                world.check();
            }
        }
    }

    fn random_span(rng: &mut Rng, shifts: u64) -> Span {
        Span { mantissa: rng.below(1 << 16) as u16, shift: rng.below(shifts) as u32 }
    }

    fn ten_thousand(seed: u64) {
        let (timers, steps) = if cfg!(miri) { (100, 400) } else { (10_000, 60_000) };
        let mut rng = Rng::from_seed(seed);
        let mut world = World::new(timers, rng.below(100 * YEAR));
        for _ in 0..timers {
            let deadline = world.now.saturating_add(random_span(&mut rng, 40).nanos());
            world.insert(deadline);
        }
        assert_eq!(world.wheel.len(), timers);
        for _ in 0..steps {
            let deadline_in = random_span(&mut rng, 40);
            let pick = rng.u64() as usize;
            match rng.below(100) {
                0..30 => world.run(Step::Insert { deadline_in }),
                30..45 => world.run(Step::Cancel { pick }),
                45..80 => world.run(Step::Update { pick, deadline_in }),
                80..90 => world.run(Step::AdvanceToNext),
                // Mostly short steps, now and then one of minutes to years.
                other => {
                    let by = random_span(&mut rng, if other == 99 { 40 } else { 14 });
                    world.run(Step::Advance { by, pops_max: 1 + pick % 20 });
                }
            }
        }
        world.advance(u64::MAX - 1, usize::MAX);
        assert!(world.wheel.is_empty(), "{} timers were lost", world.wheel.len());
    }

    #[test]
    fn ten_thousand_timers_agree_with_a_sorted_set() {
        for seed in 0..6 {
            ten_thousand(seed);
        }
    }

    #[test]
    fn polled_at_next_deadline_each_fires_within_a_tick() {
        let timers = if cfg!(miri) { 50 } else { 2_000 };
        let mut rng = Rng::from_seed(4);
        let mut wheel = Wheel::with_capacity(timers);
        let mut now = 12_345_678_901;
        wheel.advance(at(now));
        for _ in 0..timers {
            let deadline = now + 1 + random_span(&mut rng, 30).nanos();
            wheel.insert(at(deadline), deadline).expect("room");
        }
        let mut polls = 0;
        while let Some(next) = wheel.next_deadline() {
            assert!(next > at(now), "time stands still");
            now = next.as_nanos();
            wheel.advance(next);
            polls += 1;
            while let Some((_, deadline)) = wheel.pop_due() {
                assert!(deadline <= now, "early by {} ns", deadline - now);
                assert!(now - deadline < TICK_NANOS, "late by {} ns", now - deadline);
            }
        }
        assert!(wheel.is_empty());
        assert!(polls <= 2 * timers, "{polls} wake-ups for {timers} timers");
    }

    #[test]
    fn a_lone_timer_costs_one_wake_up_at_any_distance() {
        for distance in [1, TICK_NANOS, SECOND, 30 * SECOND, YEAR, 500 * YEAR] {
            let mut wheel = Wheel::with_capacity(1);
            wheel.advance(at(777));
            let deadline = at(777 + distance);
            wheel.insert(deadline, 1).expect("room");
            let next = wheel.next_deadline().expect("armed");
            assert!(next >= deadline && next.saturating_since(deadline) < TICK);
            wheel.advance(at(next.as_nanos() - 1));
            assert!(!wheel.has_due());
            wheel.advance(next);
            assert_eq!(wheel.pop_due().map(|(_, data)| data), Some(1));
            assert_eq!(wheel.next_deadline(), None);
        }
    }

    #[test]
    fn hazard_149_cancelled_while_due_does_not_fire() {
        let mut wheel = Wheel::with_capacity(3);
        let keys = [1, 2, 3].map(|data| wheel.insert(at(data), data).expect("room"));
        wheel.advance(at(SECOND));
        assert!(wheel.has_due());
        assert_eq!(wheel.cancel(keys[1]), Some(2));
        assert!(wheel.update(keys[2], at(2 * SECOND)), "due but not popped: armed again");
        assert_eq!(wheel.pop_due(), Some((keys[0], 1)));
        assert_eq!(wheel.pop_due(), None);
        wheel.advance(at(2 * SECOND + TICK_NANOS));
        assert_eq!(wheel.pop_due(), Some((keys[2], 3)));
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_key_is_stale_after_its_timer() {
        let mut wheel = Wheel::with_capacity(1);
        let first = wheel.insert(at(0), 10).expect("room");
        assert_eq!(wheel.insert(at(0), 11), Err(WheelFull { capacity: 1 }));
        assert_eq!(TimerKey::from_bits(first.to_bits()), Some(first));
        assert_eq!(wheel.pop_due(), Some((first, 10)));
        let second = wheel.insert(at(SECOND), 12).expect("room");
        assert_ne!(first, second);
        assert_eq!(wheel.cancel(first), None);
        assert!(!wheel.update(first, at(0)));
        for bits in [1, u64::from(u32::MAX), u64::MAX, u64::from(DUE) << 32 | 1] {
            assert_eq!(TimerKey::from_bits(bits).and_then(|key| wheel.cancel(key)), None);
        }
        assert_eq!(TimerKey::from_bits(0), None);
        assert_eq!(wheel.cancel(second), Some(12));
        assert_eq!(wheel.insert(at(0), 0).map(|_| ()), Ok(()));
    }

    #[test]
    fn never_never_fires_and_can_be_cancelled() {
        let mut wheel = Wheel::with_capacity(2);
        let never = wheel.insert(Time::MAX, 1).expect("room");
        let moved = wheel.insert(at(SECOND), 2).expect("room");
        assert!(wheel.update(moved, Time::MAX));
        assert_eq!(wheel.next_deadline(), None);
        wheel.advance(Time::MAX);
        assert!(!wheel.has_due());
        assert_eq!(wheel.cancel(never), Some(1));
        assert!(wheel.update(moved, Time::ZERO));
        assert_eq!(wheel.pop_due(), Some((moved, 2)));
    }

    #[test]
    fn nothing_is_allocated_after_construction() {
        let mut wheel = Wheel::with_capacity(100);
        let (memory, reserved) = (wheel.nodes.as_ptr(), wheel.nodes.capacity());
        for round in 0..3 {
            for data in 0..100 {
                wheel.insert(at(round * SECOND + data), data).expect("room");
            }
            assert!(wheel.insert(at(0), 0).is_err());
            wheel.advance(at((round + 1) * SECOND));
            while wheel.pop_due().is_some() {}
        }
        assert_eq!((wheel.nodes.as_ptr(), wheel.nodes.capacity()), (memory, reserved));
        assert_eq!(size_of::<Node>(), 32);
        assert_eq!(size_of::<Option<TimerKey>>(), 8);
    }

    #[test]
    fn due_entries_keep_the_order_of_their_ticks() {
        let mut wheel = Wheel::with_capacity(500);
        let mut rng = Rng::from_seed(9);
        for _ in 0..500 {
            let deadline = random_span(&mut rng, 30).nanos();
            wheel.insert(at(deadline), due_nanos(deadline)).expect("room");
        }
        wheel.advance(at(YEAR));
        let fired: Vec<u64> = std::iter::from_fn(|| wheel.pop_due()).map(|(_, due)| due).collect();
        assert_eq!(fired.len(), 500);
        assert!(fired.is_sorted());
    }
}
