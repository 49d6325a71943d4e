//! Did you mean …?

/// Names less alike than this are no slips of the pen; clap takes the same.
const ALIKE: f64 = 0.7;

/// The name most like a word, if one is alike at all.
pub(crate) fn nearest(
    word: &str,
    names: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    let rated = names.into_iter().map(|name| (strsim::jaro(word, name), name));
    let alike = rated.filter(|(likeness, _)| *likeness > ALIKE);
    alike.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        let names = ["prefix", "forward", "somaxconn"];
        assert_eq!(nearest("prefx", names), Some("prefix"));
        assert_eq!(nearest("somaxcon", names), Some("somaxconn"));
        assert_eq!(nearest("qqq", names), None);
    }
}
