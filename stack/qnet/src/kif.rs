//! Messages between processes of two nodes, as the kernel interface's layer carries them.
//!
//! A client sends a message to a server, and gets a reply or an error. A message begins with its type; types
//! from [`PRIVATE_TYPE`] on are the applications' own.

use zerocopy::byteorder::{BigEndian, ByteOrder, LittleEndian, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::discard::Discard;
use crate::frame::Order;

/// The first type of a message that the system does not give a meaning to.
pub const PRIVATE_TYPE: u16 = 0x200;

/// The low bits of the first field are the kind; the others say what else is there.
const KIND_MASK: u16 = 0x7f;
const MSG_SEND: u16 = 5;
const MSG_REPLY: u16 = 9;
const MSG_ERROR: u16 = 10;

/// A message of the kernel interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kif<'a> {
    /// A client's message to a server.
    Send {
        /// Which server.
        server: u32,
        /// The client's handle, which comes back with the reply.
        client: u32,
        /// The type that the message begins with.
        kind: u16,
        /// What follows it.
        body: &'a [u8],
    },
    /// A server's answer.
    Reply {
        /// The client's handle.
        client: u32,
        /// The status that the client's call returns.
        status: u32,
        /// The answer.
        body: &'a [u8],
    },
    /// A server's refusal.
    Error {
        /// The client's handle.
        client: u32,
        /// The number of the error.
        errno: u32,
    },
}

/// A client's message: the kind and this header's length, whom it is for, whose it is, the eight fields that
/// tell about the client's thread, and the length of what follows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawSend<O: ByteOrder> {
    kind: U16<O>,
    len: U16<O>,
    server: U32<O>,
    client: U32<O>,
    thread: U32<O>,
    connection: U32<O>,
    priority: U32<O>,
    source_len: U32<O>,
    key: U32<O>,
    source_node: U32<O>,
    destination_len: U32<O>,
    zero: U32<O>,
    body_len: U32<O>,
    message_kind: U16<O>,
    message_pad: U16<O>,
}

const SEND_LEN: u16 = 48;
const _: () = assert!(size_of::<RawSend<LittleEndian>>() == SEND_LEN as usize + 4);

/// An answer: the kind and this header's length, a status, the client's handle, and where in his buffer how
/// much is to go.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawReply<O: ByteOrder> {
    kind: U16<O>,
    len: U16<O>,
    status: U32<O>,
    client: U32<O>,
    offset: U32<O>,
    body_len: U32<O>,
}

const REPLY_LEN: u16 = 20;
const _: () = assert!(size_of::<RawReply<LittleEndian>>() == REPLY_LEN as usize);

impl<'a> Kif<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// `TooShort`, `Kind` or `Length`.
    pub fn parse(bytes: &'a [u8], order: Order) -> Result<Self, Discard> {
        match order {
            Order::Little => Self::parse_in::<LittleEndian>(bytes),
            Order::Big => Self::parse_in::<BigEndian>(bytes),
        }
    }

    fn parse_in<O: ByteOrder + 'a>(bytes: &'a [u8]) -> Result<Self, Discard> {
        let (kind, _) = U16::<O>::ref_from_prefix(bytes).map_err(|_| Discard::TooShort)?;
        match kind.get() & KIND_MASK {
            MSG_SEND => {
                let (raw, body) =
                    RawSend::<O>::ref_from_prefix(bytes).map_err(|_| Discard::TooShort)?;
                let body_len = raw.body_len.get().checked_sub(4).ok_or(Discard::Length)?;
                Ok(Self::Send {
                    server: raw.server.get(),
                    client: raw.client.get(),
                    kind: raw.message_kind.get(),
                    body: exactly(body, body_len)?,
                })
            }
            kind @ (MSG_REPLY | MSG_ERROR) => {
                let (raw, body) =
                    RawReply::<O>::ref_from_prefix(bytes).map_err(|_| Discard::TooShort)?;
                let (client, status) = (raw.client.get(), raw.status.get());
                let body = exactly(body, raw.body_len.get())?;
                Ok(if kind == MSG_REPLY {
                    Self::Reply { client, status, body }
                } else {
                    Self::Error { client, errno: status }
                })
            }
            _ => Err(Discard::Kind),
        }
    }

    /// Writes it behind what `to` holds.
    pub fn emit(&self, order: Order, to: &mut Vec<u8>) {
        match order {
            Order::Little => self.emit_in::<LittleEndian>(to),
            Order::Big => self.emit_in::<BigEndian>(to),
        }
    }

    fn emit_in<O: ByteOrder>(&self, to: &mut Vec<u8>) {
        let (kind, client, status, body) = match *self {
            Self::Send { server, client, kind, body } => {
                let body_len = len_u32(body).saturating_add(4);
                let raw = RawSend::<O> {
                    kind: MSG_SEND.into(),
                    len: SEND_LEN.into(),
                    server: server.into(),
                    client: client.into(),
                    thread: 1.into(),
                    connection: 0.into(),
                    priority: 10.into(),
                    source_len: body_len.into(),
                    key: 0.into(),
                    source_node: 0.into(),
                    destination_len: 0.into(),
                    zero: 0.into(),
                    body_len: body_len.into(),
                    message_kind: kind.into(),
                    message_pad: 0.into(),
                };
                to.extend_from_slice(raw.as_bytes());
                to.extend_from_slice(body);
                return;
            }
            Self::Reply { client, status, body } => (MSG_REPLY, client, status, body),
            Self::Error { client, errno } => (MSG_ERROR, client, errno, &[][..]),
        };
        let raw = RawReply::<O> {
            kind: kind.into(),
            len: REPLY_LEN.into(),
            status: status.into(),
            client: client.into(),
            offset: 0.into(),
            body_len: len_u32(body).into(),
        };
        to.extend_from_slice(raw.as_bytes());
        to.extend_from_slice(body);
    }
}

/// The bytes, if they are as many as was said.
fn exactly(bytes: &[u8], len: u32) -> Result<&[u8], Discard> {
    (len_u32(bytes) == len).then_some(bytes).ok_or(Discard::Length)
}

/// No message is longer than [`MESSAGE_MAX`](crate::limits::MESSAGE_MAX).
fn len_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
