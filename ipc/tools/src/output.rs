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

/// A column of a table: its title, and what a row has there.
pub(crate) struct Column<T> {
    title: &'static str,
    /// Numbers stand at the right.
    right: bool,
    cell: fn(&T) -> String,
}

/// A column of words.
pub(crate) const fn left<T>(title: &'static str, cell: fn(&T) -> String) -> Column<T> {
    Column { title, right: false, cell }
}

/// A column of numbers.
pub(crate) const fn right<T>(title: &'static str, cell: fn(&T) -> String) -> Column<T> {
    Column { title, right: true, cell }
}

/// A table as BSD's tools print them: columns as wide as they need, two blanks between them,
/// nothing at the end of a line.
pub(crate) fn table<'a, T: 'a>(
    columns: &[Column<T>],
    rows: impl IntoIterator<Item = &'a T>,
) -> String {
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    let cells = |row: &T| columns.iter().map(|column| (column.cell)(row)).collect();
    let lines: Vec<Vec<String>> =
        std::iter::once(titles).chain(rows.into_iter().map(cells)).collect();
    let width = |at: usize| {
        lines.iter().filter_map(|line| line.get(at)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns.len()).filter_map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(columns).zip(&widths).map(|((cell, column), &width)| {
            if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
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
        let columns =
            [left("Name", |row: &(&str, u32)| row.0.into()), right("N", |row| row.1.to_string())];
        let text = table(&columns, &[("a", 1), ("bcd", 12345)]);
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
