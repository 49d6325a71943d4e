//! The stack's interfaces in the words of `netdevice(7)`: flags, names, and the questions of `ioctl`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use io_pkt_client::{AddressRow, Family, InterfaceRow};
use libc::{c_int, c_ulong, c_void};

use crate::errno::os;
use crate::table::Held;
use crate::{message, name};

/// Room of a name in C, its NUL included.
pub(crate) const NAME_LEN: usize = libc::IFNAMSIZ;

/// The number of `lo0` in every stack.
const LOOPBACK: u32 = 1;

// Linux's numbers, asm-generic/sockios.h.
const SIOCGIFNAME: c_ulong = 0x8910;
const SIOCGIFCONF: c_ulong = 0x8912;
const SIOCGIFFLAGS: c_ulong = 0x8913;
const SIOCGIFADDR: c_ulong = 0x8915;
const SIOCGIFDSTADDR: c_ulong = 0x8917;
const SIOCGIFBRDADDR: c_ulong = 0x8919;
const SIOCGIFNETMASK: c_ulong = 0x891b;
const SIOCGIFMETRIC: c_ulong = 0x891d;
const SIOCGIFMTU: c_ulong = 0x8921;
const SIOCGIFHWADDR: c_ulong = 0x8927;
const SIOCGIFINDEX: c_ulong = 0x8933;

/// `struct ifconf`.
#[repr(C)]
struct InterfaceList {
    len: c_int,
    buffer: *mut c_void,
}

/// Is this `ioctl` a question about interfaces that is answered here?
pub(crate) const fn is_question(request: c_ulong) -> bool {
    matches!(
        request,
        SIOCGIFNAME
            | SIOCGIFCONF
            | SIOCGIFFLAGS
            | SIOCGIFADDR
            | SIOCGIFDSTADDR
            | SIOCGIFBRDADDR
            | SIOCGIFNETMASK
            | SIOCGIFMETRIC
            | SIOCGIFMTU
            | SIOCGIFHWADDR
            | SIOCGIFINDEX
    )
}

/// Is it about an IPv4 address?
const fn is_about_addresses(request: c_ulong) -> bool {
    matches!(request, SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK)
}

/// `IFF_UP` and its kin, as far as a short has room for them. That an interface takes all groups by itself
/// is nothing that anybody has set.
pub(crate) fn flags(row: &InterfaceRow) -> c_int {
    let kind = if row.index == LOOPBACK {
        libc::IFF_LOOPBACK
    } else {
        libc::IFF_BROADCAST | libc::IFF_MULTICAST
    };
    [
        (row.up, libc::IFF_UP),
        (row.up && row.running, libc::IFF_RUNNING),
        (row.promiscuous, libc::IFF_PROMISC),
    ]
    .into_iter()
    .fold(kind, |flags, (is, flag)| if is { flags | flag } else { flags })
}

/// `ARPHRD_LOOPBACK` or `ARPHRD_ETHER`.
pub(crate) fn hardware(row: &InterfaceRow) -> u16 {
    if row.index == LOOPBACK { libc::ARPHRD_LOOPBACK } else { libc::ARPHRD_ETHER }
}

/// A name as C has it.
pub(crate) fn padded(name: &str) -> [u8; NAME_LEN] {
    let mut padded = [0; NAME_LEN];
    let room = padded.iter_mut().take(NAME_LEN - 1);
    room.zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    padded
}

/// The mask of an address's network.
pub(crate) fn netmask(row: &AddressRow) -> IpAddr {
    let ones = |width: u32| width.saturating_sub(u32::from(row.prefix_len));
    match row.address {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::MAX.checked_shl(ones(32)).unwrap_or(0)).into(),
        IpAddr::V6(_) => {
            std::net::Ipv6Addr::from_bits(u128::MAX.checked_shl(ones(128)).unwrap_or(0)).into()
        }
    }
}

/// The broadcast address of an address's network, if it has one.
pub(crate) fn broadcast(row: &AddressRow) -> Option<IpAddr> {
    let (IpAddr::V4(address), IpAddr::V4(mask)) = (row.address, netmask(row)) else { return None };
    let is_wide = (1..31).contains(&row.prefix_len) && !address.is_loopback();
    is_wide.then(|| Ipv4Addr::from_bits(address.to_bits() | !mask.to_bits()).into())
}

/// Answers a question about the interfaces of a socket's stack.
///
/// # Safety
/// `argument` is null or what `request` wants: a `struct ifreq`, or a `struct ifconf`.
pub(crate) unsafe fn ask(held: &Held, request: c_ulong, argument: *mut c_void) -> io::Result<()> {
    if argument.is_null() {
        return Err(os(libc::EFAULT));
    }
    let rows = held.socket.channel().interfaces()?;
    if request == SIOCGIFCONF {
        // SAFETY: the caller's promise.
        return unsafe { list(&rows, argument) };
    }
    // SAFETY: the caller's promise.
    let asked = unsafe { message::bytes_mut(argument, size_of::<libc::ifreq>()) }?;
    let (name, value) = asked.split_at_mut(NAME_LEN);
    if request == SIOCGIFNAME {
        let index = value.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let row = rows.iter().find(|row| row.index == index).ok_or_else(|| os(libc::ENODEV))?;
        name.copy_from_slice(&padded(&row.name));
        return Ok(());
    }
    if is_about_addresses(request) && held.socket.family() == Family::Inet6 {
        // Of IPv6 there are several, and netlink has them.
        return Err(os(libc::ENOTTY));
    }
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let row = rows.iter().find(|row| row.name.as_bytes() == name);
    let answer = answer(row.ok_or_else(|| os(libc::ENODEV))?, request)?;
    value.iter_mut().zip(&answer).for_each(|(place, byte)| *place = *byte);
    Ok(())
}

/// What is asked for about one interface.
fn answer(row: &InterfaceRow, request: c_ulong) -> io::Result<Vec<u8>> {
    let number = |number: c_int| number.to_ne_bytes().to_vec();
    let word = |number: u32| number.to_ne_bytes().to_vec();
    // An interface's own address is its first one.
    let address = row.addresses.iter().find(|row| row.address.is_ipv4());
    let address = address.ok_or_else(|| os(libc::EADDRNOTAVAIL));
    Ok(match request {
        SIOCGIFFLAGS => number(flags(row)).into_iter().take(size_of::<i16>()).collect(),
        SIOCGIFMETRIC => number(0),
        SIOCGIFMTU => word(row.mtu.into()),
        SIOCGIFINDEX => word(row.index),
        SIOCGIFHWADDR => [&hardware(row).to_ne_bytes()[..], &row.mac.0].concat(),
        SIOCGIFNETMASK => name_bytes(netmask(address?)),
        SIOCGIFBRDADDR => {
            let address = address?;
            name_bytes(broadcast(address).unwrap_or_else(|| Ipv4Addr::UNSPECIFIED.into()))
        }
        _ => name_bytes(address?.address),
    })
}

fn name_bytes(address: IpAddr) -> Vec<u8> {
    name::with_bytes(SocketAddr::new(address, 0), <[u8]>::to_vec)
}

/// `SIOCGIFCONF`: all IPv4 addresses with their interfaces' names, as many as there is room for. Without
/// a buffer: how much room they need.
///
/// # Safety
/// `argument` is a `struct ifconf` with its buffer.
unsafe fn list(rows: &[InterfaceRow], argument: *mut c_void) -> io::Result<()> {
    const ENTRY_LEN: usize = size_of::<libc::ifreq>();
    let place = argument.cast::<InterfaceList>();
    // SAFETY: the caller's promise.
    let InterfaceList { len, buffer } = unsafe { place.read() };
    let entries = rows.iter().flat_map(|row| {
        let addresses = row.addresses.iter().filter(|address| address.address.is_ipv4());
        addresses.map(|address| (padded(&row.name), name_bytes(address.address)))
    });
    let written = if buffer.is_null() {
        entries.count().saturating_mul(ENTRY_LEN)
    } else {
        let room = usize::try_from(len).unwrap_or(0);
        // SAFETY: the caller's promise.
        let buffer = unsafe { message::bytes_mut(buffer, room) }?;
        let mut written = 0_usize;
        for (entry, (name, address)) in buffer.chunks_exact_mut(ENTRY_LEN).zip(entries) {
            entry.fill(0);
            let said = name.iter().chain(&address);
            entry.iter_mut().zip(said).for_each(|(place, byte)| *place = *byte);
            written = written.saturating_add(ENTRY_LEN);
        }
        written
    };
    let len = c_int::try_from(written).unwrap_or(c_int::MAX);
    // SAFETY: the caller's promise.
    unsafe { place.write(InterfaceList { len, buffer }) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(address: &str, prefix_len: u8) -> AddressRow {
        AddressRow { address: address.parse().unwrap(), prefix_len, flags: Vec::new() }
    }

    #[test]
    fn a_network_has_a_mask_and_perhaps_a_broadcast_address() {
        let of =
            |row: &AddressRow| (netmask(row).to_string(), broadcast(row).map(|ip| ip.to_string()));
        assert_eq!(
            of(&address("198.18.77.2", 24)),
            ("255.255.255.0".into(), Some("198.18.77.255".into()))
        );
        assert_eq!(of(&address("10.0.0.1", 32)), ("255.255.255.255".into(), None));
        assert_eq!(of(&address("10.0.0.1", 31)).1, None, "a line has two ends");
        assert_eq!(of(&address("127.0.0.1", 8)), ("255.0.0.0".into(), None));
        assert_eq!(of(&address("10.0.0.1", 0)).0, "0.0.0.0");
        assert_eq!(of(&address("fd00::1", 64)), ("ffff:ffff:ffff:ffff::".into(), None));
    }

    #[test]
    fn a_name_keeps_its_nul() {
        assert_eq!(padded("tap0")[..5], *b"tap0\0");
        assert_eq!(padded("an-interface-with-a-long-name")[NAME_LEN - 1], 0);
    }
}
