//! What `<run>/dev/qnet` says to whoever reads it.

use core::fmt::Write as _;

use qnet::Address;

use crate::Node;
use crate::settings::Settings;

/// Our name, links, the other nodes and the paths to them, a line each.
pub(crate) fn text(settings: &Settings, node: &Node) -> String {
    let mut text = String::new();
    let name = &settings.config.name;
    let Settings { mount, policy, dns, .. } = settings;
    let resolve = if *dns { "dns" } else { "ndp" };
    line(
        &mut text,
        format_args!("node {name} here, mount {mount}, resolve {resolve}, policy {policy}"),
    );
    for (link, address) in node.links.iter() {
        line(&mut text, format_args!("link {link} {}", shown(address)));
    }
    for (id, name) in node.engine.nodes() {
        line(&mut text, format_args!("node {name} number {}", id.0));
        for path in node.engine.paths(id) {
            let link = node.links.name(path.link).unwrap_or("-");
            let state = if path.up { "up" } else { "down" };
            line(&mut text, format_args!("path {name} {link} {} {state}", shown(path.address)));
        }
    }
    text
}

fn line(text: &mut String, line: core::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{line}");
}

fn shown(address: Address) -> String {
    match address {
        Address::Mac(mac) => mac.to_string(),
        Address::Ip(ip) => ip.to_string(),
    }
}
