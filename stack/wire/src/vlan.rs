//! Frames with a tag between the addresses and the type (IEEE 802.1Q 9).
//!
//! ```text
//!  0            6            12     14     16     18
//! +------------+------------+------+------+------+
//! | dst        | src        | TPID | TCI  | type |
//! +------------+------------+------+------+------+
//!                             0x8100 or 0x88a8 (a provider's, the outer one of two)
//!  TCI: PCP (3 bits, 7 is the most urgent), DEI (1), VLAN identifier (12)
//! ```

use types::DropReason;
use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::EtherType;

/// Bytes that a tag adds to a frame.
pub const TAG_LEN: usize = 4;

/// Bytes of both addresses, which the tag follows.
pub const ADDRESSES_LEN: usize = 12;

/// The identifiers that name a VLAN: 0 means none, 4095 is reserved (IEEE 802.1Q table 9-2).
pub const IDS: core::ops::RangeInclusive<u16> = 1..=4094;

/// The most urgent priority.
pub const PRIORITY_MAX: u8 = 7;

/// Which tags there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A customer's (C-TAG): the usual one.
    #[default]
    Customer,
    /// A provider's (S-TAG): the outer one of two (IEEE 802.1ad, "QinQ").
    Service,
}

impl Kind {
    /// By a frame's type, if that is a tag's.
    #[inline]
    #[must_use]
    pub const fn of(ethertype: EtherType) -> Option<Self> {
        match ethertype {
            EtherType::VLAN => Some(Self::Customer),
            EtherType::SERVICE_VLAN => Some(Self::Service),
            _ => None,
        }
    }

    /// The type that says so.
    #[must_use]
    pub const fn ethertype(self) -> EtherType {
        match self {
            Self::Customer => EtherType::VLAN,
            Self::Service => EtherType::SERVICE_VLAN,
        }
    }
}

/// Tag control information: priority and VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tci(pub u16);

impl Tci {
    /// Of a VLAN, with a priority from 0 to 7.
    #[must_use]
    pub const fn new(id: u16, priority: u8) -> Self {
        Self((priority as u16 & 7) << 13 | id & 0xfff)
    }

    /// The VLAN; 0: none, the tag only says how urgent the frame is.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 & 0xfff
    }

    /// How urgent the frame is (PCP).
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }
}

/// What stands between a frame's addresses and its type.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Tag {
    tpid: U16,
    tci: U16,
}

const _: () = assert!(size_of::<Tag>() == TAG_LEN);

impl Tag {
    /// A tag.
    #[must_use]
    pub const fn new(kind: Kind, tci: Tci) -> Self {
        Self { tpid: U16::new(kind.ethertype().0), tci: U16::new(tci.0) }
    }

    /// The outermost tag of a frame whose type says that it has one.
    ///
    /// # Errors
    /// `VlanTooShort`: no type follows it.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<(Kind, Tci), DropReason> {
        let after = frame.get(ADDRESSES_LEN..).ok_or(DropReason::VlanTooShort)?;
        let (tag, rest) = Self::ref_from_prefix(after).map_err(|_| DropReason::VlanTooShort)?;
        let kind = Kind::of(EtherType(tag.tpid.get())).ok_or(DropReason::EthernetType)?;
        if rest.len() < size_of::<U16>() {
            return Err(DropReason::VlanTooShort);
        }
        Ok((kind, Tci(tag.tci.get())))
    }
}

/// Moves the addresses over the tag behind them. `false`: the frame is too short to have one. What it had
/// begins [`TAG_LEN`] bytes further now.
#[inline]
#[must_use]
pub fn strip(frame: &mut [u8]) -> bool {
    let front = frame.get_mut(..ADDRESSES_LEN.saturating_add(TAG_LEN));
    front.map(|front| front.copy_within(..ADDRESSES_LEN, TAG_LEN)).is_some()
}

/// Puts a tag behind the addresses of a frame that begins [`TAG_LEN`] bytes into the room given, which is
/// all used then. `false`: there is no whole frame there.
#[inline]
#[must_use]
pub fn insert(room: &mut [u8], tag: Tag) -> bool {
    let Some(front) = room.get_mut(..ADDRESSES_LEN.saturating_add(TAG_LEN)) else { return false };
    front.copy_within(TAG_LEN.., 0);
    let place = front.get_mut(ADDRESSES_LEN..);
    place.is_some_and(|place| tag.write_to(place).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0, 0x45, 0];

    #[test]
    fn a_tag_goes_in_and_out_again() {
        let mut frame = [[0; 4].as_slice(), &BARE].concat();
        assert!(insert(&mut frame, Tag::new(Kind::Customer, Tci::new(5, 3))));
        assert_eq!(frame[12..18], [0x81, 0, 0x60, 5, 0x08, 0]);
        assert_eq!(Tag::parse(&frame), Ok((Kind::Customer, Tci::new(5, 3))));
        assert!(strip(&mut frame));
        assert_eq!(frame[TAG_LEN..], BARE);
    }

    #[test]
    fn of_two_tags_the_outer_one_is_the_providers() {
        let mut frame = [[0; 8].as_slice(), &BARE].concat();
        assert!(insert(&mut frame[4..], Tag::new(Kind::Customer, Tci::new(7, 0))));
        assert!(insert(&mut frame, Tag::new(Kind::Service, Tci::new(100, 7))));
        let (kind, tci) = Tag::parse(&frame).unwrap();
        assert_eq!((kind, tci.id(), tci.priority()), (Kind::Service, 100, 7));
        assert!(strip(&mut frame));
        assert_eq!(Tag::parse(&frame[4..]), Ok((Kind::Customer, Tci::new(7, 0))));
    }

    #[test]
    fn a_tag_without_a_type_behind_it_is_too_short() {
        let frame = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0];
        assert!(Tag::parse(&frame).is_ok());
        for len in 0..18 {
            assert_eq!(Tag::parse(&frame[..len]), Err(DropReason::VlanTooShort), "{len}");
        }
        let bare = [BARE.as_slice(), &[0; 8]].concat();
        assert_eq!(Tag::parse(&bare), Err(DropReason::EthernetType));
        assert!(!strip(&mut [0; 15]) && !insert(&mut [0; 15], Tag::new(Kind::Customer, Tci(1))));
    }
}
