//! How long packets to a host may be, as routers have said (RFC 1191, RFC 8201). TCP's connections know
//! that for themselves; this is for everybody else.

use core::net::IpAddr;

use hashbrown::HashMap;
use types::Instant;

use crate::limits::{PATH_MTU_AGE, PATH_MTU_MIN, PATH_MTU_MIN6, PATH_MTUS_EVICTED, PATH_MTUS_MAX};

/// What routers have said.
#[derive(Debug, Default)]
pub(crate) struct PathMtus {
    known: HashMap<IpAddr, (u16, Instant)>,
}

impl PathMtus {
    /// The longest packet to a host, if something is known of the way.
    #[inline]
    #[must_use]
    pub(crate) fn of(&self, host: IpAddr, now: Instant) -> Option<u16> {
        if self.known.is_empty() {
            return None;
        }
        self.known.get(&host).filter(|(_, until)| now < *until).map(|(mtu, _)| *mtu)
    }

    /// A router has said that packets to a host may be no longer. It can't say less than what every link
    /// takes, and only time makes it more.
    pub(crate) fn lower(&mut self, host: IpAddr, mtu: u16, now: Instant) {
        let least = if host.is_ipv6() { PATH_MTU_MIN6 } else { PATH_MTU_MIN };
        let mtu = mtu.max(least);
        if self.known.len() >= PATH_MTUS_MAX && !self.known.contains_key(&host) {
            self.known.retain(|_, (_, until)| now < *until);
            // Somebody says much of many hosts. Which ones make room nobody outside knows, so that he can
            // neither choose whose go nor keep more than his share.
            let mut left = if self.known.len() < PATH_MTUS_MAX { 0 } else { PATH_MTUS_EVICTED };
            self.known.retain(|_, _| {
                let stays = left == 0;
                left = left.saturating_sub(1);
                stays
            });
        }
        let mtu = self.of(host, now).map_or(mtu, |known| known.min(mtu));
        let _before = self.known.insert(host, (mtu, now + PATH_MTU_AGE));
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    #[test]
    fn a_path_gets_wider_only_with_time() {
        let host = Ipv4Addr::new(10, 0, 0, 1).into();
        let mut known = PathMtus::default();
        assert_eq!(known.of(host, NOW), None);
        known.lower(host, 1400, NOW);
        known.lower(host, 1450, NOW);
        assert_eq!(known.of(host, NOW), Some(1400));
        assert_eq!(known.of(host, NOW + PATH_MTU_AGE), None);
    }

    #[test]
    fn nobody_is_believed_who_says_that_next_to_nothing_fits() {
        let mut known = PathMtus::default();
        for (host, least) in
            [(Ipv4Addr::LOCALHOST.into(), 552), (IpAddr::from(Ipv6Addr::LOCALHOST), 1280)]
        {
            known.lower(host, 68, NOW);
            assert_eq!(known.of(host, NOW), Some(least));
        }
    }

    #[test]
    fn the_table_has_a_limit() {
        let mut known = PathMtus::default();
        for n in 0..100_000 {
            known.lower(Ipv4Addr::from_bits(n).into(), 1400, NOW);
            assert!(known.known.len() <= PATH_MTUS_MAX);
            assert!(n < 10_000 || known.known.len() >= PATH_MTUS_MAX - PATH_MTUS_EVICTED);
        }
    }
}
