//! From a TCP segment to its endpoint.

use dpdk::Mbuf;
use rustix::io::Errno;
use shm::{Lane, Status, StreamProducer};
use tcp::{Events, Flags, RecvBuffer, SegmentIn, SegmentOut, State, TimeWaitVerdict};
use types::{DropReason, FlowKey, Instant};

use crate::device::Device;
use crate::flow::Flow;
use crate::input::Received;
use crate::lender::Lender;
use crate::limits::WINDOW_SCALE;
use crate::network::{Destination, LOOPBACK};
use crate::socket::{Kind, Signal, SocketId, Stream};
use crate::steer;
use crate::tcp_output::Way;
use crate::timer_wheel::Endpoint;
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
