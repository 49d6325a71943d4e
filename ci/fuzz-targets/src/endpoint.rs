//! The life of one address pair, as its owner sees it: a listener, a half-open connection, a
//! connection, TIME-WAIT; segments, calls and timeouts in any order.
//!
//! What must hold, besides the engine's own invariants after each event: a segment's text lies in
//! what was queued and fits the MSS; text is delivered once and in order; a connection whose peer
//! falls silent comes to rest after its user closed it.

use core::time::Duration;

use tcp::{
    Algorithm, Arrival, Config, EcnMode, Flags, HalfOpen, HalfOpenVerdict, Keepalive,
    ListenVerdict, Listener, RecvBuffer, SegmentIn, SegmentOut, SeqNum, State, Tcb, TimeWait,
    TimeWaitVerdict, Timestamps, closed_reply, limits,
};
use types::Instant;

use crate::bytes::Bytes;
use crate::segment::{Peer, near, segment};

/// Timeouts after which a connection that nobody wants must be gone: far more than any back-off.
const TIMEOUTS_MAX: u32 = 100_000;
/// Segments in a row that a connection may want to send: its queue in the smallest pieces would be
/// more, but an event never brings that many.
const SEGMENTS_MAX: u32 = 64;

/// A receive buffer that knows what the text must be: each byte delivered follows the one before.
struct Buffer {
    capacity: u32,
    unread: u32,
    pending: Vec<u8>,
    next: Option<u8>,
}

impl RecvBuffer for Buffer {
    fn window(&self) -> u32 {
        self.capacity - self.unread
    }

    fn write(&mut self, offset: u32, text: &[u8]) -> u32 {
        let offset = offset as usize;
        let stored = text.len().min((self.window() as usize).saturating_sub(offset));
        if self.pending.len() < offset + stored {
            self.pending.resize(offset + stored, 0);
        }
        if let Some(place) = self.pending.get_mut(offset..offset + stored) {
            place.copy_from_slice(&text[..stored]);
        }
        u32::try_from(stored).unwrap_or(u32::MAX)
    }

    fn advance(&mut self, len: u32) {
        assert!(len <= self.window(), "advanced beyond the buffer");
        for byte in self.pending.drain(..len as usize) {
            assert!(self.next.is_none_or(|next| next == byte), "other text than was sent");
            self.next = Some(byte.wrapping_add(1));
        }
        self.unread += len;
    }
}

/// What the address pair is.
enum Pair {
    Closed,
    Listener(Listener),
    HalfOpen(HalfOpen, Listener),
    Connection(Box<Tcb>),
    TimeWait(TimeWait),
}

struct Life {
    pair: Pair,
    config: Config,
    buffer: Buffer,
    now: Instant,
    peer: Peer,
}

fn config(bytes: &mut Bytes<'_>) -> Config {
    let what = bytes.u8();
    let keepalive = Keepalive { idle_s: u32::from(what >> 6), interval_s: 1, count: 2 };
    Config {
        mss: bytes.below(10_000),
        mss_default: bytes.below(3_000),
        window_scale: bytes.u8() % 20,
        timestamps: what & 1 == 0,
        timestamp_offset: bytes.u32(),
        nodelay: what & 2 == 0,
        congestion: match what >> 2 & 3 {
            0 => Algorithm::NewReno,
            1 => Algorithm::Bbr,
            _ => Algorithm::Cubic,
        },
        ecn: if what & 0xc == 0xc { EcnMode::Accept } else { EcnMode::Ask },
        keepalive: (what & 0x30 == 0).then_some(keepalive),
        ..Config::default()
    }
}

impl Life {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let config = config(bytes);
        let now = Instant::from_millis(u64::from(bytes.u32()));
        let (seq, iss) = (SeqNum::new(bytes.u32()), SeqNum::new(bytes.u32()));
        let peer = Peer { seq, ack: iss, stamps: Timestamps { value: bytes.u32(), echo: 0 } };
        let begin = bytes.u8();
        let pair = match begin % 8 {
            0 | 1 => Pair::Connection(Box::new(Tcb::connect(&config, iss, now))),
            _ => Pair::Listener(Listener::new(u32::from(begin >> 3 & 1))),
        };
        let capacity = u32::from(bytes.below(20_000));
        let buffer = Buffer { capacity, unread: 0, pending: Vec::new(), next: None };
        let mut life = Self { pair, config, buffer, now, peer };
        if begin % 8 > 2 {
            life.handshake(bytes);
        }
        life
    }

    /// Begins with a SYN that a listener takes, and mostly goes on to a connection.
    fn handshake(&mut self, bytes: &mut Bytes<'_>) {
        let sack_permitted = bytes.u8() > 0x3f;
        let mut syn = SegmentIn { flags: Flags::SYN, text: &[], ..segment(bytes, &self.peer) };
        syn.options.sack_permitted |= sack_permitted;
        self.arrives(&syn);
        self.drain();
        let ack = SegmentIn { flags: Flags::ACK, seq: self.peer.seq, ack: self.peer.ack, ..syn };
        self.arrives(&ack);
    }

    /// What the peer learns from a segment of ours.
    fn sent(&mut self, out: &SegmentOut) {
        if out.flags.contains(Flags::RST) {
            return;
        }
        let control =
            u32::from(out.flags.contains(Flags::SYN)) + u32::from(out.flags.contains(Flags::FIN));
        self.peer.ack = out.seq + out.text_len + control;
        if out.flags.contains(Flags::ACK) {
            self.peer.seq = out.ack;
        }
        if let Some(stamps) = out.options.timestamps {
            self.peer.stamps.echo = stamps.value;
        }
    }

    fn arrives(&mut self, seg: &SegmentIn<'_>) {
        let now = self.now;
        match &mut self.pair {
            Pair::Closed => {
                let _ = closed_reply(seg);
            }
            Pair::Listener(listener) => match listener.segment_arrives(seg, now) {
                ListenVerdict::Open | ListenVerdict::Cookie => {
                    listener.opened();
                    let window = u16::try_from(self.buffer.window()).unwrap_or(u16::MAX);
                    let half_open = HalfOpen::new(seg, &self.config, self.peer.ack, window, now);
                    self.peer.seq = seg.seq + 1;
                    self.pair = Pair::HalfOpen(half_open, *listener);
                }
                ListenVerdict::Validate(reset) | ListenVerdict::Reset(reset) => {
                    assert!(reset.flags.contains(Flags::RST));
                }
                ListenVerdict::Drop(_) => {}
            },
            Pair::HalfOpen(half_open, listener) => match half_open.segment_arrives(seg, now) {
                HalfOpenVerdict::Established if listener.established() => {
                    let mut tcb = half_open.into_tcb(&self.config, now);
                    let arrival = tcb.segment_arrives(seg, now, &mut self.buffer);
                    self.pair = Pair::Connection(Box::new(tcb));
                    check(&arrival);
                }
                HalfOpenVerdict::Closed => self.pair = Pair::Listener(*listener),
                _ => {}
            },
            Pair::Connection(tcb) => check(&tcb.segment_arrives(seg, now, &mut self.buffer)),
            Pair::TimeWait(time_wait) => {
                if let TimeWaitVerdict::Reopen(_) = time_wait.segment_arrives(seg, now) {
                    self.pair = Pair::Closed;
                }
            }
        }
    }

    /// Sends what there is to send.
    fn drain(&mut self) {
        for _ in 0..SEGMENTS_MAX {
            let out = match &mut self.pair {
                Pair::HalfOpen(half_open, _) => half_open.poll_transmit(self.now),
                Pair::Connection(tcb) => {
                    let out = tcb.poll_transmit(self.now, &self.buffer);
                    if let Some(out) = &out {
                        let end = out.text_offset + out.text_len;
                        let info = tcb.info();
                        assert!(
                            end <= info.unacked + info.unsent,
                            "{out:?} is beyond the queue: {tcb:?}"
                        );
                        assert!(out.text_len == 0 || !out.flags.contains(Flags::RST), "{out:?}");
                    }
                    out
                }
                _ => None,
            };
            let Some(out) = out else { break };
            let _ = out.options.emit(&mut [0; 40]);
            self.sent(&out);
        }
        if let Pair::Connection(tcb) = &self.pair
            && tcb.state() == State::TimeWait
            && !tcb.wants_transmit()
        {
            self.pair = Pair::TimeWait(TimeWait::new(tcb, self.now));
        }
    }

    fn timeout(&mut self) {
        let now = self.now;
        match &mut self.pair {
            Pair::HalfOpen(half_open, listener) => {
                let waits = half_open.timeout(now);
                if !waits {
                    listener.abandoned();
                    self.pair = Pair::Listener(*listener);
                }
            }
            Pair::Connection(tcb) => {
                let _ = tcb.timeout(now);
            }
            Pair::TimeWait(time_wait) if now >= time_wait.expires() => self.pair = Pair::Closed,
            _ => {}
        }
    }

    fn user(&mut self, bytes: &mut Bytes<'_>) {
        let Pair::Connection(tcb) = &mut self.pair else { return };
        let (what, now) = (bytes.u8(), self.now);
        match what {
            0..8 => tcb.shutdown(now),
            8..10 => tcb.close(now, bytes.bool()),
            10 => tcb.abort(),
            11 => {
                let quoted = near(bytes, self.peer.ack - 1_000);
                let _ = tcb.path_mtu(bytes.u16(), quoted, now);
            }
            12..16 => tcb.set_keepalive(bytes.bool().then(Keepalive::default), now),
            16 => tcb.send(u32::MAX),
            17..24 => tcb.send_urgent(u32::from(bytes.u8())),
            24..32 => tcb.send_more(u32::from(bytes.u16())),
            32..40 => tcb.set_cork(bytes.bool()),
            40..44 => tcb.set_nodelay(bytes.bool()),
            44..48 => tcb.set_quick_ack(bytes.bool()),
            48..52 => tcb.set_window_clamp(u32::from(bytes.u16())),
            52..56 => tcb.set_user_timeout(Duration::from_millis(u64::from(bytes.u16()))),
            56..60 => tcb.set_user_timeout_option(bytes.bool()),
            60..64 => {
                tcb.set_congestion(if bytes.bool() { Algorithm::Bbr } else { Algorithm::Cubic })
            }
            64 => tcb.set_max_pacing_rate(u64::from(bytes.u32())),
            65 => tcb.set_pacing(bytes.bool()),
            66 => tcb.set_not_sent_low(u32::from(bytes.u16())),
            67 => tcb.set_syn_retries(bytes.u8()),
            68 => tcb.set_fin_wait_2(bytes.bool().then(|| u32::from(bytes.u8()))),
            69..74 => {
                let _ = tcb.tune_receive(bytes.u32(), self.buffer.unread, now);
            }
            74..128 => {
                self.buffer.unread = 0;
                tcb.window_opened(&self.buffer, now);
            }
            _ => tcb.send(u32::from(bytes.below(9_000))),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.u8() {
            0..32 => self.user(bytes),
            32..56 => {
                self.now += Duration::from_millis(u64::from(bytes.below(400)));
                self.timeout();
            }
            56..60 => {
                if let Some(due) = self.due() {
                    self.now = self.now.max(due);
                    self.timeout();
                }
            }
            60..128 => self.drain(),
            _ => {
                let seg = segment(bytes, &self.peer);
                self.arrives(&seg);
                self.peer.stamps.value = self.peer.stamps.value.wrapping_add(1);
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        match &self.pair {
            Pair::HalfOpen(half_open, _) => Some(half_open.next_timeout()),
            Pair::Connection(tcb) => tcb.next_timeout(),
            Pair::TimeWait(time_wait) => Some(time_wait.expires()),
            Pair::Closed | Pair::Listener(_) => None,
        }
    }

    /// The user closes, the peer is silent.
    fn rest(&mut self) {
        if let Pair::Connection(tcb) = &mut self.pair {
            tcb.close(self.now, false);
        }
        for _ in 0..TIMEOUTS_MAX {
            self.drain();
            let Some(due) = self.due() else { break };
            self.now = self.now.max(due);
            self.timeout();
        }
        if let Pair::Connection(tcb) = &self.pair {
            assert_eq!(tcb.state(), State::Closed, "it does not come to rest: {tcb:?}");
        }
        assert!(self.due().is_none(), "it does not come to rest");
    }
}

fn check(arrival: &Arrival) {
    assert!(arrival.acked_len <= limits::SEND_QUEUE_MAX);
}

/// The life of an address pair.
pub fn endpoint(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let mut life = Life::new(&mut bytes);
    while !bytes.is_empty() {
        life.step(&mut bytes);
        if matches!(life.pair, Pair::Closed) {
            break;
        }
    }
    life.rest();
}
