//! Where modules are looked for, and which are loaded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use devnp_abi::FLAG_SINGLE_INSTANCE;
use loader::Alarm;

use crate::module::error::ModuleError;
use crate::module::library::Library;

/// The driver modules of this process.
#[derive(Debug)]
pub struct Modules {
    path: Vec<PathBuf>,
    user: u32,
    alarm: Alarm,
    loaded: Vec<Weak<Library>>,
}

/// What a name after `-d` means.
#[derive(Debug)]
pub(crate) enum Found {
    /// A module.
    Module(Arc<Library>),
    /// Nothing here: a driver of DPDK, perhaps.
    Nothing,
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

    /// `devnp-NAME.so` in the first directory that has it; else `devn-NAME.so`, which the shim makes a
    /// module of; a path as it is.
    pub(crate) fn find(&mut self, name: &str) -> Result<Found, ModuleError> {
        if name.starts_with('/') {
            return self.load(Path::new(name)).map(Found::Module);
        }
        for prefix in ["devnp", "devn"] {
            let file = format!("{prefix}-{name}.so");
            if let Some(path) = self.path.iter().map(|d| d.join(&file)).find(|p| p.exists()) {
                return self.load(&path).map(Found::Module);
            }
        }
        Ok(Found::Nothing)
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
