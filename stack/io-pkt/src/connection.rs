//! One connection to the control socket: who is behind it, and messages with descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use proto::{Answer, Call, MESSAGE_MAX, Reply};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors that one answer carries: two memfds, the workers' page, a doorbell per worker.
const DESCRIPTORS_MAX: usize = 3 + shm::layout::LANES_MAX as usize;

/// One peer of the control socket: a client, a tool.
pub(crate) struct Connection {
    fd: OwnedFd,
    /// Process id (`SO_PEERCRED`).
    pub pid: u32,
    /// User id (`SO_PEERCRED`).
    pub uid: u32,
    /// Slot of its client, after [`proto::Request::Attach`] or [`proto::Request::Join`].
    pub client: Option<u16>,
    /// Calls of it that wait for a worker.
    pub calls: u16,
}

/// What a read from a connection gave.
pub(crate) enum Received {
    /// A request, and the descriptor that came with it.
    Call(Call, Option<OwnedFd>),
    /// Nothing more for now.
    Empty,
    /// The peer is gone, or sent what is no message.
    Closed,
}

impl Connection {
    /// Takes over an accepted connection.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn new(fd: OwnedFd) -> rustix::io::Result<Self> {
        let credentials = rustix::net::sockopt::socket_peercred(&fd)?;
        Ok(Self {
            fd,
            pid: credentials.pid.as_raw_nonzero().get().unsigned_abs(),
            uid: credentials.uid.as_raw(),
            client: None,
            calls: 0,
        })
    }

    /// Its descriptor, for polling.
    #[must_use]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// May its peer change the stack? Root and the daemon's own user may, over a connection that is
    /// nobody else's. A client's is its forked children's too, and those may have given that user up.
    #[must_use]
    pub(crate) fn may_change_stack(&self, daemon_uid: u32) -> bool {
        self.client.is_none() && (self.uid == 0 || self.uid == daemon_uid)
    }

    /// The next request. A peer has no reason to send more than one descriptor along.
    pub(crate) fn receive(&self, buffer: &mut [u8; MESSAGE_MAX]) -> Received {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = match recvmsg(&self.fd, &mut slices, &mut control, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Received::Empty,
            Err(_) => return Received::Closed,
        };
        let truncated = received.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC);
        if received.bytes == 0 || truncated {
            return Received::Closed;
        }
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match proto::parse(buffer.get(..received.bytes).unwrap_or_default()) {
            Ok(call) => Received::Call(call, descriptor),
            Err(_) => Received::Closed,
        }
    }

    /// Sends an answer with its descriptors. `false`: the peer does not take it; drop it.
    pub(crate) fn answer(
        &self,
        sequence: u32,
        result: Result<Reply, Errno>,
        descriptors: &[BorrowedFd<'_>],
    ) -> bool {
        let result = result.map_err(Errno::raw_os_error);
        let Ok(bytes) = proto::emit(&Answer { sequence, result }) else { return false };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return false;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.fd, &[IoSlice::new(&bytes)], &mut control, flags).is_ok()
    }
}

/// A program's name as it may be shown: short, without control characters.
#[must_use]
pub(crate) fn clean_name(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(uid: u32, client: Option<u16>) -> Connection {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        Connection { uid, client, ..Connection::new(ours.into()).unwrap() }
    }

    #[test]
    fn root_and_the_daemons_user_may_change_the_stack() {
        assert!(connection(0, None).may_change_stack(1000));
        assert!(connection(1000, None).may_change_stack(1000));
        assert!(!connection(1001, None).may_change_stack(1000));
    }

    #[test]
    fn nobody_may_over_a_clients_connection_which_its_children_share() {
        assert!(!connection(0, Some(3)).may_change_stack(0));
        assert!(!connection(1000, Some(3)).may_change_stack(1000));
    }

    #[test]
    fn names_are_cut_and_harmless() {
        assert_eq!(clean_name("py\x1b[31mthon3\n"), "py[31mthon3");
        assert_eq!(clean_name(&"x".repeat(100)).len(), 32);
    }
}
