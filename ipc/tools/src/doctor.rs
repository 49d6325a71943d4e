//! `iopkt doctor`: what is missing on this machine, and the command that mends it.
//!
//! Each check is a function from a [`Host`] to a [`Finding`]; it only reads. The host's `/proc`,
//! `/sys` and `/dev` lie under a root that is an argument, so a test can break any of them.
//!
//! * [`host`]: reading files under the root; [`Answer`], what the daemon said.
//! * [`machine`]: kernel, processors, memory, limits, rights.
//! * [`packets`]: DPDK, hugepages, tap devices.
//! * [`service`]: run directory, daemon, metrics port, preload library.

mod host;
mod machine;
mod packets;
mod service;

use serde::Serialize;

use crate::fail::{Failure, PROBLEMS};
use crate::output::{escape, show};
use host::Host;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Works, but slower or with less.
    Warn,
    /// Something will not work.
    Fail,
}

/// What one check found. Also a row of `--json`: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Name of the check.
    check: &'static str,
    /// How it ended.
    verdict: Verdict,
    /// What is there.
    found: String,
    /// The command, or the step, that mends it.
    fix: Option<String>,
}

impl Finding {
    fn ok(found: impl Into<String>) -> Self {
        Self { check: "", verdict: Verdict::Ok, found: found.into(), fix: None }
    }

    fn warn(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: "", verdict: Verdict::Warn, found: found.into(), fix: Some(fix.into()) }
    }

    fn fail(found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check: "", verdict: Verdict::Fail, found: found.into(), fix: Some(fix.into()) }
    }
}

/// Name and function of a check.
struct Check(&'static str, fn(&Host) -> Finding);

/// All checks, in the order in which their causes build on each other.
const CHECKS: [Check; 24] = [
    Check("kernel", machine::kernel),
    Check("cpu_features", machine::cpu_features),
    Check("cpus", machine::cpus),
    Check("cpu_governor", machine::cpu_governor),
    Check("clock_source", machine::clock_source),
    Check("memory", machine::memory),
    Check("container_memory", machine::container_memory),
    Check("container_cpu", machine::container_cpu),
    Check("memlock", machine::memlock),
    Check("open_files", machine::open_files),
    Check("net_admin", machine::net_admin),
    Check("dpdk_library", packets::dpdk_library),
    Check("dpdk_drivers", packets::dpdk_drivers),
    Check("hugepages", packets::hugepages),
    Check("hugepage_users", packets::hugepage_users),
    Check("hugetlbfs", packets::hugetlbfs),
    Check("tun", packets::tun),
    Check("run_directory", service::run_directory),
    Check("daemon", service::daemon),
    Check("version", service::version),
    Check("other_daemons", service::other_daemons),
    Check("metrics_port", service::metrics_port),
    Check("preload_library", service::preload_library),
    Check("preload_readable", service::preload_readable),
];

/// Runs the tool.
pub(crate) fn main(sock: Option<String>, json: bool) -> Result<(), Failure> {
    let findings = examine(&Host::this(sock));
    show(&*findings, json, render)?;
    if findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        return Err(Failure::new(PROBLEMS, String::new()));
    }
    Ok(())
}

/// All checks of one host.
fn examine(host: &Host) -> Vec<Finding> {
    CHECKS.iter().map(|Check(check, run)| Finding { check, ..run(host) }).collect()
}

fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        text.push_str(&format!("{word:<5} {:<17} {}\n", finding.check, escape(&finding.found)));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("{:<24}fix: {}\n", "", escape(fix)));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (ok, warn, fail) = (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail));
    text + &format!("{} checks: {ok} ok, {warn} to look at, {fail} failed\n", findings.len())
}

#[cfg(test)]
mod tests;
