//! The module's path, from a client's side.

use core::time::Duration;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::path::{PATH_BYTES_MAX, PathAnswer, PathCall, PathReply};
use proto::qnet::{FILES, FileCall, FileReply, FileRequest, STATUS, Status};
use proto::{MESSAGE_MAX, paths};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::control::dial;

/// A little longer than the module waits for a node.
const PATIENCE: Duration = Duration::from_secs(40);

/// An open path, which has one request at a time.
#[derive(Debug)]
pub(crate) struct Door {
    socket: OwnedFd,
}

impl Door {
    fn open(path: &Path) -> Result<Self, Errno> {
        let socket = dial(path)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        let door = Self { socket };
        match door.answer()? {
            PathReply::Opened => Ok(door),
            _ => Err(Errno::PROTO),
        }
    }

    /// Has a node do something with one of its files.
    pub(crate) fn call(&self, node: &str, call: &FileCall) -> Result<FileReply, Errno> {
        self.begin(node, call)?;
        self.reply()
    }

    fn begin(&self, node: &str, call: &FileCall) -> Result<(), Errno> {
        let call = proto::emit(call).map_err(|proto::MalformedMessage| Errno::MSGSIZE)?;
        self.request(FILES, &FileRequest { node: node.into(), call })
    }

    /// What the module knows.
    pub(crate) fn status(&self) -> Result<Status, Errno> {
        self.ask(STATUS, &())
    }

    fn ask<T: for<'a> serde::Deserialize<'a>>(
        &self,
        request: u32,
        what: &impl serde::Serialize,
    ) -> Result<T, Errno> {
        self.request(request, what)?;
        self.reply()
    }

    /// Asks for something; the reply is to be taken before the next request.
    pub(crate) fn request(&self, request: u32, what: &impl serde::Serialize) -> Result<(), Errno> {
        let data = proto::emit(what).map_err(|proto::MalformedMessage| Errno::MSGSIZE)?;
        let call = PathCall::Ioctl { request, data, room: PATH_BYTES_MAX };
        let bytes = proto::emit(&call).map_err(|proto::MalformedMessage| Errno::MSGSIZE)?;
        send(&self.socket, &bytes, SendFlags::NOSIGNAL).map(drop)
    }

    /// The reply to the last request.
    pub(crate) fn reply<T: for<'a> serde::Deserialize<'a>>(&self) -> Result<T, Errno> {
        match self.answer()? {
            PathReply::Data(data) => {
                proto::parse(&data).map_err(|proto::MalformedMessage| Errno::PROTO)
            }
            _ => Err(Errno::PROTO),
        }
    }

    /// Readable when there is a reply.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn answer(&self) -> Result<PathReply, Errno> {
        let mut buffer = vec![0; MESSAGE_MAX];
        // With a time limit a call ends when the process is stopped and goes on; its answer still comes.
        let (_, len) =
            rustix::io::retry_on_intr(|| recv(&self.socket, &mut buffer[..], RecvFlags::empty()))?;
        // Nothing is the end: the module is gone.
        let bytes = buffer.get(..len).filter(|bytes| !bytes.is_empty()).ok_or(Errno::PIPE)?;
        let PathAnswer(result) =
            proto::parse(bytes).map_err(|proto::MalformedMessage| Errno::PROTO)?;
        result.map_err(Errno::from_raw_os_error)
    }
}

/// A call under way, and the path that its reply comes by.
#[derive(Debug)]
pub(crate) struct UnderWay(Door);

/// As many open paths as are in use at a time.
#[derive(Debug)]
pub(crate) struct Doors {
    path: PathBuf,
    idle: Mutex<Vec<Door>>,
}

impl Doors {
    pub(crate) fn new(prefix: &str) -> Self {
        Self::at(paths::socket_path(prefix).with_file_name("qnet"))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// One more.
    pub(crate) fn open(&self) -> Result<Door, Errno> {
        Door::open(&self.path)
    }

    /// Has a path to oneself for a moment. One whose module is gone is opened anew the next time.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&Door) -> Result<T, Errno>) -> Result<T, Errno> {
        let door = self.take()?;
        let result = act(&door);
        self.give_back(door, result.as_ref().err());
        result
    }

    /// Has a node begin something; [`end`](Self::end) waits for it. Whoever drops it does not want to know.
    pub(crate) fn begin(&self, node: &str, call: &FileCall) -> Result<UnderWay, Errno> {
        let door = self.take()?;
        let begun = door.begin(node, call);
        if let Err(errno) = begun {
            self.give_back(door, Some(&errno));
            return Err(errno);
        }
        Ok(UnderWay(door))
    }

    /// What has come of it.
    pub(crate) fn end(&self, UnderWay(door): UnderWay) -> Result<FileReply, Errno> {
        let reply = door.reply();
        self.give_back(door, reply.as_ref().err());
        reply
    }

    fn take(&self) -> Result<Door, Errno> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.open(), Ok)
    }

    fn give_back(&self, door: Door, why: Option<&Errno>) {
        match why {
            Some(&(Errno::PIPE | Errno::CONNRESET | Errno::AGAIN | Errno::PROTO)) => {
                self.idle().clear();
            }
            _ => self.idle().push(door),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Door>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
