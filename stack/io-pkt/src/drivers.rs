//! Ports that come and go while the daemon runs.
//!
//! ```text
//!   attach ──> interface, queues to the workers ──> running
//!                                                      │ its driver fails        │ destroy, unplugged
//!                                         workers give the queues back   workers give the queues back
//!                                                      │                         │
//!                                      failed <────────┘                         └──> detached
//!                                         └── set up again: restart ──> running
//! ```
//!
//! A worker gives queues up between two breaths, so no call into a driver is under way when all have
//! answered; nobody else waits for that.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use devnp::{Alarm, Modules, OpeningId, Openings, Port, Units};
use dpdk::Mempool;
use exporter::ModuleSample;
use inet::command::Command;
use inet::network::LOOPBACK;
use inet::steer::Doorbell;
use proto::table::ModuleRow;
use proto::{Automatic, Reply};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};

use crate::config::{self, AddressLen, Rings};
use crate::control::{Control, WorkerLink};
use crate::openings::Opening;
use crate::pending::{Asked, Pending, Then};

/// Attachments of tools that may wait.
const JOBS_MAX: usize = 64;

/// What the control thread needs to attach ports.
pub(crate) struct Drivers {
    pub(crate) units: Units,
    pub(crate) modules: Modules,
    pub(crate) pool: Mempool,
    /// Where received frames come from instead if some may be lent to clients.
    pub(crate) shown: Option<Mempool>,
    pub(crate) alarmed: Arc<AtomicBool>,
    pub(crate) jobs: VecDeque<(Asked, config::Interface)>,
    /// Threads that open modules.
    pub(crate) openings: Openings,
    /// What they are for.
    pub(crate) awaited: HashMap<OpeningId, Opening>,
    /// Interfaces whose queues are on their way back.
    returning: HashMap<u16, Returning>,
    /// Failures of interfaces that are gone, by module.
    past_failures: BTreeMap<String, u64>,
}

/// Queues on their way back.
struct Returning {
    workers_left: u16,
    why: Why,
}

/// Why queues come back.
enum Why {
    /// The interface goes; somebody may wait for that.
    Destroy(Option<Asked>),
    /// Its driver has failed.
    Failure,
}

/// What a worker sleeps on at a port.
pub(crate) enum Watch {
    /// A descriptor in its epoll set; closing it would take it out.
    Descriptor(OwnedFd),
    /// Nothing: the worker looks now and then.
    Polled,
}

impl Drivers {
    /// Without ports. Modules are looked for in `path`, and trusted if they are root's or `user`'s.
    pub(crate) fn new(
        (path, user): (Vec<PathBuf>, u32),
        (pool, shown): (Mempool, Option<Mempool>),
        workers: u16,
        bell: Arc<Doorbell>,
    ) -> Self {
        let alarmed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&alarmed);
        let alarm = Alarm::new(move || {
            flag.store(true, Ordering::Release);
            bell.ring_always();
        });
        let (units, modules) = (Units::new(), Modules::new(path, user, alarm));
        let openings = Openings::new(modules.clone(), pool.clone(), units.clone(), workers);
        Self {
            units,
            modules,
            pool,
            shown,
            alarmed,
            jobs: VecDeque::new(),
            openings,
            awaited: HashMap::new(),
            returning: HashMap::new(),
            past_failures: BTreeMap::new(),
        }
    }
}

impl Control {
    /// Makes ports that run interfaces, and gives their queues to the workers. Returns the names.
    ///
    /// # Errors
    /// What went wrong and what to do, in one line; nothing is left then.
    pub(crate) fn add_ports(
        &mut self,
        ports: Vec<Port>,
        rings: Rings,
    ) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        let mut indices = Vec::new();
        for mut port in ports {
            if rings.egress {
                port.send_whole_packets();
            }
            port.notes().iter().for_each(|note| tracing::info!("{}: {note}", port.name()));
            names.push(port.name().to_owned());
            let index = self.network.add_port(port);
            if rings.any() {
                self.applications.allow(index, rings);
            }
            indices.push(index);
        }
        // The workers know the interfaces before the first frame.
        self.publish();
        for (at, index) in indices.iter().enumerate() {
            if let Err(why) = self.share_out(*index) {
                indices.get(..at).into_iter().flatten().for_each(|i| self.destroy(*i, None));
                for index in indices.get(at..).into_iter().flatten() {
                    // The reason to report is the one that led here.
                    let _ = self.close_port(*index);
                }
                self.publish();
                return Err(why);
            }
        }
        Ok(names)
    }

    /// Gives each worker its queues of a port, and a descriptor to wake it if there is one.
    fn share_out(&mut self, interface: u16) -> Result<(), String> {
        let workers = self.worker_count();
        let port = self.network.port_mut(interface).ok_or("the interface is gone")?;
        if port.module().is_some() && self.applications.may_be_shown(interface) {
            return Err("packet_rings is for ports of DPDK's own drivers".into());
        }
        let mut queues = Vec::new();
        for worker in 0..workers {
            if worker > 0 && port.is_shared() {
                break;
            }
            let Some(pair) = port.take_queues(worker) else {
                return Err(format!(
                    "{} has {1} queue(s), too few for worker {worker}; start with -t {1}",
                    port.name(),
                    port.rx_queues(),
                ));
            };
            let at = (interface, port.name());
            let pair = self.applications.put_between(at, worker, pair, &self.drivers.pool);
            queues.push((pair.map_err(|error| error.to_string())?, port.rx_descriptor(worker)));
        }
        let mut watches = Vec::new();
        for (((rx, tx), descriptor), worker) in queues.into_iter().zip(0..) {
            if let Some(link) = self.workers.get(usize::from(worker)) {
                watches.push(link.watch(descriptor));
            }
            self.command(worker, Command::AddPort { interface, rx, tx });
        }
        for worker in watches.len()..usize::from(workers) {
            let worker = u16::try_from(worker).unwrap_or(u16::MAX);
            self.command(worker, Command::SharePort { interface, owner: 0 });
        }
        // There were none: the port is new, or its queues had come back.
        let _ = self.network.set_watches(interface, watches);
        Ok(())
    }

    /// Asks all workers for a port's queues.
    fn take_back(&mut self, interface: u16, why: Why) {
        let watches = self.network.set_watches(interface, Vec::new());
        for (watch, link) in watches.into_iter().zip(&self.workers) {
            link.unwatch(watch);
        }
        let workers_left = self.worker_count();
        let _ = self.drivers.returning.insert(interface, Returning { workers_left, why });
        for worker in 0..workers_left {
            let then = Then::Returned(interface);
            let pending = Pending { connection: None, sequence: 0, then };
            self.call(worker, pending, |call| Command::RemovePort { call, interface });
        }
    }

    /// A worker has given a port's queues up.
    pub(crate) fn returned(&mut self, interface: u16) {
        let Some(returning) = self.drivers.returning.get_mut(&interface) else { return };
        returning.workers_left = returning.workers_left.saturating_sub(1);
        if returning.workers_left > 0 {
            return;
        }
        let Some(Returning { why, .. }) = self.drivers.returning.remove(&interface) else { return };
        let Why::Destroy(asked) = why else {
            // Its device may have gone meanwhile.
            if self.network.port_mut(interface).is_some_and(|port| port.is_gone()) {
                self.destroy(interface, None);
            }
            return;
        };
        let name = self.network.name(interface).to_owned();
        let gone = self.close_port(interface);
        self.publish();
        tracing::info!("{name}: gone");
        if let Some(Asked { connection, sequence }) = asked {
            self.count_call(Some(connection), false);
            let result = if gone { Ok(Reply::Done) } else { Err(Errno::IO) };
            self.answer(connection, sequence, result);
        }
    }

    /// Takes an interface out of the tables and closes its port, whose queues are all back.
    fn close_port(&mut self, interface: u16) -> bool {
        if self.network.remove_cloned(interface) {
            return true;
        }
        self.applications.forget(interface);
        let Some(port) = self.network.remove_interface(interface) else { return false };
        if port.failures() > 0 {
            let module = module_of(&port);
            *self.drivers.past_failures.entry(module).or_default() += port.failures();
        }
        self.detach_port(port)
    }

    /// Closes a port whose queues nobody has.
    pub(crate) fn detach_port(&self, port: Port) -> bool {
        let name = port.name().to_owned();
        match port.detach() {
            Ok(units) => {
                units.iter().for_each(|(base, unit)| self.drivers.units.release(base, *unit));
                true
            }
            Err(error) => {
                tracing::error!("{name}: {error}");
                false
            }
        }
    }

    /// Destroys an interface, or unloads a protocol module; the answer comes when its driver is closed.
    ///
    /// # Errors
    /// `ENXIO`, `EINVAL` for `lo0`, `EALREADY`.
    pub(crate) fn destroy_by_name(&mut self, name: &str, asked: Asked) -> Result<(), Errno> {
        let index = match self.network.index(name) {
            Err(Errno::NXIO) if self.unmount_protocol(name, asked) => return Ok(()),
            index => index?,
        };
        if index == LOOPBACK {
            return Err(Errno::INVAL);
        }
        if self.applications.is_shown(index) {
            return Err(Errno::BUSY);
        }
        match self.drivers.returning.get_mut(&index) {
            Some(Returning { why: Why::Destroy(_), .. }) => return Err(Errno::ALREADY),
            Some(returning) => returning.why = Why::Destroy(Some(asked)),
            None => self.destroy(index, Some(asked)),
        }
        self.count_call(Some(asked.connection), true);
        Ok(())
    }

    fn destroy(&mut self, interface: u16, asked: Option<Asked>) {
        self.take_back(interface, Why::Destroy(asked));
    }

    /// Notes that a tool wants a driver attached: done by the control thread when it is through with
    /// its messages.
    ///
    /// # Errors
    /// `EINVAL` for options that can't be read, `ENOBUFS`.
    pub(crate) fn mount(
        &mut self,
        asked: Asked,
        driver: String,
        options: &str,
    ) -> Result<(), Errno> {
        if self.protocols.knows(&driver) {
            self.mount_protocol(asked, &driver, options);
            return Ok(());
        }
        if self.drivers.jobs.len() >= JOBS_MAX {
            return Err(Errno::NOBUFS);
        }
        let interface = match config::interface(driver, options) {
            Ok(interface) => interface,
            Err(error) => {
                let why = error.to_string();
                self.answer(asked.connection, asked.sequence, Ok(Reply::Refused { why }));
                return Ok(());
            }
        };
        self.count_call(Some(asked.connection), true);
        self.drivers.jobs.push_back((asked, interface));
        Ok(())
    }

    /// Addresses of the configuration; one that is refused is reported and left out. Says which was.
    pub(crate) fn set_up_interface(
        &mut self,
        name: &str,
        asked: &config::Interface,
    ) -> Option<String> {
        if asked.rtadv {
            // It was just made, and is not lo0.
            let _ = self.set_automatic(name, Automatic::Advertise, true);
        }
        if asked.ipv4ll {
            // As above.
            let _ = self.set_automatic(name, Automatic::LinkLocal, true);
        }
        self.address_interface(name, &asked.address, (asked.accept_rtadv, asked.dhcp))
    }

    /// How an interface configures itself (by routers, by DHCP), and its addresses.
    pub(crate) fn address_interface(
        &mut self,
        name: &str,
        addresses: &[AddressLen],
        (routers, dhcp): (bool, bool),
    ) -> Option<String> {
        let mut refused = None;
        if routers {
            // It was just made, and is not lo0.
            let _ = self.set_automatic(name, Automatic::Routers, true);
        }
        if dhcp {
            // As above.
            let _ = self.set_automatic(name, Automatic::Dhcp, true);
        }
        for a in addresses {
            if let Err(errno) = self.add_address(name, a.address, a.prefix_len) {
                let why = format!("{name}: address {}/{}: {errno}", a.address, a.prefix_len);
                tracing::error!("{why}");
                let _first = refused.get_or_insert(why);
            }
        }
        refused
    }

    /// Looks after ports whose drivers have failed or whose devices are gone.
    pub(crate) fn attend_alarm(&mut self) {
        if !self.drivers.alarmed.swap(false, Ordering::AcqRel) {
            return;
        }
        let look = |(index, port): (u16, &mut Port)| (index, port.is_gone(), port.has_failed());
        let states: Vec<_> = self.network.ports_mut().map(look).collect();
        for (index, gone, failed) in states {
            let busy = self.drivers.returning.contains_key(&index);
            if gone && !busy {
                tracing::warn!("{}: its device is gone", self.network.name(index));
                self.destroy(index, None);
            } else if failed && !busy && self.network.has_watches(index) {
                let name = self.network.name(index).to_owned();
                // It exists: it was just listed.
                let _ = self.network.set_up(&name, false);
                self.publish();
                self.take_back(index, Why::Failure);
            }
        }
        // A carrier may have come or gone.
        self.network_changed();
    }

    /// Sets an interface up or down; up again starts a driver that has failed.
    ///
    /// # Errors
    /// `ENXIO`; `EBUSY` while workers give its queues back; `EIO` if its driver does not start.
    pub(crate) fn set_up(&mut self, name: &str, up: bool) -> Result<(), Errno> {
        let index = self.network.index(name)?;
        if self.drivers.returning.contains_key(&index) {
            return Err(Errno::BUSY);
        }
        let failed = self.network.port_mut(index).is_some_and(|port| port.has_failed());
        if up && failed {
            let restart = self.network.port_mut(index).map(Port::restart);
            if let Some(Err(error)) = restart {
                tracing::error!("{name}: {error}");
                return Err(Errno::IO);
            }
            self.network.set_up(name, true)?;
            self.publish();
            return self.share_out(index).map_err(|why| {
                tracing::error!("{name}: {why}");
                Errno::IO
            });
        }
        self.network.set_up(name, up)
    }

    /// The modules in use, drivers with their interfaces.
    pub(crate) fn module_rows(&mut self) -> Vec<ModuleRow> {
        let loaded = self.drivers.modules.rows();
        let row = |module: devnp::LoadedModule| {
            let mut row = ModuleRow {
                name: module.name,
                version: module.version,
                kind: module.kind.into(),
                path: module.path.to_string_lossy().into_owned(),
                abi: module.abi,
                threading: module.threading.into(),
                state: "running".into(),
                interfaces: Vec::new(),
                failures: 0,
                rx_packets: 0,
                tx_packets: 0,
                attachments: Vec::new(),
            };
            for (_, port) in self.network.ports_mut() {
                if port.module() != Some(&module.path) {
                    continue;
                }
                let stats = port.stats().unwrap_or_default();
                row.interfaces.push(port.name().into());
                row.failures += port.failures();
                row.rx_packets += stats.rx_packets;
                row.tx_packets += stats.tx_packets;
                if port.has_failed() {
                    row.state = "failed".into();
                }
            }
            row
        };
        let mut drivers: Vec<_> = loaded.into_iter().map(row).collect();
        let opening = self.opening_rows();
        // Its code is there already.
        let opens = |row: &ModuleRow| opening.iter().any(|opening| opening.path == row.path);
        drivers.retain(|row| !row.interfaces.is_empty() || !opens(row));
        drivers.into_iter().chain(opening).chain(self.protocols.rows()).collect()
    }
}

/// A module's name, from its driver's.
fn module_of(port: &Port) -> String {
    let driver = port.driver();
    driver.strip_prefix("devnp-").unwrap_or(driver).into()
}

impl Control {
    /// Modules for the metrics endpoint: those in use, and those that have failed.
    pub(crate) fn module_samples(&mut self) -> Vec<ModuleSample> {
        let mut drivers: BTreeMap<String, ModuleSample> = BTreeMap::new();
        for (name, failures) in &self.drivers.past_failures {
            drivers.entry(name.clone()).or_default().failures = *failures;
        }
        for (_, port) in self.network.ports_mut().filter(|(_, port)| port.module().is_some()) {
            let sample = drivers.entry(module_of(port)).or_default();
            sample.loaded = true;
            sample.failures += port.failures();
            sample.interfaces += 1;
            sample.failed += u64::from(port.has_failed());
        }
        let named = |(module, sample)| ModuleSample { module, kind: "driver", ..sample };
        drivers.into_iter().map(named).chain(self.protocols.samples()).collect()
    }
}

impl WorkerLink {
    /// Wakes the worker when a port's receive queue has frames.
    fn watch(&self, descriptor: Option<OwnedFd>) -> Watch {
        let data = EventData::new_u64(1);
        if let Some(fd) = descriptor
            && epoll::add(&*self.epoll, &fd, data, news_of(&fd)).is_ok()
        {
            return Watch::Descriptor(fd);
        }
        let _ = self.polled.fetch_add(1, Ordering::Relaxed);
        Watch::Polled
    }

    fn unwatch(&self, watch: Watch) {
        match watch {
            // Dropping it takes it out.
            Watch::Descriptor(fd) => {
                let _ = epoll::delete(&*self.epoll, &fd);
            }
            Watch::Polled => {
                let _ = self.polled.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// What a worker is woken for. A packet socket whose interface has gone down has an error until somebody asks for it, which nobody does:
/// it wakes once for each news. `net_tap` may not look at its descriptor at once: that one wakes as long as frames wait.
fn news_of(receive_queue: &OwnedFd) -> EventFlags {
    let is_packet_socket = sockopt::socket_domain(receive_queue) == Ok(AddressFamily::PACKET);
    if is_packet_socket { EventFlags::IN | EventFlags::ET } else { EventFlags::IN }
}

/// Ports of a worker that have nothing to wait on.
pub(crate) type Polled = Arc<AtomicU32>;
