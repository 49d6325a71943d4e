//! What a routing socket has heard and nobody has read.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto::table::InterfaceRow;
use proto::{Change, NetworkEvent};

use super::change::{Done, Network};
use super::event;
use super::message::Message;

/// Messages that wait: more than the daemon tells at once. What does not fit is missed.
const WAITING_MAX: usize = 1024;

/// Own changes that the daemon has yet to tell of. Of some of those beyond one hears twice.
const TOLD_MAX: usize = 4096;

/// A version of IP; `None`: both.
pub(super) type Wanted = Option<Version>;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// What waits.
#[derive(Debug)]
enum Heard {
    Event(NetworkEvent),
    Message(Message),
    /// Some is missing here.
    Missed,
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Message(Message),
    /// Some has been missed.
    Missed,
    /// An event about an interface whose number has to be asked for.
    Unknown,
    Nothing,
}

/// What a program has been told of its own changes: such a way is there, or there is none.
type Told = (Network, bool, Option<IpAddr>, Option<u16>);

#[derive(Debug, Default)]
pub(super) struct Queue {
    wants: Wanted,
    waiting: VecDeque<Heard>,
    told: BTreeSet<Told>,
    /// Numbers of interfaces by their names.
    numbers: BTreeMap<String, u16>,
}

impl Queue {
    pub(super) fn new(wants: Wanted) -> Self {
        Self { wants, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The daemon has told something.
    pub(super) fn hear(&mut self, event: NetworkEvent) {
        if matches!(event, NetworkEvent::Missed { .. }) {
            // It may have told of own changes there.
            self.told.clear();
            self.miss();
        } else if self.wants(&event) && !self.is_told(&event) {
            self.push(Heard::Event(event));
        }
    }

    /// An answer to the program's own message.
    pub(super) fn answer(&mut self, message: Message) {
        self.push(Heard::Message(message));
    }

    /// The program knows by the answer what it has done. The daemon tells it to everybody a moment later.
    pub(super) fn know(&mut self, done: &Done) {
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        let told = match *done {
            Done::There(network, gateway, mtu) => (network, true, gateway, mtu),
            Done::Gone(network) => (network, false, None, None),
            Done::Found(_) => return,
        };
        self.forget(told.0, !told.1);
        let _new = self.told.insert(told);
    }

    /// That there is a way to this network, or none, is so no longer.
    fn forget(&mut self, network: Network, there: bool) {
        let last = Some(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
        let all = (network, there, None, None)..=(network, there, last, Some(u16::MAX));
        let old: Vec<Told> = self.told.range(all).copied().collect();
        for told in old {
            let _was_there = self.told.remove(&told);
        }
    }

    /// The interfaces as they are. Of those that are gone the numbers are kept until somebody has heard of that.
    pub(super) fn learn(&mut self, rows: &[InterfaceRow]) {
        let numbered =
            |row: &InterfaceRow| Some((row.name.clone(), u16::try_from(row.index).ok()?));
        self.numbers.extend(rows.iter().filter_map(numbered));
    }

    pub(super) fn number(&self, name: &str) -> u16 {
        self.numbers.get(name).copied().unwrap_or(0)
    }

    /// Takes what is next. `ask`: numbers that are not known are worth asking for.
    pub(super) fn next(&mut self, ask: bool) -> Next {
        loop {
            let event = match self.waiting.pop_front() {
                None => return Next::Nothing,
                Some(Heard::Missed) => return Next::Missed,
                Some(Heard::Message(message)) => return Next::Message(message),
                Some(Heard::Event(event)) => event,
            };
            let name = event::interface(&event).unwrap_or_default().to_owned();
            let is_new = matches!(event, NetworkEvent::Interface { change: Change::Added, .. });
            if ask && (is_new || !self.numbers.contains_key(&name)) {
                self.waiting.push_front(Heard::Event(event));
                return Next::Unknown;
            }
            // Of one that is gone by now nobody knows the number, and it is asked for once.
            let number = *self.numbers.entry(name.clone()).or_default();
            let messages = event::messages(&event, number);
            messages.into_iter().rev().for_each(|m| self.waiting.push_front(Heard::Message(m)));
            if matches!(event, NetworkEvent::Interface { change: Change::Deleted, .. }) {
                let _number = self.numbers.remove(&name);
            }
        }
    }

    /// Puts back what has only been looked at.
    pub(super) fn put_back(&mut self, message: Message) {
        self.waiting.push_front(Heard::Message(message));
    }

    fn push(&mut self, heard: Heard) {
        if self.waiting.len() >= WAITING_MAX {
            self.miss();
        } else {
            self.waiting.push_back(heard);
        }
    }

    /// Said once, however much it is.
    fn miss(&mut self) {
        if !matches!(self.waiting.back(), Some(Heard::Missed)) {
            self.waiting.push_back(Heard::Missed);
        }
    }

    fn wants(&self, event: &NetworkEvent) -> bool {
        let version = event::address(event)
            .map(|address| if address.is_ipv4() { Version::V4 } else { Version::V6 });
        self.wants.is_none() || version.is_none() || version == self.wants
    }

    /// Has the program been told exactly that?
    fn is_told(&mut self, event: &NetworkEvent) -> bool {
        let NetworkEvent::Route { change, route } = event else { return false };
        let network = (route.destination, route.prefix_len);
        let told = match change {
            Change::Deleted => (network, false, None, None),
            Change::Added | Change::Changed => (network, true, route.gateway, route.mtu),
        };
        self.forget(network, !told.1);
        self.told.remove(&told)
    }
}
