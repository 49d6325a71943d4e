//! What is behind a descriptor, shared by all its copies: the socket and what must be known about it
//! should it have to move to the kernel.

use core::sync::atomic::{AtomicBool, Ordering};
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use io_pkt_client::{Channel, Family, Socket, Transport};
use libc::c_int;

use crate::cork::Cork;

/// An option as the program set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionSet {
    pub(crate) level: c_int,
    pub(crate) name: c_int,
    pub(crate) value: Vec<u8>,
}

/// The open socket.
pub(crate) struct Description {
    pub(crate) socket: Socket,
    /// The stack serves 127.0.0.0/8 itself.
    pub(crate) claims_loopback: bool,
    /// Where the program bound it on the stack.
    pub(crate) bound: OnceLock<SocketAddr>,
    /// It has a peer, is listening, or has sent: it cannot move any more.
    settled: AtomicBool,
    /// Errors about what it has sent are kept for it.
    asks_for_errors: AtomicBool,
    options: Mutex<Vec<OptionSet>>,
    /// A datagram in the making.
    pub(crate) cork: Cork,
}

impl Description {
    /// A fresh socket of this channel.
    pub(crate) fn new(socket: Socket, channel: &Channel) -> Self {
        Self::with(socket, channel.claims_loopback(), false)
    }

    /// A connection this listener has accepted.
    pub(crate) fn accepted(&self, socket: Socket) -> Self {
        Self::with(socket, self.claims_loopback, true)
    }

    /// A socket that this program was given. What options it has nobody knows here, so it stays where
    /// it is.
    pub(crate) fn given(socket: Socket) -> Self {
        let claims_loopback = socket.channel().claims_loopback();
        Self::with(socket, claims_loopback, true)
    }

    fn with(socket: Socket, claims_loopback: bool, settled: bool) -> Self {
        Self {
            socket,
            claims_loopback,
            bound: OnceLock::new(),
            settled: AtomicBool::new(settled),
            asks_for_errors: AtomicBool::new(false),
            options: Mutex::new(Vec::new()),
            cork: Cork::default(),
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.socket.is_stream()
    }

    /// The C numbers of its type and its protocol.
    pub(crate) fn kind(&self) -> (c_int, c_int) {
        let (kind, usual) = match self.socket.transport() {
            Transport::Stream => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            Transport::Datagram => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            Transport::Raw => (libc::SOCK_RAW, libc::IPPROTO_RAW),
        };
        (kind, self.socket.raw_protocol().map_or(usual, c_int::from))
    }

    /// The C number of its family.
    pub(crate) fn domain(&self) -> c_int {
        match self.socket.family() {
            Family::Inet => libc::AF_INET,
            Family::Inet6 => libc::AF_INET6,
            Family::Module(number) => number.into(),
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    pub(crate) fn settle(&self) {
        if !self.is_settled() {
            self.settled.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn asks_for_errors(&self) -> bool {
        self.asks_for_errors.load(Ordering::Relaxed)
    }

    pub(crate) fn ask_for_errors(&self) {
        self.asks_for_errors.store(true, Ordering::Relaxed);
    }

    /// Remembers an option; the last value of each counts.
    pub(crate) fn remember(&self, set: OptionSet) {
        let mut options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        options.retain(|old| (old.level, old.name) != (set.level, set.name));
        options.push(set);
    }

    /// The options set so far, in order.
    pub(crate) fn options(&self) -> Vec<OptionSet> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
