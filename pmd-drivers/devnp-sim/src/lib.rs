//! Driver module: a bad wire before another driver, the same for the same seed.
//!
//! `-d sim lower=net_tap,loss=1,delay=20,iface=iop0`: what `sim` does not know goes to the driver
//! below. Frames of both directions are lost, delayed, reordered, doubled and corrupted.
//! `iopkt ifconfig sim0 drvspec 1 loss=5` changes that while it runs.
//!
//! ```text
//!   stack ──tx_burst──> fate ──> held until due ──> driver below
//!   stack <─rx_burst─── held until due <── fate <── driver below
//! ```
#![deny(unsafe_code)]

mod fate;
mod line;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use devnp_sdk::{
    Config, Driver, Host, Info, Level, Link, Lower, Offloads, OpenError, RxBurst, Stat, TxBurst,
    export_driver,
};
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use fate::{Fate, Odds};
use line::Line;

export_driver!(Sim);

/// The command that changes the settings.
const SETTINGS: u32 = 1;

/// One queue: two directions, one clock.
struct Queue {
    fate: Fate,
    out: Line,
    into: Line,
    arrived: Vec<devnp_sdk::Packet>,
    armed: Option<Instant>,
}

/// What a worker sleeps on: the driver below, and the time the next frame is due.
struct Bed {
    both: OwnedFd,
    timer: OwnedFd,
}

/// An interface.
struct Sim {
    host: Host,
    lower: Lower,
    queues: Vec<Mutex<Queue>>,
    beds: Option<Vec<Bed>>,
    mtu: u16,
}

fn refused(error: rustix::io::Errno) -> OpenError {
    OpenError(error.raw_os_error())
}

impl Bed {
    fn new(below: BorrowedFd<'_>) -> Result<Self, OpenError> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(refused)?;
        let add = |fd: BorrowedFd<'_>, name| {
            let data = epoll::EventData::new_u64(name);
            epoll::add(&both, fd, data, epoll::EventFlags::IN).map_err(refused)
        };
        add(timer.as_fd(), 0)?;
        add(below, 1)?;
        Ok(Self { both, timer })
    }

    fn arm(&self, due: Instant, now: Instant) {
        let wait = due.saturating_duration_since(now);
        let it_value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(0),
            // 0 would switch it off.
            tv_nsec: i64::from(wait.subsec_nanos()).max(1),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // A timer that can't be set is late by the worker's longest sleep.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

impl Sim {
    fn queue(&self, number: u16) -> Option<MutexGuard<'_, Queue>> {
        let queue = self.queues.get(usize::from(number))?;
        Some(queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends what is due, and sets the clock for what is not.
    fn advance(&self, number: u16, queue: &mut Queue, now: Instant) {
        while let Some(frame) = queue.out.due(now) {
            if let Err(frame) = self.lower.send(number, frame) {
                queue.out.again(frame, now);
                break;
            }
        }
        let next = [queue.out.next(), queue.into.next()].into_iter().flatten().min();
        let bed = self.beds.as_ref().and_then(|beds| beds.get(usize::from(number)));
        if next != queue.armed
            && let (Some(due), Some(bed)) = (next, bed)
        {
            bed.arm(due, now);
        }
        queue.armed = next;
    }
}

impl Driver for Sim {
    const NAME: &'static str = "sim";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const OPTIONS: &'static str = "loss=PERCENT duplicate=PERCENT corrupt=PERCENT reorder=PERCENT \
        delay=MILLISECONDS jitter=MILLISECONDS seed=NUMBER";
    const NEEDS_LOWER: bool = true;

    fn open(host: Host, config: Config<'_>) -> Result<(Self, Info), OpenError> {
        let lower = config.lower().ok_or(OpenError::NO_DEVICE)?;
        let odds = Odds::of(|key| host.option(key)).map_err(|what| {
            host.log(Level::Error, &what);
            OpenError::INVALID
        })?;
        let queues = (0..config.queues()).map(|number| {
            Mutex::new(Queue {
                fate: Fate::new(odds, number),
                out: Line::default(),
                into: Line::default(),
                arrived: Vec::with_capacity(devnp_sdk::BURST_MAX),
                armed: None,
            })
        });
        let below =
            (0..config.queues()).map(|queue| lower.rx_fd(queue)).collect::<Option<Vec<_>>>();
        let beds = below.map(|fds| fds.into_iter().map(Bed::new).collect()).transpose()?;
        let mtu = lower.mtu();
        let info = Info {
            queues: config.queues(),
            mtu,
            mtu_max: mtu,
            mac: Some(lower.mac()),
            offloads: Offloads::default(),
            more: false,
        };
        Ok((Self { queues: queues.collect(), host, lower, beds, mtu }, info))
    }

    fn stop(&self) {
        for queue in &self.queues {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.out.clear();
            queue.into.clear();
        }
    }

    fn rx_burst(&self, number: u16, burst: &mut RxBurst<'_>) {
        let Some(mut queue) = self.queue(number) else { return };
        let queue = &mut *queue;
        let now = Instant::now();
        let mut arrived = std::mem::take(&mut queue.arrived);
        self.lower.rx_burst(number, &mut arrived);
        for frame in arrived.drain(..) {
            queue.fate.meet(frame, &mut queue.into, &self.host, now);
        }
        queue.arrived = arrived;
        while burst.room() > 0
            && let Some(frame) = queue.into.due(now)
        {
            // There is room: the loop's condition says so.
            let _ = burst.push(frame);
        }
        if let Some(bed) = self.beds.as_ref().and_then(|beds| beds.get(usize::from(number)))
            && queue.armed.is_some_and(|due| due <= now)
        {
            // It has gone off; how often does not matter.
            let _ = rustix::io::read(&bed.timer, &mut [0; 8]);
            queue.armed = None;
        }
        self.advance(number, queue, now);
    }

    fn tx_burst(&self, number: u16, burst: &mut TxBurst<'_>) {
        let Some(mut queue) = self.queue(number) else { return };
        let queue = &mut *queue;
        let now = Instant::now();
        while let Some(frame) = burst.take() {
            queue.fate.meet(frame, &mut queue.out, &self.host, now);
        }
        self.advance(number, queue, now);
    }

    fn rx_fd(&self, queue: u16) -> Option<i32> {
        let bed = self.beds.as_ref()?.get(usize::from(queue))?;
        Some(bed.both.as_raw_fd())
    }

    fn link(&self) -> Link {
        Link { up: true, speed_mbps: None, full_duplex: true }
    }

    fn stats(&self, set: &mut dyn FnMut(Stat, u64)) {
        let lock = |queue: &Mutex<Queue>| {
            let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            (queue.into.lost, queue.out.lost)
        };
        let (into, out) =
            self.queues.iter().map(lock).fold((0, 0), |sum, lost| (sum.0 + lost.0, sum.1 + lost.1));
        set(Stat::RxMissed, into);
        set(Stat::TxInternal, out);
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), OpenError> {
        if mtu <= self.mtu { Ok(()) } else { Err(OpenError::INVALID) }
    }

    /// Command 1: `loss=5,delay=20` changes these; the answer is what holds now.
    fn ioctl(&self, command: u32, data: &[u8]) -> Result<Vec<u8>, OpenError> {
        if command != SETTINGS {
            return Err(OpenError::NOT_SUPPORTED);
        }
        let text = str::from_utf8(data).map_err(|_| OpenError::INVALID)?;
        let pairs = || text.split(',').filter_map(|pair| pair.split_once('='));
        let known = |key| Self::OPTIONS.split(' ').any(|word| word.split('=').next() == Some(key));
        if text.split(',').any(|word| !word.is_empty() && !word.contains('='))
            || pairs().any(|(key, _)| key == "seed" || !known(key))
        {
            return Err(OpenError::INVALID);
        }
        let option = |key: &str| Some(pairs().find(|(name, _)| *name == key)?.1.to_owned());
        let mut answer = String::new();
        for queue in &self.queues {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            let odds = queue.fate.odds().with(option).map_err(|what| {
                self.host.log(Level::Error, &what);
                OpenError::INVALID
            })?;
            queue.fate.set_odds(odds);
            answer = odds.to_string();
        }
        Ok(answer.into_bytes())
    }
}
