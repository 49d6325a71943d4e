//! An interface of a per-packet driver, as the loader of modules wants it.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use devn_abi as devn;
use devnp_abi::{self as devnp, Api, Host, Link, Mbuf, Stat, Stats};

use crate::limits::MTU_MAX;
use crate::ring::{Consumer, ring};
use crate::slot::{self, Drops, HOST, Open};
use crate::threads::{self, Lent, Threads, keep_loaded};

/// The functions that every interface of a per-packet driver has. Its words are the driver's own, and
/// so is [`open`], which needs to be told which.
pub const TABLE: devnp::Module = devnp::Module {
    magic: devnp::MAGIC,
    abi: devnp::ABI_VERSION,
    #[expect(clippy::cast_possible_truncation, reason = "less than 200 bytes")]
    size: size_of::<devnp::Module>() as u32,
    kind: devnp::KIND_DRIVER,
    threading: devnp::THREADING_SINGLE,
    flags: 0,
    name: core::ptr::null(),
    version: core::ptr::null(),
    options: core::ptr::null(),
    open: None,
    close: Some(close),
    start: Some(start),
    stop: Some(stop),
    rx_burst: Some(rx_burst),
    tx_burst: Some(tx_burst),
    rx_fd: Some(rx_fd),
    link: Some(link),
    stats: Some(stats),
    set_mac: Some(set_mac),
    set_mtu: Some(set_mtu),
    set_promiscuous: Some(set_promiscuous),
    set_allmulticast: Some(set_allmulticast),
    ioctl: Some(ioctl),
    panic_stop: None,
};

/// A driver's four functions.
#[derive(Clone, Copy)]
struct Calls {
    close: unsafe extern "C" fn(*mut c_void),
    tx: unsafe extern "C" fn(*mut c_void, *const c_void, u32) -> i32,
    devctl: Option<unsafe extern "C" fn(*mut c_void, u32, *mut c_void, *mut u32, u32) -> i32>,
}

/// What a device of the shim is.
struct Interface {
    calls: Calls,
    device: *mut c_void,
    handle: u64,
    api: &'static Api,
    host: *const Host,
    drops: Arc<Drops>,
    /// The worker's.
    consumer: UnsafeCell<Consumer>,
    fd: i32,
    /// An offer to send was refused once: said in the log.
    refused: AtomicBool,
}

/// Makes an interface of `driver`; otherwise as [`devnp::Module::open`].
///
/// # Safety
/// `driver`'s functions do what [`devn`] says and stay until the interface is closed. The pointers are
/// as for [`devnp::Module::open`].
pub unsafe fn open(
    driver: &devn::Driver,
    api: &'static Api,
    host: *const Host,
    config: &devnp::Config,
    info: &mut devnp::Info,
) -> i32 {
    let (Some(open), Some(close), Some(tx)) = (driver.open, driver.close, driver.tx) else {
        return -libc::ENOSYS;
    };
    let calls = Calls { close, tx, devctl: driver.devctl };
    let (producer, consumer) = match ring() {
        Ok(ends) => ends,
        Err(error) => return -error.raw_os_error().unwrap_or(libc::ENOMEM),
    };
    let drops = Arc::new(Drops::default());
    let seen = Arc::clone(&drops);
    let none = Threads::default();
    let entry = Open { producer, drops: seen, api, host, started: false, threads: none };
    let Some(handle) = slot::enter(entry) else { return -libc::ENFILE };
    let wanted = devn_config(config);
    let mut made = no_info();
    let before = threads::all();
    let lent = Lent::new();
    // SAFETY: the tables live as the ABI says; the driver's functions are what they say.
    let code = unsafe { open(&raw const HOST, handle, &raw const wanted, &raw mut made) };
    drop(lent);
    slot::add_threads(handle, &before);
    if code != 0 {
        retire(handle, tx as *const c_void);
        return code;
    }
    info.queues = 1;
    info.mtu = if made.mtu == 0 { MTU_MAX } else { made.mtu.min(MTU_MAX) };
    info.mtu_max = MTU_MAX;
    info.mac = made.mac;
    info.kernel_interface = made.kernel_interface;
    let fd = consumer.descriptor();
    let interface = Interface {
        calls,
        device: made.device,
        handle,
        api,
        host,
        drops,
        consumer: UnsafeCell::new(consumer),
        fd,
        refused: AtomicBool::new(false),
    };
    info.device = Box::into_raw(Box::new(interface)).cast();
    0
}

fn devn_config(config: &devnp::Config) -> devn::Config {
    devn::Config {
        #[expect(clippy::cast_possible_truncation, reason = "24 bytes")]
        size: size_of::<devn::Config>() as u32,
        mtu: config.mtu,
        mac: config.mac,
        promiscuous: config.promiscuous,
        nomulticast: config.nomulticast,
        options: config.options,
    }
}

fn no_info() -> devn::Info {
    devn::Info {
        #[expect(clippy::cast_possible_truncation, reason = "40 bytes")]
        size: size_of::<devn::Info>() as u32,
        mtu: 0,
        mac: [0; 6],
        kernel_interface: [0; 16],
        device: null_mut(),
    }
}

/// Ends a handle. The driver's code stays if a thread of it does.
fn retire(handle: u64, code: *const c_void) {
    let Some(open) = slot::leave(handle) else { return };
    if open.threads.have_ended() {
        return;
    }
    let kept = if keep_loaded(code) { "its code stays loaded" } else { "its code may go" };
    let text = format!("its driver is closed and has not ended its threads: {kept}\0");
    // SAFETY: the daemon's side lives until the shim's close has returned; a C string.
    unsafe { (open.api.log)(open.host, devnp::LOG_ERROR, text.as_ptr().cast()) };
}

/// # Safety
/// `device` is what [`open`] made and is not closed.
unsafe fn interface<'a>(device: *mut c_void) -> Option<&'a Interface> {
    // SAFETY: by this function's contract; it is never borrowed mutably.
    unsafe { device.cast::<Interface>().as_ref() }
}

unsafe extern "C" fn close(device: *mut c_void) {
    if device.is_null() {
        return;
    }
    // SAFETY: what `open` made; the daemon closes it once, and nobody else has it now.
    let interface = unsafe { Box::from_raw(device.cast::<Interface>()) };
    let lent = Lent::new();
    // SAFETY: opened once, closed once.
    unsafe { (interface.calls.close)(interface.device) };
    drop(lent);
    retire(interface.handle, interface.calls.tx as *const c_void);
}

unsafe extern "C" fn start(device: *mut c_void) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    slot::set_started(interface.handle, true);
    0
}

unsafe extern "C" fn stop(device: *mut c_void) {
    // SAFETY: the daemon passes what `open` made.
    if let Some(interface) = unsafe { interface(device) } {
        slot::set_started(interface.handle, false);
    }
}

unsafe extern "C" fn rx_burst(
    device: *mut c_void,
    _queue: u16,
    packets: *mut *mut Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return 0 };
    // SAFETY: only rx_burst uses it, and the one queue has one user.
    let consumer = unsafe { &mut *interface.consumer.get() };
    let wanted = u16::try_from(consumer.waiting()).unwrap_or(u16::MAX).min(count);
    let api = interface.api;
    // Without buffers what waits waits on.
    // SAFETY: the daemon has room for `count` packets.
    if wanted == 0 || unsafe { (api.alloc)(interface.host, packets, wanted) } != 0 {
        return 0;
    }
    let mut got = 0;
    for at in 0..wanted {
        // SAFETY: `at` is below the `wanted` packets that were written.
        let place = unsafe { packets.add(at.into()) };
        // SAFETY: as above.
        let packet = unsafe { place.read() };
        // SAFETY: a new packet, and ours.
        let filled = consumer.pop(|frame| unsafe { fill(api, packet, frame) });
        if filled != Some(true) {
            let _ = interface.drops.no_buffer.fetch_add(1, Ordering::Relaxed);
            break;
        }
        got += 1;
    }
    if got < wanted {
        // SAFETY: as above.
        let rest = unsafe { packets.add(got.into()) };
        // SAFETY: the others are still ours: the daemon gets `got`.
        unsafe { (api.free)(rest, wanted - got) };
    }
    got
}

/// # Safety
/// The caller owns the packet, which is empty.
unsafe fn fill(api: &Api, packet: *mut Mbuf, frame: &[u8]) -> bool {
    #[expect(clippy::cast_possible_truncation, reason = "at most the longest frame")]
    let len = frame.len() as u32;
    // SAFETY: by this function's contract.
    if unsafe { (api.set_len)(packet, len) } != 0 {
        return false;
    }
    // SAFETY: by this function's contract.
    let to = unsafe { (api.data)(packet) };
    // SAFETY: the packet has that many bytes now.
    unsafe { to.copy_from_nonoverlapping(frame.as_ptr(), frame.len()) };
    true
}

unsafe extern "C" fn tx_burst(
    device: *mut c_void,
    _queue: u16,
    packets: *mut *mut Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return 0 };
    let api = interface.api;
    let lent = Lent::new();
    let mut done = 0;
    while done < count {
        // SAFETY: the daemon passes `count` packets.
        let place = unsafe { packets.add(done.into()) };
        // SAFETY: as above.
        let packet = unsafe { place.read() };
        // SAFETY: offered to us. It is one piece: the interface offers to take no others.
        let data = unsafe { (api.data)(packet) };
        // SAFETY: as above.
        let len = unsafe { (api.len)(packet) };
        // SAFETY: the driver reads `len` bytes and keeps nothing.
        let code = unsafe { (interface.calls.tx)(interface.device, data.cast(), len) };
        if code == -libc::EAGAIN {
            break;
        }
        if code != 0 {
            interface.not_sent(code);
        }
        done += 1;
    }
    drop(lent);
    if done > 0 {
        // SAFETY: these are ours, as the count that we return says.
        unsafe { (api.free)(packets, done) };
    }
    done
}

impl Interface {
    fn not_sent(&self, code: i32) {
        let _ = self.drops.not_sent.fetch_add(1, Ordering::Relaxed);
        if !self.refused.swap(true, Ordering::Relaxed) {
            let error = std::io::Error::from_raw_os_error(code.saturating_neg());
            let text = format!("its driver does not send a frame: {error}; others are counted\0");
            // SAFETY: the daemon's side lives until close; a C string.
            unsafe { (self.api.log)(self.host, devnp::LOG_WARNING, text.as_ptr().cast()) };
        }
    }

    /// `-EOPNOTSUPP`: the driver does not know the command.
    fn devctl<T>(&self, command: u32, data: &mut T) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "structures of the ABI")]
        let room = size_of::<T>() as u32;
        let mut len = room;
        // SAFETY: `data` is the structure that the command is for.
        unsafe { self.devctl_raw(command, (&raw mut *data).cast(), &raw mut len, room) }
    }

    /// # Safety
    /// `data` is what the command wants, `len` bytes of it, and has room for `room`.
    unsafe fn devctl_raw(&self, command: u32, data: *mut c_void, len: *mut u32, room: u32) -> i32 {
        let Some(devctl) = self.calls.devctl else { return -libc::EOPNOTSUPP };
        let _lent = Lent::new();
        // SAFETY: the device is open; by this function's contract.
        unsafe { devctl(self.device, command, data, len, room) }
    }
}

unsafe extern "C" fn rx_fd(device: *mut c_void, _queue: u16) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    unsafe { interface(device) }.map_or(-1, |interface| interface.fd)
}

/// A driver that does not know is always up.
unsafe extern "C" fn link(device: *mut c_void, link: *mut Link) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    // SAFETY: the daemon passes a place for the answer.
    let Some(link) = (unsafe { link.as_mut() }) else { return -libc::EINVAL };
    match interface.devctl(devn::DEVCTL_LINK, link) {
        code if code == -libc::EOPNOTSUPP => 0,
        code => code,
    }
}

/// The driver's counters, and what was dropped between it and the worker.
unsafe extern "C" fn stats(device: *mut c_void, stats: *mut Stats) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    // SAFETY: the daemon passes a place for the answer.
    let Some(stats) = (unsafe { stats.as_mut() }) else { return -libc::EINVAL };
    let blank = *stats;
    if interface.devctl(devn::DEVCTL_STATS, stats) != 0 {
        *stats = blank;
    }
    let drops = &interface.drops;
    add(stats, Stat::RxMissed, &drops.queue_full);
    add(stats, Stat::RxOversized, &drops.oversized);
    add(stats, Stat::RxShort, &drops.short);
    add(stats, Stat::RxNoBuffer, &drops.no_buffer);
    add(stats, Stat::TxInternal, &drops.not_sent);
    0
}

fn add(stats: &mut Stats, stat: Stat, count: &AtomicU64) {
    let bit = 1 << stat as u32;
    if let Some(value) = stats.values.get_mut(stat as usize) {
        // What the driver has written without saying so does not count.
        let own = if stats.valid & bit == 0 { 0 } else { *value };
        *value = own.wrapping_add(count.load(Ordering::Relaxed));
        stats.valid |= bit;
    }
}

unsafe extern "C" fn set_mtu(device: *mut c_void, mtu: u16) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    if mtu > MTU_MAX {
        return -libc::EINVAL;
    }
    interface.devctl(devn::DEVCTL_MTU, &mut u32::from(mtu))
}

unsafe extern "C" fn set_promiscuous(device: *mut c_void, on: u8) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    interface.devctl(devn::DEVCTL_PROMISCUOUS, &mut u32::from(on))
}

unsafe extern "C" fn set_mac(device: *mut c_void, mac: *const u8) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    // SAFETY: the daemon passes six bytes.
    let Some(mac) = (unsafe { mac.cast::<[u8; 6]>().as_ref() }) else { return -libc::EINVAL };
    interface.devctl(devn::DEVCTL_MAC, &mut { *mac })
}

/// A driver that does not know receives all.
unsafe extern "C" fn set_allmulticast(device: *mut c_void, on: u8) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    match interface.devctl(devn::DEVCTL_ALLMULTICAST, &mut u32::from(on)) {
        code if code == -libc::EOPNOTSUPP && on != 0 => 0,
        code => code,
    }
}

/// What else a driver does, by its own numbers. Those of the daemon come with their own structures
/// only.
unsafe extern "C" fn ioctl(
    device: *mut c_void,
    command: u32,
    data: *mut c_void,
    len: *mut u32,
    room: u32,
) -> i32 {
    // SAFETY: the daemon passes what `open` made.
    let Some(interface) = (unsafe { interface(device) }) else { return -libc::EINVAL };
    if command < devn::DEVCTL_OWN {
        return -libc::EINVAL;
    }
    // SAFETY: the daemon passes `room` bytes, and a place for how many of them count.
    unsafe { interface.devctl_raw(command, data, len, room) }
}
