//! What is to be said to other nodes' brokers, and what has come and is not passed on yet.

use std::collections::VecDeque;

use proto::far::FarMessage;
use rustix::io::Errno;

/// With so many bytes waiting to be said nothing more is read from sockets.
const WAITING_MAX: usize = 1 << 20;

/// A socket here or there: the other node's whole name, and the number that both brokers have for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) node: String,
    pub(super) socket: u64,
}

/// Messages in the order in which they are to be said.
#[derive(Debug, Default)]
pub(super) struct Mouth {
    waiting: VecDeque<(String, Vec<u8>)>,
    len: usize,
}

impl Mouth {
    /// Something for a node.
    pub(super) fn say(&mut self, node: &str, message: &FarMessage) {
        // Everything that is said has a limit below a message's.
        let Ok(bytes) = proto::emit(message) else { return };
        self.len += bytes.len();
        self.waiting.push_back((node.to_owned(), bytes));
    }

    /// Nothing more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.len > WAITING_MAX
    }

    /// Says what there is. The nodes that can't be reached; `true`: more has to wait.
    pub(super) fn speak(
        &mut self,
        mut tell: impl FnMut(&str, &[u8]) -> Result<(), Errno>,
    ) -> Result<(Vec<String>, bool), Errno> {
        let mut lost = Vec::new();
        while let Some((node, bytes)) = self.waiting.pop_front() {
            match tell(&node, &bytes) {
                Ok(()) => {}
                Err(Errno::AGAIN) => {
                    self.waiting.push_front((node, bytes));
                    return Ok((lost, true));
                }
                Err(errno @ (Errno::PIPE | Errno::CONNRESET)) => return Err(errno),
                Err(_) => lost.push(node),
            }
            self.len -= bytes.len();
        }
        Ok((lost, false))
    }
}

/// Bytes of a socket that its other side has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that have been taken.
    at: usize,
    len: usize,
}

impl Backlog {
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives away what is taken: all of a datagram, some bytes of a stream. So many bytes have gone, in vain
    /// perhaps; an error ends it.
    pub(super) fn drain(
        &mut self,
        is_stream: bool,
        mut take: impl FnMut(&[u8]) -> Result<usize, Errno>,
    ) -> (u32, Result<(), Errno>) {
        let mut gone = 0;
        let mut result = Ok(());
        while let Some(piece) = self.pieces.front() {
            let rest = piece.get(self.at..).unwrap_or_default();
            let taken = match take(rest) {
                Ok(taken) if is_stream => taken.min(rest.len()),
                Err(Errno::AGAIN | Errno::INTR) if is_stream => break,
                // A datagram that can't go is lost.
                _ if !is_stream => rest.len(),
                Ok(_) => rest.len(),
                Err(errno) => {
                    result = Err(errno);
                    break;
                }
            };
            self.at += taken;
            self.len -= taken;
            gone += taken;
            if self.at >= piece.len() {
                let _ = self.pieces.pop_front();
                self.at = 0;
            }
        }
        (u32::try_from(gone).unwrap_or(u32::MAX), result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_yet_is_said_first_the_next_time() {
        let mut mouth = Mouth::default();
        for socket in 0..3 {
            mouth.say("beta", &FarMessage::End { socket });
        }
        let mut said = Vec::new();
        let mut room = 1;
        let mut tell = |_: &str, bytes: &[u8]| {
            if room == 0 {
                return Err(Errno::AGAIN);
            }
            room -= 1;
            said.push(proto::parse::<FarMessage>(bytes).unwrap());
            Ok(())
        };
        assert_eq!(mouth.speak(&mut tell), Ok((Vec::new(), true)));
        assert_eq!(mouth.speak(|_, _| Err(Errno::HOSTUNREACH)).unwrap().0, ["beta", "beta"]);
        assert_eq!(said, [FarMessage::End { socket: 0 }]);
        assert_eq!((mouth.len, mouth.is_full()), (0, false));
    }

    #[test]
    fn a_stream_goes_in_pieces_and_a_datagram_whole_or_not_at_all() {
        let mut backlog = Backlog::default();
        backlog.push(b"abcd".to_vec());
        backlog.push(b"ef".to_vec());
        let mut got = Vec::new();
        let three = |bytes: &[u8]| {
            if got.len() >= 3 {
                return Err(Errno::AGAIN);
            }
            let len = bytes.len().min(3);
            got.extend_from_slice(&bytes[..len]);
            Ok(len)
        };
        assert_eq!(backlog.drain(true, three), (3, Ok(())));
        assert_eq!((got.as_slice(), backlog.len()), (&b"abc"[..], 3));
        assert_eq!(backlog.drain(false, |_| Err(Errno::AGAIN)), (3, Ok(())));
        assert!(backlog.is_empty());
        backlog.push(b"gh".to_vec());
        assert_eq!(backlog.drain(true, |_| Err(Errno::PIPE)), (0, Err(Errno::PIPE)));
    }
}
