//! The language of the tests: a connection under test, and a peer made of single segments.
//!
//! Sequence numbers are relative: our first text byte is 1, the peer's too.

use core::time::Duration;
use std::collections::VecDeque;

use types::Instant;

use crate::*;

pub(crate) const ISS: SeqNum = SeqNum::new(0xffff_f000);
pub(crate) const IRS: SeqNum = SeqNum::new(0x7fff_ff00);

/// A receive buffer in ordinary memory.
pub(crate) struct Buffer {
    capacity: u32,
    pending: VecDeque<u8>,
    unread: Vec<u8>,
    pub(crate) total: u64,
    /// Places of the urgent bytes, counted from the stream's first byte.
    pub(crate) marks: Vec<u64>,
}

impl Buffer {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { capacity, pending: VecDeque::new(), unread: Vec::new(), total: 0, marks: Vec::new() }
    }

    pub(crate) fn read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }
}

impl RecvBuffer for Buffer {
    fn window(&self) -> u32 {
        self.capacity - self.unread.len() as u32
    }

    fn write(&mut self, offset: u32, text: &[u8]) -> u32 {
        let room = self.window().saturating_sub(offset) as usize;
        let stored = text.len().min(room);
        let end = offset as usize + stored;
        if self.pending.len() < end {
            self.pending.resize(end, 0);
        }
        for (place, byte) in self.pending.range_mut(offset as usize..end).zip(text) {
            *place = *byte;
        }
        stored as u32
    }

    fn advance(&mut self, len: u32) {
        assert!(len <= self.window(), "advanced beyond the buffer");
        self.total += u64::from(len);
        self.unread.extend(self.pending.drain(..len as usize));
    }

    fn mark_urgent(&mut self, offset: u32) {
        self.marks.push(self.total + u64::from(offset));
    }
}

/// A segment from the peer: build with the methods below.
#[derive(Clone)]
pub(crate) struct Seg {
    pub(crate) seq: SeqNum,
    pub(crate) ack: SeqNum,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) ecn: Codepoint,
    pub(crate) options: Options,
    pub(crate) text: Vec<u8>,
}

/// `<SEQ=seq><ACK=ack><CTL=ACK>`, relative.
pub(crate) fn seg(seq: u32, ack: u32) -> Seg {
    Seg {
        seq: IRS + seq,
        ack: ISS + ack,
        flags: Flags::ACK,
        window: 60_000,
        urgent: 0,
        ecn: Codepoint::NotEct,
        options: Options::default(),
        text: Vec::new(),
    }
}

impl Seg {
    pub(crate) fn text(mut self, len: u32) -> Self {
        let first = self.seq.since(IRS);
        self.text = (0..len).map(|i| pattern(first.wrapping_add(i))).collect();
        self
    }
    pub(crate) fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }
    pub(crate) fn fin(mut self) -> Self {
        self.flags |= Flags::FIN;
        self
    }
    pub(crate) fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }
    pub(crate) fn urgent(mut self, urgent: u16) -> Self {
        self.flags |= Flags::URG;
        self.urgent = urgent;
        self
    }
    /// A router marked it.
    pub(crate) fn ce(mut self) -> Self {
        self.ecn = Codepoint::Ce;
        self
    }
    pub(crate) fn ts(mut self, value: u32, echo: u32) -> Self {
        self.options.timestamps = Some(Timestamps { value, echo });
        self
    }
    /// SACK blocks, in our numbers.
    pub(crate) fn sack(mut self, blocks: &[(u32, u32)]) -> Self {
        for (start, end) in blocks {
            self.options.sack.push(SackBlock { start: ISS + *start, end: ISS + *end });
        }
        self
    }
    pub(crate) fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
    pub(crate) fn arrived(&self) -> SegmentIn<'_> {
        SegmentIn {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: self.urgent,
            ecn: self.ecn,
            options: self.options,
            text: &self.text,
        }
    }
}

/// The byte at a place in the stream.
pub(crate) fn pattern(at: u32) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 24) as u8
}

/// A segment we sent, relative: what tests compare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) seq: u32,
    pub(crate) len: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
}

impl core::fmt::Debug for Sent {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{} ack {} {:?}", self.seq, self.len, self.ack, self.flags)
    }
}

/// A pure ACK.
pub(crate) fn ack(seq: u32, ack: u32) -> Sent {
    Sent { seq, len: 0, ack, flags: Flags::ACK }
}

/// Text, without regard of PSH.
pub(crate) fn text(seq: u32, len: u32, ack: u32) -> Sent {
    Sent { seq, len, ack, flags: Flags::ACK }
}

pub(crate) fn fin(seq: u32, len: u32, ack: u32) -> Sent {
    Sent { seq, len, ack, flags: Flags::FIN | Flags::ACK }
}

/// The connection under test with its clock and buffer.
pub(crate) struct Host {
    pub(crate) tcb: Tcb,
    pub(crate) buffer: Buffer,
    pub(crate) now: Instant,
    pub(crate) events: Events,
}

/// MSS 1000, no timestamps, no scaling, halving on loss: numbers stay readable.
pub(crate) fn plain() -> Config {
    let congestion = Algorithm::NewReno;
    Config { mss: 1000, timestamps: false, window_scale: 0, congestion, ..Config::default() }
}

pub(crate) fn syn_options() -> Options {
    Options { mss: Some(1000), ..Options::default() }
}

impl Host {
    pub(crate) fn syn_sent(config: Config) -> Self {
        let now = Instant::from_millis(1_000_000);
        let tcb = Tcb::connect(&config, ISS, now);
        Self { tcb, buffer: Buffer::new(64_000), now, events: Events::NONE }
    }

    pub(crate) fn established() -> Self {
        Self::established_with(plain(), syn_options())
    }

    /// Past the handshake; the quick ACKs are spent, so that delayed ACKs are the rule.
    pub(crate) fn established_with(config: Config, theirs: Options) -> Self {
        let mut host = Self::syn_sent(config);
        assert_eq!(host.sends().len(), 1);
        let syn = seg(0, 1).flags(Flags::SYN | Flags::ACK).options(theirs);
        assert!(host.gets(&syn).events.contains(Events::ESTABLISHED));
        assert_eq!(host.sends(), [ack(1, 1)]);
        host.tcb.quick_acks = 0;
        host
    }

    pub(crate) fn nodelay() -> Self {
        Self::established_with(Config { nodelay: true, ..plain() }, syn_options())
    }

    /// SACK is in use, the round trip of the handshake took `rtt_ms`, and the window is ten
    /// segments.
    pub(crate) fn sacking(rtt_ms: u64) -> Self {
        let mut host = Self::syn_sent(Config { nodelay: true, ..plain() });
        let _ = host.sends();
        host.wait_ms(rtt_ms);
        let theirs = Options { sack_permitted: true, ..syn_options() };
        let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(theirs));
        assert_eq!(host.sends(), [ack(1, 1)]);
        host
    }

    /// Established with a cwnd that is never in the way.
    pub(crate) fn fast() -> Self {
        let mut host = Self::nodelay();
        host.tcb.cc.set_cwnd(1_000_000, 1000);
        host
    }

    pub(crate) fn state(&self) -> State {
        self.tcb.state()
    }

    pub(crate) fn gets(&mut self, segment: &Seg) -> Arrival {
        let arrival = self.tcb.segment_arrives(&segment.arrived(), self.now, &mut self.buffer);
        self.events |= arrival.events;
        arrival
    }

    pub(crate) fn raw(&mut self) -> Vec<SegmentOut> {
        let mut all = Vec::new();
        while let Some(segment) = self.tcb.poll_transmit(self.now, &self.buffer) {
            all.push(segment);
            assert!(all.len() < 10_000, "endless transmission");
        }
        assert!(!self.tcb.wants_transmit());
        all
    }

    /// What goes out now.
    pub(crate) fn sends(&mut self) -> Vec<Sent> {
        let relative = |segment: SegmentOut| Sent {
            seq: segment.seq.since(ISS),
            len: segment.text_len,
            ack: if segment.flags.contains(Flags::ACK) { segment.ack.since(IRS) } else { 0 },
            flags: segment.flags.without(Flags::PSH),
        };
        self.raw().into_iter().map(relative).collect()
    }

    pub(crate) fn queue(&mut self, len: u32) -> Vec<Sent> {
        self.tcb.send(len);
        self.sends()
    }

    /// Lets time pass up to the next timer and runs it. Milliseconds it took.
    pub(crate) fn fire(&mut self) -> u64 {
        let due = self.tcb.next_timeout().expect("a timer is on");
        let waited = due.since(self.now).as_millis();
        self.now = self.now.max(due);
        self.events |= self.tcb.timeout(self.now);
        u64::try_from(waited).unwrap()
    }

    /// No timer is on, but for the one that drops the record of an idle connection's flight.
    pub(crate) fn rests(&mut self) -> bool {
        if self.tcb.timers.is_on(timers::Timer::Idle) {
            let _ = self.fire();
            assert!(self.tcb.flight.is_none() && self.sends().is_empty());
        }
        self.tcb.next_timeout().is_none()
    }

    pub(crate) fn wait_ms(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.tcb.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.events |= self.tcb.timeout(self.now);
        }
        self.now = end;
    }
}

/// xorshift64*: small, seeded, good enough to mix events.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        ((self.next() >> 32) % u64::from(n)) as u32
    }
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}
