//! Urgent data as Linux's sockets have it (RFC 6093 §3): one byte of the stream is marked. A reader
//! stops before it; without `SO_OOBINLINE` reading passes over it, and `MSG_OOB` reads it by itself.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use proto::message::Transport;
use rustix::io::Errno;

use crate::descriptor;
use crate::receive::{Received, has_ended};
use crate::socket::{Socket, mark};

impl Socket {
    /// `SIOCATMARK`: the next byte is the urgent one.
    #[must_use]
    pub fn is_at_mark(&self) -> bool {
        self.transport() == Transport::Stream
            && self.memory.receive().urgent().is_some_and(|urgent| urgent.ahead == 0)
    }

    pub(crate) fn readable_before_mark(&self) -> usize {
        let queue = self.memory.receive();
        let outside = |urgent: &shm::Urgent| urgent.has_come && !self.has_urgent_inline();
        let readable = match queue.urgent().filter(outside) {
            Some(urgent) => urgent.ahead,
            None => queue.unread(),
        };
        usize::try_from(readable).unwrap_or(usize::MAX)
    }

    pub(crate) fn has_urgent_inline(&self) -> bool {
        self.memory.marks() & mark::OOB_INLINE != 0
    }

    pub(crate) fn set_urgent_inline(&self, inline: bool) {
        self.choose_marks(mark::OOB_INLINE, if inline { mark::OOB_INLINE } else { 0 });
    }

    /// `recv()` with `MSG_OOB`. Never waits, as in Linux: `EAGAIN` while the byte is only announced,
    /// `EINVAL` if there is none to be read this way.
    pub(crate) fn recv_urgent(
        &self,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
        peek: bool,
    ) -> io::Result<Received> {
        let status = self.memory.status();
        let mut queue = self.memory.receive();
        let urgent = queue.urgent().filter(|urgent| !urgent.was_read);
        let Some(urgent) = urgent.filter(|_| !self.has_urgent_inline()) else {
            return Err(Errno::INVAL.into());
        };
        if !urgent.has_come {
            return if has_ended(status) {
                Ok(Received::bytes(0))
            } else {
                Err(Errno::AGAIN.into())
            };
        }
        let byte = queue.read_urgent(peek).ok_or(Errno::INVAL)?;
        if !peek {
            descriptor::take_urgent(fd);
        }
        if let Some(place) = into.iter_mut().find_map(|slice| slice.first_mut()) {
            *place = byte;
        }
        Ok(Received::bytes(1))
    }
}
