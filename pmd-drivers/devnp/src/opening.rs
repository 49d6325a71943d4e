//! Modules are opened by threads of their own: nobody else waits for what they do there.
//!
//! ```text
//!   control thread                             devnp-NAME
//!   Openings::begin ────────────────────────▶  dlopen, open, start
//!      next ◀── Report::Below ─────────────────  there is a driver of DPDK's below it
//!      Below::attached ────────────────────▶
//!      next ◀── Report::Opened ────────────────  done
//!      next ◀── Report::Ended ─────────────────  done, but given up meanwhile: closed again there
//! ```

use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use dpdk::Mempool;

use crate::attach::AttachEnv;
use crate::error::AttachError;
use crate::limits::OPENINGS_MAX;
use crate::module::error::ModuleError;
use crate::module::registry::{KINDS, Modules};
use crate::module_port::{attach_with, discard};
use crate::port::Port;
use crate::spec::DriverSpec;
use crate::units::Units;

/// Names an opening, from its begin on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpeningId(u64);

/// What a thread has to say.
#[derive(Debug)]
pub enum Report {
    /// Its module stands before a driver of DPDK's, which is to be attached.
    Below(Below),
    /// Its ports run, or there are none.
    Opened(OpeningId, Result<Vec<Port>, AttachError>),
    /// It was given up, and nothing is left of it. Whether it had opened after all.
    Ended(OpeningId, bool),
}

/// A driver of DPDK's that is to be attached below a module.
#[derive(Debug)]
pub struct Below {
    /// Whose it is.
    pub id: OpeningId,
    /// What is to be attached.
    pub spec: DriverSpec,
    units: Units,
    to: SyncSender<Result<Port, AttachError>>,
}

impl Below {
    /// The thread goes on with the port, or without.
    pub fn attached(self, port: Result<Port, AttachError>) {
        if let Err(unheard) = self.to.send(port) {
            discard(unheard.0, &self.units);
        }
    }
}

/// How far a thread is, which it and the control thread decide together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    /// It has said what has become of its module.
    Opened,
    /// Nobody waits for it any more.
    GivenUp,
}

#[derive(Debug)]
struct Opening {
    driver: String,
    path: PathBuf,
    stage: Arc<Mutex<Stage>>,
}

/// Modules that open.
#[derive(Debug)]
pub struct Openings {
    modules: Modules,
    pool: Mempool,
    units: Units,
    workers: u16,
    reports: Sender<Report>,
    inbox: Receiver<Report>,
    under_way: BTreeMap<OpeningId, Opening>,
    next: u64,
}

impl Openings {
    /// None. Their ports get buffers from `pool`, names from `units` and queues for so many workers.
    #[must_use]
    pub fn new(modules: Modules, pool: Mempool, units: Units, workers: u16) -> Self {
        // Whoever waits at a channel of the standard library for the first time registers a thread-local value,
        // for which the C library takes the lock that a module holds while its initialisers run. The control
        // thread does so here, and not at the end when it waits for workers.
        let (_silent, never) = channel::<()>();
        let _ = never.recv_timeout(Duration::from_micros(1));
        let (reports, inbox) = channel();
        let under_way = BTreeMap::new();
        Self { modules, pool, units, workers, reports, inbox, under_way, next: 0 }
    }

    /// Begins to open a module; [`Report`]s say what comes of it, and the modules' alarm rings for each.
    ///
    /// # Errors
    /// One of before has not ended, too many open, or there is no thread for it.
    pub fn begin(&mut self, spec: &DriverSpec) -> Result<OpeningId, AttachError> {
        let module = spec.name.clone();
        let given_up = |opening: &Opening| opening.driver == module && opening.is_given_up();
        if self.under_way.values().any(given_up) {
            return Err(ModuleError::Leaving { module }.into());
        }
        if self.block_linker() {
            return Err(ModuleError::Linker.into());
        }
        if self.under_way.len() >= OPENINGS_MAX {
            return Err(ModuleError::TooMany { most: OPENINGS_MAX }.into());
        }
        self.next += 1;
        let id = OpeningId(self.next);
        let stage = Arc::new(Mutex::new(Stage::Opening));
        let thread = Thread {
            id,
            spec: spec.clone(),
            modules: self.modules.clone(),
            pool: self.pool.clone(),
            units: self.units.clone(),
            workers: self.workers,
            stage: Arc::clone(&stage),
            reports: self.reports.clone(),
        };
        let builder = thread::Builder::new().name(thread_name(&spec.name));
        // Nobody joins it: its last word is a report.
        let spawned = builder.spawn(move || thread.run());
        let _ = spawned.map_err(|error| ModuleError::Thread {
            module: module.clone(),
            reason: error.to_string(),
        })?;
        let path = self.modules.path_of(&module).unwrap_or_default();
        // As its file is called where it is loaded.
        let path = path.canonicalize().unwrap_or(path);
        let _ = self.under_way.insert(id, Opening { driver: module, path, stage });
        Ok(id)
    }

    /// What threads have to say.
    pub fn next_report(&mut self) -> Option<Report> {
        self.wait_report(Duration::ZERO)
    }

    /// The next word of a thread, if it comes within `time`.
    pub fn wait_report(&mut self, time: Duration) -> Option<Report> {
        let report = self.inbox.recv_timeout(time).ok()?;
        if let Report::Opened(id, _) | Report::Ended(id, _) = &report {
            let _ = self.under_way.remove(id);
        }
        Some(report)
    }

    /// Whether the dynamic linker runs the initialisers of one that was given up: until they end, nothing can be
    /// loaded.
    #[must_use]
    pub fn block_linker(&self) -> bool {
        loader::is_linking() && self.under_way.values().any(Opening::is_given_up)
    }

    /// Nobody waits for it any more: if it opens after all, it is closed again by its thread. `false`: it has
    /// opened just now.
    pub fn give_up(&mut self, id: OpeningId) -> bool {
        let Some(opening) = self.under_way.get(&id) else { return false };
        let mut stage = opening.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Opening {
            *stage = Stage::GivenUp;
        }
        *stage == Stage::GivenUp
    }

    /// Whether nobody waits for it any more.
    #[must_use]
    pub fn is_given_up(&self, id: OpeningId) -> bool {
        self.under_way.get(&id).is_some_and(Opening::is_given_up)
    }

    /// Those under way: the module's name, as far as its file's tells, the file, and whether it is given up.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &Path, bool)> {
        let openings = self.under_way.values();
        openings.map(|one| (bare(&one.driver), &*one.path, one.is_given_up()))
    }
}

impl Opening {
    fn is_given_up(&self) -> bool {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) == Stage::GivenUp
    }
}

/// What a thread begins with.
struct Thread {
    id: OpeningId,
    spec: DriverSpec,
    modules: Modules,
    pool: Mempool,
    units: Units,
    workers: u16,
    stage: Arc<Mutex<Stage>>,
    reports: Sender<Report>,
}

impl Thread {
    fn run(self) {
        let (pool, units) = (&self.pool, &self.units);
        // What modules receive is not shown.
        let env = AttachEnv { workers: self.workers, pool, shown: None, units };
        let mut below = |spec: &DriverSpec| self.below(spec);
        let opened = attach_with(&mut below, &self.spec, &env, &self.modules);
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == Stage::Opening {
            *stage = Stage::Opened;
            drop(stage);
            return self.say(Report::Opened(self.id, opened));
        }
        drop(stage);
        let too_late = opened.is_ok();
        discard(opened.into_iter().flatten(), &self.units);
        self.say(Report::Ended(self.id, too_late));
    }

    /// DPDK's drivers are attached by the thread that has started EAL.
    fn below(&self, spec: &DriverSpec) -> Result<Port, AttachError> {
        let (to, attached) = sync_channel(1);
        let (id, units) = (self.id, self.units.clone());
        self.say(Report::Below(Below { id, spec: spec.clone(), units, to }));
        let ended = || Err(ModuleError::Leaving { module: self.spec.name.clone() }.into());
        attached.recv().unwrap_or_else(|_| ended())
    }

    fn say(&self, report: Report) {
        // Nobody is there any more when the daemon ends.
        if self.reports.send(report).is_ok() {
            self.modules.alarm().ring();
        }
    }
}

/// `my` of `/opt/devnp-my.so`.
fn bare(driver: &str) -> &str {
    let file = driver.rsplit('/').next().unwrap_or(driver);
    KINDS.iter().fold(file, |name, kind| loader::bare_name(kind, name))
}

/// `devnp-my`, as far as a thread's name goes.
fn thread_name(driver: &str) -> String {
    format!("devnp-{}", bare(driver).chars().filter(|c| *c != '\0').take(9).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_called_after_its_module() {
        assert_eq!(thread_name("/opt/devnp-my.so"), "devnp-my");
        assert_eq!(thread_name("devn-tun"), "devnp-tun");
        assert_eq!(thread_name("a\0longer-name"), "devnp-alonger-n");
    }
}
