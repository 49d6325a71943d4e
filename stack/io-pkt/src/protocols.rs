//! Protocol modules that come and go while the daemon runs.
//!
//! ```text
//!   load ──> opening ──> plan with it to the workers ──> running
//!              │ fails, or takes too long                   │ unload
//!              └──> nothing      plan without it to the workers, all have taken it up
//!                                                           └──> closing ──> nothing
//! ```

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use exporter::{AttachmentSample, ModuleSample};
use inet::command::Command;
use inet::steer::Doorbell;
use lsm::limits::{ABANDON_TIME, OPEN_TIME};
use lsm::{Id, Instance, Modules, ProtocolError, ProtocolRow, Report, SocketKind, Surroundings};
use proto::Reply;
use proto::table::{AttachmentRow, ModuleRow, TunableRow};

use crate::control::Control;
use crate::pending::{Asked, Pending, Then};

/// What the control thread needs for protocol modules.
pub(crate) struct Protocols {
    modules: Modules,
    /// Modules that open.
    opening: HashMap<Id, Opening>,
    /// Modules that close, and who waits for that.
    closing: HashMap<Id, Option<Asked>>,
    /// How often modules have failed that are unloaded.
    past_failures: BTreeMap<String, u64>,
    /// When the interfaces' links were looked at last.
    looked: Instant,
}

/// Between two looks at the links of drivers that do not say when one comes or goes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What becomes of a module that opens.
enum Opening {
    /// The daemon starts: it is taken whenever it comes.
    Welcome,
    /// A tool that has asked for this file waits for it, but not for ever.
    Awaited { asked: Asked, name: String, until: Instant },
    /// The tool has been told that it is not there: when it comes, it is closed.
    GivenUp,
}

/// A plan on its way to the workers.
pub(crate) struct Adoption {
    workers_left: Cell<u16>,
    then: After,
}

/// What is to be done when all workers have taken up a plan.
enum After {
    Nothing,
    /// A module is in force: tell whoever asked for it.
    Tell(Asked, String),
    /// A module is in no worker any more: close it.
    Close(Id),
}

impl Protocols {
    /// Without modules, which are looked for in `path`, and trusted if they are root's or `user`'s. Their
    /// own paths are made in `folder`.
    pub(crate) fn new(
        (path, user): (Vec<PathBuf>, u32),
        pool: dpdk::Mempool,
        folder: PathBuf,
        workers: Vec<Arc<Doorbell>>,
        control: Arc<Doorbell>,
    ) -> Self {
        let count = u16::try_from(workers.len()).unwrap_or(u16::MAX);
        let wake = move |worker: u16| {
            if let Some(doorbell) = workers.get(usize::from(worker)) {
                doorbell.ring();
            }
        };
        let alarm = move || control.ring_always();
        let surroundings = Surroundings::new(pool, devnp::packet_api(), count, folder, wake, alarm);
        Self {
            modules: Modules::new(path, user, surroundings),
            opening: HashMap::new(),
            closing: HashMap::new(),
            past_failures: BTreeMap::new(),
            looked: Instant::now(),
        }
    }

    /// How long the control thread may sleep: modules are to hear of links.
    pub(crate) fn patience(&self) -> Option<Duration> {
        (!self.modules.ids().is_empty()).then_some(LOOK_EVERY)
    }

    /// Whether what is to be mounted is a protocol: by the file's name, or by what it exports.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let path = self.modules.find(name);
        name.starts_with("lsm-")
            || path.is_some_and(|path| !name.contains('/') || self.modules.is_protocol(&path))
    }

    /// Sockets of this kind are a module's: `Some(true)`, one that only the first worker calls.
    pub(crate) fn serves(&self, kind: SocketKind) -> Option<bool> {
        self.modules.serves(kind)
    }

    /// Their variables, as tunables are shown.
    pub(crate) fn tunable_rows(&self) -> impl Iterator<Item = TunableRow> {
        self.modules.variables().map(|row| TunableRow {
            name: row.name,
            value: row.value.to_string(),
            writable: row.writable,
            text: row.text,
        })
    }

    /// Sets a variable. `None`: no module has it; else why it stays as it is.
    pub(crate) fn set_tunable(&self, name: &str, value: &str) -> Option<Result<(), String>> {
        let set = self.modules.set_variable(name, value)?;
        Some(set.map_err(|error| error.to_string()))
    }

    /// The modules for the metrics endpoint: those that are loaded, and those that have failed. Modules
    /// of one name are one.
    pub(crate) fn samples(&self) -> impl Iterator<Item = ModuleSample> {
        let mut samples: BTreeMap<String, ModuleSample> = BTreeMap::new();
        for (name, failures) in &self.past_failures {
            samples.entry(name.clone()).or_default().failures = *failures;
        }
        for row in self.modules.rows() {
            let sample = samples.entry(row.name).or_default();
            sample.loaded = true;
            sample.failures += row.failures;
            sample.failed |= u64::from(row.state == "failed");
            row.attachments.into_iter().for_each(|row| add_attachment(sample, row));
        }
        for row in self.modules.variables() {
            let Some((module, variable)) = row.name.split_once('.') else { continue };
            let Some(sample) = samples.get_mut(module) else { continue };
            if !sample.variables.iter().any(|(known, _)| known == variable) {
                sample.variables.push((variable.into(), row.value));
            }
        }
        let named = |(module, sample)| ModuleSample { module, kind: "protocol", ..sample };
        samples.into_iter().map(named)
    }

    /// Who waits for a module that opens no more.
    fn awaited(&mut self, id: Id) -> Option<Asked> {
        match self.opening.remove(&id)? {
            Opening::Awaited { asked, .. } => Some(asked),
            Opening::Welcome | Opening::GivenUp => None,
        }
    }

    /// That a module which is to be unloaded has failed is remembered.
    fn remember_failures(&mut self, name: &str) {
        let rows = self.modules.rows().into_iter().filter(|row| row.name == name);
        let failures: u64 = rows.map(|row| row.failures).sum();
        if failures > 0 {
            *self.past_failures.entry(name.into()).or_default() += failures;
        }
    }

    /// A module has an interface's packets by its name.
    fn is_attached_to(&self, interface: &str) -> bool {
        let rows = self.modules.rows();
        let mut attachments = rows.iter().flat_map(|row| &row.attachments);
        attachments.any(|row| row.interface.as_deref() == Some(interface))
    }

    /// A module has it by this name: its packets, or in its options.
    pub(crate) fn know_by_name(&self, interface: &str) -> bool {
        self.is_attached_to(interface) || self.modules.know_by_name(interface)
    }

    /// The modules, for listings.
    pub(crate) fn rows(&self) -> impl Iterator<Item = ModuleRow> {
        self.modules.rows().into_iter().map(module_row)
    }
}

impl Control {
    /// Loads a protocol module and waits for it: the daemon starts.
    ///
    /// # Errors
    /// What went wrong and what to do, in one line.
    pub(crate) fn start_protocol(&mut self, name: &str, options: &str) -> Result<(), String> {
        let said = |error: ProtocolError| format!("{error}; {}", error.help());
        self.tell_protocols();
        let modules = &mut self.protocols.modules;
        let id = modules.load(name, split_options(options)).map_err(said)?;
        let _ = self.protocols.opening.insert(id, Opening::Welcome);
        let until = Instant::now() + OPEN_TIME;
        while self.protocols.opening.contains_key(&id) {
            let left = until.saturating_duration_since(Instant::now());
            let Some(report) = self.protocols.modules.wait_report(left) else {
                let seconds = OPEN_TIME.as_secs();
                return Err(said(ProtocolError::Slow { name: name.into(), seconds }));
            };
            if let Some(why) = self.protocol_report(report) {
                return Err(why);
            }
        }
        Ok(())
    }

    /// Begins to load a protocol module that a tool wants.
    pub(crate) fn mount_protocol(&mut self, asked: Asked, name: &str, options: &str) {
        self.tell_protocols();
        match self.protocols.modules.load(name, split_options(options)) {
            Ok(id) => {
                let until = Instant::now() + OPEN_TIME;
                let opening = Opening::Awaited { asked, name: name.into(), until };
                let _ = self.protocols.opening.insert(id, opening);
                self.count_call(Some(asked.connection), true);
            }
            Err(error) => {
                let why = format!("{error}; {}", error.help());
                tracing::error!("mount {name}: {why}");
                self.answer(asked.connection, asked.sequence, Ok(Reply::Refused { why }));
            }
        }
    }

    /// Unloads a protocol module; the answer comes when its code is gone. `false`: there is none of
    /// this name.
    pub(crate) fn unmount_protocol(&mut self, name: &str, asked: Asked) -> bool {
        let name = lsm::bare_name(name);
        let Some(id) = self.protocols.modules.by_name(name) else { return false };
        self.protocols.remember_failures(name);
        self.protocols.modules.leave(id);
        let _ = self.protocols.closing.insert(id, Some(asked));
        self.count_call(Some(asked.connection), true);
        self.publish_protocols(After::Close(id));
        true
    }

    /// Takes what modules' threads have said.
    pub(crate) fn attend_protocols(&mut self) {
        while let Some(report) = self.protocols.modules.next_report() {
            // It is in the log, and whoever asked has been told.
            let _ = self.protocol_report(report);
        }
        self.give_up_protocols(Instant::now());
        // Their sockets come to their end.
        if self.protocols.modules.have_failed() {
            self.publish_protocols(After::Nothing);
        }
    }

    /// Answers tools that have waited long enough for a module. Its thread can't be ended; nobody else waits
    /// for it.
    fn give_up_protocols(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (id, opening) in &mut self.protocols.opening {
            if matches!(opening, Opening::Awaited { until, .. } if *until <= now) {
                late.push((*id, core::mem::replace(opening, Opening::GivenUp)));
            }
        }
        for (id, opening) in late {
            self.protocols.modules.leave(id);
            let Opening::Awaited { asked, name, .. } = opening else { continue };
            let error = ProtocolError::GivenUp { name, seconds: OPEN_TIME.as_secs() };
            let _ = self.refuse_protocol(&error, Some(asked));
        }
    }

    /// Says why a module is not there.
    fn protocol_report(&mut self, report: Report) -> Option<String> {
        match report {
            Report::Opened(id, Ok(instance)) => self.protocol_opened(id, instance),
            Report::Opened(id, Err(error)) => {
                self.protocols.modules.forget(id);
                self.protocol_refused(id, &error)
            }
            Report::Closed(id) => {
                self.protocols.modules.forget(id);
                let asked = self.protocols.closing.remove(&id)??;
                self.count_call(Some(asked.connection), false);
                self.answer(asked.connection, asked.sequence, Ok(Reply::Done));
                None
            }
        }
    }

    fn protocol_opened(&mut self, id: Id, instance: Arc<Instance>) -> Option<String> {
        let name = instance.name().to_owned();
        if matches!(self.protocols.opening.get(&id), Some(Opening::GivenUp)) {
            let _ = self.protocols.opening.remove(&id);
            tracing::warn!("the protocol {name} has opened too late and is closed again");
            let _ = self.protocols.closing.insert(id, None);
            drop(instance);
            self.protocols.modules.close(id);
            return None;
        }
        if let Err(error) = self.protocols.modules.admit(id, instance) {
            let _ = self.protocols.closing.insert(id, None);
            return self.protocol_refused(id, &error);
        }
        tracing::info!("loaded the protocol {name}");
        let asked = self.protocols.awaited(id);
        self.publish_protocols(match asked {
            Some(asked) => After::Tell(asked, name),
            None => After::Nothing,
        });
        None
    }

    fn protocol_refused(&mut self, id: Id, error: &ProtocolError) -> Option<String> {
        let asked = self.protocols.awaited(id);
        self.refuse_protocol(error, asked)
    }

    fn refuse_protocol(&mut self, error: &ProtocolError, asked: Option<Asked>) -> Option<String> {
        let why = format!("{error}; {}", error.help());
        if let Some(asked) = asked {
            tracing::error!("mount: {why}");
            self.count_call(Some(asked.connection), false);
            let reply = Reply::Refused { why: why.clone() };
            self.answer(asked.connection, asked.sequence, Ok(reply));
        }
        Some(why)
    }

    /// Gives all workers the plan of now.
    fn publish_protocols(&mut self, then: After) {
        let plan = Arc::new(self.protocols.modules.plan());
        let workers_left = Cell::new(self.worker_count());
        let adoption = Rc::new(Adoption { workers_left, then });
        for worker in 0..self.worker_count() {
            let then = Then::Adopted(Rc::clone(&adoption));
            let pending = Pending { connection: None, sequence: 0, then };
            let plan = Arc::clone(&plan);
            self.call(worker, pending, |call| Command::Protocols { call, plan });
        }
    }

    /// A worker has taken up a plan, and given up what does not stand in it.
    pub(crate) fn adopted(&mut self, adoption: &Adoption) {
        adoption.workers_left.set(adoption.workers_left.get().saturating_sub(1));
        if adoption.workers_left.get() > 0 {
            return;
        }
        match &adoption.then {
            After::Nothing => {}
            After::Tell(asked, name) => {
                self.count_call(Some(asked.connection), false);
                let reply = Reply::Mounted { interfaces: vec![name.clone()] };
                self.answer(asked.connection, asked.sequence, Ok(reply));
            }
            After::Close(id) => self.protocols.modules.close(*id),
        }
    }

    /// Tells the modules of the network as it is now.
    pub(crate) fn tell_protocols(&mut self) {
        self.network.look_at_carriers();
        let interfaces = self.network.protocol_interfaces();
        let changed = self.protocols.modules.set_network(&interfaces);
        // Taps and filters are at interfaces, which they name.
        if changed && !self.protocols.modules.ids().is_empty() {
            self.publish_protocols(After::Nothing);
        }
    }

    /// Has another look at the links, if it is time and there are modules.
    pub(crate) fn watch_links(&mut self) {
        if self.protocols.looked.elapsed() >= LOOK_EVERY {
            self.protocols.looked = Instant::now();
            self.network_changed();
        }
    }

    /// As [`tell_protocols`](Self::tell_protocols), if there are modules.
    pub(crate) fn network_changed(&mut self) {
        if !self.protocols.modules.ids().is_empty() {
            self.tell_protocols();
        }
    }

    /// Closes all modules; the workers are gone. One that still opens has nothing to bring to an end.
    pub(crate) fn end_protocols(&mut self) {
        let began = Instant::now();
        for id in self.protocols.modules.ids() {
            self.protocols.modules.close(id);
        }
        loop {
            let ids = self.protocols.modules.ids();
            let opening = ids.iter().all(|id| self.protocols.opening.contains_key(id));
            let time = if opening { ABANDON_TIME } else { OPEN_TIME };
            let left = (began + time).saturating_duration_since(Instant::now());
            if ids.is_empty() {
                return;
            }
            match self.protocols.modules.wait_report(left) {
                Some(Report::Closed(id) | Report::Opened(id, Err(_))) => {
                    self.protocols.modules.forget(id);
                }
                // It was told to close before it had opened.
                Some(Report::Opened(id, Ok(_))) => drop(self.protocols.opening.remove(&id)),
                None if opening => return tracing::warn!("a protocol module does not open"),
                None => return tracing::error!("a protocol module does not close"),
            }
        }
    }
}

/// `key=value,key` taken apart.
fn split_options(options: &str) -> Vec<(String, Option<String>)> {
    let words = options.split(',').filter(|word| !word.is_empty());
    words
        .map(|word| match word.split_once('=') {
            Some((key, value)) => (key.into(), Some(value.into())),
            None => (word.into(), None),
        })
        .collect()
}

/// Adds an attachment's packets to those of the same kind.
fn add_attachment(sample: &mut ModuleSample, row: lsm::AttachmentRow) {
    let interface = row.interface.unwrap_or_default();
    let same = |known: &AttachmentSample| known.to == row.to && known.interface == interface;
    if let Some(known) = sample.attachments.iter_mut().find(|known| same(known)) {
        known.passed += row.passed;
        known.dropped += row.dropped;
        known.taken += row.consumed;
        return;
    }
    sample.attachments.push(AttachmentSample {
        to: row.to,
        interface,
        passed: row.passed,
        dropped: row.dropped,
        taken: row.consumed,
    });
}

fn module_row(row: ProtocolRow) -> ModuleRow {
    let attachment = |row: lsm::AttachmentRow| AttachmentRow {
        to: row.to,
        interface: row.interface,
        passed: row.passed,
        dropped: row.dropped,
        consumed: row.consumed,
    };
    ModuleRow {
        name: row.name,
        version: row.version,
        kind: "lsm".into(),
        path: row.path.to_string_lossy().into_owned(),
        abi: row.abi,
        threading: row.threading.into(),
        state: row.state.into(),
        interfaces: Vec::new(),
        failures: row.failures,
        rx_packets: 0,
        tx_packets: 0,
        attachments: row.attachments.into_iter().map(attachment).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_of_one_kind_are_one_series() {
        let row = |to: &str, passed| lsm::AttachmentRow {
            to: to.into(),
            passed,
            dropped: 1,
            ..lsm::AttachmentRow::default()
        };
        let mut sample = ModuleSample::default();
        for row in [row("inet in", 2), row("inet out", 3), row("inet in", 5)] {
            add_attachment(&mut sample, row);
        }
        let series: Vec<_> =
            sample.attachments.iter().map(|at| (&*at.to, at.passed, at.dropped)).collect();
        assert_eq!(series, [("inet in", 7, 2), ("inet out", 3, 1)]);
    }

    #[test]
    fn options_are_words_with_commas_between() {
        let (key, value) = ("bind".to_owned(), Some("tap0".to_owned()));
        assert_eq!(split_options("bind=tap0,,fast"), [(key, value), ("fast".into(), None)]);
        assert_eq!(split_options(""), []);
    }
}
