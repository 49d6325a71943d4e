//! Passive opens: from a SYN at a listener to a connection that waits to be accepted.
//!
//! ```text
//!   SYN ─┬─▶ HalfOpen in the flow table ──ACK──┬─▶ Connection, accept queue
//!        └─▶ SYN-ACK with a cookie ─────ACK────┘
//! ```

use core::net::SocketAddr;
use std::sync::Arc;

use shm::{SocketEnd, Status, StreamProducer};
use tcp::{
    Arrival, HalfOpen, HalfOpenVerdict, ListenVerdict, SegmentIn, SegmentOut, SynCookie,
    SynCookies, Tcb,
};
use types::{DropReason, Instant};

use crate::command::{Event, ListenerId, SocketOption};
use crate::flow::Flow;
use crate::flows::Embryo;
use crate::limits::HALF_OPEN_TOTAL_MAX;
use crate::option::{Inherited, Options};
use crate::socket::{Kind, Signal, Socket, SocketId, Stream};
use crate::tcp_input::Text;
use crate::timer_wheel::{Endpoint, Owner, Timer};
use crate::worker::Worker;

impl Worker {
    /// Lets connections in, or changes how many may wait.
    pub(crate) fn listen(
        &mut self,
        listener: ListenerId,
        client: u16,
        local: SocketAddr,
        backlog: u32,
        options: Vec<SocketOption>,
    ) {
        let mut inherited = Inherited::default();
        options.into_iter().for_each(|option| inherited.set(option));
        // An address of a link is one host's wherever it listens.
        let local = SocketAddr::new(local.ip(), local.port());
        let _ = self.listeners.insert(listener, client, local, backlog, inherited);
        if let Some(entry) = self.listeners.get_mut(listener) {
            entry.engine.set_syn_cookies(self.out.network.tcp.syn_cookies);
        }
    }

    /// LISTEN, or no endpoint at all (RFC 9293 3.10.7.1 and 3.10.7.2).
    pub(crate) fn listener_segment(
        &mut self,
        flow: &Flow,
        interface: u16,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (local, hash) = (self.flows.local(flow), self.flows.hash(flow));
        let found = self.listeners.find(local, interface, hash);
        let entry = found.and_then(|id| Some((id, self.listeners.get_mut(id)?)));
        let Some((listener, entry)) = entry else {
            let reset = tcp::closed_reply(segment);
            return self.refuse(flow, reset, DropReason::TcpNoListener, now);
        };
        match entry.engine.segment_arrives(segment, now) {
            ListenVerdict::Open | ListenVerdict::Cookie
                if self.may_fast_open(flow, listener, segment, now) =>
            {
                self.fast_open(flow, listener, segment, now)
            }
            ListenVerdict::Open if self.flows.embryos.len() < HALF_OPEN_TOTAL_MAX => {
                self.passive_open(flow, listener, segment, None, now)
            }
            ListenVerdict::Open if self.out.network.tcp.syn_cookies == SynCookies::Off => {
                self.counters.tcp.listen_overflows.increment();
                Err(DropReason::TcpListenOverflow)
            }
            ListenVerdict::Open | ListenVerdict::Cookie => {
                self.send_cookie(flow, listener, segment, now)
            }
            ListenVerdict::Validate(reset) => {
                self.cookie_segment(flow, listener, segment, reset, now)
            }
            ListenVerdict::Reset(reset) => {
                self.refuse(flow, Some(reset), DropReason::TcpNoListener, now)
            }
            ListenVerdict::Drop(reason) => {
                if reason == DropReason::TcpListenOverflow {
                    self.counters.tcp.listen_overflows.increment();
                }
                Err(reason)
            }
        }
    }

    /// Answers with RST, within the limit for segments of strangers.
    fn refuse(
        &mut self,
        flow: &Flow,
        reset: Option<SegmentOut>,
        reason: DropReason,
        now: Instant,
    ) -> Result<(), DropReason> {
        if let Some(reset) = reset {
            self.reset_stranger(flow, &reset, now);
        }
        Err(reason)
    }

    /// A RST for somebody who has proven nothing yet, if his group of addresses has not had enough.
    fn reset_stranger(&mut self, flow: &Flow, reset: &SegmentOut, now: Instant) {
        if self.resets.permit(self.flows.key(flow).remote_addr, now) {
            self.send_segment(flow, reset, now);
        } else {
            self.counters.tcp.resets_withheld.increment();
        }
    }

    /// A SYN that has passed the listener: an entry of 64 bytes remembers it.
    pub(crate) fn passive_open(
        &mut self,
        flow: &Flow,
        listener: ListenerId,
        syn: &SegmentIn<'_>,
        beyond: Option<tcp::SeqNum>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let mut config = self.stream_config(self.listeners.device_of(listener), flow);
        let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
        entry.inherited.preset.configure(&mut config);
        let iss = tcp::isn::initial_sequence(&self.secret, &self.flows.key(flow), now);
        // A connection that replaces one in TIME-WAIT begins beyond it (RFC 6191).
        let iss = beyond.map_or(iss, |beyond| iss.later(beyond));
        let half_open =
            HalfOpen::new(syn, &config, iss, offered_window(&entry.inherited.socket), now);
        let timer = Timer::default();
        let embryo = Embryo { half_open, flow: *flow, listener, blocked: false, timer };
        let number = self.flows.add_embryo(embryo, &self.sockets)?;
        entry.engine.opened();
        self.counters.tcp.passive_opens.increment();
        self.half_open_transmit(number, now);
        Ok(())
    }

    /// A SYN with a valid Fast Open cookie: the connection waits to be accepted, text and all.
    fn fast_open(
        &mut self,
        flow: &Flow,
        listener: ListenerId,
        syn: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let iss = tcp::isn::initial_sequence(&self.secret, &self.flows.key(flow), now);
        let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
        let window = offered_window(&entry.inherited.socket);
        let made = self.new_connection(flow, listener, now, |config, text| {
            HalfOpen::new(syn, config, iss, window, now).into_fast_open(syn, config, now, text)
        });
        match made {
            Ok((id, arrival)) => {
                self.counters.tcp.passive_opens.increment();
                self.counters.tcp.fast_opens_received.increment();
                let _ = self.fast_open.unproven.insert(id, listener);
                if let Some(stream) = self.sockets.stream_mut(id) {
                    stream.delivered = arrival.delivered_len > 0;
                }
                self.settle(id, arrival.events, now);
                Ok(())
            }
            Err(reason) => {
                if let Some(entry) = self.listeners.get_mut(listener) {
                    entry.engine.fast_open_ended();
                }
                self.leave_listener(listener, now);
                Err(reason)
            }
        }
    }

    /// Too many connections are half-open: the peer has to remember this one (RFC 4987 3.6).
    fn send_cookie(
        &mut self,
        flow: &Flow,
        listener: ListenerId,
        syn: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let mut config = self.stream_config(self.listeners.device_of(listener), flow);
        let secret = self.secret;
        let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
        entry.inherited.preset.configure(&mut config);
        let rcv_wnd = offered_window(&entry.inherited.socket);
        entry.engine.cookie_sent(now);
        let answer =
            SynCookie { secret: &secret, flow: &self.flows.key(flow), config: &config, rcv_wnd }
                .syn_ack(syn, now);
        self.counters.tcp.syncookies_sent.increment();
        let device = self.listeners.device_of(listener);
        self.send_segment_by(device, flow, &answer, now);
        Ok(())
    }

    /// An ACK at a listener that has sent cookies of late.
    fn cookie_segment(
        &mut self,
        flow: &Flow,
        listener: ListenerId,
        segment: &SegmentIn<'_>,
        reset: SegmentOut,
        now: Instant,
    ) -> Result<(), DropReason> {
        let mut config = self.stream_config(self.listeners.device_of(listener), flow);
        let secret = self.secret;
        let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
        entry.inherited.preset.configure(&mut config);
        let rcv_wnd = offered_window(&entry.inherited.socket);
        let key = self.flows.key(flow);
        let cookie = SynCookie { secret: &secret, flow: &key, config: &config, rcv_wnd };
        let Some(half_open) = cookie.validate(segment, now) else {
            self.counters.tcp.syncookies_failed.increment();
            return self.refuse(flow, Some(reset), DropReason::TcpNoListener, now);
        };
        // Where the accept queue is full nothing is kept: the peer's next segment brings the cookie
        // again.
        let timer = Timer::default();
        let embryo = Embryo { half_open, flow: *flow, listener, blocked: true, timer };
        let number = self.flows.add_embryo(embryo, &self.sockets)?;
        entry.engine.opened();
        let result = self.establish(number, segment, now);
        self.drop_half_open(number);
        if result.is_ok() {
            self.counters.tcp.syncookies_validated.increment();
            self.counters.tcp.passive_opens.increment();
        }
        result
    }

    /// Sends what a half-open endpoint wants to send.
    pub(crate) fn half_open_transmit(&mut self, number: u32, now: Instant) {
        while let Some(embryo) = self.flows.embryos.get_mut(number)
            && let Some(mut segment) = embryo.half_open.poll_transmit(now)
        {
            let (flow, device) = (embryo.flow, self.listeners.device_of(embryo.listener));
            if embryo.half_open.wants_cookie() {
                segment.options.fast_open = Some(self.fast_open_cookie(&flow, now));
            }
            self.send_segment_by(device, &flow, &segment, now);
        }
        if let Some(embryo) = self.flows.embryos.get_mut(number) {
            let owner = Owner::Endpoint(Endpoint::HalfOpen(number));
            let at = embryo.half_open.next_timeout();
            self.timers.arm(Some(at), owner, &mut embryo.timer);
        }
    }

    pub(crate) fn half_open_verdict(
        &mut self,
        number: u32,
        verdict: HalfOpenVerdict,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        match verdict {
            HalfOpenVerdict::Established => self.establish(number, segment, now),
            HalfOpenVerdict::Deferred => Ok(()),
            HalfOpenVerdict::Retransmit => {
                self.half_open_transmit(number, now);
                Ok(())
            }
            HalfOpenVerdict::Drop(reason) => {
                self.half_open_transmit(number, now);
                Err(reason)
            }
            HalfOpenVerdict::Reset(reset) => {
                if let Some(flow) = self.flows.embryos.get(number).map(|embryo| embryo.flow) {
                    self.reset_stranger(&flow, &reset, now);
                }
                Err(DropReason::TcpAckUnacceptable)
            }
            HalfOpenVerdict::Closed => {
                self.drop_half_open(number);
                self.counters.tcp.resets_received.increment();
                Ok(())
            }
        }
    }

    /// A connection has left the accept queue. One that was refused gets its SYN-ACK again, so that
    /// its peer repeats the acknowledgement at once and not when its own timer runs out.
    pub(crate) fn leave_listener(&mut self, listener: ListenerId, now: Instant) {
        let Some(entry) = self.listeners.get_mut(listener) else { return };
        entry.engine.left();
        while let Some(flow) = entry.unblock() {
            // Those that have given up meanwhile must not take the turn of one that waits.
            if let Some(Endpoint::HalfOpen(number)) = self.flows.find(&flow, &self.sockets)
                && let Some(embryo) = self.flows.embryos.get_mut(number)
                && core::mem::take(&mut embryo.blocked)
            {
                embryo.half_open.repeat();
                return self.half_open_transmit(number, now);
            }
        }
    }

    /// Forgets a half-open endpoint, if it still is one, and gives its place in the backlog back.
    pub(crate) fn drop_half_open(&mut self, number: u32) {
        if let Some(embryo) = self.flows.remove_embryo(number, &mut self.timers)
            && let Some(entry) = self.listeners.get_mut(embryo.listener)
        {
            entry.engine.abandoned();
        }
    }

    /// The handshake is complete: the half-open endpoint becomes a connection with a socket.
    fn establish(
        &mut self,
        number: u32,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        let embryo = self.flows.embryos.get(number).ok_or(DropReason::TcpNoListener)?;
        let (flow, listener) = (embryo.flow, embryo.listener);
        let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
        if !entry.engine.established() {
            if let Some(embryo) = self.flows.embryos.get_mut(number)
                && !core::mem::replace(&mut embryo.blocked, true)
            {
                entry.block(flow);
            }
            self.counters.tcp.listen_overflows.increment();
            return Err(DropReason::TcpListenOverflow);
        }
        let half_open = embryo.half_open;
        let made = self.new_connection(&flow, listener, now, |config, _| {
            (half_open.into_tcb(config, now), Arrival::default())
        });
        match made {
            Ok((id, _)) => {
                if let Some(mut embryo) = self.flows.embryos.remove(number) {
                    self.timers.cancel(&mut embryo.timer);
                }
                self.connection_segment(id, segment, now)
            }
            Err(reason) => {
                // Half-open it stays.
                let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
                entry.engine.left();
                entry.engine.opened();
                Err(reason)
            }
        }
    }

    /// A connection with a socket that waits to be accepted; its place in the accept queue is taken.
    /// Whatever stood for its flow before is out of the flow table.
    fn new_connection(
        &mut self,
        flow: &Flow,
        listener: ListenerId,
        now: Instant,
        make: impl FnOnce(&tcp::Config, &mut Text<'_>) -> (Tcb, Arrival),
    ) -> Result<(SocketId, Arrival), DropReason> {
        let mut config = self.stream_config(self.listeners.device_of(listener), flow);
        let entry = self.listeners.get_mut(listener).ok_or(DropReason::TcpNoListener)?;
        entry.inherited.preset.configure(&mut config);
        let (owner, options) = (entry.client, entry.inherited.socket);
        let client = self.clients.find_mut(owner).ok_or(DropReason::TcpNoListener)?;
        if self.sockets.is_full() {
            return Err(DropReason::TcpTableFull);
        }
        let cell = client.lane.allocate_cell().ok_or(DropReason::ClientMemory)?;
        client.lane.set_send_buffer(cell, options.send_buffer);
        client.lane.set_status(cell, Status::CONNECTED);
        let mut recv = StreamProducer::new(cell, options.receive_buffer).lending(&client.lane);
        let lane = Some(&mut client.lane);
        let mut text = Text { recv: &mut recv, lane, deaf: false, lender: None };
        let (mut tcb, arrival) = make(&config, &mut text);
        tcb.set_user_timeout_option(self.out.network.tcp.user_timeout_option);
        entry.inherited.preset.apply(&mut tcb, now);
        let mut stream = Stream::new(tcb, *flow, recv);
        stream.waiting_at = Some(listener);
        let socket = Socket {
            client: Some(owner),
            cell,
            descriptor: None,
            signal: Signal::default(),
            error: None,
            options,
            kind: Kind::Stream(stream),
        };
        let id = self.sockets.insert(socket).ok_or(DropReason::TcpTableFull)?;
        let added = self.flows.add_connection(flow, id, &self.sockets);
        let client = self.clients.find_mut(owner).ok_or(DropReason::TcpNoListener)?;
        if added.is_err() {
            // A SYN's text may be in the client's memory already.
            if let Some(Kind::Stream(stream)) = self.sockets.remove(id).map(|socket| socket.kind) {
                stream.recv.release(&mut client.lane);
            }
            client.lane.free_cell(cell);
            return Err(DropReason::TcpTableFull);
        }
        client.lane.set_number(cell, id.index);
        self.sockets.watch(id);
        self.flows.pairs.hold_again(flow);
        let (local, remote) = self.flows.ends(flow);
        self.events.send(Event::Established { listener, socket: id, cell, local, remote });
        Ok((id, arrival))
    }

    /// Connections wait to be accepted at a listening socket, or none any more.
    pub(crate) fn acceptable(&mut self, id: SocketId, waiting: bool) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        // A client may ask to listen while its connection attempt is under way: that one stays.
        match &mut socket.kind {
            Kind::Unconnected(_) | Kind::Listening { .. } => {
                socket.kind = Kind::Listening { waiting };
            }
            Kind::ModuleStream(stream) => {
                if !stream.set_acceptable(waiting) {
                    return;
                }
            }
            _ => return,
        }
        if let Some(client) = self.clients.owner_mut(socket.client) {
            let status = if waiting { Status::ACCEPTABLE } else { Status::empty() };
            client.lane.set_status(socket.cell, status);
        }
        self.raise(id, Signal { readable: true, ..Signal::default() });
    }

    /// A connection has been accepted.
    pub(crate) fn accepted(&mut self, id: SocketId, descriptor: Arc<SocketEnd>, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        socket.descriptor = Some(descriptor);
        let mut hang_up = socket.signal.hang_up;
        let mut left = None;
        if let Kind::Stream(stream) = &mut socket.kind {
            hang_up |= stream.tcb.state() == tcp::State::CloseWait;
            left = stream.waiting_at.take();
        }
        let mut left_stream = None;
        if let Kind::ModuleStream(stream) = &mut socket.kind {
            let over;
            (left_stream, over) = stream.accepted();
            hang_up |= over;
        }
        let urgent = socket.signal.urgent;
        socket.signal = Signal { readable: true, writable: true, hang_up, urgent };
        self.signals.push(id);
        if let Some(listener) = left {
            self.leave_listener(listener, now);
        }
        if let Some(listener) = left_stream {
            self.leave_stream_listener(listener);
        }
    }

    /// Nobody else is let in.
    pub(crate) fn unlisten(&mut self, id: ListenerId, now: Instant) {
        if self.listeners.remove(id).is_none() {
            return;
        }
        let its = |(number, e): (u32, &Embryo)| (e.listener == id).then_some(number);
        let numbers: Vec<u32> = self.flows.embryos.iter().filter_map(its).collect();
        for number in numbers {
            // Its peer may think that it is connected.
            if let Some(embryo) = self.flows.remove_embryo(number, &mut self.timers) {
                self.send_segment(&embryo.flow, &embryo.half_open.abort(), now);
            }
        }
    }
}

/// The window of a SYN-ACK, which is never scaled (RFC 7323 2.2).
fn offered_window(options: &Options) -> u16 {
    u16::try_from(options.receive_buffer).unwrap_or(u16::MAX)
}
