//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use proto::message::Transport;
use proto::{Reply, Request};
use rustix::io::Errno;
use shm::{Status, Wait};

use crate::descriptor::{self, End};
use crate::receive::is_announced;
use crate::socket::{Socket, mark};

/// The first pause of a caller that does not give a dead listener up, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// No longer than this: what else is in its event loop has to wait too.
const PAUSE_MAX: Duration = Duration::from_millis(100);

impl Socket {
    /// `accept()`. The descriptor is blocking and close-on-exec.
    ///
    /// # Errors
    /// `EAGAIN` when it would have to wait and may not, `EINTR`, `EINVAL` if the socket does not
    /// listen, `EMFILE` (the connection goes on waiting), `ECONNRESET` if the daemon is gone: the descriptor stays readable then, and the
    /// first call says so at once, later ones after a pause, non-blocking or not.
    pub fn accept(
        &self,
        fd: BorrowedFd<'_>,
        nonblocking: bool,
    ) -> io::Result<(Self, OwnedFd, SocketAddr)> {
        if !self.is_stream() {
            return Err(Errno::OPNOTSUPP.into());
        }
        if self.memory.marks() & mark::LISTENING == 0 {
            return Err(Errno::INVAL.into());
        }
        let call = self.begin_call();
        let mut patience = self.patience_to_receive(nonblocking);
        loop {
            // As with bytes: nothing is taken before its token is there.
            if is_announced(call.fd(fd), &self.memory.receive()) {
                if let Some(error) = self.take_error() {
                    return Err(error);
                }
                match self.try_accept(&call, fd) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        return Err(self.orphaned());
                    }
                    result => return result,
                }
                // What the daemon and what the descriptor says may differ for a moment.
                if self.settle_listener(call.fd(fd)) == End::Shut {
                    return Err(self.orphaned());
                }
            }
            patience.check(fd)?;
            let _ = patience.sleep_for_input(fd, true)?;
        }
    }

    /// The daemon is gone. A program whose event loop takes no notice of errors of accept would call
    /// again without end: it gets a pause each time, which leaves the processor to others.
    fn orphaned(&self) -> io::Error {
        let before = self.orphaned.fetch_add(1, Ordering::Relaxed);
        if before > 0 {
            let pause = PAUSE_MIN.saturating_mul(1 << before.min(10));
            shm::pause(pause.min(PAUSE_MAX));
        }
        Errno::CONNRESET.into()
    }

    fn try_accept(
        &self,
        call: &Wait<'_>,
        fd: BorrowedFd<'_>,
    ) -> io::Result<(Self, OwnedFd, SocketAddr)> {
        match self.channel.call(Request::Accept { socket: self.handle })? {
            (Reply::Accepted { socket, remote, .. }, Some(accepted)) => {
                let _ = self.settle_listener(call.fd(fd));
                let socket = Self::new(&self.channel, socket, Transport::Stream)?;
                // As Linux does it: the listener's patience is its connections'.
                let patience = self.memory.receive_timeout_ms().load(Ordering::Relaxed);
                socket.memory.receive_timeout_ms().store(patience, Ordering::Relaxed);
                let patience = self.memory.send_timeout_ms().load(Ordering::Relaxed);
                socket.memory.send_timeout_ms().store(patience, Ordering::Relaxed);
                let inherited = self.memory.marks() & mark::OF_LISTENER;
                socket.memory.add_marks(mark::CONNECTED | inherited);
                socket.linger_s.store(self.linger_s.load(Ordering::Relaxed), Ordering::Relaxed);
                let remote = self.outward(remote);
                Ok((socket, accepted, remote))
            }
            _ => Err(Errno::PROTO.into()),
        }
    }

    /// Takes the token out and asks for a new one, which the worker writes at once if it knows that
    /// more connections wait. What the cell says may be a moment old, so it cannot be the reason to
    /// leave the token where it is.
    fn settle_listener(&self, fd: BorrowedFd<'_>) -> End {
        let mut queue = self.memory.receive();
        let end = descriptor::take_tokens(fd);
        queue.arm();
        drop(queue);
        if self.has(Status::ACCEPTABLE) {
            let _ = self.memory.post_arm();
        }
        end
    }
}
