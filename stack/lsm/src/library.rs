//! A loaded module and its checked table.

use core::mem::offset_of;

use loader::{Entry, Header, Linked, LoadError, SharedObject};
use lsm_abi::{
    ABI_VERSION, FLAG_STAY, KIND_PROTOCOL, MAGIC, Module, THREADING_SINGLE, THREADING_WORKERS,
};

/// What a protocol module exports.
pub(crate) const ENTRY: Entry<'_> = Entry {
    symbol: c"lsm_module",
    header: Header { magic: MAGIC, abi: ABI_VERSION, size: 0, kind: KIND_PROTOCOL },
    kind: "a protocol",
    // Up to and with `close`.
    size_min: offset_of!(Module, receive),
};

/// A loaded module. Unloaded with its last user, unless it wants to stay.
#[derive(Debug)]
pub(crate) struct Library {
    /// The module's table; what its writer did not know is `None`.
    pub(crate) table: Module,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) options: String,
    // Dropped last: the code of everything above.
    _linked: Linked,
}

// SAFETY: the table is constant memory, copied; its functions are called by the module's threading
// contract.
unsafe impl Send for Library {}
// SAFETY: as above: nothing is written through a shared reference.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a file that this process may trust, and checks its table.
    pub(crate) fn load(file: SharedObject) -> Result<Self, LoadError> {
        let mut linked = file.link()?;
        // SAFETY: the table is C's, of numbers, pointers and optional functions, and begins as all do.
        let table = unsafe { linked.table(&ENTRY, EMPTY) }?;
        if !matches!(table.threading, THREADING_SINGLE | THREADING_WORKERS) {
            return Err(linked.wrong("its threading", &table.threading, &"1 or 2"));
        }
        for (there, what) in [(table.open.is_some(), "open"), (table.close.is_some(), "close")] {
            if !there {
                return Err(linked.wrong(what, &0, &"a function"));
            }
        }
        // SAFETY: the module says that these are C strings; they stay as long as the module.
        let text = |what, text| unsafe { linked.text(what, text) };
        let name = text("its name", table.name)?;
        let version = text("its version", table.version)?;
        let options = text("the list of its options", table.options)?;
        check_name(&linked, &name)?;
        linked.stays = table.flags & FLAG_STAY != 0;
        Ok(Self { table, name, version, options, _linked: linked })
    }

    /// Whether it has this option.
    pub(crate) fn knows(&self, option: &str) -> bool {
        let words = self.options.split_whitespace();
        words.filter_map(|word| word.split('=').next()).any(|key| key == option)
    }

    /// Whether one worker alone calls it, the first.
    pub(crate) fn is_single(&self) -> bool {
        self.table.threading == THREADING_SINGLE
    }
}

fn check_name(linked: &Linked, name: &str) -> Result<(), LoadError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=15).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    let wanted = "up to 15 letters, digits, - and _";
    Err(linked.wrong("its name", &format!("{name:?}"), &wanted))
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
    receive: None,
    tap: None,
    filter: None,
    timer: None,
    call: None,
    work: None,
    event: None,
    path_open: None,
    path_read: None,
    path_write: None,
    path_ioctl: None,
    path_close: None,
    socket_open: None,
    socket_bind: None,
    socket_connect: None,
    socket_send: None,
    socket_close: None,
    socket_set_option: None,
    socket_option: None,
    socket_listen: None,
    socket_arrived: None,
    socket_room: None,
    socket_end: None,
    socket_ioctl: None,
};
