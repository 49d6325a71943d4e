//! Interfaces as the tools show them.

use devnp::Port;
use proto::table::InterfaceRow;

use super::vlan::Cloned;
use super::{Entry, NetworkState, address_rows};

impl NetworkState {
    pub(super) fn interface_row(&self, entry: &Entry) -> InterfaceRow {
        let (config, port) = (&entry.config, entry.port.as_ref());
        let (promiscuous, all_multicast) = port.map_or((false, false), Port::receives);
        let row = InterfaceRow {
            name: config.name.clone(),
            index: u32::from(config.index) + 1,
            driver: port.map_or_else(|| entry.kind(), Port::driver).into(),
            kernel_interface: port.and_then(Port::kernel_interface).map(Into::into),
            mac: config.mac,
            mtu: config.mtu,
            table: config.table,
            up: config.up,
            running: self.runs(entry),
            speed_mbps: self.speed(entry),
            addresses: address_rows(entry),
            rx_packets: 0,
            rx_bytes: 0,
            rx_errors: 0,
            tx_packets: 0,
            tx_bytes: 0,
            tx_errors: 0,
            promiscuous,
            all_multicast,
            vlan: self.vlan_row(entry),
            lagg: self.lagg_row(entry),
        };
        counted(row, entry)
    }
}

/// What the port has counted, or the workers where there is none.
fn counted(row: InterfaceRow, entry: &Entry) -> InterfaceRow {
    if let Some(traffic) = entry.traffic() {
        return InterfaceRow {
            rx_packets: traffic.sum(|share| &share.rx_packets),
            rx_bytes: traffic.sum(|share| &share.rx_bytes),
            tx_packets: traffic.sum(|share| &share.tx_packets),
            tx_bytes: traffic.sum(|share| &share.tx_bytes),
            ..row
        };
    }
    let stats = entry.port.as_ref().and_then(|p| p.stats().ok()).unwrap_or_default();
    InterfaceRow {
        rx_packets: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        rx_errors: stats.rx_errors + stats.rx_missed + stats.rx_no_mbuf,
        tx_packets: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
        tx_errors: stats.tx_errors,
        ..row
    }
}

impl Entry {
    /// The driver's name of an interface without one.
    fn kind(&self) -> &'static str {
        match self.cloned {
            None => "loopback",
            Some(Cloned::Bridge(_)) => "bridge",
            Some(Cloned::Lagg(_)) => "lagg",
            Some(Cloned::Vlan(..)) => "vlan",
        }
    }
}
