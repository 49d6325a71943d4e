//! Packet scripts: what TCP must do, one behaviour each, run against the engine in virtual time, and
//! in real time against the daemon and against Linux.
//!
//! * `script` is the language as values; `parse`, `parse_segment`, `parse_call` and `words` read it.
//! * `play` runs a script against a `stack::Stack`, with a `peer` for its relative numbers.
//! * `host`, `host_passive`, `host_fast_open` and `host_socket` are the engine with sockets around it,
//!   in virtual time.
//! * `live`, `wire` and `sys` are sockets and frames in real time; `parallel` runs many scripts there.
//! * `segment` is the wire format, `matrix` the page that says which script shows what.

mod host;
mod host_fast_open;
mod host_passive;
mod host_socket;
mod live;
mod matrix;
mod parallel;
mod parse;
mod parse_call;
mod parse_segment;
mod peer;
mod play;
mod script;
mod segment;
mod stack;
mod sys;
mod wire;
mod words;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::parallel::{Trial, Verdict};
use crate::wire::Wire;

const MATRIX_PAGE: &str = "MATRIX.md";
const LINUX_PAGE: &str = "linux-differences.md";
const DAEMON_PAGE: &str = "daemon-differences.md";
/// A link that is up answers sooner.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Folder with the scripts; the pages are next to it.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts"))]
    scripts: PathBuf,
    /// Name each script and what it shows, or why it was skipped.
    #[arg(short, long)]
    verbose: bool,
    /// Write the page that says which script shows which clause.
    #[arg(long)]
    matrix: bool,
    /// Run in real time: sockets are this process's, peers are at this interface.
    #[arg(long, value_name = "INTERFACE")]
    live: Option<String>,
    /// The stack is Linux: compare with the list of its differences.
    #[arg(long, requires = "live")]
    kernel: bool,
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

/// Those that the command line asks for.
fn chosen(args: &Args) -> Result<Vec<String>, String> {
    let all = names(&args.scripts)
        .map_err(|error| format!("cannot list {}: {error}", args.scripts.display()))?;
    let wanted = |name: &String| {
        args.names.is_empty() || args.names.iter().any(|prefix| name.starts_with(prefix.as_str()))
    };
    let chosen: Vec<_> = all.into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        return Err(format!("no script is called {}", args.names.join(" or ")));
    }
    Ok(chosen)
}

/// Each script twice: a connection may sleep whenever nothing goes on, and nobody can tell.
fn run_virtual(args: &Args, names: &[String]) -> BTreeMap<String, Verdict> {
    let run = |name: &String| {
        let played = parse::script(&args.scripts, name)
            .map_err(|error| error.to_string())
            .and_then(|script| {
                play::play(&script, &mut host::Host::new(false))?;
                play::play(&script, &mut host::Host::new(true))
                    .map_err(|what| format!("connections sleep: {what}"))
            });
        (name.clone(), played.map_or_else(Verdict::Failed, |()| Verdict::Passed))
    };
    names.iter().map(run).collect()
}

fn run_live(
    args: &Args,
    names: &[String],
    interface: &str,
) -> Result<BTreeMap<String, Verdict>, String> {
    let no_link = |error: std::io::Error| format!("{interface}: {error}");
    let wire = Wire::open(interface).map_err(no_link)?;
    let deadline = Instant::now() + LINK_PATIENCE;
    while !wire.is_up() {
        if Instant::now() > deadline {
            return Err(format!("{} does not answer ARP at {interface}", wire::STACK));
        }
        wire.ask(Ipv4Addr::new(198, 18, 255, 1)).map_err(no_link)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let trial = if args.kernel { Trial::Kernel } else { Trial::Daemon };
    let mut verdicts = parallel::run(&args.scripts, names, &wire, trial);
    let page = if args.kernel { LINUX_PAGE } else { DAEMON_PAGE };
    let explained = parallel::differences(&read_page(args, page)?);
    parallel::explain(&mut verdicts, &explained, trial, args.names.is_empty());
    Ok(verdicts)
}

fn page_path(args: &Args, page: &str) -> PathBuf {
    args.scripts.parent().unwrap_or_else(|| Path::new(".")).join(page)
}

fn read_page(args: &Args, page: &str) -> Result<String, String> {
    let path = page_path(args, page);
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The matrix as it should be, and the pairs of event and state that no script is about.
fn matrix_page(args: &Args, names: &[String]) -> Result<(String, Vec<String>), String> {
    let scripts: Result<Vec<_>, _> =
        names.iter().map(|name| parse::script(&args.scripts, name)).collect();
    scripts
        .map(|scripts| (matrix::page(&scripts), matrix::missing(&scripts)))
        .map_err(|error| error.to_string())
}

fn report(args: &Args, verdicts: &BTreeMap<String, Verdict>) -> (usize, usize, usize) {
    let (mut passed, mut failed, mut skipped, mut explained) = (0, 0, 0, 0);
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for (name, verdict) in verdicts {
        match verdict {
            Verdict::Passed => {
                passed += 1;
                if args.verbose {
                    println!("ok {name}");
                }
            }
            Verdict::Explained(reason) => {
                passed += 1;
                explained += 1;
                if args.verbose {
                    println!("explained {name}: {reason}");
                }
            }
            Verdict::Failed(what) => {
                failed += 1;
                println!("FAILED {what}");
            }
            Verdict::Skipped(reason) => {
                skipped += 1;
                *reasons.entry(reason.clone()).or_insert(0) += 1;
                if args.verbose {
                    println!("skipped {name}: {reason}");
                }
            }
        }
    }
    if explained > 0 {
        println!("{explained} of those that pass differ from the script as the list explains");
    }
    for (reason, count) in reasons {
        println!("skipped {count}: {reason}");
    }
    (passed, failed, skipped)
}

fn run(args: &Args) -> Result<bool, String> {
    let names = chosen(args)?;
    let started = Instant::now();
    if args.matrix {
        let path = page_path(args, MATRIX_PAGE);
        let (page, _) = matrix_page(args, &names)?;
        std::fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote {}", path.display());
        return Ok(true);
    }
    let mut verdicts = match &args.live {
        Some(interface) => run_live(args, &names, interface)?,
        None => run_virtual(args, &names),
    };
    if args.live.is_none() && args.names.is_empty() {
        let (page, missing) = matrix_page(args, &names)?;
        let fresh = page == read_page(args, MATRIX_PAGE).unwrap_or_default();
        let mut wrong =
            missing.iter().map(|pair| format!("no script in {pair}/")).collect::<Vec<_>>();
        if !fresh {
            wrong.push("MATRIX.md is stale: ci/conformance --matrix".to_owned());
        }
        let fine = wrong.is_empty();
        let verdict = if fine { Verdict::Passed } else { Verdict::Failed(wrong.join("\n")) };
        let _ = verdicts.insert("matrix".to_owned(), verdict);
    }
    let (passed, failed, skipped) = report(args, &verdicts);
    println!("{} scripts in {:.2} s", names.len(), started.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(fine) => ExitCode::from(u8::from(!fine)),
        Err(what) => {
            eprintln!("error: {what}");
            ExitCode::from(64)
        }
    }
}
