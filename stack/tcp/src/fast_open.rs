//! TCP Fast Open (RFC 7413): cookies.
//!
//! A server that gives a client a cookie takes text on that client's later SYNs: the cookie proves
//! that the client once received something at its address.

use core::hash::{Hash, Hasher};
use core::net::IpAddr;

use siphasher::sip::SipHasher24;
use types::Instant;

use crate::isn::{Purpose, Secret};
use crate::limits;
use crate::timestamp::low_32;

/// A Fast Open option: a cookie, or empty to ask for one (RFC 7413 §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpenCookie {
    len: u8,
    bytes: [u8; limits::FAST_OPEN_COOKIE_MAX],
}

impl FastOpenCookie {
    /// "Give me a cookie."
    pub const REQUEST: Self = Self { len: 0, bytes: [0; limits::FAST_OPEN_COOKIE_MAX] };

    /// The cookie of an option: 4 to 16 bytes, an even number of them, or none at all.
    #[must_use]
    pub fn parse(option: &[u8]) -> Option<Self> {
        let legal = option.is_empty() || (option.len() >= 4 && option.len().is_multiple_of(2));
        let mut cookie = Self { len: u8::try_from(option.len()).ok()?, ..Self::REQUEST };
        let place = cookie.bytes.get_mut(..option.len()).filter(|_| legal)?;
        place.copy_from_slice(option);
        Some(cookie)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// Asks for a cookie instead of being one.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }

    /// The cookie a server at `server` gives a client now. Ports are not in it: it is the client's
    /// for all its connections (RFC 7413 §4.1.2).
    #[must_use]
    pub fn generate(secret: &Secret, server: IpAddr, client: IpAddr, now: Instant) -> Self {
        Self::of_period(secret, server, client, period(now))
    }

    /// The cookie is one that [`Self::generate`] gives now or gave in the period before.
    #[must_use]
    pub fn is_valid(&self, secret: &Secret, server: IpAddr, client: IpAddr, now: Instant) -> bool {
        let newest = period(now);
        [newest, newest.wrapping_sub(1)]
            .into_iter()
            .any(|period| *self == Self::of_period(secret, server, client, period))
    }

    fn of_period(secret: &Secret, server: IpAddr, client: IpAddr, period: u32) -> Self {
        let mut hasher = SipHasher24::new_with_key(&secret.0);
        hasher.write_u8(Purpose::FastOpen as u8);
        server.hash(&mut hasher);
        client.hash(&mut hasher);
        hasher.write_u32(period);
        Self::parse(&hasher.finish().to_be_bytes()).unwrap_or(Self::REQUEST)
    }
}

fn period(now: Instant) -> u32 {
    low_32(now.as_nanos().checked_div(limits::FAST_OPEN_PERIOD_NS).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn only_legal_lengths_are_cookies() {
        for len in 0..=20 {
            let legal = len == 0 || (len >= 4 && len % 2 == 0 && len <= 16);
            assert_eq!(FastOpenCookie::parse(&vec![7; len]).is_some(), legal, "{len}");
        }
    }

    #[test]
    fn a_cookie_is_its_clients_and_lasts_one_to_two_periods() {
        let secret = Secret([9; 16]);
        let (server, client) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let then = Instant::from_millis(1_000);
        let cookie = FastOpenCookie::generate(&secret, server, client, then);
        assert_eq!(cookie.as_bytes().len(), 8);
        let period = Duration::from_nanos(limits::FAST_OPEN_PERIOD_NS);
        assert!(cookie.is_valid(&secret, server, client, then + period));
        assert!(!cookie.is_valid(&secret, server, client, then + period * 2));
        assert!(!cookie.is_valid(&secret, server, [10, 0, 0, 3].into(), then));
        assert!(!cookie.is_valid(&Secret([8; 16]), server, client, then));
        assert!(!FastOpenCookie::REQUEST.is_valid(&secret, server, client, then));
    }
}
