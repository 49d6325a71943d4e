//! Lists of the stack's interfaces.

use core::ffi::CStr;
use core::{mem, ptr};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use io_pkt_client::{AddressRow, InterfaceRow};
use libc::{c_char, c_int, c_uint, if_nameindex, ifaddrs, sockaddr};

use super::open::channel;
use crate::errno::{number_of, os, set_errno, status};
use crate::interface::{self, NAME_LEN, broadcast, hardware, netmask};
use crate::name;

/// The link is there, beyond what a short has room for: `IFF_LOWER_UP`.
const LOWER_UP: c_uint = 1 << 16;

/// Numbers of `struct rtnl_link_stats`.
const STATS: usize = 24;

/// `getifaddrs(3)`: the stack's interfaces and their addresses. `ENETDOWN` if no stack is running.
///
/// # Safety
/// As for the C call: `list` has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_getifaddrs(list: *mut *mut ifaddrs) -> c_int {
    status(interfaces().and_then(|rows| {
        let first = linked(&entries(&rows))?;
        // SAFETY: the caller's promise.
        unsafe { list.write(first) };
        Ok(())
    }))
}

/// `freeifaddrs(3)`.
///
/// # Safety
/// `list` is null or comes from [`iopkt_getifaddrs`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_freeifaddrs(list: *mut ifaddrs) {
    // SAFETY: the first entry is at the beginning of the one block that all are in.
    unsafe { libc::free(list.cast()) };
}

/// `if_nameindex(3)`.
#[unsafe(no_mangle)]
pub extern "C" fn iopkt_if_nameindex() -> *mut if_nameindex {
    interfaces().and_then(|rows| index_of_names(&rows)).unwrap_or_else(|error| {
        set_errno(number_of(&error));
        ptr::null_mut()
    })
}

/// `if_freenameindex(3)`.
///
/// # Safety
/// `list` comes from [`iopkt_if_nameindex`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_if_freenameindex(list: *mut if_nameindex) {
    let mut at = list;
    loop {
        // SAFETY: an entry of the list, whose last one has a null name.
        let name = unsafe { (*at).if_name };
        if name.is_null() {
            break;
        }
        // SAFETY: each name is a block of its own.
        unsafe { libc::free(name.cast()) };
        // SAFETY: not the last one.
        at = unsafe { at.add(1) };
    }
    // SAFETY: the list is one block.
    unsafe { libc::free(list.cast()) };
}

/// `if_nametoindex(3)`: 0 and `ENODEV` if the stack has no such interface.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    let found = interfaces().and_then(|rows| {
        let row = rows.iter().find(|row| row.name.as_bytes() == name.to_bytes());
        row.map(|row| row.index).ok_or_else(|| os(libc::ENODEV))
    });
    found.unwrap_or_else(|error| {
        set_errno(number_of(&error));
        0
    })
}

/// `if_indextoname(3)`: null and `ENXIO` if the stack has no such interface.
///
/// # Safety
/// `name` has room for `IF_NAMESIZE` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iopkt_if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
    let found = interfaces().and_then(|rows| {
        let row = rows.iter().find(|row| row.index == index);
        row.map(|row| interface::padded(&row.name)).ok_or_else(|| os(libc::ENXIO))
    });
    match found {
        Ok(found) => {
            // SAFETY: the caller's promise.
            unsafe { name.cast::<[u8; NAME_LEN]>().write_unaligned(found) };
            name
        }
        Err(error) => {
            set_errno(number_of(&error));
            ptr::null_mut()
        }
    }
}

fn interfaces() -> io::Result<Vec<InterfaceRow>> {
    channel()?.interfaces()
}

/// Room for any of the names that are in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
struct Place([u8; 32]);

const _: () = assert!(size_of::<Place>() >= size_of::<libc::sockaddr_in6>());
const _: () = assert!(size_of::<Place>() >= size_of::<libc::sockaddr_ll>());

impl Place {
    fn of(bytes: &[u8]) -> Self {
        let mut place = [0; 32];
        place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        Self(place)
    }

    fn of_address(address: IpAddr, link: u32) -> Self {
        let socket = match address {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                SocketAddrV6::new(v6, 0, 0, link).into()
            }
            address => SocketAddr::new(address, 0),
        };
        name::with_bytes(socket, Self::of)
    }

    /// `struct sockaddr_ll`.
    fn of_link(row: &InterfaceRow, address: [u8; 6]) -> Self {
        let family = u16::try_from(libc::AF_PACKET).unwrap_or(0).to_ne_bytes();
        let (index, hardware) = (row.index.to_ne_bytes(), hardware(row).to_ne_bytes());
        let len = u8::try_from(address.len()).unwrap_or(0);
        Self::of(&[&family[..], &[0; 2], &index, &hardware, &[0, len], &address].concat())
    }
}

/// An entry of `getifaddrs` before it has its place.
struct Entry {
    name: [u8; NAME_LEN],
    flags: c_uint,
    address: Place,
    netmask: Option<Place>,
    /// Where a broadcast goes.
    broadcast: Option<Place>,
    stats: Option<[u32; STATS]>,
}

/// As libc has them: all links, then all addresses of IPv4, then those of IPv6.
fn entries(rows: &[InterfaceRow]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = rows.iter().map(link).collect();
    for is_family in [IpAddr::is_ipv4, IpAddr::is_ipv6] {
        for row in rows {
            let addresses = row.addresses.iter().filter(|address| is_family(&address.address));
            entries.extend(addresses.map(|address| of_address(row, address)));
        }
    }
    entries
}

fn flags(row: &InterfaceRow) -> c_uint {
    let flags = c_uint::try_from(interface::flags(row)).unwrap_or(0);
    if row.up && row.running { flags | LOWER_UP } else { flags }
}

fn link(row: &InterfaceRow) -> Entry {
    let mac = row.mac.0;
    let everybody = [mac.iter().fold(0, |some, byte| some | byte).min(1) * 0xff; 6];
    let mut stats = [0; STATS];
    let counts =
        [row.rx_packets, row.tx_packets, row.rx_bytes, row.tx_bytes, row.rx_errors, row.tx_errors];
    // A counter of 32 bits goes round.
    let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0);
    stats.iter_mut().zip(counts).for_each(|(stat, count)| *stat = low(count));
    Entry {
        name: interface::padded(&row.name),
        flags: flags(row),
        address: Place::of_link(row, mac),
        netmask: None,
        broadcast: Some(Place::of_link(row, everybody)),
        stats: Some(stats),
    }
}

fn of_address(row: &InterfaceRow, address: &AddressRow) -> Entry {
    let place = |ip| Place::of_address(ip, row.index);
    // Without a broadcast address there is the address itself, as of the other end of a line.
    let v4 = Some(address.address).filter(IpAddr::is_ipv4);
    Entry {
        name: interface::padded(&row.name),
        flags: flags(row),
        address: place(address.address),
        netmask: Some(Place::of_address(netmask(address), 0)),
        broadcast: broadcast(address).or(v4).map(place),
        stats: None,
    }
}

/// An entry with all that it points to.
#[repr(C)]
struct Node {
    entry: ifaddrs,
    name: [u8; NAME_LEN],
    address: Place,
    netmask: Place,
    broadcast: Place,
    stats: [u32; STATS],
}

/// Puts the entries in one block, as libc does, whose own `freeifaddrs` may be the one that frees it.
fn linked(entries: &[Entry]) -> io::Result<*mut ifaddrs> {
    if entries.is_empty() {
        return Ok(ptr::null_mut());
    }
    let block = allocate::<Node>(entries.len())?;
    for (at, entry) in entries.iter().enumerate() {
        let is_last = at.saturating_add(1) == entries.len();
        // SAFETY: one of the block's nodes.
        let node = unsafe { block.add(at) };
        // SAFETY: the one behind it is in the block, too, or it is not used.
        let next = if is_last { ptr::null_mut() } else { unsafe { node.add(1) } };
        // SAFETY: both nodes are in the block.
        unsafe { place(entry, node, next) };
    }
    Ok(block.cast())
}

/// Writes an entry.
///
/// # Safety
/// `node` has room for one.
unsafe fn place(entry: &Entry, node: *mut Node, next: *mut Node) {
    let within = |offset: usize| node.wrapping_byte_add(offset);
    let pointer = |is_there: bool, offset: usize| -> *mut sockaddr {
        if is_there { within(offset).cast() } else { ptr::null_mut() }
    };
    let empty = Place([0; 32]);
    let value = Node {
        entry: ifaddrs {
            ifa_next: next.cast(),
            ifa_name: within(mem::offset_of!(Node, name)).cast(),
            ifa_flags: entry.flags,
            ifa_addr: pointer(true, mem::offset_of!(Node, address)),
            ifa_netmask: pointer(entry.netmask.is_some(), mem::offset_of!(Node, netmask)),
            ifa_ifu: pointer(entry.broadcast.is_some(), mem::offset_of!(Node, broadcast)),
            ifa_data: pointer(entry.stats.is_some(), mem::offset_of!(Node, stats)).cast(),
        },
        name: entry.name,
        address: entry.address,
        netmask: entry.netmask.unwrap_or(empty),
        broadcast: entry.broadcast.unwrap_or(empty),
        stats: entry.stats.unwrap_or_default(),
    };
    // SAFETY: the caller's promise.
    unsafe { node.write(value) };
}

/// A list that ends with a null name; each name is a block of its own, as libc's are.
fn index_of_names(rows: &[InterfaceRow]) -> io::Result<*mut if_nameindex> {
    let list = allocate::<if_nameindex>(rows.len().saturating_add(1))?;
    let mut at = list;
    for row in rows {
        let Ok(name) = allocate::<[u8; NAME_LEN]>(1) else {
            // SAFETY: what has been written so far ends with a null name, as all of the block is zero.
            unsafe { iopkt_if_freenameindex(list) };
            return Err(os(libc::ENOMEM));
        };
        // SAFETY: the block has this room.
        unsafe { name.write(interface::padded(&row.name)) };
        // SAFETY: one of the list's entries.
        unsafe { at.write(if_nameindex { if_index: row.index, if_name: name.cast() }) };
        // SAFETY: there is one more than there are rows.
        at = unsafe { at.add(1) };
    }
    Ok(list)
}

/// Memory of libc's, all zero, for so many of them.
fn allocate<T>(count: usize) -> io::Result<*mut T> {
    // SAFETY: sizes alone.
    let block = unsafe { libc::calloc(count, size_of::<T>()) };
    if block.is_null() { Err(os(libc::ENOMEM)) } else { Ok(block.cast()) }
}
