//! What a driver's handle means, and the up-calls.
//!
//! A handle is a place in a fixed table and a generation, so any number that a driver comes with can be
//! looked up: one of an interface that is closed fits no place. The place's lock makes callers from
//! several threads take turns and keeps the interface open during a call; the worker never takes it.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devn_abi as devn;
use devnp_abi::{Api, Host};

use crate::limits::{FRAME_MIN, INTERFACES_MAX};
use crate::ring::Producer;
use crate::threads::Threads;

/// Why frames were dropped on their way.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    /// The queue was full: the worker is slower than the device.
    pub(crate) queue_full: AtomicU64,
    /// Longer than the longest frame.
    pub(crate) oversized: AtomicU64,
    /// Shorter than an Ethernet header.
    pub(crate) short: AtomicU64,
    /// Packet buffers are too small for a frame.
    pub(crate) no_buffer: AtomicU64,
    /// The driver did not take a frame that was to be sent.
    pub(crate) not_sent: AtomicU64,
}

/// An open interface, seen from its driver's threads.
pub(crate) struct Open {
    pub(crate) producer: Producer,
    pub(crate) drops: Arc<Drops>,
    pub(crate) api: &'static Api,
    pub(crate) host: *const Host,
    /// Frames are taken.
    pub(crate) started: bool,
    pub(crate) threads: Threads,
}

// SAFETY: the daemon's side of an interface may be used from any thread, says its ABI.
unsafe impl Send for Open {}

struct Slot {
    /// Grows with each interface that was here.
    generation: u64,
    open: Option<Open>,
    /// A late call was logged.
    late: bool,
}

static SLOTS: [Mutex<Slot>; INTERFACES_MAX] =
    [const { Mutex::new(Slot { generation: 1, open: None, late: false }) }; INTERFACES_MAX];

fn lock(slot: &'static Mutex<Slot>) -> MutexGuard<'static, Slot> {
    // Nothing panics while it has the lock; if it did, the slot would still be whole.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle for an interface. `None`: there are too many.
pub(crate) fn enter(open: Open) -> Option<u64> {
    for (index, slot) in (0_u64..).zip(&SLOTS) {
        let mut slot = lock(slot);
        if slot.open.is_none() {
            slot.open = Some(open);
            slot.late = false;
            return Some(slot.generation * INTERFACES_MAX as u64 + index);
        }
    }
    None
}

/// Ends a handle. From here on calls with it do nothing.
pub(crate) fn leave(handle: u64) -> Option<Open> {
    let mut slot = look_up(handle)?;
    slot.generation += 1;
    slot.open.take()
}

/// Begins or ends to take frames.
pub(crate) fn set_started(handle: u64, started: bool) {
    if let Some(open) = look_up(handle).as_mut().and_then(|slot| slot.open.as_mut()) {
        open.started = started;
    }
}

/// The threads that are not among `before` are the driver's.
pub(crate) fn add_threads(handle: u64, before: &[i32]) {
    if let Some(open) = look_up(handle).as_mut().and_then(|slot| slot.open.as_mut()) {
        open.threads.add_new(before);
    }
}

/// The slot of an open interface. `None`: the handle is none, or its interface is closed.
fn look_up(handle: u64) -> Option<MutexGuard<'static, Slot>> {
    let places = INTERFACES_MAX as u64;
    let slot = SLOTS.get(usize::try_from(handle % places).ok()?)?;
    let mut slot = lock(slot);
    if slot.generation == handle / places && slot.open.is_some() {
        return Some(slot);
    }
    if !slot.late {
        slot.late = true;
        tracing::error!(
            "a per-packet driver calls with handle {handle}, which is no open interface: ignored"
        );
    }
    None
}

/// What drivers get.
pub(crate) static HOST: devn::Host = devn::Host {
    abi: devn::ABI_VERSION,
    #[expect(clippy::cast_possible_truncation, reason = "40 bytes")]
    size: size_of::<devn::Host>() as u32,
    rx,
    log,
    link_changed,
    removed,
};

unsafe extern "C" fn rx(handle: u64, frame: *const c_void, len: u32) -> i32 {
    let Some(mut slot) = look_up(handle) else { return -libc::ENODEV };
    let Some(open) = slot.open.as_mut() else { return -libc::ENODEV };
    open.threads.note();
    if !open.started {
        return -libc::ENETDOWN;
    }
    let count = |why: &AtomicU64, code: i32| {
        let _ = why.fetch_add(1, Ordering::Relaxed);
        -code
    };
    let drops = &open.drops;
    if len > devn::FRAME_MAX {
        return count(&drops.oversized, libc::EMSGSIZE);
    }
    let len = len as usize;
    if frame.is_null() || len < FRAME_MIN {
        return count(&drops.short, libc::EINVAL);
    }
    // SAFETY: the driver says that there are `len` bytes, which stay as they are during the call.
    let frame = unsafe { core::slice::from_raw_parts(frame.cast::<u8>(), len) };
    match open.producer.push(frame) {
        Ok(()) => 0,
        Err(_) => count(&drops.queue_full, libc::ENOBUFS),
    }
}

unsafe extern "C" fn log(handle: u64, level: i32, text: *const c_char) {
    let slot = look_up(handle);
    if let (Some(open), false) = (slot.as_ref().and_then(|s| s.open.as_ref()), text.is_null()) {
        // SAFETY: the daemon's side lives as long as the slot is open; the driver passes a C string.
        unsafe { (open.api.log)(open.host, level, text) };
    }
}

unsafe extern "C" fn link_changed(handle: u64) {
    if let Some(open) = look_up(handle).as_ref().and_then(|slot| slot.open.as_ref()) {
        // SAFETY: the daemon's side lives as long as the slot is open.
        unsafe { (open.api.link_changed)(open.host) };
    }
}

unsafe extern "C" fn removed(handle: u64) {
    if let Some(open) = look_up(handle).as_ref().and_then(|slot| slot.open.as_ref()) {
        // SAFETY: the daemon's side lives as long as the slot is open.
        unsafe { (open.api.removed)(open.host) };
    }
}
