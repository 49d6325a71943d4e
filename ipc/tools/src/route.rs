//! `iopkt route`: the routing table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::Request;
use proto::table::RouteRow;
use rustix::io::Errno;
use types::nearest;

use crate::address;
use crate::cli::{RouteArgs, take_options};
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::netstat::render_routes;
use crate::output::{escape, show};

/// A network and its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network(IpAddr, u8);

/// What the words ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Show,
    Add(Network, IpAddr),
    Delete(Network),
    Get(IpAddr),
}

/// Runs the tool.
pub(crate) fn main(mut sock: Option<String>, mut args: RouteArgs) -> Result<(), Failure> {
    let words = take_options(args.words, &mut args.json, &mut sock).map_err(Failure::usage)?;
    let verb = parse(&words).map_err(Failure::usage)?;
    let mut control = Control::open(sock)?;
    match verb {
        Verb::Show => show(&*control.routes()?, args.json, render_routes),
        Verb::Get(host) => {
            let rows = control.routes()?;
            let row = lookup(&rows, host).ok_or_else(|| {
                Failure::failed(format!(
                    "no route to {host}; add one: iopkt route add default GATEWAY"
                ))
            })?;
            show(row, args.json, |row| render_one(host, row))
        }
        Verb::Add(Network(destination, prefix_len), gateway) => control
            .change(Request::AddRoute { destination, prefix_len, gateway })
            .map_err(|error| explain(error, verb)),
        Verb::Delete(Network(destination, prefix_len)) => control
            .change(Request::DeleteRoute { destination, prefix_len })
            .map_err(|error| explain(error, verb)),
    }
}

fn parse(words: &[String]) -> Result<Verb, String> {
    let six = words.iter().any(|word| word == "-inet6");
    let said = |word: &&str| !matches!(*word, "-n" | "-inet" | "-inet6");
    let mut words: Vec<&str> = words.iter().map(String::as_str).filter(said).collect();
    if words.is_empty() {
        return Ok(Verb::Show);
    }
    let verb = words.remove(0);
    match verb {
        "show" | "add" | "delete" | "del" | "get" => {}
        _ => {
            let near = nearest(verb, ["show", "add", "delete", "get"]);
            let hint = near.map_or_else(
                || "verbs are show, add, delete and get".into(),
                |n| format!("did you mean {n}?"),
            );
            return Err(format!("unknown verb {verb:?}; {hint}"));
        }
    }
    let kind = take_kind(&mut words)?;
    let mask = take_mask(&mut words)?;
    match (verb, words.as_slice()) {
        ("show", []) => Ok(Verb::Show),
        ("add", [to, gateway]) => {
            let gateway = host(gateway)?;
            let to = network(to, kind, mask, six || gateway.is_ipv6())?;
            if to.0.is_ipv6() == gateway.is_ipv6() {
                Ok(Verb::Add(to, gateway))
            } else {
                Err(format!("{} and {gateway} are of two versions of IP", to.0))
            }
        }
        ("add", [to]) => Err(format!("by which gateway? as in: iopkt route add {to} 198.18.77.1")),
        ("delete" | "del", [to] | [to, _]) => Ok(Verb::Delete(network(to, kind, mask, six)?)),
        ("get", [to]) => Ok(Verb::Get(host(to)?)),
        ("add" | "delete" | "del" | "get", []) => {
            Err(format!("{verb}: a destination is missing, as in: iopkt route {verb} 10.0.0.0/8"))
        }
        (_, rest) => Err(format!("too many words: {}", rest.join(" "))),
    }
}

/// How the destination is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsaid,
    Net,
    Host,
}

fn take_kind(words: &mut Vec<&str>) -> Result<Kind, String> {
    let net = words.contains(&"-net");
    let host = words.contains(&"-host");
    words.retain(|word| !matches!(*word, "-net" | "-host"));
    match (net, host) {
        (true, true) => Err("-net or -host, not both".into()),
        (true, false) => Ok(Kind::Net),
        (false, true) => Ok(Kind::Host),
        (false, false) => Ok(Kind::Unsaid),
    }
}

fn take_mask(words: &mut Vec<&str>) -> Result<Option<u8>, String> {
    let Some(at) = words.iter().position(|word| matches!(*word, "-netmask" | "netmask")) else {
        return Ok(None);
    };
    let _keyword = words.remove(at);
    if at == words.len() {
        return Err("netmask needs a value, as in: -netmask 255.0.0.0".into());
    }
    address::parse_mask(words.remove(at)).map(Some)
}

fn network(word: &str, kind: Kind, mask: Option<u8>, six: bool) -> Result<Network, String> {
    if word == "default" {
        let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let all = if six { Ipv6Addr::UNSPECIFIED.into() } else { v4 };
        return Ok(Network(all, 0));
    }
    let (address, len) = address::parse(word)?;
    let host = address::bits(address);
    let len = match (kind, mask.or(len)) {
        (Kind::Unsaid | Kind::Host, None) => host,
        (Kind::Host, Some(len)) if len == host => host,
        (Kind::Host, Some(len)) => {
            return Err(format!("-host {word}: a host has no prefix /{len}; use -net"));
        }
        (Kind::Net, None) => {
            return Err(format!("how long is the prefix of {word}? write {word}/{}", host / 4 * 3));
        }
        (_, Some(len)) => len,
    };
    let first = address::network(address, len);
    if first != address {
        return Err(format!(
            "{address}/{len} has bits beyond its prefix; did you mean {first}/{len}?"
        ));
    }
    Ok(Network(address, len))
}

fn host(word: &str) -> Result<IpAddr, String> {
    match address::parse(word)? {
        (address, None) => Ok(address),
        (address, Some(len)) if len == address::bits(address) => Ok(address),
        (address, Some(len)) => {
            Err(format!("{word}: one host is meant, not a network; write {address} without /{len}"))
        }
    }
}

/// Longest prefix that holds the host.
fn lookup(rows: &[RouteRow], host: IpAddr) -> Option<&RouteRow> {
    rows.iter()
        .filter(|row| row.destination.is_ipv6() == host.is_ipv6())
        .filter(|row| address::network(host, row.prefix_len) == row.destination)
        .max_by_key(|row| row.prefix_len)
}

fn explain(error: CallError, verb: Verb) -> Failure {
    let errno = match error {
        CallError::Broken(failure) => return failure,
        CallError::Refused(errno) => errno,
    };
    let is = |e: Errno| e.raw_os_error() == errno;
    match verb {
        Verb::Add(Network(to, len), gateway) => {
            let to = address::destination(to, len);
            let what = format!("cannot add {to} by {gateway}");
            if is(Errno::EXIST) {
                let hint = format!("there is one; delete it first: iopkt route delete {to}");
                return Failure::refused(&what, errno, &hint);
            }
            if is(Errno::INVAL) {
                let hint = "the gateway must be another station, not an address of this stack's own; \
                            a lost route to an interface's own network comes back with: iopkt \
                            ifconfig IF up";
                return Failure::refused(&what, errno, hint);
            }
            let near = "the gateway must be on a network of an interface: iopkt ifconfig";
            Failure::refused(&what, errno, if is(Errno::NETUNREACH) { near } else { "" })
        }
        Verb::Delete(Network(to, len)) => {
            let what = format!("cannot delete {}", address::destination(to, len));
            if is(Errno::SRCH) {
                return Failure::failed(format!(
                    "{what}: there is no such route; see: iopkt route show"
                ));
            }
            Failure::refused(&what, errno, "see: iopkt route show")
        }
        Verb::Show | Verb::Get(_) => Failure::refused("cannot read the routes", errno, ""),
    }
}

/// BSD's flag letters and their names.
const FLAGS: [(char, &str); 5] =
    [('U', "UP"), ('G', "GATEWAY"), ('H', "HOST"), ('S', "STATIC"), ('C', "CLONING")];

fn render_one(host: IpAddr, row: &RouteRow) -> String {
    let names: Vec<_> = FLAGS
        .iter()
        .filter(|(letter, _)| row.flags.contains(*letter))
        .map(|(_, name)| *name)
        .collect();
    let gateway = row.gateway.map_or_else(|| "link".into(), |gateway| gateway.to_string());
    format!(
        "   route to: {host}\ndestination: {}\n    gateway: {gateway}\n  interface: {}\n      \
         flags: <{}>\n",
        address::destination(row.destination, row.prefix_len),
        escape(&row.interface),
        names.join(","),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Verb, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 77, 1));
    const TEN: Network = Network(v4(10, 0, 0, 0), 8);

    const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }

    #[test]
    fn the_grammar() {
        let default = Network(v4(0, 0, 0, 0), 0);
        let one = Network(v4(10, 0, 0, 1), 32);
        for (line, verb) in [
            ("", Verb::Show),
            ("-n show", Verb::Show),
            ("add default 198.18.77.1", Verb::Add(default, GATEWAY)),
            ("add -net 10.0.0.0/8 198.18.77.1", Verb::Add(TEN, GATEWAY)),
            ("add 10.0.0.0 -netmask 255.0.0.0 198.18.77.1", Verb::Add(TEN, GATEWAY)),
            ("add 10.0.0.0 198.18.77.1 netmask 0xff000000", Verb::Add(TEN, GATEWAY)),
            ("add -host 10.0.0.1 198.18.77.1", Verb::Add(one, GATEWAY)),
            ("delete default", Verb::Delete(default)),
            ("delete 10.0.0.0/8 198.18.77.1", Verb::Delete(TEN)),
            ("get 10.0.0.1", Verb::Get(one.0)),
        ] {
            assert_eq!(parse_line(line), Ok(verb), "{line}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write_instead() {
        for (line, part) in [
            ("ad default 198.18.77.1", "did you mean add?"),
            ("frob", "verbs are"),
            ("add", "destination is missing"),
            ("add default", "by which gateway?"),
            ("add 10.1.0.0/8 198.18.77.1", "did you mean 10.0.0.0/8?"),
            ("add -net 10.0.0.0 198.18.77.1", "how long"),
            ("add -host 10.0.0.0/8 198.18.77.1", "use -net"),
            ("add -net -host 10.0.0.0/8 198.18.77.1", "not both"),
            ("add default 198.18.77.0/24", "one host"),
            ("add default 198.18.77.1 x", "too many"),
            ("add default -netmask", "needs a value"),
            ("get", "destination is missing"),
        ] {
            let error = parse_line(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    fn row(to: Network, gateway: Option<IpAddr>, flags: &str) -> RouteRow {
        let interface = "tap0".into();
        RouteRow { destination: to.0, prefix_len: to.1, gateway, interface, flags: flags.into() }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let rows = [row(Network(v4(0, 0, 0, 0), 0), Some(GATEWAY), "UGS"), row(TEN, None, "UC")];
        assert_eq!(lookup(&rows, v4(10, 9, 9, 9)), Some(&rows[1]));
        assert_eq!(lookup(&rows, v4(11, 9, 9, 9)), Some(&rows[0]));
        assert_eq!(lookup(&rows[1..], v4(11, 9, 9, 9)), None);
    }

    #[test]
    fn a_route_looks_like_bsds() {
        let default = row(Network(v4(0, 0, 0, 0), 0), Some(GATEWAY), "UGS");
        let expected = "   route to: 8.8.8.8\ndestination: default\n    gateway: 198.18.77.1\n  \
                        interface: tap0\n      flags: <UP,GATEWAY,STATIC>\n";
        assert_eq!(render_one(v4(8, 8, 8, 8), &default), expected);
    }
}
