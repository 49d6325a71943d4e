//! Requests and replies.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use types::MacAddr;

use crate::Skip;
use crate::event::NetworkEvent;
use crate::extended_error::ExtendedError;
use crate::link::{BridgePage, BridgeRow, BridgeVerb, LaggVerb, ListeningRow, StationRow, Vlan};
pub use crate::route::{Load, Loaded, NewRoute, Onward};
use crate::table::{
    ClientRow, CounterRow, GroupRow, InterfaceRow, ModuleRow, NeighborRow, NicRow, RouteRow,
    SocketRow, TunableRow, WorkerRow,
};
pub use crate::way::{Leads, Way};

/// A socket of the asking client: an index into its own cells, and a generation that makes a stale index harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SocketHandle {
    /// Index of the socket's cell in the client's memory.
    pub cell: u32,
    /// How often the cell has been used before, modulo 2^16.
    pub generation: u16,
    /// The worker that owns the socket: the lane its descriptors are posted to.
    pub worker: u16,
}

/// Transport of a new socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// `SOCK_STREAM`: TCP.
    Stream,
    /// `SOCK_DGRAM`: UDP, or echo messages of ICMP.
    Datagram,
    /// `SOCK_RAW`: packets of an IP protocol.
    Raw,
}

/// Address family of a new socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// `AF_INET`.
    Inet,
    /// `AF_INET6`.
    Inet6,
    /// A protocol module's, by its number.
    Module(u16),
}

/// Direction of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

/// What a process shows of a socket's descriptor that it holds. The descriptor itself never travels: a
/// daemon that received descriptors would have to close them, and a close can block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Which socket: the kernel's cookie of the descriptor (`SO_COOKIE`).
    pub cookie: u64,
    /// What the daemon has written on it, for those who hold it to read (`SO_MAX_PACING_RATE`).
    pub secret: u64,
}

/// Frames that an interface receives beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiveMode {
    /// Those for others (`IFF_PROMISC`).
    Promiscuous,
    /// Those for all groups (`IFF_ALLMULTI`).
    AllMulticast,
}

/// How an interface configures itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Automatic {
    /// By what IPv6 routers advertise.
    Routers,
    /// By a DHCP server, in IPv4.
    Dhcp,
    /// By itself, in IPv4, while nobody else gives it an address (RFC 3927).
    LinkLocal,
    /// Not itself, but others: IPv6 hosts on the link are told of this router and its prefixes.
    Advertise,
}

/// What a client or tool asks for. Requests below the line in the source change the stack and need uid 0
/// or the daemon's uid, of whoever has connected (`SO_PEERCRED`) and of whoever sends the request
/// (`SCM_CREDENTIALS`), else `EPERM`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First request of a client that wants sockets. → [`Reply::Attached`].
    Attach {
        /// Must equal [`crate::VERSION`], else `EPROTONOSUPPORT`.
        version: u32,
        /// Name of the program, for listings; cut to 32 bytes.
        name: String,
    },
    /// Which socket does the descriptor with this ticket belong to? Whoever holds it may ask.
    /// → [`Reply::Identified`]. `ENOTSOCK`: none of this daemon; `EACCES`: its client belongs to another user.
    Identify {
        /// What the descriptor shows.
        ticket: Ticket,
    },
    /// First request of a process that holds another client's socket and wants to use it.
    /// → [`Reply::Attached`] to that client. Errors as for [`Request::Attach`] and [`Request::Identify`].
    Join {
        /// What the socket's descriptor shows.
        ticket: Ticket,
        /// Must equal [`crate::VERSION`], else `EPROTONOSUPPORT`.
        version: u32,
        /// Name of the program, for listings; cut to 32 bytes.
        name: String,
    },
    /// `socket()`. → [`Reply::Socket`] with the descriptor. `ENOBUFS` when no cell is free.
    Socket {
        /// Address family; `EAFNOSUPPORT` if neither the stack nor a protocol module has it.
        family: Family,
        /// Transport.
        transport: Transport,
        /// Which IP protocol's packets a raw socket is for (`EPERM` without the right to it). Of datagrams
        /// ICMP's number asks for a ping socket, another is a protocol module's (`EPROTONOSUPPORT`: no module
        /// has it). 0: the stack's own of that transport, or a family's only one.
        protocol: u16,
    },
    /// `bind()`. → [`Reply::Done`]. `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`.
    Bind {
        /// The socket.
        socket: SocketHandle,
        /// Local address; port 0 asks for a free one.
        #[serde(with = "crate::address")]
        address: SocketAddr,
    },
    /// `listen()`. → [`Reply::Done`].
    Listen {
        /// The socket.
        socket: SocketHandle,
        /// Connections waiting for accept; clamped.
        backlog: u32,
    },
    /// `connect()`. → [`Reply::Done`] for UDP, and for a TCP socket whose SYN waits for text to take
    /// along (it may write at once); else TCP answers `EINPROGRESS` or an error, and the outcome is in
    /// the cell's status.
    Connect {
        /// The socket.
        socket: SocketHandle,
        /// The peer. For UDP the unspecified address dissolves the association.
        #[serde(with = "crate::address")]
        address: SocketAddr,
        /// Text follows at once (`MSG_FASTOPEN`): the SYN takes it along, or asks for a cookie.
        fast_open: bool,
    },
    /// `accept()`. → [`Reply::Accepted`] with the descriptor; `EAGAIN` when none waits.
    Accept {
        /// The listener.
        socket: SocketHandle,
    },
    /// `shutdown()`. → [`Reply::Done`]. Bytes posted before are sent before the FIN.
    Shutdown {
        /// The socket.
        socket: SocketHandle,
        /// Direction.
        how: Shutdown,
    },
    /// Has the last copy of the socket's descriptor been closed, in whichever process? → [`Reply::Done`];
    /// `EBUSY` while there are others.
    Closed {
        /// The socket.
        socket: SocketHandle,
    },
    /// `setsockopt()` with Linux's numbers. → [`Reply::Done`]. `ENOPROTOOPT` for unknown ones.
    SetOption {
        /// The socket.
        socket: SocketHandle,
        /// `SOL_SOCKET`, `IPPROTO_TCP`, …
        level: i32,
        /// `SO_…`, `TCP_…`.
        name: i32,
        /// The bytes of the value as the C call has them.
        value: Vec<u8>,
    },
    /// `getsockopt()`. → [`Reply::Value`]. `SO_ERROR` reads and clears.
    Option {
        /// The socket.
        socket: SocketHandle,
        /// `SOL_SOCKET`, `IPPROTO_TCP`, …
        level: i32,
        /// `SO_…`, `TCP_…`.
        name: i32,
    },
    /// `ioctl()` of a protocol module's socket. → [`Reply::Value`]. `ENOTTY`: there is no such request.
    Ioctl {
        /// The socket.
        socket: SocketHandle,
        /// Its number.
        request: u32,
        /// What goes in.
        data: Vec<u8>,
        /// Bytes that may come back.
        room: u32,
    },
    /// `getsockname()`. → [`Reply::Name`].
    LocalName {
        /// The socket.
        socket: SocketHandle,
    },
    /// `getpeername()`. → [`Reply::Name`]; `ENOTCONN`.
    PeerName {
        /// The socket.
        socket: SocketHandle,
    },
    /// → [`Reply::Interfaces`], by pages.
    Interfaces(Skip),
    /// → [`Reply::Routes`]: the next page of all, a row for each gateway, by address and prefix length, those
    /// of IPv4 first. An empty one is the end.
    Routes {
        /// Of this table.
        table: u8,
        /// The destination of the last row so far.
        after: Option<(IpAddr, u8)>,
    },
    /// → [`Reply::Routes`]: the route by which packets to an address go, a row for each gateway; none if
    /// there is no route.
    Route {
        /// Of this table.
        table: u8,
        /// The address.
        to: IpAddr,
    },
    /// → [`Reply::Neighbors`], by pages.
    Neighbors(Skip),
    /// Sockets of all clients, by pages. → [`Reply::Sockets`].
    Sockets(Skip),
    /// → [`Reply::Groups`], by pages.
    Groups(Skip),
    /// → [`Reply::Clients`], by pages.
    Clients(Skip),
    /// → [`Reply::Workers`].
    Workers,
    /// All counters that are not zero. → [`Reply::Counters`].
    Counters,
    /// → [`Reply::Daemon`].
    Daemon,
    /// The modules in use. → [`Reply::Modules`].
    Modules,
    /// All tunables. → [`Reply::Tunables`].
    Tunables,
    /// What an interface's driver knows of its device and has counted. → [`Reply::Nic`]. `ENXIO`.
    Nic {
        /// Interface name.
        interface: String,
    },
    /// Where would a datagram to this address go? → [`Reply::Way`].
    Way {
        /// The address; IPv4's own for one that is mapped.
        to: IpAddr,
    },
    /// What happens to the network. → [`Reply::Done`], then [`Reply::Events`] as answers to the same request, as
    /// long as the connection lasts. `EBUSY` if that is so already, `ENOBUFS` if too many listen.
    Monitor,
    /// `recvmsg(MSG_ERRQUEUE)`. → [`Reply::ExtendedError`]; `EAGAIN`.
    TakeExtendedError {
        /// The socket.
        socket: SocketHandle,
    },
    /// All bridges. → [`Reply::Bridges`].
    Bridges,
    /// Stations of a bridge, by pages. → [`Reply::Stations`]. `ENXIO`, `EOPNOTSUPP` if it is no bridge.
    Stations(BridgePage),
    /// Groups that have listeners at a bridge's ports, by pages. → [`Reply::Listening`]. The same.
    Listening(BridgePage),
    // ---- privileged from here on ----
    /// Adds (or makes primary) an interface address. → [`Reply::Done`]. `ENXIO` unknown interface.
    AddAddress {
        /// Interface name.
        interface: String,
        /// Address.
        address: IpAddr,
        /// Prefix length, 1…32 or 128.
        prefix_len: u8,
    },
    /// Removes an interface address. → [`Reply::Done`]. `EADDRNOTAVAIL`.
    DeleteAddress {
        /// Interface name.
        interface: String,
        /// Address.
        address: IpAddr,
    },
    /// Interface up or down. → [`Reply::Done`].
    SetUp {
        /// Interface name.
        interface: String,
        /// Up?
        up: bool,
    },
    /// Interface MTU. → [`Reply::Done`]. `EINVAL` outside the port's limits.
    SetMtu {
        /// Interface name.
        interface: String,
        /// Bytes of an IP packet.
        mtu: u16,
    },
    /// Packets for others that come by an interface go by this table of routes. → [`Reply::Done`]. `EINVAL` if
    /// there are not so many.
    SetTable {
        /// Interface name.
        interface: String,
        /// The table.
        table: u8,
    },
    /// Adds a route, or one more gateway to a route. → [`Reply::Done`]. `EEXIST`, `ENETUNREACH` (gateway not
    /// on a link), `EMLINK` (gateways), `ENOSPC`, `EINVAL` (also if there are not so many tables).
    AddRoute {
        /// To this table.
        table: u8,
        /// The route.
        route: NewRoute,
    },
    /// Deletes a route, or takes one gateway from it. → [`Reply::Done`]. `ESRCH`.
    DeleteRoute {
        /// Of this table.
        table: u8,
        /// Destination network.
        destination: IpAddr,
        /// Prefix length.
        prefix_len: u8,
        /// Only this gateway.
        gateway: Option<IpAddr>,
    },
    /// A step of a load of many routes. → [`Reply::Loaded`]. `EBUSY` while somebody else loads some,
    /// `ECANCELED` for a further step of a load that is none any longer.
    LoadRoutes(Load),
    /// Adds a static neighbour. → [`Reply::Done`]. `EINVAL`, `ENETUNREACH`, `ENOSPC`.
    AddNeighbor {
        /// Its address.
        address: IpAddr,
        /// Its MAC address.
        mac: MacAddr,
    },
    /// Answers for another host (RFC 1027). → [`Reply::Done`]. `EINVAL`, `ENETUNREACH`, `ENOSPC`.
    PublishNeighbor {
        /// Its address.
        address: Ipv4Addr,
        /// The MAC address that is said to be its own; `None`: the interface's.
        mac: Option<MacAddr>,
    },
    /// Deletes a neighbour. → [`Reply::Done`]. `ESRCH`.
    DeleteNeighbor {
        /// Its address.
        address: IpAddr,
    },
    /// Attaches a driver, or loads a protocol module. → [`Reply::Mounted`] or [`Reply::Refused`].
    Mount {
        /// A name as after `-d` or `-p`, or a module's path.
        driver: String,
        /// Its options, commas between.
        options: String,
    },
    /// Takes an interface away, and its driver with its last one; or a protocol module. →
    /// [`Reply::Done`] when that is done. `ENXIO`, `EINVAL` for `lo0`, `EALREADY`.
    Destroy {
        /// Interface name, or the protocol's.
        interface: String,
    },
    /// Sets a tunable. → [`Reply::Done`] or [`Reply::Refused`].
    SetTunable {
        /// Its name.
        name: String,
        /// Its new value.
        value: String,
    },
    /// Changes an interface's MAC address, and announces it. → [`Reply::Done`]. `ENXIO`, `EINVAL` for one
    /// that is not of one station, or the driver's error.
    SetMac {
        /// Interface name.
        interface: String,
        /// The address.
        mac: MacAddr,
    },
    /// Changes what an interface receives. → [`Reply::Done`]. `ENXIO`, or the driver's error.
    SetReceive {
        /// Interface name.
        interface: String,
        /// Which frames.
        mode: ReceiveMode,
        /// On or off.
        on: bool,
    },
    /// Lets an interface configure itself. → [`Reply::Done`]. `ENXIO`, `EOPNOTSUPP` for `lo0`.
    SetAutomatic {
        /// Interface name.
        interface: String,
        /// How.
        what: Automatic,
        /// On or off.
        on: bool,
    },
    /// A command of the driver's own (BSD's `SIOCSDRVSPEC` and `SIOCGDRVSPEC`). → [`Reply::Value`]. `ENXIO`,
    /// `EOPNOTSUPP`, `EMSGSIZE`, or the driver's error.
    DriverCommand {
        /// Interface name.
        interface: String,
        /// The command, of the driver's choice.
        command: u32,
        /// What goes with it.
        data: Vec<u8>,
    },
    /// Puts an IPv4 address in the place of the interface's first one; one that the interface has keeps its
    /// place and gets the prefix length. The others stay. → [`Reply::Done`]. `ENXIO`, `EINVAL`, `EEXIST`.
    SetAddress {
        /// Interface name.
        interface: String,
        /// Address.
        address: Ipv4Addr,
        /// Prefix length, 1…32.
        prefix_len: u8,
    },
    /// Makes an interface that is made of others, by its name: `vlan0`, `bridge0`, `lagg0`. → [`Reply::Done`]. `EINVAL` for a name
    /// of no such kind, `EEXIST`, `ENOSPC`.
    Create {
        /// Interface name.
        interface: String,
    },
    /// Puts a VLAN over an interface, or takes it off. → [`Reply::Done`]. `ENXIO`, `EOPNOTSUPP` if it is no
    /// VLAN, `EINVAL`, `EBUSY` if it is over another one, `EEXIST` if the link's VLAN has an interface,
    /// `EMLINK` for a third tag.
    SetVlan {
        /// Interface name.
        interface: String,
        /// What it is to be.
        vlan: Option<Vlan>,
    },
    /// Changes a bridge. → [`Reply::Done`]. `ENXIO`, `EOPNOTSUPP` if it is no bridge, `ENOENT` for an interface
    /// that is no port of it, `EBUSY` for one that is of another, `EEXIST`, `EINVAL`, `ELOOP`, `ENOSPC`.
    Bridge {
        /// The bridge.
        bridge: String,
        /// What it is to do.
        verb: BridgeVerb,
    },
    /// Changes an aggregated link. → [`Reply::Done`]. `ENXIO`, `EOPNOTSUPP` if it is none, `ENOENT` for no port of it,
    /// `EINVAL` for what has no driver, `EBUSY`, `EADDRINUSE` for what has addresses, `EEXIST`, `ENOSPC`.
    Lagg {
        /// The aggregated link.
        lagg: String,
        /// What it is to do.
        verb: LaggVerb,
    },
    /// Shows an interface's packets to the application of DPDK that has this connection, as long as that lasts. →
    /// [`Reply::Shown`]. `ENXIO`, `EOPNOTSUPP` where the configuration does not allow it, `EBUSY`.
    ShowPackets {
        /// Interface name.
        interface: String,
    },
    /// Gives an interface another name. → [`Reply::Done`]. `ENXIO`, `EEXIST`, `EINVAL` for `lo0` or for what is no name,
    /// `EBUSY` while a module has it by its name, attached or in its options.
    Rename {
        /// Interface name.
        interface: String,
        /// What it is to be called.
        name: String,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, nothing to say.
    Done,
    /// Attached. Descriptors: memory to read (C1, C2), to write (C3), the workers' page, packets if `borrows`, doorbells.
    Attached {
        /// Slot number, for listings.
        slot: u32,
        /// The client, by a number that is never used again.
        client: u64,
        /// Number of workers: lanes in the client's memory.
        workers: u16,
        /// Daemon claims 127.0.0.0/8 too (else the library leaves it to the kernel).
        claim_loopback: bool,
        /// Packets may be lent.
        borrows: bool,
    },
    /// Whose socket a descriptor is.
    Identified {
        /// Its client.
        client: u64,
        /// Its handle there.
        socket: SocketHandle,
        /// Its transport.
        transport: Transport,
    },
    /// A new socket. Descriptors: the socket's own.
    Socket {
        /// Its handle.
        socket: SocketHandle,
    },
    /// An accepted connection. Descriptors: the socket's own.
    Accepted {
        /// Its handle.
        socket: SocketHandle,
        /// Local end.
        #[serde(with = "crate::address")]
        local: SocketAddr,
        /// Remote end.
        #[serde(with = "crate::address")]
        remote: SocketAddr,
    },
    /// A socket's address.
    Name(#[serde(with = "crate::address")] SocketAddr),
    /// An option's value.
    Value(Vec<u8>),
    /// Interfaces.
    Interfaces(Vec<InterfaceRow>),
    /// Routes.
    Routes(Vec<RouteRow>),
    /// What has become of a load of routes.
    Loaded(Loaded),
    /// Neighbours.
    Neighbors(Vec<NeighborRow>),
    /// One page of sockets; an empty one ends the list.
    Sockets(Vec<SocketRow>),
    /// Groups.
    Groups(Vec<GroupRow>),
    /// Clients.
    Clients(Vec<ClientRow>),
    /// Workers.
    Workers(Vec<WorkerRow>),
    /// Counters.
    Counters(Vec<CounterRow>),
    /// The daemon itself.
    Daemon(crate::table::DaemonRow),
    /// A driver is attached.
    Mounted {
        /// The interfaces it has made, or the protocol's name.
        interfaces: Vec<String>,
    },
    /// A driver is not attached, a tunable not set.
    Refused {
        /// What went wrong and what to do, in one line.
        why: String,
    },
    /// Driver modules.
    Modules(Vec<ModuleRow>),
    /// Tunables, by name.
    Tunables(Vec<TunableRow>),
    /// A driver's knowledge of its device.
    Nic(Box<NicRow>),
    /// Where datagrams to an address go.
    Way(Way),
    /// What has happened.
    Events(Vec<NetworkEvent>),
    /// An error about something that a socket has sent.
    ExtendedError(Box<ExtendedError>),
    /// Bridges.
    Bridges(Vec<BridgeRow>),
    /// One page of stations; an empty one ends the list.
    Stations(Vec<StationRow>),
    /// Ports with listeners.
    Listening(Vec<ListeningRow>),
    /// Packets are shown.
    Shown {
        /// What a secondary process of DPDK attaches by (`--file-prefix`).
        file_prefix: String,
        /// Whose rings there are, `tap0.rx0`: with `.show`, `.pass`, `.drop` and `.blank` behind it.
        queues: Vec<String>,
    },
}

/// A request on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client, returned in the answer; [`crate::UNASKED`]: there is to be none.
    pub sequence: u32,
    /// The request.
    pub request: Request,
}

/// Sequence of the answer to a connection that the daemon cannot take, which it closes unread. `ENFILE`: the
/// daemon has no descriptor for it; `ENOMEM`: it has as many connections as it can have. The kernel may
/// tell the other end first that the connection is closed.
pub const TURNED_AWAY: u32 = 0;

/// A reply on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The call's sequence number; [`TURNED_AWAY`] if it answers none.
    pub sequence: u32,
    /// The reply, or Linux's errno.
    pub result: Result<Reply, i32>,
}
