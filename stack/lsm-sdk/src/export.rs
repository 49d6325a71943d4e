//! The C table of a [`Protocol`]: each function checks its pointers, calls the protocol, and catches
//! what it throws.

use core::ffi::{CStr, c_void};

use devnp_sdk::module::{caught, quiet_panics, terminated};
use devnp_sdk::{Level, OpenError, set_api};
use lsm_abi as abi;

use crate::context::Context;
use crate::host::{Call, Host, Work};
use crate::packets::{Frames, Questions, Received};
use crate::types::{Answer, Arrival, Event, Peer};
use crate::{Protocol, Threading};

mod sockets;
mod streams;

/// What a module exports.
#[derive(Debug)]
#[repr(transparent)]
pub struct Export(abi::Module);

// SAFETY: the table is constant, and so is the text that it points to.
unsafe impl Sync for Export {}

/// A protocol with its host.
struct Instance<P> {
    protocol: P,
    host: Host<P>,
}

/// Text with its terminator, made at compile time.
struct Terminated<P>(core::marker::PhantomData<P>);

impl<P: Protocol> Terminated<P> {
    const NAME: &'static [u8; 64] = &terminated(P::NAME);
    const OPTIONS: &'static [u8; 1024] = &terminated(P::OPTIONS);
}

impl Export {
    /// The table of a protocol.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the table has some hundred bytes")]
    pub const fn of<P: Protocol>(version: &'static CStr) -> Self {
        Self(abi::Module {
            magic: abi::MAGIC,
            abi: abi::ABI_VERSION,
            size: size_of::<abi::Module>() as u32,
            kind: abi::KIND_PROTOCOL,
            threading: match P::THREADING {
                Threading::Single => abi::THREADING_SINGLE,
                Threading::Workers => abi::THREADING_WORKERS,
            },
            flags: if P::SEVERAL { abi::FLAG_SEVERAL } else { 0 },
            name: Terminated::<P>::NAME.as_ptr().cast(),
            version: version.as_ptr(),
            options: Terminated::<P>::OPTIONS.as_ptr().cast(),
            open: Some(open::<P>),
            close: Some(close::<P>),
            receive: Some(receive::<P>),
            tap: Some(tap::<P>),
            filter: Some(filter::<P>),
            timer: Some(timer::<P>),
            call: Some(call::<P>),
            work: Some(work::<P>),
            event: Some(event::<P>),
            path_open: Some(path_open::<P>),
            path_read: Some(path_read::<P>),
            path_write: Some(path_write::<P>),
            path_ioctl: Some(path_ioctl::<P>),
            path_close: Some(path_close::<P>),
            socket_open: Some(sockets::open::<P>),
            socket_bind: Some(sockets::bind::<P>),
            socket_connect: Some(sockets::connect::<P>),
            socket_send: Some(sockets::send::<P>),
            socket_close: Some(sockets::close::<P>),
            socket_set_option: Some(sockets::set_option::<P>),
            socket_option: Some(sockets::option::<P>),
            socket_listen: Some(streams::listen::<P>),
            socket_arrived: Some(streams::arrived::<P>),
            socket_room: Some(streams::room::<P>),
            socket_end: Some(streams::end::<P>),
            socket_ioctl: Some(streams::ioctl::<P>),
        })
    }
}

/// Calls the protocol; a panic is logged and is a failure.
fn guarded<P: Protocol>(instance: *mut c_void, call: impl FnOnce(&P, &Host<P>)) -> i32 {
    if attempt::<P, _>(instance, call).is_some() { 0 } else { abi::FAILED }
}

/// The same with a result; `None`: it has panicked.
fn attempt<P: Protocol, T>(
    instance: *mut c_void,
    call: impl FnOnce(&P, &Host<P>) -> T,
) -> Option<T> {
    // SAFETY: the daemon passes what `open` made, until `close`.
    let Instance { protocol, host } = unsafe { instance.cast::<Instance<P>>().as_ref() }?;
    let result = caught(|text| host.log(Level::Error, text), || call(protocol, host));
    if result.is_none() {
        host.failed();
    }
    result
}

unsafe extern "C" fn open<P: Protocol>(
    api: *const abi::Api,
    host: *const abi::Host,
    instance: *mut *mut c_void,
) -> i32 {
    quiet_panics();
    let invalid = OpenError::INVALID.code();
    // SAFETY: the daemon's table, which lives as long as the process.
    let Some(table) = (unsafe { api.as_ref() }) else { return invalid };
    // SAFETY: the daemon's place for the answer.
    let Some(instance) = (unsafe { instance.as_mut() }) else { return invalid };
    // SAFETY: the daemon's table, as above.
    unsafe { set_api(table.packet) };
    let host = Host::<P>::new(table, host);
    match caught(|text| host.log(Level::Error, text), || P::open(&host)) {
        Some(Ok(protocol)) => {
            *instance = Box::into_raw(Box::new(Instance { protocol, host })).cast();
            0
        }
        Some(Err(error)) => error.code(),
        None => OpenError::IO.code(),
    }
}

unsafe extern "C" fn close<P: Protocol>(instance: *mut c_void) {
    if instance.is_null() {
        return;
    }
    // SAFETY: what `open` made; the daemon closes it once, and nobody else has it now.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance<P>>()) };
    let host = instance.host.clone();
    // Closed is what it is now in any case.
    let _ = caught(|text| host.log(Level::Error, text), || drop(instance));
}

/// Calls the protocol in a worker's context.
///
/// # Safety
/// `context` is the daemon's for this call.
unsafe fn in_worker<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    call: impl FnOnce(&P, &mut Context<'_, P>),
) -> i32 {
    guarded::<P>(instance, |protocol, host| {
        // SAFETY: by this function's contract.
        let mut context = unsafe { Context::new(context, host) };
        call(protocol, &mut context);
    })
}

unsafe extern "C" fn receive<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    arrival: *const abi::Arrival,
    packets: *mut *mut abi::Packet,
    count: u16,
) -> i32 {
    // SAFETY: the daemon gives up `count` packets; freed also if a panic leaves some.
    let mut packets = unsafe { Received::new(packets, count) };
    // SAFETY: the daemon's, valid during this call.
    let Some(arrival) = (unsafe { arrival.as_ref() }) else { return abi::FAILED };
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.receive(cx, Arrival::of(arrival), &mut packets);
    };
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

unsafe extern "C" fn tap<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    arrival: *const abi::Arrival,
    packets: *const *const abi::Packet,
    count: u16,
) -> i32 {
    // SAFETY: the daemon has `count` packets there, for this call.
    let frames = unsafe { Frames::new(packets, count) };
    // SAFETY: the daemon's, valid during this call.
    let Some(arrival) = (unsafe { arrival.as_ref() }) else { return abi::FAILED };
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.tap(cx, Arrival::of(arrival), &frames);
    };
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

unsafe extern "C" fn filter<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    arrival: *const abi::Arrival,
    packets: *const *mut abi::Packet,
    verdicts: *mut u8,
    count: u16,
) -> i32 {
    // SAFETY: the daemon has `count` packets and places for verdicts there, for this call alone.
    let mut questions = unsafe { Questions::new(packets, verdicts, count) };
    // SAFETY: the daemon's, valid during this call.
    let Some(arrival) = (unsafe { arrival.as_ref() }) else { return abi::FAILED };
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.filter(cx, Arrival::of(arrival), &mut questions);
    };
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

unsafe extern "C" fn timer<P: Protocol>(instance: *mut c_void, context: *mut abi::Context) -> i32 {
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, P::timer) }
}

unsafe extern "C" fn call<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    argument: *mut c_void,
) -> i32 {
    if argument.is_null() {
        return 0;
    }
    // SAFETY: what `call_in_worker` boxed; the daemon brings it back once.
    let call = unsafe { Box::from_raw(argument.cast::<Call<P>>()) };
    if context.is_null() {
        return guarded::<P>(instance, |_, _| drop(call));
    }
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, *call) }
}

unsafe extern "C" fn work<P: Protocol>(
    instance: *mut c_void,
    argument: *mut c_void,
    last: i32,
) -> i32 {
    if argument.is_null() {
        return 0;
    }
    // SAFETY: what `defer` boxed; the daemon brings it back once.
    let work = unsafe { Box::from_raw(argument.cast::<Work<P>>()) };
    guarded::<P>(instance, |protocol, _| if last == 0 { work(protocol) } else { drop(work) })
}

unsafe extern "C" fn event<P: Protocol>(instance: *mut c_void, event: *const abi::Event) -> i32 {
    // SAFETY: the daemon's, valid during this call.
    let Some(raw) = (unsafe { event.as_ref() }) else { return 0 };
    // SAFETY: as above: of such kinds it is the beginning of more.
    let six = Event::is_of_ipv6(raw).then(|| unsafe { &*event.cast::<abi::Event6>() });
    let Some(event) = Event::of(raw, six) else { return 0 };
    guarded::<P>(instance, |protocol, _| protocol.event(&event))
}

unsafe extern "C" fn path_open<P: Protocol>(
    instance: *mut c_void,
    peer: *const abi::Peer,
    handle: *mut u64,
) -> i32 {
    let invalid = OpenError::INVALID.code();
    // SAFETY: the daemon's, valid during this call.
    let Some(peer) = (unsafe { peer.as_ref() }) else { return invalid };
    // SAFETY: the daemon's place for the answer.
    let Some(handle) = (unsafe { handle.as_mut() }) else { return invalid };
    match attempt::<P, _>(instance, |protocol, _| protocol.path_open(&Peer::of(peer))) {
        Some(Ok(named)) => {
            *handle = named;
            0
        }
        Some(Err(error)) => error.code(),
        None => OpenError::IO.code(),
    }
}

/// Bytes, or that they come later, or a negative errno.
fn answered(result: Option<Result<Answer, OpenError>>) -> isize {
    match result {
        Some(Ok(Answer::Later)) => abi::PATH_LATER,
        Some(Ok(Answer::Bytes(count))) => counted(Some(Ok(count))),
        Some(Err(wrong)) => counted(Some(Err(wrong))),
        None => counted(None),
    }
}

/// A count, or a negative errno.
fn counted(result: Option<Result<usize, OpenError>>) -> isize {
    let error = |error: OpenError| isize::try_from(error.code()).unwrap_or(-5);
    match result {
        Some(Ok(count)) => isize::try_from(count).unwrap_or(-5),
        Some(Err(wrong)) => error(wrong),
        None => error(OpenError::IO),
    }
}

unsafe extern "C" fn path_read<P: Protocol>(
    instance: *mut c_void,
    handle: u64,
    offset: u64,
    to: *mut c_void,
    len: usize,
) -> isize {
    // SAFETY: the daemon has room for `len` initialised bytes there, for this call alone.
    let to = unsafe { core::slice::from_raw_parts_mut(to.cast::<u8>(), len) };
    answered(attempt::<P, _>(instance, |protocol, _| protocol.path_read(handle, offset, to)))
}

unsafe extern "C" fn path_write<P: Protocol>(
    instance: *mut c_void,
    handle: u64,
    offset: u64,
    data: *const c_void,
    len: usize,
) -> isize {
    // SAFETY: the daemon has `len` bytes there, which nobody changes during this call.
    let data = unsafe { core::slice::from_raw_parts(data.cast::<u8>(), len) };
    counted(attempt::<P, _>(instance, |protocol, _| protocol.path_write(handle, offset, data)))
}

unsafe extern "C" fn path_ioctl<P: Protocol>(
    instance: *mut c_void,
    handle: u64,
    request: u32,
    data: *const c_void,
    len: usize,
    to: *mut c_void,
    room: usize,
) -> isize {
    // SAFETY: the daemon has `len` bytes there, which nobody changes during this call.
    let data = unsafe { core::slice::from_raw_parts(data.cast::<u8>(), len) };
    // SAFETY: the daemon has room for `room` initialised bytes there, for this call alone.
    let to = unsafe { core::slice::from_raw_parts_mut(to.cast::<u8>(), room) };
    let call = |protocol: &P, _: &Host<P>| protocol.path_ioctl(handle, request, data, to);
    answered(attempt::<P, _>(instance, call))
}

unsafe extern "C" fn path_close<P: Protocol>(instance: *mut c_void, handle: u64) {
    // It is closed in any case.
    let _ = attempt::<P, _>(instance, |protocol, _| protocol.path_close(handle));
}
