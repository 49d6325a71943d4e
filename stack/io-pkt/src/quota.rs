//! What one user may have of what all share: `[quota]` of the configuration, and the counting.
//!
//! A quota belongs to a user, not to a client: processes cost nothing. Who has reached one is told as by
//! Linux (`EMFILE`, `ENOBUFS`) or made to wait, and nobody else notices. Root has none unless the
//! configuration names it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use serde::Deserialize;
use shm::{Rate, Share};

use crate::control::{ConnectionId, Control, Source};
use crate::worker_thread::now;

/// Users whose counts are kept when they have nothing any more, so that what they did is still shown.
const IDLE_ACCOUNTS_MAX: usize = 256;

/// Packets that requests may run ahead of, in time: each close lets what its socket has posted go first.
const PACKET_DEBT_NS: u64 = 1_000_000_000;

/// Limits of one user, or of all who have none of their own. In the file, what is not said is the default's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Connections to the control socket [default: 1024].
    pub connections: Option<u32>,
    /// Clients: each has 64 MiB of address space, of 512 [default: 128].
    pub clients: Option<u32>,
    /// Sockets [default: 16384, or a quarter of the daemon's descriptors if that is less].
    pub sockets: Option<u32>,
    /// Listening sockets, of 4096 [default: 1024].
    pub listeners: Option<u32>,
    /// Bytes of receive buffers that hold something [default: 256 MiB].
    pub memory: Option<u64>,
    /// Datagrams and full segments that are sent a second [default: 500000].
    pub packets_per_s: Option<u32>,
    /// Requests to the control socket a second [default: 20000].
    pub requests_per_s: Option<u32>,
}

/// `[quota]`, and `[quota.user.NAME]` for one user by name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Table")]
pub(crate) struct QuotaSection {
    /// For everybody else but root.
    all: Limits,
    /// For one user.
    user: BTreeMap<Owner, Limits>,
}

impl TryFrom<toml::Table> for QuotaSection {
    type Error = toml::de::Error;
    fn try_from(mut table: toml::Table) -> Result<Self, Self::Error> {
        let user = table.remove("user").map(toml::Value::try_into).transpose()?;
        Ok(Self { all: table.try_into()?, user: user.unwrap_or_default() })
    }
}

/// A user by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Owner(u32);

impl TryFrom<String> for Owner {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let named = || nix::unistd::User::from_name(&text).ok().flatten();
        let uid = text.parse().ok().or_else(|| named().map(|user| user.uid.as_raw()));
        uid.map(Self).ok_or_else(|| format!("there is no user {text:?}; write a name or a number"))
    }
}

impl Limits {
    /// What is not said here is said there.
    fn or(self, other: Self) -> Self {
        Self {
            connections: self.connections.or(other.connections),
            clients: self.clients.or(other.clients),
            sockets: self.sockets.or(other.sockets),
            listeners: self.listeners.or(other.listeners),
            memory: self.memory.or(other.memory),
            packets_per_s: self.packets_per_s.or(other.packets_per_s),
            requests_per_s: self.requests_per_s.or(other.requests_per_s),
        }
    }

    /// More than a program needs, and so little that some users together leave room for another.
    fn of_everybody(descriptors: u32) -> Self {
        Self {
            connections: Some(1024),
            clients: Some(128),
            sockets: Some((descriptors / 4).min(16_384)),
            listeners: Some(1024),
            memory: Some(256 << 20),
            packets_per_s: Some(500_000),
            requests_per_s: Some(20_000),
        }
    }
}

/// What there is a quota of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connections,
    Clients,
    Sockets,
    Listeners,
    Requests,
}

impl Kind {
    /// Those that the control thread counts.
    pub(crate) const ALL: [Self; 5] =
        [Self::Connections, Self::Clients, Self::Sockets, Self::Listeners, Self::Requests];

    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Clients => "clients",
            Self::Sockets => "sockets",
            Self::Listeners => "listeners",
            Self::Requests => "requests",
        }
    }
}

/// One user: what it may have, what it has, and how often it wanted more.
#[derive(Debug)]
pub(crate) struct Account {
    limits: Limits,
    /// Counted by the workers.
    pub(crate) share: Arc<Share>,
    requests: Rate,
    used: [Cell<u32>; 4],
    hits: [Cell<u64>; 5],
    /// Clients of it that broke the rules of their memory.
    pub(crate) violations: Cell<u64>,
}

impl Account {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            share: Arc::new(Share::new(limits.memory, limits.packets_per_s)),
            requests: Rate::new(limits.requests_per_s),
            used: Default::default(),
            hits: Default::default(),
            violations: Cell::new(0),
        }
    }

    /// One more, if there may be one.
    ///
    /// # Errors
    /// `EMFILE`, of listeners `ENOBUFS`; the hit is counted.
    fn take(&self, kind: Kind) -> Result<(), Errno> {
        let limits = &self.limits;
        let (most, full) = match kind {
            Kind::Connections => (limits.connections, Errno::MFILE),
            Kind::Clients => (limits.clients, Errno::MFILE),
            Kind::Sockets => (limits.sockets, Errno::MFILE),
            Kind::Listeners => (limits.listeners, Errno::NOBUFS),
            Kind::Requests => (None, Errno::AGAIN),
        };
        let Some(used) = self.used.get(kind as usize) else { return Ok(()) };
        if most.is_some_and(|most| used.get() >= most) {
            self.hit(kind);
            return Err(full);
        }
        used.set(used.get().saturating_add(1));
        Ok(())
    }

    /// So many fewer.
    pub(crate) fn give(&self, kind: Kind, count: usize) {
        let Some(used) = self.used.get(kind as usize) else { return };
        used.set(used.get().saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)));
    }

    fn hit(&self, kind: Kind) {
        if let Some(hits) = self.hits.get(kind as usize) {
            hits.set(hits.get().saturating_add(1));
        }
    }

    /// How often it has met a quota of this kind.
    pub(crate) fn hits(&self, kind: Kind) -> u64 {
        self.hits.get(kind as usize).map_or(0, Cell::get)
    }

    /// How often it has met any quota that the control thread counts.
    pub(crate) fn all_hits(&self) -> u64 {
        self.hits.iter().map(Cell::get).sum()
    }

    /// A request has come. May its connection send the next one at once?
    fn requested(&self, now_ns: u64) -> bool {
        self.requests.charge(now_ns, 1);
        let open = self.may_request(now_ns);
        if !open {
            self.hit(Kind::Requests);
        }
        open
    }

    fn may_request(&self, now_ns: u64) -> bool {
        let packets = now_ns.saturating_add(PACKET_DEBT_NS);
        self.requests.is_open(now_ns) && self.share.packets.is_open(packets)
    }

    fn is_idle(&self) -> bool {
        self.used.iter().all(|used| used.get() == 0)
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
    everybody: Limits,
    by_user: HashMap<u32, Rc<Account>>,
    /// Hits of accounts that were given up, by kind; of memory and of packets.
    gone: [u64; 7],
    /// Connections that are not read from until their user may send requests again.
    waiting: Vec<ConnectionId>,
}

impl Accounts {
    /// Nobody has anything yet. A daemon with so few descriptors can't promise more of them.
    pub(crate) fn new(section: QuotaSection, descriptors: u32) -> Self {
        let everybody = section.all.or(Limits::of_everybody(descriptors));
        Self { section, everybody, ..Self::default() }
    }

    fn limits(&self, uid: u32) -> Limits {
        let rest = if uid == 0 { Limits::default() } else { self.everybody };
        self.section.user.get(&Owner(uid)).copied().unwrap_or_default().or(rest)
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
                let counted = if stays { &[][..] } else { &account.hits[..] };
                gone.iter_mut().zip(counted).for_each(|(sum, hits)| *sum += hits.get());
                stays
            });
        }
        let account = Rc::new(Account::new(self.limits(uid)));
        let _ = self.by_user.insert(uid, Rc::clone(&account));
        account
    }

    /// A client has ended that had met the ends of its user's share so often.
    pub(crate) fn client_gone(&mut self, share_ended: [u64; 2]) {
        for (sum, count) in self.gone.iter_mut().skip(Kind::ALL.len()).zip(share_ended) {
            *sum += count;
        }
    }

    /// How often quotas were met, by name.
    pub(crate) fn hits(&self, clients: impl Iterator<Item = [u64; 2]>) -> Vec<(&'static str, u64)> {
        let now = |kind| self.by_user.values().map(|account| account.hits(kind)).sum::<u64>();
        let mut hits: Vec<(&str, u64)> =
            Kind::ALL.iter().map(|kind| (kind.label(), now(*kind))).collect();
        let [memory, packets] = clients.fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
        hits.extend([("memory", memory), ("packets", packets)]);
        hits.into_iter().zip(self.gone).map(|((name, count), gone)| (name, count + gone)).collect()
    }

    /// Does anybody wait to be read from?
    pub(crate) fn anybody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }
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
    fn a_user_has_its_own_limits_then_those_of_all_then_the_defaults() {
        let accounts = accounts(
            "sockets = 7\nmemory = 5\n[user.1000]\nsockets = 9\n[user.root]\nclients = 1\n",
        );
        let (one, other, root) = (accounts.limits(1000), accounts.limits(1001), accounts.limits(0));
        assert_eq!((one.sockets, one.memory, one.clients), (Some(9), Some(5), Some(128)));
        assert_eq!((other.sockets, other.memory), (Some(7), Some(5)));
        assert_eq!((root.clients, root.sockets, root.memory), (Some(1), None, None));
    }

    #[test]
    fn a_daemon_of_few_descriptors_promises_one_user_a_quarter_of_them() {
        let accounts = Accounts::new(QuotaSection::default(), 1024);
        assert_eq!(accounts.limits(1).sockets, Some(256));
    }

    #[test]
    fn mistakes_are_told() {
        let wrong = |text: &str| toml::from_str::<QuotaSection>(text).unwrap_err().to_string();
        assert!(wrong("[user.no-such-user]\nsockets = 1\n").contains("write a name or a number"));
        assert!(
            wrong("socket = 1\n").contains("unknown field `socket`"),
            "{}",
            wrong("socket = 1\n")
        );
        assert!(wrong("[user.root]\nsocket = 1\n").contains("unknown field"));
    }

    #[test]
    fn what_is_taken_is_given_back_unless_it_is_kept() {
        let mut accounts = accounts("sockets = 2\n");
        let account = accounts.of(1);
        let first = Taken::of(&account, Kind::Sockets).unwrap();
        Taken::of(&account, Kind::Sockets).unwrap().keep();
        assert_eq!(Taken::of(&account, Kind::Sockets).unwrap_err(), Errno::MFILE);
        assert_eq!((account.hits(Kind::Sockets), account.all_hits()), (1, 1));
        drop(first);
        assert!(Taken::of(&account, Kind::Sockets).is_ok());
        account.give(Kind::Sockets, 1);
        assert!(account.is_idle());
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
        let mut accounts = accounts("sockets = 0\n");
        for uid in 1..=u32::try_from(IDLE_ACCOUNTS_MAX).unwrap() {
            let _ = Taken::of(&accounts.of(uid), Kind::Sockets).unwrap_err();
        }
        let _ = accounts.of(0);
        assert_eq!(accounts.by_user.len(), 1);
        let hits = accounts.hits([[3, 4]].into_iter());
        assert_eq!(hits.get(2), Some(&("sockets", IDLE_ACCOUNTS_MAX as u64)));
        assert_eq!(hits.get(5..), Some(&[("memory", 3), ("packets", 4)][..]));
    }
}
