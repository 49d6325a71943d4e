//! From a connection that is ready to segments on the wire.

use dpdk::{L4, Mbuf};
use shm::Lane;
use tcp::{Flags, SegmentOut};
use types::{DropReason, Instant};
use wire::{ipv4, tcp as header};
use zerocopy::IntoBytes;

use crate::flow::Flow;
use crate::limits::{BURST_TEXT_MAX, EXTERNAL_MIN, SEGMENTS_PER_TURN};
use crate::network::TxChecksum;
use crate::option::Options;
use crate::output::{Hop, Ipv4Out, Output, prepend};
use crate::send_queue::{SendQueue, Store};
use crate::socket::{Kind, Signal, SocketId};
use crate::tcp_input::Text;
use crate::timer_wheel::{Endpoint, Owner, Timers};
use crate::worker::Worker;

/// Whose segment it is and the way it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// Both ends.
    pub(crate) flow: &'a Flow,
    /// Where it goes out.
    pub(crate) hop: &'a Hop,
    /// The socket's options.
    pub(crate) options: &'a Options,
}

/// Where a segment's text lies.
struct Source<'a> {
    queue: &'a mut SendQueue,
    lane: Option<&'a Lane>,
}

impl Worker {
    /// Lets each ready connection send for one turn. `true`: something was sent.
    pub(crate) fn transmit_ready(&mut self, now: Instant) -> bool {
        let turns = self.ready.len();
        for _ in 0..turns {
            let Some(id) = self.ready.pop_front() else { break };
            let more = self.transmit_stream(id, now);
            if more {
                self.ready.push_back(id);
            } else if let Some(stream) = self.sockets.stream_mut(id) {
                stream.ready = false;
            }
        }
        turns > 0
    }

    /// One connection's turn. `true`: it has more to send.
    pub(crate) fn transmit_stream(&mut self, id: SocketId, now: Instant) -> bool {
        let Some(socket) = self.sockets.find_mut(id) else { return false };
        let options = socket.options;
        let owner = socket.client;
        let Kind::Stream(stream) = &mut socket.kind else { return false };
        let to = stream.flow.remote_addr;
        let hop = match stream.hop {
            Some((hop, generation)) if generation == self.out.generation => hop,
            _ => {
                let Some(hop) = self.out.route(to) else {
                    // The engine sends into the void and its timers decide when to give up.
                    return self.discard_output(id, now);
                };
                stream.hop = Some((hop, self.out.generation));
                hop
            }
        };
        let mut lane = self.clients.owner_mut(owner).map(|c| &mut c.lane);
        let mut sent = 0;
        let mut more = false;
        loop {
            if sent >= SEGMENTS_PER_TURN || !self.out.has_room(hop.interface) {
                more = stream.tcb.wants_transmit();
                break;
            }
            let text =
                Text { recv: &mut stream.recv, lane: lane.as_deref_mut(), deaf: stream.deaf };
            let newest = stream.tcb.snd_max();
            let burst = stream.tcb.poll_transmit_burst(now, &text, BURST_TEXT_MAX);
            let Some(segment) = burst else { break };
            sent += segment.cut_count() as usize;
            if segment.text_len > 0 && segment.flags.contains(Flags::SYN) {
                self.counters.tcp.fast_opens_sent.increment();
            }
            if segment.text_len > 0 && segment.seq.before(newest) {
                self.counters.tcp.segments_retransmitted.increment();
            }
            let mut source = Source { queue: &mut stream.send, lane: lane.as_deref() };
            let way = Way { flow: &stream.flow, hop: &hop, options: &options };
            self.out.segments(&way, &segment, &mut source, now, &mut self.timers);
        }
        let makes_room = sent > 0 && stream.tcb.limits_unsent();
        let owner = Owner::Endpoint(Endpoint::Connection(id.index));
        self.timers.arm(stream.tcb.next_timeout(), owner, &mut stream.timer);
        if makes_room {
            self.unsent_has_left(id);
        }
        more
    }

    /// `TCP_NOTSENT_LOWAT`: what is sent makes room, and not only what is acknowledged.
    fn unsent_has_left(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Kind::Stream(stream) = &mut socket.kind else { return };
        if let Some(client) = self.clients.owner_mut(socket.client) {
            let limit = stream.tcb.send_limit(socket.options.send_buffer);
            client.lane.set_send_buffer(socket.cell, limit);
        }
        self.raise(id, Signal { writable: true, ..Signal::default() });
    }

    /// No route: segments are made, so that timers run, and dropped.
    fn discard_output(&mut self, id: SocketId, now: Instant) -> bool {
        let Some(socket) = self.sockets.find_mut(id) else { return false };
        let owner = socket.client;
        let Kind::Stream(stream) = &mut socket.kind else { return false };
        let mut lane = self.clients.owner_mut(owner).map(|c| &mut c.lane);
        loop {
            let text =
                Text { recv: &mut stream.recv, lane: lane.as_deref_mut(), deaf: stream.deaf };
            if stream.tcb.poll_transmit(now, &text).is_none() {
                break;
            }
            self.out.count_drop(DropReason::Ipv4NoRoute);
        }
        let owner = Owner::Endpoint(Endpoint::Connection(id.index));
        self.timers.arm(stream.tcb.next_timeout(), owner, &mut stream.timer);
        false
    }
}

impl Output {
    /// Sends a segment without text.
    pub(crate) fn bare_segment(
        &mut self,
        way: &Way<'_>,
        segment: &SegmentOut,
        now: Instant,
        timers: &mut Timers,
    ) {
        let mut queue = SendQueue::default();
        self.segments(way, segment, &mut Source { queue: &mut queue, lane: None }, now, timers);
    }

    /// Sends what the engine has made as one, in as many segments as fit the path. They share one set
    /// of headers, in which little differs.
    fn segments(
        &mut self,
        way: &Way<'_>,
        whole: &SegmentOut,
        source: &mut Source<'_>,
        now: Instant,
        timers: &mut Timers,
    ) {
        let Some(mut headers) = Headers::new(way.flow, whole) else {
            return self.count_drop(DropReason::MbufExhausted);
        };
        for segment in whole.cuts() {
            headers.set(&segment);
            self.segment(way, &segment, &headers, source, (now, timers));
        }
    }

    /// Sends one segment: text, then the headers in front of it.
    fn segment(
        &mut self,
        way: &Way<'_>,
        segment: &SegmentOut,
        headers: &Headers,
        source: &mut Source<'_>,
        (now, timers): (Instant, &mut Timers),
    ) {
        let Way { flow, hop, options } = *way;
        let (from, to) = (flow.local_addr, flow.remote_addr);
        let offload = hop.checksum == TxChecksum::Port;
        let external = offload && hop.multi_segment && segment.text_len >= EXTERNAL_MIN;
        let Some(mut mbuf) = self.alloc() else { return };
        let filled = if external {
            self.attach_text(&mut mbuf, segment, source)
        } else {
            copy_text(&mut mbuf, segment, source)
        };
        if filled.is_none() {
            return self.count_drop(DropReason::MbufExhausted);
        }
        let Some(header_len) = headers.prepend_to(&mut mbuf, flow, offload) else {
            return self.count_drop(DropReason::MbufExhausted);
        };
        let out = Ipv4Out {
            tos: tos(options.tos, segment.ect),
            ttl: options.ttl,
            l4_len: header_len,
            offload: offload.then_some(L4::Tcp),
            ..Ipv4Out::new(from, to, ipv4::Protocol::TCP)
        };
        self.counters().tcp.segments_sent.increment();
        if segment.flags.contains(Flags::RST) {
            self.counters().tcp.resets_sent.increment();
        }
        self.ipv4(mbuf, &out, hop, now, timers);
    }

    /// Chains buffers that point at the client's bytes behind `head`.
    fn attach_text(
        &mut self,
        head: &mut Mbuf,
        segment: &SegmentOut,
        source: &mut Source<'_>,
    ) -> Option<()> {
        let mut done = 0;
        while done < segment.text_len {
            let offset = segment.text_offset.checked_add(done)?;
            let piece = source.queue.piece(offset, segment.text_len - done)?;
            let mut mbuf = self.alloc()?;
            match (source.queue.store(), source.lane) {
                (Store::Client, Some(lane)) => {
                    mbuf.attach_external(lane.loan(piece.offset, piece.len)?).ok()?;
                }
                (Store::Private(bytes), _) => {
                    let start = piece.offset as usize;
                    let bytes = bytes.get(start..start + piece.len as usize)?;
                    mbuf.extend_from_slice(bytes).then_some(())?;
                }
                (Store::Client, None) => return None,
            }
            head.chain(mbuf).ok()?;
            done += piece.len;
        }
        Some(())
    }
}

/// Copies a segment's text into the buffer.
fn copy_text(mbuf: &mut Mbuf, segment: &SegmentOut, source: &mut Source<'_>) -> Option<()> {
    let mut room = mbuf.append(u16::try_from(segment.text_len).ok()?)?;
    let mut done = 0;
    while done < segment.text_len {
        let offset = segment.text_offset.checked_add(done)?;
        let piece = source.queue.piece(offset, segment.text_len - done)?;
        let (front, back) = room.split_at_mut_checked(piece.len as usize)?;
        match (source.queue.store(), source.lane) {
            (Store::Client, Some(lane)) => {
                if !lane.copy_out(piece.offset, front) {
                    return None;
                }
            }
            (Store::Private(bytes), _) => {
                let start = piece.offset as usize;
                front.copy_from_slice(bytes.get(start..start + piece.len as usize)?);
            }
            (Store::Client, None) => return None,
        }
        room = back;
        done += piece.len;
    }
    Some(())
}

/// TCP header and options of the segments that one decision of the engine has made.
struct Headers {
    header: header::Header,
    options: [u8; header::OPTIONS_LEN_MAX],
    options_len: usize,
}

impl Headers {
    fn new(flow: &Flow, segment: &SegmentOut) -> Option<Self> {
        let mut options = [0_u8; header::OPTIONS_LEN_MAX];
        let options_len = segment.options.emit(&mut options);
        let mut header = header::Header::new(
            flow.local_port,
            flow.remote_port,
            segment.seq.value(),
            segment.ack.value(),
            segment.flags.bits(),
            segment.window,
        )
        .with_options_len(options_len)?;
        header.urgent.set(segment.urgent);
        Some(Self { header, options, options_len })
    }

    /// What differs from one segment to the next.
    fn set(&mut self, segment: &SegmentOut) {
        self.header.seq.set(segment.seq.value());
        self.header = self.header.with_flags(segment.flags.bits());
    }

    /// Prepends both, with the checksum; returns their length.
    fn prepend_to(&self, mbuf: &mut Mbuf, flow: &Flow, offload: bool) -> Option<u8> {
        let (from, to) = (flow.local_addr, flow.remote_addr);
        let options = self.options.get(..self.options_len)?;
        let header_len = header::Header::LEN + self.options_len;
        let header = if offload {
            let segment_len = u16::try_from(mbuf.packet_len() as usize + header_len).ok()?;
            self.header.with_pseudo_checksum(from, to, segment_len)
        } else {
            self.header.with_checksum(from, to, options, mbuf.data())
        };
        let whole = prepend(mbuf, options) && prepend(mbuf, header.as_bytes());
        whole.then(|| u8::try_from(header_len).ok())?
    }
}

/// The user's DSCP with the ECN field of this segment, which is not the user's (RFC 3168 §5).
fn tos(options_tos: u8, ect: bool) -> u8 {
    const ECN: u8 = 0b11;
    const ECT_0: u8 = 0b10;
    options_tos & !ECN | if ect { ECT_0 } else { 0 }
}
