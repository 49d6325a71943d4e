//! Names, options, modes.

use std::env;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;

use io_pkt_client::far::FarCall;
use libc::{c_char, c_int, c_ulong, c_void, sockaddr, socklen_t};

use super::borrow;
use super::number::copied;
use crate::cork::{self, UDP_CORK};
use crate::description::OptionSet;
use crate::errno::{os, status};
use crate::far::{self, Far};
use crate::table::{self, Held};
use crate::{driver, interface, kernel, message, name, readiness};

/// Is the reader at the urgent byte? From `asm-generic/sockios.h`.
const SIOCATMARK: c_ulong = 0x8905;

/// `FIOSETOWN`, `SIOCSPGRP`, `FIOGETOWN`, `SIOCGPGRP` of the same file follow each other.
const FIOSETOWN: c_ulong = 0x8901;
const SIOCGPGRP: c_ulong = 0x8904;

/// No option of a socket is longer.
const OPTION_MAX: usize = 1024;

/// `getsockname(2)`.
///
/// # Safety
/// As for the C call: `name` has room for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_getsockname(
    fd: c_int,
    name: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far_name(fd, FarCall::LocalName, (name, len)) }
            // SAFETY: the caller's promise.
            .unwrap_or_else(|| unsafe { kernel::getsockname(fd, name, len) });
    };
    status(held.socket.local_name().and_then(|local| {
        // SAFETY: the caller's promise.
        unsafe { name::write_required((local, held.domain()), name, len) }
    }))
}

/// `getpeername(2)`.
///
/// # Safety
/// As for the C call: `name` has room for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_getpeername(
    fd: c_int,
    name: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { far_name(fd, FarCall::PeerName, (name, len)) }
            // SAFETY: the caller's promise.
            .unwrap_or_else(|| unsafe { kernel::getpeername(fd, name, len) });
    };
    status(held.socket.peer_name().and_then(|peer| {
        // SAFETY: the caller's promise.
        unsafe { name::write_required((peer, held.domain()), name, len) }
    }))
}

/// `getsockopt(2)`. `ENOPROTOOPT` for what the stack does not know.
///
/// # Safety
/// As for the C call: `value` has room for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let found = match (table::lookup(fd), far::known(fd)) {
        (Some(held), _) => option(&held, level, name).map(Some),
        (None, Some(far)) => far.option(level, name),
        (None, None) => Ok(None),
    };
    let Some(found) = found.transpose() else {
        // SAFETY: the caller's promise.
        return unsafe { kernel::getsockopt(fd, level, name, value, len) };
    };
    // SAFETY: the caller's promise.
    status(found.and_then(|found| unsafe { show_option((level, found), value, len) }))
}

/// # Safety
/// As for [`iopkt_getsockopt`].
unsafe fn show_option(
    (level, found): (c_int, Vec<u8>),
    value: *mut c_void,
    len: *mut socklen_t,
) -> io::Result<()> {
    // SAFETY: null or valid by the caller's promise.
    let len = unsafe { len.as_mut() }.ok_or_else(|| os(libc::EFAULT))?;
    // In the kernel it is a signed number.
    let room = usize::try_from(len.cast_signed()).map_err(|_| os(libc::EINVAL))?;
    let found = if level == libc::IPPROTO_IP { one_byte(found, room) } else { found };
    // SAFETY: the caller's promise.
    let into = unsafe { message::bytes_mut(value, room) }?;
    let written = found.len().min(room);
    for (to, from) in into.iter_mut().zip(&found) {
        *to = *from;
    }
    *len = socklen_t::try_from(written).unwrap_or(0);
    Ok(())
}

/// The name of a socket of another node's; `None`: it is none.
///
/// # Safety
/// As for [`iopkt_getsockname`].
unsafe fn far_name(
    fd: c_int,
    which: FarCall,
    to: (*mut sockaddr, *mut socklen_t),
) -> Option<c_int> {
    let far = far::known(fd)?;
    // SAFETY: the caller's promise.
    Some(status(unsafe { far.name(which, to) }))
}

/// `false`: the option is the descriptor's own.
///
/// # Safety
/// As for [`iopkt_setsockopt`].
unsafe fn set_far_option(
    far: &Far,
    (level, name): (c_int, c_int),
    (value, len): (*const c_void, socklen_t),
) -> io::Result<bool> {
    let len = usize::try_from(len).ok().filter(|len| *len <= OPTION_MAX);
    let len = len.ok_or_else(|| os(libc::EINVAL))?;
    // SAFETY: the caller's promise.
    far.set_option(level, name, unsafe { message::bytes(value, len) }?)
}

/// `setsockopt(2)`. `ENOPROTOOPT` for what the stack does not know.
///
/// # Safety
/// As for the C call: `value` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    let Some(held) = table::lookup(fd) else {
        if let Some(far) = far::known(fd) {
            // SAFETY: the caller's promise.
            match unsafe { set_far_option(&far, (level, name), (value, len)) } {
                Ok(false) => {}
                done => return status(done.map(drop)),
            }
        }
        // SAFETY: the caller's promise.
        return unsafe { kernel::setsockopt(fd, level, name, value, len) };
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > OPTION_MAX {
        return status(Err(os(libc::EINVAL)));
    }
    // SAFETY: the caller's promise.
    let value = unsafe { message::bytes(value, len) };
    status(value.and_then(|value| {
        if (held.kind().1, level, name) == (libc::IPPROTO_UDP, libc::IPPROTO_UDP, UDP_CORK) {
            let on = value.first_chunk().ok_or_else(|| os(libc::EINVAL))?;
            return cork::set(fd, &held, c_int::from_ne_bytes(*on) != 0);
        }
        held.socket.set_option(level, name, value)?;
        let of_errors = matches!(
            (level, name),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if of_errors && value.iter().any(|byte| *byte != 0) {
            table::asks_for_errors(&held);
            readiness::expect_reports();
        }
        held.remember(OptionSet { level, name, value: value.to_vec() });
        Ok(())
    }))
}

/// `sockatmark(3)`.
///
/// # Safety
/// As for the C call; there is nothing to promise.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_sockatmark(fd: c_int) -> c_int {
    match table::lookup(fd) {
        Some(held) => c_int::from(held.socket.is_at_mark()),
        None => {
            let mut at_mark = 0;
            let place: *mut c_int = &raw mut at_mark;
            // SAFETY: the request writes an int.
            let result = unsafe { kernel::ioctl(fd, SIOCATMARK, place.cast()) };
            if result < 0 { result } else { at_mark }
        }
    }
}

/// `fcntl(2)`. In C its third argument is optional.
///
/// # Safety
/// As for the C call: `argument` is what `command` wants, an address included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's promise. Everything is the kernel's part: O_NONBLOCK and FD_CLOEXEC are
    // those of the real descriptor. Where C passes no third argument, the register holds anything,
    // and the kernel does not look at it.
    let result = unsafe { kernel::fcntl(fd, command, argument) };
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => copied(fd, result),
        _ => result,
    }
}

/// A request of a protocol module's socket: its number says how many bytes go in and come back.
///
/// # Safety
/// As for [`iopkt_ioctl`].
unsafe fn ask_module(held: &Held, request: c_ulong, argument: *mut c_void) -> io::Result<()> {
    if !held.socket.is_of_module() {
        return Err(os(libc::ENOTTY));
    }
    // As asm-generic/ioctl.h has it; the kernel looks at no more bits either.
    let number = u32::try_from(request & 0xffff_ffff).unwrap_or(0);
    let len = number >> 16 & 0x3fff;
    let (goes_in, comes_back) = (number & 1 << 30 != 0, number & 1 << 31 != 0);
    let size = usize::try_from(len).unwrap_or(0);
    if size > 0 && argument.is_null() {
        return Err(os(libc::EFAULT));
    }
    let mut data = vec![0_u8; if goes_in { size } else { 0 }];
    let bytes = argument.cast::<u8>();
    // SAFETY: so many bytes are there, by the caller's promise.
    unsafe { core::ptr::copy_nonoverlapping(bytes, data.as_mut_ptr(), data.len()) };
    let answer = held.socket.ioctl(number, &data, if comes_back { len } else { 0 })?;
    // SAFETY: room for no fewer bytes, by the caller's promise.
    unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), bytes, answer.len().min(size)) };
    Ok(())
}

/// `ioctl(2)`: `FIONREAD`, `TIOCOUTQ` (`SIOCOUTQ`), `SIOCATMARK`, the modes of the descriptor, what netdevice(7) asks
/// about interfaces, which are those of the socket's stack and not changed this way, commands for their drivers, and what protocol modules know of their own sockets.
///
/// # Safety
/// As for the C call: `argument` is what `request` wants.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if let Some(held) = table::lookup(fd) {
        match request {
            libc::FIONREAD | libc::TIOCOUTQ if held.socket.is_listening() => {
                return status(Err(os(libc::EINVAL)));
            }
            libc::FIONREAD => {
                let len = held.socket.readable_bytes(borrow(&fd));
                // SAFETY: the caller's promise.
                return unsafe { tell(len, argument) };
            }
            // SAFETY: the caller's promise.
            libc::TIOCOUTQ => return unsafe { tell(held.socket.unsent_bytes(), argument) },
            // SAFETY: the caller's promise.
            SIOCATMARK => return unsafe { tell(usize::from(held.socket.is_at_mark()), argument) },
            libc::FIONBIO | libc::FIOASYNC | libc::FIOCLEX | libc::FIONCLEX => {}
            // Whom SIGIO is for the kernel knows.
            FIOSETOWN..=SIOCGPGRP => {}
            _ if interface::is_question(request) => {
                // SAFETY: the caller's promise.
                return status(unsafe { interface::ask(&held, request, argument) });
            }
            _ if driver::is_command(request) => {
                // SAFETY: the caller's promise.
                return status(unsafe { driver::ask(&held, request, argument) });
            }
            // SAFETY: the caller's promise.
            _ => return status(unsafe { ask_module(&held, request, argument) }),
        }
    }
    if request == libc::FIONREAD
        && let Some(readable) = far::readable(fd)
    {
        return match readable {
            // SAFETY: the caller's promise.
            Ok(len) => unsafe { tell(len, argument) },
            Err(error) => status(Err(error)),
        };
    }
    // SAFETY: the caller's promise.
    unsafe { kernel::ioctl(fd, request, argument) }
}

/// Chooses the stack for sockets made from now on: the prefix it was started with (`/alt`), or null or
/// "" for the one without. The same as the variable `SOCK`.
///
/// # Safety
/// `prefix` is null or a C string. Like `setenv`, not while another thread uses the environment.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_setprefix(prefix: *const c_char) -> c_int {
    if prefix.is_null() {
        // SAFETY: the caller's promise.
        unsafe { env::remove_var("SOCK") };
        return 0;
    }
    // SAFETY: a C string by the caller's promise.
    let prefix = unsafe { CStr::from_ptr(prefix) };
    // SAFETY: the caller's promise.
    unsafe { env::set_var("SOCK", OsStr::from_bytes(prefix.to_bytes())) };
    0
}

/// Chooses the stack for sockets that the calling thread makes from now on, whatever `SOCK` says.
///
/// # Safety
/// `prefix` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_setsockprefix(prefix: *const c_char) -> c_int {
    if prefix.is_null() {
        return status(Err(os(libc::EFAULT)));
    }
    // SAFETY: a C string by the caller's promise.
    let prefix = unsafe { CStr::from_ptr(prefix) };
    match prefix.to_str() {
        Ok(prefix) => io_pkt_client::set_sock_prefix(prefix),
        Err(_) => return status(Err(os(libc::EINVAL))),
    }
    0
}

/// `SOCK` counts again for sockets that the calling thread makes from now on.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_clearsockprefix() -> c_int {
    io_pkt_client::clear_sock_prefix();
    0
}

/// Writes a number of bytes where the program wants it.
///
/// # Safety
/// `place` is null or has room for an int.
unsafe fn tell(len: usize, place: *mut c_void) -> c_int {
    let place = place.cast::<c_int>();
    if place.is_null() {
        return status(Err(os(libc::EFAULT)));
    }
    // SAFETY: not null; room for an int by the caller's promise.
    unsafe { place.write(c_int::try_from(len).unwrap_or(c_int::MAX)) };
    0
}

/// Linux's options of IP fit in a byte where an int does not.
fn one_byte(found: Vec<u8>, room: usize) -> Vec<u8> {
    match (room, found.as_slice()) {
        (1..=3, [low, 0, 0, 0]) => vec![*low],
        _ => found,
    }
}

/// An option's value. What a socket is, this library knows by itself.
fn option(held: &Held, level: c_int, name: c_int) -> io::Result<Vec<u8>> {
    let (kind, protocol) = held.kind();
    let known = match (level, name) {
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => held.domain(),
        (libc::SOL_SOCKET, libc::SO_TYPE) => kind,
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => protocol,
        (libc::IPPROTO_UDP, UDP_CORK) if protocol == libc::IPPROTO_UDP => {
            c_int::from(held.cork.is_on())
        }
        _ => return held.socket.option(level, name),
    };
    Ok(known.to_ne_bytes().to_vec())
}
