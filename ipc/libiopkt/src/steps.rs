//! A call that is made of several others. The socket that it was given it holds from the first to the last: another
//! thread that closes the number meanwhile neither ends it nor leads it to what is opened under that number next.

use core::cell::Cell;
use core::ptr;
use std::os::fd::AsRawFd;

use io_pkt_client::Wait;
use libc::{c_int, c_void, msghdr, ssize_t};

use crate::abi::{self, borrow, data, packet};
use crate::table::{self, Held};

/// The socket of such a call.
pub struct Steps<'a> {
    fd: c_int,
    /// `None`: it is not in the table, so each step finds out what it is.
    socket: Option<(&'a Held, Wait<'a>)>,
    /// A step has moved it to the kernel: the number is all there is.
    moved: Cell<bool>,
}

/// Makes a call of steps on a descriptor.
pub fn steps<T>(fd: c_int, call: impl FnOnce(&Steps<'_>) -> T) -> T {
    let held = table::lookup(fd);
    let socket = held.as_ref().map(|held| (held, held.socket.begin_call()));
    call(&Steps { fd, socket, moved: Cell::new(false) })
}

impl Steps<'_> {
    /// The number that it has, or that it goes on under while the steps are taken.
    #[must_use]
    pub fn number(&self) -> c_int {
        let going_on = |(_, wait): &(_, Wait<'_>)| wait.fd(borrow(&self.fd)).as_raw_fd();
        self.socket.as_ref().map_or(self.fd, going_on)
    }

    /// `send(2)`.
    ///
    /// # Safety
    /// As for the C call: `from` points to `len` bytes.
    #[must_use]
    pub unsafe fn send(&self, from: *const c_void, len: usize, flags: c_int) -> ssize_t {
        match self.held() {
            // SAFETY: the caller's promise.
            Some(held) => unsafe { data::send_bytes(self.number(), held, (from, len), flags) },
            // SAFETY: the caller's promise.
            None => unsafe { abi::iopkt_send(self.fd, from, len, flags) },
        }
    }

    /// `recv(2)`.
    ///
    /// # Safety
    /// As for the C call: `into` has room for `len` bytes.
    #[must_use]
    pub unsafe fn recv(&self, into: *mut c_void, len: usize, flags: c_int) -> ssize_t {
        let nowhere = (ptr::null_mut(), ptr::null_mut());
        match self.held() {
            // SAFETY: the caller's promise; no address is asked for.
            Some(held) => unsafe {
                data::receive_from(self.number(), held, (into, len), flags, nowhere)
            },
            // SAFETY: the caller's promise.
            None => unsafe { abi::iopkt_recv(self.fd, into, len, flags) },
        }
    }

    /// `sendmsg(2)`.
    ///
    /// # Safety
    /// As for the C call: `header` and all it points to is valid.
    #[must_use]
    pub unsafe fn sendmsg(&self, header: *const msghdr, flags: c_int) -> ssize_t {
        let sent = match self.held() {
            // SAFETY: the caller's promise.
            Some(held) => unsafe { packet::send_message(self.number(), held, header, flags) },
            None => None,
        };
        sent.unwrap_or_else(|| {
            self.moved.set(true);
            // SAFETY: the caller's promise.
            unsafe { abi::iopkt_sendmsg(self.fd, header, flags) }
        })
    }

    /// `recvmsg(2)`.
    ///
    /// # Safety
    /// As for the C call: `header` and all it points to is valid.
    #[must_use]
    pub unsafe fn recvmsg(&self, header: *mut msghdr, flags: c_int) -> ssize_t {
        match self.held() {
            // SAFETY: the caller's promise.
            Some(held) => unsafe { packet::receive_message(self.number(), held, header, flags) },
            // SAFETY: the caller's promise.
            None => unsafe { abi::iopkt_recvmsg(self.fd, header, flags) },
        }
    }

    fn held(&self) -> Option<&Held> {
        self.socket.as_ref().filter(|_| !self.moved.get()).map(|(held, _)| *held)
    }
}
