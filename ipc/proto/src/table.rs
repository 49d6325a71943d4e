//! What the tools show. These rows are also the tools' `--json` output: fields are only ever added.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use types::MacAddr;

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRow {
    /// Address.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix_len: u8,
    /// BSD's words: `tentative`, `duplicated`, `deprecated`; `autoconf` if a router's prefix has made it, and
    /// `temporary` if another will take its place.
    pub flags: Vec<String>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// Name, `tap0`.
    pub name: String,
    /// Index, from 1.
    pub index: u32,
    /// Driver, `net_tap`.
    pub driver: String,
    /// Kernel interface at the other end of the wire, if there is one.
    pub kernel_interface: Option<String>,
    /// MAC address.
    pub mac: MacAddr,
    /// MTU in bytes of an IP packet.
    pub mtu: u16,
    /// Packets for others that come by it go by the routes of this table.
    pub table: u8,
    /// Administratively up.
    pub up: bool,
    /// Link is up.
    pub running: bool,
    /// Link speed in Mbit/s, 0 if unknown.
    pub speed_mbps: u32,
    /// Addresses, primary first.
    pub addresses: Vec<AddressRow>,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames lost on receive: no buffer or a device error.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames not sent: queue full or a device error.
    pub tx_errors: u64,
    /// It receives frames for others too.
    pub promiscuous: bool,
    /// It receives frames for all groups.
    pub all_multicast: bool,
    /// The VLAN that it is.
    pub vlan: Option<crate::Vlan>,
    /// The aggregated link that it is.
    pub lagg: Option<crate::LaggRow>,
}

/// What a driver knows of its device and has counted: `nic_config` and `nic_stats` of io-pkt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicRow {
    /// The interface, `tap0`.
    pub interface: String,
    /// Driver, `net_tap`.
    pub driver: String,
    /// The stack's address.
    pub mac: MacAddr,
    /// Largest IP packet.
    pub mtu: u16,
    /// The wire has a carrier.
    pub link: bool,
    /// Megabits a second, 0 if unknown.
    pub speed_mbps: u32,
    /// Both ways at once.
    pub full_duplex: bool,
    /// Speeds that the wire can have, `1000baseT full-duplex`; none: the driver does not say.
    pub media: Vec<String>,
    /// Pairs of queues.
    pub queues: u16,
    /// What it does for the stack: `ip4csum tcp4csum udp4csum tso4 chains loans`.
    pub capabilities: Vec<String>,
    /// Receives frames for others too.
    pub promiscuous: bool,
    /// Receives frames for all groups.
    pub all_multicast: bool,
    /// Its counters by the names of [`NIC_COUNTERS`], those that it keeps.
    pub counters: Vec<NicCounter>,
}

/// What a device may count (`nic_stats`), in the order of `struct iopkt_nic_stats`.
pub const NIC_COUNTERS: [&str; 30] = [
    "txed_ok",
    "rxed_ok",
    "octets_txed_ok",
    "octets_rxed_ok",
    "txed_broadcast",
    "rxed_broadcast",
    "txed_multicast",
    "rxed_multicast",
    "tx_failed_allocs",
    "rx_failed_allocs",
    "rx_missed",
    "fcs_errors",
    "align_errors",
    "short_packets",
    "oversized_packets",
    "length_field_outrange",
    "symbol_errors",
    "internal_rx_errors",
    "internal_tx_errors",
    "tx_deferred",
    "single_collisions",
    "multi_collisions",
    "late_collisions",
    "xcoll_aborted",
    "excessive_deferrals",
    "no_carrier",
    "sqe_errors",
    "jabber_detected",
    "dribble_bits",
    "total_collision_frames",
];

/// One counter of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicCounter {
    /// Its name, `rxed_multicast`.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// One module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRow {
    /// Its name, `pair`.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// What it is: `devnp`, a driver; `devnp-shim`, a per-packet driver; `lsm`, a protocol.
    pub kind: String,
    /// The shared object.
    pub path: String,
    /// Version of the ABI between it and the daemon.
    pub abi: u32,
    /// Who may call it at once: `single` (one worker), `queue` (one worker per queue) or `workers`.
    pub threading: String,
    /// `running`, or `failed` if it or an interface of it is down by its fault; of protocols also
    /// `opening` and `closing`.
    pub state: String,
    /// Its interfaces: its users.
    pub interfaces: Vec<String>,
    /// How often it has failed.
    pub failures: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// What a protocol is attached to.
    pub attachments: Vec<AttachmentRow>,
}

/// What a protocol module is attached to, and what came of the packets there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentRow {
    /// `ethertype 0x8204`, `protocol 106`, `tap in`, `inet in`, `interface out`.
    pub to: String,
    /// The one interface, if it is to one.
    pub interface: Option<String>,
    /// Packets that were passed on.
    pub passed: u64,
    /// Packets that a filter had dropped.
    pub dropped: u64,
    /// Packets that the module has taken.
    pub consumed: u64,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Destination network.
    pub destination: IpAddr,
    /// Prefix length.
    pub prefix_len: u8,
    /// Next hop; none for networks on a link.
    pub gateway: Option<IpAddr>,
    /// Interface name.
    pub interface: String,
    /// BSD's letters: U up, G gateway, H host, S static, C cloning (on link), D dynamic, B blackhole, R reject.
    pub flags: String,
    /// Most bytes of an IP packet, if the route says so.
    pub mtu: Option<u16>,
}

/// One neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborRow {
    /// Address.
    pub address: IpAddr,
    /// MAC address, none while it is being resolved.
    pub mac: Option<MacAddr>,
    /// Interface name.
    pub interface: String,
    /// `reachable`, `stale`, `incomplete`, `permanent`; `published`: this host answers for it.
    pub state: String,
    /// Seconds until it expires; none for permanent entries.
    pub expires_s: Option<u32>,
}

/// A group that is listened to on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Interface name.
    pub interface: String,
    /// The group.
    pub group: IpAddr,
    /// `include`: only from the sources; `exclude`: from all but them.
    pub mode: String,
    /// Sources.
    pub sources: Vec<IpAddr>,
    /// Sockets that have joined it; 0: the stack itself has.
    pub sockets: u32,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRow {
    /// `tcp`, `udp`, or `module`: a protocol module's.
    pub protocol: String,
    /// Local end.
    pub local: SocketAddr,
    /// Remote end, if connected.
    pub remote: Option<SocketAddr>,
    /// State in netstat's words; empty for UDP.
    pub state: String,
    /// Bytes received and not yet read.
    pub recv_queue: u32,
    /// Bytes posted and not yet acknowledged.
    pub send_queue: u32,
    /// Owner's process id, 0 for orphans.
    pub pid: u32,
    /// Owner's name.
    pub program: String,
    /// Worker that owns it.
    pub worker: u16,
}

/// One client process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRow {
    /// Slot number.
    pub slot: u32,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Program name.
    pub program: String,
    /// Open sockets.
    pub sockets: u32,
    /// Receive memory in use, bytes.
    pub rx_memory_bytes: u64,
    /// Received packets that it has on loan; `None`: it may borrow none.
    pub packets_lent: Option<u64>,
    /// Datagrams and segments' worth of text that it has posted.
    pub packets: u64,
    /// The same a second, since somebody last asked.
    pub packets_per_s: u64,
    /// Requests to the control socket.
    pub requests: u64,
    /// The same a second, since somebody last asked.
    pub requests_per_s: u64,
    /// How often it has met its user's quotas of memory and packets, and its user any other one.
    pub quota_hits: u64,
    /// Clients of its user that broke the rules of their memory.
    pub violations: u64,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Number.
    pub worker: u16,
    /// CPU it is pinned to.
    pub cpu: Option<u32>,
    /// Breaths taken.
    pub breaths: u64,
    /// Breaths that found work.
    pub busy_breaths: u64,
    /// Nanoseconds in breaths that found work.
    pub busy_ns: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    /// Subsystem, `tcp`.
    pub subsystem: String,
    /// Name, `segments_received`.
    pub name: String,
    /// Sum over the workers.
    pub value: u64,
    /// A sentence for a person.
    pub text: String,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRow {
    /// io-pkt's version.
    pub version: String,
    /// DPDK's version.
    pub dpdk: String,
    /// Process id.
    pub pid: u32,
    /// Prefix, empty for the default stack.
    pub prefix: String,
    /// Uses hugepages.
    pub hugepages: bool,
    /// Milliseconds since start.
    pub uptime_ms: u64,
    /// Address of the metrics endpoint.
    pub metrics: Option<SocketAddr>,
    /// Packet buffers in use.
    pub mbufs_used: u32,
    /// Packet buffers in all.
    pub mbufs_total: u32,
    /// First address of the stack, if it has one.
    pub address: Option<IpAddr>,
}

/// One tunable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunableRow {
    /// BSD's name, `net.inet.tcp.ecn.enable`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// It can be set.
    pub writable: bool,
    /// What it means.
    pub text: String,
}
