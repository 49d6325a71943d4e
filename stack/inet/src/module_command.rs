//! What the control plane says of sockets of protocol modules.

use std::sync::Arc;

use shm::SocketEnd;

#[cfg(doc)]
use crate::command::Outcome;
use crate::command::{CallId, ListenerId};
use crate::socket::SocketId;

/// What the control plane has to say about a socket of a protocol module's.
#[derive(Debug)]
pub enum ModuleCommand {
    /// A new one. → [`Outcome::Opened`].
    Open(OpenModule),
    /// `setsockopt()` and `getsockopt()` of a level of the module's own. → [`Outcome::Value`].
    Option(ModuleOption),
    /// `ioctl()` of a number of the module's own. → [`Outcome::Value`].
    Ioctl(ModuleIoctl),
    /// `listen()`.
    Listen {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// What its connections are told by.
        listener: ListenerId,
        /// As many and one more may wait to be accepted.
        backlog: u32,
    },
}

/// A new socket of a protocol module's.
#[derive(Debug)]
pub struct OpenModule {
    /// Answer to this call.
    pub call: CallId,
    /// Owner.
    pub client: u16,
    /// Its family and protocol.
    pub kind: lsm::SocketKind,
    /// Who opens it.
    pub by: lsm::Opener,
    /// The daemon's end of the socket's descriptor.
    pub descriptor: Arc<SocketEnd>,
}

/// An option of a module's own level.
#[derive(Debug)]
pub struct ModuleOption {
    /// Answer to this call.
    pub call: CallId,
    /// The socket.
    pub socket: SocketId,
    /// Level and number.
    pub option: (i32, i32),
    /// Its new value; else it is asked for.
    pub value: Option<Vec<u8>>,
}

/// An `ioctl()` that is a module's.
#[derive(Debug)]
pub struct ModuleIoctl {
    /// Answer to this call.
    pub call: CallId,
    /// The socket.
    pub socket: SocketId,
    /// Its number.
    pub request: u32,
    /// What goes in.
    pub data: Vec<u8>,
    /// Bytes that may come back.
    pub room: usize,
}
