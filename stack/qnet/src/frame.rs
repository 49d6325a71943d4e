//! LWL4 version 42: the header that each frame begins with, behind Ethernet or IP.
//!
//! The layout is what the public dissector of Wireshark shows; its `tshark` is the judge of the tests.

use core::mem::size_of;

use zerocopy::byteorder::{BigEndian, ByteOrder, LittleEndian, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::crc;
use crate::discard::Discard;

/// EtherType of LWL4.
pub const ETHERTYPE: u16 = 0x8204;
/// IP protocol number of LWL4.
pub const IP_PROTOCOL: u8 = 106;

/// Flag: the frame begins a message.
const FIRST: u8 = 1;
/// Flag: the frame ends a message.
const LAST: u8 = 2;
/// Flag: the checksum is there.
const CRC: u8 = 4;

/// The header in one byte order.
///
/// ```text
///  0    2     3     4      5      6      8      10     14     18    22     24     26      30      34   38
/// +----+-----+-----+------+------+------+------+------+------+-----+------+------+-------+-------+----+
/// |pad |0x2a |type |flags |layer |src_nd|dst_nd|sconn |dconn |seq  |policy|index |offset |length |crc |
/// |    |0xaa |     |      |      |      |      |      |      |     |      |      |       |       |    |
/// +----+-----+-----+------+------+------+------+------+------+-----+------+------+-------+-------+----+
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Raw<O: ByteOrder> {
    pad: [u8; 2],
    version: u8,
    kind: u8,
    flags: u8,
    layer: u8,
    src_nd_for_dst: U16<O>,
    dst_nd_for_src: U16<O>,
    sconn: U32<O>,
    dconn: U32<O>,
    seq: U32<O>,
    policy: U16<O>,
    index: U16<O>,
    offset: U32<O>,
    len: U32<O>,
    crc: U32<O>,
}

const _: () = assert!(size_of::<Raw<LittleEndian>>() == 38);

/// Length of the header.
pub const HEADER_LEN: usize = size_of::<Raw<LittleEndian>>();

/// The byte order of a node, which it says in the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// 0x2a.
    Little,
    /// 0xaa.
    Big,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// User data without a connection.
    UserData = 0,
    /// A sender establishes a connection.
    TxEstablish = 1,
    /// The receiver of a connection is up.
    RxUp = 2,
    /// The sender of a connection is up.
    TxUp = 3,
    /// The receiver tears the connection down.
    RxDown = 4,
    /// The sender tears the connection down.
    TxDown = 5,
    /// A piece of a message.
    User = 8,
    /// All before the sequence number has come.
    Ack = 9,
    /// All before it has come, and some behind it, but not this.
    Nack = 10,
    /// Who is where.
    Lres = 11,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::UserData,
            1 => Self::TxEstablish,
            2 => Self::RxUp,
            3 => Self::TxUp,
            4 => Self::RxDown,
            5 => Self::TxDown,
            8 => Self::User,
            9 => Self::Ack,
            10 => Self::Nack,
            11 => Self::Lres,
            _ => return None,
        })
    }
}

/// Whose payload it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layer {
    /// Messages between processes.
    KernelInterface = 0,
    /// Names of other nodes, asked of a node.
    NodeResolver = 1,
    /// Names and addresses on this wire.
    LanResolver = 2,
    /// The sequence itself.
    Sequence = 3,
}

impl Layer {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::KernelInterface,
            1 => Self::NodeResolver,
            2 => Self::LanResolver,
            3 => Self::Sequence,
            _ => return None,
        })
    }
}

/// What the header says, in this machine's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's byte order, which holds for the payload too.
    pub order: Order,
    /// What the frame is for.
    pub kind: Kind,
    /// Whose payload it is.
    pub layer: Layer,
    /// The frame begins a message.
    pub first: bool,
    /// The frame ends a message.
    pub last: bool,
    /// The number of the node that sends, at the node that receives; 0 if not known.
    pub src_nd_for_dst: u16,
    /// The number of the node that receives, at the node that sends; 0 if there is none.
    pub dst_nd_for_src: u16,
    /// Connection id at the node that sends this frame.
    pub sconn: u32,
    /// Connection id at the node that receives this frame.
    pub dconn: u32,
    /// Sequence number.
    pub seq: u32,
    /// Number of a [`Policy`](crate::Policy).
    pub policy: u16,
    /// Number of the connection among those with the peer.
    pub index: u16,
    /// Where in its message the payload stands; in an ACK and NACK, for how many frames there is room.
    pub offset: u32,
}

impl Header {
    /// A header of a frame that is a message of its own.
    #[must_use]
    pub fn new(order: Order, kind: Kind, layer: Layer) -> Self {
        Self {
            order,
            kind,
            layer,
            first: true,
            last: true,
            src_nd_for_dst: 0,
            dst_nd_for_src: 0,
            sconn: 0,
            dconn: 0,
            seq: 0,
            policy: 0,
            index: 0,
            offset: 0,
        }
    }
}

/// A frame whose length, and checksum if there is one, are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header.
    pub header: Header,
    /// There was a checksum.
    pub checked: bool,
    /// What follows, without the wire's padding.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads what follows the Ethernet or the IP header; bytes after the payload are padding.
    ///
    /// # Errors
    /// Why not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Discard> {
        match bytes.get(2) {
            Some(0x2a) => Self::parse_in::<LittleEndian>(bytes, Order::Little),
            Some(0xaa) => Self::parse_in::<BigEndian>(bytes, Order::Big),
            Some(_) => Err(Discard::Version),
            None => Err(Discard::TooShort),
        }
    }

    fn parse_in<O: ByteOrder + 'a>(bytes: &'a [u8], order: Order) -> Result<Self, Discard> {
        let (raw, rest) = Raw::<O>::ref_from_prefix(bytes).map_err(|_| Discard::TooShort)?;
        let len = usize::try_from(raw.len.get()).map_err(|_| Discard::Length)?;
        let payload = rest.get(..len).ok_or(Discard::Length)?;
        let checked = raw.flags & CRC != 0;
        if checked && checksum(*raw, payload) != raw.crc.get() {
            return Err(Discard::Checksum);
        }
        let header = Header {
            order,
            kind: Kind::of(raw.kind).ok_or(Discard::Kind)?,
            layer: Layer::of(raw.layer).ok_or(Discard::Layer)?,
            first: raw.flags & FIRST != 0,
            last: raw.flags & LAST != 0,
            src_nd_for_dst: raw.src_nd_for_dst.get(),
            dst_nd_for_src: raw.dst_nd_for_src.get(),
            sconn: raw.sconn.get(),
            dconn: raw.dconn.get(),
            seq: raw.seq.get(),
            policy: raw.policy.get(),
            index: raw.index.get(),
            offset: raw.offset.get(),
        };
        Ok(Self { header, checked, payload })
    }
}

impl Header {
    /// Writes a frame behind what `to` holds.
    pub fn emit(&self, payload: &[u8], crc: bool, to: &mut Vec<u8>) {
        match self.order {
            Order::Little => self.emit_in::<LittleEndian>(0x2a, payload, crc, to),
            Order::Big => self.emit_in::<BigEndian>(0xaa, payload, crc, to),
        }
    }

    fn emit_in<O: ByteOrder>(&self, version: u8, payload: &[u8], crc: bool, to: &mut Vec<u8>) {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let mut raw = Raw::<O> {
            pad: [0; 2],
            version,
            kind: self.kind as u8,
            flags: flag(self.first, FIRST) | flag(self.last, LAST) | flag(crc, CRC),
            layer: self.layer as u8,
            src_nd_for_dst: self.src_nd_for_dst.into(),
            dst_nd_for_src: self.dst_nd_for_src.into(),
            sconn: self.sconn.into(),
            dconn: self.dconn.into(),
            seq: self.seq.into(),
            policy: self.policy.into(),
            index: self.index.into(),
            offset: self.offset.into(),
            len: u32::try_from(payload.len()).unwrap_or(u32::MAX).into(),
            crc: 0.into(),
        };
        if crc {
            raw.crc = checksum(raw, payload).into();
        }
        to.extend_from_slice(raw.as_bytes());
        to.extend_from_slice(payload);
    }
}

/// Over the header behind its padding, its own field as 0, and the payload.
fn checksum<O: ByteOrder>(mut raw: Raw<O>, payload: &[u8]) -> u32 {
    raw.crc = 0.into();
    let header = raw.as_bytes().get(2..).unwrap_or_default();
    crc::carry_on(crc::carry_on(0, header), payload)
}
