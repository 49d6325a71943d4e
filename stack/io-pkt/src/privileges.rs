//! Less than root: `-U` after everything is set up, `-I` before.
//!
//! The kernel's identities belong to threads. glibc changes all of a process's threads at once; only
//! the calling one, the control thread, then has capabilities left, and it alone needs them, to
//! attach drivers later.

use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User as Account, setgroups, setresgid, setresuid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::StartError;

/// Who the daemon is to be: `-U uid[:gid[,gid…]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// User.
    pub(crate) uid: u32,
    gid: u32,
    /// Supplementary groups.
    groups: Vec<u32>,
}

impl core::str::FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, groups) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
        let account = match user.parse() {
            Ok(uid) => Account::from_uid(Uid::from_raw(uid)),
            Err(_) => Account::from_name(user),
        };
        let account = account.ok().flatten();
        let named = || account.as_ref().map(|account| account.uid.as_raw());
        let uid = user.parse().ok().or_else(named);
        let uid = uid.ok_or_else(|| format!("there is no user {user:?}"))?;
        let named: Vec<u32> = match groups {
            Some(names) => names.split(',').map(gid).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let own = account.map(|account| account.gid.as_raw());
        match (named.split_first(), own) {
            (Some((gid, groups)), _) => Ok(Self { uid, gid: *gid, groups: groups.into() }),
            (None, Some(gid)) => Ok(Self { uid, gid, groups: Vec::new() }),
            (None, None) => {
                Err(format!("user {uid} is not known here; say which group: {uid}:{uid}"))
            }
        }
    }
}

fn gid(name: &str) -> Result<u32, String> {
    let group = || Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    name.parse().ok().or_else(group).ok_or_else(|| format!("there is no group {name:?}"))
}

/// Becomes `user` for good. Kept is what attaching virtual drivers takes, `lock_memory` for devices
/// and hugepages that come later; the stack's paths become the user's, so that it can remove them.
///
/// # Errors
/// [`StartError::Privileges`].
pub(crate) fn give_up_root(user: &User, path: &Path, lock_memory: bool) -> Result<(), StartError> {
    let wrong = |why: &dyn core::fmt::Display| StartError::Privileges(why.to_string());
    let folder = path.parent().unwrap_or(path);
    for place in [path, &folder.join(".lock"), folder] {
        std::os::unix::fs::chown(place, Some(user.uid), Some(user.gid)).map_err(|e| wrong(&e))?;
    }
    let kernel = |e: Errno| wrong(&e);
    rustix::thread::set_keep_capabilities(true).map_err(kernel)?;
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&groups)
        .and_then(|()| setresgid(gid, gid, gid))
        .and_then(|()| setresuid(uid, uid, uid))
        .map_err(|e| wrong(&e))?;
    let mut kept = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    kept.set(CapabilitySet::IPC_LOCK, lock_memory);
    let sets =
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(kernel)?;
    rustix::thread::set_keep_capabilities(false).map_err(kernel)?;
    rustix::thread::set_no_new_privs(true).map_err(kernel)
}

/// Gives up access to I/O ports and the like, in this thread and those it will start.
///
/// # Errors
/// [`StartError::Privileges`].
pub(crate) fn give_up_io() -> Result<(), StartError> {
    let wrong = |e: Errno| StartError::Privileges(e.to_string());
    let mut sets = rustix::thread::capabilities(None).map_err(wrong)?;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(CapabilitySet::SYS_RAWIO);
    }
    rustix::thread::set_capabilities(None, sets).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, gid: u32, groups: &[u32]) -> User {
        User { uid, gid, groups: groups.into() }
    }

    #[test]
    fn numbers_are_taken_as_they_are() {
        assert_eq!("33:33".parse(), Ok(user(33, 33, &[])));
        assert_eq!("37:37,21,35".parse(), Ok(user(37, 37, &[21, 35])));
    }

    #[test]
    fn names_are_looked_up_and_a_user_has_a_group() {
        assert_eq!("root".parse(), Ok(user(0, 0, &[])));
        assert_eq!("0:root".parse(), Ok(user(0, 0, &[])));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let said = |text: &str| text.parse::<User>().unwrap_err();
        assert!(said("no-such-user").contains("no user \"no-such-user\""));
        assert!(said("0:no-such-group").contains("no group \"no-such-group\""));
        assert!(said("4242424").contains("4242424:4242424"));
    }
}
