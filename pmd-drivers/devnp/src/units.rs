//! Which unit numbers are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The unit numbers in use, for each base name: `tap` has 0 and 1, `en` has 0. Clones are the same set.
#[derive(Clone, Debug, Default)]
pub struct Units(Arc<Mutex<Taken>>);

type Taken = BTreeMap<String, BTreeSet<u32>>;

impl Units {
    /// None taken.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a number, the smallest that is free if none is asked for, for something that is about to be.
    /// `None` if somebody has it.
    pub(crate) fn reserve(&self, base: &str, unit: Option<u32>) -> Option<Reserved> {
        let mut taken = self.taken();
        let of_base = taken.entry(base.into()).or_default();
        let free = || (0..).find(|unit| !of_base.contains(unit)).unwrap_or(u32::MAX);
        let unit = unit.unwrap_or_else(free);
        let reserved = || Reserved { units: self.clone(), base: base.into(), unit, kept: false };
        of_base.insert(unit).then(reserved)
    }

    /// Takes the numbers that names end with, those that nobody has; returns them.
    pub fn take_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<(String, u32)> {
        let parts = names.filter_map(|name| {
            let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
            // A driver writes no zeros in front.
            let number = name.strip_prefix(base)?.parse::<u32>().ok()?;
            (format!("{base}{number}") == name).then(|| (base.to_owned(), number))
        });
        let mut taken = self.taken();
        parts.filter(|(base, unit)| taken.entry(base.clone()).or_default().insert(*unit)).collect()
    }

    /// Gives a number back.
    pub fn release(&self, base: &str, unit: u32) {
        if let Some(taken) = self.taken().get_mut(base) {
            let _ = taken.remove(&unit);
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that is free again when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Reserved {
    units: Units,
    base: String,
    unit: u32,
    kept: bool,
}

impl Reserved {
    /// The name, with its number.
    pub(crate) fn name(&self) -> String {
        format!("{}{}", self.base, self.unit)
    }

    /// It has become somebody's: base and number.
    pub(crate) fn keep(mut self) -> (String, u32) {
        self.kept = true;
        (core::mem::take(&mut self.base), self.unit)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.kept {
            self.units.release(&self.base, self.unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_from_zero_and_again_after_release() {
        let units = Units::new();
        let keep = |base: &str, unit| units.reserve(base, unit).map(|r| r.keep().1);
        assert_eq!((keep("tap", None), keep("tap", None)), (Some(0), Some(1)));
        assert_eq!((keep("tap", Some(1)), keep("en", None)), (None, Some(0)));
        units.release("tap", 0);
        assert_eq!(keep("tap", None), Some(0));
    }

    #[test]
    fn what_does_not_come_to_be_has_no_number() {
        let units = Units::new();
        let first = units.reserve("tap", None).unwrap();
        assert_eq!(
            (first.name(), units.clone().reserve("tap", Some(0)).is_none()),
            ("tap0".into(), true)
        );
        drop(first);
        assert_eq!(units.reserve("tap", None).unwrap().name(), "tap0");
    }

    #[test]
    fn names_have_their_numbers() {
        let units = Units::new();
        let _ = units.reserve("tap", Some(1)).unwrap().keep();
        let taken = units.take_names(["tap0", "tap1", "wan", "en007", "7"].into_iter());
        assert_eq!(taken, [("tap".into(), 0), (String::new(), 7)]);
        assert_eq!(units.reserve("tap", None).unwrap().name(), "tap2");
    }
}
