//! Lists of interfaces: a program sees those of the stack that its sockets are on. What it gets it gives
//! back to libc's own `freeifaddrs` and `if_freenameindex`, which free what these blocks are.

use libc::{c_char, c_int, c_uint, ifaddrs};

use crate::next::call_next;
use crate::socket;

/// `getifaddrs(3)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn getifaddrs(list: *mut *mut ifaddrs) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { iopkt::abi::iopkt_getifaddrs(list) };
    if result < 0 && socket::falls_back_after(iopkt::errno()) {
        return call_next!(getifaddrs(list => *mut *mut ifaddrs) -> c_int);
    }
    result
}

/// `if_nameindex(3)`.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn if_nameindex() -> *mut libc::if_nameindex {
    let list = iopkt::abi::iopkt_if_nameindex();
    if list.is_null() && socket::falls_back_after(iopkt::errno()) {
        return call_next!(if_nameindex() -> *mut libc::if_nameindex);
    }
    list
}

/// `if_nametoindex(3)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: the caller's promise.
    let index = unsafe { iopkt::abi::iopkt_if_nametoindex(name) };
    if index == 0 && socket::falls_back_after(iopkt::errno()) {
        return call_next!(if_nametoindex(name => *const c_char) -> c_uint);
    }
    index
}

/// `if_indextoname(3)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
    // SAFETY: the caller's promise.
    let found = unsafe { iopkt::abi::iopkt_if_indextoname(index, name) };
    if found.is_null() && socket::falls_back_after(iopkt::errno()) {
        return call_next!(if_indextoname(index => c_uint, name => *mut c_char) -> *mut c_char);
    }
    found
}
