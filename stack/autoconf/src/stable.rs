//! Interface identifiers that stay the same on a link and tell nothing about the host on another
//! (RFC 7217).

use core::hash::Hasher;
use core::net::Ipv6Addr;

use siphasher::sip::SipHasher24;
use types::MacAddr;

/// What makes a host's identifiers its own.
#[derive(Clone, Copy)]
pub struct Identity {
    /// Secret of the host. Who has it can tell the host's addresses on all links.
    pub secret: [u8; 16],
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// The address with a prefix of 64 bits on an interface; `tries` counts those that were taken.
    #[must_use]
    pub fn address(&self, prefix: Ipv6Addr, interface: &str, tries: u8) -> Ipv6Addr {
        let prefix = prefix.to_bits() & PREFIX;
        // F() of RFC 7217 5: a keyed hash of 64 bits, as long as an identifier.
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(&prefix.to_be_bytes());
        hasher.write(interface.as_bytes());
        hasher.write(&[0xff, tries]);
        with_identifier(Ipv6Addr::from_bits(prefix), hasher.finish())
    }
}

/// The address with another one's prefix of 64 bits and this identifier, or with one like it if it is reserved.
pub(crate) fn with_identifier(prefix: Ipv6Addr, mut identifier: u64) -> Ipv6Addr {
    if is_reserved(identifier) {
        identifier ^= RESERVED_FLIP;
    }
    Ipv6Addr::from_bits(prefix.to_bits() & PREFIX | u128::from(identifier))
}

const PREFIX: u128 = !(u64::MAX as u128);

/// Changes a reserved identifier into one that is not.
const RESERVED_FLIP: u64 = 1 << 32;

/// Identifiers that are not for stations (RFC 5453): the routers' anycast address, IANA's, and
/// subnet anycast.
const fn is_reserved(identifier: u64) -> bool {
    identifier == 0
        || identifier >= 0x0200_5eff_fe00_0000 && identifier <= 0x0200_5eff_feff_ffff
        || identifier >= 0xfdff_ffff_ffff_ff80 && identifier <= 0xfdff_ffff_ffff_ffff
}

/// A station's address on its link: fe80::/64 and the modified EUI-64 (RFC 4291 appendix A).
#[must_use]
pub const fn link_local(MacAddr([a, b, c, d, e, f]): MacAddr) -> Ipv6Addr {
    let pairs = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]];
    let [first, second, third, fourth] = pairs;
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        u16::from_be_bytes(first),
        u16::from_be_bytes(second),
        u16::from_be_bytes(third),
        u16::from_be_bytes(fourth),
    )
}
