//! Interfaces that are made of others.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use types::MacAddr;

use crate::Skip;

/// A VLAN over an interface (IEEE 802.1Q).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The interface whose frames have the tag.
    pub parent: String,
    /// The VLAN, 1 to 4094.
    pub id: u16,
    /// How urgent the frames are that are sent (PCP), 0 to 7.
    pub priority: u8,
    /// A provider's tag, 0x88a8 (IEEE 802.1ad), not a customer's.
    pub service: bool,
}

/// What a bridge is to do, with `brconfig`'s words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BridgeVerb {
    /// `add`: an interface becomes a port.
    Add(String),
    /// `delete`: it is none any more.
    Delete(String),
    /// `span`: it gets a copy of all frames.
    Span {
        /// Interface name.
        interface: String,
        /// On or off.
        on: bool,
    },
    /// `learn`: sources at this port are learned.
    Learn {
        /// Interface name.
        interface: String,
        /// On or off.
        on: bool,
    },
    /// `discover`: this port gets frames for stations that nobody knows.
    Discover {
        /// Interface name.
        interface: String,
        /// On or off.
        on: bool,
    },
    /// `maxaddr`: most stations.
    MaxAddresses(u32),
    /// `ifmaxaddr`: most stations at one port; 0: no such limit.
    PortAddresses(u32),
    /// `timeout`: seconds for which a silent station is known; 0: for ever.
    Timeout(u32),
    /// `static`: a station is at a port, and stays there.
    Static {
        /// Interface name.
        interface: String,
        /// The station.
        address: MacAddr,
    },
    /// `deladdr`: a station is forgotten.
    DeleteAddress(MacAddr),
    /// `flush`, `flushall`: all are.
    Flush {
        /// Static ones too.
        all: bool,
    },
    /// `flood`: frames for all ports that one port may bring a second.
    Flood(u32),
    /// `snoop`: packets to groups of IP go to those who listen.
    Snoop(bool),
    /// `stp`: this port is of the spanning tree.
    Stp {
        /// Interface name.
        interface: String,
        /// On or off.
        on: bool,
    },
    /// `maxage`: seconds for which what other bridges say counts, 6 to 40.
    MaxAge(u32),
    /// `fwddelay`: seconds for which a port waits before it learns, and before it forwards, 4 to 30.
    ForwardDelay(u32),
    /// `hellotime`: seconds from one message to the next, 1 to 10.
    HelloTime(u32),
    /// `priority`: the bridge with the lowest is the root, 0 to 65535.
    Priority(u32),
    /// `ifpriority`: among equal ways the lowest is taken, 0 to 255.
    PortPriority {
        /// Interface name.
        interface: String,
        /// The priority.
        priority: u32,
    },
    /// `ifpathcost`: what a way by this port costs; 0: what follows from its speed.
    PortCost {
        /// Interface name.
        interface: String,
        /// The cost.
        cost: u32,
    },
    /// `proto rstp`, `proto stp`: 802.1w, or the older protocol alone.
    Rapid(bool),
}

/// A bridge's part of a spanning tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRow {
    /// Its priority.
    pub priority: u16,
    /// Seconds for which what other bridges say counts.
    pub max_age_s: u32,
    /// Seconds from one message to the next.
    pub hello_s: u32,
    /// Seconds for which a port waits before it learns, and before it forwards.
    pub forward_delay_s: u32,
    /// `rstp` or `stp`.
    pub proto: String,
    /// The root's priority.
    pub root_priority: u16,
    /// The root's address.
    pub root: MacAddr,
    /// What the way to the root costs.
    pub root_cost: u32,
    /// The port that it leads by; none: this bridge is the root.
    pub root_port: Option<String>,
    /// How often the topology has changed.
    pub changes: u64,
}

/// One bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeRow {
    /// Interface name.
    pub name: String,
    /// Its address.
    pub mac: MacAddr,
    /// Administratively up.
    pub up: bool,
    /// Most stations.
    pub max_addresses: u32,
    /// Most of them at one port; 0: no such limit.
    pub port_addresses: u32,
    /// Seconds for which a silent station is known; 0: for ever.
    pub timeout_s: u32,
    /// Frames for all ports that one port may bring a second.
    pub flood: u32,
    /// Packets to groups of IP go to those who listen.
    pub snoop: bool,
    /// Its ports.
    pub members: Vec<MemberRow>,
    /// Interfaces that get a copy of all frames.
    pub spans: Vec<String>,
    /// Its part of a spanning tree, if a port of it is of one.
    pub tree: Option<TreeRow>,
}

/// A port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Interface name.
    pub interface: String,
    /// Its number in the bridge, from 1.
    pub port: u16,
    /// Sources are learned.
    pub learn: bool,
    /// It gets frames for stations that nobody knows.
    pub discover: bool,
    /// `discarding`, `learning`, `forwarding`.
    pub state: String,
    /// In the spanning tree: `root`, `designated`, `alternate`, `backup`, `disabled`; none: it is of none.
    pub role: Option<String>,
    /// Its priority there.
    pub priority: u8,
    /// What a way by it costs.
    pub cost: u32,
}

/// A station of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationRow {
    /// Its address.
    pub address: MacAddr,
    /// The port it is at.
    pub interface: String,
    /// Static: it neither ages nor moves.
    pub fixed: bool,
    /// Seconds until it is forgotten if it stays silent; none if it never is.
    pub expires_s: Option<u32>,
}

/// How ports of an aggregated link are chosen (`laggproto`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaggProtocol {
    /// Both ends agree (IEEE 802.1AX).
    #[default]
    Lacp,
    /// All that have a carrier.
    LoadBalance,
    /// The first that has one.
    Failover,
}

/// What an aggregated link is to do, with `ifconfig`'s words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaggVerb {
    /// `laggproto`: how ports are chosen.
    Protocol(LaggProtocol),
    /// `laggport`: an interface becomes a port.
    Add(String),
    /// `-laggport`: it is none any more.
    Delete(String),
}

/// An aggregated link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaggRow {
    /// How its ports are chosen.
    pub protocol: LaggProtocol,
    /// They, in the order in which they came.
    pub ports: Vec<LaggPortRow>,
}

/// A port of an aggregated link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaggPortRow {
    /// Interface name.
    pub interface: String,
    /// `master`: its address is the whole link's; `active`: it has a carrier; `collecting`, `distributing`.
    pub flags: Vec<String>,
    /// This end, as LACP has it.
    pub actor: Option<LaggEndRow>,
    /// The other, if it was heard.
    pub partner: Option<LaggEndRow>,
}

/// One end of a link (IEEE 802.1AX 6.4.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaggEndRow {
    /// The system's priority.
    pub system_priority: u16,
    /// The system.
    pub system: MacAddr,
    /// Ports with the same one may be aggregated.
    pub key: u16,
    /// The port's priority.
    pub port_priority: u16,
    /// The port.
    pub port: u16,
    /// `activity`, `timeout`, `aggregation`, `sync`, `collecting`, `distributing`, `defaulted`, `expired`.
    pub state: Vec<String>,
}

/// Which rows of a bridge's table are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePage {
    /// The bridge.
    pub bridge: String,
    /// What the asker has.
    pub skip: Skip,
}

/// A port of a bridge with listeners to a group, or with a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListeningRow {
    /// The group; none: a router is there.
    pub group: Option<IpAddr>,
    /// The port.
    pub interface: String,
    /// Seconds until it is forgotten if nothing is heard.
    pub expires_s: u32,
}
