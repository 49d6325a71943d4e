//! From a [`Sample`] to Prometheus families.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Registry, TextEncoder};
use types::DropReason;

use crate::family::{count, counter, gauge, histogram, level, level_of, name_part};
use crate::module::module_families;
use crate::process::Process;
use crate::sample::{CounterSample, InterfaceSample, Sample, WorkerSample};

/// Where samples come from: called once per scrape, on the exporter's thread.
///
/// A source that learns nothing in time returns the default sample, which no running daemon has.
/// The scrape then fails: zeros would look like a restart to Prometheus.
pub type Source = Arc<dyn Fn() -> Sample + Send + Sync>;

/// A sample as Prometheus text, without the process's own metrics.
#[must_use]
pub fn render(sample: &Sample) -> String {
    let mut families = families(sample);
    families.retain(|family| !family.get_metric().is_empty());
    text(&families)
}

/// All that `/metrics` shows: the stack and the process it runs in.
pub(crate) fn registry(source: Source) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(Stack::new(source)?))?;
    registry.register(Box::new(Process::of_proc("/proc/self".into(), "/proc/stat".into())?))?;
    Ok(registry)
}

/// Whether the source had something to say.
pub(crate) fn has_stack(families: &[MetricFamily]) -> bool {
    families.iter().any(|family| family.name() == BUILD_INFO)
}

/// Families as text. The encoder refuses only families without a name or without series; the
/// registry and [`render`] have removed those.
pub(crate) fn text(families: &[MetricFamily]) -> String {
    TextEncoder::new().encode_to_string(families).unwrap_or_default()
}

/// The collector over the daemon's counters. It keeps nothing between scrapes.
struct Stack {
    source: Source,
    /// The registry wants to know one name; the others depend on the sample.
    desc: Desc,
}

impl Stack {
    fn new(source: Source) -> Result<Self, prometheus::Error> {
        let desc = Desc::new(BUILD_INFO.into(), BUILD_HELP.into(), Vec::new(), HashMap::new())?;
        Ok(Self { source, desc })
    }
}

impl Collector for Stack {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sample = (self.source)();
        if sample == Sample::default() { Vec::new() } else { families(&sample) }
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

const BUILD_INFO: &str = "iopkt_build_info";
const BUILD_HELP: &str = "Versions of the running daemon; always 1.";

fn families(sample: &Sample) -> Vec<MetricFamily> {
    let mut families = daemon_families(sample);
    families.extend(interface_families(&sample.interfaces));
    families.extend(module_families(&sample.modules));
    families.extend(worker_families(&sample.workers));
    families.push(drop_family(&sample.drops));
    families.extend(table_families(sample));
    families.extend(client_families(sample));
    families.extend(counter_families(&sample.counters));
    families.extend(sample.gauges.iter().map(|g| {
        let name = format!("iopkt_{}_{}", name_part(&g.subsystem), name_part(&g.name));
        gauge(&name, help_or(&g.help, &name), vec![level(&[], g.value)])
    }));
    families
}

fn daemon_families(sample: &Sample) -> Vec<MetricFamily> {
    let build = &sample.build;
    let labels = [("version", &*build.version), ("dpdk", &*build.dpdk)];
    vec![gauge(BUILD_INFO, BUILD_HELP, vec![level(&labels, 1.0)])]
}

/// Name, sentence and field of one interface counter.
struct InterfaceCounter(&'static str, &'static str, fn(&InterfaceSample) -> u64);

const INTERFACE_COUNTERS: [InterfaceCounter; 6] = [
    InterfaceCounter("receive_packets", "Frames received.", |i| i.rx_packets),
    InterfaceCounter("receive_bytes", "Bytes received.", |i| i.rx_bytes),
    InterfaceCounter(
        "receive_errors",
        "Frames lost on receive: no buffer or a device error.",
        |i| i.rx_errors,
    ),
    InterfaceCounter("transmit_packets", "Frames sent.", |i| i.tx_packets),
    InterfaceCounter("transmit_bytes", "Bytes sent.", |i| i.tx_bytes),
    InterfaceCounter("transmit_errors", "Frames not sent: queue full or a device error.", |i| {
        i.tx_errors
    }),
];

fn interface_families(interfaces: &[InterfaceSample]) -> Vec<MetricFamily> {
    let mut families: Vec<_> = INTERFACE_COUNTERS
        .iter()
        .map(|InterfaceCounter(name, help, value)| {
            let series = |i: &InterfaceSample| count(&[("interface", &i.interface)], value(i));
            let metrics = interfaces.iter().map(series).collect();
            counter(&format!("iopkt_interface_{name}_total"), help, metrics)
        })
        .collect();
    families.push(gauge(
        "iopkt_interface_up",
        "1 if the interface is up and has a link.",
        interfaces
            .iter()
            .map(|i| level_of(&[("interface", &i.interface)], u64::from(i.up)))
            .collect(),
    ));
    families
}

fn worker_families(workers: &[WorkerSample]) -> Vec<MetricFamily> {
    let series = |value: fn(&WorkerSample) -> u64| -> Vec<Metric> {
        workers.iter().map(|w| count(&[("worker", &w.worker.to_string())], value(w))).collect()
    };
    vec![
        gauge(
            "iopkt_worker_busy_ratio",
            "Share of recent time the worker spent on work, 0 to 1.",
            workers
                .iter()
                .map(|w| level(&[("worker", &w.worker.to_string())], w.busy_ratio))
                .collect(),
        ),
        counter("iopkt_worker_breaths_total", "Turns of the worker's loop.", series(|w| w.breaths)),
        counter(
            "iopkt_worker_busy_breaths_total",
            "Turns of the worker's loop that found work.",
            series(|w| w.busy_breaths),
        ),
        counter(
            "iopkt_worker_sleeps_total",
            "Times the worker went to sleep.",
            series(|w| w.sleeps),
        ),
    ]
}

/// All reasons, also those never seen: a series that appears with its first drop has no rate.
fn drop_family(drops: &[u64]) -> MetricFamily {
    let series = |(index, reason): (usize, &DropReason)| {
        let labels = [("layer", reason.layer()), ("reason", reason.label())];
        count(&labels, drops.get(index).copied().unwrap_or(0))
    };
    counter(
        "iopkt_dropped_packets_total",
        "Packets dropped; each is counted once, under the one reason that ended it.",
        DropReason::ALL.iter().enumerate().map(series).collect(),
    )
}

fn table_families(sample: &Sample) -> Vec<MetricFamily> {
    let pool = |pool: &crate::PoolSample| {
        [
            level_of(&[("pool", &pool.pool), ("state", "free")], pool.free),
            level_of(&[("pool", &pool.pool), ("state", "used")], pool.used),
        ]
    };
    let neighbor = |n: &crate::NeighborSample| {
        level_of(&[("family", &n.family), ("state", &n.state)], n.count)
    };
    let mut families = vec![
        gauge(
            "iopkt_mbufs",
            "Packet buffers by pool and state.",
            sample.mbufs.iter().flat_map(pool).collect(),
        ),
        gauge(
            "iopkt_tcp_connections",
            "TCP connections by state.",
            labelled(level_of, "state", &sample.tcp_connections),
        ),
        gauge(
            "iopkt_sockets",
            "Open sockets of all clients by protocol.",
            labelled(level_of, "protocol", &sample.sockets),
        ),
        gauge(
            "iopkt_neighbors",
            "Neighbour table entries by family and state.",
            sample.neighbors.iter().map(neighbor).collect(),
        ),
    ];
    families.extend(
        sample.tcp_rtt.as_ref().map(|rtt| {
            histogram("iopkt_tcp_rtt_seconds", "Round-trip times measured by TCP.", rtt)
        }),
    );
    families
}

fn client_families(sample: &Sample) -> Vec<MetricFamily> {
    vec![
        gauge("iopkt_clients", "Attached client processes.", vec![level_of(&[], sample.clients)]),
        counter(
            "iopkt_client_reaped_total",
            "Clients whose sockets and memory were taken back, by reason.",
            labelled(count, "reason", &sample.clients_reaped),
        ),
        counter(
            "iopkt_client_violations_total",
            "Clients closed because they broke the shared-memory contract.",
            vec![count(&[], sample.client_violations)],
        ),
        counter(
            "iopkt_client_quota_hits_total",
            "Times users met one of their quotas, by quota.",
            labelled(count, "quota", &sample.quota_hits),
        ),
    ]
}

/// Rows of the same name are summed: two series with equal labels would spoil the whole scrape.
fn counter_families(counters: &[CounterSample]) -> Vec<MetricFamily> {
    let mut by_name: BTreeMap<String, (&str, u64)> = BTreeMap::new();
    for row in counters {
        let noun = name_part(&row.name);
        let noun = noun.strip_suffix("_total").unwrap_or(&noun);
        let name = format!("iopkt_{}_{noun}_total", name_part(&row.subsystem));
        let entry = by_name.entry(name).or_insert((&row.help, 0));
        entry.1 = entry.1.saturating_add(row.value);
    }
    by_name
        .iter()
        .map(|(name, (help, value))| counter(name, help_or(help, name), vec![count(&[], *value)]))
        .collect()
}

/// Prometheus's linter wants a HELP line on everything; the name is better than nothing.
fn help_or<'a>(help: &'a str, name: &'a str) -> &'a str {
    if help.is_empty() { name } else { help }
}

fn labelled(
    series: fn(&[(&str, &str)], u64) -> Metric,
    label: &str,
    rows: &[(Cow<'static, str>, u64)],
) -> Vec<Metric> {
    rows.iter().map(|(value, n)| series(&[(label, value)], *n)).collect()
}
