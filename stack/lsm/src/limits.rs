//! Every limit of protocol modules, with the reason for the number.

use core::time::Duration;

/// Modules at once: a plan is walked by each breath of each worker.
pub const MODULES_MAX: usize = 32;

/// Attachments of one module: an EtherType, a protocol and filters both ways are six.
pub const ATTACHMENTS_MAX: usize = 64;

/// Calls of one module that may wait for one worker: several bursts.
pub const CALLS_MAX: usize = 1024;

/// Pieces of work that may wait for a module's own thread.
pub const WORK_MAX: usize = 1024;

/// Events that may wait for a module's own thread; what comes then is lost, with a line in the log.
pub const EVENTS_MAX: usize = 4096;

/// Packets that modules may send in one breath of a worker; the others are still theirs.
pub const SENDING_MAX: usize = 512;

/// Variables of one module.
pub const VARIABLES_MAX: usize = 256;

/// Paths of one module.
pub const PATHS_MAX: usize = 8;

/// Clients of one module's paths at once.
pub const PATH_CLIENTS_MAX: usize = 128;

/// Clients of one module's paths that one user may be, except root: no user can take all places.
pub const PATH_CLIENTS_OF_USER_MAX: usize = 16;

/// How long the daemon waits at its start for a module to open, a tool for one that it mounts, and the daemon
/// at its end for one to close.
pub const OPEN_TIME: Duration = Duration::from_secs(10);

/// How long the daemon waits at its end for a module that still opens: one that is about to return does, and
/// one that never will does not keep it.
pub const ABANDON_TIME: Duration = Duration::from_secs(1);
