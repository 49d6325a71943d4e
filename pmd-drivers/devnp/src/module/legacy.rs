//! A per-packet driver: its own table, and the module that the shim makes of it.

use core::mem::offset_of;
use core::ptr::null;

use devn_abi::{ABI_VERSION, Driver, FLAG_SINGLE_INSTANCE, FLAG_STAY, KIND_DRIVER, MAGIC};
use devnp_abi::Module;
use loader::{Entry, Header, Linked, LoadError};

/// What a per-packet driver exports.
const ENTRY: Entry<'_> = Entry {
    symbol: c"devn_driver",
    header: Header { magic: MAGIC, abi: ABI_VERSION, size: 0, kind: KIND_DRIVER },
    kind: "a per-packet driver",
    // Up to and with `tx`.
    size_min: offset_of!(Driver, devctl),
};

/// The driver's table, and that of the module.
pub(super) fn tables(linked: &Linked) -> Result<(Driver, Module), LoadError> {
    // SAFETY: the table is C's, of numbers, pointers and optional functions, and begins as all do.
    let driver = unsafe { linked.table(&ENTRY, EMPTY) }?;
    let needed = [
        (driver.open.is_some(), "open"),
        (driver.close.is_some(), "close"),
        (driver.tx.is_some(), "tx"),
    ];
    if let Some((_, what)) = needed.into_iter().find(|(there, _)| !there) {
        return Err(linked.wrong(what, &0, &"a function"));
    }
    let flag = |theirs, ours| if driver.flags & theirs == 0 { 0 } else { ours };
    let module = Module {
        abi: driver.abi,
        flags: flag(FLAG_SINGLE_INSTANCE, devnp_abi::FLAG_SINGLE_INSTANCE)
            | flag(FLAG_STAY, devnp_abi::FLAG_STAY),
        name: driver.name,
        version: driver.version,
        options: driver.options,
        ..devnp_shim::TABLE
    };
    Ok((driver, module))
}

/// What a table is before it is read.
const EMPTY: Driver = Driver {
    magic: 0,
    abi: 0,
    size: 0,
    kind: 0,
    flags: 0,
    reserved: 0,
    name: null(),
    version: null(),
    options: null(),
    open: None,
    close: None,
    tx: None,
    devctl: None,
};
