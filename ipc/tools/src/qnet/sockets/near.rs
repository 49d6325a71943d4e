//! Sockets of programs here, at other nodes' stacks.
//!
//! ```text
//!  Fresh ── listen ──▶ Listening
//!    └── connect ──▶ Connecting ──▶ Connected ──▶ (the program closes it)
//!                        └── refused, node lost ──▶ Ended, until its error has been told
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use proto::far::{
    DATA_MAX, FarAnswer, FarCall, FarMessage, FarReply, FarRequest, SECRET_MARK, SECRET_MASK,
    Stage, VERSION, WINDOW,
};
use proto::message::{Family, Transport};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};

use super::mouth::{Backlog, Key, Mouth};

/// Sockets at a time, of all programs and of those of one user but root: each may have two windows of bytes
/// here.
const SOCKETS_MAX: usize = 256;
const OF_USER_MAX: usize = 128;

/// A node that does not answer within this is not there.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

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
        let of_user = self.sockets.values().filter(|socket| socket.uid == uid).count();
        if self.sockets.len() >= SOCKETS_MAX || (uid != 0 && of_user >= OF_USER_MAX) {
            return Err(Errno::MFILE);
        }
        self.last += 1;
        let call = FarCall::Open { version: VERSION, family, transport };
        Ok((self.last, FarMessage::Call { socket: self.last, number: 0, call }))
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
        let _ = socket.calls.insert(0, Call { asker: Some(asker), what: What::Open });
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
    pub(super) fn request(&mut self, asker: u64, request: FarRequest, mouth: &mut Mouth) {
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
                        let call_of = Call { asker: waits.then_some(asker), what };
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
        let full = self.sockets.len() >= SOCKETS_MAX;
        let Some(of) = self.sockets.get(listener) else { return false };
        if full || of.stage != Stage::Listening {
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
    pub(super) fn watches(
        &self,
        is_full: bool,
    ) -> impl Iterator<Item = (&Key, BorrowedFd<'_>, PollFlags)> {
        self.sockets.iter().filter_map(move |(key, socket)| {
            Some((key, socket.end.as_fd(), socket.watch(is_full)?))
        })
    }

    /// A descriptor has something to tell.
    pub(super) fn ready(&mut self, key: &Key, events: PollFlags, mouth: &mut Mouth) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if events.contains(PollFlags::OUT) {
            socket.pass_on(key, mouth);
        }
        let hung_up = events.intersects(PollFlags::HUP | PollFlags::ERR);
        if !hung_up && !events.contains(PollFlags::IN) {
            return;
        }
        let is_over = !socket.reads() || socket.read(key, hung_up, mouth);
        if hung_up && is_over {
            mouth.say(&key.node, &FarMessage::Close { socket: key.socket });
            for (arrival, _) in &socket.arrivals {
                let socket = arrival.socket;
                mouth.say(&arrival.node, &FarMessage::Close { socket });
            }
            let _ = self.remove(key);
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
        let late = |socket: &Socket| {
            let age = now.duration_since(socket.since);
            let opening = socket.calls.values().any(|call| call.what == What::Open);
            (opening && age >= OPEN_PATIENCE) || (socket.stage == Stage::Ended && age >= ERROR_KEPT)
        };
        let late = self.sockets.iter().filter(|(_, socket)| late(socket));
        for key in late.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.fail(&key, Errno::HOSTUNREACH.raw_os_error(), mouth, now);
            let _ = self.remove(&key);
        }
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

impl Socket {
    fn new(uid: u32, family: Family, transport: Transport, now: Instant) -> Result<Self, Errno> {
        let kind = match transport {
            Transport::Stream => SocketType::STREAM,
            // Datagrams whose end is noticed.
            Transport::Datagram | Transport::Raw => SocketType::SEQPACKET,
        };
        let flags = SocketFlags::CLOEXEC;
        let (end, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
        let mut random = [0; 8];
        let _all = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let secret = SECRET_MARK | u64::from_ne_bytes(random) & !SECRET_MASK;
        shm::write_secret(&theirs, secret)?;
        Ok(Self {
            uid,
            family,
            transport,
            secret,
            end,
            theirs: Some(theirs),
            stage: Stage::Fresh,
            error: 0,
            since: now,
            credit: WINDOW,
            backlog: Backlog::default(),
            ended_in: false,
            ended_out: false,
            stuffed: 0,
            arrivals: VecDeque::new(),
            calls: BTreeMap::new(),
            last_call: 0,
        })
    }

    fn is_stream(&self) -> bool {
        self.transport == Transport::Stream
    }

    /// A call is about to be made: its number.
    fn begin(&mut self, call: &FarCall, stuffed: u32, wait: bool) -> Result<(u32, What), Errno> {
        let what = match call {
            FarCall::Open { .. } => return Err(Errno::INVAL),
            FarCall::Connect(_) if self.is_stream() => What::Connect,
            FarCall::Listen { .. } => What::Listen,
            _ => What::Other,
        };
        if what == What::Connect {
            match self.stage {
                Stage::Fresh => {}
                Stage::Connecting => return Err(Errno::ALREADY),
                Stage::Listening | Stage::Connected => return Err(Errno::ISCONN),
                Stage::Ended => return Err(Errno::CONNABORTED),
            }
            self.stage = Stage::Connecting;
            self.stuffed = if wait { 0 } else { stuffed };
        }
        self.last_call = self.last_call.wrapping_add(1);
        Ok((self.last_call, what))
    }

    fn connected(&mut self) {
        self.unstuff();
        self.stage = Stage::Connected;
    }

    /// Takes out what made the program's descriptor not writable.
    fn unstuff(&mut self) {
        let mut stuffing = [0; 4096];
        while self.stuffed > 0 {
            let len = (self.stuffed as usize).min(stuffing.len());
            let into = stuffing.get_mut(..len).unwrap_or_default();
            match recv(&self.end, into, RecvFlags::DONTWAIT) {
                Ok((taken @ 1.., _)) => {
                    self.stuffed -= u32::try_from(taken).unwrap_or(self.stuffed).min(self.stuffed);
                }
                Err(Errno::INTR) => {}
                _ => self.stuffed = 0,
            }
        }
    }

    /// What the program writes is for the node.
    fn reads(&self) -> bool {
        !self.ended_out && (self.stage == Stage::Connected || !self.is_stream())
    }

    fn watch(&self, is_full: bool) -> Option<PollFlags> {
        if self.stage == Stage::Ended || (self.reads() && (self.credit == 0 || is_full)) {
            // Without credit its end would be told again and again.
            let waits = self.stage != Stage::Ended && !self.backlog.is_empty();
            return waits.then_some(PollFlags::OUT);
        }
        let mut flags = PollFlags::empty();
        if self.reads() {
            flags |= PollFlags::IN;
        }
        if !self.backlog.is_empty() {
            flags |= PollFlags::OUT;
        }
        Some(flags)
    }

    /// Reads once. `true`: there is nothing more.
    fn read(&mut self, key: &Key, hung_up: bool, mouth: &mut Mouth) -> bool {
        let room = if self.is_stream() { DATA_MAX.min(self.credit as usize) } else { DATA_MAX };
        let mut bytes = vec![0; room];
        let socket = key.socket;
        match recv(&self.end, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((len @ 1.., whole)) if len == whole => {
                bytes.truncate(len);
                self.credit = self.credit.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
                mouth.say(&key.node, &FarMessage::Data { socket, bytes });
                false
            }
            // A datagram that is too long.
            Ok((1.., _)) | Err(Errno::AGAIN | Errno::INTR) => false,
            _ => {
                self.ended_out = true;
                if !hung_up {
                    mouth.say(&key.node, &FarMessage::End { socket });
                }
                true
            }
        }
    }

    /// Gives the program what has come.
    fn pass_on(&mut self, key: &Key, mouth: &mut Mouth) {
        if self.stage == Stage::Ended {
            return;
        }
        let (end, is_stream) = (&self.end, self.is_stream());
        let (gone, result) = self.backlog.drain(is_stream, |bytes| send(end, bytes, quietly()));
        let mut gone = gone;
        if result.is_err() {
            // The program reads no more.
            gone += u32::try_from(self.backlog.len()).unwrap_or(0);
            self.backlog.clear();
        }
        if gone > 0 {
            mouth.say(&key.node, &FarMessage::Credit { socket: key.socket, count: gone });
        }
        if self.ended_in && self.backlog.is_empty() {
            // The program may be gone.
            let _ = shutdown(end, Shutdown::Write);
        }
    }
}

fn quietly() -> SendFlags {
    SendFlags::DONTWAIT | SendFlags::NOSIGNAL
}

#[cfg(test)]
mod tests;
