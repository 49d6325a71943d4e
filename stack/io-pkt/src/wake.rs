//! What it costs to wake a worker that sleeps, measured on this machine when the daemon starts. To look for work
//! so long before it sleeps costs a worker at most twice what the best choice would have.

use core::time::Duration;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, retry_on_intr, write};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::config::Idle;

/// Wake-ups measured, of which the median counts.
const ROUNDS: usize = 15;
/// Long enough asleep for the CPU to have gone to rest.
const REST: Duration = Duration::from_micros(100);
/// Whoever has not been woken by then never will be.
const LONGEST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Where nothing can be measured: about what a virtual machine needs.
const USUAL: Duration = Duration::from_micros(40);
/// Less than this was measured while others kept the CPU awake, and will be more when they have gone.
const LEAST: Duration = Duration::from_micros(20);
/// Whoever needs longer was disturbed while it was measured.
const MOST: Duration = Duration::from_micros(100);

/// How long an idle worker looks for work before it sleeps.
pub(crate) fn patience(idle: Idle, cpu: Option<u32>) -> Duration {
    match idle {
        Idle::Sleep => Duration::ZERO,
        Idle::Spin => Duration::MAX,
        Idle::Adaptive => cost(cpu).map_or(USUAL, |cost| cost.clamp(LEAST, MOST)),
    }
}

/// The time from a doorbell of this thread's until a thread on that CPU has woken.
fn cost(cpu: Option<u32>) -> Option<Duration> {
    let (there, back) = (bell()?, bell()?);
    let mut samples = std::thread::scope(|scope| {
        let sleeper = std::thread::Builder::new().name("wake".into());
        let sleeper = sleeper.spawn_scoped(scope, || {
            stay_on(cpu);
            (0..ROUNDS).try_for_each(|_| wait(&there).and_then(|()| ring(&back)))
        });
        // There and back are two.
        let sample = || {
            std::thread::sleep(REST);
            let rung = Instant::now();
            ring(&there)?;
            wait(&back)?;
            Some(rung.elapsed() / 2)
        };
        // The scope joins it.
        let _sleeper = sleeper.ok()?;
        (0..ROUNDS).map(|_| sample()).collect::<Option<Vec<_>>>()
    })?;
    samples.sort_unstable();
    samples.get(ROUNDS / 2).copied()
}

fn stay_on(cpu: Option<u32>) {
    let Some(cpu) = cpu.and_then(|cpu| usize::try_from(cpu).ok()) else { return };
    let mut only = CpuSet::new();
    if cpu < CpuSet::MAX_CPU {
        only.set(cpu);
        // Anywhere else it is measured as well, if not as right.
        let _ = sched_setaffinity(None, &only);
    }
}

fn bell() -> Option<std::os::fd::OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC).ok()
}

fn ring(bell: impl AsFd) -> Option<()> {
    write(bell, &1_u64.to_ne_bytes()).ok().map(|_| ())
}

/// Sleeps until the bell is rung. Nobody waits for ever for somebody who could not ring.
fn wait(bell: impl AsFd) -> Option<()> {
    let mut bells = [PollFd::new(&bell, PollFlags::IN)];
    let rung = retry_on_intr(|| poll(&mut bells, Some(&LONGEST))).ok()?;
    let mut count = [0_u8; 8];
    (rung > 0).then(|| read(&bell, &mut count)).and_then(Result::ok).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_waits_is_what_waking_it_takes_within_bounds_or_said() {
        let took = cost(Some(0)).unwrap();
        assert!(!took.is_zero() && took < REST * 1000, "{took:?}");
        let adaptive = patience(Idle::Adaptive, Some(0));
        assert!((LEAST..=MOST).contains(&adaptive), "{adaptive:?}");
        assert_eq!(patience(Idle::Sleep, Some(0)), Duration::ZERO);
        assert_eq!(patience(Idle::Spin, None), Duration::MAX);
    }
}
