//! Did you mean …?

/// Edits between a word that nobody knows and one that was meant: with more of them it is a guess.
const EDITS_MAX: usize = 2;

/// The names that `word` may have been meant to be, the most alike first.
#[must_use]
pub fn alike<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let most = EDITS_MAX.min(word.chars().count().saturating_sub(1));
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (edits(word, name), name))
        .filter(|(edits, _)| *edits <= most)
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// The name that `word` was most likely meant to be, if one is alike.
#[must_use]
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    alike(word, names).first().copied()
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&above, j) + usize::from(x != y);
            let mut best = replaced.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            if j > 0 && Some(y) == last && b.get(j - 1) == Some(&x) {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        last = Some(x);
        before = core::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        let names = ["netmask", "broadcast", "alias", "prefix", "somaxconn"];
        assert_eq!(nearest("netmsk", names), Some("netmask"));
        assert_eq!(nearest("alais", names), Some("alias"));
        assert_eq!(nearest("prefx", names), Some("prefix"));
        assert_eq!(nearest("somaxconnn", names), Some("somaxconn"));
        for nonsense in ["frobnicate", "qqq", "a", ""] {
            assert_eq!(nearest(nonsense, names), None, "{nonsense}");
        }
    }

    #[test]
    fn the_most_alike_comes_first() {
        assert_eq!(alike("net_tpa", ["net_tun", "net_ring", "net_tap"]), ["net_tap", "net_tun"]);
    }

    #[test]
    fn edits_are_counted_and_a_swap_is_one() {
        assert_eq!(edits("net_tpa", "net_tap"), 1);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("abc", "abc"), 0);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("abc", ""), 3);
    }
}
