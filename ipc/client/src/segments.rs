//! Many datagrams with one call: `UDP_SEGMENT` cuts what is sent, `UDP_GRO` joins what has come (udp(7)).
//! Both are done here, at the edge of the shared memory: each datagram is one to the stack.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use shm::Ancillary;

use crate::socket::Socket;
use crate::wait::Patience;

/// As many datagrams at most (Linux's `UDP_MAX_SEGMENTS`).
pub(crate) const SEGMENTS_MAX: usize = 128;

/// Longest payload of a packet of IPv4 before it is cut.
pub(crate) const WHOLE_MAX: usize = 65_507;

const SOL_UDP: i32 = 17;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;

impl Socket {
    /// `setsockopt()`. `None`: it is another option, or another socket.
    pub(crate) fn set_segments(
        &self,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<io::Result<()>> {
        if level != SOL_UDP || !self.is_udp() || !matches!(name, UDP_SEGMENT | UDP_GRO) {
            return None;
        }
        let Some(number) = value.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) else {
            return Some(Err(Errno::INVAL.into()));
        };
        let (size, join) = self.memory.segments();
        let changed = if name == UDP_GRO {
            (size, number != 0)
        } else {
            match u16::try_from(number) {
                Ok(size) => (size, join),
                Err(_) => return Some(Err(Errno::INVAL.into())),
            }
        };
        self.memory.set_segments(changed);
        Some(Ok(()))
    }

    /// `getsockopt()` of the same.
    pub(crate) fn segments_option(&self, level: i32, name: i32) -> Option<i32> {
        let (size, join) = self.memory.segments();
        match (level, name) {
            (SOL_UDP, UDP_SEGMENT) if self.is_udp() => Some(size.into()),
            (SOL_UDP, UDP_GRO) if self.is_udp() => Some(join.into()),
            _ => None,
        }
    }

    /// The size of the pieces that a payload is to be cut in; `None`: it is one datagram.
    pub(crate) fn piece_len(&self, ancillary: &Ancillary, total: usize) -> Option<usize> {
        if !self.is_udp() {
            return None;
        }
        let size = ancillary.segment.unwrap_or_else(|| self.memory.segments().0);
        Some(usize::from(size)).filter(|size| *size > 0 && total > *size)
    }

    /// Sends a payload as datagrams of `size` bytes, the last of which may be shorter. If there is no room
    /// for all of them and the call may not wait, it says how much has gone.
    pub(crate) fn send_pieces(
        &self,
        fd: BorrowedFd<'_>,
        data: &[IoSlice<'_>],
        (to, ancillary): (Option<SocketAddr>, &Ancillary),
        (size, total): (usize, usize),
        patience: &mut Patience<'_>,
    ) -> io::Result<usize> {
        if total > WHOLE_MAX {
            return Err(Errno::MSGSIZE.into());
        }
        if total > size.saturating_mul(SEGMENTS_MAX) {
            return Err(Errno::INVAL.into());
        }
        let joined;
        let whole = match data {
            [one] => &**one,
            several => {
                joined =
                    several.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>();
                &joined
            }
        };
        let mut done = 0usize;
        for piece in whole.chunks(size) {
            let piece = &[IoSlice::new(piece)];
            match self.send_datagram(fd, piece, (to, ancillary), patience) {
                Ok(()) => done = done.saturating_add(piece.iter().map(|slice| slice.len()).sum()),
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}
