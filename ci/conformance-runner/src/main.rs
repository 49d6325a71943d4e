//! Packet scripts: what TCP must do, one behaviour each, run against the engine in virtual time.
//!
//! * `script` is the language as values; `parse`, `parse_segment`, `parse_call` and `words` read it.
//! * `play` runs a script against a `stack::Stack`, with a `peer` for its relative numbers.
//! * `host`, `host_passive` and `host_socket` are the engine with sockets around it, in virtual time.
//! * `segment` is the wire format.

mod host;
mod host_passive;
mod host_socket;
mod parse;
mod parse_call;
mod parse_segment;
mod peer;
mod play;
mod script;
mod segment;
mod stack;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::script::Script;

/// Runs packet scripts: what TCP must do, one behaviour each.
#[derive(Debug, Parser)]
#[command(
    name = "conformance",
    after_help = "Examples:\n  ci/conformance\n  ci/conformance rcv-rst-established\n  \
                  ci/conformance -v call-close-established/fin"
)]
struct Args {
    /// Only scripts whose name begins like this.
    names: Vec<String>,
    /// Folder with the scripts.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts"))]
    scripts: PathBuf,
    /// Say each script's name.
    #[arg(short, long)]
    verbose: bool,
}

/// Names of all scripts, sorted: `folder/name`.
fn names(root: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(root)? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() || folder.file_name() == "given" {
            continue;
        }
        for file in std::fs::read_dir(folder.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "tcp") {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                names.push(format!("{}/{stem}", folder.file_name().to_string_lossy()));
            }
        }
    }
    names.sort();
    Ok(names)
}

fn load(args: &Args) -> Result<Vec<Result<Script, String>>, String> {
    let all = names(&args.scripts)
        .map_err(|error| format!("cannot list {}: {error}", args.scripts.display()))?;
    let wanted = |name: &String| {
        args.names.is_empty() || args.names.iter().any(|prefix| name.starts_with(prefix.as_str()))
    };
    let chosen: Vec<_> = all.into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(format!("no script is called {}", args.names.join(" or ")));
    }
    let read =
        |name: &String| parse::script(&args.scripts, name).map_err(|error| error.to_string());
    Ok(chosen.iter().map(read).collect())
}

fn run_virtual(scripts: &[Result<Script, String>], verbose: bool) -> (usize, usize) {
    let (mut passed, mut failed) = (0, 0);
    for script in scripts {
        let result = match script {
            Ok(script) => {
                let mut host = host::Host::new();
                play::play(script, &mut host).map_err(|what| format!("{}: {what}", script.title))
            }
            Err(error) => Err(error.clone()),
        };
        match result {
            Ok(()) => passed += 1,
            Err(what) => {
                failed += 1;
                println!("FAILED {what}");
            }
        }
        if verbose && let Ok(script) = script {
            println!("{}: {}", script.name, script.title);
        }
    }
    (passed, failed)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let scripts = match load(&args) {
        Ok(scripts) => scripts,
        Err(what) => {
            eprintln!("error: {what}");
            return ExitCode::from(64);
        }
    };
    let started = Instant::now();
    let (passed, failed) = run_virtual(&scripts, args.verbose);
    println!("in process: {} scripts in {:.2} s", scripts.len(), started.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed, 0 skipped");
    ExitCode::from(u8::from(failed > 0))
}
