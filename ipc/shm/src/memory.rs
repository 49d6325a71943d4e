//! Memory files: making, sealing and mapping them.

use core::ptr::NonNull;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A memory file of fixed length that can be sealed.
pub(crate) fn create(name: &str, len: usize) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // NOEXEC_SEAL is newer than the oldest kernel we run on; older ones refuse the flag.
    let file = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(name, flags))?;
    rustix::fs::ftruncate(&file, u64::try_from(len).map_err(|_| Errno::INVAL)?)?;
    Ok(file)
}

/// Fixes the length for ever; with `read_only`, nobody can write to or map it writable from now on,
/// while mappings that exist stay writable.
pub(crate) fn seal(file: &OwnedFd, read_only: bool) -> Result<(), Errno> {
    let mut seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    if read_only {
        seals |= SealFlags::FUTURE_WRITE;
    }
    rustix::fs::fcntl_add_seals(file, seals)
}

/// How long a file is.
pub(crate) fn len_of(file: impl AsFd) -> Result<u64, Errno> {
    rustix::fs::fstat(file)?.st_size.try_into().map_err(|_| Errno::INVAL)
}

/// Memory of this process alone, which a forked child finds zeroed.
pub(crate) fn wiped_on_fork(len: usize) -> Result<NonNull<u8>, Errno> {
    // SAFETY: no address is asked for, so that no existing mapping is touched.
    let page = unsafe {
        rustix::mm::mmap_anonymous(core::ptr::null_mut(), len, prot(true), MapFlags::PRIVATE)
    }?;
    // SAFETY: just mapped, and used for nothing yet.
    unsafe { rustix::mm::madvise(page, len, Advice::LinuxWipeOnFork) }?;
    NonNull::new(page.cast::<u8>()).ok_or(Errno::NOMEM)
}

/// Maps `len` bytes of a file wherever there is room.
pub(crate) fn map(file: impl AsFd, len: usize, writable: bool) -> Result<NonNull<u8>, Errno> {
    // SAFETY: no address is asked for, so that no existing mapping is touched.
    let base = unsafe {
        rustix::mm::mmap(core::ptr::null_mut(), len, prot(writable), MapFlags::SHARED, &file, 0)
    }?;
    let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
    #[cfg(feature = "loom")]
    crate::region::mapped(file, base);
    Ok(base)
}

/// Maps a file over reserved addresses, readable and writable.
///
/// # Safety
/// `at..at + len` must belong to the caller, and nothing in it be in use.
pub(crate) unsafe fn map_at(file: impl AsFd, at: NonNull<u8>, len: usize) -> Result<(), Errno> {
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: the addresses are the caller's by contract, so replacing what is there harms nobody.
    let _ = unsafe { rustix::mm::mmap(at.as_ptr().cast(), len, prot(true), flags, &file, 0) }?;
    #[cfg(feature = "loom")]
    crate::region::mapped(file, at);
    Ok(())
}

/// Reserves addresses without memory behind them.
pub(crate) fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: no address is asked for, so that no existing mapping is touched.
    let base = unsafe {
        rustix::mm::mmap_anonymous(core::ptr::null_mut(), len, ProtFlags::empty(), flags)
    }?;
    NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)
}

/// Puts the bare reservation back.
///
/// # Safety
/// `at..at + len` must belong to the caller, and nothing in it be in use.
pub(crate) unsafe fn reserve_at(at: NonNull<u8>, len: usize) -> Result<(), Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
    // SAFETY: the addresses are the caller's by contract.
    let _ =
        unsafe { rustix::mm::mmap_anonymous(at.as_ptr().cast(), len, ProtFlags::empty(), flags) }?;
    Ok(())
}

/// Unmaps. An error leaves the range mapped, which costs addresses and nothing else.
///
/// # Safety
/// `at..at + len` must belong to the caller, and nothing in it be in use.
pub(crate) unsafe fn unmap(at: NonNull<u8>, len: usize) {
    // SAFETY: the addresses are the caller's by contract.
    let _ = unsafe { rustix::mm::munmap(at.as_ptr().cast(), len) };
}

fn prot(writable: bool) -> ProtFlags {
    if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ }
}
