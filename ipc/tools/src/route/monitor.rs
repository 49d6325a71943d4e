//! `iopkt route monitor`: what happens to routes, addresses, interfaces and neighbours, in BSD's words.

use std::io::{ErrorKind, Write as _};

use proto::table::RouteRow;
use proto::{Change, LinkRow, NetworkEvent};

use crate::control::Control;
use crate::fail::Failure;
use crate::output::escape;

/// A line for each event, until the daemon ends or nobody reads.
pub(super) fn watch(control: &mut Control, json: bool) -> Result<(), Failure> {
    control.watch(|events| {
        let mut text = String::new();
        for event in &events {
            let line = if json {
                serde_json::to_string(event).map_err(|error| Failure::failed(error.to_string()))?
            } else {
                escape(&line(event))
            };
            text.push_str(&line);
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::failed(format!("cannot write: {error}"))),
        }
    })
}

fn line(event: &NetworkEvent) -> String {
    match event {
        NetworkEvent::Route { change, route } => {
            let what = match change {
                Change::Added => "RTM_ADD: Add Route",
                Change::Changed => "RTM_CHANGE: Change Metrics, Flags or Gateway",
                Change::Deleted => "RTM_DELETE: Delete Route",
            };
            format!("{what}: {}", shown(route))
        }
        NetworkEvent::Address { change, interface, address } => {
            let what = match change {
                Change::Added => "RTM_NEWADDR: address being added to iface",
                Change::Changed => "RTM_CHGADDR: address being changed on iface",
                Change::Deleted => "RTM_DELADDR: address being removed from iface",
            };
            let flags: String = address.flags.iter().map(|flag| format!(" {flag}")).collect();
            format!("{what}: {interface} {}/{}{flags}", address.address, address.prefix_len)
        }
        NetworkEvent::Interface { change, interface } => match change {
            Change::Added => {
                format!("RTM_IFANNOUNCE: iface arrival: {}", state(interface))
            }
            Change::Changed => format!("RTM_IFINFO: iface status change: {}", state(interface)),
            Change::Deleted => {
                format!("RTM_IFANNOUNCE: iface departure: {}", interface.name)
            }
        },
        NetworkEvent::Neighbor { change, interface, address, mac } => {
            let what = match change {
                Change::Added => "added",
                Change::Changed => "changed",
                Change::Deleted => "gone",
            };
            let mac = mac.map(|mac| format!(" at {mac}")).unwrap_or_default();
            format!("RTM_LLINFO_UPD: neighbour {what}: {address}{mac} on {interface}")
        }
        NetworkEvent::Missed { count } => format!("missed: {count} events"),
    }
}

fn shown(route: &RouteRow) -> String {
    let gateway = route.gateway.map(|gateway| format!(" {gateway}")).unwrap_or_default();
    let mtu = route.mtu.map(|mtu| format!(" mtu {mtu}")).unwrap_or_default();
    let RouteRow { destination, prefix_len, interface, flags, .. } = route;
    format!("{destination}/{prefix_len}{gateway} {interface} {flags}{mtu}")
}

fn state(interface: &LinkRow) -> String {
    let LinkRow { name, mac, mtu, up, running } = interface;
    let words = [("UP", up), ("RUNNING", running)].into_iter().filter(|(_, is)| **is);
    let words: Vec<&str> = words.map(|(word, _)| word).collect();
    format!("{name} flags:<{}> mtu {mtu} {mac}", words.join(","))
}

#[cfg(test)]
mod tests {
    use proto::table::AddressRow;

    use super::*;

    #[test]
    fn lines_have_bsds_words() {
        let route = RouteRow {
            destination: "203.0.113.0".parse().unwrap(),
            prefix_len: 24,
            gateway: Some("198.18.77.1".parse().unwrap()),
            interface: "tap0".into(),
            flags: "UGS".into(),
            mtu: Some(1400),
        };
        let event = NetworkEvent::Route { change: Change::Added, route };
        assert_eq!(
            line(&event),
            "RTM_ADD: Add Route: 203.0.113.0/24 198.18.77.1 tap0 UGS mtu 1400"
        );
        let address = AddressRow {
            address: "fe80::1".parse().unwrap(),
            prefix_len: 64,
            flags: vec!["tentative".into()],
        };
        let interface = "tap0".to_owned();
        let event = NetworkEvent::Address { change: Change::Deleted, interface, address };
        assert_eq!(
            line(&event),
            "RTM_DELADDR: address being removed from iface: tap0 fe80::1/64 tentative"
        );
        let mac = "02:00:00:00:00:01".parse().unwrap();
        let interface = LinkRow { name: "tap0".into(), mac, mtu: 1500, up: true, running: false };
        let event = NetworkEvent::Interface { change: Change::Changed, interface };
        assert_eq!(
            line(&event),
            "RTM_IFINFO: iface status change: tap0 flags:<UP> mtu 1500 02:00:00:00:00:01"
        );
        assert_eq!(line(&NetworkEvent::Missed { count: 3 }), "missed: 3 events");
    }
}
