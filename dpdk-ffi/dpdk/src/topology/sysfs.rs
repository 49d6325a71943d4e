//! The CPUs from the affinity mask and sysfs, where hwloc finds nothing.

use std::fs;

use super::Cpu;

/// The CPUs that this thread may run on.
pub(super) fn allowed() -> Vec<u32> {
    // SAFETY: a cpu_set_t is a plain bit array, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes at most the given size into the set.
    let code = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if code != 0 {
        return Vec::new();
    }
    let limit = libc::CPU_SETSIZE.unsigned_abs();
    // SAFETY: the numbers are below CPU_SETSIZE, the set's length in bits.
    (0..limit).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu as usize, &set) }).collect()
}

/// Their cores and packages as the kernel names them; each its own core if it does not.
pub(super) fn cpus(allowed: &[u32]) -> Vec<Cpu> {
    let read = |id: u32, name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu{id}/topology/{name}");
        fs::read_to_string(path).ok()?.trim().parse::<u32>().ok()
    };
    let cpu = |&id: &u32| {
        let package = read(id, "physical_package_id").unwrap_or(0);
        // The kernel numbers cores within their package.
        let core = read(id, "core_id").map_or(id, |core| package * 4096 + core);
        Cpu { node: package, cache: package, core, id }
    };
    allowed.iter().map(cpu).collect()
}
