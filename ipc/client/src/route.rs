//! A routing socket: what happens to routes, addresses and interfaces, in BSD's messages, and changes of routes.
//!
//! ```no_run
//! use io_pkt_client::route::{Message, RouteMessage, RouteSocket};
//!
//! # fn main() -> std::io::Result<()> {
//! let socket = RouteSocket::open(None)?;
//! let way = RouteMessage::add("203.0.113.0".parse().unwrap(), 24, "198.18.77.1".parse().unwrap());
//! socket.send(&RouteMessage { seq: 1, ..way })?;
//! loop {
//!     match socket.recv()? {
//!         Message::Route(route) => println!("{:?} {:?}", route.kind, route.addresses.destination),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # }
//! ```
//!
//! * `message`, with `layout`, `sockaddr` and `number`: messages as values and as bytes, as `iopkt_route.h` has them.
//! * `event`: what the daemon tells, as messages. `change`: messages that ask for something.
//! * `queue`: what has been heard and not read. `socket`: the descriptor.

mod change;
mod event;
mod layout;
mod message;
pub mod number;
mod queue;
mod sockaddr;
mod socket;

pub use message::{
    Address, AddressMessage, AnnounceMessage, InterfaceMessage, Malformed, Message, RouteKind,
    RouteMessage,
};
pub use sockaddr::{Addresses, LinkAddress, NextHop};
pub use socket::{RouteEnd, RouteSocket};

#[cfg(test)]
mod tests;
