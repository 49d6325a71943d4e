//! The descriptor of a routing socket: a set of the kernel's (`epoll`) with two members. It is ready to read if one is.
//!
//! ```text
//!  daemon ── events ──► connection ─┐
//!                                   ├─► epoll: the program's descriptor
//!  own answers, rest of events ─────┴─► bell: rung as long as something waits in the queue
//!
//!  own messages ──► a second connection: question, answer
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::message::Family;
use proto::{Answer, Call, MESSAGE_MAX, Reply, Request};
use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use shm::Own;

use super::change::{Done, perform};
use super::event::route_message;
use super::message::{Message, RouteMessage};
use super::number::RTF_DONE;
use super::queue::{Next, Queue, Version, Wanted};
use crate::channel::{again, connect, interfaces, send_call, too_late};
use crate::{descriptor, far, prefix};

/// A routing socket. Its descriptor is ready to read if there are messages.
#[derive(Debug)]
pub struct RouteSocket {
    end: RouteEnd,
    fd: OwnedFd,
}

impl RouteSocket {
    /// Opens one: what happens from now on is heard. Of routes, neighbours and addresses those of a family, or all.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`: of no such family; `EOPNOTSUPP`: another node's stack has none; `ENOBUFS`: as many others, or of
    /// this user, listen as may; those of [`crate::Channel::current`].
    pub fn open(family: Option<Family>) -> io::Result<Self> {
        let (end, fd) = RouteEnd::open(family)?;
        Ok(Self { end, fd })
    }

    /// The next message; waits for one, unless the descriptor is nonblocking.
    ///
    /// # Errors
    /// `EAGAIN`; `EINTR`; `ENOBUFS`, once: some messages that would have been next are missing; `ENETDOWN`: the daemon is
    /// gone.
    pub fn recv(&self) -> io::Result<Message> {
        self.end.recv(self.fd.as_fd(), false, false)
    }

    /// Asks for something to be done. That comes back, with `pid` this process's: with `RTF_DONE` in its flags, or
    /// with why it is not done in `errno`. What has been done by it is not told once more.
    ///
    /// # Errors
    /// The same as comes back: `EPERM`: routes are root's and the daemon's user's to change; `EINVAL`; `EEXIST`;
    /// `ESRCH`: there is no such route; `ENETUNREACH`: the gateway is on no link. `ENETDOWN`: the daemon is gone.
    pub fn send(&self, message: &RouteMessage) -> io::Result<()> {
        self.end.send(message)
    }

    /// Makes receiving wait, or not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, nonblocking)?)
    }
}

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What is behind a routing socket's descriptor.
#[derive(Debug)]
pub struct RouteEnd {
    path: PathBuf,
    events: Own,
    bell: Own,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// The way for questions, and the process that it is of: a forked child has its own.
    questions: Option<(u32, Own)>,
    sequence: u32,
    is_rung: bool,
    /// The daemon is there no longer.
    is_gone: bool,
}

impl RouteEnd {
    /// See [`RouteSocket::open`]. The descriptor is close-on-exec, as nobody else could use it.
    ///
    /// # Errors
    /// As there.
    pub fn open(family: Option<Family>) -> io::Result<(Self, OwnedFd)> {
        let wants = match family {
            None => None,
            Some(Family::Inet) => Some(Version::V4),
            Some(Family::Inet6) => Some(Version::V6),
            Some(Family::Module(_)) => return Err(Errno::AFNOSUPPORT.into()),
        };
        if far::is_wanted() {
            return Err(Errno::OPNOTSUPP.into());
        }
        Self::open_at(prefix::socket_path(), wants)
    }

    pub(super) fn open_at(path: PathBuf, wants: Wanted) -> io::Result<(Self, OwnedFd)> {
        let events = connect(&path)?;
        match exchange(&events, 1, Request::Monitor)? {
            Reply::Done => {}
            _ => return Err(Errno::PROTO.into()),
        }
        let events = Own::new(events);
        let bell = Own::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for member in [events.fd(), bell.fd()] {
            epoll::add(&set, member, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        }
        let queue = Queue::new(wants);
        let state = State { queue, questions: None, sequence: 0, is_rung: false, is_gone: false };
        let end = Self { path, events, bell, state: Mutex::new(state) };
        // The numbers of interfaces that go are known.
        end.ask_for_interfaces(&mut end.state());
        Ok((end, set))
    }

    /// See [`RouteSocket::recv`]. `peek`: the message stays.
    ///
    /// # Errors
    /// As there.
    pub fn recv(&self, fd: BorrowedFd<'_>, nonblocking: bool, peek: bool) -> io::Result<Message> {
        let nonblocking = nonblocking || descriptor::is_nonblocking(fd)?;
        loop {
            if let Some(message) = self.take(peek)? {
                return Ok(message);
            }
            if nonblocking {
                return Err(Errno::AGAIN.into());
            }
            let _ready = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None)?;
        }
    }

    /// See [`RouteSocket::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, message: &RouteMessage) -> io::Result<()> {
        let mut state = self.state();
        let done = perform(message, &mut |request| self.ask(&mut state, request));
        let pid = std::process::id().cast_signed();
        let errno = done.as_ref().err().map_or(0, |errno| errno.raw_os_error());
        let mut answer = RouteMessage { pid, errno, ..message.clone() };
        if let Ok(done) = &done {
            state.queue.know(done);
            if let Done::Found(row) = done {
                if state.queue.number(&row.interface) == 0 {
                    self.ask_for_interfaces(&mut state);
                }
                let index = state.queue.number(&row.interface);
                let seq = message.seq;
                answer = RouteMessage { pid, seq, ..route_message(message.kind, row, index) };
            }
            answer.flags |= RTF_DONE;
        }
        state.queue.answer(Message::Route(answer));
        self.ring(&mut state);
        Ok(done.map(drop)?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message that there is.
    fn take(&self, peek: bool) -> io::Result<Option<Message>> {
        let mut state = self.state();
        let mut ask = true;
        let taken = loop {
            match state.queue.next(ask) {
                Next::Message(message) => {
                    if peek {
                        state.queue.put_back(message.clone());
                    }
                    break Ok(Some(message));
                }
                Next::Missed => break Err(Errno::NOBUFS.into()),
                Next::Unknown => {
                    self.ask_for_interfaces(&mut state);
                    ask = false;
                }
                Next::Nothing if self.hear(&mut state) => {}
                Next::Nothing if state.is_gone => break Err(Errno::NETDOWN.into()),
                Next::Nothing => break Ok(None),
            }
        };
        self.ring(&mut state);
        taken
    }

    /// Reads one message of the daemon's, if there is one.
    fn hear(&self, state: &mut State) -> bool {
        if state.is_gone {
            return false;
        }
        let mut buffer = vec![0; MESSAGE_MAX];
        let len = match again(|| recv(self.events.fd(), &mut buffer[..], RecvFlags::DONTWAIT)) {
            Err(Errno::AGAIN) => return false,
            Ok((_, len)) => len,
            Err(_) => 0,
        };
        let bytes = buffer.get(..len).unwrap_or_default();
        match proto::parse(bytes) {
            Ok(Answer { result: Ok(Reply::Events(events)), .. }) => {
                events.into_iter().for_each(|event| state.queue.hear(event));
                true
            }
            _ => {
                state.is_gone = true;
                false
            }
        }
    }

    /// The bell rings as long as something waits here, of which the kernel knows nothing.
    fn ring(&self, state: &mut State) {
        let rings = !state.queue.is_empty();
        if rings == state.is_rung {
            return;
        }
        state.is_rung = rings;
        let one = 1_u64.to_ne_bytes();
        let _ = if rings {
            rustix::io::write(self.bell.fd(), &one)
        } else {
            rustix::io::read(self.bell.fd(), &mut [0_u8; 8])
        };
    }

    fn ask_for_interfaces(&self, state: &mut State) {
        if let Ok(rows) = interfaces(|request| self.ask(state, request)) {
            state.queue.learn(&rows);
        }
    }

    /// A question to the daemon. One that does not answer has no other chance.
    fn ask(&self, state: &mut State, request: Request) -> Result<Reply, Errno> {
        let process = std::process::id();
        if state.questions.as_ref().is_none_or(|(of, _)| *of != process) {
            let way = connect(&self.path).map_err(|_| Errno::NETDOWN)?;
            state.questions = Some((process, Own::new(way)));
        }
        let Some((_, way)) = &state.questions else { return Err(Errno::NETDOWN) };
        state.sequence = state.sequence.wrapping_add(1).max(1);
        let reply = exchange(way.fd(), state.sequence, request);
        match reply {
            Err(Errno::CONNRESET | Errno::TIMEDOUT | Errno::PROTO) => {
                state.questions = None;
                Err(Errno::NETDOWN)
            }
            reply => reply,
        }
    }
}

/// A question and its answer, over a connection that waits for it only so long.
fn exchange(way: &OwnedFd, sequence: u32, request: Request) -> Result<Reply, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::PROTO);
    send_call(way, &Call { sequence, request }).map_err(errno)?;
    let mut buffer = vec![0; MESSAGE_MAX];
    let (_, len) = again(|| recv(way, &mut buffer[..], RecvFlags::empty())).map_err(too_late)?;
    if len == 0 {
        return Err(Errno::CONNRESET);
    }
    match proto::parse::<Answer>(buffer.get(..len).unwrap_or_default()) {
        Ok(answer) if answer.sequence == sequence || answer.sequence == proto::TURNED_AWAY => {
            answer.result.map_err(Errno::from_raw_os_error)
        }
        _ => Err(Errno::PROTO),
    }
}
