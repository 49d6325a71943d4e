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
        }
    }
}
