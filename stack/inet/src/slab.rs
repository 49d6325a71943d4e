//! Records by number: they never move, and memory comes in chunks when it is needed.
//!
//! A vector that doubles would copy a million records at once and hold twice what it uses.

/// Records of one chunk.
const CHUNK: usize = 1024;

/// The end of the list of free places; also a number that no record has.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Place<T> {
    Free { next: u32 },
    Used(T),
}

/// Numbered records of one kind.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<Place<T>>>,
    free: u32,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T> Slab<T> {
    /// Stores a record and returns its number, the one that was freed last if there is one.
    pub fn insert(&mut self, record: T) -> u32 {
        self.len = self.len.saturating_add(1);
        let number = self.free;
        if let Some(place) = self.place_mut(number)
            && let Place::Free { next } = *place
        {
            *place = Place::Used(record);
            self.free = next;
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = self.chunks.len().saturating_sub(1).saturating_mul(CHUNK);
        let Some(chunk) = self.chunks.last_mut() else { return NONE };
        let number = before.saturating_add(chunk.len());
        chunk.push(Place::Used(record));
        u32::try_from(number).unwrap_or(NONE)
    }

    /// A record by number.
    #[inline]
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        match self.chunks.get(number / CHUNK)?.get(number % CHUNK)? {
            Place::Used(record) => Some(record),
            Place::Free { .. } => None,
        }
    }

    /// A record by number, to change it.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        match self.place_mut(number)? {
            Place::Used(record) => Some(record),
            Place::Free { .. } => None,
        }
    }

    /// A record will be needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        let number = number as usize;
        let chunk = self.chunks.get(number / CHUNK);
        if let Some(place) = chunk.and_then(|chunk| chunk.get(number % CHUNK)) {
            dpdk::prefetch(place);
        }
    }

    /// Takes a record out; its number is given to one that comes later.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let free = self.free;
        let place = self.place_mut(number)?;
        if matches!(place, Place::Free { .. }) {
            return None;
        }
        let taken = core::mem::replace(place, Place::Free { next: free });
        self.free = number;
        self.len = self.len.saturating_sub(1);
        match taken {
            Place::Used(record) => Some(record),
            Place::Free { .. } => None,
        }
    }

    /// All records and their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.chunks.iter().flatten().zip(0_u32..).filter_map(|(place, number)| match place {
            Place::Used(record) => Some((number, record)),
            Place::Free { .. } => None,
        })
    }

    /// How many records there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn place_mut(&mut self, number: u32) -> Option<&mut Place<T>> {
        let number = number as usize;
        self.chunks.get_mut(number / CHUNK)?.get_mut(number % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in prop::collection::vec((any::<bool>(), 0_usize..600), 0..2000)) {
            let mut slab = Slab::default();
            let mut model: HashMap<u32, usize> = HashMap::new();
            for (insert, n) in ops {
                if insert {
                    let number = slab.insert(n);
                    prop_assert_eq!(model.insert(number, n), None, "a number is given out once");
                } else if let Some(number) = model.keys().nth(n % model.len().max(1)).copied() {
                    prop_assert_eq!(slab.remove(number), model.remove(&number));
                    prop_assert_eq!(slab.remove(number), None);
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            let listed: HashMap<u32, usize> = slab.iter().map(|(i, n)| (i, *n)).collect();
            prop_assert_eq!(&listed, &model);
            for (number, n) in model {
                prop_assert_eq!(slab.get(number), Some(&n));
                prop_assert_eq!(slab.get_mut(number).copied(), Some(n));
            }
        }
    }
}
