//! What this machine costs just now, so that figures can be read beside it: a cache line from core to
//! core, memory that no cache holds, a system call, waking a thread. Prints `name value` pairs.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::frame::Random;
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Samples, of which the median counts.
const SAMPLES: usize = 9;
/// There and back between two cores, in one sample.
const LINE_ROUNDS: u32 = 20_000;
/// Looks at the line after which somebody else must have the other core: about a millisecond.
const SPINS_MAX: u32 = 20_000;
/// Written to the line by whoever has waited too long.
const GIVEN_UP: u32 = u32::MAX;
/// Memory to run through: more than caches hold.
const CHASE_LEN: usize = 64 << 20;
/// Loads in one sample, each of which waits for the one before.
const CHASE_STEPS: u32 = 200_000;
/// System calls in one sample.
const CALLS: u32 = 20_000;
/// Times a sleeping thread is woken in one sample.
const WAKES: u32 = 300;

/// Nanoseconds of one of `count`.
fn each(count: u32, mut all: impl FnMut()) -> f64 {
    let started = Instant::now();
    all();
    started.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

fn report(name: &str, mut sample: impl FnMut() -> io::Result<f64>) -> io::Result<()> {
    let mut all = (0..SAMPLES).map(|_| sample()).collect::<io::Result<Vec<_>>>()?;
    all.sort_unstable_by(f64::total_cmp);
    println!("{name} {:.1}", all.get(SAMPLES / 2).copied().unwrap_or(0.0));
    Ok(())
}

/// Keeps the calling thread on one of the processors it may use.
fn pin(which: usize) -> io::Result<()> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let mut all = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let count = all.clone().count();
    let mut only = CpuSet::new();
    only.set(all.nth(which % count.max(1)).unwrap_or(0));
    Ok(sched_setaffinity(None, &only)?)
}

/// Waits until the other core has written `value`; false if it takes so long that others must be
/// using the cores, or if the other has given up.
fn comes(turn: &AtomicU32, value: u32) -> bool {
    for _ in 0..SPINS_MAX {
        match turn.load(Ordering::Acquire) {
            now if now == value => return true,
            GIVEN_UP => return false,
            _ => core::hint::spin_loop(),
        }
    }
    turn.store(GIVEN_UP, Ordering::Release);
    false
}

/// A line that two cores write in turn: there and back.
fn line() -> io::Result<f64> {
    let turn = Arc::new(AtomicU32::new(0));
    let other = Arc::clone(&turn);
    let answers = thread::spawn(move || {
        pin(1)?;
        for round in 0..LINE_ROUNDS {
            if !comes(&other, 2 * round + 1) {
                break;
            }
            other.store(2 * round + 2, Ordering::Release);
        }
        io::Result::Ok(())
    });
    pin(0)?;
    // Not before the other runs.
    thread::sleep(Duration::from_millis(2));
    let mut rounds = 0;
    let started = Instant::now();
    while rounds < LINE_ROUNDS {
        turn.store(2 * rounds + 1, Ordering::Release);
        if !comes(&turn, 2 * rounds + 2) {
            break;
        }
        rounds += 1;
    }
    let took = started.elapsed().as_secs_f64() * 1e9 / f64::from(rounds.max(1));
    answers.join().map_err(|_| io::Error::other("a thread panicked"))??;
    Ok(took)
}

/// A cycle through all of `CHASE_LEN` in random order (Sattolo), one entry per cache line.
fn cycle() -> Vec<[u32; 16]> {
    let len = CHASE_LEN / 64;
    let mut order: Vec<u32> = (0..).take(len).collect();
    let mut random = Random::new(1);
    for last in (1..len).rev() {
        order.swap(last, random.below(last));
    }
    order.into_iter().map(|next| [next; 16]).collect()
}

fn wake() -> io::Result<f64> {
    let (mut ping, pong) = (
        std::fs::File::from(eventfd(0, EventfdFlags::empty())?),
        eventfd(0, EventfdFlags::empty())?,
    );
    let (mut heard, mut answer) = (ping.try_clone()?, std::fs::File::from(pong.try_clone()?));
    let mut back = std::fs::File::from(pong);
    let one = 1_u64.to_ne_bytes();
    let other = thread::spawn(move || {
        pin(1)?;
        let mut word = [0; 8];
        for _ in 0..WAKES {
            heard.read_exact(&mut word)?;
            answer.write_all(&one)?;
        }
        io::Result::Ok(())
    });
    pin(0)?;
    let mut word = [0; 8];
    let started = Instant::now();
    for _ in 0..WAKES {
        ping.write_all(&one)?;
        back.read_exact(&mut word)?;
    }
    // There and back are two.
    let took = started.elapsed().as_secs_f64() * 1e9 / f64::from(WAKES) / 2.0;
    other.join().map_err(|_| io::Error::other("a thread panicked"))??;
    Ok(took)
}

fn run() -> io::Result<()> {
    report("line_ns", line)?;
    let (places, mut at) = (cycle(), 0_usize);
    report("memory_ns", || {
        Ok(each(CHASE_STEPS, || {
            for _ in 0..CHASE_STEPS {
                at = places.get(at).map_or(0, |place| place[0] as usize);
            }
        }))
    })?;
    report("syscall_ns", || {
        Ok(each(CALLS, || {
            for _ in 0..CALLS {
                let _ = core::hint::black_box(rustix::process::getppid());
            }
        }))
    })?;
    let _ = core::hint::black_box(at);
    report("wake_ns", wake)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("calibrate: {why}");
            ExitCode::FAILURE
        }
    }
}
