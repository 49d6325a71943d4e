//! Stops devices when the process crashes, so that none writes to memory that is somebody else's
//! soon.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use crate::module::crash_report;

/// Devices at once; one that finds no place is not stopped on a crash.
const HOOKS_MAX: usize = 256;

/// Function and device; the function is set last and cleared first.
static HOOKS: [(AtomicUsize, AtomicPtr<c_void>); HOOKS_MAX] =
    [const { (AtomicUsize::new(0), AtomicPtr::new(ptr::null_mut())) }; HOOKS_MAX];

/// Signals that end a process by a fault of its own.
const FAULTS: [(c_int, &str); 4] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
];

/// Stack for the handler: a thread whose own is used up can still report. A module's `panic_stop` runs
/// on it.
const STACK_LEN: usize = 64 * 1024;

type Stop = unsafe extern "C" fn(*mut c_void);

/// A device's place in the table; dropping it takes the device out.
#[derive(Debug)]
pub(crate) struct Hook(usize);

/// Stops this device if the process crashes.
pub(crate) fn hook(stop: Stop, device: *mut c_void) -> Option<Hook> {
    let place = HOOKS.iter().position(|(_, slot)| {
        slot.compare_exchange(ptr::null_mut(), device, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })?;
    HOOKS.get(place)?.0.store(stop as usize, Ordering::Release);
    Some(Hook(place))
}

impl Drop for Hook {
    fn drop(&mut self) {
        if let Some((stop, device)) = HOOKS.get(self.0) {
            stop.store(0, Ordering::Release);
            device.store(ptr::null_mut(), Ordering::Release);
        }
    }
}

/// Installs the handler for faults: stop the devices, say in one line what happened where, abort with
/// a core.
///
/// # Errors
/// The kernel's.
pub fn stop_ports_on_fault() -> std::io::Result<()> {
    handle_faults(on_fault as *const () as usize)
}

/// Leaves faults to the system, which ends the process with a core. Rust's own handler, which would
/// take a signal that somebody sends for a fault and wait for it to come again, is taken out.
///
/// # Errors
/// The kernel's.
pub fn leave_faults_to_system() -> std::io::Result<()> {
    handle_faults(libc::SIG_DFL)
}

fn handle_faults(handler: usize) -> std::io::Result<()> {
    for (signal, _) in FAULTS {
        // SAFETY: all bits zero are a valid structure.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = handler;
        // The default is back when the handler runs: a fault in it ends the process.
        action.sa_flags =
            libc::SA_SIGINFO | libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
        // SAFETY: a complete structure; the handler makes only calls that a handler may make.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Gives the calling thread a stack for the handler, for as long as the process lives. Threads that
/// DPDK makes have none.
pub fn own_fault_stack() {
    let stack = Vec::leak(vec![0_u8; STACK_LEN]);
    let stack =
        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: memory that is never freed and that nobody else uses. Without it, all works but the
    // report of a stack that is used up.
    let _ = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
}

extern "C" fn on_fault(signal: c_int, info: *const libc::siginfo_t, context: *const c_void) {
    let mut stopped = 0;
    for (stop, device) in &HOOKS {
        let (stop, device) = (stop.load(Ordering::Acquire), device.load(Ordering::Acquire));
        if stop != 0 && !device.is_null() {
            // SAFETY: only `hook` writes the word, from a function of this type.
            let stop: Stop = unsafe { core::mem::transmute::<usize, Stop>(stop) };
            // SAFETY: the device is not closed: its hook is taken out before.
            unsafe { stop(device) };
            stopped += 1;
        }
    }
    let name = FAULTS.iter().find(|(number, _)| *number == signal).map_or("a fault", |f| f.1);
    // SAFETY: the kernel's structures, valid while the handler runs.
    let fault = unsafe { crash_report::Fault::read(name, info, context) };
    let report = crash_report::line(&fault, stopped);
    // SAFETY: a valid buffer; write is allowed in a handler. Nobody is left to tell of a failure.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, report.as_ptr().cast(), report.len()) };
    // SAFETY: allowed in a handler; does not return.
    unsafe { libc::abort() };
}
