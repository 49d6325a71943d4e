//! `iopkt arp` and `iopkt ndp`: the neighbours of IPv4 and of IPv6.

use std::net::{IpAddr, Ipv4Addr};

use proto::Request;
use proto::table::NeighborRow;
use rustix::io::Errno;
use types::MacAddr;

use crate::address;
use crate::cli::ArpArgs;
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::{escape, left, right, show, table};

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
enum Verb {
    Show(Option<IpAddr>),
    Set(IpAddr, MacAddr),
    Publish(Ipv4Addr, Option<MacAddr>),
    Delete(IpAddr),
    DeleteAll,
}

/// Which neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `arp`.
    Inet,
    /// `ndp`.
    Inet6,
}

impl Family {
    const fn tool(self) -> &'static str {
        match self {
            Self::Inet => "arp",
            Self::Inet6 => "ndp",
        }
    }

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv6() == (self == Self::Inet6)
    }
}

/// Runs the tool.
pub(crate) fn main(sock: Option<String>, args: &ArpArgs, family: Family) -> Result<(), Failure> {
    let verb = parse(args, family).map_err(Failure::usage)?;
    let mut control = Control::open(sock)?;
    match verb {
        Verb::Show(host) => list(&mut control, host, args.json, family),
        Verb::Set(address, mac) => {
            control.change(Request::AddNeighbor { address, mac }).map_err(|error| {
                explain(error, &format!("cannot add {address} at {mac}"), "see: iopkt ifconfig")
            })
        }
        Verb::Publish(address, mac) => {
            control.change(Request::PublishNeighbor { address, mac }).map_err(|error| {
                let hint = "the address must be of a network of an interface, and not its own: iopkt ifconfig";
                explain(error, &format!("cannot answer for {address}"), hint)
            })
        }
        Verb::Delete(address) => match delete(&mut control, address)? {
            true => Ok(()),
            false => Err(absent(address, family)),
        },
        Verb::DeleteAll => {
            let rows = control.neighbors()?;
            let mut rows = rows.iter().filter(|row| family.has(row.address));
            // One may have two rows, or be gone by now.
            rows.try_for_each(|row| delete(&mut control, row.address).map(|_| ()))
        }
    }
}

fn parse(args: &ArpArgs, family: Family) -> Result<Verb, String> {
    let host = |word: &str| match address::parse(word)? {
        (address, None) if family.has(address) => Ok(address),
        (address, None) => {
            let other = if family == Family::Inet { Family::Inet6 } else { Family::Inet };
            Err(format!("{address}: its neighbours are shown by: iopkt {}", other.tool()))
        }
        (_, Some(_)) => Err(format!("{word}: a neighbour is one host, not a network")),
    };
    match (&args.set, &args.host, args.delete) {
        (Some(words), _, _) => parse_set(words, host),
        (None, Some(word), true) => Ok(Verb::Delete(host(word)?)),
        (None, None, true) if args.all => Ok(Verb::DeleteAll),
        (None, None, true) => Err("-d needs a host, or -a for all".into()),
        (None, word, false) => Ok(Verb::Show(word.as_deref().map(host).transpose()?)),
    }
}

/// HOST MAC, and `pub` to answer for it, then also with the interface's own MAC address, `auto`.
fn parse_set(
    words: &[String],
    host: impl Fn(&str) -> Result<IpAddr, String>,
) -> Result<Verb, String> {
    let (address, mac, published) = match words {
        [address, mac] => (host(address)?, mac, false),
        [address, mac, word] if word == "pub" => (host(address)?, mac, true),
        [_, _, word] => return Err(format!("unknown word {word:?}; did you mean pub?")),
        _ => return Err("-s needs HOST and MAC".into()),
    };
    let own = published && mac == "auto";
    let mac: Option<MacAddr> = match own {
        true => None,
        false => Some(mac.parse().map_err(|error| format!("{mac:?} is {error}"))?),
    };
    if let Some(mac) = mac.filter(|mac| !mac.is_unicast()) {
        return Err(format!("{mac} is a group address or zero; a neighbour has one of its own"));
    }
    match (address, mac) {
        (IpAddr::V4(address), mac) if published => Ok(Verb::Publish(address, mac)),
        (IpAddr::V6(_), _) if published => Err("pub: hosts are answered for in IPv4 only".into()),
        (address, Some(mac)) => Ok(Verb::Set(address, mac)),
        (address, None) => Err(format!("which MAC address has {address}?")),
    }
}

fn list(
    control: &mut Control,
    host: Option<IpAddr>,
    json: bool,
    family: Family,
) -> Result<(), Failure> {
    let mut rows = control.neighbors()?;
    rows.retain(|row| family.has(row.address));
    if let Some(host) = host {
        rows.retain(|row| row.address == host);
        if rows.is_empty() && !json {
            return Err(absent(host, family));
        }
    }
    show(&*rows, json, if family == Family::Inet { render } else { render6 })
}

fn absent(host: IpAddr, family: Family) -> Failure {
    let tool = family.tool();
    Failure::failed(format!("{host} is not in the table; all that are: iopkt {tool} -an"))
}

/// `false`: there is none of this address.
fn delete(control: &mut Control, address: IpAddr) -> Result<bool, Failure> {
    match control.change(Request::DeleteNeighbor { address }) {
        Ok(()) => Ok(true),
        Err(CallError::Refused(errno)) if errno == Errno::SRCH.raw_os_error() => Ok(false),
        Err(error) => Err(explain(error, &format!("cannot delete {address}"), "")),
    }
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

/// BSD's `ndp -an`. The state is its first letter in capitals.
fn render6(rows: &[NeighborRow]) -> String {
    let columns = [
        left("Neighbor", |row: &NeighborRow| row.address.to_string()),
        left("Linklayer Address", |row| {
            row.mac.map_or_else(|| "(incomplete)".into(), |mac| mac.to_string())
        }),
        left("Netif", |row| escape(&row.interface)),
        right("Expire", |row| {
            row.expires_s.map_or_else(|| "permanent".into(), |s| format!("{s}s"))
        }),
        left("S", |row| row.state.chars().take(1).flat_map(char::to_uppercase).collect()),
    ];
    table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn parse_line(line: &str) -> Result<Verb, String> {
        let cli = crate::cli::Cli::try_parse_from(line.split(' ')).map_err(|e| e.to_string())?;
        match cli.command {
            crate::cli::Command::Arp(args) => parse(&args, Family::Inet),
            crate::cli::Command::Ndp(args) => parse(&args, Family::Inet6),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn the_grammar() {
        let host: IpAddr = "10.0.0.9".parse().unwrap();
        let six: IpAddr = "2001:db8::9".parse().unwrap();
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        assert_eq!(parse_line("iopkt arp"), Ok(Verb::Show(None)));
        assert_eq!(parse_line("iopkt arp -an"), Ok(Verb::Show(None)));
        assert_eq!(parse_line("iopkt arp -n 10.0.0.9"), Ok(Verb::Show(Some(host))));
        assert_eq!(parse_line("iopkt arp -s 10.0.0.9 02:00:00:00:00:09"), Ok(Verb::Set(host, mac)));
        let four = Ipv4Addr::new(10, 0, 0, 9);
        assert_eq!(
            parse_line("iopkt arp -s 10.0.0.9 02:00:00:00:00:09 pub"),
            Ok(Verb::Publish(four, Some(mac)))
        );
        assert_eq!(parse_line("iopkt arp -s 10.0.0.9 auto pub"), Ok(Verb::Publish(four, None)));
        assert_eq!(
            parse_line("iopkt ndp -s 2001:db8::9 02:00:00:00:00:09"),
            Ok(Verb::Set(six, mac))
        );
        assert_eq!(parse_line("iopkt arp -d 10.0.0.9"), Ok(Verb::Delete(host)));
        assert_eq!(parse_line("iopkt arp -d -a"), Ok(Verb::DeleteAll));
        assert_eq!(parse_line("iopkt ndp -an"), Ok(Verb::Show(None)));
        assert_eq!(parse_line("iopkt ndp -d 2001:db8::9"), Ok(Verb::Delete(six)));
        for line in [
            "iopkt arp -d",
            "iopkt arp -s 10.0.0.9",
            "iopkt arp -s 10.0.0.9 ff:ff:ff:ff:ff:ff",
            "iopkt arp -s 10.0.0.9 02:00",
            "iopkt arp host",
            "iopkt arp 10.0.0.0/8",
            "iopkt arp -a 10.0.0.9",
            "iopkt arp 2001:db8::9",
            "iopkt ndp 10.0.0.9",
            "iopkt arp -s 10.0.0.9 auto",
            "iopkt arp -s 10.0.0.9 auto temp",
            "iopkt ndp -s 2001:db8::9 auto pub",
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn neighbours_look_like_bsds() {
        let known = NeighborRow {
            address: "198.18.77.1".parse().unwrap(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            interface: "tap0".into(),
            state: "reachable".into(),
            expires_s: Some(1187),
        };
        let asked = NeighborRow {
            address: "198.18.77.9".parse().unwrap(),
            mac: None,
            state: "incomplete".into(),
            expires_s: None,
            ..known.clone()
        };
        let expected = "\
? (198.18.77.1) at 02:00:00:00:00:01 on tap0 [reachable, expires in 1187 s]
? (198.18.77.9) at (incomplete) on tap0 [incomplete]
";
        assert_eq!(render(&[known.clone(), asked.clone()]), expected);
        let expected = "\
Neighbor     Linklayer Address  Netif     Expire  S
198.18.77.1  02:00:00:00:00:01  tap0       1187s  R
198.18.77.9  (incomplete)       tap0   permanent  I
";
        assert_eq!(render6(&[known, asked]), expected);
    }
}
