//! Per-packet drivers (`devn-NAME.so`, [`devn_abi`]) as driver modules ([`devnp_abi`]): the shim
//! gathers and hands out bursts, and stands between the driver's threads and the worker.
//!
//! ```text
//!  driver's threads                  Slot (lock)           worker
//!  rx(handle, frame) ──> handle ──> checks, Producer ──> ring ──> Consumer ──> rx_burst ──> mbufs
//!                         │ not open: refused      full: dropped │
//!                         v                                      └ descriptor wakes the worker
//!  worker: tx_burst ──> driver.tx(frame), frame by frame
//! ```
//!
//! * [`open`], [`TABLE`]: an interface as the loader of modules wants it.
//! * `slot`: what a driver's handle means, and the up-calls.
//! * `ring`: frames on their way from the driver's threads to the worker.
//! * `threads`: whether a closed driver has left threads behind.
//!
//! A driver shares the daemon's memory: what it writes where it must not, nobody can stop. What it does
//! with the calls of its interface is contained: see `pmd-drivers/README.md`.

mod interface;
mod limits;
mod ring;
mod slot;
mod threads;

pub use interface::{TABLE, open};
