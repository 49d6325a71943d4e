//! Every limit of a worker, with the reason for the number.

use core::time::Duration;

/// Packets of one subject a second that a worker lets the control plane have: advertisements of routers and
/// answers to our own questions are few, and each wakes a thread.
pub const HEARD_PER_SECOND: u32 = 64;

/// News of neighbours between two breaths that are kept for whoever wants to hear them: more than may be told
/// in a second.
pub const NEIGHBOR_NEWS_MAX: usize = 64;

/// Messages of other bridges a second and port that a worker lets the control plane have: a bridge sends
/// at most ten by one port (IEEE 802.1D-2004 table 17-1, Transmit Hold Count), and each wakes a thread.
pub const BPDUS_PER_SECOND: u32 = 16;

/// Messages about an aggregated link a second that one port lets the control plane have: as many as slow protocols
/// may send together (IEEE 802.3 57A.3).
pub const SLOW_PER_SECOND: u32 = 10;

/// Tags of a frame: a provider's and a customer's (IEEE 802.1ad).
pub const VLAN_DEPTH_MAX: usize = 2;

/// Descriptors taken from one client per breath, so that one client can't starve the wire.
pub const CLIENT_BUDGET: usize = 128;

/// Turns that one ring's worth takes: what a client posts meanwhile has its turn later.
pub(crate) const RING_TURNS: usize = shm::layout::RING_LEN as usize / CLIENT_BUDGET + 1;

/// Breaths for which a client's ring is looked at in each of them, since something went on with it.
/// In a busy worker that is time enough to answer; in an idle one the turn of the others comes round in
/// microseconds, and a hundred clients that were told something are not all looked at in each breath.
pub const LIVELY_BREATHS: u8 = 8;

/// `LIVELY_BREATHS` and so many more turns in which it was looked at and had posted nothing: a client rests.
pub(crate) const REST_TURNS: u8 = LIVELY_BREATHS + 100;

/// Other clients whose rings are looked at per breath, in turn: a thousand in about a hundred breaths.
pub const QUIET_BUDGET: usize = 8;

/// Bytes of a stream that count as one packet of their client's user: a segment's.
pub const POSTED_PER_PACKET: u32 = 1448;

/// Segments one connection may send per breath before the others have their turn.
pub const SEGMENTS_PER_TURN: usize = 32;

/// Text that a packet buffer surely takes: what a port of few buffers is to cut must not turn out to need
/// more of them only when it has been copied.
pub const BUFFER_TEXT: u32 = 2048;

/// Most text that one decision of the engine covers and the port cuts: what IPv4's length field can
/// say, less the longest headers.
pub const TSO_TEXT_MAX: u32 = 65_535 - 20 - 60;

/// Text of a module's stream in one packet: with headers of the module's own it fits an Ethernet frame.
pub const MODULE_TEXT: u32 = 1408;

/// A module is told of room when it is this part of the receive buffer: not with each byte that is read.
pub const MODULE_ROOM_PARTS: u32 = 4;

/// Pause between two looks for blocks that other sockets of a client have given back, while a stream of a
/// module's waits for some: nothing tells of them.
pub const MODULE_BLOCKS_EVERY: Duration = Duration::from_millis(10);

/// Streams of modules that one breath looks at because they wait for blocks, in turn: one client may have as many
/// of them as it has sockets, and the wire must not wait for all.
pub const MODULE_LATE_BUDGET: usize = 64;

/// Frames that wait for a port's transmit queue; above it TCP pauses and datagrams are dropped.
pub const TX_BACKLOG_MAX: usize = 256;

/// TCP endpoints of one worker in all states, TIME-WAIT included: 4 Mi at 400 B are 1.6 GiB, taken
/// only as they come.
pub const ENDPOINTS_MAX: usize = 4 << 20;

/// Pairs of IPv6 hosts of one worker that have connections: as many as endpoints, since each may have a
/// pair of its own.
pub const PAIRS_MAX: usize = ENDPOINTS_MAX;

/// Sockets of one worker: as many as endpoints.
pub const SOCKETS_MAX: usize = 4 << 20;

/// Connections that stay awake though nothing goes on: with all that they hold they fit into a core's
/// cache, and those that have much to do are never laid to rest.
pub const AWAKE_MAX: usize = 256;

/// Connections looked at per breath, beside as many as have woken, to see if they are at rest.
pub const DOZE_BUDGET: usize = 2;

/// Flows per bucket, of 8 places, at which the flow table grows. Buckets whose turn to be split has
/// not come hold up to twice as many on average; with 4, three in four would have overflowed once.
pub const FLOWS_PER_BUCKET: usize = 3;

/// Buckets of a flow table without flows: one piece of 64 KiB.
pub const FLOW_BUCKETS_MIN: usize = 1024;

/// Flows that find both their buckets full. With a keyed hash there is none among millions.
pub const FLOW_STASH_MAX: usize = 64;

/// Timers that run per breath.
pub const TIMER_BUDGET: usize = 256;

/// Most bytes of the control plane's record of a socket, apart from the tables that find it.
pub const CONTROL_ENTRY_LEN: usize = 72;

/// Connections fetched into the cache ahead of their timers: as many as a core has misses under way
/// with some lines each.
pub const TIMERS_AHEAD: usize = 8;

/// Timers that the wheel moves to a finer level in one go: a few microseconds of work.
pub const TIMER_MOVES_MAX: usize = 64;

/// Descriptors that one connection's send queue may hold after merging; a client that posts more
/// fragments than this wants to use up the daemon's memory.
pub const SEND_RANGES_MAX: usize = 1024;

/// Lists of ranges that a worker keeps at hand: connections that begin to send within a burst or two.
pub const SPARE_QUEUES_MAX: usize = 64;

/// Neighbours of one worker; the incomplete are evicted first.
pub const NEIGHBORS_MAX: usize = 4096;

/// Entries that make room together: to find one the whole table is walked through, which each packet to
/// an address that nobody has would ask for.
pub const NEIGHBORS_EVICTED: usize = 256;

/// Packets that wait for one neighbour's answer (RFC 1122 2.3.2.2 asks for at least one).
pub const NEIGHBOR_QUEUE_MAX: usize = 16;

/// Requests sent before a neighbour counts as unreachable (RFC 4861 10, `MAX_MULTICAST_SOLICIT`).
pub const NEIGHBOR_PROBES_MAX: u8 = 3;

/// Time between two ARP requests for the same neighbour (RFC 1122 2.3.2.1: at most one a second).
pub const NEIGHBOR_PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two walks through the neighbour table at least: the table may be large.
pub const NEIGHBOR_TICK: Duration = Duration::from_millis(100);

/// Time for which a confirmed neighbour is used without asking again.
pub const NEIGHBOR_REACHABLE: Duration = Duration::from_secs(60);

/// Time for which a failed resolution is shown. The next packet asks anew, a second after the last request as ever.
pub const NEIGHBOR_FAILED: Duration = Duration::from_secs(3);

/// Groups of addresses with limits of their own for replies to strangers: two given addresses are
/// hardly ever in one, and all together can't ask for much.
pub const STRANGER_GROUPS: usize = 256;

/// ICMP errors per second to one group of addresses; RFC 1812 4.3.2.8 demands a limit.
pub const ICMP_ERRORS_PER_SECOND: u32 = 20;

/// With fewer receive blocks left to a client on this worker, its quiet sockets are looked through for
/// blocks that have been read: enough for a burst in which each segment begins a block of its own.
pub const BLOCKS_LOW: u32 = 256;

/// Cells looked at in one go, with or without a socket: about what the burst costs that asks for it.
pub const SWEEP_BUDGET: u32 = 64;

/// TCP RSTs per second to one group of addresses for segments without a connection.
pub const RESETS_PER_SECOND: u32 = 200;

/// Bytes that a socket's receive queue may hold by default.
pub const RECEIVE_BUFFER: u32 = 512 * 1024;

/// Bytes that a stream's client may have posted and unacknowledged by default.
pub const SEND_BUFFER: u32 = 512 * 1024;

/// Largest receive buffer: 64 descriptors of 16 KiB blocks.
pub const RECEIVE_BUFFER_MAX: u32 = 1024 * 1024;

/// Smallest receive buffer: Linux's.
pub const RECEIVE_BUFFER_MIN: u32 = 2304;

/// Largest send buffer: the default `tcp_wmem` of Linux ends here too.
pub const SEND_BUFFER_MAX: u32 = 4 * 1024 * 1024;

/// Smallest send buffer: Linux's.
pub const SEND_BUFFER_MIN: u32 = 4608;

/// Our window scale: 2^7 covers the largest receive buffer with the granularity of one segment.
pub const WINDOW_SCALE: u8 = 7;

/// Below this payload a copy is cheaper than a second mbuf with an external buffer.
pub const EXTERNAL_MIN: u32 = 512;

/// Bytes that detached orphans may hold in private memory per worker; beyond it they are reset.
pub const ORPHAN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connections of one worker that their users have closed and that still have something to say, such
/// as text for a peer whose window is shut or for a module that wants none; beyond it they are reset (Linux's `tcp_max_orphans`).
pub const ORPHANS_MAX: usize = 65_536;

/// Endpoints in TIME-WAIT of one worker, at about 64 B (Linux's `tcp_max_tw_buckets`); beyond it the
/// oldest one goes, which is the least likely to be needed.
pub const TIME_WAIT_MAX: usize = 262_144;

/// Servers whose Fast Open cookies a worker remembers.
pub const FAST_OPEN_SERVERS_MAX: usize = 1_024;

/// How long no Fast Open is tried with a server whose path eats the SYN (Linux's
/// `tcp_fastopen_blackhole_timeout_sec` in its default of an hour).
pub const FAST_OPEN_BLACKHOLE: Duration = Duration::from_secs(3_600);

/// Listeners of one worker.
pub const LISTENERS_MAX: usize = 4096;

/// Half-open connections of one worker, whatever their listeners; above it SYNs are answered with
/// cookies. 1.5 MiB of state at about 100 B each.
pub const HALF_OPEN_TOTAL_MAX: usize = 16_384;

/// TTL of packets we send.
pub const TTL: u8 = 64;

/// Fragments of one worker that wait for the rest of their packets, each in a buffer of the pool: some
/// MiB, and few of the pool's 16383 buffers.
pub const FRAGMENTS_MAX: usize = 1024;

/// Those of one group of sources: five packets of 64 KiB in frames of 1500 bytes.
pub const FRAGMENTS_PER_SOURCE_MAX: usize = 256;

/// Groups of sources: an attacker shares his with few.
pub const FRAGMENT_SOURCE_GROUPS: usize = 256;

/// Pieces of one packet: 64 KiB over links of 576 bytes, which every host takes (RFC 1122 3.3.2), make 119.
pub const FRAGMENTS_PER_PACKET_MAX: usize = 128;

/// How long a packet may take to become complete. RFC 1122 3.3.2 and RFC 8200 4.5 say a minute; paths are
/// shorter since, and Linux waits for as long as this.
pub const FRAGMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Counters of names for packets that may be cut: Linux's number, at 4 B.
pub const ID_COUNTERS: usize = 2048;

/// Hosts of whose paths something is known beside TCP's connections: 128 KiB.
pub const PATH_MTUS_MAX: usize = 4096;

/// Hosts that make room together in a full table: to find them costs a walk.
pub const PATH_MTUS_EVICTED: usize = 256;

/// How long what a router said of a path holds (RFC 1191 6.3, RFC 8201 4: ten minutes).
pub const PATH_MTU_AGE: Duration = Duration::from_secs(600);

/// The least that a router is believed to need (Linux's `min_pmtu`): forged messages could else make a
/// fragment of each word.
pub const PATH_MTU_MIN: u16 = 552;

/// The same for IPv6, where every link takes as much (RFC 8200 5).
pub const PATH_MTU_MIN6: u16 = 1280;

/// Errors about what one socket has sent that wait for its user (`IP_RECVERR`): as many as a traceroute has probes
/// under way, each with at most [`QUOTED_MAX`] bytes.
pub const ERRORS_MAX: usize = 64;

/// What is kept of a packet that an error quotes: all that an ICMPv6 message may (RFC 4443 2.4 (c): 1280 bytes with its
/// headers; ICMPv4's are shorter, RFC 1812 4.3.2.3). A longer message, put together from fragments, is cut.
pub const QUOTED_MAX: usize = 1232;
