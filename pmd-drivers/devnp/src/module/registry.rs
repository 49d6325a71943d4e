//! Where modules are looked for, and which are loaded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use devnp_abi::FLAG_SINGLE_INSTANCE;
use loader::Alarm;

use crate::module::error::ModuleError;
use crate::module::library::Library;

/// What files of driver modules are called after: those of bursts, those of single packets.
pub(crate) const KINDS: [&str; 2] = ["devnp", "devn"];

/// The driver modules of this process. Clones know the same.
#[derive(Clone, Debug)]
pub struct Modules {
    path: Vec<PathBuf>,
    user: u32,
    alarm: Alarm,
    loaded: Arc<Mutex<Vec<Weak<Library>>>>,
}

/// A row of `iopkt modules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedModule {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The file.
    pub path: PathBuf,
    /// `devnp`, or `devnp-shim` for a per-packet driver.
    pub kind: &'static str,
    /// Version of the ABI.
    pub abi: u32,
    /// `single` or `queue`.
    pub threading: &'static str,
}

impl Modules {
    /// Modules from these directories, if they belong to root or `user`.
    #[must_use]
    pub fn new(path: Vec<PathBuf>, user: u32, alarm: Alarm) -> Self {
        Self { path, user, alarm, loaded: Arc::default() }
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Whether this names a module; if not, a driver of DPDK, perhaps.
    #[must_use]
    pub fn know(&self, name: &str) -> bool {
        self.path_of(name).is_some()
    }

    /// A module by its name ([`loader::find`]), or else a per-packet driver, which the shim makes a module
    /// of; a path as it is. `None`: nothing here.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Arc<Library>>, ModuleError> {
        self.path_of(name).map(|path| self.load(&path)).transpose()
    }

    pub(crate) fn path_of(&self, name: &str) -> Option<PathBuf> {
        if name.starts_with('/') {
            return Some(name.into());
        }
        KINDS.iter().find_map(|kind| loader::find(&self.path, kind, name))
    }

    /// Where a name was looked for in vain, for whoever meant a module.
    pub(crate) fn looked_for(&self, name: &str) -> String {
        let name = KINDS.iter().fold(name, |name, kind| loader::bare_name(kind, name));
        format!("devnp-{name}.so is not in {}", loader::listed(&self.path))
    }

    fn load(&self, path: &Path) -> Result<Arc<Library>, ModuleError> {
        let file = loader::inspect(path, self.user)?;
        let identity = file.identity;
        if let Some(known) = known(&mut self.loaded(), identity)? {
            return Ok(known);
        }
        // It may take its time, so nobody waits for the list meanwhile.
        let library = Arc::new(Library::load(file)?);
        let mut loaded = self.loaded();
        if let Some(known) = known(&mut loaded, identity)? {
            return Ok(known);
        }
        loaded.push(Arc::downgrade(&library));
        Ok(library)
    }

    fn loaded(&self) -> MutexGuard<'_, Vec<Weak<Library>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The modules in use.
    #[must_use]
    pub fn rows(&self) -> Vec<LoadedModule> {
        let row = |library: Arc<Library>| LoadedModule {
            name: library.name.clone(),
            version: library.version.clone(),
            path: library.linked.path.clone(),
            kind: library.kind(),
            abi: library.table.abi,
            threading: library.threading(),
        };
        self.loaded().iter().filter_map(Weak::upgrade).map(row).collect()
    }
}

/// The module of this file, if it is loaded and may have one more interface.
fn known(
    loaded: &mut Vec<Weak<Library>>,
    identity: (u64, u64),
) -> Result<Option<Arc<Library>>, ModuleError> {
    loaded.retain(|library| library.strong_count() > 0);
    let mut libraries = loaded.iter().filter_map(Weak::upgrade);
    match libraries.find(|library| library.linked.identity == identity) {
        Some(library) if library.table.flags & FLAG_SINGLE_INSTANCE != 0 => {
            Err(ModuleError::InUse { module: library.name.clone() })
        }
        known => Ok(known),
    }
}
