//! Routing: which interface and which neighbour come next on the way to a destination.
//!
//! * [`Rib`]: the route base. The control plane adds and deletes routes here.
//! * [`Fib`]: what a worker looks up: an immutable snapshot that [`Rib::publish`] makes.
//! * [`Ahead`]: how many lookups at once ask for what they will read.
//! * [`Way`]: how packets go on, over one next hop or one of several.
//! * [`Changes`]: what has become of routes, for whoever watches them.
//! * [`Route`], [`Net`], [`NextHop`], [`RouteFlags`]: what a route is made of.
//!
//! All are for one family of addresses, [`Ipv4Addr`](core::net::Ipv4Addr) unless they are told.
//!
//! ```
//! use fib::{Ipv4Net, NextHop, Rib, Route};
//! use std::net::Ipv4Addr;
//!
//! let mut rib = Rib::new();
//! let link = Ipv4Net::new(Ipv4Addr::new(192, 0, 2, 0), 24).unwrap();
//! let router = Ipv4Addr::new(192, 0, 2, 1);
//! rib.add(Route::connected(link, 1)).unwrap();
//! rib.add(Route::gateway(Ipv4Net::DEFAULT, 1, router)).unwrap();
//!
//! let far = Ipv4Addr::new(198, 51, 100, 7);
//! assert_eq!(rib.publish().lookup(far), Some(NextHop { interface: 1, gateway: Some(router) }));
//! ```
#![forbid(unsafe_code)]

mod address;
mod bulk;
mod changes;
mod net;
mod pieces;
mod rib;
mod route;
mod snapshot;
mod trie;
mod way;

pub use address::Address;
pub use bulk::Ahead;
pub use changes::Changes;
pub use net::{BadPrefix, Ipv4Net, Ipv6Net, Net};
pub use rib::{AddRouteError, DeleteRouteError, Rib};
pub use route::{NextHop, Route, RouteFlags};
pub use snapshot::Fib;
pub use way::{Refusal, Way};
