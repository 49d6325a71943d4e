//! `/net/NODE/...`: other nodes' files as a file system, by the kernel's FUSE.
//!
//! The mounted directory has the nodes that are known; a node that is not listed is looked for when it is
//! named. Everything else is the node's: each call of the kernel's becomes a call of it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session,
    SessionACL, TimeOrNow, WriteFlags,
};
use proto::qnet::{Attributes, Entry, FILE_BYTES_MAX, FileCall, FileKind, FileReply};
use rustix::io::Errno;

use crate::qnet::ahead::{self, Behind};
use crate::qnet::door::Doors;
use crate::qnet::inodes::Inodes;

/// How long the kernel may believe what it was told.
const TTL: Duration = Duration::from_secs(1);
/// Calls at a time: as many as one node does for another.
const THREADS: usize = 8;
/// Bytes that the kernel reads or writes at once: the calls of which they are made go together.
const REQUEST_MAX: u32 = 1 << 20;
/// Names of a directory, and bytes of a name (Linux's), that a node may say: what it says is kept until
/// the directory is closed.
const ENTRIES_MAX: usize = 1 << 20;
const NAME_MAX: usize = 255;

/// Shows the nodes' files in a directory until it is unmounted.
pub(crate) fn run(doors: Doors, folder: &Path, allow_other: bool) -> io::Result<()> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("qnet".into()),
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    config.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let at = folder.canonicalize()?;
    let session = Session::new(View::new(doors), &at, &config)?;
    // Who may not say so reads as the kernel does by itself.
    let _ = read_ahead(&at);
    session.run()
}

/// Lets the kernel read ahead as much as it asks for at once, and not an eighth of that: a file is read several
/// times as fast where answers take long.
fn read_ahead(mounted: &Path) -> io::Result<()> {
    // Not by stat(), which would be a call of the file system's own.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if let Some(device) = device_of(&mounts, mounted) {
        let kib = (REQUEST_MAX / 1024).to_string();
        std::fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), kib)?;
    }
    Ok(())
}

/// The number of what was mounted there last, `0:47`, by proc_pid_mountinfo(5).
fn device_of<'a>(mounts: &'a str, mounted: &Path) -> Option<&'a str> {
    let of = |line: &'a str| {
        let mut words = line.split(' ').skip(2);
        let (device, _root, place) = (words.next()?, words.next()?, words.next()?);
        (Path::new(place) == mounted).then_some(device)
    };
    mounts.lines().rev().find_map(of)
}

/// The file system.
struct View {
    doors: Doors,
    behind: Behind,
    inodes: Mutex<Inodes>,
    /// Directories that are being read: what was in them when that began.
    open: Mutex<BTreeMap<u64, Arc<[Entry]>>>,
    uid: u32,
    gid: u32,
}

impl View {
    fn new(doors: Doors) -> Self {
        Self {
            doors,
            behind: Behind::default(),
            inodes: Mutex::new(Inodes::new()),
            open: Mutex::default(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    fn inodes(&self) -> MutexGuard<'_, Inodes> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number's path, with the node before the first `/`.
    fn path(&self, number: INodeNo) -> Result<String, Errno> {
        self.inodes().path(number.0).ok_or(Errno::STALE)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<String, Errno> {
        let name = name.to_str().ok_or(Errno::ILSEQ)?;
        self.inodes().child(parent.0, name).ok_or(Errno::STALE)
    }

    /// Has the path's node do something with it.
    fn call(&self, path: &str, call: impl FnOnce(String) -> FileCall) -> Result<FileReply, Errno> {
        let (node, file) = ahead::split(path)?;
        self.behind.settle(&self.doors, path);
        let call = call(file.to_owned());
        self.doors.with(|door| door.call(node, &call))
    }

    fn attributes(&self, path: &str) -> Result<Attributes, Errno> {
        if path.is_empty() {
            return Ok(ROOT);
        }
        attributes(&self.call(path, |path| FileCall::Attributes { path })?)
    }

    /// A name that the kernel gets to know, by a call that says what it is.
    fn entry(
        &self,
        (parent, name): (INodeNo, &OsStr),
        call: impl FnOnce(String) -> FileCall,
    ) -> Result<FileAttr, Errno> {
        let path = self.child(parent, name)?;
        let is = attributes(&self.call(&path, call)?)?;
        let number = self.inodes().look_up(&path);
        Ok(self.shown(number, is))
    }

    fn shown(&self, number: u64, is: Attributes) -> FileAttr {
        let (seconds, nanos) = is.modified;
        // A node may say any time.
        let since = Duration::new(u64::try_from(seconds).unwrap_or(0), nanos.min(999_999_999));
        let time = UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH);
        FileAttr {
            ino: INodeNo(number),
            size: is.len,
            blocks: is.len.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind: kind(is.kind),
            perm: u16::try_from(is.mode & 0o777).unwrap_or(0),
            nlink: is.links,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: FILE_BYTES_MAX,
            flags: 0,
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<[Entry]>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read a directory: by which number its names are known.
    fn begin(&self, number: INodeNo) -> Result<FileHandle, Errno> {
        let names = self.names(&self.path(number)?)?.into();
        let mut open = self.open();
        let handle = open.last_key_value().map_or(0, |(last, _)| last + 1);
        let _ = open.insert(handle, names);
        Ok(FileHandle(handle))
    }

    /// What is in a directory.
    fn names(&self, path: &str) -> Result<Vec<Entry>, Errno> {
        if path.is_empty() {
            let status = self.doors.with(super::door::Door::status)?;
            let nodes = status.nodes.into_iter().map(|node| node.name);
            let own = status.exports.then_some(status.name);
            let entry = |name| Entry { name, kind: FileKind::Directory };
            return Ok(nodes.chain(own).map(entry).collect());
        }
        let mut names: Vec<Entry> = Vec::new();
        loop {
            let after = names.last().map(|entry| entry.name.clone()).unwrap_or_default();
            let list = self.call(path, |path| FileCall::List { path, after })?;
            let FileReply::Entries { entries, more } = list else { return Err(Errno::PROTO) };
            let none = entries.is_empty();
            let fit = entries.iter().all(|entry| entry.name.len() <= NAME_MAX);
            names.extend(entries);
            if !fit || names.len() > ENTRIES_MAX {
                return Err(Errno::OVERFLOW);
            }
            if !more || none {
                return Ok(names);
            }
        }
    }

    fn read(&self, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Errno> {
        self.behind.settle(&self.doors, path);
        ahead::read(&self.doors, path, offset, len)
    }

    fn write(&self, path: &str, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        self.behind.write(&self.doors, path, offset, data)?;
        u32::try_from(data.len()).map_err(|_| Errno::IO)
    }

    /// Waits for what was written: whether it is there.
    fn finish(&self, path: &str) -> Result<(), Errno> {
        self.behind.finish(&self.doors, path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let node = |path: &str| {
            path.split_once('/').map(|(node, rest)| (node.to_owned(), rest.to_owned()))
        };
        let (Some((old, _)), Some((new, to_path))) = (node(from), node(to)) else {
            return Err(Errno::PERM);
        };
        if old != new {
            return Err(Errno::XDEV);
        }
        self.behind.settle_all(&self.doors);
        let _done = self.call(from, |path| FileCall::Rename { path, to: to_path })?;
        self.inodes().rename(from, to);
        Ok(())
    }

    fn set(&self, path: &str, change: &Change) -> Result<Attributes, Errno> {
        if let Some(mode) = change.mode {
            let _ = self.call(path, |path| FileCall::SetMode { path, mode })?;
        }
        if let Some(len) = change.len {
            let _ = self.call(path, |path| FileCall::Resize { path, len })?;
        }
        if let Some(time) = change.modified {
            let modified = since_epoch(time);
            let _ = self.call(path, |path| FileCall::SetTime { path, modified })?;
        }
        self.attributes(path)
    }
}

/// What the kernel may want to be another.
struct Change {
    mode: Option<u32>,
    len: Option<u64>,
    modified: Option<TimeOrNow>,
}

/// The directory with all nodes.
const ROOT: Attributes = Attributes {
    inode: super::inodes::ROOT,
    kind: FileKind::Directory,
    mode: 0o755,
    len: 0,
    links: 2,
    modified: (0, 0),
};

fn attributes(reply: &FileReply) -> Result<Attributes, Errno> {
    if let FileReply::Attributes(is) = reply { Ok(*is) } else { Err(Errno::PROTO) }
}

fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Other => FileType::Socket,
    }
}

fn since_epoch(time: TimeOrNow) -> (i64, u32) {
    let time = match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    };
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// A node's errno as the kernel's. By ENOSYS the kernel would never ask any node for the like again, and
/// beyond 511 it takes no answer at all.
fn told(errno: Errno) -> fuser::Errno {
    let known = match errno {
        Errno::NOSYS => Errno::OPNOTSUPP,
        errno if (1..512).contains(&errno.raw_os_error()) => errno,
        _ => Errno::IO,
    };
    fuser::Errno::from_i32(known.raw_os_error())
}

impl Filesystem for View {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel that can't has what it had.
        let _ = config.set_max_write(REQUEST_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.entry((parent, name), |path| FileCall::Attributes { path });
        entered(
            reply,
            found.map_err(|errno| match errno {
                // A name that is no node's, or of a node that nobody knows.
                Errno::HOSTUNREACH if parent == INodeNo::ROOT => Errno::NOENT,
                errno => errno,
            }),
        );
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.inodes().forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let is = self.path(number).and_then(|path| self.attributes(&path));
        seen(reply, is.map(|is| self.shown(number.0, is)));
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        len: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = Change { mode, len, modified };
        let is = self.path(number).and_then(|path| self.set(&path, &change));
        seen(reply, is.map(|is| self.shown(number.0, is)));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let mode = mode & !umask;
        entered(reply, self.entry((parent, name), |path| FileCall::MakeDirectory { path, mode }));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let path = self.child(parent, name);
        done(reply, path.and_then(|path| self.call(&path, |path| FileCall::Remove { path })));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = |path: String| self.call(&path, |path| FileCall::RemoveDirectory { path });
        done(reply, self.child(parent, name).and_then(remove));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(told(Errno::INVAL));
        }
        let from = self.child(parent, name);
        let renamed = from.and_then(|from| self.rename(&from, &self.child(new_parent, new_name)?));
        done(reply, renamed);
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.path(number).and_then(|path| self.read(&path, offset, len)) {
            Ok(data) => reply.data(&data),
            Err(errno) => reply.error(told(errno)),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.path(number).and_then(|path| self.write(&path, offset, data)) {
            Ok(count) => reply.written(count),
            Err(errno) => reply.error(told(errno)),
        }
    }

    fn flush(&self, _: &Request, number: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A file that is no more has nothing under way: what removed it has waited.
        let path = self.path(number);
        done(reply, path.map_or(Ok(()), |path| self.finish(&path)));
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = |path: String| {
            self.finish(&path)?;
            self.call(&path, |path| FileCall::Sync { path })
        };
        done(reply, self.path(number).and_then(sync));
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.begin(number) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(errno) => reply.error(told(errno)),
        }
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let _ = self.open().remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = self.open().get(&handle.0).cloned().unwrap_or_default();
        let dots = [".", ".."].map(|name| (name, FileKind::Directory));
        let names = names.iter().map(|entry| (entry.name.as_str(), entry.kind));
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = dots.into_iter().chain(names).zip(1_u64..).skip(skipped);
        for ((name, is), next) in rest {
            // The kernel looks names up before it believes numbers.
            if reply.add(INodeNo(u64::MAX), next, kind(is), name) {
                break;
            }
        }
        reply.ok();
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mode = mode & !umask;
        let exclusive = flags & rustix::fs::OFlags::EXCL.bits().cast_signed() != 0;
        match self.entry((parent, name), |path| FileCall::Create { path, mode, exclusive }) {
            Ok(is) => {
                reply.created(&TTL, &is, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(errno) => reply.error(told(errno)),
        }
    }
}

fn entered(reply: ReplyEntry, result: Result<FileAttr, Errno>) {
    match result {
        Ok(is) => reply.entry(&TTL, &is, Generation(0)),
        Err(errno) => reply.error(told(errno)),
    }
}

fn seen(reply: ReplyAttr, result: Result<FileAttr, Errno>) {
    match result {
        Ok(is) => reply.attr(&TTL, &is),
        Err(errno) => reply.error(told(errno)),
    }
}

fn done<T>(reply: ReplyEmpty, result: Result<T, Errno>) {
    match result.err() {
        None => reply.ok(),
        Some(errno) => reply.error(told(errno)),
    }
}

#[cfg(test)]
mod tests;
