//! Whose file may become code of this process: root's or the daemon's user's, where nobody else can
//! put another in its place.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::LoadError;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The file's real path, if it and every directory above it belong to root or `user` and are not
/// writable by anybody else. A sticky directory (`/tmp`) further up does no harm: only the owner of
/// what is in it can move that.
pub(super) fn real_path(path: &Path, user: u32) -> Result<PathBuf, LoadError> {
    let unreadable =
        |e: std::io::Error| LoadError::File { path: path.into(), reason: e.to_string() };
    let real = fs::canonicalize(path).map_err(unreadable)?;
    for (depth, culprit) in real.ancestors().enumerate() {
        let meta = fs::metadata(culprit).map_err(unreadable)?;
        let untrusted =
            |why: String| LoadError::Untrusted { path: path.into(), culprit: culprit.into(), why };
        if depth == 0 && !meta.is_file() {
            let why = if meta.is_dir() { "a directory" } else { "not a file" };
            return Err(LoadError::NotAModule { path: path.into(), why: why.into() });
        }
        if meta.uid() != 0 && meta.uid() != user {
            return Err(untrusted(format!("belongs to uid {}", meta.uid())));
        }
        let shared = depth > 1 && meta.mode() & STICKY != 0;
        if meta.mode() & WRITABLE_BY_OTHERS != 0 && !shared {
            return Err(untrusted(format!(
                "is writable by others (mode {:o})",
                meta.mode() & 0o7777
            )));
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_files_that_nobody_else_can_change_are_trusted() {
        let folder = std::env::temp_dir().join(format!("iopkt-trust-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("devnp-x.so");
        fs::write(&file, "x").unwrap();
        let user = fs::metadata(&file).unwrap().uid();
        let set =
            |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let judge = |folder_mode, file_mode| {
            set(&folder, folder_mode);
            set(&file, file_mode);
            real_path(&file, user)
        };
        assert!(judge(0o755, 0o644).is_ok());
        for (folder_mode, file_mode) in
            [(0o755, 0o666), (0o755, 0o664), (0o777, 0o644), (0o1777, 0o644)]
        {
            let refused = judge(folder_mode, file_mode);
            assert!(
                matches!(refused, Err(LoadError::Untrusted { .. })),
                "{folder_mode:o} {file_mode:o}"
            );
        }
        set(&folder, 0o755);
        assert!(matches!(real_path(&folder, user), Err(LoadError::NotAModule { .. })));
        assert!(matches!(real_path(&folder.join("no"), user), Err(LoadError::File { .. })));
        assert!(matches!(
            real_path(Path::new("/dev/zero"), user),
            Err(LoadError::NotAModule { .. })
        ));
        fs::remove_dir_all(&folder).unwrap();
    }
}
