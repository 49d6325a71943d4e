//! What travels over `<run><prefix>/dev/qnet`, the path of `lsm-qnet`, and from node to node.
//!
//! A client asks by [`STATUS`] what there is, and by [`FILES`] for another node's files: a
//! [`FileRequest`] whose call the module carries to that node as it is. The node answers with a
//! [`FileReply`], or with Linux's errno. Each call names its file anew: a node keeps nothing between two.

use serde::{Deserialize, Serialize};

use crate::bytes;

/// Request of an ioctl: → [`Status`].
pub const STATUS: u32 = 1;
/// Request of an ioctl: a [`FileRequest`] → [`FileReply`].
pub const FILES: u32 = 2;

/// Request of an ioctl: a [`Tell`](crate::far::Tell) → the node's whole name. `EAGAIN`: too much waits already.
pub const TELL: u32 = 3;
/// Request of an ioctl: → a [`Heard`](crate::far::Heard), when there is one. Only one client can hear.
pub const HEAR: u32 = 4;

/// Bytes of a file that one call reads or writes at most: with its path and heads it fits into
/// [`PATH_BYTES_MAX`](crate::path::PATH_BYTES_MAX).
pub const FILE_BYTES_MAX: u32 = 48 << 10;
/// Bytes of a path in a call.
pub const FILE_PATH_MAX: usize = 4096;

/// A node as seen by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name, with its domain behind a dot.
    pub name: String,
    /// Where other nodes' files are to be seen.
    pub mount: String,
    /// How it sends where the path does not say it.
    pub policy: String,
    /// It asks the system's resolver for nodes.
    pub dns: bool,
    /// It serves files.
    pub exports: bool,
    /// The interfaces that it is bound to.
    pub links: Vec<LinkRow>,
    /// The other nodes that it knows.
    pub nodes: Vec<NodeRow>,
}

/// An interface of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Its name.
    pub name: String,
    /// Our address there.
    pub address: String,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its name, with its domain behind a dot.
    pub name: String,
    /// Its number here.
    pub number: u16,
    /// The ways to it.
    pub paths: Vec<NodePath>,
}

/// A way to another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePath {
    /// Our interface.
    pub link: String,
    /// Its address there.
    pub address: String,
    /// Frames arrive.
    pub up: bool,
}

/// A call for another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRequest {
    /// Whose files, and how to send: `beta`, `beta.lab`, `beta~redundant`, `beta~preferred:tap0`.
    pub node: String,
    /// A [`FileCall`], as it goes to the node.
    #[serde(with = "bytes")]
    pub call: Vec<u8>,
}

/// What is to be done with a file. Paths begin at the exported directory and never with `/`; the empty one
/// is the directory itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileCall {
    /// → [`FileReply::Attributes`].
    Attributes {
        /// Which.
        path: String,
    },
    /// What is in a directory, by name. → [`FileReply::Entries`].
    List {
        /// Which.
        path: String,
        /// From the name behind this one on.
        after: String,
    },
    /// → [`FileReply::Data`], empty at the end.
    Read {
        /// Which.
        path: String,
        /// From there on.
        offset: u64,
        /// So many bytes at most.
        len: u32,
    },
    /// → [`FileReply::Written`].
    Write {
        /// Which.
        path: String,
        /// To there.
        offset: u64,
        /// These.
        #[serde(with = "bytes")]
        data: Vec<u8>,
    },
    /// A new file. → [`FileReply::Attributes`].
    Create {
        /// Which.
        path: String,
        /// Permissions.
        mode: u32,
        /// It must not be there.
        exclusive: bool,
    },
    /// A file's length. → [`FileReply::Attributes`].
    Resize {
        /// Which.
        path: String,
        /// Bytes.
        len: u64,
    },
    /// → [`FileReply::Attributes`].
    SetMode {
        /// Which.
        path: String,
        /// Permissions.
        mode: u32,
    },
    /// → [`FileReply::Attributes`].
    SetTime {
        /// Which.
        path: String,
        /// When it was changed: seconds and nanoseconds.
        modified: (i64, u32),
    },
    /// A new directory. → [`FileReply::Attributes`].
    MakeDirectory {
        /// Which.
        path: String,
        /// Permissions.
        mode: u32,
    },
    /// → [`FileReply::Done`].
    Remove {
        /// Which file.
        path: String,
    },
    /// → [`FileReply::Done`].
    RemoveDirectory {
        /// Which, that is empty.
        path: String,
    },
    /// → [`FileReply::Done`].
    Rename {
        /// Which.
        path: String,
        /// Its new path; what is there is replaced.
        to: String,
    },
    /// What was written is to be on the disk. → [`FileReply::Done`].
    Sync {
        /// Which.
        path: String,
    },
}

/// What has come of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileReply {
    /// It is done.
    Done,
    /// What a file is.
    Attributes(Attributes),
    /// What is in a directory.
    Entries {
        /// By name.
        entries: Vec<Entry>,
        /// There are others behind the last.
        more: bool,
    },
    /// Bytes.
    Data(#[serde(with = "bytes")] Vec<u8>),
    /// So many bytes.
    Written(u32),
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// A number that no other file of the node has at the same time.
    pub inode: u64,
    /// Its kind.
    pub kind: FileKind,
    /// Permissions.
    pub mode: u32,
    /// Bytes.
    pub len: u64,
    /// Names that it has.
    pub links: u32,
    /// When it was changed: seconds and nanoseconds.
    pub modified: (i64, u32),
}

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// Bytes.
    File,
    /// A directory.
    Directory,
    /// A device, a pipe, a link that leads out: it is there, and that is all.
    Other,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
}
