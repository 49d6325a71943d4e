//! Why the daemon does not start: what, why and the next command, in one line.

use std::net::IpAddr;
use std::path::PathBuf;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration file is wrong.
    #[error("{}: {what}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// A route whose gateway is on no link.
    #[error(
        "route {route} via {gateway}: no interface has an address in the gateway's network; give one \
         such an address, or correct the gateway"
    )]
    Unreachable {
        /// Its destination.
        route: String,
        /// Its next hop.
        gateway: IpAddr,
    },
    /// Something that was asked for can't be had, and `--strict` says that it must.
    #[error(
        "{0} of the drivers, routes and protocols asked for can't be had (see above), and --strict says that they must"
    )]
    Incomplete(usize),
    /// Words and options without effect, and `--strict` says that there must be none.
    #[error("{}; --strict takes nothing that has no effect: correct it, or leave it out", .0.join("; "))]
    Ignored(Vec<String>),
    /// DPDK's environment did not come up.
    #[error("DPDK did not start: {0}")]
    Eal(String),
    /// The runtime directory can't be used.
    #[error("{}: {why}; set IOPKT_RUN to a directory you may write, or run as root", path.display())]
    RunDir {
        /// The directory or socket.
        path: PathBuf,
        /// The kernel's reason.
        why: String,
        /// It is a matter of permission.
        denied: bool,
    },
    /// Another daemon serves this path.
    #[error("another io-pkt (pid {pid}) serves {}; stop it (kill {pid}), or choose another prefix: -p tcpip prefix=/alt", path.display())]
    Running {
        /// The socket.
        path: PathBuf,
        /// Its process id.
        pid: String,
    },
    /// The metrics endpoint can't be opened.
    #[error("{0}")]
    Metrics(String),
    /// `-U` or `-I` failed.
    #[error(
        "cannot give up privileges: {0}; -U and -I need root, or CAP_SETUID, CAP_SETGID and CAP_CHOWN"
    )]
    Privileges(String),
    /// Memory, descriptors or threads are short.
    #[error("{what}: {why}")]
    Resources {
        /// What was needed.
        what: &'static str,
        /// The reason.
        why: String,
    },
}

impl StartError {
    /// Exit code: 64 usage, 77 not allowed, 78 bad configuration, else 1.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Ignored(_) => 64,
            Self::Config { .. } | Self::Unreachable { .. } => 78,
            Self::RunDir { denied: true, .. } | Self::Privileges(_) => 77,
            _ => 1,
        }
    }
}
