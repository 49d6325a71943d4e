//! Sockets of programs here, at other nodes' stacks.
//!
//! ```text
//!  Fresh ── listen ──▶ Listening
//!    └── connect ──▶ Connecting ──▶ Connected ──▶ (the program closes it)
//!                        └── refused, node lost ──▶ Ended, until its error has been told
//! ```

mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use proto::far::{
    DATA_MAX, FarAnswer, FarCall, FarMessage, FarReply, FarRequest, Stage, VERSION, WINDOW,
};
use proto::message::{Family, Transport};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use super::ARRIVED_MAX;
use super::mouth::{Backlog, Key, Mouth};

/// Sockets at a time, of all programs and of those of one user but root: each may have two windows of bytes
/// here.
const SOCKETS_MAX: usize = 256;
const OF_USER_MAX: usize = 128;

/// A node that does not answer within this is not there.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// One that leaves a call unanswered for so long stands still: before it there is at most what sockets have in
/// their windows.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// What a program has written before its end has so much time from one piece to the next.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// An error that nobody asks for is forgotten after this: a program that has closed its end can no longer be told
/// from one that has not.
const ERROR_KEPT: Duration = Duration::from_secs(10);

/// An answer for a program: over which connection, and with which descriptor.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asker: u64,
    pub(super) answer: FarAnswer,
    pub(super) descriptor: Option<OwnedFd>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Near {
    sockets: BTreeMap<Key, Socket>,
    secrets: BTreeMap<u64, Key>,
    last: u64,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Socket {
    uid: u32,
    family: Family,
    transport: Transport,
    secret: u64,
    /// Our end; the program's, until it has been handed out.
    end: OwnedFd,
    theirs: Option<OwnedFd>,
    stage: Stage,
    /// The pending error; 0 for none.
    error: i32,
    since: Instant,
    /// Bytes that may still be said to the node.
    credit: u32,
    /// From the node, for the program.
    backlog: Backlog,
    /// The node has said that no more comes; the program has.
    ended_in: bool,
    ended_out: bool,
    /// The program has closed it with bytes in it that can't go yet; when, or when some last went.
    gone: Option<Instant>,
    /// Bytes in the descriptor that are not the program's.
    stuffed: u32,
    /// Connections that wait to be accepted.
    arrivals: VecDeque<(Key, std::net::SocketAddr)>,
    calls: BTreeMap<u32, Call>,
    last_call: u32,
}

/// A call that the node has not answered.
#[derive(Clone, Copy, Debug)]
struct Call {
    asker: Option<u64>,
    what: What,
    since: Instant,
}

impl Call {
    /// How long the node may take; the stack there decides how long it tries to connect.
    fn patience(&self) -> Option<Duration> {
        match self.what {
            What::Open => Some(OPEN_PATIENCE),
            What::Listen | What::Other => Some(CALL_PATIENCE),
            What::Connect => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Open,
    Listen,
    Connect,
    Other,
}

impl Near {
    /// Numbers and secrets that differ from life to life.
    pub(super) fn new(first: u64) -> Self {
        Self { last: first & (u64::MAX >> 2), ..Self::default() }
    }

    /// What programs are to be told.
    pub(super) fn take_answers(&mut self) -> Vec<Answer> {
        core::mem::take(&mut self.answers)
    }

    fn answer(&mut self, asker: u64, result: Result<FarReply, i32>) {
        self.answers.push(Answer { asker, answer: FarAnswer(result), descriptor: None });
    }

    /// What a new socket's node is to be told first; its key is known when it has been.
    pub(super) fn opening(
        &mut self,
        uid: u32,
        family: Family,
        transport: Transport,
    ) -> Result<(u64, FarMessage), Errno> {
        if !self.has_room(uid) {
            return Err(Errno::MFILE);
        }
        self.last += 1;
        let call = FarCall::Open { version: VERSION, family, transport };
        Ok((self.last, FarMessage::Call { socket: self.last, number: 0, call }))
    }

    fn has_room(&self, uid: u32) -> bool {
        let of_user = self.sockets.values().filter(|socket| socket.uid == uid).count();
        self.sockets.len() < SOCKETS_MAX && (uid == 0 || of_user < OF_USER_MAX)
    }

    /// It has been told.
    pub(super) fn open(
        &mut self,
        key: Key,
        (asker, uid): (u64, u32),
        (family, transport): (Family, Transport),
        now: Instant,
    ) -> Result<(), Errno> {
        let mut socket = Socket::new(uid, family, transport, now)?;
        let _ = socket.calls.insert(0, Call { asker: Some(asker), what: What::Open, since: now });
        self.insert(key, socket);
        Ok(())
    }

    fn insert(&mut self, key: Key, socket: Socket) {
        let _ = self.secrets.insert(socket.secret, key.clone());
        let _ = self.sockets.insert(key, socket);
    }

    fn remove(&mut self, key: &Key) -> Option<Socket> {
        let socket = self.sockets.remove(key)?;
        let _ = self.secrets.remove(&socket.secret);
        // Connections that nobody will accept.
        for (arrival, _) in &socket.arrivals {
            let _ = self.remove(arrival);
        }
        Some(socket)
    }

    /// A program asks for something; opening is not done here.
    pub(super) fn request(
        &mut self,
        asker: u64,
        request: FarRequest,
        (mouth, now): (&mut Mouth, Instant),
    ) {
        let secret = match &request {
            FarRequest::State { secret, .. }
            | FarRequest::Accept { secret }
            | FarRequest::Call { secret, .. } => *secret,
            FarRequest::Open { .. } => return,
        };
        let Some(key) = self.secrets.get(&secret).cloned() else {
            return self.answer(asker, Err(Errno::NOTCONN.raw_os_error()));
        };
        match request {
            FarRequest::State { take_error, .. } => self.state(asker, &key, take_error),
            FarRequest::Accept { .. } => self.accept(asker, &key, mouth),
            FarRequest::Call { call, stuffed, wait, .. } => {
                let Some(socket) = self.sockets.get_mut(&key) else { return };
                match socket.begin(&call, stuffed, wait) {
                    Ok((number, what)) => {
                        let waits = what != What::Connect || wait;
                        let asker_of = waits.then_some(asker);
                        let call_of = Call { asker: asker_of, what, since: now };
                        let _ = socket.calls.insert(number, call_of);
                        let socket = key.socket;
                        mouth.say(&key.node, &FarMessage::Call { socket, number, call });
                        if !waits {
                            self.answer(asker, Err(Errno::INPROGRESS.raw_os_error()));
                        }
                    }
                    Err(errno) => self.answer(asker, Err(errno.raw_os_error())),
                }
            }
            FarRequest::Open { .. } => {}
        }
    }

    fn state(&mut self, asker: u64, key: &Key, take_error: bool) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let error = socket.error;
        if take_error {
            socket.error = 0;
        }
        let Socket { family, transport, stage, .. } = *socket;
        if stage == Stage::Ended && take_error {
            let _ = self.remove(key);
        }
        self.answer(asker, Ok(FarReply::State { family, transport, stage, error }));
    }

    fn accept(&mut self, asker: u64, key: &Key, mouth: &mut Mouth) {
        let arrival = self.sockets.get_mut(key).and_then(|socket| socket.arrivals.pop_front());
        let Some((arrival, peer)) = arrival else {
            return self.answer(asker, Err(Errno::AGAIN.raw_os_error()));
        };
        mouth.say(&key.node, &FarMessage::Credit { socket: key.socket, count: 1 });
        let descriptor = self.sockets.get_mut(&arrival).and_then(|socket| socket.theirs.take());
        // One that is over already says so itself.
        let answer = FarAnswer(match descriptor {
            Some(_) => Ok(FarReply::Name(peer)),
            None => Err(Errno::CONNABORTED.raw_os_error()),
        });
        self.answers.push(Answer { asker, answer, descriptor });
    }

    /// Is the socket one of these?
    pub(super) fn has(&self, key: &Key) -> bool {
        self.sockets.contains_key(key)
    }

    /// A node says something about a socket that is here.
    pub(super) fn heard(
        &mut self,
        key: &Key,
        message: FarMessage,
        (mouth, now): (&mut Mouth, Instant),
    ) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        match message {
            FarMessage::Answer { number, result, .. } => {
                self.answered(key, number, result, (mouth, now));
            }
            FarMessage::Data { bytes, .. } => {
                if socket.backlog.len() + bytes.len() > WINDOW as usize + DATA_MAX {
                    self.fail(key, Errno::PROTO.raw_os_error(), mouth, now);
                } else {
                    socket.backlog.push(bytes);
                    socket.pass_on(key, mouth);
                }
            }
            FarMessage::Credit { count, .. } => {
                socket.credit = socket.credit.saturating_add(count).min(WINDOW);
                socket.gone = socket.gone.map(|_| now);
            }
            FarMessage::End { .. } => {
                socket.ended_in = true;
                socket.pass_on(key, mouth);
            }
            FarMessage::Failed { errno, .. } => self.fail(key, errno, mouth, now),
            // The node knows nothing of it.
            FarMessage::Close { .. } => self.end(key, Errno::CONNRESET.raw_os_error(), now),
            FarMessage::Arrived { socket, peer, .. } => {
                if !self.arrived(key, socket, peer, now) {
                    mouth.say(&key.node, &FarMessage::Close { socket });
                }
            }
            FarMessage::Call { .. } | FarMessage::Ping | FarMessage::Forget => {}
        }
    }

    fn answered(
        &mut self,
        key: &Key,
        number: u32,
        result: Result<FarReply, i32>,
        (mouth, now): (&mut Mouth, Instant),
    ) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let Some(call) = socket.calls.remove(&number) else { return };
        match (call.what, &result) {
            (What::Open, Ok(_)) => {
                let (descriptor, asker) = (socket.theirs.take(), call.asker.unwrap_or(0));
                return self.answers.push(Answer { asker, answer: FarAnswer(result), descriptor });
            }
            (What::Open, Err(_)) => drop(self.remove(key)),
            (What::Listen, Ok(_)) => socket.stage = Stage::Listening,
            (What::Connect, Ok(_)) => socket.connected(),
            (What::Connect, Err(errno)) => {
                let errno = *errno;
                self.fail(key, errno, mouth, now);
                if call.asker.is_some() {
                    // It has been told.
                    let _ = self.remove(key);
                }
            }
            _ => {}
        }
        if let Some(asker) = call.asker {
            self.answer(asker, result);
        }
    }

    /// A socket is over, for this reason.
    fn fail(&mut self, key: &Key, errno: i32, mouth: &mut Mouth, now: Instant) {
        mouth.say(&key.node, &FarMessage::Close { socket: key.socket });
        self.end(key, errno, now);
    }

    fn end(&mut self, key: &Key, errno: i32, now: Instant) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.unstuff();
        socket.backlog.clear();
        (socket.stage, socket.error, socket.since) = (Stage::Ended, errno, now);
        // It may have been shut before.
        let _ = shutdown(&socket.end, Shutdown::Both);
        let was_opening = socket.theirs.is_some();
        let askers: Vec<u64> = core::mem::take(&mut socket.calls)
            .into_values()
            .filter_map(|call| call.asker)
            .collect();
        for asker in &askers {
            self.answer(*asker, Err(errno));
        }
        if was_opening && !askers.is_empty() {
            let _ = self.remove(key);
        }
    }

    fn arrived(
        &mut self,
        listener: &Key,
        number: u64,
        peer: std::net::SocketAddr,
        now: Instant,
    ) -> bool {
        let Some(of) = self.sockets.get(listener) else { return false };
        let is_full = of.arrivals.len() >= ARRIVED_MAX as usize || !self.has_room(of.uid);
        if is_full || of.stage != Stage::Listening {
            return false;
        }
        let Ok(mut socket) = Socket::new(of.uid, of.family, Transport::Stream, now) else {
            return false;
        };
        socket.stage = Stage::Connected;
        let key = Key { node: listener.node.clone(), socket: number };
        // The byte says that there is one more. Without room for it there are thousands.
        if self.sockets.contains_key(&key) || send(&of.end, &[1], quietly()).is_err() {
            return false;
        }
        self.insert(key.clone(), socket);
        if let Some(of) = self.sockets.get_mut(listener) {
            of.arrivals.push_back((key, peer));
        }
        true
    }

    /// Which descriptors to look at, and for what.
    pub(super) fn watches<'a>(
        &'a self,
        mouth: &'a Mouth,
    ) -> impl Iterator<Item = (&'a Key, BorrowedFd<'a>, PollFlags)> {
        self.sockets.iter().filter_map(|(key, socket)| {
            Some((key, socket.end.as_fd(), socket.watch(mouth.is_full(&key.node))?))
        })
    }

    /// A descriptor has something to tell.
    pub(super) fn ready(
        &mut self,
        key: &Key,
        events: PollFlags,
        (mouth, now): (&mut Mouth, Instant),
    ) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if events.contains(PollFlags::OUT) {
            socket.pass_on(key, mouth);
        }
        let hung_up = events.intersects(PollFlags::HUP | PollFlags::ERR);
        if !hung_up && !events.contains(PollFlags::IN) {
            return;
        }
        if socket.reads() && !socket.may_read(mouth.is_full(&key.node)) {
            if hung_up {
                // What was written before still goes.
                let _since = socket.gone.get_or_insert(now);
            }
            return;
        }
        let is_over = !socket.reads() || socket.read(key, hung_up, mouth);
        if hung_up && is_over {
            self.close(key, mouth);
        }
    }

    /// A program has closed its socket.
    fn close(&mut self, key: &Key, mouth: &mut Mouth) {
        let Some(socket) = self.remove(key) else { return };
        mouth.say(&key.node, &FarMessage::Close { socket: key.socket });
        for (arrival, _) in &socket.arrivals {
            let socket = arrival.socket;
            mouth.say(&arrival.node, &FarMessage::Close { socket });
        }
    }

    /// Nothing that was said to a node counts any more.
    pub(super) fn lost(&mut self, node: &str, now: Instant) {
        let theirs = self.sockets.keys().filter(|key| key.node == node);
        for key in theirs.cloned().collect::<Vec<_>>() {
            if self.sockets.get(&key).is_some_and(|socket| socket.stage != Stage::Ended) {
                self.end(&key, Errno::HOSTUNREACH.raw_os_error(), now);
            }
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant, mouth: &mut Mouth) {
        let over = |since: Instant, patience: Duration| now.duration_since(since) >= patience;
        let silent = |call: &Call| call.patience().is_some_and(|most| over(call.since, most));
        let lost = Errno::HOSTUNREACH.raw_os_error();
        for key in self.of(|socket| socket.calls.values().any(silent)) {
            self.fail(&key, lost, mouth, now);
        }
        for key in self.of(|socket| socket.stage == Stage::Ended && over(socket.since, ERROR_KEPT))
        {
            let _ = self.remove(&key);
        }
        for key in self.of(|socket| socket.gone.is_some_and(|since| over(since, CLOSE_PATIENCE))) {
            self.close(&key, mouth);
        }
    }

    /// The sockets of which something is true.
    fn of(&self, is: impl Fn(&Socket) -> bool) -> Vec<Key> {
        self.sockets.iter().filter(|(_, socket)| is(socket)).map(|(key, _)| key.clone()).collect()
    }

    /// A program waits for an answer no longer.
    pub(super) fn gone(&mut self, asker: u64) {
        for call in self.sockets.values_mut().flat_map(|socket| socket.calls.values_mut()) {
            if call.asker == Some(asker) && call.what != What::Open {
                call.asker = None;
            }
        }
    }

    /// The nodes of sockets that are not over.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        let alive = self.sockets.iter().filter(|(_, socket)| socket.stage != Stage::Ended);
        alive.map(|(key, _)| key.node.as_str())
    }
}

fn quietly() -> SendFlags {
    SendFlags::DONTWAIT | SendFlags::NOSIGNAL
}

#[cfg(test)]
mod tests;
