//! Placeholder with the interface of the client library: no daemon is ever there.
#![forbid(unsafe_code)]
#![expect(missing_docs, reason = "placeholder until the client library is merged")]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

pub struct Channel(());

impl Channel {
    pub fn current() -> io::Result<Arc<Self>> {
        Err(io::ErrorKind::NotFound.into())
    }
    pub fn claims_loopback(&self) -> bool {
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Stream,
    Datagram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    Read,
    Write,
    Both,
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SendFlags: u32 { const DONTWAIT = 1; }
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RecvFlags: u32 { const DONTWAIT = 1; const PEEK = 2; const WAITALL = 4; const TRUNC = 8; }
}

pub struct Received {
    pub len: usize,
    pub from: Option<SocketAddr>,
    pub truncated: bool,
}

pub struct Socket(Transport);

fn gone<T>() -> io::Result<T> {
    Err(io::ErrorKind::ConnectionReset.into())
}

#[rustfmt::skip]
impl Socket {
    pub fn open(_: &Arc<Channel>, _: Transport) -> io::Result<(Self, OwnedFd)> { gone() }
    pub fn bind(&self, _: BorrowedFd<'_>, _: SocketAddr) -> io::Result<()> { gone() }
    pub fn listen(&self, _: BorrowedFd<'_>, _: u32) -> io::Result<()> { gone() }
    pub fn connect(&self, _: BorrowedFd<'_>, _: SocketAddr, _: bool) -> io::Result<()> { gone() }
    pub fn accept(&self, _: BorrowedFd<'_>, _: bool) -> io::Result<(Self, OwnedFd, SocketAddr)> { gone() }
    pub fn send(&self, _: BorrowedFd<'_>, _: &[IoSlice<'_>], _: Option<SocketAddr>, _: SendFlags) -> io::Result<usize> { gone() }
    pub fn recv(&self, _: BorrowedFd<'_>, _: &mut [IoSliceMut<'_>], _: RecvFlags) -> io::Result<Received> { gone() }
    pub fn shutdown(&self, _: BorrowedFd<'_>, _: Shutdown) -> io::Result<()> { gone() }
    pub fn set_option(&self, _: i32, _: i32, _: &[u8]) -> io::Result<()> { gone() }
    pub fn option(&self, _: i32, _: i32) -> io::Result<Vec<u8>> { gone() }
    pub fn local_name(&self) -> io::Result<SocketAddr> { gone() }
    pub fn peer_name(&self) -> io::Result<SocketAddr> { gone() }
    pub fn readable_bytes(&self) -> usize { 0 }
    pub fn transport(&self) -> Transport { self.0 }
}
