//! The daemon's side.

mod account;
mod arena;
mod blocks;
mod borrowed;
pub(crate) mod consumed;
pub(crate) mod datagram;
mod lane;
mod misbehaved;
mod peer_socket;
mod share;
mod socket_end;
mod stream;
mod workers;

pub use arena::{Arena, ArenaError, Slot, SlotFiles};
pub use datagram::{DatagramProducer, QueueFull};
pub use lane::{CellId, Lane, TxDescriptor, TxFlags};
pub use misbehaved::PeerMisbehaved;
pub use peer_socket::{Message, PeerSocket, refuse_descriptors};
pub use share::{Rate, Share};
pub use socket_end::{LastClose, SocketEnd};
pub use stream::{Resting, StreamProducer};
pub use workers::WorkersPage;
