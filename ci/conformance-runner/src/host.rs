//! A host around the engine, in virtual time: the flow table and what the engine's answers mean for
//! sockets. It does what `inet` does, without frames, clients and workers.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tcp::{
    Arrival, Events, Flags, HalfOpen, SegmentIn, SegmentOut, SeqNum, State, TimeWait,
    TimeWaitVerdict, isn,
};
use types::{FlowKey, Instant};

use crate::host_socket::{Kind, Socket, Stream};
use crate::script::Call;
use crate::segment::{Options, Segment};
use crate::stack::{Observed, Pace, Reply, Stack};

/// The port that the script's sockets are bound to.
const PORT: u16 = 80;
/// When a script begins: not 0, so that nothing depends on it.
const START: Instant = Instant::from_millis(1_000_000);
/// What a script's whole life may cost; a loop in the engine or in here ends a script, not the run.
const EVENTS_MAX: u32 = 1_000_000;

/// Who has an address pair.
#[derive(Debug)]
pub(crate) enum Endpoint {
    HalfOpen {
        half_open: HalfOpen,
        listener: usize,
    },
    /// Index of the socket.
    Connection(usize),
    TimeWait(TimeWait),
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) now: Instant,
    pub(crate) flows: BTreeMap<FlowKey, Endpoint>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) names: BTreeMap<String, usize>,
    outbox: VecDeque<Observed>,
    pub(crate) secret: isn::Secret,
    /// What Fast Open has taught about the script's peers.
    pub(crate) fast_open_memory: Option<tcp::FastOpenMemory>,
    events: u32,
    /// Connections are laid to rest whenever nothing goes on.
    sleepy: bool,
}

impl Host {
    pub(crate) fn new(sleepy: bool) -> Self {
        Self {
            sleepy,
            now: START,
            flows: BTreeMap::new(),
            sockets: Vec::new(),
            names: BTreeMap::new(),
            outbox: VecDeque::new(),
            secret: isn::Secret([7; 16]),
            fast_open_memory: None,
            events: 0,
        }
    }

    /// The settings of a connection: the daemon's, on an interface of 1500 bytes.
    pub(crate) fn config(&self, flow: &FlowKey) -> tcp::Config {
        tcp::Config {
            mss: 1460,
            window_scale: 7,
            timestamps: true,
            timestamp_offset: isn::timestamp_offset(&self.secret, flow),
            ..tcp::Config::default()
        }
    }

    pub(crate) fn initial_sequence(&self, flow: &FlowKey) -> SeqNum {
        isn::initial_sequence(&self.secret, flow, self.now)
    }

    pub(crate) fn flow(local_port: u16, peer_port: u16) -> FlowKey {
        FlowKey {
            local_addr: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
            remote_addr: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
            local_port,
            remote_port: peer_port,
        }
    }

    fn segment_arrives(&mut self, flow: &FlowKey, seg: &SegmentIn<'_>) {
        let now = self.now;
        match self.flows.get_mut(flow) {
            Some(Endpoint::Connection(index)) => {
                let index = *index;
                self.connection_segment(index, seg);
            }
            Some(Endpoint::HalfOpen { half_open, listener }) => {
                let listener = *listener;
                let verdict = half_open.segment_arrives(seg, now);
                self.half_open_verdict(flow, listener, verdict, seg);
            }
            Some(Endpoint::TimeWait(time_wait)) => match time_wait.segment_arrives(seg, now) {
                TimeWaitVerdict::Acknowledge(ack) => self.transmit(flow, &ack, &[]),
                TimeWaitVerdict::Reopen(beyond) => {
                    let _ = self.flows.remove(flow);
                    self.listener_segment(flow, seg, Some(beyond));
                }
                TimeWaitVerdict::Drop(_) => {}
            },
            None => self.listener_segment(flow, seg, None),
        }
    }

    pub(crate) fn connection_segment(&mut self, index: usize, seg: &SegmentIn<'_>) {
        let now = self.now;
        let Some(stream) = self.stream_mut(index) else { return };
        let arrival = stream.tcb.segment_arrives(seg, now, &mut stream.text);
        self.apply(index, &arrival);
    }

    pub(crate) fn stream_mut(&mut self, index: usize) -> Option<&mut Stream> {
        match &mut self.sockets.get_mut(index)?.kind {
            Kind::Stream(stream) => Some(stream),
            Kind::Unconnected | Kind::Listening { .. } => None,
        }
    }

    /// What an event at a connection means for its socket.
    fn apply(&mut self, index: usize, arrival: &Arrival) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let Kind::Stream(stream) = &mut socket.kind else { return };
        let acked = usize::try_from(arrival.acked_len).unwrap_or(usize::MAX);
        let _ = stream.queued.drain(..acked.min(stream.queued.len()));
        let events = arrival.events;
        stream.connected |= events.contains(Events::ESTABLISHED);
        stream.ended |= events.contains(Events::FIN_RECEIVED);
        if let Some(error) = events.error() {
            socket.error = match error {
                tcp::ConnectionError::Refused => libc::ECONNREFUSED,
                tcp::ConnectionError::Reset => libc::ECONNRESET,
                tcp::ConnectionError::TimedOut => libc::ETIMEDOUT,
            };
        }
        if events.intersects(Events::ESTABLISHED | Events::CLOSED) {
            self.fast_open_ends(index, events);
        }
        self.after_event(index, events);
    }

    /// Output, and the end of the endpoint.
    pub(crate) fn after_event(&mut self, index: usize, events: Events) {
        self.stream_transmit(index);
        let (now, sleepy) = (self.now, self.sleepy);
        let Some(stream) = self.stream_mut(index) else { return };
        if sleepy && let Some(nap) = stream.tcb.nap() {
            stream.tcb.wake(nap);
        }
        let flow = stream.flow;
        if events.contains(Events::TIME_WAIT) {
            let time_wait = TimeWait::new(&stream.tcb, now);
            let _ = self.flows.insert(flow, Endpoint::TimeWait(time_wait));
        } else if stream.tcb.state() == State::Closed
            && matches!(self.flows.get(&flow), Some(Endpoint::Connection(owner)) if *owner == index)
        {
            let _ = self.flows.remove(&flow);
        }
    }

    fn stream_transmit(&mut self, index: usize) {
        let now = self.now;
        while let Some(stream) = self.stream_mut(index)
            && let Some(segment) = stream.tcb.poll_transmit(now, &stream.text)
        {
            let flow = stream.flow;
            let text = stream.text_of(&segment);
            self.events = self.events.saturating_add(1);
            assert!(self.events < EVENTS_MAX, "the engine sends without end");
            self.transmit(&flow, &segment, &text);
        }
    }

    pub(crate) fn transmit(&mut self, flow: &FlowKey, segment: &SegmentOut, text: &[u8]) {
        let mut area = [0; 40];
        let len = segment.options.emit(&mut area);
        let segment = Segment {
            seq: segment.seq.since(SeqNum::new(0)),
            ack: segment.ack.since(SeqNum::new(0)),
            flags: segment.flags.bits(),
            window: segment.window,
            urgent: segment.urgent,
            options: Options::parse(area.get(..len).unwrap_or_default()),
            text: text.to_vec(),
            ecn: if segment.ect { 2 } else { 0 },
        };
        self.outbox.push_back(Observed {
            at: self.now.since(START),
            peer_port: flow.remote_port,
            local_port: flow.local_port,
            segment,
        });
    }

    fn next_timeout(&self) -> Option<Instant> {
        let flows = self.flows.values().filter_map(|endpoint| match endpoint {
            Endpoint::HalfOpen { half_open, .. } => Some(half_open.next_timeout()),
            Endpoint::TimeWait(time_wait) => Some(time_wait.expires()),
            Endpoint::Connection(_) => None,
        });
        let sockets = self.sockets.iter().filter_map(|socket| match &socket.kind {
            Kind::Stream(stream) => stream.tcb.next_timeout(),
            _ => None,
        });
        flows.chain(sockets).min()
    }

    fn run_timers(&mut self) {
        let now = self.now;
        let flows: Vec<FlowKey> = self.flows.keys().copied().collect();
        for flow in flows {
            let over = match self.flows.get_mut(&flow) {
                Some(Endpoint::HalfOpen { half_open, .. }) => !half_open.timeout(now),
                Some(Endpoint::TimeWait(time_wait)) => time_wait.expires() <= now,
                _ => false,
            };
            if over {
                self.forget(&flow);
            }
            self.half_open_transmit(&flow);
        }
        for index in 0..self.sockets.len() {
            let Some(stream) = self.stream_mut(index) else { continue };
            if stream.tcb.next_timeout().is_some_and(|due| due <= now) {
                let events = stream.tcb.timeout(now);
                self.apply(index, &Arrival { events, ..Arrival::default() });
            }
        }
    }
}

impl Stack for Host {
    fn now(&self) -> Duration {
        self.now.since(START)
    }

    fn pace(&self) -> Pace {
        Pace::VIRTUAL
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn inject(&mut self, peer_port: u16, local_port: u16, segment: &Segment) {
        let area = segment.options.emit();
        let arrived = SegmentIn {
            seq: SeqNum::new(segment.seq),
            ack: SeqNum::new(segment.ack),
            flags: Flags::from_bits(segment.flags),
            window: segment.window,
            urgent: segment.urgent,
            ecn: tcp::Codepoint::from_tos(segment.ecn),
            options: tcp::Options::parse(&area),
            text: &segment.text,
        };
        self.segment_arrives(&Self::flow(local_port, peer_port), &arrived);
    }

    fn observe(&mut self, until: Duration) -> Option<Observed> {
        let until = START + until;
        loop {
            if let Some(observed) = self.outbox.pop_front() {
                return Some(observed);
            }
            match self.next_timeout().filter(|due| *due <= until) {
                Some(due) => {
                    self.events = self.events.saturating_add(1);
                    assert!(self.events < EVENTS_MAX, "the engine's timers fire without end");
                    self.now = self.now.max(due);
                    self.run_timers();
                }
                None => {
                    self.now = self.now.max(until);
                    return None;
                }
            }
        }
    }

    fn call(&mut self, call: &Call, peer_port: u16, text: &[u8]) -> Reply {
        self.socket_call(call, peer_port, text)
    }
}
