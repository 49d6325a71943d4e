//! A burst of frames, taken in by runs and trains. A run is plain segments of one flow, one after the
//! other: one lookup for all of them. A train is those of a run each of which continues the one before:
//! one event of the engine, as if the port had merged them (GRO). Flows that alternate are gathered first.
//! Everything else goes the general way, frame by frame; frames of one flow keep their order.
//!
//! ```text
//!   came    A1 A2 B7 A3 ack ARP A4 B8 SYN of A  A9  …      A, B: flows; the numbers continue
//!   burst   A1 A2 A3 ack A4 │ B7 B8 │ ARP │ SYN of A │ A9
//!           └─train┘        │ train │     │          │
//!           └────run────────┘──run──┘apart┘───apart──┘run
//! ```

use dpdk::{BURST_MAX, Burst, ChecksumState, Mbuf};
use tcp::Events;
use types::{Instant, MacAddr};
use wire::{Plain, ipv4};

use crate::flow::Flow;
use crate::network::Destination;
use crate::output::Output;
use crate::socket::{Kind, Look, SocketId};
use crate::timer_wheel::Endpoint;
use crate::worker::Worker;

/// What a frame is to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not plain, not sound or not for us: for the general way.
    Apart,
    /// A plain segment.
    Plain,
    /// It continues the frame before it.
    Next,
}

/// Frames that were looked at: how many, whose they seem to be, that flow's hash, and which connection
/// that is, if it was met at once.
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
        if let Some(joined) = self.out.network.links.joined(interface) {
            return self.lagg_input(burst, interface, joined, now);
        }
        if self.out.network.links.member(interface).is_some() {
            return self.bridge_input(burst, interface, now);
        }
        if self.out.network.host.is_router() {
            self.forward_burst(burst, interface, now);
            if burst.is_empty() {
                return;
            }
        }
        let mut runs = core::mem::take(&mut self.runs);
        let mut places = [Place::Apart; BURST_MAX];
        self.divide(burst.as_slice(), interface, &mut places, &mut runs);
        gather(burst.iter_mut().into_slice(), &mut places, &mut runs, goes_on);
        self.fetch(&mut runs);
        let changes = self.flows.changes();
        let mut places = places.as_slice();
        // From here on the first frame is the last, where it can be taken away.
        burst.reverse();
        for run in runs.drain(..) {
            let Some((own, later)) = places.split_at_checked(run.len) else { break };
            places = later;
            let connection = run.connection.filter(|_| self.flows.changes() == changes);
            self.flows.set_staged(run.flow, run.hash, connection);
            if run.apart {
                if let Some(mbuf) = burst.pop() {
                    self.input(mbuf, interface, now);
                }
            } else {
                self.run_input(burst, (own, &run.flow), interface, now);
            }
        }
        self.runs = runs;
    }

    /// Looks ahead over a burst: what belongs together.
    fn divide(&self, burst: &[Mbuf], interface: u16, places: &mut Places, runs: &mut Vec<Run>) {
        let up = self.out.network.interface(interface).filter(|config| config.up);
        // Who listens to all of TCP hears each segment by itself.
        let up = up.filter(|_| !self.out.network.raw.has(false, ipv4::Protocol::TCP.0));
        let mac = up.map(|config| config.mac);
        let (mut frames, mut places) = (burst, places.as_mut_slice());
        let mut ours = None;
        while let (Some((mbuf, later)), Some((place, behind))) =
            (frames.split_first(), places.split_first_mut())
        {
            let head = mac.and_then(|mac| self.plain_segment(mbuf, mac, interface, &mut ours));
            let (flow, len) = match &head {
                Some(head) => {
                    *place = Place::Plain;
                    (Flow::of_plain(head), siblings(head, later, behind))
                }
                None => (self.glance(mbuf), 0),
            };
            self.stage_run(flow, len.wrapping_add(1), head.is_none(), runs);
            frames = later.get(len..).unwrap_or_default();
            places = behind.get_mut(len..).unwrap_or_default();
        }
    }

    /// Sees to it that no segment waits for memory: first all buckets of the flow table are asked for,
    /// then all records, then what lies beside them.
    fn fetch(&self, runs: &mut [Run]) {
        for run in &*runs {
            self.flows.prefetch(run.hash);
        }
        for run in runs.iter_mut().filter(|run| run.flow != Flow::NONE) {
            run.connection = self.flows.guess(run.hash);
            if let Some(number) = run.connection {
                self.sockets.prefetch(number);
            }
        }
        let mut asleep = 0_usize;
        for run in runs.iter_mut() {
            let found = run.connection.and_then(|number| self.fetch_beside(number, &run.flow));
            if found.is_none() {
                run.connection = None;
            }
            asleep = asleep.saturating_add(usize::from(found == Some(true)));
        }
        if asleep > 0 {
            self.sockets.prefetch_oldest(asleep);
        }
    }

    /// The plain segment in a frame for `mac` and for one of our addresses, if it is right. One that is
    /// passed on is not summed up: that is its receiver's to do. `ours`: the addresses of the last that
    /// was for us, which need no other look.
    #[inline]
    fn plain_segment<'a>(
        &self,
        mbuf: &'a Mbuf,
        mac: MacAddr,
        interface: u16,
        ours: &mut Option<u64>,
    ) -> Option<Plain<'a>> {
        let plain = Plain::parse(mbuf.whole()?).filter(|plain| plain.station() == mac)?;
        if *ours != Some(plain.addresses()) {
            let to = self.check_addresses(plain.src(), plain.dst(), interface);
            if to != Ok(Destination::Local) {
                return None;
            }
            *ours = Some(plain.addresses());
        }
        is_sound(&plain, mbuf).then_some(plain)
    }

    /// Whose any other frame seems to be. What a router passes on is no flow of its own.
    #[inline]
    fn glance(&self, mbuf: &Mbuf) -> Flow {
        let Output { network, addresses, .. } = &self.out;
        let ours = |flow: &Flow| {
            !network.host.forward || addresses.classify(flow.local_addr) == Destination::Local
        };
        Flow::glance(mbuf.data()).filter(ours).unwrap_or(Flow::NONE)
    }

    /// A run begins.
    fn stage_run(&self, flow: Flow, len: usize, apart: bool, runs: &mut Vec<Run>) {
        let hash = match runs.last() {
            Some(last) if last.flow == flow => last.hash,
            _ => self.flows.hash(&flow),
        };
        runs.push(Run { len, flow, hash, connection: None, apart });
    }

    /// The words of the client that text for this connection will change, and what it has in flight. `true`:
    /// it sleeps. `None`: it is not of this flow.
    #[inline]
    fn fetch_beside(&self, number: u32, flow: &Flow) -> Option<bool> {
        let (_, look) = self.sockets.look(number)?;
        let socket = match look {
            Look::Awake(socket) => socket,
            Look::Asleep(sleeper) => {
                sleeper.prefetch_words(&self.clients);
                return (sleeper.flow == *flow).then_some(true);
            }
        };
        let Kind::Stream(stream) = &socket.kind else { return None };
        if let Some(client) = self.clients.owner(socket.client) {
            client.prefetch(socket.cell);
            dpdk::prefetch(stream.recv.next_shown(&client.lane));
            if let Some(record) = stream.tcb.record() {
                dpdk::prefetch(record);
            }
        }
        (stream.flow == *flow).then_some(false)
    }

    /// The frames of a flow's run, the first of them the last of `burst`, and what becomes of them.
    fn run_input(
        &mut self,
        burst: &mut Burst,
        (places, flow): (&[Place], &Flow),
        interface: u16,
        now: Instant,
    ) {
        let start = burst.len().saturating_sub(places.len());
        let frames = burst.as_slice().get(start..).unwrap_or_default();
        let taken = self.run_segments(flow, frames, places, now);
        self.finish_back(taken, burst);
        for _ in taken..places.len() {
            let Some(mut mbuf) = burst.pop() else { break };
            // It was right, and is not summed up again, here or by another worker.
            mbuf.set_rx_checksums(ChecksumState::Good, ChecksumState::Good);
            self.input(mbuf, interface, now);
        }
    }

    /// The segments of a run, if a connection is there for them. Returns how many it has taken; the
    /// others are for the general way.
    fn run_segments(
        &mut self,
        flow: &Flow,
        frames: &[Mbuf],
        places: &[Place],
        now: Instant,
    ) -> usize {
        let (mut frames, mut places) = (frames, places);
        let mut taken = 0_usize;
        while !places.is_empty() {
            // What is not routine may have put another endpoint in its place.
            let endpoint = self.flows.find(flow, &self.sockets);
            let Some(Endpoint::Connection(index)) = endpoint else { break };
            let Some(id) = self.sockets.id(index) else { break };
            let count = self.connection_trains(id, frames, places, now);
            if count == 0 {
                break;
            }
            taken = taken.saturating_add(count);
            frames = frames.get(..frames.len().saturating_sub(count)).unwrap_or_default();
            places = places.get(count..).unwrap_or_default();
        }
        let count = u64::try_from(taken).unwrap_or(0);
        self.counters.ipv4.packets_received.add(count);
        self.counters.tcp.segments_received.add(count);
        taken
    }

    /// Trains of a connection, up to the first event that is not routine; the first frame is the last.
    /// Returns how many of the frames were taken: none if the connection is gone.
    fn connection_trains(
        &mut self,
        id: SocketId,
        mut frames: &[Mbuf],
        mut places: &[Place],
        now: Instant,
    ) -> usize {
        let Some(socket) = self.sockets.find_mut(id) else { return 0 };
        let Kind::Stream(stream) = &mut socket.kind else { return 0 };
        let mut lane = self.clients.owner_mut(socket.client).map(|client| &mut client.lane);
        let mut lender = match self.lender.as_deref_mut() {
            Some(lender) => {
                lender.look_at(frames);
                lender.for_reader(socket.client, lane.as_deref())
            }
            None => None,
        };
        let (mut taken, mut events) = (0_usize, Events::NONE);
        while let (Some((first, later)), Some((_, behind))) =
            (frames.split_last(), places.split_first())
            && let Some(head) = Plain::parse_again(first.data())
        {
            let segment = segment_in(&head);
            let len = behind.iter().take_while(|place| **place == Place::Next).count();
            let train = if len == 0 {
                stream.train((lane.as_deref_mut(), lender.as_deref_mut()), &segment, &[], now)
            } else {
                let mut texts = [[].as_slice(); BURST_MAX];
                for (text, mbuf) in texts.iter_mut().zip(later.iter().rev().take(len)) {
                    *text = head.text_of_next(mbuf.data()).unwrap_or_default();
                }
                let texts = texts.get(..len).unwrap_or_default();
                stream.train((lane.as_deref_mut(), lender.as_deref_mut()), &segment, texts, now)
            };
            if let Some(reason) = train.drop {
                self.out.count_drop(reason);
            }
            taken = taken.saturating_add(train.taken);
            frames = frames.get(..frames.len().saturating_sub(train.taken)).unwrap_or_default();
            places = places.get(train.taken..).unwrap_or_default();
            events = train.events;
            if !Events::ROUTINE.contains(events) {
                break;
            }
        }
        stream.touch(id, &mut self.touched);
        if !Events::ROUTINE.contains(events) {
            self.settle(id, events, now);
        }
        taken
    }
}

/// Each run of plain segments joins the one before it of its flow, with all between them behind it, unless
/// a frame of the flow is between that goes the general way. `goes_on`: does the second frame continue the
/// first?
fn gather<T>(
    frames: &mut [T],
    places: &mut [Place],
    runs: &mut Vec<Run>,
    goes_on: impl Fn(&T, &T) -> Option<bool>,
) {
    if runs.len() < 2 {
        return;
    }
    // Nearly always there is nothing to gather: a bit for each hash of plain segments that was met says so.
    let mut met = [0_u64; 4];
    let (mut index, mut start) = (0_usize, 0_usize);
    while let Some(run) = runs.get(index).copied() {
        let end = start.wrapping_add(run.len);
        let before = if !run.apart && meets(&mut met, run.hash) {
            last_of(runs, index, run.flow)
        } else {
            None
        };
        match before {
            Some((before, to)) => {
                if let Some(frames) = frames.get_mut(to..end) {
                    frames.rotate_right(run.len);
                }
                if let Some(places) = places.get_mut(to..end) {
                    places.rotate_right(run.len);
                }
                let pair = frames.get(to.wrapping_sub(1)).zip(frames.get(to));
                if let Some(place) = places.get_mut(to)
                    && pair.and_then(|(last, first)| goes_on(last, first)) == Some(true)
                {
                    *place = Place::Next;
                }
                if let Some(before) = runs.get_mut(before) {
                    before.len = before.len.wrapping_add(run.len);
                }
                let _ = runs.remove(index);
            }
            None => index = index.wrapping_add(1),
        }
        start = end;
    }
}

/// Was a hash met that has the bit of this one?
#[inline]
fn meets(met: &mut [u64; 4], hash: u64) -> bool {
    let bit = 1_u64.wrapping_shl(u32::try_from(hash & 63).unwrap_or(0));
    let Some(word) = met.get_mut(usize::try_from(hash >> 6 & 3).unwrap_or(0)) else { return false };
    core::mem::replace(word, *word | bit) & bit != 0
}

/// The last run before the one at `index` of this flow, and where its frames end, if they are plain.
#[cold]
fn last_of(runs: &[Run], index: usize, flow: Flow) -> Option<(usize, usize)> {
    let runs = runs.get(..index)?;
    let found = runs.iter().rposition(|run| run.flow == flow)?;
    let end =
        runs.iter().take(found.wrapping_add(1)).fold(0_usize, |sum, run| sum.wrapping_add(run.len));
    runs.get(found).is_some_and(|run| !run.apart).then_some((found, end))
}

/// Does a plain segment continue another?
fn goes_on(before: &Mbuf, next: &Mbuf) -> Option<bool> {
    let before = Plain::parse(before.whole()?)?;
    Some(before.sibling(next.whole()?)?.continues(&before))
}

/// How many frames go on with the flow of a plain segment, and what each of them is to the one before.
fn siblings(head: &Plain<'_>, frames: &[Mbuf], places: &mut [Place]) -> usize {
    let mut before = *head;
    let mut count = 0_usize;
    for (mbuf, place) in frames.iter().zip(places) {
        let next = mbuf.whole().and_then(|frame| before.sibling(frame));
        let Some(plain) = next.filter(|plain| is_sound(plain, mbuf)) else { break };
        *place = if plain.continues(&before) { Place::Next } else { Place::Plain };
        before = plain;
        count = count.wrapping_add(1);
    }
    count
}

/// Both checksums are right.
#[inline]
fn is_sound(plain: &Plain<'_>, mbuf: &Mbuf) -> bool {
    mbuf.is_rx_verified() || is_summed_up(*plain, mbuf)
}

/// The same where the port has not looked at both, or has found one wrong.
#[inline(never)]
fn is_summed_up(plain: Plain<'_>, mbuf: &Mbuf) -> bool {
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

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    /// A burst in words: each frame a letter, its flow, and a number; `!` is for the general way. What it is
    /// after it was gathered: runs apart, and `+` before what continues.
    fn gathered(burst: &str) -> String {
        let mut frames: Vec<&str> = burst.split_whitespace().collect();
        let number = |frame: &str| frame[1..].trim_end_matches('!').parse::<u32>().unwrap();
        let goes_on = |a: &&str, b: &&str| Some(number(b) == number(a) + 1);
        let (mut places, mut runs) = (Vec::new(), Vec::<Run>::new());
        for (at, frame) in frames.iter().enumerate() {
            let letter = frame.as_bytes()[0];
            let (local_addr, remote_addr) =
                (Ipv4Addr::LOCALHOST, Ipv4Addr::from(u32::from(letter)));
            let flow = Flow { local_addr, remote_addr, local_port: 1, remote_port: 2 };
            let apart = frame.ends_with('!');
            match runs.last_mut().filter(|last| !apart && !last.apart && last.flow == flow) {
                Some(last) => {
                    last.len += 1;
                    let next = goes_on(&frames[at - 1], frame) == Some(true);
                    places.push(if next { Place::Next } else { Place::Plain });
                }
                None => {
                    places.push(if apart { Place::Apart } else { Place::Plain });
                    // Two flows in one place of the map.
                    let hash = u64::from(letter & 1);
                    runs.push(Run { len: 1, flow, hash, connection: None, apart });
                }
            }
        }
        gather(&mut frames, &mut places, &mut runs, goes_on);
        let mut words = Vec::new();
        let mut all = frames.iter().zip(places);
        for run in runs {
            let own: Vec<_> = all.by_ref().take(run.len).collect();
            let word = |(frame, place): &(&&str, Place)| match place {
                Place::Next => format!("+{frame}"),
                _ => (**frame).to_string(),
            };
            words.push(own.iter().map(word).collect::<Vec<_>>().join(" "));
        }
        words.join(" | ")
    }

    #[test]
    fn flows_that_alternate_are_gathered() {
        assert_eq!(gathered("a1 b5 a2 b6 a3 b7"), "a1 +a2 +a3 | b5 +b6 +b7");
        assert_eq!(gathered("a1 a2 b5 c9 a3 a4 c10 b7"), "a1 +a2 +a3 +a4 | b5 b7 | c9 +c10");
        assert_eq!(gathered("a1 a2 b1 c1"), "a1 +a2 | b1 | c1");
    }

    #[test]
    fn what_goes_the_general_way_stays_in_its_place_within_its_flow() {
        assert_eq!(gathered("a1 b1! a2 a3! b2 a4 b3"), "a1 +a2 | b1! | a3! | b2 +b3 | a4");
        assert_eq!(gathered("a1! a2! a3 b1 a4"), "a1! | a2! | a3 +a4 | b1");
    }
}
