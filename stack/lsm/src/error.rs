//! Why a protocol module is not used, and what to do about it.

use std::path::PathBuf;

use loader::LoadError;

/// A module was not loaded. Nothing is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Its file did not become one.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no such file.
    #[error("there is no protocol module {name}: lsm-{name}.so is not in {places}")]
    Unknown {
        /// The module's.
        name: String,
        /// Where it was looked for.
        places: String,
    },
    /// It is loaded already (`EALREADY`).
    #[error("{module} is loaded already")]
    Already {
        /// The module.
        module: String,
    },
    /// It has one thread, and wants what every worker has.
    #[error("{module} has one thread and wants {what}, which each of the {workers} workers has")]
    TooManyWorkers {
        /// The module.
        module: String,
        /// A tap or a filter.
        what: String,
        /// Those that there are.
        workers: u16,
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
    /// It did not begin.
    #[error("{module} did not begin: {reason}")]
    Open {
        /// The module.
        module: String,
        /// Its error number, in words.
        reason: String,
    },
    /// Somebody else has what it wants.
    #[error("{module} wants {what}, which {owner} has")]
    Taken {
        /// The module.
        module: String,
        /// An EtherType or a protocol.
        what: String,
        /// Who has it.
        owner: String,
    },
    /// There are too many modules.
    #[error("there are {most} protocol modules already")]
    TooMany {
        /// So many may be.
        most: usize,
    },
    /// No thread for it.
    #[error("{}: no thread for it: {reason}", path.display())]
    Thread {
        /// The module.
        path: PathBuf,
        /// The kernel's reason.
        reason: String,
    },
    /// It took more time than whoever asked for it waits (`ETIMEDOUT`).
    #[error("{name} has not opened within {seconds} s and is given up")]
    GivenUp {
        /// As it was asked for.
        name: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// One that was given up, or unloaded, is still on its way out (`EBUSY`).
    #[error("{module} of before has not ended yet")]
    Leaving {
        /// The module.
        module: String,
    },
    /// It takes its time.
    #[error(
        "{name} has not opened yet after {seconds} s; the daemon goes on without waiting for it"
    )]
    Slow {
        /// As it was asked for.
        name: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

impl ProtocolError {
    /// What the operator can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Load(error) => error.help(),
            Self::Unknown { .. } => {
                "give its whole path: -p /usr/lib/io-pkt/lsm-NAME.so; or --module-path DIR".into()
            }
            Self::Already { module } => format!("iopkt umount {module}"),
            Self::TooManyWorkers { .. } => {
                "start io-pkt with -t 1, or make it THREADING_WORKERS".into()
            }
            Self::UnknownOption { .. } => "correct it or leave it out".into(),
            Self::Open { .. } => {
                "io-pkt's log (its standard error) has the module's own words".into()
            }
            Self::Taken { owner, .. } => format!("iopkt umount {owner}"),
            Self::TooMany { .. } => "iopkt modules; iopkt umount NAME".into(),
            Self::Thread { .. } => "see: ulimit -u".into(),
            Self::GivenUp { .. } => {
                "if it opens after all it is closed at once, and can be mounted again; until then its \
                 thread stays (iopkt modules): if it never returns, mend it and restart io-pkt"
                    .into()
            }
            Self::Leaving { .. } => "wait until iopkt modules does not show it; if that never \
                 happens, it does not return from its own code: restart io-pkt"
                .into(),
            Self::Slow { .. } => "see: iopkt modules".into(),
        }
    }
}
