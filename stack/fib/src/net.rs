//! A prefix that is known to be well-formed.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::address::Address;

/// A set of addresses that share their first `prefix_len` bits (RFC 4632, 3.1; RFC 4291, 2.3).
///
/// Holding one proves that the length is at most that of an address and that no bit is set beyond
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Net<A> {
    addr: A,
    prefix_len: u8,
}

/// A set of IPv4 addresses.
pub type Ipv4Net = Net<Ipv4Addr>;
/// A set of IPv6 addresses.
pub type Ipv6Net = Net<Ipv6Addr>;

/// Not a prefix: longer than an address, or bits are set beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{addr}/{prefix_len} is not a prefix: the length is at most {} and no bit beyond it is set",
    A::LEN
)]
pub struct BadPrefix<A: Address = Ipv4Addr> {
    /// The address given.
    pub addr: A,
    /// The length given.
    pub prefix_len: u8,
}

impl<A: Address> Net<A> {
    /// All addresses, the destination of a default route (RFC 1812, 5.2.4.3).
    pub const DEFAULT: Self = Self { addr: A::UNSPECIFIED, prefix_len: 0 };

    /// The prefix `addr/prefix_len`.
    ///
    /// # Errors
    /// [`BadPrefix`] if the length is over an address's or a bit beyond it is set: an operator's
    /// typing error that must not be repaired silently.
    pub fn new(addr: A, prefix_len: u8) -> Result<Self, BadPrefix<A>> {
        if prefix_len > A::LEN || addr.first(prefix_len) != addr {
            return Err(BadPrefix { addr, prefix_len });
        }
        Ok(Self { addr, prefix_len })
    }

    /// The prefix of length `prefix_len` that `addr` is in: the network of an interface's address.
    ///
    /// # Errors
    /// [`BadPrefix`] if the length is over an address's.
    pub fn containing(addr: A, prefix_len: u8) -> Result<Self, BadPrefix<A>> {
        if prefix_len > A::LEN {
            return Err(BadPrefix { addr, prefix_len });
        }
        Ok(Self { addr: addr.first(prefix_len), prefix_len })
    }

    /// `addr` alone: /32 or /128.
    #[must_use]
    pub const fn host(addr: A) -> Self {
        Self { addr, prefix_len: A::LEN }
    }

    /// The lowest address.
    #[must_use]
    pub const fn addr(self) -> A {
        self.addr
    }

    /// How many leading bits the addresses share.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }

    /// The highest address; in IPv4 prefixes of up to 30 bits the directed broadcast (RFC 919,
    /// RFC 3021).
    #[must_use]
    pub fn last(self) -> A {
        self.addr.last(self.prefix_len)
    }

    /// Whether `addr` is in this prefix.
    #[must_use]
    pub fn contains(self, addr: A) -> bool {
        addr.first(self.prefix_len) == self.addr
    }
}

impl Ipv4Net {
    /// The bits that the addresses share, as a netmask.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(!u32::MAX.checked_shr(self.prefix_len.into()).unwrap_or(0))
    }
}

impl<A: Address> fmt::Display for Net<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}
