//! Which local port a connection gets that asks for none (RFC 6056).
//!
//! Double-hash port selection (§3.3.4) with one change: what the second hash counts is not added to
//! the first but run through a permutation of all ports whose key is the first. So each destination
//! sees ports in an order of its own that nobody else can guess, and none twice before all were
//! used.
//!
//! ```text
//!   destination ──SipHash──┬─▶ which counter ──▶ n, n + 1, … ──┐
//!                          └─▶ key ─────────────▶ permutation ◀┘──▶ port
//! ```

use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

/// First port for connections that don't ask for one (RFC 6056 3.2 wants the range to be large).
pub(crate) const FIRST: u16 = 32_768;
/// Last one; the kernel's default too.
pub(crate) const LAST: u16 = 60_999;

const COUNT: u32 = LAST as u32 - FIRST as u32 + 1;

/// Counters: destinations that share one only skip ports. 16 KiB.
const COUNTERS: usize = 4_096;

/// Rounds of the permutation; four are enough to look random (Luby and Rackoff).
const ROUNDS: u8 = 4;

/// Where each destination stands.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    secret: [u8; 16],
    counters: Vec<u32>,
}

impl Ephemeral {
    /// With a random secret.
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        Self { secret, counters: vec![0; COUNTERS] }
    }

    /// The next port from `local` to `remote` for which `fits` holds; each port is tried once.
    pub(crate) fn next(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        fits: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let key = self.key(local, remote);
        let index = usize::try_from(key >> 32).unwrap_or(0) % COUNTERS;
        for _ in 0..COUNT {
            let counter = self.counters.get_mut(index)?;
            let place = *counter;
            *counter = (place + 1) % COUNT;
            let port = FIRST + u16::try_from(permuted(key, place)).unwrap_or(0);
            if fits(port) {
                return Some(port);
            }
        }
        None
    }

    fn key(&self, local: IpAddr, remote: SocketAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        local.hash(&mut hasher);
        remote.hash(&mut hasher);
        hasher.finish()
    }
}

/// A permutation of 0 to COUNT: a Feistel network over 16 bits, again until the result is in range.
fn permuted(key: u64, place: u32) -> u32 {
    let mut value = place & 0xffff;
    loop {
        let (mut left, mut right) = (value >> 8, value & 0xff);
        for round in 0..ROUNDS {
            let mut hasher = SipHasher24::new_with_keys(key, u64::from(round));
            hasher.write_u32(right);
            let mixed = u32::try_from(hasher.finish() & 0xff).unwrap_or(0);
            (left, right) = (right, left ^ mixed);
        }
        value = left << 8 | right;
        if value < COUNT {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> SocketAddr {
        SocketAddr::new(core::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 443)
    }

    const LOCAL: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 18, 77, 2));

    #[test]
    fn no_port_comes_twice_to_a_peer_before_all_were_used() {
        let mut ports = Ephemeral::new([7; 16]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..COUNT {
            let port = ports.next(LOCAL, peer(1), |_| true).unwrap();
            assert!((FIRST..=LAST).contains(&port) && seen.insert(port), "{port}");
        }
        assert_eq!(ports.next(LOCAL, peer(1), |_| false), None);
    }

    /// RFC 6056 3.1. To one peer and to 100 000, ports and their steps are spread as by a free
    /// choice. To one peer 28 232 steps come again and again, and a sample of as many draws from as
    /// many cells shows 13.95 bits at best.
    #[test]
    fn ports_of_100_000_connects_have_14_bits_of_entropy() {
        for peers in [1, 100_000] {
            let mut ports = Ephemeral::new([8; 16]);
            let mut counts = vec![0_u32; COUNT as usize];
            let mut steps = counts.clone();
            let mut last = 0;
            for n in 0..100_000 {
                let port = u32::from(ports.next(LOCAL, peer(n % peers), |_| true).unwrap() - FIRST);
                counts[port as usize] += 1;
                steps[((port + COUNT - last) % COUNT) as usize] += 1;
                last = port;
            }
            for (name, counts) in [("ports", counts), ("steps", steps)] {
                let bits: f64 = counts
                    .iter()
                    .filter(|n| **n > 0)
                    .map(|n| f64::from(*n) / 100_000.0)
                    .map(|p| -p * p.log2())
                    .sum();
                let least = if (name, peers) == ("steps", 1) { 13.9 } else { 14.0 };
                assert!(bits >= least, "{name} to {peers} peers: {bits} bits");
            }
        }
    }

    #[test]
    fn peers_and_secrets_have_orders_of_their_own() {
        let first = |secret, n| {
            let mut ports = Ephemeral::new(secret);
            (0..8).map(|_| ports.next(LOCAL, peer(n), |_| true).unwrap()).collect::<Vec<_>>()
        };
        assert_ne!(first([1; 16], 1), first([1; 16], 2));
        assert_ne!(first([1; 16], 1), first([2; 16], 1));
    }
}
