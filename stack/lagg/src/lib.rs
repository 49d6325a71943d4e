//! Which of several links are used as one (IEEE 802.1AX-2014), and how both ends come to agree (LACP, clause 6).
//!
//! * [`Aggregate`]: the ports of one interface; by LACP, or as the operator says.
//! * [`spread`]: which of the ports in use a flow takes.
//!
//! Time is an argument; nothing here does I/O or knows a packet buffer. Left out of clause 6 are the detection of churn,
//! and markers of our own: a flow that moves to another port because one has come may overtake itself once.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aggregate;
pub mod limits;
mod port;
mod receive;
mod select;
mod spread;

pub use aggregate::{Aggregate, Protocol};
pub use port::{Mux, PortConfig, PortRow};
pub use spread::spread;
