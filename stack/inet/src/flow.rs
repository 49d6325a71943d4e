//! The four numbers that name a connection, in 12 bytes, and their keyed hash.

use core::net::Ipv4Addr;

use crate::pairs::Pair;

/// Both ends of an IPv4 flow, or the ports of an IPv6 flow and the number of its
/// [`Pair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// Address of this host.
    pub local_addr: Ipv4Addr,
    /// Address of the peer.
    pub remote_addr: Ipv4Addr,
    /// Port of this host.
    pub local_port: u16,
    /// Port of the peer.
    pub remote_port: u16,
}

const _: () = assert!(size_of::<Flow>() == 12);

impl Flow {
    /// No connection's.
    pub(crate) const NONE: Self = Self {
        local_addr: Ipv4Addr::UNSPECIFIED,
        remote_addr: Ipv4Addr::UNSPECIFIED,
        local_port: 0,
        remote_port: 0,
    };

    /// What a frame is about, at a glance, if it looks like TCP over IPv4. Nothing is checked: a
    /// guess that is wrong costs a prefetch.
    #[inline]
    #[must_use]
    pub(crate) fn glance(frame: &[u8]) -> Option<Self> {
        let (head, rest) = frame.split_at_checked(26)?;
        let &[.., 0x08, 0x00, _, _, _, _, _, _, _, _, _, 6, _, _] = head else { return None };
        let &[a, b, c, d, e, f, g, h, i, j, k, l] = rest.first_chunk::<12>()?;
        Some(Self {
            local_addr: Ipv4Addr::new(e, f, g, h),
            remote_addr: Ipv4Addr::new(a, b, c, d),
            local_port: u16::from_be_bytes([k, l]),
            remote_port: u16::from_be_bytes([i, j]),
        })
    }

    /// The flow of a plain segment that came in.
    #[inline]
    #[must_use]
    pub(crate) const fn of_plain(plain: &wire::Plain<'_>) -> Self {
        Self {
            local_addr: plain.dst(),
            remote_addr: plain.src(),
            local_port: plain.dst_port(),
            remote_port: plain.src_port(),
        }
    }

    /// The number of the pair of hosts, if the flow is IPv6's.
    #[inline]
    #[must_use]
    pub(crate) fn pair(&self) -> Option<u32> {
        self.local_addr.is_unspecified().then(|| self.remote_addr.to_bits())
    }
}

/// The secret of the flow hash: peers choose addresses and ports, so a hash they could compute would
/// let them put all their flows into one place of the table.
#[derive(Clone, Copy)]
pub(crate) struct FlowHasher {
    k0: u64,
    k1: u64,
}

/// Never shows the key.
impl core::fmt::Debug for FlowHasher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FlowHasher(..)")
    }
}

impl FlowHasher {
    /// From a secret.
    #[must_use]
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = secret;
        Self::keyed(u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest))
    }

    /// From the two halves of a secret.
    #[must_use]
    pub(crate) const fn keyed(k0: u64, k1: u64) -> Self {
        Self { k0, k1 }
    }

    /// SipHash-1-3 of a flow: two words in, three rounds at the end.
    #[inline]
    #[must_use]
    pub(crate) fn hash(&self, flow: &Flow) -> u64 {
        let addresses =
            u64::from(flow.local_addr.to_bits()) << 32 | u64::from(flow.remote_addr.to_bits());
        let ports = u64::from(flow.local_port) << 16 | u64::from(flow.remote_port);
        self.sip(&[addresses, ports | 12 << 56])
    }

    /// The same of a pair of hosts.
    #[must_use]
    pub(crate) fn hash_pair(&self, pair: &Pair) -> u64 {
        let halves = |address: core::net::Ipv6Addr| {
            let [a, b, c, d, e, f, g, h, rest @ ..] = address.octets();
            [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)]
        };
        let ([a, b], [c, d]) = (halves(pair.local), halves(pair.remote));
        self.sip(&[a, b, c, d, u64::from(pair.zone) | 34 << 56])
    }

    #[inline]
    fn sip(&self, words: &[u64]) -> u64 {
        let mut sip = Sip {
            v0: self.k0 ^ 0x736f_6d65_7073_6575,
            v1: self.k1 ^ 0x646f_7261_6e64_6f6d,
            v2: self.k0 ^ 0x6c79_6765_6e65_7261,
            v3: self.k1 ^ 0x7465_6462_7974_6573,
        };
        // The last word carries the length of what is hashed.
        for word in words {
            sip.v3 ^= word;
            sip.round();
            sip.v0 ^= word;
        }
        sip.v2 ^= 0xff;
        sip.round();
        sip.round();
        sip.round();
        sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3
    }
}

struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    proptest! {
        #[test]
        fn the_hash_is_siphash_1_3(secret: [u8; 16], local: u32, remote: u32, local_port: u16, remote_port: u16) {
            let flow = Flow { local_addr: local.into(), remote_addr: remote.into(), local_port, remote_port };
            let mut reference = SipHasher13::new_with_key(&secret);
            let mut bytes = [remote.to_le_bytes(), local.to_le_bytes()].concat();
            bytes.extend([remote_port.to_le_bytes(), local_port.to_le_bytes()].concat());
            reference.write(&bytes);
            prop_assert_eq!(FlowHasher::new(secret).hash(&flow), reference.finish());
        }

        #[test]
        fn the_hash_of_a_pair_is_siphash_1_3(secret: [u8; 16], local: u128, remote: u128, zone: u16) {
            let pair = Pair { local: local.into(), remote: remote.into(), zone };
            let mut reference = SipHasher13::new_with_key(&secret);
            reference.write(&[local.to_be_bytes(), remote.to_be_bytes()].concat());
            reference.write(&zone.to_le_bytes());
            prop_assert_eq!(FlowHasher::new(secret).hash_pair(&pair), reference.finish());
        }
    }
}
