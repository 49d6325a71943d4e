//! A unix socket of the daemon whose other end belongs to somebody else.
//!
//! A peer may send descriptors, and whoever receives them has to close them: when it reads the message,
//! when it throws it away unread, when it closes the socket. A close can block, for seconds (the
//! kernel's TCP socket with `SO_LINGER`) or for as long as its maker likes, and with it the thread that
//! serves everybody. So the kernel is told to let none in (`SO_PASSRIGHTS`, Linux 6.16). An older one can
//! only be asked what there is before it is touched (`MSG_PEEK`): what has descriptors in it is never
//! read, and a socket with such a message in it is closed by a thread that has nothing else to do.

use core::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};

use crate::option;

/// `SO_PASSRIGHTS` of `asm-generic/socket.h`.
const SO_PASSRIGHTS: libc::c_int = 83;

/// The daemon's end of a connection.
#[derive(Debug)]
pub struct PeerSocket {
    fd: ManuallyDrop<OwnedFd>,
    /// No descriptor is in it, and none will ever be.
    refuses: bool,
    /// Each message says who has sent it (`SO_PASSCRED`).
    asks: bool,
}

/// One message of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Bytes of it. 0: the peer is gone, or has sent nothing.
    pub len: usize,
    /// The user who has sent it (`SCM_CREDENTIALS`), if the socket asks for that (`SO_PASSCRED`). A
    /// connection may have come into other hands than those that made it.
    pub uid: Option<u32>,
    /// More came than there was room for, or a descriptor. The socket is to be closed.
    pub surplus: bool,
}

impl PeerSocket {
    /// Takes over a socket, before or after its peer may have sent something.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let refuses = match refuse_descriptors(&fd) {
            Ok(()) => true,
            Err(Errno::NOPROTOOPT) => false,
            Err(errno) => return Err(errno),
        };
        Self::with(fd, refuses)
    }

    fn with(fd: OwnedFd, refuses: bool) -> Result<Self, Errno> {
        if !refuses {
            // Else a byte that is out of line is thrown away with its descriptors, unasked.
            sockopt::set_socket_oobinline(&fd, true)?;
        }
        let asks = sockopt::socket_passcred(&fd)?;
        Ok(Self { fd: ManuallyDrop::new(fd), refuses, asks })
    }

    /// Process and user that have connected (`SO_PEERCRED`). A process that this pid namespace does not
    /// have is 0.
    ///
    /// # Errors
    /// The kernel's.
    pub fn who_connected(&self) -> Result<(u32, u32), Errno> {
        let [pid, uid, _gid] = option::get::<[u32; 3]>(self, libc::SO_PEERCRED)?;
        Ok((pid, uid))
    }

    /// The groups of whoever has connected (`SO_PEERCRED`, `SO_PEERGROUPS`).
    ///
    /// # Errors
    /// The kernel's.
    pub fn groups_connected(&self) -> Result<Vec<u32>, Errno> {
        let [_pid, _uid, gid] = option::get::<[u32; 3]>(self, libc::SO_PEERCRED)?;
        let mut groups = option::list(self, libc::SO_PEERGROUPS)?;
        groups.push(gid);
        Ok(groups)
    }

    /// Reads what a peer has sent, without waiting for it.
    ///
    /// # Errors
    /// The kernel's: `EAGAIN` if there is nothing.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Message, Errno> {
        if self.refuses {
            return receive(self, buffer, 0);
        }
        let seen = receive(self, buffer, libc::MSG_PEEK)?;
        if seen.surplus || (seen.len == 0 && seen.uid.is_none()) {
            return Ok(seen);
        }
        // No more than was looked at.
        receive(self, buffer.get_mut(..seen.len).unwrap_or_default(), 0)
    }

    /// Nothing with a descriptor in it is left, and nothing can come any more.
    fn is_harmless(&self) -> bool {
        let mut buffer = [0; 4096];
        // Fails if the peer is gone; what that had sent may still be there.
        let _ = rustix::net::shutdown(self, Shutdown::Both);
        loop {
            match self.receive(&mut buffer) {
                Ok(Message { surplus: true, .. }) => return false,
                Ok(Message { len: 0, uid: None, .. }) | Err(Errno::AGAIN) => return true,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for PeerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for PeerSocket {
    fn drop(&mut self) {
        let harmless = self.refuses || self.is_harmless();
        // SAFETY: it is taken once, here, and not touched afterwards.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if harmless {
            drop(fd);
        } else {
            bury(fd);
        }
    }
}

/// Whoever sends a descriptor to this unix socket gets `EPERM`. What a listener is told holds for its
/// connections, from before they are accepted.
///
/// # Errors
/// `ENOPROTOOPT`: the kernel is older than Linux 6.16.
pub fn refuse_descriptors(socket: impl AsFd) -> Result<(), Errno> {
    option::set(socket, SO_PASSRIGHTS, &0_i32)
}

/// Closes a socket in a thread of its own.
fn bury(fd: OwnedFd) {
    static UNDERTAKER: OnceLock<Option<Mutex<Sender<OwnedFd>>>> = OnceLock::new();
    let start = || {
        let (sender, sockets) = channel();
        let work = move || sockets.into_iter().for_each(drop);
        let _ = std::thread::Builder::new().name("undertaker".into()).spawn(work).ok()?;
        Some(Mutex::new(sender))
    };
    if let Some(sender) = UNDERTAKER.get_or_init(start) {
        // It never ends, so it takes everything.
        let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(fd);
    }
}

/// Room for credentials, and for no descriptor beside them.
#[repr(C)]
struct Credentials {
    header: libc::cmsghdr,
    sender: libc::ucred,
    _padding: u32,
}

const CREDENTIALS_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<libc::ucred>();
const _: () = assert!(size_of::<Credentials>() == CREDENTIALS_LEN + size_of::<u32>());

fn receive(socket: &PeerSocket, buffer: &mut [u8], flags: libc::c_int) -> Result<Message, Errno> {
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Credentials {
        header: libc::cmsghdr { cmsg_len: 0, cmsg_level: 0, cmsg_type: 0 },
        sender: libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX },
        _padding: 0,
    };
    let mut message = libc::msghdr {
        msg_name: core::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: &raw mut slice,
        msg_iovlen: 1,
        msg_control: (&raw mut control).cast(),
        // Without credentials a descriptor would find room.
        msg_controllen: if socket.asks { size_of::<Credentials>() } else { 0 },
        msg_flags: 0,
    };
    let fd = socket.as_fd().as_raw_fd();
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the message names one slice and one place for control data, both ours, with their lengths,
    // and both outlive the call.
    let len = unsafe { libc::recvmsg(fd, &raw mut message, flags) };
    let len = usize::try_from(len).map_err(|_| option::last_error())?;
    let is_credentials = message.msg_controllen >= CREDENTIALS_LEN
        && control.header.cmsg_level == libc::SOL_SOCKET
        && control.header.cmsg_type == libc::SCM_CREDENTIALS;
    Ok(Message {
        len,
        uid: is_credentials.then_some(control.sender.uid),
        surplus: message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Write as _};
    use std::mem::MaybeUninit;
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use rustix::net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, sendmsg, socketpair,
    };

    use super::*;

    const LINGER: Duration = Duration::from_secs(2);
    const SOON: Duration = Duration::from_millis(500);
    const KINDS: [SocketType; 2] = [SocketType::STREAM, SocketType::SEQPACKET];

    fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
    }

    /// Sends text, and a descriptor whose last close takes two seconds.
    fn send_slow_descriptor(to: &OwnedFd, text: &[u8]) -> Result<TcpListener, Errno> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slow = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        slow.set_nonblocking(true).unwrap();
        while slow.write(&[0; 65_536]).is_ok() {}
        slow.set_nonblocking(false).unwrap();
        sockopt::set_socket_linger(&slow, Some(LINGER)).unwrap();
        send_with(to, text, slow.as_fd()).map(|_| listener)
    }

    fn send_with(to: &OwnedFd, text: &[u8], fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [fd];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(to, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)
    }

    #[test]
    fn a_descriptor_cannot_be_sent_to_a_socket_that_refuses() {
        for kind in KINDS {
            let (ours, theirs) = pair(kind);
            let ours = PeerSocket::new(ours).unwrap();
            if !ours.refuses {
                return;
            }
            let zero = std::fs::File::open("/dev/zero").unwrap();
            assert_eq!(send_with(&theirs, b"take it", zero.as_fd()), Err(Errno::PERM));
            assert_eq!(ours.receive(&mut [0; 8]), Err(Errno::AGAIN));
        }
    }

    #[test]
    fn on_an_older_kernel_a_slow_descriptor_holds_up_neither_reader_nor_closer() {
        for kind in KINDS {
            let (ours, theirs) = pair(kind);
            let ours = PeerSocket::with(ours, false).unwrap();
            assert_eq!(rustix::io::write(&theirs, b"first"), Ok(5));
            let _open = send_slow_descriptor(&theirs, b"second").unwrap();
            let started = Instant::now();
            let mut buffer = [0; 64];
            let first = ours.receive(&mut buffer).unwrap();
            if kind == SocketType::SEQPACKET {
                assert_eq!(first, Message { len: 5, uid: None, surplus: false });
            }
            for _ in 0..3 {
                assert!(ours.receive(&mut buffer).unwrap().surplus);
            }
            drop(ours);
            assert!(started.elapsed() < SOON, "{kind:?}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn on_an_older_kernel_neither_do_descriptors_that_nobody_has_looked_at() {
        for kind in KINDS {
            let (ours, theirs) = pair(kind);
            let ours = PeerSocket::with(ours, false).unwrap();
            assert_eq!(rustix::io::write(&theirs, b"first"), Ok(5));
            let _open = send_slow_descriptor(&theirs, b"second").unwrap();
            drop(theirs);
            let started = Instant::now();
            drop(ours);
            assert!(started.elapsed() < SOON, "{kind:?}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn on_an_older_kernel_neither_does_one_that_comes_with_a_byte_out_of_line() {
        let (ours, theirs) = pair(SocketType::STREAM);
        let ours = PeerSocket::with(ours, false).unwrap();
        let zero = std::fs::File::open("/dev/zero").unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [zero.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let text = [IoSlice::new(b"!")];
        if sendmsg(&theirs, &text, &mut control, SendFlags::OOB).is_err() {
            // A kernel without CONFIG_AF_UNIX_OOB.
            return;
        }
        assert!(ours.receive(&mut [0; 8]).unwrap().surplus);
    }

    #[test]
    fn on_an_older_kernel_a_message_without_text_does_not_hide_the_next_one() {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        sockopt::set_socket_passcred(&ours, true).unwrap();
        let ours = PeerSocket::with(ours, false).unwrap();
        assert_eq!(rustix::net::send(&theirs, &[], SendFlags::empty()), Ok(0));
        let _open = send_slow_descriptor(&theirs, b"second").unwrap();
        let started = Instant::now();
        drop(ours);
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    }

    #[test]
    fn a_message_says_whose_it_is_if_the_socket_asks() {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        sockopt::set_socket_passcred(&ours, true).unwrap();
        let uid = rustix::process::getuid().as_raw();
        for refuses in [true, false] {
            let ours = PeerSocket::with(ours.try_clone().unwrap(), refuses).unwrap();
            assert_eq!(rustix::io::write(&theirs, b"hello"), Ok(5));
            let message = ours.receive(&mut [0; 64]).unwrap();
            assert_eq!(message, Message { len: 5, uid: Some(uid), surplus: false });
            assert_eq!(ours.who_connected(), Ok((std::process::id(), uid)));
            // Closing one that is asked shuts both.
            if refuses {
                continue;
            }
            drop(ours);
            assert_eq!(rustix::io::write(&theirs, b"hello"), Err(Errno::PIPE));
        }
    }

    #[test]
    fn whoever_connects_has_groups() {
        let (ours, _theirs) = pair(SocketType::SEQPACKET);
        let groups = PeerSocket::new(ours).unwrap().groups_connected().unwrap();
        assert_eq!(groups.last(), Some(&rustix::process::getgid().as_raw()));
        let mut own: Vec<u32> =
            rustix::process::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        own.push(rustix::process::getgid().as_raw());
        assert_eq!(groups, own);
    }

    #[test]
    fn text_that_does_not_fit_is_surplus() {
        let (ours, theirs) = pair(SocketType::SEQPACKET);
        let ours = PeerSocket::new(ours).unwrap();
        assert_eq!(rustix::io::write(&theirs, b"hello"), Ok(5));
        assert!(ours.receive(&mut [0; 4]).unwrap().surplus);
    }
}
