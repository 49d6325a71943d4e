//! A driver that throws: what it leaves behind, seen from the daemon's side of the table.
#![expect(clippy::tests_outside_test_module, reason = "an integration test is one")]

use core::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use devnp_sdk::{Config, Driver, Export, Host, Info, Offloads, OpenError, RxBurst, TxBurst, abi};

/// Packets that were freed.
static FREED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn log(_: *const abi::Host, _: i32, _: *const c_char) {}
unsafe extern "C" fn option(
    _: *const abi::Host,
    _: *const c_char,
    _: *mut c_char,
    _: usize,
) -> isize {
    -1
}
/// Packets here are boxes.
unsafe extern "C" fn alloc(_: *const abi::Host, to: *mut *mut abi::Mbuf, count: u16) -> i32 {
    for at in 0..usize::from(count) {
        let packet = Box::into_raw(Box::new([0_u8; 64])).cast();
        // SAFETY: the SDK has room for `count`.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.write(packet) };
    }
    0
}
unsafe extern "C" fn free(packets: *mut *mut abi::Mbuf, count: u16) {
    for at in 0..usize::from(count) {
        // SAFETY: the SDK passes `count` packets.
        let place = unsafe { packets.add(at) };
        // SAFETY: as above.
        let raw = unsafe { place.read() };
        // SAFETY: made by `alloc`, freed once.
        drop(unsafe { Box::from_raw(raw.cast::<[u8; 64]>()) });
        let _ = FREED.fetch_add(1, Ordering::SeqCst);
    }
}
unsafe extern "C" fn data(packet: *mut abi::Mbuf) -> *mut u8 {
    packet.cast()
}
unsafe extern "C" fn number(_: *const abi::Mbuf) -> u32 {
    64
}
unsafe extern "C" fn set_len(_: *mut abi::Mbuf, _: u32) -> i32 {
    0
}
unsafe extern "C" fn copy(_: *const abi::Mbuf, _: u32, _: u32, _: *mut c_void) -> i32 {
    0
}
unsafe extern "C" fn pieces(_: *const abi::Mbuf, _: *mut abi::Piece, _: u16) -> u16 {
    0
}
unsafe extern "C" fn tx_request(_: *const abi::Mbuf, _: *mut abi::TxRequest) {}
unsafe extern "C" fn set_rx(_: *mut abi::Mbuf, _: u32) {}
unsafe extern "C" fn notify(_: *const abi::Host) {}

static API: abi::Api = abi::Api {
    abi: abi::ABI_VERSION,
    size: 120,
    log,
    option,
    alloc,
    free,
    data,
    len: number,
    room: number,
    set_len,
    copy,
    pieces,
    tx_request,
    set_rx,
    link_changed: notify,
    removed: notify,
};

struct Thrower {
    host: Host,
}

impl Driver for Thrower {
    const NAME: &'static str = "thrower";
    const VERSION: &'static str = "1";
    const OPTIONS: &'static str = "";

    fn open(host: Host, config: Config<'_>) -> Result<(Self, Info), OpenError> {
        assert!(config.mtu() != Some(13), "thirteen");
        let offloads = Offloads::default();
        let info = Info { queues: 1, mtu: 1500, mtu_max: 1500, mac: None, offloads, more: false };
        Ok((Self { host }, info))
    }

    /// Throws with two packets in the burst and one in hand.
    fn rx_burst(&self, _: u16, burst: &mut RxBurst<'_>) {
        let mut fresh = Vec::new();
        self.host.alloc(&mut fresh, 3);
        burst.push(fresh.pop().unwrap()).unwrap();
        burst.push(fresh.pop().unwrap()).unwrap();
        panic!("with {} left", fresh.len());
    }

    /// Throws with the second packet in hand.
    fn tx_burst(&self, _: u16, burst: &mut TxBurst<'_>) {
        drop(burst.take());
        let second = burst.take();
        panic!("with {second:?}");
    }
}

static MODULE: Export = Export::of::<Thrower>(c"1");

fn opened(mtu: u16) -> (&'static abi::Module, Result<*mut c_void, i32>) {
    // SAFETY: an exported table is one: the type is transparent.
    let table = unsafe { &*(&raw const MODULE).cast::<abi::Module>() };
    let config = abi::Config {
        size: 40,
        port: 0,
        queues: 1,
        mtu,
        mac: [0; 6],
        promiscuous: 0,
        nomulticast: 0,
        options: c"".as_ptr(),
        lower: core::ptr::null(),
    };
    // SAFETY: all bits zero are right for numbers and a null pointer.
    let mut info: abi::Info = unsafe { core::mem::zeroed() };
    let open = table.open.unwrap();
    // SAFETY: the tables are whole; this daemon's host is opaque and never read.
    let code = unsafe { open(&raw const API, core::ptr::null(), &raw const config, &raw mut info) };
    (table, if code == 0 { Ok(info.device) } else { Err(code) })
}

#[test]
fn what_a_panic_interrupts_is_neither_lost_nor_freed_twice() {
    let (table, device) = opened(0);
    let device = device.unwrap();
    let mut slots = [core::ptr::null_mut(); 4];
    // SAFETY: an open device, and room for four.
    let got = unsafe { table.rx_burst.unwrap()(device, 0, slots.as_mut_ptr(), 4) };
    assert_eq!(got, abi::FAILED, "nothing was received");
    assert_eq!(FREED.load(Ordering::SeqCst), 3);

    // SAFETY: room for four.
    assert_eq!(unsafe { alloc(core::ptr::null(), slots.as_mut_ptr(), 4) }, 0);
    // SAFETY: an open device, and four packets.
    let sent = unsafe { table.tx_burst.unwrap()(device, 0, slots.as_mut_ptr(), 4) };
    assert_eq!(sent, abi::FAILED | 2, "two are the driver's and freed, two are still the daemon's");
    assert_eq!(FREED.load(Ordering::SeqCst), 5);
    let (_, rest) = slots.split_at_mut(2);
    // SAFETY: the other two are ours.
    unsafe { free(rest.as_mut_ptr(), 2) };
    // SAFETY: open, closed once.
    unsafe { table.close.unwrap()(device) };

    assert_eq!(opened(13).1, Err(-5), "a panic in open is EIO");
}
