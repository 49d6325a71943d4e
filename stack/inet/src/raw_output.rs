//! What raw and ping sockets send: payloads that get an IP header, packets that have one, echo requests.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk::Mbuf;
use rustix::io::Errno;
use shm::TxDescriptor;
use types::{FlowKey, Instant};
use wire::{Checksum, icmp, icmp6, ipv4, ipv6};
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use crate::client::Posted;
use crate::error_queue::NotSent;
use crate::family::Family;
use crate::network::{Destination, RawKind};
use crate::output::Hop;
use crate::packet_out::PacketOut;
use crate::socket::{Kind, SocketId};
use crate::udp::Aim;
use crate::worker::Worker;

/// What is to be done with a payload before it leaves.
#[derive(Clone, Copy)]
struct Dress {
    kind: RawKind,
    /// It begins with an IP header.
    header_included: bool,
    /// It has a checksum at this place.
    checksum: Option<u16>,
    /// The identifier of a ping socket's requests.
    id: u16,
}

impl Worker {
    /// One packet that a client has posted.
    pub(crate) fn raw_output(&mut self, id: SocketId, posted: &TxDescriptor, now: Instant) {
        let result = self.raw_send(id, posted, now);
        self.datagram_taken(id, posted, result.map_err(NotSent::errno));
    }

    fn raw_send(
        &mut self,
        id: SocketId,
        posted: &TxDescriptor,
        now: Instant,
    ) -> Result<(), NotSent> {
        let socket = self.sockets.find(id).ok_or(Errno::BADF)?;
        let Kind::Raw(raw) = &socket.kind else { return Err(Errno::BADF.into()) };
        let local = raw.datagram.local;
        let dress = Dress {
            kind: raw.kind,
            header_included: raw.header_included,
            checksum: raw.checksum,
            id: local.map_or(0, |local| local.port()),
        };
        let owner = socket.client;
        let client = self.clients.owner(owner).ok_or(Errno::BADF)?;
        let Posted { header, offset, len } = client.datagram(posted, now)?;
        let aim = Aim::of(&raw.datagram, &socket.options, &header)?;
        let Aim { to, source, casting, options } = aim;
        if to.is_ipv6() != dress.kind.inet6 {
            return Err(Errno::AFNOSUPPORT.into());
        }
        let mut mbuf = self.out.pools.alloc_for(len).ok_or(Errno::MSGSIZE)?;
        let client = self.clients.owner_mut(owner).ok_or(Errno::BADF)?;
        if !client.lane.copy_out(offset, mbuf.data_mut()) {
            return Err(Errno::FAULT.into());
        }
        if dress.kind.ping {
            ask(mbuf.data_mut(), &dress)?;
        }
        let local = match source {
            Some(ip) => self.out.check_source(ip)?,
            None => local.map_or_else(|| unspecified(dress.kind), |local| local.ip()),
        };
        let (local_addr, remote_addr) = (local, to.ip());
        let flow = FlowKey { local_addr, remote_addr, local_port: 0, remote_port: 0 };
        let sent = match to {
            SocketAddr::V4(to) => {
                let (out, hop) = self.udp_way(&flow, *to.ip(), &options, &casting)?;
                let out = PacketOut { protocol: ipv4::Protocol(dress.kind.protocol), ..out };
                let mtu = self.datagram_mtu(hop.mtu, (*to.ip()).into(), &options, now);
                self.raw_emit4(mbuf, &out, &Hop { mtu, ..hop }, &dress, now)
            }
            SocketAddr::V6(to) => {
                let (out, hop) = self.udp_way6(&flow, to, &options, casting.interface)?;
                let out = PacketOut { protocol: ipv4::Protocol(dress.kind.protocol), ..out };
                let mtu = self.datagram_mtu(hop.mtu, (*to.ip()).into(), &options, now);
                self.raw_emit6(mbuf, &out, &Hop { mtu, ..hop }, &dress, now)
            }
        };
        if let Err(NotSent::TooLong(mtu)) = sent {
            self.report_too_long(id, to, mtu, now);
        }
        sent
    }

    fn raw_emit4(
        &mut self,
        mut mbuf: Mbuf,
        out: &PacketOut,
        hop: &Hop,
        dress: &Dress,
        now: Instant,
    ) -> Result<(), NotSent> {
        if dress.header_included {
            finish_header(&mut mbuf, out.source, hop.mtu, || self.out.next_id(out.destination))?;
            self.out.counters().ipv4.packets_sent.increment();
            self.out.link(mbuf, hop, now, &mut self.timers);
            return Ok(());
        }
        self.raw_packet(mbuf, out, hop, now)
    }

    fn raw_emit6(
        &mut self,
        mut mbuf: Mbuf,
        out: &PacketOut<Ipv6Addr>,
        hop: &Hop<Ipv6Addr>,
        dress: &Dress,
        now: Instant,
    ) -> Result<(), NotSent> {
        if dress.header_included {
            if mbuf.data().len() > usize::from(hop.mtu) {
                return Err(NotSent::TooLong(hop.mtu));
            }
            if ipv6::Packet::parse(mbuf.data()).is_err() {
                return Err(Errno::INVAL.into());
            }
            self.out.counters().ipv6.packets_sent.increment();
            self.out.link6(mbuf, hop, now, &mut self.timers);
            return Ok(());
        }
        if let Some(at) = dress.checksum {
            sum_up(mbuf.data_mut(), out, at)?;
        }
        self.raw_packet(mbuf, out, hop, now)
    }

    /// Sends a payload with a header of our own, in fragments if it may be cut.
    fn raw_packet<F: Family>(
        &mut self,
        mbuf: Mbuf,
        out: &PacketOut<F>,
        hop: &Hop<F>,
        now: Instant,
    ) -> Result<(), NotSent> {
        let source: IpAddr = out.source.into();
        if source.is_loopback() && hop.destination != Destination::Local {
            return Err(Errno::INVAL.into());
        }
        let len = mbuf.data().len();
        let fits = len <= usize::from(hop.mtu.saturating_sub(F::HEADER_LEN));
        if !fits && !out.cut.here || len > usize::from(u16::MAX - F::HEADER_LEN) {
            return Err(NotSent::TooLong(hop.mtu));
        }
        self.out.packet(mbuf, out, hop, now, &mut self.timers);
        Ok(())
    }
}

/// No address in particular.
pub(crate) fn unspecified(kind: RawKind) -> IpAddr {
    if kind.inet6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// An echo request as a ping socket sends it: its identifier is the socket's. IPv6's checksum is made when
/// both addresses are known.
fn ask(message: &mut [u8], dress: &Dress) -> Result<(), Errno> {
    if dress.kind.inet6 {
        let (header, _) = icmp6::Header::mut_from_prefix(message).map_err(|_| Errno::INVAL)?;
        if header.kind() != icmp6::Type::ECHO_REQUEST || header.code().0 != 0 {
            return Err(Errno::INVAL);
        }
        *header = icmp6::Header::echo_request(dress.id, header.echo().1);
        return Ok(());
    }
    let (header, payload) = icmp::Header::mut_from_prefix(message).map_err(|_| Errno::INVAL)?;
    if header.kind() != icmp::Type::ECHO_REQUEST || header.code().0 != 0 {
        return Err(Errno::INVAL);
    }
    *header = icmp::Header::echo_request(dress.id, header.echo_sequence()).with_checksum(payload);
    Ok(())
}

/// RFC 3542 3.1: the checksum over pseudo header and payload, `at` so many bytes in it.
fn sum_up(payload: &mut [u8], out: &PacketOut<Ipv6Addr>, at: u16) -> Result<(), Errno> {
    let at = usize::from(at);
    let place = payload.get_mut(at..at.saturating_add(2)).ok_or(Errno::INVAL)?;
    place.copy_from_slice(&[0, 0]);
    let len = u16::try_from(payload.len()).map_err(|_| Errno::MSGSIZE)?;
    let sum = Checksum::pseudo_v6(out.source, out.destination, out.protocol.0, len).sum(payload);
    // A sum of 0 means that there is none (RFC 8200 8.1).
    let sum = U16::new(match sum.finish() {
        0 => u16::MAX,
        sum => sum,
    });
    let place = payload.get_mut(at..at.saturating_add(2)).ok_or(Errno::INVAL)?;
    place.copy_from_slice(sum.as_bytes());
    Ok(())
}

/// Fills in what raw(7) says of a header that the user has written: length and checksum always, the source
/// and the name if they are 0. A packet longer than the link takes is refused.
fn finish_header(
    mbuf: &mut Mbuf,
    source: Ipv4Addr,
    mtu: u16,
    next_id: impl FnOnce() -> u16,
) -> Result<(), NotSent> {
    let packet = mbuf.data_mut();
    if packet.len() > usize::from(mtu) {
        return Err(NotSent::TooLong(mtu));
    }
    let len = u16::try_from(packet.len()).map_err(|_| Errno::MSGSIZE)?;
    let (header, _) = ipv4::Header::mut_from_prefix(packet).map_err(|_| Errno::INVAL)?;
    let header_len = header.header_len();
    if header_len < ipv4::Header::LEN {
        return Err(Errno::INVAL.into());
    }
    if header.src().is_unspecified() {
        header.src = source.octets();
    }
    if header.id.get() == 0 {
        header.id = U16::new(next_id());
    }
    header.total_len = U16::new(len);
    header.checksum = U16::ZERO;
    let whole = packet.get(..header_len).ok_or(Errno::INVAL)?;
    let sum = U16::new(Checksum::new().sum(whole).finish());
    let (header, _) = ipv4::Header::mut_from_prefix(packet).map_err(|_| Errno::INVAL)?;
    header.checksum = sum;
    Ok(())
}
