//! One interface of a module: its queues, its state, its failures.
//!
//! ```text
//!              fail (worker)              set_up (control)
//!   running ───────────────────> halted ───────────────────> running
//!      │ all queues back, close     │ all queues back, close
//!      └──────────────> gone <──────┘
//! ```

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::ffi::CString;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use counters::Counter;
use devnp_abi as abi;
use dpdk::{Burst, EthStats, Link, Mbuf, Mempool};
use loader::Alarm;
use types::MacAddr;

use crate::limits::COMMAND_MAX;
use crate::module::anchor::Anchor;
use crate::module::crash::{self, Hook};
use crate::module::error::ModuleError;
use crate::module::host::{API, Host};
use crate::module::library::Library;
use crate::module::lower::Lower;
use crate::options::Settings;
use crate::port::Port;

/// What one queue has moved. Written by its worker alone.
#[derive(Debug, Default)]
struct QueueCounters {
    rx_packets: Counter,
    rx_bytes: Counter,
    tx_packets: Counter,
    tx_bytes: Counter,
}

/// An open interface, shared by the control plane and the workers that have its queues.
struct Shared {
    /// It failed: no queue calls it.
    halted: AtomicBool,
    failures: AtomicU64,
    /// One bit for each queue that is out, receive and transmit.
    out: [AtomicU64; 2],
    queues: Box<[QueueCounters]>,
    device: *mut c_void,
    crash_hook: Option<Hook>,
    host: Anchor<Host>,
    // Dropped last: the code of everything above.
    library: Arc<Library>,
}

// SAFETY: the device is used by the module's threading contract: each queue by the one holder of
// its end, everything else by the control plane; the rest is atomic or constant.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn fail(&self, what: &dyn fmt::Display) {
        if !self.halted.swap(true, Ordering::AcqRel) {
            let _ = self.failures.fetch_add(1, Ordering::Relaxed);
            let name = self.host.name.lock().map(|name| name.clone()).unwrap_or_default();
            tracing::error!("{name}: its driver has failed: {what}; it is down");
            self.host.alarm.ring();
        }
    }

    /// The driver's count, without its word that it failed.
    fn judge(&self, returned: u16) -> u16 {
        if returned & abi::FAILED != 0 {
            self.fail(&"it says so");
        }
        returned & !abi::FAILED
    }

    fn take(&self, direction: usize, queue: u16) -> bool {
        let Some(bit) = 1_u64.checked_shl(queue.into()) else { return false };
        self.out.get(direction).is_some_and(|o| o.fetch_or(bit, Ordering::AcqRel) & bit == 0)
    }

    fn give_back(&self, direction: usize, queue: u16) {
        let bit = 1_u64.checked_shl(queue.into()).unwrap_or(0);
        if let Some(out) = self.out.get(direction) {
            let _ = out.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.crash_hook.take());
        if let Some(close) = self.library.table.close {
            // SAFETY: opened once, closed once; no queue end exists, or it would hold self.
            unsafe { close(self.device) };
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("module", &self.library.name).finish_non_exhaustive()
    }
}

const RX: usize = 0;
const TX: usize = 1;

/// The only user of one receive queue of a module.
#[derive(Debug)]
pub struct ModuleRx {
    shared: Arc<Shared>,
    queue: u16,
}

/// The only user of one transmit queue of a module.
#[derive(Debug)]
pub struct ModuleTx {
    shared: Arc<Shared>,
    queue: u16,
}

impl ModuleRx {
    pub(crate) fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        let shared = &*self.shared;
        let (false, Some(receive)) =
            (shared.halted.load(Ordering::Relaxed), shared.library.table.rx_burst)
        else {
            return 0;
        };
        let before = burst.len();
        let receive = |packets: *mut *mut c_void, room| {
            // SAFETY: the module is open and started, and self is this queue's only user.
            let got = unsafe { receive(shared.device, self.queue, packets.cast(), room) };
            shared.judge(got)
        };
        // SAFETY: the module writes packets that it owns, as many as it says.
        let got = unsafe { burst.receive_with(receive) };
        if let Err(error) = got {
            shared.fail(&error);
        }
        let got = burst.len() - before;
        if got > 0
            && let Some(counters) = shared.queues.get(usize::from(self.queue))
        {
            let received = burst.as_slice().get(before..).unwrap_or_default();
            counters.rx_packets.add(got as u64);
            counters.rx_bytes.add(total_len(received));
        }
        got
    }
}

impl ModuleTx {
    pub(crate) fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        let shared = &*self.shared;
        let (false, Some(send)) =
            (shared.halted.load(Ordering::Relaxed), shared.library.table.tx_burst)
        else {
            return 0;
        };
        // Those that it takes are gone afterwards.
        let (offered, bytes) = (burst.len(), total_len(burst.as_slice()));
        let send = |packets: *mut *mut c_void, count| {
            // SAFETY: the module is open and started, and self is this queue's only user.
            let taken = unsafe { send(shared.device, self.queue, packets.cast(), count) };
            shared.judge(taken)
        };
        // SAFETY: the module owns the packets that it says it took, and leaves the others alone.
        let sent = unsafe { burst.send_with(send) };
        if let Err(error) = sent {
            shared.fail(&error);
        }
        let sent = offered - burst.len();
        if let (1.., Some(counters)) = (sent, shared.queues.get(usize::from(self.queue))) {
            counters.tx_packets.add(sent as u64);
            counters.tx_bytes.add(bytes - total_len(burst.as_slice()));
        }
        sent
    }
}

/// Bytes of all packets together.
fn total_len(packets: &[Mbuf]) -> u64 {
    packets.iter().fold(0, |sum: u64, mbuf| sum.wrapping_add(mbuf.packet_len().into()))
}

impl Drop for ModuleRx {
    fn drop(&mut self) {
        self.shared.give_back(RX, self.queue);
    }
}

impl Drop for ModuleTx {
    fn drop(&mut self) {
        self.shared.give_back(TX, self.queue);
    }
}

/// What `open` has made, beside the device.
pub(crate) struct Opened {
    pub(crate) device: ModuleDevice,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u16,
    pub(crate) mtu_max: u16,
    pub(crate) queues: u16,
    pub(crate) offloads: u32,
    /// Most pieces of a packet that it cuts; 0: it does not cut.
    pub(crate) pieces_max: u16,
    pub(crate) kernel_interface: Option<String>,
    /// It wants to be opened again.
    pub(crate) more: bool,
}

/// An open interface of a module.
#[derive(Debug)]
pub(crate) struct ModuleDevice {
    shared: Arc<Shared>,
    started: bool,
    lower: Option<Anchor<Lower>>,
}

/// What a device is opened with.
pub(crate) struct OpenWith<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) port: u32,
    pub(crate) queues: u16,
    pub(crate) pool: &'a Mempool,
    pub(crate) alarm: &'a Alarm,
    pub(crate) lower: Option<Anchor<Lower>>,
}

/// A negative errno in words.
fn reason(code: i32) -> String {
    let text = std::io::Error::from_raw_os_error(code.saturating_neg()).to_string();
    if code < 0 { text } else { format!("code {code}") }
}

impl ModuleDevice {
    /// Opens an interface.
    pub(crate) fn open(
        library: &Arc<Library>,
        with: OpenWith<'_>,
    ) -> Result<Opened, (ModuleError, Option<Anchor<Lower>>)> {
        let settings = with.settings;
        let failed = |reason, lower| {
            Err((ModuleError::Open { module: library.name.clone(), reason }, lower))
        };
        let options = settings.device.clone();
        let Ok(text) = CString::new(settings.device_text()) else {
            return failed("its options have a NUL byte".into(), with.lower);
        };
        let host = Anchor::new(Host {
            pool: with.pool.clone(),
            options,
            name: Mutex::new(library.name.clone()),
            alarm: with.alarm.clone(),
            removed: AtomicBool::new(false),
        });
        #[expect(clippy::cast_possible_truncation, reason = "tables of a few dozen bytes")]
        let config = abi::Config {
            size: size_of::<abi::Config>() as u32,
            port: with.port,
            queues: with.queues,
            mtu: settings.mtu.unwrap_or(0),
            mac: settings.mac.map_or([0; 6], |mac| mac.0),
            promiscuous: settings.promiscuous.into(),
            nomulticast: settings.nomulticast.into(),
            options: text.as_ptr(),
            lower: with.lower.as_ref().map_or(core::ptr::null(), |lower| lower.as_ptr().cast()),
        };
        let mut info = no_info();
        // SAFETY: the host stands in its anchor until close.
        let code = unsafe { call_open(library, host.as_ptr().cast(), &config, &mut info) };
        if code != 0 {
            return failed(reason(code), with.lower);
        }
        if info.device.is_null() {
            return failed("it made no device".into(), with.lower);
        }
        let hook = library.table.panic_stop.and_then(|stop| crash::hook(stop, info.device));
        let queues = (0..with.queues).map(|_| QueueCounters::default()).collect();
        let shared = Arc::new(Shared {
            halted: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            out: [const { AtomicU64::new(0) }; 2],
            queues,
            device: info.device,
            crash_hook: hook,
            host,
            library: Arc::clone(library),
        });
        Ok(Opened {
            device: Self { shared, started: false, lower: with.lower },
            mac: Some(MacAddr(info.mac)).filter(|mac| mac.is_unicast()),
            mtu: info.mtu,
            mtu_max: info.mtu_max,
            queues: info.queues,
            offloads: info.offloads,
            pieces_max: if info.offloads & abi::OFFLOAD_TCP_SEGMENTATION != 0 {
                info.pieces_max
            } else {
                0
            },
            kernel_interface: kernel_name(&info.kernel_interface),
            more: info.flags & abi::INFO_MORE != 0,
        })
    }

    pub(crate) fn set_name(&self, name: &str) {
        if let Ok(mut place) = self.shared.host.name.lock() {
            name.clone_into(&mut place);
        }
    }

    /// Starts, or starts again after a failure. All queues must be back.
    pub(crate) fn start(&mut self) -> Result<(), ModuleError> {
        let table = &self.shared.library.table;
        if self.started
            && let Some(stop) = table.stop
        {
            // SAFETY: open, and no queue is out: nobody else calls.
            unsafe { stop(self.shared.device) };
            self.started = false;
        }
        // SAFETY: as above.
        let code = table.start.map_or(0, |start| unsafe { start(self.shared.device) });
        if code != 0 {
            let module = self.shared.library.name.clone();
            return Err(ModuleError::Start { module, reason: reason(code) });
        }
        self.started = true;
        self.shared.halted.store(false, Ordering::Release);
        Ok(())
    }

    /// The queue ends of this worker, if they are in.
    pub(crate) fn take_queues(&self, queue: u16) -> Option<(ModuleRx, ModuleTx)> {
        if !self.started || usize::from(queue) >= self.shared.queues.len() {
            return None;
        }
        let shared = || Arc::clone(&self.shared);
        let rx = self.shared.take(RX, queue).then(|| ModuleRx { shared: shared(), queue })?;
        let tx = self.shared.take(TX, queue).then(|| ModuleTx { shared: shared(), queue })?;
        Some((rx, tx))
    }

    /// Queue ends that workers have.
    pub(crate) fn queues_out(&self) -> u32 {
        self.shared.out.iter().map(|out| out.load(Ordering::Acquire).count_ones()).sum()
    }

    pub(crate) fn rx_fd(&self, queue: u16) -> Option<i32> {
        // SAFETY: open; the module tells a number.
        let fd = unsafe { self.shared.library.table.rx_fd?(self.shared.device, queue) };
        (fd >= 0).then_some(fd)
    }

    /// A copy of the descriptor that the caller owns.
    pub(crate) fn rx_descriptor(&self, queue: u16) -> Option<OwnedFd> {
        let fd = self.rx_fd(queue)?;
        // SAFETY: the module keeps its descriptor open until close.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        fd.try_clone_to_owned().ok()
    }

    pub(crate) fn link(&self) -> Link {
        let mut link = abi::Link {
            #[expect(clippy::cast_possible_truncation, reason = "12 bytes")]
            size: size_of::<abi::Link>() as u32,
            up: 1,
            full_duplex: 1,
            ..abi::Link::default()
        };
        if let Some(ask) = self.shared.library.table.link {
            // SAFETY: open; a place for the answer.
            let code = unsafe { ask(self.shared.device, &raw mut link) };
            if code != 0 {
                link.up = 0;
            }
        }
        Link {
            up: link.up != 0 && !self.is_halted() && !self.is_removed(),
            speed_mbps: (link.speed_mbps != 0).then_some(link.speed_mbps),
            full_duplex: link.full_duplex != 0,
        }
    }

    /// What the workers have counted, and what the module adds.
    pub(crate) fn stats(&self) -> EthStats {
        let mut stats = EthStats::default();
        for queue in &self.shared.queues {
            stats.rx_packets += queue.rx_packets.value();
            stats.rx_bytes += queue.rx_bytes.value();
            stats.tx_packets += queue.tx_packets.value();
            stats.tx_bytes += queue.tx_bytes.value();
        }
        let Some(own) = self.own_stats() else { return stats };
        let value = |stat: abi::Stat| {
            let valid = own.valid >> (stat as u32) & 1 != 0;
            if valid { own.values.get(stat as usize).copied().unwrap_or(0) } else { 0 }
        };
        stats.rx_missed = value(abi::Stat::RxMissed);
        stats.rx_no_mbuf = value(abi::Stat::RxNoBuffer);
        let faults = [
            abi::Stat::RxFcs,
            abi::Stat::RxAlignment,
            abi::Stat::RxShort,
            abi::Stat::RxOversized,
            abi::Stat::RxLength,
            abi::Stat::RxSymbol,
            abi::Stat::RxInternal,
        ];
        stats.rx_errors = faults.into_iter().map(value).fold(0, u64::wrapping_add);
        stats.tx_errors = value(abi::Stat::TxInternal) + value(abi::Stat::TxNoBuffer);
        stats
    }

    /// What the module adds.
    pub(crate) fn own_stats(&self) -> Option<abi::Stats> {
        let ask = self.shared.library.table.stats?;
        let mut stats = abi::Stats {
            #[expect(clippy::cast_possible_truncation, reason = "528 bytes")]
            size: size_of::<abi::Stats>() as u32,
            reserved: 0,
            valid: 0,
            values: [0; abi::STATS_MAX],
        };
        // SAFETY: open; a place for the answer.
        (unsafe { ask(self.shared.device, &raw mut stats) } == 0).then_some(stats)
    }

    /// Changes the address, if the driver has to know it.
    pub(crate) fn set_mac(&mut self, mac: MacAddr) -> Result<(), i32> {
        let Some(set) = self.shared.library.table.set_mac else { return Ok(()) };
        // SAFETY: open; six bytes that outlive the call.
        errno_of(unsafe { set(self.shared.device, mac.0.as_ptr()) })
    }

    pub(crate) fn set_mtu(&mut self, mtu: u16) -> Result<(), i32> {
        let set = self.shared.library.table.set_mtu.ok_or(libc::EOPNOTSUPP)?;
        // SAFETY: open; a number.
        errno_of(unsafe { set(self.shared.device, mtu) })
    }

    pub(crate) fn set_promiscuous(&mut self, on: bool) -> Result<(), i32> {
        let set = self.shared.library.table.set_promiscuous.ok_or(libc::EOPNOTSUPP)?;
        // SAFETY: open; a number.
        errno_of(unsafe { set(self.shared.device, on.into()) })
    }

    /// All groups or none; a driver that can't keep groups out delivers them all.
    pub(crate) fn set_allmulticast(&mut self, on: bool) -> Result<(), i32> {
        let set = match self.shared.library.table.set_allmulticast {
            Some(set) => set,
            None if on => return Ok(()),
            None => return Err(libc::EOPNOTSUPP),
        };
        // SAFETY: open; a number.
        errno_of(unsafe { set(self.shared.device, on.into()) })
    }

    /// A command of the driver's own; the answer takes the place of the data.
    pub(crate) fn command(&mut self, command: u32, data: &mut Vec<u8>) -> Result<(), i32> {
        let ioctl = self.shared.library.table.ioctl.ok_or(libc::EOPNOTSUPP)?;
        let mut len = u32::try_from(data.len()).map_err(|_| libc::EMSGSIZE)?;
        if len > COMMAND_MAX {
            return Err(libc::EMSGSIZE);
        }
        data.resize(COMMAND_MAX as usize, 0);
        let at = data.as_mut_ptr().cast();
        // SAFETY: open; room for as many bytes as are said, which nobody else uses meanwhile.
        let code = unsafe { ioctl(self.shared.device, command, at, &raw mut len, COMMAND_MAX) };
        data.truncate(len as usize);
        errno_of(code)
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.shared.halted.load(Ordering::Acquire)
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.shared.host.removed.load(Ordering::Acquire)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn module(&self) -> &Library {
        &self.shared.library
    }

    /// Stops and closes. All queues must be back. What was below comes out.
    pub(crate) fn close(mut self) -> Option<Port> {
        if self.started
            && let Some(stop) = self.shared.library.table.stop
        {
            // SAFETY: open, and no queue is out: nobody else calls.
            unsafe { stop(self.shared.device) };
        }
        let lower = self.lower.take();
        // Closes the device and, with its last user, the module.
        drop(self.shared);
        lower.map(|lower| lower.into_inner().into_port())
    }
}

/// The module's `open`, or the shim's for a per-packet driver.
///
/// # Safety
/// `host` lives until the device is closed.
unsafe fn call_open(
    library: &Library,
    host: *const abi::Host,
    config: &abi::Config,
    info: &mut abi::Info,
) -> i32 {
    if let Some(driver) = &library.legacy {
        // SAFETY: a checked table, whose code stays until the device is closed; the host by this
        // function's contract.
        return unsafe { devnp_shim::open(driver, &API, host, config, info) };
    }
    let Some(open) = library.table.open else { return -libc::ENOSYS };
    // SAFETY: the tables live as the ABI says: the API for good, the host by this function's contract,
    // config and info during the call.
    unsafe { open(&raw const API, host, config, info) }
}

/// What a module's function says: 0, or a negative errno.
fn errno_of(code: i32) -> Result<(), i32> {
    if code == 0 { Ok(()) } else { Err(code.saturating_neg()) }
}

fn no_info() -> abi::Info {
    abi::Info {
        #[expect(clippy::cast_possible_truncation, reason = "56 bytes")]
        size: size_of::<abi::Info>() as u32,
        offloads: 0,
        flags: 0,
        queues: 0,
        mtu: 0,
        mtu_max: 0,
        mac: [0; 6],
        kernel_interface: [0; 16],
        device: core::ptr::null_mut(),
        pieces_max: 0,
        reserved: [0; 6],
    }
}

/// A name of up to 15 bytes.
fn kernel_name(text: &[c_char; 16]) -> Option<String> {
    let bytes: Vec<u8> = text.iter().map(|c| c.cast_unsigned()).take_while(|b| *b != 0).collect();
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}
