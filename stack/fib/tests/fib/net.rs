//! Prefixes.

use core::net::Ipv4Addr;

use fib::{AddRouteError, BadPrefix, Ipv4Net};
use proptest::prelude::*;

use crate::net;

#[test]
fn only_prefixes_are_accepted() {
    let addr = Ipv4Addr::new(192, 0, 2, 1);
    for prefix_len in (0..32).chain(33..=255) {
        let bad = BadPrefix { addr, prefix_len };
        assert_eq!(Ipv4Net::new(addr, prefix_len), Err(bad));
    }
    assert_eq!(Ipv4Net::new(addr, 32), Ok(Ipv4Net::host(addr)));
    assert_eq!(Ipv4Net::new(Ipv4Addr::UNSPECIFIED, 0), Ok(Ipv4Net::DEFAULT));
    assert!(Ipv4Net::containing(addr, 33).is_err());
}

#[test]
fn parts_of_a_prefix() {
    let link = Ipv4Net::containing(Ipv4Addr::new(192, 0, 2, 200), 26).unwrap();
    assert_eq!(link, net("192.0.2.192/26"));
    assert_eq!(link.netmask(), Ipv4Addr::new(255, 255, 255, 192));
    assert_eq!(link.last(), Ipv4Addr::new(192, 0, 2, 255));
    assert_eq!(link.to_string(), "192.0.2.192/26");
    assert_eq!(Ipv4Net::DEFAULT.netmask(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(Ipv4Net::DEFAULT.last(), Ipv4Addr::BROADCAST);
}

#[test]
fn the_error_tells_the_operator_what_is_wrong() {
    let error = Ipv4Net::new(Ipv4Addr::new(10, 0, 0, 1), 8).unwrap_err();
    let text = "10.0.0.1/8 is not a prefix: the length is at most 32 and no bit beyond it is set";
    assert_eq!(AddRouteError::from(error).to_string(), text);
}

proptest! {
    #[test]
    fn a_prefix_contains_exactly_the_addresses_that_share_its_bits(
        addr in any::<Ipv4Addr>(), other in any::<Ipv4Addr>(), prefix_len in 0_u8..=32
    ) {
        let net = Ipv4Net::containing(addr, prefix_len).unwrap();
        prop_assert!(net.contains(addr) && net.contains(net.addr()) && net.contains(net.last()));
        let shared = (addr.to_bits() ^ other.to_bits()).leading_zeros();
        prop_assert_eq!(net.contains(other), shared >= u32::from(prefix_len));
        prop_assert_eq!(net.contains(other), (net.addr()..=net.last()).contains(&other));
        prop_assert_eq!(Ipv4Net::new(net.addr(), prefix_len), Ok(net));
    }
}
