//! Was the retransmission a mistake? If the originals have arrived, the window goes back to where
//! it was: by timestamps (Eifel, RFC 3522, RFC 4015), by duplicates that the peer reports
//! (RFC 2883 §4, RFC 3708), and after a timeout without timestamps by F-RTO (`forward.rs`).

use crate::SeqNum;
use crate::rtt::BeforeTimeout;
use crate::sack::SackBlock;
use crate::timestamp::is_older;

/// What must be known to find out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undo {
    /// SND.UNA and SND.NXT when recovery began.
    from: SeqNum,
    pub(crate) to: SeqNum,
    /// The retransmission timer as it was then.
    pub(crate) timer: BeforeTimeout,
    /// RetransmitTS: our timestamp on the first segment sent again.
    first_stamp: Option<u32>,
    /// Bytes sent again and not reported as duplicate.
    resent_len: u32,
    /// Something was sent again.
    resent: bool,
}

impl Undo {
    pub(crate) const fn new(from: SeqNum, to: SeqNum, timer: BeforeTimeout) -> Self {
        Self { from, to, timer, first_stamp: None, resent_len: 0, resent: false }
    }

    /// `len` bytes are sent again, under our timestamp `stamp`.
    pub(crate) fn on_resend(&mut self, len: u32, stamp: u32) {
        self.first_stamp = self.first_stamp.or(Some(stamp));
        self.resent_len = self.resent_len.saturating_add(len);
        self.resent = true;
    }

    /// The echo says that what was acknowledged is an original (RFC 3522 §3.2).
    pub(crate) fn is_echo_of_original(&self, echo: u32) -> bool {
        echo != 0 && self.first_stamp.is_some_and(|stamp| is_older(echo, stamp))
    }

    /// The peer reports a duplicate. `true`: all that was sent again was one.
    pub(crate) fn on_duplicate(&mut self, block: SackBlock) -> bool {
        let ours = block.start.at_or_after(self.from) && block.end.at_or_before(self.to);
        if ours {
            self.resent_len = self.resent_len.saturating_sub(block.end.since(block.start));
        }
        ours && self.resent && self.resent_len == 0
    }
}
