//! Fuzz targets: each takes any bytes, makes of them what a peer, a user, a program and time can do, and panics
//! if something does not hold that must hold.
//!
//! | target | what the bytes are |
//! |---|---|
//! | [`parsers`] | a frame, as it is or with lengths and checksums put right so that it gets deeper |
//! | [`links`] | frames below IP, and what they make of a spanning tree, of aggregated links and of a table of groups |
//! | [`options`] | an option list from the wire, and a set of options to write |
//! | [`endpoint`] | the life of an address pair: segments, calls and timeouts |
//! | [`routing`] | what a program writes to a routing socket |
//! | [`cookie`] | a SYN, and ACKs that claim to answer our cookie |
//!
//! `ci/fuzz` runs them by the million; `tests/fuzz.rs` binds them to the engines of bolero.
#![forbid(unsafe_code)]

mod bytes;
mod cookie;
mod endpoint;
mod links;
mod options;
mod parsers;
mod routing;
mod segment;

pub use cookie::cookie;
pub use endpoint::endpoint;
pub use links::links;
pub use options::options;
pub use parsers::parsers;
pub use routing::routing;
