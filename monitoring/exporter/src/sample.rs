//! What the daemon publishes, as plain values.

use std::borrow::Cow;

/// The state of the stack at one scrape. Lists that are empty publish nothing; the default is an
/// empty stack, so the daemon fills in what it has with `..Sample::default()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Versions.
    pub build: BuildInfo,
    /// Workers.
    pub workers: Vec<WorkerSample>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceSample>,
    /// Modules.
    pub modules: Vec<ModuleSample>,
    /// Dropped packets summed over the workers, indexed by `DropReason as usize`. Reasons beyond
    /// the end of the list are published as zero.
    pub drops: Vec<u64>,
    /// Packet buffer pools.
    pub mbufs: Vec<PoolSample>,
    /// Connections by state: `listen`, `established`, …
    pub tcp_connections: Vec<(Cow<'static, str>, u64)>,
    /// Open sockets by protocol: `tcp`, `udp`.
    pub sockets: Vec<(Cow<'static, str>, u64)>,
    /// Smoothed round-trip times of TCP connections.
    pub tcp_rtt: Option<HistogramSample>,
    /// Neighbours by family and state.
    pub neighbors: Vec<NeighborSample>,
    /// Attached client processes.
    pub clients: u64,
    /// Clients whose memory was taken back, by reason: `exit`, `killed`, `violation`, …
    pub clients_reaped: Vec<(Cow<'static, str>, u64)>,
    /// Clients that broke the shared-memory contract.
    pub client_violations: u64,
    /// How often users met their quotas, by what it is a quota of: `sockets`, `packets`, …
    pub quota_hits: Vec<(Cow<'static, str>, u64)>,
    /// Counters of the subsystems: `iopkt_<subsystem>_<name>_total`.
    pub counters: Vec<CounterSample>,
    /// Gauges of the subsystems: `iopkt_<subsystem>_<name>`.
    pub gauges: Vec<GaugeSample>,
}

/// Versions of the running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// io-pkt's version.
    pub version: Cow<'static, str>,
    /// DPDK's version.
    pub dpdk: Cow<'static, str>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerSample {
    /// Number.
    pub worker: u16,
    /// Share of recent time spent on work, 0 to 1.
    pub busy_ratio: f64,
    /// Breaths taken.
    pub breaths: u64,
    /// Breaths that found work.
    pub busy_breaths: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceSample {
    /// Name, `tap0`.
    pub interface: String,
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames lost on receive.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames not sent.
    pub tx_errors: u64,
    /// Administratively up and the link is there.
    pub up: bool,
}

/// One module; also one that is unloaded, if it had failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSample {
    /// Its name, `pair`.
    pub module: String,
    /// `driver` or `protocol`.
    pub kind: &'static str,
    /// It is loaded now.
    pub loaded: bool,
    /// How often it has failed.
    pub failures: u64,
    /// A driver's interfaces.
    pub interfaces: u64,
    /// Of these, down by its fault; for a protocol 1 if it is called no more.
    pub failed: u64,
    /// What a protocol is attached to.
    pub attachments: Vec<AttachmentSample>,
    /// A protocol's settings and counters.
    pub variables: Vec<(String, i64)>,
}

/// What a protocol module is attached to, and the packets there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentSample {
    /// `inet in`, `ethertype 0x8204`.
    pub to: String,
    /// The one interface, or nothing for all.
    pub interface: String,
    /// Packets that were passed on.
    pub passed: u64,
    /// Packets that a filter had dropped.
    pub dropped: u64,
    /// Packets that the module has taken.
    pub taken: u64,
}

/// One pool of packet buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolSample {
    /// Name of the pool.
    pub pool: String,
    /// Buffers in use.
    pub used: u64,
    /// Buffers free.
    pub free: u64,
}

/// Neighbours in one state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeighborSample {
    /// `inet` or `inet6`.
    pub family: Cow<'static, str>,
    /// `reachable`, `stale`, `incomplete`, `permanent`.
    pub state: Cow<'static, str>,
    /// How many.
    pub count: u64,
}

/// One counter of a subsystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterSample {
    /// Subsystem: `tcp`.
    pub subsystem: Cow<'static, str>,
    /// Name in base units, without `_total`: `segments_received`.
    pub name: Cow<'static, str>,
    /// A sentence for a person.
    pub help: Cow<'static, str>,
    /// Value since start.
    pub value: u64,
}

/// One gauge of a subsystem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GaugeSample {
    /// Subsystem: `ipv4`.
    pub subsystem: Cow<'static, str>,
    /// Name in base units: `fragments_held`.
    pub name: Cow<'static, str>,
    /// A sentence for a person.
    pub help: Cow<'static, str>,
    /// Value now.
    pub value: f64,
}

/// A histogram with fixed bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramSample {
    /// Upper bound and count of each bucket, bounds rising, counts not cumulated. What is above
    /// the last bound is counted by a bucket with the bound `f64::INFINITY`.
    pub buckets: Vec<(f64, u64)>,
    /// Sum of all observations.
    pub sum: f64,
}
