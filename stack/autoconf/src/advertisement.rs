//! What routers say: themselves, prefixes, MTU, hop limit (RFC 4861 6.3.4, RFC 4191, RFC 4862 5.5).

use core::net::Ipv6Addr;
use core::time::Duration;

use types::Instant;
use wire::ndp::{NdpOption, Options, Preference, Prefix, RouterAdvertisement};

use crate::address::{Origin, Own};
use crate::limits::{
    ADVERTISED_MAX, MTU_MIN, PREFIXES_MAX, RETRANS_TIMER_MAX, RETRANS_TIMER_MIN, ROUTERS_MAX,
    VALID_MIN,
};
use crate::link::Link;

/// A router that packets to everywhere may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Router {
    pub address: Ipv6Addr,
    pub preference: Preference,
    pub until: Instant,
}

/// A prefix whose addresses are on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnLink {
    pub prefix: Ipv6Addr,
    pub len: u8,
    pub until: Instant,
}

impl Link {
    /// A router has spoken. Its message has passed the checks of RFC 4861 6.1.2.
    pub(crate) fn advertised(
        &mut self,
        router: Ipv6Addr,
        said: &RouterAdvertisement,
        options: Options<'_>,
        now: Instant,
    ) {
        if !self.accepts() {
            return;
        }
        self.counts.advertisements = self.counts.advertisements.saturating_add(1);
        // RFC 4861 6.3.7: who has heard of a router need not ask.
        if said.lifetime > 0 {
            self.soliciting = None;
        }
        self.router(router, said, now);
        self.hops_told(said.hop_limit);
        if said.retrans_timer > 0 {
            let told = Duration::from_millis(said.retrans_timer.into());
            self.retrans = told.clamp(RETRANS_TIMER_MIN, RETRANS_TIMER_MAX);
        }
        for option in options {
            match option {
                NdpOption::Prefix(prefix) => self.prefix(&prefix, now),
                NdpOption::Mtu(mtu) => self.mtu_told(mtu),
                _ => {}
            }
        }
    }

    fn router(&mut self, address: Ipv6Addr, said: &RouterAdvertisement, now: Instant) {
        let until = now + Duration::from_secs(said.lifetime.into());
        let router = Router { address, preference: said.preference, until };
        let known = self.routers.iter().position(|known| known.address == address);
        match known {
            Some(at) if said.lifetime == 0 => drop(self.routers.remove(at)),
            Some(at) => {
                let Some(known) = self.routers.get_mut(at) else { return };
                // That it lives on is nothing to tell anybody.
                self.changed |= known.preference != router.preference;
                *known = router;
                return;
            }
            None if said.lifetime == 0 => return,
            None if self.routers.len() >= ROUTERS_MAX => return self.refuse(),
            None => self.routers.push(router),
        }
        self.changed = true;
    }

    /// The last word counts, but none below the usual: a forged one of 1 would cut the host off
    /// (RFC 8504 5.7).
    fn hops_told(&mut self, told: u8) {
        const USUAL: u8 = wire::ipv6::Header::DEFAULT_HOP_LIMIT;
        let more = Some(told).filter(|told| *told > USUAL);
        if told >= USUAL && self.hop_limit != more {
            self.hop_limit = more;
            self.changed = true;
        }
    }

    fn mtu_told(&mut self, told: u32) {
        let mtu = u16::try_from(told).ok().filter(|mtu| (MTU_MIN..).contains(&u32::from(*mtu)));
        if mtu.is_some() && self.mtu != mtu {
            self.mtu = mtu;
            self.changed = true;
        }
    }

    fn prefix(&mut self, said: &Prefix, now: Instant) {
        // On a link of everything no router would be asked again.
        let Some(mask) = mask(said.len).filter(|mask| *mask != 0) else { return };
        let prefix = Ipv6Addr::from_bits(said.prefix.to_bits() & mask);
        if prefix.is_unicast_link_local() || prefix.is_multicast() || prefix.is_loopback() {
            return;
        }
        let said = Prefix { prefix, ..*said };
        if said.on_link {
            self.on_link(&said, now);
        }
        if said.autonomous && said.len == 64 && said.preferred_lifetime <= said.valid_lifetime {
            self.autonomous(&said, now);
        }
    }

    fn on_link(&mut self, said: &Prefix, now: Instant) {
        let Prefix { prefix, len, valid_lifetime, .. } = *said;
        let on_link = OnLink { prefix, len, until: after(now, valid_lifetime) };
        let is_it = |known: &OnLink| (known.prefix, known.len) == (prefix, len);
        match self.prefixes.iter().position(is_it) {
            Some(at) if valid_lifetime == 0 => drop(self.prefixes.remove(at)),
            Some(at) => {
                return self.prefixes.get_mut(at).into_iter().for_each(|known| *known = on_link);
            }
            None if valid_lifetime == 0 => return,
            None if self.prefixes.len() >= PREFIXES_MAX => return self.refuse(),
            None => self.prefixes.push(on_link),
        }
        self.changed = true;
    }

    /// RFC 4862 5.5.3 (d) and (e).
    fn autonomous(&mut self, said: &Prefix, now: Instant) {
        let made_of = |own: &Own| {
            own.origin.is_told() && own.address.to_bits() >> 64 == said.prefix.to_bits() >> 64
        };
        let valid = Duration::from_secs(said.valid_lifetime.into());
        let preferred_until = after(now, said.preferred_lifetime);
        self.renewal.next = Some(Instant::ZERO);
        let is_stable = |own: &Own| own.origin == Origin::Advertised && made_of(own);
        if self.own.iter().any(is_stable) {
            for own in self.own.iter_mut().filter(|own| made_of(own)) {
                let left = own.valid_until.since(now);
                if valid > VALID_MIN || valid > left {
                    own.valid_until = after(now, said.valid_lifetime);
                } else if left > VALID_MIN {
                    own.valid_until = now + VALID_MIN;
                }
                own.preferred_until = preferred_until.min(own.preferred_max);
                own.valid_until = own.valid_until.min(own.valid_max);
                let before = own.state;
                if own.state.is_usable() && !own.state.is_sought() {
                    own.state = own.lived(now);
                }
                self.changed |= own.state != before;
            }
            return;
        }
        if said.valid_lifetime == 0 {
            return;
        }
        let made = self.own.iter().filter(|own| own.origin == Origin::Advertised).count();
        if made >= ADVERTISED_MAX {
            return self.refuse();
        }
        let address = self.identity.address(said.prefix, &self.name, 0);
        let valid_until = after(now, said.valid_lifetime);
        let own = Own::new(address, said.len, Origin::Advertised);
        self.insert(Own { valid_until, preferred_until, ..own });
    }

    fn refuse(&mut self) {
        self.counts.refused = self.counts.refused.saturating_add(1);
    }
}

/// When a lifetime ends that begins now; all ones never do (RFC 4861 4.6.2).
fn after(now: Instant, lifetime: u32) -> Instant {
    if lifetime == u32::MAX {
        return Instant::FAR_FUTURE;
    }
    now + Duration::from_secs(lifetime.into())
}

/// The bits of a prefix; `None`: no address has so many.
fn mask(len: u8) -> Option<u128> {
    let host = 128_u32.checked_sub(len.into())?;
    Some(u128::MAX.checked_shl(host).unwrap_or(0))
}
