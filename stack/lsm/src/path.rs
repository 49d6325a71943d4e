//! A module's own paths, `<run><prefix>/dev/NAME`: a private resource manager on a thread of its own.
//!
//! Who connects may be anybody whom the path's permissions let in, and means no good: messages have a
//! limit, users have a limit, and a client that does not take its answer is dropped. Requests are
//! served one at a time, and one of each client in turn. A module may answer a request later: then its
//! client has nothing more to ask until it has.

use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use lsm_abi as abi;
use proto::path::{PATH_BYTES_MAX, PathAnswer, PathCall, PathReply};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, socket_with, sockopt,
};

use crate::answers::{Answers, Late};
use crate::instance::{Instance, PathResult};
use crate::limits::{PATH_CLIENTS_MAX, PATH_CLIENTS_OF_USER_MAX};

const _: () = assert!(PATH_BYTES_MAX == abi::PATH_BYTES_MAX);

/// A path that is there. Dropping it takes it away.
#[derive(Debug)]
pub(crate) struct PathEnd {
    path: PathBuf,
    socket: OwnedFd,
}

impl PathEnd {
    /// Makes a path. One that a daemon left behind, where nobody listens, is replaced.
    pub(crate) fn new(folder: &Path, name: &str, mode: u32) -> Result<Self, Errno> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let taken = name.is_empty() || name.starts_with('.') || name == "socket";
        if taken || name.len() > 32 || !name.chars().all(fits) || mode & !0o777 != 0 {
            return Err(Errno::INVAL);
        }
        let path = folder.join(name);
        let address = SocketAddrUnix::new(&path)?;
        let new = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        };
        let socket = new()?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) if connect(new()?, &address) == Err(Errno::CONNREFUSED) => {
                fs::remove_file(&path).map_err(errno)?;
                bind(&socket, &address)?;
            }
            bound => bound?,
        }
        let end = Self { path, socket };
        // Nobody can connect before it listens.
        fs::set_permissions(&end.path, Permissions::from_mode(mode)).map_err(errno)?;
        listen(&end.socket, 16)?;
        Ok(end)
    }
}

impl Drop for PathEnd {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The thread that serves a module's paths.
#[derive(Debug)]
pub(crate) struct PathServer {
    thread: JoinHandle<()>,
    answers: Arc<Answers>,
}

impl PathServer {
    /// Serves the paths that a module has made, if there are any.
    pub(crate) fn start(instance: &Arc<Instance>) -> Option<Self> {
        let mut made = instance.host().paths.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = core::mem::take(&mut *made);
        drop(made);
        if paths.is_empty() {
            return None;
        }
        let server = Server { instance: Arc::clone(instance), paths, clients: Vec::new() };
        let name: String = instance.name().chars().take(9).collect();
        let answers = Arc::clone(&instance.host().answers);
        let thread = thread::Builder::new().name(format!("lsm-{name}-rm"));
        let thread = thread.spawn(move || server.run());
        match thread {
            Ok(thread) => Some(Self { thread, answers }),
            Err(error) => {
                tracing::error!("{}: its paths are not served: {error}", instance.name());
                None
            }
        }
    }

    /// Takes the paths away and waits until the thread is out of the module.
    pub(crate) fn stop(self) {
        self.answers.end();
        if self.thread.join().is_err() {
            tracing::error!("a thread of paths had panicked");
        }
    }
}

/// Somebody who has a path open.
struct Client {
    socket: OwnedFd,
    handle: u64,
    uid: u32,
    /// Bytes of the answer that will come later, at most.
    waits: Option<usize>,
}

struct Server {
    instance: Arc<Instance>,
    paths: Vec<PathEnd>,
    clients: Vec<Client>,
}

impl Server {
    fn run(mut self) {
        let answers = Arc::clone(&self.instance.host().answers);
        let mut buffer = vec![0; proto::MESSAGE_MAX].into_boxed_slice();
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(answers.bell(), PollFlags::IN)];
            fds.extend(self.paths.iter().map(|end| PollFd::new(&end.socket, PollFlags::IN)));
            // Of one who waits only the end is heard.
            fds.extend(self.clients.iter().map(|client| {
                let asks = if client.waits.is_some() { PollFlags::empty() } else { PollFlags::IN };
                PollFd::new(&client.socket, asks)
            }));
            if poll(&mut fds, None).is_err_and(|errno| errno != Errno::INTR) {
                return;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let Some(late) = answers.take() else { break };
            let ready = ready.get(1..).unwrap_or_default();
            let (paths, clients) = ready.split_at(self.paths.len().min(ready.len()));
            self.serve(clients, &mut buffer);
            for late in late {
                self.pass_on(late);
            }
            for (number, _) in paths.iter().enumerate().filter(|(_, ready)| **ready) {
                self.accept(number);
            }
        }
        for client in &self.clients {
            self.instance.path_close(client.handle);
        }
    }

    /// One request of each client that has one; those that are gone leave.
    fn serve(&mut self, ready: &[bool], buffer: &mut [u8]) {
        let instance = &self.instance;
        let mut ready = ready.iter();
        self.clients.retain_mut(|client| {
            let keep = match ready.next() {
                Some(true) => client.waits.is_none() && answer(instance, client, buffer),
                _ => true,
            };
            if !keep {
                instance.path_close(client.handle);
            }
            keep
        });
    }

    /// An answer that was to come later.
    fn pass_on(&mut self, late: Late) {
        let its = |client: &Client| client.handle == late.handle && client.waits.is_some();
        let Some(at) = self.clients.iter().position(its) else { return };
        let room = self.clients.get_mut(at).and_then(|client| client.waits.take()).unwrap_or(0);
        let fits = |data: Vec<u8>| if data.len() <= room { Ok(data) } else { Err(Errno::MSGSIZE) };
        let reply = late.result.and_then(fits).map(PathReply::Data);
        if self.clients.get(at).is_some_and(|client| tell(&client.socket, reply)) {
            return;
        }
        let client = self.clients.swap_remove(at);
        self.instance.path_close(client.handle);
    }

    fn accept(&mut self, number: usize) {
        let Some(end) = self.paths.get(number) else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = accept_with(&end.socket, flags) else { return };
        let Ok(peer) = sockopt::socket_peercred(&socket) else { return };
        let (uid, gid) = (peer.uid.as_raw(), peer.gid.as_raw());
        let same_user = self.clients.iter().filter(|client| client.uid == uid).count();
        let full = self.clients.len() >= PATH_CLIENTS_MAX
            || (uid != 0 && same_user >= PATH_CLIENTS_OF_USER_MAX);
        let peer = abi::Peer {
            size: 24,
            path: u32::try_from(number).unwrap_or(u32::MAX),
            pid: peer.pid.as_raw_nonzero().get().unsigned_abs(),
            uid,
            gid,
            reserved: 0,
        };
        let opened = if full { Err(Errno::BUSY) } else { self.instance.path_open(&peer) };
        let told = tell(&socket, opened.map(|_| PathReply::Opened));
        match opened {
            Ok(handle) if told => {
                self.clients.push(Client { socket, handle, uid, waits: None });
            }
            Ok(handle) => self.instance.path_close(handle),
            Err(_) => {}
        }
    }
}

/// Serves one request. `false`: the client is gone, or has to go.
fn answer(instance: &Instance, client: &mut Client, buffer: &mut [u8]) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let len = match recv(&client.socket, &mut *buffer, flags) {
        Ok((_, len)) => len,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    };
    // A message of no bytes is the end, one that was cut is none.
    let message = buffer.get(..len).filter(|message| !message.is_empty());
    let Some(Ok(call)) = message.map(proto::parse::<PathCall>) else { return false };
    match carry_out(instance, client.handle, call) {
        Ok(Outcome::Later(room)) => client.waits = Some(room),
        Ok(Outcome::Now(reply)) => return tell(&client.socket, Ok(reply)),
        Err(errno) => return tell(&client.socket, Err(errno)),
    }
    true
}

/// What a request has come to.
enum Outcome {
    Now(PathReply),
    /// The module says it later, in so many bytes at most.
    Later(usize),
}

fn carry_out(instance: &Instance, handle: u64, call: PathCall) -> Result<Outcome, Errno> {
    let room = |len: u32| vec![0; len.min(PATH_BYTES_MAX) as usize];
    let said = |result, mut data: Vec<u8>| match result {
        PathResult::Now(count) => {
            data.truncate(count);
            Outcome::Now(PathReply::Data(data))
        }
        PathResult::Later => Outcome::Later(data.len()),
    };
    match call {
        PathCall::Read { offset, len } => {
            let mut data = room(len);
            Ok(said(instance.path_read(handle, offset, &mut data)?, data))
        }
        PathCall::Write { offset, data } => {
            let count = instance.path_write(handle, offset, &data)?;
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            Ok(Outcome::Now(PathReply::Written(count)))
        }
        PathCall::Ioctl { request, data, room: wanted } => {
            let mut to = room(wanted);
            Ok(said(instance.path_ioctl(handle, request, &data, &mut to)?, to))
        }
    }
}

/// `false`: the client does not take it.
fn tell(socket: &impl AsFd, result: Result<PathReply, Errno>) -> bool {
    let answer = PathAnswer(result.map_err(Errno::raw_os_error));
    let Ok(bytes) = proto::emit(&answer) else { return false };
    send(socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_plain_name_and_is_replaced_only_if_nobody_listens() {
        let folder = std::env::temp_dir().join(format!("iopkt-path-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for wrong in ["", "..", ".lock", "socket", "a/b", "a b", &"x".repeat(33)] {
            assert_eq!(PathEnd::new(&folder, wrong, 0o600).unwrap_err(), Errno::INVAL, "{wrong}");
        }
        let end = PathEnd::new(&folder, "pf", 0o660).unwrap();
        let mode = fs::metadata(&end.path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o660);
        assert_eq!(PathEnd::new(&folder, "pf", 0o660).unwrap_err(), Errno::ADDRINUSE);
        // The daemon was killed: the file is there, nobody listens.
        let killed =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let killed = killed.unwrap();
        bind(&killed, &SocketAddrUnix::new(folder.join("stale")).unwrap()).unwrap();
        drop(killed);
        assert!(PathEnd::new(&folder, "stale", 0o600).is_ok());
        drop(end);
        assert!(!folder.join("pf").exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
