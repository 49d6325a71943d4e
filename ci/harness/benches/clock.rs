//! Cycles of the time stamp counter, for benchmarks.

use harness::World;
use harness::path::counted;

/// Lets a little time pass; the cycles of the worker's breath in it.
pub(crate) fn breath(world: &mut World) -> u64 {
    world.now += core::time::Duration::from_micros(20);
    let mut spent = 0;
    world.breathe_in(|worker, now| {
        let started = clock();
        counted(worker, now);
        spent = clock().saturating_sub(started);
    });
    spent
}

/// Cycles so far.
#[cfg(target_arch = "x86_64")]
pub(crate) fn clock() -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Cycles so far, which nobody has told how to read here.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn clock() -> u64 {
    0
}
