//! What the kernel has in its pool of 2 MiB pages.

use std::fs;
use std::path::Path;

/// The pool of 2 MiB pages of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hugepages {
    /// Pages in the pool.
    pub total: u32,
    /// Pages that nobody has taken or reserved.
    pub free: u32,
}

/// Reads the pool's size from sysfs; `None` on a kernel without 2 MiB pages.
#[must_use]
pub fn hugepages() -> Option<Hugepages> {
    let folder = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u32>().ok();
    let free = read("free_hugepages")?.saturating_sub(read("resv_hugepages").unwrap_or(0));
    Some(Hugepages { total: read("nr_hugepages")?, free })
}

/// Free 2 MiB pages, 0 if the kernel has none.
#[must_use]
pub fn hugepages_free() -> u32 {
    hugepages().map_or(0, |pool| pool.free)
}
