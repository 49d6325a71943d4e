//! Which stack a thread's new sockets are of.

use std::cell::RefCell;
use std::path::PathBuf;

use proto::paths;

thread_local! {
    static PREFIX: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sockets that this thread makes from now on are of the stack with this prefix (`/alt`, or nothing for the
/// one without), whatever `$SOCK` says.
pub fn set_sock_prefix(prefix: &str) {
    choose(Some(prefix.into()));
}

/// Sockets that this thread makes from now on are again of the stack that `$SOCK` names.
pub fn clear_sock_prefix() {
    choose(None);
}

/// A thread that is about to end chooses nothing any more.
fn choose(prefix: Option<String>) {
    let _ = PREFIX.try_with(|place| place.replace(prefix));
}

/// The socket of the stack that this thread uses.
pub(crate) fn socket_path() -> PathBuf {
    paths::socket_path(&wanted())
}

/// The prefix of the stack that this thread uses.
pub(crate) fn wanted() -> String {
    let prefix = PREFIX.try_with(|place| place.borrow().clone()).ok().flatten();
    prefix.unwrap_or_else(paths::client_prefix)
}
