//! Every limit and default, with the reason for the number.

use core::time::Duration;

/// A name, or a domain: what a label of DNS, and a few of them, have (RFC 1035 §2.3.4 has 63 and 255); an
/// establishing frame has four, and has to fit into 576 bytes.
pub const NAME_MAX: usize = 63;

/// A message in bytes: a read or write of 256 KiB with its headers. What a peer begins and does not end takes
/// as much.
pub const MESSAGE_MAX: usize = (256 << 10) + 4096;

/// Interfaces of a node: as many as a machine of the field has. A path is a bit of a byte.
pub const LINKS_MAX: usize = 8;

/// Paths to one node. Each is an interface of ours and an address of its.
pub const PATHS_MAX: usize = 8;

/// Nodes that are known at a time. Whoever claims to be thousands gets no more of our memory than these.
pub const NODES_MAX: usize = 256;

/// Connections that come in: for each node some with different policies, not all nodes at a time.
pub const CONNECTIONS_MAX: usize = 512;

/// Frames of a connection in flight. 256 full frames are 380 KB: what 10 Gbit/s carry in 0.3 ms, or a
/// gigabit in 3 ms, which is the delay of a LAN with loaded hosts.
pub const WINDOW: u32 = 256;

/// Bytes out of order that all connections together may keep: 40 windows of full frames.
pub const HELD_MAX: usize = 16 << 20;

/// Bytes of events that wait for their reader: with more of them no connection gets credit.
pub const READY_MAX: usize = 4 << 20;

/// Bytes of events that wait for their reader, at most: 30 connections may use up the credit that they had.
/// Frames beyond are not taken, and come again.
pub const UNREAD_MAX: usize = 16 << 20;

/// Bytes of messages that a connection may have waiting to be sent.
pub const QUEUE_MAX: usize = 4 << 20;

/// Control frames that wait to be sent; with more of them new ones are not made.
pub const OUTBOX_MAX: usize = 1024;

/// Holes that a NACK tells of: with their end they fit into any frame.
pub const HOLES_MAX: usize = 31;

/// A frame is lost when this many later ones of the same path have come: what queues of one interface put
/// out of order (RFC 5681 §3.2 takes three for a path).
pub const REORDER: u64 = 3;

/// When nothing has come for two round trips, and this long at least, the oldest frame goes once more, lest the
/// end of a message waits for the timeout (RFC 8985 §7). A spurious one costs a frame.
pub const PROBE_MIN: Duration = Duration::from_millis(2);

/// That often before the timeout: at a loss of 30 % none of three gets through in 3 % of cases.
pub const PROBES: u32 = 3;

/// Frames of a path that nothing was heard of for the timeout, in a row, until it counts as down. At a loss of
/// 30 % that many in a row are one case in 200 million.
pub const STRIKES: u32 = 16;

/// Connection ids of a node that are not accepted again, since a late frame may still establish them.
pub const RETIRED: usize = 16;

/// Retransmission timeout: at least. A worker that shares its core with others answers this late.
pub const RTO_MIN: Duration = Duration::from_millis(20);

/// Retransmission timeout before anything has been measured.
pub const RTO_FIRST: Duration = Duration::from_millis(100);

/// Retransmission timeout: at most, so that a path that comes back is used within this time.
pub const RTO_MAX: Duration = Duration::from_millis(500);

/// The unit of the options in ticks: `auto_add=150` are 30 seconds.
pub const TICK: Duration = Duration::from_millis(200);

/// Pings without answer until a path counts as down.
pub const PINGS: u32 = 4;

/// Without a sign of life for this long a node with connections is dead. At a loss of 30 % and a ping per
/// path and tick, one in 10^7 such times has no answer.
pub const DEAD_AFTER: Duration = Duration::from_secs(5);
