//! The client's side. All of its state is in the shared memory itself, behind locks that work
//! across processes, so that a forked child can go on using the sockets it inherited.
//!
//! The daemon is trusted here. Other processes of the same client are too, but nothing they write
//! can lead outside of the mapping.

mod blocks;
mod files;
mod lock;
mod map;
mod own;
mod receive;
mod send;
mod socket;
mod waits;

pub use files::{HeldFile, holds_file, keep_files};
pub use map::{ClientFiles, ClientMap};
pub use own::{Own, is_own, own_in};
pub use receive::{Datagram, ReceiveQueue, Urgent};
pub use send::{PushError, SendQueue};
pub use socket::{OwnWays, SocketMemory};
pub use waits::{Wait, Waits, leave_waits_of_parent};
