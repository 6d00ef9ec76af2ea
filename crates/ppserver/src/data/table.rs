//! The table of connections: stable slots, and tokens that know when their slot was reused.
//!
//! A token is `generation << 32 | index << 1 | side`: an event of a connection that is gone misses
//! on the generation (an ABA guard). Invariant: a key is valid until its entry is removed.

use mio::Token;
use slab::Slab;

/// The highest number of slots: indices fill 31 bits, and the top tokens are kept for others.
pub(super) const SLOTS_MAX: usize = 1 << 30;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// Packs the key with one bit of the caller's.
    pub(super) fn token(self, bit: bool) -> Token {
        Token((self.generation as usize) << 32 | (self.index as usize) << 1 | usize::from(bit))
    }

    /// Takes a token apart.
    pub(super) fn from_token(token: Token) -> (Self, bool) {
        let generation = u32::try_from(token.0 >> 32).expect("32 bits are left");
        let index = u32::try_from((token.0 & 0xFFFF_FFFF) >> 1).expect("31 bits are left");
        (Self { index, generation }, token.0 & 1 == 1)
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
        // The top bit stays clear for the tokens of other things.
        self.generation = (self.generation + 1) & 0x7FFF_FFFF;
        key
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let entry = self.slots.get_mut(key.index as usize)?;
        (entry.generation == key.generation).then_some(&mut entry.value)
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
    fn an_event_of_a_gone_entry_misses_the_one_in_its_slot() {
        let mut table = Table::new();
        let first = table.insert('a');
        let stale = first.token(true);
        table.remove(first);
        let second = table.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!(table.get_mut(Key::from_token(stale).0), None);
        assert_eq!(table.get_mut(second), Some(&mut 'b'));
    }

    #[test]
    fn a_token_keeps_key_and_bit() {
        let mut table = Table::new();
        table.insert('a');
        let key = table.insert('b');
        assert_eq!(Key::from_token(key.token(false)), (key, false));
        assert_eq!(Key::from_token(key.token(true)), (key, true));
    }
}
