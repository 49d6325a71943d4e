//! Neighbours, for tools: what the workers know of them together with what the operator has set.

use std::collections::BTreeMap;
use std::net::IpAddr;

use inet::command::{Command, NeighborSummary};
use proto::table::NeighborRow;

use crate::control::Control;
use crate::pending::Asked;
use crate::tables::Wanted;

impl Control {
    /// What the workers know, and such as this host answers for.
    pub(crate) fn neighbor_rows(&self, neighbors: Vec<NeighborSummary>) -> Vec<NeighborRow> {
        // Several workers may know the same neighbour; the one with a MAC address knows more.
        let mut best: BTreeMap<(IpAddr, u16), NeighborSummary> = BTreeMap::new();
        for row in neighbors {
            let better =
                best.get(&(row.address, row.interface)).is_none_or(|known| known.mac.is_none());
            if better {
                let _ = best.insert((row.address, row.interface), row);
            }
        }
        let rows = best.into_values().map(|row| NeighborRow {
            address: row.address,
            mac: row.mac,
            interface: self.network.name(row.interface).into(),
            state: row.state.into(),
            expires_s: row.expires_s,
        });
        let published = self.network.published().iter().map(|n| NeighborRow {
            address: n.address,
            mac: Some(n.mac),
            interface: self.network.name(n.interface).into(),
            state: "published".into(),
            expires_s: None,
        });
        rows.chain(published).collect()
    }

    /// Forgets a neighbour, and asks the workers to. The answer is `ESRCH` if it is none of those that they know, nor
    /// one of the operator's.
    pub(crate) fn delete_neighbor(&mut self, asked: Asked, address: IpAddr) {
        let is_set = self.network.delete_neighbor(address);
        if is_set {
            self.publish();
        }
        let forget = |call| Command::ForgetNeighbor { call, address };
        self.gather(Wanted::NoNeighbor { asked, is_set }, &[&forget]);
    }
}
