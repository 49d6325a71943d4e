//! `iopkt ifconfig`: BSD's grammar and BSD's output.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use proto::table::InterfaceRow;
use proto::{Automatic, ReceiveMode, Request};
use rustix::io::Errno;
use types::{MacAddr, nearest};

use crate::address;
use crate::cli::{IfconfigArgs, take_options};
use crate::control::{CallError, Control};
use crate::fail::Failure;
use crate::mount;
use crate::nic;
use crate::output::{escape, print, show};

mod lagg;
mod name;
mod vlan;

use vlan::VlanWords;

/// One change of an interface, in the order they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make this the address, in place of the first one.
    Set(IpAddr, u8),
    /// Add a further address.
    Alias(IpAddr, u8),
    /// Remove an address.
    Remove(IpAddr),
    /// Up or down.
    Up(bool),
    /// MTU in bytes.
    Mtu(u16),
    /// Table of routes for what comes by it.
    Table(u8),
    /// MAC address.
    Mac(MacAddr),
    /// Frames for others, or for all groups.
    Receive(ReceiveMode, bool),
    /// It configures itself.
    Automatic(Automatic, bool),
    /// It is a VLAN over another one.
    Vlan(VlanWords),
    /// It is several others used as one.
    Lagg(proto::LaggVerb),
}

/// Words after the interface's name.
const WORDS: [&str; 34] = [
    "inet",
    "inet6",
    "netmask",
    "broadcast",
    "alias",
    "-alias",
    "add",
    "delete",
    "remove",
    "up",
    "down",
    "mtu",
    "fib",
    "prefixlen",
    "lladdr",
    "ether",
    "link",
    "promisc",
    "-promisc",
    "allmulti",
    "-allmulti",
    "accept_rtadv",
    "-accept_rtadv",
    "dhcp",
    "-dhcp",
    "ipv4ll",
    "-ipv4ll",
    "media",
    "rtadv",
    "-rtadv",
    "drvspec",
    "name",
    "create",
    "destroy",
];

/// Runs the tool.
pub(crate) fn main(mut sock: Option<String>, mut args: IfconfigArgs) -> Result<(), Failure> {
    let words = take_options(args.words, &mut args.json, &mut sock).map_err(Failure::usage)?;
    let Some((name, words)) = words.split_first() else {
        return if args.list { list(sock, args.json) } else { all(sock, (args.media, args.json)) };
    };
    if words == ["destroy"] {
        return mount::destroy(&mut Control::open(sock)?, name);
    }
    if let Some(("drvspec", words)) = words.split_first().map(|(first, rest)| (&**first, rest)) {
        return nic::command(&mut Control::open(sock)?, name, words);
    }
    if let Some(("name", words)) = words.split_first().map(|(first, rest)| (&**first, rest)) {
        return name::rename(sock, name, words);
    }
    let (create, words) = match words.split_first() {
        Some((first, rest)) if first == "create" => (true, rest),
        _ => (false, words),
    };
    let steps = parse(words).map_err(Failure::usage)?;
    let mut control = Control::open(sock)?;
    if create {
        make(&mut control, name)?;
        if steps.is_empty() {
            return Ok(());
        }
    }
    let row = find(control.interfaces()?, name)?;
    if words.is_empty() {
        return with_media(&mut control, &[row], (args.media, args.json));
    }
    steps.iter().try_for_each(|step| apply(&mut control, &row, step))
}

/// Makes an interface that is made of others.
fn make(control: &mut Control, name: &str) -> Result<(), Failure> {
    control.change(Request::Create { interface: name.into() }).map_err(|error| match error {
        CallError::Broken(failure) => failure,
        CallError::Refused(errno) => {
            let hint = match Errno::from_raw_os_error(errno) {
                Errno::EXIST => "it is there",
                Errno::INVAL => "what can be made is vlan0, bridge0, lagg0 and others of each; drivers come by iopkt mount",
                _ => "the daemon's log says more",
            };
            Failure::refused(&format!("{}: cannot create it", escape(name)), errno, hint)
        }
    })
}

fn all(sock: Option<String>, how: (bool, bool)) -> Result<(), Failure> {
    let mut control = Control::open(sock)?;
    let rows = control.interfaces()?;
    with_media(&mut control, &rows, how)
}

/// Shows interfaces; with `-m` each with the media that its port can have.
fn with_media(
    control: &mut Control,
    rows: &[InterfaceRow],
    (media, json): (bool, bool),
) -> Result<(), Failure> {
    if json || !media {
        return show(rows, json, render);
    }
    let mut text = String::new();
    for row in rows {
        text.push_str(&render(core::slice::from_ref(row)));
        text.push_str(&nic::media_lines(control, &row.name)?);
    }
    print(&text)
}

fn list(sock: Option<String>, json: bool) -> Result<(), Failure> {
    let rows = Control::open(sock)?.interfaces()?;
    let names: Vec<_> = rows.iter().map(|row| escape(&row.name)).collect();
    if json { show(&names, true, |_| String::new()) } else { print(&(names.join(" ") + "\n")) }
}

fn find(rows: Vec<InterfaceRow>, name: &str) -> Result<InterfaceRow, Failure> {
    let known = rows.iter().map(|row| escape(&row.name)).collect::<Vec<_>>().join(" ");
    rows.into_iter().find(|row| row.name == name).ok_or_else(|| {
        let there =
            if known.is_empty() { "there is none".into() } else { format!("there are: {known}") };
        Failure::failed(format!("no interface {:?}; {there}", escape(name)))
    })
}

/// The changes that the words after an interface's name ask for; none means to show it.
fn parse(words: &[String]) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut address = AddressWords::default();
    let mut vlan = VlanWords::default();
    let mut links = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut argument = || words.next().ok_or_else(|| format!("{word} needs a value"));
        if vlan.take(word, &mut argument)? {
            continue;
        }
        if let Some(verb) = lagg::verb(word, &mut argument)? {
            links.push(Step::Lagg(verb));
            continue;
        }
        let on = !word.starts_with('-');
        match word {
            "up" => steps.push(Step::Up(true)),
            "down" => steps.push(Step::Up(false)),
            "mtu" => steps.push(Step::Mtu(number(word, argument()?, 65_535)?)),
            "fib" => steps.push(Step::Table(number(word, argument()?, 255)?)),
            "lladdr" | "ether" | "link" => {
                steps.push(Step::Mac(mac(word, argument()?)?));
            }
            "media" => check_media(argument()?)?,
            "promisc" | "-promisc" => steps.push(Step::Receive(ReceiveMode::Promiscuous, on)),
            "allmulti" | "-allmulti" => steps.push(Step::Receive(ReceiveMode::AllMulticast, on)),
            "inet" => address.set_address_of(argument()?, false)?,
            "accept_rtadv" | "-accept_rtadv" => {
                steps.push(Step::Automatic(Automatic::Routers, on));
            }
            "dhcp" | "-dhcp" => steps.push(Step::Automatic(Automatic::Dhcp, on)),
            "ipv4ll" | "-ipv4ll" => steps.push(Step::Automatic(Automatic::LinkLocal, on)),
            "rtadv" | "-rtadv" => steps.push(Step::Automatic(Automatic::Advertise, on)),
            "inet6" => match argument()? {
                // BSD's: inet6 accept_rtadv.
                word @ ("accept_rtadv" | "-accept_rtadv") => {
                    steps.push(Step::Automatic(Automatic::Routers, !word.starts_with('-')));
                }
                word => address.set_address_of(word, true)?,
            },
            "netmask" => address.set_len(address::parse_mask(argument()?)?)?,
            "prefixlen" => {
                let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                let of = address.address.unwrap_or(any);
                address.set_len(address::prefix_len(argument()?, of)?)?;
            }
            "broadcast" => {
                let text = argument()?;
                address.broadcast = Some(
                    text.parse()
                        .map_err(|_| format!("broadcast {text:?} is not an IPv4 address"))?,
                );
            }
            "alias" | "add" => address.mode = Mode::Alias,
            "-alias" | "delete" | "remove" => address.mode = Mode::Remove,
            _ if is_address(word) => address.set_address(word)?,
            _ => return Err(unknown(word)),
        }
    }
    // The address first, so that "ADDRESS up" never opens the interface without its address.
    if let Some(step) = address.step()? {
        steps.insert(0, step);
    }
    // Before that the interface: it has no link without.
    if !vlan.is_empty() {
        steps.insert(0, Step::Vlan(vlan));
    }
    drop(steps.splice(0..0, links));
    Ok(steps)
}

fn number<T: std::str::FromStr>(word: &str, text: &str, most: u16) -> Result<T, String> {
    text.parse().map_err(|_| format!("{word} {text:?} is not a number from 0 to {most}"))
}

/// Ports agree with the other end on the fastest that both have, unless they were told otherwise when they were
/// mounted.
fn check_media(word: &str) -> Result<(), String> {
    let auto = matches!(word, "autoselect" | "auto");
    auto.then_some(()).ok_or_else(|| {
        format!("media {word:?}: a port is told when it is mounted (-o speed=100,duplex=1); write media autoselect, or mount it anew")
    })
}

fn mac(word: &str, text: &str) -> Result<MacAddr, String> {
    let wrong = |_| format!("{word} {text:?} is not a MAC address like 02:00:00:00:00:01");
    text.parse().map_err(wrong)
}

/// The words that together make one address.
#[derive(Debug, Default)]
struct AddressWords {
    address: Option<IpAddr>,
    len: Option<u8>,
    broadcast: Option<Ipv4Addr>,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Set,
    Alias,
    Remove,
}

impl AddressWords {
    fn set_address(&mut self, word: &str) -> Result<(), String> {
        let (address, len) = address::parse(word)?;
        if self.address.replace(address).is_some() {
            return Err(format!("a second address {word}; give one command for each"));
        }
        len.map_or(Ok(()), |len| self.set_len(len))
    }

    fn set_address_of(&mut self, word: &str, six: bool) -> Result<(), String> {
        self.set_address(word)?;
        match self.address {
            Some(address) if address.is_ipv6() != six => {
                let (name, example) =
                    if six { ("inet6", "2001:db8::2/64") } else { ("inet", "198.18.77.2/24") };
                Err(format!("{name} {word}: write it as {example}"))
            }
            _ => Ok(()),
        }
    }

    fn set_len(&mut self, len: u8) -> Result<(), String> {
        match self.len.replace(len) {
            Some(before) if before != len => {
                Err(format!("two different masks: /{before} and /{len}"))
            }
            _ => Ok(()),
        }
    }

    fn step(&self) -> Result<Option<Step>, String> {
        let Some(address) = self.address else {
            let idle = self.len.is_none() && self.broadcast.is_none() && self.mode == Mode::Set;
            return if idle {
                Ok(None)
            } else {
                Err("an address is missing, as in: 198.18.77.2/24".into())
            };
        };
        if self.mode == Mode::Remove {
            return Ok(Some(Step::Remove(address)));
        }
        let address = match address {
            IpAddr::V4(address) => address,
            // BSD's: a further address with the prefix of one link.
            IpAddr::V6(_) => return Ok(Some(Step::Alias(address, self.len.unwrap_or(64)))),
        };
        let len = self.len.filter(|len| *len > 0).ok_or_else(|| {
            format!(
                "how long is the prefix of {address}? write {address}/24, or {address} netmask \
                 255.255.255.0"
            )
        })?;
        let broadcast = address::broadcast(address, len);
        if let Some(given) = self.broadcast
            && Some(given) != broadcast
        {
            let right = broadcast.map_or_else(|| "none".into(), |b| b.to_string());
            return Err(format!(
                "the broadcast address of {address}/{len} is {right}, not {given}; leave it out"
            ));
        }
        Ok(Some(match self.mode {
            Mode::Alias => Step::Alias(address.into(), len),
            _ => Step::Set(address.into(), len),
        }))
    }
}

/// It looks like an address rather than like a word.
fn is_address(word: &str) -> bool {
    word.contains(':') || word.starts_with(|c: char| c.is_ascii_digit())
}

fn unknown(word: &str) -> String {
    match word {
        "create" => return "create comes first: iopkt ifconfig vlan0 create".into(),
        "destroy" => return "destroy stands alone: iopkt ifconfig tap1 destroy".into(),
        "name" => return "name stands alone: iopkt ifconfig tap0 name wan0".into(),
        "drvspec" => return "drvspec stands alone: iopkt ifconfig sim0 drvspec 1".into(),
        _ => {}
    }
    match nearest(word, WORDS.into_iter().chain(vlan::WORDS).chain(lagg::WORDS)) {
        Some(near) => format!("unknown word {word:?}; did you mean {near}?"),
        None => format!("unknown word {word:?}; see: iopkt ifconfig --help"),
    }
}

fn apply(control: &mut Control, row: &InterfaceRow, step: &Step) -> Result<(), Failure> {
    plan(row, step)?.into_iter().try_for_each(|request| {
        let what = if let Request::DeleteAddress { address, .. } = request {
            Step::Remove(address)
        } else {
            step.clone()
        };
        control.change(request).map_err(|error| explain(error, row, &what))
    })
}

/// The requests that make one step. An address that is there already is left as it is.
fn plan(row: &InterfaceRow, step: &Step) -> Result<Vec<Request>, Failure> {
    let interface = || row.name.clone();
    let delete = |address| Request::DeleteAddress { interface: interface(), address };
    Ok(match *step {
        Step::Set(IpAddr::V4(address), prefix_len) => {
            vec![Request::SetAddress { interface: interface(), address, prefix_len }]
        }
        Step::Set(address, prefix_len) | Step::Alias(address, prefix_len) => {
            let add = Request::AddAddress { interface: interface(), address, prefix_len };
            match row.addresses.iter().find(|a| a.address == address) {
                Some(same) if same.prefix_len == prefix_len => Vec::new(),
                Some(_) => vec![delete(address), add],
                None => vec![add],
            }
        }
        Step::Remove(address) => vec![delete(address)],
        Step::Up(up) => vec![Request::SetUp { interface: interface(), up }],
        Step::Mtu(mtu) => vec![Request::SetMtu { interface: interface(), mtu }],
        Step::Table(table) => vec![Request::SetTable { interface: interface(), table }],
        Step::Mac(mac) => vec![Request::SetMac { interface: interface(), mac }],
        Step::Receive(mode, on) => vec![Request::SetReceive { interface: interface(), mode, on }],
        Step::Automatic(what, on) => {
            vec![Request::SetAutomatic { interface: interface(), what, on }]
        }
        Step::Vlan(ref words) => {
            let vlan = words.over(row).map_err(Failure::usage)?;
            vec![Request::SetVlan { interface: interface(), vlan }]
        }
        Step::Lagg(ref verb) => vec![Request::Lagg { lagg: interface(), verb: verb.clone() }],
    })
}

fn explain(error: CallError, row: &InterfaceRow, step: &Step) -> Failure {
    let errno = match error {
        CallError::Broken(failure) => return failure,
        CallError::Refused(errno) => errno,
    };
    let name = escape(&row.name);
    let have = row.addresses.iter().map(|a| a.address.to_string()).collect::<Vec<_>>().join(" ");
    let (what, hint) = match *step {
        Step::Set(a, len) | Step::Alias(a, len) if errno == Errno::EXIST.raw_os_error() => (
            format!("{name}: cannot add {a}/{len}"),
            "the stack has it; see: iopkt ifconfig".into(),
        ),
        Step::Set(a, len) | Step::Alias(a, len) if errno == Errno::INVAL.raw_os_error() => (
            format!("{name}: cannot add {a}/{len}"),
            "it must be of one station: not the network's own address, nor its broadcast address, nor \
             of 127.0.0.0/8 but on lo0"
                .into(),
        ),
        Step::Set(a, len) | Step::Alias(a, len) => {
            (format!("{name}: cannot add {a}/{len}"), String::new())
        }
        Step::Remove(a) => {
            (format!("{name}: cannot remove {a}"), format!("its addresses are: {have}"))
        }
        Step::Up(true) => (format!("{name}: cannot set it up"), String::new()),
        Step::Up(false) => (format!("{name}: cannot set it down"), String::new()),
        Step::Mtu(mtu) => (
            format!("{name}: cannot set mtu {mtu}"),
            "the port's limits forbid it; 1500 always works".into(),
        ),
        Step::Table(table) => (
            format!("{name}: cannot set fib {table}"),
            "there are not so many; more: iopkt sysctl net.fibs=16".into(),
        ),
        Step::Mac(mac) => (
            format!("{name}: cannot set address {mac}"),
            "it must be of one station (an even first octet); lo0 has none".into(),
        ),
        Step::Automatic(..) => {
            (format!("{name}: cannot let it configure itself"), "not lo0, nor a lagg's port".into())
        }
        Step::Vlan(_) => {
            let hint = match Errno::from_raw_os_error(errno) {
                Errno::NXIO => "the interface after vlanif is not there; see: iopkt ifconfig -l",
                Errno::BUSY => "it is over another interface; take it off first: -vlanif",
                Errno::EXIST => "another interface is in this VLAN of the link",
                Errno::MLINK => "a frame has two tags at most",
                Errno::OPNOTSUPP => "it is no VLAN; make one: iopkt ifconfig vlan0 create",
                _ => "lo0 has no VLANs",
            };
            (format!("{name}: cannot make it a VLAN"), hint.into())
        }
        Step::Lagg(ref verb) => {
            let hint = match Errno::from_raw_os_error(errno) {
                Errno::NXIO => "there is no interface of this name; see: iopkt ifconfig -l",
                Errno::OPNOTSUPP => "it is no aggregated link; make one: iopkt ifconfig lagg0 create",
                Errno::INVAL => "a port has a driver of its own",
                Errno::BUSY => "it is a port of another interface, or a VLAN is over it",
                Errno::ADDRINUSE => "it has addresses or makes some; first: iopkt ifconfig IF delete ADDRESS, -dhcp, -ipv4ll",
                Errno::EXIST => "it is a port already",
                Errno::NOENT => "it is no port",
                Errno::NOSPC => "there are as many ports as may be",
                _ => "the daemon's log says more",
            };
            (format!("{name}: {}", lagg::described(verb)), hint.into())
        }
        Step::Receive(..) => {
            (format!("{name}: cannot change what it receives"), "its driver can't".into())
        }
    };
    Failure::refused(&what, errno, &hint)
}

const UP: u32 = 0x1;
const BROADCAST: u32 = 0x2;
const LOOPBACK: u32 = 0x8;
const RUNNING: u32 = 0x40;
const PROMISC: u32 = 0x100;
const ALLMULTI: u32 = 0x200;
const SIMPLEX: u32 = 0x800;
const MULTICAST: u32 = 0x8000;

/// BSD's `IFF_` bits and their names in BSD's order.
fn flags(row: &InterfaceRow) -> (u32, String) {
    let loopback = row.mac == MacAddr::ZERO;
    let kind = if loopback { LOOPBACK } else { BROADCAST | SIMPLEX };
    let up = if row.up { UP } else { 0 };
    let running = if row.running { RUNNING } else { 0 };
    let promiscuous = if row.promiscuous { PROMISC } else { 0 };
    let all_multicast = if row.all_multicast { ALLMULTI } else { 0 };
    let bits = up | kind | running | promiscuous | all_multicast | MULTICAST;
    let names = [
        (UP, "UP"),
        (BROADCAST, "BROADCAST"),
        (LOOPBACK, "LOOPBACK"),
        (RUNNING, "RUNNING"),
        (PROMISC, "PROMISC"),
        (ALLMULTI, "ALLMULTI"),
        (SIMPLEX, "SIMPLEX"),
        (MULTICAST, "MULTICAST"),
    ];
    let set: Vec<_> =
        names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    (bits, set.join(","))
}

fn render(rows: &[InterfaceRow]) -> String {
    let mut text = String::new();
    for row in rows {
        // Writing to a String cannot fail.
        let _infallible = render_one(&mut text, row);
    }
    text
}

fn render_one(text: &mut String, row: &InterfaceRow) -> std::fmt::Result {
    let (bits, names) = flags(row);
    writeln!(text, "{}: flags={bits:x}<{names}> mtu {}", escape(&row.name), row.mtu)?;
    if row.table != 0 {
        writeln!(text, "\tfib: {}", row.table)?;
    }
    if row.mac != MacAddr::ZERO {
        writeln!(text, "\taddress: {}", row.mac)?;
    }
    if let Some(vlan) = &row.vlan {
        text.push_str(&vlan::line(vlan));
    }
    if let Some(lagg) = &row.lagg {
        lagg::lines(text, lagg)?;
    }
    if row.speed_mbps > 0 {
        writeln!(text, "\tmedia: Ethernet {} Mbit/s", row.speed_mbps)?;
    }
    writeln!(text, "\tstatus: {}", if row.running { "active" } else { "no carrier" })?;
    write!(text, "\tdriver: {}", escape(&row.driver))?;
    if let Some(kernel) = &row.kernel_interface {
        write!(text, ", kernel peer: {}", escape(kernel))?;
    }
    text.push('\n');
    for a in &row.addresses {
        match a.address {
            IpAddr::V4(v4) => {
                write!(text, "\tinet {v4} netmask 0x{:08x}", address::mask(a.prefix_len))?;
                if let Some(broadcast) = address::broadcast(v4, a.prefix_len) {
                    write!(text, " broadcast {broadcast}")?;
                }
            }
            IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                let name = escape(&row.name);
                write!(text, "\tinet6 {v6}%{name} prefixlen {}", a.prefix_len)?;
            }
            IpAddr::V6(v6) => write!(text, "\tinet6 {v6} prefixlen {}", a.prefix_len)?,
        }
        for flag in &a.flags {
            write!(text, " {}", escape(flag))?;
        }
        text.push('\n');
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
