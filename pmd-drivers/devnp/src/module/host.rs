//! What the daemon does for a module: packets, options, log.

use core::ffi::{c_char, c_void};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;

use devnp_abi as abi;
use dpdk::{Burst, ChecksumState, L4, Mbuf, Mempool};
use loader::Alarm;

/// `-ENOMEM` and `-EINVAL` as C sees them.
const NO_MEMORY: i32 = -libc::ENOMEM;
const INVALID: i32 = -libc::EINVAL;

/// The daemon's side of one interface of a module: what an [`abi::Host`] is.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) pool: Mempool,
    pub(crate) options: Vec<(String, Option<String>)>,
    /// The interface's name as soon as it has one, else the module's.
    pub(crate) name: Mutex<String>,
    pub(crate) alarm: Alarm,
    pub(crate) removed: AtomicBool,
}

/// The table that all modules get.
pub(crate) static API: abi::Api = DRIVERS;

const DRIVERS: abi::Api = abi::Api {
    abi: abi::ABI_VERSION,
    #[expect(clippy::cast_possible_truncation, reason = "120 bytes")]
    size: size_of::<abi::Api>() as u32,
    log,
    option,
    alloc,
    free,
    data,
    len,
    room,
    set_len,
    copy,
    pieces,
    tx_request,
    set_rx,
    link_changed,
    removed,
};

/// What modules of other kinds can do with a packet too. Their host is not one of these: the functions
/// that take one do nothing.
#[must_use]
pub fn packet_api() -> &'static abi::Api {
    static PACKETS: abi::Api = abi::Api {
        log: strange::log,
        option: strange::option,
        alloc: strange::alloc,
        link_changed: strange::told,
        removed: strange::told,
        ..DRIVERS
    };
    &PACKETS
}

/// Functions that were called with another kind of host, and don't look at it.
mod strange {
    use super::{INVALID, abi, c_char};

    pub(super) unsafe extern "C" fn log(_: *const abi::Host, _: i32, _: *const c_char) {}

    pub(super) unsafe extern "C" fn option(
        _: *const abi::Host,
        _: *const c_char,
        _: *mut c_char,
        _: usize,
    ) -> isize {
        -1
    }

    pub(super) unsafe extern "C" fn alloc(
        _: *const abi::Host,
        _: *mut *mut abi::Mbuf,
        _: u16,
    ) -> i32 {
        INVALID
    }

    pub(super) unsafe extern "C" fn told(_: *const abi::Host) {}
}

/// # Safety
/// `host` came from an [`Anchor`](super::anchor::Anchor) of a [`Host`] whose interface is not closed.
unsafe fn host<'a>(host: *const abi::Host) -> Option<&'a Host> {
    // SAFETY: by this function's contract the anchor lives; it is never borrowed mutably.
    unsafe { host.cast::<Host>().as_ref() }
}

/// # Safety
/// `packet` is one of ours, and the caller owns it and keeps others from it meanwhile.
unsafe fn look(packet: *const abi::Mbuf) -> Option<ManuallyDrop<Mbuf>> {
    let raw = NonNull::new(packet.cast_mut().cast::<c_void>())?;
    // SAFETY: by this function's contract.
    Some(unsafe { Mbuf::borrow_foreign(raw) })
}

unsafe extern "C" fn log(to: *const abi::Host, level: i32, text: *const c_char) {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(to) }) else { return };
    let name = host.name.lock().map(|name| name.clone()).unwrap_or_default();
    // SAFETY: the module passes a C string or null.
    unsafe { loader::log(&name, level, text) };
}

unsafe extern "C" fn option(
    of: *const abi::Host,
    key: *const c_char,
    to: *mut c_char,
    len: usize,
) -> isize {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(of) }) else { return -1 };
    // SAFETY: the module passes a C string, and room for as many bytes as it says, or null.
    unsafe { loader::option(&host.options, key, to, len) }
}

unsafe extern "C" fn alloc(of: *const abi::Host, to: *mut *mut abi::Mbuf, count: u16) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let (Some(host), false) = (unsafe { host(of) }, to.is_null()) else { return INVALID };
    let mut burst = Burst::new();
    if usize::from(count) > burst.room() {
        return INVALID;
    }
    if !host.pool.alloc_burst(&mut burst, count.into()) {
        return NO_MEMORY;
    }
    for (at, mbuf) in burst.drain().enumerate() {
        let raw = mbuf.into_foreign().as_ptr().cast();
        // SAFETY: the module has room for `count` pointers.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.write(raw) };
    }
    0
}

unsafe extern "C" fn free(packets: *mut *mut abi::Mbuf, count: u16) {
    let mut burst = Burst::new();
    for at in 0..usize::from(count) {
        // SAFETY: the module passes `count` pointers.
        let place = unsafe { packets.add(at) };
        // SAFETY: as above.
        let raw = unsafe { place.read() };
        let Some(raw) = NonNull::new(raw.cast::<c_void>()) else { continue };
        // SAFETY: the module owns the packet and gives it up.
        let mbuf = unsafe { Mbuf::from_foreign(raw) };
        if burst.is_full() {
            burst.clear();
        }
        // There is room now.
        let _ = burst.push(mbuf);
    }
}

unsafe extern "C" fn data(packet: *mut abi::Mbuf) -> *mut u8 {
    // SAFETY: the module owns the packet.
    let mbuf = unsafe { look(packet) };
    mbuf.map_or(core::ptr::null_mut(), |mut mbuf| mbuf.data_mut().as_mut_ptr())
}

unsafe extern "C" fn len(packet: *const abi::Mbuf) -> u32 {
    // SAFETY: the module owns the packet.
    unsafe { look(packet) }.map_or(0, |mbuf| mbuf.packet_len())
}

unsafe extern "C" fn room(packet: *const abi::Mbuf) -> u32 {
    // SAFETY: the module owns the packet.
    let Some(mbuf) = (unsafe { look(packet) }) else { return 0 };
    if mbuf.segments() == 1 { u32::from(mbuf.data_len()) + u32::from(mbuf.tailroom()) } else { 0 }
}

unsafe extern "C" fn set_len(packet: *mut abi::Mbuf, len: u32) -> i32 {
    // SAFETY: the module owns the packet.
    let Some(mut mbuf) = (unsafe { look(packet) }) else { return INVALID };
    let (1, Ok(len)) = (mbuf.segments(), u16::try_from(len)) else { return INVALID };
    let now = mbuf.data_len();
    let done = match len.checked_sub(now) {
        Some(more) => mbuf.append(more).is_some(),
        None => mbuf.trim(now - len),
    };
    if done { 0 } else { INVALID }
}

unsafe extern "C" fn copy(packet: *const abi::Mbuf, offset: u32, len: u32, to: *mut c_void) -> i32 {
    // SAFETY: the module owns the packet.
    let (Some(mbuf), false) = (unsafe { look(packet) }, to.is_null()) else { return INVALID };
    // SAFETY: the module has room for `len` bytes there, and nobody else uses them meanwhile.
    let to = unsafe { core::slice::from_raw_parts_mut(to.cast::<u8>(), len as usize) };
    if mbuf.copy_out(offset, to) { 0 } else { INVALID }
}

unsafe extern "C" fn pieces(packet: *const abi::Mbuf, to: *mut abi::Piece, max: u16) -> u16 {
    // SAFETY: the module owns the packet.
    let Some(mbuf) = (unsafe { look(packet) }) else { return 0 };
    let count = mbuf.segments();
    if to.is_null() || count > max {
        return 0;
    }
    let mut at = 0;
    mbuf.pieces(|data, len| {
        if at < usize::from(count) {
            // SAFETY: the module has room for `max` pieces, and `at` is below `count` ≤ `max`.
            let place = unsafe { to.add(at) };
            // SAFETY: as above.
            unsafe { place.write(abi::Piece { data: data.cast(), len: len.into() }) };
            at += 1;
        }
    });
    count
}

unsafe extern "C" fn tx_request(packet: *const abi::Mbuf, to: *mut abi::TxRequest) {
    // SAFETY: the module owns the packet.
    let (Some(mbuf), false) = (unsafe { look(packet) }, to.is_null()) else { return };
    let request = mbuf.tx_checksum().map_or_else(abi::TxRequest::default, |wanted| {
        let l4 = match wanted.l4 {
            Some(L4::Tcp) => abi::TX_TCP_CHECKSUM,
            Some(L4::Udp) => abi::TX_UDP_CHECKSUM,
            None => 0,
        };
        abi::TxRequest {
            flags: l4 | if wanted.ipv4_header { abi::TX_IPV4_CHECKSUM } else { 0 },
            l2_len: wanted.l2_len.into(),
            l3_len: wanted.l3_len,
            l4_len: wanted.l4_len.into(),
            segment_len: wanted.segment_len,
        }
    });
    // SAFETY: the module has room for the answer.
    unsafe { to.write(request) };
}

unsafe extern "C" fn set_rx(packet: *mut abi::Mbuf, flags: u32) {
    // SAFETY: the module owns the packet.
    let Some(mut mbuf) = (unsafe { look(packet) }) else { return };
    let state = |good, bad| match (flags & good != 0, flags & bad != 0) {
        (_, true) => ChecksumState::Bad,
        (true, false) => ChecksumState::Good,
        (false, false) => ChecksumState::Unknown,
    };
    let ip = state(abi::RX_IPV4_GOOD, abi::RX_IPV4_BAD);
    mbuf.set_rx_checksums(ip, state(abi::RX_L4_GOOD, abi::RX_L4_BAD));
}

unsafe extern "C" fn link_changed(of: *const abi::Host) {
    // SAFETY: the module passes the pointer that it was opened with.
    if let Some(host) = unsafe { host(of) } {
        host.alarm.ring();
    }
}

unsafe extern "C" fn removed(of: *const abi::Host) {
    // SAFETY: the module passes the pointer that it was opened with.
    if let Some(host) = unsafe { host(of) } {
        host.removed.store(true, Ordering::Release);
        host.alarm.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_that_takes_its_host_for_a_drivers_is_refused() {
        let table = packet_api();
        // What a protocol's host is, nobody here knows.
        let other = [0xa5_u8; 4096];
        let host = other.as_ptr().cast();
        let mut packet = core::ptr::null_mut();
        // SAFETY: a place for one packet; the host is not looked at.
        assert_eq!(unsafe { (table.alloc)(host, &raw mut packet, 1) }, INVALID);
        assert!(packet.is_null());
        // SAFETY: as above.
        unsafe { (table.removed)(host) };
        let mut value = [0; 8];
        // SAFETY: a C string, and room for as many bytes as are said; the host is not looked at.
        let len = unsafe { (table.option)(host, c"key".as_ptr(), value.as_mut_ptr(), 8) };
        assert_eq!(len, -1);
    }
}
