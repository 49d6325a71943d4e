//! The command line that EAL wants, from what io-pkt knows.

use crate::topology::Plan;

/// Where EAL takes its memory from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// 2 MiB pages, taken when needed and unmapped at exit, however that comes about.
    Hugepages {
        /// MiB to take at start; `None` takes pages only as they are needed.
        preallocate_mib: Option<u32>,
    },
    /// Ordinary pages: works everywhere, as any user. The amount is fixed at start, but untouched
    /// pages cost nothing.
    Ordinary {
        /// MiB of address space.
        mib: u32,
    },
}

/// Builds EAL's arguments.
///
/// The defaults are those of a daemon that shares nothing with other processes: no configuration
/// files, no PCI scan, no telemetry socket, warnings only.
#[derive(Clone, Debug)]
pub struct EalArgs {
    file_prefix: String,
    memory: Memory,
    multi_process: bool,
    pci: Vec<String>,
    telemetry: bool,
    log_level: String,
    lcores: String,
    extra: Vec<String>,
}

impl EalArgs {
    /// Arguments for the process `file_prefix` names, with ordinary memory and one lcore on CPU 0.
    #[must_use]
    pub fn new(file_prefix: &str) -> Self {
        Self {
            file_prefix: file_prefix.into(),
            memory: Memory::Ordinary { mib: 128 },
            multi_process: false,
            pci: Vec::new(),
            telemetry: false,
            log_level: "warning".into(),
            lcores: "0@0".into(),
            extra: Vec::new(),
        }
    }

    /// Chooses the memory.
    #[must_use]
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Keeps DPDK's shared configuration so that secondaries, which are trusted fully, can attach.
    /// Needs hugepages and a hugetlbfs mount.
    #[must_use]
    pub fn multi_process(mut self, yes: bool) -> Self {
        self.multi_process = yes;
        self
    }

    /// Lets EAL probe the PCI device at this address; without a call the PCI bus is left alone.
    #[must_use]
    pub fn allow_pci(mut self, address: &str) -> Self {
        self.pci.push(address.into());
        self
    }

    /// Opens DPDK's telemetry socket.
    #[must_use]
    pub fn telemetry(mut self, yes: bool) -> Self {
        self.telemetry = yes;
        self
    }

    /// EAL's log level by name: `error`, `warning`, `notice`, `info`, `debug`; or `pattern:level`.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.into();
        self
    }

    /// Puts the control thread on lcore 0 and worker *n* on lcore *n* + 1, on the plan's CPUs.
    #[must_use]
    pub fn plan(mut self, plan: &Plan) -> Self {
        self.lcores = lcores(plan);
        self
    }

    /// One more argument, given as it is.
    #[must_use]
    pub fn extra(mut self, argument: &str) -> Self {
        self.extra.push(argument.into());
        self
    }

    /// The arguments, without the program's name.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        let mut args = vec![
            format!("--file-prefix={}", self.file_prefix),
            format!("--lcores={}", self.lcores),
            format!("--log-level={}", self.log_level),
            "--no-hpet".to_owned(),
        ];
        let memory = match self.memory {
            Memory::Hugepages { preallocate_mib } => preallocate_mib,
            Memory::Ordinary { mib } => {
                args.push("--no-huge".into());
                Some(mib)
            }
        };
        args.extend(memory.into_iter().flat_map(|mib| ["-m".into(), mib.to_string()]));
        // EAL refuses --in-memory (hugepages without files) together with --no-huge, which has no
        // files anyway: there the configuration alone has to stay private.
        match (self.multi_process, self.memory) {
            (true, _) => {}
            (false, Memory::Hugepages { .. }) => args.push("--in-memory".into()),
            (false, Memory::Ordinary { .. }) => args.push("--no-shconf".into()),
        }
        if self.pci.is_empty() {
            args.push("--no-pci".into());
        }
        args.extend(self.pci.iter().map(|address| format!("--allow={address}")));
        if !self.telemetry {
            args.push("--no-telemetry".into());
        }
        args.extend(self.extra.iter().cloned());
        args
    }
}

/// `0@(0-1),1@0,2@1`: the syntax of `--lcores`.
fn lcores(plan: &Plan) -> String {
    let control = plan.control_cpus.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut text = format!("0@({})", control.join(","));
    for (worker, cpu) in plan.worker_cpus.iter().enumerate() {
        text.push_str(&format!(",{}@{cpu}", worker + 1));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_becomes_an_lcore_map() {
        let plan = Plan { control_cpus: vec![0, 1], worker_cpus: vec![2, 3] };
        assert_eq!(lcores(&plan), "0@(0,1),1@2,2@3");
    }

    #[test]
    fn the_default_leaves_the_machine_alone() {
        let args = EalArgs::new("t").to_vec();
        for wanted in ["--no-shconf", "--no-huge", "--no-pci", "--no-telemetry"] {
            assert!(args.iter().any(|arg| arg == wanted), "{wanted} in {args:?}");
        }
    }

    #[test]
    fn hugepages_leave_no_files() {
        let memory = Memory::Hugepages { preallocate_mib: Some(64) };
        let args = EalArgs::new("t").memory(memory).to_vec();
        assert!(args.iter().any(|arg| arg == "--in-memory"), "{args:?}");
        assert!(!args.iter().any(|arg| arg == "--no-huge"), "{args:?}");
    }

    #[test]
    fn an_allowed_device_brings_the_pci_bus_back() {
        let args = EalArgs::new("t").allow_pci("0000:03:00.0").to_vec();
        assert!(args.contains(&"--allow=0000:03:00.0".into()));
        assert!(!args.contains(&"--no-pci".into()));
    }
}
