//! `AUTOCONNECT`, as in QNX: a program that finds no way to its peer has `/etc/autoconnect` run, which may dial or
//! add a route, and tries once more if that says it could.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libc::c_int;

use crate::abi::borrow;
use crate::errno::number_of;
use crate::process;
use crate::table::Held;

const SCRIPT: &str = "/etc/autoconnect";

/// Calls again, once, if there was no way to the peer and the script says that there is one now. A call that may not
/// wait has the script begin and fails; its program tries again when it sees fit.
pub(crate) fn with_a_way<T>(
    (fd, held, flags): (c_int, &Held, c_int),
    mut call: impl FnMut(c_int) -> io::Result<T>,
) -> io::Result<T> {
    let Some(script) = script() else { return call(fd) };
    let hold = held.socket.begin_call();
    let at = || hold.fd(borrow(&fd)).as_raw_fd();
    let result = call(fd);
    if !result.as_ref().is_err_and(is_about_the_way) {
        return result;
    }
    if !may_wait(at(), flags) {
        let _ = begin(script, &BACKGROUND, &PACE);
        return result;
    }
    if makes_one(script, &PACE) { call(at()) } else { result }
}

/// Says whether a call on this descriptor may wait.
fn may_wait(fd: c_int, flags: c_int) -> bool {
    // SAFETY: no pointers.
    let status = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags & libc::MSG_DONTWAIT == 0 && status >= 0 && status & libc::O_NONBLOCK == 0
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

/// A shell's words that run the script and wait for it. Its descriptor 3 holds the lock.
const FOREGROUND: [&str; 2] = ["-c", r#"exec 3<&0 "$0" </dev/null"#];

/// The same, which wait for nothing. Nobody sees the script end but the lock.
const BACKGROUND: [&str; 2] = ["-c", r#"exec 3<&0; "$0" </dev/null &"#];

/// How often the script is started: a program that tries again and again would start it as often.
struct Pace {
    between: Duration,
    /// When it last ended, and whether it has made a way.
    last: Mutex<Option<(Instant, bool)>>,
}

static PACE: Pace = Pace { between: Duration::from_secs(1), last: Mutex::new(None) };

impl Pace {
    /// What it came to the last time, if that was a moment ago, or else what `start` says.
    fn keep(&self, start: impl FnOnce() -> bool) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last {
            Some((at, made)) if at.elapsed() < self.between => made,
            _ => {
                let made = start();
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), made));
                made
            }
        }
    }
}

/// Runs the script, unless somebody is at it: then that is waited for. True: it is worth another try.
fn makes_one(script: &OsString, pace: &Pace) -> bool {
    begin(script, &FOREGROUND, pace)
        .unwrap_or_else(|| File::open(script).is_ok_and(|file| lock(&file, libc::LOCK_EX)))
}

/// Has a shell run the script, unless that was done a moment ago. `None`: somebody is at it.
fn begin(script: &OsString, shell: &[&str], pace: &Pace) -> Option<bool> {
    let Ok(file) = File::open(script) else { return Some(false) };
    if !lock(&file, libc::LOCK_EX | libc::LOCK_NB) {
        return None;
    }
    Some(pace.keep(|| {
        let mut command = Command::new("/bin/sh");
        let command = command.args(shell).arg(script).env_remove("AUTOCONNECT").stdin(file);
        command.status().is_ok_and(|status| status.success())
    }))
}

/// Whoever may read the script may hold this lock, which ends with the last copy of the file's descriptor.
fn lock(file: &File, how: c_int) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::flock(file.as_raw_fd(), how) == 0 }
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
        let pace = &Pace { between: Duration::ZERO, last: Mutex::new(None) };
        say("#!/bin/sh\nexit 0\n");
        assert!(makes_one(&script, pace));
        say("#!/bin/sh\nexit 1\n");
        assert!(!makes_one(&script, pace));
        let done = path.with_extension("done");
        say(&format!("#!/bin/sh\nsleep 0.2\ntouch {}\n", done.display()));
        assert_eq!(begin(&script, &BACKGROUND, pace), Some(true));
        assert!(!done.exists(), "nobody has waited");
        assert_eq!(begin(&script, &BACKGROUND, pace), None, "it is under way");
        assert!(makes_one(&script, pace) && done.exists());
        std::fs::remove_file(&done).unwrap();
        say(&format!("#!/bin/sh\necho >>{}\n", done.display()));
        let pace = &Pace { between: Duration::from_secs(3600), last: Mutex::new(None) };
        assert!((0..9).all(|_| makes_one(&script, pace)));
        assert_eq!(std::fs::read(&done).unwrap(), b"\n", "it was started once");
        std::fs::remove_file(&done).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!makes_one(&script, pace));
    }
}
