//! Which number the kernel knows a path by.

use std::collections::HashMap;

/// The number of the directory with all nodes.
pub(crate) const ROOT: u64 = 1;

/// Paths from the mounted directory on, without `/` at the front: `beta/dir/file`. A path that the kernel
/// has forgotten has no number.
#[derive(Debug)]
pub(crate) struct Inodes {
    last: u64,
    paths: HashMap<u64, (String, u64)>,
    numbers: HashMap<String, u64>,
}

impl Inodes {
    pub(crate) fn new() -> Self {
        let root = HashMap::from([(ROOT, (String::new(), 1))]);
        Self { last: ROOT, paths: root, numbers: HashMap::from([(String::new(), ROOT)]) }
    }

    /// A number's path.
    pub(crate) fn path(&self, number: u64) -> Option<String> {
        self.paths.get(&number).map(|(path, _)| path.clone())
    }

    /// A name in a directory.
    pub(crate) fn child(&self, parent: u64, name: &str) -> Option<String> {
        let path = self.path(parent)?;
        Some(if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") })
    }

    /// The number of a path, which the kernel now knows once more.
    pub(crate) fn look_up(&mut self, path: &str) -> u64 {
        if let Some(number) = self.numbers.get(path) {
            if let Some((_, count)) = self.paths.get_mut(number) {
                *count += 1;
            }
            return *number;
        }
        self.last += 1;
        let _ = self.paths.insert(self.last, (path.to_owned(), 1));
        let _ = self.numbers.insert(path.to_owned(), self.last);
        self.last
    }

    /// The kernel has forgotten a number so many times.
    pub(crate) fn forget(&mut self, number: u64, times: u64) {
        if number == ROOT {
            return;
        }
        let Some((path, count)) = self.paths.get_mut(&number) else { return };
        *count = count.saturating_sub(times);
        if *count == 0 {
            let path = path.clone();
            let _ = self.paths.remove(&number);
            // Another file may have the path meanwhile.
            if self.numbers.get(&path) == Some(&number) {
                let _ = self.numbers.remove(&path);
            }
        }
    }

    /// A path, and all beneath it, are another one. What was there has a number still, and no path.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        let beneath = format!("{from}/");
        let _ = self.numbers.remove(to);
        for (number, (path, _)) in &mut self.paths {
            let rest = path.strip_prefix(&beneath).map(|rest| format!("{to}/{rest}"));
            let new = if path == from { Some(to.to_owned()) } else { rest };
            if let Some(new) = new {
                let _ = self.numbers.remove(path.as_str());
                let _ = self.numbers.insert(new.clone(), *number);
                *path = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_number_until_the_kernel_forgets_it() {
        let mut inodes = Inodes::new();
        let beta = inodes.look_up("beta");
        assert_eq!(inodes.child(beta, "file").as_deref(), Some("beta/file"));
        assert_eq!(inodes.child(ROOT, "beta").as_deref(), Some("beta"));
        assert_eq!(inodes.look_up("beta"), beta);
        inodes.forget(beta, 1);
        assert_eq!(inodes.path(beta).as_deref(), Some("beta"));
        inodes.forget(beta, 1);
        assert_eq!(inodes.path(beta), None);
        assert_ne!(inodes.look_up("beta"), beta);
        inodes.forget(ROOT, 100);
        assert_eq!(inodes.path(ROOT).as_deref(), Some(""));
    }

    #[test]
    fn what_is_renamed_keeps_its_number_with_all_beneath() {
        let mut inodes = Inodes::new();
        let numbers = ["b/old", "b/old/x", "b/older", "b/new"].map(|path| inodes.look_up(path));
        inodes.rename("b/old", "b/new");
        let paths = numbers.map(|number| inodes.path(number).unwrap());
        assert_eq!(paths, ["b/new", "b/new/x", "b/older", "b/new"]);
        assert_eq!(inodes.look_up("b/new"), numbers[0]);
        inodes.forget(numbers[3], 1);
        assert_eq!(inodes.look_up("b/new"), numbers[0]);
    }
}
