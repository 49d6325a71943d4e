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

/// A change that routers are being told of.
#[derive(Clone, Debug)]
struct Change {
    records: Vec<Record>,
    left: u8,
    /// `None`: at once.
    due: Option<Instant>,
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
        let records = difference(group, &before, &filter);
        let change = Some(Change { records, left: ROBUSTNESS, due: None });
        let answer = known.and_then(|known| known.answer.clone());
        let _ = self.groups.insert(group, Group { filter, change, answer });
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
                let left = change.left.saturating_sub(1);
                let due = Some(now + below(REPORT_INTERVAL, random()));
                group.change = (left > 0).then_some(Change { left, due, ..change });
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
    (out, records): (&mut VecDeque<Report>, &mut Vec<Record>),
) {
    match (older, group.filter.is_nothing()) {
        (false, _) => records.extend(change.records.iter().cloned()),
        (true, false) => out.push_back(Report::Listening(address)),
        // Once, on the last turn: who leaves need not say it twice (RFC 2236 3).
        (true, true) if change.left == 1 => out.push_back(Report::Left(address)),
        (true, true) => {}
    }
}

fn tell_state(
    address: IpAddr,
    group: &Group,
    asked: &[IpAddr],
    older: bool,
    (out, records): (&mut VecDeque<Report>, &mut Vec<Record>),
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
        return records.push(record(kind, address, filter.sources.iter().copied()));
    }
    // RFC 3376 5.2: of those asked about, the ones that are wanted.
    let wanted = asked.iter().copied().filter(|source| filter.takes(*source));
    let record = record(RecordKind::IsInclude, address, wanted);
    if !record.sources.is_empty() {
        records.push(record);
    }
}

/// What tells routers of a change (RFC 3376 5.1).
fn difference(group: IpAddr, before: &Filter, after: &Filter) -> Vec<Record> {
    let all = |filter: &Filter| filter.sources.clone();
    let without = |one: &Filter, other: &Filter| {
        let new = one.sources.iter().filter(|source| !other.sources.contains(source));
        new.copied().collect::<Vec<_>>()
    };
    let said = match (before.mode, after.mode) {
        (Mode::Include, Mode::Exclude) => vec![(RecordKind::ToExclude, all(after))],
        (Mode::Exclude, Mode::Include) => vec![(RecordKind::ToInclude, all(after))],
        (Mode::Include, Mode::Include) => vec![
            (RecordKind::Allow, without(after, before)),
            (RecordKind::Block, without(before, after)),
        ],
        (Mode::Exclude, Mode::Exclude) => vec![
            (RecordKind::Allow, without(before, after)),
            (RecordKind::Block, without(after, before)),
        ],
    };
    let is_change = before.mode != after.mode;
    let said = said.into_iter().filter(|(_, sources)| is_change || !sources.is_empty());
    said.map(|(kind, sources)| record(kind, group, sources.into_iter())).collect()
}

fn record(kind: RecordKind, group: IpAddr, sources: impl Iterator<Item = IpAddr>) -> Record {
    Record { kind, group, sources: sources.take(RECORD_SOURCES_MAX).collect() }
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
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random.checked_rem(nanos).unwrap_or(0))
}
