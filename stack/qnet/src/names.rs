//! Names that frames carry: a node's own and its domain's; what a resolver and an establishing sender say.

use zerocopy::byteorder::{BigEndian, ByteOrder, LittleEndian, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use types::MacAddr;

use crate::discard::Discard;
use crate::frame::Order;
use crate::limits::NAME_MAX;

/// A node's name and domain, which together name it on the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fqnn {
    name: String,
    domain: String,
}

impl Fqnn {
    /// `None`: the name is empty, or one of them is too long or has other than letters, digits, `-`, `_`
    /// and, in the domain, `.`.
    #[must_use]
    pub fn new(name: &str, domain: &str) -> Option<Self> {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        let good = !name.is_empty()
            && name.len() <= NAME_MAX
            && domain.len() <= NAME_MAX
            && name.bytes().all(word)
            && domain.bytes().all(|c| word(c) || c == b'.');
        good.then(|| Self { name: name.to_owned(), domain: domain.to_owned() })
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

impl core::fmt::Display for Fqnn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.domain.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.name, self.domain)
        }
    }
}

/// A LAN resolver's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanMessage {
    /// An answer, else a question.
    pub reply: bool,
    /// Who sends it.
    pub source: Fqnn,
    /// Where: its station, if it is on Ethernet.
    pub source_mac: Option<MacAddr>,
    /// Who is asked, or gets the answer; `None`: whoever hears it.
    pub destination: Option<Fqnn>,
}

/// Version, spare, type, spare and length; then six pairs of an offset behind this header and a length:
/// the source's name, domain and address, the destination's name, domain and address.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawLan<O: ByteOrder> {
    version: u8,
    spare: u8,
    kind: u8,
    another_spare: u8,
    len: U32<O>,
    places: [[U32<O>; 2]; 6],
}

const _: () = assert!(size_of::<RawLan<LittleEndian>>() == 56);

const LAN_VERSION: u8 = 1;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// The family of a link-layer address here, which stands in the second byte of eight.
const FAMILY_MAC: u8 = 1;

impl LanMessage {
    /// Reads the payload of an LRES frame.
    ///
    /// # Errors
    /// `TooShort`, `Version`, `Kind`, `Length` or `Names`.
    pub fn parse(bytes: &[u8], order: Order) -> Result<Self, Discard> {
        match order {
            Order::Little => Self::parse_in::<LittleEndian>(bytes),
            Order::Big => Self::parse_in::<BigEndian>(bytes),
        }
    }

    fn parse_in<O: ByteOrder>(bytes: &[u8]) -> Result<Self, Discard> {
        let (raw, rest) = RawLan::<O>::ref_from_prefix(bytes).map_err(|_| Discard::TooShort)?;
        if raw.version != LAN_VERSION {
            return Err(Discard::Version);
        }
        let reply = match raw.kind {
            REQUEST => false,
            REPLY => true,
            _ => return Err(Discard::Kind),
        };
        let [name, domain, mac, to_name, to_domain, _] = raw.places;
        let text = |place| text(piece(rest, place)?);
        let source = Fqnn::new(text(name)?, text(domain)?).ok_or(Discard::Names)?;
        let (to_name, to_domain) = (text(to_name)?, text(to_domain)?);
        let destination = if to_name.is_empty() {
            None
        } else {
            Some(Fqnn::new(to_name, to_domain).ok_or(Discard::Names)?)
        };
        let source_mac = match piece(rest, mac)? {
            [_, FAMILY_MAC, mac @ ..] => mac.first_chunk::<6>().copied().map(MacAddr),
            _ => None,
        };
        Ok(Self { reply, source, source_mac, destination })
    }

    /// Writes it behind what `to` holds.
    pub fn emit(&self, order: Order, to: &mut Vec<u8>) {
        match order {
            Order::Little => self.emit_in::<LittleEndian>(to),
            Order::Big => self.emit_in::<BigEndian>(to),
        }
    }

    fn emit_in<O: ByteOrder>(&self, to: &mut Vec<u8>) {
        let nobody = Fqnn::default();
        let destination = self.destination.as_ref().unwrap_or(&nobody);
        let mut mac = [0; 8];
        mac[0] = 8;
        if let Some(source) = self.source_mac {
            mac[1] = FAMILY_MAC;
            for (to, from) in mac.iter_mut().skip(2).zip(source.0) {
                *to = from;
            }
        }
        let unknown = [0; 8];
        let mut data = Vec::with_capacity(128);
        let mut place = |bytes: &[u8], end: bool| {
            let at = u32::try_from(data.len()).unwrap_or(0);
            data.extend_from_slice(bytes);
            if end {
                data.push(0);
            }
            let len = u32::try_from(data.len()).unwrap_or(0).saturating_sub(at);
            [at.into(), len.into()]
        };
        let places = [
            place(self.source.name.as_bytes(), true),
            place(self.source.domain.as_bytes(), true),
            place(&mac, false),
            place(destination.name.as_bytes(), true),
            place(destination.domain.as_bytes(), true),
            place(&unknown, false),
        ];
        let len = size_of::<RawLan<O>>().saturating_add(data.len());
        let raw = RawLan::<O> {
            version: LAN_VERSION,
            spare: 0,
            kind: if self.reply { REPLY } else { REQUEST },
            another_spare: 0,
            len: u32::try_from(len).unwrap_or(0).into(),
            places,
        };
        to.extend_from_slice(raw.as_bytes());
        to.extend_from_slice(&data);
    }
}

/// What a sender says that establishes a connection: who it is and whom it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The sender.
    pub source: Fqnn,
    /// The receiver.
    pub destination: Fqnn,
}

/// Offsets, behind this header, of the source's name and domain and the destination's.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawGreeting<O: ByteOrder> {
    places: [U16<O>; 4],
}

impl Greeting {
    /// Reads the payload of a frame that establishes a connection.
    ///
    /// # Errors
    /// `TooShort`, `Length` or `Names`.
    pub fn parse(bytes: &[u8], order: Order) -> Result<Self, Discard> {
        match order {
            Order::Little => Self::parse_in::<LittleEndian>(bytes),
            Order::Big => Self::parse_in::<BigEndian>(bytes),
        }
    }

    fn parse_in<O: ByteOrder>(bytes: &[u8]) -> Result<Self, Discard> {
        let (raw, rest) =
            RawGreeting::<O>::ref_from_prefix(bytes).map_err(|_| Discard::TooShort)?;
        let text = |at: U16<O>| text(rest.get(usize::from(at.get())..).ok_or(Discard::Length)?);
        let [name, domain, to_name, to_domain] = raw.places;
        Ok(Self {
            source: Fqnn::new(text(name)?, text(domain)?).ok_or(Discard::Names)?,
            destination: Fqnn::new(text(to_name)?, text(to_domain)?).ok_or(Discard::Names)?,
        })
    }

    /// Writes it behind what `to` holds.
    pub fn emit(&self, order: Order, to: &mut Vec<u8>) {
        match order {
            Order::Little => self.emit_in::<LittleEndian>(to),
            Order::Big => self.emit_in::<BigEndian>(to),
        }
    }

    fn emit_in<O: ByteOrder>(&self, to: &mut Vec<u8>) {
        let mut data = Vec::with_capacity(128);
        let mut place = |text: &str| {
            let at = u16::try_from(data.len()).unwrap_or(0);
            data.extend_from_slice(text.as_bytes());
            data.push(0);
            at.into()
        };
        let places = [
            place(&self.source.name),
            place(&self.source.domain),
            place(&self.destination.name),
            place(&self.destination.domain),
        ];
        to.extend_from_slice(RawGreeting::<O> { places }.as_bytes());
        to.extend_from_slice(&data);
    }
}

/// The bytes at an offset and of a length that the peer names.
fn piece<O: ByteOrder>(bytes: &[u8], [at, len]: [U32<O>; 2]) -> Result<&[u8], Discard> {
    let at = usize::try_from(at.get()).map_err(|_| Discard::Length)?;
    let len = usize::try_from(len.get()).map_err(|_| Discard::Length)?;
    bytes.get(at..).and_then(|rest| rest.get(..len)).ok_or(Discard::Length)
}

/// Text up to its NUL byte.
fn text(bytes: &[u8]) -> Result<&str, Discard> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or(Discard::Names)?;
    let text = bytes.get(..end).ok_or(Discard::Names)?;
    core::str::from_utf8(text).map_err(|_| Discard::Names)
}
