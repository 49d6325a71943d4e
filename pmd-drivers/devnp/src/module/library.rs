//! A loaded module and its checked table.

use core::mem::offset_of;

use devnp_abi::{
    ABI_VERSION, FLAG_STAY, KIND_DRIVER, MAGIC, Module, THREADING_QUEUE, THREADING_SINGLE,
};
use loader::{Entry, Header, Linked, LoadError, SharedObject};

use crate::module::legacy;

/// What a driver module exports.
const ENTRY: Entry<'_> = Entry {
    symbol: c"devnp_module",
    header: Header { magic: MAGIC, abi: ABI_VERSION, size: 0, kind: KIND_DRIVER },
    kind: "a driver",
    // Up to and with `tx_burst`.
    size_min: offset_of!(Module, rx_fd),
};

/// A loaded module. Unloaded with its last user, unless it wants to stay.
#[derive(Debug)]
pub(crate) struct Library {
    /// The module's table; what its writer did not know is `None`.
    pub(crate) table: Module,
    /// It is a per-packet driver, and this its own table: the other is the shim's.
    pub(crate) legacy: Option<devn_abi::Driver>,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) options: String,
    // Dropped last: the code of everything above.
    pub(crate) linked: Linked,
}

// SAFETY: the table is constant memory, copied; its functions are called by the module's threading
// contract.
unsafe impl Send for Library {}
// SAFETY: as above: nothing is written through a shared reference.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a file that this process may trust, and checks its table.
    pub(super) fn load(file: SharedObject) -> Result<Self, LoadError> {
        let mut linked = file.link()?;
        let (table, legacy) = read_tables(&linked)?;
        // SAFETY: the module says that these are C strings; they stay as long as the module.
        let text = |what, text| unsafe { linked.text(what, text) };
        let name = text("its name", table.name)?;
        let version = text("its version", table.version)?;
        let options = text("the list of its options", table.options)?;
        check_name(&linked, &name)?;
        linked.stays = table.flags & FLAG_STAY != 0;
        Ok(Self { table, legacy, name, version, options, linked })
    }

    /// Whether it has this option.
    pub(crate) fn knows(&self, option: &str) -> bool {
        let words = self.options.split_whitespace();
        words.filter_map(|word| word.split('=').next()).any(|key| key == option)
    }

    /// Who makes it a module: itself, or the shim.
    pub(crate) fn kind(&self) -> &'static str {
        if self.legacy.is_some() { "devnp-shim" } else { "devnp" }
    }

    /// What its file's name begins with.
    pub(crate) fn prefix(&self) -> &'static str {
        if self.legacy.is_some() { "devn" } else { "devnp" }
    }

    /// The module's threading, in a word.
    pub(crate) fn threading(&self) -> &'static str {
        if self.is_single() { "single" } else { "queue" }
    }

    /// Its queues are to be served by one thread: it has one.
    pub(crate) fn is_single(&self) -> bool {
        self.table.threading == THREADING_SINGLE
    }
}

/// The table of a module, or of a per-packet driver and the module that the shim makes of it: what the
/// file exports decides, not its name.
fn read_tables(linked: &Linked) -> Result<(Module, Option<devn_abi::Driver>), LoadError> {
    // SAFETY: the table is C's, of numbers, pointers and optional functions, and begins as all do.
    match unsafe { linked.table(&ENTRY, EMPTY) } {
        Ok(table) => {
            check_table(linked, &table)?;
            Ok((table, None))
        }
        Err(LoadError::NoEntry { path, entry: module }) => match legacy::tables(linked) {
            Ok((driver, table)) => Ok((table, Some(driver))),
            Err(LoadError::NoEntry { entry: driver, .. }) => {
                Err(LoadError::NoEntry { path, entry: format!("{module} or {driver}") })
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn check_table(linked: &Linked, module: &Module) -> Result<(), LoadError> {
    if !matches!(module.threading, THREADING_SINGLE | THREADING_QUEUE) {
        return Err(linked.wrong("its threading", &module.threading, &"1 or 2"));
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
        Some((_, what)) => Err(linked.wrong(what, &0, &"a function")),
        None => Ok(()),
    }
}

/// The name becomes that of interfaces.
fn check_name(linked: &Linked, name: &str) -> Result<(), LoadError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let digit = |c: char| c.is_ascii_digit();
    if !name.is_empty() && name.len() <= 11 && name.chars().all(fits) && !name.ends_with(digit) {
        return Ok(());
    }
    let wanted = "up to 11 letters, digits, - and _, not ending in a digit";
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
    set_allmulticast: None,
    ioctl: None,
    panic_stop: None,
};
