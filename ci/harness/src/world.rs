//! A worker between two `net_ring` ports, the control plane it expects, and a client's memory.
//!
//! A `net_ring` port receives what it sends. The peer sends on the first, from which the worker
//! receives; the worker sends on the second, from which the peer receives.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use devnp::{AttachEnv, DriverSpec, Port, RxQueue, TxQueue, Units};
use dpdk::{Burst, ChecksumState, Eal, EalArgs, Mbuf, Memory, Mempool, MempoolOptions, PacketPool};
use fib::{Ipv4Net, Ipv6Net, Rib, Route};
use inet::command::{Command, Event, Handoff, ListenerId, Outcome, SocketOption, Transport};
use inet::network::{Address, Address6, Interface, Link6, Network, RawKind, RawWanted, TxChecksum};
use inet::steer::{self, Doorbell, Mesh};
use inet::{Parts, Pools, SocketId, Worker, WorkerCounters};
use shm::{Arena, CellId, ClientMap, PacketMemory, SocketEnd};
use types::{FlowKey, Instant, MacAddr};

use crate::attach::attach_client;
use crate::rings::{Queues, WireEnds, device, pair_of, ring, rings};
use crate::router::FarLink;

/// The stack's address.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 2);
/// The peer's address.
pub const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 1);
/// The stack's IPv6 address on the link.
pub const LOCAL_LINK6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The stack's IPv6 address.
pub const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 77, 0, 0, 0, 2);
/// The peer's IPv6 address.
pub const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 77, 0, 0, 0, 1);
/// The stack's MAC address.
pub const LOCAL_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 2]);
/// The peer's MAC address.
pub const PEER_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 1]);

/// Interface of the port.
const WIRE: u16 = 1;
/// Slot of the client.
const CLIENT: u16 = 0;
/// Packets that another worker's queue takes.
pub const QUEUE_LEN: usize = 1024;
/// Clients that a world may have: a million connections are those of 123.
const CLIENTS_MAX: u16 = 130;

/// One worker's world.
pub struct World {
    /// The worker.
    pub worker: Worker,
    /// Virtual time.
    pub now: Instant,
    /// The pool that the peer's frames come from.
    pub pool: Mempool,
    pub(crate) pools: Pools,
    /// The client's memory as the client sees it.
    pub client: Arc<ClientMap>,
    /// Those of further clients.
    pub(crate) others: Vec<Arc<ClientMap>>,
    /// Their files, to write what the library never would.
    pub(crate) written: Vec<OwnedFd>,
    workers: u16,
    pub(crate) arena: Arc<Arena>,
    /// What the worker has said and nobody has asked for.
    pub events: Vec<Event>,
    commands: SyncSender<Command>,
    incoming: Receiver<Event>,
    /// From other workers, and to them.
    mesh: (SyncSender<Handoff>, Receiver<Handoff>),
    to_worker: (TxQueue, Burst),
    from_worker: (RxQueue, Burst),
    /// Goes nowhere: what a port alone costs.
    pub(crate) wire: (TxQueue, RxQueue),
    /// Frames come as from a port that has found their checksums right.
    pub verified: bool,
    protocols: Vec<lsm::Modules>,
    pub(crate) far: Option<FarLink>,
    units: Units,
    _ports: Vec<Port>,
    calls: u64,
    // Dropped last: everything above came from it.
    eal: Rc<Eal>,
}

impl World {
    /// Starts EAL without hugepages; once per process.
    ///
    /// # Errors
    /// What DPDK or the kernel refused, as text.
    pub fn new() -> Result<Self, String> {
        Self::over(None)
    }

    /// The same over a wire that a driver module makes, instead of `net_ring`.
    ///
    /// # Errors
    /// What DPDK, the module or the kernel refused, as text.
    pub fn over(module: Option<&str>) -> Result<Self, String> {
        Self::among(module, 1)
    }

    /// The same for the first of so many workers. The others never breathe: what is theirs is lost.
    ///
    /// # Errors
    /// What DPDK, the module or the kernel refused, as text.
    pub fn among(module: Option<&str>, workers: u16) -> Result<Self, String> {
        Self::as_worker(module, 0, workers)
    }

    /// The same for worker `me` of so many.
    ///
    /// # Errors
    /// What DPDK, the module or the kernel refused, as text.
    pub fn as_worker(module: Option<&str>, me: u16, workers: u16) -> Result<Self, String> {
        Self::with(module, (me, workers), false)
    }

    /// The same as [`World::new`], where the peer's frames come in memory that clients may be shown: those that
    /// [`World::add_client_of`] a share of loans makes.
    ///
    /// # Errors
    /// What DPDK or the kernel refused, as text.
    pub fn lending() -> Result<Self, String> {
        Self::with(None, (0, 1), true)
    }

    fn with(module: Option<&str>, (me, workers): (u16, u16), lends: bool) -> Result<Self, String> {
        let prefix = format!("io-pkt-harness-{}", std::process::id());
        let args = EalArgs::new(&prefix).memory(Memory::Ordinary { mib: 64 });
        let eal = Rc::new(Eal::init(&args.to_vec()).map_err(|e| e.to_string())?);
        let pool =
            Mempool::create("frames", &MempoolOptions::default()).map_err(|e| e.to_string())?;
        let units = Units::new();
        let wire = match module {
            Some(module) => pair_of(module, &eal, &pool)?,
            None => rings(&eal, &pool, &units)?,
        };
        let alone = ring(&eal, &pool, &units)?;
        let mut pools = Pools::new(pool).map_err(|e| e.to_string())?;
        if lends {
            let options = MempoolOptions::default();
            let memory = PacketMemory::create(options.count).map_err(|e| e.to_string())?;
            let shown = PacketPool::create("shown", options.cache, memory);
            pools.shown = Some(shown.map_err(|e| e.to_string())?);
        }
        let mut world = Self::assemble((eal, pools, units), (wire, alone), (me, workers))?;
        world.send(Command::Network(Arc::new(network())));
        world.breathe();
        // The peer asks for us, so its address is known from now on.
        let _ = world.inject(&crate::frame::arp(true));
        world.breathe();
        world.each_sent(|_| {});
        Ok(world)
    }

    /// Another one in this process, with this configuration, over a device of the kernel's (a driver and its
    /// options) or a wire of two rings.
    ///
    /// # Errors
    /// What DPDK or the kernel refused, as text.
    pub(crate) fn beside(
        &mut self,
        network: Network,
        over: Option<(&str, &str)>,
    ) -> Result<Self, String> {
        let wire = match over {
            Some(spec) => device(spec, &self.eal, &self.pool, &self.units)?,
            None => rings(&self.eal, &self.pool, &self.units)?,
        };
        let alone = self.ring()?;
        let base = (Rc::clone(&self.eal), self.pools.clone(), Units::new());
        let mut world = Self::assemble(base, (wire, alone), (0, 1))?;
        world.send(Command::Network(Arc::new(network)));
        world.breathe();
        Ok(world)
    }

    /// Worker `me` of so many, with its client, at its end of the wire.
    fn assemble(
        (eal, pools, units): (Rc<Eal>, Pools, Units),
        (wire, alone): (WireEnds, (Port, Queues)),
        (me, workers): (u16, u16),
    ) -> Result<Self, String> {
        let (mut ports, (worker_rx, worker_tx), (peer_rx, peer_tx)) = wire;
        let (alone, (alone_rx, alone_tx)) = alone;
        ports.push(alone);

        let (commands, command_rx) = sync_channel(1024);
        let (event_tx, incoming) = sync_channel(65_536);
        let (mesh_tx, inbox) = sync_channel(16);
        let (others_tx, handed) = sync_channel(QUEUE_LEN);
        let doorbell = || Doorbell::new().map(Arc::new).map_err(|e| e.to_string());
        let line = |worker| if worker == me { mesh_tx.clone() } else { others_tx.clone() };
        let others = (0..workers).map(|worker| Ok((line(worker), doorbell()?)));
        let others = others.collect::<Result<Vec<_>, String>>()?;
        let mut worker = Worker::new(Parts {
            pools: pools.clone(),
            commands: command_rx,
            events: (event_tx, doorbell()?),
            mesh: Mesh::new(me, others, inbox),
            secret: [7; 16],
            counters: Arc::new(WorkerCounters::default()),
        });
        worker.add_port(WIRE, worker_rx, worker_tx);
        let arena = Arena::reserve(CLIENTS_MAX).map_err(|e| e.to_string())?;
        let (lane, client, _) = attach_client(&arena, Arc::default(), &pools)?;
        let incoming_frames = pools.shown.as_ref().map(|shown| shown.pool().clone());
        let mut world = Self {
            worker,
            now: Instant::from_millis(1_000_000),
            pool: incoming_frames.unwrap_or_else(|| pools.frames.clone()),
            pools,
            client,
            others: Vec::new(),
            written: Vec::new(),
            workers,
            arena,
            events: Vec::new(),
            commands,
            incoming,
            mesh: (mesh_tx, handed),
            to_worker: (peer_tx, Burst::new()),
            from_worker: (peer_rx, Burst::new()),
            wire: (alone_tx, alone_rx),
            verified: false,
            protocols: Vec::new(),
            far: None,
            units,
            _ports: ports,
            calls: 0,
            eal,
        };
        world.send(Command::Attach { client: CLIENT, lane });
        Ok(world)
    }

    /// Ports of the peer, from `first` on, from which connections to port 80 belong to the worker.
    pub fn own_ports(&self, first: u16) -> impl Iterator<Item = u16> {
        let workers = self.workers;
        (first..).filter(move |port| {
            let flow = FlowKey {
                local_addr: LOCAL.into(),
                local_port: 80,
                remote_addr: PEER.into(),
                remote_port: *port,
            };
            steer::owner(&flow, workers) == 0
        })
    }

    /// Another configuration of the interface that the worker has.
    pub fn configure(&mut self, change: impl FnOnce(&mut Interface)) {
        let mut network = network();
        if let Some(interface) = network.interfaces.get_mut(usize::from(WIRE)) {
            change(interface);
        }
        self.send(Command::Network(Arc::new(network)));
        self.breathe();
    }

    /// A port beside those of the worker.
    ///
    /// # Errors
    /// What DPDK or the kernel refused, as text.
    pub fn attach(&mut self, driver: &str, options: &str) -> Result<Port, String> {
        let spec = DriverSpec::parse(driver, options).map_err(|e| e.to_string())?;
        let env = AttachEnv { workers: 1, pool: &self.pool, shown: None, units: &self.units };
        devnp::attach(&self.eal, &spec, &env).map_err(|e| e.to_string())
    }

    /// The pool of frames that nobody is shown.
    #[must_use]
    pub fn frames(&self) -> &Mempool {
        &self.pools.frames
    }

    /// Loads a protocol module, a file, which stays for as long as the world.
    ///
    /// # Errors
    /// The loader's or the module's reason, as text.
    pub fn load_protocol(&mut self, file: &str) -> Result<(), String> {
        let user = rustix::process::getuid().as_raw();
        let (pool, packet) = (self.pool.clone(), devnp::packet_api());
        let nowhere = std::env::temp_dir();
        let surroundings = lsm::Surroundings::new(pool, packet, 1, nowhere, |_| {}, || {});
        let mut modules = lsm::Modules::new(Vec::new(), user, surroundings);
        let id = modules.load(file, Vec::new()).map_err(|e| e.to_string())?;
        let instance = match modules.wait_report(lsm::limits::OPEN_TIME) {
            Some(lsm::Report::Opened(_, opened)) => opened.map_err(|e| e.to_string())?,
            other => return Err(format!("the module does not open: {other:?}")),
        };
        modules.admit(id, instance).map_err(|e| e.to_string())?;
        let plan = Arc::new(modules.plan());
        self.protocols.push(modules);
        let _ = self.call(|call| Command::Protocols { call, plan })?;
        Ok(())
    }

    /// What the protocol modules are attached to, and what came of the packets there.
    #[must_use]
    pub fn attachments(&self) -> Vec<lsm::AttachmentRow> {
        let rows = self.protocols.iter().flat_map(lsm::Modules::rows);
        rows.flat_map(|row| row.attachments).collect()
    }

    /// What the worker has handed over to others since the last call.
    pub fn handed(&mut self) -> Vec<Handoff> {
        self.mesh.1.try_iter().collect()
    }

    /// Another worker hands something over; the next breath takes it.
    pub fn hand(&mut self, what: Handoff) {
        // The channel is larger than what is handed over between two breaths.
        let _ = self.mesh.0.try_send(what);
    }

    /// Sends a command; the next breath carries it out.
    pub fn send(&mut self, command: Command) {
        // The channel is larger than what is sent between two breaths.
        let _ = self.commands.try_send(command);
    }

    /// The way of commands, for another thread.
    #[must_use]
    pub fn control(&self) -> SyncSender<Command> {
        self.commands.clone()
    }

    /// One breath; what the worker says is kept in `events`.
    pub fn breathe(&mut self) {
        self.breathe_in(|worker, now| {
            let _ = worker.breathe(now);
        });
    }

    /// The same, with something around the worker's own part.
    pub fn breathe_in(&mut self, breathe: impl FnOnce(&mut Worker, Instant)) {
        self.put_on_wire();
        breathe(&mut self.worker, self.now);
        self.events.extend(self.incoming.try_iter());
    }

    pub(crate) fn put_on_wire(&mut self) {
        let (queue, burst) = &mut self.to_worker;
        // The ring is larger than what is sent between two breaths.
        let _ = queue.tx_burst(burst);
        if let Some(FarLink { to_worker: (queue, burst), .. }) = &mut self.far {
            let _ = queue.tx_burst(burst);
        }
    }

    /// One more port that receives what it sends.
    pub(crate) fn ring(&mut self) -> Result<(Port, Queues), String> {
        ring(&self.eal, &self.pool, &self.units)
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.breathe();
    }

    /// A frame from the peer; the next breath receives it. `false`: no buffer was free.
    pub fn inject(&mut self, frame: &[u8]) -> bool {
        let Some(mut mbuf) = self.pool.alloc() else { return false };
        if !mbuf.extend_from_slice(frame) {
            return false;
        }
        if self.verified {
            mbuf.set_rx_checksums(ChecksumState::Good, ChecksumState::Good);
        }
        self.inject_buffers(mbuf)
    }

    /// The same for a frame in buffers that are filled already.
    pub fn inject_buffers(&mut self, mbuf: Mbuf) -> bool {
        let (_, burst) = &mut self.to_worker;
        let queued = burst.push(mbuf).is_ok();
        if burst.is_full() {
            self.put_on_wire();
        }
        queued
    }

    /// What the worker has sent since the last call.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.each_sent(|frame| frames.push(frame.to_vec()));
        frames
    }

    /// Takes what the worker has sent off the wire.
    pub fn each_sent(&mut self, mut with: impl FnMut(&[u8])) {
        let (queue, burst) = &mut self.from_worker;
        while queue.rx_burst(burst) > 0 {
            for mbuf in burst.drain() {
                with(mbuf.data());
            }
        }
    }

    /// All that another worker has sent comes to this one, as over a wire.
    pub(crate) fn hear(&mut self, other: &mut Self) {
        let (from, burst) = &mut other.from_worker;
        while from.rx_burst(burst) > 0 {
            // The ring is larger than what is sent between two breaths.
            let _ = self.to_worker.0.tx_burst(burst);
            burst.clear();
        }
    }

    /// A burst of what the worker has sent, as it is.
    pub fn take_sent(&mut self) -> Burst {
        let mut burst = Burst::new();
        let _ = self.from_worker.0.rx_burst(&mut burst);
        burst
    }

    /// A new socket and the client's end of its descriptor.
    ///
    /// # Errors
    /// The worker's or the kernel's refusal.
    pub fn open(&mut self, transport: Transport) -> Result<(SocketId, CellId, OwnedFd), String> {
        self.open_as(CLIENT, transport)
    }

    /// The same for one of several clients.
    ///
    /// # Errors
    /// The worker's or the kernel's refusal.
    pub fn open_as(
        &mut self,
        client: u16,
        transport: Transport,
    ) -> Result<(SocketId, CellId, OwnedFd), String> {
        let (ours, theirs) = SocketEnd::pair().map_err(|e| e.to_string())?;
        let descriptor = Arc::new(ours);
        let outcome = self.call(|call| Command::Open { call, client, transport, descriptor })?;
        match outcome {
            Outcome::Opened { socket, cell } => Ok((socket, cell, theirs)),
            other => Err(format!("{other:?}")),
        }
    }

    /// The worker learns that there are raw sockets of these kinds.
    pub fn want_raw(&mut self, kinds: &[RawKind]) {
        let raw = RawWanted::by(kinds.iter().copied());
        self.send(Command::Network(Arc::new(Network { raw, ..network() })));
    }

    /// A raw or ping socket, and packets that are for it.
    ///
    /// # Errors
    /// The worker's or the kernel's refusal.
    pub fn open_raw(&mut self, kind: RawKind) -> Result<(SocketId, CellId, OwnedFd), String> {
        self.want_raw(&[kind]);
        let (ours, theirs) = SocketEnd::pair().map_err(|e| e.to_string())?;
        let (client, descriptor) = (CLIENT, Arc::new(ours));
        match self.call(|call| Command::OpenRaw { call, client, kind, descriptor })? {
            Outcome::Opened { socket, cell } => Ok((socket, cell, theirs)),
            other => Err(format!("{other:?}")),
        }
    }

    /// A datagram socket bound to a port of every address.
    ///
    /// # Errors
    /// The worker's refusal.
    pub fn bind_udp(&mut self, port: u16) -> Result<(SocketId, CellId, OwnedFd), String> {
        let opened = self.open(Transport::Datagram)?;
        let (socket, local) = (opened.0, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
        let _ = self.call(|call| Command::Bind { call, socket, local })?;
        Ok(opened)
    }

    /// A listener on a port of every address.
    pub fn listen(&mut self, port: u16, backlog: u32) {
        self.listen_as(CLIENT, port, backlog);
    }

    /// A listener of one of several clients.
    pub fn listen_as(&mut self, client: u16, port: u16, backlog: u32) {
        self.listen_with(client, port, backlog, Vec::new());
    }

    /// The same; its connections begin with these options.
    pub fn listen_with(
        &mut self,
        client: u16,
        port: u16,
        backlog: u32,
        options: Vec<SocketOption>,
    ) {
        let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let listener = ListenerId(u64::from(port));
        let listen = |call| Command::Listen { call, listener, client, local, backlog, options };
        // A listener is never refused.
        let _ = self.call(listen);
    }

    /// Sends a command and breathes until it is done.
    ///
    /// # Errors
    /// The worker's refusal.
    pub fn call(&mut self, command: impl FnOnce(u64) -> Command) -> Result<Outcome, String> {
        self.calls += 1;
        let wanted = self.calls;
        self.send(command(wanted));
        self.breathe();
        let is_answer = |e: &Event| matches!(e, Event::Done { call, .. } if *call == wanted);
        let at = self.events.iter().position(is_answer).ok_or("no answer")?;
        match self.events.remove(at) {
            Event::Done { result, .. } => result.map_err(|e| e.to_string()),
            _ => Err("no answer".into()),
        }
    }

    /// The memory of one of the client's sockets.
    #[must_use]
    pub fn memory(&self, cell: CellId) -> Option<shm::SocketMemory> {
        self.client.socket(cell, 0)
    }

    /// The memory of a socket of one of several clients.
    #[must_use]
    pub fn memory_of(&self, client: u16, cell: CellId) -> Option<shm::SocketMemory> {
        match usize::from(client).checked_sub(1) {
            None => self.memory(cell),
            Some(other) => self.others.get(other)?.socket(cell, 0),
        }
    }

    /// Takes the client away, lets everything time out, and says how many buffers are still in use.
    pub fn wind_up(&mut self) -> u32 {
        self.send(Command::Detach { client: CLIENT });
        for _ in 0..2000 {
            self.pass(Duration::from_secs(1));
            self.each_sent(|_| {});
            self.events.clear();
        }
        drop(self.handed());
        let shown = self.pools.shown.as_ref().map_or(0, |shown| shown.pool().in_use());
        self.pools.frames.in_use() + shown
    }
}

/// The configuration that a worker starts with.
#[must_use]
pub fn network() -> Network {
    let interface = |index, name: &str, mac, address, prefix_len| Interface {
        index,
        name: name.into(),
        mac,
        mtu: 1500,
        up: true,
        table: 0,
        addresses: vec![Address { address, prefix_len }],
        addresses6: Vec::new(),
        link6: Link6::default(),
        dhcp: false,
        arp_watched: None,
        tx_checksum: TxChecksum::Stack,
        loans: false,
        tso_buffers_max: 0,
        tso_ipv4_checksum: false,
    };
    let mut rib = Rib::new();
    if let Ok(net) = Ipv4Net::new(Ipv4Addr::new(198, 18, 77, 0), 24) {
        // The first route of an empty table is never refused.
        let _ = rib.add(Route::connected(net, WIRE));
    }
    let mut rib6 = Rib::new();
    if let Ok(net) = Ipv6Net::containing(LOCAL6, 64) {
        let _ = rib6.add(Route::connected(net, WIRE));
    }
    let address6 = |address| Address6::preferred(address, 64);
    let mut wire = interface(WIRE, "ring0", LOCAL_MAC, LOCAL, 24);
    wire.addresses6 = vec![address6(LOCAL_LINK6), address6(LOCAL6)];
    Network {
        interfaces: vec![interface(0, "lo0", MacAddr::ZERO, Ipv4Addr::LOCALHOST, 8), wire],
        fib: rib.publish(),
        fib6: rib6.publish(),
        ..Network::default()
    }
}
