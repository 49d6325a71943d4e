//! When a router speaks to a link (RFC 4861 6.2.4 to 6.2.6). What it says is the caller's.

use core::time::Duration;

use types::Instant;

use crate::address::State;
use crate::limits::{
    ADVERTISEMENT_DELAY_MAX, ADVERTISEMENT_INTERVAL_FIRST, ADVERTISEMENT_INTERVAL_MAX,
    ADVERTISEMENT_INTERVAL_MIN, ADVERTISEMENT_PAUSE, ADVERTISEMENTS_FIRST,
};
use crate::link::{Link, Message, below};

/// Advertisements of a link that we are a router of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Advertising {
    /// Sent so far, as far as that is of interest.
    sent: u8,
    last: Option<Instant>,
    /// `None`: at once.
    due: Option<Instant>,
    /// A host has asked, and has not been answered.
    asked: bool,
}

impl Link {
    /// We are a router of this link, and say so.
    #[must_use]
    pub fn advertises(&self) -> bool {
        self.advertising.is_some()
    }

    /// A host asks for routers.
    pub(crate) fn router_wanted(&mut self) {
        if let Some(advertising) = &mut self.advertising {
            advertising.asked = true;
        }
    }

    /// We are a router of this link, or no longer, which hosts are told (RFC 4861 6.2.5).
    pub(crate) fn set_advertising(&mut self, on: bool) {
        if on {
            self.add_link_local();
            self.advertising = Some(Advertising::default());
        } else if self.advertising.take().is_some_and(|before| before.sent > 0) {
            self.out.push_back(Message::Advertisement { is_router: false });
        }
    }

    /// Hosts know a router by its address of the link.
    fn may_advertise(&self) -> bool {
        let is_usable = |state| matches!(state, State::Preferred | State::Deprecated);
        self.own.iter().any(|own| own.address.is_unicast_link_local() && is_usable(own.state))
    }

    pub(crate) fn advertise(&mut self, now: Instant, random: &mut dyn FnMut() -> u64) {
        let may = self.may_advertise();
        let Some(advertising) = self.advertising.as_mut().filter(|_| may) else { return };
        if core::mem::take(&mut advertising.asked) {
            let soon = now + below(ADVERTISEMENT_DELAY_MAX, random());
            // RFC 4861 6.2.6: answers go to all, and not too often.
            let soon = advertising.last.map_or(soon, |last| soon.max(last + ADVERTISEMENT_PAUSE));
            advertising.due = advertising.due.map(|due| due.min(soon));
        }
        if advertising.due.is_some_and(|due| due > now) {
            return;
        }
        advertising.sent = advertising.sent.saturating_add(1);
        advertising.last = Some(now);
        let span = ADVERTISEMENT_INTERVAL_MAX.saturating_sub(ADVERTISEMENT_INTERVAL_MIN);
        let interval = ADVERTISEMENT_INTERVAL_MIN.saturating_add(below(span, random()));
        let first = advertising.sent < ADVERTISEMENTS_FIRST;
        let interval = if first { interval.min(ADVERTISEMENT_INTERVAL_FIRST) } else { interval };
        advertising.due = Some(now + interval);
        self.out.push_back(Message::Advertisement { is_router: true });
    }

    /// When there is something to say.
    pub(crate) fn next_advertisement(&self) -> Option<Instant> {
        let advertising = self.advertising.filter(|_| self.may_advertise())?;
        let at_once = advertising.asked || advertising.due.is_none();
        if at_once { Some(Instant::ZERO) } else { advertising.due }
    }

    /// Another link may be behind the interface: hosts there have heard nothing.
    pub(crate) fn advertise_anew(&mut self) {
        if let Some(advertising) = &mut self.advertising {
            *advertising = Advertising::default();
        }
    }
}

const _: () = assert!(
    Duration::as_secs(&ADVERTISEMENT_PAUSE) < Duration::as_secs(&ADVERTISEMENT_INTERVAL_FIRST)
);

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use types::MacAddr;
    use wire::{icmp6, ipv4, ipv6, ndp::Ndp};

    use super::*;
    use crate::{Identity, Settings};

    const ROUTER: Settings = Settings {
        accept: false,
        advertise: true,
        dad_count: 0,
        optimistic: false,
        temporary: None,
    };

    fn link() -> Link {
        let mut link = Link::new("tap0", MacAddr([2, 0, 0, 0, 0, 9]), Identity { secret: [1; 16] });
        link.set(ROUTER);
        link
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    /// The times in seconds at which it speaks, up to one.
    fn speaks(link: &mut Link, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(due) = link.next_timeout().filter(|due| *due <= at(until)) {
            let now = due.max(Instant::from_nanos(1));
            link.timeout(now, &mut || 0);
            while let Some(message) = link.poll_transmit() {
                assert_eq!(message, Message::Advertisement { is_router: true });
                times.push(now.since(Instant::ZERO).as_secs());
            }
        }
        times
    }

    fn solicit(link: &mut Link, seconds: u64) {
        let message = [133, 0, 0, 0, 0, 0, 0, 0];
        let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
        let header = ipv6::Header::new(from, from, ipv4::Protocol::ICMPV6, message.len()).unwrap();
        let message = icmp6::Message::parse(&message).unwrap();
        let ndp = Ndp::parse(&header.with_hop_limit(255), &message).unwrap();
        link.hear(from, &ndp, at(seconds));
        link.timeout(at(seconds), &mut || 0);
    }

    #[test]
    fn the_first_three_come_soon_and_later_ones_seldom() {
        assert_eq!(speaks(&mut link(), 700), [0, 16, 32, 232, 432, 632]);
    }

    #[test]
    fn who_asks_is_answered_soon_but_not_at_once_after_another() {
        let mut link = link();
        assert_eq!(speaks(&mut link, 100), [0, 16, 32]);
        solicit(&mut link, 100);
        assert_eq!(link.poll_transmit(), Some(Message::Advertisement { is_router: true }));
        solicit(&mut link, 101);
        assert_eq!(link.poll_transmit(), None);
        assert_eq!(speaks(&mut link, 110), [103]);
    }

    #[test]
    fn who_is_a_router_no_longer_says_so() {
        let mut silent = link();
        silent.set(Settings { advertise: false, ..ROUTER });
        assert_eq!(silent.poll_transmit(), None, "nobody has heard of it");
        let mut link = link();
        let _ = speaks(&mut link, 1);
        link.set(Settings { advertise: false, ..ROUTER });
        assert_eq!(link.poll_transmit(), Some(Message::Advertisement { is_router: false }));
        assert_eq!(speaks(&mut link, 1000), []);
    }

    #[test]
    fn a_router_without_an_address_of_the_link_waits_for_one() {
        let mut link = Link::new("tap0", MacAddr([2, 0, 0, 0, 0, 9]), Identity { secret: [1; 16] });
        link.set(Settings { dad_count: 1, ..ROUTER });
        let mut said = Vec::new();
        while let Some(due) = link.next_timeout().filter(|due| *due <= at(3)) {
            link.timeout(due.max(Instant::from_nanos(1)), &mut || 0);
            said.extend(core::iter::from_fn(|| link.poll_transmit()));
        }
        let [Message::Probe { .. }, Message::Advertisement { is_router: true }] = said[..] else {
            panic!("{said:?}");
        };
    }
}
