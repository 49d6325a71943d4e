//! The C library's socket calls, as an unmodified program makes them: under `iopkt run` they are the
//! daemon's. The only unsafe code of this crate.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn count(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

/// `socket()`.
pub(crate) fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the call above has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0),
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
        sin_zero: [0; 8],
    }
}

/// `bind()` to an IPv4 address.
pub(crate) fn bind(fd: BorrowedFd<'_>, ip: Ipv4Addr, port: u16) -> io::Result<()> {
    let name = address(ip, port);
    let len = length::<libc::sockaddr_in>();
    // SAFETY: the pointer is to a whole sockaddr_in, whose size `len` is.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), len) }).map(|_| ())
}

/// `connect()` to an IPv4 address.
pub(crate) fn connect(fd: BorrowedFd<'_>, ip: Ipv4Addr, port: u16) -> io::Result<()> {
    let name = address(ip, port);
    let len = length::<libc::sockaddr_in>();
    // SAFETY: the pointer is to a whole sockaddr_in, whose size `len` is.
    check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const name).cast(), len) }).map(|_| ())
}

/// `listen()`.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(|_| ())
}

/// `accept4()`, not waiting: the new socket, which does not wait either, and the peer's port.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> io::Result<(OwnedFd, u16)> {
    let mut name = address(Ipv4Addr::UNSPECIFIED, 0);
    let mut len = length::<libc::sockaddr_in>();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let place = (&raw mut name).cast();
    // SAFETY: `place` is a whole sockaddr_in, whose size `len` says.
    let fd = check(unsafe { libc::accept4(fd.as_raw_fd(), place, &raw mut len, flags) })?;
    // SAFETY: the call above has just made it, and nobody else knows of it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, u16::from_be(name.sin_port)))
}

/// `send()`.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], flags: i32) -> io::Result<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length are those of a slice.
    count(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// `sendto()` an IPv4 address.
pub(crate) fn send_to(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    flags: i32,
    ip: Ipv4Addr,
    port: u16,
) -> io::Result<usize> {
    let name = address(ip, port);
    let len = length::<libc::sockaddr_in>();
    let (data, size, place) = (bytes.as_ptr().cast(), bytes.len(), (&raw const name).cast());
    // SAFETY: `data` and `size` are those of a slice, `place` and `len` those of a sockaddr_in.
    count(unsafe { libc::sendto(fd.as_raw_fd(), data, size, flags, place, len) })
}

/// `recv()`.
pub(crate) fn recv(fd: BorrowedFd<'_>, bytes: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length are those of a slice that nobody else uses meanwhile.
    count(unsafe { libc::recv(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) })
}

/// `shutdown()`.
pub(crate) fn shutdown(fd: BorrowedFd<'_>, how: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(|_| ())
}

/// `setsockopt()` with the bytes of a value.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    let place = value.as_ptr().cast();
    // SAFETY: pointer and length are those of a slice.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, place, len) }).map(|_| ())
}

/// `getsockopt()`: how many bytes of `value` it has filled.
pub(crate) fn option(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut len = libc::socklen_t::try_from(value.len()).unwrap_or(0);
    let place = value.as_mut_ptr().cast();
    // SAFETY: pointer and length are those of a slice that nobody else uses meanwhile.
    let done = check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut len) });
    done.map(|_| usize::try_from(len).unwrap_or(0))
}

/// A packet socket: all frames of one of the kernel's interfaces.
pub(crate) fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let every = u16::try_from(libc::ETH_P_ALL).unwrap_or(0).to_be();
    let fd = socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(every))?;
    let name = libc::sockaddr_ll {
        sll_family: libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or(0),
        sll_protocol: every,
        sll_ifindex: interface_index(fd.as_fd(), interface)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = length::<libc::sockaddr_ll>();
    // SAFETY: the pointer is to a whole sockaddr_ll, whose size `len` is.
    let bound = check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const name).cast(), len) });
    bound.map(|_| fd)
}

/// The number of an interface, asked of the kernel by a socket of its own: `if_nametoindex()` is about
/// the stack's interfaces in a program that runs on it.
fn interface_index(fd: BorrowedFd<'_>, interface: &str) -> io::Result<i32> {
    let mut name = [0; libc::IFNAMSIZ];
    for (place, byte) in name.iter_mut().zip(interface.bytes()).take(libc::IFNAMSIZ - 1) {
        *place = byte.cast_signed();
    }
    let union = libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 };
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: union };
    let place = &raw mut request;
    // SAFETY: SIOCGIFINDEX reads the name of a whole ifreq and writes its number.
    let _ = check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFINDEX, place) })?;
    // SAFETY: the kernel has just written this member.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}
