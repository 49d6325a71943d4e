//! `iopkt`: the tools of a running io-pkt in one binary.
//!
//! Each tool asks the daemon over its control socket and prints what it says; none runs DPDK, so
//! they start in milliseconds and an ordinary user may read everything.
//!
//! * [`cli`]: the words of the command line.
//! * [`control`]: the connection to the daemon.
//! * [`fail`]: one line of what, why and what next; and the exit code.
//! * [`output`]: stdout, tables, and escaping what strangers chose.
//! * [`help`]: what `--help` says.
//! * one module per tool: [`ifconfig`], [`brconfig`], [`netstat`], [`arp`] (`arp`, `ndp`), [`route`], [`lists`]
//!   (clients, workers, status), [`top`], [`mount`] (mount, umount, modules), [`nic`] (nicinfo), [`sysctl`],
//!   [`path`], [`ping`] and [`traceroute`] (over [`probe`], which uses sockets of the stack), [`sockstat`],
//!   [`run`], [`rings`], [`doctor`].
#![forbid(unsafe_code)]

mod address;
mod arp;
mod brconfig;
mod cli;
mod control;
mod doctor;
mod fail;
mod fpm;
mod help;
mod ifconfig;
mod lists;
mod mount;
mod netstat;
mod nic;
mod output;
mod path;
mod ping;
mod preload;
mod probe;
mod qnet;
mod rings;
mod route;
mod run;
mod sockstat;
mod sysctl;
mod top;
mod traceroute;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command};
use fail::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments(env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!("iopkt: {}", failure.text);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let sock = cli.sock;
    match cli.command {
        Command::Ifconfig(args) => ifconfig::main(sock, args),
        Command::Brconfig(args) => brconfig::main(sock, args),
        Command::Netstat(args) => netstat::main(sock, &args),
        Command::Arp(args) => arp::main(sock, &args, arp::Family::Inet),
        Command::Ndp(args) => arp::main(sock, &args, arp::Family::Inet6),
        Command::Ifmcstat(args) => lists::groups(sock, args.json),
        Command::Ping(args) => ping::main(sock, &args, false),
        Command::Ping6(args) => ping::main(sock, &args, true),
        Command::Traceroute(args) => traceroute::main(sock, &args),
        Command::Sockstat(args) => sockstat::main(sock, &args),
        Command::Route(args) => route::main(sock, args),
        Command::Fpm(args) => fpm::main(sock, &args),
        Command::Clients(args) => lists::clients(sock, args.json),
        Command::Workers(args) => lists::workers(sock, args.json),
        Command::Top(args) => top::run(sock, &args),
        Command::Status(args) => lists::status(sock, args.json),
        Command::Mount(args) => mount::mount(sock, &args),
        Command::Umount(args) => mount::umount(sock, &args),
        Command::Modules(args) => mount::modules(sock, args.json),
        Command::Sysctl(args) => sysctl::main(sock, &args),
        Command::Nicinfo(args) => nic::nicinfo(sock, &args),
        Command::Path(args) => path::main(sock, args),
        Command::Qnet(args) => qnet::main(sock, args),
        Command::Run(args) => run::main(sock, &args),
        Command::Rings(args) => rings::main(sock, &args),
        Command::Env(args) => run::env(sock, args.loopback),
        Command::Doctor(args) => doctor::main(sock, args.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "iopkt", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
        Command::Man { command } => man(command.as_deref()),
    }
}

/// Links with these names to the binary are those tools.
const TOOLS: [&str; 12] = [
    "arp",
    "brconfig",
    "ifconfig",
    "ifmcstat",
    "ndp",
    "netstat",
    "ping",
    "ping6",
    "route",
    "sockstat",
    "sysctl",
    "traceroute",
];

/// Named as one of its tools the binary is that tool.
fn arguments(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().and_then(|a| Path::new(a).file_name()).map(OsString::from);
    if let Some(name) = name
        && TOOLS.iter().any(|tool| name == *tool)
    {
        arguments.insert(1, name);
    }
    arguments
}

/// Help and version are answers; everything else is a mistake of the caller.
fn usage(error: &clap::Error) -> ExitCode {
    let _closed_pipe = error.print();
    if error.use_stderr() { ExitCode::from(fail::USAGE) } else { ExitCode::SUCCESS }
}

fn man(command: Option<&str>) -> Result<(), Failure> {
    let mut root = Cli::command();
    root.build();
    let page = match command {
        None => root,
        Some(name) => root
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Failure::usage(format!("no command {name:?}; see: iopkt --help")))?,
    };
    let examples = page.get_before_long_help().map(ToString::to_string).unwrap_or_default();
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error| Failure::failed(format!("cannot write the page: {error}")))?;
    let examples =
        examples.trim_start_matches("Examples:\n").replace('\\', "\\e").replace('-', "\\-");
    let page = String::from_utf8_lossy(&text);
    output::print(&format!("{page}.SH EXAMPLES\n.nf\n{examples}\n.fi\n"))
}
