//! Who watches the network. Routes, addresses, interfaces and neighbours that come, change and go are told as
//! they do, as BSD's routing sockets tell it.
//!
//! ```text
//!  fib: changes of routes ────────┐              ┌─► a queue per listener ─► its connection
//!  interfaces: what differs ──────┼─► tell() ────┤   (bounded: what does not fit is counted, and
//!  workers: Event::Neighbor ──────┘              └─►  the listener is told how much that was)
//! ```

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use inet::command::NeighborNews;
use proto::{Change, NetworkEvent, Reply};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use types::Instant;

use crate::connection::Connection;
use crate::control::{ConnectionId, Control, Source};
use crate::network_state::changes::{Links, differences};

/// Listeners at once.
const LISTENERS_MAX: usize = 64;

/// Those of one user: several daemons of routing and a few people who look.
const LISTENERS_OF_USER_MAX: usize = 8;

/// Events that wait for a listener that does not read: more than one step of a load of routes, about 800 kB.
const WAITING_MAX: usize = 4096;

/// Events of one message: of the longest names they fit.
const EVENTS_OF_MESSAGE: usize = 128;

/// How often carriers are looked at while somebody listens: they say nothing themselves.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whoever listens.
#[derive(Debug, Default)]
pub(crate) struct Monitors {
    listeners: BTreeMap<ConnectionId, Listener>,
    /// The interfaces as they were told last.
    links: Links,
    looked: Instant,
    /// Interfaces may differ from that.
    stale: bool,
}

#[derive(Debug)]
struct Listener {
    uid: u32,
    /// Of its request: events answer that.
    sequence: u32,
    waiting: VecDeque<NetworkEvent>,
    missed: u64,
    /// The kernel takes no more for it now.
    is_full: bool,
    /// It has said since that it does.
    has_room: bool,
}

impl Listener {
    const fn new(uid: u32, sequence: u32) -> Self {
        Self { uid, sequence, waiting: VecDeque::new(), missed: 0, is_full: false, has_room: false }
    }

    fn take(&mut self, event: &NetworkEvent) {
        if let NetworkEvent::Missed { count } = event {
            self.missed = self.missed.saturating_add(*count);
        } else if self.waiting.len() >= WAITING_MAX {
            self.missed = self.missed.saturating_add(1);
        } else {
            self.own_up();
            self.waiting.push_back(event.clone());
        }
    }

    /// What was missed belongs between what was told before and what comes.
    fn own_up(&mut self) {
        if self.missed > 0 && self.waiting.len() < WAITING_MAX {
            let count = core::mem::take(&mut self.missed);
            self.waiting.push_back(NetworkEvent::Missed { count });
        }
    }

    /// Something may be sent to it: whoever does not read costs nothing until he does.
    fn may_flush(&mut self) -> bool {
        let has_room = core::mem::take(&mut self.has_room);
        has_room || !self.is_full
    }

    /// Sends what waits, as far as the kernel takes it.
    ///
    /// # Errors
    /// The kernel's: nobody is there any longer.
    fn flush(&mut self, connection: &Connection) -> Result<(), Errno> {
        self.is_full = false;
        self.own_up();
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(EVENTS_OF_MESSAGE);
            let events: Vec<NetworkEvent> = self.waiting.drain(..count).collect();
            match connection.send(self.sequence, Ok(Reply::Events(events.clone())), &[]) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => {
                    self.is_full = true;
                    events.into_iter().rev().for_each(|event| self.waiting.push_front(event));
                    return Ok(());
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl Monitors {
    /// When to look at carriers again.
    fn due(&self) -> Option<Instant> {
        (!self.listeners.is_empty()).then(|| self.looked + LOOK_EVERY)
    }

    /// Another configuration is in force.
    pub(crate) fn network_changed(&mut self) {
        self.stale = true;
    }

    fn tell(&mut self, event: &NetworkEvent) {
        self.listeners.values_mut().for_each(|listener| listener.take(event));
    }
}

impl Control {
    /// Whoever has this connection wants to hear what happens to the network.
    ///
    /// # Errors
    /// `EBUSY`: he does already; `ENOBUFS`: as many others, or of his user, do as may.
    pub(crate) fn listen_to_network(
        &mut self,
        id: ConnectionId,
        sequence: u32,
    ) -> Result<Reply, Errno> {
        let uid = self.connections.get(&id).ok_or(Errno::BADF)?.uid;
        let listeners = &self.monitors.listeners;
        if listeners.contains_key(&id) {
            return Err(Errno::BUSY);
        }
        let of_user = listeners.values().filter(|listener| listener.uid == uid).count();
        if listeners.len() >= LISTENERS_MAX || of_user >= LISTENERS_OF_USER_MAX {
            return Err(Errno::NOBUFS);
        }
        if listeners.is_empty() {
            self.watch_network(true);
        }
        let _none = self.monitors.listeners.insert(id, Listener::new(uid, sequence));
        Ok(Reply::Done)
    }

    /// A connection is gone, and who may have listened over it.
    pub(crate) fn listens_no_longer(&mut self, id: ConnectionId) {
        let listened = self.monitors.listeners.remove(&id).is_some();
        if listened && self.monitors.listeners.is_empty() {
            self.watch_network(false);
        }
    }

    fn watch_network(&mut self, on: bool) {
        self.network.watch(on);
        self.network.look_at_carriers();
        self.monitors.links = self.network.link_views();
        // Workers say what they learn only if somebody wants to hear it.
        self.publish_to_workers();
    }

    /// How long until somebody is to be told of something.
    pub(crate) fn until_monitors(&self) -> Option<Duration> {
        self.monitors.due().map(|due| due.since(self.now()))
    }

    /// Something has become of a neighbour.
    pub(crate) fn neighbor_news(&mut self, news: &NeighborNews) {
        let change = match (news.before, news.after) {
            (None, Some(_)) => Change::Added,
            (_, Some(_)) => Change::Changed,
            (_, None) => Change::Deleted,
        };
        if news.unsaid > 0 {
            self.monitors.tell(&NetworkEvent::Missed { count: news.unsaid });
        }
        self.monitors.tell(&NetworkEvent::Neighbor {
            change,
            interface: self.network.name(news.interface).to_owned(),
            address: news.address,
            mac: news.after.or(news.before),
        });
    }

    /// The kernel takes more for some of those who listen.
    pub(crate) fn monitors_have_room(&mut self, ready: &[epoll::Event]) {
        for event in ready {
            let (flags, data) = (event.flags, event.data);
            if flags.contains(EventFlags::OUT)
                && let Source::Connection(id) = Source::of(data.u64())
                && let Some(listener) = self.monitors.listeners.get_mut(&id)
            {
                listener.has_room = true;
            }
        }
    }

    /// Tells whoever listens what has happened.
    pub(crate) fn attend_monitors(&mut self) {
        if self.monitors.listeners.is_empty() {
            return;
        }
        let now = self.now();
        for event in self.network.take_route_events() {
            self.monitors.tell(&event);
        }
        if self.monitors.stale || self.monitors.due().is_some_and(|due| due <= now) {
            (self.monitors.looked, self.monitors.stale) = (now, false);
            self.network.look_at_carriers();
            let links = self.network.link_views();
            let events = differences(&self.monitors.links, &links);
            self.monitors.links = links;
            events.iter().for_each(|event| self.monitors.tell(event));
        }
        let mut gone = Vec::new();
        for (id, listener) in &mut self.monitors.listeners {
            let Some(connection) = self.connections.get(id) else { continue };
            let was_full = listener.is_full;
            if !listener.may_flush() {
                continue;
            }
            if listener.flush(connection).is_err() {
                gone.push(*id);
            } else if listener.is_full != was_full {
                let room = if listener.is_full { EventFlags::OUT } else { EventFlags::empty() };
                let data = Source::Connection(*id).data();
                let _ = epoll::modify(&self.epoll, connection.fd(), data, EventFlags::IN | room);
            }
        }
        gone.into_iter().for_each(|id| self.drop_connection(id));
    }
}

#[cfg(test)]
mod tests {
    use proto::LinkRow;
    use types::MacAddr;

    use super::*;

    fn event(number: u16) -> NetworkEvent {
        let (name, mac) = ("tap0".into(), MacAddr::ZERO);
        let interface = LinkRow { name, mac, mtu: number, up: true, running: true };
        NetworkEvent::Interface { change: Change::Changed, interface }
    }

    #[test]
    fn who_does_not_read_is_left_alone_until_there_is_room() {
        let mut listener = Listener::new(0, 7);
        assert!(listener.may_flush());
        listener.is_full = true;
        listener.take(&event(0));
        assert!(!listener.may_flush());
        listener.has_room = true;
        assert!(listener.may_flush());
        assert!(!listener.may_flush(), "once, if it is full again");
    }

    #[test]
    fn who_does_not_read_is_told_how_much_he_has_missed() {
        let (ours, theirs) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::NONBLOCK,
            None,
        )
        .unwrap();
        let connection = Connection::new(ours, &mut crate::quota::Accounts::default()).unwrap();
        let mut listener = Listener::new(0, 7);
        let told = 20_000;
        for number in 0..told {
            listener.take(&event(number));
            listener.flush(&connection).unwrap();
        }
        assert!(listener.is_full && listener.waiting.len() == WAITING_MAX && listener.missed > 0);
        let (mut events, mut missed) = (0, 0);
        let mut buffer = vec![0; proto::MESSAGE_MAX];
        while let Ok((_, len)) =
            rustix::net::recv(&theirs, &mut buffer[..], rustix::net::RecvFlags::empty())
        {
            let answer: proto::Answer = proto::parse(&buffer[..len]).unwrap();
            let Ok(Reply::Events(all)) = answer.result else { panic!("{answer:?}") };
            assert_eq!(answer.sequence, 7);
            for event in all {
                match event {
                    NetworkEvent::Missed { count } => missed += count,
                    _ => events += 1,
                }
            }
            listener.flush(&connection).unwrap();
        }
        assert!(listener.waiting.is_empty() && missed > 0);
        assert_eq!(events + missed, u64::from(told));
        drop(theirs);
        listener.take(&event(0));
        assert_eq!(listener.flush(&connection), Err(Errno::PIPE));
    }
}
