//! A segment out of bytes, near the numbers that matter.

use tcp::{Codepoint, Flags, Options, SackBlock, SackBlocks, SegmentIn, SeqNum, Timestamps};

use crate::bytes::Bytes;

/// Longest text of a segment, above any MSS in use.
const TEXT_LEN_MAX: u16 = 3_000;

/// Text whose bytes count up, so that every byte of a stream tells where it belongs, modulo 256.
static TEXT: [u8; 256 + TEXT_LEN_MAX as usize] = {
    let mut text = [0_u8; 256 + TEXT_LEN_MAX as usize];
    let mut at = 1;
    while at < text.len() {
        text[at] = text[at - 1].wrapping_add(1);
        at += 1;
    }
    text
};

fn text(seq: SeqNum, len: usize) -> &'static [u8] {
    let from = usize::from(seq.value().to_be_bytes()[3]);
    &TEXT[from..from + len]
}

/// What the peer knows: the next numbers of both directions, and the last timestamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) seq: SeqNum,
    pub(crate) ack: SeqNum,
    pub(crate) stamps: Timestamps,
}

/// At a number, close to it, or anywhere.
pub(crate) fn near(bytes: &mut Bytes<'_>, at: SeqNum) -> SeqNum {
    match bytes.u8() % 8 {
        0 => SeqNum::new(bytes.u32()),
        1 => at + u32::from(bytes.below(20_000)) - 10_000,
        2 => at + u32::from(bytes.u8() % 4) - 2,
        3 => at + u32::from(bytes.u8()) * 100,
        _ => at,
    }
}

fn flags(bytes: &mut Bytes<'_>) -> Flags {
    match bytes.u8() % 16 {
        0 => Flags::from_bits(bytes.u8()),
        1 => Flags::SYN,
        2 => Flags::SYN | Flags::ACK,
        3 => Flags::FIN | Flags::ACK,
        4 => Flags::RST,
        5 => Flags::URG | Flags::ACK,
        6 => Flags::ACK | Flags::ECE,
        7 => Flags::ACK | Flags::CWR | Flags::PSH,
        _ => Flags::ACK,
    }
}

/// Blocks of what we may have sent.
fn sack(bytes: &mut Bytes<'_>, sent: SeqNum) -> SackBlocks {
    let mut blocks = SackBlocks::NONE;
    for _ in 0..=bytes.u8() % 4 {
        let start = sent - u32::from(bytes.below(30_000));
        blocks.push(SackBlock { start, end: start + u32::from(bytes.below(10_000)) });
    }
    blocks
}

fn options(bytes: &mut Bytes<'_>, peer: &Peer) -> Options {
    let what = bytes.u8();
    let mut options = match what & 7 {
        // An option list as a peer may write it: SACK blocks, Fast Open, rubbish.
        0 => Options::parse(bytes.take(40)),
        1 => Options {
            mss: Some(bytes.u16()),
            window_scale: Some(bytes.u8()),
            sack_permitted: bytes.bool(),
            ..Options::default()
        },
        2 | 3 => Options { sack: sack(bytes, peer.ack), ..Options::default() },
        _ => Options::default(),
    };
    if what & 0xc0 != 0 {
        let value = peer.stamps.value.wrapping_add(u32::from(what >> 3 & 7));
        options.timestamps = Some(match what & 0x30 {
            0x30 => Timestamps { value: bytes.u32(), echo: bytes.u32() },
            _ => Timestamps { value, echo: peer.stamps.echo },
        });
    }
    options
}

/// The peer's next segment.
pub(crate) fn segment(bytes: &mut Bytes<'_>, peer: &Peer) -> SegmentIn<'static> {
    let flags = flags(bytes);
    let seq = near(bytes, peer.seq);
    let ack = near(bytes, peer.ack);
    let shape = bytes.u8();
    let len = match shape % 4 {
        0 => usize::from(bytes.below(TEXT_LEN_MAX)),
        1 => 1 + usize::from(shape >> 2),
        _ => 0,
    };
    // The first byte of text comes after a SYN.
    let first = if flags.contains(Flags::SYN) { seq + 1 } else { seq };
    SegmentIn {
        seq,
        ack,
        flags,
        ecn: [Codepoint::NotEct, Codepoint::Ect0, Codepoint::Ect1, Codepoint::Ce]
            [usize::from(shape >> 2 & 3)],
        window: if shape >= 0xf0 { u16::from(shape & 1) } else { bytes.u16() },
        urgent: if flags.contains(Flags::URG) { bytes.u16() } else { 0 },
        options: options(bytes, peer),
        text: text(first, len),
    }
}
