//! The only maker of segments: `plan` decides what is due, `make` makes it.

use types::Instant;

use crate::flight::Flight;
use crate::tcb::{AckIntent, SendSequence};
use crate::timers::Timer;
use crate::{Flags, Options, RecvBuffer, SackBlocks, SegmentOut, SeqNum, State, Tcb};

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// RST in reply to a segment of another life.
    ReplyReset(SeqNum),
    /// The last word of an aborted connection.
    Reset,
    /// SYN, or SYN-ACK in SYN-RECEIVED.
    Syn,
    Text(Text),
    Keepalive,
    Ack,
}

/// A segment with text, FIN, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Text {
    seq: SeqNum,
    len: u32,
    fin: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From SND.NXT on, which advances.
    Next,
    /// From SND.NXT on, larger than the MSS, to see if it arrives.
    PathProbe,
    /// What is lost.
    Lost,
    /// The last segment in flight, as a tail loss probe.
    Tail,
    /// One byte into a closed window; SND.NXT stays.
    Probe,
}

impl Tcb {
    /// [`Tcb::poll_transmit`] has something to do. Cheap.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        !self.is_quiet()
            && (self.plan(0).is_some()
                || (self.window_blocks() && !self.timers.is_on(Timer::Persist)))
    }

    /// The next segment to send, if one is due. Call it after a burst of events, until it returns
    /// `None`; text acknowledged must have left the send buffer.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &impl RecvBuffer) -> Option<SegmentOut> {
        self.poll_transmit_burst(now, buffer, 0)
    }

    /// [`Tcb::poll_transmit`] for a caller who can cut: new text may come as one segment of up to
    /// `burst_len` bytes, to be sent as [`SegmentOut::cuts`].
    pub fn poll_transmit_burst(
        &mut self,
        now: Instant,
        buffer: &impl RecvBuffer,
        burst_len: u32,
    ) -> Option<SegmentOut> {
        if self.rests(now) {
            debug_assert_eq!(self.plan(burst_len), None, "{self:?}");
            self.assert_invariants();
            return None;
        }
        self.restart_after_idle(now);
        self.pacing_advance(now);
        self.hold_back(now);
        let newest = self.snd.max;
        let space = self.clamped(buffer.window());
        let segment = match self.plan_lone() {
            Some(text) => {
                debug_assert_eq!(self.plan(burst_len), Some(Plan::Text(text)), "{self:?}");
                Some(self.make_text(text, now, space))
            }
            None => self.plan(burst_len).map(|plan| self.make(plan, now, space)),
        };
        match &segment {
            Some(segment) => self.count_left(segment, newest),
            None => self.has_sent_all(now),
        }
        self.assert_invariants();
        segment
    }

    /// `true`: nothing more is to be sent for now, as can be told at a glance, and that is noted as
    /// [`Tcb::poll_transmit`] would have. `false`: that has to be asked.
    #[inline]
    #[must_use]
    pub fn rests(&mut self, now: Instant) -> bool {
        let rests = self.is_quiet();
        if rests {
            self.has_sent_all(now);
        }
        rests
    }

    /// Nothing more may go for now.
    fn has_sent_all(&mut self, now: Instant) {
        self.note_app_limit();
        self.update_persist(now);
        self.note_wait(now);
    }

    /// Nothing is due, as can be told at a glance between a request and its response: all text is sent,
    /// none of it is lost, and no ACK, FIN or probe waits.
    #[inline]
    fn is_quiet(&self) -> bool {
        let nothing_lost = |flight: &Flight| flight.board.lost_len() == 0 && !flight.probe_due;
        self.state.is_sending()
            && self.ack != AckIntent::Now
            && self.snd.in_flight() >= self.snd.queued
            && !(self.snd.fin_queued || self.probe || self.keepalive.probe)
            && self.rare.is_none()
            && self.flight.as_deref().is_none_or(nothing_lost)
    }

    /// All that is queued, where that is one segment, nothing is in flight and nothing else is to be said: how
    /// a request leaves, or a response. [`Tcb::plan`] would find the same: without `rare` nothing is paced, urgent
    /// or a reset, and a probe of the path takes more than one segment.
    #[inline]
    fn plan_lone(&self) -> Option<Text> {
        let &SendSequence { una, nxt, max, queued, wnd, mss, fin_queued, .. } = &self.snd;
        let lone = queued.wrapping_sub(1) < u32::from(mss).min(wnd).min(self.cc.cwnd())
            && (una, nxt) == (max, max)
            && !fin_queued
            && self.state.is_sending()
            && self.rare.is_none()
            && !self.reassembly.has_news()
            && self.nagle.lets_all_go()
            && self.flight.as_deref().is_none_or(Flight::is_over);
        lone.then_some(Text { seq: nxt, len: queued, fin: false, kind: Kind::Next })
    }

    fn plan(&self, burst_len: u32) -> Option<Plan> {
        if let Some(seq) = self.rare.as_ref().and_then(|rare| rare.reply_reset) {
            return Some(Plan::ReplyReset(seq));
        }
        match self.state {
            State::Closed | State::Listen => return self.last_word.then_some(Plan::Reset),
            State::SynSent | State::SynReceived
                if self.snd.opening && self.snd.nxt == self.snd.una =>
            {
                return (!self.holds_syn()).then_some(Plan::Syn);
            }
            State::SynReceived if self.owes_syn_ack() => return Some(Plan::Syn),
            _ => {}
        }
        // Blocks have no room beside a full segment of text, and the peer needs them first.
        if self.ack == AckIntent::Now && self.sack && self.reassembly.has_news() {
            return Some(Plan::Ack);
        }
        if !self.pacing_holds()
            && let Some(text) =
                self.plan_lost().or_else(|| self.plan_tail()).or_else(|| self.plan_next(burst_len))
        {
            return Some(Plan::Text(text));
        }
        if self.probe && self.window_blocks() {
            return Some(Plan::Text(self.plan_probe()));
        }
        if self.keepalive.probe {
            return Some(Plan::Keepalive);
        }
        (self.ack == AckIntent::Now && self.state != State::SynSent).then_some(Plan::Ack)
    }

    /// The next piece of what is lost, if the window permits; one segment may always be out. F-RTO
    /// sends new text instead, and what is held back waits.
    fn plan_lost(&self) -> Option<Text> {
        let flight = self.flight.as_ref().filter(|_| self.state.is_sending())?;
        if flight.forward_room(self.snd.nxt).is_some() || flight.belief.is_holding() {
            return None;
        }
        let (seq, end) = flight.board.next_lost()?;
        let text = self.piece(seq, end, Kind::Lost)?;
        let pipe = flight.pipe();
        let fits = pipe.saturating_add(text.len) <= self.cc.cwnd();
        (pipe == 0 || fits || flight.belief.fills_hole(seq)).then_some(text)
    }

    /// A tail loss probe (RFC 8985 §7.3): new text if there is any, else the last segment again.
    fn plan_tail(&self) -> Option<Text> {
        let flight = self.flight.as_ref().filter(|flight| flight.probe_due)?;
        if !self.state.is_sending() {
            return None;
        }
        let new = self.next_within(u32::from(self.snd.mss)).filter(|text| text.len > 0 || text.fin);
        new.or_else(|| {
            let last = flight.board.back()?;
            let most = u32::from(self.snd.mss).saturating_add(1);
            let seq = last.start + last.len().saturating_sub(most);
            self.piece(seq, last.end, Kind::Tail)
        })
    }

    /// A segment of what was sent between `seq` and `end`, in the peer's window.
    fn piece(&self, seq: SeqNum, end: SeqNum, kind: Kind) -> Option<Text> {
        let snd = &self.snd;
        let offset = seq.since(snd.una);
        let rest = snd.queued.saturating_sub(offset);
        let len = rest.min(end.since(seq)).min(u32::from(snd.mss));
        let fin = snd.fin_queued && len == rest && end.since(seq) > len;
        let reaches = offset.saturating_add(len) <= snd.wnd || len == 0;
        (reaches && (len > 0 || fin)).then_some(Text { seq, len, fin, kind })
    }

    /// The next text that the windows, Nagle and silly window avoidance let go. What is lost goes
    /// first.
    fn plan_next(&self, burst_len: u32) -> Option<Text> {
        if !self.sends_text() {
            return None;
        }
        let (pipe, forward, ready) = self.flight.as_ref().map_or((0, None, true), |flight| {
            let forward = flight.forward_room(self.snd.nxt);
            let first =
                flight.board.lost_len() == 0 || forward.is_some() || flight.belief.is_holding();
            (flight.pipe(), forward, first && flight.board.has_room())
        });
        let room = self.cc.cwnd().saturating_sub(pipe).min(forward.unwrap_or(u32::MAX));
        let text = self.next_within(room).filter(|_| ready)?;
        let in_flight = self.snd.in_flight();
        let unsent = self.snd.queued.saturating_sub(in_flight);
        let reach = room.min(self.snd.wnd.saturating_sub(in_flight));
        if let Some(len) = self.probe_size(unsent, reach) {
            return Some(Text { seq: self.snd.nxt, len, fin: false, kind: Kind::PathProbe });
        }
        let due = text.fin || (text.len > 0 && self.may_send(text.len, unsent));
        due.then(|| Text { len: text.len.max(self.burst(unsent, reach, burst_len)), ..text })
    }

    /// The windows let a full segment of new text go, and it is not the last.
    pub(crate) fn has_text_behind_next(&self) -> bool {
        let len = u32::from(self.snd.mss);
        let pipe = self.flight.as_ref().map_or(0, |flight| flight.pipe());
        let in_flight = self.snd.in_flight();
        let unsent = self.snd.queued.saturating_sub(in_flight);
        let reach = self.snd.wnd.saturating_sub(in_flight);
        let fits = len <= reach.min(self.cc.cwnd().saturating_sub(pipe));
        fits && unsent > len && self.state.is_sending()
    }

    /// New text would go now.
    pub(crate) fn has_new_text(&self) -> bool {
        self.plan_next(0).is_some()
    }

    /// The next text as far as the peer's window and `room` go.
    fn next_within(&self, room: u32) -> Option<Text> {
        let snd = &self.snd;
        let in_flight = snd.in_flight();
        let unsent = snd.queued.checked_sub(in_flight)?;
        let window = snd.wnd.saturating_sub(in_flight);
        let len = unsent.min(window).min(room).min(u32::from(snd.mss));
        let fin = snd.fin_queued && len == unsent && self.state.is_sending();
        Some(Text { seq: snd.nxt, len, fin, kind: Kind::Next })
    }

    /// The persist timer fired: one byte into a closed window, or what fits into a silly one.
    fn plan_probe(&self) -> Text {
        let snd = &self.snd;
        let len = snd.wnd.min(snd.queued).min(u32::from(snd.mss));
        let kind = if len == 0 { Kind::Probe } else { Kind::Next };
        Text { seq: snd.una, len: len.max(1), fin: false, kind }
    }

    /// Nothing is in flight, text waits, and the peer's window lets none of it go.
    pub(crate) fn window_blocks(&self) -> bool {
        self.state.is_sending()
            && self.snd.queued > 0
            && self.snd.nxt == self.snd.una
            && self.plan_next(0).is_none()
    }

    /// RFC 5681 §4.1.
    fn restart_after_idle(&mut self, now: Instant) {
        let idle = self.snd.una == self.snd.max && now.since(self.snd.sent_at) > self.rtt.base();
        if idle && self.snd.queued > 0 && self.state.is_sending() {
            self.cc.on_idle(self.snd.mss);
        }
    }

    fn make(&mut self, plan: Plan, now: Instant, space: u32) -> SegmentOut {
        match plan {
            Plan::ReplyReset(seq) => {
                self.rare_mut().reply_reset = None;
                SegmentOut::reset(seq)
            }
            Plan::Reset => {
                self.last_word = false;
                self.segment(self.acceptable_seq(), Flags::RST | Flags::ACK, now, space)
            }
            Plan::Syn => self.make_syn(now, space),
            Plan::Text(text) => self.make_text(text, now, space),
            Plan::Keepalive => {
                self.keepalive.probe = false;
                self.segment(self.snd.una - 1, Flags::ACK, now, space)
            }
            Plan::Ack => {
                let mut segment = self.segment(self.acceptable_seq(), Flags::ACK, now, space);
                self.add_options(&mut segment);
                segment
            }
        }
    }

    /// `<SYN>`, or `<SYN,ACK>` when both opened at once. Every transmission offers all options;
    /// what the peer's SYN did not offer is left out of the SYN-ACK.
    fn make_syn(&mut self, now: Instant, space: u32) -> SegmentOut {
        let received = self.state == State::SynReceived;
        let scaled = !received || self.peer_scales;
        let seq = self.snd.una - u32::from(!self.snd.opening);
        let mut segment = if received {
            let ecn = self.ecn.syn_ack_flags();
            self.segment(seq, Flags::SYN | Flags::ACK | ecn, now, space)
        } else {
            let ecn = self.ecn.syn_flags(self.snd.max == self.snd.una);
            SegmentOut::control(self.snd.una, SeqNum::new(0), Flags::SYN | ecn)
        };
        segment.window = self.rcv.advertise_unscaled(space);
        segment.options = Options {
            mss: Some(self.rcv.mss),
            window_scale: scaled.then_some(self.rcv.scale),
            sack_permitted: self.sack,
            timestamps: self.timestamps.option(now),
            ..Options::default()
        };
        segment.text_len = self.fast_open_syn(&mut segment.options);
        if segment.options.fast_open.is_none() {
            // A long cookie leaves no room, and without it the text would be in vain.
            segment.options.user_timeout = self.take_user_timeout_option();
        }
        if self.snd.opening {
            self.syn_sent_until(seq + 1 + segment.text_len, now);
        } else {
            self.syn_ack_sent(now);
        }
        segment
    }

    fn make_text(&mut self, text: Text, now: Instant, space: u32) -> SegmentOut {
        let Text { seq, len, fin, kind } = text;
        let offset = seq.since(self.snd.una);
        let end = seq + len + u32::from(fin);
        let mut flags = Flags::ACK;
        if len > 0 && offset.saturating_add(len) == self.snd.queued {
            flags |= Flags::PSH;
        }
        if fin {
            flags |= Flags::FIN;
        }
        self.note_answer();
        let new = matches!(kind, Kind::Next | Kind::PathProbe)
            && !self.probe
            && len > 0
            && seq == self.snd.max;
        if new {
            flags |= self.ecn.text_flags();
        }
        let mut segment = self.segment(seq, flags, now, space);
        segment.ect = new && self.may_be_marked();
        segment.text_offset = offset;
        segment.text_len = len;
        segment.gso_size =
            if kind == Kind::Next && len > u32::from(self.snd.mss) { self.snd.mss } else { 0 };
        self.add_options(&mut segment);
        self.pacing_sent(len, now);
        match kind {
            Kind::Probe => {
                self.probe = false;
                self.snd.max = self.snd.max.later(end);
            }
            Kind::Lost | Kind::Tail => self.text_sent_again(kind == Kind::Lost, seq, end, now),
            Kind::Next | Kind::PathProbe => {
                if kind == Kind::PathProbe {
                    self.probe_sent(seq, end);
                }
                self.probe = false;
                self.text_sent(seq, end, len, now);
                self.nagle.sent(end, len < u32::from(self.snd.mss));
            }
        }
        segment
    }

    /// Our SYN: SND.MAX, its round trip, the retransmission timer.
    fn syn_sent_until(&mut self, end: SeqNum, now: Instant) {
        if self.snd.max == self.snd.una {
            self.rtt.time(self.snd.una + 1, now);
        } else {
            self.rtt.cancel();
        }
        self.snd.max = self.snd.max.later(end);
        self.snd.nxt = end;
        self.snd.sent_at = now;
        if !self.timers.is_on(Timer::Retransmit) {
            self.timers.start(Timer::Retransmit, now + self.rtt.rto());
        }
    }

    /// A Fast Open server's SYN-ACK, which was timed when the SYN came. What is sent twice is not.
    fn syn_ack_sent(&mut self, now: Instant) {
        self.rare_mut().syn_ack_due = false;
        self.snd.sent_at = now;
        if self.timers.is_on(Timer::Retransmit) {
            self.rtt.cancel();
        } else {
            self.timers.start(Timer::Retransmit, now + self.rtt.rto());
        }
    }

    /// A segment with ACK, window and timestamps; whatever ACK was due is thereby sent.
    fn segment(&mut self, seq: SeqNum, flags: Flags, now: Instant, space: u32) -> SegmentOut {
        self.ack = AckIntent::None;
        self.delayed_segments = 0;
        self.timers.stop(Timer::DelayedAck);
        let window = self.rcv.advertise(space);
        self.rcv.last_ack = self.rcv.nxt;
        let urgent = self.urgent_pointer(seq);
        let flags = if urgent.is_some() { flags | Flags::URG } else { flags };
        let flags = flags | self.ecn.ack_flags();
        SegmentOut {
            window,
            urgent: urgent.unwrap_or(0),
            options: Options { timestamps: self.timestamps.option(now), ..Options::default() },
            ..SegmentOut::control(seq, self.rcv.nxt, flags)
        }
    }

    /// Options that not every segment has room for: text and options share the MSS.
    fn add_options(&mut self, segment: &mut SegmentOut) {
        self.add_sack(segment);
        let room = u32::from(self.snd.mss).saturating_sub(segment.text_len);
        if segment.options.sack.is_empty() && room >= USER_TIMEOUT_LEN {
            segment.options.user_timeout = self.take_user_timeout_option();
        }
    }

    /// SACK blocks, as many as there is room for (RFC 2018 §3): text and options share the MSS.
    fn add_sack(&mut self, segment: &mut SegmentOut) {
        if !self.sack || !self.reassembly.has_news() {
            return;
        }
        let room = u32::from(self.snd.mss).saturating_sub(segment.text_len).saturating_sub(4) / 8;
        let most =
            if self.timestamps.enabled { SackBlocks::MAX_WITH_TIMESTAMPS } else { SackBlocks::MAX };
        let max = usize::try_from(room).unwrap_or(0).min(most);
        if max > 0 {
            segment.options.sack = self.reassembly.report(max);
        }
    }

    /// The sequence number of a segment without text: the highest one sent, unless the peer's
    /// window does not reach that far (a window probe it refused). A SYN needs no window.
    fn acceptable_seq(&self) -> SeqNum {
        let sent_len = self.snd.max.since(self.snd.una);
        let syn = u32::from(self.snd.opening);
        self.snd.una + sent_len.min(self.snd.wnd.max(syn))
    }
}

/// Length of the user timeout option.
const USER_TIMEOUT_LEN: u32 = 4;
