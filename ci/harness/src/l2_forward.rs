//! Forwards frames between two ports of one driver, each of which gives back what it is sent: DPDK's
//! `net_ring`, or a module such as `pmd-drivers/template/driver.c`.
//!
//! `l2-forward ./devnp-example.so --count 10000000` loads it, forwards, unloads it, and says what was
//! left. For `ci/bench` callgrind counts [`forward`] alone.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use devnp::{Alarm, AttachEnv, DriverSpec, Modules, Port, RxQueue, TxQueue, Units, attach_all};
use dpdk::{Burst, Eal, EalArgs, Memory, Mempool, MempoolOptions};

/// Two ports of a driver in this process, without hugepages.
#[derive(Debug, Parser)]
#[command(name = "l2-forward")]
struct Args {
    /// The driver: a name, or a module's whole path.
    driver: String,
    /// How many frames to forward, rounded up to bursts.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
}

/// Frames under way: a few bursts, so that each finds a full one.
const FRAMES: usize = 128;
/// Bytes of each.
const FRAME_LEN: u16 = 60;

/// What a bridge does at least: takes a burst, exchanges the addresses, sends it.
#[inline(never)]
fn forward(from: &mut RxQueue, to: &mut TxQueue, burst: &mut Burst) -> usize {
    let _ = from.rx_burst(burst);
    for frame in burst.iter_mut() {
        if let Some(addresses) = frame.data_mut().first_chunk_mut::<12>() {
            addresses.rotate_left(6);
        }
    }
    to.tx_burst(burst)
}

fn is_module(driver: &str) -> bool {
    driver.starts_with('/')
}

fn attach(eal: &Eal, driver: &str, pool: &Mempool) -> Result<Port, String> {
    let user = std::fs::metadata("/proc/self").map_err(|e| e.to_string())?;
    let user = std::os::unix::fs::MetadataExt::uid(&user);
    let modules = Modules::new(Vec::new(), user, Alarm::new(|| {}));
    let spec = DriverSpec::parse(driver, "").map_err(|error| error.to_string())?;
    let env = AttachEnv { workers: 1, pool, shown: None, units: &Units::new() };
    let ports = attach_all(eal, &spec, &env, &modules).map_err(|e| e.to_string())?;
    ports.into_iter().next().ok_or_else(|| "no port".into())
}

/// Forwards `count` frames.
fn run(eal: &Eal, pool: &Mempool, args: &Args) -> Result<(), String> {
    let mut ports = [attach(eal, &args.driver, pool)?, attach(eal, &args.driver, pool)?];
    let queues = ports.each_mut().map(|port| port.take_queues(0));
    let [Some((mut rx_a, mut tx_a)), Some((mut rx_b, mut tx_b))] = queues else {
        return Err("the driver has no queues".into());
    };
    let mut burst = Burst::new();
    for _ in 0..FRAMES {
        let mut frame = pool.alloc().ok_or("no buffers")?;
        let room = frame.append(FRAME_LEN).ok_or("no room for a frame")?;
        room.fill(0x5a);
        burst.push(frame).map_err(|_| "the burst is full")?;
        if burst.is_full() && tx_a.tx_burst(&mut burst) != dpdk::BURST_MAX {
            return Err("the driver does not take the frames".into());
        }
    }
    let started = Instant::now();
    let (mut done, mut there, mut idle) = (0, true, 0);
    while done < args.count {
        let moved = match there {
            true => forward(&mut rx_a, &mut tx_b, &mut burst),
            false => forward(&mut rx_b, &mut tx_a, &mut burst),
        };
        idle = if moved == 0 { idle + 1 } else { 0 };
        if idle == 2 {
            return Err(format!("no frame on either side after {done}"));
        }
        if idle == 1 {
            // All frames are on the other side.
            there = !there;
        }
        done += moved as u64;
    }
    let each = started.elapsed().as_nanos() / u128::from(done.max(1));
    // A ring of DPDK's does not free what is in it; a module does.
    while !is_module(&args.driver) && rx_a.rx_burst(&mut burst) + rx_b.rx_burst(&mut burst) > 0 {
        burst.clear();
    }
    drop((burst, rx_a, tx_a, rx_b, tx_b));
    for port in ports {
        let _ = port.detach().map_err(|error| error.to_string())?;
    }
    println!("{done} frames forwarded, {each} ns each");
    Ok(())
}

/// What a module that is gone may not leave behind: descriptors, threads.
fn held() -> Result<[usize; 2], String> {
    let entries = |folder| std::fs::read_dir(folder).map_err(|error| format!("{folder}: {error}"));
    Ok([entries("/proc/self/fd")?.count(), entries("/proc/self/task")?.count()])
}

fn checked(args: &Args) -> Result<(), String> {
    let prefix = format!("io-pkt-forward-{}", std::process::id());
    let eal = Eal::init(&EalArgs::new(&prefix).memory(Memory::Ordinary { mib: 64 }).to_vec())
        .map_err(|error| error.to_string())?;
    let options = MempoolOptions { count: 4095, ..MempoolOptions::default() };
    let pool = Mempool::create("frames", &options).map_err(|error| error.to_string())?;
    let before = held()?;
    run(&eal, &pool, args)?;
    let (left, after) = (pool.in_use(), held()?);
    if left > 0 {
        return Err(format!("{left} buffers are not back"));
    }
    if after != before {
        return Err(format!("descriptors and threads were {before:?} and are {after:?}"));
    }
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    if is_module(&args.driver) && maps.contains(&args.driver) {
        return Err(format!("{} is still loaded", args.driver));
    }
    Ok(())
}

fn main() -> ExitCode {
    let outcome = checked(&Args::parse());
    if let Err(why) = &outcome {
        eprintln!("FAILED: {why}");
    }
    let failed = u8::from(outcome.is_err());
    println!("{} passed, {failed} failed", 1 - failed);
    ExitCode::from(failed)
}
