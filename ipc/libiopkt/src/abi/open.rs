//! Opening, naming, connecting, accepting.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;

use io_pkt_client::{Channel, Family, Shutdown, Socket, Transport};
use libc::{c_int, sockaddr, socklen_t};

use super::{borrow, is_nonblocking};
use crate::description::Description;
use crate::errno::{errno, number, number_of, os, status};
use crate::far::{self, Far};
use crate::loopback::{self, Side};
use crate::name::{self, Name};
use crate::renew::renew;
use crate::table::{self, Held};
use crate::{autoconnect, kernel, process, route};

/// `socket(2)`: `AF_INET` or `AF_INET6` with `SOCK_STREAM`, `SOCK_DGRAM` (with ICMP too) or `SOCK_RAW`, which
/// is root's; `SOCK_DGRAM` of a family or protocol that a protocol module of the stack has brought. `ENETDOWN` if no stack is
/// running, `ETIMEDOUT` if it does not answer.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    number(open(family, kind, protocol))
}

/// A routing socket: messages of this family, 0 for all. Errors as of [`iopkt_socket`]; `ENOBUFS`: as many others listen as
/// may.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_route_socket(family: c_int) -> c_int {
    let guest = process::is_guest().then(|| os(libc::EOPNOTSUPP));
    number(guest.map_or_else(
        || {
            route::open(family).map_err(|error| match number_of(&error) {
                errno @ (libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => os(errno),
                _ => no_stack(&error),
            })
        },
        Err,
    ))
}

/// `bind(2)`. An address of 127.0.0.0/8 moves the socket to the kernel.
///
/// # Safety
/// As for the C call: `name` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_bind(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int {
    if let Some(held) = table::lookup(fd) {
        // SAFETY: the caller's promise.
        let bound = unsafe { Name::read(name, len, held.socket.family()) }
            .and_then(|name| bind(fd, &held, name));
        match bound {
            Ok(Side::Kernel) => {}
            Ok(_) => return 0,
            Err(error) => return status(Err(error)),
        }
    }
    if let Some(far) = far::known(fd) {
        // SAFETY: the caller's promise.
        return status(unsafe { far.bind(name, len) });
    }
    // SAFETY: the caller's promise.
    unsafe { kernel::bind(fd, name, len) }
}

/// `listen(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_listen(fd: c_int, backlog: c_int) -> c_int {
    let Some(held) = table::lookup(fd) else {
        if let Some(far) = far::known(fd) {
            return status(far.listen(backlog));
        }
        // SAFETY: no pointers.
        return unsafe { kernel::listen(fd, backlog) };
    };
    if !held.is_stream() {
        return status(Err(os(libc::EOPNOTSUPP)));
    }
    // A negative backlog means the most there is, as in the kernel.
    let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
    let result = held.socket.listen(borrow(&fd), backlog);
    if result.is_ok() {
        held.settle();
    }
    status(result)
}

/// `connect(2)`. A peer in 127.0.0.0/8 moves the socket to the kernel.
///
/// # Safety
/// As for the C call: `name` points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_connect(fd: c_int, name: *const sockaddr, len: socklen_t) -> c_int {
    if let Some(held) = table::lookup(fd) {
        // SAFETY: the caller's promise.
        let result = unsafe { Name::read(name, len, held.socket.family()) }.and_then(|name| {
            autoconnect::with_a_way((fd, &held, 0), |fd| connect(fd, &held, name))
        });
        match result {
            Ok(Side::Kernel) => {}
            Ok(_) => return 0,
            Err(error) => return status(Err(error)),
        }
    }
    if let Some(far) = far::known(fd) {
        // SAFETY: the caller's promise.
        return status(unsafe { far.connect(name, len) });
    }
    // SAFETY: the caller's promise.
    unsafe { kernel::connect(fd, name, len) }
}

/// `accept(2)`.
///
/// # Safety
/// As for the C call: `name` is null or has room for `*len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_accept(
    fd: c_int,
    name: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { iopkt_accept4(fd, name, len, 0) }
}

/// `accept4(2)`, with `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
///
/// # Safety
/// As for [`iopkt_accept`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_accept4(
    fd: c_int,
    name: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(held) = table::lookup(fd) else {
        if let Some(far) = far::known(fd) {
            // SAFETY: the caller's promise.
            return number(unsafe { accept_far(&far, (name, len), flags) });
        }
        // SAFETY: the caller's promise.
        return unsafe { kernel::accept4(fd, name, len, flags) };
    };
    let result = accept(fd, &held, flags).and_then(|(accepted, peer)| {
        // SAFETY: the caller's promise. Nothing is lost if it fails: the connection closes.
        unsafe { name::write((Some(peer), held.domain()), name, len) }?;
        enter(accepted.0, accepted.1)
    });
    number(result)
}

/// `shutdown(2)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_shutdown(fd: c_int, how: c_int) -> c_int {
    let Some(held) = table::lookup(fd) else {
        // SAFETY: no pointers.
        return unsafe { kernel::shutdown(fd, how) };
    };
    let how = match how {
        libc::SHUT_RD => Shutdown::Read,
        libc::SHUT_WR => Shutdown::Write,
        libc::SHUT_RDWR => Shutdown::Both,
        _ => return status(Err(os(libc::EINVAL))),
    };
    if held.is_stream() && held.socket.is_undecided() && !held.socket.is_of_module() {
        return status(renew(fd, &held));
    }
    status(held.socket.shutdown(borrow(&fd), how))
}

/// Linux's `IPPROTO_MAX`: no protocol has this number or one above.
const PROTOCOL_MAX: c_int = 263;

/// Whose the new socket is to be.
enum Wanted {
    /// The stack's own.
    Own(Transport),
    /// A protocol module's, with this protocol.
    OfModule(Transport, u16),
    /// Packets of this IP protocol, or echo messages alone.
    Raw(Transport, u8),
}

impl Wanted {
    fn raw(transport: Transport, protocol: c_int) -> io::Result<Self> {
        let protocol = u8::try_from(protocol).map_err(|_| os(libc::EPROTONOSUPPORT))?;
        Ok(Self::Raw(transport, protocol))
    }

    fn of_module(transport: Transport, protocol: c_int) -> io::Result<Self> {
        let protocol = u16::try_from(protocol).map_err(|_| os(libc::EINVAL))?;
        Ok(Self::OfModule(transport, protocol))
    }
}

fn open(family: c_int, kind: c_int, protocol: c_int) -> io::Result<c_int> {
    const FLAGS: c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let family = match family {
        libc::AF_INET => Family::Inet,
        libc::AF_INET6 => Family::Inet6,
        libc::AF_UNSPEC | libc::AF_UNIX => return Err(os(libc::EAFNOSUPPORT)),
        number => Family::Module(u16::try_from(number).map_err(|_| os(libc::EAFNOSUPPORT))?),
    };
    let wanted = match (family, kind & !FLAGS, protocol) {
        (Family::Module(_), libc::SOCK_DGRAM, _) => {
            Wanted::of_module(Transport::Datagram, protocol)?
        }
        (Family::Module(_), libc::SOCK_STREAM, _) => {
            Wanted::of_module(Transport::Stream, protocol)?
        }
        (Family::Module(_), _, _) => return Err(os(libc::EAFNOSUPPORT)),
        (_, libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Wanted::Own(Transport::Stream),
        (_, libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Wanted::Own(Transport::Datagram),
        (_, _, ..0 | PROTOCOL_MAX..) => return Err(os(libc::EINVAL)),
        (Family::Inet, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)
        | (Family::Inet6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) => {
            Wanted::raw(Transport::Datagram, protocol)?
        }
        (_, libc::SOCK_RAW, 0) => return Err(os(libc::EPROTONOSUPPORT)),
        (_, libc::SOCK_RAW, _) => Wanted::raw(Transport::Raw, protocol)?,
        (_, libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 | libc::IPPROTO_TCP)
        | (_, libc::SOCK_STREAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 | libc::IPPROTO_UDP) => {
            return Err(os(libc::EPROTONOSUPPORT));
        }
        (_, libc::SOCK_DGRAM, _) => Wanted::of_module(Transport::Datagram, protocol)?,
        (_, libc::SOCK_STREAM, _) => Wanted::of_module(Transport::Stream, protocol)?,
        _ => return Err(os(libc::ESOCKTNOSUPPORT)),
    };
    let transport = if let Wanted::Own(transport) = wanted { Some(transport) } else { None };
    if let Some(opened) = transport.and_then(|transport| far::open(family, transport)) {
        let fd = opened?;
        set_modes(&fd, kind)?;
        return Ok(fd.into_raw_fd());
    }
    let channel = channel()?;
    let (socket, fd) = match wanted {
        Wanted::Own(transport) => Socket::open_in(&channel, family, transport)?,
        Wanted::Raw(transport, protocol) => {
            Socket::open_raw(&channel, family, transport, protocol)?
        }
        Wanted::OfModule(transport, protocol) => {
            Socket::open_of_module(&channel, family, transport, protocol)?
        }
    };
    set_modes(&fd, kind)?;
    enter(Description::new(socket, &channel), fd)
}

/// This process's connection to the stack.
pub(super) fn channel() -> io::Result<Arc<Channel>> {
    if process::is_guest() {
        // A channel made here would be the parent's memory with the child's descriptors.
        return Err(os(libc::EOPNOTSUPP));
    }
    Channel::current().map_err(|error| no_stack(&error))
}

/// A stack that is not there is a network that is down. Told apart are want of resources, and a daemon
/// that is there and does not answer.
fn no_stack(error: &io::Error) -> io::Error {
    match number_of(error) {
        errno @ (libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::ETIMEDOUT) => {
            os(errno)
        }
        _ => os(libc::ENETDOWN),
    }
}

fn bind(fd: c_int, held: &Held, name: Name) -> io::Result<Side> {
    let address = match name {
        Name::Inet(address) => address,
        // Linux takes AF_UNSPEC for AF_INET if the address is the wildcard.
        Name::Unspecified(address)
            if address.ip().is_unspecified() && held.socket.family() == Family::Inet =>
        {
            address
        }
        Name::Unspecified(_) => return Err(os(libc::EAFNOSUPPORT)),
    };
    let side = loopback::side_of_local(held, address);
    match side {
        Side::Kernel if held.bound.get().is_some() => return Err(os(libc::EINVAL)),
        Side::Kernel => loopback::move_to_kernel(fd, held)?,
        Side::Neither => return Err(os(libc::EINVAL)),
        Side::Stack => {
            held.socket.bind(borrow(&fd), address)?;
            // The port that was found, if the program left it open.
            let _ = held.bound.set(held.socket.local_name().unwrap_or(address));
        }
    }
    Ok(side)
}

fn connect(fd: c_int, held: &Held, name: Name) -> io::Result<Side> {
    let (address, side) = match name {
        Name::Inet(address) => (address, loopback::side_of_peer(held, address)),
        Name::Unspecified(_) if held.is_stream() => return dissolve(fd, held),
        // The unspecified address dissolves the association.
        Name::Unspecified(_) => (std::net::SocketAddr::from(([0, 0, 0, 0], 0)), Side::Stack),
    };
    match side {
        Side::Kernel => loopback::move_to_kernel(fd, held)?,
        Side::Neither => return Err(os(libc::ENETUNREACH)),
        Side::Stack => {
            // Settled before the outcome: a nonblocking connect goes on by itself.
            held.settle();
            let result = held.socket.connect(borrow(&fd), address, is_nonblocking(fd)?);
            renew_failed(fd, held, &result);
            result?;
        }
    }
    Ok(side)
}

/// An attempt to connect that has failed leaves a socket that can make another.
pub(super) fn renew_failed<T>(fd: c_int, held: &Held, result: &io::Result<T>) {
    let failed = |error: &io::Error| {
        !matches!(number_of(error), libc::EINPROGRESS | libc::EALREADY | libc::EINTR)
    };
    if result.as_ref().is_err_and(failed) && held.socket.has_failed() {
        // Without a daemon it can't be used again, and that is not what this call is about.
        let _ = renew(fd, held);
    }
}

/// A stream gives up its peer, if it has one.
fn dissolve(fd: c_int, held: &Held) -> io::Result<Side> {
    if held.is_settled() {
        renew(fd, held)?;
    }
    Ok(Side::Stack)
}

/// A new connection with its descriptor, and the peer's address.
fn accept(
    fd: c_int,
    held: &Held,
    flags: c_int,
) -> io::Result<((Description, OwnedFd), std::net::SocketAddr)> {
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return Err(os(libc::EINVAL));
    }
    if !held.is_stream() {
        return Err(os(libc::EOPNOTSUPP));
    }
    let (socket, new, peer) = held.socket.accept(borrow(&fd), false)?;
    set_modes(&new, flags)?;
    Ok(((held.accepted(socket), new), peer))
}

/// A new connection of a listener at another node.
///
/// # Safety
/// As for [`iopkt_accept`].
unsafe fn accept_far(
    far: &Far,
    (name, len): (*mut sockaddr, *mut socklen_t),
    flags: c_int,
) -> io::Result<c_int> {
    let (fd, peer, domain) = far.accept()?;
    set_modes(&fd, flags)?;
    // SAFETY: the caller's promise. Nothing is lost if it fails: the connection closes.
    unsafe { name::write((Some(peer), domain), name, len) }?;
    Ok(fd.into_raw_fd())
}

/// Makes a new descriptor, which is blocking and close-on-exec, what the flags of `socket` and
/// `accept4` say.
fn set_modes(fd: &OwnedFd, flags: c_int) -> io::Result<()> {
    if flags & libc::SOCK_NONBLOCK != 0 {
        set_mode(fd, libc::F_SETFL, libc::O_NONBLOCK)?;
    }
    if flags & libc::SOCK_CLOEXEC == 0 {
        set_mode(fd, libc::F_SETFD, 0)?;
    }
    Ok(())
}

fn set_mode(fd: &OwnedFd, command: c_int, mode: c_int) -> io::Result<()> {
    let mode = usize::try_from(mode).unwrap_or(0);
    // SAFETY: no pointers.
    if unsafe { kernel::fcntl(fd.as_raw_fd(), command, mode) } < 0 {
        return Err(os(errno()));
    }
    Ok(())
}

/// Enters a new socket in the table and gives its number to the program.
fn enter(description: Description, fd: OwnedFd) -> io::Result<c_int> {
    let number = fd.as_raw_fd();
    table::insert(number, table::hold(description))?;
    // From here on the program closes it.
    Ok(fd.into_raw_fd())
}
