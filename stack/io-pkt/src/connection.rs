//! One connection to the control socket: who is behind it, what comes over it, and what goes back.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use proto::{Answer, Call, MESSAGE_MAX, Reply};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shm::PeerSocket;

use crate::quota::{Account, Accounts, Taken};

/// Descriptors that one answer carries: two memfds, the workers' page, a doorbell per worker.
const DESCRIPTORS_MAX: usize = 3 + shm::layout::LANES_MAX as usize;

/// One peer of the control socket: a client, a tool.
pub(crate) struct Connection {
    socket: PeerSocket,
    /// Process id (`SO_PEERCRED`).
    pub pid: u32,
    /// User id (`SO_PEERCRED`).
    pub uid: u32,
    /// User id of whoever has sent the request at hand (`SCM_CREDENTIALS`).
    pub sender: u32,
    /// Slot of its client, after [`proto::Request::Attach`] or [`proto::Request::Join`].
    pub client: Option<u16>,
    /// Calls of it that wait for a worker.
    pub calls: u16,
    /// What the user who connected has and may have.
    pub account: Rc<Account>,
    /// Its place among that user's connections.
    pub seat: Option<Taken>,
}

/// Who may change the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trusted {
    /// The daemon's user; root may too.
    pub(crate) uid: u32,
    /// A group whose members may (`-p tcpip rgroup_allowed`).
    pub(crate) group: Option<u32>,
}

impl Trusted {
    fn has(&self, uid: u32) -> bool {
        uid == 0 || uid == self.uid
    }
}

/// What a read from a connection gave.
pub(crate) enum Received {
    /// A request.
    Call(Call),
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
    pub(crate) fn new(fd: OwnedFd, accounts: &mut Accounts) -> rustix::io::Result<Self> {
        let socket = PeerSocket::new(fd)?;
        let (pid, uid) = socket.who_connected()?;
        let account = accounts.of(uid);
        Ok(Self { socket, pid, uid, sender: uid, client: None, calls: 0, account, seat: None })
    }

    /// Its descriptor, for polling.
    #[must_use]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// May the request at hand change the stack, or take a port below 1024? If somebody trusted has
    /// connected **and** sends it. A connection goes where forked children and descriptors go: some of
    /// those who have it may have given that user up, and others never were that user. The groups of a sender
    /// are not known; the user who connected as a member of the trusted group counts as one.
    #[must_use]
    pub(crate) fn is_privileged(&self, trusted: &Trusted) -> bool {
        let users = [self.uid, self.sender];
        if users.into_iter().all(|uid| trusted.has(uid)) {
            return true;
        }
        let member = |group| self.socket.groups_connected().is_ok_and(|all| all.contains(&group));
        let known = users.into_iter().all(|uid| uid == self.uid || trusted.has(uid));
        known && trusted.group.is_some_and(member)
    }

    /// The next request.
    pub(crate) fn receive(&mut self, buffer: &mut [u8; MESSAGE_MAX]) -> Received {
        let message = match self.socket.receive(buffer) {
            Ok(message) => message,
            Err(Errno::AGAIN | Errno::INTR) => return Received::Empty,
            Err(_) => return Received::Closed,
        };
        let Some(sender) = message.uid.filter(|_| message.len > 0 && !message.surplus) else {
            return Received::Closed;
        };
        match proto::parse(buffer.get(..message.len).unwrap_or_default()) {
            Ok(call) => {
                self.sender = sender;
                Received::Call(call)
            }
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
        self.send(sequence, result, descriptors).is_ok()
    }

    /// The same.
    ///
    /// # Errors
    /// The kernel's, `EAGAIN` if the peer has not read enough of what it was sent before; `EMSGSIZE`.
    pub(crate) fn send(
        &self,
        sequence: u32,
        result: Result<Reply, Errno>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        if sequence == proto::UNASKED {
            return Ok(());
        }
        let result = result.map_err(Errno::raw_os_error);
        let bytes = proto::emit(&Answer { sequence, result }).map_err(|_| Errno::MSGSIZE)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::MSGSIZE);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], &mut control, flags).map(drop)
    }
}

/// A program's name as it may be shown: short, without control characters.
#[must_use]
pub(crate) fn clean_name(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(32).collect()
}

/// Given up when there are no others.
pub(crate) fn spare_descriptor() -> Option<OwnedFd> {
    use rustix::event::EventfdFlags;
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(uid: u32, sender: u32) -> Connection {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        Connection {
            uid,
            sender,
            ..Connection::new(ours.into(), &mut Accounts::default()).unwrap()
        }
    }

    fn user(uid: u32) -> Trusted {
        Trusted { uid, group: None }
    }

    #[test]
    fn so_are_members_of_the_trusted_group_where_they_send_themselves() {
        let group = rustix::process::getgid().as_raw();
        let (members, others) =
            (Trusted { uid: 0, group: Some(group) }, Trusted { uid: 0, group: Some(u32::MAX - 1) });
        assert!(connection(33, 33).is_privileged(&members));
        assert!(!connection(33, 33).is_privileged(&others));
        assert!(!connection(33, 34).is_privileged(&members), "somebody whom it was handed to");
    }

    #[test]
    fn nobody_is_told_what_nobody_waits_for() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let connection = Connection::new(ours.into(), &mut Accounts::default()).unwrap();
        assert!(connection.answer(proto::UNASKED, Ok(Reply::Done), &[]));
        assert!(connection.answer(proto::UNASKED, Err(Errno::NOBUFS), &[]));
        assert!(connection.answer(7, Ok(Reply::Done), &[]));
        let mut buffer = [0; 64];
        let read = rustix::io::read(&theirs, &mut buffer).unwrap();
        let only: Answer = proto::parse(&buffer[..read]).unwrap();
        assert_eq!(only.sequence, 7);
    }

    #[test]
    fn root_and_the_daemons_user_are_privileged() {
        assert!(connection(0, 0).is_privileged(&user(1000)));
        assert!(connection(1000, 1000).is_privileged(&user(1000)));
        assert!(connection(0, 1000).is_privileged(&user(1000)));
        assert!(!connection(1001, 1001).is_privileged(&user(1000)));
    }

    #[test]
    fn nobody_is_over_a_connection_that_somebody_else_has_made() {
        assert!(!connection(0, 33).is_privileged(&user(0)), "a child that has given root up");
        assert!(
            !connection(33, 0).is_privileged(&user(0)),
            "root writes what others make it write"
        );
    }

    #[test]
    fn names_are_cut_and_harmless() {
        assert_eq!(clean_name("py\x1b[31mthon3\n"), "py[31mthon3");
        assert_eq!(clean_name(&"x".repeat(100)).len(), 32);
    }
}
