//! What `<run>/dev/qnet` says about nodes and links.

use core::fmt::Write as _;

use proto::qnet::{LinkRow, NodePath, NodeRow, Status};
use qnet::Address;

use crate::Node;
use crate::settings::Settings;

/// Nodes that a status shows: with names of full length and all paths they fit into a message.
const NODES_MAX: usize = 128;

/// Our name, links, the other nodes and the paths to them.
pub(crate) fn status(settings: &Settings, node: &Node) -> Status {
    let link = |(name, address): (&str, _)| LinkRow { name: name.into(), address: shown(address) };
    let nodes = node.engine.nodes().map(|(id, name)| {
        let path = |path: qnet::PathState| NodePath {
            link: node.links.name(path.link).unwrap_or("-").into(),
            address: shown(path.address),
            up: path.up,
        };
        let paths = node.engine.paths(id).map(path).collect();
        NodeRow { name: name.to_string(), number: id.0, paths }
    });
    Status {
        name: settings.config.name.to_string(),
        mount: settings.mount.clone(),
        policy: settings.policy.to_string(),
        dns: settings.dns,
        exports: settings.export.is_some(),
        links: node.links.iter().map(link).collect(),
        nodes: nodes.take(NODES_MAX).collect(),
    }
}

/// The same as text, a line each.
pub(crate) fn text(status: &Status) -> String {
    let mut text = String::new();
    let Status { name, mount, policy, .. } = status;
    let resolve = if status.dns { "dns" } else { "ndp" };
    line(
        &mut text,
        format_args!("node {name} here, mount {mount}, resolve {resolve}, policy {policy}"),
    );
    for link in &status.links {
        line(&mut text, format_args!("link {} {}", link.name, link.address));
    }
    for node in &status.nodes {
        line(&mut text, format_args!("node {} number {}", node.name, node.number));
        for path in &node.paths {
            let state = if path.up { "up" } else { "down" };
            let NodePath { link, address, .. } = path;
            line(&mut text, format_args!("path {} {link} {address} {state}", node.name));
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
