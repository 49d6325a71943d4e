//! `process_*`: what Prometheus's own client libraries publish about their process.
//!
//! Read from `/proc/self` at scrape. What cannot be read is left out: after the daemon has given
//! up its rights that may be all of it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use crate::family::{counter, gauge, level, level_of};

/// Collector for one process.
#[derive(Debug)]
pub(crate) struct Process {
    /// `/proc/self`.
    process: PathBuf,
    /// `/proc/stat`, for the time of boot.
    system_stat: PathBuf,
    desc: Desc,
}

impl Process {
    pub(crate) fn of_proc(
        process: PathBuf,
        system_stat: PathBuf,
    ) -> Result<Self, prometheus::Error> {
        let name = "process_cpu_seconds_total".into();
        let desc = Desc::new(name, "Processor time used.".into(), Vec::new(), HashMap::new())?;
        Ok(Self { process, system_stat, desc })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stat = fs::read_to_string(self.process.join("stat"));
        let mut families = stat
            .ok()
            .and_then(|text| Stat::parse(&text))
            .map(|stat| stat_families(&stat, boot_time_s(&self.system_stat)))
            .unwrap_or_default();
        if let Ok(entries) = fs::read_dir(self.process.join("fd")) {
            // The listing itself is done through one descriptor.
            let open = entries.count().saturating_sub(1);
            let metric = level_of(&[], u64::try_from(open).unwrap_or(u64::MAX));
            families.push(gauge("process_open_fds", "Open file descriptors.", vec![metric]));
        }
        if let Some(max) = fds_max(&self.process.join("limits")) {
            let metric = vec![level_of(&[], max)];
            families.push(gauge("process_max_fds", "Limit of open file descriptors.", metric));
        }
        families
    }
}

/// Fields of `/proc/PID/stat`, see proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The second field is the program's name in parentheses and may hold anything, so the
    /// numbers are counted from the last parenthesis; the first after it is field 3.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
fn stat_families(stat: &Stat, boot_time_s: Option<u64>) -> Vec<MetricFamily> {
    let hertz = rustix::param::clock_ticks_per_second() as f64;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut cpu = prometheus::proto::Counter::default();
    cpu.set_value(stat.cpu_ticks as f64 / hertz);
    let mut cpu_metric = prometheus::proto::Metric::default();
    cpu_metric.set_counter(cpu);
    let mut families = vec![
        counter("process_cpu_seconds_total", "Processor time used.", vec![cpu_metric]),
        gauge("process_threads", "Threads.", vec![level_of(&[], stat.threads)]),
        gauge(
            "process_virtual_memory_bytes",
            "Address space in use.",
            vec![level_of(&[], stat.virtual_bytes)],
        ),
        gauge(
            "process_resident_memory_bytes",
            "Memory in use.",
            vec![level_of(&[], stat.resident_pages.saturating_mul(page))],
        ),
    ];
    if let Some(boot) = boot_time_s {
        let started = boot as f64 + stat.start_ticks as f64 / hertz;
        families.push(gauge(
            "process_start_time_seconds",
            "When the process started, seconds since 1970.",
            vec![level(&[], started)],
        ));
    }
    families
}

fn boot_time_s(system_stat: &Path) -> Option<u64> {
    let text = fs::read_to_string(system_stat).ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn fds_max(limits: &Path) -> Option<u64> {
    let text = fs::read_to_string(limits).ok()?;
    let soft = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    soft.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let text = "7 (a) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 11 22 0 0 20 0 5 0 333 4096 6 0";
        let expected = Stat {
            cpu_ticks: 33,
            threads: 5,
            start_ticks: 333,
            virtual_bytes: 4096,
            resident_pages: 6,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (short) S 1 2"), None);
    }

    #[test]
    fn this_process_has_all_of_them() {
        let process = Process::of_proc("/proc/self".into(), "/proc/stat".into()).expect("valid");
        let names: Vec<_> = process.collect().iter().map(|f| f.name().to_owned()).collect();
        for name in ["cpu_seconds_total", "threads", "resident_memory_bytes", "open_fds", "max_fds"]
        {
            assert!(names.contains(&format!("process_{name}")), "{name} is not in {names:?}");
        }
    }

    #[test]
    fn an_unreadable_proc_publishes_nothing() {
        let process = Process::of_proc("/nonexistent".into(), "/nonexistent".into());
        assert!(process.expect("valid").collect().is_empty());
    }
}
