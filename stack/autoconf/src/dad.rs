//! Is anybody there who has the address (RFC 4862 5.4)? Nobody uses an address before that is known,
//! unless the operator has it so (RFC 4429): whoever is there is then told nothing that would displace him.

use core::net::Ipv6Addr;

use types::{Instant, MacAddr};

use crate::address::{Origin, Own, Probe, State};
use crate::limits::{FIRST_DELAY_MAX, IDENTIFIERS_MAX};
use crate::link::{Link, Message, News, below};

impl Link {
    /// Addresses whose search begins, goes on or ends.
    pub(crate) fn probe(&mut self, now: Instant, random: &mut dyn FnMut() -> u64) {
        let Self { own, settings, out, news, changed, retrans, renewal, .. } = self;
        for own in own.iter_mut().filter(|own| own.state.is_sought()) {
            let Some(due) = own.probe.due else {
                // Who was just told to use an address has not started together with all others.
                let delay = match own.origin {
                    Origin::Operator => core::time::Duration::ZERO,
                    Origin::Link | Origin::Advertised | Origin::Temporary => {
                        below(FIRST_DELAY_MAX, random())
                    }
                };
                own.probe.left = settings.dad_count;
                own.probe.due = Some(now + delay);
                continue;
            };
            if due > now {
                continue;
            }
            if let Some(left) = own.probe.left.checked_sub(1) {
                // One for all probes (RFC 7527 4.1): an earlier one may come back late.
                let [new @ .., _, _] = random().to_be_bytes();
                let nonce = own.probe.nonce.unwrap_or(new);
                own.probe = Probe { left, due: Some(now + *retrans), nonce: Some(nonce) };
                out.push_back(Message::Probe { target: own.address, nonce });
            } else {
                own.state = own.lived(now);
                match own.origin {
                    Origin::Advertised => renewal.next = Some(Instant::ZERO),
                    Origin::Temporary => renewal.taken = 0,
                    Origin::Operator | Origin::Link => {}
                }
                news.push(News::Usable(own.address));
                *changed = true;
            }
        }
    }

    /// Another station asks who has `target`. One without an address wants to take it, like us
    /// (RFC 4862 5.4.3); what we have asked ourselves may come back (RFC 7527 4.2).
    pub(crate) fn solicited(&mut self, target: Ipv6Addr, nonce: Option<&[u8]>, now: Instant) {
        let ours = |own: &&Own| own.address == target && own.state.is_sought();
        let Some(own) = self.own.iter().find(ours) else { return };
        let is_echo = own.probe.nonce.is_some_and(|sent| Some(&sent[..]) == nonce);
        if !is_echo {
            self.taken(target, None, now);
        }
    }

    /// Another station has an address of ours (RFC 4862 5.4.4, 5.4.5). Once it is in use its users
    /// keep it; that is a conflict for a person to resolve.
    pub(crate) fn taken(&mut self, target: Ipv6Addr, station: Option<MacAddr>, now: Instant) {
        let ours = |own: &&mut Own| own.address == target && own.state.is_sought();
        let Some(own) = self.own.iter_mut().find(ours) else { return };
        own.state = State::Duplicate;
        own.probe = Probe::default();
        let own = *own;
        self.changed = true;
        self.counts.duplicates = self.counts.duplicates.saturating_add(1);
        if own.origin == Origin::Temporary {
            return self.temporary_taken(target);
        }
        self.news.push(News::Duplicate(target, station));
        if own.origin != Origin::Operator && own.tries < IDENTIFIERS_MAX && own.valid_until > now {
            self.try_another(own);
        }
    }

    /// In place of an address that is taken: another identifier (RFC 7217 6).
    fn try_another(&mut self, taken: Own) {
        let tries = taken.tries.saturating_add(1);
        let address = self.identity.address(taken.address, &self.name, tries);
        self.own.retain(|own| own.address != taken.address);
        let state = self.unsure(taken.origin);
        self.own.push(Own { address, tries, state, ..taken });
    }
}
