//! Why a module is not used, and what to do about it.

use std::path::PathBuf;

/// A module was not loaded or made no interface. Nothing is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The file can't be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
    /// Somebody else could have changed the file.
    #[error("{} is not trusted: {} {why}", path.display(), culprit.display())]
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
    #[error("{} exports no devnp_module", path.display())]
    NoEntry {
        /// The file.
        path: PathBuf,
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
    /// A legacy driver.
    #[error("{} is a per-packet driver (devn), which this io-pkt does not load", path.display())]
    Legacy {
        /// The file.
        path: PathBuf,
    },
    /// It allows one interface only, and has it.
    #[error("{module} is in use already and allows one interface only")]
    InUse {
        /// The module.
        module: String,
    },
    /// It does not know an option.
    #[error("{module} has no option {option}; it has: {known}")]
    UnknownOption {
        /// The module.
        module: String,
        /// The option.
        option: String,
        /// Those it has.
        known: String,
    },
    /// It did not make an interface.
    #[error("{module} did not open an interface: {reason}")]
    Open {
        /// The module.
        module: String,
        /// Its error number, in words.
        reason: String,
    },
    /// It did not begin.
    #[error("{module} did not start: {reason}")]
    Start {
        /// The module.
        module: String,
        /// Its error number, in words.
        reason: String,
    },
    /// It can't serve so many workers.
    #[error("{module} serves {queues} worker(s), and there are {workers}")]
    TooFewQueues {
        /// The module.
        module: String,
        /// Those it has.
        queues: u16,
        /// Those that are wanted.
        workers: u16,
    },
    /// It stands before another driver and was given none.
    #[error("{module} stands before another driver, and lower= does not name one")]
    NoLower {
        /// The module.
        module: String,
    },
}

impl ModuleError {
    /// What the operator can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::File { .. } => "modules are looked for in --module-path; \
                 or give the whole path: -d /usr/lib/io-pkt/devnp-NAME.so"
                .into(),
            Self::Untrusted { culprit, .. } => {
                format!("chown root {0} && chmod go-w {0}", culprit.display())
            }
            Self::NotAModule { path, .. } => format!("copy or build it again: {}", path.display()),
            Self::Link { path, .. } => format!("see: ldd -r {}", path.display()),
            Self::NoEntry { .. } => {
                "export it: export_driver! in Rust, `const struct devnp_module devnp_module` in C"
                    .into()
            }
            Self::Table { .. } => {
                "build it again with the header or SDK of this io-pkt (io-pkt --version)".into()
            }
            Self::Legacy { .. } => "use a devnp module or a poll-mode driver of DPDK".into(),
            Self::InUse { .. } => "iopkt modules; iopkt ifconfig IF destroy".into(),
            Self::UnknownOption { .. } => "correct it or leave it out".into(),
            Self::Open { .. } | Self::Start { .. } => "the module's own log lines say more".into(),
            Self::TooFewQueues { queues, .. } => format!("start io-pkt with -t {queues}"),
            Self::NoLower { module } => format!("-d {module} lower=net_tap,iface=iop0"),
        }
    }
}
