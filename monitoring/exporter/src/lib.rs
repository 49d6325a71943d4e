//! The daemon's Prometheus endpoint, in a thread of its own that never touches a packet.
//!
//! The daemon hands [`serve`] an address and a [`Source`]: a function that sums what the workers
//! count into one [`Sample`]. It is called once per scrape, on the exporter's thread.
//!
//! * [`Sample`]: everything that is published; a value, so that it can be tested without a daemon.
//! * [`render`]: a sample as Prometheus text. Every family has a HELP line, base units and, if it
//!   is a counter, the suffix `_total`.
//! * [`serve`]: `GET`/`HEAD` on `/metrics`, `/healthz` and `/`; nothing else, no bodies, no state.
//!
//! ```no_run
//! # use std::sync::Arc;
//! let source: exporter::Source = Arc::new(exporter::Sample::default);
//! let server = exporter::serve("127.0.0.1:9478".parse().expect("address"), source)?;
//! println!("metrics http://{}/metrics", server.address());
//! # Ok::<(), exporter::ServeError>(())
//! ```
#![forbid(unsafe_code)]

mod collector;
mod family;
mod http;
mod limits;
mod module;
mod process;
mod sample;

pub use collector::{Source, render};
pub use http::{ServeError, Server, serve};
pub use sample::{
    AttachmentSample, BuildInfo, CounterSample, GaugeSample, HistogramSample, InterfaceSample,
    ModuleSample, NeighborSample, PoolSample, Sample, WorkerSample,
};
