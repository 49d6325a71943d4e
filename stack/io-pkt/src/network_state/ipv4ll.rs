//! Addresses that links have of their own in IPv4, where an operator wants them and no server gives any.

use core::net::Ipv4Addr;
use core::time::Duration;

use autoconf::ipv4ll::{Client, Message, PREFIX_LEN};
use inet::network::LOOPBACK;
use rustix::io::Errno;
use types::Instant;
use wire::arp;

use super::NetworkState;

/// So long a DHCP server may take to give an address before the link has one of its own: two of the client's
/// messages.
const SERVERS_TIME: Duration = Duration::from_secs(8);

/// An interface's address of its own, and what of it is in force.
#[derive(Debug)]
pub(super) struct LinkLocal {
    client: Client,
    in_force: Option<Ipv4Addr>,
    /// Since when no server has given an address.
    alone: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct LinkLocalWork {
    /// Messages to send, with their interfaces.
    pub(crate) messages: Vec<(u16, arp::Packet)>,
    /// Addresses that have come (`true`) or gone.
    pub(crate) news: Vec<(u16, Ipv4Addr, bool)>,
    /// The workers must hear of something.
    pub(crate) changed: bool,
}

impl NetworkState {
    /// An interface gives itself an address while nobody else gives it one, or no longer.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`; `EBUSY` for a port of an aggregated link, which has no addresses.
    pub(crate) fn set_link_local(&mut self, name: &str, on: bool) -> Result<(), Errno> {
        let identity = self.identity;
        let index = self.index(name)?;
        if index == LOOPBACK {
            return Err(Errno::OPNOTSUPP);
        }
        if on && self.is_joined(index) {
            return Err(Errno::BUSY);
        }
        let entry = self.entry(name)?;
        if on {
            let client = Client::new(entry.config.mac, identity);
            let new = || Box::new(LinkLocal { client, in_force: None, alone: None });
            let _ = entry.link_local.get_or_insert_with(new);
            return Ok(());
        }
        let gone = entry.link_local.take().and_then(|there| there.in_force);
        entry.config.arp_watched = None;
        if let Some(address) = gone {
            // The operator may have taken it away.
            let _ = self.delete_address(name, address);
        }
        Ok(())
    }

    /// Does what is due.
    pub(crate) fn attend_link_local(
        &mut self,
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> LinkLocalWork {
        let mut work = LinkLocalWork::default();
        for index in 1..u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX) {
            let Some(entry) = self.interfaces.get(usize::from(index)) else { continue };
            let is_up = entry.config.up && self.runs(entry);
            let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { continue };
            let has_lease = entry.dhcp.as_ref().map(|dhcp| dhcp.has_lease());
            let mac = entry.config.mac;
            let Some(own) = &mut entry.link_local else { continue };
            own.attend(is_up, has_lease, now);
            if own.client.next_timeout().is_some_and(|due| due <= now) {
                own.client.timeout(now, random());
            }
            let sent = core::iter::from_fn(|| own.client.poll_transmit());
            work.messages.extend(sent.map(|message| (index, packet(mac, message))));
            if own.client.take_changed() {
                entry.config.arp_watched = own.client.watched();
                work.changed = true;
                self.adopt_link_local(index, &mut work.news);
            }
        }
        work
    }

    /// Makes the address that the link has found be the one in force.
    fn adopt_link_local(&mut self, index: u16, news: &mut Vec<(u16, Ipv4Addr, bool)>) {
        let name = self.name(index).to_owned();
        let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { return };
        let Some(own) = &mut entry.link_local else { return };
        let (before, after) = (own.in_force, own.client.address());
        if before == after {
            return;
        }
        own.in_force = None;
        if let Some(gone) = before {
            // The operator may have taken it away.
            let _ = self.delete_address(&name, gone);
            news.push((index, gone, false));
        }
        if let Some(come) = after {
            match self.add_address(&name, come, PREFIX_LEN) {
                Ok(_) => {
                    news.push((index, come, true));
                    let entry = self.interfaces.get_mut(usize::from(index));
                    if let Some(own) = entry.and_then(|entry| entry.link_local.as_mut()) {
                        own.in_force = Some(come);
                    }
                }
                Err(errno) => tracing::error!("{name}: {come}/{PREFIX_LEN} of the link: {errno}"),
            }
        }
    }

    /// Somebody has said something about an address that is, or may become, a link's own.
    pub(crate) fn heard_arp(&mut self, index: u16, packet: &arp::Packet, now: Instant) {
        let entry = self.interfaces.get_mut(usize::from(index));
        if let Some(entry) = entry
            && let Some(own) = entry.link_local.as_deref_mut()
        {
            own.client.hear(packet, entry.config.mac, now);
        }
    }

    /// When there is something to do next.
    #[must_use]
    pub(crate) fn next_link_local(&self) -> Option<Instant> {
        let all = self.interfaces.iter().filter(|entry| entry.config.up && self.runs(entry));
        let all = all.filter_map(|entry| Some((entry, entry.link_local.as_deref()?)));
        let due = all.filter_map(|(entry, own)| {
            let waits = entry.dhcp.as_ref().is_some_and(|dhcp| !dhcp.has_lease());
            let waits = waits && own.client.watched().is_none();
            let server = own.alone.filter(|_| waits).map(|since| since + SERVERS_TIME);
            let begins = own.client.watched().is_none() && own.alone.is_none();
            let begins = (begins && (waits || entry.dhcp.is_none())).then_some(Instant::ZERO);
            [own.client.next_timeout(), server, begins].into_iter().flatten().min()
        });
        due.min()
    }
}

impl LinkLocal {
    /// Is an address wanted? Not where a server gives one, or has had no time to (RFC 3927 1.9).
    fn attend(&mut self, is_up: bool, has_lease: Option<bool>, now: Instant) {
        if !is_up || has_lease == Some(true) {
            self.alone = None;
            return self.client.stop();
        }
        let since = *self.alone.get_or_insert(now);
        if has_lease.is_none() || now.since(since) >= SERVERS_TIME {
            self.client.start(now);
        }
    }
}

fn packet(mac: types::MacAddr, message: Message) -> arp::Packet {
    match message {
        Message::Probe(address) => arp::Packet::probe(mac, address),
        Message::Announcement(address) => arp::Packet::announcement(mac, address),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_links;
    use super::*;

    fn at(second: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(second)
    }

    fn run(state: &mut NetworkState, until: u64) -> LinkLocalWork {
        let mut all = LinkLocalWork::default();
        while let Some(due) = state.next_link_local().filter(|due| *due <= at(until)) {
            let work = state.attend_link_local(due.max(Instant::from_nanos(1)), &mut || 1);
            all.messages.extend(work.messages);
            all.news.extend(work.news);
        }
        all
    }

    fn addresses(state: &NetworkState) -> Vec<Ipv4Addr> {
        state.interfaces[1].config.addresses.iter().map(|a| a.address).collect()
    }

    #[test]
    fn a_link_without_anybody_who_gives_addresses_has_one_of_its_own() {
        let mut state = with_links(1);
        assert_eq!(state.set_link_local("lo0", true), Err(Errno::OPNOTSUPP));
        state.set_link_local("tap1", true).unwrap();
        let work = run(&mut state, 20);
        let [own] = addresses(&state)[..] else { panic!("{:?}", addresses(&state)) };
        assert!(own.is_link_local());
        assert_eq!(work.news, [(1, own, true)]);
        assert_eq!(work.messages.len(), 5, "three probes, two announcements");
        assert_eq!(state.interfaces[1].config.arp_watched, Some(own));
        for _ in 0..2 {
            state.heard_arp(1, &arp::Packet::announcement(types::MacAddr([9; 6]), own), at(21));
        }
        let work = state.attend_link_local(at(21), &mut || 1);
        assert_eq!((work.news, addresses(&state)), (vec![(1, own, false)], vec![]));
        state.set_up("tap1", false).unwrap();
        let _ = state.attend_link_local(at(22), &mut || 1);
        assert_eq!(state.next_link_local(), None);
        state.set_link_local("tap1", false).unwrap();
    }

    #[test]
    fn a_link_without_a_carrier_is_not_probed_before_it_has_one() {
        let mut state = with_links(1);
        state.interfaces[1].seen.up = false;
        state.set_link_local("tap1", true).unwrap();
        assert!(run(&mut state, 20).messages.is_empty());
        assert!(state.next_look().is_some(), "it may come");
        state.interfaces[1].seen.up = true;
        assert_eq!(run(&mut state, 40).messages.len(), 5);
        let [own] = addresses(&state)[..] else { panic!("{:?}", addresses(&state)) };
        // Another link may be behind it next time.
        state.interfaces[1].seen.up = false;
        assert_eq!(state.attend_link_local(at(41), &mut || 1).news, [(1, own, false)]);
    }

    #[test]
    fn another_mac_address_is_this_hosts_too() {
        let mut state = with_links(1);
        state.set_link_local("tap1", true).unwrap();
        let _ = run(&mut state, 20);
        let [own] = addresses(&state)[..] else { panic!("{:?}", addresses(&state)) };
        let (before, mac) = (state.interfaces[1].config.mac, types::MacAddr([2, 0, 0, 0, 0, 9]));
        state.adopt_mac(1, mac);
        for second in [21, 22] {
            state.heard_arp(1, &arp::Packet::announcement(mac, own), at(second));
        }
        let _ = state.attend_link_local(at(22), &mut || 1);
        assert_eq!(addresses(&state), [own], "it says so itself");
        for second in [23, 24] {
            state.heard_arp(1, &arp::Packet::announcement(before, own), at(second));
        }
        let _ = state.attend_link_local(at(24), &mut || 1);
        assert!(addresses(&state).is_empty(), "another host says so");
    }

    #[test]
    fn an_address_that_the_operator_has_given_stays_his() {
        let mut state = with_links(1);
        state.set_link_local("tap1", true).unwrap();
        let _ = run(&mut state, 20);
        let [own] = addresses(&state)[..] else { panic!("{:?}", addresses(&state)) };
        let mut state = with_links(1);
        let _ = state.add_address("tap1", own, PREFIX_LEN).unwrap();
        state.set_link_local("tap1", true).unwrap();
        assert!(run(&mut state, 20).news.is_empty(), "it is there");
        state.set_link_local("tap1", false).unwrap();
        assert_eq!(addresses(&state), [own]);
    }

    #[test]
    fn a_server_has_time_and_takes_its_place() {
        let mut state = with_links(1);
        state.set_link_local("tap1", true).unwrap();
        let _ = state.set_dhcp("tap1", true, (at(0), 1)).unwrap();
        let _ = state.attend_link_local(at(1), &mut || 1);
        assert_eq!(state.interfaces[1].config.arp_watched, None, "not yet");
        assert_eq!(state.next_link_local(), Some(at(9)));
        let _ = run(&mut state, 30);
        assert_eq!(addresses(&state).len(), 1);
        state.set_link_local("tap1", false).unwrap();
        assert_eq!((addresses(&state), state.next_link_local()), (vec![], None));
    }
}
