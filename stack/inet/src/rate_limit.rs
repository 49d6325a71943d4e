//! Token buckets for replies that nobody should be able to demand without limit.

use core::hash::Hasher;
use core::net::IpAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;
use types::Instant;

use crate::limits::STRANGER_GROUPS;

/// At most `per_second` permits a second, in bursts of at most as many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    tokens: u32,
    refilled: Instant,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub(crate) const fn new(per_second: u32) -> Self {
        Self { per_second, tokens: per_second, refilled: Instant::ZERO }
    }

    /// From now on so many: what is allowed more is there at once.
    pub(crate) fn set_rate(&mut self, per_second: u32) {
        let more = per_second.saturating_sub(self.per_second);
        self.tokens = self.tokens.saturating_add(more).min(per_second);
        self.per_second = per_second;
    }

    /// Takes a permit if there is one.
    pub(crate) fn permit(&mut self, now: Instant) -> bool {
        let passed = now.since(self.refilled);
        if passed >= Duration::from_secs(1) {
            self.tokens = self.per_second;
            self.refilled = now;
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// Limits of replies to strangers, one per secret group of addresses.
///
/// One limit for all would tell an attacker what others get (CVE-2016-5696, CVE-2020-25705): he sends
/// in a victim's name and counts how many replies are left for himself. Here his own are of another
/// group, and how many a group gets differs from second to second.
#[derive(Debug)]
pub(crate) struct StrangerLimits {
    secret: [u8; 16],
    per_second: u32,
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    second: u64,
    sent: u32,
}

impl StrangerLimits {
    /// Between half of `per_second` and all of it for each group.
    #[must_use]
    pub(crate) fn new(secret: [u8; 16], per_second: u32) -> Self {
        Self { secret, per_second, groups: vec![Group::default(); STRANGER_GROUPS] }
    }

    /// From now on so many, with none at 0.
    pub(crate) fn set_rate(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Takes a permit for a reply to `address` if there is one.
    pub(crate) fn permit(&mut self, address: IpAddr, now: Instant) -> bool {
        let second = now.as_millis() / 1_000;
        // A host may have all addresses of an IPv6 network.
        let who = match address {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).unwrap_or(0),
        };
        let number = usize::try_from(self.hash(0, who)).unwrap_or(0);
        let number = number % STRANGER_GROUPS;
        let half = self.per_second / 2;
        let extra = self.hash(second, number as u64) % u64::from(half + 1);
        let most = self.per_second - half + u32::try_from(extra).unwrap_or(0);
        let Some(group) = self.groups.get_mut(number) else { return false };
        if group.second != second {
            *group = Group { second, sent: 0 };
        }
        let free = group.sent < most;
        group.sent += u32::from(free);
        free
    }

    fn hash(&self, a: u64, b: u64) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        hasher.write_u64(a);
        hasher.write_u64(b);
        hasher.finish() >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn no_more_than_the_limit_in_any_second() {
        let mut limit = RateLimit::new(10);
        let granted = (0..5000).filter(|ms| limit.permit(Instant::from_millis(1000 + ms))).count();
        assert_eq!(granted, 50);
    }

    const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const VICTIM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn granted(limits: &mut StrangerLimits, second: u64) -> u32 {
        let now = Instant::from_millis(second * 1_000);
        (0..1_000).map(|_| u32::from(limits.permit(ATTACKER, now))).sum()
    }

    #[test]
    fn what_others_get_does_not_show_in_ones_own_share() {
        let mut quiet = StrangerLimits::new([3; 16], 32);
        let mut busy = StrangerLimits::new([3; 16], 32);
        for second in 1..1_000 {
            let now = Instant::from_millis(second * 1_000);
            for _ in 0..100 {
                let _ = busy.permit(VICTIM, now);
            }
            assert_eq!(granted(&mut quiet, second), granted(&mut busy, second));
        }
    }

    #[test]
    fn a_share_is_limited_and_differs_from_second_to_second() {
        let mut limits = StrangerLimits::new([3; 16], 32);
        let shares: Vec<u32> = (1..200).map(|second| granted(&mut limits, second)).collect();
        assert!(shares.iter().all(|share| (16..=32).contains(share)));
        let seen: std::collections::HashSet<u32> = shares.into_iter().collect();
        assert!(seen.len() > 12, "{seen:?}");
    }
}
