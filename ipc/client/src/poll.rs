//! `Poll`: waits for many sockets at once, and for any other descriptors beside them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bitflags::bitflags;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

bitflags! {
    /// What is waited for. A hang-up and an error always are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Interest: u32 {
        /// There is something to read or to accept, or nothing will come any more.
        const READABLE = 1;
        /// There is room, or a connection attempt is decided.
        const WRITABLE = 1 << 1;
        /// Told when it becomes so, not while it is: read and write until `WouldBlock`.
        const EDGE = 1 << 2;
        /// Told once, until [`Poll::modify`].
        const ONCE = 1 << 3;
    }
}

impl Interest {
    fn flags(self) -> EventFlags {
        const KNOWN: [(Interest, EventFlags); 4] = [
            (Interest::READABLE, EventFlags::IN.union(EventFlags::RDHUP)),
            (Interest::WRITABLE, EventFlags::OUT),
            (Interest::EDGE, EventFlags::ET),
            (Interest::ONCE, EventFlags::ONESHOT),
        ];
        let wanted = KNOWN.into_iter().filter(|(interest, _)| self.contains(*interest));
        wanted.fold(EventFlags::empty(), |flags, (_, flag)| flags | flag)
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// As it was added.
    pub token: u64,
    /// There is something to read or to accept, or nothing will come any more.
    pub readable: bool,
    /// There is room.
    pub writable: bool,
    /// The other end has sent its last, or the connection is gone.
    pub ended: bool,
}

/// A set of descriptors: the kernel's `epoll`, which sees a socket of a stack as any other.
#[derive(Debug)]
pub struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    /// An empty set.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Adds a descriptor. `token` is what events name it by.
    ///
    /// # Errors
    /// `EEXIST`; `ENOSPC`.
    pub fn add(&self, what: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, what, EventData::new_u64(token), interest.flags())?)
    }

    /// Waits for something else of a descriptor from now on.
    ///
    /// # Errors
    /// `ENOENT`: it was never added.
    pub fn modify(&self, what: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, what, EventData::new_u64(token), interest.flags())?)
    }

    /// Takes a descriptor out; closing its last copy does so, too.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, what: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, what)?)
    }

    /// Waits until something has happened, or for so long; at most `limit` events at a time.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait(&self, limit: usize, timeout: Option<Duration>) -> io::Result<Vec<Readiness>> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut events = Vec::with_capacity(limit.max(1));
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref())?;
        Ok(events.iter().map(readiness).collect())
    }
}

fn readiness(event: &epoll::Event) -> Readiness {
    let flags = event.flags;
    let has = |some: EventFlags| flags.intersects(some);
    let gone = EventFlags::HUP | EventFlags::ERR;
    Readiness {
        token: event.data.u64(),
        readable: has(EventFlags::IN | gone),
        writable: has(EventFlags::OUT | gone),
        ended: has(EventFlags::RDHUP | gone),
    }
}

impl AsFd for Poll {
    /// Readable while something has happened: sets may be in sets.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
