//! `<run><prefix>/dev`: the control socket, and the lock that keeps a second daemon away from it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::config::Config;
use crate::error::StartError;

/// The control socket, its lock, and where they are.
pub(crate) struct ControlPath {
    /// Listens.
    pub(crate) socket: OwnedFd,
    /// Where.
    pub(crate) path: PathBuf,
    /// Held as long as the daemon lives.
    pub(crate) _lock: File,
}

/// Makes `<run><prefix>/dev/socket`, unless another daemon serves it.
///
/// # Errors
/// [`StartError::RunDir`], [`StartError::Running`].
pub(crate) fn open(config: &Config) -> Result<ControlPath, StartError> {
    let path = match (&config.run, std::env::var_os("IOPKT_RUN")) {
        (Some(run), None) => proto::paths::socket_path_in(Path::new(run), &config.prefix),
        _ => proto::paths::socket_path(&config.prefix),
    };
    let wrong = |why: &dyn core::fmt::Display, denied| StartError::RunDir {
        path: path.clone(),
        why: why.to_string(),
        denied,
    };
    let io = |e: io::Error| wrong(&e, e.kind() == io::ErrorKind::PermissionDenied);
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder).map_err(io)?;
    let mut lock = lock(folder).map_err(io)?.ok_or_else(|| running(&path))?;
    if rustix::process::geteuid().is_root() && take_back(folder, 0).map_err(io)? {
        tracing::warn!("{} belonged to another user; it is root's again", folder.display());
        lock = self::lock(folder).map_err(io)?.ok_or_else(|| running(&path))?;
    }
    lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(io)?;
    let _ = fs::remove_file(&path);
    let kernel = |e: Errno| wrong(&e, e == Errno::ACCESS || e == Errno::PERM);
    let socket = listen_at(&path).map_err(kernel)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(config.path_mode())).map_err(io)?;
    Ok(ControlPath { socket, path, _lock: lock })
}

/// The lock of a folder; `None` if another daemon has it. A link there is somebody's trap.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(no_follow)
        .open(folder.join(".lock"))?;
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    Ok(rustix::fs::flock(&lock, exclusive).is_ok().then_some(lock))
}

fn running(path: &Path) -> StartError {
    let mut pid = String::new();
    // Without its number the message still says what to do.
    let _ = File::open(path.with_file_name(".lock")).and_then(|mut f| f.read_to_string(&mut pid));
    StartError::Running { path: path.into(), pid: pid.trim().into() }
}

/// A daemon that had become another user (`-U`) has left the folder to that user, who could replace the
/// socket of a later one: `owner` takes it, and what is in it goes. `false`: it was `owner`'s.
fn take_back(folder: &Path, owner: u32) -> io::Result<bool> {
    if fs::metadata(folder)?.uid() == owner {
        return Ok(false);
    }
    std::os::unix::fs::chown(folder, Some(owner), Some(owner))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(true)
}

fn listen_at(path: &Path) -> rustix::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // Each request says who sends it; connections have it from here.
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    if shm::refuse_descriptors(&socket).is_err() {
        tracing::warn!(
            "this kernel lets clients send descriptors to the daemon (Linux 6.16 and later need not): a \
             hostile local user can use up the daemon's descriptors; let only trusted users near {}",
            path.display()
        );
    }
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("io-pkt-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_folder_that_another_user_had_is_taken_back_with_nothing_of_his_in_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = folder("taken");
        assert!(!take_back(&folder, 0).unwrap());
        fs::write(folder.join("socket"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join(".lock")).unwrap();
        std::os::unix::fs::chown(&folder, Some(33), Some(33)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(take_back(&folder, 0).unwrap());
        let meta = fs::metadata(&folder).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (0, 0, 0o755));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        assert!(fs::metadata("/etc/passwd").unwrap().len() > 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_lock_has_one_holder_and_is_no_link() {
        let folder = folder("lock");
        let first = lock(&folder).unwrap();
        assert!(first.is_some());
        assert!(lock(&folder).unwrap().is_none());
        drop(first);
        assert!(lock(&folder).unwrap().is_some());
        fs::remove_file(folder.join(".lock")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.join(".lock")).unwrap();
        let _trap = lock(&folder).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
    }
}
