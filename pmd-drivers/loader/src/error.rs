//! Why a file did not become a module.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file was not loaded. Nothing of it is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
    /// Somebody else could have changed the file.
    #[error("{} is not trusted: {} {why}", path.display(), Culprit(path, culprit))]
    Untrusted {
        /// The module.
        path: PathBuf,
        /// It, or a directory above it.
        culprit: PathBuf,
        /// What is wrong with that.
        why: String,
    },
    /// Not a shared object of this machine, or cut short.
    #[error("{} is no module: {why}", path.display())]
    NotAModule {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The dynamic linker refuses it.
    #[error("{}: the dynamic linker says: {reason}", path.display())]
    Link {
        /// The file.
        path: PathBuf,
        /// Its words.
        reason: String,
    },
    /// It exports no table.
    #[error("{} exports no {entry}", path.display())]
    NoEntry {
        /// The file.
        path: PathBuf,
        /// What a module of this kind exports.
        entry: String,
    },
    /// The table is not one.
    #[error("{}: {what} is {found}, not {wanted}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The field.
        what: &'static str,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
}

/// Who is to blame: the file, which has been named, or a directory above it.
struct Culprit<'a>(&'a Path, &'a Path);

impl fmt::Display for Culprit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 { f.write_str("it") } else { write!(f, "{}", self.1.display()) }
    }
}

impl LoadError {
    /// What the operator can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::File { .. } => "modules are looked for in --module-path; \
                 or give the whole path: /usr/lib/io-pkt/devnp-NAME.so"
                .into(),
            Self::Untrusted { culprit, .. } => {
                format!("chown root {0} && chmod go-w {0}", culprit.display())
            }
            Self::NotAModule { why, .. } if why == "a directory" => {
                "name the file in it, as devnp-NAME.so".into()
            }
            Self::NotAModule { .. } => "copy it or build it again".into(),
            Self::Link { .. } => "ldd -r says what it needs".into(),
            Self::NoEntry { entry, .. } => format!("export {entry}, as the header or the SDK says"),
            Self::Table { .. } => {
                "build it again with the header or SDK of this io-pkt (io-pkt --version)".into()
            }
        }
    }
}
