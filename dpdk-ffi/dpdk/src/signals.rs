//! Which threads take the drivers' signals.
//!
//! `net_tap` asks the kernel for a real-time signal per received frame. The kernel prefers the main
//! thread for signals to a process, so each frame would wake the control thread on another CPU.

/// Keeps real-time signals from the calling thread and from the threads it will start; workers take
/// them (see [`Eal::launch`](crate::Eal::launch)). Call it before [`Eal::init`](crate::Eal::init).
pub fn leave_to_workers() {
    mask(libc::SIG_BLOCK);
}

/// Lets the calling thread, a worker, take them.
pub(crate) fn take() {
    mask(libc::SIG_UNBLOCK);
}

fn mask(how: i32) {
    let mut set = core::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises the set it is given.
    let _ = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset has initialised it.
    let mut set = unsafe { set.assume_init() };
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        // SAFETY: a valid set and a signal number of the kernel's range.
        let _ = unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: a valid set; the old mask is not asked for. Can't fail with these arguments.
    let _ = unsafe { libc::pthread_sigmask(how, &raw const set, core::ptr::null_mut()) };
}
