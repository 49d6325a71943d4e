//! Whose memory is this: the process's own, or its parent's?
//!
//! A child of `vfork` runs in its parent's memory but with descriptors of its own. What it closes or
//! replaces before `exec` (Python's subprocess, shells, inetd) must not disappear from the table that
//! its parent goes on using. A child of `fork` has its own copy of both.

use core::cell::RefCell;
use core::sync::atomic::{AtomicI32, Ordering};
use std::sync::Once;

use io_pkt_client::{ForkGuard, leave_waits_of_parent};
use libc::pid_t;

/// The process this memory belongs to; 0 before [`own`].
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Says that this memory belongs to the calling process, and to each of its forked children.
pub(crate) fn own() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        record_owner();
        // SAFETY: the handlers lock, unlock and store a number. Should registering fail (no memory),
        // forked children keep closed sockets in their table: no harm to the parent.
        let _ = unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(born)) };
    });
}

/// Does the calling process run in another's memory?
pub(crate) fn is_guest() -> bool {
    let owner = OWNER.load(Ordering::Relaxed);
    owner != 0 && owner != pid()
}

fn record_owner() {
    OWNER.store(pid(), Ordering::Relaxed);
}

thread_local! {
    /// Held by the thread that forks.
    static GUARD: RefCell<Option<ForkGuard>> = const { RefCell::new(None) };
}

extern "C" fn before_fork() {
    hold(Some(ForkGuard::new()));
}

extern "C" fn after_fork() {
    hold(None);
}

/// A thread that is about to end can hold nothing any more: its fork goes unguarded.
fn hold(guard: Option<ForkGuard>) {
    let _ = GUARD.try_with(|held| held.replace(guard));
}

extern "C" fn born() {
    record_owner();
    leave_waits_of_parent();
    after_fork();
}

fn pid() -> pid_t {
    // SAFETY: no arguments, no failure.
    unsafe { libc::getpid() }
}
