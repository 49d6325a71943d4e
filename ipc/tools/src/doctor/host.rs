//! The machine under examination.

use std::env;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proto::table::DaemonRow;

use crate::cli::preload_from_environment;
use crate::control::{Control, instances, prefix};
use crate::fail::{ABSENT, Failure};
use crate::preload::{self, NotFound};

/// What the daemon said when asked who it is.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It is there.
    Here(DaemonRow),
    /// Nobody listens.
    Absent,
    /// It is there, but cannot be talked to.
    Trouble(Failure),
}

/// A machine: its files, and what cannot be read from files.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Where `/proc`, `/sys`, `/dev`, `/usr` are: `/`, or a test's folder.
    pub(crate) root: PathBuf,
    /// Directory of all stacks.
    pub(crate) run_dir: PathBuf,
    /// Prefix asked for.
    pub(crate) prefix: String,
    /// Prefixes of which there are sockets.
    pub(crate) instances: Vec<String>,
    /// The daemon asked for.
    pub(crate) answer: Answer,
    /// The preload library.
    pub(crate) library: Result<PathBuf, NotFound>,
}

impl Host {
    /// This machine.
    pub(crate) fn this(sock: Option<String>) -> Self {
        let executable = env::current_exe().unwrap_or_default();
        let answer = match Control::open(sock.clone()).and_then(|mut c| c.daemon()) {
            Ok(row) => Answer::Here(row),
            Err(failure) if failure.code == ABSENT && !failure.is_silence => Answer::Absent,
            Err(failure) => Answer::Trouble(failure),
        };
        Self {
            root: "/".into(),
            run_dir: proto::paths::run_dir(),
            prefix: prefix(sock),
            instances: instances(),
            answer,
            library: preload::find(
                preload_from_environment(),
                &executable,
                &preload::system_folders(),
            ),
        }
    }

    /// A path of the machine, given without the leading slash.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text without blanks around it.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    /// A file that holds one number.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    /// Names in a folder, sorted; none if it is absent.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The value of `Key: value` in a file of such lines.
    pub(crate) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.read(path)?;
        let value =
            text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
        Some(value.trim().to_owned())
    }

    /// A soft limit of `/proc/self/limits`; `u64::MAX` if there is none.
    pub(crate) fn limit(&self, name: &str) -> Option<u64> {
        let text = self.read("proc/self/limits")?;
        let soft =
            text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
        if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
    }

    /// Effective user id.
    pub(crate) fn uid(&self) -> u32 {
        self.user_of("self").unwrap_or(u32::MAX)
    }

    /// Effective user id of a process.
    pub(crate) fn user_of(&self, process: &str) -> Option<u32> {
        let ids = self.field(&format!("proc/{process}/status"), "Uid")?;
        ids.split_whitespace().nth(1)?.parse().ok()
    }

    /// Whether a capability is effective.
    pub(crate) fn has_capability(&self, bit: u32) -> bool {
        let effective = self.field("proc/self/status", "CapEff").unwrap_or_default();
        u64::from_str_radix(&effective, 16).is_ok_and(|set| set >> bit & 1 == 1)
    }

    /// Whether this user may read and write a file by its mode. Root may.
    pub(crate) fn may_write(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|meta| self.mode_allows(&meta))
    }

    fn mode_allows(&self, meta: &Metadata) -> bool {
        let uid = self.uid();
        let mode = meta.permissions().mode();
        let groups = self.field("proc/self/status", "Groups").unwrap_or_default();
        let gids = self.field("proc/self/status", "Gid").unwrap_or_default();
        let mut members = groups.split_whitespace().chain(gids.split_whitespace().nth(1));
        let bits = if meta.uid() == uid {
            mode >> 6
        } else if members.any(|id| id.parse() == Ok(meta.gid())) {
            mode >> 3
        } else {
            mode
        };
        uid == 0 || bits & 0o6 == 0o6
    }
}
