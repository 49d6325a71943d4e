//! How a call waits: a moment awake, then asleep on the descriptor.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::descriptor;

/// An answer from a peer on the same machine comes within this time or not at all soon.
const SPIN_MAX: Duration = Duration::from_micros(20);

/// After this many waits for which staying awake was not worth it, it is tried once more.
const SPIN_RETRY: u32 = 32;

/// Whether it was worth staying awake, lately.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    /// Waits left until it is tried again.
    pause: AtomicU32,
}

impl Spin {
    /// Stays awake a moment; true as soon as `ready` is.
    pub(crate) fn until(&self, ready: impl Fn() -> bool) -> bool {
        let pause = self.pause.load(Ordering::Relaxed);
        if pause > 0 {
            self.pause.store(pause.saturating_sub(1), Ordering::Relaxed);
            return false;
        }
        let start = Instant::now();
        loop {
            if ready() {
                return true;
            }
            if start.elapsed() >= SPIN_MAX {
                self.pause.store(SPIN_RETRY, Ordering::Relaxed);
                return false;
            }
            rustix::thread::sched_yield();
        }
    }
}

/// How long a call may wait, found out when it first has to.
#[derive(Debug)]
pub(crate) struct Patience {
    nonblocking: bool,
    /// The call has done nothing yet, so a signal may begin it anew.
    pub(crate) may_restart: bool,
    timeout: Option<Duration>,
    started: bool,
    until: Option<Instant>,
}

impl Patience {
    pub(crate) fn new(nonblocking: bool, timeout: Option<Duration>) -> Self {
        Self { nonblocking, may_restart: true, timeout, started: false, until: None }
    }

    /// May the call wait at all? To be asked before [`Patience::sleep`].
    ///
    /// # Errors
    /// `EAGAIN` if not.
    pub(crate) fn check(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !self.started {
            self.nonblocking |= descriptor::is_nonblocking(fd)?;
            self.start();
        }
        if self.nonblocking || self.left() == Some(Duration::ZERO) {
            return Err(Errno::AGAIN.into());
        }
        Ok(())
    }

    /// Nobody has said that the call may not wait, or for how long: [`Patience::sleep_for_input`] asks the descriptor.
    pub(crate) fn leaves_it_to_the_kernel(&self) -> bool {
        !self.nonblocking && self.timeout.is_none()
    }

    /// The time begins to run, if it does not run yet.
    pub(crate) fn start(&mut self) {
        if !self.started {
            self.started = true;
            self.until = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        }
    }

    /// Sleeps until there is something to read or accept. A call that has no timeout and nothing to show yet is
    /// restarted after a signal where Linux restarts it (`SA_RESTART`): it sleeps in a `recv` of the kernel's,
    /// which takes nothing. True: it has seen a token.
    ///
    /// # Errors
    /// As [`Patience::sleep`].
    pub(crate) fn sleep_for_input(
        &self,
        fd: BorrowedFd<'_>,
        may_restart: bool,
    ) -> Result<bool, Errno> {
        if !may_restart || self.until.is_some() {
            return self.sleep(fd, PollFlags::IN).map(|()| false);
        }
        match recv(fd, &mut [0; 1], RecvFlags::PEEK) {
            Err(Errno::INTR) => Err(Errno::INTR),
            // What it is the call finds out by itself.
            seen => Ok(seen.is_ok_and(|(len, _)| len > 0)),
        }
    }

    /// Sleeps until there is room, or a connection attempt is decided; restarted after a signal as
    /// [`Patience::sleep_for_input`] is. The descriptor is full of stuffing, so a byte more waits, in a `send` of the
    /// kernel's, until the daemon takes all of it out. True: that byte is in now, and has to be taken out, too.
    ///
    /// # Errors
    /// As [`Patience::sleep`].
    pub(crate) fn sleep_for_output(
        &self,
        fd: BorrowedFd<'_>,
        may_restart: bool,
    ) -> Result<bool, Errno> {
        if may_restart && self.until.is_none() {
            match send(fd, &[0], SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => return Err(Errno::INTR),
                // Somebody has made it nonblocking meanwhile, and this call waits all the same.
                Err(Errno::AGAIN) => {}
                // What it is the call finds out by itself.
                Err(_) => return Ok(false),
            }
        }
        self.sleep(fd, PollFlags::OUT).map(|()| false)
    }

    /// Sleeps until the kernel says that the descriptor is ready.
    ///
    /// # Errors
    /// `EAGAIN`: time is up. `EINTR`: a signal.
    pub(crate) fn sleep(&self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<(), Errno> {
        let timeout = self.left().map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [PollFd::from_borrowed_fd(fd, events)];
        match poll(&mut fds, timeout.as_ref())? {
            0 => Err(Errno::AGAIN),
            _ => Ok(()),
        }
    }

    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }
}
