//! A plain frame is one that the layers' parsers accept, seen at once.

use proptest::prelude::*;
use proptest::sample::Index;
use wire::ethernet::{EtherType, Frame};
use wire::ipv4::{Packet, Protocol};
use wire::tcp::{Segment, flag};
use wire::{Checksum, IntoBytes, Plain, ethernet, ipv4, tcp};

use crate::{DST, SRC};

const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
const ACK: u8 = flag::ACK;

/// A sound frame, padded to Ethernet's minimum.
fn frame(seq: u32, flags: u8, options: &[u8], text: &[u8]) -> Vec<u8> {
    let tcp = tcp::Header::new(4000, 80, seq, 77, flags, 500);
    let tcp = tcp.with_options_len(options.len()).unwrap().with_checksum(SRC, DST, options, text);
    let len = 20 + options.len() + text.len();
    let ip = ipv4::Header::new(SRC, DST, Protocol::TCP, len).unwrap().with_checksum();
    let (to, from) = (types::MacAddr([2, 0, 0, 0, 0, 2]), types::MacAddr([2, 0, 0, 0, 0, 1]));
    let mut bytes = ethernet::Header::new(to, from, EtherType::IPV4).as_bytes().to_vec();
    bytes.extend_from_slice(ip.as_bytes());
    bytes.extend_from_slice(tcp.as_bytes());
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(text);
    bytes.resize(bytes.len().max(ethernet::MIN_FRAME), 0);
    bytes
}

/// What the layers say of a frame, in the words of `Plain`; `None` if one of them refuses it, or if
/// it is not plain.
fn layer_by_layer(bytes: &[u8]) -> Option<(Frame<'_>, Packet<'_>, Segment<'_>)> {
    let frame = Frame::parse(bytes).ok()?;
    let packet = Packet::parse(frame.payload).ok()?;
    let segment = Segment::parse(packet.payload).ok()?;
    let plain = frame.header.ethertype() == EtherType::IPV4
        && packet.options.is_empty()
        && !packet.is_fragment()
        && packet.header.protocol() == Protocol::TCP
        && matches!(segment.options, [] | [1, 1, 8, 10, _, _, _, _, _, _, _, _]);
    plain.then_some((frame, packet, segment))
}

/// Both ways agree on whether a frame is plain, and then on everything in it.
fn assert_agree(bytes: &[u8]) {
    let (short, long) = (Plain::parse(bytes), layer_by_layer(bytes));
    assert_eq!(short.is_some(), long.is_some(), "{bytes:02x?}");
    let (Some(plain), Some((frame, packet, segment))) = (short, long) else { return };
    assert_eq!(plain.station(), frame.header.dst());
    assert_eq!((plain.src(), plain.dst()), (packet.header.src(), packet.header.dst()));
    assert_eq!(plain.tos(), packet.header.tos);
    assert_eq!(plain.src_port(), segment.header.src_port.get());
    assert_eq!(plain.dst_port(), segment.header.dst_port.get());
    assert_eq!(plain.seq(), segment.header.seq.get());
    assert_eq!(plain.ack(), segment.header.ack.get());
    assert_eq!(plain.flags(), segment.flags());
    assert_eq!(plain.window(), segment.header.window.get());
    assert_eq!(plain.urgent(), segment.header.urgent.get());
    let options = plain.timestamps.map(IntoBytes::as_bytes).unwrap_or_default();
    assert_eq!(options, segment.options);
    assert_eq!(plain.text, segment.text);
    assert_eq!(
        bytes.get(plain.text_offset()..).unwrap().get(..plain.text.len()).unwrap(),
        plain.text
    );
    assert_eq!(plain.text_of_next(bytes), Some(plain.text));
    assert!(!packet.has_source_route().unwrap());
    assert_eq!(plain.is_header_valid(), packet.verify().is_ok());
    assert_eq!(plain.is_segment_valid(), segment.verify(plain.src(), plain.dst()).is_ok());
    assert_sibling(&plain, &plain, bytes);
}

/// Any frame beside a plain one: its sibling is what the long way says, or another flow's.
fn assert_sibling(one: &Plain<'_>, plain: &Plain<'_>, bytes: &[u8]) {
    let about = |plain: &Plain<'_>| {
        (plain.station(), plain.src(), plain.dst(), plain.src_port(), plain.dst_port(), plain.tos())
    };
    let sibling = one.sibling(bytes).map(|plain| format!("{plain:?}"));
    assert_eq!(sibling, (about(one) == about(plain)).then(|| format!("{plain:?}")));
}

/// Whatever bit differs between two frames: the comparison sees what the parser sees.
#[test]
fn a_sibling_is_plain_and_of_the_same_flow() {
    for options in [&[][..], &TIMESTAMPS] {
        let first = frame(1, ACK, options, b"some text");
        let one = Plain::parse(&first).unwrap();
        for bit in 0..8 * first.len() {
            let mut bytes = first.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match Plain::parse(&bytes) {
                Some(plain) => assert_sibling(&one, &plain, &bytes),
                None => assert!(one.sibling(&bytes).is_none(), "bit {bit}"),
            }
        }
        for len in 0..first.len() {
            assert_eq!(one.sibling(&first[..len]).is_some(), Plain::parse(&first[..len]).is_some());
        }
    }
}

#[test]
fn a_usual_frame_is_plain_and_sound() {
    for options in [&[][..], &TIMESTAMPS] {
        for text in [&b""[..], b"some text"] {
            let bytes = frame(1, ACK, options, text);
            let plain = Plain::parse(&bytes).unwrap();
            assert!(plain.is_header_valid() && plain.is_segment_valid());
            assert_agree(&bytes);
        }
    }
}

#[test]
fn every_bit_of_the_headers_is_looked_at() {
    for options in [&[][..], &TIMESTAMPS] {
        let sound = frame(1, ACK, options, b"some text");
        for bit in 0..8 * (Plain::HEADERS_LEN + options.len()) {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_agree(&bytes);
            let plain = Plain::parse(&bytes);
            let sums = plain.is_some_and(|p| p.is_header_valid() && p.is_segment_valid());
            // Stations and the EtherType are covered by the frame's check sequence alone.
            assert_eq!(sums, plain.is_some() && bit / 8 < 14, "bit {bit}");
        }
        for len in 0..sound.len() {
            assert_agree(&sound[..len]);
        }
    }
}

/// The next text of a flow follows; nothing else does.
#[test]
fn only_the_next_text_follows() {
    let first = frame(u32::MAX - 3, ACK, &TIMESTAMPS, b"0123456789");
    let before = Plain::parse(&first).unwrap();
    let follows = |bytes: &[u8]| before.sibling(bytes).is_some_and(|next| next.continues(&before));
    let next = frame(6, ACK, &TIMESTAMPS, b"abc");
    assert!(follows(&next) && follows(&frame(6, ACK | flag::PSH, &TIMESTAMPS, b"abc")));
    assert!(!follows(&frame(7, ACK, &TIMESTAMPS, b"abc")), "a hole");
    assert!(!follows(&frame(5, ACK, &TIMESTAMPS, b"abc")), "an overlap");
    assert!(!follows(&frame(6, ACK, &TIMESTAMPS, b"")), "no text");
    assert!(!follows(&frame(6, ACK, &[], b"abc")), "no timestamps");
    for flags in [0, flag::FIN, flag::RST, flag::URG, flag::ECE, flag::CWR].map(|f| f | ACK) {
        assert_eq!(follows(&frame(6, flags, &TIMESTAMPS, b"abc")), flags == ACK, "{flags:#x}");
    }
    // Length, id, don't fragment, TTL, checksums, the urgent pointer and the source station may
    // differ; the rest may not.
    let free = [6..12, 16..20, 22..23, 24..26, 50..54];
    for bit in 0..8 * (Plain::HEADERS_LEN + TIMESTAMPS.len()) {
        let mut bytes = next.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (byte, dont_fragment) = (bit / 8, bit == 8 * 20 + 6);
        let psh = bit == 8 * 47 + 3;
        let plain = Plain::parse(&bytes).is_some();
        let same = free.iter().any(|range| range.contains(&byte)) || dont_fragment || psh;
        let reserved_of_fragment = bit == 8 * 20 + 7;
        if plain && !reserved_of_fragment {
            assert_eq!(
                follows(&bytes),
                same && !Plain::parse(&bytes).unwrap().text.is_empty(),
                "bit {bit}"
            );
        }
    }
}

/// A segment without text is nobody's predecessor: a bare ACK repeats its number.
#[test]
fn nothing_follows_a_segment_without_text() {
    let (bare, next) = (frame(6, ACK, &[], b""), frame(6, ACK, &[], b"abc"));
    let before = Plain::parse(&bare).unwrap();
    assert!(!before.sibling(&next).unwrap().continues(&before));
}

proptest! {
    #[test]
    fn both_ways_agree_on_spoiled_frames(
        seq: u32, flags: u8, timestamps: bool, len in 0_usize..200,
        spoiled in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(), head in any::<bool>(),
    ) {
        let options = if timestamps { &TIMESTAMPS[..] } else { &[] };
        let mut bytes = frame(seq, flags, options, &vec![7; len]);
        for (at, value) in spoiled {
            let end = if head { 66.min(bytes.len()) } else { bytes.len() };
            let place = at.index(end);
            bytes[place] = value;
        }
        let len = bytes.len() - cut.index(bytes.len()) / 8;
        assert_agree(&bytes[..len]);
    }

    #[test]
    fn both_ways_agree_on_any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        for (place, value) in [(6, 0), (12, 8), (13, 0), (14, 0x45), (16, 0), (20, 0), (21, 0), (23, 6)] {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        assert_agree(&bytes);
    }
}

#[test]
fn the_pseudo_header_counts() {
    let mut bytes = frame(1, ACK, &[], b"text");
    bytes[33] ^= 1;
    bytes[24..26].fill(0);
    let sum = Checksum::new().sum(&bytes[14..34]).finish();
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let plain = Plain::parse(&bytes).unwrap();
    assert!(plain.is_header_valid() && !plain.is_segment_valid());
}
