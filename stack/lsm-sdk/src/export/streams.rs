//! The functions of streams, and `ioctl`.

use core::ffi::c_void;

use devnp_sdk::OpenError;
use lsm_abi as abi;

use super::sockets::in_worker;
use crate::Protocol;
use crate::context::Context;
use crate::types::Socket;

pub(super) unsafe extern "C" fn listen<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    backlog: u32,
) -> i32 {
    let call =
        |protocol: &P, cx: &mut Context<'_, P>| protocol.socket_listen(cx, Socket(socket), backlog);
    // SAFETY: the daemon's context.
    unsafe { in_worker(instance, context, call) }
}

pub(super) unsafe extern "C" fn arrived<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    tag: u64,
    socket: u64,
    error: i32,
) {
    let arrived = if error == 0 { Ok(Socket(socket)) } else { Err(OpenError(error)) };
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.socket_arrived(cx, tag, arrived);
        Ok(())
    };
    // SAFETY: the daemon's context. A panic has been noted.
    let _ = unsafe { in_worker(instance, context, call) };
}

pub(super) unsafe extern "C" fn room<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    bytes: u32,
) {
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.socket_room(cx, Socket(socket), bytes);
        Ok(())
    };
    // SAFETY: the daemon's context. A panic has been noted.
    let _ = unsafe { in_worker(instance, context, call) };
}

pub(super) unsafe extern "C" fn end<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
) {
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        protocol.socket_end(cx, Socket(socket));
        Ok(())
    };
    // SAFETY: the daemon's context. A panic has been noted.
    let _ = unsafe { in_worker(instance, context, call) };
}

pub(super) unsafe extern "C" fn ioctl<P: Protocol>(
    instance: *mut c_void,
    context: *mut abi::Context,
    socket: u64,
    request: u32,
    data: *const c_void,
    len: usize,
    to: *mut c_void,
    room: usize,
) -> isize {
    let data = if len == 0 || data.is_null() {
        &[]
    } else {
        // SAFETY: the daemon has so many bytes there during this call.
        unsafe { core::slice::from_raw_parts(data.cast::<u8>(), len) }
    };
    let to = if room == 0 || to.is_null() {
        &mut []
    } else {
        // SAFETY: the daemon has zeroed so many bytes there, and lends them for this call.
        unsafe { core::slice::from_raw_parts_mut(to.cast::<u8>(), room) }
    };
    let mut written = 0;
    let call = |protocol: &P, cx: &mut Context<'_, P>| {
        written = protocol.socket_ioctl(cx, Socket(socket), request, data, to)?;
        Ok(())
    };
    // SAFETY: the daemon's context.
    match unsafe { in_worker(instance, context, call) } {
        0 => isize::try_from(written).unwrap_or(0),
        code => isize::try_from(code).unwrap_or(-1),
    }
}
