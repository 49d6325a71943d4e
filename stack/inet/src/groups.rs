//! Datagrams for groups and for everybody: to which sockets they go, how they leave, who hears of it
//! (RFC 1112, RFC 3493 5.2, RFC 3678).

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use dpdk::Mbuf;
use mcast::Filter;
use rustix::io::Errno;
use types::{DropReason, Instant};
use wire::{icmp6, igmp, ipv4, ipv6, mld, udp};
use zerocopy::IntoBytes;

use crate::command::{Handoff, Outcome};
use crate::device::Device;
use crate::family::Family;
use crate::hearing::Subject;
use crate::input::Received;
use crate::network::{Addresses, Destination, LOOPBACK};
use crate::output::{Hop, Output};
use crate::socket::{Kind, SocketId};
use crate::udp::remote;
use crate::worker::Worker;

/// A group that a socket listens to on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Interface.
    pub interface: u16,
    /// The group.
    pub group: IpAddr,
    /// From these sources.
    pub filter: Filter,
}

/// How a socket sends in one family where its routes do not say it all, and what it hears of groups it has not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Casting {
    /// By this interface (`IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`); `None`: as the routes say.
    pub interface: Option<u16>,
    /// From this address of it.
    pub source: Option<Ipv4Addr>,
    /// So many hops far (`IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`); 0: not beyond this host.
    pub hops: u8,
    /// Members on this host hear it too (`IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`).
    pub looped: bool,
    /// Groups that others on this host have joined are heard too (`IP_MULTICAST_ALL`, `IPV6_MULTICAST_ALL`).
    pub all: bool,
    /// What goes to no group leaves by this interface (`IP_UNICAST_IF`, `IPV6_UNICAST_IF`), unless the socket is bound
    /// to one.
    pub unicast: Device,
}

impl Default for Casting {
    fn default() -> Self {
        Self {
            interface: None,
            source: None,
            hops: 1,
            looped: true,
            all: true,
            unicast: Device::ANY,
        }
    }
}

/// A socket's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Multicast {
    /// IPv4.
    pub v4: Casting,
    /// IPv6.
    pub v6: Casting,
    /// What it has joined.
    pub memberships: Vec<Membership>,
}

impl Multicast {
    /// That of a family.
    #[must_use]
    pub fn casting(&self, v6: bool) -> &Casting {
        if v6 { &self.v6 } else { &self.v4 }
    }

    /// Does the socket want what comes from there to a group?
    pub(crate) fn hears(&self, group: IpAddr, from: IpAddr, interface: u16) -> bool {
        let mut memberships = self.memberships.iter();
        match memberships.find(|m| m.group == group && m.interface == interface) {
            Some(membership) => membership.filter.takes(from),
            None => self.casting(group.is_ipv6()).all,
        }
    }
}

impl Addresses {
    /// Somebody on this host listens to the group on this interface, or everybody does.
    #[must_use]
    pub(crate) fn is_member(&self, group: IpAddr, interface: u16) -> bool {
        group == IpAddr::V4(igmp::ALL_SYSTEMS) || self.groups.contains(&(interface, group))
    }
}

impl Output {
    /// The way to a group by an interface.
    #[must_use]
    pub(crate) fn group_hop<A>(&self, group: A, index: u16) -> Option<Hop<A>> {
        let interface = self.network.interface(index).filter(|i| i.up && index != LOOPBACK)?;
        Some(Hop {
            interface: index,
            next: group,
            destination: Destination::Multicast,
            mtu: interface.mtu,
            checksum: interface.tx_checksum,
            loans: interface.loans,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        })
    }

    /// The first link that has IPv6: the one for groups where nobody has named one.
    #[must_use]
    pub(crate) fn first_link6(&self) -> Option<u16> {
        let mut links = self.network.interfaces.iter().skip(1);
        links.find(|i| i.up && !i.addresses6.is_empty()).map(|i| i.index)
    }
}

impl Worker {
    /// What a socket's user has decided about groups.
    pub(crate) fn set_multicast(
        &mut self,
        id: SocketId,
        settings: Box<Multicast>,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        self.take_posted_before(id, now);
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        let datagram = match &mut socket.kind {
            Kind::Datagram(datagram) => datagram,
            Kind::Raw(raw) => &mut raw.datagram,
            _ => return Err(Errno::PROTO),
        };
        datagram.multicast = Some(settings);
        Ok(Outcome::Done)
    }

    /// A datagram for everybody or for a group goes to all sockets that want it, those of other workers
    /// too.
    pub(crate) fn group_input(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        datagram: &udp::Datagram<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let ports = (datagram.header.src_port.get(), datagram.header.dst_port.get());
        let heard = self.group_deliver(received, ports, datagram.payload, now);
        if self.mesh.workers() < 2 {
            return heard;
        }
        let end = received.ip_offset + received.ip_len + received.segment_len;
        let packet = mbuf.data().get(received.ip_offset..end).unwrap_or_default();
        let port = (ports.1, received.destination.is_ipv6());
        match self.tell_others(port, received.interface, &[packet]) {
            0 => heard,
            _ => Ok(()),
        }
    }

    /// Gives a copy of a packet to each other worker that has sockets of its port; how many there are.
    fn tell_others(&mut self, port: (u16, bool), interface: u16, packet: &[&[u8]]) -> usize {
        let len = packet.iter().map(|part| part.len()).sum();
        let mut count = 0;
        for to in 0..self.mesh.workers() {
            if to == self.mesh.me || !self.udp_owners.of(port).contains(&to) {
                continue;
            }
            count += 1;
            // Joined of pieces it may be longer than a frame.
            let Some(mut mbuf) = self.out.pools.alloc_for(len) else {
                self.out.count_drop(DropReason::MbufExhausted);
                continue;
            };
            for (into, byte) in mbuf.data_mut().iter_mut().zip(packet.iter().copied().flatten()) {
                *into = *byte;
            }
            if self.mesh.send(to, Handoff::Group { interface, mbuf }).is_err() {
                self.out.count_drop(DropReason::HandoffQueueFull);
            }
        }
        count
    }

    /// Another worker has taken this packet in, and checked it.
    pub(crate) fn group_handoff(&mut self, mbuf: &Mbuf, interface: u16, now: Instant) {
        let Some((received, segment)) = checked(mbuf.data(), interface) else { return };
        let Ok(datagram) = udp::Datagram::parse(segment) else { return };
        let ports = (datagram.header.src_port.get(), datagram.header.dst_port.get());
        // That nobody here wants it is no drop: others may.
        let _ = self.group_deliver(&received, ports, datagram.payload, now);
    }

    /// To each socket of this worker that wants it.
    pub(crate) fn group_deliver(
        &mut self,
        received: &Received,
        (from, to): (u16, u16),
        payload: &[u8],
        now: Instant,
    ) -> Result<(), DropReason> {
        let from = remote(received, from);
        let to = SocketAddr::new(received.destination, to);
        let mut wanted = core::mem::take(&mut self.group_sockets);
        let here = self.udp_ports.get(&to.port()).into_iter().flatten();
        wanted.extend(here.copied().filter(|id| self.wants(*id, to, from, received.interface)));
        let ancillary = received.ancillary(now);
        let mut last = Err(DropReason::UdpNoSocket);
        for id in wanted.drain(..) {
            last = self.udp_deliver(id, from, &ancillary, payload);
        }
        self.group_sockets = wanted;
        last
    }

    fn wants(&self, id: SocketId, to: SocketAddr, from: SocketAddr, interface: u16) -> bool {
        let Some(socket) = self.sockets.find(id) else { return false };
        let Kind::Datagram(datagram) = &socket.kind else { return false };
        let groups = datagram.multicast.as_deref().filter(|_| to.ip().is_multicast());
        datagram.score(to, from, &socket.options).is_some()
            && socket.options.device.takes(interface)
            && groups.is_none_or(|groups| groups.hears(to.ip(), from.ip(), interface))
    }

    /// What is sent to everybody, or to a group that somebody here listens to, is heard here too. The
    /// segment's checksum may be the port's to make.
    pub(crate) fn group_loop<F: Family>(
        &mut self,
        hosts: (F, F),
        (segment, hops, tos): (&Mbuf, u8, u8),
        hop: &Hop<F>,
        now: Instant,
    ) {
        let (source, destination): (IpAddr, IpAddr) = (hosts.0.into(), hosts.1.into());
        if hop.destination == Destination::Multicast
            && !self.out.addresses.is_member(destination, hop.interface)
        {
            return;
        }
        let Ok(datagram) = udp::Datagram::parse(segment.data()) else { return };
        let received = Received {
            interface: hop.interface,
            source,
            destination,
            to: hop.destination,
            ip_offset: 0,
            ip_len: 0,
            segment_len: segment.data().len(),
            verified: true,
            tos,
            ttl: hops,
            heard: false,
        };
        let ports = (datagram.header.src_port.get(), datagram.header.dst_port.get());
        // Nobody need listen.
        let _ = self.group_deliver(&received, ports, datagram.payload, now);
        if self.mesh.workers() > 1
            && let Some(mut header) = F::header(hosts, ipv4::Protocol::UDP, hops, tos)
            && F::set_segment_len(&mut header, segment.packet_len())
        {
            let port = (ports.1, destination.is_ipv6());
            let _ = self.tell_others(port, hop.interface, &[header.as_bytes(), segment.data()]);
        }
    }

    /// A router asks who listens to groups of IPv4. What other hosts answer is not for us.
    pub(crate) fn igmp_input(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let message = received.segment(mbuf).ok_or(DropReason::IgmpFormat)?;
        let _ = igmp::Query::parse(message)?;
        if received.ttl != 1 {
            return Err(DropReason::IgmpFormat);
        }
        self.let_hear(Subject::Groups, mbuf, received, now)
    }

    /// The same for IPv6.
    pub(crate) fn mld_input(
        &mut self,
        mbuf: &Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = mbuf.data().get(received.ip_offset..).ok_or(DropReason::MldFormat)?;
        let packet = ipv6::Packet::parse(bytes)?;
        let chain = packet.chain().map_err(|fault| fault.reason)?;
        let message = icmp6::Message::parse(chain.payload)?;
        let _ = mld::Query::parse(packet.header, chain.router_alert, &message)?;
        self.let_hear(Subject::Groups, mbuf, received, now)
    }
}

/// What a packet says that has been looked at before, and its segment.
fn checked(bytes: &[u8], interface: u16) -> Option<(Received, &[u8])> {
    let (source, destination, ttl, tos, segment): (IpAddr, IpAddr, _, _, _) =
        if bytes.first().is_some_and(|byte| byte >> 4 == 6) {
            let packet = ipv6::Packet::parse(bytes).ok()?;
            let (header, chain) = (packet.header, packet.chain().ok()?);
            let (hops, class) = (header.hop_limit, header.traffic_class());
            (header.src().into(), header.dst().into(), hops, class, chain.payload)
        } else {
            let packet = ipv4::Packet::parse(bytes).ok()?;
            let header = packet.header;
            (header.src().into(), header.dst().into(), header.ttl, header.tos, packet.payload)
        };
    let to =
        if destination.is_multicast() { Destination::Multicast } else { Destination::Broadcast };
    let received = Received {
        interface,
        source,
        destination,
        to,
        ip_offset: 0,
        ip_len: 0,
        segment_len: segment.len(),
        verified: true,
        tos,
        ttl,
        heard: false,
    };
    Some((received, segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_hears_what_it_has_joined_and_by_default_what_others_have() {
        let group: IpAddr = "239.1.2.3".parse().unwrap();
        let (one, two): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let filter = Filter::only(one);
        let mut socket = Multicast::default();
        socket.memberships.push(Membership { interface: 1, group, filter });
        assert!(socket.hears(group, one, 1) && !socket.hears(group, two, 1));
        assert!(socket.hears(group, two, 2), "somebody else's there");
        socket.v4.all = false;
        assert!(!socket.hears(group, two, 2));
        assert!(socket.hears("ff05::1".parse().unwrap(), one, 1), "IPv6 has its own word");
    }
}
