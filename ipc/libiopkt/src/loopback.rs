//! 127.0.0.0/8, mapped or not, and ::1 stay the kernel's.
//!
//! Programs talk to services of their own machine over it (resolvers, databases, agents), which are not
//! on the stack. So a socket that turns to loopback **moves to the kernel**: a kernel's socket with the
//! same options is put behind the same numbers, and the table forgets them. It stays with the stack if
//! the daemon claims loopback or `IOPKT_LOOPBACK=stack` is set.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;

use libc::{c_int, socklen_t};

use crate::abi::borrow;
use crate::description::Description;
use crate::errno::{errno, os};
use crate::table::{self, Held};
use crate::{kernel, name};

/// Who serves a socket that turns to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The stack, as before.
    Stack,
    /// The kernel: the socket has to move.
    Kernel,
    /// Neither: the socket is bound to an address of the stack, or is talking over it.
    Neither,
}

/// What a socket has done so far, as far as moving is concerned.
#[derive(Clone, Copy, Debug)]
struct History {
    claims_loopback: bool,
    bound: Option<SocketAddr>,
    settled: bool,
}

/// Who serves a socket that is to be bound to this address?
pub(crate) fn side_of_local(description: &Description, address: SocketAddr) -> Side {
    if description.socket.is_of_module() {
        return Side::Stack;
    }
    decide(History::of(description), name::is_loopback(address.ip()))
}

/// Who serves a socket that is to reach this address? The unspecified one is this machine, too.
pub(crate) fn side_of_peer(description: &Description, address: SocketAddr) -> Side {
    if description.socket.is_of_module() {
        return Side::Stack;
    }
    let here = name::is_loopback(address.ip()) || address.ip().to_canonical().is_unspecified();
    decide(History::of(description), here)
}

/// Puts a kernel's socket behind every number of this socket. The caller repeats its call there.
pub(crate) fn move_to_kernel(fd: c_int, held: &Held) -> io::Result<()> {
    let (kind, protocol) = held.kind();
    // SAFETY: no pointers.
    let new = check(unsafe { kernel::socket(held.domain(), kind | libc::SOCK_CLOEXEC, protocol) })?;
    let result = prepare(new, fd, held).and_then(|()| replace(new, held, None));
    // SAFETY: the number is ours, and nothing else uses it.
    let _ = unsafe { kernel::close(new) };
    result
}

impl History {
    fn of(description: &Description) -> Self {
        Self {
            claims_loopback: description.claims_loopback || stack_is_asked_for(),
            bound: description.bound.get().copied(),
            settled: description.is_settled(),
        }
    }
}

fn decide(history: History, loopback: bool) -> Side {
    if !loopback || history.claims_loopback {
        Side::Stack
    } else if history.settled || history.bound.is_some_and(|local| !local.ip().is_unspecified()) {
        Side::Neither
    } else {
        Side::Kernel
    }
}

/// `IOPKT_LOOPBACK=stack`, read once.
fn stack_is_asked_for() -> bool {
    static ASKED: OnceLock<bool> = OnceLock::new();
    *ASKED.get_or_init(|| env::var_os("IOPKT_LOOPBACK").is_some_and(|value| value == "stack"))
}

/// Gives the new socket what the old one had: options, a wildcard's port, blocking or not.
fn prepare(new: c_int, fd: c_int, held: &Held) -> io::Result<()> {
    for set in held.options() {
        let len = socklen_t::try_from(set.value.len()).unwrap_or(0);
        // SAFETY: the value has `len` bytes. An option that only the stack knows is not missed.
        let _ =
            unsafe { kernel::setsockopt(new, set.level, set.name, set.value.as_ptr().cast(), len) };
    }
    if let Some(local) = held.bound.get() {
        let _ = name::with_bytes(*local, |bytes| {
            let len = socklen_t::try_from(bytes.len()).unwrap_or(0);
            // SAFETY: the name has `len` bytes.
            check(unsafe { kernel::bind(new, bytes.as_ptr().cast(), len) })
        })?;
    }
    copy_mode(fd, new)
}

/// Makes the new descriptor blocking or not, as the old one is.
pub(crate) fn copy_mode(fd: c_int, new: c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = check(unsafe { kernel::fcntl(fd, libc::F_GETFL, 0) })?;
    let nonblocking = flags & libc::O_NONBLOCK;
    // SAFETY: no pointers.
    let _ = check(unsafe {
        kernel::fcntl(new, libc::F_SETFL, usize::try_from(nonblocking).unwrap_or(0))
    })?;
    Ok(())
}

/// Puts the new descriptor over each number that has the old socket. What is behind it is a socket of the
/// stack, or the kernel's.
pub(crate) fn replace(new: c_int, held: &Held, ours: Option<&Held>) -> io::Result<()> {
    for number in table::numbers(0, c_int::MAX) {
        if !table::lookup(number).is_some_and(|other| other.is(held)) {
            continue;
        }
        // SAFETY: no pointers.
        let flags = check(unsafe { kernel::fcntl(number, libc::F_GETFD, 0) })?;
        let cloexec = if flags & libc::FD_CLOEXEC == 0 { 0 } else { libc::O_CLOEXEC };
        held.socket.keep_for_calls(borrow(&number));
        // SAFETY: no pointers.
        let _ = check(unsafe { kernel::dup3(new, number, cloexec) })?;
        match ours {
            Some(ours) => table::insert(number, ours.clone())?,
            None => drop(table::remove(number)),
        }
    }
    Ok(())
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(os(errno())) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: History = History { claims_loopback: false, bound: None, settled: false };

    #[test]
    fn a_fresh_socket_moves_when_it_turns_to_loopback() {
        assert_eq!(decide(FRESH, true), Side::Kernel);
        assert_eq!(decide(FRESH, false), Side::Stack);
    }

    #[test]
    fn a_stack_that_claims_loopback_keeps_it() {
        assert_eq!(decide(History { claims_loopback: true, ..FRESH }, true), Side::Stack);
    }

    #[test]
    fn a_wildcard_moves_with_its_port_and_an_address_of_the_stack_does_not() {
        let bound = |local: &str| History { bound: Some(local.parse().unwrap()), ..FRESH };
        assert_eq!(decide(bound("0.0.0.0:53"), true), Side::Kernel);
        assert_eq!(decide(bound("192.0.2.1:53"), true), Side::Neither);
    }

    #[test]
    fn a_socket_that_talks_over_the_stack_stays_there() {
        assert_eq!(decide(History { settled: true, ..FRESH }, true), Side::Neither);
    }
}
