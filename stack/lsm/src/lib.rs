//! Protocol modules: from `-p NAME [opts]` to what workers call.
//!
//! ```text
//!  control thread            module's thread                 workers
//!  load ─────────────────>   link, open ──┐
//!  Report::Opened <───────────────────────┘
//!  Plan with it ───────────────────────────────────────────> Desk takes it up
//!                            event, work                     receive, tap, filter, timer, call
//!  Plan without it ────────────────────────────────────────> Desk takes it up, and says so
//!  unload, when all have ──> close, unlink ─┐
//!  Report::Closed <─────────────────────────┘
//! ```
//!
//! * [`Modules`]: finds, loads and unloads; the control thread's side.
//! * [`Plan`]: who wants which packets: never changes, a new one takes its place.
//! * [`Desk`]: one worker's side of the modules, which calls them burst by burst.
//! * [`Interface`], [`Event`]: what modules are told of the network.
//! * [`VariableRow`]: numbers that operator and module share. `path`: a module's own paths.
//! * [`SocketKind`], [`SocketOf`]: sockets of a module's own families and protocols; [`Word`]: what it says of streams.
//!
//! Nobody stops for a module that comes or goes: each worker takes up the new plan between two
//! bursts. A module that fails is called no more; that it stands in the plan costs a branch.

mod answers;
mod context;
mod desk;
mod error;
mod host;
mod instance;
mod library;
pub mod limits;
mod modules;
mod path;
mod plan;
mod sockets;
mod streams;
mod thread;
mod variable;

pub use context::{Destination, Sending};
pub use desk::Desk;
pub use error::ProtocolError;
pub use host::{Event, Interface, Network};
pub use instance::{AttachmentRow, Instance};
pub use modules::{Id, Modules, ProtocolRow, Report, Surroundings, bare_name};
pub use plan::{Claim, Direction, Plan, Point};
pub use sockets::{Name, OPTION_BYTES_MAX, Opener, Owner, SocketKind, SocketOf};
pub use streams::{STREAM, STREAM_WORKER, Word};
pub use variable::{SetVariableError, VariableRow};
