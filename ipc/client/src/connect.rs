//! Connecting, and how an attempt ends.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use proto::Request;
use rustix::io::Errno;
use shm::Status;

use crate::descriptor;
use crate::socket::{Socket, mark};

impl Socket {
    /// `connect()`. A stream waits until the connection is there, unless `nonblocking`. A datagram
    /// socket's peer is dissolved by IPv4's unspecified address. With `TCP_FASTOPEN_CONNECT` and a server
    /// whose cookie is known it returns at once, and the SYN goes with the first text.
    ///
    /// # Errors
    /// `EINPROGRESS`: under way; the descriptor becomes writable when it is decided, and `SO_ERROR`
    /// says how. `EALREADY`, `EISCONN`, `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH` and others.
    pub fn connect(
        &self,
        fd: BorrowedFd<'_>,
        address: SocketAddr,
        nonblocking: bool,
    ) -> io::Result<()> {
        if !self.is_stream() {
            return self.connect_datagram(address);
        }
        self.connect_stream(fd, address, nonblocking, false)
    }

    pub(crate) fn connect_stream(
        &self,
        fd: BorrowedFd<'_>,
        address: SocketAddr,
        nonblocking: bool,
        fast_open: bool,
    ) -> io::Result<()> {
        let marks = self.memory.marks();
        if marks & mark::CONNECTED != 0 {
            return Err(Errno::ISCONN.into());
        }
        if marks & mark::CONNECTING != 0 {
            return match self.attempt() {
                Some(result) => result,
                None if nonblocking => Err(Errno::ALREADY.into()),
                None => self.wait_connected(fd, Errno::ALREADY),
            };
        }
        let address = self.inward(address)?;
        let call = self.begin_call();
        match self.done(Request::Connect { socket: self.handle, address, fast_open }) {
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            // The SYN waits for text.
            Ok(()) => {
                self.memory.add_marks(mark::CONNECTING | mark::CONNECTED);
                return Ok(());
            }
            result => return result,
        }
        self.memory.add_marks(mark::CONNECTING);
        self.stuff_until_decided(call.fd(fd));
        if nonblocking {
            return Err(Errno::INPROGRESS.into());
        }
        self.wait_connected(call.fd(fd), Errno::INPROGRESS)
    }

    /// Not writable until the attempt is decided. It may have failed already: then nothing goes in.
    pub(crate) fn stuff_until_decided(&self, fd: BorrowedFd<'_>) {
        let _ = descriptor::stuff(fd);
        self.memory.send().arm();
        let _ = self.memory.post_arm();
    }

    fn connect_datagram(&self, address: SocketAddr) -> io::Result<()> {
        let address = self.inward(address)?;
        self.done(Request::Connect { socket: self.handle, address, fast_open: false })?;
        if address.is_ipv4() && address.ip().is_unspecified() {
            self.memory.remove_marks(mark::PEER);
        } else {
            self.memory.add_marks(mark::PEER | mark::BOUND);
        }
        Ok(())
    }

    /// Waits for the outcome, and answers `undecided` if the socket's send timeout is over before.
    pub(crate) fn wait_connected(&self, fd: BorrowedFd<'_>, undecided: Errno) -> io::Result<()> {
        let mut patience = self.patience_to_send(false);
        let _ = patience.enter(fd);
        loop {
            if self.attempt_is_told()
                && let Some(result) = self.attempt()
            {
                return result;
            }
            if descriptor::is_closed(patience.fd(fd))? {
                return self.attempt().unwrap_or_else(|| Err(Errno::CONNRESET.into()));
            }
            if self.spin.until(|| self.attempt_is_told()) {
                continue;
            }
            // A blocking call waits even if somebody has made the descriptor non-blocking meanwhile.
            patience.start();
            match patience.sleep_for_output(fd, true) {
                Err(Errno::AGAIN) => return Err(undecided.into()),
                Ok(true) => {
                    self.take_stuffing_out();
                    // The stuffing went out when it was decided, and one byte leaves the descriptor writable.
                    if let Some(result) = self.attempt() {
                        return result;
                    }
                }
                result => drop(result?),
            }
        }
    }

    /// A connection attempt has been made, and it has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.was_begun() && self.has(Status::CLOSED)
    }

    /// A connection attempt is under way.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.was_begun() && !self.attempt_is_decided()
    }

    fn was_begun(&self) -> bool {
        let marks = self.memory.marks();
        marks & mark::CONNECTING != 0 && marks & mark::CONNECTED == 0
    }

    fn attempt_is_decided(&self) -> bool {
        let decided = |s: Status| s.contains(Status::CONNECTED) || s.contains(Status::CLOSED);
        self.memory.status().is_none_or(decided)
    }

    /// The attempt is decided, and if it succeeded the descriptor says so: the worker writes the status
    /// first and makes it writable when its breath ends. Who polls it in between would be told to wait.
    fn attempt_is_told(&self) -> bool {
        match self.memory.status() {
            Some(status) if status.contains(Status::CLOSED) => true,
            Some(status) => is_established(status) && self.memory.send().is_drained(),
            None => true,
        }
    }

    /// How the connection attempt ended, if it did.
    fn attempt(&self) -> Option<io::Result<()>> {
        let status = self.memory.status();
        match status {
            Some(status) if is_established(status) => {
                self.memory.add_marks(mark::CONNECTED);
                Some(Ok(()))
            }
            Some(status) if status.contains(Status::CLOSED) => {
                Some(Err(self.take_error().unwrap_or_else(|| Errno::CONNABORTED.into())))
            }
            Some(_) => None,
            None => Some(Err(Errno::CONNRESET.into())),
        }
    }

    /// A stream that has or had a peer.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.memory.marks() & mark::CONNECTED != 0
    }
}

/// The handshake is over. A Fast Open client may write before that.
fn is_established(status: Status) -> bool {
    status.contains(Status::CONNECTED) && !status.contains(Status::OPENING)
}
