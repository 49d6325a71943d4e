//! Loss recovery: an ACK is read into the record of what is in flight, and what it tells decides
//! what is lost, what the window is and when the timer fires (RFC 8985, RFC 9937; without SACK
//! RFC 6582).
//!
//! ```text
//!          RACK: lost │ 3 duplicate ACKs            all acknowledged up to `recover`
//!   Open ─────────────┴───────────────────▶ Fast ───────────────────────────────────▶ Open
//!     │                                      │
//!     └───────── timeout ──▶ Loss ◀──────────┘   Loss, Fast ── a mistake: undo ──────▶ Open
//! ```

use core::time::Duration;

use types::Instant;

use crate::cc::{AckSample, Cause};
use crate::flight::{Flight, News, Phase};
use crate::forward::Forward;
use crate::prr::{Prr, PrrAck};
use crate::scoreboard::Place;
use crate::undo::Undo;
use crate::{Events, SackBlocks, SegmentIn, SeqNum, Tcb, limits};

impl Tcb {
    /// An acceptable ACK; `una` is SND.UNA before it, `duplicate` as RFC 5681 §2 defines it.
    pub(crate) fn recover_by_ack(
        &mut self,
        seg: &SegmentIn<'_>,
        una: SeqNum,
        duplicate: bool,
        now: Instant,
    ) {
        // Out of its place, so that both can be changed.
        let Some(mut flight) = self.flight.take() else { return self.sample_echo(seg, now) };
        let before = flight.pipe();
        let news = self.read_ack(&mut flight, seg, now);
        if !news.advanced && news.delivered_len > 0 {
            flight.belief.note_hole(una, now);
        }
        let acked_len = self.snd.una.since(una);
        self.count_duplicates(&mut flight, acked_len, duplicate);
        self.sample_round_trip(&mut flight, &news, seg, before);
        self.end_probe(&mut flight, &news, before);
        if news.advanced && (self.sack || !flight.impatient) {
            flight.rto_base = now;
            flight.impatient = flight.phase == Phase::Fast;
        }
        let mut lost_len = 0;
        let spurious = self.forward_verdict(&mut flight, &news, duplicate);
        if !self.undo_if_mistaken(&mut flight, &news, spurious) {
            lost_len = self.detect_loss(&mut flight, duplicate, &news);
            lost_len = self.respond_to_loss(&mut flight, lost_len, before, now);
        }
        self.grow(&mut flight, &news, acked_len, before, lost_len);
        self.leave_recovery(&mut flight);
        self.flight = Some(flight);
        self.go_forward(news.advanced, duplicate);
        self.arm_loss_timer(now);
    }

    fn read_ack(&mut self, flight: &mut Flight, seg: &SegmentIn<'_>, now: Instant) -> News {
        let echo = seg.options.timestamps.filter(|theirs| theirs.echo != 0);
        let echo = echo.filter(|_| self.timestamps.enabled).map(|t| (self.timestamps, t.echo));
        let mut news = News::new(flight.recover, echo, now);
        news.ece = self.is_echo(seg);
        let ack = self.snd.una;
        let blocks = if self.sack { seg.options.sack } else { SackBlocks::NONE };
        // In the order of the stream, so that one ACK never looks like reordering.
        if flight.board.una() != ack {
            flight.read_ack(ack, &mut self.reordering, &mut news);
            flight.probe_due = false;
        }
        flight.read_blocks(&blocks, ack, &mut self.reordering, &mut news);
        self.sacks_refused =
            self.sacks_refused.saturating_add(u16::try_from(news.absurd).unwrap_or(u16::MAX));
        if news.duplicate.is_some() {
            flight.rack.on_duplicate(ack, self.snd.nxt, &mut self.reordering);
            self.count_duplicate();
        }
        news
    }

    /// Without SACK each duplicate ACK says that some segment has left the network
    /// (RFC 5681 §3.2 step 4, RFC 9937 §6), and a partial ACK which ones.
    fn count_duplicates(&self, flight: &mut Flight, acked_len: u32, duplicate: bool) {
        if self.sack {
            return;
        }
        let mss = u32::from(self.snd.mss);
        if duplicate {
            flight.dup_acks = flight.dup_acks.saturating_add(1);
            // Limited transmit (RFC 3042); no more than was out when recovery began, lest a peer make
            // them up (RFC 5681 §3.2 step 4); after a timeout they come from its retransmissions.
            let most = match flight.phase {
                Phase::Open => mss.saturating_mul(2),
                Phase::Fast => flight.recover.since(self.snd.una),
                Phase::Loss => 0,
            };
            let most = most.min(flight.board.pipe());
            flight.dup_len = flight.dup_len.saturating_add(mss).min(most);
        } else if acked_len > 0 {
            flight.dup_acks = 0;
            let known = acked_len.saturating_sub(mss);
            let partial = flight.phase == Phase::Fast && self.snd.una.before(flight.recover);
            flight.dup_len = if partial { flight.dup_len.saturating_sub(known) } else { 0 };
            flight.dup_len = flight.dup_len.min(flight.board.pipe());
        }
    }

    /// RFC 6298 §3 by the first segment acknowledged, so that delayed ACKs count; RACK's minimum
    /// and congestion control by the last. An ACK that passes a retransmission gives no sample:
    /// what it covers may have waited for that.
    fn sample_round_trip(
        &mut self,
        flight: &mut Flight,
        news: &News,
        seg: &SegmentIn<'_>,
        before: u32,
    ) {
        if let Some(sent_at) = news.last_sent_at.filter(|_| !news.retransmitted) {
            self.reordering.sample(news.now.since(sent_at), news.now);
        }
        match (news.first.filter(|_| !news.retransmitted), flight.adapting) {
            (Some((sent_at, end)), Some((new, before))) => {
                self.rtt.adapt(before, news.now.since(sent_at));
                flight.adapting = flight.adapting.filter(|_| end.at_or_before(new));
            }
            (Some((sent_at, _)), None) => {
                let two = u32::from(self.snd.mss).saturating_mul(2);
                let samples = before.checked_div(two).unwrap_or(1).max(1);
                self.rtt.sample_of(news.now.since(sent_at), samples);
            }
            (None, _) if news.advanced => self.sample_echo(seg, news.now),
            (None, _) => {}
        }
    }

    /// RFC 8985 §7.4: has the tail loss probe repaired a loss? Then there was congestion.
    fn end_probe(&mut self, flight: &mut Flight, news: &News, before: u32) {
        let Some(probe) = flight.probe.filter(|probe| self.snd.una.at_or_after(probe.end)) else {
            return;
        };
        let doubled = news.duplicate.is_some_and(|block| block.end == probe.end);
        if !probe.again || doubled {
            flight.probe = None;
        } else if self.snd.una.after(probe.end) {
            flight.probe = None;
            if flight.phase == Phase::Open {
                self.ecn.reduced(self.snd.max);
                let flight_size = before.min(self.cc.cwnd());
                self.cc.on_congestion(Cause::Loss, flight_size, self.snd.mss);
                self.cc.on_exit_recovery();
            }
        } else if !news.has_blocks && !news.advanced {
            // Both copies have arrived.
            flight.probe = None;
        }
    }

    /// Bytes newly lost.
    fn detect_loss(&mut self, flight: &mut Flight, duplicate: bool, news: &News) -> u32 {
        if self.sack {
            return self.detect_by_time(flight, news.now);
        }
        match flight.phase {
            // RFC 6582 §3.2 step 2: after a timeout they may come from its retransmissions.
            Phase::Open if flight.dup_acks == u32::from(limits::DUP_ACKS) && duplicate => {
                // Nor from the repair of a path probe.
                let repaired = flight.board.front().is_some_and(|front| front.retransmitted);
                if self.snd.una.at_or_before(flight.recover) || repaired {
                    return 0;
                }
                flight.board.lose_front()
            }
            // Step 3: a partial ACK shows the next hole.
            Phase::Fast if news.advanced && self.snd.una.before(flight.recover) => {
                flight.board.lose_front()
            }
            _ => 0,
        }
    }

    fn detect_by_time(&mut self, flight: &mut Flight, now: Instant) -> u32 {
        let (hurried, srtt) = (flight.hurried(), self.srtt());
        flight.rack.detect_loss(&mut flight.board, &self.reordering, hurried, srtt, now)
    }

    /// RFC 8985 §6.3: the reordering timer.
    pub(crate) fn reordering_timeout(&mut self, now: Instant) -> Events {
        let Some(mut flight) = self.flight.take() else { return Events::NONE };
        self.end_test(&mut flight, now);
        let before = flight.pipe();
        let lost_len = self.detect_by_time(&mut flight, now);
        let _ = self.respond_to_loss(&mut flight, lost_len, before, now);
        if flight.phase == Phase::Fast {
            self.reduce_in_proportion(&mut flight, 0, false);
        }
        self.flight = Some(flight);
        self.arm_loss_timer(now);
        Events::NONE
    }

    /// `lost_len` bytes are newly lost: congestion, unless it is the path probe alone. Returns the
    /// bytes that congestion took.
    fn respond_to_loss(
        &mut self,
        flight: &mut Flight,
        lost_len: u32,
        before: u32,
        now: Instant,
    ) -> u32 {
        if lost_len > 0 && flight.phase == Phase::Open {
            if self.is_path_probe_alone(&flight.board) {
                return 0;
            }
            self.enter_fast_recovery(flight, before, now);
        }
        lost_len
    }

    /// `before` was in the network before the ACK that tells of the loss (RFC 9937's RecoverFS).
    /// FlightSize is without what limited transmit has added beyond the window (RFC 5681 §3.2
    /// step 2).
    fn enter_fast_recovery(&mut self, flight: &mut Flight, before: u32, now: Instant) {
        flight.belief.release();
        flight.phase = Phase::Fast;
        flight.recover = self.snd.max;
        let left = flight.dup_acks.saturating_mul(u32::from(self.snd.mss));
        flight.dup_len = left.min(flight.board.pipe());
        let timer = self.rtt.before_timeout();
        flight.undo = Some(Undo::new(self.snd.una, self.snd.max, timer));
        flight.prr = Prr::begin(before);
        (flight.probe, flight.probe_due) = (None, false);
        flight.rto_base = now;
        self.ecn.reduced(self.snd.max);
        let flight_size = self.snd.in_flight().min(self.cc.cwnd());
        self.cc.on_congestion(Cause::Loss, flight_size, self.snd.mss);
    }

    /// The window after an ACK: recovery's in fast recovery, else the algorithm's.
    fn grow(
        &mut self,
        flight: &mut Flight,
        news: &News,
        acked_len: u32,
        before: u32,
        lost_len: u32,
    ) {
        let mss = u32::from(self.snd.mss);
        let by_count = if !self.sack && acked_len == 0 { mss.min(flight.dup_len) } else { 0 };
        let delivered_len = news.delivered_len.max(by_count);
        if flight.phase == Phase::Fast {
            let safe = news.advanced && lost_len == 0;
            self.reduce_in_proportion(flight, delivered_len, safe);
        }
        let min_rtt = self.reordering.min_rtt();
        let (rate, round_start) = flight.delivery.finish(min_rtt, news.now);
        if delivered_len == 0 && lost_len == 0 {
            return;
        }
        let once = news.last_sent_at.filter(|_| !news.retransmitted);
        let sample = AckSample {
            now: news.now,
            acked_len,
            delivered_len,
            lost_len,
            in_flight: before,
            pipe: flight.pipe(),
            rtt: once.map(|sent_at| news.now.since(sent_at)),
            srtt: self.srtt(),
            rate,
            mss: self.snd.mss,
            cwnd_limited: self.cwnd_limited,
            in_recovery: flight.phase == Phase::Fast,
            ece: news.ece,
            round_start,
        };
        self.cc.on_ack(&sample);
    }

    fn reduce_in_proportion(&mut self, flight: &mut Flight, delivered_len: u32, safe: bool) {
        let ack = PrrAck {
            delivered_len,
            pipe: flight.pipe(),
            ssthresh: self.cc.ssthresh(),
            mss: u32::from(self.snd.mss),
            safe,
        };
        if let Some(cwnd) = flight.prr.window(&ack) {
            self.cc.set_cwnd(cwnd, self.snd.mss);
        }
    }

    /// All that was out when loss was noticed is acknowledged. Without loss `recover` follows, lest
    /// SND.UNA come round to it (RFC 6582 §3.2 step 2).
    fn leave_recovery(&mut self, flight: &mut Flight) {
        if flight.phase == Phase::Open {
            flight.recover = flight.recover.later(self.snd.una - 1);
        }
        if flight.phase == Phase::Open || self.snd.una.before(flight.recover) {
            return;
        }
        if flight.phase == Phase::Fast {
            self.cc.set_cwnd(self.cc.ssthresh(), self.snd.mss);
            // Nothing below was sent three times, so duplicate ACKs for SND.UNA itself mean a loss.
            flight.recover = self.snd.una - 1;
        }
        self.close_episode(flight);
    }

    fn close_episode(&mut self, flight: &mut Flight) {
        (flight.phase, flight.forward) = (Phase::Open, Forward::Off);
        flight.impatient = false;
        (flight.dup_acks, flight.dup_len) = (0, 0);
        self.reordering.on_recovered();
        self.cc.on_exit_recovery();
    }

    /// The originals have arrived: the window is what it was, and what was taken for lost is not.
    /// `spurious`: F-RTO says so.
    fn undo_if_mistaken(&mut self, flight: &mut Flight, news: &News, spurious: bool) -> bool {
        let Some(mut undo) = flight.undo.take() else { return false };
        let repairing = flight.phase != Phase::Open;
        let by_echo = repairing
            && news.advanced
            && news.retransmitted
            && news.echo.is_some_and(|(_, echo)| undo.is_echo_of_original(echo));
        let by_duplicates = news.duplicate.is_some_and(|block| undo.on_duplicate(block));
        if !(by_echo || spurious || by_duplicates) {
            flight.undo = Some(undo);
            return false;
        }
        self.cc.undo();
        if flight.phase == Phase::Loss {
            self.adapt_timer(flight, &undo, news);
        }
        if repairing {
            flight.board.restore_lost();
            flight.recover = self.snd.una - 1;
            self.close_episode(flight);
        }
        true
    }

    /// RFC 4015 §3.2: a timeout was spurious, so the timer was too short. It learns from the delayed
    /// original that the ACK is of, and from all others until new text is acknowledged. After
    /// several timeouts an ACK of the first original rather stands for one that was lost.
    fn adapt_timer(&mut self, flight: &mut Flight, undo: &Undo, news: &News) {
        flight.adapting = Some((undo.to, undo.timer));
        let by_echo = || {
            let (clock, echo) = news.echo.filter(|_| self.rtt.is_backed_off_once())?;
            clock.elapsed_ms(echo, news.now).map(|ms| Duration::from_millis(u64::from(ms)))
        };
        let original = news.first.filter(|_| !news.retransmitted);
        let delayed = original.map(|(sent_at, _)| news.now.since(sent_at)).or_else(by_echo);
        if let Some(rtt) = delayed {
            self.rtt.adapt(undo.timer, rtt);
        }
    }

    /// RFC 6298 §5.4-5.6, RFC 8985 §6.3: what must be lost by now is sent again in order, under a
    /// window of one segment beside what is still out. What the peer's window no longer reaches is forgotten.
    pub(crate) fn lose_flight(&mut self, first: bool, now: Instant) {
        let Some(mut flight) = self.flight.take() else { return };
        let in_flight = flight.pipe().saturating_add(flight.board.lost_len()).min(self.cc.cwnd());
        self.cc.on_timeout(first, in_flight, self.snd.mss);
        if flight.board.front().is_some_and(|f| f.place == Place::Sacked) {
            flight.board.forget_sacks();
        }
        flight.board.truncate(self.snd.una + self.snd.wnd);
        self.snd.nxt = flight.board.end();
        let patience = flight.rack.patience(&self.reordering, self.srtt());
        let everything = !self.sack;
        flight.board.lose_on_timeout(|segment| everything || segment.sent_at + patience <= now);
        // What was sent a moment ago is still in the network; the first segment goes all the same.
        let window = flight.pipe().saturating_add(u32::from(self.snd.mss));
        self.cc.set_cwnd(window, self.snd.mss);
        self.cwnd_limited = true;
        if first || flight.undo.is_none() {
            let timer = self.rtt.before_timeout();
            flight.undo = Some(Undo::new(self.snd.una, self.snd.max, timer));
        }
        flight.belief.release();
        flight.begin_forward(self.timestamps.enabled);
        flight.phase = Phase::Loss;
        flight.recover = self.snd.max;
        (flight.dup_acks, flight.dup_len, flight.impatient) = (0, 0, false);
        (flight.probe, flight.probe_due, flight.rack.due) = (None, false, None);
        flight.rto_base = now;
        self.flight = Some(flight);
    }

    /// Text from SND.NXT on leaves: `len` bytes, and a FIN if `end` is beyond them.
    pub(crate) fn text_sent(&mut self, seq: SeqNum, end: SeqNum, len: u32, now: Instant) {
        let una = self.snd.una;
        let min_rtt = self.reordering.min_rtt();
        let new = || Box::new(Flight::new(una, min_rtt, now));
        let mut flight = self.flight.take().unwrap_or_else(new);
        flight.belief.sent(seq, end);
        let idle = flight.board.is_empty();
        if idle {
            flight.rto_base = now;
        }
        let stamp = flight.delivery.on_send(idle, now);
        let (mss, again) = (u32::from(self.snd.mss), seq.before(self.snd.max));
        if again {
            self.search_on_retransmission(seq, end);
        }
        // A segment that the port cuts into several is several to the peer; a path probe is one.
        let unit = if self.is_path_probe(seq) { len.max(1) } else { mss };
        let fin = end.since(seq).saturating_sub(len);
        if idle && !again && fin == 0 && len <= unit {
            flight.board.push_alone(end, stamp, now);
        } else {
            let train = if again || fin > 0 { 0 } else { len.checked_div(unit).unwrap_or(0) };
            let taken = flight.board.push_train(train, unit, stamp, now);
            let mut at = seq + taken.saturating_mul(unit);
            while at != end {
                let whole = end.since(at) > unit.saturating_add(fin);
                at = if whole { at + unit } else { end };
                flight.board.push(at, mss, again, stamp, now);
            }
        }
        if flight.phase == Phase::Fast {
            flight.prr.sent(end.since(seq));
        }
        let used = flight.pipe().saturating_add(mss);
        self.cwnd_limited = used > self.cc.cwnd();
        let probing = flight.probe_due;
        self.flight = Some(flight);
        self.snd.nxt = end;
        self.snd.max = self.snd.max.later(end);
        self.snd.sent_at = now;
        if probing {
            self.tail_probe_sent(end, false);
        }
        self.arm_loss_timer(now);
    }

    /// Text is sent again: what is lost, or the last segment as a probe.
    pub(crate) fn text_sent_again(&mut self, lost: bool, seq: SeqNum, end: SeqNum, now: Instant) {
        let Some(flight) = self.flight.as_mut() else { return };
        flight.belief.sent(seq, end);
        let stamp = flight.delivery.on_send(false, now);
        let len = end.since(seq);
        if flight.phase == Phase::Fast {
            flight.prr.sent(len);
        }
        if lost {
            let _ = flight.board.resend_lost(end, stamp, now);
            if let Some(undo) = flight.undo.as_mut() {
                undo.on_resend(len, self.timestamps.value(now));
            }
            if seq == self.snd.una && (self.sack || flight.phase != Phase::Fast) {
                flight.rto_base = now;
            }
        } else {
            flight.board.resend_last(stamp, now);
            self.tail_probe_sent(self.snd.nxt, true);
        }
        self.search_on_retransmission(seq, end);
        self.snd.sent_at = now;
        self.arm_loss_timer(now);
    }

    /// Nothing more to send, though the window is open: the rate is the user's, not the path's.
    pub(crate) fn note_app_limit(&mut self) {
        let Some(flight) = self.flight.as_mut() else { return };
        let pipe = flight.pipe();
        let room = pipe.saturating_add(u32::from(self.snd.mss)) <= self.cc.cwnd();
        let unsent = self.snd.queued > self.snd.nxt.since(self.snd.una);
        if room && !unsent && flight.board.lost_len() == 0 && !flight.board.is_empty() {
            flight.delivery.on_app_limited(pipe);
        }
    }

    pub(crate) fn srtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.rtt.srtt_us))
    }

    /// No loss is being repaired.
    pub(crate) fn is_open(&self) -> bool {
        self.flight.as_ref().is_none_or(|flight| flight.phase == Phase::Open)
    }
}
