//! What the daemon does for a protocol, from any thread.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::ffi::CString;

use devnp_sdk::{Level, OpenError, Packet, module};
use lsm_abi as abi;

use crate::Protocol;
use crate::context::Context;
use crate::types::{Attachment, Direction, Interface, PathId, Point, Variable};

/// What a worker is to do for a thread of the module.
pub(crate) type Call<P> = Box<dyn FnOnce(&P, &mut Context<'_, P>) + Send>;
/// What the module's own thread is to do.
pub(crate) type Work<P> = Box<dyn FnOnce(&P) + Send>;

/// The daemon's side of one module. It is gone when the protocol has been dropped.
pub struct Host<P> {
    api: &'static abi::Api,
    raw: *const abi::Host,
    protocol: PhantomData<fn(P)>,
}

impl<P> Clone for Host<P> {
    fn clone(&self) -> Self {
        Self { api: self.api, raw: self.raw, protocol: PhantomData }
    }
}

impl<P> core::fmt::Debug for Host<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Host")
    }
}

// SAFETY: the daemon's functions may be called from any thread, and the pointer is opaque.
unsafe impl<P> Send for Host<P> {}
// SAFETY: as above.
unsafe impl<P> Sync for Host<P> {}

impl<P: Protocol> Host<P> {
    pub(crate) fn new(api: &'static abi::Api, raw: *const abi::Host) -> Self {
        Self { api, raw, protocol: PhantomData }
    }

    pub(crate) fn api(&self) -> &'static abi::Api {
        self.api
    }

    /// Writes a line to the daemon's log.
    pub fn log(&self, level: Level, text: &str) {
        // SAFETY: the host that this protocol was opened with, and its table.
        unsafe { module::log(self.api.log, self.raw, level, text) };
    }

    /// The value of an option; empty for one without value.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<String> {
        // SAFETY: the host that this protocol was opened with, and its table.
        unsafe { module::option(self.api.option, self.raw, key) }
    }

    /// Frames of this EtherType, from 0x0600 on, that are for this station or for a group. Only in
    /// `open`, as all attaching.
    ///
    /// # Errors
    /// IPv4's or ARP's, which are the stack's; too many. Whether another module has it turns out when
    /// `open` is over: then the module is closed again.
    pub fn attach_ethertype(&self, number: u16) -> Result<Attachment, OpenError> {
        self.attach(abi::TO_ETHERTYPE, number.into(), 0, None)
    }

    /// IPv4 packets of this protocol that are for this host, from the IP header on.
    ///
    /// # Errors
    /// ICMP's, TCP's or UDP's, which are the stack's; too many.
    pub fn attach_protocol(&self, number: u8) -> Result<Attachment, OpenError> {
        self.attach(abi::TO_PROTOCOL, number.into(), 0, None)
    }

    /// A look at all frames, of one interface or of all.
    ///
    /// # Errors
    /// No direction; too many.
    pub fn attach_tap(
        &self,
        directions: &[Direction],
        interface: Option<&str>,
    ) -> Result<Attachment, OpenError> {
        self.attach(abi::TO_TAP, Direction::bits(directions), 0, interface)
    }

    /// A filter, at one interface or at all. The lower `order` is nearer to the wire: asked first of
    /// what comes and last of what goes.
    ///
    /// # Errors
    /// No direction; too many.
    pub fn attach_filter(
        &self,
        point: Point,
        directions: &[Direction],
        order: i32,
        interface: Option<&str>,
    ) -> Result<Attachment, OpenError> {
        let to = match point {
            Point::Inet => abi::TO_FILTER_INET,
            Point::Inet6 => abi::TO_FILTER_INET6,
            Point::Interface => abi::TO_FILTER_INTERFACE,
        };
        self.attach(to, Direction::bits(directions), order, interface)
    }

    /// Datagram sockets of this address family and protocol, for programs to open. Of `AF_INET` (2) and
    /// `AF_INET6` (10) protocol 0 and those of ICMP, TCP and UDP are the stack's.
    ///
    /// # Errors
    /// `AF_UNSPEC`, `AF_UNIX`, or the stack's; too many.
    pub fn attach_sockets(&self, family: u16, protocol: u16) -> Result<Attachment, OpenError> {
        let kind = u32::from(family) << 16 | u32::from(protocol);
        self.attach(abi::TO_SOCKETS, kind, 0, None)
    }

    /// Stream sockets of this address family and protocol, as with [`attach_sockets`](Self::attach_sockets).
    ///
    /// # Errors
    /// As there; the daemon is older than streams.
    pub fn attach_streams(&self, family: u16, protocol: u16) -> Result<Attachment, OpenError> {
        let _has_streams = self.streams()?;
        let kind = u32::from(family) << 16 | u32::from(protocol);
        self.attach(abi::TO_STREAMS, kind, 0, None)
    }

    /// The daemon's functions, if those of streams are among them.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the daemon is older.
    pub(crate) fn streams(&self) -> Result<&abi::Api, OpenError> {
        const END: usize = core::mem::offset_of!(abi::Api, finish) + size_of::<usize>();
        if (self.api.size as usize) < END { Err(OpenError::NOT_SUPPORTED) } else { Ok(self.api()) }
    }

    fn attach(
        &self,
        to: u32,
        value: u32,
        order: i32,
        interface: Option<&str>,
    ) -> Result<Attachment, OpenError> {
        let name = interface.map(CString::new).transpose().map_err(|_| OpenError::INVALID)?;
        let interface = name.as_ref().map_or(core::ptr::null(), |name| name.as_ptr());
        let wanted = abi::Attach { size: 24, to, value, order, interface };
        // SAFETY: a complete structure whose text lives during the call.
        let code = unsafe { (self.api.attach)(self.raw, &raw const wanted) };
        u32::try_from(code).map(Attachment).map_err(|_| OpenError(code.saturating_neg()))
    }

    /// A number that the operator sets, as `NAME.name` of `iopkt sysctl`. Only in `open`.
    ///
    /// # Errors
    /// No word, or a name that is taken; too many.
    pub fn add_setting(
        &self,
        name: &str,
        text: &str,
        range: core::ops::RangeInclusive<i64>,
        value: i64,
    ) -> Result<Variable, OpenError> {
        self.add_variable(name, text, abi::VARIABLE_WRITABLE, range, value)
    }

    /// A number that only the module sets, for the operator to read. Only in `open`.
    ///
    /// # Errors
    /// As for [`add_setting`](Self::add_setting).
    pub fn add_counter(&self, name: &str, text: &str) -> Result<Variable, OpenError> {
        self.add_variable(name, text, 0, 0..=i64::MAX, 0)
    }

    fn add_variable(
        &self,
        name: &str,
        text: &str,
        flags: u32,
        range: core::ops::RangeInclusive<i64>,
        value: i64,
    ) -> Result<Variable, OpenError> {
        let (min, max) = range.into_inner();
        let name = CString::new(name).map_err(|_| OpenError::INVALID)?;
        let text = CString::new(text).map_err(|_| OpenError::INVALID)?;
        let (name, text) = (name.as_ptr(), text.as_ptr());
        let wanted = abi::Variable { size: 48, flags, name, text, min, max, value };
        // SAFETY: a complete structure whose texts live during the call.
        let code = unsafe { (self.api.variable)(self.raw, &raw const wanted) };
        u32::try_from(code).map(Variable).map_err(|_| OpenError(code.saturating_neg()))
    }

    /// A variable's value.
    #[must_use]
    pub fn value(&self, variable: Variable) -> i64 {
        // SAFETY: the host that this protocol was opened with.
        unsafe { (self.api.value)(self.raw, variable.0) }
    }

    /// Sets a variable.
    pub fn set_value(&self, variable: Variable, value: i64) {
        // SAFETY: the host that this protocol was opened with.
        unsafe { (self.api.set_value)(self.raw, variable.0, value) };
    }

    /// Adds to a counter. All workers share it: once per burst is better than once per packet.
    pub fn count(&self, variable: Variable, more: i64) {
        // SAFETY: the host that this protocol was opened with.
        unsafe { (self.api.add_value)(self.raw, variable.0, more) };
    }

    /// Makes `<run><prefix>/dev/NAME` with these permissions (`0o660`), which
    /// [`path_open`](Protocol::path_open) and so on serve. Only in `open`.
    ///
    /// # Errors
    /// No plain name, or somebody serves it; the kernel's.
    pub fn make_path(&self, name: &str, mode: u32) -> Result<PathId, OpenError> {
        let name = CString::new(name).map_err(|_| OpenError::INVALID)?;
        // SAFETY: a C string, and the host that this protocol was opened with.
        let code = unsafe { (self.api.path)(self.raw, name.as_ptr(), mode) };
        u32::try_from(code).map(PathId).map_err(|_| OpenError(code.saturating_neg()))
    }

    /// Answers a request that was to be answered [`Later`](crate::Answer::Later): with at most as many
    /// bytes as it asked for. An answer for a client that is gone is dropped.
    pub fn path_answer(&self, handle: u64, answer: Result<&[u8], OpenError>) {
        let (result, data) = match answer {
            Ok(data) => (0, data),
            Err(error) => (error.code(), &[][..]),
        };
        let (from, len) = (data.as_ptr().cast(), data.len());
        // SAFETY: the host that this protocol was opened with; as many bytes as are said.
        unsafe { (self.api.path_answer)(self.raw, handle, result, from, len) };
    }

    /// The module has failed, on a thread of its own: it is called no more, and goes when it is
    /// unloaded. What panics in a call of the daemon's does this by itself.
    pub fn failed(&self) {
        // SAFETY: the host that this protocol was opened with.
        unsafe { (self.api.failed)(self.raw) };
    }

    /// How many workers there are, numbered from 0.
    #[must_use]
    pub fn workers(&self) -> u32 {
        // SAFETY: the host that this protocol was opened with.
        unsafe { (self.api.workers)(self.raw) }
    }

    /// The interfaces as they are now. Not for the packet path: it takes a lock.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        let none = abi::Interface {
            size: 44,
            flags: 0,
            index: 0,
            mtu: 0,
            mac: [0; 6],
            prefix_len: 0,
            reserved: 0,
            address: [0; 4],
            name: [0; 16],
        };
        let mut raw = vec![none; 256];
        // SAFETY: room for 256.
        let count = unsafe { (self.api.interfaces)(self.raw, raw.as_mut_ptr(), 256) };
        raw.iter().take(count as usize).map(Interface::of).collect()
    }

    /// An empty packet; `None` if the daemon is short of them.
    #[must_use]
    pub fn packet(&self) -> Option<Packet> {
        let mut raw = core::ptr::null_mut();
        // SAFETY: a place for one.
        let code = unsafe { (self.api.alloc)(self.raw, &raw mut raw, 1) };
        let raw = NonNull::new(raw).filter(|_| code == 0)?;
        // SAFETY: a fresh packet has one owner.
        Some(unsafe { Packet::from_raw(raw) })
    }

    /// Up to [`BURST_MAX`](crate::BURST_MAX) empty packets at once, appended to `packets`; none if the daemon is short of
    /// them.
    pub fn packets(&self, packets: &mut Vec<Packet>, count: usize) {
        // SAFETY: the host that this protocol was opened with, and its table.
        unsafe { module::alloc(self.api.alloc, self.raw, packets, count) };
    }

    /// Has a worker do this soon, between two bursts; it must not block.
    ///
    /// # Errors
    /// There is no such worker, or too many calls wait.
    pub fn call_in_worker(
        &self,
        worker: u32,
        call: impl FnOnce(&P, &mut Context<'_, P>) + Send + 'static,
    ) -> Result<(), OpenError> {
        let call: Box<Call<P>> = Box::new(Box::new(call));
        let raw = Box::into_raw(call);
        // SAFETY: the host that this protocol was opened with; the pointer comes back in `call`.
        let code = unsafe { (self.api.call_in_worker)(self.raw, worker, raw.cast::<c_void>()) };
        if code != 0 {
            // SAFETY: the daemon did not take it.
            drop(unsafe { Box::from_raw(raw) });
            return Err(OpenError(code.saturating_neg()));
        }
        Ok(())
    }

    /// Has the module's own thread do this soon; it may block. The events of the network wait meanwhile.
    ///
    /// # Errors
    /// Too much waits.
    pub fn defer(&self, work: impl FnOnce(&P) + Send + 'static) -> Result<(), OpenError> {
        let work: Box<Work<P>> = Box::new(Box::new(work));
        let raw = Box::into_raw(work);
        // SAFETY: the host that this protocol was opened with; the pointer comes back in `work`.
        let code = unsafe { (self.api.defer)(self.raw, raw.cast::<c_void>()) };
        if code != 0 {
            // SAFETY: the daemon did not take it.
            drop(unsafe { Box::from_raw(raw) });
            return Err(OpenError(code.saturating_neg()));
        }
        Ok(())
    }
}
