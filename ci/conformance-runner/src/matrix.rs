//! The matrix: which script shows which clause of which RFC, as a page.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::script::Script;

/// A section as something to sort by: 3.10.7.4 comes after 3.8.6.
fn order(section: &str) -> Vec<(u32, String)> {
    let part = |part: &str| (part.parse().unwrap_or(u32::MAX), part.to_owned());
    section.split('.').map(part).collect()
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
