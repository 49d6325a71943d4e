//! Finding `libiopkt-preload.so`, and the programs that it cannot reach.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Name when installed, and the name cargo gives it.
const NAMES: [&str; 2] = ["libiopkt-preload.so", "libiopkt_preload.so"];

/// The library is nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotFound {
    /// Where it was looked for.
    pub(crate) looked: Vec<PathBuf>,
}

impl NotFound {
    /// What, why and what next, in one line.
    pub(crate) fn text(&self) -> String {
        let folders: Vec<_> = self.looked.iter().map(|path| path.display().to_string()).collect();
        format!(
            "libiopkt-preload.so is not in {}; set IOPKT_PRELOAD=/path/to/libiopkt-preload.so, or \
             build it: cargo build --release",
            folders.join(", ")
        )
    }
}

/// Where the library is: what `$IOPKT_PRELOAD` says, else beside the executable, in `../lib`, or in
/// the system's folders.
pub(crate) fn find(
    chosen: Option<PathBuf>,
    executable: &Path,
    system: &[PathBuf],
) -> Result<PathBuf, NotFound> {
    if let Some(chosen) = chosen {
        let absolute = std::path::absolute(&chosen).unwrap_or(chosen);
        return if absolute.is_file() {
            Ok(absolute)
        } else {
            Err(NotFound { looked: vec![absolute] })
        };
    }
    let beside = executable.parent().map(Path::to_path_buf);
    let lib = beside.as_ref().and_then(|folder| folder.parent()).map(|prefix| prefix.join("lib"));
    let looked: Vec<PathBuf> =
        beside.into_iter().chain(lib).chain(system.iter().cloned()).collect();
    let mut candidates = looked.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    candidates.find(|path| path.is_file()).ok_or(NotFound { looked })
}

/// The system's folders.
pub(crate) fn system_folders() -> Vec<PathBuf> {
    vec!["/usr/lib".into(), "/usr/local/lib".into()]
}

/// The file or folder that keeps ordinary users from reading `path`; none if they can.
pub(crate) fn barrier(path: &Path) -> Option<PathBuf> {
    let needs = |path: &Path, bit: u32| {
        fs::metadata(path).map_or(true, |meta| meta.permissions().mode() & bit == 0)
    };
    if needs(path, 0o004) {
        return Some(path.to_owned());
    }
    path.ancestors().skip(1).find(|folder| needs(folder, 0o001)).map(Path::to_path_buf)
}

/// Why a program would not be reached by `LD_PRELOAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// The loader ignores `LD_PRELOAD` for it.
    SetId,
    /// It has no loader.
    Static,
}

impl Unreached {
    /// The reason, for a person.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::SetId => "is setuid or setgid, so the loader ignores LD_PRELOAD",
            Self::Static => "is statically linked, so LD_PRELOAD has no effect",
        }
    }
}

/// Looks at the program's file. What cannot be read is believed to be fine.
pub(crate) fn unreached(program: &Path) -> Option<Unreached> {
    let mode = fs::metadata(program).ok()?.permissions().mode();
    if mode & 0o6000 != 0 && !rustix::process::geteuid().is_root() {
        return Some(Unreached::SetId);
    }
    let mut start = Vec::new();
    let _length = File::open(program).ok()?.take(4096).read_to_end(&mut start).ok()?;
    (has_interpreter(&start) == Some(false)).then_some(Unreached::Static)
}

/// Whether a 64-bit little-endian ELF file has a `PT_INTERP` header; none if it is something else,
/// a script for example.
fn has_interpreter(elf: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let field =
        |at: usize| elf.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes);
    let offset = u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?);
    let offset = usize::try_from(offset).ok()?;
    let (size, count) = (usize::from(field(54)?), usize::from(field(56)?));
    for index in 0..count {
        let at = offset.checked_add(index.checked_mul(size)?)?;
        let kind = elf.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)?;
        if kind == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_in_order() {
        let root = tempfile::tempdir().expect("folder");
        let make = |name: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("folder")).expect("made");
            fs::write(&path, b"").expect("written");
            path
        };
        let executable = make("bin/iopkt");
        let system = [root.path().join("usr/lib")];
        let missing = find(None, &executable, &system).expect_err("nowhere");
        assert_eq!(missing.looked.len(), 3);
        assert!(missing.text().contains("IOPKT_PRELOAD"));

        let installed = make("usr/lib/libiopkt-preload.so");
        assert_eq!(find(None, &executable, &system), Ok(installed));
        let relative = make("lib/libiopkt-preload.so");
        assert_eq!(find(None, &executable, &system), Ok(relative));
        let built = make("bin/libiopkt_preload.so");
        assert_eq!(find(None, &executable, &system), Ok(built));
        let chosen = make("other/x.so");
        assert_eq!(find(Some(chosen.clone()), &executable, &system), Ok(chosen));
        assert!(find(Some(root.path().join("none.so")), &executable, &system).is_err());
    }

    #[test]
    fn a_closed_folder_is_named() {
        let root = tempfile::tempdir().expect("folder");
        let closed = root.path().join("closed");
        fs::create_dir(&closed).expect("made");
        let library = closed.join("x.so");
        fs::write(&library, b"").expect("written");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("closed");
        assert_eq!(barrier(&library), Some(closed));
        fs::set_permissions(&library, fs::Permissions::from_mode(0o600)).expect("closed");
        assert_eq!(barrier(&library), Some(library));
        assert_eq!(barrier(Path::new("/usr/bin/env")), None);
    }

    #[test]
    fn static_programs_are_recognised() {
        assert_eq!(unreached(Path::new("/usr/bin/env")), None);
        assert_eq!(has_interpreter(b"#!/bin/sh\n"), None);
        let mut elf = vec![0_u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(has_interpreter(&elf), Some(false));
        elf[56] = 1;
        assert_eq!(has_interpreter(&elf), Some(false), "a header at 0 is not PT_INTERP");
        elf[33] = 0xff;
        assert_eq!(has_interpreter(&elf), None, "headers beyond what was read");
    }
}
