//! From a file to a linked object and the table that it exports.

use core::ffi::{CStr, c_char, c_void};
use core::fmt::Display;
use core::ptr::NonNull;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::LoadError;
use crate::{elf, trust};

/// The longest table that can be one.
const SIZE_MAX: usize = 4096;
/// No module is larger.
const FILE_MAX: u64 = 256 << 20;

/// A whole shared object whose owner is trusted.
#[derive(Clone, Debug)]
pub struct SharedObject {
    path: PathBuf,
    /// Device and inode: the same file is loaded once.
    pub identity: (u64, u64),
    bytes: Vec<u8>,
}

/// Looks at a file. It is read only when it is known to be one, and whose: a device or a pipe would
/// never end.
///
/// # Errors
/// It can't be read, somebody else than root or `user` could have changed it, or it is not whole.
pub fn inspect(path: &Path, user: u32) -> Result<SharedObject, LoadError> {
    let path = trust::real_path(path, user)?;
    let unreadable =
        |e: std::io::Error| LoadError::File { path: path.clone(), reason: e.to_string() };
    let meta = fs::metadata(&path).map_err(unreadable)?;
    let no_module = |why| LoadError::NotAModule { path: path.clone(), why };
    if meta.len() > FILE_MAX {
        return Err(no_module(format!("{} bytes are too many", meta.len())));
    }
    let bytes = fs::read(&path).map_err(unreadable)?;
    elf::check(&bytes).map_err(no_module)?;
    Ok(SharedObject { identity: (meta.dev(), meta.ino()), path, bytes })
}

impl SharedObject {
    /// Whether the name of this variable occurs in it, which says of what kind a file is that has no
    /// telling name. Only a look: [`Linked::table`] knows.
    #[must_use]
    pub fn names(&self, symbol: &CStr) -> bool {
        let symbol = symbol.to_bytes_with_nul();
        // In the table of names each one stands after the end of another.
        self.bytes.windows(symbol.len() + 1).any(|w| w.first() == Some(&0) && w.ends_with(symbol))
    }

    /// Makes it part of this process.
    ///
    /// # Errors
    /// The dynamic linker's.
    pub fn link(self) -> Result<Linked, LoadError> {
        let Self { path, identity, .. } = self;
        let handle = open(&path)?;
        Ok(Linked { handle, path, identity, stays: false })
    }
}

/// The words that every table begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// The kind's magic number.
    pub magic: u32,
    /// Version of the kind's ABI.
    pub abi: u32,
    /// Bytes of the table: how far its writer knew it.
    pub size: u32,
    /// What it is a table of.
    pub kind: u32,
}

/// What a table has to be.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The exported variable.
    pub symbol: &'a CStr,
    /// Magic number, version and kind; its size is not looked at.
    pub header: Header,
    /// The kind in words: `a driver`.
    pub kind: &'a str,
    /// Bytes of the shortest table.
    pub size_min: usize,
}

/// A shared object in this process. Dropping it takes it out, unless it stays.
#[derive(Debug)]
pub struct Linked {
    handle: NonNull<c_void>,
    /// The file.
    pub path: PathBuf,
    /// Device and inode.
    pub identity: (u64, u64),
    /// It is never taken out.
    pub stays: bool,
}

// SAFETY: the handle is used only by dlsym and dlclose, which may be called from any thread.
unsafe impl Send for Linked {}
// SAFETY: as above: nothing is written through a shared reference.
unsafe impl Sync for Linked {}

impl Linked {
    /// Copies the table that the object exports over `empty`, as far as both sides know it.
    ///
    /// # Errors
    /// There is none, or its first words or its size are wrong.
    ///
    /// # Safety
    /// `T` is a `#[repr(C)]` structure that begins as [`Header`] does and for which all bits are
    /// valid: numbers, pointers and optional functions.
    pub unsafe fn table<T>(&self, entry: &Entry<'_>, empty: T) -> Result<T, LoadError> {
        // SAFETY: a handle of dlopen and a C string.
        let symbol = unsafe { libc::dlsym(self.handle.as_ptr(), entry.symbol.as_ptr()) };
        let table: NonNull<u32> =
            NonNull::new(symbol.cast()).ok_or_else(|| LoadError::NoEntry {
                path: self.path.clone(),
                entry: entry.symbol.to_string_lossy().into_owned(),
            })?;
        let field = |at: usize| {
            // SAFETY: the symbol is mapped memory; the first words are read only as far as the
            // ones before them say that this is a table.
            let place = unsafe { table.as_ptr().byte_add(at) };
            // SAFETY: as above; nothing is assumed of the alignment.
            unsafe { place.read_unaligned() }
        };
        let expect = |at, what, wanted: u32| match field(at) {
            found if found == wanted => Ok(()),
            found => Err(self.wrong(what, &found, &wanted)),
        };
        expect(0, "its magic number", entry.header.magic)?;
        expect(4, "its ABI version", entry.header.abi)?;
        let size = field(8) as usize;
        // A multiple of eight cuts no field in two.
        if !(entry.size_min..=SIZE_MAX).contains(&size) || !size.is_multiple_of(8) {
            let wanted = format!("{} to {SIZE_MAX} in steps of 8", entry.size_min);
            return Err(self.wrong("the size of its table", &size, &wanted));
        }
        let kind = field(12);
        if kind != entry.header.kind {
            let wanted = format!("{}, {}", entry.header.kind, entry.kind);
            return Err(self.wrong("its kind", &kind, &wanted));
        }
        let mut copy = empty;
        let known = size.min(size_of::<T>());
        let to: *mut T = &raw mut copy;
        // SAFETY: the module says that its table has `size` bytes, `known` of which fit into ours;
        // any bits are right for it, by this function's contract.
        unsafe { to.cast::<u8>().copy_from_nonoverlapping(table.as_ptr().cast(), known) };
        Ok(copy)
    }

    /// A field of the table that is not what it should be.
    #[must_use]
    pub fn wrong(
        &self,
        what: &'static str,
        found: &dyn Display,
        wanted: &dyn Display,
    ) -> LoadError {
        LoadError::Table {
            path: self.path.clone(),
            what,
            found: found.to_string(),
            wanted: wanted.to_string(),
        }
    }

    /// A copy of a text that the table points to.
    ///
    /// # Errors
    /// It is null or not UTF-8.
    ///
    /// # Safety
    /// `text` is null or a C string.
    pub unsafe fn text(
        &self,
        what: &'static str,
        text: *const c_char,
    ) -> Result<String, LoadError> {
        if text.is_null() {
            return Err(self.wrong(what, &"null", &"text"));
        }
        // SAFETY: by this function's contract.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str().map(Into::into).map_err(|_| self.wrong(what, &"not UTF-8", &"text"))
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        let handle = Handle(self.handle);
        let linking = linking();
        if *linking == 0 {
            return handle.close();
        }
        drop(linking);
        // The linker has one lock, which it holds while another object's initialisers run; those may never
        // end, and it is not this thread that has to wait for them. Without a thread the object stays.
        let _ = std::thread::Builder::new().name("dlclose".into()).spawn(|| handle.close());
    }
}

/// How many threads are in `dlopen`. Locked while it must not become more.
static LINKING: Mutex<u32> = Mutex::new(0);

fn linking() -> MutexGuard<'static, u32> {
    LINKING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the dynamic linker makes an object part of this process, or runs its initialisers.
#[must_use]
pub fn is_linking() -> bool {
    *linking() > 0
}

/// Ends the process if the dynamic linker runs initialisers, which may never end: whoever leaves `main` waits
/// for it. Else does nothing.
pub fn exit_if_linking(code: u8) {
    if is_linking() {
        // SAFETY: nothing of this process runs any more; what it has written is with the kernel.
        unsafe { libc::_exit(code.into()) };
    }
}

/// An object that nobody uses any more.
struct Handle(NonNull<c_void>);

// SAFETY: the handle is used only by dlclose, which may be called from any thread.
unsafe impl Send for Handle {}

impl Handle {
    fn close(self) {
        // SAFETY: the handle is open, and whoever has pointers into the object held what was dropped. A
        // failure leaves it loaded, which does no harm.
        let _ = unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}

fn open(path: &Path) -> Result<NonNull<c_void>, LoadError> {
    let refused = |reason| LoadError::Link { path: path.into(), reason };
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| refused("its path has a NUL byte".into()))?;
    *linking() += 1;
    // SAFETY: a C string. The file's initialisers run: its owner is trusted.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    *linking() -= 1;
    NonNull::new(handle).ok_or_else(|| {
        // SAFETY: returns a C string of this thread, or null.
        let error = unsafe { libc::dlerror() };
        if error.is_null() {
            return refused("no reason".into());
        }
        // SAFETY: not null, and valid until the next call of the linker on this thread.
        let text = unsafe { CStr::from_ptr(error) };
        refused(text.to_string_lossy().into_owned())
    })
}
