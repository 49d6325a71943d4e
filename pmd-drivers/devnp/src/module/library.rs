//! A loaded module and its checked table.

use core::ffi::{CStr, c_char, c_void};
use core::mem::offset_of;
use core::ptr::NonNull;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use devnp_abi::{
    ABI_VERSION, FLAG_STAY, KIND_DRIVER, MAGIC, Module, THREADING_QUEUE, THREADING_SINGLE,
};

use crate::module::error::ModuleError;
use crate::module::{elf, trust};

/// The shortest table: up to and with `tx_burst`.
const SIZE_MIN: usize = offset_of!(Module, rx_fd);
/// The longest that can be one.
const SIZE_MAX: usize = 4096;
/// No module is larger.
const FILE_MAX: u64 = 256 << 20;

/// A loaded module. Unloaded with its last user, unless it wants to stay.
#[derive(Debug)]
pub(crate) struct Library {
    handle: NonNull<c_void>,
    /// The module's table; what its writer did not know is `None`.
    pub(crate) table: Module,
    pub(crate) path: PathBuf,
    /// Device and inode: the same file is loaded once.
    pub(crate) identity: (u64, u64),
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) options: String,
}

// SAFETY: the handle is used only by dlclose, which may be called from any thread; the table is
// constant memory, copied; its functions are called by the module's threading contract.
unsafe impl Send for Library {}
// SAFETY: as above: nothing is written through a shared reference.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a file that this process may trust, and checks its table.
    pub(super) fn load(file: SharedObject) -> Result<Self, ModuleError> {
        let SharedObject { path, identity } = file;
        let handle = open(&path)?;
        // From here on it is closed again if anything is wrong.
        let mut library = Self {
            handle,
            table: EMPTY,
            identity,
            name: String::new(),
            version: String::new(),
            options: String::new(),
            path,
        };
        library.table = library.read_table()?;
        library.name = library.text("name", library.table.name)?;
        library.version = library.text("version", library.table.version)?;
        library.options = library.text("options", library.table.options)?;
        library.check_name()?;
        Ok(library)
    }

    fn read_table(&self) -> Result<Module, ModuleError> {
        // SAFETY: a handle of dlopen and a C string.
        let symbol = unsafe { libc::dlsym(self.handle.as_ptr(), c"devnp_module".as_ptr()) };
        let table: NonNull<u32> = NonNull::new(symbol.cast())
            .ok_or_else(|| ModuleError::NoEntry { path: self.path.clone() })?;
        let wrong = |what, found: u64, wanted: String| ModuleError::Table {
            path: self.path.clone(),
            what,
            found: found.to_string(),
            wanted,
        };
        let field = |at: usize| {
            // SAFETY: the symbol is mapped memory; the first three words are read only as far as the
            // ones before them say that this is a table.
            let place = unsafe { table.as_ptr().byte_add(at) };
            // SAFETY: as above; nothing is assumed of the alignment.
            unsafe { place.read_unaligned() }
        };
        let magic = field(0);
        if magic != MAGIC {
            return Err(wrong("its magic number", magic.into(), MAGIC.to_string()));
        }
        let abi = field(4);
        if abi != ABI_VERSION {
            return Err(wrong("its ABI version", abi.into(), ABI_VERSION.to_string()));
        }
        let size = field(8) as usize;
        // A multiple of eight cuts no field in two.
        if !(SIZE_MIN..=SIZE_MAX).contains(&size) || !size.is_multiple_of(8) {
            let wanted = format!("{SIZE_MIN} to {SIZE_MAX} in steps of 8");
            return Err(wrong("the size of its table", size as u64, wanted));
        }
        let mut module = EMPTY;
        let known = size.min(size_of::<Module>());
        let to: *mut Module = &raw mut module;
        // SAFETY: the module says that its table has `size` bytes, `known` of which fit into ours;
        // any bits are right for pointers, numbers and optional functions, as far as C knows them.
        unsafe { to.cast::<u8>().copy_from_nonoverlapping(table.as_ptr().cast(), known) };
        self.check_table(&module, wrong)?;
        Ok(module)
    }

    fn check_table(
        &self,
        module: &Module,
        wrong: impl Fn(&'static str, u64, String) -> ModuleError,
    ) -> Result<(), ModuleError> {
        if module.kind != KIND_DRIVER {
            return Err(wrong("its kind", module.kind.into(), format!("{KIND_DRIVER}, a driver")));
        }
        if !matches!(module.threading, THREADING_SINGLE | THREADING_QUEUE) {
            return Err(wrong("its threading", module.threading.into(), "1 or 2".into()));
        }
        let needed = [
            (module.open.is_some(), "open"),
            (module.close.is_some(), "close"),
            (module.start.is_some(), "start"),
            (module.stop.is_some(), "stop"),
            (module.rx_burst.is_some(), "rx_burst"),
            (module.tx_burst.is_some(), "tx_burst"),
        ];
        match needed.into_iter().find(|(there, _)| !there) {
            Some((_, what)) => Err(wrong(what, 0, "a function".into())),
            None => Ok(()),
        }
    }

    fn text(&self, what: &'static str, text: *const c_char) -> Result<String, ModuleError> {
        let wrong = |found: &str| ModuleError::Table {
            path: self.path.clone(),
            what,
            found: found.into(),
            wanted: "text".into(),
        };
        if text.is_null() {
            return Err(wrong("null"));
        }
        // SAFETY: the module says that this is a C string; it stays as long as the module.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str().map(Into::into).map_err(|_| wrong("not UTF-8"))
    }

    /// The name becomes that of interfaces.
    fn check_name(&self) -> Result<(), ModuleError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let digit = |c: char| c.is_ascii_digit();
        let name = &self.name;
        if !name.is_empty() && name.len() <= 11 && name.chars().all(fits) && !name.ends_with(digit)
        {
            return Ok(());
        }
        Err(ModuleError::Table {
            path: self.path.clone(),
            what: "its name",
            found: format!("{name:?}"),
            wanted: "up to 11 letters, digits, - and _, not ending in a digit".into(),
        })
    }

    /// Whether it has this option.
    pub(crate) fn knows(&self, option: &str) -> bool {
        let words = self.options.split_whitespace();
        words.filter_map(|word| word.split('=').next()).any(|key| key == option)
    }

    /// The module's threading, in a word.
    pub(crate) fn threading(&self) -> &'static str {
        if self.table.threading == THREADING_SINGLE { "single" } else { "queue" }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        if self.table.flags & FLAG_STAY != 0 {
            return;
        }
        // SAFETY: the handle is open and nobody has a pointer into the module any more: its users
        // hold a counted reference to self. A failure leaves it loaded, which does no harm.
        let _ = unsafe { libc::dlclose(self.handle.as_ptr()) };
    }
}

/// What a table is before it is read.
const EMPTY: Module = Module {
    magic: 0,
    abi: 0,
    size: 0,
    kind: 0,
    threading: 0,
    flags: 0,
    name: core::ptr::null(),
    version: core::ptr::null(),
    options: core::ptr::null(),
    open: None,
    close: None,
    start: None,
    stop: None,
    rx_burst: None,
    tx_burst: None,
    rx_fd: None,
    link: None,
    stats: None,
    set_mac: None,
    set_mtu: None,
    set_promiscuous: None,
    set_multicast: None,
    ioctl: None,
    panic_stop: None,
};

/// A whole shared object whose owner is trusted.
pub(super) struct SharedObject {
    path: PathBuf,
    /// Device and inode.
    pub(super) identity: (u64, u64),
}

/// Looks at a file. It is read only when it is known to be one, and whose: a device or a pipe would
/// never end.
pub(super) fn inspect(path: &Path, user: u32) -> Result<SharedObject, ModuleError> {
    let path = trust::real_path(path, user)?;
    let unreadable =
        |e: std::io::Error| ModuleError::File { path: path.clone(), reason: e.to_string() };
    let meta = fs::metadata(&path).map_err(unreadable)?;
    let no_module = |why| ModuleError::NotAModule { path: path.clone(), why };
    if meta.len() > FILE_MAX {
        return Err(no_module(format!("{} bytes are too many", meta.len())));
    }
    let bytes = fs::read(&path).map_err(unreadable)?;
    elf::check(&bytes).map_err(no_module)?;
    Ok(SharedObject { identity: (meta.dev(), meta.ino()), path })
}

fn open(path: &Path) -> Result<NonNull<c_void>, ModuleError> {
    let refused = |reason| ModuleError::Link { path: path.into(), reason };
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| refused("its path has a NUL byte".into()))?;
    // SAFETY: a C string. The file's initialisers run: its owner is trusted.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
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
