//! What the daemon does for modules of every kind: their words in its log, their options, their alarm.

use core::ffi::{CStr, c_char};
use std::fmt;
use std::sync::Arc;

use devnp_abi as abi;

/// Wakes the control plane: something of a module's has failed, lost its link or is gone. Called from
/// workers and from threads of modules: it must not block.
#[derive(Clone)]
pub struct Alarm(Arc<dyn Fn() + Send + Sync>);

impl Alarm {
    /// An alarm that calls `ring`.
    #[must_use]
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(ring))
    }

    /// Wakes it.
    pub fn ring(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

/// A module says something; null is nothing.
///
/// # Safety
/// `text` is a C string or null.
pub unsafe fn log(name: &str, level: i32, text: *const c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: by this function's contract.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    match level {
        abi::LOG_ERROR => tracing::error!("{name}: {text}"),
        abi::LOG_WARNING => tracing::warn!("{name}: {text}"),
        abi::LOG_INFO => tracing::info!("{name}: {text}"),
        _ => tracing::debug!("{name}: {text}"),
    }
}

/// Writes an option's value with a terminator: its length, -1 if the option was not given, -2 if there is
/// no room.
///
/// # Safety
/// `key` is a C string or null; `to` has room for `len` bytes, or is null.
pub unsafe fn option(
    options: &[(String, Option<String>)],
    key: *const c_char,
    to: *mut c_char,
    len: usize,
) -> isize {
    if key.is_null() || to.is_null() {
        return -1;
    }
    // SAFETY: by this function's contract.
    let key = unsafe { CStr::from_ptr(key) }.to_string_lossy();
    let Some((_, value)) = options.iter().find(|(name, _)| *name == key) else { return -1 };
    let value = value.as_deref().unwrap_or_default();
    if value.len() >= len {
        return -2;
    }
    // SAFETY: `to` has room for `len` bytes, more than the value and its terminator.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len()) };
    // SAFETY: as above.
    let end = unsafe { to.add(value.len()) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    isize::try_from(value.len()).unwrap_or(-2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_written_whole_and_ended_or_not_at_all() {
        let options = [("key".to_owned(), Some("four".to_owned())), ("bare".to_owned(), None)];
        let ask = |key: &CStr, len: usize| {
            let mut to = [0x55; 8];
            // SAFETY: a C string, and room for more than is said.
            let said = unsafe { option(&options, key.as_ptr(), to.as_mut_ptr(), len) };
            (said, to.map(c_char::cast_unsigned))
        };
        assert_eq!(ask(c"key", 5), (4, *b"four\0UUU"));
        assert_eq!(ask(c"key", 4), (-2, [0x55; 8]), "no room for its end");
        assert_eq!(ask(c"bare", 1), (0, *b"\0UUUUUUU"));
        assert_eq!(ask(c"bare", 0), (-2, [0x55; 8]));
        assert_eq!(ask(c"ke", 8), (-1, [0x55; 8]));
    }
}
