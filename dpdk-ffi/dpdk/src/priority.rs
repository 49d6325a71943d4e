//! Real-time priority of a thread.

use crate::Errno;

/// Priorities that `SCHED_RR` has on Linux.
pub const RANGE: core::ops::RangeInclusive<u32> = 1..=99;

/// Runs the calling thread under `SCHED_RR` at this priority from now on.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or a limit that allows it; `EINVAL` outside of [`RANGE`].
pub fn round_robin(priority: u32) -> Result<(), Errno> {
    let priority = i32::try_from(priority).map_err(|_| Errno::INVAL)?;
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: names the calling thread, which is there as long as the call lasts.
    let me = unsafe { libc::pthread_self() };
    // SAFETY: a thread that lives, and parameters that are only read.
    let error = unsafe { libc::pthread_setschedparam(me, libc::SCHED_RR, &raw const parameters) };
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_out_of_range_is_refused() {
        assert_eq!(round_robin(100), Err(Errno::INVAL));
        assert_eq!(round_robin(u32::MAX), Err(Errno::INVAL));
    }
}
