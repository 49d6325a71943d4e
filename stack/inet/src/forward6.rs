//! IPv6 packets for others: what a router does with them (RFC 8200, RFC 4443, RFC 4861 8.2).
//!
//! ```text
//!   ipv6_input ── not for us ──► way_on6(): a hop, or why not ──► hop limit - 1 ──► link6()
//!                                   └──► drop, and an ICMPv6 error where one is due
//! ```
//! Nothing is cut: who sends too much is told what fits.

use core::net::Ipv6Addr;

use dpdk::Mbuf;
use types::{DropReason, Instant};
use wire::icmp6::{self, Code, Type};
use wire::{ipv4, ipv6, ndp};
use zerocopy::{FromBytes, IntoBytes};

use crate::address6::{OnLink, is_of_a_link};
use crate::forward::{Transit, is_to_group};
use crate::input::drop_front;
use crate::network::{LOOPBACK, ReversePath};
use crate::output::Hop;
use crate::packet_out::PacketOut;
use crate::route::NoWay;
use crate::spread;
use crate::worker::Worker;

/// Why a packet is not passed on, and what its sender is told.
struct Refusal {
    reason: DropReason,
    say: Option<icmp6::Header>,
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, say: None }
    }
}

impl Refusal {
    const fn told(reason: DropReason, kind: Type, code: Code, rest: u32) -> Self {
        Self { reason, say: Some(icmp6::Header::new(kind, code, rest)) }
    }

    #[cold]
    fn without_way(why: NoWay) -> Self {
        let (reason, code) = match why {
            NoWay::Unknown => (DropReason::Ipv6NoRoute, Code::NO_ROUTE),
            NoWay::Refused(fib::Refusal::Reject) => (DropReason::Ipv6Reject, Code::REJECT_ROUTE),
            NoWay::Refused(fib::Refusal::Blackhole) => return DropReason::Ipv6Blackhole.into(),
        };
        Self::told(reason, Type::DESTINATION_UNREACHABLE, code, 0)
    }
}

impl Worker {
    /// Passes a packet on. Its header is sound and its source is not one of ours.
    pub(crate) fn ipv6_forward(
        &mut self,
        mut mbuf: Mbuf,
        transit: &Transit<ipv6::Header>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let hop = match self.way_on6(&mbuf, transit) {
            Ok(hop) => hop,
            Err(Refusal { reason, say }) => {
                if let Some(header) = say {
                    self.transit_error6(&mbuf, transit, header, now);
                }
                return Err(reason);
            }
        };
        if hop.interface == transit.interface {
            self.redirect6(&mbuf, transit, &hop, now);
        }
        let padding =
            (mbuf.packet_len() as usize).saturating_sub(transit.ip_offset + transit.len());
        if !u16::try_from(padding).is_ok_and(|padding| mbuf.trim(padding))
            || !drop_front(&mut mbuf, transit.ip_offset)
        {
            return Err(DropReason::Ipv6TooShort);
        }
        let (header, _) =
            ipv6::Header::mut_from_prefix(mbuf.data_mut()).map_err(|_| DropReason::Ipv6TooShort)?;
        header.hop_limit = header.hop_limit.saturating_sub(1);
        self.counters.ipv6.packets_forwarded.increment();
        self.out.link6(mbuf, &hop, now, &mut self.timers);
        Ok(())
    }

    /// Where the packet goes, or why it does not.
    fn way_on6(
        &self,
        mbuf: &Mbuf,
        transit: &Transit<ipv6::Header>,
    ) -> Result<Hop<Ipv6Addr>, Refusal> {
        let header = &transit.header;
        let (source, destination) = (header.src(), header.dst());
        if is_to_group(mbuf, transit.ip_offset) {
            return Err(DropReason::Ipv6LinkGroup.into());
        }
        if source.is_unspecified() || destination.is_unspecified() {
            return Err(DropReason::Ipv6Source.into());
        }
        // RFC 4291 2.5.6; who could have another source is told so (RFC 4443 3.1).
        if is_of_a_link(destination) {
            return Err(DropReason::Ipv6Scope.into());
        }
        if source.is_unicast_link_local() {
            let (kind, code) = (Type::DESTINATION_UNREACHABLE, Code::BEYOND_SCOPE);
            return Err(Refusal::told(DropReason::Ipv6Scope, kind, code, 0));
        }
        if !self.is_on_way_back6(source, transit.interface) {
            return Err(DropReason::Ipv6ReversePath.into());
        }
        if header.hop_limit <= 1 {
            let (kind, code) = (Type::TIME_EXCEEDED, Code::HOP_LIMIT_EXCEEDED);
            return Err(Refusal::told(DropReason::Ipv6HopLimit, kind, code, 0));
        }
        let flow = || {
            let start = transit.ip_offset + ipv6::Header::LEN;
            spread::of_ipv6(header, mbuf.data().get(start..).unwrap_or_default())
        };
        let table = self.out.network.table_of(transit.interface);
        let hop =
            self.out.route6_in(table, destination, None, flow).map_err(Refusal::without_way)?;
        if transit.len() > usize::from(hop.mtu) {
            let (kind, mtu) = (Type::PACKET_TOO_BIG, hop.mtu.into());
            return Err(Refusal::told(DropReason::Ipv6TooBig, kind, Code::ZERO, mtu));
        }
        Ok(hop)
    }

    /// Whether a packet from this source may come over this interface (RFC 3704).
    fn is_on_way_back6(&self, source: Ipv6Addr, interface: u16) -> bool {
        let network = &self.out.network;
        let back = || network.table(network.table_of(interface))?.1.way(source);
        match network.host.reverse_path {
            ReversePath::Unchecked => true,
            ReversePath::Strict => back().is_some_and(|way| way.leaves_by(interface)),
            ReversePath::Loose => back().is_some_and(|way| way.first().is_some()),
        }
    }

    /// Says why a packet was not passed on, unless RFC 4443 2.4 (e) forbids it.
    fn transit_error6(
        &mut self,
        about: &Mbuf,
        transit: &Transit<ipv6::Header>,
        header: icmp6::Header,
        now: Instant,
    ) {
        let to = transit.header.src();
        let end = transit.ip_offset + transit.len();
        let Some(packet) = about.data().get(transit.ip_offset..end) else { return };
        if is_answered_by_silence(packet) {
            return;
        }
        if !self.icmp_errors.permit(to.into(), now) {
            return self.out.count_drop(DropReason::IcmpRateLimit);
        }
        let Some(from) = self.out.network.source_for6(to, transit.interface) else { return };
        let quote = icmp6::quote(packet);
        let header = header.with_checksum(from, to, quote);
        let Some(mut mbuf) = self.out.alloc() else { return };
        if !mbuf.extend_from_slice(header.as_bytes()) || !mbuf.extend_from_slice(quote) {
            return self.out.count_drop(DropReason::MbufExhausted);
        }
        self.counters.icmp6.errors_sent.increment();
        let out = PacketOut::new(from, to, ipv4::Protocol::ICMPV6);
        self.send_icmp6(mbuf, &out, transit.interface, now);
    }

    /// A packet of somebody else's that nobody answers for.
    pub(crate) fn address_unreachable_for_others(&mut self, packet: &Mbuf, now: Instant) {
        let Ok(parsed) = ipv6::Packet::parse(packet.data()) else { return };
        let header = *parsed.header;
        let back = self.out.network.fib6.lookup(header.src());
        let interface = back.map_or(LOOPBACK, |hop| hop.interface);
        let transit = Transit { header, ip_offset: 0, interface };
        let (kind, code) = (Type::DESTINATION_UNREACHABLE, Code::ADDRESS_UNREACHABLE);
        self.transit_error6(packet, &transit, icmp6::Header::new(kind, code, 0), now);
    }

    /// There is a shorter way: both the sender and the next hop are on the link that the packet came
    /// from (RFC 4861 8.2). The packet goes on all the same. A router is known to hosts by its address
    /// of the link; if only another is known of it, nothing is said.
    #[cold]
    fn redirect6(
        &mut self,
        mbuf: &Mbuf,
        transit: &Transit<ipv6::Header>,
        hop: &Hop<Ipv6Addr>,
        now: Instant,
    ) {
        let network = &self.out.network;
        let (source, destination) = (transit.header.src(), transit.header.dst());
        let is_near = |address| {
            let back = network.fib6.lookup(address);
            back.is_some_and(|hop| hop.interface == transit.interface && hop.gateway.is_none())
        };
        let is_known = hop.next == destination || hop.next.is_unicast_link_local();
        if !network.host.redirects || !is_known || !is_near(source) {
            return;
        }
        let config = network.interface(transit.interface);
        let ours = config.and_then(|config| {
            let mut all = config.addresses6.iter().map(|ours| ours.address);
            all.find(Ipv6Addr::is_unicast_link_local)
        });
        let Some(from) = ours.filter(|_| self.icmp_errors.permit(source.into(), now)) else {
            return;
        };
        let end = transit.ip_offset + transit.len();
        let packet = mbuf.data().get(transit.ip_offset..end).unwrap_or_default();
        let next = OnLink { address: hop.next, interface: hop.interface };
        let station = self.out.neighbors6.station(next);
        let redirect = ndp::Redirect { target: hop.next, destination };
        let mut room = [0; ndp::Redirect::BODY_MAX];
        let len = redirect.emit_body(station, packet, &mut room);
        let body = room.get(..len).unwrap_or_default();
        let header = icmp6::Header::new(Type::REDIRECT, Code::ZERO, 0);
        let header = header.with_checksum(from, source, body);
        let Some(mut out) = self.out.alloc() else { return };
        if !out.extend_from_slice(header.as_bytes()) || !out.extend_from_slice(body) {
            return self.out.count_drop(DropReason::MbufExhausted);
        }
        self.counters.icmp6.errors_sent.increment();
        let packet = PacketOut::new(from, source, ipv4::Protocol::ICMPV6);
        let packet = PacketOut { ttl: ndp::HOP_LIMIT, ..packet };
        self.send_icmp6(out, &packet, transit.interface, now);
    }
}

impl Transit<ipv6::Header> {
    /// Bytes of the packet.
    fn len(&self) -> usize {
        ipv6::Header::LEN + usize::from(self.header.payload_len.get())
    }
}

/// About errors and redirects nothing is said (RFC 4443 2.4 (e.1), (e.2)), nor about what can't be told
/// from one.
fn is_answered_by_silence(packet: &[u8]) -> bool {
    let chain = ipv6::Packet::parse(packet).map(|packet| packet.chain());
    let Ok(Ok(chain)) = chain else { return true };
    let is_first = chain.fragment.is_none_or(|fragment| fragment.header.offset() == 0);
    let kind = chain.payload.first().copied().map(Type);
    is_first
        && chain.protocol == ipv4::Protocol::ICMPV6
        && kind.is_none_or(|kind| kind.is_error() || kind == Type::REDIRECT)
}
