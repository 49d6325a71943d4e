//! Which threads are a driver's, and whether they are still there: those that appear while it opens an
//! interface, and those that bring frames.
//!
//! A driver that is closed has ended its threads. If it has not, its code must stay: a thread whose
//! code is unmapped is a fault of the whole process.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::time::Duration;

use crate::limits::{THREAD_END_MS, THREADS_MAX};

thread_local! {
    /// The kernel's number of this thread, 0 until it was asked for.
    static THREAD: Cell<i32> = const { Cell::new(0) };
    /// This thread is the daemon's and is inside a driver's function.
    static LENT: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, up-calls of this thread are the daemon's own: a driver that receives while it sends.
pub(crate) struct Lent(());

impl Lent {
    pub(crate) fn new() -> Self {
        LENT.set(true);
        Self(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT.set(false);
    }
}

/// Threads of a driver.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Threads {
    known: [i32; THREADS_MAX],
    /// There are more.
    more: bool,
}

impl Threads {
    /// Threads that are there now and were not before.
    pub(crate) fn add_new(&mut self, before: &[i32]) {
        for thread in all().into_iter().filter(|thread| !before.contains(thread)) {
            self.add(thread);
        }
    }

    /// The calling thread brings a frame.
    pub(crate) fn note(&mut self) {
        if LENT.get() {
            return;
        }
        let mut thread = THREAD.get();
        if thread == 0 {
            // SAFETY: takes no arguments, cannot fail.
            thread = unsafe { libc::gettid() };
            THREAD.set(thread);
        }
        self.add(thread);
    }

    fn add(&mut self, thread: i32) {
        match self.known.iter_mut().find(|known| **known == thread || **known == 0) {
            Some(place) => *place = thread,
            None => self.more = true,
        }
    }

    /// Waits a moment for them to end. `false`: one is left, or there were too many to follow.
    pub(crate) fn have_ended(&self) -> bool {
        let known = || self.known.iter().filter(|thread| **thread != 0);
        let mut left_ms = THREAD_END_MS;
        while left_ms > 0 && known().any(|thread| is_alive(*thread)) {
            std::thread::sleep(Duration::from_millis(1));
            left_ms -= 1;
        }
        !self.more && left_ms > 0
    }
}

/// The threads of this process.
pub(crate) fn all() -> Vec<i32> {
    let names = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn is_alive(thread: i32) -> bool {
    // SAFETY: takes no arguments, cannot fail.
    let process = unsafe { libc::getpid() };
    // SAFETY: signal 0 is not delivered; the kernel only looks the thread up.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) == 0 }
}

/// Keeps the shared object that has this code in the process for good. `false`: it could not be found.
pub(crate) fn keep_loaded(code: *const c_void) -> bool {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: any address may be asked about; there is room for the answer.
    if unsafe { libc::dladdr(code, info.as_mut_ptr()) } == 0 {
        return false;
    }
    // SAFETY: written, as dladdr says.
    let info = unsafe { info.assume_init() };
    // SAFETY: the object's path, a C string that lives as long as the object. It is loaded already:
    // this only counts one more user.
    let handle = unsafe { libc::dlopen(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    !handle.is_null()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_joined_thread_has_ended_and_a_sleeping_one_has_not() {
        let (threads, noted) = channel();
        let (go, wait) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut own = Threads::default();
            own.note();
            threads.send(own).unwrap();
            let _ = wait.recv();
        });
        let own = noted.recv().unwrap();
        assert!(!own.have_ended());
        drop(go);
        thread.join().unwrap();
        assert!(own.have_ended());
    }

    #[test]
    fn a_thread_of_the_daemon_inside_a_driver_is_not_the_drivers() {
        let mut threads = Threads::default();
        let lent = Lent::new();
        threads.note();
        assert!(threads.have_ended());
        drop(lent);
        threads.note();
        assert!(!threads.have_ended());
    }
}
