//! `-p tcpip options`: the built-in stack's options, one table for the parser, the help text and the
//! manual page.
//!
//! All of QNX's are taken, with its limits. Those that mean something here do it; the others are
//! taken with a note that says what does their job here. A name that is in no table is looked up
//! among the tunables, and no option is ever a reason not to start, but with `--strict`.

mod table;

pub(crate) use table::STACK_OPTIONS;

use types::nearest;

use crate::config::Config;
use crate::tuning::{self, TUNABLES};

/// How a number is made one that the option may have, after it was forced into its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// As it is.
    Not,
    /// Down to a multiple.
    Multiple(u32),
    /// Down to a power of two.
    PowerOfTwo,
}

/// What an option's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// On, alone or with a number that is not 0.
    Switch,
    /// A number from the least to the most; another counts as the nearest of them. `bare`: what the
    /// name alone means.
    Number { bare: Option<u32>, least: u32, most: u32, round: Round },
    /// Permission bits, octal.
    Mode,
    /// Any text.
    Text,
}

/// What an option's user has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u32),
    Text(&'a str),
}

/// What an option does.
#[derive(Clone, Copy, Debug)]
enum Effect {
    /// This, with its number, to the configuration.
    Number(fn(&mut Config, u32)),
    /// This, with its text, to the configuration.
    Text(fn(&mut Config, &str)),
    /// What the tunable of this name does.
    Tunable(&'static str),
    /// Nothing; the text of the option says why, or what does its job here.
    Nothing,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StackOption {
    /// Its name, and others of it.
    pub(crate) names: &'static [&'static str],
    kind: Kind,
    effect: Effect,
    /// What it does here, or why nothing.
    pub(crate) text: &'static str,
}

impl StackOption {
    /// It does something here.
    pub(crate) const fn is_honoured(&self) -> bool {
        !matches!(self.effect, Effect::Nothing)
    }

    /// Value and limits, for a manual: `=4…200`.
    pub(crate) fn usage(&self) -> String {
        match self.kind {
            Kind::Switch => String::new(),
            Kind::Mode => "=mode".into(),
            Kind::Text => "=text".into(),
            Kind::Number { bare, least, most, .. } => {
                let (open, close) = if bare.is_some() { ("[", "]") } else { ("", "") };
                match most {
                    u32::MAX => format!("{open}=n{close} (at least {least})"),
                    _ => format!("{open}=n{close} ({least} to {most})"),
                }
            }
        }
    }
}

/// Those that do something here, for `--help`.
pub(crate) fn help() -> String {
    let honoured = STACK_OPTIONS.iter().filter(|option| option.is_honoured());
    let line = |option: &StackOption| {
        format!("  {}{}\n      {}\n", option.names.join(", "), option.usage(), option.text)
    };
    honoured.map(line).collect()
}

/// Lays `options`, commas between, over the configuration; what there is to say about them is noted.
pub(crate) fn apply(config: &mut Config, options: &str) {
    for word in options.split(',').filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        if let Err(note) = apply_one(config, name, value) {
            config.notes.push(format!("-p tcpip {word}: {note}"));
        }
    }
}

/// `Err`: what its user should know.
fn apply_one(config: &mut Config, name: &str, value: Option<&str>) -> Result<(), String> {
    let Some(option) = STACK_OPTIONS.iter().find(|option| option.names.contains(&name)) else {
        return apply_tunable(config, name, value.unwrap_or("1"));
    };
    let (value, note) = parse(option.kind, value)?;
    match (option.effect, value) {
        (Effect::Number(set), Value::Number(number)) => set(config, number),
        (Effect::Text(set), Value::Text(text)) => set(config, text),
        (Effect::Tunable(name), Value::Number(number)) => {
            let set = config.tuning.set(name, &number.to_string());
            set.map_err(|error| error.to_string())?;
        }
        // The others are in no row of the table.
        _ => return Err(format!("no effect here: {}", option.text)),
    }
    note.map_or(Ok(()), Err)
}

/// A name that no option has.
fn apply_tunable(config: &mut Config, name: &str, value: &str) -> Result<(), String> {
    if tuning::find(name).is_some() {
        return config.tuning.set(name, value).map_err(|error| error.to_string());
    }
    let options = STACK_OPTIONS.iter().flat_map(|option| option.names).copied();
    let tunables = TUNABLES.iter().map(|tunable| tunable.name);
    Err(match nearest(name, options.chain(tunables)) {
        Some(near) => format!("unrecognized option, ignored; did you mean {near}?"),
        None => "unrecognized option, ignored; see: man io-pkt, iopkt sysctl -a".into(),
    })
}

/// A value within its limits, and a note if it was not the one given.
fn parse(kind: Kind, value: Option<&str>) -> Result<(Value<'_>, Option<String>), String> {
    let ignored = |what: &str| format!("ignored; write {what}");
    match kind {
        Kind::Switch => {
            let number = value.unwrap_or("1").parse::<u32>();
            let number = number.map_err(|_| ignored("it alone, =1 or =0"))?;
            Ok((Value::Number(u32::from(number != 0)), None))
        }
        Kind::Text => {
            let text = value.filter(|text| !text.is_empty());
            Ok((Value::Text(text.ok_or_else(|| ignored("=value after it"))?), None))
        }
        Kind::Mode => {
            let mode = u32::from_str_radix(value.unwrap_or_default(), 8).ok();
            let mode = mode.filter(|mode| *mode <= 0o777);
            Ok((Value::Number(mode.ok_or_else(|| ignored("octal digits, =0660"))?), None))
        }
        Kind::Number { bare, least, most, round } => {
            let given = match value {
                Some(text) => text.parse().ok(),
                None => bare,
            };
            let given = given.ok_or_else(|| ignored("=number after it"))?;
            let number = rounded(given.clamp(least, most), round);
            let note = (number != given).then(|| format!("counts as {number}"));
            Ok((Value::Number(number), note))
        }
    }
}

fn rounded(number: u32, round: Round) -> u32 {
    match round {
        Round::Not => number,
        Round::Multiple(of) => number - number.checked_rem(of).unwrap_or(0),
        Round::PowerOfTwo => 1 << number.max(1).ilog2(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(options: &str) -> Config {
        let mut config = Config::default();
        apply(&mut config, options);
        config
    }

    fn number(name: &str, value: &str) -> u32 {
        let option = STACK_OPTIONS.iter().find(|o| o.names.contains(&name)).unwrap();
        match parse(option.kind, Some(value)).unwrap().0 {
            Value::Number(number) => number,
            Value::Text(text) => panic!("{text}"),
        }
    }

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<_> = STACK_OPTIONS.iter().flat_map(|o| o.names).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn each_option_is_taken_and_those_without_effect_say_why() {
        for option in STACK_OPTIONS {
            for name in option.names {
                let word = match option.kind {
                    Kind::Switch => (*name).to_owned(),
                    Kind::Number { least, .. } => {
                        format!("{name}={}", number(name, &least.to_string()))
                    }
                    Kind::Mode => format!("{name}=0660"),
                    Kind::Text => format!("{name}=/text"),
                };
                let notes = given(&word).notes;
                if option.is_honoured() {
                    assert!(notes.is_empty(), "{notes:?}");
                } else {
                    assert_eq!(notes.len(), 1);
                    assert!(notes[0].contains(option.text), "{notes:?}");
                }
            }
        }
    }

    #[test]
    fn limits_are_qnxs() {
        for (name, asked, counts) in [
            ("threads_min", "1", 4),
            ("threads_max", "300", 300),
            ("stacksize", "100", 4096),
            ("recv_ctxt", "1", 4096),
            ("recv_ctxt", "9999999", 512 * 1024),
            ("recv_ctxt", "5000", 4096),
            ("reply_ctxt", "600", 512),
            ("mclbytes", "3000", 2048),
            ("mclbytes", "65536", 16384),
            ("pagesize", "200000", 128 * 1024),
            ("pagesize", "99999999", 16 << 20),
            ("timertol", "2000", 1000),
            ("somaxconn", "5", 128),
            ("rx_prio", "0", 1),
        ] {
            assert_eq!(number(name, asked), counts, "{name}={asked}");
        }
        let config = given("somaxconn=5");
        assert_eq!(config.tuning.somaxconn, 128);
        assert_eq!(config.notes, ["-p tcpip somaxconn=5: counts as 128"]);
    }

    #[test]
    fn the_honoured_ones_reach_the_configuration() {
        let config = given(
            "prefix=/alt,somaxconn=1000,reuseport_unicast,confstr_monitor,rgroup_allowed=33,\
             min_fperms=0700,rx_prio=30,pkt_cache=64",
        );
        assert_eq!(config.notes, Vec::<String>::new());
        assert_eq!(config.prefix, "/alt");
        assert_eq!(config.tuning.somaxconn, 1000);
        assert!(config.tuning.host.udp_to_all);
        assert_eq!(config.tuning.fixed.hostname, None);
        assert_eq!((config.rgroup, config.min_fperms), (Some(33), 0o700));
        assert_eq!((config.rx_priority, config.tuning.fixed.cache), (Some(30), 64));
    }

    #[test]
    fn the_last_word_counts() {
        let config = given("confstr_monitor,confstr_monitor=0,rx_prio=3,rx_prio=4");
        assert_eq!(config.tuning.fixed.hostname, Some(tuning::hostname()));
        assert_eq!(config.rx_priority, Some(4));
    }

    #[test]
    fn other_names_are_tunables_and_a_bare_one_is_1() {
        let config = given("net.inet.tcp.ecn.enable=0,net.inet.tcp.pacing,kern.ident=x");
        assert_eq!(config.tuning.tcp.ecn, tcp::EcnMode::Off);
        assert!(config.tuning.tcp.pacing);
        assert_eq!(config.notes, ["-p tcpip kern.ident=x: it can only be read"]);
    }

    #[test]
    fn an_unknown_name_is_a_note_with_the_nearest() {
        let config = given("prefx=/alt,zzzz");
        assert_eq!(
            config.notes,
            [
                "-p tcpip prefx=/alt: unrecognized option, ignored; did you mean prefix?",
                "-p tcpip zzzz: unrecognized option, ignored; see: man io-pkt, iopkt sysctl -a",
            ]
        );
    }

    #[test]
    fn a_value_that_is_none_is_a_note_too() {
        let config = given("prefix,somaxconn=many,min_fperms=9");
        assert_eq!(config.prefix, "");
        assert_eq!(config.notes.len(), 3, "{:?}", config.notes);
        assert!(config.notes.iter().all(|note| note.contains("ignored; write ")));
    }
}
