//! The words of an aggregated link: FreeBSD's.

use std::fmt::Write as _;

use proto::{LaggEndRow, LaggProtocol, LaggRow, LaggVerb};

use crate::output::escape;

/// The words.
pub(super) const WORDS: [&str; 3] = ["laggproto", "laggport", "-laggport"];

/// What a word and its value ask for; `None`: it is another's word.
///
/// # Errors
/// What is wrong with the value.
pub(super) fn verb<'a>(
    word: &str,
    mut argument: impl FnMut() -> Result<&'a str, String>,
) -> Result<Option<LaggVerb>, String> {
    Ok(Some(match word {
        "laggport" => LaggVerb::Add(argument()?.into()),
        "-laggport" => LaggVerb::Delete(argument()?.into()),
        "laggproto" => LaggVerb::Protocol(match argument()? {
            "lacp" => LaggProtocol::Lacp,
            "loadbalance" => LaggProtocol::LoadBalance,
            "failover" => LaggProtocol::Failover,
            other => {
                return Err(format!("laggproto {other:?}: write lacp, loadbalance or failover"));
            }
        }),
        _ => return Ok(None),
    }))
}

/// What was asked for, in its words.
pub(super) fn described(verb: &LaggVerb) -> String {
    match verb {
        LaggVerb::Add(port) => format!("laggport {}", escape(port)),
        LaggVerb::Delete(port) => format!("-laggport {}", escape(port)),
        LaggVerb::Protocol(protocol) => format!("laggproto {}", name(*protocol)),
    }
}

const fn name(protocol: LaggProtocol) -> &'static str {
    match protocol {
        LaggProtocol::Lacp => "lacp",
        LaggProtocol::LoadBalance => "loadbalance",
        LaggProtocol::Failover => "failover",
    }
}

/// FreeBSD's bits of a port and their names.
const FLAGS: [(&str, u32); 4] =
    [("master", 0x01), ("active", 0x04), ("collecting", 0x08), ("distributing", 0x10)];

/// Lines as FreeBSD's; both ends of each port as its `-v` has them.
pub(super) fn lines(text: &mut String, lagg: &LaggRow) -> std::fmt::Result {
    writeln!(text, "\tlaggproto {} lagghash l2,l3,l4", name(lagg.protocol))?;
    for port in &lagg.ports {
        let is = |flag: &&(&str, u32)| port.flags.iter().any(|there| there == flag.0);
        let bits: u32 = FLAGS.iter().filter(is).map(|(_, bit)| bit).sum();
        let names: Vec<String> =
            FLAGS.iter().filter(is).map(|(name, _)| name.to_uppercase()).collect();
        writeln!(
            text,
            "\tlaggport: {} flags={bits:x}<{}>",
            escape(&port.interface),
            names.join(",")
        )?;
        for (which, end) in [("actor", &port.actor), ("partner", &port.partner)] {
            if let Some(end) = end {
                writeln!(text, "\t\t{which} {}", end_line(end))?;
            }
        }
    }
    Ok(())
}

/// `(priority,system,key,port priority,port) state`.
fn end_line(end: &LaggEndRow) -> String {
    let LaggEndRow { system_priority, system, key, port_priority, port, state } = end;
    let state = state.iter().map(|bit| escape(bit).to_uppercase()).collect::<Vec<_>>().join(",");
    format!("({system_priority:04X},{system},{key:04X},{port_priority:04X},{port:04X}) <{state}>")
}
