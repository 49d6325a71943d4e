//! What a worker does for its clients and for time: transmit rings, timers, wake-ups.

use rustix::io::Errno;
use shm::{Lane, Status, TxDescriptor, TxFlags};
use types::Instant;

use crate::command::{Event, Misbehaviour};
use crate::limits::{CLIENT_BUDGET, POSTED_PER_PACKET, TIMER_BUDGET, TIMERS_AHEAD};
use crate::send_queue::Range;
use crate::socket::{Kind, Signal, Socket, SocketId, Stream};
use crate::tcp_input::Text;
use crate::timer_wheel::{Endpoint, Fired, Owner};
use crate::worker::Worker;

impl Worker {
    /// Takes what the clients have posted. `true`: there was something.
    pub(crate) fn attend_clients(&mut self, now: Instant) -> bool {
        self.clients.find_posted(&mut self.posted);
        if self.posted.is_empty() {
            return false;
        }
        let mut worked = false;
        let mut posted = core::mem::take(&mut self.posted);
        if posted.len() > 1 {
            self.clients.fetch_posted(&posted);
        }
        for slot in posted.drain(..) {
            let Some(client) = self.clients.find_mut(slot) else { continue };
            if client.is_held(now) {
                continue;
            }
            worked = true;
            self.attend_client(slot, now);
        }
        self.posted = posted;
        worked
    }

    pub(crate) fn attend_client(&mut self, slot: u16, now: Instant) {
        let mut packets = 0;
        for _ in 0..CLIENT_BUDGET {
            let Some(client) = self.clients.find_mut(slot) else { return };
            if client.misbehaved {
                // What comes after a piece that was refused would close the gap in its stream.
                return;
            }
            match client.lane.receive() {
                Ok(Some(posted)) => {
                    self.counters.worker.descriptors_received.increment();
                    packets += u64::from((posted.length / POSTED_PER_PACKET).max(1));
                    self.posted(slot, &posted, now);
                }
                Ok(None) => break,
                Err(what) => {
                    return self.client_misbehaved(Some(slot), Misbehaviour::Memory(what));
                }
            }
        }
        if let Some(client) = self.clients.find_mut(slot) {
            client.lane.commit();
            client.lane.charge(now.as_nanos(), packets);
        }
    }

    /// One descriptor. A stale one (its socket was closed meanwhile) is none of the client's fault.
    fn posted(&mut self, slot: u16, posted: &TxDescriptor, now: Instant) {
        let Some(client) = self.clients.find_mut(slot) else { return };
        if let Some(text) = client.lane.posted_text(posted.offset) {
            dpdk::prefetch(text);
        }
        let Some(number) = client.lane.number(posted.cell) else { return };
        let Some(id) = self.sockets.id(number) else { return };
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let cell = socket.cell;
        let is_its = socket.client == Some(slot) && cell.index == posted.cell;
        if !is_its || cell.generation != posted.generation {
            return;
        }
        if posted.flags.contains(TxFlags::ARM) {
            return self.rearm(id, now);
        }
        match &mut socket.kind {
            Kind::Datagram(_) => self.udp_output(id, posted, now),
            Kind::Module(_) => self.module_output(id, posted, now),
            Kind::Raw(_) => self.raw_output(id, posted, now),
            Kind::Stream(stream) => {
                let range = Range { offset: posted.offset, len: posted.length };
                if stream.send.push(range, &mut self.spare_queues).is_err() {
                    return self.client_misbehaved(Some(slot), Misbehaviour::TooManyRanges);
                }
                if posted.flags.contains(TxFlags::URGENT) {
                    stream.tcb.send_urgent(posted.length);
                } else if posted.flags.contains(TxFlags::MORE) {
                    stream.tcb.send_more(posted.length);
                } else {
                    stream.tcb.send(posted.length);
                }
                // Its turn finds out what the windows let go, and sets the timers.
                if !core::mem::replace(&mut stream.ready, true) {
                    self.ready.push_back(id);
                }
            }
            Kind::ModuleStream(stream) => {
                let range = Range { offset: posted.offset, len: posted.length };
                match stream.push(range, &mut self.spare_queues) {
                    Ok(true) => self.stream_ready(id),
                    Ok(false) => {}
                    Err(_) => self.client_misbehaved(Some(slot), Misbehaviour::TooManyRanges),
                }
            }
            Kind::Unconnected(_) | Kind::Listening { .. } => {}
        }
    }

    /// The client has read, or wants to be told about something that may have happened already.
    fn rearm(&mut self, id: SocketId, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let owner = socket.client;
        let first = socket.signal.is_empty();
        socket.signal.readable = true;
        socket.signal.writable = true;
        if first {
            self.signals.push(id);
        }
        if matches!(socket.kind, Kind::ModuleStream(_)) {
            return self.stream_read(id, now);
        }
        let Some(client) = self.clients.owner_mut(owner) else { return };
        let refreshed = match &mut socket.kind {
            Kind::Stream(stream) => {
                let refreshed = stream.recv.refresh(&mut client.lane);
                let room = has_free_third(stream, socket.options.send_buffer);
                stream.tcb.user_waits(!room && client.lane.out_armed(socket.cell), now);
                let lane = Some(&mut client.lane);
                let text = Text { recv: &mut stream.recv, lane, deaf: stream.deaf, lender: None };
                stream.tcb.window_opened(&text, now);
                socket.options.grow_receive_buffer(stream, now);
                refreshed
            }
            Kind::Unconnected(_) | Kind::Listening { .. } => Ok(0),
            kind => match kind.datagram_mut() {
                Some(datagram) => datagram.recv.refresh(&mut client.lane),
                None => Ok(0),
            },
        };
        match refreshed {
            Ok(_) => self.after_event(id, tcp::Events::default(), now),
            Err(what) => self.client_misbehaved(owner, Misbehaviour::Memory(what)),
        }
    }

    /// Nothing more is read from this client; the control plane disconnects it.
    pub(crate) fn client_misbehaved(&mut self, slot: Option<u16>, what: Misbehaviour) {
        let Some(slot) = slot else { return };
        let Some(client) = self.clients.find_mut(slot) else { return };
        if !client.misbehaved {
            client.misbehaved = true;
            self.events.send(Event::Misbehaved { client: slot, what });
        }
    }

    /// Runs what is due. `true`: something was.
    pub(crate) fn run_timers(&mut self, now: Instant) -> bool {
        let mut worked = false;
        for count in 0..TIMER_BUDGET {
            let Some((owner, name)) = self.timers.pop_due(now) else { break };
            worked = true;
            if count % TIMERS_AHEAD == 0 {
                self.fetch_timers(now);
            }
            match owner {
                Owner::Endpoint(Endpoint::Connection(index)) => self.socket_timer(index, name, now),
                Owner::Endpoint(Endpoint::HalfOpen(number)) => {
                    self.half_open_timer(number, name, now);
                }
                Owner::Endpoint(Endpoint::TimeWait(number)) => {
                    self.time_wait_timer(number, name, now);
                }
                Owner::Fragments => self.fragments_timeout(name, now),
                Owner::Neighbors if !self.out.neighbor_timer_fired(name) => {}
                Owner::Neighbors => {
                    let (dead, lost) = self.out.neighbor_timeout(now, &mut self.timers);
                    lost.iter().for_each(|(by, packet)| self.host_unreachable(packet, *by, now));
                    self.hops_are_dead(&dead);
                }
            }
        }
        worked
    }

    /// The connections whose timers fire next will be needed soon.
    fn fetch_timers(&self, now: Instant) {
        for owner in self.timers.upcoming(now).take(TIMERS_AHEAD) {
            if let Owner::Endpoint(Endpoint::Connection(number)) = owner {
                self.sockets.prefetch(number);
            }
        }
    }

    fn socket_timer(&mut self, index: u32, name: Fired, now: Instant) {
        let Some(id) = self.sockets.id(index) else { return };
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        if !stream.timer.fired(name) {
            return;
        }
        let deadline = stream.tcb.next_timeout();
        if deadline.is_none_or(|deadline| deadline > now) {
            // It has moved since it was put on the wheel, and that is all.
            let owner = Owner::Endpoint(Endpoint::Connection(index));
            return self.timers.arm(deadline, owner, &mut stream.timer);
        }
        let events = stream.tcb.timeout(now);
        let arrival = tcp::Arrival { events, ..tcp::Arrival::default() };
        self.apply(id, &arrival, now);
    }

    fn half_open_timer(&mut self, number: u32, name: Fired, now: Instant) {
        let Some(embryo) = self.flows.embryos.get_mut(number) else { return };
        if !embryo.timer.fired(name) {
            return;
        }
        let half_open = &mut embryo.half_open;
        if half_open.next_timeout() > now || half_open.timeout(now) {
            self.half_open_transmit(number, now);
        } else {
            self.drop_half_open(number);
        }
    }

    fn time_wait_timer(&mut self, number: u32, name: Fired, now: Instant) {
        let Some(remains) = self.flows.remains.get_mut(number) else { return };
        if !remains.timer.fired(name) {
            return;
        }
        let at = remains.time_wait.expires();
        if at > now {
            let owner = Owner::Endpoint(Endpoint::TimeWait(number));
            self.timers.arm(Some(at), owner, &mut remains.timer);
        } else {
            self.flows.remove_remains(number, &mut self.timers);
        }
    }

    /// Tells the descriptors of all sockets with news. `true`: there were some.
    pub(crate) fn signal_clients(&mut self) -> bool {
        if self.signals.is_empty() {
            return false;
        }
        let mut signals = core::mem::take(&mut self.signals);
        Lane::published();
        for id in signals.drain(..) {
            self.signal(id);
        }
        self.signals = signals;
        true
    }

    /// What there is to tell has been published before that of any of them is asked for.
    fn signal(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Some(descriptor) = &socket.descriptor else { return };
        let signal = core::mem::take(&mut socket.signal);
        let Some(slot) = socket.client else { return };
        // Whoever is told something answers soon.
        self.clients.enliven(slot);
        let Some(client) = self.clients.find_mut(slot) else { return };
        if signal.readable
            && client.lane.in_arm(socket.cell)
            && has_news(&socket.kind, socket.error.is_some(), &client.lane)
        {
            // A closed end is the control thread's business; it sees the hang-up.
            let _ = descriptor.send_token();
            client.lane.in_token_sent(socket.cell);
            self.counters.worker.tokens_sent.increment();
        }
        if signal.writable
            && has_room(&socket.kind, socket.options.send_buffer, socket.error.is_some())
            && client.lane.out_arm(socket.cell)
        {
            let _ = descriptor.drain();
            client.lane.out_drained(socket.cell);
        }
        if signal.urgent {
            descriptor.send_urgent();
        }
        if signal.hang_up {
            let over = is_gone(&socket.kind) && !descriptor.is_shut();
            if over {
                // Before the last token is in.
                client.add_status(socket.cell, Status::GONE);
            }
            // Without descriptors it is no worse than half closed.
            if let Some(last_close) = over.then(|| descriptor.last_close().ok()).flatten() {
                descriptor.hang_up();
                self.events.send(Event::Gone { client: slot, cell: socket.cell, last_close });
            } else {
                descriptor.end_of_input();
            }
        }
    }

    /// A listening socket is an ordinary one again; whoever waits in accept is woken and told so.
    pub(crate) fn stop_listening(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.find_mut(id) {
            socket.kind = Kind::Unconnected(Box::default());
        }
        self.wake_acceptors(id);
    }

    pub(crate) fn wake_acceptors(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Some(client) = self.clients.owner_mut(socket.client) else { return };
        client.lane.set_status(socket.cell, Status::empty());
        let Some(descriptor) = &socket.descriptor else { return };
        // Its user has stuffed it when it began to listen.
        let _ = descriptor.drain();
        if client.lane.in_armed(socket.cell) {
            let _ = descriptor.send_token();
            client.lane.in_token_sent(socket.cell);
            self.counters.worker.tokens_sent.increment();
        }
    }

    /// Marks a socket so that its descriptor is looked at when this breath ends.
    pub(crate) fn raise(&mut self, id: SocketId, signal: Signal) {
        if let Some(socket) = self.sockets.find_mut(id) {
            raise(socket, id, signal, &mut self.signals);
        }
    }

    /// A call is finished.
    pub(crate) fn done(&mut self, call: u64, result: Result<crate::command::Outcome, Errno>) {
        self.events.send(Event::Done { call, result });
    }
}

/// [`Worker::raise`] for a socket that was looked up already.
#[inline]
pub(crate) fn raise(
    socket: &mut Socket,
    id: SocketId,
    signal: Signal,
    signals: &mut Vec<SocketId>,
) {
    if socket.signal.is_empty() {
        signals.push(id);
    }
    socket.signal.readable |= signal.readable;
    socket.signal.writable |= signal.writable;
    socket.signal.hang_up |= signal.hang_up;
    socket.signal.urgent |= signal.urgent;
}

/// Both sides have closed, and the peer has acknowledged it; or there is no connection any more.
fn is_gone(kind: &Kind) -> bool {
    match kind {
        Kind::Stream(stream) => {
            matches!(stream.tcb.state(), tcp::State::TimeWait | tcp::State::Closed)
        }
        Kind::ModuleStream(stream) => stream.is_gone(),
        _ => false,
    }
}

fn has_news(kind: &Kind, failed: bool, lane: &Lane) -> bool {
    match kind {
        Kind::Stream(stream) => {
            !stream.recv.is_read(lane) || stream.tcb.state() == tcp::State::Closed
        }
        Kind::Datagram(datagram) => !datagram.recv.is_read(lane) || failed,
        Kind::Module(module) => !module.datagram.recv.is_read(lane) || failed,
        Kind::ModuleStream(stream) => stream.has_news(lane),
        Kind::Raw(raw) => !raw.datagram.recv.is_read(lane) || failed,
        Kind::Listening { waiting } => *waiting,
        Kind::Unconnected(_) => false,
    }
}

/// As Linux's: a third of the buffer is free. A connection attempt is writable when it is over.
fn has_room(kind: &Kind, send_buffer: u32, failed: bool) -> bool {
    match kind {
        Kind::Stream(_) if failed => true,
        Kind::Stream(stream) => {
            (stream.tcb.state() != tcp::State::SynSent || stream.tcb.holds_syn())
                && has_free_third(stream, send_buffer)
                && stream.tcb.wants_text()
        }
        Kind::ModuleStream(stream) => stream.has_room(send_buffer),
        Kind::Datagram(_) | Kind::Module(_) | Kind::Raw(_) => true,
        Kind::Unconnected(_) | Kind::Listening { .. } => false,
    }
}

/// Room enough to call the socket writable.
pub(crate) fn has_free_third(stream: &Stream, send_buffer: u32) -> bool {
    stream.send.len() <= send_buffer - send_buffer / 3
}
