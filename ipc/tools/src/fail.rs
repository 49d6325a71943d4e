//! How a tool fails: one line that says what, why and what to do next, and an exit code as in
//! sysexits.h.

use std::env;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::control::ANSWER_TIME_MAX;

/// The command was understood and failed.
pub(crate) const FAILED: u8 = 1;
/// `doctor` found problems.
pub(crate) const PROBLEMS: u8 = 2;
/// The command line is wrong (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// The daemon is absent, or does not answer (`EX_UNAVAILABLE`).
pub(crate) const ABSENT: u8 = 69;
/// Not allowed (`EX_NOPERM`).
pub(crate) const NOT_ALLOWED: u8 = 77;
/// The configuration is wrong (`EX_CONFIG`).
pub(crate) const BAD_CONFIG: u8 = 78;

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) code: u8,
    /// One line for stderr; empty if stdout has said it all.
    pub(crate) text: String,
    /// The daemon is there and does not answer.
    pub(crate) is_silence: bool,
}

impl Failure {
    pub(crate) const fn new(code: u8, text: String) -> Self {
        Self { code, text, is_silence: false }
    }

    pub(crate) const fn failed(text: String) -> Self {
        Self::new(FAILED, text)
    }

    pub(crate) const fn usage(text: String) -> Self {
        Self::new(USAGE, text)
    }

    /// The daemon at `socket` cannot be reached.
    pub(crate) fn unreachable(socket: &Path, prefix: &str, error: Errno) -> Self {
        let at = socket.display();
        match error {
            Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => {
                let (start, others) = (start_command(prefix), other_instances(socket));
                let text = format!("io-pkt is not running at {at}; start it: {start}{others}");
                Self::new(ABSENT, text)
            }
            Errno::ACCESS | Errno::PERM => Self::new(
                NOT_ALLOWED,
                format!(
                    "uid {} may not open {at}; look at: ls -l {at}; or: {}",
                    rustix::process::geteuid().as_raw(),
                    again_as_root()
                ),
            ),
            Errno::NAMETOOLONG => Self::new(
                BAD_CONFIG,
                format!(
                    "{at} is longer than a unix socket's path may be (107 bytes); set a shorter \
                     IOPKT_RUN"
                ),
            ),
            Errno::AGAIN => Self::silent(socket, ANSWER_TIME_MAX),
            error => Self::failed(format!(
                "cannot reach io-pkt at {at}: {}; see: iopkt doctor",
                describe(error.raw_os_error())
            )),
        }
    }

    /// The daemon is there and says nothing.
    pub(crate) fn silent(socket: &Path, within: Duration) -> Self {
        let text = format!(
            "io-pkt at {} does not answer within {} s; is it stopped or overloaded? see: top -H -p \
             $(pidof io-pkt); go on: kill -CONT $(pidof io-pkt)",
            socket.display(),
            within.as_secs()
        );
        Self { is_silence: true, ..Self::new(ABSENT, text) }
    }

    /// The daemon has no room for this connection.
    pub(crate) fn turned_away(socket: &Path, errno: i32) -> Self {
        let at = socket.display();
        Self::failed(if errno == Errno::NFILE.raw_os_error() {
            format!(
                "io-pkt at {at} has no descriptor left for another connection; end programs that hold \
                 many sockets, or raise its limit: prlimit --pid $(pidof io-pkt) --nofile=65536"
            )
        } else {
            format!(
                "io-pkt at {at} has as many connections as it can have; end some of its programs"
            )
        })
    }

    /// The daemon answers with something this binary does not understand.
    pub(crate) fn other_version(socket: &Path) -> Self {
        Self::failed(format!(
            "the daemon at {} speaks another version of the protocol than this iopkt ({}, \
             protocol {}); use the iopkt installed with it, or restart the daemon: see iopkt \
             --version and io-pkt --version",
            socket.display(),
            env!("CARGO_PKG_VERSION"),
            proto::VERSION
        ))
    }

    /// The daemon refused a change; `hint` is the next thing to do for the errno it gave.
    pub(crate) fn refused(what: &str, errno: i32, hint: &str) -> Self {
        let is = |e: Errno| e.raw_os_error() == errno;
        if is(Errno::PERM) || is(Errno::ACCESS) {
            let text = format!(
                "{what}: only root, the daemon's user and the group of its rgroup_allowed may change \
                 the stack; try: {}",
                again_as_root()
            );
            return Self::new(NOT_ALLOWED, text);
        }
        let next = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        Self::failed(format!("{what}: {}{next}", describe(errno)))
    }
}

/// The system's words for an errno, without the number.
pub(crate) fn describe(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// This very command with sudo, which drops the environment that chose the stack.
fn again_as_root() -> String {
    let mut words = vec!["sudo".to_owned()];
    for name in ["IOPKT_RUN", "SOCK"] {
        if let Ok(value) = env::var(name)
            && !value.is_empty()
        {
            words.push(quote(&format!("{name}={value}")));
        }
    }
    words.extend(env::args().map(|word| quote(&word)));
    words.join(" ")
}

/// A word as a POSIX shell takes it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The command that starts a stack of this prefix on a tap interface.
pub(crate) fn start_command(prefix: &str) -> String {
    let option = if prefix.is_empty() {
        String::new()
    } else {
        format!(" -p tcpip {}", quote(&format!("prefix={prefix}")))
    };
    format!("sudo io-pkt -d net_tap iface=iop0,address=198.18.77.2/24{option}")
}

/// Stacks that are there although the one asked for is not.
fn other_instances(socket: &Path) -> String {
    let found: Vec<_> = crate::control::instances()
        .into_iter()
        .filter(|prefix| proto::paths::socket_path(prefix) != socket)
        .map(
            |prefix| {
                if prefix.is_empty() { "--sock /".to_owned() } else { format!("--sock {prefix}") }
            },
        )
        .collect();
    if found.is_empty() { String::new() } else { format!("; others here: {}", found.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quote("10.0.0.1/24"), "10.0.0.1/24");
        assert_eq!(quote("a b'c"), r"'a b'\''c'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn errnos_have_words_and_no_numbers() {
        assert_eq!(describe(Errno::NETUNREACH.raw_os_error()), "Network is unreachable");
    }
}
