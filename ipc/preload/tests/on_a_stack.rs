//! Unmodified programs on a stack: a daemon whose network is its own clients' sockets.

#[allow(
    clippy::needless_pass_by_value,
    clippy::or_fun_call,
    reason = "the file is another crate's, which is checked there"
)]
#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use std::process::Command;

use fake::Fake;

/// Runs a Python program as client of a fresh daemon; it says one word per thing that was right.
#[track_caller]
fn says(script: &str, words: &[&str]) {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libiopkt_preload.so");
    assert!(library.exists(), "{} has not been built", library.display());
    let daemon = Fake::start(2);
    let run_dir = daemon.path().parent().unwrap().parent().unwrap();
    let output = Command::new("timeout")
        .args(["60", "python3", "-c", script])
        .env("LD_PRELOAD", library)
        .env("IOPKT_RUN", run_dir)
        .env_remove("SOCK")
        .env_remove("IOPKT_FALLBACK")
        .env_remove("IOPKT_LOOPBACK")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout.lines().collect::<Vec<_>>(), words, "{}: {stderr}", output.status);
    assert!(output.status.success(), "{}: {stderr}", output.status);
}

#[test]
fn streams() {
    let words = ["accepted", "read", "copies", "replaced", "sendfile", "sigpipe", "refused"];
    says(include_str!("scripts/stream.py"), &words);
}

#[test]
fn datagrams() {
    says(include_str!("scripts/datagram.py"), &["single", "batch"]);
}

#[test]
fn children_share_and_close_sockets_of_their_parent() {
    says(include_str!("scripts/descendants.py"), &["fork", "closers", "range"]);
}

#[test]
fn loopback_is_the_kernels() {
    let words = ["bound", "connected", "sent", "bound elsewhere"];
    says(include_str!("scripts/loopback.py"), &words);
}
