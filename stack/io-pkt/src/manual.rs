//! The manual page io-pkt(8): its lists of options and tunables are made from the tables that the
//! daemon itself reads, and the tests hold the rest of it to the command line.
//!
//! After a change of a table: `IOPKT_WRITE_MANUAL=1 cargo test -p io-pkt manual`.

use std::collections::BTreeSet;

use clap::CommandFactory as _;

use crate::args::Args;
use crate::stack_options::STACK_OPTIONS;
use crate::tuning::Tuning;

const PAGE: &str = "man/io-pkt.8";

fn page() -> String {
    std::fs::read_to_string(PAGE).unwrap()
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// One entry of a list: names in bold, what they take, what they are.
fn entry(names: &[&str], usage: &str, text: &str) -> String {
    let names: Vec<String> =
        names.iter().map(|name| format!("\\fB{}\\fR", escaped(name))).collect();
    format!(".TP\n{}{}\n{}.\n", names.join(", "), escaped(usage), escaped(text))
}

fn stack_options() -> String {
    let honoured = |wanted: bool| {
        let chosen = STACK_OPTIONS.iter().filter(move |option| option.is_honoured() == wanted);
        chosen.map(|o| entry(o.names, &o.usage(), o.text)).collect::<String>()
    };
    format!("{}.PP\nWithout effect here:\n{}", honoured(true), honoured(false))
}

fn tunables() -> String {
    let rows = Tuning::default().rows();
    let entries = rows.iter().map(|row| {
        let usage = if row.writable { "" } else { " (read only)" };
        entry(&[&row.name], usage, &row.text)
    });
    entries.collect()
}

/// Holds the part between two marks of the page to `made`, or puts it there.
fn hold(name: &str, made: &str) {
    let text = page();
    let (begin, end) = (format!(".\\\" {name} begin\n"), format!(".\\\" {name} end\n"));
    let (head, rest) = text.split_once(&begin).unwrap();
    let (part, tail) = rest.split_once(&end).unwrap();
    if std::env::var_os("IOPKT_WRITE_MANUAL").is_some() {
        std::fs::write(PAGE, format!("{head}{begin}{made}{end}{tail}")).unwrap();
    } else {
        assert!(
            part == made,
            "{PAGE}: {name}: run IOPKT_WRITE_MANUAL=1 cargo test -p io-pkt manual"
        );
    }
}

#[test]
fn the_page_lists_what_the_tables_have() {
    hold("stack options", &stack_options());
    hold("tunables", &tunables());
}

/// The names in the page's list of options; the line after each .TP has them.
fn listed() -> BTreeSet<String> {
    let page = page();
    let (_, options) = page.split_once(".SH OPTIONS\n").unwrap();
    let (options, _) = options.split_once(".SH ").unwrap();
    let lines: Vec<&str> = options.lines().collect();
    let named = lines.windows(2).filter(|two| two[0] == ".TP").map(|two| two[1]);
    let plain = |line: &str| {
        let line = line.replace('\\', "");
        ["fB", "fR", "fI", ","].into_iter().fold(line, |line, mark| line.replace(mark, " "))
    };
    let words = named
        .flat_map(|line| plain(line).split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
    words.filter(|word| word.starts_with('-') && word != "--").collect()
}

#[test]
fn the_page_lists_the_options_of_the_command_line() {
    let mut command = Args::command();
    command.build();
    let names = |option: &clap::Arg| {
        let long = option.get_long().map(|long| format!("--{long}"));
        let short = option.get_short().map(|short| format!("-{short}"));
        long.into_iter().chain(short).collect::<Vec<_>>()
    };
    let known: BTreeSet<String> = command.get_arguments().flat_map(names).collect();
    assert_eq!(listed(), known);
}
