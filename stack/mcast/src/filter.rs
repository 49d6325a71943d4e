//! From which sources a group is wanted.

use core::net::IpAddr;

/// What the list of sources means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only these.
    Include,
    /// All but these.
    Exclude,
}

/// From which sources a group is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What the list means.
    pub mode: Mode,
    /// Sources, in order.
    pub sources: Vec<IpAddr>,
}

impl Filter {
    /// From everybody.
    #[must_use]
    pub const fn any() -> Self {
        Self { mode: Mode::Exclude, sources: Vec::new() }
    }

    /// From nobody: not a member.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { mode: Mode::Include, sources: Vec::new() }
    }

    /// Only from one source.
    #[must_use]
    pub fn only(source: IpAddr) -> Self {
        Self { mode: Mode::Include, sources: vec![source] }
    }

    /// Not a member.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.mode == Mode::Include && self.sources.is_empty()
    }

    /// Wanted from this source?
    #[must_use]
    pub fn takes(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) == (self.mode == Mode::Include)
    }

    /// Names a source. `false`: it is named.
    pub fn insert(&mut self, source: IpAddr) -> bool {
        match self.sources.binary_search(&source) {
            Ok(_) => false,
            Err(at) => {
                self.sources.insert(at, source);
                true
            }
        }
    }

    /// Names a source no longer. `false`: it was not named.
    pub fn remove(&mut self, source: IpAddr) -> bool {
        let at = self.sources.binary_search(&source);
        at.map(|at| self.sources.remove(at)).is_ok()
    }

    /// What a host wants whose sockets want these (RFC 3376 3.2): if one wants all but some sources, all
    /// but those that none wants; else what any wants.
    #[must_use]
    pub fn merge<'a>(filters: &(impl Iterator<Item = &'a Self> + Clone)) -> Self {
        let excluding = filters.clone().filter(|filter| filter.mode == Mode::Exclude);
        let including = || filters.clone().filter(|filter| filter.mode == Mode::Include);
        let Some(first) = excluding.clone().next() else {
            let mut sources: Vec<IpAddr> = including().flat_map(|f| f.sources.clone()).collect();
            sources.sort_unstable();
            sources.dedup();
            return Self { mode: Mode::Include, sources };
        };
        let unwanted = |source: &&IpAddr| {
            excluding.clone().all(|filter| !filter.takes(**source))
                && !including().any(|filter| filter.takes(**source))
        };
        Self {
            mode: Mode::Exclude,
            sources: first.sources.iter().filter(unwanted).copied().collect(),
        }
    }
}
