//! Packets made whole again from their fragments (RFC 791 3.2, RFC 8200 4.5). What decides is in
//! `reassembly.rs`.
//!
//! ```text
//!   ipv4_input ─┐ fragment                                      whole, as if it had come so
//!               ├──► the worker of its name ──► Reassembly::add ──► ipv4_input, ipv6_input
//!   ipv6_input ─┘                                └── time is over ──► ICMP time exceeded
//! ```

use dpdk::{ChecksumState, Mbuf};
use types::{DropReason, FlowKey, Instant};
use wire::checksum::Checksum;
use wire::{icmp, icmp6, ipv4, ipv6};
use zerocopy::FromBytes;

use crate::command::Handoff;
use crate::input::{Received, drop_front};
use crate::limits::FRAGMENT_TIMEOUT;
use crate::network::Destination;
use crate::output::ip_version;
use crate::reassembly::{Name, Piece};
use crate::steer::owner;
use crate::timer_wheel::{Fired, Owner};
use crate::worker::Worker;

/// What an IP packet can hold, header included (RFC 791 3.1). IPv6 could hold 40 bytes more; a buffer
/// can't.
const PACKET_MAX: usize = 65_535;

/// The codepoint of a packet that saw congestion (RFC 3168 5).
const CONGESTED: u8 = 3;

/// A fragment by its headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    name: Name,
    offset: usize,
    more: bool,
    ecn: u8,
    /// Bytes of its headers.
    header_len: usize,
    /// Bytes of the fragment's payload.
    len: usize,
}

impl Fragment {
    pub(crate) fn of(header: &ipv6::Header, fragment: &ipv6::Fragment<'_>) -> Self {
        let header_len = fragment.at + ipv6::FragmentHeader::LEN;
        let packet_len = ipv6::Header::LEN + usize::from(header.payload_len.get());
        Self {
            name: Name {
                source: header.src().into(),
                destination: header.dst().into(),
                protocol: 0,
                id: fragment.header.id.get(),
            },
            offset: fragment.header.offset(),
            more: fragment.header.more_fragments(),
            ecn: header.traffic_class() & CONGESTED,
            header_len,
            len: packet_len.saturating_sub(header_len),
        }
    }
}

impl Worker {
    /// A fragment for us. Its header is sound.
    pub(crate) fn ipv4_fragment(
        &mut self,
        mbuf: Mbuf,
        (header, len): (&ipv4::Header, usize),
        (ip_offset, interface): (usize, u16),
        now: Instant,
    ) -> Result<(), DropReason> {
        const TCP_MIN: usize = wire::tcp::Header::LEN;
        let (offset, protocol) = (header.fragment_offset(), header.protocol());
        // RFC 1858, RFC 3128: a filter could not see the flags.
        let hides = protocol == ipv4::Protocol::TCP
            && (offset == 8 || offset == 0 && len < TCP_MIN && header.more_fragments());
        if hides {
            return Err(DropReason::FragmentTiny);
        }
        if header.header_len() + offset + len > PACKET_MAX {
            return Err(DropReason::FragmentLength);
        }
        let fragment = Fragment {
            name: Name {
                source: header.src().into(),
                destination: header.dst().into(),
                protocol: protocol.0,
                id: header.id.get().into(),
            },
            offset,
            more: header.more_fragments(),
            ecn: header.tos & CONGESTED,
            header_len: header.header_len(),
            len,
        };
        self.fragment_input(mbuf, &fragment, (ip_offset, interface), now)
    }

    /// A fragment for us, whose extension headers are sound.
    pub(crate) fn ipv6_fragment(
        &mut self,
        mbuf: Mbuf,
        fragment: &Fragment,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        const PAYLOAD_LEN_AT: usize = 4;
        const OFFSET_AT: usize = 2;
        let &Fragment { offset, more, header_len, len, .. } = fragment;
        let at = header_len.saturating_sub(ipv6::FragmentHeader::LEN);
        let wrong = if more && !len.is_multiple_of(8) {
            Some((DropReason::FragmentTiny, PAYLOAD_LEN_AT))
        } else if at + offset + len > PACKET_MAX {
            Some((DropReason::FragmentLength, at + OFFSET_AT))
        } else {
            None
        };
        if let Some((reason, at)) = wrong {
            let problem = ipv6::ParameterProblem::new(icmp6::Code::WRONG_FIELD.0, at);
            self.parameter_problem(&mbuf, received, Some(problem), now);
            return Err(reason);
        }
        self.fragment_input(mbuf, fragment, (received.ip_offset, received.interface), now)
    }

    fn fragment_input(
        &mut self,
        mut mbuf: Mbuf,
        fragment: &Fragment,
        (ip_offset, interface): (usize, u16),
        now: Instant,
    ) -> Result<(), DropReason> {
        let &Fragment { ref name, offset, more, ecn, header_len, len } = fragment;
        let padding = usize::from(mbuf.data_len()).saturating_sub(ip_offset + header_len + len);
        let cut = u16::try_from(padding).is_ok_and(|padding| mbuf.trim(padding));
        if !cut || !drop_front(&mut mbuf, ip_offset) {
            return Err(DropReason::FragmentLength);
        }
        // Ports are in one fragment only: they can't say which worker all are to meet at.
        let owner = meeting_place(name, self.mesh.workers());
        if owner != self.mesh.me {
            self.counters.worker.handoffs.increment();
            let handoff = Handoff::Packet { interface, mbuf };
            return self.mesh.send(owner, handoff).map_err(|_| DropReason::HandoffQueueFull);
        }
        let piece = Piece { offset, len, more, ecn, interface, packet: mbuf };
        let drops = &self.counters.drops;
        let lost = |reason: DropReason, count: usize| drops.add(reason as usize, count as u64);
        let Some(pieces) = self.fragments.add(name, piece, now, lost)? else {
            let at = Some(now + FRAGMENT_TIMEOUT);
            self.timers.arm(at, Owner::Fragments, &mut self.fragments_timer);
            return Ok(());
        };
        let whole = self.join(&pieces).inspect_err(|reason| {
            // The caller counts the one that has just come.
            let others = pieces.len().saturating_sub(1);
            self.counters.drops.add(*reason as usize, others as u64);
        })?;
        if ip_version(&whole) == 6 {
            self.counters.ipv6.packets_reassembled.increment();
            self.ipv6_input(whole, 0, interface, now)
        } else {
            self.counters.ipv4.packets_reassembled.increment();
            self.ipv4_input(whole, 0, interface, now)
        }
    }

    /// One packet of all pieces, with the headers of the first.
    fn join(&mut self, pieces: &[Piece<Mbuf>]) -> Result<Mbuf, DropReason> {
        let packet = pieces.first().map(|first| first.packet.data()).unwrap_or_default();
        let is_ipv6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        let shape = if is_ipv6 { Shape::of_ipv6(packet)? } else { Shape::of_ipv4(packet)? };
        let head = packet.get(..shape.head_len).ok_or(DropReason::FragmentLength)?;
        let len = head.len() + pieces.iter().map(|piece| piece.len).sum::<usize>();
        if len > PACKET_MAX {
            return Err(DropReason::FragmentLength);
        }
        let mut whole = self.out.pools.alloc_for(len).ok_or(DropReason::MbufExhausted)?;
        let mut room = whole.data_mut();
        for part in core::iter::once(head).chain(pieces.iter().map(Piece::bytes)) {
            let halves = room.split_at_mut_checked(part.len());
            let (into, rest) = halves.ok_or(DropReason::FragmentLength)?;
            into.copy_from_slice(part);
            room = rest;
        }
        let is_congested = pieces.iter().any(|piece| piece.ecn == CONGESTED);
        shape.mend(whole.data_mut(), is_congested)?;
        // The header is our own work; nobody has looked at what it carries as a whole.
        whole.set_rx_checksums(ChecksumState::Good, ChecksumState::Unknown);
        Ok(whole)
    }

    /// The time of some packets is over: who has sent their first fragments is told (RFC 792,
    /// RFC 4443 3.3).
    pub(crate) fn fragments_timeout(&mut self, name: Fired, now: Instant) {
        if !self.fragments_timer.fired(name) {
            return;
        }
        let mut firsts = Vec::new();
        let drops = &self.counters.drops;
        self.fragments.expire(now, |count, first| {
            drops.add(DropReason::FragmentTimeout as usize, count as u64);
            firsts.extend(first);
        });
        for first in firsts {
            if ip_version(&first.packet) == 6 {
                self.reassembly_time_exceeded6(&first.packet, first.interface, now);
            } else {
                let code = icmp::Code::REASSEMBLY_TIME_EXCEEDED;
                let header = icmp::Header::time_exceeded(code);
                self.icmp_error(&first.packet, 0, header, None, now);
            }
        }
        let next = self.fragments.next_timeout();
        self.timers.arm(next, Owner::Fragments, &mut self.fragments_timer);
    }

    fn reassembly_time_exceeded6(&mut self, first: &Mbuf, interface: u16, now: Instant) {
        let Ok(packet) = ipv6::Packet::parse(first.data()) else { return };
        let destination = packet.header.dst();
        let to = self.out.addresses.classify6(destination, interface);
        let received = Received {
            interface,
            source: packet.header.src().into(),
            destination: destination.into(),
            to,
            ip_offset: 0,
            ip_len: ipv6::Header::LEN,
            segment_len: packet.payload.len(),
            verified: false,
            tos: 0,
            ttl: 0,
            heard: false,
        };
        if to == Destination::Local {
            let (kind, code) = (icmp6::Type::TIME_EXCEEDED, icmp6::Code::REASSEMBLY_TIME_EXCEEDED);
            self.send_error6(first, &received, icmp6::Header::new(kind, code, 0), now);
        }
    }
}

/// The worker that all fragments of a packet go to.
fn meeting_place(name: &Name, workers: u16) -> u16 {
    let [a, b, c, d] = name.id.to_be_bytes();
    owner(
        &FlowKey {
            local_addr: name.destination,
            remote_addr: name.source,
            local_port: u16::from_be_bytes([a, b]),
            remote_port: u16::from_be_bytes([c, d]),
        },
        workers,
    )
}

/// How the headers of a whole packet differ from those of its first fragment.
struct Shape {
    /// So many bytes of them stay.
    head_len: usize,
    /// IPv6: where the fragment header was announced, and what follows instead.
    next: Option<(usize, u8)>,
}

impl Shape {
    fn of_ipv4(first: &[u8]) -> Result<Self, DropReason> {
        let packet = ipv4::Packet::parse(first)?;
        Ok(Self { head_len: packet.header.header_len(), next: None })
    }

    fn of_ipv6(first: &[u8]) -> Result<Self, DropReason> {
        let chain = ipv6::Packet::parse(first)?.chain().map_err(|fault| fault.reason)?;
        let fragment = chain.fragment.ok_or(DropReason::Ipv6HeaderChain)?;
        Ok(Self {
            head_len: fragment.at,
            next: Some((fragment.named_at, fragment.header.next_header)),
        })
    }

    /// Makes the headers of a first fragment those of the whole packet.
    fn mend(&self, packet: &mut [u8], is_congested: bool) -> Result<(), DropReason> {
        let len = packet.len();
        if let Some((named_at, next)) = self.next {
            *packet.get_mut(named_at).ok_or(DropReason::Ipv6HeaderChain)? = next;
            let (header, _) =
                ipv6::Header::mut_from_prefix(packet).map_err(|_| DropReason::Ipv6TooShort)?;
            let payload_len = u16::try_from(len.saturating_sub(ipv6::Header::LEN));
            header.payload_len.set(payload_len.map_err(|_| DropReason::FragmentLength)?);
            if is_congested {
                *header = header.with_traffic_class(header.traffic_class() | CONGESTED);
            }
            return Ok(());
        }
        let (header, _) =
            ipv4::Header::mut_from_prefix(packet).map_err(|_| DropReason::Ipv4TooShort)?;
        header.total_len.set(u16::try_from(len).map_err(|_| DropReason::FragmentLength)?);
        header.flags_fragment.set(0);
        if is_congested {
            header.tos |= CONGESTED;
        }
        header.checksum.set(0);
        let head = packet.get(..self.head_len).ok_or(DropReason::Ipv4TooShort)?;
        let sum = Checksum::new().sum(head).finish();
        let (header, _) =
            ipv4::Header::mut_from_prefix(packet).map_err(|_| DropReason::Ipv4TooShort)?;
        header.checksum.set(sum);
        Ok(())
    }
}
