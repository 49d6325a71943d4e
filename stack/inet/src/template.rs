//! Headers of the segments that one decision of the engine has made: filled in and summed once, then
//! copied in front of each segment's text, where only little differs.
//!
//! ```text
//!   ethernet │ ip: length, checksum of IPv4 │ tcp: seq, flags, checksum │ options
//!   14, or 0   by length of the text          by segment
//! ```

use core::net::Ipv4Addr;

use dpdk::{L4, TxChecksum as PortChecksum};
use tcp::{Cut, SegmentOut};
use wire::ipv4::Protocol;
use wire::{Checksum, ethernet, tcp as header};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::family::Family;
use crate::network::TxChecksum;
use crate::tcp_output::Way;

/// The headers that every segment has.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Packet<H> {
    ip: H,
    tcp: header::Header,
}

const _: () = assert!(size_of::<Packet<wire::ipv4::Header>>() == 40);
const _: () = assert!(size_of::<Packet<wire::ipv6::Header>>() == 60);

/// Length of the timestamps option with its padding, the only options of most segments.
const TIMESTAMPS_LEN: usize = 12;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Template<F: Family = Ipv4Addr> {
    ethernet: Option<ethernet::Header>,
    packet: Packet<F::Header>,
    options: [u8; header::OPTIONS_LEN_MAX],
    options_len: usize,
    /// Length of the text that the IP header is filled in for.
    text_len: Option<u32>,
    /// Length of the segment with that text.
    segment_len: u16,
    /// What the TCP checksum covers beside text, sequence number, flags and length; the pseudo header
    /// alone if the port adds the rest.
    sum: Checksum,
    by: TxChecksum,
    /// The port cuts what is sent, and adds the length to the sum for each piece.
    pub(crate) uncut: bool,
}

impl<F: Family> Template<F> {
    /// The headers of `whole`. Without `ethernet` they begin with those of IP.
    #[inline(always)]
    pub(crate) fn new(
        way: &Way<'_, F>,
        whole: &SegmentOut,
        ethernet: Option<ethernet::Header>,
    ) -> Option<Self> {
        let Way { flow, hosts, hop, options: user } = *way;
        let mut options = [0_u8; header::OPTIONS_LEN_MAX];
        let options_len = whole.options.emit(&mut options);
        let mut tcp = header::Header::new(
            flow.local_port,
            flow.remote_port,
            0,
            whole.ack.value(),
            0,
            whole.window,
        )
        .with_options_len(options_len)?;
        tcp.urgent.set(whole.urgent);
        let pseudo = F::pseudo(hosts);
        let sum = match hop.checksum {
            TxChecksum::Port => pseudo,
            TxChecksum::Stack => pseudo.sum(tcp.as_bytes()).sum(options.get(..options_len)?),
        };
        let ip = F::header(hosts, Protocol::TCP, user.ttl, tos(user.tos, whole.ect))?;
        Some(Self {
            ethernet,
            packet: Packet { ip, tcp },
            options,
            options_len,
            text_len: None,
            segment_len: 0,
            sum,
            by: hop.checksum,
            uncut: false,
        })
    }

    /// Bytes of all headers, at most 114.
    pub(crate) fn len(&self) -> u16 {
        let link_len = self.ethernet.map_or(0, |_| size_of::<ethernet::Header>());
        let len = link_len + size_of::<Packet<F::Header>>() + self.options_len;
        u16::try_from(len).unwrap_or(u16::MAX)
    }

    /// Bytes of the IP packet around so much text.
    pub(crate) fn packet_len(&self, text_len: u32) -> u32 {
        let headers_len = size_of::<Packet<F::Header>>() + self.options_len;
        u32::try_from(headers_len).map_or(u32::MAX, |len| len + text_len)
    }

    /// Writes the headers of a segment whose text sums up to `text` into `room`, which is as long as
    /// they are. `None`: it is not, or the text too long for IP.
    #[inline(always)]
    pub(crate) fn emit(&mut self, cut: &Cut, text: Checksum, room: &mut [u8]) -> Option<()> {
        if self.text_len != Some(cut.text_len) {
            self.set_text_len(cut.text_len)?;
        }
        let room = match &self.ethernet {
            Some(header) => {
                let (place, rest) = ethernet::Header::mut_from_prefix(room).ok()?;
                *place = *header;
                rest
            }
            None => room,
        };
        let (packet, room) = Packet::<F::Header>::mut_from_prefix(room).ok()?;
        *packet = self.packet;
        let options = self.options.get(..self.options_len).filter(|o| o.len() == room.len())?;
        match (<&mut [u8; TIMESTAMPS_LEN]>::try_from(&mut *room), options.first_chunk()) {
            (Ok(place), Some(options)) => *place = *options,
            _ => room.copy_from_slice(options),
        }
        let tcp = &mut packet.tcp;
        tcp.seq.set(cut.seq.value());
        *tcp = tcp.with_flags(cut.flags.bits());
        let (seq, flags) = (cut.seq.value(), u16::from(cut.flags.bits()));
        tcp.checksum.set(match self.by {
            TxChecksum::Port if self.uncut => self.sum.folded(),
            TxChecksum::Port => self.sum_with_len().folded(),
            TxChecksum::Stack => {
                self.sum_with_len().add_u32(seq).add_u16(flags).add_u16(text.folded()).finish()
            }
        });
        Some(())
    }

    fn sum_with_len(&self) -> Checksum {
        self.sum.add_u16(self.segment_len)
    }

    fn set_text_len(&mut self, text_len: u32) -> Option<()> {
        let headers_len = u32::try_from(header::Header::LEN + self.options_len).ok()?;
        let segment_len = headers_len.checked_add(text_len)?;
        if !F::set_segment_len(&mut self.packet.ip, segment_len) {
            return None;
        }
        self.segment_len = u16::try_from(segment_len).ok()?;
        self.text_len = Some(text_len);
        Some(())
    }

    /// What the port is to fill in.
    pub(crate) fn offload(&self) -> Option<PortChecksum> {
        let l4_len = u8::try_from(header::Header::LEN + self.options_len).unwrap_or(u8::MAX);
        (self.by == TxChecksum::Port).then_some(PortChecksum {
            l2_len: 14,
            l3_len: F::HEADER_LEN,
            l4_len,
            ipv4: F::IS_IPV4,
            ipv4_header: false,
            l4: Some(L4::Tcp),
            segment_len: 0,
        })
    }
}

/// The user's DSCP with the ECN field of this segment, which is not the user's (RFC 3168 §5).
fn tos(options_tos: u8, ect: bool) -> u8 {
    const ECN: u8 = 0b11;
    const ECT_0: u8 = 0b10;
    options_tos & !ECN | if ect { ECT_0 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv6Addr};

    use crate::flow::Flow;
    use crate::network::Destination;
    use crate::option::Options;
    use crate::output::Hop;
    use proptest::prelude::*;
    use tcp::{Flags, SackBlock, SackBlocks, SeqNum, Timestamps};
    use types::MacAddr;
    use wire::{ipv4, ipv6};

    /// The same frame made field by field, each sum taken over all it covers.
    fn plain<F: Family + Into<IpAddr>>(
        way: &Way<'_, F>,
        segment: &SegmentOut,
        ethernet: Option<ethernet::Header>,
        text: &[u8],
    ) -> Vec<u8> {
        let Way { flow, hosts, hop, options } = way;
        let mut list = [0; 40];
        let len = segment.options.emit(&mut list);
        let list = &list[..len];
        let mut tcp = header::Header::new(
            flow.local_port,
            flow.remote_port,
            segment.seq.value(),
            segment.ack.value(),
            segment.flags.bits(),
            segment.window,
        )
        .with_options_len(len)
        .unwrap();
        tcp.urgent.set(segment.urgent);
        let (from, to) = *hosts;
        let tcp_len = 20 + len + text.len();
        let tcp = match hop.checksum {
            TxChecksum::Stack => tcp.with_checksum(from, to, list, text),
            TxChecksum::Port => tcp.with_pseudo_checksum(from, to, u16::try_from(tcp_len).unwrap()),
        };
        let class = tos(options.tos, segment.ect);
        let ip = match (from.into(), to.into()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let ip = ipv4::Header::new(from, to, Protocol::TCP, tcp_len).unwrap();
                ip.with_ttl(options.ttl).with_tos(class).with_checksum().as_bytes().to_vec()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let ip = ipv6::Header::new(from, to, Protocol::TCP, tcp_len).unwrap();
                ip.with_hop_limit(options.ttl).with_traffic_class(class).as_bytes().to_vec()
            }
            _ => unreachable!("hosts are of one family"),
        };
        let link = ethernet.as_ref().map_or(&[][..], IntoBytes::as_bytes);
        [link, &ip, tcp.as_bytes(), list, text].concat()
    }

    fn from_template<F: Family>(
        way: &Way<'_, F>,
        whole: &SegmentOut,
        ethernet: Option<ethernet::Header>,
        text: &[u8],
    ) -> Vec<Vec<u8>> {
        let mut template = Template::new(way, whole, ethernet).unwrap();
        let emit = |cut: Cut| {
            let text = &text[cut.text_offset as usize..][..cut.text_len as usize];
            let mut frame = vec![0xee; usize::from(template.len())];
            template.emit(&cut, Checksum::new().sum(text), &mut frame).unwrap();
            frame.extend_from_slice(text);
            frame
        };
        whole.cuts().map(emit).collect()
    }

    prop_compose! {
        fn a_segment()(
            numbers in any::<(u32, u32, u16, u16)>(),
            flags in any::<u8>(),
            ect in any::<bool>(),
            timestamps in proptest::option::of(any::<(u32, u32)>()),
            sack in prop::collection::vec(any::<(u32, u32)>(), 0..4),
            user_timeout in proptest::option::of(any::<u16>()),
            text_len in 0_u32..5_000,
            size in prop_oneof![Just(0_u16), 64_u16..1_500],
        ) -> SegmentOut {
            let (seq, ack, window, urgent) = numbers;
            let mut blocks = SackBlocks::NONE;
            for (start, end) in sack {
                blocks.push(SackBlock { start: SeqNum::new(start), end: SeqNum::new(end) });
            }
            let timestamps = timestamps.map(|(value, echo)| Timestamps { value, echo });
            let options = tcp::Options { timestamps, sack: blocks, user_timeout, ..Default::default() };
            SegmentOut {
                seq: SeqNum::new(seq),
                ack: SeqNum::new(ack),
                flags: Flags::from_bits(flags),
                window,
                urgent,
                ect,
                options,
                text_offset: 0,
                text_len,
                gso_size: size,
            }
        }
    }

    proptest! {
        #[test]
        fn segments_of_a_burst_are_what_they_would_be_one_by_one(
            whole in a_segment(),
            bytes in any::<u64>(),
            hosts in any::<([u8; 16], [u8; 16])>(),
            ports in any::<(u16, u16)>(),
            (ttl, user_tos) in any::<(u8, u8)>(),
            offer in any::<(bool, bool)>(),
        ) {
            let text: Vec<u8> = bytes.to_le_bytes().into_iter().chain([3, 5, 250]).cycle().take(5_000).collect();
            let options = Options { tos: user_tos, ttl, ..Options::default() };
            let (local, remote) = hosts;
            let hosts = (Ipv6Addr::from(local), Ipv6Addr::from(remote));
            one_by_one(hosts, ports, offer, &options, &whole, &text);
            let ipv4 = |bytes: [u8; 16]| Ipv4Addr::from(*bytes.first_chunk().unwrap());
            one_by_one((ipv4(local), ipv4(remote)), ports, offer, &options, &whole, &text);
        }
    }

    fn one_by_one<F: Family + Into<IpAddr>>(
        hosts: (F, F),
        (local_port, remote_port): (u16, u16),
        (port_sums, has_link): (bool, bool),
        options: &Options,
        whole: &SegmentOut,
        text: &[u8],
    ) {
        let flow = Flow { local_port, remote_port, ..Flow::NONE };
        let hop = Hop {
            interface: 1,
            next: hosts.1,
            destination: Destination::Remote,
            mtu: 1500,
            checksum: if port_sums { TxChecksum::Port } else { TxChecksum::Stack },
            loans: true,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        };
        let way = Way { flow: &flow, hosts, hop: &hop, options };
        let macs = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let link = ethernet::Header::new(macs.0, macs.1, ethernet::EtherType::IPV4);
        let link = has_link.then_some(link);
        let frames = from_template(&way, whole, link, text);
        assert_eq!(frames.len(), whole.cut_count() as usize);
        for (frame, cut) in frames.iter().zip(whole.cuts()) {
            let text = &text[cut.text_offset as usize..][..cut.text_len as usize];
            assert_eq!(frame, &plain(&way, &whole.cut(&cut), link, text));
        }
    }

    #[test]
    fn text_too_long_for_ipv4_is_refused() {
        let flow = Flow::NONE;
        let hop = Hop {
            interface: 1,
            next: flow.remote_addr,
            destination: Destination::Remote,
            mtu: 1500,
            checksum: TxChecksum::Stack,
            loans: false,
            tso_buffers_max: 0,
            tso_ipv4_checksum: false,
        };
        let hosts = (flow.local_addr, flow.remote_addr);
        let way = Way { flow: &flow, hosts, hop: &hop, options: &Options::default() };
        let ack = tcp::closed_reply(&tcp::SegmentIn {
            seq: SeqNum::new(1),
            ack: SeqNum::new(1),
            flags: Flags::ACK,
            window: 0,
            urgent: 0,
            ecn: tcp::Codepoint::NotEct,
            options: tcp::Options::default(),
            text: &[],
        })
        .unwrap();
        let mut template = Template::new(&way, &ack, None).unwrap();
        let mut room = [0; 40];
        let cut = |text_len| Cut { text_len, ..ack.cuts().next().unwrap() };
        assert!(template.emit(&cut(65_496), Checksum::new(), &mut room).is_none());
        assert!(template.emit(&cut(65_495), Checksum::new(), &mut room).is_some());
        assert!(template.emit(&cut(0), Checksum::new(), &mut room[1..]).is_none());
    }
}
