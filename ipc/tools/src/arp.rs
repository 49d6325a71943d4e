//! `iopkt arp`: the neighbour table.

use std::net::Ipv4Addr;

use proto::Request;
use proto::table::NeighborRow;
use types::MacAddr;

use crate::address;
use crate::cli::ArpArgs;
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::{escape, show};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Show(Option<Ipv4Addr>),
    Set(Ipv4Addr, MacAddr),
    Delete(Ipv4Addr),
    DeleteAll,
}

/// Runs the tool.
pub(crate) fn main(sock: Option<String>, args: &ArpArgs) -> Result<(), Failure> {
    let verb = parse(args).map_err(Failure::usage)?;
    let mut control = Control::open(sock)?;
    match verb {
        Verb::Show(host) => list(&mut control, host, args.json),
        Verb::Set(address, mac) => {
            control.change(Request::AddNeighbor { address, mac }).map_err(|error| {
                explain(error, &format!("cannot add {address} at {mac}"), "see: iopkt ifconfig")
            })
        }
        Verb::Delete(address) => delete(&mut control, address),
        Verb::DeleteAll => {
            let rows = control.neighbors()?;
            rows.iter().try_for_each(|row| delete(&mut control, row.address))
        }
    }
}

fn parse(args: &ArpArgs) -> Result<Verb, String> {
    let host = |word: &str| match address::parse(word)? {
        (address, None) => Ok(address),
        (_, Some(_)) => Err(format!("{word}: a neighbour is one host, not a network")),
    };
    match (&args.set, &args.host, args.delete) {
        (Some(pair), _, _) => {
            let [address, mac] = pair.as_slice() else {
                return Err("-s needs HOST and MAC".into());
            };
            let mac: MacAddr = mac.parse().map_err(|error| format!("{mac:?} is {error}"))?;
            if !mac.is_unicast() {
                return Err(format!(
                    "{mac} is a group address or zero; a neighbour has one of its own"
                ));
            }
            Ok(Verb::Set(host(address)?, mac))
        }
        (None, Some(word), true) => Ok(Verb::Delete(host(word)?)),
        (None, None, true) if args.all => Ok(Verb::DeleteAll),
        (None, None, true) => Err("-d needs a host, or -a for all".into()),
        (None, word, false) => Ok(Verb::Show(word.as_deref().map(host).transpose()?)),
    }
}

fn list(control: &mut Control, host: Option<Ipv4Addr>, json: bool) -> Result<(), Failure> {
    let mut rows = control.neighbors()?;
    if let Some(host) = host {
        rows.retain(|row| row.address == host);
        if rows.is_empty() && !json {
            return Err(Failure::failed(format!(
                "{host} is not in the table; all that are: iopkt arp -an"
            )));
        }
    }
    show(&*rows, json, render)
}

fn delete(control: &mut Control, address: Ipv4Addr) -> Result<(), Failure> {
    let what = format!("cannot delete {address}");
    control
        .change(Request::DeleteNeighbor { address })
        .map_err(|error| explain(error, &what, "all that are there: iopkt arp -an"))
}

fn explain(error: CallError, what: &str, hint: &str) -> Failure {
    match error {
        CallError::Refused(errno) => Failure::refused(what, errno, hint),
        CallError::Broken(failure) => failure,
    }
}

fn render(rows: &[NeighborRow]) -> String {
    let line = |row: &NeighborRow| {
        let mac = row.mac.map_or_else(|| "(incomplete)".into(), |mac| mac.to_string());
        let expires = row.expires_s.map(|s| format!(", expires in {s} s")).unwrap_or_default();
        format!(
            "? ({}) at {mac} on {} [{}{expires}]\n",
            row.address,
            escape(&row.interface),
            escape(&row.state)
        )
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn parse_line(line: &str) -> Result<Verb, String> {
        let cli = crate::cli::Cli::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?;
        let crate::cli::Command::Arp(args) = cli.command else { panic!("{line}") };
        parse(&args)
    }

    #[test]
    fn the_grammar() {
        let host = Ipv4Addr::new(10, 0, 0, 9);
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        assert_eq!(parse_line("iopkt arp"), Ok(Verb::Show(None)));
        assert_eq!(parse_line("iopkt arp -an"), Ok(Verb::Show(None)));
        assert_eq!(parse_line("iopkt arp -n 10.0.0.9"), Ok(Verb::Show(Some(host))));
        assert_eq!(parse_line("iopkt arp -s 10.0.0.9 02:00:00:00:00:09"), Ok(Verb::Set(host, mac)));
        assert_eq!(parse_line("iopkt arp -d 10.0.0.9"), Ok(Verb::Delete(host)));
        assert_eq!(parse_line("iopkt arp -d -a"), Ok(Verb::DeleteAll));
        for line in [
            "iopkt arp -d",
            "iopkt arp -s 10.0.0.9",
            "iopkt arp -s 10.0.0.9 ff:ff:ff:ff:ff:ff",
            "iopkt arp -s 10.0.0.9 02:00",
            "iopkt arp host",
            "iopkt arp 10.0.0.0/8",
            "iopkt arp -a 10.0.0.9",
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn neighbours_look_like_bsds() {
        let known = NeighborRow {
            address: Ipv4Addr::new(198, 18, 77, 1),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            interface: "tap0".into(),
            state: "reachable".into(),
            expires_s: Some(1187),
        };
        let asked = NeighborRow {
            address: Ipv4Addr::new(198, 18, 77, 9),
            mac: None,
            state: "incomplete".into(),
            expires_s: None,
            ..known.clone()
        };
        let expected = "\
? (198.18.77.1) at 02:00:00:00:00:01 on tap0 [reachable, expires in 1187 s]
? (198.18.77.9) at (incomplete) on tap0 [incomplete]
";
        assert_eq!(render(&[known, asked]), expected);
    }
}
