//! `iopkt run` and `iopkt env`: unmodified programs on the stack.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Access, access};
use types::nearest;

use crate::cli::{Loopback, RunArgs, preload_from_environment};
use crate::control::{Control, prefix};
use crate::fail::{BAD_CONFIG, Failure, NOT_ALLOWED, quote};
use crate::output::print;
use crate::preload;
use crate::qnet;

/// The program was found and could not be started, as env(1) has it.
const NOT_EXECUTABLE: u8 = 126;
/// The program was not found, as env(1) has it.
const NOT_FOUND: u8 = 127;

/// Runs `run`: checks what would otherwise fail in the program without a word, then becomes it.
pub(crate) fn main(sock: Option<String>, args: &RunArgs) -> Result<(), Failure> {
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::usage(
            "which program? as in: iopkt run -- curl http://198.18.77.1/".into(),
        ));
    };
    if program.as_encoded_bytes().starts_with(b"-") {
        return Err(Failure::usage(no_option(&program.to_string_lossy())));
    }
    let variables = variables(sock.clone(), args.loopback)?;
    let prefix = prefix(sock.clone());
    if proto::paths::far(&prefix).is_some() {
        qnet::look_for_sockets(&prefix)?;
    } else {
        let _answers = Control::open(sock)?.daemon()?;
    }
    if let Some(path) = in_path(program)
        && let Some(reason) = preload::unreached(&path)
    {
        eprintln!(
            "iopkt: note: {} {}; it will use the kernel's network",
            path.display(),
            reason.text()
        );
    }
    let error = Command::new(program).args(rest).envs(variables).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    let name = program.display();
    Err(Failure::new(
        code,
        format!("cannot run {name}: {error}; is it spelled right? command -v {name}"),
    ))
}

/// No program's name begins with a hyphen.
fn no_option(word: &str) -> String {
    let name = word.split('=').next().unwrap_or(word);
    let near = nearest(name, ["--loopback", "--sock", "--help"]).unwrap_or("--help");
    format!("unknown option {name}; did you mean: iopkt run {near}? a program comes after --")
}

/// Runs `env`.
pub(crate) fn env(sock: Option<String>, loopback: Option<Loopback>) -> Result<(), Failure> {
    let mut text = String::new();
    for (name, value) in variables(sock, loopback)? {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "export {name}={}", quote(&value.to_string_lossy()));
    }
    print(&text)
}

/// What the preload library reads, and the variable that makes the loader load it.
fn variables(
    sock: Option<String>,
    loopback: Option<Loopback>,
) -> Result<Vec<(&'static str, OsString)>, Failure> {
    let library = library()?;
    let run = proto::paths::run_dir();
    let run = std::path::absolute(&run).unwrap_or(run);
    let mut variables = vec![
        ("LD_PRELOAD", prepend(&library, env::var_os("LD_PRELOAD"))?),
        ("SOCK", prefix(sock).into()),
        ("IOPKT_RUN", run.into_os_string()),
    ];
    if let Some(loopback) = loopback {
        let value = match loopback {
            Loopback::Stack => "stack",
            Loopback::Kernel => "kernel",
        };
        variables.push(("IOPKT_LOOPBACK", value.into()));
    }
    Ok(variables)
}

fn library() -> Result<PathBuf, Failure> {
    let executable = env::current_exe().unwrap_or_default();
    let chosen = preload_from_environment();
    let path =
        preload::find(chosen, &executable, &preload::system_folders()).map_err(|missing| {
            hidden(&missing).unwrap_or_else(|| Failure::new(BAD_CONFIG, missing.text()))
        })?;
    let shown = path.display();
    let install = format!("sudo install -m 755 {shown} /usr/local/lib/libiopkt-preload.so");
    if access(&path, Access::READ_OK).is_err() {
        let uid = rustix::process::getuid().as_raw();
        return Err(Failure::new(
            NOT_ALLOWED,
            format!("uid {uid} may not read {shown}; {install}"),
        ));
    }
    if rustix::process::getuid().is_root()
        && let Some(barrier) = preload::barrier(&path)
    {
        eprintln!(
            "iopkt: note: ordinary users cannot read {shown} because of {}; for them: {install}",
            barrier.display()
        );
    }
    Ok(path)
}

/// A library that may be there, in a folder that this user may not look into.
fn hidden(missing: &preload::NotFound) -> Option<Failure> {
    let denied = |path: &&PathBuf| {
        fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let path = missing.looked.iter().find(denied)?.display();
    let uid = rustix::process::getuid().as_raw();
    let text = format!(
        "uid {uid} may not look for {path}; sudo install -m 755 {path} \
         /usr/local/lib/libiopkt-preload.so"
    );
    Some(Failure::new(NOT_ALLOWED, text))
}

/// `LD_PRELOAD` with our library first. The loader splits the list at blanks and colons.
fn prepend(library: &Path, list: Option<OsString>) -> Result<OsString, Failure> {
    if library.as_os_str().as_encoded_bytes().iter().any(|b| matches!(b, b' ' | b':')) {
        let text = format!(
            "{} has a blank or a colon in its path, which LD_PRELOAD cannot name; copy it \
             elsewhere",
            library.display()
        );
        return Err(Failure::new(BAD_CONFIG, text));
    }
    let mut value = library.as_os_str().to_owned();
    let list = list.unwrap_or_default();
    for entry in list.as_encoded_bytes().split(|b| matches!(b, b' ' | b':')) {
        let entry = entry_of(entry);
        if !entry.is_empty() && entry != library.as_os_str() {
            value.push(":");
            value.push(entry);
        }
    }
    Ok(value)
}

fn entry_of(bytes: &[u8]) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

/// The file that `exec` would find for this name.
fn in_path(program: &OsStr) -> Option<PathBuf> {
    let path = Path::new(program);
    if path.components().count() > 1 || path.is_absolute() {
        return Some(path.to_owned());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(path)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_is_no_program() {
        assert!(no_option("--lopback=stack").contains("iopkt run --loopback"));
        assert!(no_option("-x").contains("unknown option -x"));
    }

    #[test]
    fn our_library_comes_first_and_once() {
        let ours = Path::new("/x/libiopkt-preload.so");
        let with = |list: &str| prepend(ours, Some(list.into())).expect("valid");
        assert_eq!(prepend(ours, None).expect("valid"), "/x/libiopkt-preload.so");
        assert_eq!(with("/a.so /b.so"), "/x/libiopkt-preload.so:/a.so:/b.so");
        assert_eq!(with("/a.so:/x/libiopkt-preload.so"), "/x/libiopkt-preload.so:/a.so");
        assert!(prepend(Path::new("/a b/x.so"), None).is_err());
    }
}
