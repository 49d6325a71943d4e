//! A stream that becomes as if it had just been made.
//!
//! Linux lets a program use a socket again: after `connect` has said that the attempt failed, after
//! `shutdown` of an attempt under way, and after `connect` to `AF_UNSPEC`. The daemon's sockets live once, so
//! a new one with the same options and the same local port is put behind the same numbers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use io_pkt_client::{Shutdown, Socket, Transport};
use libc::c_int;

use crate::abi::borrow;
use crate::description::Description;
use crate::errno::{number_of, os};
use crate::loopback;
use crate::table::{self, Held};

/// The daemon sees a moment later that the old socket is closed, and gives its port back then.
const PORT_TRIES: u32 = 50;
const PORT_PAUSE: Duration = Duration::from_millis(1);

/// Puts a fresh socket behind every number of this one, whose connection, if there is one, is reset.
pub(crate) fn renew(fd: c_int, held: &Held) -> io::Result<()> {
    if held.socket.is_of_module() {
        // Its protocol is not known here.
        return Err(os(libc::EOPNOTSUPP));
    }
    let channel = held.socket.channel();
    let (socket, new) = Socket::open_in(channel, held.socket.family(), Transport::Stream)?;
    let fresh = table::hold(Description::new(socket, channel));
    for set in held.options() {
        // It was taken before; should the daemon be another one by now, it is not missed.
        let _ = fresh.socket.set_option(set.level, set.name, &set.value);
        fresh.remember(set);
    }
    loopback::copy_mode(fd, new.as_raw_fd())?;
    if held.socket.is_undecided() {
        // Another thread may wait for the outcome.
        let _ = held.socket.shutdown(borrow(&fd), Shutdown::Both);
    }
    reset(held);
    loopback::replace(new.as_raw_fd(), held, Some(&fresh))?;
    match held.bound.get() {
        Some(local) => {
            bind_again(&fresh, &new, *local)?;
            let _ = fresh.bound.set(*local);
            Ok(())
        }
        None => Ok(()),
    }
}

/// The last close of the old socket sends RST instead of FIN.
fn reset(held: &Held) {
    let mut linger = 1_i32.to_ne_bytes().to_vec();
    linger.extend(0_i32.to_ne_bytes());
    let _ = held.socket.set_option(libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

fn bind_again(
    fresh: &Held,
    fd: &impl std::os::fd::AsFd,
    local: std::net::SocketAddr,
) -> io::Result<()> {
    let fd: BorrowedFd<'_> = fd.as_fd();
    for _ in 0..PORT_TRIES {
        match fresh.socket.bind(fd, local) {
            Err(error) if number_of(&error) == libc::EADDRINUSE => crate::pause(PORT_PAUSE),
            result => return result,
        }
    }
    fresh.socket.bind(fd, local)
}
