//! Every limit of a bridge, with the reason for the number.

use core::time::Duration;

/// Stations of a bridge if nobody says otherwise (`maxaddr`): BSD's.
pub const STATIONS: u32 = 100;

/// Most that `maxaddr` may be: 4 Mi at 40 B are 160 MiB, taken only as stations come.
pub const STATIONS_MAX: u32 = 4 << 20;

/// How long a silent station is known (`timeout`): BSD's, four times 802.1D's recommendation.
pub const TIMEOUT: Duration = Duration::from_secs(1200);

/// How often a station may move within [`MOVES_TIME`]. One that roams moves once; one that two ports
/// claim, by a loop or by malice, moves with each of its frames.
pub const MOVES_MAX: u8 = 8;

/// See [`MOVES_MAX`].
pub const MOVES_TIME: Duration = Duration::from_secs(1);

/// A station's time is noted anew when this part of the timeout has passed: most frames write nothing.
pub const REFRESH_PARTS: u32 = 8;

/// Time between two walks through a full table for stations that are past their time.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A while in which a port does not change the protocol it speaks (IEEE 802.1D-2004 table 17-1).
pub const MIGRATE_TIME: Duration = Duration::from_secs(3);

/// A port at which no bridge has answered for so long has stations behind it (17.20.4).
pub const EDGE_DELAY: Duration = MIGRATE_TIME;

/// What was heard counts for so many hellos (17.21.23).
pub const HELLOS_MISSED: u32 = 3;

/// The least that another bridge may give as its hello time: who says 0 would have us speak without end.
pub const HELLO_MIN: Duration = Duration::from_secs(1);

/// Messages that a port sends a second (17.13.12, TxHoldCount).
pub const MESSAGES_PER_SECOND: u8 = 6;

/// Time between two times at which all that was learned at a port is forgotten: a table of millions takes some
/// hundredths of a second to search. A station that went the wrong way meanwhile does so no longer than this.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Messages that wait to be sent: two for each port of a large bridge.
pub const MESSAGES_MAX: usize = 512;

/// Rounds of steps of all ports: each has a few, and none comes back to where it was.
pub const ROUNDS_MAX: usize = 64;

/// Groups of a bridge that are passed on to their listeners only; others go to all. Each costs 16 bytes a port.
pub const GROUPS_MAX: usize = 1024;

/// A port has listeners for so long after it has reported any: two questions of a router and the answer (RFC 3376 8.4).
pub const MEMBERSHIP_TIME: Duration = Duration::from_secs(260);

/// Who has not asked for so long has gone (RFC 3376 8.5).
pub const QUERIER_TIME: Duration = Duration::from_secs(255);

/// So often a router asks for the last listeners to a group before it takes them for gone (RFC 3376 8.9).
pub const LAST_MEMBER_QUERIES: u32 = 2;
