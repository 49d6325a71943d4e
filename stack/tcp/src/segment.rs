//! What the engine knows of a segment: header fields in host order, options parsed, text borrowed.
//!
//! Ports, checksum and bytes on the wire are the business of the caller.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use crate::{Codepoint, Options, SeqNum};

/// Control bits with their values on the wire (RFC 9293 §3.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// No control bit.
    pub const NONE: Self = Self(0);
    /// No more text from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push function.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The bits as they stand in a header.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Every bit of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These bits without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 8] = [
            (Flags::SYN, "S"),
            (Flags::FIN, "F"),
            (Flags::RST, "R"),
            (Flags::PSH, "P"),
            (Flags::ACK, "."),
            (Flags::URG, "U"),
            (Flags::ECE, "E"),
            (Flags::CWR, "W"),
        ];
        f.write_str("[")?;
        for (flag, name) in NAMES {
            if self.contains(flag) {
                f.write_str(name)?;
            }
        }
        f.write_str("]")
    }
}

/// A segment that arrived; checksum, ports and addresses were checked by the caller.
#[derive(Clone, Copy, Debug)]
pub struct SegmentIn<'a> {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK, significant only with [`Flags::ACK`].
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as in the header, not scaled.
    pub window: u16,
    /// SEG.UP, significant only with [`Flags::URG`].
    pub urgent: u16,
    /// The ECN field of its IP header.
    pub ecn: Codepoint,
    /// Options.
    pub options: Options,
    /// The segment's text.
    pub text: &'a [u8],
}

impl SegmentIn<'_> {
    /// SEG.LEN: the text plus one for SYN and one for FIN (RFC 9293 §3.4).
    #[must_use]
    pub fn len(&self) -> u32 {
        let syn = u32::from(self.flags.contains(Flags::SYN));
        let fin = u32::from(self.flags.contains(Flags::FIN));
        self.text_len().saturating_add(syn).saturating_add(fin)
    }

    /// Occupies no sequence space.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn text_len(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

/// A segment to send. The caller adds ports, checksum and the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOut {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK, 0 without [`Flags::ACK`].
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as in the header, already scaled.
    pub window: u16,
    /// SEG.UP, 0 without [`Flags::URG`].
    pub urgent: u16,
    /// Its IP header carries ECT(0), otherwise Not-ECT.
    pub ect: bool,
    /// Options.
    pub options: Options,
    /// Where the text begins, in bytes from the front of the send buffer (SND.UNA's byte).
    pub text_offset: u32,
    /// Length of the text, at most the effective MSS unless it is to be cut.
    pub text_len: u32,
    /// 0, or the length of the pieces that the text is to be cut into: [`SegmentOut::cuts`].
    pub gso_size: u16,
}

impl SegmentOut {
    /// A segment of control bits only.
    pub(crate) fn control(seq: SeqNum, ack: SeqNum, flags: Flags) -> Self {
        Self {
            seq,
            ack,
            flags,
            window: 0,
            urgent: 0,
            ect: false,
            options: Options::default(),
            text_offset: 0,
            text_len: 0,
            gso_size: 0,
        }
    }

    /// The segments that go on the wire, as a port with segmentation offload makes them: CWR on the
    /// first only (RFC 3168 §6.1.2), PSH and FIN on the last only.
    pub fn cuts(&self) -> impl Iterator<Item = Cut> + use<> {
        let Self { seq, flags, text_offset, text_len, gso_size, .. } = *self;
        let size = if gso_size == 0 { u32::MAX } else { u32::from(gso_size) };
        let mut done = Some(0_u32);
        core::iter::from_fn(move || {
            let offset = done?;
            let rest = text_len.saturating_sub(offset);
            let (mut flags, is_last) = (flags, rest <= size);
            if offset > 0 {
                flags = flags.without(Flags::CWR);
            }
            if !is_last {
                flags = flags.without(Flags::PSH | Flags::FIN);
            }
            done = if is_last { None } else { Some(offset.saturating_add(size)) };
            Some(Cut {
                seq: seq + offset,
                flags,
                text_offset: text_offset.saturating_add(offset),
                text_len: rest.min(size),
            })
        })
    }

    /// One of its [`SegmentOut::cuts`] as a segment of its own.
    #[must_use]
    pub fn cut(&self, cut: &Cut) -> Self {
        let Cut { seq, flags, text_offset, text_len } = *cut;
        Self { seq, flags, text_offset, text_len, gso_size: 0, ..*self }
    }

    /// How many [`SegmentOut::cuts`] there are.
    #[must_use]
    pub fn cut_count(&self) -> u32 {
        match self.gso_size {
            0 => 1,
            size => self.text_len.div_ceil(u32::from(size)).max(1),
        }
    }

    /// `<SEQ=seq><CTL=RST>` (RFC 9293 §3.5.2).
    pub(crate) fn reset(seq: SeqNum) -> Self {
        Self::control(seq, SeqNum::new(0), Flags::RST)
    }
}

/// One of the segments that a [`SegmentOut`] is cut into: all that differs among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// Where its text begins, in bytes from the front of the send buffer.
    pub text_offset: u32,
    /// Length of its text.
    pub text_len: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_wire_bits() {
        let flags = Flags::SYN | Flags::ACK;
        assert_eq!(flags.bits(), 0x12);
        assert!(flags.contains(Flags::SYN) && !flags.contains(Flags::RST));
        assert_eq!(flags.without(Flags::SYN), Flags::ACK);
        assert_eq!(Flags::from_bits(0xff).bits(), 0xff);
        assert_eq!(format!("{flags:?}"), "[S.]");
    }

    #[test]
    fn syn_and_fin_occupy_sequence_space() {
        let mut seg = SegmentIn {
            seq: SeqNum::new(0),
            ack: SeqNum::new(0),
            flags: Flags::SYN | Flags::FIN,
            window: 0,
            urgent: 0,
            ecn: Codepoint::NotEct,
            options: Options::default(),
            text: b"abc",
        };
        assert_eq!(seg.len(), 5);
        seg.text = b"";
        seg.flags = Flags::ACK;
        assert!(seg.is_empty());
    }
}
