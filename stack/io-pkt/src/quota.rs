//! What one user may have of what all share, and the counting.
//!
//! A quota belongs to a user, not to a client: processes cost nothing. Who has reached one is told as by
//! Linux (`EMFILE`, `ENOBUFS`) or made to wait, and nobody else notices. Root has none unless the
//! configuration names it.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use shm::{Rate, Share};

use crate::config::{Limits, QuotaSection};
use crate::control::{ConnectionId, Control, Source};
use crate::worker_thread::now;

/// Users whose counts are kept when they have nothing any more, so that what they did is still shown.
const IDLE_ACCOUNTS_MAX: usize = 256;

/// Packets that requests may run ahead of, in time: each close lets what its socket has posted go first.
const PACKET_DEBT_NS: u64 = 1_000_000_000;

/// What a user has a number of at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connections,
    Clients,
    Sockets,
    Listeners,
}

impl Kind {
    /// What is told of one too many.
    fn full(self) -> Errno {
        match self {
            Self::Listeners => Errno::NOBUFS,
            Self::Connections | Self::Clients | Self::Sockets => Errno::MFILE,
        }
    }
}

/// Quotas by their names in metrics, in the order of [`Account::hits`].
const NAMES: [&str; 5] = ["connections", "clients", "sockets", "listeners", "requests"];

/// Those of a [`Share`], in the order of `share_ended`.
const SHARE_NAMES: [&str; 2] = ["memory", "packets"];

/// How many of a kind there are, and may be.
#[derive(Debug, Default)]
struct Count {
    most: Option<u32>,
    used: Cell<u32>,
    hits: Cell<u64>,
}

impl Count {
    fn of(most: Option<u32>) -> Self {
        Self { most, ..Self::default() }
    }
}

/// One user: what it may have, what it has, and how often it wanted more.
#[derive(Debug)]
pub(crate) struct Account {
    connections: Count,
    clients: Count,
    sockets: Count,
    listeners: Count,
    requests: Rate,
    requests_held: Cell<u64>,
    /// Counted by the workers.
    pub(crate) share: Arc<Share>,
    /// Clients of it that broke the rules of their memory.
    pub(crate) violations: Cell<u64>,
}

impl Account {
    fn new(limits: Limits) -> Self {
        let share = Share::new(limits.memory, limits.packets_per_s);
        let share = share.lending(limits.loans.unwrap_or(0));
        Self {
            connections: Count::of(limits.connections),
            clients: Count::of(limits.clients),
            sockets: Count::of(limits.sockets),
            listeners: Count::of(limits.listeners),
            requests: Rate::new(limits.requests_per_s),
            requests_held: Cell::new(0),
            share: Arc::new(share),
            violations: Cell::new(0),
        }
    }

    fn count(&self, kind: Kind) -> &Count {
        match kind {
            Kind::Connections => &self.connections,
            Kind::Clients => &self.clients,
            Kind::Sockets => &self.sockets,
            Kind::Listeners => &self.listeners,
        }
    }

    fn counts(&self) -> [&Count; 4] {
        [&self.connections, &self.clients, &self.sockets, &self.listeners]
    }

    /// One more, if there may be one.
    ///
    /// # Errors
    /// `EMFILE`, of listeners `ENOBUFS`; the hit is counted.
    fn take(&self, kind: Kind) -> Result<(), Errno> {
        let Count { most, used, hits } = self.count(kind);
        if most.is_some_and(|most| used.get() >= most) {
            hits.set(hits.get().saturating_add(1));
            return Err(kind.full());
        }
        used.set(used.get().saturating_add(1));
        Ok(())
    }

    /// So many fewer.
    pub(crate) fn give(&self, kind: Kind, count: usize) {
        let used = &self.count(kind).used;
        used.set(used.get().saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    /// How often it has met the quotas that the control thread counts, as [`NAMES`] has them.
    fn hits(&self) -> [u64; NAMES.len()] {
        let [connections, clients, sockets, listeners] = self.counts().map(|c| c.hits.get());
        [connections, clients, sockets, listeners, self.requests_held.get()]
    }

    /// How often it has met any of them.
    pub(crate) fn all_hits(&self) -> u64 {
        self.hits().into_iter().sum()
    }

    /// A request has come. May its connection send the next one at once?
    fn requested(&self, now_ns: u64) -> bool {
        self.requests.charge(now_ns, 1);
        let open = self.may_request(now_ns);
        if !open {
            self.requests_held.set(self.requests_held.get().saturating_add(1));
        }
        open
    }

    fn may_request(&self, now_ns: u64) -> bool {
        let packets = now_ns.saturating_add(PACKET_DEBT_NS);
        self.requests.is_open(now_ns) && self.share.packets.is_open(packets)
    }

    fn is_idle(&self) -> bool {
        self.counts().into_iter().all(|count| count.used.get() == 0)
    }
}

/// One of what an account may have some of, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    account: Option<Rc<Account>>,
    kind: Kind,
}

impl Taken {
    /// One more.
    ///
    /// # Errors
    /// As [`Account::take`].
    pub(crate) fn of(account: &Rc<Account>, kind: Kind) -> Result<Self, Errno> {
        account.take(kind)?;
        Ok(Self { account: Some(Rc::clone(account)), kind })
    }

    /// It is given back by other means.
    pub(crate) fn keep(mut self) {
        let _ = self.account.take();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.give(self.kind, 1);
        }
    }
}

/// All users.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    section: QuotaSection,
    descriptors: u32,
    by_user: HashMap<u32, Rc<Account>>,
    /// Hits of accounts that were given up.
    gone: [u64; NAMES.len()],
    /// Hits of shares by clients that have ended.
    share_gone: [u64; SHARE_NAMES.len()],
    /// Connections that are not read from until their user may send requests again.
    waiting: Vec<ConnectionId>,
}

impl Accounts {
    /// Nobody has anything yet.
    pub(crate) fn new(section: QuotaSection, descriptors: u32) -> Self {
        Self { section, descriptors, ..Self::default() }
    }

    /// The account of a user.
    pub(crate) fn of(&mut self, uid: u32) -> Rc<Account> {
        if let Some(account) = self.by_user.get(&uid) {
            return Rc::clone(account);
        }
        if self.by_user.len() >= IDLE_ACCOUNTS_MAX {
            let gone = &mut self.gone;
            self.by_user.retain(|_, account| {
                let stays = !account.is_idle() || Rc::strong_count(account) > 1;
                if !stays {
                    *gone = sums(*gone, account.hits());
                }
                stays
            });
        }
        let account = Rc::new(Account::new(self.section.limits(uid, self.descriptors)));
        let _ = self.by_user.insert(uid, Rc::clone(&account));
        account
    }

    /// A client has ended that had met the ends of its user's share so often.
    pub(crate) fn client_gone(&mut self, share_ended: [u64; SHARE_NAMES.len()]) {
        self.share_gone = sums(self.share_gone, share_ended);
    }

    /// How often quotas were met, by name.
    pub(crate) fn hits(
        &self,
        clients: impl Iterator<Item = [u64; SHARE_NAMES.len()]>,
    ) -> Vec<(&'static str, u64)> {
        let counted = self.by_user.values().map(|account| account.hits()).fold(self.gone, sums);
        let shared = clients.fold(self.share_gone, sums);
        NAMES.into_iter().zip(counted).chain(SHARE_NAMES.into_iter().zip(shared)).collect()
    }

    /// Does anybody wait to be read from?
    pub(crate) fn anybody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }
}

fn sums<const N: usize>(some: [u64; N], others: [u64; N]) -> [u64; N] {
    let mut others = others.into_iter();
    some.map(|sum| sum.saturating_add(others.next().unwrap_or(0)))
}

impl Control {
    /// A connection has sent a request: it is read from no longer if its user has sent too many.
    pub(crate) fn count_request(&mut self, id: ConnectionId) {
        let now = now().as_nanos();
        let Some(connection) = self.connections.get(&id) else { return };
        if let Some(client) = connection.client.and_then(|index| self.clients.get_mut(&index)) {
            client.requests += 1;
        }
        if connection.account.requested(now) {
            return;
        }
        // A connection that hangs up would wake this thread without end if it were only not read.
        if epoll::delete(&self.epoll, connection.fd()).is_ok() {
            self.accounts.waiting.push(id);
        }
    }

    /// Reads again from those whose users may send requests again.
    pub(crate) fn let_on(&mut self) {
        if !self.accounts.anybody_waits() {
            return;
        }
        let now = now().as_nanos();
        let waiting = core::mem::take(&mut self.accounts.waiting);
        for id in waiting {
            let Some(connection) = self.connections.get(&id) else { continue };
            if !connection.account.may_request(now) {
                self.accounts.waiting.push(id);
                continue;
            }
            let data = Source::Connection(id).data();
            if epoll::add(&self.epoll, connection.fd(), data, EventFlags::IN).is_err() {
                self.drop_connection(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(text: &str) -> Accounts {
        Accounts::new(toml::from_str(text).unwrap(), 1_000_000)
    }

    #[test]
    fn what_is_taken_is_given_back_unless_it_is_kept() {
        let mut accounts = accounts("sockets = 2\n");
        let account = accounts.of(1);
        let first = Taken::of(&account, Kind::Sockets).unwrap();
        Taken::of(&account, Kind::Sockets).unwrap().keep();
        assert_eq!(Taken::of(&account, Kind::Sockets).unwrap_err(), Errno::MFILE);
        assert_eq!((account.hits(), account.all_hits()), ([0, 0, 1, 0, 0], 1));
        drop(first);
        assert!(Taken::of(&account, Kind::Sockets).is_ok());
        account.give(Kind::Sockets, 1);
        assert!(account.is_idle());
    }

    #[test]
    fn each_kind_has_its_own_limit_and_error() {
        let mut accounts = accounts("connections = 1\nclients = 2\nsockets = 3\nlisteners = 4\n");
        let account = accounts.of(1);
        for (kind, most, full) in [
            (Kind::Connections, 1, Errno::MFILE),
            (Kind::Clients, 2, Errno::MFILE),
            (Kind::Sockets, 3, Errno::MFILE),
            (Kind::Listeners, 4, Errno::NOBUFS),
        ] {
            for _ in 0..most {
                Taken::of(&account, kind).unwrap().keep();
            }
            for _ in 0..most {
                assert_eq!(Taken::of(&account, kind).unwrap_err(), full, "{kind:?}");
            }
        }
        assert_eq!(account.hits(), [1, 2, 3, 4, 0]);
    }

    #[test]
    fn requests_wait_for_their_rate_and_for_a_second_of_packets() {
        let mut accounts = accounts("requests_per_s = 10\npackets_per_s = 10\n");
        let account = accounts.of(1);
        assert!(!account.requested(0), "the next one waits its tenth of a second");
        assert!(account.may_request(100_000_000));
        account.share.packets.charge(0, 30);
        assert!(!account.may_request(1_900_000_000), "three seconds of packets");
        assert!(account.may_request(2_000_000_000));
    }

    #[test]
    fn hits_of_accounts_that_are_given_up_are_kept() {
        let mut accounts = accounts("sockets = 0\nrequests_per_s = 1\n");
        for uid in 1..=u32::try_from(IDLE_ACCOUNTS_MAX).unwrap() {
            let _ = Taken::of(&accounts.of(uid), Kind::Sockets).unwrap_err();
        }
        let _ = accounts.of(0);
        assert_eq!(accounts.by_user.len(), 1);
        let _ = Taken::of(&accounts.of(1), Kind::Sockets).unwrap_err();
        assert!(!accounts.of(2).requested(0), "the second one waits");
        accounts.client_gone([10, 20]);
        let hits = accounts.hits([[3, 4], [100, 200]].into_iter());
        let expected = [
            ("connections", 0),
            ("clients", 0),
            ("sockets", IDLE_ACCOUNTS_MAX as u64 + 1),
            ("listeners", 0),
            ("requests", 1),
            ("memory", 113),
            ("packets", 224),
        ];
        assert_eq!(hits, expected);
    }
}
