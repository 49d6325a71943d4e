//! From a configuration to a running daemon, and back to nothing.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use dpdk::topology::{self, Plan};
use dpdk::{Eal, EalArgs, ExternalRegion, Memory, Mempool, MempoolOptions, PacketPool};
use exporter::Sample;
use inet::command::{Event, Handoff};
use inet::steer::{Doorbell, Mesh};
use inet::{Parts, Pools, Worker, WorkerCounters};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use sd_notify::NotifyState;
use shm::{Arena, PacketMemory};

use crate::config::{Config, Destination, Idle, Route};
use crate::connection::Trusted;
use crate::control::{Control, Ends, Facts, Source, WorkerLink};
use crate::control_path::{self, ControlPath};
use crate::drivers::Drivers;
use crate::error::StartError;
use crate::network_state::NetworkState;
use crate::privileges;
use crate::protocols::Protocols;
use crate::publish::SharedPage;
use crate::quota::Accounts;
use crate::tables::ScrapeRequest;
use crate::wake;
use crate::watchdog;
use crate::worker_thread::{self, Bed};

/// Packet buffers: enough for the rings of a few ports and some thousand frames on their way.
const MBUFS: u32 = 16_383;
/// Memory for them on ordinary pages: 2.4 KiB each, and EAL's own tables.
const ORDINARY_MIB: u32 = 96;
/// Hugepages of 2 MiB for the same.
const HUGEPAGES: u32 = 32;
/// Client slots. Each is 64 MiB of address space, and memory only as it is used.
const SLOTS: u16 = 512;
/// Commands to one worker.
const COMMANDS: usize = 4096;
/// Events of all workers.
const EVENTS: usize = 16_384;
/// Frames handed from one worker to another.
const HANDOFFS: usize = 4096;
/// How long a scrape may take.
const SCRAPE: Duration = Duration::from_secs(2);

fn resources(what: &'static str) -> impl Fn(Errno) -> StartError {
    move |error| StartError::Resources { what, why: error.to_string() }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it did not start.
pub(crate) fn run(config: &Config) -> Result<(), StartError> {
    let started = Instant::now();
    prepare_thread(config)?;
    let signal = signals()?;
    let ControlPath { socket, path, _lock } = control_path::open(config)?;
    let metrics = config.metrics_address()?;
    let workers = config.workers.unwrap_or(1).clamp(1, shm::layout::LANES_MAX);
    let plan = topology::plan(workers);
    let (eal, hugepages) = start_eal(config, &plan)?;
    let memory = Memories::new(workers, config.tuning.fixed.cache, config.quota.lends())?;

    let faults = match config.plain_faults {
        true => devnp::leave_faults_to_system(),
        false => devnp::stop_ports_on_fault(),
    };
    faults.map_err(|e| StartError::Resources { what: "signals", why: e.to_string() })?;
    let doorbell = Arc::new(Doorbell::new().map_err(resources("doorbell"))?);
    let (event_tx, events) = sync_channel(EVENTS);
    let team = Team { memory: &memory, event_tx, doorbell: Arc::clone(&doorbell), config };
    let (links, beds) = team.assemble(workers, &plan)?;

    let (scrape_tx, scrapes) = sync_channel(8);
    let facts = Facts {
        prefix: config.prefix.clone(),
        dpdk: dpdk::version(),
        hugepages,
        file_prefix: config.eal.multi_process.then(|| file_prefix(config)),
        started,
        metrics,
        claim_loopback: config.claim_loopback,
        no_io: config.no_io,
        pool: memory.pools.frames.clone(),
        shown: memory.pools.shown.clone(),
        pool_size: MBUFS,
        trusted: trusted(config),
        port_secret: secret()?,
        ticket_secret: secret()?,
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(resources("epoll"))?;
    let ends =
        Ends { epoll, path: socket, signal, doorbell: Arc::clone(&doorbell), events, scrapes };
    let parts = parts(config, &path, &links, &memory.pools, &doorbell);
    let accounts = Accounts::new(config.quota.clone(), descriptors());
    let shared = (memory.arena, memory.page, accounts);
    let mut control = Control::new(ends, links, parts, facts, shared);
    watch(&control).map_err(resources("epoll"))?;
    control.publish();
    let missing = attach_ports(&mut control, &eal, config)
        + add_routes(&mut control, config)
        + load_protocols(&mut control, config);
    let lcores = eal.lcores();
    for ((worker, bed), lcore) in beds.into_iter().zip(&lcores) {
        let priority = config.rx_priority;
        let work = move || {
            prioritise("-r", priority);
            worker_thread::run(worker, &bed);
        };
        eal.launch(*lcore, Box::new(work)).map_err(|e| StartError::Eal(e.to_string()))?;
    }
    let serve = |address| start_metrics(address, &config.metrics_origin, scrape_tx, doorbell);
    let server = metrics.map(serve).transpose();
    let settled = server.and_then(|server| {
        complete(missing, config)?;
        Ok((server, settle(&control, config, &path)?))
    });
    let result = settled.map(|_until_the_end| {
        say_ready(&control.facts, &path, &plan, config.idle);
        control.run(&eal);
    });
    stop(control, eal, &lcores, (memory.region, memory.pools), &path);
    result
}

/// Who may change the stack.
fn trusted(config: &Config) -> Trusted {
    let user = rustix::process::getuid().as_raw();
    let uid = config.user.as_ref().map_or(user, |wanted| wanted.uid);
    Trusted { uid, group: config.rgroup }
}

/// What to know about workers that never sleep and share a CPU.
fn crowded(idle: Idle, plan: &Plan) -> Option<String> {
    let mut cpus = plan.worker_cpus.clone();
    cpus.sort_unstable();
    cpus.dedup();
    let (workers, few) = (plan.worker_cpus.len(), cpus.len());
    (idle == Idle::Spin && few < workers).then(|| {
        format!(
            "{workers} workers spin on {few} CPU(s) and take each other's time; take fewer (-t {few}), or \
             let them sleep (--idle adaptive)"
        )
    })
}

fn say_ready(facts: &Facts, path: &Path, plan: &Plan, idle: Idle) {
    if let Some(warning) = crowded(idle, plan) {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        "ready in {:.2} s: {}, {} worker(s) on CPU {:?}, DPDK {} on {}",
        facts.started.elapsed().as_secs_f64(),
        path.display(),
        plan.worker_cpus.len(),
        plan.worker_cpus,
        facts.dpdk,
        if facts.hugepages { "hugepages" } else { "4 KiB pages (no hugepages needed)" },
    );
    tell_service_manager(NotifyState::Ready);
}

/// Whoever started us as a service waits for it (sd_notify(3)); nobody else hears it.
fn tell_service_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("the service manager at $NOTIFY_SOCKET can't be told: {error}");
    }
}

/// What threads inherit from the first one.
fn prepare_thread(config: &Config) -> Result<(), StartError> {
    dpdk::signals::leave_to_workers();
    // With the old limit fewer sockets fit; that is reported when it happens.
    let _ = raise_descriptor_limit();
    if config.no_io { privileges::give_up_io() } else { Ok(()) }
}

/// The last before the daemon serves: priority, watchdog, less than root. Dropping what it returns
/// ends the watchdog.
fn settle(
    control: &Control,
    config: &Config,
    path: &Path,
) -> Result<Option<SyncSender<()>>, StartError> {
    let counters = control.workers.iter().map(|link| Arc::clone(&link.counters)).collect();
    let every = config.watch_s.map(|seconds| Duration::from_secs(seconds.into()));
    let dog = every.map(|every| watchdog::watch(every, counters)).transpose();
    let dog =
        dog.map_err(|error| StartError::Resources { what: "watchdog", why: error.to_string() })?;
    prioritise("-P", config.priority);
    if let Some(user) = &config.user {
        let real_devices = config.pci_devices().next().is_some();
        privileges::give_up_root(user, path, real_devices || control.facts.hugepages)?;
        tracing::info!("uid {} from here on", user.uid);
    }
    Ok(dog)
}

/// Gives the calling thread a real-time priority if one is wanted. One that can't be had is reported
/// and left.
fn prioritise(letter: &str, priority: Option<u32>) {
    let Some(priority) = priority else { return };
    if let Err(error) = dpdk::priority::round_robin(priority) {
        tracing::warn!("{letter} {priority}: {error}; ignored (it needs root or CAP_SYS_NICE)");
    }
}

/// Network, drivers and protocols, with nothing in them yet.
fn parts(
    config: &Config,
    socket: &Path,
    workers: &[WorkerLink],
    pools: &Pools,
    doorbell: &Arc<Doorbell>,
) -> (NetworkState, Drivers, Protocols) {
    let user = rustix::process::getuid().as_raw();
    // What was built or installed together is found without a word.
    let executable = std::env::current_exe().unwrap_or_default();
    let beside = executable.parent().map(Path::to_owned);
    let installed = executable.parent().and_then(Path::parent).map(|p| p.join("lib/io-pkt"));
    let path: Vec<_> = config.modules.iter().cloned().chain(installed).chain(beside).collect();
    let count = u16::try_from(workers.len()).unwrap_or(u16::MAX);
    let folder = socket.parent().unwrap_or_else(|| Path::new("/")).to_owned();
    let bells = workers.iter().map(|link| Arc::clone(&link.doorbell)).collect();
    let pool = pools.frames.clone();
    let shown = pools.shown.as_ref().map(|shown| shown.pool().clone());
    (
        NetworkState::new(config.tuning.at_start(count, MBUFS)),
        Drivers::new((path.clone(), user), (pool.clone(), shown), count, Arc::clone(doorbell)),
        Protocols::new((path, user), pool, folder, bells, Arc::clone(doorbell)),
    )
}

/// Packet buffers and the memory that clients share with the workers.
struct Memories {
    pools: Pools,
    arena: Arc<Arena>,
    region: ExternalRegion,
    page: SharedPage,
}

impl Memories {
    /// With `lends` the ports get buffers of their own that clients can be shown.
    fn new(workers: u16, cache: u32, lends: bool) -> Result<Self, StartError> {
        let options = MempoolOptions { count: MBUFS, cache, ..MempoolOptions::default() };
        let pool = Mempool::create("frames", &options)
            .map_err(|error| StartError::Eal(error.to_string()))?;
        let mut pools = Pools::new(pool).map_err(|error| StartError::Eal(error.to_string()))?;
        if lends {
            let memory = PacketMemory::create(MBUFS).map_err(resources("packets' memory"))?;
            let shown = PacketPool::create("shown", cache, memory);
            pools.shown = Some(shown.map_err(|error| StartError::Eal(error.to_string()))?);
        }
        let arena = Arena::reserve(SLOTS)
            .map_err(|e| StartError::Resources { what: "client memory", why: e.to_string() })?;
        let start = arena.base().addr().get();
        let region = dpdk::register_external(start, arena.len(), arena.page_size())
            .map_err(|error| StartError::Eal(error.to_string()))?;
        let page = SharedPage::create(workers).map_err(resources("workers' page"))?;
        Ok(Self { pools, arena, region, page })
    }
}

fn watch(control: &Control) -> rustix::io::Result<()> {
    let add = |fd: BorrowedFd<'_>, source: Source, flags| {
        epoll::add(&control.epoll, fd, source.data(), flags)
    };
    add(control.path.as_fd(), Source::Path, EventFlags::IN)?;
    add(control.doorbell.fd().as_fd(), Source::Doorbell, EventFlags::IN | EventFlags::ET)?;
    add(control.signal.as_fd(), Source::Signal, EventFlags::IN)
}

/// The signals that end the daemon as something to poll.
fn signals() -> Result<UnixStream, StartError> {
    let wrong = |e: std::io::Error| StartError::Resources { what: "signals", why: e.to_string() };
    let (receiver, sender) = UnixStream::pair().map_err(wrong)?;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hangup = (!ignores(&status, SIGHUP)).then_some(SIGHUP);
    for signal in [SIGTERM, SIGINT].into_iter().chain(hangup) {
        let sender = sender.try_clone().map_err(wrong)?;
        let _ = signal_hook::low_level::pipe::register(signal, sender).map_err(wrong)?;
    }
    Ok(receiver)
}

/// Whoever started this process has told it to ignore a signal, as nohup does with SIGHUP.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0);
    let bit = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|rest| rest & 1 == 1)
}

/// Each socket costs a descriptor: take all the hard limit allows.
fn raise_descriptor_limit() -> rustix::io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)
}

/// How many descriptors the daemon may have.
fn descriptors() -> u32 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX)
}

/// Brings DPDK up: on hugepages if enough are free, else on ordinary pages.
fn start_eal(config: &Config, plan: &Plan) -> Result<(Eal, bool), StartError> {
    let shared = config.eal.multi_process;
    let allowed = config.eal.hugepages.unwrap_or(true);
    let hugepages = allowed && dpdk::hugepages_free() >= HUGEPAGES;
    if shared && !hugepages {
        let why = format!(
            "secondary processes of DPDK need hugepages: sysctl vm.nr_hugepages={}, mount -t hugetlbfs nodev \
             /dev/hugepages, and no hugepages = false",
            HUGEPAGES * 2
        );
        return Err(StartError::Resources { what: "[eal] multi_process", why });
    }
    let memory = if hugepages {
        Memory::Hugepages { preallocate_mib: Some(HUGEPAGES * 2) }
    } else {
        Memory::Ordinary { mib: ORDINARY_MIB }
    };
    let prefix = file_prefix(config);
    let args = EalArgs::new(&prefix).memory(memory).plan(plan);
    let mut args = args.multi_process(shared).telemetry(shared);
    for address in config.pci_devices() {
        args = args.allow_pci(&address);
    }
    for extra in &config.eal.args {
        args = args.extra(extra);
    }
    let eal = Eal::init(&args.to_vec()).map_err(|error| StartError::Eal(error.to_string()))?;
    if shared {
        tracing::warn!(
            "multi_process: whoever may open EAL's files can read and change every packet of this stack and stop it; \
             tools attach with --file-prefix={prefix}"
        );
        if let Err(error) = eal.allow_capture() {
            tracing::warn!("dpdk-dumpcap can't attach: {error}; apt-get install librte-pdump23");
        }
    }
    Ok((eal, hugepages))
}

/// What EAL calls its files.
fn file_prefix(config: &Config) -> String {
    match config.eal.multi_process {
        // One that tools can be told, and under which EAL finds what a killed daemon has left.
        true => format!("io-pkt{}", config.prefix.replace('/', "-")),
        false => format!("io-pkt-{}", std::process::id()),
    }
}

/// Is everything there that was asked for? If it need not be, what is missing is said once more, last.
fn complete(missing: usize, config: &Config) -> Result<(), StartError> {
    match missing {
        0 => Ok(()),
        _ if config.strict => Err(StartError::Incomplete(missing)),
        _ => {
            tracing::warn!(
                "{missing} of the drivers, routes and protocols asked for can't be had (see above); the rest is \
                 served, --strict would have ended here"
            );
            Ok(())
        }
    }
}

/// Attaches what the configuration asks for, and makes what is over it. One that fails is reported and left
/// out; returns how many.
fn attach_ports(control: &mut Control, eal: &Eal, config: &Config) -> usize {
    let mut any = false;
    let mut failed = 0;
    for interface in &config.interfaces {
        match control.start_driver(eal, interface) {
            Ok(names) => {
                any = true;
                let first = names.first();
                let refused = first.and_then(|name| control.set_up_interface(name, interface));
                failed += usize::from(refused.is_some());
            }
            Err(why) => {
                tracing::error!("-d {}: {why}", interface.driver);
                failed += 1;
            }
        }
    }
    if !any {
        tracing::warn!("no interface but lo0; attach one: io-pkt -d net_tap iface=iop0");
    }
    failed + control.make_cloned(config)
}

/// Loads the protocol modules of the configuration. One that fails is reported and left out. Returns
/// how many failed.
fn load_protocols(control: &mut Control, config: &Config) -> usize {
    let mut failed = 0;
    for protocol in &config.protocols {
        if let Err(why) = control.start_protocol(&protocol.name, &protocol.options) {
            tracing::error!("-p {}: {why}", protocol.name);
            failed += 1;
        }
    }
    failed
}

/// A worker and what it sleeps on.
type Crewed = (Worker, Bed);

/// What all workers are made from.
struct Team<'a> {
    memory: &'a Memories,
    event_tx: SyncSender<Event>,
    doorbell: Arc<Doorbell>,
    config: &'a Config,
}

impl Team<'_> {
    /// Makes the workers and says how to reach them.
    fn assemble(
        &self,
        workers: u16,
        plan: &Plan,
    ) -> Result<(Vec<WorkerLink>, Vec<Crewed>), StartError> {
        let patience = wake::patience(self.config.idle, plan.worker_cpus.first().copied());
        tracing::debug!("idle workers sleep after {patience:?}");
        let mut beds = Vec::new();
        let mut inboxes = Vec::new();
        let mut peers = Vec::new();
        for number in 0..workers {
            let bed =
                Bed::new(number, self.memory.page.page(), patience).map_err(resources("worker"))?;
            let (tx, rx) = sync_channel::<Handoff>(HANDOFFS);
            peers.push((tx, Arc::clone(&bed.doorbell)));
            inboxes.push(rx);
            beds.push(bed);
        }
        let secret = secret()?;
        let mut links = Vec::new();
        let mut made = Vec::new();
        for ((bed, inbox), number) in beds.into_iter().zip(inboxes).zip(0_u16..) {
            let (commands, command_rx) = sync_channel(COMMANDS);
            let counters = Arc::new(WorkerCounters::default());
            let worker = Worker::new(Parts {
                pools: self.memory.pools.clone(),
                commands: command_rx,
                events: (self.event_tx.clone(), Arc::clone(&self.doorbell)),
                mesh: Mesh::new(number, peers.clone(), inbox),
                secret,
                counters: Arc::clone(&counters),
            });
            links.push(WorkerLink {
                commands,
                doorbell: Arc::clone(&bed.doorbell),
                epoll: Arc::clone(&bed.epoll),
                counters,
                cpu: plan.worker_cpus.get(usize::from(number)).copied(),
                polled: Arc::clone(&bed.polled),
                backlog: Default::default(),
            });
            made.push((worker, bed));
        }
        Ok((links, made))
    }
}

fn secret() -> Result<[u8; 16], StartError> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret)
        .map_err(|e| StartError::Resources { what: "random numbers", why: e.to_string() })?;
    Ok(secret)
}

/// Routes of the configuration; what is refused is reported and left out. Returns how many.
fn add_routes(control: &mut Control, config: &Config) -> usize {
    let mut failed = 0;
    for Route { destination, gateway } in &config.routes {
        let Destination { address, prefix_len } = *destination;
        if let Err(errno) = control.network.add_route(address, prefix_len, *gateway) {
            tracing::error!("route {destination} via {gateway}: {errno}");
            failed += 1;
        }
    }
    control.publish();
    failed
}

/// The metrics endpoint; each scrape asks the control thread for a sample.
fn start_metrics(
    address: std::net::SocketAddr,
    origin: &str,
    requests: SyncSender<ScrapeRequest>,
    doorbell: Arc<Doorbell>,
) -> Result<exporter::Server, StartError> {
    let source = move || {
        let (tx, rx) = sync_channel::<Sample>(1);
        if requests.try_send(ScrapeRequest(tx)).is_err() {
            return Sample::default();
        }
        doorbell.ring_always();
        rx.recv_timeout(SCRAPE).unwrap_or_default()
    };
    let wrong = |error: exporter::ServeError| match origin {
        "" => StartError::Metrics(error.to_string()),
        origin => StartError::Metrics(format!("{origin}: {error}")),
    };
    exporter::serve(address, Arc::new(source)).map_err(wrong)
}

/// Resets the connections, stops workers and ports, removes the path.
fn stop(
    mut control: Control,
    eal: Eal,
    lcores: &[dpdk::LcoreId],
    memory: (ExternalRegion, Pools),
    path: &Path,
) {
    tracing::info!("stopping: {} goes, connections are reset", path.display());
    tell_service_manager(NotifyState::Stopping);
    let _ = fs::remove_file(path);
    for (interface, message) in control.network.releases() {
        control.send_dhcp(interface, &message);
    }
    for (interface, message) in control.network.resignations() {
        control.send_message(interface, message);
    }
    for worker in 0..control.worker_count() {
        control.command(worker, inet::command::Command::Stop);
    }
    for lcore in lcores {
        if eal.wait(*lcore).is_err() {
            tracing::error!("a worker had panicked");
        }
    }
    control.end_protocols();
    for port in control.network.take_ports() {
        let name = port.name().to_owned();
        if let Err(error) = port.detach() {
            tracing::warn!("{name}: {error}");
        }
    }
    drop(control);
    // EAL gives nothing back while somebody has a handle.
    drop(memory);
    // Drivers that keep buffers make this fail; the process ends now anyway.
    if let Err(error) = eal.cleanup() {
        tracing::debug!("DPDK clean-up: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_nohup_ignores_stays_so() {
        let status = "Name:\tio-pkt\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert_eq!(
            [1, 2, 13, 15].map(|signal| ignores(status, signal)),
            [true, false, true, false]
        );
        assert!(!ignores("", 1));
    }

    #[test]
    fn spinning_workers_that_share_a_cpu_are_told_of() {
        let plan = Plan { control_cpus: vec![0], worker_cpus: vec![0, 1, 0] };
        let warning = crowded(Idle::Spin, &plan).unwrap();
        assert!(warning.contains("3 workers spin on 2 CPU(s)") && warning.contains("-t 2"));
        assert_eq!(crowded(Idle::Adaptive, &plan), None);
        let apart = Plan { worker_cpus: vec![0, 1], ..plan };
        assert_eq!(crowded(Idle::Spin, &apart), None);
    }
}
