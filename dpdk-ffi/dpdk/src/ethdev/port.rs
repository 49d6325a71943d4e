//! What this process knows of each port: who holds it, and which queues are out.

use core::ffi::CStr;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use crate::limits::PORTS_MAX;

static PORTS: [PortState; PORTS_MAX] = [const { PortState::new() }; PORTS_MAX];

/// One direction of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Rx,
    Tx,
}

/// The books of one port number. They outlive the port; closing it resets them.
#[derive(Debug)]
pub(crate) struct PortState {
    held: AtomicBool,
    started: AtomicBool,
    rx_count: AtomicU16,
    tx_count: AtomicU16,
    /// One bit for each receive queue that is out.
    rx_out: AtomicU64,
    /// One bit for each transmit queue that is out.
    tx_out: AtomicU64,
}

pub(crate) fn state(port: u16) -> Option<&'static PortState> {
    PORTS.get(usize::from(port))
}

/// The ports of a device that is about to be removed, or the one of them that somebody holds or
/// whose queues are out. Called under the control lock.
pub(crate) fn ports_to_remove(device: &str) -> Result<Vec<u16>, u16> {
    let ports = PORTS.iter().zip(0_u16..).filter(|&(_, port)| is_on(port, device));
    let free = |(state, port): (&PortState, u16)| {
        let held = state.held.load(Ordering::SeqCst) || state.queues_out() != 0;
        if held { Err(port) } else { Ok(port) }
    };
    ports.map(free).collect()
}

/// The ports are gone: their numbers may come back for other ports.
pub(crate) fn forget(ports: &[u16]) {
    for state in ports.iter().filter_map(|&port| state(port)) {
        state.set_started(false);
        state.set_queues(0, 0);
    }
}

fn is_on(port: u16, device: &str) -> bool {
    // SAFETY: EAL runs, as a handle of the caller proves; a port that does not exist gives null.
    let name = unsafe { dpdk_sys::shim_eth_device_name(port) };
    // SAFETY: the device's name lives as long as the device, which the control lock, held by the
    // caller, keeps from being removed.
    !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes() == device.as_bytes()
}

impl PortState {
    const fn new() -> Self {
        Self {
            held: AtomicBool::new(false),
            started: AtomicBool::new(false),
            rx_count: AtomicU16::new(0),
            tx_count: AtomicU16::new(0),
            rx_out: AtomicU64::new(0),
            tx_out: AtomicU64::new(0),
        }
    }

    pub(crate) fn claim(&self) -> bool {
        !self.held.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    pub(crate) fn set_started(&self, started: bool) {
        self.started.store(started, Ordering::SeqCst);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    pub(crate) fn set_queues(&self, rx: u16, tx: u16) {
        self.rx_count.store(rx, Ordering::SeqCst);
        self.tx_count.store(tx, Ordering::SeqCst);
    }

    pub(crate) fn has_queue(&self, direction: Direction, q: u16) -> bool {
        let count = match direction {
            Direction::Rx => &self.rx_count,
            Direction::Tx => &self.tx_count,
        };
        q < count.load(Ordering::SeqCst)
    }

    pub(crate) fn queues_out(&self) -> u32 {
        let (rx, tx) = (self.rx_out.load(Ordering::SeqCst), self.tx_out.load(Ordering::SeqCst));
        rx.count_ones() + tx.count_ones()
    }

    /// Marks the queue as out; `false` if it is out already or can't be used.
    pub(crate) fn take(&self, direction: Direction, q: u16) -> bool {
        if !self.is_started() || !self.has_queue(direction, q) {
            return false;
        }
        let Some(bit) = 1_u64.checked_shl(q.into()) else { return false };
        self.out(direction).fetch_or(bit, Ordering::SeqCst) & bit == 0
    }

    /// Marks the queue as back.
    pub(crate) fn give_back(&self, direction: Direction, q: u16) {
        let bit = 1_u64.checked_shl(q.into()).unwrap_or(0);
        let _ = self.out(direction).fetch_and(!bit, Ordering::SeqCst);
    }

    fn out(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Rx => &self.rx_out,
            Direction::Tx => &self.tx_out,
        }
    }
}
