//! What bridges tell each other (IEEE 802.1D-2004 9.3): LLC frames to a group that no bridge passes on.
//!
//! ```text
//!  dst 01:80:c2:00:00:00 │ src │ length │ 42 42 03 │ 00 00 │ version │ type │ what the type says
//!  configuration (0x00): flags │ root 8 │ cost 4 │ bridge 8 │ port 2 │ age, max age, hello, delay: 2 each, 1/256 s
//!  rapid (0x02): the same and a 0; topology change (0x80): nothing
//! ```

use types::{DropReason, MacAddr};
use zerocopy::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::ethernet;

/// The group of all bridges.
pub const BRIDGES: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]);

/// Groups that no bridge passes on (IEEE 802.1D 7.12.6).
#[must_use]
pub const fn is_reserved(to: MacAddr) -> bool {
    matches!(to.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])
}

const LLC: [u8; 3] = [0x42, 0x42, 0x03];
const CONFIGURATION: u8 = 0;
const RAPID: u8 = 2;
const TOPOLOGY_CHANGE: u8 = 0x80;

/// What stands at the beginning of each.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Start {
    llc: [u8; 3],
    protocol: U16,
    version: u8,
    kind: u8,
}

const _: () = assert!(size_of::<Start>() == 7);

/// Bits of [`Config::flags`].
pub mod flag {
    /// Stations are to be forgotten.
    pub const TOPOLOGY_CHANGE: u8 = 0x01;
    /// May I forward at once? (rapid)
    pub const PROPOSAL: u8 = 0x02;
    /// What the sending port is: alternate or backup 1, root 2, designated 3. (rapid)
    pub const ROLE: u8 = 0x0c;
    /// It learns. (rapid)
    pub const LEARNING: u8 = 0x10;
    /// It forwards. (rapid)
    pub const FORWARDING: u8 = 0x20;
    /// You may forward at once. (rapid)
    pub const AGREEMENT: u8 = 0x40;
    /// A topology change was heard of.
    pub const ACKNOWLEDGED: u8 = 0x80;
}

/// A bridge's view of the tree.
#[derive(
    FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug, PartialEq, Eq,
)]
#[repr(C)]
pub struct Config {
    /// See [`flag`].
    pub flags: u8,
    /// The root: priority and address.
    pub root: U64,
    /// The way to it costs so much.
    pub cost: U32,
    /// Who says so.
    pub bridge: U64,
    /// By which port.
    pub port: U16,
    /// How long ago the root said so, in 256ths of a second, as are the others.
    pub message_age: U16,
    /// What is older counts no more.
    pub max_age: U16,
    /// The root says so as often.
    pub hello: U16,
    /// How long a port waits before it learns, and before it forwards.
    pub forward_delay: U16,
}

const _: () = assert!(size_of::<Config>() == 31);

/// A message between bridges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bpdu {
    /// A topology has changed (802.1D-1998).
    TopologyChange,
    /// A view of the tree (802.1D-1998).
    Config(Config),
    /// The same, of a bridge that is quick (802.1w).
    Rapid(Config),
}

impl Bpdu {
    /// What a frame to [`BRIDGES`] says.
    ///
    /// # Errors
    /// `BpduFormat`.
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        let wrong = DropReason::BpduFormat;
        let frame = ethernet::Frame::parse(frame)?;
        let len = usize::from(frame.header.ethertype().0);
        let bytes = frame.payload.get(..len).ok_or(wrong)?;
        let (start, rest) = Start::ref_from_prefix(bytes).map_err(|_| wrong)?;
        if start.llc != LLC || start.protocol.get() != 0 {
            return Err(wrong);
        }
        if start.kind == TOPOLOGY_CHANGE {
            return Ok(Self::TopologyChange);
        }
        let (config, rest) = Config::read_from_prefix(rest).map_err(|_| wrong)?;
        if config.message_age.get() >= config.max_age.get() {
            return Err(wrong);
        }
        match (start.kind, start.version) {
            (CONFIGURATION, _) => Ok(Self::Config(config)),
            (RAPID, 2..) if !rest.is_empty() => Ok(Self::Rapid(config)),
            _ => Err(wrong),
        }
    }

    /// The frame that says it, without padding.
    #[must_use]
    pub fn emit(&self, source: MacAddr) -> Frame {
        let (version, kind, config, rest): (_, _, Option<&Config>, &[u8]) = match self {
            Self::TopologyChange => (0, TOPOLOGY_CHANGE, None, &[]),
            Self::Config(config) => (0, CONFIGURATION, Some(config), &[]),
            Self::Rapid(config) => (2, RAPID, Some(config), &[0]),
        };
        let start = Start { llc: LLC, protocol: U16::new(0), version, kind };
        let config = config.map(IntoBytes::as_bytes).unwrap_or_default();
        let len = size_of::<Start>().saturating_add(config.len()).saturating_add(rest.len());
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let header = ethernet::Header::new(BRIDGES, source, ethernet::EtherType(len));
        let mut frame = Frame { bytes: [0; Frame::LEN_MAX], len: 0 };
        for part in [header.as_bytes(), start.as_bytes(), config, rest] {
            frame.append(part);
        }
        frame
    }
}

/// A frame that says something to bridges.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl Frame {
    const LEN_MAX: usize = 53;

    fn append(&mut self, part: &[u8]) {
        let end = self.len.saturating_add(part.len());
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config {
        flags: flag::PROPOSAL | flag::ROLE,
        root: U64::new(0x8000_0200_0000_0001),
        cost: U32::new(2000),
        bridge: U64::new(0x8000_0200_0000_0002),
        port: U16::new(0x8001),
        message_age: U16::new(256),
        max_age: U16::new(20 * 256),
        hello: U16::new(2 * 256),
        forward_delay: U16::new(15 * 256),
    };
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    #[test]
    fn each_says_what_it_was_made_of() {
        for (bpdu, len) in
            [(Bpdu::TopologyChange, 21), (Bpdu::Config(CONFIG), 52), (Bpdu::Rapid(CONFIG), 53)]
        {
            let frame = bpdu.emit(MAC);
            assert_eq!(frame.as_bytes().len(), len);
            let padded = [frame.as_bytes(), &[0; 20]].concat();
            assert_eq!(Bpdu::parse(&padded), Ok(bpdu));
            for len in 0..len {
                assert!(Bpdu::parse(&frame.as_bytes()[..len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn what_is_older_than_it_may_be_is_none() {
        let old = Config { message_age: CONFIG.max_age, ..CONFIG };
        assert_eq!(
            Bpdu::parse(Bpdu::Config(old).emit(MAC).as_bytes()),
            Err(DropReason::BpduFormat)
        );
    }

    #[test]
    fn groups_of_the_link_stay_on_it() {
        assert!(is_reserved(BRIDGES) && is_reserved(MacAddr([1, 0x80, 0xc2, 0, 0, 0xe])));
        assert!(!is_reserved(MacAddr([1, 0x80, 0xc2, 0, 0, 0x10])));
    }
}
