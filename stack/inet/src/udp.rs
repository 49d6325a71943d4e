//! UDP (RFC 768): datagrams to sockets and from clients.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};

use dpdk::{L4, Mbuf};
use rustix::io::Errno;
use shm::{Ancillary, DatagramHeader, TxDescriptor};
use types::{DropReason, FlowKey, Instant};
use wire::udp;
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
use crate::udp_way::{Key, again, packet};
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
        let to = SocketAddr::new(received.destination, ports.1);
        if self.out.network.host.udp_to_all {
            let all = self.group_deliver(received, ports, datagram.payload, now);
            return match all {
                Err(DropReason::UdpNoSocket) => self.udp_nobody(mbuf, received, to, now),
                delivered => delivered,
            };
        }
        let from = remote(received, ports.0);
        match self.udp_socket(to, from, Some(received.interface)) {
            Some(id) => self.udp_deliver(id, from, &received.ancillary(now), datagram.payload),
            None => self.udp_nobody(mbuf, received, to, now),
        }
    }

    /// No socket of this worker's takes a datagram.
    #[cold]
    fn udp_nobody(
        &mut self,
        mbuf: Mbuf,
        received: &Received,
        to: SocketAddr,
        now: Instant,
    ) -> Result<(), DropReason> {
        let port = (to.port(), to.is_ipv6());
        if let Some(owner) = self.udp_owners.other(port, self.mesh.me) {
            return self.hand_over(mbuf, received, owner);
        }
        self.port_unreachable(&mbuf, received, now);
        Err(DropReason::UdpNoSocket)
    }

    /// An interface has a DHCP client.
    #[cold]
    fn asks_for_addresses(&self, interface: u16) -> bool {
        self.out.network.interface(interface).is_some_and(|config| config.dhcp)
    }

    /// The socket that a datagram fits best, of those that take what comes by an interface.
    fn udp_socket(&self, to: SocketAddr, from: SocketAddr, by: Option<u16>) -> Option<SocketId> {
        let mut best = None;
        for id in self.udp_ports.get(&to.port())? {
            let Some(socket) = self.sockets.find(*id) else { continue };
            let Kind::Datagram(datagram) = &socket.kind else { continue };
            if by.is_some_and(|interface| !socket.options.device.takes(interface)) {
                continue;
            }
            let score = datagram.score(to, from, &socket.options);
            if let Some(score) = score
                && best.is_none_or(|(best, _)| best < score)
            {
                best = Some((score, *id));
            }
        }
        best.map(|(_, id)| id)
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
        let owner = socket.client;
        let client = self.clients.owner(owner).ok_or(Errno::BADF)?;
        let Posted { header, offset, len } = client.datagram(posted, now)?;
        let Aim { to, source, casting, options } = Aim::of(datagram, &socket.options, &header)?;
        let local = match source {
            Some(ip) => SocketAddr::new(self.out.check_source(ip)?, local.port()),
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
        let (device, generation) = (options.device, self.out.generation);
        let sent = match to {
            SocketAddr::V4(to) => {
                let key = Key { flow, scope: 0, device, generation };
                let (out, hop) = match again(datagram.ways.v4.as_ref(), &key) {
                    Some((source, hop)) => (packet(source, *to.ip(), &options), hop),
                    None => {
                        let (out, hop) = self.udp_way(&flow, *to.ip(), &options, &casting)?;
                        self.remember_way(id, |ways| &mut ways.v4, key, (out.source, hop));
                        (out, hop)
                    }
                };
                let mtu = self.datagram_mtu(hop.mtu, (*to.ip()).into(), &options, now);
                self.udp_emit(&payload, out, &Hop { mtu, ..hop }, now)
            }
            SocketAddr::V6(to) => {
                let key = Key { flow, scope: to.scope_id(), device, generation };
                let (out, hop) = match again(datagram.ways.v6.as_ref(), &key) {
                    Some((source, hop)) => (packet(source, *to.ip(), &options), hop),
                    None => {
                        let (out, hop) = self.udp_way6(&flow, to, &options, casting.interface)?;
                        self.remember_way(id, |ways| &mut ways.v6, key, (out.source, hop));
                        (out, hop)
                    }
                };
                let mtu = self.datagram_mtu(hop.mtu, (*to.ip()).into(), &options, now);
                self.udp_emit(&payload, out, &Hop { mtu, ..hop }, now)
            }
        };
        if let Err(NotSent::TooLong(mtu)) = sent {
            self.report_too_long(id, to, mtu, now);
        }
        sent
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
        if self.udp_socket(flow.local(), flow.remote(), report.interface).is_none() {
            return Err(DropReason::IcmpQuoted);
        }
        self.path_mtus.lower(flow.remote_addr, mtu, now);
        // Nobody is connected: then there is nobody to tell.
        let _ = self.udp_error(flow, report);
        Ok(())
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

    /// Something has become of a datagram: its socket learns it (RFC 1122 4.1.3.3).
    pub(crate) fn udp_error(
        &mut self,
        flow: &FlowKey,
        report: &Report<'_>,
    ) -> Result<(), DropReason> {
        match self.udp_socket(flow.local(), flow.remote(), report.interface) {
            Some(id) if self.report(id, flow.remote(), report) => Ok(()),
            _ => Err(DropReason::IcmpQuoted),
        }
    }
}

/// Where one datagram goes, and how.
pub(crate) struct Aim {
    pub to: SocketAddr,
    /// From this address, if it names one of its own.
    pub source: Option<IpAddr>,
    pub casting: Casting,
    pub options: Options,
}

impl Aim {
    /// What a socket's user has said of all its datagrams, and of this one alone.
    #[inline]
    pub(crate) fn of(
        datagram: &Datagram,
        options: &Options,
        header: &DatagramHeader,
    ) -> Result<Self, Errno> {
        let to = header.address().or(datagram.remote).ok_or(Errno::DESTADDRREQ)?;
        let ancillary = header.ancillary();
        let multicast = datagram.multicast.as_deref();
        let casting =
            multicast.map_or_else(Casting::default, |groups| *groups.casting(to.is_ipv6()));
        let (hops, device) = match to.ip().is_multicast() {
            true => (casting.hops, options.device),
            false => (options.ttl.max(1), options.device.or(casting.unicast)),
        };
        let options = Options {
            device,
            ttl: ancillary.ttl.unwrap_or(hops).max(u8::from(!to.ip().is_multicast())),
            tos: ancillary.tos.unwrap_or(options.tos),
            ..*options
        };
        Ok(Self { to, source: ancillary.local, casting, options })
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
