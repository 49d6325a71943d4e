//! Segments of several MSS, for whoever cuts them at the edge: the port, or the caller on its behalf.
//! One decision and one set of headers serve many segments; to the peer and to loss recovery they are
//! as many as they would be else.

use crate::Tcb;

impl Tcb {
    /// How much of `unsent` bytes may go as one segment to be cut, if the windows reach so far: whole
    /// segments of new text only. What needs a closer look (a rest, FIN, urgent text, text that is
    /// paced) goes by itself.
    pub(crate) fn burst(&self, unsent: u32, reach: u32, burst_len: u32) -> u32 {
        let mss = u32::from(self.snd.mss);
        let is_new = self.snd.nxt == self.snd.max;
        if burst_len <= mss || !is_new || self.is_urgent() || self.pacing_rate().is_some() {
            return 0;
        }
        let last = u32::from(self.snd.fin_queued);
        let most = unsent.saturating_sub(last).min(reach).min(burst_len);
        let count = most.checked_div(mss).unwrap_or(0);
        let fits = usize::try_from(count).is_ok_and(|count| self.burst_fits(count));
        if count > 1 && fits { count.saturating_mul(mss) } else { 0 }
    }

    fn burst_fits(&self, count: usize) -> bool {
        self.flight.as_ref().is_none_or(|flight| flight.board.has_room_for(count))
    }
}
