//! TIME-WAIT in 32 bytes (RFC 9293 §3.6.1, RFC 6191, RFC 1337).

use types::{DropReason, Instant};

use crate::challenge::ChallengeLimit;
use crate::timestamp::{is_older, millis};
use crate::{Flags, Options, SegmentIn, SegmentOut, SeqNum, Tcb, Timestamps, limits};

/// What remains of a connection for 2 MSL after it closed.
#[derive(Clone, Copy, Debug)]
pub struct TimeWait {
    expires: Instant,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    /// TS.Recent, significant with `timestamps`.
    ts_recent: u32,
    ts_offset: u32,
    window: u16,
    challenge: ChallengeLimit,
    timestamps: bool,
}

const _: () = assert!(size_of::<TimeWait>() <= 32);

/// What to do with a segment for a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeWaitVerdict {
    /// Send this ACK.
    Acknowledge(SegmentOut),
    /// A SYN that can only be a new connection (RFC 6191 §2): free the block and treat it as a SYN
    /// to the listener, with an ISS at or beyond this one.
    Reopen(SeqNum),
    /// Nothing to do.
    Drop(DropReason),
}

impl TimeWait {
    /// The remains of `tcb`, which is in TIME-WAIT and has nothing more to transmit.
    #[must_use]
    pub fn new(tcb: &Tcb, now: Instant) -> Self {
        let window = tcb.rcv.adv.since(tcb.rcv.nxt).checked_shr(u32::from(tcb.rcv.scale));
        Self {
            expires: now + limits::TIME_WAIT,
            snd_nxt: tcb.snd.max,
            rcv_nxt: tcb.rcv.nxt,
            ts_recent: tcb.timestamps.recent,
            ts_offset: tcb.timestamps.offset,
            window: u16::try_from(window.unwrap_or(0)).unwrap_or(u16::MAX),
            challenge: ChallengeLimit::default(),
            timestamps: tcb.timestamps.enabled,
        }
    }

    /// When 2 MSL are over and the block can be freed.
    #[must_use]
    pub const fn expires(&self) -> Instant {
        self.expires
    }

    /// SEGMENT ARRIVES in TIME-WAIT.
    #[must_use]
    pub fn segment_arrives(&mut self, seg: &SegmentIn<'_>, now: Instant) -> TimeWaitVerdict {
        if seg.flags.contains(Flags::RST) {
            // RFC 1337: TIME-WAIT must not be assassinated.
            return TimeWaitVerdict::Drop(DropReason::TcpResetUnacceptable);
        }
        if seg.flags.contains(Flags::SYN) {
            let reopens = !seg.flags.contains(Flags::ACK) && self.is_newer(seg);
            return if reopens {
                TimeWaitVerdict::Reopen(self.snd_nxt + limits::REOPEN_ISN_STEP)
            } else {
                self.challenge(now, DropReason::TcpSynUnacceptable)
            };
        }
        if self.timestamps {
            match seg.options.timestamps {
                None => return TimeWaitVerdict::Drop(DropReason::TcpTimestampMissing),
                Some(theirs) if is_older(theirs.value, self.ts_recent) => {
                    return self.challenge(now, DropReason::TcpPaws);
                }
                Some(_) => {}
            }
        }
        let end = seg.seq + seg.len();
        if seg.flags.contains(Flags::FIN) && end == self.rcv_nxt {
            // The peer did not get our last ACK: 2 MSL begin again.
            self.expires = now + limits::TIME_WAIT;
            return TimeWaitVerdict::Acknowledge(self.acknowledgment(now));
        }
        let expected = seg.is_empty() && seg.seq == self.rcv_nxt && seg.ack == self.snd_nxt;
        if expected {
            TimeWaitVerdict::Drop(DropReason::TcpDuplicate)
        } else {
            self.challenge(now, DropReason::TcpSequence)
        }
    }

    /// RFC 6191 §2: the SYN's timestamp, or else its sequence number, is beyond the old
    /// connection's, so it can't be one of its strays.
    fn is_newer(&self, syn: &SegmentIn<'_>) -> bool {
        let beyond = syn.seq.after(self.rcv_nxt);
        match syn.options.timestamps.filter(|_| self.timestamps) {
            Some(theirs) if theirs.value == self.ts_recent => beyond,
            Some(theirs) => is_older(self.ts_recent, theirs.value),
            None => beyond,
        }
    }

    /// An ACK, unless this connection has sent its share (RFC 5961 §7).
    fn challenge(&mut self, now: Instant, reason: DropReason) -> TimeWaitVerdict {
        if !self.challenge.allow(now) {
            return TimeWaitVerdict::Drop(reason);
        }
        TimeWaitVerdict::Acknowledge(self.acknowledgment(now))
    }

    fn acknowledgment(&self, now: Instant) -> SegmentOut {
        let value = millis(now).wrapping_add(self.ts_offset);
        let timestamps = self.timestamps.then_some(Timestamps { value, echo: self.ts_recent });
        SegmentOut {
            window: self.window,
            options: Options { timestamps, ..Options::default() },
            ..SegmentOut::control(self.snd_nxt, self.rcv_nxt, Flags::ACK)
        }
    }
}
