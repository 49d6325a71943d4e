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

use crate::asking::ASKING;
use crate::description::Description;
use crate::errno::os;
use crate::process;

/// Numbers above this cannot be sockets of a stack: 2^20 is the kernel's own default ceiling
/// (`fs.nr_open`) for any process. Pages of the table that are never written take no memory.
pub(crate) const SLOTS: usize = 1 << 20;

static SOCKETS: Table<Description, SLOTS> = Table::new();

/// Is this descriptor a socket of a stack? One load.
#[must_use]
pub(crate) fn is_ours(fd: c_int) -> bool {
    SOCKETS.has(fd)
}

/// The socket behind a descriptor.
pub(crate) fn lookup(fd: c_int) -> Option<Held> {
    SOCKETS.lookup(fd)
}

/// Enters a socket under a number that the caller has just got from the kernel, replacing what was
/// there. `EMFILE` if the number is beyond the table. A guest in its parent's memory enters nothing.
pub(crate) fn insert(fd: c_int, held: Held) -> io::Result<()> {
    if process::is_guest() {
        return Ok(());
    }
    process::own();
    ASKING.set(fd, held.asks_for_errors());
    SOCKETS.insert(fd, held).map(drop).map_err(|_| os(libc::EMFILE))
}

/// Takes a number out of the table; the description goes when the last reference does. A guest in
/// its parent's memory takes nothing.
pub(crate) fn remove(fd: c_int) -> Option<Held> {
    if !SOCKETS.has(fd) || process::is_guest() {
        return None;
    }
    ASKING.set(fd, false);
    SOCKETS.remove(fd)
}

/// The socket asks for errors from here on: all its numbers are looked at.
pub(crate) fn asks_for_errors(held: &Held) {
    held.ask_for_errors();
    let same = |fd: &c_int| lookup(*fd).is_some_and(|other| other.is(held));
    numbers(0, c_int::MAX).filter(same).for_each(|fd| ASKING.set(fd, true));
}

/// The numbers in `first..=last` that are sockets of a stack.
pub(crate) fn numbers(first: c_int, last: c_int) -> impl Iterator<Item = c_int> {
    (first.max(0)..SOCKETS.end().min(last.saturating_add(1))).filter(|fd| is_ours(*fd))
}

/// A description for its first entry in the table.
pub(crate) fn hold(description: Description) -> Held {
    SOCKETS.hold(description)
}

/// Slots for the numbers `0..N`. Tables are static: their cells are never freed.
pub(crate) struct Table<T: 'static, const N: usize> {
    slots: [AtomicPtr<Cell<T>>; N],
    /// One above the highest number that has ever been in use: where scans end.
    end: AtomicUsize,
    unused: Unused<T>,
}

/// Cells that are not in use. Only ever tried, never waited for: a child forked while another thread
/// held the lock must not hang, and a cell that is lost that way is a few hundred bytes.
struct Unused<T: 'static>(Mutex<Vec<&'static Cell<T>>>);

/// What slots point to.
struct Cell<T: 'static> {
    references: AtomicU32,
    /// Written only while `references` is 0; a value while it is not.
    value: UnsafeCell<MaybeUninit<T>>,
    home: &'static Unused<T>,
}

// SAFETY: the value is Send + Sync. It is written only by the one thread that took the cell out of
// `Unused`, and dropped only by the one that lowered the count to 0.
unsafe impl<T: Send + Sync> Sync for Cell<T> {}

/// A reference to what is behind a number: it lives at least as long.
pub(crate) struct Held<T: 'static = Description>(&'static Cell<T>);

impl<T: Send + Sync, const N: usize> Table<T, N> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; N],
            end: AtomicUsize::new(0),
            unused: Unused(Mutex::new(Vec::new())),
        }
    }

    pub(crate) fn has(&self, fd: c_int) -> bool {
        // Relaxed: nothing is read through the pointer.
        self.slot(fd).is_some_and(|slot| !slot.load(Ordering::Relaxed).is_null())
    }

    pub(crate) fn lookup(&self, fd: c_int) -> Option<Held<T>> {
        let slot = self.slot(fd)?;
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

    /// Enters a reference; gives back the one that was there, or this one if there is no such slot.
    pub(crate) fn insert(&self, fd: c_int, held: Held<T>) -> Result<Option<Held<T>>, Held<T>> {
        let Some(slot) = self.slot(fd) else { return Err(held) };
        let end = usize::try_from(fd).map_or(N, |fd| fd.saturating_add(1));
        let _ = self.end.fetch_max(end, Ordering::Relaxed);
        Ok(cell_at(slot.swap(held.into_raw(), Ordering::AcqRel)).map(Held))
    }

    pub(crate) fn remove(&self, fd: c_int) -> Option<Held<T>> {
        cell_at(self.slot(fd)?.swap(ptr::null_mut(), Ordering::AcqRel)).map(Held)
    }

    pub(crate) fn end(&self) -> c_int {
        c_int::try_from(self.end.load(Ordering::Relaxed)).unwrap_or(c_int::MAX)
    }

    /// Puts a value in a cell of its own.
    pub(crate) fn hold(&'static self, value: T) -> Held<T> {
        let cell = self.unused.take();
        // SAFETY: the cell is unused (its count is 0) and this thread has just become its only
        // owner, so nobody reads or writes the place; it is valid since cells are never freed.
        unsafe { cell.value.get().write(MaybeUninit::new(value)) };
        cell.references.store(1, Ordering::Release);
        Held(cell)
    }

    fn slot(&self, fd: c_int) -> Option<&AtomicPtr<Cell<T>>> {
        self.slots.get(usize::try_from(fd).ok()?)
    }
}

impl<T> Unused<T> {
    fn take(&'static self) -> &'static Cell<T> {
        self.0.try_lock().ok().and_then(|mut unused| unused.pop()).unwrap_or_else(|| {
            Box::leak(Box::new(Cell {
                references: AtomicU32::new(0),
                value: UnsafeCell::new(MaybeUninit::uninit()),
                home: self,
            }))
        })
    }

    fn give_back(&self, cell: &'static Cell<T>) {
        if let Ok(mut unused) = self.0.try_lock() {
            unused.push(cell);
        }
    }
}

/// The cell a slot's content names.
fn cell_at<T>(raw: *mut Cell<T>) -> Option<&'static Cell<T>> {
    // SAFETY: slots hold null or the address of a leaked box, which is valid for ever, and of which
    // only shared references are made.
    unsafe { raw.as_ref() }
}

/// Raises the count of a cell that may be in use, unused, or another number's by now.
fn try_hold<T>(cell: &'static Cell<T>) -> Option<Held<T>> {
    cell.references
        .fetch_update(Ordering::Acquire, Ordering::Relaxed, |count| {
            if count == 0 { None } else { count.checked_add(1) }
        })
        .ok()
        .map(|_| Held(cell))
}

impl<T> Held<T> {
    /// Do both refer to the same value?
    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }

    /// Is this the only reference: no number and no call under way has another?
    pub(crate) fn is_last(&self) -> bool {
        self.0.references.load(Ordering::Acquire) == 1
    }

    /// The cell's address, which now stands for the reference that `self` was.
    fn into_raw(self) -> *mut Cell<T> {
        ptr::from_ref(ManuallyDrop::new(self).0).cast_mut()
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this reference keeps the count above 0, so the place holds a value that nobody
        // writes until the count is 0 again, which is not before `self` is gone.
        let value = unsafe { &*self.0.value.get() };
        // SAFETY: the value was written before the count was first raised from 0.
        unsafe { value.assume_init_ref() }
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        // Relaxed: a reference exists already, so the value is visible to this thread.
        let _ = self.0.references.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if self.0.references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: the count has just gone from 1 to 0: no other reference exists, and none can
        // appear, because look-ups do not raise a count that is 0. The fence orders all earlier uses
        // before this one.
        let value = unsafe { &mut *self.0.value.get() };
        // SAFETY: a value while the count was above 0, and taken out only here, once.
        unsafe { value.assume_init_drop() };
        self.0.home.give_back(self.0);
    }
}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&ptr::from_ref(self.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// A value whose life can be watched.
    struct Watched {
        _life: Arc<()>,
        number: usize,
    }

    fn watched() -> (Watched, Arc<()>) {
        let life = Arc::new(());
        (Watched { _life: Arc::clone(&life), number: 0 }, life)
    }

    fn is_alive(life: &Arc<()>) -> bool {
        Arc::strong_count(life) > 1
    }

    #[test]
    fn a_number_is_ours_from_insert_to_remove() {
        static TABLE: Table<Watched, 8> = Table::new();
        let (value, life) = watched();
        assert!(!TABLE.has(3));
        assert!(TABLE.insert(3, TABLE.hold(value)).unwrap().is_none());
        assert!(TABLE.has(3) && !TABLE.has(4) && !TABLE.has(-1) && !TABLE.has(8));
        assert_eq!(TABLE.end(), 4);
        drop(TABLE.remove(3));
        assert!(!TABLE.has(3) && TABLE.lookup(3).is_none());
        assert!(!is_alive(&life));
    }

    #[test]
    fn a_call_under_way_keeps_what_is_closed_meanwhile() {
        static TABLE: Table<Watched, 8> = Table::new();
        let (value, life) = watched();
        drop(TABLE.insert(3, TABLE.hold(value)));
        let call = TABLE.lookup(3).unwrap();
        drop(TABLE.remove(3));
        assert!(is_alive(&life));
        drop(call);
        assert!(!is_alive(&life));
    }

    #[test]
    fn copies_share_one_value_that_goes_with_the_last() {
        static TABLE: Table<Watched, 8> = Table::new();
        let (value, life) = watched();
        drop(TABLE.insert(3, TABLE.hold(value)));
        drop(TABLE.insert(4, TABLE.lookup(3).unwrap()));
        assert!(TABLE.lookup(3).unwrap().is(&TABLE.lookup(4).unwrap()));
        drop(TABLE.remove(3));
        assert!(is_alive(&life));
        drop(TABLE.remove(4));
        assert!(!is_alive(&life));
    }

    #[test]
    fn a_number_used_anew_replaces_what_was_there() {
        static TABLE: Table<Watched, 8> = Table::new();
        let ((first, first_life), (second, second_life)) = (watched(), watched());
        drop(TABLE.insert(3, TABLE.hold(first)));
        drop(TABLE.insert(3, TABLE.hold(second)));
        assert!(!is_alive(&first_life) && is_alive(&second_life));
    }

    #[test]
    fn a_number_beyond_the_table_is_refused() {
        static TABLE: Table<Watched, 8> = Table::new();
        let (value, life) = watched();
        assert!(TABLE.insert(8, TABLE.hold(value)).is_err());
        assert!(!is_alive(&life));
    }

    /// Look-ups of numbers that are closed and used anew all the time find the value of the moment
    /// or none: never one of another number, never one that is gone.
    #[test]
    fn threads_may_look_up_close_and_open_the_same_numbers() {
        static TABLE: Table<Watched, 4> = Table::new();
        let life = Arc::new(());
        let step = &|round: usize| {
            let number = round % 4;
            let fd = c_int::try_from(number).unwrap();
            let fresh = || TABLE.hold(Watched { _life: Arc::clone(&life), number });
            match round % 3 {
                0 => drop(TABLE.insert(fd, fresh())),
                1 => drop(TABLE.remove(fd)),
                _ => assert!(TABLE.lookup(fd).is_none_or(|held| held.number == number)),
            }
        };
        thread::scope(|scope| {
            for thread in 0..4 {
                let _ = scope.spawn(move || (thread..thread + 50_000).for_each(step));
            }
        });
        (0..4).for_each(|fd| drop(TABLE.remove(fd)));
        assert_eq!(Arc::strong_count(&life), 1);
    }
}
