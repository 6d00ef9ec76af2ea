//! The table of connections: stable slots, and keys that know when their slot was reused.
//!
//! A key has a generation, so that one of a connection that is gone misses (an ABA guard). Invariant: a key is
//! valid until its entry is removed.

use slab::Slab;

/// The highest number of slots: indices fill 31 bits of a token.
pub(super) const SLOTS_MAX: usize = 1 << 30;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Takes it apart: the index, below 2^31, and the generation, below 2^30.
    pub(super) fn parts(self) -> (u32, u32) {
        (self.index, self.generation)
    }

    /// Puts it together again.
    pub(super) fn of_parts(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: T,
}

/// A slab whose keys are checked.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Slab<Entry<T>>,
    generation: u32,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self { slots: Slab::new(), generation: 0 }
    }

    /// Says where the next entry will be, so that it can be told before it is made.
    pub(super) fn next_key(&self) -> Key {
        let index = u32::try_from(self.slots.vacant_key()).expect("below SLOTS_MAX");
        Key { index, generation: self.generation }
    }

    /// Adds an entry at `next_key`.
    pub(super) fn insert(&mut self, value: T) -> Key {
        debug_assert!(self.slots.len() < SLOTS_MAX);
        let key = self.next_key();
        self.slots.insert(Entry { generation: key.generation, value });
        // The top bits stay clear for the tokens of other things.
        self.generation = (self.generation + 1) & 0x3FFF_FFFF;
        key
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.slots.get_mut(key.index as usize)?;
        (entry.generation == key.generation).then_some(&mut entry.value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, entry)| &entry.value)
    }

    /// Finds the first that is wanted; looks at all before it.
    pub(super) fn find(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Option<(Key, &mut T)> {
        let (index, entry) = self.slots.iter_mut().find(|(_, entry)| is_wanted(&entry.value))?;
        let index = u32::try_from(index).expect("below SLOTS_MAX");
        Some((Key { index, generation: entry.generation }, &mut entry.value))
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let entry = self.slots.get(key.index as usize)?;
        (entry.generation == key.generation).then(|| self.slots.remove(key.index as usize).value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        let key = |(index, entry): (usize, &Entry<T>)| Key {
            index: u32::try_from(index).expect("below SLOTS_MAX"),
            generation: entry.generation,
        };
        self.slots.iter().map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_gone_entry_misses_the_one_in_its_slot() {
        let mut table = Table::new();
        let first = table.insert('a');
        table.remove(first);
        let second = table.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.get_mut(second), Some(&mut 'b'));
    }
}
