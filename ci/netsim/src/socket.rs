//! A connection, its buffers and the program that uses it.

use tcp::{Arrival, ConnectionError, Events, FastOpenLesson, SegmentIn, SegmentOut, State, Tcb};
use types::{FlowKey, Instant};

use crate::app::{App, Wish};
use crate::buffer::RecvRing;
use crate::host::Owner;
use crate::stream::Stream;

/// Names a socket of one host; numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// How a connection went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plan's.
    pub tag: u64,
    /// The flow as its host saw it.
    pub flow: FlowKey,
    /// This end opened.
    pub client: bool,
    /// When it was opened, or accepted.
    pub opened_at: Instant,
    /// When the handshake was complete.
    pub established_at: Option<Instant>,
    /// When all that the peer announced had been read.
    pub completed_at: Option<Instant>,
    /// When the socket was freed.
    pub ended_at: Instant,
    /// What it sent.
    pub ours: Option<Stream>,
    /// What the peer announced.
    pub theirs: Option<Stream>,
    /// Bytes read.
    pub received: u64,
    /// SHA-256 of them, if the plan asked for it.
    pub sum: Option<[u8; 32]>,
    /// A byte was not the one that was sent.
    pub wrong: bool,
    /// Why it failed.
    pub error: Option<ConnectionError>,
}

/// Where a connection is after [`Socket::breathe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    Open,
    /// It can be freed.
    Ended,
    /// It can be freed once TIME-WAIT has taken its place.
    TimeWait,
}

/// A connection.
#[derive(Debug)]
pub struct Socket {
    /// Its flow.
    pub flow: FlowKey,
    /// The engine's block.
    pub tcb: Tcb,
    /// Its program.
    pub app: App,
    /// Bytes acknowledged.
    pub released: u64,
    recv: RecvRing,
    send_buffer: u64,
    events: Events,
    armed: Option<Instant>,
    alarm: Option<Instant>,
    /// When it was opened, or accepted.
    pub opened_at: Instant,
    established_at: Option<Instant>,
    completed_at: Option<Instant>,
}

impl Socket {
    pub(crate) fn new(
        flow: FlowKey,
        tcb: Tcb,
        app: App,
        recv: RecvRing,
        send_buffer: u64,
        now: Instant,
    ) -> Self {
        Self {
            flow,
            tcb,
            app,
            released: 0,
            recv,
            send_buffer,
            events: Events::NONE,
            armed: None,
            alarm: None,
            opened_at: now,
            established_at: None,
            completed_at: None,
        }
    }

    pub(crate) fn segment_arrives(&mut self, segment: &SegmentIn<'_>, now: Instant) {
        let arrival = self.tcb.segment_arrives(segment, now, &mut self.recv);
        self.note_arrival(&arrival, now);
    }

    pub(crate) fn note_arrival(&mut self, arrival: &Arrival, now: Instant) {
        self.released += u64::from(arrival.acked_len);
        assert!(self.released <= self.app.queued, "text was acknowledged that was never sent");
        self.note(arrival.events, now);
    }

    /// The timer that was started for `at` fires. `false`: another has taken its place.
    pub(crate) fn timer(&mut self, at: Instant, now: Instant) -> bool {
        if self.armed != Some(at) {
            return false;
        }
        self.rearm(now);
        true
    }

    /// Does what is due; the timer will be started again.
    pub(crate) fn rearm(&mut self, now: Instant) {
        self.armed = None;
        if self.tcb.next_timeout().is_some_and(|due| due <= now) {
            let events = self.tcb.timeout(now);
            self.note(events, now);
        }
    }

    /// What a handshake has taught about Fast Open.
    pub(crate) fn take_lesson(&mut self) -> Option<FastOpenLesson> {
        self.established_at.and_then(|_| self.tcb.take_fast_open_lesson())
    }

    /// The program acts, the connection transmits.
    pub(crate) fn breathe(
        &mut self,
        id: SocketId,
        now: Instant,
        alarms: &mut Vec<(Instant, Owner)>,
        mut emit: impl FnMut(&FlowKey, &SegmentOut, &dyn Fn(&mut [u8])),
    ) -> Step {
        if self.act(now) == Wish::Vanish {
            return Step::Ended;
        }
        while let Some(segment) = self.tcb.poll_transmit(now, &self.recv) {
            let at = self.released + u64::from(segment.text_offset);
            let end = at + u64::from(segment.text_len);
            assert!(end <= self.app.queued, "text that was never queued: {segment:?}");
            let ours = self.app.ours;
            emit(&self.flow, &segment, &|text| {
                if let Some(ours) = ours {
                    ours.fill(at, text);
                }
            });
        }
        self.arm(id, alarms);
        match self.tcb.state() {
            State::Closed => Step::Ended,
            State::TimeWait => Step::TimeWait,
            _ => Step::Open,
        }
    }

    pub(crate) fn report(&mut self, now: Instant) -> Report {
        self.app.peer_done = true;
        let _ = self.app.read(&mut self.recv, now);
        self.note_completion(now);
        Report {
            tag: self.app.plan.tag,
            flow: self.flow,
            client: self.app.client,
            opened_at: self.opened_at,
            established_at: self.established_at,
            completed_at: self.completed_at,
            ended_at: now,
            ours: self.app.ours,
            theirs: self.app.theirs,
            received: self.app.received,
            sum: self.app.sum(),
            wrong: self.app.wrong,
            error: self.events.error(),
        }
    }

    fn act(&mut self, now: Instant) -> Wish {
        if self.app.gone {
            return Wish::GoOn;
        }
        if self.app.client && self.established_at.is_none() {
            self.write();
            return Wish::GoOn;
        }
        if self.app.read(&mut self.recv, now) > 0 {
            self.tcb.window_opened(&self.recv, now);
        }
        self.note_completion(now);
        self.write();
        let wish = self.app.wish(now);
        match wish {
            Wish::GoOn => {}
            Wish::Shutdown => {
                self.app.shut = true;
                self.tcb.shutdown(now);
                if self.app.peer_done && self.recv.unread() == 0 {
                    self.leave(false, now);
                }
            }
            Wish::Leave if self.recv.unread() > 0 => {}
            Wish::Leave => self.leave(false, now),
            Wish::CloseUnread => self.leave(true, now),
            Wish::Abort => {
                self.app.gone = true;
                self.tcb.abort();
            }
            Wish::Vanish => self.app.gone = true,
        }
        wish
    }

    fn write(&mut self) {
        let room = self.send_buffer - (self.app.queued - self.released);
        self.app.write(&mut self.tcb, room);
    }

    fn leave(&mut self, unread: bool, now: Instant) {
        self.app.gone = true;
        self.tcb.close(now, unread);
    }

    fn note(&mut self, events: Events, now: Instant) {
        self.events |= events;
        if events.contains(Events::ESTABLISHED) {
            self.established_at = Some(now);
        }
        self.app.peer_done |= events.contains(Events::FIN_RECEIVED);
    }

    fn note_completion(&mut self, now: Instant) {
        if self.completed_at.is_none() && self.app.is_complete() {
            self.completed_at = Some(now);
        }
    }

    /// Starts timers that are due before those that run; later ones find out when they fire.
    fn arm(&mut self, id: SocketId, alarms: &mut Vec<(Instant, Owner)>) {
        if let Some(due) = self.tcb.next_timeout()
            && self.armed.is_none_or(|armed| due < armed)
        {
            self.armed = Some(due);
            alarms.push((due, Owner::Socket(id)));
        }
        if self.app.alarm != self.alarm {
            self.alarm = self.app.alarm;
            alarms.extend(self.alarm.map(|alarm| (alarm, Owner::App(id))));
        }
    }
}
