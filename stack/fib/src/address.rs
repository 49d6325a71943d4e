//! What the two address families have in common for routing.

use core::fmt::{Debug, Display};
use core::hash::Hash;
use core::net::{Ipv4Addr, Ipv6Addr};

/// An address of either family as a number. Implemented by [`Ipv4Addr`] and [`Ipv6Addr`] only.
pub trait Address: Copy + Ord + Hash + Debug + Display + sealed::Sealed + 'static {
    /// Its bits, the first of which is the highest.
    type Bits: Copy + Ord + Debug;
    /// How many they are.
    const LEN: u8;
    /// The address of all zeros.
    const UNSPECIFIED: Self;

    /// The address as a number.
    fn bits(self) -> Self::Bits;
    /// The bits of `bits` that `mask` has.
    fn and(bits: Self::Bits, mask: Self::Bits) -> Self::Bits;
    /// `prefix_len` ones, then zeros. Lengths over [`LEN`](Self::LEN) count as it.
    fn mask(prefix_len: u8) -> Self::Bits;
    /// The address with the bits beyond `prefix_len` cleared.
    #[must_use]
    fn first(self, prefix_len: u8) -> Self;
    /// The address with the bits beyond `prefix_len` set.
    #[must_use]
    fn last(self, prefix_len: u8) -> Self;
    /// Whether it is on every link by itself, so that a router can have it without a route
    /// (RFC 4861, 6.3.4: routers are known by their link-local addresses).
    fn is_on_every_link(self) -> bool;
}

impl Address for Ipv4Addr {
    type Bits = u32;
    const LEN: u8 = 32;
    const UNSPECIFIED: Self = Self::UNSPECIFIED;

    #[inline]
    fn bits(self) -> u32 {
        self.to_bits()
    }
    #[inline]
    fn and(bits: u32, mask: u32) -> u32 {
        bits & mask
    }
    fn mask(prefix_len: u8) -> u32 {
        !u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0)
    }
    fn first(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() & Self::mask(prefix_len))
    }
    fn last(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() | !Self::mask(prefix_len))
    }
    fn is_on_every_link(self) -> bool {
        false
    }
}

impl Address for Ipv6Addr {
    type Bits = u128;
    const LEN: u8 = 128;
    const UNSPECIFIED: Self = Self::UNSPECIFIED;

    #[inline]
    fn bits(self) -> u128 {
        self.to_bits()
    }
    #[inline]
    fn and(bits: u128, mask: u128) -> u128 {
        bits & mask
    }
    fn mask(prefix_len: u8) -> u128 {
        !u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0)
    }
    fn first(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() & Self::mask(prefix_len))
    }
    fn last(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() | !Self::mask(prefix_len))
    }
    fn is_on_every_link(self) -> bool {
        self.is_unicast_link_local()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for core::net::Ipv4Addr {}
    impl Sealed for core::net::Ipv6Addr {}
}
