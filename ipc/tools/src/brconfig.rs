//! `iopkt brconfig`: bridges with BSD's words.

use std::fmt::Write as _;

use proto::{BridgePage, BridgeRow, BridgeVerb, ListeningRow, Reply, Request, StationRow, TreeRow};
use rustix::io::Errno;
use types::{MacAddr, nearest};

use crate::cli::{BrconfigArgs, take_options};
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::output::{escape, show};

/// Words after the bridge's name.
const WORDS: [&str; 31] = [
    "up",
    "down",
    "add",
    "delete",
    "addr",
    "maxaddr",
    "ifmaxaddr",
    "timeout",
    "static",
    "deladdr",
    "flush",
    "flushall",
    "discover",
    "-discover",
    "learn",
    "-learn",
    "span",
    "-span",
    "flood",
    "groups",
    "snoop",
    "-snoop",
    "stp",
    "-stp",
    "maxage",
    "fwddelay",
    "hellotime",
    "priority",
    "ifpriority",
    "ifpathcost",
    "proto",
];

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Up(bool),
    Do(BridgeVerb),
}

/// Runs the tool.
pub(crate) fn main(mut sock: Option<String>, mut args: BrconfigArgs) -> Result<(), Failure> {
    let words = take_options(args.words, &mut args.json, &mut sock).map_err(Failure::usage)?;
    let Some((name, words)) = words.split_first() else {
        return show(&*bridges(&mut Control::open(sock)?)?, args.json, render);
    };
    if words == ["addr"] {
        let rows = stations(&mut Control::open(sock)?, name)?;
        return show(&*rows, args.json, render_stations);
    }
    if words == ["groups"] {
        let rows = listening(&mut Control::open(sock)?, name)?;
        return show(&*rows, args.json, render_listening);
    }
    let steps = parse(words).map_err(Failure::usage)?;
    let mut control = Control::open(sock)?;
    if steps.is_empty() {
        let mut rows = bridges(&mut control)?;
        rows.retain(|row| row.name == *name);
        if rows.is_empty() {
            let hint = "see: iopkt brconfig; make one: iopkt ifconfig bridge0 create";
            return Err(Failure::failed(format!("no bridge {:?}; {hint}", escape(name))));
        }
        return show(&*rows, args.json, render);
    }
    steps.into_iter().try_for_each(|step| apply(&mut control, name, step))
}

fn bridges(control: &mut Control) -> Result<Vec<BridgeRow>, Failure> {
    control.ask(Request::Bridges, |r| if let Reply::Bridges(x) = r { Some(x) } else { None })
}

fn stations(control: &mut Control, name: &str) -> Result<Vec<StationRow>, Failure> {
    let pick = |reply| if let Reply::Stations(page) = reply { Some(page) } else { None };
    let request = |skip| Request::Stations(BridgePage { bridge: name.into(), skip });
    control.list_or("stations", request, pick, |error| explain(error, name, "addr"))
}

fn listening(control: &mut Control, name: &str) -> Result<Vec<ListeningRow>, Failure> {
    let pick = |reply| if let Reply::Listening(page) = reply { Some(page) } else { None };
    let request = |skip| Request::Listening(BridgePage { bridge: name.into(), skip });
    control.list_or("groups", request, pick, |error| explain(error, name, "groups"))
}

/// The changes that the words after a bridge's name ask for; none means to show it.
fn parse(words: &[String]) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut argument = || words.next().ok_or_else(|| format!("{word} needs a value"));
        steps.push(match word {
            "up" => Step::Up(true),
            "down" => Step::Up(false),
            "addr" | "groups" => {
                return Err(format!("{word} stands alone: iopkt brconfig bridge0 {word}"));
            }
            _ => Step::Do(verb(word, &mut argument)?),
        });
    }
    Ok(steps)
}

fn verb<'a>(
    word: &str,
    argument: &mut impl FnMut() -> Result<&'a str, String>,
) -> Result<BridgeVerb, String> {
    let on = !word.starts_with('-');
    Ok(match word {
        "add" => BridgeVerb::Add(argument()?.into()),
        "delete" => BridgeVerb::Delete(argument()?.into()),
        "span" | "-span" => BridgeVerb::Span { interface: argument()?.into(), on },
        "learn" | "-learn" => BridgeVerb::Learn { interface: argument()?.into(), on },
        "discover" | "-discover" => BridgeVerb::Discover { interface: argument()?.into(), on },
        "maxaddr" => BridgeVerb::MaxAddresses(number(word, argument()?)?),
        "ifmaxaddr" => BridgeVerb::PortAddresses(number(word, argument()?)?),
        "timeout" => BridgeVerb::Timeout(number(word, argument()?)?),
        "flood" => BridgeVerb::Flood(number(word, argument()?)?),
        "snoop" | "-snoop" => BridgeVerb::Snoop(on),
        "static" => {
            let interface = argument()?.into();
            BridgeVerb::Static { interface, address: address(argument()?)? }
        }
        "deladdr" => BridgeVerb::DeleteAddress(address(argument()?)?),
        "flush" => BridgeVerb::Flush { all: false },
        "flushall" => BridgeVerb::Flush { all: true },
        _ => return tree_verb(word, argument),
    })
}

/// Verbs of the spanning tree.
fn tree_verb<'a>(
    word: &str,
    argument: &mut impl FnMut() -> Result<&'a str, String>,
) -> Result<BridgeVerb, String> {
    let on = !word.starts_with('-');
    Ok(match word {
        "stp" | "-stp" => BridgeVerb::Stp { interface: argument()?.into(), on },
        "maxage" => BridgeVerb::MaxAge(number(word, argument()?)?),
        "fwddelay" => BridgeVerb::ForwardDelay(number(word, argument()?)?),
        "hellotime" => BridgeVerb::HelloTime(number(word, argument()?)?),
        "priority" => BridgeVerb::Priority(number(word, argument()?)?),
        "ifpriority" => {
            let interface = argument()?.into();
            BridgeVerb::PortPriority { interface, priority: number(word, argument()?)? }
        }
        "ifpathcost" => {
            let interface = argument()?.into();
            BridgeVerb::PortCost { interface, cost: number(word, argument()?)? }
        }
        "proto" => match argument()? {
            "rstp" => BridgeVerb::Rapid(true),
            "stp" => BridgeVerb::Rapid(false),
            other => return Err(format!("proto {other:?}: write rstp or stp")),
        },
        _ => return Err(unknown(word)),
    })
}

fn number(word: &str, text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{word} {text:?} is not a number from 0 to {}", u32::MAX))
}

fn address(text: &str) -> Result<MacAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not a MAC address like 02:00:00:00:00:01"))
}

fn unknown(word: &str) -> String {
    match nearest(word, WORDS) {
        Some(near) => format!("unknown word {word:?}; did you mean {near}?"),
        None => format!("unknown word {word:?}; see: iopkt brconfig --help"),
    }
}

fn apply(control: &mut Control, name: &str, step: Step) -> Result<(), Failure> {
    let (what, request) = match step {
        Step::Up(up) => {
            let what = if up { "up" } else { "down" };
            (what.to_owned(), Request::SetUp { interface: name.into(), up })
        }
        Step::Do(verb) => (described(&verb), Request::Bridge { bridge: name.into(), verb }),
    };
    control.change(request).map_err(|error| explain(error, name, &what))
}

/// A verb in the words it was given in.
fn described(verb: &BridgeVerb) -> String {
    let sign = |on: &bool| if *on { "" } else { "-" };
    match verb {
        BridgeVerb::Add(port) => format!("add {port}"),
        BridgeVerb::Delete(port) => format!("delete {port}"),
        BridgeVerb::Span { interface, on } => format!("{}span {interface}", sign(on)),
        BridgeVerb::Learn { interface, on } => format!("{}learn {interface}", sign(on)),
        BridgeVerb::Discover { interface, on } => format!("{}discover {interface}", sign(on)),
        BridgeVerb::MaxAddresses(most) => format!("maxaddr {most}"),
        BridgeVerb::PortAddresses(most) => format!("ifmaxaddr {most}"),
        BridgeVerb::Timeout(seconds) => format!("timeout {seconds}"),
        BridgeVerb::Static { interface, address } => format!("static {interface} {address}"),
        BridgeVerb::DeleteAddress(address) => format!("deladdr {address}"),
        BridgeVerb::Flush { all } => if *all { "flushall" } else { "flush" }.into(),
        BridgeVerb::Flood(most) => format!("flood {most}"),
        BridgeVerb::Snoop(on) => format!("{}snoop", sign(on)),
        BridgeVerb::Stp { interface, on } => format!("{}stp {interface}", sign(on)),
        BridgeVerb::MaxAge(seconds) => format!("maxage {seconds}"),
        BridgeVerb::ForwardDelay(seconds) => format!("fwddelay {seconds}"),
        BridgeVerb::HelloTime(seconds) => format!("hellotime {seconds}"),
        BridgeVerb::Priority(priority) => format!("priority {priority}"),
        BridgeVerb::PortPriority { interface, priority } => {
            format!("ifpriority {interface} {priority}")
        }
        BridgeVerb::PortCost { interface, cost } => format!("ifpathcost {interface} {cost}"),
        BridgeVerb::Rapid(rapid) => format!("proto {}", if *rapid { "rstp" } else { "stp" }),
    }
}

fn explain(error: CallError, name: &str, what: &str) -> Failure {
    let errno = match error {
        CallError::Broken(failure) => return failure,
        CallError::Refused(errno) => errno,
    };
    let hint = match Errno::from_raw_os_error(errno) {
        Errno::NXIO => "there is no such interface; see: iopkt ifconfig -l",
        Errno::OPNOTSUPP => "it is no bridge; make one: iopkt ifconfig bridge0 create",
        Errno::NOENT => "that interface is no port of it; see: iopkt brconfig",
        Errno::BUSY => "another bridge has that interface",
        Errno::EXIST => "it has that interface already",
        Errno::LOOP => "a bridge, or a VLAN over one, is no port of a bridge",
        Errno::NOSPC => "it has as many as it can have",
        Errno::INVAL => {
            "lo0 is no port; maxaddr ends at 4194304, maxage is 6 to 40, fwddelay 4 to 30, hellotime 1 to 10, \
             priority to 65535, ifpriority to 255"
        }
        _ => "",
    };
    Failure::refused(&format!("{}: {}", escape(name), escape(what)), errno, hint)
}

fn render(rows: &[BridgeRow]) -> String {
    let mut text = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _infallible = render_one(&mut text, row);
    }
    text
}

fn render_one(text: &mut String, row: &BridgeRow) -> std::fmt::Result {
    let (bits, name) = if row.up { (1, "UP") } else { (0, "") };
    writeln!(text, "{}: flags={bits:x}<{name}>", escape(&row.name))?;
    writeln!(text, "\taddress: {}", row.mac)?;
    writeln!(
        text,
        "\tAddress cache: max {} timeout {}, at most {} at one interface, flood {}/s{}",
        row.max_addresses,
        row.timeout_s,
        if row.port_addresses == 0 { "all".into() } else { row.port_addresses.to_string() },
        row.flood,
        if row.snoop { ", snoop" } else { "" }
    )?;
    if let Some(tree) = &row.tree {
        render_tree(text, tree)?;
    }
    writeln!(text, "\tInterfaces:")?;
    for member in &row.members {
        let stp = member.role.is_some();
        let words = [("LEARNING", member.learn), ("DISCOVER", member.discover), ("STP", stp)];
        let words: Vec<_> = words.iter().filter(|(_, on)| *on).map(|(word, _)| *word).collect();
        let bits = u8::from(member.learn) | u8::from(member.discover) << 1 | u8::from(stp) << 2;
        let (name, words) = (escape(&member.interface), words.join(","));
        writeln!(text, "\t\t{name} flags={bits:x}<{words}>")?;
        let (port, state) = (member.port, escape(&member.state));
        match &member.role {
            None => writeln!(text, "\t\t\tport {port} {state}")?,
            Some(role) => writeln!(
                text,
                "\t\t\tport {port} priority {} path cost {} {state}, {}",
                member.priority,
                member.cost,
                escape(role)
            )?,
        }
    }
    for span in &row.spans {
        writeln!(text, "\t\t{} flags=8<SPAN>", escape(span))?;
    }
    Ok(())
}

fn render_tree(text: &mut String, tree: &TreeRow) -> std::fmt::Result {
    writeln!(
        text,
        "\tproto {} priority {} hellotime {} fwddelay {} maxage {}, topology changed {} times",
        escape(&tree.proto),
        tree.priority,
        tree.hello_s,
        tree.forward_delay_s,
        tree.max_age_s,
        tree.changes
    )?;
    let way = tree.root_port.as_ref().map_or_else(
        || "this bridge".into(),
        |port| format!("by {} for {}", escape(port), tree.root_cost),
    );
    writeln!(text, "\troot {} priority {}, {way}", tree.root, tree.root_priority)
}

fn render_stations(rows: &[StationRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let expires = row.expires_s.unwrap_or(0);
        let flags = if row.fixed { "1<STATIC>" } else { "0<>" };
        let interface = escape(&row.interface);
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "\t{} {interface} {expires} flags={flags}", row.address);
    }
    text
}

fn render_listening(rows: &[ListeningRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let group = row.group.map_or_else(|| "router".into(), |group| group.to_string());
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "\t{group} {} {}", escape(&row.interface), row.expires_s);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::MemberRow;

    fn parse_line(line: &str) -> Result<Vec<Step>, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn each_word_is_a_step_and_is_told_of_as_it_was_written() {
        let line = "add tap0 delete tap1 span tap2 -span tap2 learn tap0 -learn tap0 discover tap0 \
                    -discover tap0 maxaddr 5 ifmaxaddr 3 timeout 0 static tap0 02:00:00:00:00:09 \
                    deladdr 02:00:00:00:00:09 flush flushall flood 7 stp tap0 -stp tap0 maxage 20 \
                    fwddelay 15 hellotime 2 priority 4096 ifpriority tap0 16 ifpathcost tap0 5 \
                    proto rstp proto stp";
        let steps = parse_line(&format!("{line} up down")).unwrap();
        let said = steps.iter().filter_map(|step| match step {
            Step::Do(verb) => Some(described(verb)),
            Step::Up(_) => None,
        });
        let words = line.split_whitespace().collect::<Vec<_>>();
        assert_eq!(said.collect::<Vec<_>>().join(" "), words.join(" "));
        assert_eq!(steps[steps.len() - 2..], [Step::Up(true), Step::Up(false)]);
        for (line, part) in [
            ("add", "needs a value"),
            ("maxaddr x", "not a number"),
            ("static tap0 x", "not a MAC address"),
            ("up addr", "stands alone"),
            ("maxadr 5", "did you mean maxaddr?"),
            ("frobnicate", "--help"),
        ] {
            let error = parse_line(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_bridge_and_its_stations_look_like_bsds() {
        let member = MemberRow {
            interface: "tap0".into(),
            port: 1,
            learn: true,
            discover: true,
            state: "forwarding".into(),
            role: None,
            priority: 128,
            cost: 2000,
        };
        let row = BridgeRow {
            name: "bridge0".into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            up: true,
            max_addresses: 100,
            port_addresses: 0,
            timeout_s: 1200,
            flood: 10_000,
            snoop: true,
            members: vec![member],
            spans: vec!["tap2".into()],
            tree: None,
        };
        let expected = "\
bridge0: flags=1<UP>
\taddress: 02:00:00:00:00:01
\tAddress cache: max 100 timeout 1200, at most all at one interface, flood 10000/s, snoop
\tInterfaces:
\t\ttap0 flags=3<LEARNING,DISCOVER>
\t\t\tport 1 forwarding
\t\ttap2 flags=8<SPAN>
";
        assert_eq!(render(&[row]), expected);
        let station = |fixed, expires_s| StationRow {
            address: MacAddr([2, 0, 0, 0, 0, 9]),
            interface: "tap0".into(),
            fixed,
            expires_s,
        };
        let text = render_stations(&[station(false, Some(1199)), station(true, None)]);
        assert!(text.starts_with("\t02:00:00:00:00:09 tap0 1199 flags=0<>\n"), "{text}");
        assert!(text.ends_with("tap0 0 flags=1<STATIC>\n"), "{text}");
        let listening = |group: Option<std::net::IpAddr>| ListeningRow {
            group,
            interface: "tap0".into(),
            expires_s: 255,
        };
        let group = std::net::Ipv4Addr::new(239, 1, 2, 3).into();
        let text = render_listening(&[listening(None), listening(Some(group))]);
        assert_eq!(text, "\trouter tap0 255\n\t239.1.2.3 tap0 255\n");
    }
}
