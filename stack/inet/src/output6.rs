//! The same for IPv6: routes, headers, and who the neighbours are (RFC 8200, RFC 4861 7).

use core::net::Ipv6Addr;

use dpdk::Mbuf;
use fib::Fib;
use types::{DropReason, Instant, MacAddr};
use wire::{ethernet, icmp6, ipv4, ipv6, ndp};
use zerocopy::IntoBytes;

use crate::address6::{OnLink, is_of_a_link};
use crate::neighbor::Ask;
use crate::network::{Destination, Interface, LOOPBACK, TxChecksum};
use crate::output::{Hop, Output, ip_version};
use crate::route::NoWay;
use crate::spread;
use crate::timer_wheel::Timers;

impl Interface {
    /// By this interface to a station on its link.
    pub(crate) fn hop6(
        &self,
        next: Ipv6Addr,
        destination: Destination,
        mtu: Option<u16>,
    ) -> Hop<Ipv6Addr> {
        let told = [self.link6.mtu, mtu].into_iter().flatten();
        Hop {
            interface: self.index,
            next,
            destination,
            mtu: told.fold(self.mtu, u16::min),
            checksum: self.tx_checksum,
            loans: self.loans,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        }
    }
}

impl Output {
    /// The way to a destination for packets without ports. Addresses of a link need its interface, unless
    /// only one has IPv6.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn route6(&self, to: Ipv6Addr, zone: Option<u16>) -> Result<Hop<Ipv6Addr>, NoWay> {
        self.route6_flow(to, zone, || spread::to_host6(to))
    }

    /// The way of a flow to a destination.
    ///
    /// # Errors
    /// No route, or the interface is down, or the operator lets nothing pass.
    pub(crate) fn route6_flow(
        &self,
        to: Ipv6Addr,
        zone: Option<u16>,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop<Ipv6Addr>, NoWay> {
        self.route6_over(&self.network.fib6, to, zone, flow)
    }

    /// The same by the routes of any table.
    ///
    /// # Errors
    /// As [`Output::route6_flow`].
    #[inline]
    pub(crate) fn route6_in(
        &self,
        table: u8,
        to: Ipv6Addr,
        zone: Option<u16>,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop<Ipv6Addr>, NoWay> {
        let (_, fib6) = self.network.table(table).ok_or(NoWay::Unknown)?;
        self.route6_over(fib6, to, zone, flow)
    }

    #[inline]
    fn route6_over(
        &self,
        fib6: &Fib<Ipv6Addr>,
        to: Ipv6Addr,
        zone: Option<u16>,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop<Ipv6Addr>, NoWay> {
        let network = &self.network;
        let of_a_link = is_of_a_link(to);
        let link =
            if of_a_link { zone.or_else(|| network.only_link6().map(|i| i.index)) } else { None };
        if self.addresses.classify6(to, link.unwrap_or(LOOPBACK)) == Destination::Local {
            return Ok(Hop {
                interface: LOOPBACK,
                next: to,
                destination: Destination::Local,
                mtu: network.interface(LOOPBACK).map_or(1500, |i| i.mtu),
                checksum: TxChecksum::Stack,
                loans: false,
                tso_buffers_max: 0,
                tso_ipv4_checksum: false,
            });
        }
        let (index, gateway, mtu) = if of_a_link {
            (link.ok_or(NoWay::Unknown)?, None, None)
        } else {
            let way = fib6.way(to).ok_or(NoWay::Unknown)?;
            let hop = way.hop(flow)?;
            (hop.interface, hop.gateway, way.mtu)
        };
        let interface = network.interface(index).filter(|i| i.up && index != LOOPBACK);
        let interface = interface.ok_or(NoWay::Unknown)?;
        let multicast = to.is_multicast();
        let destination = if multicast { Destination::Multicast } else { Destination::Remote };
        Ok(interface.hop6(gateway.unwrap_or(to), destination, mtu))
    }

    /// Hands an IPv6 packet to the link `hop` names.
    pub(crate) fn link6(
        &mut self,
        mbuf: Mbuf,
        hop: &Hop<Ipv6Addr>,
        now: Instant,
        timers: &mut Timers,
    ) {
        let kind = ethernet::EtherType::IPV6;
        match hop.destination {
            Destination::Local => self.loop_back(mbuf),
            Destination::Broadcast | Destination::Multicast => {
                self.ethernet(mbuf, hop.interface, ipv6::multicast_mac(hop.next), kind);
            }
            Destination::Remote => {
                let next = OnLink { address: hop.next, interface: hop.interface };
                let resolution = self.neighbors6.resolve(next, hop.interface, mbuf, now);
                if let Some(whom) = self.act(resolution, hop.interface, kind, now, timers) {
                    self.solicit(next, whom);
                }
            }
        }
    }

    /// Who has this address (RFC 4861 7.2.2, 7.3.3)?
    pub(crate) fn solicit(&mut self, target: OnLink, whom: Ask) {
        let OnLink { address, interface } = target;
        let config = self.network.interface(interface);
        let Some(mac) = config.map(|config| config.mac) else { return };
        // RFC 4429 3.1: from no optimistic address, which this would tell others of. What waits does so until it is ours.
        let Some(source) = config.and_then(|config| config.sure_source_for6(address)) else {
            return;
        };
        let message = ndp::NeighborMessage::solicitation(address, mac);
        let (to, station) = match whom {
            Ask::Station(station) => (address, station),
            Ask::Everyone => {
                let group = ipv6::solicited_node(address);
                (group, ipv6::multicast_mac(group))
            }
        };
        self.neighbor_message(message, (source, to), interface, station);
    }

    /// Tells everybody on the link that an address is ours (RFC 4861 7.2.6).
    pub(crate) fn announce6(&mut self, target: Ipv6Addr, mac: MacAddr, interface: u16) {
        let what = ndp::NeighborAdvertisement {
            target,
            router: self.network.host.forward6,
            solicited: false,
            overriding: true,
        };
        let message = ndp::NeighborMessage::advertisement(what, mac);
        let everyone = ipv6::multicast_mac(ipv6::ALL_NODES);
        self.neighbor_message(message, (target, ipv6::ALL_NODES), interface, everyone);
    }

    /// Sends a message of neighbour discovery to a station.
    pub(crate) fn neighbor_message(
        &mut self,
        mut message: ndp::NeighborMessage,
        (source, destination): (Ipv6Addr, Ipv6Addr),
        interface: u16,
        station: MacAddr,
    ) {
        let body = message.as_bytes().get(icmp6::Header::LEN..).unwrap_or_default();
        message.header = message.header.with_checksum(source, destination, body);
        let len = size_of::<ndp::NeighborMessage>();
        let header = ipv6::Header::new(source, destination, ipv4::Protocol::ICMPV6, len);
        let Some(header) = header.map(|header| header.with_hop_limit(ndp::HOP_LIMIT)) else {
            return;
        };
        let Some(mut mbuf) = self.alloc() else { return };
        if !mbuf.extend_from_slice(header.as_bytes()) || !mbuf.extend_from_slice(message.as_bytes())
        {
            return self.count_drop(DropReason::MbufExhausted);
        }
        self.counters().icmp6.messages_sent.increment();
        self.counters().ipv6.packets_sent.increment();
        self.ethernet(mbuf, interface, station, ethernet::EtherType::IPV6);
    }

    /// Sends a finished packet of the control plane to a station, or one of IPv4 where it belongs.
    pub(crate) fn finished(
        &mut self,
        packet: &[u8],
        (interface, station): (u16, Option<MacAddr>),
        now: Instant,
        timers: &mut Timers,
    ) {
        let Some(mut mbuf) = self.alloc() else { return };
        if !mbuf.extend_from_slice(packet) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        let kind = if ip_version(&mbuf) == 6 {
            self.counters().ipv6.packets_sent.increment();
            ethernet::EtherType::IPV6
        } else {
            self.counters().ipv4.packets_sent.increment();
            ethernet::EtherType::IPV4
        };
        if let Some(station) = station {
            return self.ethernet(mbuf, interface, station, kind);
        }
        let to = ipv4::Packet::parse(packet).map(|packet| packet.header.dst());
        match to.ok().and_then(|to| self.route(to).ok()) {
            Some(hop) => self.link(mbuf, &hop, now, timers),
            None => self.count_drop(DropReason::Ipv4NoRoute),
        }
    }
}
