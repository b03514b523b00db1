//! Lists through tables, by number: no allocation once the tables have grown.
//!
//! *Invariant*: total functions. A number that was never given leads to a spare place, and does
//! nothing.

/// No number.
const NONE: u32 = u32::MAX;

/// Places by number, which come to be when they are first written.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: Vec<T>,
    spare: T,
}

impl<T: Default> Table<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), spare: T::default() }
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    /// A further place.
    pub(super) fn push(&mut self) -> u32 {
        self.places.push(T::default());
        self.places.len() as u32 - 1
    }

    /// Makes places up to that number.
    pub(super) fn reach(&mut self, number: u32) {
        while self.places.len() <= number as usize {
            self.places.push(T::default());
        }
    }

    pub(super) fn at(&self, number: u32) -> &T {
        self.places.get(number as usize).unwrap_or(&self.spare)
    }

    pub(super) fn at_mut(&mut self, number: u32) -> &mut T {
        self.places.get_mut(number as usize).unwrap_or(&mut self.spare)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.places)
    }
}

/// Both ends of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }
}

impl List {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }
}

/// What each number is linked to, in one list or in none.
#[derive(Debug)]
pub(super) struct Chain {
    links: Table<Link>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    behind: u32,
    is_in: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self { before: NONE, behind: NONE, is_in: false }
    }
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { links: Table::new() }
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.links.at(number).is_in
    }

    /// Appends a number that is in no list; one that is stays where it is.
    pub(super) fn push_last(&mut self, list: &mut List, number: u32) {
        self.insert(list, number, list.last, NONE);
    }

    /// The same at the front.
    pub(super) fn push_first(&mut self, list: &mut List, number: u32) {
        self.insert(list, number, NONE, list.first);
    }

    fn insert(&mut self, list: &mut List, number: u32, before: u32, behind: u32) {
        self.links.reach(number);
        if self.has(number) {
            return;
        }
        *self.links.at_mut(number) = Link { before, behind, is_in: true };
        match before {
            NONE => list.first = number,
            _ => self.links.at_mut(before).behind = number,
        }
        match behind {
            NONE => list.last = number,
            _ => self.links.at_mut(behind).before = number,
        }
        list.len += 1;
    }

    /// Takes a number out of the list that it is in, which must be this one; whether it was in one.
    pub(super) fn remove(&mut self, list: &mut List, number: u32) -> bool {
        let Link { before, behind, is_in } = *self.links.at(number);
        if !is_in {
            return false;
        }
        *self.links.at_mut(number) = Link::default();
        match before {
            NONE => list.first = behind,
            _ => self.links.at_mut(before).behind = behind,
        }
        match behind {
            NONE => list.last = before,
            _ => self.links.at_mut(behind).before = before,
        }
        list.len -= 1;
        true
    }

    pub(super) fn pop_first(&mut self, list: &mut List) -> Option<u32> {
        let number = list.first()?;
        self.remove(list, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_list_is_a_deque() {
        let mut rng = Rng::from_seed(7);
        let (mut chain, mut list, mut model) = (Chain::new(), List::default(), VecDeque::new());
        for _ in 0..10_000 {
            let number = rng.below(16) as u32;
            let is_in = model.contains(&number);
            match rng.below(4) {
                0 => {
                    chain.push_last(&mut list, number);
                    model.extend(Some(number).filter(|_| !is_in));
                }
                1 => {
                    chain.push_first(&mut list, number);
                    model.extend(Some(number).filter(|_| !is_in));
                    model.rotate_right(usize::from(!is_in));
                }
                2 => {
                    assert_eq!(chain.remove(&mut list, number), is_in);
                    model.retain(|other| *other != number);
                }
                _ => assert_eq!(chain.pop_first(&mut list), model.pop_front()),
            }
            assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
            assert_eq!(list.first(), model.front().copied());
            assert_eq!(list.last(), model.back().copied());
            assert!((0..20).all(|number| chain.has(number) == model.contains(&number)));
        }
    }
}
