//! A value that a module has a pointer to.

use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

/// The owner of a value that does not move and that others have pointers to. A `Box` would be wrong:
/// moving one says that nobody else has a pointer to what is in it.
pub(crate) struct Anchor<T>(NonNull<T>);

// SAFETY: owns its value like a box, and gives out nothing but shared references.
unsafe impl<T: Send + Sync> Send for Anchor<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Anchor<T> {}

impl<T> Anchor<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// What others get: good until the anchor is dropped or [emptied](Self::into_inner).
    pub(crate) fn as_ptr(&self) -> *const T {
        self.0.as_ptr()
    }

    pub(crate) fn into_inner(self) -> T {
        let place = core::mem::ManuallyDrop::new(self).0;
        // SAFETY: made by `new` from a box, and not dropped.
        *unsafe { Box::from_raw(place.as_ptr()) }
    }
}

impl<T> Deref for Anchor<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: self owns the value, and nobody has it mutably.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Anchor<T> {
    fn drop(&mut self) {
        // SAFETY: made by `new` from a box, dropped once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl<T: fmt::Debug> fmt::Debug for Anchor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
