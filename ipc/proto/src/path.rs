//! What travels over a path of a protocol module, `<run><prefix>/dev/NAME`: a unix socket of type
//! `SOCK_SEQPACKET`, one message a packet, no descriptors.
//!
//! Who connects hears first whether the module lets them in: a [`PathAnswer`] with
//! [`PathReply::Opened`]. Then each [`PathCall`] has one answer, in order.

use serde::{Deserialize, Serialize};

/// Most bytes of one read, write or ioctl: with its head it fits a message.
pub const PATH_BYTES_MAX: u32 = 61_440;

/// What a client wants of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathCall {
    /// Bytes from there on. → [`PathReply::Data`], empty at the end.
    Read {
        /// From there on.
        offset: u64,
        /// So many at most.
        len: u32,
    },
    /// Bytes to there. → [`PathReply::Written`].
    Write {
        /// To there.
        offset: u64,
        /// These.
        data: Vec<u8>,
    },
    /// Anything else. → [`PathReply::Data`].
    Ioctl {
        /// The module's number for it.
        request: u32,
        /// What belongs to it.
        data: Vec<u8>,
        /// Bytes of the answer at most.
        room: u32,
    },
}

/// What the module says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathReply {
    /// The path is open.
    Opened,
    /// Bytes.
    Data(Vec<u8>),
    /// So many bytes were taken.
    Written(u32),
}

/// A reply, or Linux's errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathAnswer(pub Result<PathReply, i32>);
