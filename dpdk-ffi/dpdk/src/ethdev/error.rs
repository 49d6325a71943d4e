//! What goes wrong with a port.

use crate::errno::Errno;

/// A port did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EthDevError {
    /// Workers have queues of the port.
    #[error("{port}: {count} queue ends are still in use; have the workers drop them first")]
    QueuesOut {
        /// The port.
        port: String,
        /// Receive and transmit ends.
        count: u32,
    },
    /// The driver said no.
    #[error("{port} can't {action}: {reason} ({errno})")]
    Refused {
        /// The port.
        port: String,
        /// What was asked.
        action: &'static str,
        /// DPDK's error number.
        errno: Errno,
        /// DPDK's log.
        reason: String,
    },
}

impl EthDevError {
    /// The error number of a refusal.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::QueuesOut { .. } => None,
            Self::Refused { errno, .. } => Some(*errno),
        }
    }
}
