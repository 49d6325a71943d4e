//! Segments as bytes on the wire and back: IPv4 and TCP headers with real checksums.

use core::net::{IpAddr, Ipv4Addr};

use tcp::{Codepoint, Flags, Options, SegmentIn, SegmentOut, SeqNum};
use types::{DropReason, FlowKey};
use wire::{IntoBytes, icmp, ipv4};

/// Headers of a segment without options.
pub const HEADERS_LEN: u16 = 40;

/// ECN-capable transport (RFC 3168 §5).
const ECT_0: u8 = 0b10;

/// The address that routers answer from.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 254);

/// What a packet says to the host that received it.
#[derive(Debug)]
pub enum Arrived<'a> {
    /// A segment for one of its flows.
    Segment(FlowKey, SegmentIn<'a>),
    /// A router wants smaller packets than the one with this sequence number.
    TooBig {
        /// The flow as the host sees it.
        flow: FlowKey,
        /// The quoted sequence number.
        seq: SeqNum,
        /// What the router's next link carries.
        mtu: u16,
    },
}

/// Writes a segment of `flow`, whose text `fill` supplies, to `packet`.
pub fn emit(
    packet: &mut Vec<u8>,
    flow: &FlowKey,
    segment: &SegmentOut,
    fill: impl FnOnce(&mut [u8]),
) {
    let (src, dst) = (v4(flow.local_addr), v4(flow.remote_addr));
    let mut options = [0; wire::tcp::OPTIONS_LEN_MAX];
    let options_len = segment.options.emit(&mut options);
    let options = &options[..options_len];
    let text_at = usize::from(HEADERS_LEN) + options_len;
    packet.clear();
    packet.resize(text_at + segment.text_len as usize, 0);
    fill(&mut packet[text_at..]);
    let mut tcp = wire::tcp::Header::new(
        flow.local_port,
        flow.remote_port,
        segment.seq.value(),
        segment.ack.value(),
        segment.flags.bits(),
        segment.window,
    );
    tcp.urgent = segment.urgent.into();
    let tcp = tcp.with_options_len(options_len).expect("the engine pads its options");
    let tcp = tcp.with_checksum(src, dst, options, &packet[text_at..]);
    let payload_len = packet.len() - ipv4::Header::LEN;
    let ip = ipv4::Header::new(src, dst, ipv4::Protocol::TCP, payload_len);
    let tos = if segment.ect { ECT_0 } else { 0 };
    let ip = ip.expect("the engine's segments fit").with_tos(tos).with_checksum();
    packet[..20].copy_from_slice(ip.as_bytes());
    packet[20..40].copy_from_slice(tcp.as_bytes());
    packet[40..text_at].copy_from_slice(options);
}

/// A router's "fragmentation needed" about `packet` (RFC 1191 §4).
#[must_use]
pub fn too_big(packet: &[u8], mtu: u16) -> Vec<u8> {
    let quote = icmp::quote(packet);
    let header = icmp::Header::fragmentation_needed(mtu).with_checksum(quote);
    let payload_len = header.as_bytes().len() + quote.len();
    let to = destination_of(&packet[12..16]);
    let ip = ipv4::Header::new(ROUTER, to, ipv4::Protocol::ICMP, payload_len);
    let ip = ip.expect("quotes are short").with_checksum();
    [ip.as_bytes(), header.as_bytes(), quote].concat()
}

/// Checks and reads what arrived.
///
/// # Errors
/// Damage, by the checksum or length that shows it.
pub fn parse(packet: &[u8]) -> Result<Arrived<'_>, DropReason> {
    let ip = ipv4::Packet::parse(packet)?;
    ip.verify()?;
    let (local, remote) = (ip.header.dst(), ip.header.src());
    if ip.header.protocol() == ipv4::Protocol::ICMP {
        return parse_icmp(ip.payload, local);
    }
    let parsed = wire::tcp::Segment::parse(ip.payload)?;
    parsed.verify(remote, local)?;
    let flow = FlowKey {
        local_addr: local.into(),
        remote_addr: remote.into(),
        local_port: parsed.header.dst_port.get(),
        remote_port: parsed.header.src_port.get(),
    };
    let segment = SegmentIn {
        ecn: Codepoint::from_tos(ip.header.tos),
        seq: SeqNum::new(parsed.header.seq.get()),
        ack: SeqNum::new(parsed.header.ack.get()),
        flags: Flags::from_bits(parsed.flags()),
        window: parsed.header.window.get(),
        urgent: parsed.header.urgent.get(),
        options: Options::parse(parsed.options),
        text: parsed.text,
    };
    Ok(Arrived::Segment(flow, segment))
}

fn parse_icmp(payload: &[u8], local: Ipv4Addr) -> Result<Arrived<'_>, DropReason> {
    let message = icmp::Message::parse(payload)?;
    message.verify()?;
    let quoted = message.quoted()?;
    let (local_port, remote_port) = quoted.ports().ok_or(DropReason::IcmpQuoted)?;
    let seq = quoted.tcp_sequence().ok_or(DropReason::IcmpQuoted)?;
    let flow = FlowKey {
        local_addr: local.into(),
        remote_addr: quoted.header.dst().into(),
        local_port,
        remote_port,
    };
    Ok(Arrived::TooBig { flow, seq: SeqNum::new(seq), mtu: message.header.mtu() })
}

/// Where a packet wants to go; it is one of ours, so it has a header.
#[must_use]
pub fn destination(packet: &[u8]) -> Ipv4Addr {
    destination_of(&packet[16..20])
}

fn destination_of(octets: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])
}

/// The worlds here are IPv4's; the engine does not know.
fn v4(addr: IpAddr) -> Ipv4Addr {
    match addr {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
