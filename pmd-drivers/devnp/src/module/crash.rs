//! Stops devices when the process crashes, so that none writes to memory that is somebody else's
//! soon.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Devices at once; one that finds no place is not stopped on a crash.
const HOOKS_MAX: usize = 256;

/// Function and device; the function is set last and cleared first.
static HOOKS: [(AtomicUsize, AtomicPtr<c_void>); HOOKS_MAX] =
    [const { (AtomicUsize::new(0), AtomicPtr::new(ptr::null_mut())) }; HOOKS_MAX];

/// Signals that end a process by a fault of its own.
const FAULTS: [(c_int, &[u8]); 4] = [
    (libc::SIGSEGV, b"io-pkt: SIGSEGV: ports stopped, aborting\n"),
    (libc::SIGBUS, b"io-pkt: SIGBUS: ports stopped, aborting\n"),
    (libc::SIGILL, b"io-pkt: SIGILL: ports stopped, aborting\n"),
    (libc::SIGFPE, b"io-pkt: SIGFPE: ports stopped, aborting\n"),
];

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

/// Installs the handler for faults: stop the devices, say so in one line, abort with a core.
///
/// # Errors
/// The kernel's.
pub fn stop_ports_on_fault() -> std::io::Result<()> {
    for (signal, _) in FAULTS {
        // SAFETY: all bits zero are a valid structure.
        let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
        action.sa_sigaction = on_fault as *const () as usize;
        // The default is back when the handler runs: a fault in it ends the process.
        action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
        // SAFETY: a complete structure; the handler makes only calls that a handler may make.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_fault(signal: c_int) {
    for (stop, device) in &HOOKS {
        let (stop, device) = (stop.load(Ordering::Acquire), device.load(Ordering::Acquire));
        if stop != 0 && !device.is_null() {
            // SAFETY: only `hook` writes the word, from a function of this type.
            let stop: Stop = unsafe { core::mem::transmute::<usize, Stop>(stop) };
            // SAFETY: the device is not closed: its hook is taken out before.
            unsafe { stop(device) };
        }
    }
    let text = FAULTS.iter().find(|(number, _)| *number == signal).map_or(&b""[..], |f| f.1);
    // SAFETY: a valid buffer; write is allowed in a handler. Nobody is left to tell of a failure.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    // SAFETY: allowed in a handler; does not return.
    unsafe { libc::abort() };
}
