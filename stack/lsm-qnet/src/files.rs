//! The file service: one directory for other nodes, to read and to write.
//!
//! Whoever is on the wire may ask. Every path is resolved by the kernel beneath the directory, which no
//! `..`, no link and no absolute path leaves (`openat2`, `RESOLVE_BENEATH`), for each call anew: nothing is
//! kept between two. Only files and directories are opened, so that nobody makes this thread wait for a
//! pipe. All that is done with the rights of one user: the directory's owner, or the one that `mapany` names.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use proto::qnet::{
    Attributes, Entry, FILE_BYTES_MAX, FILE_PATH_MAX, FileCall, FileKind, FileReply,
};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT,
};
use rustix::io::Errno;
use rustix::{fs, thread};

/// Bytes of a list of names: with its head it fits where a piece of a file does.
const LIST_LEN_MAX: usize = FILE_BYTES_MAX as usize - 1024;

/// The calling thread has these rights with files from here on; the kernel lets nobody look into a process
/// that has given up rights.
fn take((uid, gid): (u32, u32)) -> io::Result<()> {
    if uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    // Not the process's user: others of this user could then stop the thread, and with it the daemon.
    thread::set_thread_groups(&[])?;
    let _ = nix::unistd::setfsgid(gid.into());
    let _ = nix::unistd::setfsuid(uid.into());
    // The call says what was before; asked again, whether it worked.
    if nix::unistd::setfsuid(uid.into()).as_raw() != uid {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// A directory that other nodes may use.
#[derive(Debug)]
pub(crate) struct Files {
    root: OwnedFd,
    /// The user and group with whose rights all is done.
    rights: (u32, u32),
    /// Whether the thread that serves has them; it takes them at its first call.
    taken: OnceLock<bool>,
}

impl Files {
    /// Opens the directory. The thread that calls [`Files::call`] has the rights of its owner, or of `user`,
    /// with files from then on, and not yet here: threads begin with the rights of the one that starts them.
    pub(crate) fn open(folder: &Path, user: Option<u32>) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::openat(CWD, folder, flags, Mode::empty())?;
        let stat = fs::fstat(&root)?;
        let rights = (user.unwrap_or(stat.st_uid), stat.st_gid);
        // Whether they can be had is tried where it changes nothing else.
        let tried = std::thread::spawn(move || take(rights)).join();
        tried.map_err(|_| io::Error::other("a thread has panicked"))??;
        Ok(Self { root, rights, taken: OnceLock::new() })
    }

    /// Does what another node asks for: the reply as it goes to that node.
    pub(crate) fn call(&self, call: &[u8]) -> Result<Vec<u8>, Errno> {
        if !*self.taken.get_or_init(|| take(self.rights).is_ok()) {
            return Err(Errno::PERM);
        }
        let call = proto::parse(call).map_err(|proto::MalformedMessage| Errno::PROTO)?;
        let reply = self.carry_out(call)?;
        proto::emit(&reply).map_err(|proto::MalformedMessage| Errno::MSGSIZE)
    }

    fn carry_out(&self, call: FileCall) -> Result<FileReply, Errno> {
        match call {
            FileCall::Attributes { path } => self.attributes(&path),
            FileCall::List { path, after } => self.list(&path, &after),
            FileCall::Read { path, offset, len } => {
                let file = self.file(&path, OFlags::RDONLY)?;
                let mut data = vec![0; len.min(FILE_BYTES_MAX) as usize];
                let count = rustix::io::pread(&file, &mut data[..], offset)?;
                data.truncate(count);
                Ok(FileReply::Data(data))
            }
            FileCall::Write { path, offset, data } => {
                let count = rustix::io::pwrite(self.file(&path, OFlags::WRONLY)?, &data, offset)?;
                Ok(FileReply::Written(u32::try_from(count).unwrap_or(u32::MAX)))
            }
            FileCall::Create { path, mode, exclusive } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let file = match self.resolve(&path, flags, plain(mode)) {
                    // What is there is looked at before it is opened.
                    Err(Errno::EXIST) if !exclusive => self.file(&path, OFlags::WRONLY)?,
                    made => made?,
                };
                said(fs::fstat(file)?)
            }
            FileCall::Resize { path, len } => {
                let file = self.file(&path, OFlags::WRONLY)?;
                fs::ftruncate(&file, len)?;
                said(fs::fstat(file)?)
            }
            FileCall::SetMode { path, mode } => {
                let file = self.file(&path, OFlags::RDONLY)?;
                fs::fchmod(&file, plain(mode))?;
                said(fs::fstat(file)?)
            }
            FileCall::SetTime { path, modified } => {
                let file = self.file(&path, OFlags::RDONLY)?;
                fs::futimens(&file, &times(modified))?;
                said(fs::fstat(file)?)
            }
            FileCall::MakeDirectory { path, mode } => {
                let (parent, name) = self.parent(&path)?;
                fs::mkdirat(parent, name, plain(mode))?;
                self.attributes(&path)
            }
            FileCall::Remove { path } => self.remove(&path, AtFlags::empty()),
            FileCall::RemoveDirectory { path } => self.remove(&path, AtFlags::REMOVEDIR),
            FileCall::Rename { path, to } => {
                let (parent, name) = self.parent(&path)?;
                let (new_parent, new_name) = self.parent(&to)?;
                fs::renameat(parent, name, new_parent, new_name)?;
                Ok(FileReply::Done)
            }
            FileCall::Sync { path } => {
                fs::fsync(self.file(&path, OFlags::RDONLY)?)?;
                Ok(FileReply::Done)
            }
        }
    }

    /// A path beneath the directory.
    fn resolve(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        if path.len() > FILE_PATH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let path = if path.is_empty() { "." } else { path };
        beneath(&self.root, path, flags, mode)
    }

    /// An open file or directory. What it is, is seen before it is opened: opening a device may do something.
    fn file(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let there = fs::fstat(self.resolve(path, OFlags::PATH, Mode::empty())?)?;
        if kind(&there) == FileKind::Other {
            return Err(Errno::OPNOTSUPP);
        }
        self.resolve(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())
    }

    /// The directory that a name stands in.
    fn parent<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") || path.starts_with('/') {
            return Err(Errno::INVAL);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.resolve(parent, flags, Mode::empty())?, name))
    }

    fn attributes(&self, path: &str) -> Result<FileReply, Errno> {
        said(fs::fstat(self.resolve(path, OFlags::PATH, Mode::empty())?)?)
    }

    fn remove(&self, path: &str, flags: AtFlags) -> Result<FileReply, Errno> {
        let (parent, name) = self.parent(path)?;
        fs::unlinkat(parent, name, flags)?;
        Ok(FileReply::Done)
    }

    fn list(&self, path: &str, after: &str) -> Result<FileReply, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = self.resolve(path, flags, Mode::empty())?;
        // As many as fit, however many there are.
        let (mut names, mut len, mut more) = (BTreeMap::new(), 0, false);
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            // Names of other alphabets than Unicode's are not seen.
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name > after && name != "." && name != ".." {
                len += written_len(name);
                let _ = names.insert(name.to_owned(), entry.file_type());
            }
            while len > LIST_LEN_MAX
                && let Some((last, _)) = names.pop_last()
            {
                len -= written_len(&last);
                more = true;
            }
        }
        let entry = |(name, kind): (String, FileType)| {
            let kind = self.kind_of(&folder, &name, kind);
            Entry { name, kind }
        };
        Ok(FileReply::Entries { entries: names.into_iter().map(entry).collect(), more })
    }

    /// What a name in a directory leads to, links that stay beneath it included.
    fn kind_of(&self, folder: &impl AsFd, name: &str, kind: FileType) -> FileKind {
        match kind {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink | FileType::Unknown => {
                let there = beneath(folder, name, OFlags::PATH, Mode::empty());
                there.and_then(fs::fstat).map_or(FileKind::Other, |stat| self::kind(&stat))
            }
            _ => FileKind::Other,
        }
    }
}

/// Opens what a path leads to, unless it leaves the directory on the way.
fn beneath(folder: &impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(folder, path, flags | OFlags::CLOEXEC, mode, beneath)
}

/// A name in a list: its bytes, their number in two, and a kind.
fn written_len(name: &str) -> usize {
    name.len() + 3
}

/// Permissions without set-user-id and its like.
fn plain(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o777)
}

fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: seconds, tv_nsec: nanos.min(999_999_999).into() };
    Timestamps { last_access: omitted, last_modification: modified }
}

fn kind(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    }
}

fn said(stat: Stat) -> Result<FileReply, Errno> {
    Ok(FileReply::Attributes(Attributes {
        inode: stat.st_ino,
        kind: kind(&stat),
        mode: stat.st_mode & 0o777,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
    }))
}

#[cfg(test)]
mod tests;
