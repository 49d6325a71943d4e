//! A worker during one call of a module: what the module may ask of it, and what it sends.

use core::ffi::c_void;
use core::net::Ipv4Addr;
use core::ptr::NonNull;
use std::collections::VecDeque;

use dpdk::Mbuf;
use lsm_abi as abi;

use crate::limits::SENDING_MAX;
use crate::sockets::{Name, Owner};
use crate::streams::{Word, is_elsewhere};

/// Where a module's packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub to: Ipv4Addr,
    /// Address to send from, if the module has chosen one.
    pub from: Option<Ipv4Addr>,
    /// Protocol number.
    pub protocol: u8,
    /// Type of service.
    pub tos: u8,
    /// Time to live, if the module has chosen one.
    pub ttl: Option<u8>,
}

/// What a module sends.
#[derive(Debug)]
pub enum Sending {
    /// A frame with its Ethernet header.
    Frame {
        /// By this interface.
        interface: u16,
        /// The frame.
        mbuf: Mbuf,
    },
    /// A packet without IP header, by the route.
    Packet {
        /// There.
        to: Destination,
        /// What follows the IP header.
        mbuf: Mbuf,
    },
    /// A datagram for a program.
    Datagram {
        /// At this socket.
        socket: u64,
        /// The module, whose socket it has to be.
        owner: Owner,
        /// Its sender.
        from: Name,
        /// The datagram, or a stream's text.
        mbuf: Mbuf,
    },
    /// A word about a stream.
    Stream {
        /// Which, or the one that listens.
        socket: u64,
        /// The module, whose socket it has to be.
        owner: Owner,
        /// What about it.
        word: Word,
    },
}

/// What modules send, until the worker takes it: when the call is over.
#[derive(Debug, Default)]
pub(crate) struct Outbox(pub(crate) VecDeque<Sending>);

/// A worker during one call.
pub(crate) struct Context<'a> {
    /// Who is called.
    pub(crate) owner: Owner,
    pub(crate) worker: u16,
    pub(crate) now: u64,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) timer: &'a mut Option<u64>,
}

impl Context<'_> {
    pub(crate) fn as_abi(&mut self) -> *mut abi::Context {
        (&raw mut *self).cast()
    }
}

/// # Safety
/// `context` came from [`Context::as_abi`], and the call that it was made for is not over.
pub(crate) unsafe fn context<'a>(context: *mut abi::Context) -> Option<&'a mut Context<'a>> {
    // SAFETY: by this function's contract; the module has one call under way with it, and so nobody
    // else uses it now.
    unsafe { context.cast::<Context<'a>>().as_mut() }
}

pub(crate) unsafe extern "C" fn worker(of: *const abi::Context) -> u32 {
    // SAFETY: the module passes what it was called with.
    unsafe { context(of.cast_mut()) }.map_or(0, |context| context.worker.into())
}

pub(crate) unsafe extern "C" fn now(of: *const abi::Context) -> u64 {
    // SAFETY: the module passes what it was called with.
    unsafe { context(of.cast_mut()) }.map_or(0, |context| context.now)
}

pub(crate) unsafe extern "C" fn set_timer(of: *mut abi::Context, at: u64) {
    // SAFETY: the module passes what it was called with.
    if let Some(context) = unsafe { context(of) } {
        *context.timer = (at != 0).then_some(at);
    }
}

pub(crate) unsafe extern "C" fn send_frames(
    of: *mut abi::Context,
    interface: u32,
    packets: *mut *mut devnp_abi::Mbuf,
    count: u16,
) -> u16 {
    // A number that no interface has is dropped by the worker, under that reason.
    let interface = u16::try_from(interface).unwrap_or(u16::MAX);
    // SAFETY: the module passes its context and `count` packets that it owns.
    unsafe { send(of, packets, count, |mbuf| Sending::Frame { interface, mbuf }) }
}

pub(crate) unsafe extern "C" fn send_packets(
    of: *mut abi::Context,
    to: *const abi::Destination,
    packets: *mut *mut devnp_abi::Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the module passes a complete structure, or null.
    let Some(to) = (unsafe { to.as_ref() }) else { return 0 };
    let to = Destination {
        to: to.to.into(),
        from: Some(Ipv4Addr::from(to.from)).filter(|from| !from.is_unspecified()),
        protocol: to.protocol,
        tos: to.tos,
        ttl: (to.ttl != 0).then_some(to.ttl),
    };
    // SAFETY: the module passes its context and `count` packets that it owns.
    unsafe { send(of, packets, count, |mbuf| Sending::Packet { to, mbuf }) }
}

pub(crate) unsafe extern "C" fn deliver(
    of: *mut abi::Context,
    socket: u64,
    from: *const abi::Name,
    packets: *mut *mut devnp_abi::Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the module passes a complete structure, or null.
    let from = Name::of(&unsafe { from.as_ref() }.copied().unwrap_or_default());
    // SAFETY: the module passes what it was called with.
    let there = (unsafe { context(of) }).map(|context| (context.owner, context.worker));
    let Some((owner, worker)) = there else { return 0 };
    if is_elsewhere(socket, worker) {
        return 0;
    }
    // SAFETY: the module passes its context and `count` packets that it owns.
    unsafe { send(of, packets, count, |mbuf| Sending::Datagram { socket, owner, from, mbuf }) }
}

/// # Safety
/// As for [`context`]; `packets` are `count` packets that the caller owns and gives up as far as the
/// result says.
unsafe fn send(
    of: *mut abi::Context,
    packets: *mut *mut devnp_abi::Mbuf,
    count: u16,
    sending: impl Fn(Mbuf) -> Sending,
) -> u16 {
    // SAFETY: by this function's contract.
    let Some(context) = (unsafe { context(of) }) else { return 0 };
    let queue = &mut context.outbox.0;
    for at in 0..count {
        if queue.len() >= SENDING_MAX {
            return at;
        }
        // SAFETY: `at` is below `count`.
        let place = unsafe { packets.add(at.into()) };
        // SAFETY: as above: an initialised place.
        let raw = unsafe { place.read() };
        let Some(raw) = NonNull::new(raw.cast::<c_void>()) else { return at };
        // SAFETY: the module owns the packet and gives it up.
        queue.push_back(sending(unsafe { Mbuf::from_foreign(raw) }));
    }
    count
}
