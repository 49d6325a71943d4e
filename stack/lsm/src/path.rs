//! A module's own paths, `<run><prefix>/dev/NAME`: a private resource manager on a thread of its own.
//!
//! Who connects may be anybody whom the path's permissions let in, and means no good: messages have a
//! limit, users have a limit, and a client that does not take its answer is dropped. Requests are
//! served one at a time, and one of each client in turn.

use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};

use lsm_abi as abi;
use proto::path::{PATH_BYTES_MAX, PathAnswer, PathCall, PathReply};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, socket_with, sockopt,
};

use crate::instance::Instance;
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
    end: Arc<OwnedFd>,
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
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).ok()?);
        let server = Server { instance: Arc::clone(instance), paths, clients: Vec::new() };
        let name: String = instance.name().chars().take(9).collect();
        let stop = Arc::clone(&end);
        let thread = thread::Builder::new().name(format!("lsm-{name}-rm"));
        let thread = thread.spawn(move || server.run(&stop));
        match thread {
            Ok(thread) => Some(Self { thread, end }),
            Err(error) => {
                tracing::error!("{}: its paths are not served: {error}", instance.name());
                None
            }
        }
    }

    /// Takes the paths away and waits until the thread is out of the module.
    pub(crate) fn stop(self) {
        // The counter can't be full: this is the only write.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
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
}

struct Server {
    instance: Arc<Instance>,
    paths: Vec<PathEnd>,
    clients: Vec<Client>,
}

impl Server {
    fn run(mut self, stop: &OwnedFd) {
        let mut buffer = vec![0; proto::MESSAGE_MAX].into_boxed_slice();
        loop {
            let sockets = self.paths.iter().map(|end| &end.socket);
            let sockets = sockets.chain(self.clients.iter().map(|client| &client.socket));
            let mut fds: Vec<PollFd<'_>> = core::iter::once(stop)
                .chain(sockets)
                .map(|fd| PollFd::new(fd, PollFlags::IN))
                .collect();
            if poll(&mut fds, None).is_err_and(|errno| errno != Errno::INTR) {
                return;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let Some((stopping, ready)) = ready.split_first() else { return };
            if *stopping {
                break;
            }
            let (paths, clients) = ready.split_at(self.paths.len().min(ready.len()));
            self.serve(clients, &mut buffer);
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
        self.clients.retain(|client| {
            let keep = ready.next() != Some(&true) || answer(instance, client, buffer);
            if !keep {
                instance.path_close(client.handle);
            }
            keep
        });
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
            Ok(handle) if told => self.clients.push(Client { socket, handle, uid }),
            Ok(handle) => self.instance.path_close(handle),
            Err(_) => {}
        }
    }
}

/// Serves one request. `false`: the client is gone, or has to go.
fn answer(instance: &Instance, client: &Client, buffer: &mut [u8]) -> bool {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let len = match recv(&client.socket, &mut *buffer, flags) {
        Ok((_, len)) => len,
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    };
    // A message of no bytes is the end, one that was cut is none.
    let message = buffer.get(..len).filter(|message| !message.is_empty());
    let Some(Ok(call)) = message.map(proto::parse::<PathCall>) else { return false };
    tell(&client.socket, carry_out(instance, client.handle, call))
}

fn carry_out(instance: &Instance, handle: u64, call: PathCall) -> Result<PathReply, Errno> {
    let room = |len: u32| vec![0; len.min(PATH_BYTES_MAX) as usize];
    match call {
        PathCall::Read { offset, len } => {
            let mut data = room(len);
            let count = instance.path_read(handle, offset, &mut data)?;
            data.truncate(count);
            Ok(PathReply::Data(data))
        }
        PathCall::Write { offset, data } => {
            let count = instance.path_write(handle, offset, &data)?;
            Ok(PathReply::Written(u32::try_from(count).unwrap_or(u32::MAX)))
        }
        PathCall::Ioctl { request, data, room: wanted } => {
            let mut to = room(wanted);
            let count = instance.path_ioctl(handle, request, &data, &mut to)?;
            to.truncate(count);
            Ok(PathReply::Data(to))
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
