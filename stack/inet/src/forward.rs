//! Packets for others: what a router does with them (RFC 1812 5.2, 5.3).
//!
//! ```text
//!   ipv4_input ── not for us ──► way(): a hop, or why not ──► TTL - 1 ──► fits the next link, or cut ──► link()
//!                                   └──► drop, and an ICMP error where one is due
//! ```

use core::net::Ipv4Addr;

use dpdk::Mbuf;
use types::{DropReason, Instant, MacAddr};
use wire::checksum::update_u16;
use wire::icmp::{self, Code};
use wire::{ethernet, ipv4};
use zerocopy::FromBytes;

use crate::input::drop_front;
use crate::network::{Destination, ReversePath};
use crate::output::Hop;
use crate::route::NoWay;
use crate::spread;
use crate::worker::Worker;

/// A packet that is not for us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transit<H = ipv4::Header> {
    /// Its header without options.
    pub header: H,
    /// Where it begins in the buffer.
    pub ip_offset: usize,
    /// Interface it came in on.
    pub interface: u16,
}

/// Why a packet is not passed on, and what its sender is told.
struct Refusal {
    reason: DropReason,
    say: Option<icmp::Header>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, say: None }
    }
}

impl Refusal {
    const fn told(reason: DropReason, say: icmp::Header) -> Self {
        Self { reason, say: Some(say) }
    }

    #[cold]
    fn without_way(why: NoWay) -> Self {
        let (reason, code) = match why {
            NoWay::Unknown => (DropReason::Ipv4NoRoute, Code::NET_UNREACHABLE),
            NoWay::Refused(fib::Refusal::Reject) => {
                (DropReason::Ipv4Reject, Code::HOST_UNREACHABLE)
            }
            NoWay::Refused(fib::Refusal::Blackhole) => return DropReason::Ipv4Blackhole.into(),
        };
        Self::told(reason, icmp::Header::destination_unreachable(code))
    }
}

impl Worker {
    /// Passes a packet on. Its header is sound and its source is not one of ours.
    pub(crate) fn ipv4_forward(
        &mut self,
        mut mbuf: Mbuf,
        transit: &Transit,
        now: Instant,
    ) -> Result<(), DropReason> {
        let hop = match self.way(&mbuf, transit) {
            Ok(hop) => hop,
            Err(Refusal { reason, say }) => {
                if let Some(header) = say {
                    self.icmp_error(&mbuf, transit.ip_offset, header, None, now);
                }
                return Err(reason);
            }
        };
        if hop.interface == transit.interface {
            self.redirect(&mbuf, transit, &hop, now);
        }
        let len = usize::from(transit.header.total_len.get());
        let padding = (mbuf.packet_len() as usize).saturating_sub(transit.ip_offset + len);
        if !u16::try_from(padding).is_ok_and(|padding| mbuf.trim(padding))
            || !drop_front(&mut mbuf, transit.ip_offset)
        {
            return Err(DropReason::Ipv4TooShort);
        }
        let (header, _) =
            ipv4::Header::mut_from_prefix(mbuf.data_mut()).map_err(|_| DropReason::Ipv4TooShort)?;
        age(header);
        self.counters.ipv4.packets_forwarded.increment();
        if transit.header.total_len.get() > hop.mtu {
            self.out.ipv4_fragments(&mbuf, &hop, now, &mut self.timers);
        } else {
            self.out.link(mbuf, &hop, now, &mut self.timers);
        }
        Ok(())
    }

    /// Where the packet goes, or why it does not.
    #[inline]
    fn way(&self, mbuf: &Mbuf, transit: &Transit) -> Result<Hop, Refusal> {
        let header = &transit.header;
        let (source, destination) = (header.src(), header.dst());
        if is_to_group(mbuf, transit.ip_offset) {
            return Err(DropReason::Ipv4LinkBroadcast.into());
        }
        if is_martian(source) {
            return Err(DropReason::Ipv4Source.into());
        }
        if is_martian(destination) {
            return Err(DropReason::Ipv4Destination.into());
        }
        // RFC 3927 7.
        if source.is_link_local() || destination.is_link_local() {
            return Err(DropReason::Ipv4LinkLocal.into());
        }
        if !self.is_on_way_back(source, transit.interface) {
            return Err(DropReason::Ipv4ReversePath.into());
        }
        if header.ttl <= 1 {
            let say = icmp::Header::time_exceeded(Code::TTL_EXCEEDED);
            return Err(Refusal::told(DropReason::Ipv4TtlExceeded, say));
        }
        let flow = || {
            let start = transit.ip_offset + header.header_len();
            spread::of_ipv4(header, mbuf.data().get(start..).unwrap_or_default())
        };
        let table = self.out.network.table_of(transit.interface);
        let hop = self.out.route_in(table, destination, flow).map_err(Refusal::without_way)?;
        if header.total_len.get() > hop.mtu && header.dont_fragment() {
            let say = icmp::Header::fragmentation_needed(hop.mtu);
            return Err(Refusal::told(DropReason::Ipv4TooBig, say));
        }
        Ok(hop)
    }

    /// Whether a packet from this source may come over this interface (RFC 3704).
    fn is_on_way_back(&self, source: Ipv4Addr, interface: u16) -> bool {
        let network = &self.out.network;
        let back = || network.table(network.table_of(interface))?.0.way(source);
        match network.host.reverse_path {
            ReversePath::Unchecked => true,
            ReversePath::Strict => back().is_some_and(|way| way.leaves_by(interface)),
            ReversePath::Loose => back().is_some_and(|way| way.first().is_some()),
        }
    }

    /// There is a shorter way: both the sender and the next hop are on the link that the packet came
    /// from (RFC 1812 5.2.7.2). The packet goes on all the same.
    #[cold]
    fn redirect(&mut self, mbuf: &Mbuf, transit: &Transit, hop: &Hop, now: Instant) {
        let network = &self.out.network;
        if !network.host.redirects || hop.destination != Destination::Remote {
            return;
        }
        let source = transit.header.src();
        let is_near = |address| {
            let config = network.interface(transit.interface);
            config.is_some_and(|config| config.addresses.iter().any(|a| a.is_near(address)))
        };
        if is_near(source) && is_near(hop.next) {
            let header = icmp::Header::redirect(Code::HOST_REDIRECT, hop.next);
            self.icmp_error(mbuf, transit.ip_offset, header, None, now);
        }
    }
}

/// One hop less to live (RFC 1624: the checksum follows).
#[inline]
pub(crate) fn age(header: &mut ipv4::Header) {
    let before = u16::from_be_bytes([header.ttl, header.protocol]);
    header.ttl = header.ttl.saturating_sub(1);
    let after = u16::from_be_bytes([header.ttl, header.protocol]);
    header.checksum.set(update_u16(header.checksum.get(), before, after));
}

/// Addresses that no packet has on its way (RFC 1812 5.3.7): 0/8, 127/8, and all from 224/3 on. Of
/// these, groups have been told apart before.
#[inline]
pub(crate) fn is_martian(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 0 | 127 | 224..)
}

/// The frame went to more than one station (RFC 1812 5.3.4).
#[inline]
pub(crate) fn is_to_group(mbuf: &Mbuf, ip_offset: usize) -> bool {
    let to = mbuf.data().first_chunk().filter(|_| ip_offset == ethernet::Header::LEN);
    to.is_some_and(|to| MacAddr(*to).is_group())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aged_header_has_the_checksum_of_a_new_one() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 1, 1));
        for ttl in 2..=255 {
            for id in [0, 1, 0x7fff, 0xfffe, 0xffff] {
                let header = ipv4::Header::new(source, destination, ipv4::Protocol::UDP, 8);
                let header = header.unwrap().with_id(id);
                let mut aged = header.with_ttl(ttl).with_checksum();
                age(&mut aged);
                assert_eq!(aged, header.with_ttl(ttl - 1).with_checksum(), "{ttl} {id}");
            }
        }
    }
}
