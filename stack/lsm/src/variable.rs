//! Numbers that operator and module share: settings that the operator writes, counters that the module
//! writes.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::limits::VARIABLES_MAX;

/// One of them.
#[derive(Debug)]
pub(crate) struct Variable {
    /// With the module's before it: `qnet.loss`.
    pub(crate) name: String,
    pub(crate) text: String,
    /// What the operator may write.
    pub(crate) range: RangeInclusive<i64>,
    pub(crate) writable: bool,
    pub(crate) value: AtomicI64,
}

/// A variable as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableRow {
    /// With the module's name before it.
    pub name: String,
    /// What it means.
    pub text: String,
    /// The operator may set it.
    pub writable: bool,
    /// Its value.
    pub value: i64,
}

/// Why a variable is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetVariableError {
    /// It tells, and is told by nobody.
    #[error("it can only be read")]
    ReadOnly,
    /// Not what it takes.
    #[error("write a number from {} to {}", .0.start(), .0.end())]
    Wrong(RangeInclusive<i64>),
}

/// Those of one module. They are added while it opens; afterwards any thread reads them without a lock.
#[derive(Debug)]
pub(crate) struct Variables {
    /// How many there are; held while one is added.
    count: Mutex<usize>,
    places: Box<[OnceLock<Variable>]>,
}

impl Default for Variables {
    fn default() -> Self {
        Self { count: Mutex::new(0), places: (0..VARIABLES_MAX).map(|_| OnceLock::new()).collect() }
    }
}

impl Variables {
    /// Adds one: its number, or an errno.
    pub(crate) fn add(&self, variable: Variable) -> Result<usize, i32> {
        let word = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        if !variable.name.split('.').all(word) {
            return Err(libc::EINVAL);
        }
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if self.iter().any(|known| known.name == variable.name) {
            return Err(libc::EEXIST);
        }
        let number = *count;
        let place = self.places.get(number).ok_or(libc::ENOSPC)?;
        // Under the lock nobody else has taken the place.
        let _ = place.set(variable);
        *count += 1;
        Ok(number)
    }

    fn iter(&self) -> impl Iterator<Item = &Variable> {
        self.places.iter().map_while(OnceLock::get)
    }

    /// A variable's value, by its number.
    pub(crate) fn get(&self, number: u32) -> Option<&AtomicI64> {
        let place = self.places.get(usize::try_from(number).ok()?)?;
        place.get().map(|variable| &variable.value)
    }

    /// Sets one by its name. `None`: there is none of that name.
    pub(crate) fn set(&self, name: &str, value: &str) -> Option<Result<(), SetVariableError>> {
        let variable = self.iter().find(|variable| variable.name == name)?;
        if !variable.writable {
            return Some(Err(SetVariableError::ReadOnly));
        }
        let number = value.parse().ok().filter(|number| variable.range.contains(number));
        let Some(number) = number else {
            return Some(Err(SetVariableError::Wrong(variable.range.clone())));
        };
        variable.value.store(number, Ordering::Relaxed);
        Some(Ok(()))
    }

    /// As they are now.
    pub(crate) fn rows(&self) -> Vec<VariableRow> {
        let row = |variable: &Variable| VariableRow {
            name: variable.name.clone(),
            text: variable.text.clone(),
            writable: variable.writable,
            value: variable.value.load(Ordering::Relaxed),
        };
        self.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, writable: bool) -> Variable {
        Variable {
            name: name.into(),
            text: "Of no use.".into(),
            range: 0..=100,
            writable,
            value: AtomicI64::new(5),
        }
    }

    #[test]
    fn the_operator_sets_what_is_writable_and_in_range() {
        let variables = Variables::default();
        assert_eq!(variables.add(variable("x.loss", true)), Ok(0));
        assert_eq!(variables.add(variable("x.frames", false)), Ok(1));
        assert_eq!(variables.set("x.loss", "100"), Some(Ok(())));
        assert_eq!(variables.get(0).map(|v| v.load(Ordering::Relaxed)), Some(100));
        for wrong in ["101", "-1", "many", ""] {
            let range = Err(SetVariableError::Wrong(0..=100));
            assert_eq!(variables.set("x.loss", wrong), Some(range), "{wrong}");
        }
        assert_eq!(variables.set("x.frames", "1"), Some(Err(SetVariableError::ReadOnly)));
        assert_eq!(variables.set("x.other", "1"), None);
        assert_eq!(variables.rows().len(), 2);
    }

    #[test]
    fn names_are_words_and_there_is_room_for_so_many() {
        let variables = Variables::default();
        for wrong in ["", "x.", "x..y", "x y", "x.a/b"] {
            assert_eq!(variables.add(variable(wrong, true)), Err(libc::EINVAL), "{wrong}");
        }
        for number in 0..VARIABLES_MAX {
            assert_eq!(variables.add(variable(&format!("x.v{number}"), true)), Ok(number));
        }
        assert_eq!(variables.add(variable("x.v0", true)), Err(libc::EEXIST));
        assert_eq!(variables.add(variable("x.more", true)), Err(libc::ENOSPC));
    }
}
