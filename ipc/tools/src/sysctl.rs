//! `iopkt sysctl`: tunables under BSD's names.

use proto::table::TunableRow;
use proto::{Reply, Request};

use crate::cli::SysctlArgs;
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::{escape, print, show};

/// Runs `sysctl`.
pub(crate) fn main(sock: Option<String>, args: &SysctlArgs) -> Result<(), Failure> {
    let names = args.words.iter().filter(|word| !word.contains('='));
    let names: Vec<&str> = names.map(String::as_str).collect();
    if let (true, Some(name)) = (args.write, names.first()) {
        let what = format!("-w {name}: write NAME=VALUE, as in kern.somaxconn=1024");
        return Err(Failure::usage(what));
    }
    let mut control = Control::open(sock)?;
    let mut rows = control.tunables()?;
    for (name, value) in args.words.iter().filter_map(|word| word.split_once('=')) {
        set(&mut control, name, value)?;
        let before = core::mem::replace(&mut rows, control.tunables()?);
        if !args.json && !args.values {
            let value = |rows: &[TunableRow]| {
                let row = rows.iter().find(|row| row.name == name);
                row.map(|row| escape(&row.value)).unwrap_or_default()
            };
            print(&format!("{}: {} -> {}\n", escape(name), value(&before), value(&rows)))?;
        }
    }
    if names.is_empty() && !args.words.is_empty() {
        return Ok(());
    }
    let chosen = choose(rows, if args.all { &[] } else { &names })?;
    show(&*chosen, args.json, |rows| render(rows, args))
}

/// Sets a tunable.
fn set(control: &mut Control, name: &str, value: &str) -> Result<(), Failure> {
    let request = Request::SetTunable { name: name.into(), value: value.into() };
    match control.call(request) {
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::Refused { why }) => {
            Err(Failure::failed(format!("{}: {}", escape(name), escape(&why))))
        }
        Ok(_) => Err(Failure::other_version(control.path())),
        Err(CallError::Broken(failure)) => Err(failure),
        Err(CallError::Refused(errno)) => Err(Failure::refused(&escape(name), errno, "")),
    }
}

/// Those that are named, or below a name; all if there is none.
fn choose(rows: Vec<TunableRow>, names: &[&str]) -> Result<Vec<TunableRow>, Failure> {
    let named = |row: &TunableRow, name: &str| {
        let rest = row.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || name.ends_with('.'))
    };
    for name in names {
        if !rows.iter().any(|row| named(row, name)) {
            let what = format!("{}: no such tunable; see: iopkt sysctl -a", escape(name));
            return Err(Failure::failed(what));
        }
    }
    let wanted = |row: &TunableRow| names.is_empty() || names.iter().any(|name| named(row, name));
    Ok(rows.into_iter().filter(wanted).collect())
}

fn render(rows: &[TunableRow], args: &SysctlArgs) -> String {
    let line = |row: &TunableRow| match (args.values, args.describe) {
        (true, _) => format!("{}\n", escape(&row.value)),
        (_, true) => {
            let only = if row.writable { "" } else { " (read only)" };
            format!("{}: {}{only}\n", escape(&row.name), escape(&row.text))
        }
        _ => format!("{} = {}\n", escape(&row.name), escape(&row.value)),
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<TunableRow> {
        let row = |name: &str, writable| TunableRow {
            name: name.into(),
            value: "1".into(),
            writable,
            text: "what it is".into(),
        };
        vec![row("kern.ident", false), row("net.inet.tcp.pacing", true), row("net.inet.tcpx", true)]
    }

    fn chosen(names: &[&str]) -> Vec<String> {
        choose(rows(), names).unwrap().into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn a_name_stands_for_all_below_it() {
        assert_eq!(chosen(&[]).len(), 3);
        assert_eq!(chosen(&["net.inet.tcp"]), ["net.inet.tcp.pacing"]);
        assert_eq!(chosen(&["kern.", "net.inet.tcpx"]), ["kern.ident", "net.inet.tcpx"]);
        assert_eq!(choose(rows(), &["net.inet.tc"]).unwrap_err().code, crate::fail::FAILED);
    }

    #[test]
    fn lines_are_bsds() {
        let args = |values, describe| SysctlArgs {
            all: true,
            describe,
            values,
            write: false,
            json: false,
            words: Vec::new(),
        };
        assert_eq!(render(&rows()[..1], &args(false, false)), "kern.ident = 1\n");
        assert_eq!(render(&rows()[..1], &args(true, false)), "1\n");
        let described = render(&rows()[..2], &args(false, true));
        assert_eq!(
            described,
            "kern.ident: what it is (read only)\nnet.inet.tcp.pacing: what it is\n"
        );
    }
}
