//! One worker in one thread: no daemon, no kernel, virtual time.
//!
//! * [`World`]: a worker with a `net_ring` port, its control plane and a client's memory.
//! * [`acks`]: what the acknowledgements of a hostile peer cost.
//! * [`bridged`]: a bridge between two links of the worker.
//! * [`forwarding`]: packets that the worker passes on.
//! * [`frame`]: frames as a peer would send them, and ways to spoil them.
//! * [`frame6`]: the same over IPv6.
//! * [`hoarders`]: peers who take and give nothing back, and floods.
//! * [`hostile`]: a client that writes what it likes into its memory.
//! * [`impair`]: what a bad link does to frames, decided by a seed.
//! * [`module`]: protocol modules in C.
//! * [`pair`]: two stacks with a wire between them.
//! * [`path`]: one thing done to a burst of packets.
//! * [`peers`]: many connections of one peer.
//! * [`router`]: a second link, so that the worker has something to pass on.
//! * [`time`]: how long a packet takes.
#![forbid(unsafe_code)]

pub mod acks;
mod attach;
pub mod bridged;
mod dropped;
pub mod forwarding;
pub mod frame;
pub mod frame6;
pub mod hoarders;
pub mod hostile;
pub mod impair;
pub mod module;
pub mod pair;
pub mod path;
pub mod peers;
mod rings;
pub mod router;
pub mod time;
mod world;

pub use world::{
    LOCAL, LOCAL_LINK6, LOCAL_MAC, LOCAL6, PEER, PEER_MAC, PEER6, QUEUE_LEN, World, network,
};
