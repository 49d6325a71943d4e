//! The header, the library and the example as a C programmer meets them.

use std::collections::BTreeSet;
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
    for name in ["echo", "zerocopy", "route"] {
        let output = run(&compile("cc", &format!("examples/{name}.c"), name));
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr, format!("{name}: socket: Network is down (is io-pkt running?)\n"));
    }
}

/// The library's functions that are called or declared in C.
fn functions(source: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join(source)).unwrap();
    let called = text.split("iopkt_").skip(1).filter_map(|rest| rest.split_once('('));
    let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    called.map(|(name, _)| name).filter(is_name).map(|name| format!("iopkt_{name}")).collect()
}

#[test]
fn the_header_the_library_and_the_test_in_c_have_the_same_functions() {
    let mut nm = Command::new("nm");
    let nm = nm.args(["-D", "--defined-only"]).arg(built().join("libiopkt.so"));
    let listing = String::from_utf8(nm.output().unwrap().stdout).unwrap();
    let names = listing.split_whitespace().filter(|word| word.starts_with("iopkt_"));
    let mut header = functions("include/iopkt.h");
    header.extend(functions("include/iopkt_route.h"));
    assert_eq!(header, names.map(str::to_owned).collect());
    assert_eq!(header, functions("tests/kernel.c"));
}

#[test]
fn the_manual_pages_have_every_function_as_the_headers_declare_it() {
    for name in ["iopkt", "iopkt_route"] {
        let suffix = if name == "iopkt" { "" } else { "_socket" };
        let (header, page) = (format!("include/{name}.h"), format!("man/{name}{suffix}.3"));
        let missing = declared_but_not_in(&header, &page);
        assert!(missing.is_empty(), "{page} lacks {missing:#?}");
    }
}

/// Functions of a header that a page does not have in the same words.
fn declared_but_not_in(header: &str, page: &str) -> Vec<String> {
    // Words and stars alone: a page breaks its lines elsewhere, and sets names in italics.
    let plain = |text: &str| text.replace(['"', '\n', ' '], "");
    let read = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
    let page = read(page);
    let synopsis = page.split(".SH DESCRIPTION").next().unwrap();
    let synopsis = plain(&synopsis.replace(".BI ", ""));
    let header = read(header);
    let declarations = header
        .split(";\n")
        .filter_map(|text| text.rsplit_once("*/\n").map_or(Some(text), |(_, after)| Some(after)));
    declarations
        .filter(|text| text.contains(" iopkt_") && !text.trim_start().starts_with(['/', '*', '#']))
        // What structures hold is the page's to say in words.
        .filter(|text| !(text.trim_start().starts_with("struct ") && text.contains('{')))
        .filter(|text| !synopsis.contains(&plain(&format!("{};", text.trim()))))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_function_of_the_header_works_on_the_kernels_descriptors() {
    let output = run(&compile("cc", "tests/kernel.c", "kernel"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{stderr}");
}
