//! The header, the library and the example as a C programmer meets them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where this test's own file is, and the library beside it.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// Compiles a program; every warning is an error.
fn compile(compiler: &str, source: &str, name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    assert!(built().join("libiopkt.so").exists(), "libiopkt.so has not been built");
    let output = Command::new(compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-O1", "-I"])
        .arg(folder().join("include"))
        .arg("-o")
        .arg(&program)
        .arg(folder().join(source))
        .arg("-L")
        .arg(built())
        .arg("-liopkt")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn run(program: &Path) -> Output {
    Command::new(program)
        .env("LD_LIBRARY_PATH", built())
        .env("IOPKT_RUN", Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-stack-here"))
        .output()
        .unwrap()
}

#[test]
fn the_examples_compile_and_say_what_they_miss() {
    for name in ["echo", "zerocopy"] {
        let output = run(&compile("cc", &format!("examples/{name}.c"), name));
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, format!("{name}: socket: Network is down (is io-pkt running?)\n"));
    }
}

#[test]
fn every_function_of_the_header_works_on_the_kernels_descriptors() {
    let output = run(&compile("cc", "tests/kernel.c", "kernel"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{stderr}");
}
