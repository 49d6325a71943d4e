//! From a flow's hash to the number of its record: one cache line per look.
//!
//! ```text
//!  bucket (64 B)  │ 8 tags of 16 bits │ 8 numbers of 32 bits │ how many went elsewhere │
//!                   what the hash says   what the caller says
//! ```
//! A flow lives in the bucket its hash names first; if that is full, in the one it names second; if
//! both are, in a short list beside. Keys are not here: of the few records whose tag fits, the caller
//! says which is meant.
//!
//! The table grows by one bucket at a time (linear hashing), each insertion doing a small part, and
//! buckets never move in memory: ten million flows stop the world no longer than ten.

use crate::limits::{FLOW_BUCKETS_MIN, FLOW_STASH_MAX, FLOWS_PER_BUCKET};

const WAYS: usize = 8;

/// Buckets of one piece of memory: 64 KiB.
const CHUNK: usize = 1024;

/// A tag of an empty place.
const EMPTY: u16 = 0;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    tags: [u16; WAYS],
    numbers: [u32; WAYS],
    /// At least as many as there are flows whose first bucket this is and who live elsewhere.
    elsewhere: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl Bucket {
    const NEW: Self = Self { tags: [EMPTY; WAYS], numbers: [0; WAYS], elsewhere: 0 };

    /// A bit for each place with this tag; compiles to one vector comparison.
    #[inline]
    fn places(&self, tag: u16) -> u32 {
        const BITS: [u16; WAYS] = [1, 2, 4, 8, 16, 32, 64, 128];
        let mut places = 0;
        for (have, bit) in self.tags.iter().zip(BITS) {
            places |= if *have == tag { bit } else { 0 };
        }
        places.into()
    }

    #[inline]
    fn find(&self, tag: u16, is_it: &mut impl FnMut(u32) -> bool) -> Option<usize> {
        let mut places = self.places(tag);
        while places != 0 {
            let place = places.trailing_zeros() as usize;
            if is_it(*self.numbers.get(place)?) {
                return Some(place);
            }
            places &= places.wrapping_sub(1);
        }
        None
    }

    fn put(&mut self, tag: u16, number: u32) -> bool {
        let place = self.places(EMPTY).trailing_zeros() as usize;
        let (Some(at), Some(n)) = (self.tags.get_mut(place), self.numbers.get_mut(place)) else {
            return false;
        };
        (*at, *n) = (tag, number);
        true
    }

    fn clear(&mut self, place: usize) {
        if let Some(tag) = self.tags.get_mut(place) {
            *tag = EMPTY;
        }
    }
}

/// Where a flow was found.
#[derive(Clone, Copy)]
enum Found {
    Bucket { bucket: usize, place: usize },
    Stash(usize),
}

/// No room for one more flow: both its buckets and the list beside are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Numbers of records by the hash of their flow.
#[derive(Debug)]
pub(crate) struct FlowTable {
    chunks: Vec<Box<[Bucket]>>,
    /// Buckets in use. Those from `1 << bits` on are the upper halves of buckets already split.
    buckets: usize,
    bits: u32,
    len: usize,
    stash: Vec<(u64, u32)>,
}

impl Default for FlowTable {
    fn default() -> Self {
        let mut table = Self {
            chunks: Vec::new(),
            buckets: FLOW_BUCKETS_MIN,
            bits: FLOW_BUCKETS_MIN.ilog2(),
            len: 0,
            stash: Vec::new(),
        };
        while table.chunks.len().saturating_mul(CHUNK) < FLOW_BUCKETS_MIN {
            table.add_chunk();
        }
        table
    }
}

impl FlowTable {
    /// Flows in the table.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bucket to fetch into the cache before anything is looked up.
    #[inline]
    #[must_use]
    pub(crate) fn first_bucket(&self, hash: u64) -> Option<&Bucket> {
        self.bucket(self.first(hash))
    }

    /// A record with the right tag in the first bucket: what to fetch before [`Self::find`].
    #[inline]
    #[must_use]
    pub(crate) fn guess(&self, hash: u64) -> Option<u32> {
        let bucket = self.first_bucket(hash)?;
        bucket.numbers.get(bucket.places(tag(hash)).trailing_zeros() as usize).copied()
    }

    /// The number of the record that `is_it` says yes to.
    #[inline]
    #[must_use]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(self.first(hash))?;
        match bucket.find(tag(hash), &mut is_it) {
            Some(place) => bucket.numbers.get(place).copied(),
            None if bucket.elsewhere == 0 => None,
            None => self.find_elsewhere(hash, is_it),
        }
    }

    #[cold]
    fn find_elsewhere(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(self.second(hash))?;
        if let Some(place) = bucket.find(tag(hash), &mut is_it) {
            return bucket.numbers.get(place).copied();
        }
        let stashed = self.stash.iter().find(|(h, number)| *h == hash && is_it(*number));
        stashed.map(|(_, number)| *number)
    }

    /// Adds a record whose flow is not in the table. `hash_of` says the hash of any record in it.
    ///
    /// # Errors
    /// [`Full`]: with a keyed hash a matter of astronomically bad luck.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        number: u32,
        hash_of: impl Fn(u32) -> Option<u64>,
    ) -> Result<(), Full> {
        while self.len >= self.buckets.saturating_mul(FLOWS_PER_BUCKET) && self.split(&hash_of) {}
        self.len = self.len.saturating_add(1);
        let first = self.first(hash);
        if self.put(first, hash, number)
            || self.put_elsewhere(first, hash, number)
            || (self.make_room(first, &hash_of) && self.put(first, hash, number))
            || self.put_beside(first, hash, number)
        {
            return Ok(());
        }
        self.len = self.len.saturating_sub(1);
        Err(Full)
    }

    /// Gives a flow's place to another record. `false`: the flow is not in the table.
    pub(crate) fn replace(
        &mut self,
        hash: u64,
        number: u32,
        is_it: impl FnMut(u32) -> bool,
    ) -> bool {
        let entry = match self.locate(hash, is_it) {
            Some(Found::Bucket { bucket, place }) => {
                self.bucket_mut(bucket).and_then(|bucket| bucket.numbers.get_mut(place))
            }
            Some(Found::Stash(index)) => self.stash.get_mut(index).map(|(_, number)| number),
            None => None,
        };
        entry.map(|entry| *entry = number).is_some()
    }

    /// Takes a flow out. `false`: it is not in the table.
    pub(crate) fn remove(&mut self, hash: u64, is_it: impl FnMut(u32) -> bool) -> bool {
        let first = self.first(hash);
        let away = match self.locate(hash, is_it) {
            Some(Found::Bucket { bucket, place }) => {
                if let Some(bucket) = self.bucket_mut(bucket) {
                    bucket.clear(place);
                }
                bucket != first
            }
            Some(Found::Stash(index)) => {
                let _ = self.stash.swap_remove(index);
                true
            }
            None => return false,
        };
        self.len = self.len.saturating_sub(1);
        if away {
            self.count_home(first);
        }
        true
    }

    fn locate(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<Found> {
        for bucket in [self.first(hash), self.second(hash)] {
            if let Some(place) = self.bucket(bucket)?.find(tag(hash), &mut is_it) {
                return Some(Found::Bucket { bucket, place });
            }
        }
        let stashed = self.stash.iter().position(|(h, number)| *h == hash && is_it(*number));
        stashed.map(Found::Stash)
    }

    fn put(&mut self, bucket: usize, hash: u64, number: u32) -> bool {
        self.bucket_mut(bucket).is_some_and(|bucket| bucket.put(tag(hash), number))
    }

    /// Its first bucket is full.
    fn put_elsewhere(&mut self, first: usize, hash: u64, number: u32) -> bool {
        let done = self.put(self.second(hash), hash, number);
        self.count_elsewhere(first, u32::from(done));
        done
    }

    /// Both its buckets are full: one of those that live in the first may have room in its other
    /// bucket.
    fn make_room(&mut self, bucket: usize, hash_of: &impl Fn(u32) -> Option<u64>) -> bool {
        let Some(Bucket { numbers, .. }) = self.bucket(bucket).copied() else { return false };
        numbers.into_iter().enumerate().any(|(place, number)| {
            let Some(hash) = hash_of(number) else { return false };
            let (first, second) = (self.first(hash), self.second(hash));
            let at_home = first == bucket;
            if !self.put(if at_home { second } else { first }, hash, number) {
                return false;
            }
            if let Some(bucket) = self.bucket_mut(bucket) {
                bucket.clear(place);
            }
            if at_home {
                self.count_elsewhere(first, 1);
            } else {
                self.count_home(first);
            }
            true
        })
    }

    /// Not even that.
    fn put_beside(&mut self, first: usize, hash: u64, number: u32) -> bool {
        let done = self.stash.len() < FLOW_STASH_MAX;
        if done {
            self.stash.push((hash, number));
            self.count_elsewhere(first, 1);
        }
        done
    }

    fn count_elsewhere(&mut self, first: usize, count: u32) {
        if let Some(bucket) = self.bucket_mut(first) {
            bucket.elsewhere = bucket.elsewhere.saturating_add(count);
        }
    }

    fn count_home(&mut self, first: usize) {
        if let Some(bucket) = self.bucket_mut(first) {
            bucket.elsewhere = bucket.elsewhere.saturating_sub(1);
        }
    }

    /// Splits the next bucket in two: those of its flows whose hash has the next bit set move to a
    /// new one. `false`: the table is as large as its hash allows.
    fn split(&mut self, hash_of: &impl Fn(u32) -> Option<u64>) -> bool {
        if self.bits >= INDEX_BITS {
            return false;
        }
        let (old, new) = (self.buckets & ((1 << self.bits) - 1), self.buckets);
        if self.chunks.len().saturating_mul(CHUNK) <= new {
            self.add_chunk();
        }
        let Some(bucket) = self.bucket_mut(old) else { return false };
        let elsewhere = bucket.elsewhere;
        let moving = core::mem::replace(bucket, Bucket { elsewhere, ..Bucket::NEW });
        if let Some(bucket) = self.bucket_mut(new) {
            // Nobody knows to which of the two those belong that live elsewhere.
            bucket.elsewhere = elsewhere;
        }
        // Where each flow lived is judged by the table as it was.
        let mut flows = [(0, 0, false); WAYS];
        let living = moving.tags.into_iter().zip(moving.numbers).filter(|(tag, _)| *tag != EMPTY);
        let mut count = 0_usize;
        for (flow, (_, number)) in flows.iter_mut().zip(living) {
            let hash = hash_of(number).unwrap_or(0);
            *flow = (hash, number, self.first(hash) == old);
            count = count.saturating_add(1);
        }
        self.buckets = new.saturating_add(1);
        if self.buckets == 2 << self.bits {
            self.bits = self.bits.saturating_add(1);
        }
        for (hash, number, at_home) in flows.into_iter().take(count) {
            // There is room: neither half gets more than there was.
            let bucket = if at_home { self.first(hash) } else { self.second(hash) };
            let _ = self.put(bucket, hash, number);
        }
        self.empty_stash();
        true
    }

    /// Flows from the list beside move into buckets that have room now.
    fn empty_stash(&mut self) {
        let mut stash = core::mem::take(&mut self.stash);
        stash.retain(|(hash, number)| {
            let first = self.first(*hash);
            if self.put(first, *hash, *number) {
                self.count_home(first);
                return false;
            }
            !self.put(self.second(*hash), *hash, *number)
        });
        self.stash = stash;
    }

    fn add_chunk(&mut self) {
        self.chunks.push(vec![Bucket::NEW; CHUNK].into_boxed_slice());
    }

    /// The bucket a flow should live in.
    #[inline]
    fn first(&self, hash: u64) -> usize {
        self.index(hash)
    }

    /// The bucket it lives in if that one is full.
    #[inline]
    fn second(&self, hash: u64) -> usize {
        self.index(hash >> INDEX_BITS)
    }

    #[inline]
    fn index(&self, hash: u64) -> usize {
        let mask = (2_usize << self.bits) - 1;
        let index = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & mask;
        if index < self.buckets { index } else { index & (mask >> 1) }
    }

    #[inline]
    fn bucket(&self, index: usize) -> Option<&Bucket> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> Option<&mut Bucket> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }
}

/// Bits of a hash for each of the two buckets; the other 16 are the tag.
const INDEX_BITS: u32 = 24;

#[inline]
fn tag(hash: u64) -> u16 {
    let tag = u16::try_from(hash >> (2 * INDEX_BITS)).unwrap_or(0);
    if tag == EMPTY { 1 } else { tag }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, FlowHasher};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const HASHER: FlowHasher = FlowHasher::keyed(7, 8);

    fn flow(n: u32) -> Flow {
        Flow {
            local_addr: [10, 0, 0, 1].into(),
            remote_addr: (n >> 8).into(),
            local_port: 80,
            remote_port: u16::try_from(n & 0xff).unwrap(),
        }
    }

    /// The records are the flows themselves.
    #[derive(Default)]
    struct Flows {
        table: FlowTable,
        records: Vec<Flow>,
        compared: std::cell::Cell<usize>,
    }

    impl Flows {
        fn is(&self, flow: Flow) -> impl Fn(u32) -> bool + '_ {
            move |number| {
                self.compared.set(self.compared.get() + 1);
                self.records[number as usize] == flow
            }
        }

        fn add(&mut self, flow: Flow) -> u32 {
            let number = u32::try_from(self.records.len()).unwrap();
            self.records.push(flow);
            let records = &self.records;
            let hash_of = |n: u32| Some(HASHER.hash(&records[n as usize]));
            self.table.insert(HASHER.hash(&flow), number, hash_of).unwrap();
            number
        }

        fn find(&self, flow: Flow) -> Option<u32> {
            self.table.find(HASHER.hash(&flow), self.is(flow))
        }

        fn remove(&mut self, flow: Flow) -> bool {
            let records = &self.records;
            self.table.remove(HASHER.hash(&flow), |n| records[n as usize] == flow)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Few enough flows to meet each again, enough of them to split every bucket.
        #[test]
        fn behaves_like_a_hash_map(ops in prop::collection::vec((0_u8..8, 0_u32..20_000), 0..30_000)) {
            let mut flows = Flows::default();
            let mut model: HashMap<Flow, u32> = HashMap::new();
            for (op, n) in ops {
                let flow = flow(n);
                match (op, model.get(&flow).copied()) {
                    (0, number) => {
                        prop_assert_eq!(flows.remove(flow), number.is_some());
                        let _ = model.remove(&flow);
                    }
                    (1, number) => {
                        let fresh = u32::try_from(flows.records.len()).unwrap();
                        let records = &flows.records;
                        let done = flows.table.replace(HASHER.hash(&flow), fresh, |n| records[n as usize] == flow);
                        prop_assert_eq!(done, number.is_some());
                        if done {
                            flows.records.push(flow);
                            let _ = model.insert(flow, fresh);
                        }
                    }
                    (_, Some(number)) => prop_assert_eq!(flows.find(flow), Some(number)),
                    (_, None) => {
                        let _ = model.insert(flow, flows.add(flow));
                    }
                }
                prop_assert_eq!(flows.table.len(), model.len());
            }
            for n in 0..20_000 {
                prop_assert_eq!(flows.find(flow(n)), model.get(&flow(n)).copied());
            }
        }
    }

    /// A million flows whose ports and addresses a peer has chosen so that a hash without a secret
    /// (here the fold that chooses workers) puts them all into one place of 65536.
    #[test]
    fn flows_chosen_to_collide_do_not() {
        let mut flows = Flows::default();
        let chosen = |n: u32| {
            let (port, high) = (n & 0xffff, n >> 16);
            let address = (high << 16) | port;
            Flow {
                remote_addr: address.into(),
                remote_port: u16::try_from(port).unwrap(),
                ..flow(0)
            }
        };
        let fold = |f: Flow| f.remote_addr.to_bits() & 0xffff ^ u32::from(f.remote_port);
        for n in 0..1_000_000 {
            assert_eq!(fold(chosen(n)), 0);
            let _ = flows.add(chosen(n));
        }
        flows.compared.set(0);
        for n in 0..1_000_000 {
            assert_eq!(flows.find(chosen(n)), Some(n));
        }
        assert!(flows.compared.get() < 1_010_000, "{} keys compared", flows.compared.get());
        assert!(flows.table.stash.is_empty(), "{} beside", flows.table.stash.len());
        let away = |b: &Bucket| b.elsewhere > 0;
        let buckets = || flows.table.chunks.iter().flatten().take(flows.table.buckets);
        let share = buckets().filter(|b| away(b)).count() as f64 / buckets().count() as f64;
        assert!(share < 0.35, "{share} of the buckets have flows elsewhere");
        assert!(flows.table.buckets < 350_000);
    }

    #[test]
    fn a_table_that_is_full_says_so_and_goes_on() {
        let mut table = FlowTable::default();
        let put = |table: &mut FlowTable, n| table.insert(42, n, |_| Some(42));
        let room = u32::try_from(2 * WAYS + FLOW_STASH_MAX).unwrap();
        // The same hash for all: both its buckets, then the list beside.
        let stored = (0..1000).filter(|n| put(&mut table, *n).is_ok()).count();
        assert!(stored >= room as usize - WAYS && table.len() == stored);
        assert_eq!(table.find(42, |n| n == 3), Some(3));
        assert!(table.remove(42, |n| n == 3));
        assert_eq!(put(&mut table, 1000), Ok(()));
    }
}
