//! The C table of a [`Driver`]: each function checks its pointers, calls the driver, and catches what
//! it throws.

use core::ffi::{CStr, c_void};

use devnp_abi as abi;

use crate::burst::{RxBurst, TxBurst};
use crate::config::{Config, OpenError};
use crate::host::{Host, Level};
use crate::module::{self, quiet_panics, terminated};
use crate::packet::set_api;
use crate::{Driver, Threading};

/// What a module exports.
#[derive(Debug)]
#[repr(transparent)]
pub struct Export(abi::Module);

// SAFETY: the table is constant, and so is the text that it points to.
unsafe impl Sync for Export {}

/// A driver with its host, whose log a panic goes to.
struct Device<D> {
    driver: D,
    host: Host,
}

/// Text with its terminator, made at compile time.
struct Terminated<D>(core::marker::PhantomData<D>);

impl<D: Driver> Terminated<D> {
    const NAME: &'static [u8; 64] = &terminated(D::NAME);
    const OPTIONS: &'static [u8; 1024] = &terminated(D::OPTIONS);
}

impl Export {
    /// The table of a driver.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the table has less than 200 bytes")]
    pub const fn of<D: Driver>(version: &'static CStr) -> Self {
        Self(abi::Module {
            magic: abi::MAGIC,
            abi: abi::ABI_VERSION,
            size: size_of::<abi::Module>() as u32,
            kind: abi::KIND_DRIVER,
            threading: match D::THREADING {
                Threading::Single => abi::THREADING_SINGLE,
                Threading::Queue => abi::THREADING_QUEUE,
            },
            flags: if D::NEEDS_LOWER { abi::FLAG_NEEDS_LOWER } else { 0 },
            name: Terminated::<D>::NAME.as_ptr().cast(),
            version: version.as_ptr(),
            options: Terminated::<D>::OPTIONS.as_ptr().cast(),
            open: Some(open::<D>),
            close: Some(close::<D>),
            start: Some(start::<D>),
            stop: Some(stop::<D>),
            rx_burst: Some(rx_burst::<D>),
            tx_burst: Some(tx_burst::<D>),
            rx_fd: Some(rx_fd::<D>),
            link: Some(link::<D>),
            stats: Some(stats::<D>),
            set_mac: Some(set_mac::<D>),
            set_mtu: Some(set_mtu::<D>),
            set_promiscuous: Some(set_promiscuous::<D>),
            set_allmulticast: Some(set_allmulticast::<D>),
            ioctl: Some(ioctl::<D>),
            panic_stop: if D::PANIC_STOP { Some(panic_stop::<D>) } else { None },
        })
    }
}

/// Calls what may panic; if it does, the daemon's log has the words, and the result is `None`.
fn caught<T>(host: &Host, call: impl FnOnce() -> T) -> Option<T> {
    module::caught(|text| host.log(Level::Error, text), call)
}

/// Calls the driver; a panic is logged and gives `None`.
fn guarded<D: Driver, T>(device: *mut c_void, call: impl FnOnce(&D) -> T) -> Option<T> {
    // SAFETY: the daemon passes what `open` made, until `close`.
    let device = unsafe { device.cast::<Device<D>>().as_ref() }?;
    caught(&device.host, || call(&device.driver))
}

fn code(result: Option<Result<(), OpenError>>) -> i32 {
    match result {
        Some(Ok(())) => 0,
        Some(Err(error)) => error.code(),
        None => OpenError::IO.code(),
    }
}

unsafe extern "C" fn open<D: Driver>(
    api: *const abi::Api,
    host: *const abi::Host,
    config: *const abi::Config,
    info: *mut abi::Info,
) -> i32 {
    quiet_panics();
    // SAFETY: the daemon's table, which lives as long as the process.
    let Some(table) = (unsafe { api.as_ref() }) else { return OpenError::INVALID.code() };
    // SAFETY: the daemon's, valid during this call.
    let Some(config) = (unsafe { config.as_ref() }) else { return OpenError::INVALID.code() };
    // SAFETY: as above, and nobody else writes it.
    let Some(info) = (unsafe { info.as_mut() }) else { return OpenError::INVALID.code() };
    // SAFETY: the daemon's table, as above.
    unsafe { set_api(api) };
    let host = Host::new(table, host);
    let make = || D::open(host.clone(), Config { raw: config });
    let (driver, made) = match caught(&host, make) {
        Some(Ok(opened)) => opened,
        Some(Err(error)) => return error.code(),
        None => return OpenError::IO.code(),
    };
    info.offloads = made.offloads.bits();
    info.flags = if made.more { abi::INFO_MORE } else { 0 };
    info.queues = made.queues;
    info.mtu = made.mtu;
    info.mtu_max = made.mtu_max;
    info.mac = made.mac.unwrap_or([0; 6]);
    info.device = Box::into_raw(Box::new(Device { driver, host })).cast();
    0
}

unsafe extern "C" fn close<D: Driver>(device: *mut c_void) {
    if device.is_null() {
        return;
    }
    // SAFETY: what `open` made; the daemon closes it once, and nobody else has it now.
    let device = unsafe { Box::from_raw(device.cast::<Device<D>>()) };
    let host = device.host.clone();
    // Closed is what it is now in any case.
    let _ = caught(&host, || drop(device));
}

unsafe extern "C" fn start<D: Driver>(device: *mut c_void) -> i32 {
    code(guarded::<D, _>(device, Driver::start))
}

unsafe extern "C" fn stop<D: Driver>(device: *mut c_void) {
    // Stopped is what it is now in any case.
    let _ = guarded::<D, _>(device, Driver::stop);
}

unsafe extern "C" fn rx_burst<D: Driver>(
    device: *mut c_void,
    queue: u16,
    packets: *mut *mut abi::Mbuf,
    count: u16,
) -> u16 {
    let call = |driver: &D| {
        // SAFETY: the daemon has `count` places there, for this call alone.
        let mut burst = unsafe { RxBurst::new(packets, count) };
        driver.rx_burst(queue, &mut burst);
        burst.finish()
    };
    guarded(device, call).unwrap_or(abi::FAILED)
}

unsafe extern "C" fn tx_burst<D: Driver>(
    device: *mut c_void,
    queue: u16,
    packets: *mut *mut abi::Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the daemon has `count` packets there, for this call alone.
    let mut burst = unsafe { TxBurst::new(packets, count) };
    let result = guarded::<D, _>(device, |driver| driver.tx_burst(queue, &mut burst));
    burst.taken() | if result.is_none() { abi::FAILED } else { 0 }
}

unsafe extern "C" fn rx_fd<D: Driver>(device: *mut c_void, queue: u16) -> i32 {
    guarded::<D, _>(device, |driver| driver.rx_fd(queue)).flatten().unwrap_or(-1)
}

unsafe extern "C" fn link<D: Driver>(device: *mut c_void, to: *mut abi::Link) -> i32 {
    // SAFETY: the daemon's place for the answer.
    let (Some(link), Some(to)) = (guarded::<D, _>(device, Driver::link), unsafe { to.as_mut() })
    else {
        return OpenError::IO.code();
    };
    to.up = link.up.into();
    to.full_duplex = link.full_duplex.into();
    to.speed_mbps = link.speed_mbps.unwrap_or(0);
    0
}

unsafe extern "C" fn stats<D: Driver>(device: *mut c_void, to: *mut abi::Stats) -> i32 {
    // SAFETY: the daemon's place for the answer.
    let Some(to) = (unsafe { to.as_mut() }) else { return OpenError::INVALID.code() };
    let mut set = |stat: abi::Stat, value| {
        if let Some(place) = to.values.get_mut(stat as usize) {
            *place = value;
            to.valid |= 1 << (stat as u32);
        }
    };
    code(guarded::<D, _>(device, |driver| driver.stats(&mut set)).map(Ok))
}

unsafe extern "C" fn set_mac<D: Driver>(device: *mut c_void, mac: *const u8) -> i32 {
    // SAFETY: the daemon's six bytes, valid during this call.
    let Some(mac) = (unsafe { mac.cast::<[u8; 6]>().as_ref() }) else {
        return OpenError::INVALID.code();
    };
    code(guarded::<D, _>(device, |driver| driver.set_mac(*mac)))
}

unsafe extern "C" fn set_mtu<D: Driver>(device: *mut c_void, mtu: u16) -> i32 {
    code(guarded::<D, _>(device, |driver| driver.set_mtu(mtu)))
}

unsafe extern "C" fn set_promiscuous<D: Driver>(device: *mut c_void, on: u8) -> i32 {
    code(guarded::<D, _>(device, |driver| driver.set_promiscuous(on != 0)))
}

unsafe extern "C" fn set_allmulticast<D: Driver>(device: *mut c_void, on: u8) -> i32 {
    code(guarded::<D, _>(device, |driver| driver.set_allmulticast(on != 0)))
}

unsafe extern "C" fn ioctl<D: Driver>(
    device: *mut c_void,
    command: u32,
    data: *mut c_void,
    len: *mut u32,
    room: u32,
) -> i32 {
    // SAFETY: the daemon's number, for this call alone.
    let (Some(len), false) = (unsafe { len.as_mut() }, data.is_null()) else {
        return OpenError::INVALID.code();
    };
    // SAFETY: the daemon has `room` bytes there, `len` of them set, for this call alone.
    let place = unsafe { core::slice::from_raw_parts_mut(data.cast::<u8>(), room as usize) };
    let given = place.get(..*len as usize).unwrap_or_default();
    *len = 0;
    let answer = match guarded::<D, _>(device, |driver| driver.ioctl(command, given)) {
        Some(Ok(answer)) => answer,
        refused => return code(refused.map(|result| result.map(drop))),
    };
    let Some(to) = place.get_mut(..answer.len()) else { return OpenError::TOO_LONG.code() };
    to.copy_from_slice(&answer);
    *len = u32::try_from(answer.len()).unwrap_or(0);
    0
}

unsafe extern "C" fn panic_stop<D: Driver>(device: *mut c_void) {
    // SAFETY: the daemon passes what `open` made, until `close`.
    if let Some(device) = unsafe { device.cast::<Device<D>>().as_ref() } {
        device.driver.panic_stop();
    }
}
