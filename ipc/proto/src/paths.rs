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

/// Another node's stack, if a prefix means that: `/net/NODE`, or `/alt/net/NODE` for a node that the stack with
/// prefix `/alt` knows. The prefix of the stack here, and the node.
#[must_use]
pub fn far(prefix: &str) -> Option<(&str, &str)> {
    let (here, node) = prefix.trim_end_matches('/').split_once("/net/")?;
    (!node.is_empty() && !node.contains('/')).then_some((here, node))
}

/// The path of the broker of other nodes' sockets beside a stack: `<run><prefix>/dev/net`.
#[must_use]
pub fn broker_path(prefix: &str) -> PathBuf {
    socket_path(prefix).with_file_name("net")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_beneath_net_means_another_node() {
        assert_eq!(far("/net/beta"), Some(("", "beta")));
        assert_eq!(far("/alt/net/beta.lab~redundant/"), Some(("/alt", "beta.lab~redundant")));
        for here in ["", "/alt", "/net", "/net/", "/net/beta/dev", "/network/beta"] {
            assert_eq!(far(here), None, "{here}");
        }
    }
}
