//! What the two address families have in common for routing.

use core::fmt::{Debug, Display};
use core::hash::Hash;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::net::Net;

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
    /// The first `count` bits, at most 16, as a number.
    fn top(bits: Self::Bits, count: u8) -> usize;
    /// The eight bits behind the first `skip`, fewer than all, as a number.
    fn eight(bits: Self::Bits, skip: u8) -> u32;
    /// The prefix whose first `count` bits, at most 16, are this number.
    fn piece(number: usize, count: u8) -> Option<Net<Self>>;
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

/// `prefix_len` ones, then zeros; lengths over the number's count as it.
macro_rules! mask {
    ($number:ty, $prefix_len:expr) => {
        !<$number>::MAX.checked_shr($prefix_len.into()).unwrap_or(0)
    };
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
    fn top(bits: u32, count: u8) -> usize {
        (bits >> 32_u32.wrapping_sub(count.into())) as usize
    }
    #[inline]
    fn eight(bits: u32, skip: u8) -> u32 {
        bits.wrapping_shl(skip.into()) >> 24
    }
    fn piece(number: usize, count: u8) -> Option<Net<Self>> {
        let bits = u32::try_from(number).ok()? << 32_u32.checked_sub(count.into())?;
        Net::new(Self::from_bits(bits), count).ok()
    }
    fn first(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() & mask!(u32, prefix_len))
    }
    fn last(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() | !mask!(u32, prefix_len))
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
    fn top(bits: u128, count: u8) -> usize {
        (bits >> 128_u32.wrapping_sub(count.into())) as usize
    }
    #[inline]
    fn eight(bits: u128, skip: u8) -> u32 {
        (bits.wrapping_shl(skip.into()) >> 120) as u32
    }
    fn piece(number: usize, count: u8) -> Option<Net<Self>> {
        let bits = u128::try_from(number).ok()? << 128_u32.checked_sub(count.into())?;
        Net::new(Self::from_bits(bits), count).ok()
    }
    fn first(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() & mask!(u128, prefix_len))
    }
    fn last(self, prefix_len: u8) -> Self {
        Self::from_bits(self.to_bits() | !mask!(u128, prefix_len))
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
