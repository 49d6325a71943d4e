//! Shared memory between the daemon and its clients.
//!
//! * [`Loan`]: bytes of a client's memory that the daemon lends to a packet buffer in flight.

mod loan;

pub use loan::Loan;
