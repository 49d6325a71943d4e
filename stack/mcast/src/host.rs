//! A link's listener: what routers are told, and when (RFC 3376 5, RFC 3810 6).

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use types::Instant;

use crate::filter::{Filter, Mode};
use crate::limits::{
    ASKED_MAX, OLDER_ROUTER, RECORD_SOURCES_MAX, RECORDS_MAX, REPORT_INTERVAL, ROBUSTNESS,
};

/// What a record says of its group; the numbers are those of both formats (RFC 3376 4.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// These sources are wanted.
    IsInclude = 1,
    /// All but these are.
    IsExclude = 2,
    /// From now on only these.
    ToInclude = 3,
    /// From now on all but these.
    ToExclude = 4,
    /// These, too.
    Allow = 5,
    /// These no longer.
    Block = 6,
}

/// What a report says of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub kind: RecordKind,
    /// Of this group.
    pub group: IpAddr,
    /// These sources.
    pub sources: Vec<IpAddr>,
}

/// A message for routers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// IGMPv3, MLDv2.
    Records(Vec<Record>),
    /// IGMPv2, MLDv1: somebody here listens.
    Listening(IpAddr),
    /// IGMPv2, MLDv1: nobody here listens any more.
    Left(IpAddr),
}

/// A router asks who listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// To this group; `None`: to any.
    pub group: Option<IpAddr>,
    /// From these sources; none: from any.
    pub sources: Vec<IpAddr>,
    /// Answers are spread over this time.
    pub max_response: Duration,
    /// It speaks IGMPv2 or MLDv1.
    pub is_older: bool,
}

/// A change that routers are being told of. What a report says of it is made when it is sent, of what is
/// wanted then: a further change joins one that has not been told often enough (RFC 3376 5.1).
#[derive(Clone, Debug, Default)]
struct Change {
    /// Reports yet that tell the mode.
    mode_left: u8,
    /// Sources that are newly wanted or no longer, and reports yet that tell each.
    sources_left: BTreeMap<IpAddr, u8>,
    /// `None`: at once.
    due: Option<Instant>,
}

impl Change {
    /// What is wanted has become another.
    fn add(&mut self, before: &Filter, after: &Filter) {
        self.due = None;
        if before.mode != after.mode {
            // The mode is told with all sources.
            self.mode_left = ROBUSTNESS;
            return self.sources_left.clear();
        }
        let without = |one: &Filter, other: &Filter| -> Vec<IpAddr> {
            one.sources.iter().copied().filter(|source| !other.sources.contains(source)).collect()
        };
        let others = without(before, after).into_iter().chain(without(after, before));
        self.sources_left.extend(others.map(|source| (source, ROBUSTNESS)));
    }

    /// Reports yet.
    fn left(&self) -> u8 {
        self.sources_left.values().copied().max().unwrap_or(0).max(self.mode_left)
    }

    /// One report has been sent.
    fn told(mut self, due: Instant) -> Option<Self> {
        self.mode_left = self.mode_left.saturating_sub(1);
        self.sources_left.retain(|_, left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
        self.due = Some(due);
        (self.left() > 0).then_some(self)
    }

    /// What a report says now.
    fn records(&self, group: IpAddr, filter: &Filter) -> Vec<Record> {
        if self.mode_left > 0 {
            let kind = match filter.mode {
                Mode::Include => RecordKind::ToInclude,
                Mode::Exclude => RecordKind::ToExclude,
            };
            return records(kind, group, &filter.sources);
        }
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            self.sources_left.keys().partition(|source| filter.takes(**source));
        let told = [(RecordKind::Allow, wanted), (RecordKind::Block, unwanted)];
        let told = told.into_iter().filter(|(_, sources)| !sources.is_empty());
        told.flat_map(|(kind, sources)| records(kind, group, &sources)).collect()
    }
}

#[derive(Clone, Debug)]
struct Group {
    filter: Filter,
    change: Option<Change>,
    /// When an answer about it alone is due, and about which sources; none: about all.
    answer: Option<(Instant, Vec<IpAddr>)>,
}

/// A link's listener for one family of addresses.
#[derive(Debug, Default)]
pub struct Host {
    groups: BTreeMap<IpAddr, Group>,
    /// When an answer about all groups is due.
    answer: Option<Instant>,
    /// Up to then there is a router of the older protocol.
    older_until: Option<Instant>,
    out: VecDeque<Report>,
}

impl Host {
    /// What this host wants of a group has become this.
    pub fn set(&mut self, group: IpAddr, filter: Filter) {
        let known = self.groups.get(&group);
        let before = known.map_or_else(Filter::nothing, |known| known.filter.clone());
        if before == filter {
            return;
        }
        if is_never_told(group) {
            if filter.is_nothing() {
                let _ = self.groups.remove(&group);
            } else {
                let _ = self.groups.insert(group, Group { filter, change: None, answer: None });
            }
            return;
        }
        let (change, answer) = known.map_or((None, None), |k| (k.change.clone(), k.answer.clone()));
        let mut change = change.unwrap_or_default();
        change.add(&before, &filter);
        let _ = self.groups.insert(group, Group { filter, change: Some(change), answer });
    }

    /// Other routers may be on the link from now on, or it has begun: what is wanted is told as if it were new.
    pub fn tell_again(&mut self) {
        for (address, group) in &mut self.groups {
            if !is_never_told(*address) && !group.filter.is_nothing() {
                group.change = Some(Change { mode_left: ROBUSTNESS, ..Change::default() });
            }
        }
    }

    /// Groups that are wanted, and from whom.
    pub fn groups(&self) -> impl Iterator<Item = (IpAddr, &Filter)> + '_ {
        let wanted = self.groups.iter().filter(|(_, group)| !group.filter.is_nothing());
        wanted.map(|(address, group)| (*address, &group.filter))
    }

    /// A router of the older protocol is there.
    #[must_use]
    pub fn is_older(&self, now: Instant) -> bool {
        self.older_until.is_some_and(|until| now < until)
    }

    /// A router asks. The answer comes at a random time, so that not all hosts speak at once.
    pub fn query(&mut self, query: &Query, now: Instant, random: u64) {
        if query.is_older {
            self.older_until = Some(now + OLDER_ROUTER);
        }
        let due = now + below(query.max_response, random);
        // RFC 3376 5.2: an answer about all that is due earlier says it all.
        if self.answer.is_some_and(|sooner| sooner <= due) {
            return;
        }
        let Some(address) = query.group else {
            self.answer = Some(due);
            return;
        };
        let Some(group) = self.groups.get_mut(&address) else { return };
        let asked = query.sources.iter().copied().take(ASKED_MAX);
        group.answer = Some(match group.answer.take() {
            None => (due, asked.collect()),
            Some((at, known)) if known.is_empty() || query.sources.is_empty() => {
                (at.min(due), Vec::new())
            }
            Some((at, mut known)) => {
                known.extend(asked);
                known.sort_unstable();
                known.dedup();
                known.truncate(ASKED_MAX);
                (at.min(due), known)
            }
        });
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, random: &mut dyn FnMut() -> u64) {
        let older = self.is_older(now);
        self.older_until = self.older_until.filter(|until| now < *until);
        let all = self.answer.take_if(|due| *due <= now).is_some();
        let mut records = Vec::new();
        let Self { groups, out, .. } = self;
        groups.retain(|address, group| {
            if let Some(change) = group.change.take_if(|c| c.due.is_none_or(|due| due <= now)) {
                tell_change(*address, group, &change, older, (out, &mut records));
                group.change = change.told(now + below(REPORT_INTERVAL, random()));
            }
            let asked = group.answer.take_if(|(due, _)| *due <= now).map(|(_, sources)| sources);
            if let Some(sources) = asked.or_else(|| all.then(Vec::new)) {
                tell_state(*address, group, &sources, older, (out, &mut records));
            }
            group.change.is_some() || !group.filter.is_nothing()
        });
        for some in records.chunks(RECORDS_MAX) {
            self.out.push_back(Report::Records(some.to_vec()));
        }
    }

    /// When [`Host::timeout`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let changes = self.groups.values().filter_map(|group| group.change.as_ref());
        let changes = changes.map(|change| change.due.unwrap_or(Instant::ZERO));
        let answers = self.groups.values().filter_map(|group| group.answer.as_ref().map(|a| a.0));
        changes.chain(answers).chain(self.answer).min()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Report> {
        self.out.pop_front()
    }
}

fn tell_change(
    address: IpAddr,
    group: &Group,
    change: &Change,
    older: bool,
    (out, said): (&mut VecDeque<Report>, &mut Vec<Record>),
) {
    match (older, group.filter.is_nothing()) {
        (false, _) => said.extend(change.records(address, &group.filter)),
        (true, false) => out.push_back(Report::Listening(address)),
        // Once, on the last turn: who leaves need not say it twice (RFC 2236 3).
        (true, true) if change.left() == 1 => out.push_back(Report::Left(address)),
        (true, true) => {}
    }
}

fn tell_state(
    address: IpAddr,
    group: &Group,
    asked: &[IpAddr],
    older: bool,
    (out, said): (&mut VecDeque<Report>, &mut Vec<Record>),
) {
    let filter = &group.filter;
    if filter.is_nothing() || is_never_told(address) {
        return;
    }
    if older {
        return out.push_back(Report::Listening(address));
    }
    if asked.is_empty() {
        let kind = match filter.mode {
            Mode::Include => RecordKind::IsInclude,
            Mode::Exclude => RecordKind::IsExclude,
        };
        return said.extend(records(kind, address, &filter.sources));
    }
    // RFC 3376 5.2: of those asked about, the ones that are wanted.
    let wanted: Vec<_> = asked.iter().copied().filter(|source| filter.takes(*source)).collect();
    if !wanted.is_empty() {
        said.extend(records(RecordKind::IsInclude, address, &wanted));
    }
}

/// A record, or several if there are more sources than one tells. Those not wanted of a group that is
/// wanted otherwise are cut, since another such record would take the first's place (RFC 3376 4.2.16).
fn records(kind: RecordKind, group: IpAddr, sources: &[IpAddr]) -> Vec<Record> {
    let record = |sources: &[IpAddr]| Record { kind, group, sources: sources.to_vec() };
    let mut all = sources.chunks(RECORD_SOURCES_MAX).map(record);
    let first = all.next().unwrap_or_else(|| record(&[]));
    let is_cut = matches!(kind, RecordKind::IsExclude | RecordKind::ToExclude);
    core::iter::once(first).chain(all.filter(|_| !is_cut)).collect()
}

/// Everybody is in it, or it never leaves the host (RFC 3376 6, RFC 3810 6).
fn is_never_told(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets() == [224, 0, 0, 1],
        IpAddr::V6(group) => {
            let [_, flags_scope, ..] = group.octets();
            let all_nodes = core::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            flags_scope & 0xf < 2 || group == all_nodes
        }
    }
}

/// A part of a time, by a random number.
fn below(most: Duration, random: u64) -> Duration {
    let nanos = types::nanos(most);
    Duration::from_nanos(random.checked_rem(nanos).unwrap_or(0))
}
