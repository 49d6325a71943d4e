//! Packets cut for a link that is too narrow for them (RFC 791 3.2, RFC 8200 4.5).

use core::net::Ipv6Addr;

use dpdk::Mbuf;
use types::{DropReason, Instant};
use wire::checksum::Checksum;
use wire::{ipv4, ipv6};
use zerocopy::IntoBytes;

use crate::output::{Hop, Output};
use crate::timer_wheel::Timers;

/// Options of an IPv4 header at most: it has 60 bytes.
const OPTIONS_MAX: usize = 40;

impl Output {
    /// Sends an IPv4 packet that may be cut along `hop` in pieces that fit. It may be a fragment itself.
    pub(crate) fn ipv4_fragments(
        &mut self,
        packet: &Mbuf,
        hop: &Hop,
        now: Instant,
        timers: &mut Timers,
    ) {
        let whole = match ipv4::Packet::parse(packet.data()) {
            Ok(whole) => whole,
            Err(reason) => return self.count_drop(reason),
        };
        let (copied, copied_len) = copied_options(whole.options);
        let later = copied.get(..copied_len).unwrap_or_default();
        let (mut options, mut rest) = (whole.options, whole.payload);
        let mut offset = whole.header.fragment_offset();
        while !rest.is_empty() {
            let room = usize::from(hop.mtu).saturating_sub(ipv4::Header::LEN + options.len());
            let len = if rest.len() <= room { rest.len() } else { room & !7 };
            let Some((piece, after)) = rest.split_at_checked(len).filter(|_| len > 0) else {
                return self.count_drop(DropReason::Ipv4TooBig);
            };
            let more = !after.is_empty() || whole.header.more_fragments();
            let Some(header) = whole.header.of_fragment(offset, more, options.len(), piece.len())
            else {
                return self.count_drop(DropReason::Ipv4TooBig);
            };
            let Some(mut mbuf) = self.alloc() else { return };
            let sum = Checksum::new().sum(header.as_bytes()).sum(options).finish();
            let header = header.with_this_checksum(sum);
            if ![header.as_bytes(), options, piece].iter().all(|part| mbuf.extend_from_slice(part))
            {
                return self.count_drop(DropReason::MbufExhausted);
            }
            self.counters().ipv4.fragments_sent.increment();
            self.link(mbuf, hop, now, timers);
            (options, rest) = (later, after);
            offset += len;
        }
    }

    /// Sends an IPv6 packet of our own, without extension headers, along `hop` in pieces that fit.
    pub(crate) fn ipv6_fragments(
        &mut self,
        packet: &Mbuf,
        id: u32,
        hop: &Hop<Ipv6Addr>,
        now: Instant,
        timers: &mut Timers,
    ) {
        const HEADERS_LEN: usize = ipv6::Header::LEN + ipv6::FragmentHeader::LEN;
        let whole = match ipv6::Packet::parse(packet.data()) {
            Ok(whole) => whole,
            Err(reason) => return self.count_drop(reason),
        };
        let room = usize::from(hop.mtu).saturating_sub(HEADERS_LEN) & !7;
        if room == 0 {
            return self.count_drop(DropReason::Ipv6TooBig);
        }
        let mut offset = 0_u16;
        let mut pieces = whole.payload.chunks(room).peekable();
        while let Some(piece) = pieces.next() {
            let protocol = ipv4::Protocol(whole.header.next_header);
            let more = pieces.peek().is_some();
            let head = ipv6::FragmentHeader::new(protocol, offset, more, id);
            let len = piece.len() + ipv6::FragmentHeader::LEN;
            let (Ok(payload_len), Ok(step)) = (u16::try_from(len), u16::try_from(piece.len()))
            else {
                return self.count_drop(DropReason::Ipv6TooBig);
            };
            let header = ipv6::Header {
                payload_len: payload_len.into(),
                next_header: ipv6::FragmentHeader::PROTOCOL.0,
                ..*whole.header
            };
            let Some(mut mbuf) = self.alloc() else { return };
            let parts = [header.as_bytes(), head.as_bytes(), piece];
            if !parts.iter().all(|part| mbuf.extend_from_slice(part)) {
                return self.count_drop(DropReason::MbufExhausted);
            }
            self.counters().ipv6.fragments_sent.increment();
            self.link6(mbuf, hop, now, timers);
            offset = offset.saturating_add(step);
        }
    }
}

/// The options that every fragment has, not only the first (RFC 791 3.1), and their length. `options`
/// are a well-formed list.
fn copied_options(options: &[u8]) -> ([u8; OPTIONS_MAX], usize) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let (mut copied, mut copied_len) = ([END; OPTIONS_MAX], 0);
    let mut rest = options;
    while let Some((&kind, after)) = rest.split_first() {
        let len = match kind {
            END => break,
            NO_OPERATION => 1,
            _ => usize::from(after.first().copied().unwrap_or(0)),
        };
        let Some((option, after)) = rest.split_at_checked(len).filter(|_| len > 0) else { break };
        let room = copied.get_mut(copied_len..copied_len + len);
        if kind & COPIED != 0
            && let Some(room) = room
        {
            room.copy_from_slice(option);
            copied_len += len;
        }
        rest = after;
    }
    (copied, copied_len.next_multiple_of(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_fragments_have_the_options_that_say_so() {
        let record_route = [7, 3, 4];
        let alert = [148, 4, 0, 0];
        let stream = [136, 4, 1, 2];
        let all = [&record_route[..], &[1], &alert, &stream, &[0, 0, 0, 0]].concat();
        let (copied, len) = copied_options(&all);
        assert_eq!(copied[..len], [alert, stream].concat());
        assert_eq!(copied_options(&record_route).1, 0);
        assert_eq!(
            copied_options(&[130, 3, 9]),
            (
                {
                    let mut padded = [0; OPTIONS_MAX];
                    padded[..3].copy_from_slice(&[130, 3, 9]);
                    padded
                },
                4
            )
        );
    }
}
