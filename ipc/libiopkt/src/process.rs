//! Whose memory is this: the process's own, or its parent's?
//!
//! A child of `vfork` runs in its parent's memory but with descriptors of its own. What it closes or
//! replaces before `exec` (Python's subprocess, shells, inetd) must not disappear from the table that
//! its parent goes on using. A child of `fork` has its own copy of both.

use core::sync::atomic::{AtomicI32, Ordering};
use std::sync::Once;

use libc::pid_t;

/// The process this memory belongs to; 0 before [`own`].
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Says that this memory belongs to the calling process, and to each of its forked children.
pub(crate) fn own() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        record_owner();
        // SAFETY: the handler only makes one async-signal-safe call and stores a number. Should
        // registering fail (no memory), forked children keep closed sockets in their table: no
        // harm to the parent.
        let _ = unsafe { libc::pthread_atfork(None, None, Some(record_owner)) };
    });
}

/// Does the calling process run in another's memory?
pub(crate) fn is_guest() -> bool {
    let owner = OWNER.load(Ordering::Relaxed);
    owner != 0 && owner != pid()
}

extern "C" fn record_owner() {
    OWNER.store(pid(), Ordering::Relaxed);
}

fn pid() -> pid_t {
    // SAFETY: no arguments, no failure.
    unsafe { libc::getpid() }
}
