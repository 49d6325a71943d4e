//! Which unit numbers are taken.

use std::collections::{BTreeMap, BTreeSet};

/// The unit numbers in use, for each base name: `tap` has 0 and 1, `en` has 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units(BTreeMap<String, BTreeSet<u32>>);

impl Units {
    /// None taken.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The smallest number that is free.
    #[must_use]
    pub fn next_free(&self, base: &str) -> u32 {
        (0..).find(|&unit| !self.is_taken(base, unit)).unwrap_or(u32::MAX)
    }

    /// Whether somebody has it.
    #[must_use]
    pub fn is_taken(&self, base: &str, unit: u32) -> bool {
        self.0.get(base).is_some_and(|taken| taken.contains(&unit))
    }

    /// Takes a number; `false` if somebody has it.
    #[must_use]
    pub fn take(&mut self, base: &str, unit: u32) -> bool {
        self.0.entry(base.into()).or_default().insert(unit)
    }

    /// Takes the numbers that names end with, those that nobody has; returns them.
    pub fn take_names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Vec<(String, u32)> {
        let parts = names.filter_map(|name| {
            let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
            // A driver writes no zeros in front.
            let number = name.strip_prefix(base)?.parse::<u32>().ok()?;
            (format!("{base}{number}") == name).then(|| (base.to_owned(), number))
        });
        parts.filter(|(base, unit)| self.take(base, *unit)).collect()
    }

    /// Gives a number back.
    pub fn release(&mut self, base: &str, unit: u32) {
        if let Some(taken) = self.0.get_mut(base) {
            let _ = taken.remove(&unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_from_zero_and_again_after_release() {
        let mut units = Units::new();
        assert!(units.take("tap", 0));
        assert!(units.take("tap", 1));
        assert!(!units.take("tap", 1));
        assert_eq!(units.next_free("tap"), 2);
        assert_eq!(units.next_free("en"), 0);
        units.release("tap", 0);
        assert_eq!(units.next_free("tap"), 0);
    }

    #[test]
    fn names_have_their_numbers() {
        let mut units = Units::new();
        assert!(units.take("tap", 1));
        let taken = units.take_names(["tap0", "tap1", "wan", "en007", "7"].into_iter());
        assert_eq!(taken, [("tap".into(), 0), (String::new(), 7)]);
        assert_eq!(units.next_free("tap"), 2);
    }
}
