//! How a call waits: a moment awake, then asleep on the descriptor.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use shm::{Wait, Waits};

use crate::descriptor;
use crate::option::timeout;
use crate::socket::Socket;

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

/// How long a call may wait, found out when it first has to. Once it has waited, its descriptor is what [`Patience::fd`]
/// says: another thread may have closed the one that it was given.
#[derive(Debug)]
pub(crate) struct Patience<'a> {
    waits: &'a Waits,
    wait: Option<Wait<'a>>,
    nonblocking: bool,
    /// The call has done nothing yet, so a signal may begin it anew.
    pub(crate) may_restart: bool,
    timeout: Option<Duration>,
    started: bool,
    until: Option<Instant>,
}

impl Socket {
    /// For a call that receives or accepts.
    pub(crate) fn patience_to_receive(&self, nonblocking: bool) -> Patience<'_> {
        Patience::new(&self.waits, nonblocking, timeout(self.memory.receive_timeout_ms()))
    }

    /// For a call that sends or connects.
    pub(crate) fn patience_to_send(&self, nonblocking: bool) -> Patience<'_> {
        Patience::new(&self.waits, nonblocking, timeout(self.memory.send_timeout_ms()))
    }

    /// Begins a call that is made of several, or asks the daemon: it goes on with [`Wait::fd`], as one that waits does.
    pub fn begin_call(&self) -> Wait<'_> {
        self.waits.enter()
    }

    /// To be called before a descriptor of it is closed that other threads' calls may have been given: those that wait
    /// go on, as the kernel's do, and hold the socket until they are over.
    pub fn keep_for_calls(&self, fd: BorrowedFd<'_>) {
        self.waits.keep(fd);
    }
}

impl<'a> Patience<'a> {
    fn new(waits: &'a Waits, nonblocking: bool, timeout: Option<Duration>) -> Self {
        Self {
            waits,
            // A step of a call that has begun may have been given a number that is closed meanwhile.
            wait: waits.enter_again(),
            nonblocking,
            may_restart: true,
            timeout,
            started: false,
            until: None,
        }
    }

    /// The descriptor that the call goes on with.
    pub(crate) fn fd<'b>(&'b self, given: BorrowedFd<'b>) -> BorrowedFd<'b> {
        self.wait.as_ref().map_or(given, |wait| wait.fd(given))
    }

    /// From here on the call holds what it waits for.
    pub(crate) fn enter<'b>(&'b mut self, given: BorrowedFd<'b>) -> BorrowedFd<'b> {
        self.wait.get_or_insert_with(|| self.waits.enter()).fd(given)
    }

    /// May the call wait at all? To be asked before [`Patience::sleep`].
    ///
    /// # Errors
    /// `EAGAIN` if not.
    pub(crate) fn check(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !self.started {
            // It may be closed in between, and a copy left.
            let is_nonblocking = || descriptor::is_nonblocking(self.fd(fd));
            self.nonblocking |= is_nonblocking().or_else(|_| is_nonblocking())?;
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
        &mut self,
        fd: BorrowedFd<'_>,
        may_restart: bool,
    ) -> Result<bool, Errno> {
        if !may_restart || self.until.is_some() {
            return self.sleep(fd, PollFlags::IN).map(|()| false);
        }
        let at = self.enter(fd).as_raw_fd();
        match recv(self.fd(fd), &mut [0; 1], RecvFlags::PEEK) {
            Err(Errno::INTR) => Err(Errno::INTR),
            Err(Errno::BADF) if !self.has_moved(fd, at) => Err(Errno::BADF),
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
        &mut self,
        fd: BorrowedFd<'_>,
        may_restart: bool,
    ) -> Result<bool, Errno> {
        if may_restart && self.until.is_none() {
            let at = self.enter(fd).as_raw_fd();
            match send(self.fd(fd), &[0], SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => return Err(Errno::INTR),
                Err(Errno::BADF) if !self.has_moved(fd, at) => return Err(Errno::BADF),
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
    /// `EAGAIN`: time is up. `EINTR`: a signal. `EBADF`: whose handler has closed it.
    fn sleep(&mut self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<(), Errno> {
        let timeout = self.left().map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let at = self.enter(fd).as_raw_fd();
        let mut fds = [PollFd::from_borrowed_fd(self.fd(fd), events)];
        let found = poll(&mut fds, timeout.as_ref())?;
        let [entry] = &fds;
        match found {
            0 => Err(Errno::AGAIN),
            _ if entry.revents().contains(PollFlags::NVAL) && !self.has_moved(fd, at) => {
                Err(Errno::BADF)
            }
            _ => Ok(()),
        }
    }

    /// The call was at this number, and goes on with a copy: what it was told of the number does not count.
    fn has_moved(&self, given: BorrowedFd<'_>, at: RawFd) -> bool {
        self.fd(given).as_raw_fd() != at
    }

    /// Sleeps a while for something that the descriptor says nothing of.
    pub(crate) fn pause(&mut self, fd: BorrowedFd<'_>, time: Duration) {
        let _ = self.enter(fd);
        shm::pause(time);
    }

    fn left(&self) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(Instant::now()))
    }
}
