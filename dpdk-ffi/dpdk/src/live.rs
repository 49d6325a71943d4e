//! Whether EAL runs, and how many handles into its memory exist.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// EAL is initialised and was not cleaned up.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// [`Live`] guards in existence.
static HANDLES: AtomicUsize = AtomicUsize::new(0);
/// Serialises the calls of DPDK's control plane that touch global lists.
static CONTROL: Mutex<()> = Mutex::new(());

/// Held by every handle that points into EAL's memory: cleanup waits for the last of them.
#[derive(Debug)]
pub(crate) struct Live(());

impl Live {
    /// `None` if EAL is not running. Counts first and looks then, so that a cleanup that has
    /// cleared the flag either sees this handle or is seen by it.
    pub(crate) fn new() -> Option<Self> {
        let _ = HANDLES.fetch_add(1, Ordering::SeqCst);
        let live = Self(());
        RUNNING.load(Ordering::SeqCst).then_some(live)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = HANDLES.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn handles() -> usize {
    HANDLES.load(Ordering::SeqCst)
}

pub(crate) fn set_running(running: bool) {
    RUNNING.store(running, Ordering::SeqCst);
}

/// The control plane's lock. What it guards lives in C, so a panic leaves nothing half-written here.
pub(crate) fn control() -> MutexGuard<'static, ()> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}
