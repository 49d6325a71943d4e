//! The control plane's sockets by key: a million connections cost little more than their entries. A
//! table of numbers, which doubles, says where the entries are, which never move.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use inet::Slab;

use crate::control::{SocketEntry, SocketKey};

/// An entry and the key that finds it.
struct Keyed {
    key: SocketKey,
    entry: SocketEntry,
}

const _: () = assert!(
    size_of::<Keyed>() <= inet::limits::CONTROL_ENTRY_LEN,
    "every idle connection pays for this"
);

/// All sockets.
#[derive(Default)]
pub(crate) struct SocketTable {
    entries: Slab<Keyed>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl SocketTable {
    /// Adds a socket. A key names one socket in all its life.
    pub(crate) fn insert(&mut self, key: SocketKey, entry: SocketEntry) {
        let _ = self.remove(&key);
        let number = self.entries.insert(Keyed { key, entry });
        let Self { entries, numbers, hasher } = self;
        let hash_of = |number: &u32| hasher.hash_one(entries.get(*number).map(|keyed| keyed.key));
        let _ = numbers.insert_unique(hasher.hash_one(Some(key)), number, hash_of);
    }

    /// Looks a socket up.
    pub(crate) fn get(&self, key: &SocketKey) -> Option<&SocketEntry> {
        self.entries.get(self.number(*key)?).map(|keyed| &keyed.entry)
    }

    /// Looks a socket up to change it.
    pub(crate) fn get_mut(&mut self, key: &SocketKey) -> Option<&mut SocketEntry> {
        let number = self.number(*key)?;
        self.entries.get_mut(number).map(|keyed| &mut keyed.entry)
    }

    /// Takes a socket out.
    pub(crate) fn remove(&mut self, key: &SocketKey) -> Option<SocketEntry> {
        let Self { entries, numbers, hasher } = self;
        let is_it = |number: &u32| entries.get(*number).is_some_and(|keyed| keyed.key == *key);
        let found = numbers.find_entry(hasher.hash_one(Some(*key)), is_it).ok()?;
        let (number, _) = found.remove();
        entries.remove(number).map(|keyed| keyed.entry)
    }

    /// All sockets.
    pub(crate) fn values(&self) -> impl Iterator<Item = &SocketEntry> {
        self.entries.iter().map(|(_, keyed)| &keyed.entry)
    }

    fn number(&self, key: SocketKey) -> Option<u32> {
        let is_it = |number: &u32| self.entries.get(*number).is_some_and(|keyed| keyed.key == key);
        self.numbers.find(self.hasher.hash_one(Some(key)), is_it).copied()
    }
}
