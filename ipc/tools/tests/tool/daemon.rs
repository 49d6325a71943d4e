//! A daemon that answers from fixed rows, on a socket of its own.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use proto::message::{Load, Loaded};
use proto::table::{
    AddressRow, ClientRow, CounterRow, DaemonRow, InterfaceRow, NeighborRow, RouteRow, SocketRow,
    TunableRow, WorkerRow,
};
use proto::{Answer, Call, MESSAGE_MAX, Reply, Request, Skip};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, accept, bind, listen, recv,
    send, socket,
};
use types::MacAddr;

/// What the daemon does with a call.
pub(crate) type Behave = fn(&Request) -> Result<Reply, i32>;

/// A stack in a temporary `IOPKT_RUN`.
pub(crate) struct Stack {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Stack {
    /// A run directory without a daemon.
    pub(crate) fn absent() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        Self { folder, asked: Arc::default() }
    }

    /// A daemon for the default stack.
    pub(crate) fn start(behave: Behave) -> Self {
        let stack = Self::absent();
        stack.serve("dev/socket", move |call| {
            let answer = Answer { sequence: call.sequence, result: behave(&call.request) };
            proto::emit(&answer).expect("short")
        });
        stack
    }

    /// Listens at `path` under the run directory and answers each call with `reply`'s bytes.
    pub(crate) fn serve(
        &self,
        path: &str,
        reply: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static,
    ) {
        let path = self.run_dir().join(path);
        std::fs::create_dir_all(path.parent().expect("folder")).expect("made");
        let listener = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("socket");
        bind(&listener, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        listen(&listener, 8).expect("listening");
        let asked = Arc::clone(&self.asked);
        let reply = Arc::new(reply);
        let _detached = thread::spawn(move || {
            while let Ok(client) = accept(&listener) {
                let (asked, reply) = (Arc::clone(&asked), Arc::clone(&reply));
                let _detached = thread::spawn(move || converse(&client, &asked, &*reply));
            }
        });
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs the real binary against this stack.
    pub(crate) fn iopkt(&self, line: &str) -> Output {
        self.command(line).output().expect("runs")
    }

    /// The command, for tests that change its environment.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iopkt"));
        let _ = command.args(line.split_whitespace()).env("IOPKT_RUN", self.run_dir());
        let _ = command.env_remove("SOCK").env_remove("LD_PRELOAD").env_remove("IOPKT_PRELOAD");
        command
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("unpoisoned").clone()
    }

    pub(crate) fn socket(&self) -> String {
        self.run_dir().join("dev/socket").display().to_string()
    }
}

fn converse(client: &OwnedFd, asked: &Mutex<Vec<Request>>, reply: &dyn Fn(&Call) -> Vec<u8>) {
    let mut buffer = vec![0; MESSAGE_MAX];
    while let Ok((_, length @ 1..)) = recv(client, &mut *buffer, RecvFlags::empty()) {
        let call: Call = proto::parse(&buffer[..length]).expect("a call");
        asked.lock().expect("unpoisoned").push(call.request.clone());
        let _gone = send(client, &reply(&call), SendFlags::NOSIGNAL);
    }
}

/// A file that may stand in for the preload library: the loader complains of it and goes on.
pub(crate) fn library(folder: &Path) -> PathBuf {
    let path = folder.join("libiopkt-preload.so");
    std::fs::write(&path, b"").expect("written");
    path
}

/// A list of one row.
fn only<T>(row: T, skip: Skip) -> Vec<T> {
    if skip == Skip(0) { vec![row] } else { Vec::new() }
}

/// Answers every question from fixed rows and accepts every change.
pub(crate) fn obliging(request: &Request) -> Result<Reply, i32> {
    Ok(match request {
        Request::Interfaces(skip) => Reply::Interfaces(only(interface(), *skip)),
        Request::Routes { table: 0, after: None } => Reply::Routes(routes()),
        Request::Routes { .. } => Reply::Routes(Vec::new()),
        Request::Route { table: 0, to } if to.to_string().starts_with("198.18.77.") => {
            Reply::Routes(routes())
        }
        Request::Route { .. } => Reply::Routes(Vec::new()),
        Request::LoadRoutes(step) => loaded(step),
        Request::Neighbors(skip) => Reply::Neighbors(only(neighbor(), *skip)),
        // Three sockets in two pages, then the end.
        Request::Sockets(Skip(0)) => {
            Reply::Sockets(vec![socket_row(80, None), socket_row(81, Some(1))])
        }
        Request::Sockets(Skip(2)) => Reply::Sockets(vec![socket_row(82, Some(2))]),
        Request::Sockets(_) => Reply::Sockets(vec![]),
        Request::Clients(skip) => Reply::Clients(only(client(), *skip)),
        Request::Workers => Reply::Workers(vec![WorkerRow {
            worker: 0,
            cpu: Some(1),
            breaths: 4,
            busy_breaths: 1,
            busy_ns: 5,
            sleeps: 2,
        }]),
        Request::Counters => Reply::Counters(vec![CounterRow {
            subsystem: "tcp".into(),
            name: "segments_received".into(),
            value: 7,
            text: "Segments received.".into(),
        }]),
        Request::Daemon => Reply::Daemon(daemon()),
        Request::Tunables => Reply::Tunables(vec![TunableRow {
            name: "kern.somaxconn".into(),
            value: "4096".into(),
            writable: true,
            text: "most connections that may wait".into(),
        }]),
        Request::SetTunable { value, .. } if value == "1" => {
            Reply::Refused { why: "write a number from 128 to 65535".into() }
        }
        _ => Reply::Done,
    })
}

fn interface() -> InterfaceRow {
    InterfaceRow {
        name: "tap0".into(),
        index: 1,
        driver: "net_tap".into(),
        kernel_interface: Some("iop0".into()),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        table: 0,
        up: true,
        running: true,
        speed_mbps: 0,
        addresses: vec![AddressRow {
            address: Ipv4Addr::new(198, 18, 77, 2).into(),
            prefix_len: 24,
            flags: vec![],
        }],
        rx_packets: 1,
        rx_bytes: 60,
        rx_errors: 0,
        tx_packets: 2,
        tx_bytes: 120,
        tx_errors: 0,
        promiscuous: false,
        all_multicast: false,
        vlan: None,
        lagg: None,
    }
}

fn routes() -> Vec<RouteRow> {
    let link = RouteRow {
        destination: Ipv4Addr::new(198, 18, 77, 0).into(),
        prefix_len: 24,
        gateway: None,
        interface: "tap0".into(),
        flags: "UC".into(),
        mtu: None,
    };
    vec![link]
}

/// A load that is done when it is asked for the second time.
fn loaded(step: &Load) -> Reply {
    let under_way = !matches!(step, Load::Ask);
    Reply::Loaded(Loaded { taken: 2, under_way, ..Loaded::default() })
}

fn neighbor() -> NeighborRow {
    NeighborRow {
        address: Ipv4Addr::new(198, 18, 77, 1).into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 2])),
        interface: "tap0".into(),
        state: "reachable".into(),
        expires_s: Some(30),
    }
}

fn socket_row(port: u16, peer: Option<u8>) -> SocketRow {
    SocketRow {
        protocol: "tcp".into(),
        local: (Ipv4Addr::new(198, 18, 77, 2), port).into(),
        remote: peer.map(|p| (Ipv4Addr::new(198, 18, 77, p), 4000).into()),
        state: if peer.is_some() { "ESTABLISHED" } else { "LISTEN" }.into(),
        recv_queue: 0,
        send_queue: 0,
        pid: 42,
        program: "ng\u{1b}inx".into(),
        worker: 0,
    }
}

fn client() -> ClientRow {
    ClientRow {
        slot: 0,
        pid: 42,
        uid: 0,
        program: "nginx".into(),
        sockets: 3,
        rx_memory_bytes: 0,
        packets_lent: None,
        packets: 0,
        packets_per_s: 0,
        requests: 1,
        requests_per_s: 0,
        quota_hits: 0,
        violations: 0,
    }
}

pub(crate) fn daemon() -> DaemonRow {
    DaemonRow {
        version: env!("CARGO_PKG_VERSION").into(),
        dpdk: "22.11.11".into(),
        pid: 7,
        prefix: String::new(),
        hugepages: false,
        uptime_ms: 1000,
        metrics: None,
        mbufs_used: 1,
        mbufs_total: 4,
        address: None,
    }
}
