//! What both ends of an aggregated link tell each other (IEEE 802.1AX-2014 6.4.2, 6.5.3): slow protocols.
//!
//! ```text
//!  dst 01:80:c2:00:00:02 │ src │ 88 09 │ subtype │ version │ values, each with type and length
//!  LACP (1):   1 20 actor 15 + 3 │ 2 20 partner 15 + 3 │ 3 16 delay 2 + 12 │ 0 0 │ 50 of nothing
//!  marker (2): 1 16 port 2, system 6, transaction 4, 2 of nothing │ 0 0 │ 90 of nothing; 2 16: the answer
//! ```

use types::{DropReason, MacAddr};
use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet::{self, EtherType};

/// The group of slow protocols, which no bridge passes on.
pub const SLOW_PROTOCOLS: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 2]);

const LACP: u8 = 1;
const MARKER: u8 = 2;
const VERSION: u8 = 1;
const ACTOR: u8 = 1;
const PARTNER: u8 = 2;
const COLLECTOR: u8 = 3;
const MARKER_INFORMATION: u8 = 1;
const MARKER_RESPONSE: u8 = 2;

/// Bits of [`Info::state`].
pub mod state {
    /// It speaks of itself, not only when spoken to.
    pub const ACTIVITY: u8 = 0x01;
    /// It takes the other for gone after three seconds, not after ninety.
    pub const TIMEOUT: u8 = 0x02;
    /// The link may be one of several.
    pub const AGGREGATION: u8 = 0x04;
    /// The port is in the right aggregate.
    pub const SYNCHRONIZATION: u8 = 0x08;
    /// Frames that come in are taken.
    pub const COLLECTING: u8 = 0x10;
    /// Frames are sent.
    pub const DISTRIBUTING: u8 = 0x20;
    /// The other was never heard.
    pub const DEFAULTED: u8 = 0x40;
    /// The other was not heard for too long.
    pub const EXPIRED: u8 = 0x80;
}

/// One end of a link.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Info {
    /// The system's priority.
    pub system_priority: U16,
    /// The system's address.
    pub system: [u8; 6],
    /// Ports with the same one may be aggregated.
    pub key: U16,
    /// The port's priority.
    pub port_priority: U16,
    /// The port.
    pub port: U16,
    /// See [`state`].
    pub state: u8,
}

const _: () = assert!(size_of::<Info>() == 15);

impl Info {
    /// Nobody.
    pub const NONE: Self = Self {
        system_priority: U16::new(0),
        system: [0; 6],
        key: U16::new(0),
        port_priority: U16::new(0),
        port: U16::new(0),
        state: 0,
    };

    /// All of these bits are set.
    #[must_use]
    pub const fn is(&self, bits: u8) -> bool {
        self.state & bits == bits
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct End {
    kind: u8,
    len: u8,
    info: Info,
    reserved: [u8; 3],
}

impl End {
    const LEN: u8 = 20;

    const fn new(kind: u8, info: Info) -> Self {
        Self { kind, len: Self::LEN, info, reserved: [0; 3] }
    }
}

/// A message of LACP as it is on the wire.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct LacpBody {
    subtype: u8,
    version: u8,
    actor: End,
    partner: End,
    collector: u8,
    collector_len: u8,
    max_delay: U16,
    reserved: [u8; 12],
    terminator: [u8; 2],
    padding: [u8; 50],
}

const _: () = assert!(size_of::<LacpBody>() == BODY_LEN);

/// A marker as it is on the wire.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct MarkerBody {
    subtype: u8,
    version: u8,
    kind: u8,
    len: u8,
    marker: Marker,
    pad: U16,
    terminator: [u8; 2],
    padding: [u8; 90],
}

const _: () = assert!(size_of::<MarkerBody>() == BODY_LEN);

const BODY_LEN: usize = 110;

/// Length of a frame.
pub const FRAME_LEN: usize = 124;

/// Behind which frames have all arrived: who asks gets it back.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Marker {
    /// The port of who asks.
    pub port: U16,
    /// His system.
    pub system: [u8; 6],
    /// Which of his questions it is.
    pub transaction: U32,
}

/// What one end says of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacpdu {
    /// Who says it.
    pub actor: Info,
    /// Whom it has heard.
    pub partner: Info,
}

/// A message about an aggregated link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Of LACP.
    Lacp(Lacpdu),
    /// A marker, which is to be sent back.
    Marker(Marker),
}

impl Slow {
    /// A frame is of a slow protocol.
    #[must_use]
    pub fn is(header: &ethernet::Header) -> bool {
        header.dst() == SLOW_PROTOCOLS && header.ethertype() == EtherType::SLOW_PROTOCOLS
    }

    /// What a frame to [`SLOW_PROTOCOLS`] says. Versions and types are not looked at, as 6.4.12 has it.
    ///
    /// # Errors
    /// `LaggFormat`: cut off, lengths that are wrong, another protocol, an answer to no question of ours.
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let wrong = DropReason::LaggFormat;
        let frame = ethernet::Frame::parse(frame)?;
        match frame.payload {
            [LACP, ..] => {
                let (body, _) = LacpBody::ref_from_prefix(frame.payload).map_err(|_| wrong)?;
                let right = body.actor.len == End::LEN && body.partner.len == End::LEN;
                let pdu = Lacpdu { actor: body.actor.info, partner: body.partner.info };
                right.then_some(Self::Lacp(pdu)).ok_or(wrong)
            }
            [MARKER, _, MARKER_INFORMATION, ..] => {
                let (body, _) = MarkerBody::ref_from_prefix(frame.payload).map_err(|_| wrong)?;
                Ok(Self::Marker(body.marker))
            }
            _ => Err(wrong),
        }
    }
}

impl Lacpdu {
    /// The frame that says it.
    #[must_use]
    pub fn emit(&self, source: MacAddr) -> [u8; FRAME_LEN] {
        let body = LacpBody {
            subtype: LACP,
            version: VERSION,
            actor: End::new(ACTOR, self.actor),
            partner: End::new(PARTNER, self.partner),
            collector: COLLECTOR,
            collector_len: 16,
            max_delay: U16::new(0),
            reserved: [0; 12],
            terminator: [0; 2],
            padding: [0; 50],
        };
        framed(source, body.as_bytes())
    }
}

impl Marker {
    /// The frame that answers it.
    #[must_use]
    pub fn answer(&self, source: MacAddr) -> [u8; FRAME_LEN] {
        let body = MarkerBody {
            subtype: MARKER,
            version: VERSION,
            kind: MARKER_RESPONSE,
            len: 16,
            marker: *self,
            pad: U16::new(0),
            terminator: [0; 2],
            padding: [0; 90],
        };
        framed(source, body.as_bytes())
    }
}

fn framed(source: MacAddr, body: &[u8]) -> [u8; FRAME_LEN] {
    let header = ethernet::Header::new(SLOW_PROTOCOLS, source, EtherType::SLOW_PROTOCOLS);
    let mut frame = [0; FRAME_LEN];
    let bytes = header.as_bytes().iter().chain(body);
    frame.iter_mut().zip(bytes).for_each(|(room, byte)| *room = *byte);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PDU: Lacpdu = Lacpdu {
        actor: Info {
            system_priority: U16::new(0x8000),
            system: [2, 0, 0, 0, 0, 1],
            key: U16::new(100),
            port_priority: U16::new(0x8000),
            port: U16::new(7),
            state: state::ACTIVITY | state::AGGREGATION,
        },
        partner: Info::NONE,
    };

    #[test]
    fn a_message_says_what_it_was_made_of() {
        let frame = PDU.emit(MAC);
        assert_eq!(Slow::parse(&frame), Ok(Slow::Lacp(PDU)));
        assert_eq!(frame[14..20], [1, 1, 1, 20, 0x80, 0], "subtype, version, actor");
        for len in 0..FRAME_LEN {
            assert!(Slow::parse(&frame[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn versions_are_not_looked_at_but_lengths_are() {
        let mut frame = PDU.emit(MAC);
        frame[15] = 9;
        assert_eq!(Slow::parse(&frame), Ok(Slow::Lacp(PDU)));
        for at in [17, 37] {
            let mut frame = frame;
            frame[at] = 19;
            assert_eq!(Slow::parse(&frame), Err(DropReason::LaggFormat), "{at}");
        }
    }

    #[test]
    fn a_marker_comes_back_and_an_answer_is_no_question() {
        let marker =
            Marker { port: U16::new(3), system: MAC.0, transaction: U32::new(0x0102_0304) };
        let answer = marker.answer(MAC);
        assert_eq!(answer[16..28], [2, 16, 0, 3, 2, 0, 0, 0, 0, 1, 1, 2]);
        assert_eq!(Slow::parse(&answer), Err(DropReason::LaggFormat));
        let mut question = answer;
        question[16] = MARKER_INFORMATION;
        assert_eq!(Slow::parse(&question), Ok(Slow::Marker(marker)));
    }

    #[test]
    fn other_slow_protocols_are_none_of_ours() {
        let mut frame = PDU.emit(MAC);
        frame[14] = 3;
        assert_eq!(Slow::parse(&frame), Err(DropReason::LaggFormat));
    }
}
