//! A worker on its core: breathe while there is work, then sleep until something happens.

use core::num::NonZeroU64;
use core::time::Duration;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inet::Worker;
use inet::steer::Doorbell;
use rustix::event::{Timespec, epoll};
use rustix::time::{ClockId, clock_gettime};
use shm::WorkersPage;
use types::Instant;

use crate::drivers::Polled;

/// Longest sleep while a port has nothing to wait on: what a frame may have to wait on such a port.
const POLL_MIN: Duration = Duration::from_micros(20);
/// So long after the last frame its worker goes on looking that often: what comes next is mostly an answer.
const POLL_EAGER: Duration = Duration::from_millis(2);
/// Then it sleeps twice as long after each empty look, up to this.
const POLL_MAX: Duration = Duration::from_millis(1);

/// Longest sleep in any case, so that a lost wake-up is a delay and not the end.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Now, on the clock of all engines.
#[must_use]
pub(crate) fn now() -> Instant {
    let at = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(at.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// What a worker sleeps on.
#[derive(Debug)]
pub(crate) struct Bed {
    /// Receive queues, doorbells of clients, the worker's own doorbell.
    pub epoll: Arc<OwnedFd>,
    /// Rung by the control plane and by other workers.
    pub doorbell: Arc<Doorbell>,
    /// Read by the clients.
    pub page: Arc<WorkersPage>,
    /// This worker.
    pub number: u16,
    /// Ports without a descriptor to wait on: they must be looked at now and then.
    pub polled: Polled,
    /// How long an idle worker looks for work before it sleeps; the longest time there is: it never does.
    pub patience: Duration,
}

impl Bed {
    /// A bed with nothing to wait on but the doorbell.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn new(
        number: u16,
        page: Arc<WorkersPage>,
        patience: Duration,
    ) -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let doorbell = Arc::new(Doorbell::new()?);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, doorbell.fd(), epoll::EventData::new_u64(0), flags)?;
        let (epoll, polled) = (Arc::new(epoll), Polled::default());
        Ok(Self { epoll, doorbell, page, number, polled, patience })
    }

    fn lie_down(&self) {
        self.page.set_sleeping(self.number, true);
        self.doorbell.prepare_to_sleep();
    }

    fn get_up(&self) {
        self.page.set_sleeping(self.number, false);
        self.doorbell.awake();
    }

    fn sleep(&self, longest: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let mut events = [const { core::mem::MaybeUninit::uninit() }; 8];
        // Interrupted or not: the next breath looks at everything anyway.
        let _ = epoll::wait(&*self.epoll, &mut events[..], Some(&timeout));
    }
}

/// Runs until the control plane says stop.
pub(crate) fn run(mut worker: Worker, bed: &Bed) {
    devnp::own_fault_stack();
    // Else the kernel lets each sleep take 50 µs longer, more than twice as long as one between two looks at a port.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut last_busy = now();
    let _ = worker.attend_control(last_busy);
    let mut poll = POLL_MIN;
    let mut busy_since = None;
    while !worker.is_stopping() {
        let at = now();
        if let Some(began) = busy_since.take() {
            worker.counters().worker.busy_nanos.add(types::nanos(at.since(began)));
        }
        if worker.breathe(at) {
            last_busy = at;
            busy_since = Some(at);
            poll = POLL_MIN;
            continue;
        }
        if bed.patience == Duration::MAX {
            core::hint::spin_loop();
            continue;
        }
        if at.since(last_busy) < bed.patience {
            rustix::thread::sched_yield();
            continue;
        }
        bed.lie_down();
        // Whoever saw the flag down has left something that this breath finds.
        let at = now();
        if worker.breathe(at) || !worker.may_sleep() {
            bed.get_up();
            last_busy = at;
            busy_since = Some(at);
            continue;
        }
        let must_poll = bed.polled.load(Ordering::Relaxed) > 0;
        let until_timer = worker.next_timeout().map_or(SLEEP_MAX, |t| t.since(at));
        let longest = until_timer.min(if must_poll { poll } else { SLEEP_MAX });
        if must_poll && at.since(last_busy) > POLL_EAGER {
            poll = (poll * 2).min(POLL_MAX);
        }
        worker.counters().worker.sleeps.increment();
        bed.sleep(longest);
        bed.get_up();
    }
    // The last segments: resets for the peers.
    let _ = worker.breathe(now());
}
