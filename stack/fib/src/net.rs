//! An IPv4 prefix that is known to be well-formed.

use core::fmt;
use core::net::Ipv4Addr;

/// A set of addresses that share their first `prefix_len` bits (RFC 4632, 3.1).
///
/// Holding one proves that the length is at most 32 and that no bit is set beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Net {
    addr: Ipv4Addr,
    prefix_len: u8,
}

/// Not a prefix: longer than 32 bits, or bits are set beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{addr}/{prefix_len} is not a prefix: the length is at most 32 and no bit beyond it is set"
)]
pub struct BadPrefix {
    /// The address given.
    pub addr: Ipv4Addr,
    /// The length given.
    pub prefix_len: u8,
}

impl Ipv4Net {
    /// 0.0.0.0/0, the destination of a default route (RFC 1812, 5.2.4.3).
    pub const DEFAULT: Self = Self { addr: Ipv4Addr::UNSPECIFIED, prefix_len: 0 };

    /// The prefix `addr/prefix_len`.
    ///
    /// # Errors
    /// [`BadPrefix`] if the length is over 32 or a bit beyond it is set: an operator's typing error
    /// that must not be repaired silently.
    pub const fn new(addr: Ipv4Addr, prefix_len: u8) -> Result<Self, BadPrefix> {
        if prefix_len > 32 || addr.to_bits() & !mask(prefix_len) != 0 {
            return Err(BadPrefix { addr, prefix_len });
        }
        Ok(Self { addr, prefix_len })
    }

    /// The prefix of length `prefix_len` that `addr` is in: the network of an interface's address.
    ///
    /// # Errors
    /// [`BadPrefix`] if the length is over 32.
    pub const fn containing(addr: Ipv4Addr, prefix_len: u8) -> Result<Self, BadPrefix> {
        if prefix_len > 32 {
            return Err(BadPrefix { addr, prefix_len });
        }
        Ok(Self { addr: Ipv4Addr::from_bits(addr.to_bits() & mask(prefix_len)), prefix_len })
    }

    /// `addr/32`.
    #[must_use]
    pub const fn host(addr: Ipv4Addr) -> Self {
        Self { addr, prefix_len: 32 }
    }

    /// The lowest address.
    #[must_use]
    pub const fn addr(self) -> Ipv4Addr {
        self.addr
    }

    /// How many leading bits the addresses share.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The bits that the addresses share, as a netmask.
    #[must_use]
    pub const fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix_len))
    }

    /// The highest address; in prefixes of up to 30 bits the directed broadcast (RFC 919, RFC 3021).
    #[must_use]
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.addr.to_bits() | !mask(self.prefix_len))
    }

    /// Whether `addr` is in this prefix.
    #[must_use]
    pub const fn contains(self, addr: Ipv4Addr) -> bool {
        addr.to_bits() & mask(self.prefix_len) == self.addr.to_bits()
    }
}

impl fmt::Display for Ipv4Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

/// `prefix_len` ones, then zeros. Lengths over 32 count as 32.
pub(crate) const fn mask(prefix_len: u8) -> u32 {
    match u32::MAX.checked_shr(prefix_len as u32) {
        Some(host_bits) => !host_bits,
        None => u32::MAX,
    }
}
