//! What the segments of a burst, or another event, did to a connection, carried out once: the user is shown
//! what has come, told of it, and the connection gets its turn to send and its timer. What happens only once or
//! twice in its life comes after that.

use std::collections::VecDeque;

use rustix::io::Errno;
use shm::{Lane, Status};
use tcp::{Arrival, ConnectionError, Events, State, TimeWait};
use types::Instant;

use crate::attend::{has_free_third, raise};
use crate::command::Misbehaviour;
use crate::flow::Flow;
use crate::flows::Remains;
use crate::limits::TIME_WAIT_MAX;
use crate::send_queue::Spare;
use crate::socket::{Kind, Signal, Socket, SocketId, Stream};
use crate::timer_wheel::{Endpoint, Owner, Timer, Timers};
use crate::worker::Worker;

/// What of the worker an event at a connection changes.
struct Lists<'a> {
    signals: &'a mut Vec<SocketId>,
    ready: &'a mut VecDeque<SocketId>,
    timers: &'a mut Timers,
    spare_queues: &'a mut Spare,
    orphan_bytes: &'a mut usize,
}

impl Stream {
    /// Segments of it were taken: it is settled when the burst is over, or before if one of them was not routine.
    #[inline]
    pub(crate) fn touch(&mut self, id: SocketId, touched: &mut Vec<SocketId>) {
        if !core::mem::replace(&mut self.touched, true) {
            touched.push(id);
        }
    }

    /// It gets its turn if it has something to send, and its timer is set.
    #[inline]
    fn schedule(&mut self, id: SocketId, ready: &mut VecDeque<SocketId>, timers: &mut Timers) {
        if !self.ready && self.tcb.wants_transmit() {
            self.ready = true;
            ready.push_back(id);
        }
        let owner = Owner::Endpoint(Endpoint::Connection(id.index));
        timers.arm(self.tcb.next_timeout(), owner, &mut self.timer);
    }
}

impl Socket {
    /// Acknowledged text leaves, and the user is told of room and text. `false`: there is more to an event
    /// than that.
    fn carry_out(
        &mut self,
        id: SocketId,
        lane: Option<&mut Lane>,
        arrival: &Arrival,
        lists: Lists<'_>,
        now: Instant,
    ) -> bool {
        let Lists { signals, ready, timers, spare_queues, orphan_bytes } = lists;
        let Kind::Stream(stream) = &mut self.kind else { return true };
        let mut signal = self.signal;
        if arrival.acked_len > 0 {
            let private_len = stream.send.private_len();
            stream.send.release(arrival.acked_len, spare_queues);
            // The memory of an orphan goes with its last byte.
            let freed_len = private_len.saturating_sub(stream.send.private_len());
            *orphan_bytes = orphan_bytes.saturating_sub(freed_len);
            let grows = self.options.grow_send_buffer(&stream.tcb);
            if has_free_third(stream, self.options.send_buffer) {
                stream.tcb.user_waits(false, now);
            }
            if let Some(lane) = lane {
                if grows || stream.tcb.limits_unsent() {
                    let limit = stream.tcb.send_limit(self.options.send_buffer);
                    lane.set_send_buffer(self.cell, limit);
                }
                lane.set_tx_released(self.cell, stream.send.released());
            }
            signal.writable = true;
        }
        if arrival.delivered_len > 0 {
            signal.readable = true;
            self.options.grow_receive_buffer(stream, now);
        }
        if self.signal.is_empty() && !signal.is_empty() {
            signals.push(id);
        }
        self.signal = signal;
        let routine =
            Events::ROUTINE.contains(arrival.events) && stream.tcb.state() != State::Closed;
        if routine {
            stream.schedule(id, ready, timers);
        }
        routine
    }
}

impl Worker {
    /// The burst is over: what its segments did to each connection is carried out once.
    pub(crate) fn settle_touched(&mut self, now: Instant) {
        if self.touched.is_empty() {
            return;
        }
        let mut touched = core::mem::take(&mut self.touched);
        for id in touched.drain(..) {
            self.settle(id, Events::NONE, now);
        }
        self.touched = touched;
    }

    /// Shows the client what has arrived, and does what the segments since the last call ask for.
    pub(crate) fn settle(&mut self, id: SocketId, events: Events, now: Instant) {
        let Self { sockets, clients, signals, ready, timers, spare_queues, orphan_bytes, .. } =
            self;
        let Some(socket) = sockets.find_mut(id) else { return };
        let owner = socket.client;
        let Kind::Stream(stream) = &mut socket.kind else { return };
        stream.touched = false;
        let acked_len = core::mem::take(&mut stream.acked_len);
        let delivered_len = u32::from(core::mem::take(&mut stream.delivered));
        let arrival = Arrival { drop: None, acked_len, delivered_len, events };
        let (mut misbehaved, mut short) = (None, false);
        let mut client = clients.owner_mut(owner);
        if let Some(client) = &mut client {
            misbehaved = stream.recv.show(&mut client.lane).err();
            short = client.is_short_of_blocks();
            if client.lane.borrows() {
                let over_quota = client.lane.loans_refused();
                self.counters.loans.over_quota.add(over_quota.into());
                if let Some(lender) = self.lender.as_mut().filter(|_| over_quota > 0) {
                    lender.want();
                }
            }
        }
        if misbehaved.is_none() && !short {
            let lane = client.map(|client| &mut client.lane);
            let lists = Lists { signals, ready, timers, spare_queues, orphan_bytes };
            if !socket.carry_out(id, lane, &arrival, lists, now) {
                self.apply_rare(id, events, now);
            }
            return;
        }
        if let Some(what) = misbehaved {
            self.client_misbehaved(owner, Misbehaviour::Memory(what));
        }
        if short {
            self.sweep_blocks(owner);
        }
        self.apply(id, &arrival, now);
    }

    /// Takes back what quiet sockets of a client hold though it has been read: nothing else tells the
    /// worker of it before their next event. A client that lies is found out at that one.
    #[cold]
    pub(crate) fn sweep_blocks(&mut self, owner: Option<u16>) {
        let Some(client) = self.clients.owner_mut(owner) else { return };
        for number in client.sweep() {
            let Some(id) = self.sockets.id(number) else { continue };
            // One that sleeps holds none, and is left to sleep.
            if self.sockets.find(id).is_none() {
                continue;
            }
            let Some(stream) = self.sockets.stream_mut(id) else { continue };
            if stream.recv.unread() > 0 {
                let _ = stream.recv.refresh(&mut client.lane);
            }
        }
    }

    /// Carries out what an event at a connection asks for.
    pub(crate) fn apply(&mut self, id: SocketId, arrival: &Arrival, now: Instant) {
        let Self { sockets, clients, signals, ready, timers, spare_queues, orphan_bytes, .. } =
            self;
        let Some(socket) = sockets.find_mut(id) else { return };
        let lane = clients.owner_mut(socket.client).map(|client| &mut client.lane);
        let lists = Lists { signals, ready, timers, spare_queues, orphan_bytes };
        if !socket.carry_out(id, lane, arrival, lists, now) {
            self.apply_rare(id, arrival.events, now);
        }
    }

    /// The same of what happens once or twice in a connection's life.
    fn apply_rare(&mut self, id: SocketId, events: Events, now: Instant) {
        self.tell_events(id, events);
        self.count_events(events);
        if events.intersects(Events::ESTABLISHED | Events::CLOSED) {
            self.fast_open_proven(id, events.contains(Events::RESET).then_some(now));
            self.fast_open_lesson(id, now);
        }
        self.after_event(id, events, now);
    }

    /// The client is told what has become of its connection.
    fn tell_events(&mut self, id: SocketId, events: Events) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let mut client = self.clients.owner_mut(socket.client);
        let mut signal = Signal::default();
        if events.contains(Events::ESTABLISHED) {
            signal.writable = true;
            if let Some(client) = &client {
                client.lane.set_status(socket.cell, Status::CONNECTED);
            }
        }
        signal.urgent = events.contains(Events::URGENT);
        if events.contains(Events::FIN_RECEIVED) {
            signal.readable = true;
            signal.hang_up = true;
            if let Some(client) = &client {
                client.add_status(socket.cell, Status::EOF);
            }
        }
        if let Some(errno) = errno_of(events) {
            socket.error = Some(errno);
            signal = Signal { readable: true, writable: true, hang_up: true, ..signal };
            if let Some(client) = &mut client {
                client.set_error(socket.cell, errno);
                client.add_status(socket.cell, Status::CLOSED);
            }
        }
        if !signal.is_empty() {
            raise(socket, id, signal, &mut self.signals);
        }
    }

    fn count_events(&self, events: Events) {
        if events.contains(Events::RESET) || events.contains(Events::REFUSED) {
            self.counters.tcp.resets_received.increment();
        }
        if events.contains(Events::TIMED_OUT) {
            self.counters.tcp.timeouts.increment();
        }
    }

    /// Output, timers and the end of the endpoint.
    pub(crate) fn after_event(&mut self, id: SocketId, events: Events, now: Instant) {
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        stream.schedule(id, &mut self.ready, &mut self.timers);
        if events.contains(Events::TIME_WAIT) {
            let (flow, time_wait) = (stream.flow, TimeWait::new(&stream.tcb, now));
            // The acknowledgement of the peer's FIN goes out before the block is let go.
            let _ = self.transmit_stream(id, now);
            self.enter_time_wait(flow, time_wait);
            self.endpoint_gone(id);
        } else if stream.tcb.state() == State::Closed {
            let flow = stream.flow;
            // A reset may be what is left to send.
            let _ = self.transmit_stream(id, now);
            let _ = self.flows.remove_connection(&flow, id);
            self.endpoint_gone(id);
        }
    }

    /// What is left of a connection takes its place.
    fn enter_time_wait(&mut self, flow: Flow, time_wait: TimeWait) {
        let at = time_wait.expires();
        let remains = Remains { time_wait, flow, timer: Timer::default() };
        if self.flows.evict_remains(TIME_WAIT_MAX, &mut self.timers) {
            self.counters.tcp.time_wait_evicted.increment();
        }
        // The place of the connection is there.
        let Ok(number) = self.flows.add_remains(remains, &self.sockets) else { return };
        if let Some(remains) = self.flows.remains.get_mut(number) {
            let owner = Owner::Endpoint(Endpoint::TimeWait(number));
            self.timers.arm(Some(at), owner, &mut remains.timer);
        }
    }

    /// The connection has ended; the socket goes too unless its user still holds it.
    fn endpoint_gone(&mut self, id: SocketId) {
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        if stream.closed {
            self.free_socket(id);
        } else {
            self.raise(id, Signal { hang_up: true, ..Signal::default() });
        }
    }
}

fn errno_of(events: Events) -> Option<Errno> {
    events.error().map(|error| match error {
        ConnectionError::Refused => Errno::CONNREFUSED,
        ConnectionError::Reset => Errno::CONNRESET,
        ConnectionError::TimedOut => Errno::TIMEDOUT,
    })
}
