//! `iopkt route`: the routing table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proto::Request;
use proto::message::{NewRoute, Onward};
use proto::table::RouteRow;
use rustix::io::Errno;
use types::nearest;

use crate::address;
use crate::cli::{RouteArgs, take_options};
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::netstat::render_routes;
use crate::output::{escape, show};

pub(crate) mod load;
mod monitor;

/// A network and its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network(IpAddr, u8);

/// What the words ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verb {
    Show,
    Add(NewRoute),
    Delete(Network, Option<IpAddr>),
    Get(IpAddr),
    Load { file: String, replace: bool },
    Monitor,
}

/// Runs the tool.
pub(crate) fn main(mut sock: Option<String>, mut args: RouteArgs) -> Result<(), Failure> {
    let words = take_options(args.words, &mut args.json, &mut sock).map_err(Failure::usage)?;
    let (table, words) = take_table(words, args.table).map_err(Failure::usage)?;
    let verb = parse(&words).map_err(Failure::usage)?;
    if table != 0 && matches!(verb, Verb::Load { .. } | Verb::Monitor) {
        return Err(Failure::usage("load and monitor are of the first table, without -T".into()));
    }
    let mut control = Control::open(sock)?;
    match verb {
        Verb::Show => show(&*control.routes(table)?, args.json, render_routes),
        Verb::Get(host) => {
            let rows = control.route_to(table, host)?;
            let row = rows.first().ok_or_else(|| {
                Failure::failed(format!(
                    "no route to {host}; add one: iopkt route add default GATEWAY"
                ))
            })?;
            // What there was before several gateways is what one of them looks like.
            if args.json && rows.len() == 1 {
                return show(row, true, |_| String::new());
            }
            show(&*rows, args.json, |rows| render_one(host, rows))
        }
        Verb::Monitor => monitor::watch(&mut control, args.json),
        Verb::Load { file, replace } => load::load(&mut control, &file, replace, args.json),
        Verb::Add(route) => control
            .change(Request::AddRoute { table, route })
            .map_err(|error| explain(error, &Verb::Add(route))),
        Verb::Delete(to @ Network(destination, prefix_len), gateway) => control
            .change(Request::DeleteRoute { table, destination, prefix_len, gateway })
            .map_err(|error| explain(error, &Verb::Delete(to, gateway))),
    }
}

/// `-T TABLE`, which may stand behind the verb, too.
fn take_table(mut words: Vec<String>, before: u8) -> Result<(u8, Vec<String>), String> {
    let Some(at) = words.iter().position(|word| word == "-T") else { return Ok((before, words)) };
    let _keyword = words.remove(at);
    let value = if at < words.len() { words.remove(at) } else { String::new() };
    let table = value.parse().ok();
    let table = table.ok_or_else(|| format!("-T {value:?} is no table of routes, as in: -T 1"))?;
    Ok((table, words))
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
        "load" => return parse_load(&words),
        "show" | "add" | "delete" | "del" | "get" | "monitor" => {}
        _ => {
            let near = nearest(verb, ["show", "add", "delete", "get", "load", "monitor"]);
            let hint = near.map_or_else(
                || "verbs are show, add, delete, get, load and monitor".into(),
                |n| format!("did you mean {n}?"),
            );
            return Err(format!("unknown verb {verb:?}; {hint}"));
        }
    }
    if verb == "add" {
        return parse_new(words, six).map(Verb::Add);
    }
    let kind = take_kind(&mut words)?;
    let mask = take_mask(&mut words)?;
    match (verb, words.as_slice()) {
        ("show", []) => Ok(Verb::Show),
        ("monitor", []) => Ok(Verb::Monitor),
        ("delete" | "del", [to]) => Ok(Verb::Delete(network(to, kind, mask, six)?, None)),
        ("delete" | "del", [to, gateway]) => {
            let gateway = host(gateway)?;
            let to = network(to, kind, mask, six || gateway.is_ipv6())?;
            Ok(Verb::Delete(to, Some(gateway)))
        }
        ("get", [to]) => Ok(Verb::Get(host(to)?)),
        ("delete" | "del" | "get", []) => {
            Err(format!("{verb}: a destination is missing, as in: iopkt route {verb} 10.0.0.0/8"))
        }
        (_, rest) => Err(format!("too many words: {}", rest.join(" "))),
    }
}

fn parse_load(words: &[&str]) -> Result<Verb, String> {
    let replace = words.contains(&"-replace");
    let files: Vec<&&str> = words.iter().filter(|word| **word != "-replace").collect();
    match files.as_slice() {
        [file] => Ok(Verb::Load { file: (**file).to_owned(), replace }),
        _ => Err("load needs one file, as in: iopkt route load -replace routes.txt".into()),
    }
}

/// The words after `add`; a line of a file has the same.
fn parse_new(mut words: Vec<&str>, six: bool) -> Result<NewRoute, String> {
    let kind = take_kind(&mut words)?;
    let mask = take_mask(&mut words)?;
    let mtu = take_mtu(&mut words)?;
    let refusal = take_refusal(&mut words)?;
    let (to, onward) = match (words.as_slice(), refusal) {
        // BSD wants a gateway that is not used.
        ([to] | [to, _], Some(refusal)) => (network(to, kind, mask, six)?, refusal),
        ([to, gateway], None) => {
            let gateway = host(gateway)?;
            let to = network(to, kind, mask, six || gateway.is_ipv6())?;
            if to.0.is_ipv6() != gateway.is_ipv6() {
                return Err(format!("{} and {gateway} are of two versions of IP", to.0));
            }
            (to, Onward::Gateway(gateway))
        }
        ([to], None) => {
            return Err(format!("by which gateway? as in: iopkt route add {to} 198.18.77.1"));
        }
        ([], _) => {
            return Err("add: a destination is missing, as in: iopkt route add 10.0.0.0/8".into());
        }
        (rest, _) => return Err(format!("too many words: {}", rest.join(" "))),
    };
    Ok(NewRoute { destination: to.0, prefix_len: to.1, onward, mtu })
}

fn take_refusal(words: &mut Vec<&str>) -> Result<Option<Onward>, String> {
    let blackhole = words.contains(&"-blackhole");
    let reject = words.contains(&"-reject");
    words.retain(|word| !matches!(*word, "-blackhole" | "-reject"));
    match (blackhole, reject) {
        (true, true) => Err("-blackhole or -reject, not both".into()),
        (true, false) => Ok(Some(Onward::Blackhole)),
        (false, true) => Ok(Some(Onward::Reject)),
        (false, false) => Ok(None),
    }
}

fn take_mtu(words: &mut Vec<&str>) -> Result<Option<u16>, String> {
    let Some(at) = words.iter().position(|word| matches!(*word, "-mtu" | "mtu")) else {
        return Ok(None);
    };
    let _keyword = words.remove(at);
    let value = if at < words.len() { words.remove(at) } else { "" };
    let mtu = value.parse().ok();
    mtu.map(Some).ok_or_else(|| format!("mtu {value:?} is no number of bytes, as in: -mtu 1400"))
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

/// Why a load was refused.
fn explain_load(errno: i32) -> Failure {
    let hint = match errno {
        e if e == Errno::BUSY.raw_os_error() => "somebody else loads routes; wait until it is done",
        e if e == Errno::CANCELED.raw_os_error() => {
            "an interface has gone meanwhile; load the file again"
        }
        _ => "",
    };
    Failure::refused("cannot load routes", errno, hint)
}

fn explain(error: CallError, verb: &Verb) -> Failure {
    let errno = match error {
        CallError::Broken(failure) => return failure,
        CallError::Refused(errno) => errno,
    };
    let is = |e: Errno| e.raw_os_error() == errno;
    match verb {
        Verb::Add(new) => {
            let to = address::destination(new.destination, new.prefix_len);
            let what = match new.onward {
                Onward::Gateway(gateway) => format!("cannot add {to} by {gateway}"),
                Onward::Blackhole | Onward::Reject => format!("cannot add {to}"),
            };
            if is(Errno::EXIST) {
                let hint = format!("there is one; delete it first: iopkt route delete {to}");
                return Failure::refused(&what, errno, &hint);
            }
            if is(Errno::INVAL) && new.mtu.is_some() {
                let hint = "an MTU is 576 at least, 1280 in IPv6, and the gateway another station";
                return Failure::refused(&what, errno, hint);
            }
            if is(Errno::INVAL) {
                let hint = "a table must be one of net.fibs (iopkt sysctl net.fibs), and the gateway \
                            another station, not an address of this stack's own; a lost route to an interface's own network comes back with: iopkt \
                            ifconfig IF up";
                return Failure::refused(&what, errno, hint);
            }
            let near = "the gateway must be on a network of an interface: iopkt ifconfig";
            Failure::refused(&what, errno, if is(Errno::NETUNREACH) { near } else { "" })
        }
        Verb::Delete(Network(to, len), _) => {
            let what = format!("cannot delete {}", address::destination(*to, *len));
            if is(Errno::SRCH) {
                return Failure::failed(format!(
                    "{what}: there is no such route; see: iopkt route show"
                ));
            }
            Failure::refused(&what, errno, "see: iopkt route show")
        }
        Verb::Show | Verb::Get(_) | Verb::Load { .. } | Verb::Monitor => {
            Failure::refused("cannot read the routes", errno, "")
        }
    }
}

/// BSD's flag letters and their names.
const FLAGS: [(char, &str); 8] = [
    ('U', "UP"),
    ('G', "GATEWAY"),
    ('H', "HOST"),
    ('S', "STATIC"),
    ('C', "CLONING"),
    ('D', "DYNAMIC"),
    ('B', "BLACKHOLE"),
    ('R', "REJECT"),
];

/// One route, with all its gateways.
fn render_one(host: IpAddr, rows: &[RouteRow]) -> String {
    rows.iter().map(|row| render_path(host, row)).collect()
}

fn render_path(host: IpAddr, row: &RouteRow) -> String {
    let names: Vec<_> = FLAGS
        .iter()
        .filter(|(letter, _)| row.flags.contains(*letter))
        .map(|(_, name)| *name)
        .collect();
    let gateway = row.gateway.map_or_else(|| "link".into(), |gateway| gateway.to_string());
    let mtu = row.mtu.map_or_else(String::new, |mtu| format!("        mtu: {mtu}\n"));
    format!(
        "   route to: {host}\ndestination: {}\n    gateway: {gateway}\n  interface: {}\n      \
         flags: <{}>\n{mtu}",
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
    fn a_table_may_be_named_before_the_verb_and_behind() {
        let take = |line: &str, before| {
            take_table(line.split_whitespace().map(str::to_owned).collect(), before)
        };
        let rest = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(take("get 10.0.0.1", 3), Ok((3, rest("get 10.0.0.1"))));
        assert_eq!(take("add -T 2 default 10.0.0.1", 0), Ok((2, rest("add default 10.0.0.1"))));
        assert!(take("show -T", 0).is_err() && take("show -T 256", 0).is_err());
    }

    #[test]
    fn the_grammar() {
        let default = Network(v4(0, 0, 0, 0), 0);
        let one = Network(v4(10, 0, 0, 1), 32);
        let add = |to: Network, onward, mtu| {
            Verb::Add(NewRoute { destination: to.0, prefix_len: to.1, onward, mtu })
        };
        let by = Onward::Gateway(GATEWAY);
        for (line, verb) in [
            ("", Verb::Show),
            ("-n show", Verb::Show),
            ("add default 198.18.77.1", add(default, by, None)),
            ("add -net 10.0.0.0/8 198.18.77.1", add(TEN, by, None)),
            ("add 10.0.0.0 -netmask 255.0.0.0 198.18.77.1", add(TEN, by, None)),
            ("add 10.0.0.0 198.18.77.1 netmask 0xff000000", add(TEN, by, None)),
            ("add -host 10.0.0.1 198.18.77.1", add(one, by, None)),
            ("add 10.0.0.0/8 198.18.77.1 -mtu 1400", add(TEN, by, Some(1400))),
            ("add 10.0.0.0/8 127.0.0.1 -blackhole", add(TEN, Onward::Blackhole, None)),
            ("add -reject 10.0.0.0/8", add(TEN, Onward::Reject, None)),
            ("load -replace x", Verb::Load { file: "x".into(), replace: true }),
            ("delete default", Verb::Delete(default, None)),
            ("delete 10.0.0.0/8 198.18.77.1", Verb::Delete(TEN, Some(GATEWAY))),
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
            ("load", "needs one file"),
            ("add 10.0.0.0/8 -blackhole -reject", "not both"),
            ("add 10.0.0.0/8 198.18.77.1 -mtu", "as in: -mtu 1400"),
        ] {
            let error = parse_line(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    fn row(to: Network, gateway: Option<IpAddr>, flags: &str) -> RouteRow {
        let interface = "tap0".into();
        let (destination, prefix_len) = (to.0, to.1);
        RouteRow { destination, prefix_len, gateway, interface, flags: flags.into(), mtu: None }
    }

    #[test]
    fn a_route_looks_like_bsds() {
        let default = row(Network(v4(0, 0, 0, 0), 0), Some(GATEWAY), "UGS");
        let expected = "   route to: 8.8.8.8\ndestination: default\n    gateway: 198.18.77.1\n  \
                        interface: tap0\n      flags: <UP,GATEWAY,STATIC>\n";
        assert_eq!(render_one(v4(8, 8, 8, 8), std::slice::from_ref(&default)), expected);
        let narrow = RouteRow { mtu: Some(1400), ..default };
        assert!(render_one(v4(8, 8, 8, 8), &[narrow]).ends_with("        mtu: 1400\n"));
    }
}
