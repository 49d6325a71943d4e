//! Words of the command line as getopt takes them: letters in one word, values at their letter or
//! after it, and after `-d X` and `-p X` one word of options unless it begins with a hyphen.
//!
//! clap then gets each letter and each value as a word of its own. Words that belong to nothing are
//! skipped, as QNX's io-pkt skips them.

use std::ffi::OsString;
use std::path::Path;

use clap::Command;

/// Letters whose value may be followed by a word of options.
const WITH_OPTIONS: [char; 2] = ['d', 'p'];

/// The names that io-pkt may be started by. The variants differ in what QNX builds into them; what
/// this io-pkt does not have yet it says.
const PERSONALITIES: [(&str, Option<&str>); 4] = [
    ("io-pkt", None),
    ("io-pkt-v4", None),
    ("io-pkt-v4-hc", Some("this io-pkt has no crypto API yet")),
    ("io-pkt-v6-hc", Some("this io-pkt has no crypto API yet")),
];

/// What a command line is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// For clap.
    pub(crate) words: Vec<OsString>,
    /// Those that belong to nothing.
    pub(crate) strays: Vec<String>,
}

/// The variant that the program's name asks for, and what to know about it.
pub(crate) fn personality(program: &str) -> (&'static str, Option<&'static str>) {
    let name = Path::new(program).file_name().and_then(|name| name.to_str());
    let known = PERSONALITIES.into_iter().find(|(known, _)| Some(*known) == name);
    known.unwrap_or(("io-pkt", None))
}

/// Splits a command line, program first.
pub(crate) fn split(args: impl IntoIterator<Item = OsString>, command: &Command) -> Words {
    let mut args = args.into_iter().peekable();
    let mut out = Words::default();
    out.words.extend(args.next());
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str().map(ToOwned::to_owned) else {
            out.words.push(arg);
            continue;
        };
        if text == "--" {
            out.words.push(arg);
            out.words.extend(args.by_ref());
        } else if let Some(long) = text.strip_prefix("--") {
            out.words.push(arg);
            if takes_value(command, |a| a.get_long() == Some(long)) {
                out.words.extend(args.next());
            }
        } else if text.len() > 1 && text.starts_with('-') {
            letters(&text, &mut args, command, &mut out);
        } else {
            out.strays.push(text);
        }
    }
    out
}

/// One word of letters.
fn letters<I: Iterator<Item = OsString>>(
    word: &str,
    args: &mut core::iter::Peekable<I>,
    command: &Command,
    out: &mut Words,
) {
    let mut rest = word.chars().skip(1);
    while let Some(letter) = rest.next() {
        out.words.push(format!("-{letter}").into());
        if !takes_value(command, |a| a.get_short() == Some(letter)) {
            continue;
        }
        let value: String = rest.collect();
        if value.is_empty() {
            out.words.extend(args.next());
        } else {
            out.words.push(value.into());
        }
        if WITH_OPTIONS.contains(&letter) {
            out.words.extend(args.next_if(|next| !next.to_string_lossy().starts_with('-')));
        }
        return;
    }
}

fn takes_value(command: &Command, is: impl Fn(&clap::Arg) -> bool) -> bool {
    command.get_arguments().find(|arg| is(arg)).is_some_and(|arg| arg.get_action().takes_values())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    /// The words for clap, after `|` the strays.
    fn told(line: &str) -> String {
        let words = line.split_whitespace().map(OsString::from);
        let Words { words, strays } = split(words, &crate::args::Args::command());
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let mut text = words.join(" ");
        if !strays.is_empty() {
            text += &format!(" | {}", strays.join(" "));
        }
        text
    }

    #[test]
    fn command_lines_from_the_field() {
        for (line, words) in [
            (
                "io-pkt-v6-hc -d e1000 -ptcpip threads_max=300",
                "io-pkt-v6-hc -d e1000 -p tcpip threads_max=300",
            ),
            (
                "io-pkt-v6-hc -U 37:37,21,35 -p tcpip stacksize=8192,pagesize=65536,pkt_cache=1024,\
                 mbuf_cache=1024,pkt_typed_mem=/ram/dma -ppf-v6 -dvdevpeer peer=/dev/vdevs/a,bind=\
                 /dev/vdevs/b,mac=aaaaaaaaaaaa,name=vp",
                "io-pkt-v6-hc -U 37:37,21,35 -p tcpip stacksize=8192,pagesize=65536,pkt_cache=1024,\
                 mbuf_cache=1024,pkt_typed_mem=/ram/dma -p pf-v6 -d vdevpeer peer=/dev/vdevs/a,bind=\
                 /dev/vdevs/b,mac=aaaaaaaaaaaa,name=vp",
            ),
            (
                "io-pkt-v4-hc -i1 -ptcpip stacksize=8192,prefix=/alt",
                "io-pkt-v4-hc -i 1 -p tcpip stacksize=8192,prefix=/alt",
            ),
            (
                "io-pkt-v4-hc -DSv -t2 -P30 -dspeedo verbose,pci=0 -pqnet bind=en0",
                "io-pkt-v4-hc -D -S -v -t 2 -P 30 -d speedo verbose,pci=0 -p qnet bind=en0",
            ),
            (
                "io-pkt-v4 -d /lib/dll/devnp-i82544.so verbose -d pcnet -p tcpip",
                "io-pkt-v4 -d /lib/dll/devnp-i82544.so verbose -d pcnet -p tcpip",
            ),
            (
                "io-pkt-v6-hc -vvv -d asix speed=100,duplex=1 -U 33:33 -p tcpip ipsec,rx_prio=21",
                "io-pkt-v6-hc -v -v -v -d asix speed=100,duplex=1 -U 33:33 -p tcpip ipsec,rx_prio=21",
            ),
        ] {
            assert_eq!(told(line), words);
        }
    }

    #[test]
    fn words_that_belong_to_nothing_are_skipped() {
        assert_eq!(
            told("io-pkt verbose -d tap a=1 b=2 -t 2 x"),
            "io-pkt -d tap a=1 -t 2 | verbose b=2 x"
        );
    }

    #[test]
    fn long_options_keep_their_values() {
        let line = "io-pkt --idle spin --no-huge --metrics=off -d tap --check";
        assert_eq!(told(line), line);
    }

    #[test]
    fn words_after_two_hyphens_are_as_they_are() {
        let line = "io-pkt -d net_null -- --log-level debug -dx";
        assert_eq!(told(line), line);
    }

    #[test]
    fn the_programs_name_is_its_variant() {
        assert_eq!(personality("/usr/sbin/io-pkt-v4"), ("io-pkt-v4", None));
        assert!(personality("io-pkt-v6-hc").1.unwrap().contains("crypto"));
        assert_eq!(personality("./target/release/my-stack"), ("io-pkt", None));
    }
}
