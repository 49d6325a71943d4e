//! The programs at both ends: what they send, how they read, how they end.

use core::time::Duration;

use sha2::{Digest as _, Sha256};
use tcp::Tcb;
use types::Instant;

use crate::buffer::RecvRing;
use crate::random::Random;
use crate::stream::{HELLO_LEN, Stream};

/// What a client does with a connection. Its server learns its part from the client's first bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes to send.
    pub send: u64,
    /// Bytes the server is to send, at the same time.
    pub ask: u64,
    /// How this side reads.
    pub reading: Reading,
    /// How it ends.
    pub ending: Ending,
    /// The server closes first.
    pub server_closes: bool,
    /// How this side writes.
    pub writing: Writing,
    /// Sum what is received with SHA-256.
    pub sum: bool,
    /// For whoever evaluates the report.
    pub tag: u64,
}

impl Plan {
    /// Sends, asks, reads at once and closes.
    #[must_use]
    pub const fn exchange(send: u64, ask: u64) -> Self {
        Self {
            send,
            ask,
            reading: Reading::AtOnce,
            ending: Ending::Close,
            server_closes: false,
            writing: Writing::AtOnce,
            sum: false,
            tag: 0,
        }
    }
}

/// How a program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// As much as the send buffer takes.
    AtOnce,
    /// In pieces of up to so many bytes, some of them urgent or with more to come, while it turns
    /// options on and off.
    Fidgeting(u64),
}

/// How a program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Whatever there is.
    AtOnce,
    /// At most `len` bytes each time.
    Slowly {
        /// Time between two reads.
        every: Duration,
        /// Most bytes of one.
        len: usize,
    },
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Closes when all is sent.
    Close,
    /// The same after some silence.
    Linger(Duration),
    /// RST in the middle.
    Abort,
    /// Closes in the middle and leaves text unread.
    CloseUnread,
    /// Its host forgets it in the middle, as after a power failure.
    Vanish,
}

/// What a program wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but to go on.
    GoOn,
    /// It will send no more.
    Shutdown,
    /// It has all it wanted, both ways.
    Leave,
    /// See [`Ending::Abort`].
    Abort,
    /// See [`Ending::CloseUnread`].
    CloseUnread,
    /// See [`Ending::Vanish`].
    Vanish,
}

/// One program.
#[derive(Clone, Debug)]
pub struct App {
    /// The plan; a server's own fields only.
    pub plan: Plan,
    /// This end opened.
    pub client: bool,
    /// What this end sends; a server knows once the client has asked.
    pub ours: Option<Stream>,
    /// What the peer sends, once it has said so.
    pub theirs: Option<Stream>,
    /// Bytes handed to the engine.
    pub queued: u64,
    /// Bytes received, words in front included.
    pub received: u64,
    /// A byte was not the one that was sent.
    pub wrong: bool,
    /// The peer will send no more.
    pub peer_done: bool,
    /// This end has shut down.
    pub shut: bool,
    /// This end is gone.
    pub gone: bool,
    /// When it wants to be woken.
    pub alarm: Option<Instant>,
    hello: [u8; 32],
    salt: u64,
    sum: Option<Sha256>,
    lingered: bool,
    random: Random,
}

impl App {
    /// A client.
    #[must_use]
    pub fn client(plan: Plan, salt: u64) -> Self {
        let close = u64::from(plan.server_closes);
        let stream = Stream { salt, len: HELLO_LEN + plan.send, ask: plan.ask, close };
        Self { client: true, ours: Some(stream), ..Self::server(plan, salt) }
    }

    /// A server; the plan says how it reads and whether it sums.
    #[must_use]
    pub fn server(plan: Plan, salt: u64) -> Self {
        Self {
            plan,
            client: false,
            ours: None,
            theirs: None,
            queued: 0,
            received: 0,
            wrong: false,
            peer_done: false,
            shut: false,
            gone: false,
            alarm: None,
            hello: [0; 32],
            salt,
            sum: plan.sum.then(Sha256::new),
            lingered: false,
            random: Random::new(salt),
        }
    }

    /// Hands bytes to the engine, as many as there is `room` for.
    pub fn write(&mut self, tcb: &mut Tcb, mut room: u64) {
        while room > 0 && self.unqueued() > 0 {
            let most = self.unqueued().min(room);
            let len = match self.plan.writing {
                Writing::AtOnce => most,
                Writing::Fidgeting(piece) => 1 + self.random.below(piece.min(most)),
            };
            self.queued += len;
            room -= len;
            let last = self.unqueued() == 0;
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            match self.plan.writing {
                Writing::AtOnce => tcb.send(len),
                Writing::Fidgeting(_) => self.fidget(tcb, len, last),
            }
        }
    }

    /// Whatever was held back goes with the last piece.
    fn fidget(&mut self, tcb: &mut Tcb, len: u32, last: bool) {
        if last {
            tcb.set_cork(false);
            return tcb.send(len);
        }
        match self.random.below(16) {
            0 => tcb.set_cork(true),
            1 => tcb.set_cork(false),
            2 => tcb.set_nodelay(true),
            3 => tcb.set_nodelay(false),
            4 => tcb.set_quick_ack(true),
            5 => tcb.set_quick_ack(false),
            _ => {}
        }
        match self.random.below(8) {
            0 => tcb.send_urgent(len),
            1 | 2 => tcb.send_more(len),
            _ => tcb.send(len),
        }
    }

    /// Bytes still to be handed to the engine.
    #[must_use]
    pub fn unqueued(&self) -> u64 {
        self.ours.map_or(0, |stream| stream.len - self.queued)
    }

    /// All that the peer announced was received.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.theirs.is_some_and(|theirs| self.received == theirs.len)
    }

    /// The sum of what was received.
    #[must_use]
    pub fn sum(&self) -> Option<[u8; 32]> {
        self.sum.as_ref().map(|sum| sum.clone().finalize().into())
    }

    /// Takes what the plan lets it from `ring`, and returns how much. Everything is compared.
    pub fn read(&mut self, ring: &mut RecvRing, now: Instant) -> usize {
        let mut limit = ring.unread();
        if let Reading::Slowly { every, len } = self.plan.reading
            && !self.peer_done
            && limit > 0
        {
            let due = self.alarm.is_some_and(|alarm| alarm <= now);
            limit = if due { limit.min(len) } else { 0 };
            if due || self.alarm.is_none() {
                self.alarm = Some(now + every);
            }
        }
        let mut taken = 0;
        while taken < limit {
            let piece = ring.readable();
            let piece = &piece[..piece.len().min(limit - taken)];
            let len = piece.len();
            self.take(piece);
            ring.consume(len);
            taken += len;
        }
        taken
    }

    /// What to do next; `established` and all of its text was read.
    pub fn wish(&mut self, now: Instant) -> Wish {
        if self.gone {
            return Wish::GoOn;
        }
        if self.shut {
            return if self.peer_done { Wish::Leave } else { Wish::GoOn };
        }
        let half = self.client && self.received >= (HELLO_LEN + self.plan.ask) / 2;
        match self.plan.ending {
            Ending::Abort if half => Wish::Abort,
            Ending::CloseUnread if half => Wish::CloseUnread,
            Ending::Vanish if half => Wish::Vanish,
            Ending::Abort | Ending::CloseUnread | Ending::Vanish if self.client => Wish::GoOn,
            Ending::Linger(silence) if self.client && !self.lingered => {
                self.linger(silence, now);
                Wish::GoOn
            }
            _ if self.may_shut() => Wish::Shutdown,
            _ => Wish::GoOn,
        }
    }

    fn may_shut(&self) -> bool {
        let asked = if self.client {
            !self.plan.server_closes || self.peer_done
        } else {
            self.peer_done || self.theirs.is_some_and(|theirs| theirs.close == 1)
        };
        let sent = self.unqueued() == 0 && (self.ours.is_some() || self.peer_done);
        asked && sent
    }

    fn linger(&mut self, silence: Duration, now: Instant) {
        match self.alarm {
            Some(alarm) => self.lingered = alarm <= now,
            None if self.is_complete() && self.unqueued() == 0 => self.alarm = Some(now + silence),
            None => {}
        }
    }

    fn take(&mut self, piece: &[u8]) {
        if let Some(sum) = &mut self.sum {
            sum.update(piece);
        }
        let at = usize::try_from(self.received.min(HELLO_LEN)).unwrap_or(0);
        let (front, back) = piece.split_at(piece.len().min(self.hello.len() - at));
        self.hello[at..at + front.len()].copy_from_slice(front);
        self.received += front.len() as u64;
        if self.received >= HELLO_LEN && self.theirs.is_none() {
            let theirs = Stream::parse(&self.hello);
            self.theirs = Some(theirs);
            if !self.client {
                let len = HELLO_LEN + theirs.ask;
                self.ours = Some(Stream { salt: self.salt, len, ask: 0, close: 0 });
            }
        }
        if let Some(theirs) = self.theirs {
            self.compare(&theirs, back);
        }
    }

    fn compare(&mut self, theirs: &Stream, piece: &[u8]) {
        let mut right = [0; 2048];
        for chunk in piece.chunks(right.len()) {
            let right = &mut right[..chunk.len()];
            theirs.fill(self.received, right);
            self.received += chunk.len() as u64;
            self.wrong |= right != chunk || self.received > theirs.len;
        }
    }
}
