//! Where modules are looked for, and under which names.

use std::path::PathBuf;

/// What an operator calls a module: `sim` for `sim`, `devnp-sim`, `devnp-sim.so` and `libdevnp_sim.so`
/// of the kind `devnp`.
#[must_use]
pub fn bare_name<'a>(kind: &str, name: &'a str) -> &'a str {
    let name = name.strip_suffix(".so").unwrap_or(name);
    let own = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
    let built = || name.strip_prefix("lib")?.strip_prefix(kind)?.strip_prefix('_');
    own.or_else(built).unwrap_or(name)
}

/// The file of a module in the first of the folders that has it, as it is installed (`devnp-sim.so`) or
/// as cargo has built it (`libdevnp_sim.so`).
#[must_use]
pub fn find(folders: &[PathBuf], kind: &str, name: &str) -> Option<PathBuf> {
    let name = bare_name(kind, name);
    let files = [format!("{kind}-{name}.so"), format!("lib{kind}_{}.so", name.replace('-', "_"))];
    let all = folders.iter().flat_map(|folder| files.iter().map(|file| folder.join(file)));
    all.into_iter().find(|path| path.exists())
}

/// The folders as messages name them; of those that are not there it is said.
#[must_use]
pub fn listed(folders: &[PathBuf]) -> String {
    let named = |folders: Vec<&PathBuf>| {
        let names: Vec<_> = folders.iter().map(|folder| folder.to_string_lossy()).collect();
        names.join(":")
    };
    let (there, missing): (Vec<_>, Vec<_>) = folders.iter().partition(|folder| folder.is_dir());
    match (there.is_empty(), missing.len()) {
        (_, 0) => named(there),
        (true, 1) => format!("{}, which does not exist", named(missing)),
        (true, _) => format!("{}, which do not exist", named(missing)),
        (false, 1) => format!("{} ({} does not exist)", named(there), named(missing)),
        (false, _) => format!("{} ({} do not exist)", named(there), named(missing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_module_is_found_by_all_of_its_names_in_the_first_folder_that_has_it() {
        let base = std::env::temp_dir().join(format!("iopkt-folders-{}", std::process::id()));
        let folders = [base.join("none"), base.join("installed"), base.join("built")];
        for folder in folders.iter().skip(1) {
            fs::create_dir_all(folder).unwrap();
        }
        let made = |at: usize, file: &str| {
            let path = folders[at].join(file);
            fs::write(&path, "").unwrap();
            path
        };
        let built = made(2, "liblsm_no_ping.so");
        let names = ["no-ping", "lsm-no-ping", "lsm-no-ping.so", "no-ping.so", "liblsm_no_ping.so"];
        for name in names {
            assert_eq!(find(&folders, "lsm", name).as_ref(), Some(&built), "{name}");
        }
        let installed = made(1, "lsm-no-ping.so");
        assert_eq!(find(&folders, "lsm", "no-ping"), Some(installed));
        assert_eq!(find(&folders, "devnp", "no-ping"), None, "of another kind");
        assert_eq!(bare_name("lsm", "lsmart"), "lsmart");
        let [none, there, also] = folders.each_ref().map(|folder| folder.display().to_string());
        assert_eq!(listed(&folders), format!("{there}:{also} ({none} does not exist)"));
        assert_eq!(listed(&folders[1..]), format!("{there}:{also}"));
        assert_eq!(listed(&folders[..1]), format!("{none}, which does not exist"));
        assert_eq!(listed(&[]), "");
        fs::remove_dir_all(base).unwrap();
    }
}
