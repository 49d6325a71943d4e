//! The connection to the daemon: send a [`Call`], receive its [`Answer`].
//!
//! Tools need neither sockets nor shared memory, so they never attach; descriptors that come with
//! an answer are dropped by the kernel because no room is given for them.

use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::table::{
    ClientRow, CounterRow, DaemonRow, GroupRow, InterfaceRow, ModuleRow, NeighborRow, RouteRow,
    SocketRow, TunableRow, WorkerRow,
};
use proto::{Answer, Call, MESSAGE_MAX, NetworkEvent, Reply, Request, Skip, paths};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use crate::fail::{Failure, describe};

/// A daemon that takes longer hangs; the control thread answers in microseconds.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// A module may take ten seconds to open; then the daemon says that it has not.
const MOUNT_TIME_MAX: Duration = Duration::from_secs(15);

/// Pages of a list read at most: one that never ends is a broken daemon.
const PAGES_MAX: u32 = 65_536;

fn refused(error: CallError) -> Failure {
    match error {
        CallError::Refused(errno) => Failure::refused("the daemon refused", errno, ""),
        CallError::Broken(failure) => failure,
    }
}

fn endless(what: &str, rows: usize) -> Failure {
    Failure::failed(format!("the daemon's list of {what} does not end after {rows} rows"))
}

/// The prefix of the stack: the option, else `$SOCK`.
pub(crate) fn prefix(option: Option<String>) -> String {
    let prefix = option.unwrap_or_else(paths::client_prefix);
    if prefix == "/" { String::new() } else { prefix }
}

/// Prefixes of the stacks whose sockets are under the run directory.
pub(crate) fn instances() -> Vec<String> {
    let run = paths::run_dir();
    let mut found = Vec::new();
    if run.join("dev/socket").exists() {
        found.push(String::new());
    }
    let entries = fs::read_dir(&run).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.path().join("dev/socket").exists());
    found.extend(named.map(|entry| format!("/{}", entry.file_name().to_string_lossy())));
    found.sort();
    found
}

/// A connection to one stack.
#[derive(Debug)]
pub(crate) struct Control {
    socket: OwnedFd,
    path: PathBuf,
    prefix: String,
    sequence: u32,
    /// How long an answer may take.
    patience: Duration,
}

/// Why a call brought no reply.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The daemon refused, with Linux's errno.
    Refused(i32),
    /// The connection or the protocol failed.
    Broken(Failure),
}

impl Control {
    /// Connects to the stack of this prefix.
    pub(crate) fn open(option: Option<String>) -> Result<Self, Failure> {
        let prefix = prefix(option);
        let path = paths::socket_path(&prefix);
        let socket = dial(&path).map_err(|error| Failure::unreachable(&path, &prefix, error))?;
        Ok(Self { socket, path, prefix, sequence: 0, patience: ANSWER_TIME_MAX })
    }

    /// Connects anew, since answers that came too late would be taken for others.
    pub(crate) fn reopen(&mut self) -> Result<(), Failure> {
        let unreachable = |error| Failure::unreachable(&self.path, &self.prefix, error);
        self.socket = dial(&self.path).map_err(unreachable)?;
        self.patience = ANSWER_TIME_MAX;
        Ok(())
    }

    /// A program that this process becomes keeps the connection; `exec` alone may follow.
    pub(crate) fn keep_over_exec(self) -> Result<OwnedFd, Failure> {
        rustix::io::fcntl_setfd(&self.socket, rustix::io::FdFlags::empty())
            .map_err(|error| Failure::failed(describe(error.raw_os_error())))?;
        Ok(self.socket)
    }

    /// Path of the daemon's socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for all that happens to the network, and gives it on as it comes, as long as `each` wants more.
    pub(crate) fn watch(
        &mut self,
        mut each: impl FnMut(Vec<NetworkEvent>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        match self.change(Request::Monitor) {
            Ok(()) => {}
            Err(CallError::Refused(errno)) => {
                let hint = "others listen already, as many as may; end one of them";
                return Err(Failure::refused("cannot watch the network", errno, hint));
            }
            Err(CallError::Broken(failure)) => return Err(failure),
        }
        // Nothing may happen for hours.
        set_socket_timeout(&self.socket, Timeout::Recv, None)
            .map_err(|error| Failure::failed(describe(error.raw_os_error())))?;
        let mut buffer = vec![0_u8; MESSAGE_MAX + 1];
        loop {
            let received = recv(&self.socket, &mut *buffer, RecvFlags::empty());
            let length = match received {
                Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE) => {
                    let path = self.path.display();
                    return Err(Failure::failed(format!("io-pkt at {path} has ended")));
                }
                Ok((_, length)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(Failure::failed(describe(error.raw_os_error()))),
            };
            match proto::parse::<Answer>(buffer.get(..length).unwrap_or_default()) {
                Ok(Answer { result: Ok(Reply::Events(events)), .. }) => {
                    if !each(events)? {
                        return Ok(());
                    }
                }
                _ => return Err(Failure::other_version(&self.path)),
            }
        }
    }

    /// Waits as long for an answer as a module may take to open, unless the daemon answers nothing at all.
    pub(crate) fn be_patient(&mut self) -> Result<(), Failure> {
        let _answers = self.daemon()?;
        self.patience = MOUNT_TIME_MAX;
        set_socket_timeout(&self.socket, Timeout::Recv, Some(self.patience))
            .map_err(|error| Failure::failed(describe(error.raw_os_error())))
    }

    /// One request, one reply.
    pub(crate) fn call(&mut self, request: Request) -> Result<Reply, CallError> {
        self.sequence = self.sequence.wrapping_add(1);
        let call = Call { sequence: self.sequence, request };
        let bytes = proto::emit(&call).map_err(|error| {
            CallError::Broken(Failure::usage(format!("the request is too long: {error}")))
        })?;
        // One byte more than a message may have tells a message cut by the kernel from a full one.
        let mut buffer = vec![0_u8; MESSAGE_MAX + 1];
        let sent = send(&self.socket, &bytes, SendFlags::NOSIGNAL);
        let mut answer = || recv(&self.socket, &mut *buffer, RecvFlags::empty());
        // Who has been turned away finds out why after the kernel has said that the connection is closed.
        let (_, length) = match sent.and_then(|_all| answer()) {
            Err(error @ (Errno::PIPE | Errno::CONNRESET)) => {
                answer().ok().filter(|(_, length)| *length > 0).ok_or(error)
            }
            answered => answered,
        }
        .map_err(|error| self.lost(error))?;
        let bytes = buffer.get(..length).unwrap_or_default();
        match proto::parse::<Answer>(bytes) {
            Ok(answer) if answer.sequence == self.sequence => {
                answer.result.map_err(CallError::Refused)
            }
            Ok(Answer { sequence: proto::TURNED_AWAY, result: Err(errno) }) => {
                Err(CallError::Broken(Failure::turned_away(&self.path, errno)))
            }
            // The daemon closes the connection on a message it does not know.
            _ => Err(CallError::Broken(Failure::other_version(&self.path))),
        }
    }

    /// A request that changes the stack.
    pub(crate) fn change(&mut self, request: Request) -> Result<(), CallError> {
        match self.call(request)? {
            Reply::Done => Ok(()),
            _ => Err(CallError::Broken(Failure::other_version(&self.path))),
        }
    }

    pub(crate) fn interfaces(&mut self) -> Result<Vec<InterfaceRow>, Failure> {
        let pick = |r| if let Reply::Interfaces(x) = r { Some(x) } else { None };
        self.list("interfaces", Request::Interfaces, pick)
    }

    /// All routes of a table, page after page.
    pub(crate) fn routes(&mut self, table: u8) -> Result<Vec<RouteRow>, Failure> {
        let mut rows: Vec<RouteRow> = Vec::new();
        for _ in 0..PAGES_MAX {
            let after = rows.last().map(|last| (last.destination, last.prefix_len));
            let page = self.ask(Request::Routes { table, after }, |r| {
                if let Reply::Routes(x) = r { Some(x) } else { None }
            })?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page);
        }
        Err(endless("routes", rows.len()))
    }

    /// The route of a table by which packets to an address go, a row for each gateway.
    pub(crate) fn route_to(&mut self, table: u8, to: IpAddr) -> Result<Vec<RouteRow>, Failure> {
        let request = Request::Route { table, to };
        self.ask(request, |r| if let Reply::Routes(x) = r { Some(x) } else { None })
    }

    pub(crate) fn neighbors(&mut self) -> Result<Vec<NeighborRow>, Failure> {
        let pick = |r| if let Reply::Neighbors(x) = r { Some(x) } else { None };
        self.list("neighbours", Request::Neighbors, pick)
    }

    pub(crate) fn groups(&mut self) -> Result<Vec<GroupRow>, Failure> {
        let pick = |r| if let Reply::Groups(x) = r { Some(x) } else { None };
        self.list("groups", Request::Groups, pick)
    }

    pub(crate) fn clients(&mut self) -> Result<Vec<ClientRow>, Failure> {
        let pick = |r| if let Reply::Clients(x) = r { Some(x) } else { None };
        self.list("clients", Request::Clients, pick)
    }

    pub(crate) fn workers(&mut self) -> Result<Vec<WorkerRow>, Failure> {
        self.ask(Request::Workers, |r| if let Reply::Workers(x) = r { Some(x) } else { None })
    }

    pub(crate) fn counters(&mut self) -> Result<Vec<CounterRow>, Failure> {
        self.ask(Request::Counters, |r| if let Reply::Counters(x) = r { Some(x) } else { None })
    }

    pub(crate) fn modules(&mut self) -> Result<Vec<ModuleRow>, Failure> {
        self.ask(Request::Modules, |r| if let Reply::Modules(x) = r { Some(x) } else { None })
    }

    pub(crate) fn tunables(&mut self) -> Result<Vec<TunableRow>, Failure> {
        self.ask(Request::Tunables, |r| if let Reply::Tunables(x) = r { Some(x) } else { None })
    }

    pub(crate) fn daemon(&mut self) -> Result<DaemonRow, Failure> {
        self.ask(Request::Daemon, |r| if let Reply::Daemon(x) = r { Some(x) } else { None })
    }

    pub(crate) fn sockets(&mut self) -> Result<Vec<SocketRow>, Failure> {
        let pick = |r| if let Reply::Sockets(x) = r { Some(x) } else { None };
        self.list("sockets", Request::Sockets, pick)
    }

    /// All rows of a list, page after page.
    fn list<T>(
        &mut self,
        what: &str,
        request: impl Fn(Skip) -> Request,
        pick: fn(Reply) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, Failure> {
        self.list_or(what, request, pick, refused)
    }

    /// The same, with what is to be said of a refusal.
    pub(crate) fn list_or<T>(
        &mut self,
        what: &str,
        request: impl Fn(Skip) -> Request,
        pick: fn(Reply) -> Option<Vec<T>>,
        explain: impl Fn(CallError) -> Failure,
    ) -> Result<Vec<T>, Failure> {
        let mut rows = Vec::new();
        for _ in 0..PAGES_MAX {
            let skip = Skip(u32::try_from(rows.len()).unwrap_or(u32::MAX));
            let reply = self.call(request(skip)).map_err(&explain)?;
            let page = pick(reply).ok_or_else(|| Failure::other_version(&self.path))?;
            if page.is_empty() {
                return Ok(rows);
            }
            rows.extend(page);
        }
        Err(endless(what, rows.len()))
    }

    pub(crate) fn ask<T>(
        &mut self,
        request: Request,
        pick: fn(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        let reply = self.call(request).map_err(refused)?;
        pick(reply).ok_or_else(|| Failure::other_version(&self.path))
    }

    fn lost(&self, error: Errno) -> CallError {
        CallError::Broken(if error == Errno::AGAIN {
            Failure::silent(&self.path, self.patience)
        } else {
            Failure::failed(format!(
                "the connection to io-pkt at {} broke: {}; see: iopkt status",
                self.path.display(),
                describe(error.raw_os_error())
            ))
        })
    }
}

/// A connected socket that gives up waiting after [`ANSWER_TIME_MAX`].
pub(crate) fn dial(path: &Path) -> Result<OwnedFd, Errno> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, direction, Some(ANSWER_TIME_MAX))?;
    }
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
