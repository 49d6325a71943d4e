//! Where DPDK's log text goes.
//!
//! DPDK logs to one C stream. This crate replaces it: lines go to the sink set with [`set_sink`]
//! (standard error by default), or, on a thread inside a call that may fail, into the reason of the
//! error it is about to return.

use core::cell::RefCell;
use core::ffi::c_char;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use crate::limits::LOG_CAPTURE_MAX;

static SINK: OnceLock<fn(&str)> = OnceLock::new();
static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Text logged by this thread while it is inside `capture`.
    static CAPTURED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Gives DPDK's log lines to `sink`, from whatever thread logs. Only the first call counts; `false`
/// says that this was not it.
pub fn set_sink(sink: fn(&str)) -> bool {
    SINK.set(sink).is_ok()
}

/// Takes over DPDK's log stream, once.
pub(crate) fn install() {
    if !INSTALLED.swap(true, Ordering::SeqCst) {
        // SAFETY: `emit` is a plain function that lives for ever and takes any text; the C side
        // only stores it. A failure leaves DPDK's own stream in place.
        let _ = unsafe { dpdk_sys::shim_log_redirect(Some(emit)) };
    }
}

/// Runs `f` and returns what DPDK logged on this thread meanwhile, instead of showing it.
pub(crate) fn capture<T>(f: impl FnOnce() -> T) -> (T, String) {
    let outer = CAPTURED.replace(Some(String::new()));
    let value = f();
    let text = CAPTURED.replace(outer).unwrap_or_default();
    (value, text)
}

/// One piece of DPDK's log text. Never panics: it is called from C.
unsafe extern "C" fn emit(text: *const c_char, len: usize) {
    // SAFETY: stdio hands over the `len` bytes at `text` that it was given, for this call only.
    let bytes = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), len) };
    let text = String::from_utf8_lossy(bytes);
    let captured = CAPTURED.try_with(|captured| {
        let Ok(mut captured) = captured.try_borrow_mut() else { return false };
        let Some(kept) = captured.as_mut() else { return false };
        if kept.len() + text.len() <= LOG_CAPTURE_MAX {
            kept.push_str(&text);
        }
        true
    });
    if captured != Ok(true) {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            show(line);
        }
    }
}

fn show(line: &str) {
    use std::io::Write as _;
    match SINK.get() {
        Some(sink) => sink(line),
        None => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(std::io::stderr(), "dpdk: {line}");
        }
    }
}

/// What EAL adds to every driver's refusal, and what it says about processes that are not there.
const NOISE: [&str; 3] = [
    "Driver cannot attach the device",
    "Failed to attach device on primary process",
    "rte_pmd_memif_probe(): Failed to register mp action callback",
];

/// The captured text as one line for an error message: DPDK's prefixes, repetitions and noise gone.
pub(crate) fn reason(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.strip_prefix("EAL: ").unwrap_or(line);
        if !parts.contains(&line) && !NOISE.iter().any(|noise| line.starts_with(noise)) {
            parts.push(line);
        }
    }
    if parts.is_empty() { "DPDK gave no reason".into() } else { parts.join("; ") }
}
