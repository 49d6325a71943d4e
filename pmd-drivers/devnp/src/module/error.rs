//! Why a module is not used, and what to do about it.

use loader::LoadError;

/// A module was not loaded or made no interface. Nothing is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Its file did not become one.
    #[error(transparent)]
    Load(#[from] LoadError),
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
    /// It took more time than anybody waits (`ETIMEDOUT`).
    #[error("{module} has not opened within {seconds} s and is given up")]
    GivenUp {
        /// As it was asked for.
        module: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// One that was given up is still on its way out (`EBUSY`).
    #[error("{module} of before has not ended yet")]
    Leaving {
        /// As it was asked for.
        module: String,
    },
    /// The dynamic linker waits for a module's initialisers.
    #[error("nothing can be loaded: a module that was given up still runs its initialisers")]
    Linker,
    /// Too many open at once.
    #[error("{most} driver modules are opening already")]
    TooMany {
        /// As many as may.
        most: usize,
    },
    /// There is no thread to open it.
    #[error("{module}: no thread to open it: {reason}")]
    Thread {
        /// As it was asked for.
        module: String,
        /// The kernel's reason.
        reason: String,
    },
}

impl ModuleError {
    /// What the operator can do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Load(error) => error.help(),
            Self::InUse { .. } => "iopkt modules; iopkt ifconfig IF destroy".into(),
            Self::UnknownOption { .. } => "correct it or leave it out".into(),
            Self::Open { .. } | Self::Start { .. } => {
                "io-pkt's log (its standard error) has the module's own words".into()
            }
            Self::TooFewQueues { queues, .. } => format!("start io-pkt with -t {queues}"),
            Self::NoLower { module } => format!("-d {module} lower=net_tap,iface=iop0"),
            Self::GivenUp { .. } => {
                "if it opens after all it is closed at once, and can be mounted again; until then its \
                 thread stays (iopkt modules): if it never returns, mend it and restart io-pkt"
                    .into()
            }
            Self::Leaving { .. } | Self::TooMany { .. } => "wait until iopkt modules does not show it; if \
                 that never happens, it does not return from its own code: restart io-pkt"
                .into(),
            Self::Linker => "mend that module (iopkt modules) and restart io-pkt".into(),
            Self::Thread { .. } => "see: ulimit -u".into(),
        }
    }
}
