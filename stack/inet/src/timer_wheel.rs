//! Lazy timers on a hierarchical wheel: arming, moving and firing cost the same with ten timers as
//! with ten million.
//!
//! ```text
//!           65.5 µs a slot       16.8 ms            4.3 s             18 min
//! level 0  ├┼┼┼┼ 256 ┼┼┼┼┤  1  ├┼┼ 256 ┼┼┤   2   ├┼┼ 256 ┼┼┤   3   ├┼┼ 256 ┼┼┤
//!            fires            moves down to the levels before it when its time begins
//! ```
//! An owner has at most one entry and keeps its place in a [`Timer`]. A deadline that moves later,
//! as a connection's does with each acknowledgement, changes nothing: the entry fires, the owner
//! looks at its real deadline and arms again. Only a deadline that moves earlier moves the entry.
//! Thus a timer may fire early, never late by more than a slot of level 0, and its owner decides.

use types::Instant;

use crate::limits::TIMER_MOVES_MAX;
use crate::slab::Slab;

/// An endpoint's record: which kind, and its number among these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    /// A connection, by the number of its socket.
    Connection(u32),
    /// A passive open that has not completed.
    HalfOpen(u32),
    /// What is left of a connection.
    TimeWait(u32),
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A TCP endpoint.
    Endpoint(Endpoint),
    /// The neighbour table.
    Neighbors,
    /// Packets of which fragments are missing.
    Fragments,
}

/// An owner's place on the wheel.
#[derive(Debug)]
pub(crate) struct Timer {
    entry: u32,
    /// When the entry fires, if there is one.
    tick: u32,
}

impl Default for Timer {
    fn default() -> Self {
        Self { entry: NONE, tick: 0 }
    }
}

impl Timer {
    /// The entry of this name has fired. `false`: it is not this owner's.
    pub(crate) fn fired(&mut self, name: Fired) -> bool {
        let mine = self.entry == name.0;
        if mine {
            *self = Self::default();
        }
        mine
    }
}

/// Names the entry that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fired(u32);

const NONE: u32 = u32::MAX;
/// The farthest deadline, 39 h: one beyond it fires then and is armed again.
const TICKS_MAX: u64 = 1 << 31;
/// A tick is 2^16 ns: fine enough to pace segments by.
const TICK_BITS: u32 = 16;
/// Slots of a level are 2^8.
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 4;

#[derive(Debug)]
struct Entry {
    previous: u32,
    next: u32,
    tick: u32,
    owner: Owner,
}

#[derive(Debug)]
struct Level {
    heads: [u32; SLOTS],
    /// A bit for each slot that holds entries.
    occupied: [u64; SLOTS / 64],
}

/// A slot whose time comes next.
#[derive(Clone, Copy)]
struct Due {
    level: usize,
    slot: usize,
    start: u64,
}

/// All timers of a worker.
#[derive(Debug)]
pub(crate) struct Timers {
    entries: Slab<Entry>,
    levels: Box<[Level; LEVELS]>,
    /// The tick up to which everything has fired. Entries know the lower half of their tick.
    now: u64,
    /// No occupied slot begins before this tick.
    idle_until: u64,
}

impl Default for Timers {
    fn default() -> Self {
        let level = || Level { heads: [NONE; SLOTS], occupied: [0; SLOTS / 64] };
        Self {
            entries: Slab::default(),
            levels: Box::new([level(), level(), level(), level()]),
            now: 0,
            idle_until: 0,
        }
    }
}

impl Timers {
    /// Sees to it that the owner hears of `at`, or earlier.
    #[inline]
    pub(crate) fn arm(&mut self, at: Option<Instant>, owner: Owner, timer: &mut Timer) {
        if let Some(at) = at {
            let tick = self.tick(at);
            if timer.entry == NONE || self.until(timer.tick) > self.until(tick) {
                self.rearm(tick, owner, timer);
            }
        }
    }

    fn rearm(&mut self, tick: u32, owner: Owner, timer: &mut Timer) {
        self.cancel(timer);
        let number = self.entries.insert(Entry { previous: NONE, next: NONE, tick, owner });
        *timer = Timer { entry: number, tick };
        self.link(number, tick);
    }

    /// The owner goes away.
    pub(crate) fn cancel(&mut self, timer: &mut Timer) {
        let Timer { entry, .. } = core::mem::take(timer);
        if let Some(Entry { tick, .. }) = self.entries.get(entry) {
            self.unlink(entry, *tick);
            let _ = self.entries.remove(entry);
        }
    }

    /// Takes the next timer that is due, and does a limited part of the wheel's own work.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Owner, Fired)> {
        let now = (now.as_nanos() >> TICK_BITS).max(self.now);
        if now < self.idle_until {
            self.now = now;
            return None;
        }
        for _ in 0..TIMER_MOVES_MAX {
            let first = self.first();
            let Some(due) = first.filter(|due| due.start <= now) else {
                self.idle_until = first.map_or(u64::MAX, |due| due.start);
                self.now = now;
                return None;
            };
            self.now = due.start;
            let number = self.head(due.level, due.slot);
            let tick = self.entries.get(number)?.tick;
            self.unlink_from(due.level, due.slot, number);
            if due.level == 0 {
                let entry = self.entries.remove(number)?;
                return Some((entry.owner, Fired(number)));
            }
            self.link(number, tick);
        }
        None
    }

    /// Owners of the timers that come next in the slot that is due, in their order.
    pub(crate) fn upcoming(&self, now: Instant) -> impl Iterator<Item = Owner> + '_ {
        let now = now.as_nanos() >> TICK_BITS;
        let due = self.first().filter(|due| due.level == 0 && due.start <= now);
        let mut next = due.map_or(NONE, |due| self.head(due.level, due.slot));
        core::iter::from_fn(move || {
            let entry = self.entries.get(next)?;
            next = entry.next;
            Some(entry.owner)
        })
    }

    /// When to look again: the next timer, or the time at which one moves to a finer level.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.first().map(|due| Instant::from_nanos(due.start << TICK_BITS))
    }

    /// Armed timers.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first tick that is not before `at`, within the wheel's range.
    #[inline]
    fn tick(&self, at: Instant) -> u32 {
        let tick = at.as_nanos().saturating_add((1 << TICK_BITS) - 1) >> TICK_BITS;
        low(tick.clamp(self.now, self.now.saturating_add(TICKS_MAX)))
    }

    /// Ticks from now on to one that is not before it.
    #[inline]
    fn until(&self, tick: u32) -> u32 {
        tick.wrapping_sub(low(self.now))
    }

    /// The occupied slot that begins first; of two the coarser, whose entries may be before the
    /// finer's.
    fn first(&self) -> Option<Due> {
        let mut first: Option<Due> = None;
        let mut shift = 0;
        for (level, wheel) in self.levels.iter().enumerate() {
            let now = low(self.now >> shift) as usize % SLOTS;
            if let Some(slot) = wheel.first(now) {
                // Slots before the present one are of the next turn.
                let turn = (self.now >> shift >> SLOT_BITS) + u64::from(slot < now);
                let start = ((turn << SLOT_BITS) | slot as u64) << shift;
                if first.is_none_or(|due| start <= due.start) {
                    first = Some(Due { level, slot, start });
                }
            }
            shift += SLOT_BITS;
        }
        first
    }

    /// Level and slot of a tick as seen from now: the level is that of the highest digit, in base
    /// 256, in which the two differ.
    fn position(&self, tick: u32) -> (usize, usize) {
        let differs = tick ^ low(self.now);
        let level = (u32::BITS - 1).saturating_sub(differs.leading_zeros()) / SLOT_BITS;
        let slot = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        (level as usize, slot)
    }

    fn link(&mut self, number: u32, tick: u32) {
        self.idle_until = 0;
        let (level, slot) = self.position(tick);
        let Some(wheel) = self.levels.get_mut(level) else { return };
        let next = wheel.replace_head(slot, number);
        if let Some(entry) = self.entries.get_mut(number) {
            entry.previous = NONE;
            entry.next = next;
        }
        if let Some(next) = self.entries.get_mut(next) {
            next.previous = number;
        }
    }

    /// An entry is where it was linked or, since then, on a level below it; only a head's slot
    /// matters, and a head is found by looking.
    fn unlink(&mut self, number: u32, tick: u32) {
        let is_head = self.entries.get(number).is_some_and(|entry| entry.previous == NONE);
        let place = (0..LEVELS).find_map(|level| {
            let shift = SLOT_BITS.saturating_mul(u32::try_from(level).unwrap_or(0));
            let slot = (tick >> shift) as usize % SLOTS;
            (self.head(level, slot) == number).then_some((level, slot))
        });
        match place {
            Some((level, slot)) if is_head => self.unlink_from(level, slot, number),
            _ => self.unlink_from(LEVELS, 0, number),
        }
    }

    /// Takes an entry out of its list, whose head may be that of the slot named.
    fn unlink_from(&mut self, level: usize, slot: usize, number: u32) {
        let Some(entry) = self.entries.get(number) else { return };
        let (previous, next) = (entry.previous, entry.next);
        if let Some(next) = self.entries.get_mut(next) {
            next.previous = previous;
        }
        match self.entries.get_mut(previous) {
            Some(previous) => previous.next = next,
            None => {
                if let Some(wheel) = self.levels.get_mut(level) {
                    let _ = wheel.replace_head(slot, next);
                }
            }
        }
    }

    fn head(&self, level: usize, slot: usize) -> u32 {
        self.levels.get(level).and_then(|wheel| wheel.heads.get(slot)).copied().unwrap_or(NONE)
    }
}

impl Level {
    /// The first occupied slot from `now` on, around the wheel.
    fn first(&self, now: usize) -> Option<usize> {
        let (word, bit) = (now / 64, now % 64);
        let after = self.occupied.get(word)? & (u64::MAX << bit);
        if after != 0 {
            return Some(word * 64 + after.trailing_zeros() as usize);
        }
        let mut words = (1..=self.occupied.len()).map(|step| (word + step) % self.occupied.len());
        words.find_map(|word| {
            let bits = self.occupied.get(word).copied().unwrap_or(0);
            (bits != 0).then(|| word * 64 + bits.trailing_zeros() as usize)
        })
    }

    fn replace_head(&mut self, slot: usize, number: u32) -> u32 {
        let bit = 1_u64 << (slot % 64);
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            *word = if number == NONE { *word & !bit } else { *word | bit };
        }
        match self.heads.get_mut(slot) {
            Some(head) => core::mem::replace(head, number),
            None => NONE,
        }
    }
}

fn low(tick: u64) -> u32 {
    u32::try_from(tick & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    const SLOT: u64 = 1 << TICK_BITS;

    fn owner(n: usize) -> Owner {
        Owner::Endpoint(Endpoint::Connection(u32::try_from(n).unwrap()))
    }

    fn drain(timers: &mut Timers, at: u64) -> Vec<(Owner, Fired)> {
        let mut fired = Vec::new();
        // A call that only moves entries says nothing is due; the wheel asks to be looked at again.
        while timers.next().is_some_and(|next| next.as_nanos() <= at) {
            fired.extend(timers.pop_due(Instant::from_nanos(at)));
        }
        fired
    }

    #[test]
    fn a_deadline_that_moves_later_changes_nothing() {
        let (mut timers, mut timer) = (Timers::default(), Timer::default());
        for ms in 10..1000 {
            timers.arm(Some(Instant::from_millis(ms)), Owner::Neighbors, &mut timer);
        }
        assert_eq!(timers.len(), 1);
        let fired = drain(&mut timers, Instant::from_millis(11).as_nanos());
        assert_eq!(fired.len(), 1);
        assert!(timer.fired(fired[0].1) && !timer.fired(fired[0].1));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_that_moves_earlier_leaves_nothing_behind() {
        let (mut timers, mut timer) = (Timers::default(), Timer::default());
        for ms in (1..100_000).rev() {
            timers.arm(Some(Instant::from_millis(ms)), Owner::Neighbors, &mut timer);
        }
        assert_eq!(timers.len(), 1);
        assert!(timers.next().unwrap() <= Instant::from_millis(2));
        timers.cancel(&mut timer);
        assert_eq!((timers.len(), timers.next()), (0, None));
    }

    #[test]
    fn beyond_the_wheels_range_a_timer_fires_early_and_is_armed_again() {
        let (mut timers, mut timer) = (Timers::default(), Timer::default());
        let at = Instant::ZERO + Duration::from_secs(100 * 3600);
        timers.arm(Some(at), Owner::Neighbors, &mut timer);
        let mut rounds = 0;
        while let Some(next) = timers.next().filter(|next| *next < at) {
            if let Some((_, name)) = timers.pop_due(next) {
                assert!(timer.fired(name));
                timers.arm(Some(at), Owner::Neighbors, &mut timer);
            }
            rounds += 1;
            assert!(rounds < 100);
        }
        let fired = drain(&mut timers, at.as_nanos() + SLOT);
        assert_eq!(fired.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(usize, u64),
        Cancel(usize),
        Pass(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let time = || (0_u32..44).prop_flat_map(|bits| 0_u64..(1 << bits));
        prop_oneof![
            (0_usize..40, time()).prop_map(|(n, in_ns)| Op::Arm(n, in_ns)),
            (0_usize..40).prop_map(Op::Cancel),
            time().prop_map(Op::Pass),
        ]
    }

    proptest! {
        /// Against a list of deadlines: each fires once, not before its time, and within a slot of it.
        #[test]
        fn behaves_like_a_list_of_deadlines(start in 0_u64..(1 << 50), ops in prop::collection::vec(op(), 1..300)) {
            let mut timers = Timers::default();
            let mut owners: Vec<(Timer, Option<u64>)> = (0..40).map(|_| (Timer::default(), None)).collect();
            let mut now = start;
            let _ = drain(&mut timers, now);
            let _ = timers.pop_due(Instant::from_nanos(now));
            for op in ops {
                match op {
                    Op::Arm(n, in_ns) => {
                        let at = now + in_ns;
                        let (timer, deadline) = &mut owners[n];
                        timers.arm(Some(Instant::from_nanos(at)), owner(n), timer);
                        *deadline = Some(at);
                    }
                    Op::Cancel(n) => {
                        timers.cancel(&mut owners[n].0);
                        owners[n].1 = None;
                    }
                    Op::Pass(ns) => {
                        now += ns;
                        let mut last = None;
                        while timers.next().is_some_and(|next| next.as_nanos() <= now) {
                            let Some((owner, name)) = timers.pop_due(Instant::from_nanos(now)) else { continue };
                            let Owner::Endpoint(Endpoint::Connection(n)) = owner else { panic!() };
                            let (timer, deadline) = &mut owners[n as usize];
                            let tick = timer.tick.wrapping_sub(low(start >> TICK_BITS));
                            prop_assert!(last <= Some(tick), "in order");
                            last = Some(tick);
                            prop_assert!(timer.fired(name));
                            let at = deadline.expect("armed");
                            if at <= now {
                                *deadline = None;
                            } else {
                                timers.arm(Some(Instant::from_nanos(at)), owner, timer);
                                last = None;
                            }
                        }
                        // Whoever asks in vain is not told less of what is armed afterwards.
                        prop_assert!(timers.pop_due(Instant::from_nanos(now)).is_none());
                        let late = owners.iter().filter(|(_, at)| at.is_some_and(|at| at + SLOT <= now)).count();
                        prop_assert_eq!(late, 0, "overdue");
                    }
                }
                let armed = owners.iter().filter(|(_, at)| at.is_some()).count();
                prop_assert_eq!(timers.len(), armed);
            }
        }
    }
}
