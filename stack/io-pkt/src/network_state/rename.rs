//! Other names for interfaces.

use inet::network::LOOPBACK;
use rustix::io::Errno;

use super::NetworkState;

/// As long as a name may be: Linux's `IFNAMSIZ` without the byte that ends it.
pub(super) const NAME_MAX: usize = 15;

impl NetworkState {
    /// Gives an interface another name. Its index, and what is known by that, stays.
    ///
    /// # Errors
    /// `ENXIO`; `EINVAL` for `lo0` or for what is no name; `EEXIST`.
    pub(crate) fn rename(&mut self, name: &str, new: &str) -> Result<(), Errno> {
        let index = self.index(name)?;
        if index == LOOPBACK || !is_name(new) {
            return Err(Errno::INVAL);
        }
        if self.entry(new).is_ok() {
            return Err(Errno::EXIST);
        }
        let entry = self.entry(name)?;
        new.clone_into(&mut entry.config.name);
        if let Some(port) = &mut entry.port {
            port.rename(new);
        }
        Ok(())
    }

    /// Names, for whoever gives out others.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let there = self.interfaces.iter().filter(|entry| !entry.is_gone());
        there.map(|entry| entry.config.name.as_str())
    }
}

/// A letter, and a few more characters that need no quotes anywhere.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= NAME_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_links;
    use super::*;

    #[test]
    fn an_interface_gets_another_name_and_keeps_its_index() {
        let mut state = with_links(2);
        let name = state.name(1).to_owned();
        state.rename(&name, "wan-0.5").unwrap();
        assert_eq!((state.index("wan-0.5"), state.index(&name)), (Ok(1), Err(Errno::NXIO)));
        assert_eq!(state.names().collect::<Vec<_>>(), ["lo0", "wan-0.5", state.name(2)]);
        state.rename("wan-0.5", &name).unwrap();
        assert_eq!(state.index(&name), Ok(1));
    }

    #[test]
    fn what_is_no_name_or_anothers_is_refused() {
        let mut state = with_links(2);
        let (name, other) = (state.name(1).to_owned(), state.name(2).to_owned());
        for wrong in ["", "0wan", "-a", "a b", "a/b", "a\n", "ü", "abcdefghijklmnop"] {
            assert_eq!(state.rename(&name, wrong), Err(Errno::INVAL), "{wrong:?}");
        }
        assert_eq!(state.rename(&name, &other), Err(Errno::EXIST));
        assert_eq!(state.rename(&name, &name), Err(Errno::EXIST));
        assert_eq!(state.rename("lo0", "lo1"), Err(Errno::INVAL));
        assert_eq!(state.rename("nosuch0", "a"), Err(Errno::NXIO));
    }
}
