//! What an ACK acknowledges as a rule: whole segments from the front on that were sent once, while
//! nothing is lost or SACKed.

use types::Instant;

use super::{Scoreboard, Segment};
use crate::SeqNum;

/// Segments that were acknowledged at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// When the first was sent.
    pub(crate) first_sent_at: Instant,
    /// The last.
    pub(crate) last: Segment,
}

impl Scoreboard {
    /// Everything before `ack` has arrived, if that is whole segments that were sent once, in their
    /// order, `usual` takes the last, and there is nothing else to know of what is in flight. `None`,
    /// and nothing done, otherwise: [`Scoreboard::acknowledge`] is for that.
    pub(crate) fn acknowledge_run(
        &mut self,
        ack: SeqNum,
        usual: impl FnOnce(&Segment) -> bool,
    ) -> Option<Run> {
        let (head, tail) = self.sent?;
        if head != self.first
            || self.lost.is_some()
            || (self.sacked_len, self.sacked_count) != (0, 0)
        {
            return None;
        }
        let front = self.segments.front()?;
        if front.end == ack && head == tail {
            return self.acknowledge_last(ack, usual);
        }
        let first_sent_at = front.sent_at;
        let (mut id, mut count) = (head, 0_usize);
        let last = loop {
            let segment = self.segments.get(count)?;
            let next = id.wrapping_add(1);
            count = count.saturating_add(1);
            if segment.retransmitted || segment.end.after(ack) {
                return None;
            }
            if segment.end == ack {
                break *segment;
            }
            if segment.next != next {
                return None;
            }
            id = next;
        };
        if !usual(&last) {
            return None;
        }
        for _ in 0..count {
            let _ = self.segments.pop_front();
        }
        self.first = id.wrapping_add(1);
        self.una = ack;
        self.sent = (id != tail).then_some((last.next, tail));
        if let Some(next) = self.get_mut(last.next).filter(|_| id != tail) {
            next.prev = last.next;
        }
        Some(Run { first_sent_at, last })
    }

    /// The only segment, up to `ack`.
    #[inline]
    fn acknowledge_last(
        &mut self,
        ack: SeqNum,
        usual: impl FnOnce(&Segment) -> bool,
    ) -> Option<Run> {
        let last = *self.segments.front().filter(|last| !last.retransmitted && usual(last))?;
        let _ = self.segments.pop_front();
        self.first = self.first.wrapping_add(1);
        (self.una, self.sent) = (ack, None);
        Some(Run { first_sent_at: last.sent_at, last })
    }
}
