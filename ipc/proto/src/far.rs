//! Sockets of another node's stack, `SOCK=/net/NODE`.
//!
//! ```text
//!  program ── FarRequest ──▶ broker ── TELL ──▶ module ═ wire ═ module ── HEAR ──▶ broker ── client of the stack there
//!     ◀── descriptor ─────────┘            FarMessage, both ways
//! ```
//!
//! A program's descriptor is one end of a pair of unix sockets whose other end the broker (`iopkt qnet
//! sockets`) has. A stream's bytes are in it as they are; a datagram has its name before it
//! ([`emit_name`]). What else is done with a socket is a [`FarRequest`] on the broker's own path; a program
//! shows by a secret, which the broker has written on the descriptor, which socket it means.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde::{Deserialize, Serialize};

use crate::message::{Family, Transport};
use crate::{address, bytes};

/// Version of what brokers say to each other.
pub const VERSION: u32 = 1;

/// Bytes of one [`FarMessage::Data`]: with its head it fits into a call of the module's path.
pub const DATA_MAX: usize = 48 << 10;

/// Bytes of a socket that may be on their way in each direction, until the other broker has passed them on.
pub const WINDOW: u32 = 128 << 10;

/// The high bits of a secret, by which a descriptor is known for one of these.
pub const SECRET_MARK: u64 = 0x6e65_7400_0000_0000;
/// Which bits these are.
pub const SECRET_MASK: u64 = 0xffff_ff00_0000_0000;

/// What a program asks the broker; each request has one [`FarAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FarRequest {
    /// `socket()`. → [`FarReply::Done`], with the descriptor.
    Open {
        /// Whose stack: `beta`, `beta.lab`, `beta~redundant`.
        node: String,
        /// Its family.
        family: Family,
        /// Its transport.
        transport: Transport,
    },
    /// What the broker knows of a socket. → [`FarReply::State`].
    State {
        /// The socket.
        secret: u64,
        /// Its error is told, and is told no more.
        take_error: bool,
    },
    /// The connection that a byte on the listener's descriptor stands for. → [`FarReply::Name`] of the peer,
    /// with the descriptor.
    Accept {
        /// The listener.
        secret: u64,
    },
    /// For the other node.
    Call {
        /// The socket.
        secret: u64,
        /// What.
        call: FarCall,
        /// Bytes in a connecting socket's descriptor that make it not writable.
        stuffed: u32,
        /// A connection is waited for; otherwise it is `EINPROGRESS`.
        wait: bool,
    },
}

/// What is to be done with a socket, by the stack whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FarCall {
    /// Makes it. → [`FarReply::Done`].
    Open {
        /// [`VERSION`].
        version: u32,
        /// Its family.
        family: Family,
        /// Its transport.
        transport: Transport,
    },
    /// → [`FarReply::Done`].
    Bind(#[serde(with = "address")] SocketAddr),
    /// → [`FarReply::Done`].
    Listen {
        /// Connections that may wait.
        backlog: u32,
    },
    /// → [`FarReply::Done`] when there is a connection.
    Connect(#[serde(with = "address")] SocketAddr),
    /// → [`FarReply::Name`].
    LocalName,
    /// → [`FarReply::Name`].
    PeerName,
    /// → [`FarReply::Done`].
    SetOption {
        /// Its level.
        level: i32,
        /// Its number.
        name: i32,
        /// Its value.
        #[serde(with = "bytes")]
        value: Vec<u8>,
    },
    /// → [`FarReply::Value`].
    Option {
        /// Its level.
        level: i32,
        /// Its number.
        name: i32,
    },
}

/// What has come of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FarReply {
    /// It is done.
    Done,
    /// A name.
    Name(#[serde(with = "address")] SocketAddr),
    /// An option's value.
    Value(#[serde(with = "bytes")] Vec<u8>),
    /// What the broker knows.
    State {
        /// The socket's family.
        family: Family,
        /// Its transport.
        transport: Transport,
        /// How far it is.
        stage: Stage,
        /// The pending error; 0 for none.
        error: i32,
    },
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It has been made, and may have a name.
    Fresh,
    /// It listens.
    Listening,
    /// It has no answer yet.
    Connecting,
    /// It has, or had, a peer.
    Connected,
    /// It is over.
    Ended,
}

/// A reply, or Linux's errno.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarAnswer(pub Result<FarReply, i32>);

/// What brokers say to each other about a socket. The broker of the program's node gives sockets their
/// numbers, the other one those of connections that it accepts; these have the highest bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FarMessage {
    /// A program's call. → [`FarMessage::Answer`].
    Call {
        /// The socket.
        socket: u64,
        /// Comes back with the answer.
        number: u32,
        /// What.
        call: FarCall,
    },
    /// What has come of it.
    Answer {
        /// The socket.
        socket: u64,
        /// The call's.
        number: u32,
        /// A reply, or Linux's errno.
        result: Result<FarReply, i32>,
    },
    /// Bytes of a stream; a datagram behind its name.
    Data {
        /// The socket.
        socket: u64,
        /// These.
        #[serde(with = "bytes")]
        bytes: Vec<u8>,
    },
    /// So many bytes have been passed on, or connections of a listener accepted.
    Credit {
        /// The socket.
        socket: u64,
        /// How many.
        count: u32,
    },
    /// No more bytes come.
    End {
        /// The socket.
        socket: u64,
    },
    /// The stack says that the socket is over.
    Failed {
        /// The socket.
        socket: u64,
        /// Why.
        errno: i32,
    },
    /// A listener has got a connection.
    Arrived {
        /// The listener.
        listener: u64,
        /// The connection.
        socket: u64,
        /// Its peer.
        #[serde(with = "address")]
        peer: SocketAddr,
    },
    /// Nobody has the socket any more.
    Close {
        /// The socket.
        socket: u64,
    },
    /// A sign of life, while there are sockets: the connection between the nodes stays up, and its end is
    /// noticed.
    Ping,
    /// No socket is known here of those that the other broker has.
    Forget,
}

impl FarMessage {
    /// The socket that it is about.
    #[must_use]
    pub fn socket(&self) -> Option<u64> {
        match self {
            Self::Call { socket, .. }
            | Self::Answer { socket, .. }
            | Self::Data { socket, .. }
            | Self::Credit { socket, .. }
            | Self::End { socket }
            | Self::Failed { socket, .. }
            | Self::Arrived { listener: socket, .. }
            | Self::Close { socket } => Some(*socket),
            Self::Ping | Self::Forget => None,
        }
    }
}

/// What a broker gives the module by [`TELL`](crate::qnet::TELL); the answer is the node's whole name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tell {
    /// For whom, and how to send.
    pub node: String,
    /// A [`FarMessage`].
    #[serde(with = "bytes")]
    pub message: Vec<u8>,
}

/// What a broker gets from the module by [`HEAR`](crate::qnet::HEAR).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The node's whole name.
    pub node: String,
    /// A [`FarMessage`]; empty: what was said before may be lost, the node or its broker is gone.
    #[serde(with = "bytes")]
    pub message: Vec<u8>,
}

/// Bytes of a name before a datagram.
pub const NAME_LEN: usize = 24;

/// A name before a datagram: where it goes, or whence it came. None: to the socket's peer.
///
/// ```text
///  0      1   2      4        8            24
///  family  0   port   scope    address
/// ```
#[must_use]
pub fn emit_name(name: Option<SocketAddr>) -> [u8; NAME_LEN] {
    let (family, port, scope, address) = match name {
        None => (0, 0, 0, [0; 16]),
        Some(SocketAddr::V4(v4)) => (4, v4.port(), 0, v4.ip().to_ipv6_mapped().octets()),
        Some(SocketAddr::V6(v6)) => (6, v6.port(), v6.scope_id(), v6.ip().octets()),
    };
    let mut bytes = [0; NAME_LEN];
    let fields = [family, 0].into_iter().chain(port.to_be_bytes());
    let fields = fields.chain(u32::to_be_bytes(scope)).chain(address);
    bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    bytes
}

/// The name before a datagram, and the datagram. `None`: there is none.
#[must_use]
pub fn parse_name(bytes: &[u8]) -> Option<(Option<SocketAddr>, &[u8])> {
    let (head, payload) = bytes.split_first_chunk::<NAME_LEN>()?;
    let [family, _, a, b, scope @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *head;
    let port = u16::from_be_bytes([a, b]);
    let address = head.last_chunk::<16>().copied().map(Ipv6Addr::from)?;
    let name = match family {
        0 => None,
        4 => Some((address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED), port).into()),
        6 => Some(SocketAddrV6::new(address, port, 0, u32::from_be_bytes(scope)).into()),
        _ => return None,
    };
    Some((name, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_before_a_datagram_is_read_as_it_was_written() {
        for name in [None, Some("198.18.77.1:7"), Some("[fe80::1%3]:9"), Some("[::]:0")] {
            let name = name.map(|name| name.parse().unwrap());
            let bytes = [&emit_name(name)[..], b"payload"].concat();
            assert_eq!(parse_name(&bytes), Some((name, &b"payload"[..])));
        }
        assert_eq!(parse_name(&[4; NAME_LEN - 1]), None);
        assert_eq!(parse_name(&[5; NAME_LEN]), None);
    }

    #[test]
    fn the_longest_message_fits_into_a_call_of_the_modules_path() {
        let message = crate::emit(&FarMessage::Data { socket: u64::MAX, bytes: vec![7; DATA_MAX] });
        let tell = Tell { node: "n".repeat(200), message: message.unwrap() };
        let heard = Heard { node: "n".repeat(200), message: tell.message.clone() };
        let room = crate::path::PATH_BYTES_MAX as usize;
        assert!(crate::emit(&tell).unwrap().len() < room);
        assert!(crate::emit(&heard).unwrap().len() < room);
    }
}
