//! What control plane and workers tell each other.
//!
//! Both directions are bounded channels; a worker reads its commands between two breaths and never
//! waits for the control plane.

use core::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use devnp::{RxQueue, TxQueue};
use rustix::io::Errno;
use shm::{CellId, Lane, LastClose, PeerMisbehaved, SocketEnd};
use types::{Instant, MacAddr};

use crate::device::Device;
pub use crate::error_queue::{ExtendedError, Origin};
use crate::groups::Multicast;
pub use crate::handoff::{ClaimedBy, Handoff};
pub use crate::hearing::NeighborNews;
pub use crate::module_command::{ModuleCommand, ModuleIoctl, ModuleOption, OpenModule};
use crate::network::{Network, RawKind};
pub use crate::option::MtuDiscover;
pub use crate::redirect_input::{DeadHop, Redirected};
use crate::socket::SocketId;

/// Names a call until its [`Event::Done`] comes back.
pub type CallId = u64;

/// Names a listener on all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u64);

/// Transport of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
    /// Datagrams of a protocol module's own.
    Module,
    /// A stream of a protocol module's own.
    ModuleStream,
    /// Echo messages of ICMP.
    Ping,
    /// Packets of an IP protocol.
    Raw,
}

/// Options the stack itself acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `SO_KEEPALIVE` with idle, interval (seconds) and count.
    Keepalive(Option<tcp::Keepalive>),
    /// `TCP_CONGESTION`.
    Congestion(tcp::Algorithm),
    /// `SO_MAX_PACING_RATE` in bytes per second; `u64::MAX`: none.
    MaxPacingRate(u64),
    /// `TCP_USER_TIMEOUT` in milliseconds, 0 for none.
    UserTimeout(u32),
    /// `TCP_SYNCNT`.
    SynCount(u8),
    /// `TCP_LINGER2` in seconds; `None`: no FIN-WAIT-2 without a user.
    Linger2(Option<u32>),
    /// `TCP_DEFER_ACCEPT` in SYN-ACKs.
    DeferAccept(u8),
    /// `TCP_FASTOPEN`: so many of this listener's connections may have begun with text on the SYN
    /// and not be complete; 0: none may.
    FastOpen(u32),
    /// `TCP_FASTOPEN_CONNECT`: the SYN takes the first text along.
    FastOpenConnect(bool),
    /// `TCP_CORK`.
    Cork(bool),
    /// `TCP_QUICKACK`.
    QuickAck(bool),
    /// `TCP_WINDOW_CLAMP` in bytes.
    WindowClamp(u32),
    /// `TCP_NOTSENT_LOWAT` in bytes.
    NotSentLow(u32),
    /// `TCP_MAXSEG` in bytes, before the connection.
    MaxSegment(u16),
    /// `SO_RCVBUF` in bytes.
    ReceiveBuffer(u32),
    /// `SO_SNDBUF` in bytes.
    SendBuffer(u32),
    /// `SO_LINGER` with time 0: close resets.
    LingerZero(bool),
    /// `IP_TOS`.
    Tos(u8),
    /// `IP_TTL`.
    Ttl(u8),
    /// `SO_BROADCAST`.
    Broadcast(bool),
    /// `IPV6_V6ONLY`: a socket bound to every address takes nothing over IPv4.
    V6Only(bool),
    /// `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`.
    MtuDiscover(MtuDiscover),
    /// `SO_BINDTODEVICE`: it sends and receives by one interface alone. `SO_SETFIB`: by the routes of a table.
    Device(Device),
    /// `IP_RECVERR`, `IPV6_RECVERR`: errors about what it has sent are kept for its user. Streams have no use for it.
    ReceiveErrors {
        /// Those of IPv6's packets.
        v6: bool,
        /// Or no longer.
        on: bool,
    },
    /// `IP_HDRINCL`, `IPV6_HDRINCL`: what a raw socket sends begins with an IP header.
    HeaderIncluded(bool),
    /// `ICMP_FILTER`, `ICMPV6_FILTER`: a raw socket does not hear messages of these types.
    IcmpFilter([u32; 8]),
    /// `IPV6_CHECKSUM`: a raw socket's packets have a checksum at this place.
    RawChecksum(Option<u16>),
}

/// From the control plane to a worker.
#[derive(Debug)]
pub enum Command {
    /// A new configuration is in force.
    Network(Arc<Network>),
    /// A socket of a worker's is bound to a UDP port, or no longer. Told where there are several workers.
    UdpOwner {
        /// Its address.
        local: SocketAddr,
        /// One for IPv6 alone.
        v6_only: bool,
        /// The worker.
        owner: u16,
        /// Bound.
        bound: bool,
    },
    /// A client has attached.
    Attach {
        /// Its slot.
        client: u16,
        /// The worker's end of its memory.
        lane: Lane,
    },
    /// A client is gone: its sockets are closed, its memory is given back. → [`Event::Detached`].
    Detach {
        /// Its slot.
        client: u16,
    },
    /// A new socket. → [`Outcome::Opened`].
    Open {
        /// Answer to this call.
        call: CallId,
        /// Owner.
        client: u16,
        /// Transport.
        transport: Transport,
        /// The daemon's end of the socket's descriptor.
        descriptor: Arc<SocketEnd>,
    },
    /// For a socket of a protocol module's.
    Module(Box<ModuleCommand>),
    /// A new raw socket, at the worker [`crate::RAW_WORKER`]. → [`Outcome::Opened`].
    OpenRaw {
        /// Answer to this call.
        call: CallId,
        /// Owner.
        client: u16,
        /// What it is for.
        kind: RawKind,
        /// The daemon's end of the socket's descriptor.
        descriptor: Arc<SocketEnd>,
    },
    /// Local address of a datagram socket (the control plane has reserved the port), or of a module's.
    Bind {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// The address.
        local: SocketAddr,
    },
    /// Accept connections here; goes to every worker.
    Listen {
        /// Answer to this call: done means that connections are let in.
        call: CallId,
        /// The listener.
        listener: ListenerId,
        /// Owner of the accepted connections.
        client: u16,
        /// Where.
        local: SocketAddr,
        /// As many and one more may wait to be accepted; half-open ones do not count.
        backlog: u32,
        /// Options the accepted connections inherit.
        options: Vec<SocketOption>,
    },
    /// Stop accepting; half-open connections are dropped.
    Unlisten {
        /// The listener.
        listener: ListenerId,
    },
    /// Connections wait to be accepted at a listening socket, or none any more.
    Acceptable {
        /// The listening socket.
        socket: SocketId,
        /// Some wait.
        waiting: bool,
    },
    /// Active open, or a datagram socket's peer.
    Connect {
        /// Answer to this call: done means the SYN is on its way, or [`Outcome::SynHeld`].
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// Local address and port, chosen by the control plane.
        local: SocketAddr,
        /// The peer; `None` dissolves a datagram socket's association.
        remote: Option<SocketAddr>,
        /// `MSG_FASTOPEN`: text for the SYN follows.
        fast_open: bool,
    },
    /// A connection has been accepted and has got its descriptor.
    Accepted {
        /// The connection.
        socket: SocketId,
        /// The daemon's end of its descriptor.
        descriptor: Arc<SocketEnd>,
    },
    /// `shutdown()`.
    Shutdown {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// Receive side.
        read: bool,
        /// Send side.
        write: bool,
    },
    /// The last copy of the socket's descriptor is closed.
    Close {
        /// The socket.
        socket: SocketId,
        /// Send RST instead of FIN.
        reset: bool,
    },
    /// `setsockopt()`.
    SetOption {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// The option.
        option: SocketOption,
    },
    /// What a socket's user has decided about groups.
    Multicast {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// All of it.
        settings: Box<Multicast>,
    },
    /// `setsockopt()` of a listening socket, for the connections it will accept; goes to every worker.
    ListenerOption {
        /// The listener.
        listener: ListenerId,
        /// The option.
        option: SocketOption,
    },
    /// State of a socket. → [`Outcome::Info`]. `take_error` clears its pending error.
    Info {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
        /// Read and clear `SO_ERROR`.
        take_error: bool,
    },
    /// The first of the errors that wait at a socket. → [`Outcome::ExtendedError`]; `EAGAIN`.
    TakeExtendedError {
        /// Answer to this call.
        call: CallId,
        /// The socket.
        socket: SocketId,
    },
    /// All sockets. → [`Outcome::Sockets`].
    ListSockets {
        /// Answer to this call.
        call: CallId,
    },
    /// All neighbours. → [`Outcome::Neighbors`].
    ListNeighbors {
        /// Answer to this call.
        call: CallId,
    },
    /// Forget a neighbour. → [`Outcome::Forgotten`].
    ForgetNeighbor {
        /// Answer to this call.
        call: CallId,
        /// Its address.
        address: IpAddr,
    },
    /// Announce our address (gratuitous ARP) on an interface.
    Announce {
        /// Interface.
        interface: u16,
        /// Address.
        address: IpAddr,
    },
    /// Tells everybody on a link something about addresses.
    Arp {
        /// Interface.
        interface: u16,
        /// What.
        packet: wire::arp::Packet,
    },
    /// Sends a packet, from its IP header on.
    Packet {
        /// Interface.
        interface: u16,
        /// To this station; `None`: as the routes say.
        station: Option<MacAddr>,
        /// The packet.
        packet: Box<[u8]>,
    },
    /// For a bridge.
    Bridge(BridgeCommand),
    /// The worker's queues of a port; its interface is in a snapshot already or comes with the next.
    AddPort {
        /// Interface.
        interface: u16,
        /// Receive queue.
        rx: RxQueue,
        /// Transmit queue.
        tx: TxQueue,
    },
    /// A port whose only queues another worker has: it receives from there what it owns, and sends
    /// there what is to leave.
    SharePort {
        /// Interface.
        interface: u16,
        /// Who has the queues.
        owner: u16,
    },
    /// Give up the queues of a port. → [`Outcome::Done`]: no call into its driver is under way, and
    /// none follows.
    RemovePort {
        /// Answer to this call.
        call: CallId,
        /// Interface.
        interface: u16,
    },
    /// Other protocol modules are there. → [`Outcome::Done`]: no call into one that is not among them
    /// is under way, and none follows.
    Protocols {
        /// Answer to this call.
        call: CallId,
        /// All that there are.
        plan: Arc<lsm::Plan>,
    },
    /// Reset all connections and return from the loop.
    Stop,
}

/// What the control plane has to say about bridges.
#[derive(Debug)]
pub enum BridgeCommand {
    /// Sends a frame that is finished, by this port.
    Frame {
        /// Interface.
        interface: u16,
        /// The frame.
        frame: Box<[u8]>,
    },
    /// All stations of a bridge. → [`Outcome::Stations`].
    Stations {
        /// Answer to this call.
        call: CallId,
        /// The bridge's interface.
        bridge: u16,
    },
    /// Groups that have listeners at a bridge's ports. → [`Outcome::Listening`].
    Listening {
        /// Answer to this call.
        call: CallId,
        /// The bridge's interface.
        bridge: u16,
    },
    /// Forget stations of a bridge.
    Flush {
        /// The bridge's interface.
        bridge: u16,
        /// Which.
        what: Flush,
    },
}

/// What a call came to.
#[derive(Debug)]
pub enum Outcome {
    /// Done.
    Done,
    /// A connection attempt whose SYN waits for the first text (RFC 7413).
    SynHeld,
    /// A new socket.
    Opened {
        /// The worker's name for it.
        socket: SocketId,
        /// Its cell in the client's memory.
        cell: CellId,
    },
    /// State of a socket.
    Info(Box<SocketInfo>),
    /// An option's value.
    Value(Vec<u8>),
    /// An error about something that the socket has sent.
    ExtendedError(Box<ExtendedError>),
    /// Sockets.
    Sockets(Vec<SocketSummary>),
    /// Neighbours.
    Neighbors(Vec<NeighborSummary>),
    /// A neighbour is not known any longer. `false`: it was not before.
    Forgotten(bool),
    /// Stations of a bridge.
    Stations(Vec<bridge::Row>),
    /// Groups that have listeners at a bridge's ports.
    Listening(Vec<bridge::Listening>),
}

/// Stations of a bridge that are to be forgotten. Static ones stay: they go with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flush {
    /// All that were learned.
    Learned,
    /// Those of some ports.
    Ports(Arc<[u16]>),
    /// One.
    One(MacAddr),
}

/// State of one socket.
#[derive(Clone, Debug, Default)]
pub struct SocketInfo {
    /// Local end.
    pub local: Option<SocketAddr>,
    /// Remote end.
    pub remote: Option<SocketAddr>,
    /// Pending error.
    pub error: Option<Errno>,
    /// Bytes received and not read.
    pub recv_queue: u32,
    /// Bytes posted and not acknowledged.
    pub send_queue: u32,
    /// Bytes received since the socket was made.
    pub received: u64,
    /// Bytes acknowledged since the socket was made.
    pub acknowledged: u64,
    /// `SO_RCVBUF` as it is in force.
    pub receive_buffer: u32,
    /// `SO_SNDBUF` as it is in force.
    pub send_buffer: u32,
    /// When this was so, for the ages of things.
    pub now: Instant,
    /// TCP's own view.
    pub tcp: Option<tcp::Info>,
    /// For how long the connection has waited for what.
    pub waited: tcp::Waited,
}

/// A row of `netstat`.
#[derive(Clone, Debug)]
pub struct SocketSummary {
    /// Transport.
    pub transport: Transport,
    /// Owner's slot; `None` for orphans and endpoints without socket.
    pub client: Option<u16>,
    /// Local end.
    pub local: SocketAddr,
    /// Remote end.
    pub remote: Option<SocketAddr>,
    /// State name.
    pub state: &'static str,
    /// Bytes received and not read.
    pub recv_queue: u32,
    /// Bytes posted and not acknowledged.
    pub send_queue: u32,
}

/// A row of `arp`.
#[derive(Clone, Debug)]
pub struct NeighborSummary {
    /// Address.
    pub address: IpAddr,
    /// MAC address if known.
    pub mac: Option<MacAddr>,
    /// Interface.
    pub interface: u16,
    /// State name.
    pub state: &'static str,
    /// Seconds until it expires.
    pub expires_s: Option<u32>,
}

/// From a worker to the control plane.
#[derive(Debug)]
pub enum Event {
    /// A call is finished.
    Done {
        /// Which.
        call: CallId,
        /// What came of it.
        result: Result<Outcome, Errno>,
    },
    /// A connection waits to be accepted.
    Established {
        /// At this listener.
        listener: ListenerId,
        /// The worker's name for it.
        socket: SocketId,
        /// Its cell in the client's memory.
        cell: CellId,
        /// Local end.
        local: SocketAddr,
        /// Remote end.
        remote: SocketAddr,
    },
    /// A connection is over in both directions, and its descriptor hangs up.
    Gone {
        /// Slot of its client.
        client: u16,
        /// Its cell there.
        cell: CellId,
        /// What tells of its last close.
        last_close: LastClose,
    },
    /// A socket and its cell are free again.
    Freed {
        /// The socket.
        socket: SocketId,
        /// Its local port is free again.
        local: Option<SocketAddr>,
        /// Transport.
        transport: Transport,
    },
    /// A client's memory is no longer used by this worker.
    Detached {
        /// Its slot.
        client: u16,
    },
    /// A packet for the control plane, from its IP header on; its checksums are right.
    Heard {
        /// Interface it came in on.
        interface: u16,
        /// The packet.
        packet: Box<[u8]>,
    },
    /// A frame for the control plane: what bridges tell each other, or who has an address of a link's own.
    HeardFrame {
        /// Interface it came in on.
        interface: u16,
        /// The frame.
        frame: Box<[u8]>,
    },
    /// A router names a nearer next hop, and is to be believed.
    Redirected(Redirected),
    /// A next hop that a router has named does not answer.
    HopDead(DeadHop),
    /// Something has become of a neighbour, and somebody wants to hear it.
    Neighbor(NeighborNews),
    /// A client broke the rules of its rings.
    Misbehaved {
        /// Its slot.
        client: u16,
        /// How.
        what: Misbehaviour,
    },
}

/// How a client broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// In its memory.
    Memory(PeerMisbehaved),
    /// It posted a stream in more fragments than a working client makes.
    TooManyRanges,
}

impl core::fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Memory(what) => what.fmt(f),
            Self::TooManyRanges => f.write_str("stream posted in too many fragments"),
        }
    }
}
