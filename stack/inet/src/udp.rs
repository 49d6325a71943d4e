//! UDP (RFC 768): datagrams to sockets and from clients.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use dpdk::{L4, Mbuf};
use rustix::io::Errno;
use shm::{Ancillary, DatagramHeader, TxDescriptor};
use types::{DropReason, FlowKey, Instant};
use wire::{ipv4, udp};
use zerocopy::IntoBytes;

use crate::attend::raise;
use crate::client::Posted;
use crate::command::Misbehaviour;
use crate::error_queue::{NotSent, Report};
use crate::family::Family;
use crate::groups::Casting;
use crate::hearing::Subject;
use crate::input::Received;
use crate::network::{Destination, LOOPBACK, TxChecksum};
use crate::option::Options;
use crate::output::{Hop, prepend};
use crate::packet_out::PacketOut;
use crate::socket::{Datagram, Kind, Signal, SocketId};
use crate::spread;
use crate::worker::Worker;

/// RFC 2131 4.1: from a server to a client.
const DHCP_PORTS: (u16, u16) = (67, 68);

impl Worker {
    pub(crate) fn udp_input(
        &mut self,
        mbuf: Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let bytes = received.segment(&mbuf).ok_or(DropReason::UdpTooShort)?;
        let datagram = udp::Datagram::parse(bytes)?;
        if !received.verified && received.interface != LOOPBACK {
            datagram.verify(received.source, received.destination)?;
        }
        self.counters.udp.datagrams_received.increment();
        let ports = (datagram.header.src_port.get(), datagram.header.dst_port.get());
        if ports == DHCP_PORTS && self.asks_for_addresses(received.interface) {
            return self.let_hear(Subject::Dhcp, &mbuf, received, now);
        }
        if received.to != Destination::Local {
            return self.group_input(&mbuf, received, &datagram, now);
        }
        let to = SocketAddr::new(received.destination, datagram.header.dst_port.get());
        let from = remote(received, datagram.header.src_port.get());
        let all = self.out.network.host.udp_to_all;
        let found = self.udp_sockets(to, from, Some(received.interface), all);
        if found.is_empty() {
            let port = (to.port(), to.is_ipv6());
            if let Some(owner) = self.udp_owners.other(port, self.mesh.me) {
                return self.hand_over(mbuf, received, owner);
            }
            self.port_unreachable(&mbuf, received, now);
            return Err(DropReason::UdpNoSocket);
        }
        let ancillary = received.ancillary(now);
        let mut last = Err(DropReason::UdpSocketFull);
        for id in found {
            last = self.udp_deliver(id, from, &ancillary, datagram.payload);
        }
        last
    }

    /// An interface has a DHCP client.
    #[cold]
    fn asks_for_addresses(&self, interface: u16) -> bool {
        self.out.network.interface(interface).is_some_and(|config| config.dhcp)
    }

    /// The best match, or all if the operator wants it so, of those that take what comes by an interface.
    fn udp_sockets(&self, to: SocketAddr, from: SocketAddr, by: Option<u16>, all: bool) -> Matches {
        let mut matches = Matches::default();
        let mut best = None;
        for id in self.udp_ports.get(&to.port()).into_iter().flatten() {
            let Some(socket) = self.sockets.find(*id) else { continue };
            let Kind::Datagram(datagram) = &socket.kind else { continue };
            if by.is_some_and(|interface| !socket.options.device.takes(interface)) {
                continue;
            }
            match datagram.score(to, from, &socket.options) {
                Some(_) if all => matches.push(*id),
                Some(score) if best < Some(score) => {
                    best = Some(score);
                    matches = Matches::default();
                    matches.push(*id);
                }
                _ => {}
            }
        }
        matches
    }

    pub(crate) fn udp_deliver(
        &mut self,
        id: SocketId,
        from: SocketAddr,
        ancillary: &Ancillary,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let socket = self.sockets.find_mut(id).ok_or(DropReason::UdpNoSocket)?;
        let client = self.clients.owner_mut(socket.client).ok_or(DropReason::UdpNoSocket)?;
        let datagram = socket.kind.datagram_mut().ok_or(DropReason::UdpNoSocket)?;
        if let Err(what) = datagram.recv.refresh(&mut client.lane) {
            let owner = socket.client;
            self.client_misbehaved(owner, Misbehaviour::Memory(what));
            return Err(DropReason::UdpNoSocket);
        }
        datagram
            .recv
            .push(&mut client.lane, from, ancillary, payload)
            .map_err(|_| DropReason::UdpSocketFull)?;
        let signal = Signal { readable: true, ..Signal::default() };
        raise(socket, id, signal, &mut self.signals);
        Ok(())
    }

    /// One datagram that a client has posted: an address header, then the payload.
    pub(crate) fn udp_output(&mut self, id: SocketId, posted: &TxDescriptor, now: Instant) {
        let result = self.udp_send(id, posted, now);
        self.datagram_taken(id, posted, result.map_err(NotSent::errno));
    }

    /// A client has its memory back, and hears what came of its datagram.
    pub(crate) fn datagram_taken(
        &mut self,
        id: SocketId,
        posted: &TxDescriptor,
        result: Result<(), Errno>,
    ) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Some(datagram) = socket.kind.datagram_mut() else { return };
        datagram.released = datagram.released.saturating_add(u64::from(posted.length));
        if let Some(client) = self.clients.owner_mut(socket.client) {
            // First the error: who waits for room looks for it then.
            if let Err(errno) = result {
                client.set_error(socket.cell, errno);
            }
            client.lane.set_tx_released(socket.cell, datagram.released);
        }
        socket.error = result.err().or(socket.error);
        let readable = result.is_err();
        let signal = Signal { readable, writable: true, ..Signal::default() };
        raise(socket, id, signal, &mut self.signals);
    }

    fn udp_send(
        &mut self,
        id: SocketId,
        posted: &TxDescriptor,
        now: Instant,
    ) -> Result<(), NotSent> {
        let socket = self.sockets.find(id).ok_or(Errno::BADF)?;
        let Kind::Datagram(datagram) = &socket.kind else { return Err(Errno::BADF.into()) };
        let local = datagram.local.ok_or(Errno::DESTADDRREQ)?;
        let (said, owner) = (Said::by(datagram, socket.options), socket.client);
        let client = self.clients.owner_mut(owner).ok_or(Errno::BADF)?;
        let Posted { header, offset, len } = client.datagram(posted, now)?;
        let Aim { to, source, casting, options } = said.aim(&header)?;
        let local = match source {
            Some(ip) => SocketAddr::new(self.check_source(ip)?, local.port()),
            None => local,
        };
        if to.port() == 0 {
            return Err(Errno::INVAL.into());
        }
        let looped = casting.looped;
        let payload = Payload { owner, offset, len, looped, ports: (local.port(), to.port()) };
        let flow = FlowKey {
            local_addr: local.ip(),
            remote_addr: to.ip(),
            local_port: local.port(),
            remote_port: to.port(),
        };
        let sent = match to {
            SocketAddr::V4(to) => {
                let (out, hop) = self.udp_way(&flow, *to.ip(), &options, &casting)?;
                let hop = Hop {
                    mtu: self.datagram_mtu(hop.mtu, (*to.ip()).into(), &options, now),
                    ..hop
                };
                self.udp_emit(&payload, out, &hop, now)
            }
            SocketAddr::V6(to) => {
                let (out, hop) = self.udp_way6(&flow, to, &options, casting.interface)?;
                let hop = Hop {
                    mtu: self.datagram_mtu(hop.mtu, (*to.ip()).into(), &options, now),
                    ..hop
                };
                self.udp_emit(&payload, out, &hop, now)
            }
        };
        if let Err(NotSent::TooLong(mtu)) = sent {
            self.report_too_long(id, to, mtu, now);
        }
        sent
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

    /// A router has said that a datagram did not fit: those to come are cut, or are refused, and who is
    /// connected hears of it.
    pub(crate) fn udp_path_mtu(
        &mut self,
        flow: &FlowKey,
        mtu: u16,
        report: &Report<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        // One that we did not send is none of ours (RFC 5927).
        if self.udp_sockets(flow.local(), flow.remote(), report.interface, false).is_empty() {
            return Err(DropReason::IcmpQuoted);
        }
        self.path_mtus.lower(flow.remote_addr, mtu, now);
        // Nobody is connected: then there is nobody to tell.
        let _ = self.udp_error(flow, report);
        Ok(())
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

    /// Sends a client's payload, if there is so much room in a packet; the checksum is left to the port
    /// where that can make it.
    fn udp_emit<F: Family + Into<IpAddr>>(
        &mut self,
        payload: &Payload,
        mut out: PacketOut<F>,
        hop: &Hop<F>,
        now: Instant,
    ) -> Result<(), NotSent> {
        let (source, destination) = (out.source.into(), out.destination.into());
        // RFC 1122 3.2.1.3 (g), RFC 4291 2.5.3: no such address may be outside of a host.
        if source.is_loopback() && hop.destination != Destination::Local {
            return Err(Errno::INVAL.into());
        }
        let len = payload.len.checked_add(udp::Header::LEN).ok_or(Errno::MSGSIZE)?;
        let fits = len <= usize::from(hop.mtu.saturating_sub(F::HEADER_LEN));
        let head_len = udp::Header::LEN + usize::from(F::HEADER_LEN);
        if !fits && (!out.cut.here || payload.len + head_len > usize::from(u16::MAX)) {
            return Err(NotSent::TooLong(hop.mtu));
        }
        let mut mbuf = self.out.pools.alloc_for(payload.len).ok_or(Errno::NOBUFS)?;
        let client = self.clients.owner_mut(payload.owner).ok_or(Errno::BADF)?;
        if !client.lane.copy_out(payload.offset, mbuf.data_mut()) {
            return Err(Errno::FAULT.into());
        }
        let (from, to) = payload.ports;
        let ends = (SocketAddr::new(source, from), SocketAddr::new(destination, to));
        // No port sums up what is in several packets.
        let offload = fits && hop.checksum == TxChecksum::Port;
        prepend_header(&mut mbuf, ends.0, ends.1, offload).ok_or(Errno::NOBUFS)?;
        self.counters.udp.datagrams_sent.increment();
        let everybody = hop.destination == Destination::Broadcast;
        if everybody || hop.destination == Destination::Multicast && payload.looped {
            let hosts = (out.source, out.destination);
            self.group_loop(hosts, (&mbuf, out.ttl, out.tos), hop, now);
        }
        if out.ttl == 0 {
            return Ok(());
        }
        (out.l4_len, out.offload) = (8, offload.then_some(L4::Udp));
        self.out.packet(mbuf, &out, hop, now, &mut self.timers);
        Ok(())
    }

    /// An address that a datagram may come from: one of ours. Linux's errno for another one.
    pub(crate) fn check_source(&self, ip: IpAddr) -> Result<IpAddr, Errno> {
        match ip {
            IpAddr::V4(v4) if v4.is_unspecified() => Ok(ip),
            IpAddr::V4(v4) if self.out.addresses.classify(v4) == Destination::Local => Ok(ip),
            IpAddr::V4(_) => Err(Errno::NETUNREACH),
            IpAddr::V6(v6) if v6.is_unspecified() => Ok(ip),
            IpAddr::V6(v6) if self.out.addresses.has6(v6) => Ok(ip),
            IpAddr::V6(_) => Err(Errno::INVAL),
        }
    }

    /// Something has become of a datagram: its socket learns it (RFC 1122 4.1.3.3).
    pub(crate) fn udp_error(
        &mut self,
        flow: &FlowKey,
        report: &Report<'_>,
    ) -> Result<(), DropReason> {
        let found = self.udp_sockets(flow.local(), flow.remote(), report.interface, false);
        let mut told = Err(DropReason::IcmpQuoted);
        for id in found {
            if self.report(id, flow.remote(), report) {
                told = Ok(());
            }
        }
        told
    }
}

/// What a socket's user has said of all its datagrams.
pub(crate) struct Said {
    remote: Option<SocketAddr>,
    /// IPv4's, then IPv6's.
    casting: [Casting; 2],
    options: Options,
}

/// Where one datagram goes, and how.
pub(crate) struct Aim {
    pub to: SocketAddr,
    /// From this address, if it names one of its own.
    pub source: Option<IpAddr>,
    pub casting: Casting,
    pub options: Options,
}

impl Said {
    #[inline]
    pub(crate) fn by(datagram: &Datagram, options: Options) -> Self {
        let multicast = datagram.multicast.as_deref();
        let casting = [false, true]
            .map(|v6| multicast.map_or_else(Casting::default, |groups| *groups.casting(v6)));
        Self { remote: datagram.remote, casting, options }
    }

    /// With what is said of one alone.
    #[inline]
    pub(crate) fn aim(&self, header: &DatagramHeader) -> Result<Aim, Errno> {
        let to = header.address().or(self.remote).ok_or(Errno::DESTADDRREQ)?;
        let ancillary = header.ancillary();
        let [v4, v6] = self.casting;
        let casting = if to.is_ipv6() { v6 } else { v4 };
        let options = self.options;
        let (hops, device) = match to.ip().is_multicast() {
            true => (casting.hops, options.device),
            false => (options.ttl.max(1), options.device.or(casting.unicast)),
        };
        let options = Options {
            device,
            ttl: ancillary.ttl.unwrap_or(hops).max(u8::from(!to.ip().is_multicast())),
            tos: ancillary.tos.unwrap_or(options.tos),
            ..options
        };
        Ok(Aim { to, source: ancillary.local, casting, options })
    }
}

/// What a client posts, and the ports of both ends, this host's first.
struct Payload {
    owner: Option<u16>,
    offset: u32,
    len: usize,
    /// Members on this host hear what goes to a group.
    looped: bool,
    ports: (u16, u16),
}

fn packet<A>(source: A, destination: A, options: &Options) -> PacketOut<A> {
    let out = PacketOut::new(source, destination, ipv4::Protocol::UDP);
    PacketOut { tos: options.tos, ttl: options.ttl, cut: options.mtu_discover.cut(), ..out }
}

/// Where a datagram is from. Addresses of a link are told apart by its number.
pub(crate) fn remote(received: &Received, port: u16) -> SocketAddr {
    match received.source {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, received.interface.into()).into()
        }
        address => SocketAddr::new(address, port),
    }
}

/// Prepends the UDP header with its checksum, or with the pseudo-header's for the port to finish.
fn prepend_header(mbuf: &mut Mbuf, from: SocketAddr, to: SocketAddr, offload: bool) -> Option<()> {
    let header = udp::Header::new(from.port(), to.port(), mbuf.packet_len() as usize)?;
    let header = if offload {
        header.with_pseudo_checksum(from.ip(), to.ip())
    } else {
        header.with_checksum(from.ip(), to.ip(), mbuf.data())
    };
    prepend(mbuf, header.as_bytes()).then_some(())
}

/// A handful of sockets, without allocating for it.
#[derive(Default)]
struct Matches {
    ids: [Option<SocketId>; 8],
    len: usize,
}

impl Matches {
    fn push(&mut self, id: SocketId) {
        if let Some(entry) = self.ids.get_mut(self.len) {
            *entry = Some(id);
            self.len += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl IntoIterator for Matches {
    type Item = SocketId;
    type IntoIter = core::iter::Flatten<core::array::IntoIter<Option<SocketId>, 8>>;
    fn into_iter(self) -> Self::IntoIter {
        self.ids.into_iter().flatten()
    }
}
