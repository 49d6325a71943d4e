//! What travels over a path of a protocol module, `<run><prefix>/dev/NAME`: a unix socket of type
//! `SOCK_SEQPACKET`, one message a packet, no descriptors.
//!
//! Who connects hears first whether the module lets them in: a [`PathAnswer`] with
//! [`PathReply::Opened`]. Then each [`PathCall`] has one answer, in order.

use serde::{Deserialize, Serialize};

use crate::bytes;

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
        #[serde(with = "bytes")]
        data: Vec<u8>,
    },
    /// Anything else. → [`PathReply::Data`].
    Ioctl {
        /// The module's number for it.
        request: u32,
        /// What belongs to it.
        #[serde(with = "bytes")]
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
    Data(#[serde(with = "bytes")] Vec<u8>),
    /// So many bytes were taken.
    Written(u32),
}

/// A reply, or Linux's errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathAnswer(pub Result<PathReply, i32>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_one_piece_are_written_as_a_list_is() {
        let data = vec![7; 300];
        let call = PathCall::Write { offset: 1, data: data.clone() };
        let bytes = crate::emit(&call).unwrap();
        assert_eq!(bytes, [&[1, 1, 0xac, 2][..], &data].concat());
        assert_eq!(crate::parse::<PathCall>(&bytes), Ok(call));
        assert!(crate::parse::<PathCall>(&bytes[..200]).is_err());
    }
}
