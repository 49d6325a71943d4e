//! An open module: what it is attached to, its failures, and the calls into it.

use core::ffi::c_void;
use core::fmt;
use std::sync::Arc;

use counters::Counter;
use dpdk::{Burst, Mbuf};
use lsm_abi as abi;
use rustix::io::Errno;

use crate::context::Context;
use crate::error::ProtocolError;
use crate::host::{self, Argument, Event, Host, Mailbox};
use crate::library::Library;
use crate::modules::Surroundings;
use crate::plan::{Direction, Point};
use crate::sockets::{Owner, SocketKind};

/// What an attachment is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// Frames of this EtherType.
    EtherType(u16),
    /// IPv4 packets of this protocol.
    Protocol(u8),
    /// A look at all frames of these directions.
    Tap(u32),
    /// A filter of packets of these directions.
    Filter(Point, u32),
    /// Sockets.
    Sockets(SocketKind),
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |directions: &u32| match *directions {
            abi::IN => "in",
            abi::OUT => "out",
            _ => "in+out",
        };
        match self {
            Self::EtherType(number) => write!(f, "ethertype 0x{number:04x}"),
            Self::Protocol(number) => write!(f, "protocol {number}"),
            Self::Tap(directions) => write!(f, "tap {}", way(directions)),
            Self::Filter(Point::Inet, directions) => write!(f, "inet {}", way(directions)),
            Self::Filter(Point::Inet6, directions) => write!(f, "inet6 {}", way(directions)),
            Self::Filter(Point::Interface, directions) => {
                write!(f, "interface {}", way(directions))
            }
            Self::Sockets(kind) => kind.fmt(f),
        }
    }
}

/// What a module has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) to: To,
    pub(crate) order: i32,
    pub(crate) interface: Option<String>,
}

/// What came of one worker's packets at one attachment. Written by that worker alone.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: Counter,
    pub(crate) dropped: Counter,
    pub(crate) consumed: Counter,
}

/// An attachment and its counters, summed over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentRow {
    /// What it is to: `ethertype 0x8204`, `inet in`, …
    pub to: String,
    /// The one interface, if it is to one.
    pub interface: Option<String>,
    /// Packets that were passed on: seen by a tap, let through by a filter.
    pub passed: u64,
    /// Packets that a filter had dropped.
    pub dropped: u64,
    /// Packets that the module has taken.
    pub consumed: u64,
}

/// An open module, shared by the control thread, its own thread and the workers.
pub struct Instance {
    /// What its sockets know it by.
    pub(crate) owner: Owner,
    pub(crate) raw: *mut c_void,
    attachments: Vec<Attachment>,
    /// By worker, then by attachment.
    tallies: Box<[Box<[Tally]>]>,
    /// The module has its address.
    host: Arc<Host>,
    // Dropped last: the code of everything above.
    library: Library,
}

// SAFETY: the module's functions are called by its threading contract: workers' calls by all of them
// only if it says so, the others by its own thread; the rest is atomic or constant.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Instance {
    /// Opens a module.
    pub(crate) fn open(
        library: Library,
        host: Host,
        surroundings: &Surroundings,
    ) -> Result<Self, ProtocolError> {
        let host = Arc::new(host);
        let mut raw = core::ptr::null_mut();
        let api = host::api(surroundings.packet);
        let code = match library.table.open {
            // SAFETY: the table lives as long as the process, the host as long as the instance, which
            // is closed first; a place for the answer.
            Some(open) => unsafe { open(api, host.as_abi(), &raw mut raw) },
            None => -libc::ENOSYS,
        };
        if code != 0 {
            let reason = std::io::Error::from_raw_os_error(code.saturating_neg()).to_string();
            return Err(ProtocolError::Open { module: library.name.clone(), reason });
        }
        let attachments = host.take_attachments();
        let tallies = || attachments.iter().map(|_| Tally::default()).collect();
        let tallies = (0..surroundings.workers).map(|_| tallies()).collect();
        let owner = Owner::unique();
        let instance = Self { owner, raw, attachments, tallies, host, library };
        instance.check(surroundings.workers)?;
        Ok(instance)
    }

    /// It has a function for each kind of packet that it has asked for, and can be called wherever they
    /// are.
    fn check(&self, workers: u16) -> Result<(), ProtocolError> {
        let table = &self.library.table;
        for wanted in &self.attachments {
            let (there, function) = match wanted.to {
                To::EtherType(_) | To::Protocol(_) => (table.receive.is_some(), "receive"),
                To::Tap(_) => (table.tap.is_some(), "tap"),
                To::Filter(..) => (table.filter.is_some(), "filter"),
                To::Sockets(_) => (
                    table.socket_open.is_some() && table.socket_send.is_some(),
                    "socket_open or socket_send",
                ),
            };
            if !there {
                let reason = format!("it wants {}, and has no function {function}", wanted.to);
                return Err(ProtocolError::Open { module: self.name().into(), reason });
            }
            // What is the module's can be handed to its worker; others wait for a tap or a filter.
            let everywhere = matches!(wanted.to, To::Tap(_) | To::Filter(..));
            if everywhere && self.library.is_single() && workers > 1 {
                let (module, what) = (self.name().into(), wanted.to.to_string());
                return Err(ProtocolError::TooManyWorkers { module, what, workers });
            }
        }
        Ok(())
    }

    /// The protocol's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.library.name
    }

    /// It failed, and nobody calls it.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.host.health.is_halted()
    }

    /// Its failures.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.host.health.failures()
    }

    /// What it is attached to.
    #[must_use]
    pub fn rows(&self) -> Vec<AttachmentRow> {
        let row = |(at, wanted): (usize, &Attachment)| {
            let mine = || self.tallies.iter().filter_map(move |worker| worker.get(at));
            AttachmentRow {
                to: wanted.to.to_string(),
                interface: wanted.interface.clone(),
                passed: mine().map(|tally| tally.passed.value()).sum(),
                dropped: mine().map(|tally| tally.dropped.value()).sum(),
                consumed: mine().map(|tally| tally.consumed.value()).sum(),
            }
        };
        self.attachments.iter().enumerate().map(row).collect()
    }

    pub(crate) fn library(&self) -> &Library {
        &self.library
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    pub(crate) fn mailbox(&self, worker: u16) -> Option<&Mailbox> {
        self.host.mailboxes.get(usize::from(worker))
    }

    pub(crate) fn tally(&self, worker: u16, attachment: u32) -> Option<&Tally> {
        self.tallies.get(usize::from(worker))?.get(usize::try_from(attachment).ok()?)
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.host.health.is_halted()
    }

    /// Takes the module down if a call says that it failed.
    fn judge(&self, code: i32, what: &str) {
        if code != 0 {
            self.host.fail(what);
        }
    }

    /// Gives it packets.
    pub(crate) fn receive(&self, context: &mut Context<'_>, at: &abi::Arrival, burst: &mut Burst) {
        let (true, Some(receive)) = (self.is_running(), self.library.table.receive) else {
            return burst.clear();
        };
        if let Some(tally) = self.tally(context.worker, at.attachment) {
            tally.consumed.add(burst.len() as u64);
        }
        let give = |packets: *mut *mut c_void, count| {
            // SAFETY: open; the packets are the module's from here on.
            let code = unsafe {
                receive(self.raw, context.as_abi(), &raw const *at, packets.cast(), count)
            };
            self.judge(code, "receive");
            count
        };
        // SAFETY: the module owns all packets. It can't have said a wrong count.
        let _ = unsafe { burst.send_with(give) };
    }

    /// Shows it frames.
    pub(crate) fn tap(&self, context: &mut Context<'_>, at: &abi::Arrival, frames: &[Mbuf]) {
        let (true, Some(tap)) = (self.is_running(), self.library.table.tap) else { return };
        let Ok(count) = u16::try_from(frames.len()) else { return };
        if let Some(tally) = self.tally(context.worker, at.attachment) {
            tally.passed.add(count.into());
        }
        // SAFETY: open; an `Mbuf` is a pointer to a packet, which the module only looks at.
        let code = unsafe {
            tap(self.raw, context.as_abi(), &raw const *at, frames.as_ptr().cast(), count)
        };
        self.judge(code, "tap");
    }

    /// Asks it about the packets of a burst that `asked` has a bit for. Returns the bits, by their new
    /// places, of those that have passed, and how many it had dropped.
    pub(crate) fn filter(
        &self,
        context: &mut Context<'_>,
        at: &abi::Arrival,
        burst: &mut Burst,
        asked: u32,
    ) -> (u32, u64) {
        let (true, Some(filter)) = (self.is_running(), self.library.table.filter) else {
            return (asked, 0);
        };
        let worker = context.worker;
        let judge = |packets: *const *mut c_void, verdicts: *mut u8, count| {
            // SAFETY: open; the module looks at the packets, and owns those it says it consumes.
            let code = unsafe {
                filter(self.raw, context.as_abi(), &raw const *at, packets.cast(), verdicts, count)
            };
            self.judge(code, "filter");
        };
        // SAFETY: as above.
        let verdicts = unsafe { burst.judge_with(asked, judge) };
        if let Some(tally) = self.tally(worker, at.attachment) {
            tally.passed.add(verdicts.passed.count_ones().into());
            tally.dropped.add(verdicts.dropped.into());
            tally.consumed.add(verdicts.consumed.into());
        }
        (verdicts.passed, verdicts.dropped.into())
    }

    /// The worker's timer has fired.
    pub(crate) fn timer(&self, context: &mut Context<'_>) {
        if let (true, Some(timer)) = (self.is_running(), self.library.table.timer) {
            // SAFETY: open.
            let code = unsafe { timer(self.raw, context.as_abi()) };
            self.judge(code, "timer");
        }
    }

    /// One call that was asked for, in the worker's context, or none: it is only to be freed.
    pub(crate) fn call(&self, context: Option<&mut Context<'_>>, argument: &Argument) {
        let context = context.filter(|_| self.is_running());
        let context = context.map_or(core::ptr::null_mut(), Context::as_abi);
        if let Some(call) = self.library.table.call {
            // SAFETY: open; the argument is the module's own.
            let code = unsafe { call(self.raw, context, argument.0) };
            self.judge(code, "call");
        }
    }

    /// Calls that no worker will make any more.
    pub(crate) fn discard_calls(&self) {
        for mailbox in &self.host.mailboxes {
            for argument in mailbox.take() {
                self.call(None, &argument);
            }
        }
    }

    /// Work that was asked for, on the module's thread.
    pub(crate) fn work(&self, argument: &Argument, last: bool) {
        let last = last || !self.is_running();
        if let Some(work) = self.library.table.work {
            // SAFETY: open; the argument is the module's own.
            let code = unsafe { work(self.raw, argument.0, last.into()) };
            self.judge(code, "work");
        }
    }

    /// The network has changed.
    pub(crate) fn event(&self, event: &Event) {
        if let (true, Some(told)) = (self.is_running(), self.library.table.event) {
            let event = event.to_abi();
            // SAFETY: open; the event, and what its kind says is behind it, is valid during the call.
            let code = unsafe { told(self.raw, (&raw const event).cast()) };
            self.judge(code, "event");
        }
    }

    /// Somebody opens a path: what the module calls it.
    pub(crate) fn path_open(&self, peer: &abi::Peer) -> Result<u64, Errno> {
        let (true, Some(open)) = (self.is_running(), self.library.table.path_open) else {
            return Err(Errno::NXIO);
        };
        let mut handle = 0;
        // SAFETY: open; a complete structure and a place for the answer.
        let code = unsafe { open(self.raw, &raw const *peer, &raw mut handle) };
        if code == 0 { Ok(handle) } else { Err(Errno::from_raw_os_error(code.saturating_neg())) }
    }

    /// Reads from a path.
    pub(crate) fn path_read(
        &self,
        handle: u64,
        offset: u64,
        to: &mut [u8],
    ) -> Result<PathResult, Errno> {
        let (true, Some(read)) = (self.is_running(), self.library.table.path_read) else {
            return Err(Errno::IO);
        };
        // SAFETY: open; room for as many bytes as are said.
        let count = unsafe { read(self.raw, handle, offset, to.as_mut_ptr().cast(), to.len()) };
        said_or_later(count, to.len())
    }

    /// Writes to a path.
    pub(crate) fn path_write(&self, handle: u64, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let (true, Some(write)) = (self.is_running(), self.library.table.path_write) else {
            return Err(Errno::IO);
        };
        // SAFETY: open; as many bytes as are said.
        let count = unsafe { write(self.raw, handle, offset, data.as_ptr().cast(), data.len()) };
        said(count, data.len())
    }

    /// Asks for something else.
    pub(crate) fn path_ioctl(
        &self,
        handle: u64,
        request: u32,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<PathResult, Errno> {
        let (true, Some(ioctl)) = (self.is_running(), self.library.table.path_ioctl) else {
            return Err(Errno::NOTTY);
        };
        let (from, room) = (data.as_ptr().cast(), to.as_mut_ptr().cast());
        // SAFETY: open; as many bytes and as much room as are said.
        let count = unsafe { ioctl(self.raw, handle, request, from, data.len(), room, to.len()) };
        said_or_later(count, to.len())
    }

    /// Whoever had a path open is gone.
    pub(crate) fn path_close(&self, handle: u64) {
        if let (true, Some(close)) = (self.is_running(), self.library.table.path_close) {
            // SAFETY: open.
            unsafe { close(self.raw, handle) };
        }
    }

    /// What the packets of a call have in common.
    pub(crate) fn arrival(attachment: u32, direction: Direction, interface: u16) -> abi::Arrival {
        abi::Arrival {
            size: 16,
            attachment,
            direction: direction.bit(),
            interface: interface.into(),
        }
    }
}

/// What a request of a path has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathResult {
    /// So many bytes.
    Now(usize),
    /// The module says it later.
    Later,
}

fn said_or_later(count: isize, most: usize) -> Result<PathResult, Errno> {
    if count == abi::PATH_LATER {
        return Ok(PathResult::Later);
    }
    said(count, most).map(PathResult::Now)
}

/// A count of at most `most`, or a negative errno.
fn said(count: isize, most: usize) -> Result<usize, Errno> {
    match usize::try_from(count) {
        Ok(count) if count <= most => Ok(count),
        Ok(_) => Err(Errno::IO),
        Err(_) => {
            let code = i32::try_from(count.saturating_neg()).unwrap_or(libc::EIO);
            Err(Errno::from_raw_os_error(code.clamp(1, 4095)))
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(close) = self.library.table.close {
            // SAFETY: opened once, closed once; whoever could call holds a share of self.
            unsafe { close(self.raw) };
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("name", &self.name()).finish_non_exhaustive()
    }
}
