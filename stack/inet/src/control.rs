//! Commands of the control plane, carried out between two bursts.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashSet;
use rustix::io::Errno;
use shm::{DatagramProducer, Lane, SocketEnd, Status, StreamProducer};
use types::{FlowKey, Instant};

use crate::address6::OnLink;
use crate::client::Client;
use crate::command::{CallId, Command, Event, Outcome, SocketOption, Transport};
use crate::fast_open::Advice;
use crate::flow::Flow;
use crate::limits::{ORPHAN_BYTES_MAX, ORPHANS_MAX, RING_TURNS};
use crate::network::{Addresses, Network, StaticNeighbor};
use crate::option::{self, Options};
use crate::socket::{Datagram, Kind, Signal, Socket, SocketId, Stream};
use crate::tx_port::TxEnd;
use crate::udp_way::LastWays;
use crate::worker::Worker;

impl Worker {
    pub(crate) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Network(network) => self.adopt(&network),
            Command::UdpOwner { local, v6_only, owner, bound } => {
                self.udp_owners.set(local, v6_only, owner, bound);
            }
            Command::Attach { client, lane } => self.attach(client, lane),
            Command::Detach { client } => self.detach(client, now),
            Command::Open { call, client, transport, descriptor } => {
                let result = self.open(client, transport, descriptor);
                self.done(call, result);
            }
            Command::Module(command) => self.module_command(*command, now),
            Command::OpenRaw { call, client, kind, descriptor } => {
                let result = self.open_raw(client, kind, descriptor);
                self.done(call, result);
            }
            Command::Bind { call, socket, local } => {
                let result = self.bind(socket, local, now);
                self.done(call, result);
            }
            Command::Listen { call, listener, client, local, backlog, options } => {
                self.listen(listener, client, local, backlog, options);
                self.done(call, Ok(Outcome::Done));
            }
            Command::ListenerOption { listener, option } => {
                self.listeners.set_option(listener, option);
            }
            Command::Unlisten { listener } => self.unlisten(listener, now),
            Command::Connect { call, socket, local, remote, fast_open } => {
                let result = self.connect(socket, local, remote, fast_open, now);
                self.done(call, result);
            }
            Command::Acceptable { socket, waiting } => self.acceptable(socket, waiting),
            Command::Accepted { socket, descriptor } => self.accepted(socket, descriptor, now),
            Command::Shutdown { call, socket, read, write } => {
                let result = self.shutdown(socket, read, write, now);
                self.done(call, result);
            }
            Command::Close { socket, reset } => self.close(socket, reset, now),
            Command::SetOption { call, socket, option } => {
                let result = self.set_option(socket, option, now);
                self.done(call, result);
            }
            Command::Multicast { call, socket, settings } => {
                let result = self.set_multicast(socket, settings, now);
                self.done(call, result);
            }
            Command::Info { call, socket, take_error } => {
                let result = self.info(socket, take_error, now);
                self.done(call, result);
            }
            Command::TakeExtendedError { call, socket } => {
                let result = self.take_extended_error(socket, now);
                self.done(call, result);
            }
            Command::ListSockets { call } => self.list_sockets(call),
            Command::ListNeighbors { call } => self.list_neighbors(call, now),
            Command::ForgetNeighbor { call, address } => self.forget_neighbor(call, address),
            Command::Announce { interface, address } => self.announce(interface, address),
            Command::Arp { interface, packet } => self.out.arp_to_all(packet, interface),
            Command::Packet { interface, station, packet } => {
                self.out.finished(&packet, (interface, station), now, &mut self.timers);
            }
            Command::Bridge(command) => self.bridge_command(command, now),
            Command::AddPort { interface, rx, tx } => self.add_port(interface, rx, tx),
            Command::SharePort { interface, owner } => self.share_port(interface, owner),
            Command::RemovePort { call, interface } => self.remove_port(call, interface, now),
            Command::Protocols { call, plan } => self.adopt_protocols(call, plan),
            Command::Stop => self.stop(now),
        }
    }

    /// A port's only queues are another worker's.
    fn share_port(&mut self, interface: u16, owner: u16) {
        if let Some(line) = self.mesh.line(owner) {
            self.out.add_port(interface, TxEnd::Through(line));
        }
    }

    fn adopt(&mut self, network: &Arc<Network>) {
        // What all workers are told one of them tells on.
        self.watch_neighbors(network.watched && self.mesh.me == 0);
        let pinned: HashSet<IpAddr> = network.neighbors.iter().map(|n| n.address).collect();
        self.out.neighbors.retain_pinned(|address| pinned.contains(&IpAddr::from(address)));
        self.out.neighbors6.retain_pinned(|who| pinned.contains(&IpAddr::from(who.address)));
        self.out.network = Arc::clone(network);
        self.out.addresses = Addresses::of(network);
        self.out.adopt_bridges();
        self.out.slows.retain(|port| network.links.joined(port).is_some());
        self.icmp_errors.set_rate(network.host.icmp_errors_per_second);
        self.resets.set_rate(network.host.resets_per_second);
        self.out.generation = self.out.generation.wrapping_add(1);
        for pinned in &network.neighbors {
            let StaticNeighbor { address, mac, interface } = *pinned;
            let waiting = match address {
                IpAddr::V4(address) => self.out.neighbors.pin(address, mac, interface),
                IpAddr::V6(address) => {
                    self.out.neighbors6.pin(OnLink { address, interface }, mac, interface)
                }
            };
            self.out.neighbor_learned(waiting, mac, interface);
        }
        self.watch_neighbors(network.watched);
    }

    fn watch_neighbors(&mut self, on: bool) {
        (self.out.neighbors.watched, self.out.neighbors6.watched) = (on, on);
    }

    fn forget_neighbor(&mut self, call: CallId, address: IpAddr) {
        let watched = self.out.network.watched;
        self.watch_neighbors(watched && self.mesh.me == 0);
        let was_known = self.out.forget_neighbor(address);
        self.watch_neighbors(watched);
        self.done(call, Ok(Outcome::Forgotten(was_known)));
    }

    pub(crate) fn open(
        &mut self,
        slot: u16,
        transport: Transport,
        descriptor: Arc<SocketEnd>,
    ) -> Result<Outcome, Errno> {
        let client = self.clients.find_mut(slot).ok_or(Errno::NETDOWN)?;
        let cell = client.lane.allocate_cell().ok_or(Errno::NOBUFS)?;
        let options = Options::default();
        client.lane.set_send_buffer(cell, options.send_buffer);
        client.lane.set_status(cell, Status::empty());
        let kind = match transport {
            Transport::Stream => Kind::Unconnected(Box::default()),
            _ => {
                let recv = DatagramProducer::new(cell, options.receive_buffer);
                Kind::Datagram(Box::new(Datagram::new(recv)))
            }
        };
        let socket = Socket {
            client: Some(slot),
            cell,
            descriptor: Some(descriptor),
            signal: Signal::default(),
            error: None,
            options,
            kind,
        };
        match self.sockets.insert(socket) {
            Some(id) => {
                client.lane.set_number(cell, id.index);
                Ok(Outcome::Opened { socket: id, cell })
            }
            None => {
                client.lane.free_cell(cell);
                Err(Errno::NFILE)
            }
        }
    }

    fn bind(&mut self, id: SocketId, local: SocketAddr, now: Instant) -> Result<Outcome, Errno> {
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        match &mut socket.kind {
            Kind::Datagram(datagram) => {
                datagram.local = Some(local);
                self.udp_ports.entry(local.port()).or_default().push(id);
            }
            Kind::Module(_) => self.module_bind(id, local, now)?,
            Kind::ModuleStream(_) => self.stream_bind(id, local, now)?,
            Kind::Raw(_) => self.raw_named(id, local, None),
            Kind::Unconnected(_) | Kind::Listening { .. } | Kind::Stream(_) => {}
        }
        Ok(Outcome::Done)
    }

    fn connect(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        remote: Option<SocketAddr>,
        fast_open: bool,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        self.take_posted_before(id, now);
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        match &mut socket.kind {
            Kind::Datagram(datagram) => {
                if datagram.local.is_none() {
                    self.udp_ports.entry(local.port()).or_default().push(id);
                }
                datagram.local = Some(local);
                datagram.remote = remote;
                Ok(Outcome::Done)
            }
            Kind::Module(_) => self.module_connect(id, remote, now).map(|()| Outcome::Done),
            Kind::ModuleStream(_) => self.stream_connect(id, remote, now),
            Kind::Raw(_) => {
                self.raw_named(id, local, remote);
                Ok(Outcome::Done)
            }
            Kind::Stream(_) | Kind::Listening { .. } => Err(Errno::ISCONN),
            Kind::Unconnected(_) => {
                let remote = remote.ok_or(Errno::AFNOSUPPORT)?;
                self.active_open(id, local, remote, fast_open, now)
            }
        }
    }

    fn active_open(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
        fast_open: bool,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        let key = FlowKey {
            local_addr: local.ip(),
            remote_addr: remote.ip(),
            local_port: local.port(),
            remote_port: remote.port(),
        };
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(Errno::AFNOSUPPORT);
        }
        let zone = match remote {
            SocketAddr::V6(v6) => u16::try_from(v6.scope_id()).map_err(|_| Errno::NODEV)?,
            SocketAddr::V4(_) => 0,
        };
        let flow = self.flows.hold(&key, zone).ok_or(Errno::NOBUFS)?;
        let opened = self.open_flow(id, flow, fast_open, now);
        if opened.is_err() {
            self.flows.let_go(&flow);
        }
        opened
    }

    /// An active open of a flow that is held; if it is opened the socket holds it.
    fn open_flow(
        &mut self,
        id: SocketId,
        flow: Flow,
        fast_open: bool,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        if self.flows.find(&flow, &self.sockets).is_some() {
            return Err(Errno::ADDRINUSE);
        }
        if self.flows.is_full() {
            return Err(Errno::NOBUFS);
        }
        let key = self.flows.key(&flow);
        let iss = tcp::isn::initial_sequence(&self.secret, &key, now);
        let device = self.sockets.find_mut(id).ok_or(Errno::BADF)?.options.device;
        let mut config = self.stream_config(device, &flow);
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        let Kind::Unconnected(preset) = &socket.kind else { return Err(Errno::ISCONN) };
        preset.configure(&mut config);
        let advice = match fast_open || preset.fast_open_connect() {
            true => self.fast_open.servers.advice(key.remote_addr, now),
            false => Advice::Avoid,
        };
        let mut tcb = match advice {
            Advice::Avoid => tcp::Tcb::connect(&config, iss, now),
            Advice::Ask => tcp::Tcb::connect_fast_open(&config, iss, None, now),
            Advice::Use(memory) => tcp::Tcb::connect_fast_open(&config, iss, Some(memory), now),
        };
        tcb.set_user_timeout_option(self.out.network.tcp.user_timeout_option);
        preset.apply(&mut tcb, now);
        let holds_syn = tcb.holds_syn();
        let recv = self.clients.receiver(socket);
        let stream = Stream::new(tcb, flow, recv);
        let cell = socket.cell;
        socket.kind = Kind::Stream(stream);
        socket.error = None;
        // With a cookie the user may write before there is a connection; the SYN waits for that.
        let early = Status::CONNECTED | Status::OPENING;
        let status = if holds_syn { early } else { Status::empty() };
        if let Some(client) = self.clients.owner_mut(socket.client) {
            client.lane.set_status(cell, status);
        }
        if self.flows.add_connection(&flow, id, &self.sockets).is_err() {
            let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
            socket.kind = Kind::Unconnected(Box::default());
            return Err(Errno::NOBUFS);
        }
        self.sockets.watch(id);
        self.counters.tcp.active_opens.increment();
        if holds_syn {
            self.raise(id, Signal { writable: true, ..Signal::default() });
        }
        self.after_event(id, tcp::Events::default(), now);
        Ok(if holds_syn { Outcome::SynHeld } else { Outcome::Done })
    }

    fn shutdown(
        &mut self,
        id: SocketId,
        read: bool,
        write: bool,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        // Bytes posted before the call come before the FIN.
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        let (owner, ends) = (socket.client, write && socket.is_open_for_writing());
        if ends {
            self.drain_client(owner, now);
        } else {
            self.drain_client_in_time(owner, now);
        }
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        match &mut socket.kind {
            Kind::ModuleStream(_) => return self.stream_shutdown(id, (read, write), now),
            Kind::Listening { .. } if read => {
                self.stop_listening(id);
                return Ok(Outcome::Done);
            }
            Kind::Unconnected(_) | Kind::Listening { .. } => return Err(Errno::NOTCONN),
            // "Error: connection closing" (RFC 9293 3.10.4), in Linux's word.
            Kind::Stream(stream)
                if matches!(stream.tcb.state(), tcp::State::Closed | tcp::State::TimeWait) =>
            {
                return Err(Errno::NOTCONN);
            }
            Kind::Stream(stream) => {
                stream.deaf |= read;
                if write {
                    stream.tcb.shutdown(now);
                }
            }
            kind if kind.datagram().is_none_or(|datagram| datagram.remote.is_none()) => {
                return Err(Errno::NOTCONN);
            }
            _ => {}
        }
        if read {
            self.raise(id, Signal { readable: true, hang_up: true, ..Signal::default() });
        }
        self.after_event(id, tcp::Events::default(), now);
        Ok(Outcome::Done)
    }

    /// An option or a peer is not for what has been sent before.
    pub(crate) fn take_posted_before(&mut self, id: SocketId, now: Instant) {
        let owner = self.sockets.find_mut(id).and_then(|socket| socket.client);
        self.drain_client_in_time(owner, now);
    }

    /// Takes what a client has posted before a call, unless its ring has to wait: it is not read as often as
    /// somebody calls.
    fn drain_client_in_time(&mut self, owner: Option<u16>, now: Instant) {
        let Some(slot) = owner else { return };
        for _ in 0..RING_TURNS {
            let held = self.clients.find_mut(slot).is_none_or(|client| client.is_held(now));
            if held || !self.attend_pending(slot, now) {
                return;
            }
        }
    }

    /// Takes everything a client has posted so far.
    fn drain_client(&mut self, owner: Option<u16>, now: Instant) {
        let Some(slot) = owner else { return };
        for _ in 0..RING_TURNS {
            if !self.attend_pending(slot, now) {
                return;
            }
        }
    }

    /// One turn of what a client has posted. `false`: there is nothing.
    fn attend_pending(&mut self, slot: u16, now: Instant) -> bool {
        let pending = |client: &mut Client| !client.misbehaved && client.lane.pending();
        let pending = self.clients.find_mut(slot).is_some_and(pending);
        if pending {
            self.attend_client(slot, now);
        }
        pending
    }

    /// The user has let go of a socket.
    pub(crate) fn close(&mut self, id: SocketId, reset: bool, now: Instant) {
        let Some(owner) = self.sockets.find_mut(id).map(|socket| socket.client) else { return };
        self.drain_client(owner, now);
        let Some(socket) = self.sockets.find_mut(id) else { return };
        socket.descriptor = None;
        let reset = reset || socket.options.linger_zero;
        if matches!(socket.kind, Kind::ModuleStream(_)) {
            return self.stream_close(id, reset, now);
        }
        let Kind::Stream(stream) = &mut socket.kind else {
            self.module_close(id, now);
            return self.free_socket(id);
        };
        if core::mem::replace(&mut stream.closed, true) {
            return;
        }
        self.orphans += 1;
        let crowded = self.orphans > ORPHANS_MAX;
        if let Some(listener) = stream.waiting_at.take() {
            self.leave_listener(listener, now);
        }
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        if stream.tcb.state() == tcp::State::Closed || !self.flows.is_connection(&stream.flow, id) {
            return self.free_socket(id);
        }
        if let Some(client) = self.clients.owner_mut(owner) {
            let _ = stream.recv.refresh(&mut client.lane);
        }
        let unread = stream.recv.unread() > 0;
        self.counters.tcp.orphans_reset.add(crowded.into());
        if reset || crowded || unread {
            // What was sent before leaves before, as far as one turn goes: a reset would forget it.
            let _ = self.transmit_stream(id, now);
        }
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        if reset || crowded {
            stream.tcb.abort();
        } else {
            stream.tcb.close(now, unread);
        }
        self.after_event(id, tcp::Events::default(), now);
    }

    /// The socket is gone: cell, queue blocks and port are free.
    pub(crate) fn free_socket(&mut self, id: SocketId) {
        self.fast_open_proven(id, None);
        let Some(socket) = self.sockets.remove(id) else { return };
        let transport = socket.kind.transport();
        let mut local = None;
        let lane = self.clients.owner_mut(socket.client);
        match socket.kind {
            Kind::Unconnected(_) | Kind::Listening { .. } => {}
            Kind::Stream(mut stream) => {
                let _ = self.flows.remove_connection(&stream.flow, id);
                self.timers.cancel(&mut stream.timer);
                self.orphans = self.orphans.saturating_sub(usize::from(stream.closed));
                local = Some(self.flows.ends(&stream.flow).0);
                self.flows.let_go(&stream.flow);
                self.orphan_bytes = self.orphan_bytes.saturating_sub(stream.send.private_len());
                if let Some(client) = lane {
                    stream.recv.release(&mut client.lane);
                }
            }
            Kind::Datagram(datagram) => {
                local = datagram.local;
                if let Some(port) = local.map(|l| l.port())
                    && let Some(bound) = self.udp_ports.get_mut(&port)
                {
                    bound.retain(|other| *other != id);
                    if bound.is_empty() {
                        let _ = self.udp_ports.remove(&port);
                    }
                }
                if let Some(client) = lane {
                    datagram.recv.release(&mut client.lane);
                }
            }
            Kind::Module(module) => {
                let _ = self.module_sockets.remove(&id);
                if let Some(client) = lane {
                    module.datagram.recv.release(&mut client.lane);
                }
            }
            Kind::ModuleStream(stream) => {
                let _ = self.module_sockets.remove(&id);
                self.orphans = self.orphans.saturating_sub(usize::from(stream.closed));
                self.orphan_bytes = self.orphan_bytes.saturating_sub(stream.send.private_len());
                if let Some(client) = lane {
                    stream.recv.release(&mut client.lane);
                }
            }
            Kind::Raw(raw) => {
                let named = (raw.kind.ping, raw.datagram.local);
                if let Some(client) = lane {
                    raw.datagram.recv.release(&mut client.lane);
                }
                self.raw_forgotten(id, named);
            }
        }
        if let Some(client) = self.clients.owner_mut(socket.client) {
            client.lane.free_cell(socket.cell);
        }
        self.events.send(Event::Freed { socket: id, local, transport });
    }

    /// A client process is gone. What it had posted is still sent; nothing of it stays mapped.
    fn detach(&mut self, slot: u16, now: Instant) {
        self.drain_client(Some(slot), now);
        let Some(client) = self.clients.find_mut(slot) else { return };
        let numbers: Vec<u32> = client.lane.numbers(0, u32::MAX).collect();
        let sockets = numbers.into_iter().filter_map(|number| self.sockets.id(number));
        let sockets: Vec<SocketId> = sockets.collect();
        for id in sockets {
            self.close(id, false, now);
            self.orphan(id, now);
        }
        self.take_loans_back(slot);
        let _ = self.clients.remove(slot);
        self.events.send(Event::Detached { client: slot });
    }

    /// Copies what an orphan has to send into private memory, or resets it when there is too much.
    fn orphan(&mut self, id: SocketId, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let owner = socket.client.take();
        if matches!(socket.kind, Kind::ModuleStream(_)) {
            return self.stream_orphan(id, owner, now);
        }
        let Kind::Stream(stream) = &mut socket.kind else { return };
        let len = stream.send.len() as usize;
        if let Some(client) = self.clients.owner_mut(owner) {
            let lane: &mut Lane = &mut client.lane;
            let limit = socket.options.receive_buffer;
            let recv =
                core::mem::replace(&mut stream.recv, StreamProducer::new(socket.cell, limit));
            recv.release(lane);
            if self.orphan_bytes.saturating_add(len) <= ORPHAN_BYTES_MAX {
                stream.send.make_private(|offset, out| {
                    let _ = lane.copy_out(offset, out);
                });
                self.orphan_bytes += len;
                return;
            }
            self.counters.tcp.orphans_reset.increment();
        }
        stream.tcb.abort();
        self.after_event(id, tcp::Events::default(), now);
    }

    fn set_option(
        &mut self,
        id: SocketId,
        option: SocketOption,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        self.take_posted_before(id, now);
        if let SocketOption::ReceiveErrors { v6, on } = option {
            self.receive_errors(id, v6, on);
        }
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        socket.options.set(option);
        let options = socket.options;
        let mut send_limit = options.send_buffer;
        match &mut socket.kind {
            Kind::Stream(stream) => {
                if matches!(option, SocketOption::Device(_)) {
                    stream.hop = None;
                }
                option::apply(&mut stream.tcb, option, now);
                stream.recv.set_limit(options.receive_buffer);
                send_limit = stream.tcb.send_limit(send_limit);
            }
            Kind::Datagram(datagram) => {
                datagram.ways = LastWays::default();
                datagram.recv.set_limit(options.receive_buffer);
            }
            Kind::Module(module) => module.datagram.recv.set_limit(options.receive_buffer),
            Kind::ModuleStream(stream) => stream.recv.set_limit(options.receive_buffer),
            Kind::Raw(raw) => raw.set_option(option, options.receive_buffer),
            Kind::Unconnected(preset) => preset.record(option),
            Kind::Listening { .. } => {}
        }
        if let Some(client) = self.clients.owner_mut(socket.client) {
            client.lane.set_send_buffer(socket.cell, send_limit);
        }
        self.after_event(id, tcp::Events::default(), now);
        Ok(Outcome::Done)
    }

    /// All connections are reset so that no peer waits for a daemon that is gone.
    fn stop(&mut self, now: Instant) {
        let ids: Vec<SocketId> = self.sockets.iter().map(|(id, _)| id).collect();
        for id in ids {
            self.close(id, true, now);
        }
        self.stopping = true;
    }
}
