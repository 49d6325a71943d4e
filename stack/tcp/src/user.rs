//! USER CALLS (RFC 9293 §3.10.1-3.10.6).

use types::Instant;

use crate::state::Event;
use crate::{Config, RecvBuffer, SeqNum, State, Tcb, limits};

impl Tcb {
    /// Active OPEN: the SYN goes out by [`Tcb::poll_transmit`].
    #[must_use]
    pub fn connect(config: &Config, iss: SeqNum, now: Instant) -> Self {
        let mut tcb = Self::new(State::Closed, config, iss, now);
        tcb.transition(Event::ActiveOpen);
        tcb
    }

    /// SEND: the user has put `len` more bytes behind what is in the send buffer. Never more than
    /// [`limits::SEND_QUEUE_MAX`] in all, and none after [`Tcb::shutdown`]; what is beyond is
    /// not sent.
    pub fn send(&mut self, len: u32) {
        self.queue(len, false);
    }

    /// [`Tcb::send`] of a user who will send more soon (`MSG_MORE`): a small segment waits for it.
    pub fn send_more(&mut self, len: u32) {
        self.queue(len, true);
    }

    fn queue(&mut self, len: u32, more: bool) {
        self.forget_acknowledged_urgent();
        self.nagle.queued(len, more);
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        let open = matches!(self.state, State::Established | State::CloseWait);
        if (opening || open) && !self.snd.fin_queued {
            self.snd.queued = self.snd.queued.saturating_add(len).min(limits::SEND_QUEUE_MAX);
        }
        self.assert_invariants();
    }

    /// RECEIVE: the user has consumed text, the buffer has more room. An update is due when it
    /// opens the window by two segments or half of the buffer, or a closed window at all.
    pub fn window_opened(&mut self, buffer: &impl RecvBuffer, _now: Instant) {
        let offered = self.rcv.adv.since(self.rcv.nxt);
        let gain = self.rcv.window(self.clamped(buffer.window())).saturating_sub(offered);
        let mss = u32::from(self.rcv.mss);
        let worthwhile = gain >= mss.saturating_mul(2).min((self.rcv.wnd_max >> 1).max(1));
        let was_closed = offered < mss && gain > 0;
        if self.state.is_receiving() && (worthwhile || was_closed) {
            self.ack_now();
        }
        self.assert_invariants();
    }

    /// CLOSE: no more sends; FIN follows the queued text (RFC 9293 §3.10.4). In SYN-SENT there is
    /// nothing to finish: the block is [`State::Closed`] afterwards and can be freed.
    pub fn shutdown(&mut self, _now: Instant) {
        if self.snd.fin_queued {
            return;
        }
        match self.state {
            State::SynSent => self.transition(Event::Close),
            // The FIN waits until our SYN is acknowledged.
            State::SynReceived => self.snd.fin_queued = true,
            State::Established | State::CloseWait => {
                self.snd.fin_queued = true;
                self.transition(Event::Close);
            }
            _ => {}
        }
        self.assert_invariants();
    }

    /// The user is gone: CLOSE, and what arrives from now on is answered with RST. If he left
    /// received text `unread`, the peer learns by RST at once (RFC 2525 §2.17).
    pub fn close(&mut self, now: Instant, unread: bool) {
        self.orphan = true;
        if unread && self.state != State::SynSent {
            self.abort();
        } else {
            self.shutdown(now);
            self.limit_fin_wait_2(now);
        }
        self.assert_invariants();
    }

    /// ABORT (RFC 9293 §3.10.5): RST, unless both sides have finished anyway.
    pub fn abort(&mut self) {
        let synchronized = matches!(
            self.state,
            State::SynReceived
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
        );
        if synchronized {
            self.last_word = true;
        }
        self.transition(Event::Reset);
        self.assert_invariants();
    }
}
