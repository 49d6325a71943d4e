//! Where modules are looked for, and which are loaded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use devnp_abi::FLAG_SINGLE_INSTANCE;
use loader::Alarm;

use crate::module::error::ModuleError;
use crate::module::library::Library;

/// What files of driver modules are called after: those of bursts, those of single packets.
const KINDS: [&str; 2] = ["devnp", "devn"];

/// The driver modules of this process.
#[derive(Debug)]
pub struct Modules {
    path: Vec<PathBuf>,
    user: u32,
    alarm: Alarm,
    loaded: Vec<Weak<Library>>,
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
        Self { path, user, alarm, loaded: Vec::new() }
    }

    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// A module by its name ([`loader::find`]), or else a per-packet driver, which the shim makes a module
    /// of; a path as it is. `None`: nothing here; a driver of DPDK, perhaps.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Arc<Library>>, ModuleError> {
        if name.starts_with('/') {
            return self.load(Path::new(name)).map(Some);
        }
        let path = KINDS.iter().find_map(|kind| loader::find(&self.path, kind, name));
        path.map(|path| self.load(&path)).transpose()
    }

    /// Where a name was looked for in vain, for whoever meant a module.
    pub(crate) fn looked_for(&self, name: &str) -> String {
        let name = KINDS.iter().fold(name, |name, kind| loader::bare_name(kind, name));
        format!("devnp-{name}.so is not in {}", loader::listed(&self.path))
    }

    fn load(&mut self, path: &Path) -> Result<Arc<Library>, ModuleError> {
        self.loaded.retain(|library| library.strong_count() > 0);
        let file = loader::inspect(path, self.user)?;
        let mut known = self.loaded.iter().filter_map(Weak::upgrade);
        if let Some(library) = known.find(|library| library.linked.identity == file.identity) {
            if library.table.flags & FLAG_SINGLE_INSTANCE != 0 {
                return Err(ModuleError::InUse { module: library.name.clone() });
            }
            return Ok(library);
        }
        let library = Arc::new(Library::load(file)?);
        self.loaded.push(Arc::downgrade(&library));
        Ok(library)
    }

    /// The modules in use.
    #[must_use]
    pub fn loaded(&self) -> Vec<LoadedModule> {
        let row = |library: Arc<Library>| LoadedModule {
            name: library.name.clone(),
            version: library.version.clone(),
            path: library.linked.path.clone(),
            kind: library.kind(),
            abi: library.table.abi,
            threading: library.threading(),
        };
        self.loaded.iter().filter_map(Weak::upgrade).map(row).collect()
    }
}
