//! Shared memory between the daemon and its clients: the contract of `ipc/README.md` in code.
//!
//! The daemon's side, in the order of a packet's life:
//!
//! * [`Arena`]: the range of addresses for all clients; [`Slot`]: one client's memory in it.
//! * [`Lane`]: one worker's end of one client: descriptors posted, socket cells, receive blocks.
//! * [`StreamProducer`], [`DatagramProducer`]: a socket's receive queue.
//! * [`SocketEnd`]: the daemon's end of the socket's real descriptor; [`PeerSocket`]: a unix socket whose
//!   peer can do no harm by what it sends.
//! * [`Share`]: what the clients of one user may have together; [`Rate`]: so many a second.
//! * [`WorkersPage`]: which workers sleep.
//! * [`PacketMemory`]: where packets lie that are lent to clients.
//! * [`Loan`]: bytes of a client's memory that the daemon lends to a packet buffer in flight.
//!
//! The client's side:
//!
//! * [`ClientMap`]: the mapping; [`SocketMemory`]: one socket in it.
//! * [`ReceiveQueue`], [`SendQueue`]: its queues, locked against other threads and processes.
//! * [`Own`]: the client's descriptors that its program must not close by accident.
//!
//! Both sides: [`DatagramHeader`], [`Ancillary`], [`Status`], [`layout`]; [`write_secret`] and
//! [`read_secret`] for what shows that somebody holds a descriptor.
//!
//! Everything a client can write is hostile here: words are read once and checked, bytes are copied
//! or lent by address, and no reference into them exists.
#![warn(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod client;
mod daemon;
mod datagram_header;
pub mod layout;
mod loan;
#[cfg_attr(miri, path = "memory/interpreted.rs")]
mod memory;
mod option;
mod packet_memory;
mod pause;
#[cfg_attr(feature = "loom", path = "region/model.rs")]
mod region;
mod status;
mod sync;
mod ticket;
mod words;

pub use client::{
    ClientFiles, ClientMap, Datagram, HeldFile, Own, OwnWays, PushError, ReceiveQueue, SendQueue,
    SocketMemory, Urgent, Wait, Waits, holds_file, is_own, keep_files, leave_waits_of_parent,
    own_in,
};
pub use daemon::{
    Arena, ArenaError, CellId, DatagramProducer, Lane, LastClose, Message, PeerMisbehaved,
    PeerSocket, QueueFull, Rate, Resting, Share, Slot, SlotFiles, SocketEnd, StreamProducer,
    TxDescriptor, TxFlags, WorkersPage, refuse_descriptors,
};
pub use datagram_header::{Ancillary, DatagramHeader};
pub use loan::Loan;
pub use packet_memory::{PacketMemory, Place};
pub use pause::pause;
#[cfg(feature = "loom")]
pub use region::{contest, prepare, receive_packet};
pub use status::Status;
pub use ticket::{read_secret, write_secret};
