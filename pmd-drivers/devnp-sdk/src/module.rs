//! What modules of every kind are made with: text for the table, panics that stay in the module, and
//! the daemon's functions that all kinds have. For SDKs; a driver needs nothing of it.

use core::cell::Cell;
use core::ffi::c_char;
use core::fmt::{self, Write as _};
use core::panic::AssertUnwindSafe;
use core::ptr::{NonNull, null_mut};
use std::ffi::CString;
use std::panic::catch_unwind;
use std::sync::Once;

use devnp_abi::Mbuf;

use crate::BURST_MAX;
use crate::host::Level;
use crate::packet::Packet;

/// Text with its terminator, made at compile time.
#[must_use]
pub const fn terminated<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N, "the text is too long");
    let mut out = [0; N];
    let mut at = 0;
    while at < bytes.len() {
        out[at] = bytes[at];
        at += 1;
    }
    out
}

/// Where a panic was, as text. No `String`: a value with a destructor on a daemon's thread would keep
/// the module loaded.
#[derive(Clone, Copy)]
struct Place {
    text: [u8; 160],
    len: usize,
}

impl Place {
    const UNKNOWN: Self = Self { text: [0; 160], len: 0 };
}

impl fmt::Write for Place {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..).ok_or(fmt::Error)?;
        let room = room.get_mut(..text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

thread_local! {
    /// Of this thread's last panic.
    static PLACE: Cell<Place> = const { Cell::new(Place::UNKNOWN) };
}

/// A panic's words go to the daemon's log, not to its standard error.
pub fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let mut place = Place::UNKNOWN;
            // A place that is too long is cut.
            let _ = info.location().map(|at| write!(place, " at {at}"));
            PLACE.set(place);
        }));
    });
}

/// Calls what may panic; if it does, `log` gets the words, and the result is `None`.
pub fn caught<T>(log: impl FnOnce(&str), call: impl FnOnce() -> T) -> Option<T> {
    let thrown = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => return Some(value),
        Err(thrown) => thrown,
    };
    let text = thrown.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| thrown.downcast_ref::<&str>().copied()).unwrap_or("no text");
    let place = PLACE.get();
    let place = String::from_utf8_lossy(place.text.get(..place.len).unwrap_or_default());
    log(&format!("panic: {text}{place}"));
    None
}

/// Writes a line to the daemon's log.
///
/// # Safety
/// `call` is of the daemon's table for modules of this kind, and `host` what the module was opened with.
pub unsafe fn log<H>(
    call: unsafe extern "C" fn(*const H, i32, *const c_char),
    host: *const H,
    level: Level,
    text: &str,
) {
    // A NUL byte in the text would end it.
    let Ok(text) = CString::new(text.replace('\0', " ")) else { return };
    // SAFETY: a C string, and by this function's contract.
    unsafe { call(host, level.code(), text.as_ptr()) };
}

/// The value of an option; empty for one without value.
///
/// # Safety
/// As for [`log`].
pub unsafe fn option<H>(
    call: unsafe extern "C" fn(*const H, *const c_char, *mut c_char, usize) -> isize,
    host: *const H,
    key: &str,
) -> Option<String> {
    let key = CString::new(key).ok()?;
    let mut text = [0_u8; 1024];
    // SAFETY: a C string, room for as many bytes as are said, and by this function's contract.
    let len = unsafe { call(host, key.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    let value = text.get(..usize::try_from(len).ok()?)?;
    String::from_utf8(value.to_vec()).ok()
}

/// Appends up to `count` empty packets, at most [`BURST_MAX`]; none if the daemon is short of them.
///
/// # Safety
/// As for [`log`].
pub unsafe fn alloc<H>(
    call: unsafe extern "C" fn(*const H, *mut *mut Mbuf, u16) -> i32,
    host: *const H,
    packets: &mut Vec<Packet>,
    count: usize,
) {
    let mut raw = [null_mut(); BURST_MAX];
    let count = count.min(raw.len());
    let Ok(wanted) = u16::try_from(count) else { return };
    // SAFETY: the array has that many places, and by this function's contract.
    if unsafe { call(host, raw.as_mut_ptr(), wanted) } == 0 {
        let fresh = raw.into_iter().take(count).filter_map(NonNull::new);
        // SAFETY: fresh packets have one owner.
        packets.extend(fresh.map(|raw| unsafe { Packet::from_raw(raw) }));
    }
}
