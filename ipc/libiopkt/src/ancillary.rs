//! Control messages: what `sendmsg` and `recvmsg` carry beside the bytes.
//!
//! ```text
//!  | length 8 | level 4 | type 4 | data … | padding to 8 |  next one …
//!  `-- length counts up to here --------^
//! ```

use core::mem::offset_of;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use io_pkt_client::{Ancillary, Wishes};
use libc::{c_int, in_pktinfo, in6_pktinfo, msghdr, timespec};

use crate::errno::os;

/// `struct cmsghdr`.
const HEADER_LEN: usize = size_of::<libc::cmsghdr>();

const _: () = assert!(HEADER_LEN == 16);

/// Of `linux/udp.h`.
const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;

/// Reads the control messages of a message to be sent. Linux's rule: those of other levels are passed over,
/// unknown ones of ours are `EINVAL`.
///
/// # Safety
/// `header.msg_control` points to `header.msg_controllen` bytes, or it is null.
pub(crate) unsafe fn read(header: &msghdr, is_stream: bool) -> io::Result<Ancillary> {
    let mut ancillary = Ancillary::default();
    if header.msg_control.is_null() || header.msg_controllen < HEADER_LEN {
        return Ok(ancillary);
    }
    // SAFETY: not null; the caller vouches for the length.
    let mut rest = unsafe {
        core::slice::from_raw_parts(header.msg_control.cast::<u8>(), header.msg_controllen)
    };
    while let Some((message, data)) = next(rest)? {
        match (message.level, message.kind) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => {}
            (libc::SOL_SOCKET, _) => return Err(os(libc::EINVAL)),
            (libc::IPPROTO_IP, kind) if !is_stream => take(&mut ancillary, kind, data)?,
            (libc::IPPROTO_IPV6, kind) if !is_stream => take6(&mut ancillary, kind, data)?,
            (libc::IPPROTO_UDP, kind) if !is_stream => {
                let size = data.first_chunk().filter(|_| data.len() == size_of::<u16>());
                let size = size.filter(|_| kind == UDP_SEGMENT).ok_or_else(|| os(libc::EINVAL))?;
                ancillary.segment = Some(u16::from_ne_bytes(*size));
            }
            _ => {}
        }
        rest = rest.get(message.len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(ancillary)
}

/// Head of a control message.
struct Message {
    len: usize,
    level: c_int,
    kind: c_int,
}

/// The first control message and its data; `None` when no other follows.
fn next(bytes: &[u8]) -> io::Result<Option<(Message, &[u8])>> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let [l0, l1, l2, l3, l4, l5, l6, l7, a, b, c, d, e, f, g, h] = *head;
    let len = usize::from_ne_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
    let level = c_int::from_ne_bytes([a, b, c, d]);
    let kind = c_int::from_ne_bytes([e, f, g, h]);
    let data = bytes.get(HEADER_LEN..len).ok_or_else(|| os(libc::EINVAL))?;
    Ok(Some((Message { len, level, kind }, data)))
}

fn take(ancillary: &mut Ancillary, kind: c_int, data: &[u8]) -> io::Result<()> {
    let int = || data.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes));
    let invalid = || os(libc::EINVAL);
    match kind {
        libc::IP_PKTINFO => {
            const SOURCE: usize = offset_of!(in_pktinfo, ipi_spec_dst);
            if data.len() != size_of::<in_pktinfo>() {
                return Err(invalid());
            }
            let octets: [u8; 4] =
                *data.get(SOURCE..).and_then(|d| d.first_chunk()).ok_or_else(invalid)?;
            let source = Ipv4Addr::from(octets);
            ancillary.local = (!source.is_unspecified()).then_some(IpAddr::V4(source));
        }
        libc::IP_TTL => {
            let ttl = int().filter(|_| data.len() == size_of::<c_int>()).ok_or_else(invalid)?;
            ancillary.ttl =
                Some(u8::try_from(ttl).ok().filter(|ttl| *ttl > 0).ok_or_else(invalid)?);
        }
        libc::IP_TOS => {
            let tos = match *data {
                [tos] => Some(c_int::from(tos)),
                _ => int().filter(|_| data.len() == size_of::<c_int>()),
            };
            ancillary.tos = Some(tos.and_then(|tos| u8::try_from(tos).ok()).ok_or_else(invalid)?);
        }
        _ => return Err(invalid()),
    }
    Ok(())
}

/// The same of IPv6. A mapped address is IPv4's.
fn take6(ancillary: &mut Ancillary, kind: c_int, data: &[u8]) -> io::Result<()> {
    let invalid = || os(libc::EINVAL);
    let byte = || {
        let number = data.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes));
        let number = number.filter(|_| data.len() == size_of::<c_int>());
        number.and_then(|number| u8::try_from(number).ok()).ok_or_else(invalid)
    };
    match kind {
        libc::IPV6_PKTINFO => {
            if data.len() != size_of::<in6_pktinfo>() {
                return Err(invalid());
            }
            let octets: [u8; 16] = *data.first_chunk().ok_or_else(invalid)?;
            let source = IpAddr::from(octets).to_canonical();
            ancillary.local = (!source.is_unspecified()).then_some(source);
        }
        libc::IPV6_HOPLIMIT => ancillary.ttl = Some(byte()?.max(1)),
        libc::IPV6_TCLASS => ancillary.tos = Some(byte()?),
        _ => return Err(invalid()),
    }
    Ok(())
}

/// Writes what was wished for and has come into the program's buffer, and says in the header how much it is.
/// True: there was more than room.
///
/// # Safety
/// `header.msg_control` has room for `header.msg_controllen` bytes, or it is null.
pub(crate) unsafe fn write(header: &mut msghdr, ancillary: &Ancillary, wishes: Wishes) -> bool {
    // SAFETY: the caller's promise.
    unsafe { write_all(header, messages(ancillary, wishes)) }
}

/// [`write`] for messages of any kind: level, type and data.
///
/// # Safety
/// As for [`write`].
pub(crate) unsafe fn write_all(header: &mut msghdr, bytes: Vec<(c_int, c_int, Vec<u8>)>) -> bool {
    let room = if header.msg_control.is_null() { 0 } else { header.msg_controllen };
    let mut written = 0;
    let mut cut = false;
    for (level, kind, data) in bytes {
        let left = room.saturating_sub(written);
        if left < HEADER_LEN {
            cut = true;
            break;
        }
        let whole = HEADER_LEN.saturating_add(data.len());
        let len = whole.min(left);
        cut |= len < whole;
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(level.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(data);
        // SAFETY: `written` is below `room`, which the caller vouches for.
        let place = unsafe { header.msg_control.cast::<u8>().add(written) };
        // SAFETY: `len` bytes are left of the room; the source is our own vector, at least as long.
        unsafe { place.copy_from_nonoverlapping(message.as_ptr(), len) };
        written = written.saturating_add(whole.next_multiple_of(8).min(left));
    }
    header.msg_controllen = written;
    cut
}

/// Level, type and data of each message, in Linux's order.
pub(crate) fn messages(ancillary: &Ancillary, wishes: Wishes) -> Vec<(c_int, c_int, Vec<u8>)> {
    let mut list = Vec::new();
    if wishes.timestamp {
        let at = wall_time(ancillary.at_ns);
        let fraction = if wishes.nanoseconds { at.subsec_nanos() } else { at.subsec_micros() };
        let kind = if wishes.nanoseconds { libc::SCM_TIMESTAMPNS } else { libc::SCM_TIMESTAMP };
        let mut data = at.as_secs().to_ne_bytes().to_vec();
        data.extend(i64::from(fraction).to_ne_bytes());
        list.push((libc::SOL_SOCKET, kind, data));
    }
    if wishes.inet6 {
        messages6(ancillary, wishes, &mut list);
    } else {
        messages4(ancillary, wishes, &mut list);
    }
    // Only a socket that asks for it is given several datagrams as one.
    if let Some(size) = ancillary.segment {
        let data = c_int::from(size).to_ne_bytes().to_vec();
        list.push((libc::IPPROTO_UDP, UDP_GRO, data));
    }
    list
}

fn messages4(ancillary: &Ancillary, wishes: Wishes, list: &mut Vec<(c_int, c_int, Vec<u8>)>) {
    if wishes.packet_info
        && let Some(IpAddr::V4(local)) = ancillary.local
    {
        let index = ancillary.interface.saturating_add(1);
        let mut data = index.to_ne_bytes().to_vec();
        data.extend(local.octets());
        data.extend(local.octets());
        list.push((libc::IPPROTO_IP, libc::IP_PKTINFO, data));
    }
    if wishes.ttl
        && let Some(ttl) = ancillary.ttl
    {
        list.push((libc::IPPROTO_IP, libc::IP_TTL, c_int::from(ttl).to_ne_bytes().to_vec()));
    }
    if wishes.tos
        && let Some(tos) = ancillary.tos
    {
        list.push((libc::IPPROTO_IP, libc::IP_TOS, vec![tos]));
    }
}

/// The same for a socket of IPv6. A packet of IPv4 has a mapped address and no hop limit.
fn messages6(ancillary: &Ancillary, wishes: Wishes, list: &mut Vec<(c_int, c_int, Vec<u8>)>) {
    let mapped = |local| match local {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let is_ipv6 = matches!(ancillary.local, Some(IpAddr::V6(_)));
    let mut tell = |kind, data| list.push((libc::IPPROTO_IPV6, kind, data));
    if wishes.packet_info
        && let Some(local) = ancillary.local.map(mapped)
    {
        let index = ancillary.interface.saturating_add(1);
        tell(libc::IPV6_PKTINFO, [local.octets().as_slice(), &index.to_ne_bytes()].concat());
    }
    if let Some(hops) = ancillary.ttl.filter(|_| wishes.ttl && is_ipv6) {
        tell(libc::IPV6_HOPLIMIT, c_int::from(hops).to_ne_bytes().to_vec());
    }
    if let Some(class) = ancillary.tos.filter(|_| wishes.tos && is_ipv6) {
        tell(libc::IPV6_TCLASS, c_int::from(class).to_ne_bytes().to_vec());
    }
}

/// A time of `CLOCK_MONOTONIC` on the wall clock, as that stands now.
fn wall_time(at_ns: u64) -> Duration {
    let age = now(libc::CLOCK_MONOTONIC).saturating_sub(Duration::from_nanos(at_ns));
    now(libc::CLOCK_REALTIME).saturating_sub(age)
}

fn now(clock: libc::clockid_t) -> Duration {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours; the clock exists.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use core::ptr;

    use super::*;

    fn header(control: &mut [u8]) -> msghdr {
        // SAFETY: zeros are a header with nothing in it.
        let mut header: msghdr = unsafe { core::mem::zeroed() };
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        header
    }

    const ALL: Wishes = Wishes {
        packet_info: true,
        ttl: true,
        tos: true,
        timestamp: false,
        nanoseconds: false,
        inet6: false,
    };

    fn sample() -> Ancillary {
        let local = Some(IpAddr::V4([198, 18, 77, 2].into()));
        Ancillary { local, interface: 1, ttl: Some(7), tos: Some(9), at_ns: 0, segment: None }
    }

    #[test]
    fn what_is_written_can_be_sent_back() {
        let mut room = [0; 256];
        let mut header = header(&mut room);
        // SAFETY: the room is as long as the header says.
        assert!(!unsafe { write(&mut header, &sample(), ALL) });
        assert_eq!(header.msg_controllen, 32 + 24 + 24);
        // SAFETY: as above.
        let read = unsafe { read(&header, false) }.unwrap();
        assert_eq!(read, Ancillary { interface: 0, ..sample() });
    }

    #[test]
    fn too_little_room_cuts_and_is_told() {
        for (room, used) in [(0, 0), (15, 0), (16, 16), (20, 20), (40, 32), (48, 48), (72, 72)] {
            let mut bytes = vec![0; room];
            let mut header = header(&mut bytes);
            // SAFETY: the room is as long as the header says.
            assert!(unsafe { write(&mut header, &sample(), ALL) }, "{room} bytes are too few");
            assert_eq!(header.msg_controllen, used, "of {room}");
        }
        let mut none = header(&mut []);
        none.msg_control = ptr::null_mut();
        // SAFETY: null is allowed.
        assert!(unsafe { write(&mut none, &sample(), ALL) });
    }

    #[test]
    fn unknown_and_malformed_messages_are_refused() {
        let refused = |level: c_int, kind: c_int, len: usize, data: &[u8]| {
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(data);
            let header = header(&mut bytes);
            // SAFETY: the room is as long as the header says.
            unsafe { read(&header, false) }.is_err()
        };
        assert!(!refused(libc::IPPROTO_IP, libc::IP_TTL, 20, &[1, 0, 0, 0]));
        assert!(refused(libc::IPPROTO_IP, libc::IP_TTL, 20, &[0, 0, 0, 0]), "no TTL at all");
        assert!(refused(libc::IPPROTO_IP, libc::IP_TTL, 21, &[1, 0, 0, 0]), "beyond the buffer");
        assert!(refused(libc::IPPROTO_IP, libc::IP_TTL, 7, &[1, 0, 0, 0]), "shorter than its head");
        assert!(refused(libc::IPPROTO_IP, 99, 20, &[1, 0, 0, 0]));
        assert!(!refused(libc::IPPROTO_TCP, 99, 20, &[1, 0, 0, 0]), "another level's business");
    }
}
