//! Driver module: a wire in memory. `-d pair` makes both of its ends, `pair0` and `pair1`.
//!
//! ```text
//!            queue 0   ┌──── ring ────>┐
//!   end 0   ───────────┤               ├─── end 1      as many pairs of rings as workers
//!                      └<─── ring ─────┘
//! ```
//!
//! A frame stays in the buffer that it was sent in. An end that is down or gone loses what is sent
//! to it, as a cable would.
#![deny(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use devnp_sdk::{
    Config, Driver, Host, Info, Link, Offloads, OpenError, Packet, RxBurst, Stat, TxBurst,
    export_driver,
};
use rustix::event::{EventfdFlags, eventfd};

/// Frames on the wire in each direction of a queue: more than two workers' bursts, less than would
/// drain the daemon's pool.
const DEPTH: usize = 512;
/// What fits into one of the daemon's buffers.
const MTU: u16 = 1500;

export_driver!(End);

/// Frames in one direction of one queue.
struct Ring {
    frames: Mutex<Waiting>,
    /// Readable while frames wait.
    bell: OwnedFd,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Packet>,
    rung: bool,
}

impl Ring {
    fn new() -> Result<Self, OpenError> {
        let flags = EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC;
        let bell = eventfd(0, flags).map_err(|e| OpenError(e.raw_os_error()))?;
        Ok(Self { frames: Mutex::default(), bell })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        self.lock().frames.clear();
    }
}

/// The wire: to each end, its rings by queue.
struct Wire {
    to: [Vec<Ring>; 2],
    up: [AtomicBool; 2],
}

/// The wire whose second end is still to be made.
static HALF: Mutex<Weak<Wire>> = Mutex::new(Weak::new());

/// One end of a wire.
struct End {
    wire: Arc<Wire>,
    side: usize,
    missed: AtomicU64,
}

impl End {
    fn inbound(&self, queue: u16) -> Option<&Ring> {
        self.wire.to.get(self.side)?.get(usize::from(queue))
    }

    fn outbound(&self, queue: u16) -> Option<&Ring> {
        self.wire.to.get(self.side ^ 1)?.get(usize::from(queue))
    }

    fn is_up(&self, side: usize) -> bool {
        self.wire.up.get(side).is_some_and(|up| up.load(Ordering::Acquire))
    }

    fn set_up(&self, up: bool) {
        if let Some(flag) = self.wire.up.get(self.side) {
            flag.store(up, Ordering::Release);
        }
    }
}

impl Driver for End {
    const NAME: &'static str = "pair";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const OPTIONS: &'static str = "";

    fn open(_: Host, config: Config<'_>) -> Result<(Self, Info), OpenError> {
        let mut half = HALF.lock().unwrap_or_else(PoisonError::into_inner);
        let (wire, side) = if config.port() == 0 {
            let rings = || (0..config.queues()).map(|_| Ring::new()).collect::<Result<Vec<_>, _>>();
            let wire = Arc::new(Wire { to: [rings()?, rings()?], up: Default::default() });
            *half = Arc::downgrade(&wire);
            (wire, 0)
        } else {
            (half.upgrade().ok_or(OpenError::NO_DEVICE)?, 1)
        };
        let info = Info {
            queues: config.queues(),
            mtu: config.mtu().unwrap_or(MTU).min(MTU),
            mtu_max: MTU,
            mac: None,
            offloads: Offloads::default(),
            more: side == 0,
        };
        Ok((Self { wire, side, missed: AtomicU64::new(0) }, info))
    }

    fn start(&self) -> Result<(), OpenError> {
        self.set_up(true);
        Ok(())
    }

    fn stop(&self) {
        self.set_up(false);
        self.wire.to.get(self.side).into_iter().flatten().for_each(Ring::clear);
    }

    fn rx_burst(&self, queue: u16, burst: &mut RxBurst<'_>) {
        let Some(ring) = self.inbound(queue) else { return };
        let mut waiting = ring.lock();
        while burst.room() > 0
            && let Some(frame) = waiting.frames.pop_front()
        {
            // There is room: the loop's condition says so.
            let _ = burst.push(frame);
        }
        if waiting.rung && waiting.frames.is_empty() {
            waiting.rung = false;
            // It was readable; what it counted does not matter.
            let _ = rustix::io::read(&ring.bell, &mut [0; 8]);
        }
    }

    fn tx_burst(&self, queue: u16, burst: &mut TxBurst<'_>) {
        let Some(ring) = self.outbound(queue) else { return };
        if !self.is_up(self.side ^ 1) {
            while let Some(frame) = burst.take() {
                drop(frame);
            }
            return;
        }
        let mut waiting = ring.lock();
        while let Some(frame) = burst.take() {
            if waiting.frames.len() >= DEPTH {
                let _ = self.missed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            waiting.frames.push_back(frame);
        }
        if !waiting.rung && !waiting.frames.is_empty() {
            waiting.rung = true;
            // A full counter is readable too.
            let _ = rustix::io::write(&ring.bell, &1_u64.to_ne_bytes());
        }
    }

    fn rx_fd(&self, queue: u16) -> Option<i32> {
        self.inbound(queue).map(|ring| ring.bell.as_raw_fd())
    }

    fn link(&self) -> Link {
        Link { up: self.is_up(self.side ^ 1), speed_mbps: None, full_duplex: true }
    }

    fn stats(&self, set: &mut dyn FnMut(Stat, u64)) {
        set(Stat::TxInternal, self.missed.load(Ordering::Relaxed));
    }

    fn set_mtu(&self, mtu: u16) -> Result<(), OpenError> {
        if mtu <= MTU { Ok(()) } else { Err(OpenError::INVALID) }
    }
}
