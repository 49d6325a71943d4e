//! The daemon's end of a socket's real descriptor.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags,
    SocketType, sendmsg, socketpair, sockopt,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::daemon::peer_socket::PeerSocket;

/// One end of a socketpair; the client has the other one. What is in it is what the kernel tells
/// select, poll and epoll about the socket. Never blocks.
#[derive(Debug)]
pub struct SocketEnd {
    end: PeerSocket,
    /// Nothing can be sent any more.
    is_shut: AtomicBool,
    /// It hangs up by our own doing.
    is_over: AtomicBool,
}

/// Tells of an ended connection's descriptor what its own end can't any more: that the last copy is closed.
#[derive(Debug)]
pub struct LastClose {
    pipe: OwnedFd,
}

impl SocketEnd {
    /// A new pair: the daemon's end, and the client's, which is blocking and close-on-exec.
    ///
    /// # Errors
    /// The kernel's, `EMFILE` for example.
    pub fn pair() -> Result<(Self, OwnedFd), Errno> {
        let flags = SocketFlags::CLOEXEC;
        let (end, client) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The smallest the kernel allows: the less stuffing makes the client's end unwritable.
        sockopt::set_socket_send_buffer_size(&client, 1)?;
        rustix::io::ioctl_fionbio(&end, true)?;
        Ok((
            Self {
                end: PeerSocket::new(end)?,
                is_shut: AtomicBool::new(false),
                is_over: AtomicBool::new(false),
            },
            client,
        ))
    }

    /// Makes the client's end readable. True if the token is in, or if the socket is readable anyway.
    /// False: the client has closed its end.
    #[must_use]
    pub fn send_token(&self) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::send(&self.end, &[1], flags) {
                Err(Errno::INTR) => {}
                Ok(_) | Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The kernel tells the client's program that something is urgent: `POLLPRI`, and `SIGURG` if it
    /// has asked for that with `F_SETOWN`. Nothing happens if an older mark is still in, or on kernels
    /// whose unix sockets have no urgent data.
    pub fn send_urgent(&self) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::OOB;
        let _ = rustix::net::send(&self.end, &[1], flags);
    }

    /// Makes the client's end writable again. False: the client has closed its end.
    #[must_use]
    pub fn drain(&self) -> bool {
        let mut stuffing = [0; 4096];
        // The client's send buffer is small, so few rounds suffice; a client that keeps stuffing
        // only keeps itself waiting.
        for _ in 0..16 {
            match self.end.receive(&mut stuffing) {
                Ok(message) if message.len == 0 || message.surplus => return false,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Has the last copy of the client's end been closed? After [`SocketEnd::hang_up`] only [`LastClose`] knows.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        hangs_up(&self.end)
    }

    /// The peer has sent FIN: the client's end becomes readable for good and reports `POLLRDHUP`.
    pub fn end_of_input(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
        // Fails only if the client has closed its end, which is noticed elsewhere.
        let _ = rustix::net::shutdown(&self.end, Shutdown::Write);
    }

    /// Has [`SocketEnd::end_of_input`] been said?
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.is_shut.load(Ordering::Relaxed)
    }

    /// Before [`SocketEnd::hang_up`], which lets both ends hang up: what tells of the last close from then on. A
    /// pipe's end goes with a last token into the client's, and is closed with what is in there. Who takes that
    /// token out says that the descriptor is closed; the library leaves it in ([`Status::GONE`]).
    ///
    /// # Errors
    /// The kernel's: `EPIPE` if all is closed, or the end of the input was said before.
    ///
    /// [`Status::GONE`]: crate::Status::GONE
    pub fn last_close(&self) -> Result<LastClose, Errno> {
        let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [theirs.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Errno::NOBUFS);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = sendmsg(&self.end, &[IoSlice::new(&[1])], &mut control, flags)?;
        Ok(LastClose { pipe })
    }

    /// The connection is gone in both directions: the client's end reports `POLLHUP`, too, and takes no
    /// stuffing any more. So does this end from now on, at once; at the last close it tells that once more.
    pub fn hang_up(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
        self.is_over.store(true, Ordering::Release);
        let _ = rustix::net::shutdown(&self.end, Shutdown::Both);
    }

    /// Has [`SocketEnd::hang_up`] been said?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

impl LastClose {
    /// Has the last copy of the client's end been closed?
    #[must_use]
    pub fn has_come(&self) -> bool {
        hangs_up(&self.pipe)
    }
}

fn hangs_up(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let _ = poll(&mut fds, Some(&now));
    fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
}

impl AsFd for LastClose {
    /// `POLLHUP` on it says that the last copy of the client's end is closed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl AsFd for SocketEnd {
    /// `POLLHUP` on it says that the last copy of the client's end is closed, unless [`SocketEnd::is_over`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::epoll::{self, EventData, EventFlags};
    use rustix::net::RecvFlags;

    use super::*;

    fn events(fd: &OwnedFd) -> PollFlags {
        let mut fds = [PollFd::new(fd, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP)];
        let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
        fds[0].revents()
    }

    fn recv(fd: &OwnedFd, flags: RecvFlags) -> Result<usize, Errno> {
        rustix::net::recv(fd, &mut [0; 8], flags).map(|(len, _)| len)
    }

    #[test]
    fn an_ended_connection_hangs_up_and_its_last_close_is_still_noticed() {
        let (end, client) = SocketEnd::pair().unwrap();
        let last_close = end.last_close().unwrap();
        end.hang_up();
        let all = PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP | PollFlags::HUP;
        assert_eq!(events(&client), all);
        // Who looks at the token, or closes a copy, has not closed all.
        assert_eq!(recv(&client, RecvFlags::PEEK), Ok(1));
        let copy = client.try_clone().unwrap();
        drop(client);
        assert!(!last_close.has_come() && end.is_over());
        drop(copy);
        assert!(last_close.has_come());
    }

    #[test]
    fn the_end_that_hangs_up_tells_of_the_last_close_once_more() {
        let (end, client) = SocketEnd::pair().unwrap();
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        epoll::add(&set, &end, EventData::new_u64(1), EventFlags::ET).unwrap();
        let edges = || {
            let mut space = Vec::with_capacity(4);
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&set, rustix::buffer::spare_capacity(&mut space), Some(&now)).unwrap()
        };
        let _last_close = end.last_close().unwrap();
        end.hang_up();
        assert_eq!((edges(), edges()), (1, 0), "its own");
        drop(client);
        assert_eq!((edges(), edges()), (1, 0), "the last close");
    }

    #[test]
    fn after_the_end_of_the_input_there_is_no_last_token() {
        let (end, client) = SocketEnd::pair().unwrap();
        end.end_of_input();
        assert_eq!(events(&client), PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP);
        assert!(end.is_shut() && end.last_close().is_err_and(|errno| errno == Errno::PIPE));
        assert!(!end.is_hung_up());
        drop(client);
        assert!(end.is_hung_up());
    }
}
