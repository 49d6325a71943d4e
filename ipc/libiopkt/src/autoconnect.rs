//! `AUTOCONNECT`, as in QNX: a program that finds no way to its peer has `/etc/autoconnect` run, which may dial or
//! add a route, and tries once more if that says it could.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::errno::number_of;
use crate::process;

const SCRIPT: &str = "/etc/autoconnect";

/// Calls again, once, if there was no way to the peer and the script says that there is one now.
pub(crate) fn with_a_way<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match call() {
        Err(error) if is_about_the_way(&error) && script().is_some_and(makes_one) => call(),
        result => result,
    }
}

fn is_about_the_way(error: &io::Error) -> bool {
    matches!(number_of(error), libc::EHOSTUNREACH | libc::ENETUNREACH)
}

/// The script, if it is wanted: `AUTOCONNECT` is set, and not 0. Read once.
fn script() -> Option<&'static OsString> {
    static WANTED: OnceLock<Option<OsString>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        // SAFETY: no pointers.
        if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
            // Whoever runs a program with another's rights does not choose what it runs.
            return None;
        }
        let is_on =
            env::var_os("AUTOCONNECT").is_some_and(|value| !value.is_empty() && value != "0");
        let path = || env::var_os("IOPKT_AUTOCONNECT").unwrap_or_else(|| SCRIPT.into());
        is_on.then(path)
    });
    // A child in its parent's memory starts nothing.
    wanted.as_ref().filter(|_| !process::is_guest())
}

/// Runs the script, unless somebody is at it: then that is waited for. True: it is worth another try.
fn makes_one(script: &OsString) -> bool {
    let Ok(file) = File::open(script) else { return false };
    // Whoever may read the script may hold this lock, which ends with the file's descriptor.
    let lock = |how| {
        // SAFETY: no pointers.
        unsafe { libc::flock(file.as_raw_fd(), how) == 0 }
    };
    if !lock(libc::LOCK_EX | libc::LOCK_NB) {
        return lock(libc::LOCK_EX);
    }
    let mut command = Command::new(script);
    let status = command.env_remove("AUTOCONNECT").stdin(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::os;

    #[test]
    fn only_want_of_a_way_is_a_reason() {
        assert!(
            is_about_the_way(&os(libc::ENETUNREACH)) && is_about_the_way(&os(libc::EHOSTUNREACH))
        );
        assert!(!is_about_the_way(&os(libc::ECONNREFUSED)));
    }

    #[test]
    fn a_script_is_run_to_its_end_and_asked_how_it_went() {
        let path = env::temp_dir().join(format!("iopkt-autoconnect-{}", std::process::id()));
        let say = |text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let script = OsString::from(&path);
        say("#!/bin/sh\nexit 0\n");
        assert!(makes_one(&script));
        say("#!/bin/sh\nexit 1\n");
        assert!(!makes_one(&script));
        std::fs::remove_file(&path).unwrap();
        assert!(!makes_one(&script));
    }
}
