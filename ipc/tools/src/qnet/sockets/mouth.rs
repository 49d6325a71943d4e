//! What is to be said to other nodes' brokers, and what has come and is not passed on yet.

use std::collections::{BTreeMap, VecDeque};

use proto::far::FarMessage;
use rustix::io::Errno;

/// With so many bytes waiting for a node nothing more is read from its sockets.
const WAITING_MAX: usize = 1 << 20;

/// A node that lets so many bytes wait is lost: beside what was read from sockets, answers to what it says.
const QUEUE_MAX: usize = 8 << 20;

/// A socket here or there: the other node's whole name, and the number that both brokers have for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) node: String,
    pub(super) socket: u64,
}

/// Messages in the order in which they are to be said to each node.
#[derive(Debug, Default)]
pub(super) struct Mouth {
    nodes: BTreeMap<String, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    len: usize,
    /// More has come than it may let wait.
    overflows: bool,
}

impl Mouth {
    /// Something for a node.
    pub(super) fn say(&mut self, node: &str, message: &FarMessage) {
        // Everything that is said has a limit below a message's.
        let Ok(bytes) = proto::emit(message) else { return };
        let queue = match self.nodes.get_mut(node) {
            Some(queue) => queue,
            None => self.nodes.entry(node.to_owned()).or_default(),
        };
        queue.push(bytes);
    }

    /// Nothing more is to be read from sockets of a node.
    pub(super) fn is_full(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|queue| queue.len > WAITING_MAX)
    }

    /// Says what there is; a node that has to wait is in nobody else's way. The nodes that can't be reached;
    /// `true`: more has to wait.
    pub(super) fn speak(
        &mut self,
        mut tell: impl FnMut(&str, &[u8]) -> Result<(), Errno>,
    ) -> Result<(Vec<String>, bool), Errno> {
        let mut lost = Vec::new();
        for (node, queue) in &mut self.nodes {
            if core::mem::take(&mut queue.overflows) {
                lost.push(node.clone());
            }
            match queue.speak(|bytes| tell(node, bytes)) {
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(errno @ (Errno::PIPE | Errno::CONNRESET)) => return Err(errno),
                Err(_) => {
                    *queue = Queue::default();
                    lost.push(node.clone());
                }
            }
        }
        self.nodes.retain(|_, queue| !queue.waiting.is_empty());
        Ok((lost, !self.nodes.is_empty()))
    }
}

impl Queue {
    fn push(&mut self, bytes: Vec<u8>) {
        if self.overflows {
            return;
        }
        self.len += bytes.len();
        self.waiting.push_back(bytes);
        if self.len > QUEUE_MAX {
            // What came before is of no use without the rest: the node is to forget it too.
            *self = Self { overflows: true, ..Self::default() };
            if let Ok(end) = proto::emit(&FarMessage::Forget) {
                self.len = end.len();
                self.waiting.push_back(end);
            }
        }
    }

    fn speak(&mut self, mut tell: impl FnMut(&[u8]) -> Result<(), Errno>) -> Result<(), Errno> {
        while let Some(bytes) = self.waiting.front() {
            tell(bytes)?;
            self.len -= bytes.len();
            let _ = self.waiting.pop_front();
        }
        Ok(())
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
        assert_eq!(mouth.speak(|_, _| Err(Errno::HOSTUNREACH)), Ok((vec!["beta".into()], false)));
        assert_eq!(said, [FarMessage::End { socket: 0 }]);
        assert!(mouth.nodes.is_empty());
    }

    #[test]
    fn a_node_that_takes_nothing_is_in_nobodys_way_and_lost_when_too_much_waits_for_it() {
        let mut mouth = Mouth::default();
        let data = |socket| FarMessage::Data { socket, bytes: vec![7; 32 << 10] };
        let mut said: Vec<FarMessage> = Vec::new();
        let mut lost = Vec::new();
        let mut full = 0;
        for socket in 0..1000 {
            mouth.say("alpha", &data(socket));
            mouth.say("beta", &data(socket));
            let spoken = mouth.speak(|node, bytes| match node {
                "alpha" => Err(Errno::AGAIN),
                _ => {
                    said.push(proto::parse(bytes).unwrap());
                    Ok(())
                }
            });
            let (gone, waits) = spoken.unwrap();
            assert!(waits && !mouth.is_full("beta"));
            assert!(mouth.nodes["alpha"].len <= QUEUE_MAX);
            full += usize::from(mouth.is_full("alpha"));
            lost.extend(gone);
            if !lost.is_empty() {
                break;
            }
        }
        assert_eq!(said, (0..said.len() as u64).map(data).collect::<Vec<_>>());
        assert_eq!(lost, ["alpha"]);
        assert!(said.len() > QUEUE_MAX / (33 << 10) && full > 0);
        mouth.say("alpha", &FarMessage::Ping);
        let mut told: Vec<FarMessage> = Vec::new();
        let tell = |_: &str, bytes: &[u8]| {
            told.push(proto::parse(bytes).unwrap());
            Ok(())
        };
        let _ = mouth.speak(tell).unwrap();
        assert_eq!(
            told,
            [FarMessage::Forget, FarMessage::Ping],
            "it is to forget what it has heard"
        );
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
