//! The kernel's end of a tap: a packet socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// An EtherType for local experiments (IEEE 802), so that the kernel's own frames are told apart.
pub(crate) const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// A packet socket on one kernel interface.
pub(crate) struct Wire(OwnedFd);

impl Wire {
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let index = std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?;
        let protocol = u16::from_ne_bytes(ETHERTYPE);
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain numbers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was just made and that nobody else has.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: integers and arrays of them, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { core::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
        address.sll_protocol = protocol;
        address.sll_ifindex = index.trim().parse().map_err(io::Error::other)?;
        let len = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
        // SAFETY: an address of the given length.
        let code = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
        if code < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(socket)) }
    }

    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads the frame.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame of our EtherType within a second.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut frame = vec![0_u8; 65536];
        while Instant::now() < deadline {
            // SAFETY: the kernel writes at most the given length.
            let got = unsafe {
                libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0)
            };
            if let Ok(len) = usize::try_from(got) {
                frame.truncate(len);
                return Some(frame);
            }
            let _ = poll(self.0.as_raw_fd(), 20);
        }
        None
    }
}

/// Whether the descriptor becomes readable within so many milliseconds.
pub(crate) fn poll(fd: i32, milliseconds: i32) -> bool {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which the kernel writes to.
    let ready = unsafe { libc::poll(&raw mut entry, 1, milliseconds) };
    ready == 1 && entry.revents & libc::POLLIN != 0
}
