//! Sockets of modules: families and protocols of their own, as far as a worker calls them.
//!
//! A worker makes such a socket as it makes one of UDP: a cell in the client's memory, a queue of
//! datagrams, a descriptor. What is special is who decides what a name means and where a datagram goes.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use core::sync::atomic::{AtomicU64, Ordering};

use dpdk::Mbuf;
use lsm_abi as abi;
use rustix::io::Errno;

use crate::context::Context;
use crate::desk::Desk;
use crate::instance::{Instance, To};

/// Bytes of an option's value: none of the kernel's that programs know is longer.
pub const OPTION_BYTES_MAX: usize = 1024;

/// `AF_UNSPEC` and `AF_UNIX`, which can't be had.
const KERNEL_FAMILIES: [u16; 2] = [0, 1];
/// `AF_INET` and `AF_INET6`.
const INET: [u16; 2] = [2, 10];
/// Their protocols that are the stack's.
const STACK_PROTOCOLS: [u16; 5] = [0, 1, 6, 17, 58];

/// What a program asks for when it opens a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketKind {
    /// Address family.
    pub family: u16,
    /// Protocol.
    pub protocol: u16,
    /// Streams, not datagrams.
    pub stream: bool,
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.stream { "streams" } else { "sockets" };
        write!(f, "{what} of family {} protocol {}", self.family, self.protocol)
    }
}

/// What a module may have of what it asks for.
pub(crate) fn wanted(value: u32, stream: bool) -> Option<SocketKind> {
    let family = u16::try_from(value >> 16).ok()?;
    let protocol = u16::try_from(value & 0xffff).ok()?;
    let is_stacks = INET.contains(&family) && STACK_PROTOCOLS.contains(&protocol);
    (!KERNEL_FAMILIES.contains(&family) && !is_stacks).then_some(SocketKind {
        family,
        protocol,
        stream,
    })
}

/// A loaded module, as its sockets know it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    pub(crate) fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A socket's address, whatever its family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    port: u16,
    scope: u32,
    address: [u8; 16],
}

impl Name {
    pub(crate) fn of(name: &abi::Name) -> Self {
        Self { port: name.port, scope: name.scope, address: name.address }
    }

    pub(crate) fn to_abi(self, family: u16) -> abi::Name {
        let Self { port, scope, address } = self;
        abi::Name { size: 28, family, port, scope, address }
    }

    /// As it travels to a program: in IPv4's shape for `AF_INET`, else in IPv6's.
    #[must_use]
    pub fn to_address(self, family: u16) -> SocketAddr {
        let [a, b, c, d, ..] = self.address;
        if INET.first() == Some(&family) {
            return SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), self.port).into();
        }
        SocketAddrV6::new(Ipv6Addr::from(self.address), self.port, 0, self.scope).into()
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                let [a, b, c, d] = v4.ip().octets();
                let address = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                Self { port: v4.port(), scope: 0, address }
            }
            SocketAddr::V6(v6) => {
                Self { port: v6.port(), scope: v6.scope_id(), address: v6.ip().octets() }
            }
        }
    }
}

/// A program that opens a socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
}

/// A socket of a module's: whose, what of its attachments, and how it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOf {
    owner: Owner,
    attachment: u32,
    /// Its address family.
    pub family: u16,
    /// What the module knows it by.
    pub socket: u64,
}

impl Desk {
    /// A program opens a socket of this kind; the module knows it by `socket` then.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`: no module has that kind (any more); or the module's.
    pub fn socket_open(
        &mut self,
        kind: SocketKind,
        socket: u64,
        by: Opener,
    ) -> Result<SocketOf, Errno> {
        let claim = self.plan.sockets(kind).ok_or(Errno::PROTONOSUPPORT)?;
        let attachment = claim.attachment;
        let what = abi::Opening { size: 24, attachment, socket, pid: by.pid, uid: by.uid };
        let opened = self.call(claim.seat, |instance, context| {
            instance.socket_open(context, &what).map(|()| instance.owner)
        });
        let owner = opened.ok_or(Errno::NETDOWN)??;
        Ok(SocketOf { owner, attachment, family: kind.family, socket })
    }

    /// `bind()`: the name that it has got.
    ///
    /// # Errors
    /// `ENETDOWN`: the module is gone; or the module's.
    pub fn socket_bind(&mut self, of: &SocketOf, name: Name) -> Result<Name, Errno> {
        let mut name = name.to_abi(of.family);
        self.call_owner(of, |instance, context| instance.socket_bind(context, of, &mut name))?;
        Ok(Name::of(&name))
    }

    /// `connect()`; `None`: it gives up its peer.
    ///
    /// # Errors
    /// As for [`socket_bind`](Self::socket_bind).
    pub fn socket_connect(&mut self, of: &SocketOf, peer: Option<Name>) -> Result<(), Errno> {
        let peer = peer.map(|peer| peer.to_abi(of.family));
        self.call_owner(of, |instance, context| instance.socket_connect(context, of, peer.as_ref()))
    }

    /// A program sends a datagram; `None`: to its peer.
    ///
    /// # Errors
    /// As for [`socket_bind`](Self::socket_bind).
    pub fn socket_send(
        &mut self,
        of: &SocketOf,
        to: Option<Name>,
        mbuf: Mbuf,
    ) -> Result<(), Errno> {
        let to = to.map(|to| to.to_abi(of.family));
        self.call_owner(of, |instance, context| {
            instance.socket_send(context, of, to.as_ref(), mbuf)
        })
    }

    /// `setsockopt()` of a level that is not the stack's.
    ///
    /// # Errors
    /// `ENOPROTOOPT`: the module has none. As for [`socket_bind`](Self::socket_bind).
    pub fn socket_set_option(
        &mut self,
        of: &SocketOf,
        option: (i32, i32),
        value: &[u8],
    ) -> Result<(), Errno> {
        self.call_owner(of, |instance, context| {
            instance.socket_set_option(context, of, option, value)
        })
    }

    /// `getsockopt()` of a level that is not the stack's.
    ///
    /// # Errors
    /// As for [`socket_set_option`](Self::socket_set_option).
    pub fn socket_option(&mut self, of: &SocketOf, option: (i32, i32)) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; OPTION_BYTES_MAX];
        self.call_owner(of, |instance, context| {
            let len = instance.socket_option(context, of, option, &mut value)?;
            value.truncate(len);
            Ok(())
        })?;
        Ok(value)
    }

    /// A socket is closed.
    pub fn socket_close(&mut self, of: &SocketOf) {
        // Of a module that is gone there is nobody to tell.
        let _ = self.call_owner(of, |instance, context| {
            instance.socket_close(context, of);
            Ok(())
        });
    }

    /// Counts a datagram for a socket: it has got it, or not.
    pub fn socket_received(&self, of: &SocketOf, delivered: bool) {
        let instance = self.seat_of(of.owner).and_then(|seat| self.seats.get(seat));
        let worker = self.worker();
        if let Some(tally) = instance.and_then(|s| s.instance.tally(worker, of.attachment)) {
            if delivered { tally.passed.increment() } else { tally.dropped.increment() }
        }
    }

    /// The module of a socket is there, and has not failed.
    #[must_use]
    pub fn serves(&self, of: &SocketOf) -> bool {
        let seat = self.seat_of(of.owner).and_then(|seat| self.seats.get(seat));
        seat.is_some_and(|seat| seat.instance.is_running())
    }

    fn seat_of(&self, owner: Owner) -> Option<usize> {
        self.seats.iter().position(|seat| seat.instance.owner == owner)
    }

    pub(crate) fn call_owner(
        &mut self,
        of: &SocketOf,
        call: impl FnOnce(&Instance, &mut Context<'_>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let seat = self.seat_of(of.owner).ok_or(Errno::NETDOWN)?;
        self.call(seat, call).ok_or(Errno::NETDOWN)?
    }
}

impl SocketOf {
    /// Another one of the same attachment.
    #[must_use]
    pub fn sibling(&self, socket: u64) -> Self {
        Self { socket, ..*self }
    }

    /// The module whose it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// It is this module's.
    #[must_use]
    pub fn is_of(&self, owner: Owner) -> bool {
        self.owner == owner
    }
}

impl Instance {
    /// The worker that has sockets of this kind, if they are this module's: the first, or any.
    pub(crate) fn serves(&self, kind: SocketKind) -> Option<bool> {
        let wanted = |to: &To| *to == To::Sockets(kind);
        let has = self.attachments().iter().any(|attachment| wanted(&attachment.to));
        (has && self.is_running()).then(|| self.library().is_single())
    }

    fn socket_open(&self, context: &mut Context<'_>, what: &abi::Opening) -> Result<(), Errno> {
        let Some(open) = self.running(self.library().table.socket_open)? else {
            return Err(Errno::OPNOTSUPP);
        };
        // SAFETY: open; a complete structure, valid during the call.
        said(unsafe { open(self.raw, context.as_abi(), &raw const *what) })
    }

    fn socket_bind(
        &self,
        context: &mut Context<'_>,
        of: &SocketOf,
        name: &mut abi::Name,
    ) -> Result<(), Errno> {
        let Some(bind) = self.running(self.library().table.socket_bind)? else {
            // Sending needs no name then.
            let unnamed = Name::of(name) == Name::default();
            return if unnamed { Ok(()) } else { Err(Errno::OPNOTSUPP) };
        };
        // SAFETY: open; a complete structure, the module's to change during the call.
        said(unsafe { bind(self.raw, context.as_abi(), of.socket, &raw mut *name) })
    }

    fn socket_connect(
        &self,
        context: &mut Context<'_>,
        of: &SocketOf,
        peer: Option<&abi::Name>,
    ) -> Result<(), Errno> {
        let Some(connect) = self.running(self.library().table.socket_connect)? else {
            return Err(Errno::OPNOTSUPP);
        };
        let peer = peer.map_or(core::ptr::null(), core::ptr::from_ref);
        // SAFETY: open; a complete structure, valid during the call, or null.
        said(unsafe { connect(self.raw, context.as_abi(), of.socket, peer) })
    }

    fn socket_send(
        &self,
        context: &mut Context<'_>,
        of: &SocketOf,
        to: Option<&abi::Name>,
        mbuf: Mbuf,
    ) -> Result<(), Errno> {
        let Some(send) = self.running(self.library().table.socket_send)? else {
            return Err(Errno::OPNOTSUPP);
        };
        if let Some(tally) = self.tally(context.worker, of.attachment) {
            tally.consumed.increment();
        }
        let to = to.map_or(core::ptr::null(), core::ptr::from_ref);
        let packet = mbuf.into_foreign().as_ptr().cast();
        // SAFETY: open; a complete structure or null; the packet is the module's from here on.
        said(unsafe { send(self.raw, context.as_abi(), of.socket, to, packet) })
    }

    fn socket_set_option(
        &self,
        context: &mut Context<'_>,
        of: &SocketOf,
        (level, name): (i32, i32),
        value: &[u8],
    ) -> Result<(), Errno> {
        let Some(set) = self.running(self.library().table.socket_set_option)? else {
            return Err(Errno::NOPROTOOPT);
        };
        let (bytes, len) = (value.as_ptr().cast(), value.len());
        // SAFETY: open; so many bytes, valid during the call.
        said(unsafe { set(self.raw, context.as_abi(), of.socket, level, name, bytes, len) })
    }

    fn socket_option(
        &self,
        context: &mut Context<'_>,
        of: &SocketOf,
        (level, name): (i32, i32),
        to: &mut [u8],
    ) -> Result<usize, Errno> {
        let Some(option) = self.running(self.library().table.socket_option)? else {
            return Err(Errno::NOPROTOOPT);
        };
        let (bytes, room) = (to.as_mut_ptr().cast(), to.len());
        // SAFETY: open; room for so many bytes, the module's during the call.
        let len =
            unsafe { option(self.raw, context.as_abi(), of.socket, level, name, bytes, room) };
        counted(len, room)
    }

    fn socket_close(&self, context: &mut Context<'_>, of: &SocketOf) {
        if let Ok(Some(close)) = self.running(self.library().table.socket_close) {
            // SAFETY: open.
            unsafe { close(self.raw, context.as_abi(), of.socket) };
        }
    }

    /// A function, unless the module has failed.
    pub(crate) fn running<F>(&self, function: Option<F>) -> Result<Option<F>, Errno> {
        if self.is_running() { Ok(function) } else { Err(Errno::NETDOWN) }
    }
}

/// So many bytes of `room`, or a negative errno.
pub(crate) fn counted(len: isize, room: usize) -> Result<usize, Errno> {
    match usize::try_from(len) {
        // What says that it has written more has not been ours to judge.
        Ok(len) => Ok(len.min(room)),
        Err(_) => said(i32::try_from(len).unwrap_or(i32::MIN)).map(|()| 0),
    }
}

/// 0, or a negative errno.
pub(crate) fn said(code: i32) -> Result<(), Errno> {
    match code {
        0 => Ok(()),
        code => Err(Errno::from_raw_os_error(code.saturating_neg().clamp(1, 4095))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_families_and_the_stacks_protocols_are_not_to_be_had() {
        let value = |family: u32, protocol: u32| wanted(family << 16 | protocol, true);
        let kind = |family, protocol| Some(SocketKind { family, protocol, stream: true });
        assert_eq!(value(2, 136), kind(2, 136));
        assert_eq!(value(60, 0), kind(60, 0));
        for (family, protocol) in [(0, 1), (1, 1), (2, 0), (2, 6), (2, 17), (10, 58), (10, 0)] {
            assert_eq!(value(family, protocol), None, "{family} {protocol}");
        }
    }

    #[test]
    fn a_name_survives_the_way_to_the_module_and_back() {
        for (name, family) in [("198.18.77.1:7", 2), ("[fe80::1%3]:9", 10), ("[fe80::1%3]:9", 60)] {
            let name: SocketAddr = name.parse().unwrap();
            let there = Name::from(name).to_abi(family);
            assert_eq!(there.family, family);
            assert_eq!(Name::of(&there).to_address(family), name);
        }
    }
}
