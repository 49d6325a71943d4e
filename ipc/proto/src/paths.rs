//! Where a stack's socket is.

use std::env;
use std::path::{Path, PathBuf};

/// Directory of all stacks of this machine: `$IOPKT_RUN`, else `/run/io-pkt`.
#[must_use]
pub fn run_dir() -> PathBuf {
    env::var_os("IOPKT_RUN")
        .filter(|v| !v.is_empty())
        .map_or_else(|| PathBuf::from("/run/io-pkt"), PathBuf::from)
}

/// The socket of the stack with this prefix (`""`, `"/alt"`): `<run><prefix>/dev/socket`.
#[must_use]
pub fn socket_path(prefix: &str) -> PathBuf {
    socket_path_in(&run_dir(), prefix)
}

/// The same under another runtime directory.
#[must_use]
pub fn socket_path_in(run_dir: &Path, prefix: &str) -> PathBuf {
    let mut path = run_dir.to_path_buf();
    path.extend(prefix.split('/').filter(|part| !part.is_empty() && *part != "." && *part != ".."));
    path.push("dev");
    path.push("socket");
    path
}

/// The prefix a client asks for: `$SOCK`, else none.
#[must_use]
pub fn client_prefix() -> String {
    env::var("SOCK").unwrap_or_default()
}
