//! Every limit, with the reason for the number.

use core::time::Duration;

/// Groups that one socket may have joined: Linux's `igmp_max_memberships`.
pub const MEMBERSHIPS_MAX: usize = 20;

/// Sources that one membership may name: Linux's `igmp_max_msf`.
pub const SOURCES_MAX: usize = 10;

/// How often a change is told, since reports get lost (RFC 3376 8.1, the robustness variable).
pub const ROBUSTNESS: u8 = 2;

/// Time between two of them is random up to this (RFC 3376 8.11, RFC 3810 9.11).
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a router of the older protocol is remembered: twice the query interval and an answer's time
/// (RFC 3376 8.12, RFC 3810 9.12).
pub const OLDER_ROUTER: Duration = Duration::from_secs(260);

/// Records in one report: with the sources that sockets may name they fit into the least IPv6 MTU.
pub const RECORDS_MAX: usize = 6;

/// Sources of one record: as many as fit, in the least IPv6 MTU, six times.
pub const RECORD_SOURCES_MAX: usize = 10;

/// Sources asked about that are remembered until the answer.
pub const ASKED_MAX: usize = 64;
