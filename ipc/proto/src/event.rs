//! What happens to the network, as whoever watches it is told.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use types::MacAddr;

use crate::table::{AddressRow, RouteRow};

/// What has become of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It has come.
    Added,
    /// It is there, and another.
    Changed,
    /// It has gone.
    Deleted,
}

/// An interface, without its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// Name, `tap0`.
    pub name: String,
    /// MAC address.
    pub mac: MacAddr,
    /// MTU in bytes of an IP packet.
    pub mtu: u16,
    /// Administratively up.
    pub up: bool,
    /// Link is up.
    pub running: bool,
}

/// Something that has happened. These are also lines of `iopkt route monitor --json`: fields and kinds are
/// only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkEvent {
    /// To a route; one of several gateways has an event for each.
    Route {
        /// What.
        change: Change,
        /// As it is, or was.
        route: RouteRow,
    },
    /// To an address of an interface.
    Address {
        /// What.
        change: Change,
        /// Name of the interface.
        interface: String,
        /// As it is, or was.
        address: AddressRow,
    },
    /// To an interface: its state, carrier, MTU or MAC address.
    Interface {
        /// What.
        change: Change,
        /// As it is, or was.
        interface: LinkRow,
    },
    /// To a neighbour: it is known, has another MAC address, or does not answer any longer.
    Neighbor {
        /// What.
        change: Change,
        /// Name of the interface.
        interface: String,
        /// Its address.
        address: IpAddr,
        /// Its MAC address, as it is or was.
        mac: Option<MacAddr>,
    },
    /// So many events, for which there was no room, are not among those that follow.
    Missed {
        /// How many.
        count: u64,
    },
}
