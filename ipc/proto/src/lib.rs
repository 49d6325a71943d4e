//! The one definition of what travels over `<run><prefix>/dev/socket`.
//!
//! The path is a unix socket of type `SOCK_SEQPACKET`; each message is one packet, the daemon's
//! descriptors come with it as `SCM_RIGHTS`, and it takes none itself. A client sends a [`Call`] and waits
//! for the [`Answer`] that carries the same sequence number, unless that is [`UNASKED`]. No request blocks in the daemon: what has to wait (a connection to accept,
//! a handshake) answers `EAGAIN` or `EINPROGRESS`, and the socket's descriptor says when to ask again.
//!
//! * [`message`]: requests and replies, with the descriptors each reply carries.
//! * [`link`]: interfaces that are made of others.
//! * [`table`]: what the tools show: interfaces, routes, neighbours, sockets, clients, counters.
//! * [`tcp_info`]: the layout of `TCP_INFO`.
//! * [`path`]: the same for paths of protocol modules.
//! * [`qnet`]: what travels over the path of `lsm-qnet`, and from node to node.
//! * [`far`]: sockets of another node's stack: what a program asks for, and what the nodes say to each other.
//! * [`paths`]: where the socket is, from `$IOPKT_RUN` and `$SOCK`.
#![forbid(unsafe_code)]

mod address;
mod bytes;
pub mod event;
mod extended_error;
pub mod far;
pub mod link;
pub mod message;
pub mod path;
pub mod paths;
pub mod qnet;
mod route;
pub mod table;
pub mod tcp_info;
mod way;

pub use event::{Change, LinkRow, NetworkEvent};
pub use extended_error::ExtendedError;
pub use link::{
    BridgePage, BridgeRow, BridgeVerb, LaggEndRow, LaggPortRow, LaggProtocol, LaggRow, LaggVerb,
    ListeningRow, MemberRow, StationRow, TreeRow, Vlan,
};
pub use message::{
    Answer, Automatic, Call, ReceiveMode, Reply, Request, SocketHandle, TURNED_AWAY, Ticket,
};

/// Version of this protocol. Client library and daemon must agree exactly.
pub const VERSION: u32 = 13;

/// Sequence of a call that nobody waits for. No answer comes, not even a refusal: it is for what is not refused.
pub const UNASKED: u32 = u32::MAX - 1;

/// No message is longer. A longer one closes the connection.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// More than an answer has beside the rows of a page.
const PAGE_HEAD: usize = 32;

/// A message that is not one of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMessage;

impl core::fmt::Display for MalformedMessage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(
            "message is not one of this protocol: client library and daemon differ in version",
        )
    }
}

impl core::error::Error for MalformedMessage {}

/// Writes a message for the wire.
///
/// # Errors
/// [`MalformedMessage`] if it would be longer than [`MESSAGE_MAX`].
pub fn emit<T: serde::Serialize>(message: &T) -> Result<Vec<u8>, MalformedMessage> {
    let bytes = postcard::to_allocvec(message).map_err(|_| MalformedMessage)?;
    if bytes.len() > MESSAGE_MAX { Err(MalformedMessage) } else { Ok(bytes) }
}

/// Rows of a list that whoever asks has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Skip(pub u32);

/// The rows of a list that come next and fit into one answer. None: the list has ended.
pub fn page<T: serde::Serialize>(rows: impl IntoIterator<Item = T>, skip: Skip) -> Vec<T> {
    let mut room = MESSAGE_MAX - PAGE_HEAD;
    let mut fits = |row: &T| {
        let left = postcard::experimental::serialized_size(row).ok();
        let left = left.and_then(|len| room.checked_sub(len));
        room = left.unwrap_or(room);
        left.is_some()
    };
    let skip = usize::try_from(skip.0).unwrap_or(usize::MAX);
    rows.into_iter().skip(skip).take_while(|row| fits(row)).collect()
}

/// Reads one message; every byte must belong to it.
///
/// # Errors
/// [`MalformedMessage`] for anything else.
pub fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, MalformedMessage> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(MalformedMessage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use table::ClientRow;

    #[test]
    fn a_list_of_any_length_comes_in_pages_that_fit() {
        let row = |slot| ClientRow {
            slot,
            pid: u32::MAX,
            uid: u32::MAX,
            program: "x".repeat(32),
            sockets: u32::MAX,
            rx_memory_bytes: u64::MAX,
            packets_lent: Some(u64::MAX),
            packets: u64::MAX,
            packets_per_s: u64::MAX,
            requests: u64::MAX,
            requests_per_s: u64::MAX,
            quota_hits: u64::MAX,
            violations: u64::MAX,
        };
        let mut seen = 0;
        loop {
            let rows = page((0..5000).map(row), Skip(seen));
            if rows.is_empty() {
                break;
            }
            assert_eq!(rows.first().map(|row| row.slot), Some(seen));
            seen += u32::try_from(rows.len()).unwrap();
            let answer = Answer { sequence: u32::MAX, result: Ok(Reply::Clients(rows)) };
            let len = emit(&answer).unwrap().len();
            assert!(seen == 5000 || len > MESSAGE_MAX - 256, "{len} bytes of a page are used");
        }
        assert_eq!(seen, 5000);
    }
}
