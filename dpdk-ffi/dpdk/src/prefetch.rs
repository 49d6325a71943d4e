//! Asking for memory before it is needed.

const LINE: usize = 64;

/// Starts fetching all cache lines of `place`, and returns at once. A hint: nothing is read.
#[inline]
pub fn prefetch<T>(place: &T) {
    let start = core::ptr::from_ref(place).cast::<i8>();
    for line in 0..size_of::<T>().div_ceil(LINE) {
        fetch(start.wrapping_add(line * LINE));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch(at: *const i8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch of any address is allowed and has no effect that a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at) };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn fetch(_: *const i8) {}
