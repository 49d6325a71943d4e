//! The files that EAL makes for other processes, and leaves behind: its own clean-up unmaps hugepages, and their files
//! keep the pages until somebody starts under the same prefix.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of hugepages that this process has mapped.
#[derive(Debug, Default)]
pub(crate) struct SharedFiles(BTreeSet<PathBuf>);

impl SharedFiles {
    /// Those of this prefix.
    pub(crate) fn mapped(prefix: &str) -> Self {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self(maps.lines().filter_map(|line| hugepage(line, prefix)).collect())
    }

    /// Takes them away, and what else is in EAL's folder.
    pub(crate) fn remove(self, folder: &Path) {
        for file in self.0 {
            // The page is free when the last process unmaps it, whether or not its file could be removed.
            let _ = fs::remove_file(file);
        }
        let _ = fs::remove_dir_all(folder);
    }
}

/// `100200000-100400000 rw-s 00000000 00:2e 17 /dev/hugepages/PREFIXmap_0`
fn hugepage(line: &str, prefix: &str) -> Option<PathBuf> {
    let path = line.get(line.find('/')?..)?;
    let (_, name) = path.rsplit_once('/')?;
    let number = name.strip_prefix(prefix)?.strip_prefix("map_")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_this_prefix_alone_are_ours() {
        let of = |path: &str| {
            hugepage(&format!("100200000-100400000 rw-s 00000000 00:2e 17   {path}"), "io-pkt-a")
        };
        assert_eq!(
            of("/dev/hugepages/io-pkt-amap_17"),
            Some("/dev/hugepages/io-pkt-amap_17".into())
        );
        for other in [
            "/dev/hugepages/io-pktmap_17",
            "/dev/hugepages/io-pkt-abmap_17",
            "/dev/hugepages/io-pkt-amap_",
            "/dev/hugepages/io-pkt-amap_1x",
            "/run/dpdk/io-pkt-a/config",
            "[heap]",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
