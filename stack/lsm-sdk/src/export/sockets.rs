//! The functions of sockets.

use core::ffi::c_void;
use core::ptr::NonNull;

use devnp_sdk::{OpenError, Packet};
use lsm_abi as abi;

use super::attempt;
use crate::Protocol;
use crate::context::Context;
use crate::types::{Name, Opening, Socket};

/// Calls the protocol in a worker's context: 0, or a negative errno.
///
/// # Safety
/// `context` is the daemon's for this call.
pub(super) unsafe fn in_worker<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    call: impl FnOnce(&P, &mut Context<'_, P>) -> Result<(), OpenError>,
) -> i32 {
    let said = attempt::<P, _>(instance, |protocol, host| {
        // SAFETY: by this function's contract.
        let mut context = unsafe { Context::new(context, host) };
        call(protocol, &mut context)
    });
    match said {
        Some(Ok(())) => 0,
        Some(Err(error)) => error.code(),
        None => OpenError::IO.code(),
    }
}

pub(super) unsafe extern "C" fn open<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    what: *const abi::Opening,
) -> i32 {
    // SAFETY: the daemon's, valid during this call.
    let Some(what) = (unsafe { what.as_ref() }).map(Opening::of) else {
        return OpenError::INVALID.code();
    };
    let call = |protocol: &P, cx: &mut Context<'_, P>| protocol.socket_open(cx, &what);
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

pub(super) unsafe extern "C" fn bind<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    name: *mut abi::Name,
) -> i32 {
    // SAFETY: the daemon's, and this module's to change during this call.
    let Some(name) = (unsafe { name.as_mut() }) else { return OpenError::INVALID.code() };
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        let given = protocol.socket_bind(cx, Socket(socket), Name::of(name))?;
        *name = given.to_abi(name.family);
        Ok(())
    };
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

pub(super) unsafe extern "C" fn connect<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    peer: *const abi::Name,
) -> i32 {
    // SAFETY: the daemon's, valid during this call, or null.
    let peer = unsafe { peer.as_ref() }.map(Name::of);
    let call =
        |protocol: &P, cx: &mut Context<'_, P>| protocol.socket_connect(cx, Socket(socket), peer);
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

pub(super) unsafe extern "C" fn send<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    to: *const abi::Name,
    packet: *mut abi::Packet,
) -> i32 {
    let Some(packet) = NonNull::new(packet) else { return OpenError::INVALID.code() };
    // SAFETY: the daemon gives the packet up.
    let datagram = unsafe { Packet::from_raw(packet) };
    // SAFETY: the daemon's, valid during this call, or null.
    let to = unsafe { to.as_ref() }.map(Name::of);
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.socket_send(cx, Socket(socket), to, datagram)
    };
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

pub(super) unsafe extern "C" fn set_option<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    level: i32,
    name: i32,
    value: *const c_void,
    len: usize,
) -> i32 {
    let value = if len == 0 || value.is_null() {
        &[]
    } else {
        // SAFETY: the daemon has so many bytes there during this call.
        unsafe { core::slice::from_raw_parts(value.cast::<u8>(), len) }
    };
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.socket_set_option(cx, Socket(socket), (level, name), value)
    };
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

pub(super) unsafe extern "C" fn option<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    level: i32,
    name: i32,
    to: *mut c_void,
    room: usize,
) -> isize {
    let to = if room == 0 || to.is_null() {
        &mut []
    } else {
        // SAFETY: the daemon has zeroed so many bytes there, and lends them for this call.
        unsafe { core::slice::from_raw_parts_mut(to.cast::<u8>(), room) }
    };
    let mut len = 0;
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        len = protocol.socket_option(cx, Socket(socket), (level, name), to)?;
        Ok(())
    };
    // SAFETY: the daemon's context.
    match unsafe { in_worker(instance, context, call) } {
        0 => isize::try_from(len).unwrap_or(0),
        code => isize::try_from(code).unwrap_or(-1),
    }
}

pub(super) unsafe extern "C" fn close<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
) {
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.socket_close(cx, Socket(socket));
        Ok(())
    };
    // SAFETY: the daemon's context. It is closed in any case.
    let _ = unsafe { in_worker(instance, context, call) };
}
