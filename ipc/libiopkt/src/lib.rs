//! The BSD socket calls on a stack, for C.
//!
//! `include/iopkt.h` says what each call does. A descriptor these calls return is a real one of the
//! kernel's: `select`, `poll`, `epoll`, `fcntl(O_NONBLOCK)` and inheritance work on it as they are. Only
//! reading, writing and the socket calls must go through this library, and they may be given *any*
//! descriptor: one that is not a stack's socket is passed to the kernel.
//!
//! * [`abi`]: the exported functions, by what they do.
//! * `table`: which numbers are sockets of a stack; look-ups take no lock.
//! * `description`: what is behind a number and its copies.
//! * `far`: sockets of another node's stack. `route`: routing sockets.
//! * `given`: descriptors that come from elsewhere.
//! * `name`, `message`, `ancillary`, `errno`: translation of `sockaddr`, scatter lists, flags, control
//!   messages and errors.
//! * `error_queue`: what became of what a socket has sent.
//! * [`readiness`]: what `poll` and `epoll` say of a socket beside what its descriptor says; `asking`: of which sockets.
//! * `autoconnect`: what is done when there is no way to a peer.
//! * `loopback`: why and how a socket moves to the kernel.
//! * `interface`: the stack's interfaces in the words of `netdevice(7)`.
//! * `driver`: what a driver knows of its device, and commands of its own.
//! * `cork`: datagrams made of several calls.
//! * `renew`: a stream that can be connected again.
//! * `process`: children of `vfork`, who work in their parent's memory.
//! * `kernel`: system calls past interposed functions.

pub mod abi;
mod ancillary;
mod asking;
mod autoconnect;
mod cork;
mod description;
mod driver;
mod errno;
mod error_queue;
mod far;
mod given;
mod interface;
mod kernel;
mod loopback;
mod message;
mod name;
mod process;
pub mod readiness;
mod renew;
mod route;
mod steps;
mod table;

pub use abi::{close_range_with, keep_files, keep_replaced};
pub use errno::{errno, set_errno};
pub use far::is_ours;
pub use given::{adopt, adopt_inherited, adopt_received};
pub use io_pkt_client::{HeldFile, is_own, pause};
pub use steps::{Steps, steps};
