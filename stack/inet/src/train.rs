//! A burst of frames, taken in by runs and trains. A run is plain segments of one flow, one after the
//! other: one lookup for all of them. A train is those of a run each of which continues the one before:
//! one event of the engine, as if the port had merged them (GRO). Everything else goes the general way,
//! frame by frame and in order.
//!
//! ```text
//!   burst   A1 A2 A3 ack │ B7 │ ARP │ A4 A5 │ SYN │ …      A, B: flows; the numbers continue
//!           └─train┘     │    │     │ train │
//!           └────run─────┘run─┘apart┘──run──┘apart
//! ```

use dpdk::{BURST_MAX, Burst, ChecksumState, Mbuf};
use tcp::Events;
use types::{Instant, MacAddr};
use wire::Plain;

use crate::flow::Flow;
use crate::network::Destination;
use crate::socket::{Kind, SocketId};
use crate::timer_wheel::Endpoint;
use crate::worker::Worker;

/// What a frame is to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not plain, or not sound: for the general way.
    Apart,
    /// A plain segment.
    Plain,
    /// It continues the frame before it.
    Next,
}

/// Frames that were looked at: how many, whose they seem to be, that flow's hash, and which connection
/// that most likely is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    len: usize,
    flow: Flow,
    hash: u64,
    connection: Option<u32>,
    apart: bool,
}

/// What each frame of a burst is.
type Places = [Place; BURST_MAX];

impl Worker {
    /// A burst from a port.
    pub(crate) fn burst_input(&mut self, burst: &mut Burst, interface: u16, now: Instant) {
        if burst.is_empty() {
            return;
        }
        let mut runs = core::mem::take(&mut self.runs);
        let mut places = [Place::Apart; BURST_MAX];
        self.stage(burst, interface, &mut places, &mut runs);
        let mut places = places.as_slice();
        let mut frames = Burst::new();
        for run in runs.drain(..) {
            let Some((own, later)) = places.split_at_checked(run.len) else { break };
            places = later;
            burst.move_front(run.len, &mut frames);
            self.flows.set_staged(run.flow, run.hash);
            let taken = if run.apart { 0 } else { self.run_segments(&frames, own, interface, now) };
            self.finish_front(taken, &mut frames);
            for mut mbuf in frames.drain() {
                if !run.apart {
                    // It was right, and is not summed up again, here or by another worker.
                    mbuf.set_rx_checksums(ChecksumState::Good, ChecksumState::Good);
                }
                self.input(mbuf, interface, now);
            }
        }
        self.runs = runs;
    }

    /// Looks ahead over a burst: what belongs together, and that no segment waits for memory. First
    /// all buckets of the flow table are asked for, then all records, then what lies beside them.
    fn stage(&self, burst: &Burst, interface: u16, places: &mut Places, runs: &mut Vec<Run>) {
        let up = self.out.network.interface(interface).filter(|config| config.up);
        let mac = up.map(|config| config.mac);
        let mut before: Option<Plain<'_>> = None;
        for (place, mbuf) in places.iter_mut().zip(burst) {
            if let Some((old, run)) = before.as_mut().zip(runs.last_mut())
                && let Some(plain) = sibling(old, mbuf)
            {
                *place = if plain.continues(old) { Place::Next } else { Place::Plain };
                *old = plain;
                run.len = run.len.wrapping_add(1);
                continue;
            }
            before = mac.and_then(|mac| plain_segment(mbuf, mac));
            let flow = match &before {
                Some(plain) => Flow::of_plain(plain),
                None => Flow::glance(mbuf.data()).unwrap_or(Flow::NONE),
            };
            *place = if before.is_some() { Place::Plain } else { Place::Apart };
            self.stage_run(flow, before.is_none(), runs);
        }
        for run in runs.iter_mut().filter(|run| run.flow != Flow::NONE) {
            run.connection = self.flows.guess(run.hash);
            if let Some(number) = run.connection {
                self.sockets.prefetch(number);
            }
        }
        for number in runs.iter().filter_map(|run| run.connection) {
            self.fetch_beside(number);
        }
    }

    /// A run begins.
    fn stage_run(&self, flow: Flow, apart: bool, runs: &mut Vec<Run>) {
        let hash = match runs.last() {
            Some(last) if last.flow == flow => last.hash,
            _ => self.flows.stage(&flow),
        };
        runs.push(Run { len: 1, flow, hash, connection: None, apart });
    }

    /// The words of the client that text for this connection will change, and what it has in flight.
    #[inline]
    fn fetch_beside(&self, number: u32) {
        let Some(socket) = self.sockets.peek(number) else { return };
        let Some(client) = self.clients.owner(socket.client) else { return };
        client.prefetch(socket.cell);
        if let Kind::Stream(stream) = &socket.kind {
            dpdk::prefetch(stream.recv.next_shown(&client.lane));
            if let Some(record) = stream.tcb.record() {
                dpdk::prefetch(record);
            }
        }
    }

    /// The segments of a run, if a connection is there for them. Returns how many it has taken; the
    /// others are for the general way.
    fn run_segments(
        &mut self,
        frames: &Burst,
        places: &[Place],
        interface: u16,
        now: Instant,
    ) -> usize {
        let frames = frames.as_slice();
        let Some(head) = frames.first().and_then(|mbuf| Plain::parse(mbuf.data())) else {
            return 0;
        };
        let to = self.check_addresses(head.src(), head.dst(), interface);
        if to != Ok(Destination::Local) {
            return 0;
        }
        let flow = Flow::of_plain(&head);
        let mut taken = 0;
        while let (Some(rest), Some(places)) = (frames.get(taken..), places.get(taken..)) {
            // What is not routine may have put another endpoint in its place.
            let endpoint = self.flows.find(&flow, &self.sockets);
            let Some(Endpoint::Connection(index)) = endpoint else { break };
            let Some(id) = self.sockets.id(index) else { break };
            let count = self.connection_trains(id, rest, places, now);
            if count == 0 {
                break;
            }
            taken = taken.saturating_add(count);
        }
        let count = u64::try_from(taken).unwrap_or(0);
        self.counters.ipv4.packets_received.add(count);
        self.counters.tcp.segments_received.add(count);
        taken
    }

    /// Trains of a connection, up to the first event that is not routine. Returns how many of the
    /// frames were taken: none if the connection is gone.
    fn connection_trains(
        &mut self,
        id: SocketId,
        frames: &[Mbuf],
        places: &[Place],
        now: Instant,
    ) -> usize {
        let Some(socket) = self.sockets.find_mut(id) else { return 0 };
        let Kind::Stream(stream) = &mut socket.kind else { return 0 };
        let mut lane = self.clients.owner_mut(socket.client).map(|client| &mut client.lane);
        let mut texts = [[].as_slice(); BURST_MAX];
        let (mut taken, mut events) = (0_usize, Events::NONE);
        while let (Some((first, rest)), Some((_, places))) = (
            frames.get(taken..).and_then(<[_]>::split_first),
            places.get(taken..).and_then(<[_]>::split_first),
        ) {
            let Some(head) = Plain::parse(first.data()) else { break };
            let behind = places.iter().take_while(|place| **place == Place::Next);
            let mut len = 0_usize;
            for ((text, mbuf), _) in texts.iter_mut().zip(rest).zip(behind) {
                *text = head.text_of_next(mbuf.data()).unwrap_or_default();
                len = len.wrapping_add(1);
            }
            let texts = texts.get(..len).unwrap_or_default();
            let train = stream.train(lane.as_deref_mut(), &segment_in(&head), texts, now);
            taken = taken.saturating_add(train.taken);
            if let Some(reason) = train.drop {
                self.out.count_drop(reason);
            }
            events = train.events;
            if !Events::ROUTINE.contains(events) {
                break;
            }
        }
        self.settle_later(id, events, now);
        taken
    }
}

/// The plain segment in a frame for the same station and of the same flow, if it is right.
#[inline]
fn sibling<'a>(before: &Plain<'_>, mbuf: &'a Mbuf) -> Option<Plain<'a>> {
    if mbuf.segments() != 1 {
        return None;
    }
    before.sibling(mbuf.data()).filter(|plain| is_sound(plain, mbuf))
}

/// The plain segment in a frame for `mac`, if it is right.
#[inline]
fn plain_segment(mbuf: &Mbuf, mac: MacAddr) -> Option<Plain<'_>> {
    if mbuf.segments() != 1 {
        return None;
    }
    let plain = Plain::parse(mbuf.data()).filter(|plain| plain.station() == mac)?;
    is_sound(&plain, mbuf).then_some(plain)
}

/// Both checksums are right.
#[inline]
fn is_sound(plain: &Plain<'_>, mbuf: &Mbuf) -> bool {
    let header = match mbuf.rx_ip_checksum() {
        ChecksumState::Good => true,
        ChecksumState::Bad => false,
        ChecksumState::Unknown => plain.is_header_valid(),
    };
    header
        && match mbuf.rx_l4_checksum() {
            ChecksumState::Good => true,
            ChecksumState::Bad => false,
            ChecksumState::Unknown => plain.is_segment_valid(),
        }
}

/// The engine's view of a plain segment.
fn segment_in<'a>(plain: &Plain<'a>) -> tcp::SegmentIn<'a> {
    let timestamps = plain
        .timestamps
        .map(|option| tcp::Timestamps { value: option.value.get(), echo: option.echo.get() });
    tcp::SegmentIn {
        seq: tcp::SeqNum::new(plain.seq()),
        ack: tcp::SeqNum::new(plain.ack()),
        flags: tcp::Flags::from_bits(plain.flags()),
        window: plain.window(),
        urgent: plain.urgent(),
        ecn: tcp::Codepoint::from_tos(plain.tos()),
        options: tcp::Options { timestamps, ..tcp::Options::default() },
        text: plain.text,
    }
}
