//! Sockets of io-pkt for Rust programs.
//!
//! * [`TcpStream`], [`TcpListener`], [`UdpSocket`]: like those of `std::net`.
//! * [`SocketOptions`]: those with options. [`Poll`]: waiting for many.
//! * Feature `tokio`: module `tokio` has them as tokio's. Feature `mio`: they are sources of `mio`. `async_io::Async`
//!   takes them as they are.
//! * [`Socket`]: what they are made of, in the words of BSD; the C library is made of it too.
//! * [`far`]: sockets of another node's stack.
//! * [`route`]: routing sockets.
//! * [`Channel`]: a process's connection to the daemon, with the memory they share.
//!
//! Which stack: `$SOCK`, or for one thread [`set_sock_prefix`].
//!
//! A socket's descriptor is real: select, poll and epoll work on it and mix it with any other. How
//! that is done is in `ipc/README.md`.
#![forbid(unsafe_code)]

mod accept;
mod builder;
mod channel;
mod connect;
mod descriptor;
pub mod far;
mod linger;
#[cfg(feature = "mio")]
mod mio;
mod option;
mod poll;
mod prefix;
mod receive;
pub mod route;
mod segments;
mod send;
mod socket;
mod tcp;
#[cfg(feature = "tokio")]
pub mod tokio;
mod udp;
mod urgent;
mod wait;
mod way;

pub use builder::SocketOptions;
pub use channel::{Channel, ForkGuard, Identified};
pub use option::Wishes;
pub use poll::{Interest, Poll, Readiness};
pub use prefix::{clear_sock_prefix, set_sock_prefix};
pub use proto::ExtendedError;
pub use proto::message::{Family, Shutdown, Transport};
pub use proto::table::{AddressRow, InterfaceRow, NIC_COUNTERS, NicCounter, NicRow};
pub use receive::{Received, RecvFlags, Unspoken};
pub use send::SendFlags;
pub use shm::{
    Ancillary, HeldFile, Wait, holds_file, is_own, keep_files, leave_waits_of_parent, own_in, pause,
};
pub use socket::Socket;
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
