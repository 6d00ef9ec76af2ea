//! Cells of one kind by name, one set a worker.
//!
//! Knows nothing of what they count. Invariant: a name is followed or going, never both.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

/// Cells by name.
#[derive(Debug)]
pub(super) struct Shelf<K, C> {
    followed: BTreeMap<K, Box<[Arc<C>]>>,
    /// In no configuration any more; connections may count there still.
    going: BTreeMap<K, Box<[Arc<C>]>>,
}

impl<K: Ord, C: Default> Shelf<K, C> {
    pub(super) const fn new() -> Self {
        Self { followed: BTreeMap::new(), going: BTreeMap::new() }
    }

    /// Follows these names from now on: those that are there go on as they were, also those that were going.
    pub(super) fn follow(&mut self, names: impl Iterator<Item = K>, workers: usize) {
        let mut old = mem::take(&mut self.followed);
        old.append(&mut self.going);
        for name in names {
            if let Some((name, cells)) = old.remove_entry(&name) {
                self.followed.insert(name, cells);
            } else {
                let cells = || (0..workers).map(|_| Arc::default()).collect();
                self.followed.entry(name).or_insert_with(cells);
            }
        }
        self.going = old;
    }

    /// Returns a worker's cells of what is followed.
    pub(super) fn of(&self, name: &K, worker: usize) -> Arc<C> {
        let cells = self.followed.get(name).expect("only what is followed is asked for");
        Arc::clone(&cells[worker])
    }

    /// Returns the cells of all that is followed, by name.
    pub(super) fn followed(&self) -> impl Iterator<Item = (&K, &[Arc<C>])> {
        self.followed.iter().map(|(name, cells)| (name, &**cells))
    }

    /// Returns all cells of a worker, also of what is going.
    pub(super) fn all_of(&self, worker: usize) -> impl Iterator<Item = &C> {
        self.followed.values().chain(self.going.values()).map(move |cells| &*cells[worker])
    }

    /// Returns all cells, also of what is going.
    pub(super) fn all(&self) -> impl Iterator<Item = &C> {
        self.followed.values().chain(self.going.values()).flatten().map(|cells| &**cells)
    }

    /// Takes out what is gone: nobody but this holds it.
    pub(super) fn gone(&mut self) -> impl Iterator<Item = C> {
        let is_held = |cells: &[Arc<C>]| cells.iter().any(|cells| Arc::strong_count(cells) > 1);
        let (going, gone) =
            mem::take(&mut self.going).into_iter().partition(|(_, cells)| is_held(cells));
        self.going = going;
        let gone: BTreeMap<K, Box<[Arc<C>]>> = gone;
        // Behind all that its last holder wrote.
        gone.into_values().flatten().filter_map(Arc::into_inner)
    }
}
