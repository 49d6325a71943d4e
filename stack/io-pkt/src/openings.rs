//! Drivers that are mounted: DPDK's at once, modules by threads of their own, which nobody else waits for.
//!
//! ```text
//!   mount ──> a driver of DPDK's ─────────────────────────────> interfaces, answer
//!         └─> a module: opening ── its thread says so ─────────────┘
//!                          └─ ten seconds ──> given up, answer ── its thread ends ──> nothing
//! ```

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use devnp::{AttachEnv, AttachError, DriverSpec, ModuleError, OPEN_TIME, OpeningId, Port, Report};
use dpdk::Eal;
use proto::Reply;
use proto::table::ModuleRow;

use crate::config;
use crate::control::Control;
use crate::pending::Asked;

/// What a module is opened for.
pub(crate) struct Opening {
    interface: config::Interface,
    /// The tool that waits; `None`: the daemon starts.
    asked: Option<Asked>,
    until: Instant,
    /// Names that a driver's interface does not get meanwhile.
    named: Vec<(String, u32)>,
}

/// What has become of a driver that is to be attached.
enum Begun {
    There(Vec<String>),
    /// A thread says later what has.
    Opening(OpeningId),
}

fn said(error: &AttachError) -> String {
    format!("{error}; {}", error.help())
}

impl Control {
    /// Attaches a driver's ports and waits for them: the daemon starts. Returns the names.
    ///
    /// # Errors
    /// What went wrong and what to do, in one line; nothing is left then.
    pub(crate) fn start_driver(
        &mut self,
        eal: &Eal,
        interface: &config::Interface,
    ) -> Result<Vec<String>, String> {
        let id = match self.begin(eal, interface, None)? {
            Begun::There(names) => return Ok(names),
            Begun::Opening(id) => id,
        };
        let until = Instant::now() + OPEN_TIME;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.drivers.openings.wait_report(left) {
                Some(Report::Opened(of, result)) if of == id => {
                    let Some(opening) = self.end_opening(id) else { return Ok(Vec::new()) };
                    return self.module_opened(&opening.interface, result);
                }
                Some(report) => self.hear_opening(eal, report),
                None if self.drivers.openings.give_up(id) => {
                    drop(self.end_opening(id));
                    return Err(said(&given_up(&interface.driver)));
                }
                // It has opened just now, and says so next.
                None => {}
            }
        }
    }

    /// Attaches a driver of DPDK's, or begins to open a module.
    fn begin(
        &mut self,
        eal: &Eal,
        interface: &config::Interface,
        asked: Option<Asked>,
    ) -> Result<Begun, String> {
        let config::Interface { driver, options, .. } = interface;
        if interface.rings().any() && self.facts.file_prefix.is_none() {
            return Err("packet_rings needs [eal] multi_process = true".into());
        }
        if self.facts.no_io && devnp::pci_address(driver).is_some() {
            return Err("a PCI device needs I/O privilege; start io-pkt without -I".into());
        }
        let spec = DriverSpec::parse(driver, options).map_err(|error| error.to_string())?;
        // What the operator has named, or made, is not what a driver's interface is called.
        let named = self.drivers.units.take_names(self.network.names());
        if self.drivers.modules.know(&spec.name) {
            // Said here and not later: a thread's first word takes the C library's lock, which a module holds
            // while its initialisers run.
            tracing::info!("opening the driver module {driver}");
            return match self.drivers.openings.begin(&spec) {
                Ok(id) => {
                    let (interface, until) = (interface.clone(), Instant::now() + OPEN_TIME);
                    let opening = Opening { interface, asked, until, named };
                    let _ = self.drivers.awaited.insert(id, opening);
                    Ok(Begun::Opening(id))
                }
                Err(error) => {
                    self.free(&named);
                    Err(said(&error))
                }
            };
        }
        let port = self.attach_dpdk(eal, &spec);
        self.free(&named);
        let port = port.map_err(|error| said(&error))?;
        self.add_ports(vec![port], interface.rings()).map(Begun::There)
    }

    fn attach_dpdk(&self, eal: &Eal, spec: &DriverSpec) -> Result<Port, AttachError> {
        if self.drivers.openings.block_linker() {
            return Err(ModuleError::Linker.into());
        }
        let (units, pool) = (&self.drivers.units, &self.drivers.pool);
        let shown = self.drivers.shown.as_ref();
        let env = AttachEnv { workers: self.worker_count(), pool, shown, units };
        let attached = devnp::attach_all(eal, spec, &env, &self.drivers.modules)?;
        let port = attached.into_iter().next();
        port.ok_or_else(|| AttachError::NoPort { device: spec.name.clone() })
    }

    fn free(&self, named: &[(String, u32)]) {
        named.iter().for_each(|(base, unit)| self.drivers.units.release(base, *unit));
    }

    /// Nobody waits for this opening any more.
    fn end_opening(&mut self, id: OpeningId) -> Option<Opening> {
        let opening = self.drivers.awaited.remove(&id)?;
        self.free(&opening.named);
        Some(opening)
    }

    /// A module's ports run, or there are none.
    fn module_opened(
        &mut self,
        interface: &config::Interface,
        result: Result<Vec<Port>, AttachError>,
    ) -> Result<Vec<String>, String> {
        let ports = result.map_err(|error| said(&error))?;
        // Somebody may have given an interface this name meanwhile.
        let taken = ports.iter().find(|port| self.network.index(port.name()).is_ok());
        if let Some(name) = taken.map(|port| port.name().to_owned()) {
            for port in ports {
                // The reason to report is the name.
                let _ = self.detach_port(port);
            }
            return Err(said(&AttachError::UnitTaken { name }));
        }
        let names = self.add_ports(ports, interface.rings());
        // One whose device went while it opened was no interface yet when it said so.
        self.drivers.alarmed.store(true, Ordering::Release);
        names
    }

    /// Attaches what tools have asked for, and takes what modules' threads say.
    pub(crate) fn attend_mounts(&mut self, eal: &Eal) {
        while let Some((asked, interface)) = self.drivers.jobs.pop_front() {
            if !self.connections.contains_key(&asked.connection) {
                tracing::info!("mount {}: whoever asked is gone", interface.driver);
                continue;
            }
            match self.begin(eal, &interface, Some(asked)) {
                Ok(Begun::There(names)) => self.mounted(asked, &interface, Ok(names)),
                Ok(Begun::Opening(_)) => {}
                Err(why) => self.mounted(asked, &interface, Err(why)),
            }
        }
        while let Some(report) = self.drivers.openings.next_report() {
            self.hear_opening(eal, report);
        }
        self.give_up_openings(Instant::now());
    }

    fn hear_opening(&mut self, eal: &Eal, report: Report) {
        match report {
            Report::Below(below) => {
                let given_up = self.drivers.openings.is_given_up(below.id);
                let port = if given_up {
                    Err(ModuleError::Leaving { module: below.spec.name.clone() }.into())
                } else {
                    self.attach_dpdk(eal, &below.spec)
                };
                below.attached(port);
            }
            Report::Opened(id, result) => {
                let Some(Opening { interface, asked, .. }) = self.end_opening(id) else { return };
                let result = self.module_opened(&interface, result);
                if let Some(asked) = asked {
                    self.mounted(asked, &interface, result);
                }
            }
            Report::Ended(_, true) => {
                tracing::warn!("a driver module has opened too late and is closed again");
            }
            Report::Ended(_, false) => {
                tracing::info!("a driver module that was given up has not opened");
            }
        }
    }

    /// Answers tools that have waited long enough for a module. Its thread can't be ended; nobody else waits
    /// for it.
    fn give_up_openings(&mut self, now: Instant) {
        let late = self.drivers.awaited.iter().filter(|(_, opening)| opening.until <= now);
        let late: Vec<OpeningId> = late.map(|(id, _)| *id).collect();
        for id in late {
            if !self.drivers.openings.give_up(id) {
                // It has opened just now, and says so next.
                continue;
            }
            let Some(Opening { interface, asked, .. }) = self.end_opening(id) else { continue };
            if let Some(asked) = asked {
                let why = said(&given_up(&interface.driver));
                self.mounted(asked, &interface, Err(why));
            }
        }
    }

    /// How long this thread may sleep while modules open.
    pub(crate) fn until_openings(&self) -> Option<core::time::Duration> {
        let next = self.drivers.awaited.values().map(|opening| opening.until).min();
        next.map(|until| until.saturating_duration_since(Instant::now()))
    }

    /// Tells a tool what has become of the driver that it has asked for.
    fn mounted(
        &mut self,
        asked: Asked,
        interface: &config::Interface,
        result: Result<Vec<String>, String>,
    ) {
        let reply = match result {
            Ok(names) => {
                let first = names.first();
                let refused = first.and_then(|name| self.set_up_interface(name, interface));
                tracing::info!("mounted {}: {}", interface.driver, names.join(" "));
                match refused {
                    Some(why) => Reply::Refused {
                        why: format!(
                            "it is mounted, but {why}; give it another with iopkt ifconfig"
                        ),
                    },
                    None => Reply::Mounted { interfaces: names },
                }
            }
            Err(why) => {
                tracing::error!("mount {}: {why}", interface.driver);
                Reply::Refused { why }
            }
        };
        self.count_call(Some(asked.connection), false);
        self.answer(asked.connection, asked.sequence, Ok(reply));
    }

    /// Modules that open, for listings.
    pub(crate) fn opening_rows(&self) -> Vec<ModuleRow> {
        let row = |(driver, path, given_up): (&str, &Path, bool)| ModuleRow {
            name: driver.into(),
            version: String::new(),
            kind: "devnp".into(),
            path: path.to_string_lossy().into_owned(),
            abi: 0,
            threading: String::new(),
            state: if given_up { "closing" } else { "opening" }.into(),
            interfaces: Vec::new(),
            failures: 0,
            rx_packets: 0,
            tx_packets: 0,
            attachments: Vec::new(),
        };
        self.drivers.openings.rows().map(row).collect()
    }
}

fn given_up(driver: &str) -> AttachError {
    ModuleError::GivenUp { module: driver.into(), seconds: OPEN_TIME.as_secs() }.into()
}
