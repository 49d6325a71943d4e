//! The daemon's end of a socket's real descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, socketpair, sockopt,
};

use crate::daemon::peer_socket::PeerSocket;

/// One end of a socketpair; the client has the other one. What is in it is what the kernel tells
/// select, poll and epoll about the socket. Never blocks.
#[derive(Debug)]
pub struct SocketEnd {
    end: PeerSocket,
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
        Ok((Self { end: PeerSocket::new(end)? }, client))
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

    /// Has the last copy of the client's end been closed?
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.end, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = poll(&mut fds, Some(&now));
        fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
    }

    /// The peer has sent FIN: the client's end becomes readable for good and reports `POLLRDHUP`.
    pub fn end_of_input(&self) {
        // Fails only if the client has closed its end, which is noticed elsewhere.
        let _ = rustix::net::shutdown(&self.end, Shutdown::Write);
    }
}

impl AsFd for SocketEnd {
    /// `POLLHUP` on it says that the last copy of the client's end is closed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}
