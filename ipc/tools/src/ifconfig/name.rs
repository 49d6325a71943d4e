//! `ifconfig IF name NEW`.

use proto::Request;
use rustix::io::Errno;

use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::escape;

/// Gives an interface another name.
pub(super) fn rename(sock: Option<String>, name: &str, words: &[String]) -> Result<(), Failure> {
    let [new] = words else {
        return Err(Failure::usage(
            "name wants one word, alone, as in: iopkt ifconfig tap0 name wan0".into(),
        ));
    };
    let request = Request::Rename { interface: name.into(), name: new.clone() };
    Control::open(sock)?.change(request).map_err(|error| match error {
        CallError::Broken(failure) => failure,
        CallError::Refused(errno) => {
            let what = format!("{}: cannot be named {:?}", escape(name), escape(new));
            Failure::refused(&what, errno, hint(errno))
        }
    })
}

fn hint(errno: i32) -> &'static str {
    match Errno::from_raw_os_error(errno) {
        Errno::NXIO => "there is no such interface; see: iopkt ifconfig -l",
        Errno::BUSY => {
            "a module has it by its name, attached or in its options (bind=); see: iopkt modules"
        }
        Errno::EXIST => "another interface has that name; see: iopkt ifconfig -l",
        Errno::INVAL => {
            "a name is a letter and up to 14 letters, digits, - _ or .; lo0 keeps its own"
        }
        _ => "the daemon's log says more",
    }
}
