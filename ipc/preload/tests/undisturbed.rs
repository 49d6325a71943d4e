//! Programs under the preloaded library with no stack running: those that need none run as ever,
//! those that need one are told.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The library under test, beside this program's own file.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().join("libiopkt_preload.so")
}

fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    assert!(library().exists(), "{} has not been built", library().display());
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-stack-here");
    Command::new(program)
        .args(arguments)
        .env("LD_PRELOAD", library())
        .env("IOPKT_RUN", nowhere)
        .env_remove("SOCK")
        .env_remove("IOPKT_FALLBACK")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn prints(output: &Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{stderr}");
    assert_eq!(stderr, "");
}

fn python(script: &str) -> Output {
    run("python3", &["-c", script], &[])
}

fn python_on_kernel(script: &str) -> Output {
    run("python3", &["-c", script], &[("IOPKT_FALLBACK", "kernel")])
}

#[test]
fn a_shell_with_pipes_and_redirections() {
    let script = "exec 7>&1; { echo a; echo b; echo c; } | cat | wc -l >&7; echo done 2>/dev/null";
    prints(&run("bash", &["-c", script], &[]), "3\ndone");
}

#[test]
fn curl_says_its_version() {
    let output = run("curl", &["--version"], &[]);
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"curl "));
    assert_eq!(output.stderr, b"");
}

#[test]
fn python_with_children_of_every_kind() {
    prints(
        &python(include_str!("scripts/children.py")),
        "fork 0\nvfork hello\nspawn 0\nthreads 64",
    );
}

#[test]
fn sockets_of_other_families_are_the_kernels() {
    prints(&python(include_str!("scripts/families.py")), "unix ok\nnetlink ok");
}

#[test]
fn files_copied_and_sent_as_ever() {
    prints(&python(include_str!("scripts/files.py")), "sendfile 100000\nfcntl ok\nclosed ok");
}

#[test]
fn without_a_stack_the_network_is_down() {
    let script = "import socket\n\
                  udplite = 136  # which a module may have\n\
                  for family in (socket.AF_INET, socket.AF_INET6):\n\
                  \x20 for kind in ((socket.SOCK_STREAM,), (socket.SOCK_DGRAM,), (socket.SOCK_DGRAM, udplite)):\n\
                  \x20  try: socket.socket(family, *kind)\n\
                  \x20  except OSError as e: print(e.errno)";
    let output = python(script);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"100\n".repeat(6));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("no-stack-here/dev/socket"), "{stderr}");
    assert!(stderr.contains("io-pkt"), "{stderr}");
}

#[test]
fn the_alternative_stack_is_named_when_it_is_missing() {
    let script = "import socket\ntry: socket.socket()\nexcept OSError: pass";
    let output = run("python3", &["-c", script], &[("SOCK", "/alt")]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no-stack-here/alt/dev/socket"), "{stderr}");
}

#[test]
fn a_kernel_allowed_as_fallback_serves_http() {
    prints(&python_on_kernel(include_str!("scripts/http.py")), "200 hello");
}

#[test]
fn a_kernel_allowed_as_fallback_carries_datagrams() {
    prints(&python_on_kernel(include_str!("scripts/datagrams.py")), "a\nb\nc");
}
