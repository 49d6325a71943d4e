//! The neighbour table: which MAC address answers for an IP address (RFC 826, RFC 1122 2.3.2;
//! RFC 4861 7.3).
//!
//! Pure: it decides, the caller sends. Packets for a neighbour that is being resolved wait here.

use core::hash::Hash;

use hashbrown::HashMap;
use types::{DropReason, Instant, MacAddr};

use crate::limits::{
    NEIGHBOR_FAILED, NEIGHBOR_NEWS_MAX, NEIGHBOR_PROBE_INTERVAL, NEIGHBOR_PROBES_MAX,
    NEIGHBOR_QUEUE_MAX, NEIGHBOR_REACHABLE, NEIGHBORS_EVICTED, NEIGHBORS_MAX,
};

/// What is known about a neighbour.
#[derive(Debug)]
enum State<P> {
    /// Asked, not answered: packets wait.
    Incomplete { waiting: Vec<P>, probes: u8 },
    /// Answered. `asked` counts requests since it went stale.
    Known { mac: MacAddr, confirmed: Instant, asked: u8 },
    /// Did not answer; shown for a moment.
    Failed,
    /// Set by the operator.
    Permanent { mac: MacAddr },
}

#[derive(Debug)]
struct Neighbor<P> {
    interface: u16,
    state: State<P>,
    /// When something is to be done: ask again, give up, forget.
    due: Instant,
}

/// What to do with a packet for a neighbour.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution<P> {
    /// Send it there.
    Send(P, MacAddr),
    /// Send it there and ask whether the neighbour is still at this address.
    SendAndAsk(P, MacAddr),
    /// It waits; a request is due if `ask`.
    Wait {
        /// Send a request now.
        ask: bool,
    },
    /// It can't be sent.
    Drop(P, DropReason),
}

/// Who is to be asked about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// All that may be it.
    Everyone,
    /// The station that was it: is it still?
    Station(MacAddr),
}

/// What the passing of time asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<A, P> {
    /// Send a request for this address on this interface.
    Ask(A, u16),
    /// Nobody answered for this address on this interface: these packets can't be sent.
    Unreachable(A, u16, Vec<P>),
}

/// A row for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row<A> {
    /// Address.
    pub address: A,
    /// MAC address if known.
    pub mac: Option<MacAddr>,
    /// Interface.
    pub interface: u16,
    /// `reachable`, `stale`, `incomplete`, `failed`, `permanent`.
    pub state: &'static str,
    /// When it expires.
    pub due: Option<Instant>,
}

/// Something that has become of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct News<A> {
    /// Its address.
    pub address: A,
    /// Interface.
    pub interface: u16,
    /// Its MAC address before, if it was known.
    pub before: Option<MacAddr>,
    /// And now.
    pub after: Option<MacAddr>,
}

/// Neighbours of one worker: `A` is an address on a link, `P` a packet.
#[derive(Debug)]
pub(crate) struct Neighbors<A, P> {
    table: HashMap<A, Neighbor<P>>,
    /// The last answer of [`Neighbors::mac`] and until when it holds: most packets go where the one
    /// before went. Whatever changes an entry takes it back.
    recent: Option<(A, MacAddr, Instant)>,
    /// Packets that were lost with evicted entries and are not counted yet.
    lost_count: usize,
    /// Somebody wants to hear what becomes of them.
    pub(crate) watched: bool,
    news: Vec<News<A>>,
    /// News for which there was no room.
    unsaid: u64,
}

impl<A, P> Default for Neighbors<A, P> {
    fn default() -> Self {
        Self {
            table: HashMap::with_capacity(64),
            recent: None,
            lost_count: 0,
            watched: false,
            news: Vec::new(),
            unsaid: 0,
        }
    }
}

impl<A: Copy + Eq + Ord + Hash, P> Neighbors<A, P> {
    /// The address of a neighbour that is known for sure, so that nothing need be asked.
    pub(crate) fn mac(&mut self, to: A, now: Instant) -> Option<MacAddr> {
        if let Some((address, mac, until)) = self.recent
            && address == to
            && now < until
        {
            return Some(mac);
        }
        let (mac, until) = match &self.table.get(&to)?.state {
            State::Permanent { mac } => (*mac, Instant::FAR_FUTURE),
            State::Known { mac, confirmed, .. } => (*mac, *confirmed + NEIGHBOR_REACHABLE),
            State::Incomplete { .. } | State::Failed => return None,
        };
        if now >= until {
            return None;
        }
        self.recent = Some((to, mac, until));
        Some(mac)
    }

    /// The address that a neighbour has had, however long ago that was confirmed.
    #[must_use]
    pub(crate) fn station(&self, of: A) -> Option<MacAddr> {
        match &self.table.get(&of)?.state {
            State::Permanent { mac } | State::Known { mac, .. } => Some(*mac),
            State::Incomplete { .. } | State::Failed => None,
        }
    }

    /// Looks up the next hop of a packet.
    pub(crate) fn resolve(
        &mut self,
        to: A,
        interface: u16,
        packet: P,
        now: Instant,
    ) -> Resolution<P> {
        let Some(neighbor) = self.table.get_mut(&to) else {
            return self.begin(to, interface, packet, now);
        };
        match &mut neighbor.state {
            State::Permanent { mac } => Resolution::Send(packet, *mac),
            State::Known { mac, confirmed, .. } if now.since(*confirmed) < NEIGHBOR_REACHABLE => {
                Resolution::Send(packet, *mac)
            }
            State::Known { mac, asked, .. }
                if *asked >= NEIGHBOR_PROBES_MAX && now >= neighbor.due =>
            {
                let mac = *mac;
                self.note(to, interface, (Some(mac), None));
                self.begin(to, interface, packet, now)
            }
            State::Known { mac, asked, .. } => {
                let mac = *mac;
                if now < neighbor.due {
                    return Resolution::Send(packet, mac);
                }
                *asked = asked.saturating_add(1);
                neighbor.due = now + NEIGHBOR_PROBE_INTERVAL;
                Resolution::SendAndAsk(packet, mac)
            }
            State::Incomplete { waiting, .. } if waiting.len() >= NEIGHBOR_QUEUE_MAX => {
                Resolution::Drop(packet, DropReason::NeighborQueueFull)
            }
            State::Incomplete { waiting, .. } => {
                waiting.push(packet);
                Resolution::Wait { ask: false }
            }
            State::Failed => self.begin(to, interface, packet, now),
        }
    }

    fn begin(&mut self, to: A, interface: u16, packet: P, now: Instant) -> Resolution<P> {
        if self.table.len() >= NEIGHBORS_MAX && !self.evict(now) {
            return Resolution::Drop(packet, DropReason::NeighborTableFull);
        }
        let state = State::Incomplete { waiting: vec![packet], probes: 1 };
        let due = now + NEIGHBOR_PROBE_INTERVAL;
        let _ = self.table.insert(to, Neighbor { interface, state, due });
        Resolution::Wait { ask: true }
    }

    /// Makes room: failed entries first, then incomplete ones, then those not confirmed lately.
    fn evict(&mut self, now: Instant) -> bool {
        let rank = |n: &Neighbor<P>| match &n.state {
            State::Failed => Some(0),
            State::Incomplete { .. } => Some(1),
            State::Known { confirmed, .. } if now.since(*confirmed) >= NEIGHBOR_REACHABLE => {
                Some(2)
            }
            State::Known { .. } | State::Permanent { .. } => None,
        };
        let Some(lowest) = self.table.values().filter_map(rank).min() else { return false };
        self.recent = None;
        let Self { table, lost_count, .. } = self;
        let mut left = NEIGHBORS_EVICTED;
        table.retain(|_, neighbor| {
            if left == 0 || rank(neighbor) != Some(lowest) {
                return true;
            }
            left -= 1;
            if let State::Incomplete { waiting, .. } = &neighbor.state {
                *lost_count += waiting.len();
            }
            false
        });
        true
    }

    /// Packets lost with evicted entries since the last call.
    pub(crate) fn take_lost(&mut self) -> usize {
        core::mem::take(&mut self.lost_count)
    }

    /// As [`learn`](Self::learn), from the station itself: whoever watches is told if it is news.
    pub(crate) fn hear(
        &mut self,
        from: A,
        mac: MacAddr,
        interface: u16,
        create: bool,
        now: Instant,
    ) -> Vec<P> {
        let before = self.station(from);
        let waiting = self.learn(from, mac, interface, create, now);
        self.note(from, interface, (before, self.station(from)));
        waiting
    }

    fn note(
        &mut self,
        address: A,
        interface: u16,
        (before, after): (Option<MacAddr>, Option<MacAddr>),
    ) {
        if !self.watched || before == after {
            return;
        }
        if self.news.len() < NEIGHBOR_NEWS_MAX {
            self.news.push(News { address, interface, before, after });
        } else {
            self.unsaid = self.unsaid.saturating_add(1);
        }
    }

    /// There is something to take.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// What has become of neighbours since the last call, and how much else.
    pub(crate) fn take_news(&mut self) -> (Vec<News<A>>, u64) {
        (core::mem::take(&mut self.news), core::mem::take(&mut self.unsaid))
    }

    /// A station has told us its address. `create`: also when we did not ask (it asked for us).
    /// Returns the packets that waited for it.
    pub(crate) fn learn(
        &mut self,
        from: A,
        mac: MacAddr,
        interface: u16,
        create: bool,
        now: Instant,
    ) -> Vec<P> {
        self.recent = None;
        let known = State::Known { mac, confirmed: now, asked: 0 };
        let due = now + NEIGHBOR_REACHABLE;
        match self.table.get_mut(&from) {
            Some(Neighbor { state: State::Permanent { .. }, .. }) => Vec::new(),
            Some(neighbor) => {
                neighbor.interface = interface;
                neighbor.due = due;
                match core::mem::replace(&mut neighbor.state, known) {
                    State::Incomplete { waiting, .. } => waiting,
                    _ => Vec::new(),
                }
            }
            None => {
                if create && (self.table.len() < NEIGHBORS_MAX || self.evict(now)) {
                    let _ = self.table.insert(from, Neighbor { interface, state: known, due });
                }
                Vec::new()
            }
        }
    }

    /// Sets an entry that neither expires nor is overwritten. Returns the packets that waited.
    pub(crate) fn pin(&mut self, address: A, mac: MacAddr, interface: u16) -> Vec<P> {
        self.recent = None;
        self.note(address, interface, (self.station(address), Some(mac)));
        let neighbor =
            Neighbor { interface, state: State::Permanent { mac }, due: Instant::FAR_FUTURE };
        match self.table.insert(address, neighbor) {
            Some(Neighbor { state: State::Incomplete { waiting, .. }, .. }) => waiting,
            _ => Vec::new(),
        }
    }

    /// Forgets an entry. Returns the packets that waited; `None`: there is none.
    pub(crate) fn forget(&mut self, address: A) -> Option<Vec<P>> {
        self.recent = None;
        if let Some(interface) = self.table.get(&address).map(|neighbor| neighbor.interface) {
            self.note(address, interface, (self.station(address), None));
        }
        match self.table.remove(&address)?.state {
            State::Incomplete { waiting, .. } => Some(waiting),
            _ => Some(Vec::new()),
        }
    }

    /// Forgets static entries that `keep` does not name.
    pub(crate) fn retain_pinned(&mut self, keep: impl Fn(A) -> bool) {
        self.recent = None;
        let pinned = self.table.iter().filter(|(_, n)| matches!(n.state, State::Permanent { .. }));
        let gone: Vec<A> = pinned.map(|(address, _)| *address).filter(|a| !keep(*a)).collect();
        for address in gone {
            // Nothing waits for an address that is known.
            let _ = self.forget(address);
        }
    }

    /// When the first entry is due that waits for an answer or for its failure to be forgotten.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let waits = |n: &&Neighbor<P>| matches!(n.state, State::Incomplete { .. } | State::Failed);
        self.table.values().filter(waits).map(|n| n.due).min()
    }

    /// Appends everything that is due to `todo` and forgets what has failed long enough ago.
    pub(crate) fn timeout(&mut self, now: Instant, todo: &mut Vec<Due<A, P>>) {
        self.table.retain(|address, neighbor| {
            if neighbor.due > now {
                return true;
            }
            match &mut neighbor.state {
                State::Incomplete { probes, waiting } if *probes >= NEIGHBOR_PROBES_MAX => {
                    todo.push(Due::Unreachable(
                        *address,
                        neighbor.interface,
                        core::mem::take(waiting),
                    ));
                    neighbor.state = State::Failed;
                    neighbor.due = now + NEIGHBOR_FAILED;
                    true
                }
                State::Incomplete { probes, .. } => {
                    *probes += 1;
                    neighbor.due = now + NEIGHBOR_PROBE_INTERVAL;
                    todo.push(Due::Ask(*address, neighbor.interface));
                    true
                }
                State::Failed => false,
                State::Known { .. } | State::Permanent { .. } => true,
            }
        });
    }

    /// All entries.
    pub(crate) fn rows(&self, now: Instant) -> impl Iterator<Item = Row<A>> + '_ {
        self.table.iter().map(move |(address, n)| {
            let (mac, state) = match &n.state {
                State::Incomplete { .. } => (None, "incomplete"),
                State::Failed => (None, "failed"),
                State::Permanent { mac } => (Some(*mac), "permanent"),
                State::Known { mac, confirmed, .. }
                    if now.since(*confirmed) < NEIGHBOR_REACHABLE =>
                {
                    (Some(*mac), "reachable")
                }
                State::Known { mac, .. } => (Some(*mac), "stale"),
            };
            let due = (n.due != Instant::FAR_FUTURE).then_some(n.due);
            Row { address: *address, mac, interface: n.interface, state, due }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use core::time::Duration;

    const A: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn packets_wait_for_the_answer_and_leave_in_order() {
        let mut table = Neighbors::default();
        assert_eq!(table.resolve(A, 1, 'x', at(0)), Resolution::Wait { ask: true });
        assert_eq!(table.resolve(A, 1, 'y', at(0)), Resolution::Wait { ask: false });
        assert_eq!(table.learn(A, MAC, 1, false, at(0)), vec!['x', 'y']);
        assert_eq!(table.resolve(A, 1, 'z', at(1)), Resolution::Send('z', MAC));
    }

    #[test]
    fn a_silent_neighbour_is_asked_three_times_then_unreachable() {
        let mut table = Neighbors::default();
        let _ = table.resolve(A, 1, 'x', at(0));
        let due = |table: &mut Neighbors<Ipv4Addr, char>, s| {
            let mut todo = Vec::new();
            table.timeout(at(s), &mut todo);
            todo
        };
        for s in 1..3 {
            assert_eq!(due(&mut table, s), vec![Due::Ask(A, 1)], "second {s}");
            assert_eq!(due(&mut table, s), vec![]);
        }
        assert_eq!(table.next_timeout(), Some(at(3)));
        assert_eq!(due(&mut table, 3), vec![Due::Unreachable(A, 1, vec!['x'])]);
        assert_eq!(table.next_timeout(), Some(at(3) + NEIGHBOR_FAILED));
        assert_eq!(table.resolve(A, 1, 'y', at(4)), Resolution::Wait { ask: true });
        assert_eq!(due(&mut table, 5), vec![Due::Ask(A, 1)]);
    }

    #[test]
    fn the_queue_of_one_neighbour_is_bounded() {
        let mut table = Neighbors::default();
        for i in 0..NEIGHBOR_QUEUE_MAX {
            assert!(matches!(table.resolve(A, 1, i, at(0)), Resolution::Wait { .. }));
        }
        assert_eq!(
            table.resolve(A, 1, 99, at(0)),
            Resolution::Drop(99, DropReason::NeighborQueueFull)
        );
    }

    #[test]
    fn that_a_static_neighbour_has_gone_is_told_once() {
        let mut table: Neighbors<Ipv4Addr, char> =
            Neighbors { watched: true, ..Neighbors::default() };
        let _ = table.pin(A, MAC, 1);
        assert_eq!(table.take_news().0.len(), 1);
        table.retain_pinned(|_| true);
        assert!(table.take_news().0.is_empty());
        table.retain_pinned(|_| false);
        assert_eq!(table.forget(A), None);
        let told = table.take_news().0;
        let changes: Vec<_> = told.iter().map(|n| (n.address, n.before, n.after)).collect();
        assert_eq!(changes, [(A, Some(MAC), None)]);
    }

    #[test]
    fn a_scan_does_not_evict_reachable_neighbours() {
        let mut table = Neighbors::default();
        assert!(table.learn(A, MAC, 1, true, at(0)).is_empty());
        for i in 0..u32::try_from(NEIGHBORS_MAX).unwrap() * 3 {
            let _ = table.resolve(Ipv4Addr::from_bits(0x0a00_0000 + i), 1, 'x', at(1));
        }
        assert!(table.rows(at(1)).count() <= NEIGHBORS_MAX);
        let waiting = table.rows(at(1)).filter(|row| row.state == "incomplete").count();
        assert_eq!(table.take_lost() + waiting, NEIGHBORS_MAX * 3, "packets of evicted entries");
        assert_eq!(table.resolve(A, 1, 'y', at(2)), Resolution::Send('y', MAC));
    }

    #[test]
    fn room_is_made_for_many_and_the_failed_go_first() {
        let mut table = Neighbors::default();
        let (all, half) = (u32::try_from(NEIGHBORS_MAX).unwrap(), NEIGHBORS_MAX / 2);
        let ask = |table: &mut Neighbors<Ipv4Addr, char>, numbers: core::ops::Range<u32>, s| {
            for i in numbers {
                let address = Ipv4Addr::from_bits(0x0a00_0000 + i);
                assert_eq!(table.resolve(address, 1, 'x', at(s)), Resolution::Wait { ask: true });
            }
        };
        let count = |table: &Neighbors<Ipv4Addr, char>, state| {
            table.rows(at(4)).filter(|row| row.state == state).count()
        };
        ask(&mut table, 0..all / 2, 0);
        (1..=4).for_each(|s| table.timeout(at(s), &mut Vec::new()));
        ask(&mut table, all / 2..all, 4);
        assert_eq!((count(&table, "failed"), count(&table, "incomplete")), (half, half));
        ask(&mut table, all..all + 1, 4);
        let left = (count(&table, "failed"), count(&table, "incomplete"));
        assert_eq!(left, (half - NEIGHBORS_EVICTED, half + 1));
        // So many find room now without a look at the whole table.
        ask(&mut table, all + 1..all + 256, 4);
        assert_eq!(count(&table, "failed"), half - NEIGHBORS_EVICTED);
        assert_eq!(table.take_lost(), 0, "what has failed lets nobody wait");
    }

    #[test]
    fn a_pinned_entry_is_not_overwritten() {
        let mut table: Neighbors<Ipv4Addr, char> = Neighbors::default();
        assert!(table.pin(A, MAC, 1).is_empty());
        assert!(table.learn(A, MacAddr([2, 0, 0, 0, 0, 9]), 1, true, at(0)).is_empty());
        assert_eq!(table.resolve(A, 1, 'x', at(999)), Resolution::Send('x', MAC));
    }

    #[test]
    fn an_address_known_for_sure_is_remembered_until_something_changes() {
        let other = MacAddr([2, 0, 0, 0, 0, 9]);
        let mut table: Neighbors<Ipv4Addr, char> = Neighbors::default();
        assert_eq!(table.mac(A, at(0)), None);
        let _ = table.resolve(A, 1, 'x', at(0));
        assert_eq!(table.mac(A, at(0)), None, "not answered yet");
        let _ = table.learn(A, MAC, 1, false, at(0));
        assert_eq!((table.mac(A, at(0)), table.mac(A, at(59))), (Some(MAC), Some(MAC)));
        assert_eq!(table.mac(A, at(60)), None, "to be asked again");
        let _ = table.learn(A, other, 1, false, at(61));
        assert_eq!(table.mac(A, at(61)), Some(other));
        let _ = table.pin(A, MAC, 1);
        assert_eq!(table.mac(A, at(999)), Some(MAC));
        table.retain_pinned(|_| false);
        assert_eq!(table.mac(A, at(999)), None);
        let _ = table.learn(A, MAC, 1, true, at(999));
        assert_eq!(table.mac(A, at(999)), Some(MAC));
        let _ = table.forget(A);
        assert_eq!(table.mac(A, at(999)), None);
    }

    #[test]
    fn a_stale_neighbour_is_used_and_asked_once_a_second() {
        let mut table = Neighbors::default();
        assert!(table.learn(A, MAC, 1, true, at(0)).is_empty());
        assert_eq!(table.resolve(A, 1, 'a', at(61)), Resolution::SendAndAsk('a', MAC));
        assert_eq!(table.resolve(A, 1, 'b', at(61)), Resolution::Send('b', MAC));
        assert_eq!(table.resolve(A, 1, 'c', at(62)), Resolution::SendAndAsk('c', MAC));
    }
}
