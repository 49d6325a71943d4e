//! An IPv4 address of a link's own that a host gives itself (RFC 3927), where nobody else gives it one.
//!
//! ```text
//!  start ──► Waiting ──► Probing ── nobody answers ──► Announcing ──► Bound
//!               ▲           │ somebody has it              │  conflict:  │ the first is defended,
//!               └───────────┴──────── another one ◄────────┴─────────────┘ another soon after is not
//! ```

use core::hash::Hasher;
use core::net::Ipv4Addr;
use std::collections::VecDeque;

use siphasher::sip::SipHasher24;
use types::{Instant, MacAddr};
use wire::arp;

use crate::limits::{
    LL_ANNOUNCE_INTERVAL, LL_ANNOUNCE_WAIT, LL_ANNOUNCEMENTS, LL_CONFLICTS_MAX, LL_DEFEND_INTERVAL,
    LL_PAUSE, LL_PROBE_MIN, LL_PROBE_MORE, LL_PROBE_WAIT, LL_PROBES,
};
use crate::link::below;
use crate::stable::Identity;

/// Length of the prefix of all of them: 169.254.0.0/16.
pub const PREFIX_LEN: u8 = 16;

/// A message for everybody on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Has anybody this address?
    Probe(Ipv4Addr),
    /// It is ours.
    Announcement(Ipv4Addr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No address is wanted.
    Off,
    /// One is to be looked for from then on.
    Waiting(Instant),
    /// So many probes are left; the next one, or the end, is due.
    Probing(u8, Instant),
    /// The address is ours, and so many announcements are left.
    Announcing(u8, Instant),
    /// It is ours.
    Bound,
}

/// A link's address of its own.
#[derive(Debug)]
pub struct Client {
    mac: MacAddr,
    identity: Identity,
    /// The address that is looked for or ours.
    address: Ipv4Addr,
    tries: u32,
    state: State,
    /// Conflicts since an address was ours for good.
    conflicts: u32,
    defended: Option<Instant>,
    out: VecDeque<Message>,
    changed: bool,
}

impl Client {
    /// One that wants no address yet. The same host tries the same ones on a link, in the same order, so that
    /// mostly it has the one it had before (RFC 3927 2.1).
    #[must_use]
    pub fn new(mac: MacAddr, identity: Identity) -> Self {
        Self {
            mac,
            identity,
            address: candidate(identity, mac, 0),
            tries: 0,
            state: State::Off,
            conflicts: 0,
            defended: None,
            out: VecDeque::new(),
            changed: false,
        }
    }

    /// An address is wanted.
    pub fn start(&mut self, now: Instant) {
        if self.state == State::Off {
            self.state = State::Waiting(now);
            self.changed = true;
        }
    }

    /// None is wanted any longer.
    pub fn stop(&mut self) {
        self.changed |= self.state != State::Off;
        self.state = State::Off;
        self.out.clear();
    }

    /// The address that is ours.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        let is_ours = matches!(self.state, State::Announcing(..) | State::Bound);
        is_ours.then_some(self.address)
    }

    /// The address of which we have to know who else has it.
    #[must_use]
    pub fn watched(&self) -> Option<Ipv4Addr> {
        (self.state != State::Off).then_some(self.address)
    }

    /// Somebody has said something about addresses; `mac` is what we say ourselves now.
    pub fn hear(&mut self, packet: &arp::Packet, mac: MacAddr, now: Instant) {
        if packet.sender_mac == mac {
            return;
        }
        let is_its = packet.sender_ip == self.address;
        // Somebody who looks for the same address as we do.
        let is_rival = packet.is_probe() && packet.target_ip == self.address;
        match self.state {
            State::Waiting(_) | State::Probing(..) if is_its || is_rival => self.give_up(now),
            State::Announcing(..) | State::Bound if is_its => {
                let lately = |at: Instant| now.since(at) < LL_DEFEND_INTERVAL;
                if self.defended.is_some_and(lately) {
                    return self.give_up(now);
                }
                self.defended = Some(now);
                self.out.push_back(Message::Announcement(self.address));
            }
            _ => {}
        }
    }

    /// Another address; after many conflicts not at once (RFC 3927 2.2.1).
    fn give_up(&mut self, now: Instant) {
        self.conflicts = self.conflicts.saturating_add(1);
        self.tries = self.tries.wrapping_add(1);
        self.address = candidate(self.identity, self.mac, self.tries);
        let pause = self.conflicts >= LL_CONFLICTS_MAX;
        self.state = State::Waiting(if pause { now + LL_PAUSE } else { now });
        self.defended = None;
        self.out.clear();
        self.changed = true;
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, random: u64) {
        self.state = match self.state {
            State::Waiting(due) if due <= now => {
                State::Probing(LL_PROBES, now + below(LL_PROBE_WAIT, random))
            }
            State::Probing(0, due) if due <= now => {
                self.changed = true;
                self.announce(LL_ANNOUNCEMENTS, now)
            }
            State::Probing(left, due) if due <= now => {
                self.out.push_back(Message::Probe(self.address));
                let left = left.saturating_sub(1);
                let pause = LL_PROBE_MIN.saturating_add(below(LL_PROBE_MORE, random));
                State::Probing(left, now + if left > 0 { pause } else { LL_ANNOUNCE_WAIT })
            }
            State::Announcing(left, due) if due <= now => self.announce(left, now),
            state => state,
        };
    }

    fn announce(&mut self, left: u8, now: Instant) -> State {
        self.out.push_back(Message::Announcement(self.address));
        match left.saturating_sub(1) {
            0 => {
                self.conflicts = 0;
                State::Bound
            }
            left => State::Announcing(left, now + LL_ANNOUNCE_INTERVAL),
        }
    }

    /// When [`Client::timeout`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Off | State::Bound => None,
            State::Waiting(due) | State::Probing(_, due) | State::Announcing(_, due) => Some(due),
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    /// Whether [`Client::address`] or [`Client::watched`] is another than at the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }
}

/// One of 169.254.1.0 to 169.254.254.255: the others are for what may come (RFC 3927 2.1).
fn candidate(identity: Identity, MacAddr(mac): MacAddr, tries: u32) -> Ipv4Addr {
    const HOSTS: u64 = 254 << 8;
    let mut hasher = SipHasher24::new_with_key(&identity.secret);
    hasher.write(&mac);
    hasher.write_u32(tries);
    let number = hasher.finish().checked_rem(HOSTS).unwrap_or(0);
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(169, 254, high.saturating_add(1), low)
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const IDENTITY: Identity = Identity { secret: [7; 16] };

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn started() -> Client {
        let mut client = Client::new(OURS, IDENTITY);
        client.start(at(0));
        client
    }

    /// Lets time pass; what is sent, and when.
    fn run(client: &mut Client, until: u64) -> Vec<(u64, Message)> {
        let mut sent = Vec::new();
        while let Some(due) = client.next_timeout().filter(|due| *due <= at(until)) {
            client.timeout(due, 500_000_000);
            let out = core::iter::from_fn(|| client.poll_transmit());
            sent.extend(out.map(|message| (due.as_millis(), message)));
        }
        sent
    }

    fn claims(client: &Client) -> arp::Packet {
        arp::Packet::announcement(OTHER, client.watched().unwrap())
    }

    #[test]
    fn an_address_is_probed_three_times_and_announced_twice() {
        let mut client = started();
        let address = client.watched().unwrap();
        let sent = run(&mut client, 6_999);
        let probe = |at| (at, Message::Probe(address));
        let announcement = |at| (at, Message::Announcement(address));
        assert_eq!(sent[..3], [probe(500), probe(2_000), probe(3_500)]);
        assert_eq!(sent[3..], [announcement(5_500)]);
        assert_eq!(client.address(), Some(address));
        assert_eq!(run(&mut client, 60_000), [announcement(7_500)]);
        assert_eq!(client.next_timeout(), None);
        client.stop();
        assert_eq!((client.address(), client.watched()), (None, None));
        client.start(at(70_000));
        assert_eq!(client.watched(), Some(address), "the same again");
    }

    #[test]
    fn one_that_somebody_has_or_looks_for_too_is_none() {
        let rival = |client: &Client| arp::Packet::probe(OTHER, client.watched().unwrap());
        for say in [claims, rival] {
            let mut client = started();
            let _ = run(&mut client, 3_000);
            let first = client.watched().unwrap();
            client.hear(&arp::Packet::probe(OURS, first), OURS, at(3_000));
            assert_eq!(client.watched(), Some(first), "our own probe has come back");
            client.hear(&say(&client), OURS, at(3_000));
            let second = client.watched().unwrap();
            assert_ne!(second, first);
            assert!(client.take_changed());
            let _ = run(&mut client, 20_000);
            assert_eq!(client.address(), Some(second));
            client.hear(&arp::Packet::probe(OTHER, second), OURS, at(20_000));
            assert_eq!(client.address(), Some(second), "who asks is answered elsewhere");
        }
    }

    #[test]
    fn one_that_is_ours_is_defended_once_in_ten_seconds() {
        let mut client = started();
        let _ = run(&mut client, 20_000);
        let address = client.address().unwrap();
        for second in [20, 31] {
            client.hear(&claims(&client), OURS, at(second * 1000));
            assert_eq!(client.poll_transmit(), Some(Message::Announcement(address)));
            assert_eq!(client.address(), Some(address));
        }
        client.hear(&claims(&client), OURS, at(40_000));
        assert_eq!((client.address(), client.poll_transmit()), (None, None));
        assert_ne!(client.watched(), Some(address));
    }

    #[test]
    fn after_ten_conflicts_it_waits_a_minute_between_tries() {
        let mut client = started();
        for conflict in 1..=10 {
            client.timeout(at(conflict * 10), 0);
            client.hear(&claims(&client), OURS, at(conflict * 10));
        }
        assert_eq!(client.next_timeout(), Some(at(100) + Duration::from_secs(60)));
        let _ = run(&mut client, 100_000);
        assert!(client.address().is_some());
    }

    #[test]
    fn all_are_of_the_range_and_hosts_differ() {
        let of = |mac, tries| candidate(IDENTITY, mac, tries);
        for tries in 0..1000 {
            let [a, b, c, _] = of(OURS, tries).octets();
            assert!((a, b) == (169, 254) && (1..=254).contains(&c), "{tries}");
        }
        assert_ne!(of(OURS, 0), of(OTHER, 0));
    }
}
