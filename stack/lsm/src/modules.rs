//! Where modules are looked for, and which are loaded: the control thread's side.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use devnp_abi::Api as DriverApi;
use dpdk::Mempool;
use loader::{Alarm, SharedObject};
use lsm_abi::FLAG_SEVERAL;

use crate::error::ProtocolError;
use crate::host::{Event, Interface, Network, Wake};
use crate::instance::{AttachmentRow, Instance};
use crate::limits::MODULES_MAX;
use crate::plan::Plan;
use crate::sockets::SocketKind;
use crate::thread::{Job, Jobs, Reports, run};
use crate::variable::{SetVariableError, VariableRow};

/// What files of protocol modules are called after.
const KIND: &str = "lsm";

/// Names a load, from the moment it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

/// What a module's thread has to say.
#[derive(Debug)]
pub enum Report {
    /// It has opened the module, or not.
    Opened(Id, Result<Arc<Instance>, ProtocolError>),
    /// The module is closed and its code gone.
    Closed(Id),
}

/// What modules have around them.
#[derive(Clone)]
pub struct Surroundings {
    pub(crate) pool: Mempool,
    pub(crate) packet: &'static DriverApi,
    pub(crate) workers: u16,
    pub(crate) folder: PathBuf,
    pub(crate) network: Arc<Network>,
    pub(crate) wake: Wake,
    pub(crate) alarm: Alarm,
}

impl Surroundings {
    /// Buffers from `pool`; what can be done with one is `packet`. `wake` wakes a worker, `alarm` the
    /// control thread; both are called from any thread and must not block. Paths of modules are made in
    /// `folder`.
    #[must_use]
    pub fn new(
        pool: Mempool,
        packet: &'static DriverApi,
        workers: u16,
        folder: PathBuf,
        wake: impl Fn(u16) + Send + Sync + 'static,
        alarm: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            pool,
            packet,
            workers,
            folder,
            network: Arc::default(),
            wake: Arc::new(wake),
            alarm: Alarm::new(alarm),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// What a module's thread begins with.
pub(crate) struct Loading {
    pub(crate) file: SharedObject,
    pub(crate) options: Vec<(String, Option<String>)>,
    pub(crate) surroundings: Surroundings,
    pub(crate) jobs: Arc<Jobs>,
}

/// A module from the control thread's side.
#[derive(Debug)]
struct Loaded {
    id: Id,
    path: PathBuf,
    identity: (u64, u64),
    /// What the values of its options are.
    values: Vec<String>,
    jobs: Arc<Jobs>,
    /// Once it is open, until it is to be closed.
    instance: Option<Arc<Instance>>,
    leaving: bool,
    /// It was seen to have failed.
    failed: bool,
}

/// A row of `iopkt modules`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtocolRow {
    /// The protocol's name, or the file's as long as it is not open.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The file.
    pub path: PathBuf,
    /// Version of the ABI.
    pub abi: u32,
    /// `single` or `workers`.
    pub threading: &'static str,
    /// `opening`, `running`, `failed` or `closing`.
    pub state: &'static str,
    /// How often it has failed.
    pub failures: u64,
    /// What it is attached to.
    pub attachments: Vec<AttachmentRow>,
}

/// The protocol modules of this process.
#[derive(Debug)]
pub struct Modules {
    path: Vec<PathBuf>,
    user: u32,
    surroundings: Surroundings,
    reports: Reports,
    inbox: Receiver<Report>,
    loaded: Vec<Loaded>,
    next: u64,
}

impl Modules {
    /// Modules from these directories, if they belong to root or `user`.
    #[must_use]
    pub fn new(path: Vec<PathBuf>, user: u32, surroundings: Surroundings) -> Self {
        let (to, inbox): (Sender<Report>, _) = channel();
        let reports = Reports { to, alarm: surroundings.alarm.clone() };
        Self { path, user, surroundings, reports, inbox, loaded: Vec::new(), next: 0 }
    }

    /// The file that a name means, by [`loader::find`]; a path as it is.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(name.into());
        }
        loader::find(&self.path, KIND, name)
    }

    /// Whether this is the file of a protocol, rather than that of a driver.
    #[must_use]
    pub fn is_protocol(&self, path: &Path) -> bool {
        let named =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"lsm-"));
        named
            || loader::inspect(path, self.user)
                .is_ok_and(|file| file.names(crate::library::ENTRY.symbol))
    }

    /// Begins to load a module; a [`Report`] says what came of it.
    ///
    /// # Errors
    /// There is no such file, or it can't be trusted, or it is loaded already.
    pub fn load(
        &mut self,
        name: &str,
        options: Vec<(String, Option<String>)>,
    ) -> Result<Id, ProtocolError> {
        let path = self.find(name).ok_or_else(|| ProtocolError::Unknown {
            name: bare_name(name).into(),
            places: loader::listed(&self.path),
        })?;
        if self.loaded.len() >= MODULES_MAX {
            return Err(ProtocolError::TooMany { most: MODULES_MAX });
        }
        let file = loader::inspect(&path, self.user)?;
        let identity = file.identity;
        let alone = |loaded: &&Loaded| {
            let several =
                |instance: &Arc<Instance>| instance.library().table.flags & FLAG_SEVERAL != 0;
            loaded.identity == identity && !loaded.instance.as_ref().is_some_and(several)
        };
        if let Some(loaded) = self.loaded.iter().find(alone) {
            if loaded.leaving {
                return Err(ProtocolError::Leaving { module: loaded.row().name });
            }
            return Err(ProtocolError::Already { module: loaded.row().name });
        }
        self.next += 1;
        let id = Id(self.next);
        let jobs = Arc::new(Jobs::default());
        let values = options.iter().filter_map(|(_, value)| value.clone()).collect();
        let loading = Loading {
            file,
            options,
            surroundings: self.surroundings.clone(),
            jobs: Arc::clone(&jobs),
        };
        let reports = self.reports.clone();
        let name = short_name(&path);
        let thread = thread::Builder::new().name(format!("lsm-{name}"));
        // Nobody joins it: its last word is a report.
        let _ = thread.spawn(move || run(id, loading, &reports)).map_err(|error| {
            ProtocolError::Thread { path: path.clone(), reason: error.to_string() }
        })?;
        self.loaded.push(Loaded {
            id,
            path,
            identity,
            values,
            jobs,
            instance: None,
            leaving: false,
            failed: false,
        });
        Ok(id)
    }

    /// What modules' threads have to say.
    pub fn next_report(&mut self) -> Option<Report> {
        self.inbox.try_recv().ok()
    }

    /// The next word of a module's thread, if it comes within `time`.
    pub fn wait_report(&mut self, time: core::time::Duration) -> Option<Report> {
        self.inbox.recv_timeout(time).ok()
    }

    /// A module has opened: it belongs to the next plan.
    ///
    /// # Errors
    /// Somebody else has what it wants, or a module of this name is there already. The module is being
    /// closed then.
    pub fn admit(&mut self, id: Id, instance: Arc<Instance>) -> Result<(), ProtocolError> {
        let several = instance.library().table.flags & FLAG_SEVERAL != 0;
        let twin = self.instances().any(|other| other.name() == instance.name());
        let admitted = if twin && !several {
            Err(ProtocolError::Already { module: instance.name().into() })
        } else {
            self.plan().admits(&instance)
        };
        let Some(loaded) = self.loaded.iter_mut().find(|loaded| loaded.id == id) else {
            return Ok(());
        };
        match admitted {
            Ok(()) => loaded.instance = Some(instance),
            Err(_) => {
                loaded.leaving = true;
                drop(instance);
                // The queue takes this one always.
                let _ = loaded.jobs.push(Job::Close);
            }
        }
        admitted
    }

    /// A module did not open, or is closed.
    pub fn forget(&mut self, id: Id) {
        self.loaded.retain(|loaded| loaded.id != id);
    }

    /// The module of this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Id> {
        let open = self.loaded.iter().filter(|loaded| !loaded.leaving);
        let mut open = open.filter_map(|loaded| Some((loaded.id, loaded.instance.as_ref()?)));
        open.find(|(_, instance)| instance.name() == name).map(|(id, _)| id)
    }

    /// Takes a module out of the next plan. [`close`](Self::close) it when all workers have that.
    pub fn leave(&mut self, id: Id) {
        if let Some(loaded) = self.loaded.iter_mut().find(|loaded| loaded.id == id) {
            loaded.leaving = true;
        }
    }

    /// Closes a module that no worker has any more; a [`Report`] follows.
    pub fn close(&mut self, id: Id) {
        if let Some(loaded) = self.loaded.iter_mut().find(|loaded| loaded.id == id) {
            drop(loaded.instance.take());
            // The queue takes this one always.
            let _ = loaded.jobs.push(Job::Close);
        }
    }

    /// Everything that is loaded.
    #[must_use]
    pub fn ids(&self) -> Vec<Id> {
        self.loaded.iter().map(|loaded| loaded.id).collect()
    }

    fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.loaded.iter().filter(|loaded| !loaded.leaving).filter_map(|l| l.instance.as_ref())
    }

    /// The plan in which all modules stand that are open and do not leave.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::new(self.instances().cloned().collect(), &self.surroundings.network.interfaces())
    }

    /// Tells the modules of the network as it is now. `true`: something has changed.
    pub fn set_network(&mut self, interfaces: &[Interface]) -> bool {
        let events: Vec<Event> = self.surroundings.network.set(interfaces);
        for loaded in self.loaded.iter().filter(|loaded| !loaded.leaving) {
            for event in &events {
                if !loaded.jobs.push(Job::Event(event.clone())) {
                    tracing::warn!("{}: it does not take its events", loaded.row().name);
                    break;
                }
            }
        }
        !events.is_empty()
    }

    /// Sockets of this kind are a module's: `Some(true)`, one that only the first worker calls.
    #[must_use]
    pub fn serves(&self, kind: SocketKind) -> Option<bool> {
        self.instances().find_map(|instance| instance.serves(kind))
    }

    /// Whether a module was given this interface's name with its options, alone or among other words:
    /// `bind=tap0`, `policy=preferred:tap0`. It would not find it by another.
    #[must_use]
    pub fn know_by_name(&self, interface: &str) -> bool {
        let mut values = self.loaded.iter().flat_map(|loaded| &loaded.values);
        values.any(|value| names(value, interface))
    }

    /// Modules have failed since this was asked last.
    pub fn have_failed(&mut self) -> bool {
        let mut news = false;
        for loaded in &mut self.loaded {
            let failed = loaded.instance.as_ref().is_some_and(|instance| instance.has_failed());
            news |= failed && !core::mem::replace(&mut loaded.failed, failed);
        }
        news
    }

    /// The variables of all modules.
    pub fn variables(&self) -> impl Iterator<Item = VariableRow> {
        self.instances().flat_map(|instance| instance.host().variables.rows())
    }

    /// Sets a variable by its name, `qnet.loss`. `None`: no module has it.
    pub fn set_variable(&self, name: &str, value: &str) -> Option<Result<(), SetVariableError>> {
        self.instances().find_map(|instance| instance.host().variables.set(name, value))
    }

    /// The modules.
    #[must_use]
    pub fn rows(&self) -> Vec<ProtocolRow> {
        self.loaded.iter().map(Loaded::row).collect()
    }
}

impl Loaded {
    fn row(&self) -> ProtocolRow {
        let unknown = ProtocolRow {
            name: short_name(&self.path),
            path: self.path.clone(),
            state: if self.leaving { "closing" } else { "opening" },
            ..ProtocolRow::default()
        };
        let Some(instance) = &self.instance else { return unknown };
        let library = instance.library();
        ProtocolRow {
            name: library.name.clone(),
            version: library.version.clone(),
            abi: library.table.abi,
            threading: if library.is_single() { "single" } else { "workers" },
            state: match (self.leaving, instance.has_failed()) {
                (true, _) => "closing",
                (false, true) => "failed",
                (false, false) => "running",
            },
            failures: instance.failures(),
            attachments: instance.rows(),
            ..unknown
        }
    }
}

/// Whether a word of an option's value is this name.
fn names(value: &str, interface: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    value.split(|c: char| !of_name(c)).any(|word| word == interface)
}

/// `qnet` of `/usr/lib/io-pkt/lsm-qnet.so`, as far as a thread's name goes.
fn short_name(path: &Path) -> String {
    let path = path.to_string_lossy();
    bare_name(&path).chars().take(11).collect()
}

/// A protocol's name, of its own, of its file's, or of its file's path.
#[must_use]
pub fn bare_name(name: &str) -> &str {
    loader::bare_name(KIND, name.rsplit('/').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_named_by_a_whole_word() {
        for value in ["tap0", "preferred:tap0", "tap1+tap0", "tap0/24"] {
            assert!(names(value, "tap0"), "{value}");
        }
        for value in ["", "tap01", "xtap0", "tap0.7", "/net/tap", "tap"] {
            assert!(!names(value, "tap0"), "{value}");
        }
    }
}
