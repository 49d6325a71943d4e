//! The ways of datagrams: where one goes, and from which address. A socket remembers the last one, since the next
//! datagram nearly always goes the same.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use rustix::io::Errno;
use types::{FlowKey, Instant};
use wire::ipv4;

use crate::device::Device;
use crate::groups::Casting;
use crate::network::{Destination, LOOPBACK};
use crate::option::Options;
use crate::output::Hop;
use crate::packet_out::PacketOut;
use crate::socket::SocketId;
use crate::spread;
use crate::worker::Worker;

/// The last ways of a socket's datagrams to single hosts.
#[derive(Debug, Default)]
pub(crate) struct LastWays {
    v4: Option<LastWay<Ipv4Addr>>,
    v6: Option<LastWay<Ipv6Addr>>,
}

/// The way of a flow, and the configuration it was looked up in.
#[derive(Debug)]
struct LastWay<A> {
    flow: FlowKey,
    device: Device,
    generation: u32,
    source: A,
    hop: Hop<A>,
}

impl<A: Copy> LastWay<A> {
    /// The same way, if everything is as it was.
    #[inline]
    fn again(&self, flow: &FlowKey, device: Device, generation: u32) -> Option<(A, Hop<A>)> {
        let same = self.flow == *flow && self.device == device && self.generation == generation;
        same.then_some((self.source, self.hop))
    }
}

/// A flow, the options of its socket, and those for groups.
type How<'a> = (&'a FlowKey, &'a Options, &'a Casting);

impl Worker {
    /// How a socket's datagram goes to an IPv4 address.
    #[inline]
    pub(crate) fn udp_way_of(
        &mut self,
        id: SocketId,
        to: SocketAddrV4,
        (flow, options, casting): How<'_>,
    ) -> Result<(PacketOut, Hop), Errno> {
        let generation = self.out.generation;
        let ways = self.last_ways(id);
        let last = ways.and_then(|ways| ways.v4.as_ref()?.again(flow, options.device, generation));
        if let Some((source, hop)) = last {
            return Ok((packet(source, *to.ip(), options), hop));
        }
        let (out, hop) = self.udp_way(flow, *to.ip(), options, casting)?;
        if hop.destination == Destination::Remote
            && let Some(ways) = self.last_ways(id)
        {
            let (flow, device, source) = (*flow, options.device, out.source);
            ways.v4 = Some(LastWay { flow, device, generation, source, hop });
        }
        Ok((out, hop))
    }

    /// The same for IPv6. Addresses of a link name it besides; their way is short.
    #[inline]
    pub(crate) fn udp_way6_of(
        &mut self,
        id: SocketId,
        to: SocketAddrV6,
        (flow, options, casting): How<'_>,
    ) -> Result<(PacketOut<Ipv6Addr>, Hop<Ipv6Addr>), Errno> {
        let generation = self.out.generation;
        let ways = self.last_ways(id).filter(|_| to.scope_id() == 0);
        let last = ways.and_then(|ways| ways.v6.as_ref()?.again(flow, options.device, generation));
        if let Some((source, hop)) = last {
            return Ok((packet(source, *to.ip(), options), hop));
        }
        let (out, hop) = self.udp_way6(flow, to, options, casting.interface)?;
        if hop.destination == Destination::Remote
            && let Some(ways) = self.last_ways(id).filter(|_| to.scope_id() == 0)
        {
            let (flow, device, source) = (*flow, options.device, out.source);
            ways.v6 = Some(LastWay { flow, device, generation, source, hop });
        }
        Ok((out, hop))
    }

    #[inline]
    fn last_ways(&mut self, id: SocketId) -> Option<&mut LastWays> {
        Some(&mut self.sockets.find_mut(id)?.kind.datagram_mut()?.ways)
    }

    /// The longest packet to a host, as far as its sender wants to know.
    pub(crate) fn datagram_mtu(
        &self,
        link: u16,
        host: IpAddr,
        options: &Options,
        now: Instant,
    ) -> u16 {
        let path = self.path_mtus.of(host, now);
        path.filter(|_| options.mtu_discover.minds_the_path()).map_or(link, |path| path.min(link))
    }

    /// How a datagram goes to an IPv4 address.
    pub(crate) fn udp_way(
        &self,
        flow: &FlowKey,
        destination: Ipv4Addr,
        options: &Options,
        casting: &Casting,
    ) -> Result<(PacketOut, Hop), Errno> {
        let of_group = casting.interface.or_else(|| options.device.interface());
        let hop = match of_group.filter(|_| destination.is_multicast()) {
            Some(interface) => {
                self.out.group_hop(destination, interface).ok_or(Errno::NETUNREACH)?
            }
            None => self.out.route_from(options.device, destination, || spread::of_socket(flow))?,
        };
        let named = casting.source.filter(|_| destination.is_multicast());
        if hop.destination == Destination::Broadcast && !options.broadcast {
            return Err(Errno::ACCESS);
        }
        let source = match flow.local_addr {
            IpAddr::V6(address) if !address.is_unspecified() || options.v6_only => {
                return Err(Errno::NETUNREACH);
            }
            IpAddr::V4(address) if !address.is_unspecified() => address,
            IpAddr::V4(_) | IpAddr::V6(_) if hop.destination == Destination::Local => destination,
            IpAddr::V4(_) | IpAddr::V6(_) => {
                let interface = self.out.network.interface(hop.interface);
                let source = interface.and_then(|interface| interface.source_for(hop.next));
                named.or(source).ok_or(Errno::NETUNREACH)?
            }
        };
        Ok((packet(source, destination, options), hop))
    }

    /// How a datagram goes to an IPv6 address.
    pub(crate) fn udp_way6(
        &self,
        flow: &FlowKey,
        to: SocketAddrV6,
        options: &Options,
        interface: Option<u16>,
    ) -> Result<(PacketOut<Ipv6Addr>, Hop<Ipv6Addr>), Errno> {
        let destination = *to.ip();
        let zone = u16::try_from(to.scope_id()).map_err(|_| Errno::NODEV)?;
        let zone = Some(zone).filter(|zone| *zone != LOOPBACK);
        let hop = if destination.is_multicast() {
            let link = zone.or(interface).or_else(|| options.device.interface());
            let link = link.or_else(|| self.out.first_link6());
            let hop = link.and_then(|link| self.out.group_hop(destination, link));
            hop.ok_or(Errno::NETUNREACH)?
        } else {
            self.out.route6_from(options.device, destination, zone, || spread::of_socket(flow))?
        };
        let source = match flow.local_addr {
            IpAddr::V4(_) => return Err(Errno::AFNOSUPPORT),
            IpAddr::V6(address) if !address.is_unspecified() => address,
            IpAddr::V6(_) if hop.destination == Destination::Local => destination,
            IpAddr::V6(_) => {
                let source = self.out.network.source_for6(destination, hop.interface);
                source.ok_or(Errno::ADDRNOTAVAIL)?
            }
        };
        Ok((packet(source, destination, options), hop))
    }
}

fn packet<A>(source: A, destination: A, options: &Options) -> PacketOut<A> {
    let out = PacketOut::new(source, destination, ipv4::Protocol::UDP);
    PacketOut { tos: options.tos, ttl: options.ttl, cut: options.mtu_discover.cut(), ..out }
}
