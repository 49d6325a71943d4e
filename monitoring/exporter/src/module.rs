//! What modules do, and how often they have failed.

use prometheus::proto::{Metric, MetricFamily};

use crate::family::{count, counter, gauge, level, level_of};
use crate::sample::{AttachmentSample, ModuleSample};

pub(crate) fn module_families(modules: &[ModuleSample]) -> Vec<MetricFamily> {
    let drivers = || modules.iter().filter(|m| m.kind == "driver");
    let by_name = |m: &ModuleSample, value| level_of(&[("module", &m.module)], value);
    vec![
        gauge(
            "iopkt_modules",
            "Loaded modules by their kind, driver or protocol, and by whether they have failed.",
            loaded(modules),
        ),
        counter(
            "iopkt_module_failures_total",
            "Times a module has failed: a driver's interface was set down, a protocol called no more.",
            modules
                .iter()
                .map(|m| count(&[("module", &m.module), ("kind", m.kind)], m.failures))
                .collect(),
        ),
        gauge(
            "iopkt_module_interfaces",
            "Interfaces of a driver module.",
            drivers().map(|m| by_name(m, m.interfaces)).collect(),
        ),
        gauge(
            "iopkt_module_interfaces_failed",
            "Interfaces that are down because their driver module has failed.",
            drivers().map(|m| by_name(m, m.failed)).collect(),
        ),
        counter(
            "iopkt_module_packets_total",
            "Packets at an attachment of a protocol module: passed on, dropped, or taken by it.",
            modules.iter().flat_map(packets).collect(),
        ),
        gauge(
            "iopkt_module_variable",
            "Settings and counters of a protocol module's own, as iopkt sysctl shows them.",
            modules.iter().flat_map(variables).collect(),
        ),
    ]
}

/// Modules of each kind that run, and that have failed; also where there are none.
fn loaded(modules: &[ModuleSample]) -> Vec<Metric> {
    let states = ["driver", "protocol"].into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
    states
        .map(|(kind, failed)| {
            let these = modules.iter().filter(|m| m.kind == kind && m.loaded);
            let count = these.filter(|m| (m.failed > 0) == failed).count() as u64;
            let state = if failed { "failed" } else { "running" };
            level_of(&[("kind", kind), ("state", state)], count)
        })
        .collect()
}

/// Three series for each attachment.
fn packets(module: &ModuleSample) -> impl Iterator<Item = Metric> {
    let series = |at: &AttachmentSample, verdict, value| {
        let labels = [
            ("module", &*module.module),
            ("attachment", &*at.to),
            ("interface", &*at.interface),
            ("verdict", verdict),
        ];
        count(&labels, value)
    };
    module.attachments.iter().flat_map(move |at| {
        [
            series(at, "passed", at.passed),
            series(at, "dropped", at.dropped),
            series(at, "taken", at.taken),
        ]
    })
}

fn variables(module: &ModuleSample) -> impl Iterator<Item = Metric> {
    module.variables.iter().map(|(name, value)| {
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing but doubles")]
        level(&[("module", &*module.module), ("variable", &**name)], *value as f64)
    })
}
