//! `MSG_ERRQUEUE`: what became of what a socket has sent, in Linux's words (`linux/errqueue.h`).
//!
//! ```text
//!  0       4        5      6      7     8      12     16
//!  | errno | origin | type | code | pad | info | data | the offender's name (sockaddr_in, sockaddr_in6)
//! ```

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use io_pkt_client::{Ancillary, ExtendedError, Family, Wishes};
use libc::{c_int, msghdr, sockaddr, socklen_t};

use crate::abi::borrow;
use crate::ancillary;
use crate::name;
use crate::table::Held;

/// `SO_EE_ORIGIN_LOCAL`.
const LOCAL: u8 = 1;

/// `recvmsg` with `MSG_ERRQUEUE`: the quoted part of what was sent, where that went, and what is said of it.
///
/// # Safety
/// `header` is the program's: its name and its control part have the room it says.
pub(crate) unsafe fn receive(
    fd: c_int,
    held: &Held,
    into: &mut [IoSliceMut<'_>],
    header: &mut msghdr,
) -> io::Result<usize> {
    let error = held.socket.recv_error(borrow(&fd))?;
    let place = header.msg_name.cast();
    // SAFETY: the caller's promise; the length is a field of the header.
    unsafe { name::write((Some(error.to), held.domain()), place, &raw mut header.msg_namelen) }?;
    let inet6 = held.socket.family() == Family::Inet6;
    // SAFETY: the caller's promise.
    let is_cut =
        unsafe { ancillary::write_all(header, messages(&error, held.socket.wishes(), inet6)) };
    let len = fill(into, &error.quoted);
    let says = |said: bool, flag| if said { flag } else { 0 };
    header.msg_flags = libc::MSG_ERRQUEUE
        | says(len < error.quoted.len(), libc::MSG_TRUNC)
        | says(is_cut, libc::MSG_CTRUNC);
    Ok(len)
}

/// `recvfrom` with `MSG_ERRQUEUE`, which has no place for what is said.
///
/// # Safety
/// `from` is null or has room for `*from_len` bytes.
pub(crate) unsafe fn receive_from(
    fd: c_int,
    held: &Held,
    into: &mut [IoSliceMut<'_>],
    (from, from_len): (*mut sockaddr, *mut socklen_t),
) -> io::Result<usize> {
    let error = held.socket.recv_error(borrow(&fd))?;
    // SAFETY: the caller's promise.
    unsafe { name::write((Some(error.to), held.domain()), from, from_len) }?;
    Ok(fill(into, &error.quoted))
}

fn fill(into: &mut [IoSliceMut<'_>], from: &[u8]) -> usize {
    let room = into.iter_mut().flat_map(|buffer| buffer.iter_mut());
    let mut len = 0_usize;
    for (to, from) in room.zip(from) {
        *to = *from;
        len = len.saturating_add(1);
    }
    len
}

/// Of a message of the network's what the program wants to know of every packet, then what it says.
fn messages(error: &ExtendedError, wishes: Wishes, inet6: bool) -> Vec<(c_int, c_int, Vec<u8>)> {
    let (ttl, tos) = error.ttl_tos.unzip();
    let ancillary = Ancillary {
        local: error.local,
        interface: error.interface,
        ttl,
        tos,
        at_ns: error.at_ns,
        segment: None,
    };
    let wishes = match error.origin {
        LOCAL => Wishes {
            timestamp: wishes.timestamp,
            nanoseconds: wishes.nanoseconds,
            ..Wishes::default()
        },
        _ => wishes,
    };
    let mut list = ancillary::messages(&ancillary, wishes);
    let (level, name) = match inet6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        false => (libc::IPPROTO_IP, libc::IP_RECVERR),
    };
    list.push((level, name, said(error, inet6)));
    list
}

fn said(error: &ExtendedError, inet6: bool) -> Vec<u8> {
    let (kind, code) = error.kind;
    let mut bytes = error.errno.to_ne_bytes().to_vec();
    bytes.extend([error.origin, kind, code, 0]);
    bytes.extend(error.info.to_ne_bytes());
    bytes.extend([0; 4]);
    let family = if inet6 { libc::AF_INET6 } else { libc::AF_INET };
    match error.offender {
        Some(IpAddr::V6(v6)) => {
            let zone =
                if v6.is_unicast_link_local() { error.interface.saturating_add(1) } else { 0 };
            let offender = SocketAddrV6::new(v6, 0, 0, zone).into();
            name::with_bytes_of(offender, family, |name| bytes.extend(name));
        }
        Some(IpAddr::V4(v4)) => {
            let ip = if inet6 { v4.to_ipv6_mapped().into() } else { v4.into() };
            name::with_bytes_of(SocketAddr::new(ip, 0), family, |name| bytes.extend(name));
        }
        None if inet6 => bytes.extend([0; size_of::<libc::sockaddr_in6>()]),
        None => bytes.extend([0; size_of::<libc::sockaddr_in>()]),
    }
    bytes
}
