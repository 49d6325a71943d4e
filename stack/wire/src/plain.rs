//! Frames as nearly all of a busy host are: one TCP segment in a whole IPv4 packet without options,
//! with no TCP options or timestamps alone. They are recognised by a few comparisons of whole words;
//! whatever is not plain is for the parsers of each layer, which say what is wrong with it.

use core::net::Ipv4Addr;

use types::MacAddr;
use zerocopy::byteorder::NativeEndian;
use zerocopy::byteorder::{U32 as Raw32, U64 as Raw64};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Checksum;
use crate::ipv4::Protocol;
use crate::tcp::flag;

/// The three headers as words. What is compared only as a whole is in the order of this machine.
///
/// ```text
///  0                             14
/// +---------------+--------------+--+--+-------+-------+-------+---+---+-------+
/// | dst           | src          |type |ver|tos| total | id    |frag   |ttl|prt|
/// +---------------+--------------+-----+---+---+-------+-------+-------+---+---+
///  24      26              34              38        42        46   48
/// +-------+-------+-------+-------+-------+---------+---------+---+---+--------+----
/// | sum   | src   | dst   | sport | dport | seq     | ack     |off|flg| window | sum, urgent
/// +-------+-------+-------+-------+-------+---------+---------+---+---+--------+----
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Words {
    /// Destination station, and two bytes of the source.
    station: Raw64<NativeEndian>,
    /// The rest of the source, EtherType, version and header length, TOS.
    kind: Raw64<NativeEndian>,
    total_len: U16,
    id: U16,
    /// Flags and offset of a fragment, time to live, protocol.
    fragment_protocol: Raw32<NativeEndian>,
    ip_checksum: U16,
    /// Source and destination.
    addresses: Raw64<NativeEndian>,
    src_port: U16,
    dst_port: U16,
    seq: U32,
    /// ACK, data offset, control bits, window: one word.
    state: Raw64<NativeEndian>,
    checksum: U16,
    urgent: U16,
}

const _: () = assert!(size_of::<Words>() == Plain::HEADERS_LEN);

impl Words {
    /// Both ports as they lie, to be compared.
    #[inline]
    const fn ports(&self) -> u32 {
        let ([a, b], [c, d]) = (self.src_port.to_bytes(), self.dst_port.to_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// TSval and TSecr as they stand in the option list that RFC 7323 appendix A recommends.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Timestamps {
    nop_nop_kind_len: Raw32<NativeEndian>,
    /// TSval.
    pub value: U32,
    /// TSecr.
    pub echo: U32,
}

const _: () = assert!(size_of::<Timestamps>() == 12);

/// A plain frame. Holding one (but for [`Plain::parse_again`]) proves that all lengths agree, that the packet is whole, that its
/// source is one station and its ports are none that are reserved: what the layers' `parse` check.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    words: &'a Words,
    /// Timestamps, if there are options.
    pub timestamps: Option<&'a Timestamps>,
    /// The text, without the frame's padding.
    pub text: &'a [u8],
}

impl<'a> Plain<'a> {
    /// Length of the three headers without options.
    pub const HEADERS_LEN: usize = 54;

    /// Borrows a plain frame; `None` if it is anything else, sound or not.
    #[inline]
    #[must_use]
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let (words, rest) = Words::ref_from_prefix(frame).ok()?;
        let strange = (words.station.get() & GROUP)
            | ((words.kind.get() ^ IPV4) & IPV4_MASK)
            | u64::from((words.fragment_protocol.get() ^ TCP) & TCP_MASK);
        if strange != 0 || words.src_port == U16::ZERO || words.dst_port == U16::ZERO {
            return None;
        }
        Self::of_words(words, rest)
    }

    /// Borrows a frame that [`Plain::parse`] or [`Plain::sibling`] has taken before. Of any other only lengths
    /// would be known to agree.
    #[inline]
    #[must_use]
    pub fn parse_again(frame: &'a [u8]) -> Option<Self> {
        let (words, rest) = Words::ref_from_prefix(frame).ok()?;
        Self::of_words(words, rest)
    }

    /// Borrows a plain frame of the same flow as this one, for the same station and with the same type
    /// of service; `None` if it is anything else. Less work than [`Plain::parse`]: what is the same as
    /// here needs no other look.
    #[inline]
    #[must_use]
    pub fn sibling<'b>(&self, frame: &'b [u8]) -> Option<Plain<'b>> {
        let (new, rest) = Words::ref_from_prefix(frame).ok()?;
        let old = self.words;
        let different = ((new.station.get() ^ old.station.get()) & (STATION_MASK | GROUP))
            | ((new.kind.get() ^ old.kind.get()) & (IPV4_MASK | TOS_MASK))
            | u64::from((new.fragment_protocol.get() ^ TCP) & TCP_MASK)
            | (new.addresses.get() ^ old.addresses.get())
            | u64::from(new.ports() ^ old.ports());
        if different != 0 {
            return None;
        }
        Plain::of_words(new, rest)
    }

    /// `rest` follows the headers in the frame.
    #[inline]
    fn of_words(words: &'a Words, rest: &'a [u8]) -> Option<Self> {
        // The bytes of the IP packet beyond the two headers.
        let len = usize::from(words.total_len.get()).checked_sub(IP_TCP_LEN)?;
        let rest = rest.get(..len)?;
        let offset = words.state.get() & OFFSET_MASK;
        if offset == OFFSET_BARE {
            return Some(Self { words, timestamps: None, text: rest });
        }
        let (timestamps, text) = Timestamps::ref_from_prefix(rest).ok()?;
        (offset == OFFSET_TIMESTAMPS && timestamps.nop_nop_kind_len.get() == TIMESTAMPS)
            .then_some(Self { words, timestamps: Some(timestamps), text })
    }

    /// Of two [siblings](Self::sibling) this one continues `before`: the next text, with nothing else
    /// new in it but PSH. Says so only of segments with text that carry ACK and no other control bit.
    #[inline]
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        let (new, old) = (self.words.state.get(), before.words.state.get());
        let different = ((new ^ old) | ((new ^ ACK_ALONE) & FLAGS_MASK)) & !PSH_MASK;
        let old_len = u32::try_from(before.text.len()).unwrap_or(0);
        different == 0
            && self.seq() == before.seq().wrapping_add(old_len)
            && !self.text.is_empty()
            && !before.text.is_empty()
            && self.timestamps == before.timestamps
    }

    /// The text of a frame that [continues](Self::continues) this one or one that does.
    #[inline]
    #[must_use]
    pub fn text_of_next<'b>(&self, frame: &'b [u8]) -> Option<&'b [u8]> {
        let (words, _) = Words::ref_from_prefix(frame).ok()?;
        let end = usize::from(words.total_len.get()).checked_add(ETHERNET_LEN)?;
        frame.get(self.text_offset()..end)
    }

    /// The station it is for.
    #[inline]
    #[must_use]
    pub const fn station(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = self.words.station.to_bytes();
        MacAddr([a, b, c, d, e, f])
    }

    /// Source.
    #[inline]
    #[must_use]
    pub const fn src(&self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.words.addresses.to_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination.
    #[inline]
    #[must_use]
    pub const fn dst(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = self.words.addresses.to_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Source and destination as they lie, to be compared.
    #[inline]
    #[must_use]
    pub const fn addresses(&self) -> u64 {
        self.words.addresses.get()
    }

    /// Source port.
    #[inline]
    #[must_use]
    pub const fn src_port(&self) -> u16 {
        self.words.src_port.get()
    }

    /// Destination port.
    #[inline]
    #[must_use]
    pub const fn dst_port(&self) -> u16 {
        self.words.dst_port.get()
    }

    /// Type of service.
    #[inline]
    #[must_use]
    pub const fn tos(&self) -> u8 {
        let [.., tos] = self.words.kind.to_bytes();
        tos
    }

    /// Sequence number.
    #[inline]
    #[must_use]
    pub const fn seq(&self) -> u32 {
        self.words.seq.get()
    }

    /// Acknowledgment number.
    #[inline]
    #[must_use]
    pub const fn ack(&self) -> u32 {
        let [a, b, c, d, ..] = self.words.state.to_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// Control bits: a set of [`flag`]s.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        let [_, _, _, _, _, flags, ..] = self.words.state.to_bytes();
        flags
    }

    /// Window, not scaled.
    #[inline]
    #[must_use]
    pub const fn window(&self) -> u16 {
        let [.., a, b] = self.words.state.to_bytes();
        u16::from_be_bytes([a, b])
    }

    /// Urgent pointer.
    #[inline]
    #[must_use]
    pub const fn urgent(&self) -> u16 {
        self.words.urgent.get()
    }

    /// Where in the frame the text begins.
    #[inline]
    #[must_use]
    pub const fn text_offset(&self) -> usize {
        if self.timestamps.is_some() { TIMESTAMPS_END } else { Self::HEADERS_LEN }
    }

    /// The IP header's checksum is right.
    #[inline]
    #[must_use]
    pub fn is_header_valid(&self) -> bool {
        let ip = self.words.as_bytes().get(ETHERNET_LEN..ETHERNET_LEN + IP_LEN);
        ip.is_some_and(|header| Checksum::new().sum(header).is_valid())
    }

    /// The segment's checksum is right.
    #[inline]
    #[must_use]
    pub fn is_segment_valid(&self) -> bool {
        let len = self.words.total_len.get().saturating_sub(IP_LEN_16);
        let header = self.words.as_bytes().get(ETHERNET_LEN + IP_LEN..).unwrap_or_default();
        let options = self.timestamps.map(IntoBytes::as_bytes).unwrap_or_default();
        Checksum::pseudo_v4(self.src(), self.dst(), Protocol::TCP.0, len)
            .sum(header)
            .sum(options)
            .sum(self.text)
            .is_valid()
    }
}

const ETHERNET_LEN: usize = 14;
/// Headers and timestamps.
const TIMESTAMPS_END: usize = Plain::HEADERS_LEN + size_of::<Timestamps>();
const IP_LEN: usize = 20;
const IP_LEN_16: u16 = 20;
/// IP and TCP headers without options.
const IP_TCP_LEN: usize = 40;

/// Group bit of the source station.
const GROUP: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 1, 0]);
/// The destination station.
const STATION_MASK: u64 = u64::from_ne_bytes([!0, !0, !0, !0, !0, !0, 0, 0]);
/// EtherType IPv4, version 4, a header of five words.
const IPV4: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0x08, 0x00, 0x45, 0]);
const IPV4_MASK: u64 = u64::from_ne_bytes([0, 0, 0, 0, !0, !0, !0, 0]);
const TOS_MASK: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, !0]);
/// Neither more fragments nor a fragment's offset, and TCP.
const TCP: u32 = u32::from_ne_bytes([0, 0, 0, 6]);
const TCP_MASK: u32 = u32::from_ne_bytes([0x3f, !0, 0, !0]);
/// The data offset, without the reserved bits beside it.
const OFFSET_MASK: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xf0, 0, 0, 0]);
const OFFSET_BARE: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0x50, 0, 0, 0]);
const OFFSET_TIMESTAMPS: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0x80, 0, 0, 0]);
const FLAGS_MASK: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, !0, 0, 0]);
const ACK_ALONE: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, flag::ACK, 0, 0]);
const PSH_MASK: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, flag::PSH, 0, 0]);
/// NOP, NOP, timestamps, length 10.
const TIMESTAMPS: u32 = u32::from_ne_bytes([1, 1, 8, 10]);
