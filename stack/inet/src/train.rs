//! A burst of frames, taken in by trains. A train is a run of plain segments of one flow, each of
//! which continues the one before: one lookup and one event of the engine for all of them, as if the
//! port had merged them (GRO). Everything else goes the general way, frame by frame and in order.
//!
//! ```text
//!   burst   A1 A2 A3 │ B7 │ ARP │ A4 A5 │ SYN │ …      A, B: flows; the numbers continue
//!           └─train─┘ └tr.┘       └train┘
//! ```

use dpdk::{BURST_MAX, Burst, ChecksumState, Mbuf};
use types::{Instant, MacAddr};
use wire::Plain;

use crate::flow::Flow;
use crate::network::Destination;
use crate::socket::{Kind, SocketId};
use crate::timer_wheel::Endpoint;
use crate::worker::Worker;

/// What a frame is to its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not plain, or not sound: for the general way.
    Apart,
    /// A train begins.
    First,
    /// It continues the frame before it.
    Next,
}

/// A frame that was looked at: what it is, whose it seems to be, that flow's hash, and which connection
/// that most likely is.
#[derive(Clone, Copy, Debug)]
struct Staged {
    place: Place,
    flow: Flow,
    hash: u64,
    connection: Option<u32>,
}

impl Staged {
    const NOTHING: Self = Self { place: Place::Apart, flow: Flow::NONE, hash: 0, connection: None };

    /// It needs a connection that the frame before it has not asked for.
    fn is_lookup(&self) -> bool {
        self.place != Place::Next && self.flow != Flow::NONE
    }
}

impl Worker {
    /// A burst from a port.
    pub(crate) fn burst_input(&mut self, burst: &mut Burst, interface: u16, now: Instant) {
        let staged = self.stage(burst, interface);
        let mut train = Burst::new();
        for (mbuf, staged) in burst.drain().zip(&staged) {
            if staged.place != Place::Next {
                self.train_input(&mut train, interface, now);
                self.flows.set_staged(staged.flow, staged.hash);
            }
            if staged.place == Place::Apart {
                self.input(mbuf, interface, now);
            } else {
                // It holds as many as a burst.
                let _ = train.push(mbuf);
            }
        }
        self.train_input(&mut train, interface, now);
    }

    /// Looks ahead over a burst: what belongs together, and that no segment waits for memory. First
    /// all buckets of the flow table are asked for, then all records, then what lies beside them.
    fn stage(&self, burst: &Burst, interface: u16) -> [Staged; BURST_MAX] {
        let up = self.out.network.interface(interface).filter(|config| config.up);
        let mac = up.map(|config| config.mac);
        let mut staged = [Staged::NOTHING; BURST_MAX];
        let mut last = Staged::NOTHING;
        let mut before: Option<Plain<'_>> = None;
        for (stage, mbuf) in staged.iter_mut().zip(burst) {
            let plain = mac.and_then(|mac| plain_segment(mbuf, mac));
            match (&plain, &before) {
                (Some(plain), Some(before)) if plain.follows(before) => last.place = Place::Next,
                (Some(plain), _) => self.stage_flow(&mut last, Place::First, Flow::of_plain(plain)),
                (None, _) => {
                    let flow = Flow::glance(mbuf.data()).unwrap_or(Flow::NONE);
                    self.stage_flow(&mut last, Place::Apart, flow);
                }
            }
            *stage = last;
            before = plain;
        }
        for stage in staged.iter_mut().take(burst.len()).filter(|stage| stage.is_lookup()) {
            stage.connection = self.flows.guess(stage.hash);
            if let Some(number) = stage.connection {
                self.sockets.prefetch(number);
            }
        }
        for number in staged.iter().take(burst.len()).filter_map(|stage| stage.connection) {
            self.fetch_beside(number);
        }
        staged
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

    fn stage_flow(&self, last: &mut Staged, place: Place, flow: Flow) {
        let known = flow == last.flow;
        let hash = if known { last.hash } else { self.flows.stage(&flow) };
        *last = Staged { place, flow, hash, connection: None };
    }

    /// The frames of a train, and what becomes of them.
    fn train_input(&mut self, train: &mut Burst, interface: u16, now: Instant) {
        if train.is_empty() {
            return;
        }
        let taken = self.train_segments(train, interface, now);
        for (number, mut mbuf) in train.drain().enumerate() {
            if number < taken {
                self.finish(mbuf);
            } else {
                // They were right, and are not summed up again, here or by another worker.
                mbuf.set_rx_checksums(ChecksumState::Good, ChecksumState::Good);
                self.input(mbuf, interface, now);
            }
        }
    }

    /// The segments of a train, if a connection is there for them. Returns how many it has taken; the
    /// others are for the general way.
    fn train_segments(&mut self, train: &Burst, interface: u16, now: Instant) -> usize {
        let frames = train.as_slice();
        let Some(head) = frames.first().and_then(|mbuf| Plain::parse(mbuf.data())) else {
            return 0;
        };
        let to = self.check_addresses(head.src(), head.dst(), interface);
        if to != Ok(Destination::Local) {
            return 0;
        }
        let endpoint = self.flows.find(&Flow::of_plain(&head), &self.sockets);
        let Some(Endpoint::Connection(index)) = endpoint else { return 0 };
        let Some(id) = self.sockets.id(index) else { return 0 };
        let mut texts = [[].as_slice(); BURST_MAX];
        for (text, mbuf) in texts.iter_mut().zip(frames) {
            *text = head.text_of_next(mbuf.data()).unwrap_or_default();
        }
        let texts = texts.get(..frames.len()).unwrap_or_default();
        let taken = self.connection_texts(id, &head, texts, now);
        let count = u64::try_from(taken).unwrap_or(0);
        self.counters.ipv4.packets_received.add(count);
        self.counters.tcp.segments_received.add(count);
        taken
    }

    fn connection_texts(
        &mut self,
        id: SocketId,
        head: &Plain<'_>,
        mut texts: &[&[u8]],
        now: Instant,
    ) -> usize {
        let (mut segment, mut taken) = (segment_in(head), 0);
        while let Some((text, rest)) = texts.split_first() {
            segment.text = text;
            let count = self.connection_train(id, &segment, rest, now);
            let Some((arrived, later)) = texts.split_at_checked(count) else { break };
            if arrived.is_empty() {
                break;
            }
            for text in arrived {
                segment.seq += u32::try_from(text.len()).unwrap_or(0);
            }
            taken += count;
            texts = later;
        }
        taken
    }
}

/// The plain segment in a frame for `mac`, if both its checksums are right.
#[inline]
fn plain_segment(mbuf: &Mbuf, mac: MacAddr) -> Option<Plain<'_>> {
    if mbuf.segments() != 1 {
        return None;
    }
    let plain = Plain::parse(mbuf.data()).filter(|plain| plain.station() == mac)?;
    let header = match mbuf.rx_ip_checksum() {
        ChecksumState::Good => true,
        ChecksumState::Bad => false,
        ChecksumState::Unknown => plain.is_header_valid(),
    };
    let segment = header
        && match mbuf.rx_l4_checksum() {
            ChecksumState::Good => true,
            ChecksumState::Bad => false,
            ChecksumState::Unknown => plain.is_segment_valid(),
        };
    segment.then_some(plain)
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
