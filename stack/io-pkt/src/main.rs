//! The daemon: one process owns the interfaces and serves many clients.
//!
//! * `argv`, `args`, `config`, `stack_options` (`-p tcpip`), `tuning` (the tunables): what it is to do.
//! * `start`: from there to a running daemon, and back; `control_path` (socket and lock), `privileges` (`-U`, `-I`), `watchdog` (`-w`).
//! * `worker_thread`: a worker on its core; the stack itself is the crate `inet`.
//! * `control`: the control thread; `drivers` (ports that come and go), `openings` (how modules become ports), `nic` (what tools ask of them), `protocols` (modules), `connection`, `client` (memory and sockets that processes share),
//!   `applications` (of DPDK, that packets are shown to), `requests`, `pending` (calls that wait for a worker), `tables` (what tools are shown), `network_state`, `port_table`,
//!   `options` are its parts.
#![forbid(unsafe_code)]

mod accept_queue;
mod addresses;
mod applications;
mod args;
mod argv;
mod bridges;
mod client;
mod cloned;
mod config;
mod connection;
mod control;
mod control_path;
mod device;
mod dhcp;
mod drivers;
mod ended;
mod ephemeral;
mod error;
mod ipv4ll;
mod laggs;
mod links;
#[cfg(test)]
mod manual;
mod members;
mod module_sockets;
mod monitor;
mod neighbors;
mod network_state;
mod nic;
mod openings;
mod option_requests;
mod options;
mod pending;
mod port_table;
mod privileges;
mod protocols;
mod publish;
mod quota;
mod raw_sockets;
mod requests;
mod socket_table;
mod stack_options;
mod start;
mod tables;
mod tuning;
mod wake;
mod watchdog;
mod worker_thread;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_default();
    let (ident, lacks) = argv::personality(&program);
    let command = args::Args::command().name(ident).bin_name(ident);
    let argv::Words { words, strays } = argv::split(std::env::args_os(), &command);
    let matches = match command.try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            let usage = error.use_stderr();
            // Nowhere left to report that the report failed.
            let _ = error.print();
            return ExitCode::from(if usage { 64 } else { 0 });
        }
    };
    let args = match args::Args::from_arg_matches(&matches) {
        Ok(args) => args::Args { strays, ..args },
        Err(error) => error.exit(),
    };
    let level = match args.verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .init();
    let outcome = config::Config::of(&args, &matches).and_then(|mut config| {
        config.notes.extend(lacks.map(|what| format!("{ident}: {what}")));
        config.tuning.fixed.ident = ident.into();
        config.notes.iter().for_each(|note| tracing::warn!("{note}"));
        if args.check { config.check() } else { start::run(&config) }
    });
    let code = outcome.map_or_else(
        |error| {
            tracing::error!("{error}");
            error.exit_code()
        },
        |()| 0,
    );
    // A module that never ends loading does not keep the daemon.
    devnp::exit_if_linking(code);
    ExitCode::from(code)
}
