//! The matrix: which script shows which clause of which RFC, as a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::script::Script;

/// A section as something to sort by: 3.10.7.4 comes after 3.8.6.
fn order(section: &str) -> Vec<(u32, String)> {
    let part = |part: &str| (part.parse().unwrap_or(u32::MAX), part.to_owned());
    section.split('.').map(part).collect()
}

/// RFC 9293's states, as folders call them.
const STATES: [&str; 11] = [
    "closed",
    "listen",
    "syn-sent",
    "syn-received",
    "established",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "closing",
    "last-ack",
    "time-wait",
];

/// RFC 9293 3.10's events that can happen in every state: each pair must have a script.
const EVERYWHERE: [&str; 16] = [
    "call-abort",
    "call-accept",
    "call-close",
    "call-connect",
    "call-listen",
    "call-recv",
    "call-send",
    "call-shutdown",
    "call-status",
    "rcv-ack",
    "rcv-data",
    "rcv-fin",
    "rcv-noack",
    "rcv-rst",
    "rcv-syn",
    "rcv-urg",
];

/// How many scripts there are for each event and state, by the names of their folders.
fn pairs(scripts: &[Script]) -> BTreeMap<&str, [usize; STATES.len()]> {
    let mut pairs: BTreeMap<&str, [usize; STATES.len()]> =
        EVERYWHERE.iter().map(|event| (*event, [0; STATES.len()])).collect();
    for script in scripts {
        let folder = script.name.split('/').next().unwrap_or_default();
        let found = STATES.iter().enumerate().find_map(|(index, state)| {
            let event = folder.strip_suffix(state)?.strip_suffix('-')?;
            Some((event, index))
        });
        if let Some((event, index)) = found {
            pairs.entry(event).or_default()[index] += 1;
        }
    }
    pairs
}

/// Pairs of state and event without a script.
pub(crate) fn missing(scripts: &[Script]) -> Vec<String> {
    let pairs = pairs(scripts);
    let cells = EVERYWHERE.iter().flat_map(|event| {
        let counts = pairs.get(event).copied().unwrap_or_default();
        STATES.iter().zip(counts).map(move |(state, count)| (event, state, count))
    });
    cells
        .filter(|(_, _, count)| *count == 0)
        .map(|(event, state, _)| format!("{event}-{state}"))
        .collect()
}

/// A clause of one RFC, and who shows it.
struct Clause<'a> {
    section: String,
    shown: Vec<&'a Script>,
}

/// The page.
pub(crate) fn page(scripts: &[Script]) -> String {
    let mut clauses: BTreeMap<u32, BTreeMap<_, Clause<'_>>> = BTreeMap::new();
    for script in scripts {
        for (rfc, section) in &script.clauses {
            let sections = clauses.entry(rfc.parse().unwrap_or(0)).or_default();
            let clause = sections
                .entry(order(section))
                .or_insert_with(|| Clause { section: section.clone(), shown: Vec::new() });
            clause.shown.push(script);
        }
    }
    let mut out = format!(
        "# Which script shows which clause\n\n\
         Made by `ci/conformance --matrix` from the first lines of {} scripts; `ci/conformance` fails when it is stale.\n",
        scripts.len()
    );
    let _ = write!(
        out,
        "\n## RFC 9293: scripts by event and state\n\n| event | {} |\n|---|{}\n",
        STATES.join(" | "),
        "---|".repeat(STATES.len())
    );
    for (event, counts) in pairs(scripts) {
        let cells = counts.map(|count| if count == 0 { String::new() } else { count.to_string() });
        let _ = writeln!(out, "| {event} | {} |", cells.join(" | "));
    }
    for (rfc, sections) in &clauses {
        // Writing to a String cannot fail.
        let _ = write!(out, "\n## RFC {rfc}\n\n| clause | scripts |\n|---|---|\n");
        for Clause { section, shown } in sections.values() {
            let links: Vec<String> =
                shown.iter().map(|script| format!("[{0}](scripts/{0}.tcp)", script.name)).collect();
            let _ = writeln!(out, "| {section} | {} |", links.join(" · "));
        }
    }
    out
}
