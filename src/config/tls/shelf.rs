//! [`Shelf`]: a bounded store by name, which many threads use without locks.
//!
//! *Invariants*
//! - What was put there is taken once at the most.
//! - It never has more than its bound; what is put out is the oldest of the same name, or else the
//!   oldest of those names that share its rack. Losing one costs its owner a round trip.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

/// Places of a rack, which the names of one hash share.
const PLACES: usize = 4;
/// Of these, how many one name has at most.
const NAME_PLACES_MAX: usize = 2;

pub(crate) struct Shelf<T> {
    racks: Box<[[Place<T>; PLACES]]>,
    /// Counts what was put there.
    put: AtomicU64,
}

type Place<T> = ArcSwapOption<Item<T>>;

struct Item<T> {
    name: Box<str>,
    /// The number at which it was put there.
    number: u64,
    value: T,
}

impl<T: Clone> Shelf<T> {
    /// For about so many; 0 keeps none.
    pub(crate) fn new(items_max: usize) -> Self {
        let rack = |_| std::array::from_fn(|_| ArcSwapOption::empty());
        Self { racks: (0..items_max.div_ceil(PLACES)).map(rack).collect(), put: AtomicU64::new(0) }
    }

    pub(crate) fn put(&self, name: &str, value: T) {
        let Some(rack) = self.rack(name) else { return };
        let number = self.put.fetch_add(1, Ordering::Relaxed) + 1;
        // By what goes first: an empty place, then the oldest.
        let oldest = |of_name: bool| {
            let places = rack.iter().filter(|place| !of_name || is_of(place, name));
            places.min_by_key(|place| place.load().as_ref().map_or(0, |item| item.number))
        };
        let is_full = rack.iter().filter(|place| is_of(place, name)).count() >= NAME_PLACES_MAX;
        if let Some(place) = oldest(is_full) {
            place.store(Some(Arc::new(Item { name: name.into(), number, value })));
        }
    }

    /// The newest of that name.
    pub(crate) fn take(&self, name: &str) -> Option<T> {
        let rack = self.rack(name)?;
        // Each turn that takes nothing lost its item to another thread.
        for _ in 0..PLACES {
            let newest = rack.iter().filter(|place| is_of(place, name));
            let newest = newest.max_by_key(|p| p.load().as_ref().map_or(0, |item| item.number))?;
            let seen = newest.load_full();
            let Some(item) = seen.as_ref().filter(|item| &*item.name == name) else { continue };
            let before = newest.compare_and_swap(&seen, None);
            if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, item)) {
                return Some(item.value.clone());
            }
        }
        None
    }

    fn rack(&self, name: &str) -> Option<&[Place<T>; PLACES]> {
        let at = hash(name).checked_rem(self.racks.len() as u64)?;
        self.racks.get(at as usize)
    }
}

impl<T> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shelf({} places)", self.racks.len() * PLACES)
    }
}

fn is_of<T>(place: &Place<T>, name: &str) -> bool {
    place.load().as_ref().is_some_and(|item| &*item.name == name)
}

/// FNV-1a: whoever chooses names that collide puts out what he put in.
pub(super) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_name_is_taken_first_and_once() {
        let shelf = Shelf::new(64);
        assert_eq!(shelf.take("a"), None);
        shelf.put("a", 1);
        shelf.put("a", 2);
        shelf.put("b", 3);
        assert_eq!((shelf.take("a"), shelf.take("a"), shelf.take("a")), (Some(2), Some(1), None));
        assert_eq!((shelf.take("b"), shelf.take("c")), (Some(3), None));
    }

    #[test]
    fn it_is_bounded_in_all_and_by_name() {
        let shelf = Shelf::new(8);
        for i in 0..1000 {
            shelf.put("a", i);
        }
        assert_eq!([(); 3].map(|()| shelf.take("a")), [Some(999), Some(998), None]);
        let names: Vec<_> = (0..1000).map(|i| format!("{i}.example")).collect();
        names.iter().for_each(|name| shelf.put(name, 0));
        let left = names.iter().filter(|name| shelf.take(name).is_some()).count();
        assert!((4..=8).contains(&left), "{left}");
        let none = Shelf::new(0);
        none.put("a", 1);
        assert_eq!(none.take("a"), None);
    }

    #[test]
    fn threads_take_each_once() {
        let shelf = Shelf::new(4);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..2000).filter(|_| shelf.take("a").is_some()).count();
            let takers: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
            (0..500).for_each(|i| shelf.put("a", i));
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert!(taken <= 500, "{taken}");
    }
}
