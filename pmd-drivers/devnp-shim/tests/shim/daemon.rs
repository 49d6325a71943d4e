//! A daemon of one table for the shim: packets are boxes, and a driver in C that is compiled and linked
//! here.

use core::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock};

use devnp_abi as abi;

/// Packets that exist.
pub(crate) static PACKETS: AtomicI64 = AtomicI64::new(0);
/// No packets are left.
pub(crate) static EMPTY: AtomicBool = AtomicBool::new(false);
/// What was logged.
pub(crate) static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// `link_changed` and `removed`.
pub(crate) static NOTES: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Packet {
    len: u32,
    bytes: [u8; 2048],
}

fn packet<'a>(packet: *const abi::Mbuf) -> &'a mut Packet {
    // SAFETY: the shim passes what `alloc` has made and not freed.
    unsafe { &mut *packet.cast_mut().cast::<Packet>() }
}

unsafe extern "C" fn log(_: *const abi::Host, _: i32, text: *const c_char) {
    // SAFETY: a C string.
    let text = unsafe { CStr::from_ptr(text) };
    LOG.lock().unwrap().push(text.to_string_lossy().into_owned());
}
unsafe extern "C" fn option(
    _: *const abi::Host,
    _: *const c_char,
    _: *mut c_char,
    _: usize,
) -> isize {
    -1
}
unsafe extern "C" fn alloc(_: *const abi::Host, to: *mut *mut abi::Mbuf, count: u16) -> i32 {
    if EMPTY.load(Ordering::SeqCst) {
        return -libc::ENOMEM;
    }
    for at in 0..usize::from(count) {
        let new = Box::into_raw(Box::new(Packet { len: 0, bytes: [0; 2048] })).cast();
        let _ = PACKETS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: room for `count`.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.write(new) };
    }
    0
}
unsafe extern "C" fn free(packets: *mut *mut abi::Mbuf, count: u16) {
    for at in 0..usize::from(count) {
        // SAFETY: `count` packets.
        let place = unsafe { packets.add(at) };
        // SAFETY: as above.
        let raw = unsafe { place.read() };
        // SAFETY: made by `alloc`, freed once.
        drop(unsafe { Box::from_raw(raw.cast::<Packet>()) });
        let _ = PACKETS.fetch_sub(1, Ordering::SeqCst);
    }
}
unsafe extern "C" fn data(of: *mut abi::Mbuf) -> *mut u8 {
    packet(of).bytes.as_mut_ptr()
}
unsafe extern "C" fn len(of: *const abi::Mbuf) -> u32 {
    packet(of).len
}
unsafe extern "C" fn room(_: *const abi::Mbuf) -> u32 {
    2048
}
unsafe extern "C" fn set_len(of: *mut abi::Mbuf, len: u32) -> i32 {
    packet(of).len = len;
    0
}
unsafe extern "C" fn copy(_: *const abi::Mbuf, _: u32, _: u32, _: *mut c_void) -> i32 {
    -libc::EINVAL
}
unsafe extern "C" fn pieces(_: *const abi::Mbuf, _: *mut abi::Piece, _: u16) -> u16 {
    0
}
unsafe extern "C" fn tx_request(_: *const abi::Mbuf, _: *mut abi::TxRequest) {}
unsafe extern "C" fn set_rx(_: *mut abi::Mbuf, _: u32) {}
unsafe extern "C" fn link_changed(_: *const abi::Host) {
    NOTES.lock().unwrap().push("link_changed");
}
unsafe extern "C" fn removed(_: *const abi::Host) {
    NOTES.lock().unwrap().push("removed");
}

static API: abi::Api = abi::Api {
    abi: abi::ABI_VERSION,
    size: 120,
    log,
    option,
    alloc,
    free,
    data,
    len,
    room,
    set_len,
    copy,
    pieces,
    tx_request,
    set_rx,
    link_changed,
    removed,
};

/// The driver's shared object, linked.
pub(crate) struct Fake {
    handle: *mut c_void,
    pub(crate) path: PathBuf,
}

/// Compiles it as a stranger would.
fn build() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("devn-fake.so");
    let built = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-I"])
        .arg(here.join("../include"))
        .arg("-o")
        .args([&path, &here.join("tests/fake.c")])
        .status();
    assert!(built.unwrap().success());
    path
}

impl Fake {
    /// Links a copy of it, which is another driver to the linker.
    pub(crate) fn link(name: &str) -> Self {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("devn-{name}.so"));
        let _ = std::fs::copy(BUILT.get_or_init(build), &path).unwrap();
        let text = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a C string; the file is our own.
        let handle = unsafe { libc::dlopen(text.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null());
        Self { handle, path }
    }

    /// A symbol of it.
    pub(crate) fn symbol(&self, name: &CStr) -> *mut c_void {
        // SAFETY: linked, and a C string.
        let found = unsafe { libc::dlsym(self.handle, name.as_ptr()) };
        assert!(!found.is_null(), "{name:?}");
        found
    }

    pub(crate) fn driver(&self) -> &devn_abi::Driver {
        // SAFETY: the table that the header declares.
        unsafe { &*self.symbol(c"devn_driver").cast::<devn_abi::Driver>() }
    }

    pub(crate) fn set(&self, tx_code: i32, fail_open: i32, keep_thread: bool) {
        // SAFETY: declared so in fake.c.
        let set: extern "C" fn(i32, i32, i32) =
            unsafe { core::mem::transmute(self.symbol(c"fake_set")) };
        set(tx_code, fail_open, keep_thread.into());
    }

    /// A function without arguments and result.
    pub(crate) fn call(&self, name: &CStr) {
        // SAFETY: declared so in fake.c.
        let call: extern "C" fn() = unsafe { core::mem::transmute(self.symbol(name)) };
        call();
    }

    /// A function without arguments that gives a number.
    pub(crate) fn number(&self, name: &CStr) -> u64 {
        // SAFETY: declared so in fake.c.
        let call: extern "C" fn() -> u64 = unsafe { core::mem::transmute(self.symbol(name)) };
        call()
    }

    /// A frame arrives, for this handle or the open one.
    pub(crate) fn rx(&self, handle: Option<u64>, frame: &[u8]) -> i32 {
        let len = u32::try_from(frame.len()).unwrap();
        let handle = handle.unwrap_or_else(|| self.number(c"fake_handle"));
        // SAFETY: declared so in fake.c.
        let rx: extern "C" fn(u64, *const u8, u32) -> i32 =
            unsafe { core::mem::transmute(self.symbol(c"fake_rx_with")) };
        rx(handle, frame.as_ptr(), len)
    }

    pub(crate) fn last_sent(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1518];
        // SAFETY: declared so in fake.c.
        let last: extern "C" fn(*mut u8) -> u32 =
            unsafe { core::mem::transmute(self.symbol(c"fake_last")) };
        let len = last(bytes.as_mut_ptr());
        bytes.truncate(len as usize);
        bytes
    }

    /// Gives it up. Is it out of the process then?
    pub(crate) fn unlink(self) -> bool {
        // SAFETY: linked once, and nothing of it is used any more.
        assert_eq!(unsafe { libc::dlclose(self.handle) }, 0);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        !maps.contains(self.path.to_str().unwrap())
    }
}

/// An interface of the shim.
pub(crate) struct Interface {
    pub(crate) info: abi::Info,
}

impl Interface {
    pub(crate) fn open(fake: &Fake, mtu: u16) -> Result<Self, i32> {
        let config = abi::Config {
            size: 40,
            port: 0,
            queues: 1,
            mtu,
            mac: [0; 6],
            promiscuous: 0,
            nomulticast: 0,
            options: c"speed=9".as_ptr(),
            lower: core::ptr::null(),
        };
        // SAFETY: all bits zero are right for numbers and a null pointer.
        let mut info: abi::Info = unsafe { core::mem::zeroed() };
        let host = core::ptr::null();
        // SAFETY: a driver's table; this daemon's host is opaque and never read.
        let code = unsafe { devnp_shim::open(fake.driver(), &API, host, &config, &mut info) };
        if code == 0 { Ok(Self { info }) } else { Err(code) }
    }

    pub(crate) fn start(&self) {
        // SAFETY: open.
        assert_eq!(unsafe { devnp_shim::TABLE.start.unwrap()(self.info.device) }, 0);
    }

    pub(crate) fn rx(&self, count: u16) -> Vec<Vec<u8>> {
        let mut packets = vec![core::ptr::null_mut(); count.into()];
        let rx = devnp_shim::TABLE.rx_burst.unwrap();
        // SAFETY: open, and room for `count`.
        let got = unsafe { rx(self.info.device, 0, packets.as_mut_ptr(), count) };
        packets.truncate(got.into());
        let frames =
            packets.iter().map(|p| packet(*p).bytes[..packet(*p).len as usize].to_vec()).collect();
        // SAFETY: they are ours.
        unsafe { free(packets.as_mut_ptr(), got) };
        frames
    }

    /// Offers frames and says how many were taken.
    pub(crate) fn tx(&self, frames: &[&[u8]]) -> u16 {
        let count = u16::try_from(frames.len()).unwrap();
        let mut packets = vec![core::ptr::null_mut(); frames.len()];
        // SAFETY: room for `count`.
        assert_eq!(unsafe { alloc(core::ptr::null(), packets.as_mut_ptr(), count) }, 0);
        for (raw, frame) in packets.iter().zip(frames) {
            packet(*raw).bytes[..frame.len()].copy_from_slice(frame);
            packet(*raw).len = u32::try_from(frame.len()).unwrap();
        }
        let tx = devnp_shim::TABLE.tx_burst.unwrap();
        // SAFETY: open, and `count` packets.
        let taken = unsafe { tx(self.info.device, 0, packets.as_mut_ptr(), count) };
        // SAFETY: the others are ours.
        unsafe { free(packets[usize::from(taken)..].as_mut_ptr(), count - taken) };
        taken
    }

    pub(crate) fn fd(&self) -> i32 {
        // SAFETY: open.
        unsafe { devnp_shim::TABLE.rx_fd.unwrap()(self.info.device, 0) }
    }

    pub(crate) fn stat(&self, stat: abi::Stat) -> Option<u64> {
        // SAFETY: all bits zero are numbers.
        let mut stats: abi::Stats = unsafe { core::mem::zeroed() };
        let ask = devnp_shim::TABLE.stats.unwrap();
        // SAFETY: open, and a place for the answer.
        assert_eq!(unsafe { ask(self.info.device, &raw mut stats) }, 0);
        let valid = stats.valid >> stat as u32 & 1 != 0;
        valid.then_some(stats.values[stat as usize])
    }

    pub(crate) fn stop(&self) {
        // SAFETY: open.
        unsafe { devnp_shim::TABLE.stop.unwrap()(self.info.device) };
    }

    pub(crate) fn close(self) {
        // SAFETY: open, and closed once.
        unsafe { devnp_shim::TABLE.close.unwrap()(self.info.device) };
    }
}
