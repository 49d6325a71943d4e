//! A router's advertisement as it is sent (RFC 4861, 4.2, 4.6).

use core::net::Ipv6Addr;

use types::MacAddr;
use zerocopy::network_endian::U32;
use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::LinkLayerOption;
use crate::icmp6::{self, Code, Type};

/// Option types (RFC 4861, 4.6).
const SOURCE_LINK_LAYER: u8 = 1;
const PREFIX: u8 = 3;
const MTU: u8 = 5;

/// The prefix is on the link; hosts may make addresses of it (RFC 4861, 4.6.2).
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

/// Hosts make addresses of prefixes of this length alone (RFC 4862, 5.5.3 (d), RFC 2464, 4).
const AUTONOMOUS_LEN: u8 = 64;

/// What a router says of itself and of the link; prefixes follow, each a [`RouterPrefix`].
#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct RouterMessage {
    header: icmp6::Header,
    reachable_time: U32,
    retrans_timer: U32,
    station: LinkLayerOption,
    mtu_kind: u8,
    mtu_units: u8,
    mtu_reserved: [u8; 2],
    mtu: U32,
}

/// A prefix that a router advertises (RFC 4861, 4.6.2).
#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RouterPrefix {
    kind: u8,
    units: u8,
    len: u8,
    flags: u8,
    valid: U32,
    preferred: U32,
    reserved: U32,
    prefix: [u8; 16],
}

const _: () = assert!(size_of::<RouterMessage>() == 32 && size_of::<RouterPrefix>() == 32);

impl RouterMessage {
    /// Of a router for so many seconds (0: it is none), with this station, on a link of this MTU, whose hosts
    /// are to send with this hop limit. Timers are the hosts' own. Without a checksum.
    #[must_use]
    pub fn new(lifetime: u16, mac: MacAddr, mtu: u16, hop_limit: u8) -> Self {
        let rest = u32::from(hop_limit) << 24 | u32::from(lifetime);
        Self {
            header: icmp6::Header::new(Type::ROUTER_ADVERTISEMENT, Code::ZERO, rest),
            reachable_time: U32::ZERO,
            retrans_timer: U32::ZERO,
            station: LinkLayerOption::new(SOURCE_LINK_LAYER, mac),
            mtu_kind: MTU,
            mtu_units: 1,
            mtu_reserved: [0; 2],
            mtu: U32::new(mtu.into()),
        }
    }
}

impl RouterPrefix {
    /// On the link for so many seconds, and preferred for so many. Bits beyond its length are 0.
    #[must_use]
    pub fn new(prefix: Ipv6Addr, len: u8, valid: u32, preferred: u32) -> Self {
        let autonomous = if len == AUTONOMOUS_LEN { AUTONOMOUS } else { 0 };
        Self {
            kind: PREFIX,
            units: 4,
            len,
            flags: ON_LINK | autonomous,
            valid: U32::new(valid),
            preferred: U32::new(preferred),
            reserved: U32::ZERO,
            prefix: prefix.octets(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndp::{Ndp, NdpOption};
    use crate::{ipv4, ipv6};

    #[test]
    fn an_advertisement_is_read_as_it_was_meant() {
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0, 5, 0, 0, 0, 0);
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let said = RouterMessage::new(1800, mac, 1400, 64);
        let prefixed = RouterPrefix::new(prefix, 64, 7200, 3600);
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(said.as_bytes());
        bytes[32..].copy_from_slice(prefixed.as_bytes());
        let header =
            ipv6::Header::new(router, router, ipv4::Protocol::ICMPV6, bytes.len()).unwrap();
        let message = icmp6::Message::parse(&bytes).unwrap();
        let Ok(Ndp::RouterAdvertisement(what, options)) =
            Ndp::parse(&header.with_hop_limit(255), &message)
        else {
            panic!("{bytes:?}");
        };
        assert_eq!((what.hop_limit, what.lifetime), (64, 1800));
        assert!(!what.managed && !what.other);
        assert_eq!(options.source_link_layer(), Some(mac));
        assert!(options.into_iter().any(|option| matches!(option, NdpOption::Mtu(1400))));
        let is_it = |option: NdpOption<'_>| match option {
            NdpOption::Prefix(told) => {
                (told.prefix, told.len, told.valid_lifetime, told.preferred_lifetime)
                    == (prefix, 64, 7200, 3600)
            }
            _ => false,
        };
        assert!(options.into_iter().any(is_it));
    }
}
