//! What the daemon does for a module: log, options, packets, calls from thread to thread.

use core::ffi::{CStr, c_char, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use devnp_abi::Api as DriverApi;
use dpdk::{Burst, Mempool};
use loader::Alarm;
use lsm_abi as abi;
use types::MacAddr;

use crate::answers::Answers;
use crate::context;
use crate::instance::{Attachment, To};
use crate::limits::{ATTACHMENTS_MAX, CALLS_MAX, PATHS_MAX};
use crate::path::PathEnd;
use crate::plan::Point;
use crate::sockets;
use crate::streams;
use crate::thread::{Job, Jobs};
use crate::variable::{Variable, Variables};

const INVALID: i32 = -libc::EINVAL;
const NO_MEMORY: i32 = -libc::ENOMEM;
const AGAIN: i32 = -libc::EAGAIN;

const _: () = assert!(
    abi::LOG_ERROR == devnp_abi::LOG_ERROR
        && abi::LOG_WARNING == devnp_abi::LOG_WARNING
        && abi::LOG_INFO == devnp_abi::LOG_INFO,
    "one log is for modules of all kinds"
);

/// An interface as modules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u16,
    /// Its name.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Largest IP packet.
    pub mtu: u16,
    /// The operator has set it up.
    pub up: bool,
    /// There is a carrier.
    pub running: bool,
    /// Packets to ourselves.
    pub loopback: bool,
    /// Addresses with their prefix lengths, primary first.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    fn to_abi(&self) -> abi::Interface {
        let flag = |on, flag| if on { flag } else { 0 };
        let v4 = |(address, len): &(IpAddr, u8)| match address {
            IpAddr::V4(v4) => Some((*v4, *len)),
            IpAddr::V6(_) => None,
        };
        let first = self.addresses.iter().find_map(v4);
        let (address, prefix_len) = first.unwrap_or((Ipv4Addr::UNSPECIFIED, 0));
        let mut name = [0; 16];
        // One place is left for the terminator.
        for (to, from) in name.iter_mut().take(15).zip(self.name.bytes()) {
            *to = from.cast_signed();
        }
        abi::Interface {
            size: 44,
            flags: flag(self.up, abi::INTERFACE_UP)
                | flag(self.running, abi::INTERFACE_RUNNING)
                | flag(self.loopback, abi::INTERFACE_LOOPBACK),
            index: self.index.into(),
            mtu: self.mtu.into(),
            mac: self.mac.0,
            prefix_len,
            reserved: 0,
            address: address.octets(),
            name,
        }
    }
}

/// What has changed in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface has come.
    Attached(Interface),
    /// An interface is gone.
    Detached(Interface),
    /// An interface is another than before.
    Changed(Interface),
    /// An interface has got an address.
    AddressAdded(Interface, IpAddr, u8),
    /// An interface has lost an address.
    AddressRemoved(Interface, IpAddr, u8),
}

impl Event {
    /// As modules read it: of most kinds only the first part.
    pub(crate) fn to_abi(&self) -> abi::Event6 {
        let none = (IpAddr::from(Ipv4Addr::UNSPECIFIED), 0);
        let (kinds, interface, (address, prefix_len)) = match self {
            Self::Attached(i) => ([abi::EVENT_ATTACHED; 2], i, none),
            Self::Detached(i) => ([abi::EVENT_DETACHED; 2], i, none),
            Self::Changed(i) => ([abi::EVENT_CHANGED; 2], i, none),
            Self::AddressAdded(i, address, len) => {
                ([abi::EVENT_ADDRESS_ADDED, abi::EVENT_ADDRESS6_ADDED], i, (*address, *len))
            }
            Self::AddressRemoved(i, address, len) => {
                ([abi::EVENT_ADDRESS_REMOVED, abi::EVENT_ADDRESS6_REMOVED], i, (*address, *len))
            }
        };
        let [v4, v6] = kinds;
        let (kind, size, address, address6) = match address {
            IpAddr::V4(address) => (v4, 60, address.octets(), Ipv6Addr::UNSPECIFIED.octets()),
            IpAddr::V6(address) => (v6, 76, Ipv4Addr::UNSPECIFIED.octets(), address.octets()),
        };
        let (interface, reserved) = (interface.to_abi(), [0; 3]);
        let event = abi::Event { size, kind, interface, address, prefix_len, reserved };
        abi::Event6 { event, address: address6 }
    }
}

/// The interfaces, for modules to ask for at any time.
#[derive(Debug, Default)]
pub struct Network(Mutex<Arc<[Interface]>>);

impl Network {
    /// As they are.
    #[must_use]
    pub fn interfaces(&self) -> Arc<[Interface]> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// They are these now: what has changed since they were others.
    pub fn set(&self, now: &[Interface]) -> Vec<Event> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = core::mem::replace(&mut *known, now.into());
        drop(known);
        changes(&before, now)
    }
}

fn changes(before: &[Interface], now: &[Interface]) -> Vec<Event> {
    let mut events = Vec::new();
    let same = |a: &Interface, b: &Interface| a.index == b.index && a.name == b.name;
    for old in before {
        if !now.iter().any(|new| same(old, new)) {
            events.push(Event::Detached(old.clone()));
        }
    }
    for new in now {
        let Some(old) = before.iter().find(|old| same(old, new)) else {
            events.push(Event::Attached(new.clone()));
            let addresses = new.addresses.iter();
            events.extend(addresses.map(|(a, len)| Event::AddressAdded(new.clone(), *a, *len)));
            continue;
        };
        let plain = |i: &Interface| Interface { addresses: Vec::new(), ..i.clone() };
        if plain(old) != plain(new) {
            events.push(Event::Changed(new.clone()));
        }
        let gone = old.addresses.iter().filter(|a| !new.addresses.contains(a));
        events.extend(gone.map(|(a, len)| Event::AddressRemoved(new.clone(), *a, *len)));
        let come = new.addresses.iter().filter(|a| !old.addresses.contains(a));
        events.extend(come.map(|(a, len)| Event::AddressAdded(new.clone(), *a, *len)));
    }
    events
}

/// What a module's thread wants a worker or the module's own thread to have: a pointer of the
/// module's.
#[derive(Debug)]
pub(crate) struct Argument(pub(crate) *mut c_void);

// SAFETY: the pointer is the module's, which passes it from thread to thread on its own account; the
// daemon does nothing but hand it back.
unsafe impl Send for Argument {}

/// Calls that wait for one worker. It looks at the flag once per breath, and takes the lock only if
/// something waits.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    waiting: AtomicBool,
    queue: Mutex<VecDeque<Argument>>,
}

impl Mailbox {
    fn push(&self, argument: Argument) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= CALLS_MAX {
            return false;
        }
        queue.push_back(argument);
        self.waiting.store(true, Ordering::Release);
        true
    }

    /// Something waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// What waits.
    pub(crate) fn take(&self) -> VecDeque<Argument> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(false, Ordering::Relaxed);
        core::mem::take(&mut *queue)
    }
}

/// Wakes a worker.
pub(crate) type Wake = Arc<dyn Fn(u16) + Send + Sync>;

/// The daemon's side of one module: what an [`abi::Host`] is.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) options: Vec<(String, Option<String>)>,
    pub(crate) pool: Mempool,
    pub(crate) network: Arc<Network>,
    pub(crate) wake: Wake,
    /// By worker.
    pub(crate) mailboxes: Box<[Mailbox]>,
    pub(crate) jobs: Arc<Jobs>,
    /// While `open` runs.
    pub(crate) attachments: Mutex<Option<Vec<Attachment>>>,
    pub(crate) variables: Variables,
    /// Where paths are made.
    pub(crate) folder: PathBuf,
    pub(crate) paths: Mutex<Vec<PathEnd>>,
    pub(crate) answers: Arc<Answers>,
    pub(crate) health: Health,
}

/// Whether a module is called.
#[derive(Debug)]
pub(crate) struct Health {
    halted: AtomicBool,
    failures: AtomicU64,
    alarm: Alarm,
}

impl Health {
    /// It is called, and `alarm` rings when it has failed.
    pub(crate) fn new(alarm: Alarm) -> Self {
        Self { halted: AtomicBool::new(false), failures: AtomicU64::new(0), alarm }
    }

    /// It is called no more.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// How often it has failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Host {
    pub(crate) fn as_abi(&self) -> *const abi::Host {
        (&raw const *self).cast()
    }

    /// The module has failed: nobody calls it any more.
    pub(crate) fn fail(&self, what: &str) {
        if !self.health.halted.swap(true, Ordering::AcqRel) {
            let _ = self.health.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!("{}: it has failed in {what}; it is down", self.name);
            self.health.alarm.ring();
        }
    }

    /// `open` still runs.
    fn is_opening(&self) -> bool {
        self.attachments.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// `open` is over: what it has attached to.
    pub(crate) fn take_attachments(&self) -> Vec<Attachment> {
        let mut attachments = self.attachments.lock().unwrap_or_else(PoisonError::into_inner);
        attachments.take().unwrap_or_default()
    }
}

/// The table that all modules get; packets are as drivers have them.
pub(crate) fn api(packet: &'static DriverApi) -> &'static abi::Api {
    static API: OnceLock<Table> = OnceLock::new();
    let table = || {
        Table(abi::Api {
            abi: abi::ABI_VERSION,
            #[expect(clippy::cast_possible_truncation, reason = "some hundred bytes")]
            size: size_of::<abi::Api>() as u32,
            packet,
            log,
            option,
            alloc,
            attach,
            workers,
            interfaces,
            call_in_worker,
            defer,
            worker: context::worker,
            now: context::now,
            send_frames: context::send_frames,
            send_packets: context::send_packets,
            set_timer: context::set_timer,
            failed,
            variable,
            value,
            set_value,
            add_value,
            path,
            path_answer: crate::answers::path_answer,
            deliver: context::deliver,
            arrive: streams::arrive,
            connected: streams::connected,
            want: streams::want,
            finish: streams::finish,
        })
    };
    &API.get_or_init(table).0
}

struct Table(abi::Api);

// SAFETY: the table is constant, and so is what its pointer leads to.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// # Safety
/// `host` came from [`Host::as_abi`], and the module is not closed.
pub(crate) unsafe fn host<'a>(host: *const abi::Host) -> Option<&'a Host> {
    // SAFETY: by this function's contract it lives; it is never borrowed mutably.
    unsafe { host.cast::<Host>().as_ref() }
}

unsafe extern "C" fn log(to: *const abi::Host, level: i32, text: *const c_char) {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(to) }) else { return };
    // SAFETY: the module passes a C string or null.
    unsafe { loader::log(&host.name, level, text) };
}

unsafe extern "C" fn option(
    of: *const abi::Host,
    key: *const c_char,
    to: *mut c_char,
    len: usize,
) -> isize {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(of) }) else { return -1 };
    // SAFETY: the module passes a C string, and room for as many bytes as it says, or null.
    unsafe { loader::option(&host.options, key, to, len) }
}

unsafe extern "C" fn alloc(of: *const abi::Host, to: *mut *mut devnp_abi::Mbuf, count: u16) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let (Some(host), false) = (unsafe { host(of) }, to.is_null()) else { return INVALID };
    let mut burst = Burst::new();
    if usize::from(count) > burst.room() {
        return INVALID;
    }
    if !host.pool.alloc_burst(&mut burst, count.into()) {
        return NO_MEMORY;
    }
    for (at, mbuf) in burst.drain().enumerate() {
        // SAFETY: the module has room for `count` pointers.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.write(mbuf.into_foreign().as_ptr().cast()) };
    }
    0
}

unsafe extern "C" fn attach(of: *const abi::Host, what: *const abi::Attach) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with, and a complete structure or null.
    let (Some(host), Some(what)) = (unsafe { host(of) }, unsafe { what.as_ref() }) else {
        return INVALID;
    };
    let interface = (!what.interface.is_null()).then(|| {
        // SAFETY: the module passes a C string.
        unsafe { CStr::from_ptr(what.interface) }.to_string_lossy().into_owned()
    });
    let Some(to) = wanted(what.to, what.value) else { return INVALID };
    let mut attachments = host.attachments.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(attachments) = attachments.as_mut() else { return INVALID };
    if attachments.len() >= ATTACHMENTS_MAX {
        return -libc::ENOSPC;
    }
    attachments.push(Attachment { to, order: what.order, interface });
    i32::try_from(attachments.len() - 1).unwrap_or(INVALID)
}

/// What a module may attach to.
fn wanted(to: u32, value: u32) -> Option<To> {
    /// The stack's own.
    const STACK_ETHERTYPES: [u16; 3] = [0x0800, 0x0806, 0x86dd];
    const STACK_PROTOCOLS: [u8; 3] = [1, 6, 17];
    let directions = (1..=3).contains(&value);
    match to {
        abi::TO_ETHERTYPE => {
            let number = u16::try_from(value).ok().filter(|number| *number >= 0x0600)?;
            (!STACK_ETHERTYPES.contains(&number)).then_some(To::EtherType(number))
        }
        abi::TO_PROTOCOL => {
            let number = u8::try_from(value).ok()?;
            (!STACK_PROTOCOLS.contains(&number)).then_some(To::Protocol(number))
        }
        abi::TO_TAP if directions => Some(To::Tap(value)),
        abi::TO_FILTER_INET if directions => Some(To::Filter(Point::Inet, value)),
        abi::TO_FILTER_INET6 if directions => Some(To::Filter(Point::Inet6, value)),
        abi::TO_FILTER_INTERFACE if directions => Some(To::Filter(Point::Interface, value)),
        abi::TO_SOCKETS => sockets::wanted(value, false).map(To::Sockets),
        abi::TO_STREAMS => sockets::wanted(value, true).map(To::Sockets),
        _ => None,
    }
}

unsafe extern "C" fn workers(of: *const abi::Host) -> u32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let host = unsafe { host(of) };
    host.and_then(|host| u32::try_from(host.mailboxes.len()).ok()).unwrap_or(0)
}

unsafe extern "C" fn interfaces(of: *const abi::Host, to: *mut abi::Interface, max: u32) -> u32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(of) }) else { return 0 };
    let interfaces = host.network.interfaces();
    let max = if to.is_null() { 0 } else { max as usize };
    for (at, interface) in interfaces.iter().enumerate().take(max) {
        // SAFETY: the module has room for `max` interfaces.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.write(interface.to_abi()) };
    }
    u32::try_from(interfaces.len()).unwrap_or(0)
}

unsafe extern "C" fn call_in_worker(
    of: *const abi::Host,
    worker: u32,
    argument: *mut c_void,
) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(of) }) else { return INVALID };
    let Ok(number) = u16::try_from(worker) else { return INVALID };
    let Some(mailbox) = host.mailboxes.get(usize::from(number)) else { return INVALID };
    if !mailbox.push(Argument(argument)) {
        return AGAIN;
    }
    (host.wake)(number);
    0
}

unsafe extern "C" fn defer(of: *const abi::Host, argument: *mut c_void) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host(of) }) else { return INVALID };
    if host.jobs.push(Job::Work(Argument(argument))) { 0 } else { AGAIN }
}

unsafe extern "C" fn failed(of: *const abi::Host) {
    // SAFETY: the module passes the pointer that it was opened with.
    if let Some(host) = unsafe { host(of) } {
        host.fail("a thread of its own");
    }
}

unsafe extern "C" fn variable(of: *const abi::Host, what: *const abi::Variable) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with, and a complete structure or null.
    let (Some(host), Some(what)) = (unsafe { host(of) }, unsafe { what.as_ref() }) else {
        return INVALID;
    };
    if what.name.is_null() || what.text.is_null() || !host.is_opening() {
        return INVALID;
    }
    // SAFETY: the module passes a C string.
    let name = unsafe { CStr::from_ptr(what.name) }.to_string_lossy();
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(what.text) }.to_string_lossy();
    let added = host.variables.add(Variable {
        name: format!("{}.{name}", host.name),
        text: text.into_owned(),
        range: what.min..=what.max,
        writable: what.flags & abi::VARIABLE_WRITABLE != 0,
        value: AtomicI64::new(what.value),
    });
    match added {
        Ok(number) => i32::try_from(number).unwrap_or(INVALID),
        Err(errno) => -errno,
    }
}

unsafe extern "C" fn value(of: *const abi::Host, variable: u32) -> i64 {
    // SAFETY: the module passes the pointer that it was opened with.
    let host = unsafe { host(of) };
    host.and_then(|host| host.variables.get(variable)).map_or(0, |v| v.load(Ordering::Relaxed))
}

unsafe extern "C" fn set_value(of: *const abi::Host, variable: u32, to: i64) {
    // SAFETY: the module passes the pointer that it was opened with.
    let host = unsafe { host(of) };
    if let Some(value) = host.and_then(|host| host.variables.get(variable)) {
        value.store(to, Ordering::Relaxed);
    }
}

unsafe extern "C" fn add_value(of: *const abi::Host, variable: u32, more: i64) {
    // SAFETY: the module passes the pointer that it was opened with.
    let host = unsafe { host(of) };
    if let Some(value) = host.and_then(|host| host.variables.get(variable)) {
        let _ = value.fetch_add(more, Ordering::Relaxed);
    }
}

unsafe extern "C" fn path(of: *const abi::Host, name: *const c_char, mode: u32) -> i32 {
    // SAFETY: the module passes the pointer that it was opened with.
    let (Some(host), false) = (unsafe { host(of) }, name.is_null()) else { return INVALID };
    // SAFETY: the module passes a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    if !host.is_opening() {
        return INVALID;
    }
    let mut paths = host.paths.lock().unwrap_or_else(PoisonError::into_inner);
    if paths.len() >= PATHS_MAX {
        return -libc::ENOSPC;
    }
    match PathEnd::new(&host.folder, &name, mode) {
        Ok(end) => {
            paths.push(end);
            i32::try_from(paths.len() - 1).unwrap_or(INVALID)
        }
        Err(errno) => errno.raw_os_error().saturating_neg(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u16, name: &str, addresses: &[(&str, u8)]) -> Interface {
        Interface {
            index,
            name: name.into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            running: true,
            loopback: false,
            addresses: addresses.iter().map(|(a, len)| (a.parse().unwrap(), *len)).collect(),
        }
    }

    #[test]
    fn changes_of_the_network_are_told_one_by_one() {
        let network = Network::default();
        let a = interface(1, "tap0", &[("2001:db8::1", 64), ("10.0.0.1", 8)]);
        assert_eq!((a.to_abi().address, a.to_abi().prefix_len), ([10, 0, 0, 1], 8));
        let told = network.set(core::slice::from_ref(&a));
        let [six, four] = ["2001:db8::1", "10.0.0.1"].map(|a| a.parse::<IpAddr>().unwrap());
        let added = |address, len| Event::AddressAdded(a.clone(), address, len);
        assert_eq!(told, [Event::Attached(a.clone()), added(six, 64), added(four, 8)]);
        let kinds = told.iter().map(|event| (event.to_abi().event.kind, event.to_abi().event.size));
        assert_eq!(kinds.collect::<Vec<_>>(), [(1, 60), (6, 76), (4, 60)]);
        let mut b = a.clone();
        b.up = false;
        b.addresses.clear();
        let told = network.set(core::slice::from_ref(&b));
        let removed = |address, len| Event::AddressRemoved(b.clone(), address, len);
        assert_eq!(told, [Event::Changed(b.clone()), removed(six, 64), removed(four, 8)]);
        assert_eq!(network.set(core::slice::from_ref(&b)), []);
        assert_eq!(network.set(&[]), [Event::Detached(b)]);
    }

    #[test]
    fn the_stacks_own_protocols_are_not_to_be_had() {
        assert_eq!(wanted(abi::TO_ETHERTYPE, 0x8204), Some(To::EtherType(0x8204)));
        assert_eq!(wanted(abi::TO_PROTOCOL, 106), Some(To::Protocol(106)));
        for (to, value) in [
            (abi::TO_ETHERTYPE, 0x0800),
            (abi::TO_ETHERTYPE, 0x0806),
            (abi::TO_ETHERTYPE, 0x86dd),
            (abi::TO_ETHERTYPE, 0x05ff),
            (abi::TO_ETHERTYPE, 0x1_8204),
            (abi::TO_PROTOCOL, 6),
            (abi::TO_PROTOCOL, 256),
            (abi::TO_TAP, 0),
            (abi::TO_FILTER_INET, 4),
            (99, 1),
        ] {
            assert_eq!(wanted(to, value), None, "{to} {value:#x}");
        }
    }
}
