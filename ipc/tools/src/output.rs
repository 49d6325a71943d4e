//! What goes to stdout: text, tables, JSON.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::fail::Failure;

/// Writes to stdout. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints rows as one line of JSON, or as the text that `render` makes of them.
pub(crate) fn show<T: Serialize + ?Sized>(
    rows: &T,
    json: bool,
    render: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if json {
        let mut line = serde_json::to_string(rows)
            .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
        line.push('\n');
        print(&line)
    } else {
        print(&render(rows))
    }
}

/// Which side a column's text is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table as BSD's tools print them: columns as wide as they need, two blanks between them,
/// nothing at the end of a line.
pub(crate) fn table(columns: &[(&str, Side)], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|(title, _)| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let titles: Vec<String> = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let cells =
            row.iter().zip(columns).zip(&widths).map(|((cell, (_, side)), &width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A name somebody else chose, safe for a terminal: control characters, and characters that turn
/// the direction of writing, appear as escapes.
pub(crate) fn escape(name: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() || c == '\\' || turns(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_widest_cell() {
        let rows = [vec!["a".into(), "1".into()], vec!["bcd".into(), "12345".into()]];
        let text = table(&[("Name", Side::Left), ("N", Side::Right)], &rows);
        assert_eq!(text, "Name      N\na         1\nbcd   12345\n");
    }

    #[test]
    fn terminal_sequences_are_shown_not_obeyed() {
        assert_eq!(escape("a\u{1b}[2Jb\n"), r"a\u{1b}[2Jb\n");
        assert_eq!(escape("ng\u{202e}xni"), r"ng\u{202e}xni");
        assert_eq!(escape("\u{9b}31m"), r"\u{9b}31m");
        assert_eq!(escape("café"), "café");
    }
}
