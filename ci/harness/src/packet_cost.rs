//! Does one thing to many packets, so that callgrind can count the instructions of one.
//!
//! `packet-cost udp-echo 1000` and the same with 11000: the difference is 10000 packets without the
//! start. Only `harness::path::counted` counts: the client's side and the peer's are outside of it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use harness::World;
use harness::forwarding::Size;
use harness::path::{BURST, Kind, Path, tick};

/// One worker, one client, one peer in this process, over `net_ring`, without hugepages.
#[derive(Debug, Parser)]
#[command(name = "packet-cost")]
struct Args {
    /// What is done to each packet.
    path: Kind,
    /// How many packets, rounded up to whole bursts.
    #[arg(default_value_t = 0)]
    count: u32,
    /// A driver module that is the wire, instead of net_ring.
    #[arg(long, value_name = "FILE")]
    wire: Option<String>,
    /// A protocol module that is loaded.
    #[arg(long, value_name = "FILE")]
    protocol: Option<String>,
    /// Workers there are; the first of them is looked at, with connections that are its own.
    #[arg(long, default_value_t = 1)]
    workers: u16,
    /// Packets that come at once, at most 32; fewer on paths of one socket only.
    #[arg(long, default_value_t = BURST, value_parser = clap::value_parser!(u32).range(1..=i64::from(BURST)))]
    burst: u32,
    /// Frames come as from a port that has found their checksums right.
    #[arg(long)]
    verified: bool,
    /// Routes of a router.
    #[arg(long, default_value_t = 1)]
    routes: u32,
    /// Neighbours of a router that packets are for, instead of hosts behind other routers.
    #[arg(long, default_value_t = 0)]
    neighbors: u32,
    /// Stations that a bridge knows.
    #[arg(long, default_value_t = 1000)]
    stations: u32,
    /// Times the packets instead: 15 samples of all that the worker does and of the port alone, ns.
    #[arg(long)]
    time: bool,
}

fn run(args: &Args) -> Result<(), String> {
    let mut world = match args.path {
        Kind::TcpReceiveLent => World::lending()?,
        _ => World::among(args.wire.as_deref(), args.workers)?,
    };
    world.verified = args.verified;
    if let Some(file) = &args.protocol {
        world.load_protocol(file)?;
    }
    let mut path = match args.path {
        Kind::Ip4Forward | Kind::Ip6Forward => {
            let size = Size { routes: args.routes, neighbors: args.neighbors };
            Path::forwarding(&mut world, args.path, size)?
        }
        Kind::L2Bridge => Path::bridged(&mut world, args.stations)?,
        kind => Path::new(&mut world, kind)?,
    };
    if args.time {
        for sample in harness::time::time(&mut world, &mut path, args.path)? {
            println!("{:.2} {:.2}", sample.path_ns, sample.port_ns);
        }
        return Ok(());
    }
    if args.burst != BURST && !path.set_burst_len(args.burst) {
        return Err("this path has bursts of 32".into());
    }
    let bursts = args.count.div_ceil(args.burst);
    let started = Instant::now();
    for _ in 0..bursts {
        let done = path.burst(&mut world, tick)?;
        world.events.clear();
        if done != args.burst {
            return Err(format!("{done} of {} packets came through", args.burst));
        }
    }
    let packets = bursts * args.burst;
    let each = started.elapsed().as_nanos() / u128::from(packets).max(1);
    println!("{packets} packets, {each} ns each with peer and client");
    Ok(())
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("packet-cost: {why}");
            ExitCode::FAILURE
        }
    }
}
