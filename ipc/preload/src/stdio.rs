//! stdio on a socket's descriptor: `printf` and `fgets` of programs that inetd starts, shells' `echo`.
//!
//! glibc's streams reach the kernel by way of a table of functions (`_IO_file_jumps`), not by the public
//! `read`, `write` and `close`. Three of its entries are replaced once, when the library is loaded; they ask the
//! table of sockets and go on to glibc's own. Where the table does not look as expected (another libc),
//! nothing is touched, and streams are the kernel's.
//!
//! ```text
//! _IO_file_jumps   0 0 finish overflow … [14] _IO_file_read  [15] _IO_file_write  [17] _IO_file_close … imbue    21 words
//! ```

use core::ffi::CStr;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{FILE, c_int, c_void, ssize_t};

use crate::number::keep;

/// Places in glibc's `struct _IO_jump_t`, the same since its version 2.1.
const READ: usize = 14;
const WRITE: usize = 15;
const CLOSE: usize = 17;

/// Bit of a stream's first word that `ferror` tells of (`_IO_ERR_SEEN`).
const ERROR_SEEN: c_int = 0x20;

type Close = unsafe extern "C" fn(*mut FILE) -> c_int;
type Transfer = unsafe extern "C" fn(*mut FILE, *mut c_void, ssize_t) -> ssize_t;

/// glibc's own functions, once they are replaced.
static NEXT_READ: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static NEXT_WRITE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static NEXT_CLOSE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Lets byte and wide streams ask the table of sockets. Called once, before the program runs.
pub(crate) fn interpose() {
    let (read, write) = (symbol(c"_IO_file_read"), symbol(c"_IO_file_write"));
    let close = symbol(c"_IO_file_close");
    if read.is_null() || write.is_null() || close.is_null() {
        return;
    }
    NEXT_READ.store(read, Ordering::Relaxed);
    NEXT_WRITE.store(write, Ordering::Relaxed);
    NEXT_CLOSE.store(close, Ordering::Relaxed);
    for table in [symbol(c"_IO_file_jumps"), symbol(c"_IO_wfile_jumps")] {
        if !table.is_null() {
            // SAFETY: glibc's tables of this name have these places.
            unsafe { replace(table.cast(), READ, read, stream_read as Transfer as *mut c_void) };
            // SAFETY: as above.
            unsafe { replace(table.cast(), WRITE, write, stream_write as Transfer as *mut c_void) };
            // SAFETY: as above.
            unsafe { replace(table.cast(), CLOSE, close, stream_close as Close as *mut c_void) };
        }
    }
}

/// Replaces an entry of a table of functions, if it is the expected one.
///
/// # Safety
/// `table` has so many entries, each a word.
unsafe fn replace(table: *mut *mut c_void, index: usize, expected: *mut c_void, by: *mut c_void) {
    // SAFETY: within the table by the caller's promise.
    let entry = unsafe { table.add(index) };
    // SAFETY: as above; the loader has relocated it, and nobody writes to it.
    if unsafe { entry.read() } != expected {
        return;
    }
    // The loader has made the page read-only.
    let Some(page) = writable(entry) else { return };
    // SAFETY: a word of the table, just made writable; the program's threads do not run yet.
    unsafe { entry.write(by) };
    page.restore();
}

/// A page made writable for a moment.
struct Page {
    start: *mut c_void,
    len: usize,
}

fn writable(entry: *mut *mut c_void) -> Option<Page> {
    // SAFETY: no pointers.
    let len = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let start = entry.map_addr(|address| address & !(len.saturating_sub(1))).cast::<c_void>();
    // SAFETY: the page of a table of libc's; to make it writable harms nobody.
    let changed = unsafe { libc::mprotect(start, len, libc::PROT_READ | libc::PROT_WRITE) };
    (changed == 0).then_some(Page { start, len })
}

impl Page {
    fn restore(self) {
        // SAFETY: the page is as the loader has left it again, and nobody but us has written to it.
        let _ = unsafe { libc::mprotect(self.start, self.len, libc::PROT_READ) };
    }
}

fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: a C string and a special handle.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// What a stream reads from: glibc calls it with the stream locked.
unsafe extern "C" fn stream_read(stream: *mut FILE, into: *mut c_void, len: ssize_t) -> ssize_t {
    // SAFETY: glibc passes the stream it works for.
    let fd = unsafe { libc::fileno(stream) };
    if iopkt::is_ours(fd) {
        // SAFETY: glibc passes room for `len` bytes.
        return unsafe { iopkt::abi::iopkt_read(fd, into, usize::try_from(len).unwrap_or(0)) };
    }
    // SAFETY: the arguments are glibc's own.
    unsafe { call(&NEXT_READ, stream, into, len) }
}

/// What a stream writes to: all of it, or what went out before an error.
unsafe extern "C" fn stream_write(stream: *mut FILE, from: *mut c_void, len: ssize_t) -> ssize_t {
    // SAFETY: glibc passes the stream it works for.
    let fd = unsafe { libc::fileno(stream) };
    if !iopkt::is_ours(fd) {
        // SAFETY: the arguments are glibc's own.
        return unsafe { call(&NEXT_WRITE, stream, from, len) };
    }
    let mut done: ssize_t = 0;
    while done < len {
        let rest = usize::try_from(len.saturating_sub(done)).unwrap_or(0);
        let at = from.wrapping_byte_offset(done);
        // SAFETY: glibc passes `len` bytes, of which these are the rest.
        let written = unsafe { iopkt::abi::iopkt_write(fd, at, rest) };
        if written < 0 {
            // SAFETY: a stream's first word is its flags, and glibc has locked it.
            unsafe { *stream.cast::<c_int>() |= ERROR_SEEN };
            break;
        }
        done = done.saturating_add(written);
    }
    done
}

/// What `fclose` and `freopen` close a stream with, once it has written what it had buffered.
unsafe extern "C" fn stream_close(stream: *mut FILE) -> c_int {
    // SAFETY: glibc passes the stream it works for.
    let fd = unsafe { libc::fileno(stream) };
    if iopkt::is_ours(fd) {
        return iopkt::abi::iopkt_close(fd);
    }
    keep(fd);
    let next = NEXT_CLOSE.load(Ordering::Relaxed);
    // SAFETY: stored before the first stream could get here; the function has this type.
    let next = unsafe { core::mem::transmute::<*mut c_void, Close>(next) };
    // SAFETY: the argument is glibc's own.
    unsafe { next(stream) }
}

/// # Safety
/// As for the function of glibc's that `next` holds.
unsafe fn call(
    next: &AtomicPtr<c_void>,
    stream: *mut FILE,
    bytes: *mut c_void,
    len: ssize_t,
) -> ssize_t {
    // SAFETY: stored before the first stream could get here; both functions have this type.
    let next =
        unsafe { core::mem::transmute::<*mut c_void, Transfer>(next.load(Ordering::Relaxed)) };
    // SAFETY: the caller's promise.
    unsafe { next(stream, bytes, len) }
}
