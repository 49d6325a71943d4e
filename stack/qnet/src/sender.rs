//! The sending end of a connection: messages are cut into frames, and frames go until they arrive.
//!
//! ```text
//!      una                     nxt          edge
//!  ─────┼───────────────────────┼────────────┼─────▶ sequence numbers
//!  gone │ flying, lost, arrived │ may be cut │
//! ```
//!
//! A frame is known to be lost by its path: when [`REORDER`] frames that went later on the same path have
//! arrived. Paths of different delay so cause no retransmission. What is last on a path goes once more when nothing
//! arrives, frame by frame, and is lost by timeout.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use types::Instant;

use crate::config::Policy;
use crate::discard::Discard;
use crate::frame::{HEADER_LEN, Header, Kind, Layer, Order};
use crate::limits::{PATHS_MAX, PROBES, QUEUE_MAX, REORDER, WINDOW};
use crate::node::{Node, NodeId};
use crate::rtt::Rtt;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The peer has not answered yet.
    Establishing { attempts: u32, next: Instant },
    /// It has.
    Up,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whereabouts {
    Flying,
    Lost,
    Arrived,
}

/// A frame that was cut and is not yet below `una`.
#[derive(Debug)]
struct Sent {
    message: Arc<Vec<u8>>,
    layer: Layer,
    offset: usize,
    len: usize,
    path: usize,
    ordinal: u64,
    at: Instant,
    times: u32,
    whereabouts: Whereabouts,
}

/// What a connection has done on one path.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// The number of the next frame on this path.
    next: u64,
    /// Behind the latest of them that has arrived.
    arrived: u64,
    in_flight: u32,
}

/// The sending end of a connection.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) peer: u32,
    pub(crate) node: NodeId,
    pub(crate) policy: Policy,
    pub(crate) state: State,
    /// Stands in the engine's queue of those that have something to send.
    pub(crate) ready: bool,
    pub(crate) active: Instant,
    /// Since when it waits without having got on; meaningless while idle.
    progress: Instant,
    pub(crate) rto_at: Option<Instant>,
    /// So often a frame has gone once more since anything arrived.
    probes: u32,
    queue: VecDeque<(Layer, Arc<Vec<u8>>)>,
    queue_len: usize,
    /// Bytes of the first message in the queue that are cut.
    cut: usize,
    una: u32,
    edge: u32,
    flight: VecDeque<Sent>,
    lost: VecDeque<u32>,
    /// A frame that is still to go on these paths.
    copies: Option<(u32, u8)>,
    tracks: [Track; PATHS_MAX],
    rtt: Rtt,
}

impl Sender {
    pub(crate) fn new(node: NodeId, policy: Policy, now: Instant) -> Self {
        Self {
            peer: 0,
            node,
            policy,
            state: State::Establishing { attempts: 0, next: now },
            ready: false,
            active: now,
            progress: now,
            rto_at: None,
            probes: 0,
            queue: VecDeque::new(),
            queue_len: 0,
            cut: 0,
            una: 0,
            edge: WINDOW,
            flight: VecDeque::new(),
            lost: VecDeque::new(),
            copies: None,
            tracks: [Track::default(); PATHS_MAX],
            rtt: Rtt::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn begin_at(&mut self, seq: u32) {
        (self.una, self.edge) = (seq, seq.wrapping_add(WINDOW));
    }

    /// Takes a message, unless too much waits already.
    pub(crate) fn enqueue(&mut self, layer: Layer, message: Vec<u8>, now: Instant) -> bool {
        let len = self.queue_len.saturating_add(message.len());
        if len > QUEUE_MAX && !self.queue.is_empty() {
            return false;
        }
        if self.is_idle() {
            self.progress = now;
        }
        self.queue_len = len;
        self.queue.push_back((layer, Arc::new(message)));
        self.active = now;
        true
    }

    /// Bytes that wait to be cut.
    pub(crate) fn queue_len(&self) -> usize {
        self.queue_len
    }

    /// Neither waits anything nor is anything in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty()
    }

    /// The peer is there, but nothing gets to it: no path is left that may be used, or is wide enough.
    pub(crate) fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        self.state == State::Up && !self.is_idle() && now.since(self.progress) >= patience
    }

    /// Messages that have not arrived as a whole, as far as we know.
    pub(crate) fn undelivered(&self) -> usize {
        let ends = |sent: &&Sent| sent.offset.saturating_add(sent.len) == sent.message.len();
        self.queue.len().saturating_add(self.flight.iter().filter(ends).count())
    }

    /// Writes the next frame behind what `to` holds; returns its path.
    pub(crate) fn transmit(
        &mut self,
        node: &Node,
        (id, order, crc): (u32, Order, bool),
        now: Instant,
        to: &mut Vec<u8>,
    ) -> Option<usize> {
        if self.rto_at.is_none() && !self.is_idle() {
            self.rto_at = Some(now + self.rtt.probe());
        }
        let (seq, path) = self.next_copy().or_else(|| self.next_frame(node))?;
        let at = usize::try_from(seq.wrapping_sub(self.una)).ok()?;
        let sent = self.flight.get_mut(at)?;
        let track = self.tracks.get_mut(path)?;
        sent.path = path;
        sent.ordinal = track.next;
        sent.at = now;
        sent.times = sent.times.saturating_add(1);
        sent.whereabouts = Whereabouts::Flying;
        track.next = track.next.saturating_add(1);
        track.in_flight = track.in_flight.saturating_add(1);
        let end = sent.offset.saturating_add(sent.len);
        let (policy, index) = self.policy.numbers();
        let header = Header {
            first: sent.offset == 0,
            last: end == sent.message.len(),
            src_nd_for_dst: node.number_there,
            dst_nd_for_src: self.node.0,
            sconn: id,
            dconn: self.peer,
            seq,
            policy,
            index,
            offset: u32::try_from(sent.offset).unwrap_or(u32::MAX),
            ..Header::new(order, Kind::User, sent.layer)
        };
        header.emit(sent.message.get(sent.offset..end).unwrap_or_default(), crc, to);
        self.active = now;
        Some(path)
    }

    /// A redundant frame on its next path.
    fn next_copy(&mut self) -> Option<(u32, usize)> {
        let (seq, paths) = self.copies.take()?;
        let at = usize::try_from(seq.wrapping_sub(self.una)).ok()?;
        let sent = self.flight.get(at)?;
        if sent.whereabouts != Whereabouts::Flying {
            return None;
        }
        self.land(at);
        let rest = paths & paths.wrapping_sub(1);
        if rest != 0 {
            self.copies = Some((seq, rest));
        }
        Some((seq, usize::try_from(paths.trailing_zeros()).ok()?))
    }

    /// A lost frame, else a new one, and the path for it.
    fn next_frame(&mut self, node: &Node) -> Option<(u32, usize)> {
        while let Some(seq) = self.lost.front().copied() {
            let at = usize::try_from(seq.wrapping_sub(self.una)).unwrap_or(usize::MAX);
            let lost = self.flight.get(at).filter(|sent| sent.whereabouts == Whereabouts::Lost);
            if let Some(sent) = lost {
                let path = self.choose(node, sent.len, Some(sent.path))?;
                let _ = self.lost.pop_front();
                self.also_by_others(node, seq, path);
                return Some((seq, path));
            }
            let _ = self.lost.pop_front();
        }
        let flying = u32::try_from(self.flight.len()).unwrap_or(u32::MAX);
        if flying >= WINDOW || flying >= self.edge.wrapping_sub(self.una) {
            return None;
        }
        let (layer, message) = self.queue.front()?;
        let len_max = node.paths.iter().map(|path| path.frame_len_max).min()?;
        let left = message.len().saturating_sub(self.cut);
        let len = left.min(len_max.saturating_sub(HEADER_LEN).max(1));
        let sent = Sent {
            message: Arc::clone(message),
            layer: *layer,
            offset: self.cut,
            len,
            path: 0,
            ordinal: 0,
            at: Instant::ZERO,
            times: 0,
            whereabouts: Whereabouts::Lost,
        };
        let path = self.choose(node, len, None)?;
        self.cut = self.cut.saturating_add(len);
        self.queue_len = self.queue_len.saturating_sub(len);
        if len == left {
            let _ = self.queue.pop_front();
            self.cut = 0;
        }
        let seq = self.una.wrapping_add(flying);
        self.flight.push_back(sent);
        self.also_by_others(node, seq, path);
        Some((seq, path))
    }

    /// The path for a frame; another than the one that lost it, if there is one.
    fn choose(&self, node: &Node, len: usize, lost_by: Option<usize>) -> Option<usize> {
        let fits = |at: &usize| {
            let path = node.paths.get(*at);
            path.is_some_and(|path| len.saturating_add(HEADER_LEN) <= path.frame_len_max)
        };
        let all = || (0..node.paths.len()).filter(fits);
        let up = |at: &usize| node.paths.get(*at).is_some_and(|path| path.up);
        let by = |link, at: &usize| node.paths.get(*at).is_some_and(|path| path.link == link);
        let load = |at: &usize| {
            let in_flight = self.tracks.get(*at).map_or(0, |track| track.in_flight);
            (lost_by == Some(*at), in_flight)
        };
        let latest = |at: &usize| node.paths.get(*at).map_or(Instant::ZERO, |path| path.heard);
        match self.policy {
            Policy::Exclusive(link) => {
                let mine = || all().filter(|at| by(link, at));
                mine().filter(up).min_by_key(load).or_else(|| mine().max_by_key(latest))
            }
            Policy::Preferred(link) => all()
                .filter(|at| up(at) && by(link, at))
                .min_by_key(load)
                .or_else(|| all().filter(up).min_by_key(load))
                .or_else(|| all().max_by_key(latest)),
            Policy::LoadBalance | Policy::Redundant => {
                all().filter(up).min_by_key(load).or_else(|| all().max_by_key(latest))
            }
        }
    }

    /// A redundant frame goes by the other paths too, whether they are up or not.
    fn also_by_others(&mut self, node: &Node, seq: u32, path: usize) {
        if self.policy != Policy::Redundant {
            return;
        }
        let mut paths = 0_u8;
        for at in (0..node.paths.len()).filter(|at| *at != path) {
            paths |= u32::try_from(at).ok().and_then(|at| 1_u8.checked_shl(at)).unwrap_or(0);
        }
        self.copies = (paths != 0).then_some((seq, paths));
    }

    /// The peer has all before `seq`, and room for some from there on.
    pub(crate) fn acknowledge(
        &mut self,
        node: &mut Node,
        (seq, room): (u32, u32),
        now: Instant,
    ) -> Result<(), Discard> {
        let count = usize::try_from(seq.wrapping_sub(self.una)).unwrap_or(usize::MAX);
        if count > self.flight.len() || room > WINDOW {
            return Err(Discard::Acknowledgement);
        }
        for at in 0..count {
            self.arrive(node, at, now);
        }
        if count > 0 || self.flight.is_empty() {
            self.progress = now;
        }
        drop(self.flight.drain(..count));
        self.una = seq;
        let edge = seq.wrapping_add(room);
        if edge.wrapping_sub(seq) >= self.edge.wrapping_sub(seq) || count > 0 {
            self.edge = edge;
        }
        if count > 0 {
            self.rtt.progress();
            self.rto_at = None;
            self.probes = 0;
            self.active = now;
        }
        if self.rto_at.is_none() && !self.is_idle() {
            self.rto_at = Some(now + self.rtt.probe());
        }
        Ok(())
    }

    /// The peer has what is between these holes, which are pairs from `una` on; an empty one ends them.
    pub(crate) fn holes(
        &mut self,
        node: &mut Node,
        holes: impl Iterator<Item = (u32, u32)> + Clone,
        now: Instant,
    ) -> Result<(), Discard> {
        let una = self.una;
        let place = |seq: u32| usize::try_from(seq.wrapping_sub(una)).unwrap_or(usize::MAX);
        let holes = holes.map(|(from, to)| (place(from), place(to)));
        let mut before = 0;
        for (from, to) in holes.clone() {
            if from < before || to < from || to > self.flight.len() {
                return Err(Discard::Acknowledgement);
            }
            before = to;
        }
        for ((_, from), (to, _)) in holes.clone().zip(holes.skip(1)) {
            for at in from..to {
                self.arrive(node, at, now);
            }
        }
        for at in 0..self.flight.len() {
            let Some(sent) = self.flight.get(at) else { break };
            let arrived = self.tracks.get(sent.path).map_or(0, |track| track.arrived);
            if sent.whereabouts == Whereabouts::Flying
                && sent.ordinal.saturating_add(REORDER) < arrived
            {
                // Where others have arrived the path works.
                let _path = self.again(at);
            }
        }
        Ok(())
    }

    /// The timeout has passed: what has been in flight for as long is lost. Before that the oldest frame goes once
    /// more, which is no judgement of its path.
    pub(crate) fn time_out(&mut self, node: &mut Node, now: Instant) {
        let (rto, probe) = (self.rtt.rto(), self.rtt.probe());
        if self.probes < PROBES && probe < rto {
            self.probes = self.probes.saturating_add(1);
            // Twice as long each time, as a timeout.
            let patience = probe.saturating_mul(1 << self.probes).min(rto);
            self.rto_at = (!self.is_idle()).then(|| now + patience);
            let flying = |sent: &Sent| sent.whereabouts == Whereabouts::Flying;
            let waits = |sent: &Sent| flying(sent) && sent.at + probe <= now;
            if let Some(at) = self.flight.iter().position(waits) {
                let _path = self.again(at);
            }
            return;
        }
        for at in 0..self.flight.len() {
            let Some(sent) = self.flight.get(at) else { break };
            if sent.whereabouts == Whereabouts::Flying && sent.at + rto <= now {
                self.lose(node, at);
            }
        }
        self.rtt.back_off();
        self.rto_at = (!self.is_idle()).then(|| now + self.rtt.rto());
    }

    /// Nothing is in flight, yet no frame may go: the peer has said that it has no room.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.flight.is_empty() && !self.queue.is_empty() && self.edge == self.una
    }

    /// A path is down or another one: what was in flight there is lost.
    pub(crate) fn path_lost(&mut self, path: usize) {
        for at in 0..self.flight.len() {
            let there = |sent: &Sent| sent.path == path && sent.whereabouts == Whereabouts::Flying;
            if self.flight.get(at).is_some_and(there) {
                let _path = self.again(at);
            }
        }
    }

    /// No longer in flight on its path.
    fn land(&mut self, at: usize) {
        let Some(sent) = self.flight.get(at) else { return };
        if let Some(track) = self.tracks.get_mut(sent.path) {
            track.in_flight = track.in_flight.saturating_sub(1);
        }
    }

    fn lose(&mut self, node: &mut Node, at: usize) {
        if let Some(path) = self.again(at).and_then(|path| node.paths.get_mut(path)) {
            path.strike();
        }
    }

    /// A frame is to go once more. Its path.
    fn again(&mut self, at: usize) -> Option<usize> {
        self.land(at);
        let sent = self.flight.get_mut(at)?;
        sent.whereabouts = Whereabouts::Lost;
        self.lost.push_back(self.una.wrapping_add(u32::try_from(at).unwrap_or(0)));
        Some(sent.path)
    }

    fn arrive(&mut self, node: &mut Node, at: usize, now: Instant) {
        let Some(sent) = self.flight.get_mut(at) else { return };
        let before = core::mem::replace(&mut sent.whereabouts, Whereabouts::Arrived);
        let (path, ordinal, times, rtt) = (sent.path, sent.ordinal, sent.times, now.since(sent.at));
        if before != Whereabouts::Flying {
            return;
        }
        self.land(at);
        if let Some(track) = self.tracks.get_mut(path) {
            track.arrived = track.arrived.max(ordinal.saturating_add(1));
        }
        if times == 1 {
            self.rtt.sample(rtt);
        }
        if let Some(path) = node.paths.get_mut(path).filter(|_| self.policy != Policy::Redundant) {
            path.works();
        }
    }
}
