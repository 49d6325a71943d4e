//! The same for Miri, which interprets the program and knows no shared mappings: a file's memory is allocated once, both
//! sides have it at the same addresses, and it is never given back.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use std::alloc::{alloc_zeroed, handle_alloc_error};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

const PAGE: usize = 4096;

/// Where each file's memory is, by the file's number.
static MAPPED: Mutex<Option<HashMap<u64, Address>>> = Mutex::new(None);
static CREATED: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy)]
struct Address(NonNull<u8>);

// SAFETY: an address alone; what is behind it is reached as in real mappings.
unsafe impl Send for Address {}

/// A file, whose length is all that is its own.
pub(crate) fn create(name: &str, len: usize) -> Result<OwnedFd, Errno> {
    let number = CREATED.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("{name}-{}-{number}", std::process::id()));
    let refused = |_| Errno::IO;
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.map_err(refused)?;
    file.set_len(len as u64).map_err(refused)?;
    std::fs::remove_file(path).map_err(refused)?;
    // The number of a file that is gone may be another's.
    let _ = with(&file, |files, number| files.remove(&number));
    Ok(file.into())
}

/// Nobody else is here.
pub(crate) fn seal(_file: &OwnedFd, _read_only: bool) -> Result<(), Errno> {
    Ok(())
}

/// How long a file is.
pub(crate) fn len_of(file: impl AsFd) -> Result<u64, Errno> {
    Ok(metadata(file)?.0)
}

pub(crate) fn map(file: impl AsFd, len: usize, _writable: bool) -> Result<NonNull<u8>, Errno> {
    with(file, |files, number| files.entry(number).or_insert_with(|| Address(zeroed(len))).0)
}

/// # Safety
/// As for the mapping of that name: `at..at + len` must belong to the caller, and nothing in it be in use.
pub(crate) unsafe fn map_at(file: impl AsFd, at: NonNull<u8>, _len: usize) -> Result<(), Errno> {
    with(file, |files, number| files.insert(number, Address(at))).map(|_before| ())
}

pub(crate) fn reserve(len: usize) -> Result<NonNull<u8>, Errno> {
    Ok(zeroed(len))
}

/// # Safety
/// As for the mapping of that name: `at..at + len` must belong to the caller, and nothing in it be in use.
pub(crate) unsafe fn reserve_at(at: NonNull<u8>, len: usize) -> Result<(), Errno> {
    // SAFETY: the addresses are the caller's by contract, and were reserved.
    unsafe { at.write_bytes(0, len) };
    Ok(())
}

/// Never forked, so there is nothing to wipe.
pub(crate) fn wiped_on_fork(len: usize) -> Result<NonNull<u8>, Errno> {
    reserve(len)
}

/// # Safety
/// As for the mapping of that name; here it does nothing.
pub(crate) unsafe fn unmap(_at: NonNull<u8>, _len: usize) {}

fn zeroed(len: usize) -> NonNull<u8> {
    let Ok(layout) = Layout::from_size_align(len.max(1), PAGE) else { unreachable!("a length") };
    // SAFETY: the layout is not empty.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

fn metadata(file: impl AsFd) -> Result<(u64, u64), Errno> {
    let file = File::from(file.as_fd().try_clone_to_owned().map_err(|_| Errno::MFILE)?);
    file.metadata().map(|known| (known.len(), known.ino())).map_err(|_| Errno::IO)
}

fn with<T>(
    file: impl AsFd,
    act: impl FnOnce(&mut HashMap<u64, Address>, u64) -> T,
) -> Result<T, Errno> {
    let (_, number) = metadata(file)?;
    let mut files = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(act(files.get_or_insert_default(), number))
}
