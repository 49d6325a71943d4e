//! One socket: its descriptor's two ends, and what goes through.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use proto::far::{DATA_MAX, FarCall, FarMessage, SECRET_MARK, SECRET_MASK, Stage, WINDOW};
use proto::message::{Family, Transport};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown, socketpair,
};

use super::{Backlog, Key, Mouth, Socket, What, quietly};

impl Socket {
    pub(super) fn new(
        uid: u32,
        family: Family,
        transport: Transport,
        now: Instant,
    ) -> Result<Self, Errno> {
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
            gone: None,
            stuffed: 0,
            arrivals: VecDeque::new(),
            calls: BTreeMap::new(),
            last_call: 0,
        })
    }

    pub(super) fn is_stream(&self) -> bool {
        self.transport == Transport::Stream
    }

    /// A call is about to be made: its number.
    pub(super) fn begin(
        &mut self,
        call: &FarCall,
        stuffed: u32,
        wait: bool,
    ) -> Result<(u32, What), Errno> {
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

    pub(super) fn connected(&mut self) {
        self.unstuff();
        self.stage = Stage::Connected;
    }

    /// Takes out what made the program's descriptor not writable.
    pub(super) fn unstuff(&mut self) {
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
    pub(super) fn reads(&self) -> bool {
        !self.ended_out && (self.stage == Stage::Connected || !self.is_stream())
    }

    /// What the program writes goes to the node now: it has room, and the way there too.
    pub(super) fn may_read(&self, is_full: bool) -> bool {
        self.reads() && self.credit > 0 && !is_full
    }

    /// An end is told whatever is looked for, and again and again: one that is known, and has bytes before it
    /// that can't go yet, is not looked at.
    pub(super) fn watch(&self, is_full: bool) -> Option<PollFlags> {
        if self.stage == Stage::Ended {
            return None;
        }
        let mut flags = PollFlags::empty();
        if self.may_read(is_full) {
            flags |= PollFlags::IN;
        }
        if !self.backlog.is_empty() {
            flags |= PollFlags::OUT;
        }
        (self.gone.is_none() || !flags.is_empty()).then_some(flags)
    }

    /// Reads once. `true`: there is nothing more.
    pub(super) fn read(&mut self, key: &Key, hung_up: bool, mouth: &mut Mouth) -> bool {
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
    pub(super) fn pass_on(&mut self, key: &Key, mouth: &mut Mouth) {
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
