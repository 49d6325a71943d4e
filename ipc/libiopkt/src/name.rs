//! `struct sockaddr` and back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use io_pkt_client::Family;
use libc::{c_int, sa_family_t, sockaddr, socklen_t};
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::errno::os;

/// `struct sockaddr_in`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct InetName {
    family: [u8; 2],
    port: U16,
    address: [u8; 4],
    zero: [u8; 8],
}

/// `struct sockaddr_in6`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Inet6Name {
    family: [u8; 2],
    port: U16,
    flow_info: U32,
    address: [u8; 16],
    scope_id: [u8; 4],
}

const _: () = assert!(size_of::<InetName>() == size_of::<libc::sockaddr_in>());
const _: () = assert!(size_of::<Inet6Name>() == size_of::<libc::sockaddr_in6>());

/// IPv6's name without the link's number, as in RFC 2133.
const BARE_INET6_LEN: usize = size_of::<Inet6Name>() - size_of::<u32>();

/// What a program passed where a name is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `AF_INET`; `AF_INET6`, or a protocol module's family, of a socket of that.
    Inet(SocketAddr),
    /// `AF_UNSPEC`: for `connect`, "dissolve the association".
    Unspecified(SocketAddr),
}

impl Name {
    /// Reads a name of a socket of a family. An IPv6 socket takes no names of `AF_INET`; they may be
    /// shorter than Linux's own by the link's number (RFC 2133). Names of a module's family have the
    /// same layout.
    pub(crate) fn parse(bytes: &[u8], domain: Family) -> io::Result<Self> {
        let (family, _) = <[u8; 2]>::ref_from_prefix(bytes).map_err(|_| os(libc::EINVAL))?;
        let family = c_int::from(sa_family_t::from_ne_bytes(*family));
        let own = match domain {
            Family::Inet => libc::AF_INET,
            Family::Inet6 => libc::AF_INET6,
            Family::Module(number) => number.into(),
        };
        if family != libc::AF_UNSPEC && family != own {
            // Of IPv6's names Linux looks at the length first.
            let is_short = domain == Family::Inet6 && bytes.len() < BARE_INET6_LEN;
            return Err(os(if is_short { libc::EINVAL } else { libc::EAFNOSUPPORT }));
        }
        if family != libc::AF_UNSPEC && domain != Family::Inet {
            return inet6_name(bytes).map(Self::Inet);
        }
        if family == libc::AF_UNSPEC && bytes.len() < size_of::<InetName>() {
            return Ok(Self::Unspecified(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)));
        }
        let (name, _) = InetName::ref_from_prefix(bytes).map_err(|_| os(libc::EINVAL))?;
        let address = SocketAddr::new(Ipv4Addr::from(name.address).into(), name.port.get());
        Ok(if family == libc::AF_UNSPEC { Self::Unspecified(address) } else { Self::Inet(address) })
    }

    /// Reads where a datagram goes: a socket of IPv6 takes IPv4's names, too.
    ///
    /// # Safety
    /// As for [`Name::read`].
    pub(crate) unsafe fn read_destination(
        name: *const sockaddr,
        len: socklen_t,
        domain: Family,
    ) -> io::Result<Self> {
        // SAFETY: the caller's promise.
        let own = unsafe { Self::read(name, len, domain) };
        if domain != Family::Inet6 || own.is_ok() {
            return own;
        }
        // SAFETY: the caller's promise.
        unsafe { Self::read(name, len, Family::Inet) }.or(own)
    }

    /// Reads a name out of the program's memory.
    ///
    /// # Safety
    /// `name` is null or points to `len` readable bytes.
    pub(crate) unsafe fn read(
        name: *const sockaddr,
        len: socklen_t,
        domain: Family,
    ) -> io::Result<Self> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        // Linux looks at the length first: none is too short for any family, not a fault.
        if len == 0 || len > size_of::<libc::sockaddr_storage>() {
            return Err(os(libc::EINVAL));
        }
        if name.is_null() {
            return Err(os(libc::EFAULT));
        }
        // SAFETY: not null, and the caller vouches for `len` bytes.
        let bytes = unsafe { core::slice::from_raw_parts(name.cast::<u8>(), len) };
        Self::parse(bytes, domain)
    }
}

/// [`write`] for a call that is about nothing but the name: it must have a place.
///
/// # Safety
/// As for [`write`].
pub(crate) unsafe fn write_required(
    (from, family): (SocketAddr, c_int),
    name: *mut sockaddr,
    len: *mut socklen_t,
) -> io::Result<()> {
    // SAFETY: null or valid by the caller's promise.
    let has_room = unsafe { len.as_ref() }.is_none_or(|len| *len != 0);
    if name.is_null() && has_room {
        return Err(os(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    unsafe { write((Some(from), family), name, len) }
}

/// Hands `use_bytes` the name as `struct sockaddr_in` or `sockaddr_in6`.
pub(crate) fn with_bytes<T>(name: SocketAddr, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
    let family = if name.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    with_bytes_of(name, family, use_bytes)
}

/// Hands `use_bytes` the name of a socket of this family, laid out as `struct sockaddr_in` or `sockaddr_in6`.
pub(crate) fn with_bytes_of<T>(
    name: SocketAddr,
    family: c_int,
    use_bytes: impl FnOnce(&[u8]) -> T,
) -> T {
    match name {
        SocketAddr::V4(name) => use_bytes(
            InetName {
                family: family_bytes(family),
                port: name.port().into(),
                address: name.ip().octets(),
                zero: [0; 8],
            }
            .as_bytes(),
        ),
        SocketAddr::V6(name) => use_bytes(inet6(&name, family).as_bytes()),
    }
}

/// Writes a name of this family where the program wants it, cut to the room there is; `len` becomes its full length,
/// or 0 if there is no name. A null `name` asks for none.
///
/// # Safety
/// `name` is null, or `len` is null or valid and `name` has room for `*len` bytes.
pub(crate) unsafe fn write(
    (from, family): (Option<SocketAddr>, c_int),
    name: *mut sockaddr,
    len: *mut socklen_t,
) -> io::Result<()> {
    if name.is_null() {
        return Ok(());
    }
    if len.is_null() {
        return Err(os(libc::EFAULT));
    }
    // SAFETY: not null; the caller vouches for it. In the kernel it is a signed number.
    let room = unsafe { *len }.cast_signed();
    let room = usize::try_from(room).map_err(|_| os(libc::EINVAL))?;
    let full = from.map_or(0, |from| {
        with_bytes_of(from, family, |bytes| {
            // SAFETY: at most `room` bytes, which the caller vouches for; the source is ours.
            unsafe {
                name.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len().min(room));
            }
            bytes.len()
        })
    });
    // SAFETY: as above; the program's own word.
    unsafe { *len = socklen_t::try_from(full).unwrap_or(0) };
    Ok(())
}

fn inet6_name(bytes: &[u8]) -> io::Result<SocketAddr> {
    if bytes.len() < BARE_INET6_LEN {
        return Err(os(libc::EINVAL));
    }
    let mut whole = [0; size_of::<Inet6Name>()];
    whole.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    let Inet6Name { port, flow_info, address, scope_id, .. } = zerocopy::transmute!(whole);
    let scope_id = u32::from_ne_bytes(scope_id);
    Ok(SocketAddrV6::new(address.into(), port.get(), flow_info.get(), scope_id).into())
}

fn inet6(name: &SocketAddrV6, family: c_int) -> Inet6Name {
    Inet6Name {
        family: family_bytes(family),
        port: name.port().into(),
        flow_info: name.flowinfo().into(),
        address: name.ip().octets(),
        scope_id: name.scope_id().to_ne_bytes(),
    }
}

fn family_bytes(family: c_int) -> [u8; 2] {
    sa_family_t::try_from(family).unwrap_or(0).to_ne_bytes()
}

/// Is this an address of the machine's own loopback network, mapped or not?
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(name: &str) -> Vec<u8> {
        with_bytes(name.parse().unwrap(), <[u8]>::to_vec)
    }

    #[test]
    fn an_inet_name_survives_the_round_trip() {
        let bytes = bytes_of("192.0.2.7:8080");
        assert_eq!(bytes.len(), 16);
        assert_eq!(bytes[2..8], [0x1f, 0x90, 192, 0, 2, 7]);
        let name = Name::parse(&bytes, Family::Inet).unwrap();
        assert_eq!(name, Name::Inet("192.0.2.7:8080".parse().unwrap()));
    }

    #[test]
    fn a_name_of_another_family_is_refused() {
        let refused = |bytes: &[u8], family| Name::parse(bytes, family).unwrap_err().raw_os_error();
        assert_eq!(refused(&bytes_of("[::1]:80"), Family::Inet), Some(libc::EAFNOSUPPORT));
        let mut short = bytes_of("192.0.2.7:80");
        assert_eq!(refused(&short, Family::Inet6), Some(libc::EINVAL));
        short.resize(28, 0);
        assert_eq!(refused(&short, Family::Inet6), Some(libc::EAFNOSUPPORT));
    }

    #[test]
    fn an_inet6_name_may_lack_its_link() {
        let whole: SocketAddr = "[fe80::2%3]:80".parse().unwrap();
        let bytes = bytes_of("[fe80::2%3]:80");
        let read = |len: usize| Name::parse(&bytes[..len], Family::Inet6);
        assert_eq!(read(28).unwrap(), Name::Inet(whole));
        assert_eq!(read(24).unwrap(), Name::Inet("[fe80::2]:80".parse().unwrap()));
        assert_eq!(read(23).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_name_of_a_modules_family_is_laid_out_as_ipv6s() {
        let name: SocketAddr = "[fe80::2%3]:80".parse().unwrap();
        let bytes = with_bytes_of(name, 60, <[u8]>::to_vec);
        assert_eq!((bytes.len(), &bytes[..2]), (28, &60_u16.to_ne_bytes()[..]));
        assert_eq!(Name::parse(&bytes, Family::Module(60)).unwrap(), Name::Inet(name));
        let error = Name::parse(&bytes, Family::Inet6).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
    }

    #[test]
    fn a_short_name_is_invalid() {
        for len in [0, 1, 2, 15] {
            let error = Name::parse(&bytes_of("192.0.2.7:8080")[..len], Family::Inet).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{len} bytes");
        }
    }

    #[test]
    fn unspec_may_be_a_bare_family() {
        let name = Name::parse(&[0, 0], Family::Inet).unwrap();
        assert_eq!(name, Name::Unspecified("0.0.0.0:0".parse().unwrap()));
    }

    #[test]
    fn a_small_buffer_gets_the_beginning_and_the_full_length() {
        let mut room = [0xaau8; 16];
        let mut len: socklen_t = 4;
        let from = Some("10.0.0.1:53".parse().unwrap());
        // SAFETY: the buffer has 16 bytes, of which 4 are offered.
        let result =
            unsafe { write((from, libc::AF_INET), room.as_mut_ptr().cast(), &raw mut len) };
        result.unwrap();
        assert_eq!(len, 16);
        assert_eq!(room[2..6], [0, 53, 0xaa, 0xaa]);
    }

    #[test]
    fn loopback_is_the_whole_network() {
        assert!(is_loopback("127.8.9.10".parse().unwrap()));
        assert!(!is_loopback("128.0.0.1".parse().unwrap()));
    }
}
