//! The table of descriptors: which numbers are sockets of a stack.
//!
//! Every `read`, `write` and `close` of a preloaded program asks it, from any thread, from signal
//! handlers and in forked children of threaded programs. So a look-up takes no lock, and "not ours"
//! costs one load.
//!
//! ```text
//!  SLOTS   [0] null   [1] null   [2] null   [3] ──┐   [4] ──┐ (a dup of 3)   …
//!                                                 └─► Cell ◄┘
//!                                                      references 2 + one per call under way
//!                                                      description (socket, options, …)
//! ```
//!
//! A slot owns one reference. A look-up raises the count unless it is 0, then makes sure that the slot
//! still names the cell; if not, it lets go and looks again. That works because **cells are never
//! returned to the allocator**: a cell read from a slot a moment too late is another socket's cell or
//! an unused one, but always a cell.

use core::cell::UnsafeCell;
use core::fmt;
use core::hint;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::Deref;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering, fence};
use std::io;
use std::sync::Mutex;

use libc::c_int;

use crate::description::Description;
use crate::errno::os;
use crate::process;

/// Numbers above this cannot be sockets of a stack: 2^20 is the kernel's own default ceiling
/// (`fs.nr_open`) for any process. Pages of the table that are never written take no memory.
const SLOTS: usize = 1 << 20;

static TABLE: [AtomicPtr<Cell>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];

/// One above the highest number that has ever been in use: where scans end.
static END: AtomicUsize = AtomicUsize::new(0);

/// Cells that are not in use. Only ever tried, never waited for: a child forked while another thread
/// held the lock must not hang, and a cell that is lost that way is a few hundred bytes.
static UNUSED: Mutex<Vec<&'static Cell>> = Mutex::new(Vec::new());

/// What slots point to.
struct Cell {
    references: AtomicU32,
    /// Written only while `references` is 0; a value while it is not.
    description: UnsafeCell<MaybeUninit<Description>>,
}

// SAFETY: the description is Send + Sync (asserted below). It is written only by the one thread that
// took the cell out of `UNUSED`, and dropped only by the one that lowered the count to 0.
unsafe impl Sync for Cell {}

const fn assert_shareable<T: Send + Sync>() {}
const _: () = assert_shareable::<Description>();

/// A reference to an open socket: the description lives at least as long.
pub(crate) struct Held(&'static Cell);

impl Held {
    /// Puts a description in a cell of its own.
    pub(crate) fn new(description: Description) -> Self {
        let cell = unused_cell();
        // SAFETY: the cell is unused (its count is 0) and this thread has just become its only
        // owner, so nobody reads or writes the place; it is valid since cells are never freed.
        unsafe { cell.description.get().write(MaybeUninit::new(description)) };
        cell.references.store(1, Ordering::Release);
        Self(cell)
    }

    /// Do both refer to the same socket?
    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }

    /// The cell's address, which now stands for the reference that `self` was.
    fn into_raw(self) -> *mut Cell {
        ptr::from_ref(ManuallyDrop::new(self).0).cast_mut()
    }

    /// The reference that a slot owned.
    fn from_slot(raw: *mut Cell) -> Option<Self> {
        cell_at(raw).map(Self)
    }
}

impl Deref for Held {
    type Target = Description;

    fn deref(&self) -> &Description {
        let place = self.0.description.get();
        // SAFETY: this reference keeps the count above 0, so the place holds a value that nobody
        // writes until the count is 0 again, which is not before `self` is gone.
        let value = unsafe { &*place };
        // SAFETY: the value was written before the count was first raised from 0.
        unsafe { value.assume_init_ref() }
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        // Relaxed: a reference exists already, so the description is visible to this thread.
        let _ = self.0.references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        let place = self.0.description.get();
        // SAFETY: the count has just gone from 1 to 0: no other reference exists, and none can
        // appear, because look-ups do not raise a count that is 0. The fence orders all earlier uses
        // before this one.
        let value = unsafe { &mut *place };
        // SAFETY: a value while the count was above 0, and taken out only here, once.
        unsafe { value.assume_init_drop() };
        if let Ok(mut unused) = UNUSED.try_lock() {
            unused.push(self.0);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&ptr::from_ref(self.0)).finish()
    }
}

/// Is this descriptor a socket of a stack? One load.
#[must_use]
pub fn is_ours(fd: c_int) -> bool {
    // Relaxed: nothing is read through the pointer.
    slot(fd).is_some_and(|slot| !slot.load(Ordering::Relaxed).is_null())
}

/// The socket behind a descriptor.
pub(crate) fn lookup(fd: c_int) -> Option<Held> {
    let slot = slot(fd)?;
    loop {
        let raw = slot.load(Ordering::Acquire);
        let cell = cell_at(raw)?;
        // A count of 0 means that the slot has been changed since: it owned a reference.
        if let Some(held) = try_hold(cell)
            && slot.load(Ordering::Acquire) == raw
        {
            return Some(held);
        }
        hint::spin_loop();
    }
}

/// Enters a socket under a number that the caller has just got from the kernel, replacing what was
/// there. A guest in its parent's memory enters nothing. `EMFILE` if the number is beyond the table.
pub(crate) fn insert(fd: c_int, held: Held) -> io::Result<()> {
    let slot = slot(fd).ok_or_else(|| os(libc::EMFILE))?;
    if process::is_guest() {
        return Ok(());
    }
    process::own();
    let _ = END.fetch_max(usize::try_from(fd).map_or(SLOTS, |fd| fd + 1), Ordering::Relaxed);
    drop(Held::from_slot(slot.swap(held.into_raw(), Ordering::AcqRel)));
    Ok(())
}

/// Takes a number out of the table; the description goes when the last reference does. A guest in
/// its parent's memory takes nothing.
pub(crate) fn remove(fd: c_int) -> Option<Held> {
    let slot = slot(fd)?;
    if slot.load(Ordering::Relaxed).is_null() || process::is_guest() {
        return None;
    }
    Held::from_slot(slot.swap(ptr::null_mut(), Ordering::AcqRel))
}

/// The numbers in `first..=last` that are sockets of a stack.
pub(crate) fn numbers(first: c_int, last: c_int) -> impl Iterator<Item = c_int> {
    let end = c_int::try_from(END.load(Ordering::Relaxed)).unwrap_or(c_int::MAX);
    (first.max(0)..end.min(last.saturating_add(1))).filter(|fd| is_ours(*fd))
}

fn slot(fd: c_int) -> Option<&'static AtomicPtr<Cell>> {
    TABLE.get(usize::try_from(fd).ok()?)
}

/// The cell a slot's content names.
fn cell_at(raw: *mut Cell) -> Option<&'static Cell> {
    // SAFETY: slots hold null or the address of a leaked box, which is valid for ever, and of which
    // only shared references are made.
    unsafe { raw.as_ref() }
}

/// Raises the count of a cell that may be in use, unused, or another socket's by now.
fn try_hold(cell: &'static Cell) -> Option<Held> {
    cell.references
        .fetch_update(Ordering::Acquire, Ordering::Relaxed, |count| {
            if count == 0 { None } else { count.checked_add(1) }
        })
        .ok()
        .map(|_| Held(cell))
}

fn unused_cell() -> &'static Cell {
    UNUSED.try_lock().ok().and_then(|mut unused| unused.pop()).unwrap_or_else(|| {
        Box::leak(Box::new(Cell {
            references: AtomicU32::new(0),
            description: UnsafeCell::new(MaybeUninit::uninit()),
        }))
    })
}
