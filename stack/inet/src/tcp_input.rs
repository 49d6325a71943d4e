//! From a TCP segment to its endpoint, and what the endpoint's answer means for the socket.

use std::collections::VecDeque;

use dpdk::Mbuf;
use rustix::io::Errno;
use shm::{Lane, Status, StreamProducer};
use tcp::{
    Arrival, Events, Flags, RecvBuffer, SegmentIn, SegmentOut, State, TimeWait, TimeWaitVerdict,
};
use types::{DropReason, FlowKey, Instant};

use crate::attend::{has_free_third, raise};
use crate::command::Misbehaviour;
use crate::device::Device;
use crate::flow::Flow;
use crate::flows::Remains;
use crate::input::Received;
use crate::lender::Lender;
use crate::limits::{TIME_WAIT_MAX, WINDOW_SCALE};
use crate::network::{Destination, LOOPBACK};
use crate::socket::{Kind, Signal, SocketId, Stream};
use crate::steer;
use crate::tcp_output::Way;
use crate::timer_wheel::{Endpoint, Owner, Timer, Timers};
use crate::worker::Worker;

/// A stream's receive side as the engine sees it: blocks in the client's memory, or nothing any
/// more when the client is gone.
pub(crate) struct Text<'a> {
    /// The queue.
    pub(crate) recv: &'a mut StreamProducer,
    /// The client's memory.
    pub(crate) lane: Option<&'a mut Lane>,
    /// The user has shut the receive side down: take and forget.
    pub(crate) deaf: bool,
    /// Who lends the packets at hand to the client, if it may borrow.
    pub(crate) lender: Option<&'a mut Lender>,
}

impl RecvBuffer for Text<'_> {
    fn window(&self) -> u32 {
        match self.lane {
            Some(_) => self.recv.window(),
            None => u32::from(u16::MAX),
        }
    }

    fn write(&mut self, offset: u32, text: &[u8]) -> u32 {
        self.write_all(offset, &[text])
    }

    fn write_all(&mut self, offset: u32, texts: &[&[u8]]) -> u32 {
        match &mut self.lane {
            Some(lane) if !self.deaf => match &mut self.lender {
                Some(lender) if offset == 0 => lender.store(self.recv, lane, texts),
                _ => self.recv.write_all(lane, offset, texts),
            },
            _ => {
                let len = texts.iter().fold(0_usize, |sum, text| sum.saturating_add(text.len()));
                u32::try_from(len).unwrap_or(u32::MAX)
            }
        }
    }

    /// The client is shown what has come when the burst is over.
    fn advance(&mut self, len: u32) {
        if self.lane.is_some() && !self.deaf {
            self.recv.publish(len);
        }
    }

    fn mark_urgent(&mut self, offset: u32) {
        if let Some(lane) = &mut self.lane {
            self.recv.mark_urgent(lane, offset);
        }
    }
}

/// What became of a train.
pub(crate) struct Train {
    /// How many of its segments were taken: the first, and those behind it that are routine.
    pub(crate) taken: usize,
    /// Why the first was dropped.
    pub(crate) drop: Option<DropReason>,
    /// What they did.
    pub(crate) events: Events,
}

impl Stream {
    /// A segment and those behind it that differ only in their `texts`.
    pub(crate) fn train(
        &mut self,
        (lane, lender): (Option<&mut Lane>, Option<&mut Lender>),
        head: &SegmentIn<'_>,
        texts: &[&[u8]],
        now: Instant,
    ) -> Train {
        let mut text = Text { recv: &mut self.recv, lane, deaf: self.deaf, lender };
        let mut arrival = self.tcb.segment_arrives(head, now, &mut text);
        let mut taken = 1_usize;
        if !texts.is_empty() && Events::ROUTINE.contains(arrival.events) {
            let behind = self.tcb.train_arrives(head, texts, now, &mut text, &mut arrival);
            taken = taken.saturating_add(behind);
        }
        self.acked_len = self.acked_len.saturating_add(arrival.acked_len);
        self.delivered |= arrival.delivered_len > 0;
        Train { taken, drop: arrival.drop, events: arrival.events }
    }

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

impl Worker {
    pub(crate) fn tcp_input(
        &mut self,
        mbuf: Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        if received.to != Destination::Local {
            return Err(DropReason::TcpAddress);
        }
        let bytes = received.segment(&mbuf).ok_or(DropReason::TcpTooShort)?;
        let parsed = wire::tcp::Segment::parse(bytes)?;
        if !received.verified && received.interface != LOOPBACK {
            parsed.verify(received.source, received.destination)?;
        }
        let key = FlowKey {
            local_addr: received.destination,
            remote_addr: received.source,
            local_port: parsed.header.dst_port.get(),
            remote_port: parsed.header.src_port.get(),
        };
        let flow = self.flows.hold(&key, received.interface).ok_or(DropReason::TcpTableFull)?;
        let endpoint = self.flows.find(&flow, &self.sockets);
        if self.mesh.workers() > 1 && endpoint.is_none() {
            let owner = steer::owner(&key, self.mesh.workers());
            if owner != self.mesh.me {
                self.flows.let_go(&flow);
                return self.hand_over(mbuf, received, owner);
            }
        }
        self.counters.tcp.segments_received.increment();
        let segment = SegmentIn {
            seq: tcp::SeqNum::new(parsed.header.seq.get()),
            ack: tcp::SeqNum::new(parsed.header.ack.get()),
            flags: Flags::from_bits(parsed.flags()),
            window: parsed.header.window.get(),
            urgent: parsed.header.urgent.get(),
            ecn: tcp::Codepoint::from_tos(received.tos),
            options: tcp::Options::parse(parsed.options),
            text: parsed.text,
        };
        if let Some(lender) = &mut self.lender {
            lender.look_at(core::slice::from_ref(&mbuf));
        }
        let result = self.tcp_segment((&flow, received.interface), endpoint, &segment, now);
        self.flows.let_go(&flow);
        self.finish(mbuf);
        result
    }

    fn tcp_segment(
        &mut self,
        (flow, interface): (&Flow, u16),
        endpoint: Option<Endpoint>,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        match endpoint {
            Some(Endpoint::Connection(index)) => {
                let id = self.sockets.id(index).ok_or(DropReason::TcpNoListener)?;
                self.connection_segment(id, segment, now)
            }
            Some(Endpoint::HalfOpen(number)) => {
                let embryo = self.flows.embryos.get_mut(number).ok_or(DropReason::TcpNoListener)?;
                let verdict = embryo.half_open.segment_arrives(segment, now);
                self.half_open_verdict(number, verdict, segment, now)
            }
            Some(Endpoint::TimeWait(number)) => {
                let remains = self.flows.remains.get_mut(number);
                let remains = remains.ok_or(DropReason::TcpNoListener)?;
                let verdict = remains.time_wait.segment_arrives(segment, now);
                self.time_wait_verdict((flow, interface), number, verdict, segment, now)
            }
            None => self.listener_segment(flow, interface, segment, now),
        }
    }

    fn time_wait_verdict(
        &mut self,
        (flow, interface): (&Flow, u16),
        number: u32,
        verdict: TimeWaitVerdict,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        match verdict {
            TimeWaitVerdict::Acknowledge(ack) => {
                self.send_segment(flow, &ack, now);
                Ok(())
            }
            TimeWaitVerdict::Reopen(beyond) => {
                self.flows.remove_remains(number, &mut self.timers);
                let (local, hash) = (self.flows.local(flow), self.flows.hash(flow));
                let listener = self.listeners.find(local, interface, hash);
                match listener.filter(|id| self.listeners.has_room(*id)) {
                    Some(listener) => self.passive_open(flow, listener, segment, Some(beyond), now),
                    None => self.listener_segment(flow, interface, segment, now),
                }
            }
            TimeWaitVerdict::Drop(reason) => Err(reason),
        }
    }

    pub(crate) fn connection_segment(
        &mut self,
        id: SocketId,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let gone = DropReason::TcpNoListener;
        let socket = self.sockets.find_mut(id).ok_or(gone)?;
        let Kind::Stream(stream) = &mut socket.kind else { return Err(gone) };
        let lane = self.clients.owner_mut(socket.client).map(|client| &mut client.lane);
        let lender = self.lender.as_deref_mut();
        let lender = lender.and_then(|l| l.for_reader(socket.client, lane.as_deref()));
        let train = stream.train((lane, lender), segment, &[], now);
        stream.touch(id, &mut self.touched);
        if !Events::ROUTINE.contains(train.events) {
            self.settle(id, train.events, now);
        }
        train.drop.map_or(Ok(()), Err)
    }

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
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let owner = socket.client;
        let Kind::Stream(stream) = &mut socket.kind else { return };
        stream.touched = false;
        let acked_len = core::mem::take(&mut stream.acked_len);
        let delivered_len = u32::from(core::mem::take(&mut stream.delivered));
        let mut misbehaved = None;
        let mut short = false;
        if let Some(client) = self.clients.owner_mut(owner) {
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
        if let Some(what) = misbehaved {
            self.client_misbehaved(owner, Misbehaviour::Memory(what));
        }
        if short {
            self.sweep_blocks(owner);
        }
        self.apply(id, &Arrival { drop: None, acked_len, delivered_len, events }, now);
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
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Kind::Stream(stream) = &mut socket.kind else { return };
        let client = self.clients.owner_mut(socket.client);
        let mut signal = socket.signal;
        if arrival.acked_len > 0 {
            let private_len = stream.send.private_len();
            stream.send.release(arrival.acked_len, &mut self.spare_queues);
            // The memory of an orphan goes with its last byte.
            let freed_len = private_len.saturating_sub(stream.send.private_len());
            self.orphan_bytes = self.orphan_bytes.saturating_sub(freed_len);
            let grows = socket.options.grow_send_buffer(&stream.tcb);
            if has_free_third(stream, socket.options.send_buffer) {
                stream.tcb.user_waits(false, now);
            }
            if let Some(client) = &client {
                if grows || stream.tcb.limits_unsent() {
                    let limit = stream.tcb.send_limit(socket.options.send_buffer);
                    client.lane.set_send_buffer(socket.cell, limit);
                }
                client.lane.set_tx_released(socket.cell, stream.send.released());
            }
            signal.writable = true;
        }
        if arrival.delivered_len > 0 {
            signal.readable = true;
            socket.options.grow_receive_buffer(stream, now);
        }
        if socket.signal.is_empty() && !signal.is_empty() {
            self.signals.push(id);
        }
        socket.signal = signal;
        let events = arrival.events;
        if Events::ROUTINE.contains(events) && stream.tcb.state() != State::Closed {
            return stream.schedule(id, &mut self.ready, &mut self.timers);
        }
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

    /// ICMP says that the peer can't be reached. Only a connection attempt gives up (RFC 5927 5.2),
    /// and only over a SYN that it has sent (RFC 5927 4.1).
    pub(crate) fn tcp_unreachable(
        &mut self,
        flow: &Flow,
        sequence: u32,
        errno: Errno,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(Endpoint::Connection(index)) = self.flows.find(flow, &self.sockets) else {
            return Err(DropReason::IcmpQuoted);
        };
        let id = self.sockets.id(index).ok_or(DropReason::IcmpQuoted)?;
        let stream = self.sockets.stream_mut(id).ok_or(DropReason::IcmpQuoted)?;
        if !stream.tcb.is_in_flight(tcp::SeqNum::new(sequence)) {
            return Err(DropReason::IcmpQuoted);
        }
        if stream.tcb.state() != State::SynSent {
            return Ok(());
        }
        self.fail_stream(id, errno, now);
        Ok(())
    }

    /// Ends a connection attempt with an error for its user.
    pub(crate) fn fail_stream(&mut self, id: SocketId, errno: Errno, now: Instant) {
        let Some(stream) = self.sockets.stream_mut(id) else { return };
        stream.tcb.abort();
        self.set_error(id, errno);
        self.after_event(id, Events::default(), now);
    }

    /// A pending error: for the call that comes next, and for whoever sleeps on the descriptor.
    pub(crate) fn set_error(&mut self, id: SocketId, errno: Errno) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        socket.error = Some(errno);
        let first = socket.signal.is_empty();
        socket.signal =
            Signal { readable: true, writable: true, hang_up: true, ..Signal::default() };
        if let Some(client) = self.clients.owner_mut(socket.client) {
            client.set_error(socket.cell, errno);
            client.add_status(socket.cell, Status::CLOSED);
        }
        if first {
            self.signals.push(id);
        }
    }

    /// A router says what fits (RFC 1191); believed only about bytes in flight (RFC 5927 7).
    pub(crate) fn tcp_path_mtu(
        &mut self,
        flow: &Flow,
        sequence: u32,
        mtu: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(Endpoint::Connection(index)) = self.flows.find(flow, &self.sockets) else {
            return Err(DropReason::IcmpQuoted);
        };
        let id = self.sockets.id(index).ok_or(DropReason::IcmpQuoted)?;
        let stream = self.sockets.stream_mut(id).ok_or(DropReason::IcmpQuoted)?;
        let mss = mtu.saturating_sub(headers_len(flow));
        if !stream.tcb.path_mtu(mss, tcp::SeqNum::new(sequence), now) {
            return Err(DropReason::IcmpQuoted);
        }
        self.after_event(id, Events::default(), now);
        Ok(())
    }

    /// The engine's parameters for a connection over the way to its peer.
    pub(crate) fn stream_config(&mut self, device: Device, flow: &Flow) -> tcp::Config {
        let mtu = match flow.pair() {
            None => self.route_of(device, flow).ok().map(|hop| hop.mtu),
            Some(_) => self.way6_from(device, flow).map(|(_, hop)| hop.mtu),
        };
        let settings = &self.out.network.tcp;
        let (mss_default, mss_floor) = mss_limits(flow, settings.mss_floor);
        tcp::Config {
            mss: mtu.unwrap_or(1500).saturating_sub(headers_len(flow)),
            mss_default,
            mss_floor,
            ecn: settings.ecn,
            pacing: settings.pacing,
            window_scale: WINDOW_SCALE,
            timestamps: settings.timestamps,
            sack: settings.sack,
            timestamp_offset: tcp::isn::timestamp_offset(&self.secret, &self.flows.key(flow)),
            ..tcp::Config::default()
        }
    }

    /// Sends a segment that carries no text.
    pub(crate) fn send_segment(&mut self, flow: &Flow, segment: &SegmentOut, now: Instant) {
        self.send_segment_by(Device::ANY, flow, segment, now);
    }

    /// The same for a socket that may be bound to an interface.
    pub(crate) fn send_segment_by(
        &mut self,
        device: Device,
        flow: &Flow,
        segment: &SegmentOut,
        now: Instant,
    ) {
        let options = &crate::option::Options::default();
        if flow.pair().is_some() {
            let Some((hosts, hop)) = self.way6_from(device, flow) else {
                return self.out.count_drop(DropReason::Ipv6NoRoute);
            };
            let way = Way { flow, hosts, hop: &hop, options };
            return self.out.bare_segment(&way, segment, now, &mut self.timers);
        }
        let Ok(hop) = self.route_of(device, flow) else {
            return self.out.count_drop(DropReason::Ipv4NoRoute);
        };
        let way = Way { flow, hosts: (flow.local_addr, flow.remote_addr), hop: &hop, options };
        self.out.bare_segment(&way, segment, now, &mut self.timers);
    }
}

fn errno_of(events: Events) -> Option<Errno> {
    if events.contains(Events::REFUSED) {
        Some(Errno::CONNREFUSED)
    } else if events.contains(Events::RESET) {
        Some(Errno::CONNRESET)
    } else if events.contains(Events::TIMED_OUT) {
        Some(Errno::TIMEDOUT)
    } else {
        None
    }
}

/// Bytes of IP and TCP headers without options.
fn headers_len(flow: &Flow) -> u16 {
    match flow.pair() {
        None => 40,
        Some(_) => 60,
    }
}

/// The MSS of a peer that says nothing, and the one below which none counts. Every link takes IPv6
/// packets of 1280 bytes (RFC 8200 5), and an operator who has lowered IPv4's floor means both.
fn mss_limits(flow: &Flow, floor: u16) -> (u16, u16) {
    const MSS: u16 = 1280 - 60;
    let ipv4 = tcp::limits::MSS_FLOOR;
    match flow.pair() {
        None => (tcp::limits::MSS_DEFAULT, floor),
        Some(_) if floor < ipv4 => (MSS, floor),
        Some(_) => (MSS, floor.max(MSS)),
    }
}
