//! What few connections have: settings their users have changed, and text that is urgent. It costs
//! an ordinary connection one empty pointer.

use core::time::Duration;

use crate::fast_open::FastOpenClient;
use crate::pacing::Pacer;
use crate::plpmtud::Search;
use crate::user_timeout::UserTimeout;
use crate::{Config, Keepalive, SegmentOut, SeqNum, Tcb, limits};

/// Made when one of its members is first set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rare {
    /// SND.UP: one beyond the last urgent byte that we send.
    pub(crate) snd_up: Option<SeqNum>,
    /// RST to send in answer to a segment that belongs to no connection of ours.
    pub(crate) reply_reset: Option<SeqNum>,
    /// `SO_KEEPALIVE`, if it is on.
    pub(crate) keepalive: Option<Keepalive>,
    /// RCV.UP: the urgent byte that the peer has announced and that has not been received yet.
    pub(crate) rcv_up: Option<SeqNum>,
    pub(crate) pacer: Pacer,
    /// `TCP_WINDOW_CLAMP`: no larger window is offered.
    pub(crate) window_clamp: u32,
    /// `TCP_USER_TIMEOUT`.
    pub(crate) user_timeout: UserTimeout,
    /// The search for the largest segment that arrives.
    pub(crate) search: Option<Search>,
    /// A Fast Open server's SYN-ACK is to be sent, for the first time or again.
    pub(crate) syn_ack_due: bool,
    /// Fast Open, until the connection is established.
    pub(crate) fast_open: Option<FastOpenClient>,
    /// `TCP_NOTSENT_LOWAT`: the user is asked for more only below so much unsent text.
    pub(crate) not_sent_low: u32,
    /// `TCP_SYNCNT`: so often the SYN is repeated.
    pub(crate) syn_retries: u8,
    /// What has gone wrong on the path.
    pub(crate) troubles: Troubles,
    /// `TCP_LINGER2`: how long FIN-WAIT-2 lasts without a user, if it may last at all.
    pub(crate) fin_wait_2: Option<Duration>,
}

/// Counts for `TCP_INFO` that stay 0 on a path without loss, reordering and congestion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    /// Text bytes sent again.
    pub(crate) resent_len: u64,
    /// Duplicates that the peer has reported (RFC 2883).
    pub(crate) duplicates: u32,
    /// Segments that arrived before their turn.
    pub(crate) out_of_order: u32,
    /// Segments acknowledged with an echo of congestion marks.
    pub(crate) marked: u32,
    /// Nanoseconds for which the peer's window held text back.
    pub(crate) window_ns: u64,
    /// The same for which all was sent and the user had no room to write.
    pub(crate) room_ns: u64,
}

impl Default for Rare {
    fn default() -> Self {
        Self {
            snd_up: None,
            reply_reset: None,
            keepalive: None,
            rcv_up: None,
            pacer: Pacer::default(),
            window_clamp: u32::MAX,
            not_sent_low: u32::MAX,
            syn_retries: limits::SYN_RETRIES_MAX,
            fin_wait_2: Some(limits::FIN_WAIT_2),
            user_timeout: UserTimeout::default(),
            search: None,
            syn_ack_due: false,
            fast_open: None,
            troubles: Troubles::default(),
        }
    }
}

impl Rare {
    /// For a connection that is paced or kept alive from the start.
    pub(crate) fn configured(config: &Config) -> Option<Box<Self>> {
        let pacer = if config.pacing { Pacer::of_window() } else { Pacer::default() };
        (config.pacing || config.keepalive.is_some())
            .then(|| Box::new(Self { pacer, keepalive: config.keepalive, ..Self::default() }))
    }
}

impl Tcb {
    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn troubles(&self) -> Troubles {
        self.rare.as_ref().map_or_else(Troubles::default, |rare| rare.troubles)
    }

    /// A segment has left; `newest` is SND.MAX as it was before.
    pub(crate) fn count_left(&mut self, segment: &SegmentOut, newest: SeqNum) {
        self.counts.left(segment, newest);
        if segment.text_len > 0 && segment.seq.before(newest) {
            let troubles = &mut self.rare_mut().troubles;
            troubles.resent_len = troubles.resent_len.saturating_add(segment.text_len.into());
        }
    }

    /// A segment is stored before its turn.
    pub(crate) fn count_out_of_order(&mut self) {
        let troubles = &mut self.rare_mut().troubles;
        troubles.out_of_order = troubles.out_of_order.wrapping_add(1);
    }

    /// The peer says that something has arrived twice.
    pub(crate) fn count_duplicate(&mut self) {
        let troubles = &mut self.rare_mut().troubles;
        troubles.duplicates = troubles.duplicates.wrapping_add(1);
    }

    /// An echo of a mark acknowledges `len` bytes.
    pub(crate) fn count_marked(&mut self, len: u32) {
        let count = len.div_ceil(u32::from(self.snd.mss).max(1));
        let troubles = &mut self.rare_mut().troubles;
        troubles.marked = troubles.marked.wrapping_add(count);
    }

    /// `TCP_WINDOW_CLAMP`: offer at most this much. The right edge never moves back, so a smaller
    /// clamp shows as the peer uses up what it has been offered (RFC 9293 §3.8.6).
    pub fn set_window_clamp(&mut self, len: u32) {
        self.rare_mut().window_clamp = len;
    }

    /// `TCP_NOTSENT_LOWAT`.
    pub fn set_not_sent_low(&mut self, len: u32) {
        self.rare_mut().not_sent_low = len;
    }

    /// `TCP_SYNCNT`.
    pub fn set_syn_retries(&mut self, count: u8) {
        self.rare_mut().syn_retries = count;
    }

    pub(crate) fn syn_retries(&self) -> u8 {
        self.rare.as_ref().map_or(limits::SYN_RETRIES_MAX, |rare| rare.syn_retries)
    }

    /// `TCP_LINGER2`: once the user is gone the peer has so many seconds to send its FIN. `None`:
    /// no time at all, it gets a RST.
    pub fn set_fin_wait_2(&mut self, seconds: Option<u32>) {
        self.rare_mut().fin_wait_2 = seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
    }

    pub(crate) fn fin_wait_2(&self) -> Option<Duration> {
        self.rare.as_ref().map_or(Some(limits::FIN_WAIT_2), |rare| rare.fin_wait_2)
    }

    /// How much of a send buffer of `len` bytes the user may fill at the moment.
    #[must_use]
    pub fn send_limit(&self, len: u32) -> u32 {
        match &self.rare {
            Some(rare) => len.min(self.unacked_len().saturating_add(rare.not_sent_low)),
            None => len,
        }
    }

    /// What is sent makes room for more: `TCP_NOTSENT_LOWAT` is set.
    #[must_use]
    pub fn limits_unsent(&self) -> bool {
        self.not_sent_low().is_some()
    }

    /// So little is unsent that the user should be asked for more: less than half of
    /// `TCP_NOTSENT_LOWAT`, as in Linux.
    #[must_use]
    pub fn wants_text(&self) -> bool {
        let unsent = self.snd.queued.saturating_sub(self.unacked_len());
        self.not_sent_low().is_none_or(|low| unsent.saturating_mul(2) < low.max(1))
    }

    fn not_sent_low(&self) -> Option<u32> {
        self.rare.as_ref().map(|rare| rare.not_sent_low).filter(|low| *low != u32::MAX)
    }

    /// The space of the receive buffer that may be offered.
    pub(crate) fn clamped(&self, space: u32) -> u32 {
        self.rare.as_ref().map_or(space, |rare| space.min(rare.window_clamp))
    }
}
