//! The ways of datagrams: where one goes, and from which address. A socket remembers the last one of each family, as
//! connections remember theirs.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use rustix::io::Errno;
use types::{FlowKey, Instant};
use wire::ipv4;

use crate::device::Device;
use crate::groups::Casting;
use crate::network::{Destination, LOOPBACK};
use crate::option::Options;
use crate::output::{Hop, Output};
use crate::packet_out::PacketOut;
use crate::socket::SocketId;
use crate::spread;
use crate::worker::Worker;

/// What a way depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// Both ends.
    pub flow: FlowKey,
    /// The link of a destination whose address is of one.
    pub scope: u32,
    /// What its socket is bound to, and its table of routes.
    pub device: Device,
    /// The configuration.
    pub generation: u32,
}

/// A way, and what it depends on.
#[derive(Debug)]
pub(crate) struct LastWay<A> {
    key: Key,
    source: A,
    hop: Hop<A>,
}

/// The last ways of a socket's datagrams to single hosts.
#[derive(Debug, Default)]
pub(crate) struct LastWays {
    /// Over IPv4.
    pub v4: Option<LastWay<Ipv4Addr>>,
    /// Over IPv6.
    pub v6: Option<LastWay<Ipv6Addr>>,
}

/// The same way again, if everything is as it was: the source, and the next hop.
#[inline]
pub(crate) fn again<A: Copy>(last: Option<&LastWay<A>>, key: &Key) -> Option<(A, Hop<A>)> {
    last.filter(|last| last.key == *key).map(|last| (last.source, last.hop))
}

impl Worker {
    /// A datagram of a socket has found its way; the next one may take it too, unless it goes to several hosts, which
    /// more decides about.
    pub(crate) fn remember_way<A>(
        &mut self,
        id: SocketId,
        place: fn(&mut LastWays) -> &mut Option<LastWay<A>>,
        key: Key,
        (source, hop): (A, Hop<A>),
    ) {
        let datagram = self.sockets.find_mut(id).and_then(|socket| socket.kind.datagram_mut());
        if let Some(datagram) = datagram.filter(|_| hop.destination == Destination::Remote) {
            *place(&mut datagram.ways) = Some(LastWay { key, source, hop });
        }
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

impl Output {
    /// An address that a datagram may come from: one of ours. Linux's errno for another one.
    pub(crate) fn check_source(&self, ip: IpAddr) -> Result<IpAddr, Errno> {
        match ip {
            IpAddr::V4(v4) if v4.is_unspecified() => Ok(ip),
            IpAddr::V4(v4) if self.addresses.classify(v4) == Destination::Local => Ok(ip),
            IpAddr::V4(_) => Err(Errno::NETUNREACH),
            IpAddr::V6(v6) if v6.is_unspecified() => Ok(ip),
            IpAddr::V6(v6) if self.addresses.has6(v6) => Ok(ip),
            IpAddr::V6(_) => Err(Errno::INVAL),
        }
    }
}

pub(crate) fn packet<A>(source: A, destination: A, options: &Options) -> PacketOut<A> {
    let out = PacketOut::new(source, destination, ipv4::Protocol::UDP);
    PacketOut { tos: options.tos, ttl: options.ttl, cut: options.mtu_discover.cut(), ..out }
}
