//! When a small segment may go: Nagle's algorithm with Minshall's change (RFC 9293 §3.7.4,
//! draft-minshall-nagle), `TCP_NODELAY`, `TCP_CORK` and `MSG_MORE`.
//!
//! What is held back with nothing in flight goes when the persist timer fires, 200 ms later at the
//! earliest (RFC 9293 §3.8.6.2.1, the override timeout): a cork that is forgotten only costs time.

use crate::{SeqNum, Tcb};

/// What the user has asked for about small segments, and the last one we sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nagle {
    /// `TCP_NODELAY`.
    pub(crate) nodelay: bool,
    /// `TCP_CORK`.
    cork: bool,
    /// Bytes at the end of the queue that were sent with `MSG_MORE`, and none without after them.
    more_len: u32,
    /// What is queued goes whatever the cork says.
    push: bool,
    /// The end of the last segment that was smaller than it could have been.
    small: SeqNum,
}

impl Nagle {
    pub(crate) const fn new(nodelay: bool, iss: SeqNum) -> Self {
        Self { nodelay, cork: false, more_len: 0, push: false, small: iss }
    }

    /// The user's settings, if that is all there is to know while nothing is queued.
    pub(crate) fn settled(&self) -> Option<(bool, bool)> {
        (self.more_len == 0).then_some((self.nodelay, self.cork))
    }

    /// Everything before `una` is acknowledged.
    pub(crate) const fn resumed(nodelay: bool, cork: bool, una: SeqNum) -> Self {
        Self { cork, ..Self::new(nodelay, una) }
    }

    /// Nothing that is queued waits for company, once all before it is acknowledged.
    pub(crate) fn lets_all_go(&self) -> bool {
        !self.cork && self.more_len == 0
    }

    /// There is a SEND of `len` bytes; `more`: the user will send more soon.
    pub(crate) fn queued(&mut self, len: u32, more: bool) {
        self.more_len = if more { self.more_len.saturating_add(len) } else { 0 };
        self.push = false;
    }

    /// A segment with new text that ends at `end` was sent.
    pub(crate) fn sent(&mut self, end: SeqNum, is_small: bool) {
        if is_small {
            self.small = end;
        }
    }
}

impl Tcb {
    /// `TCP_NODELAY`: small segments are sent at once (RFC 9293 §3.7.4). As in Linux, turning it on
    /// sends what a cork holds back at that moment.
    pub fn set_nodelay(&mut self, nodelay: bool) {
        self.nagle.nodelay = nodelay;
        self.nagle.push |= nodelay;
    }

    /// `TCP_CORK`: while it is on, small segments wait for company. Stronger than `TCP_NODELAY`.
    pub fn set_cork(&mut self, cork: bool) {
        self.nagle.cork = cork;
        if !cork {
            self.nagle.more_len = 0;
        }
    }

    /// Sender's silly window avoidance with Nagle (RFC 9293 §3.8.6.2.1, §3.7.4): may `len` of
    /// `unsent` bytes go?
    pub(crate) fn may_send(&self, len: u32, unsent: u32) -> bool {
        let snd = &self.snd;
        let again = snd.nxt.before(snd.max);
        let worthwhile = len >= u32::from(snd.mss) || len >= (snd.wnd_max >> 1).max(1);
        let the_rest = len == unsent;
        let hurried = again || snd.fin_queued || self.is_urgent();
        worthwhile || (the_rest && (hurried || self.nagle_permits(unsent)))
    }

    /// Minshall: one small segment may be in flight, however many full ones are.
    fn nagle_permits(&self, unsent: u32) -> bool {
        let Nagle { nodelay, cork, more_len, push, small } = self.nagle;
        // Bytes sent without `MSG_MORE` before take those with it along.
        let more = more_len > 0 && unsent <= more_len;
        let small_in_flight = small.after(self.snd.una) && small.at_or_before(self.snd.nxt);
        push || (!cork && !more && (nodelay || !small_in_flight))
    }
}
