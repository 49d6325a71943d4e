//! Every limit of a link's configuration, with the reason for the number.

use core::time::Duration;

/// Default routers of one link (RFC 4861 6.3.4 asks for two at least): more are a flood.
pub const ROUTERS_MAX: usize = 16;

/// Prefixes on one link: more are a flood.
pub const PREFIXES_MAX: usize = 16;

/// Addresses that advertisements have made on one link: Linux's `max_addresses`.
pub const ADVERTISED_MAX: usize = 16;

/// Other interface identifiers tried when one is taken (RFC 7217 6, `IDGEN_RETRIES`).
pub const IDENTIFIERS_MAX: u8 = 3;

/// Temporary addresses of one link: with the usual lifetimes there are three or four of a prefix.
pub const TEMPORARY_MAX: usize = 32;

/// Temporary addresses in turn that other stations may have before none is made any more (RFC 8981 3.8,
/// `TEMP_IDGEN_RETRIES`).
pub const TEMPORARY_TAKEN_MAX: u8 = 3;

/// The next temporary address is made so long before the end of the last one, and what finding out takes
/// that nobody else has it (RFC 8981 3.8, `REGEN_ADVANCE`).
pub const REGEN_ADVANCE_MIN: Duration = Duration::from_secs(2);

/// A temporary address is used for up to so much less than it may be, as chance has it (RFC 8981 3.8,
/// `MAX_DESYNC_FACTOR`).
pub const DESYNC_PERCENT: u32 = 40;

/// Router solicitations sent for one advertisement (RFC 4861 10, `MAX_RTR_SOLICITATIONS`).
pub const SOLICITATIONS_MAX: u8 = 3;

/// Time between two of them (RFC 4861 10, `RTR_SOLICITATION_INTERVAL`).
pub const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);

/// The first advertisements of a router come after one another at most so long
/// (RFC 4861 10, `MAX_INITIAL_RTR_ADVERT_INTERVAL`).
pub const ADVERTISEMENT_INTERVAL_FIRST: Duration = Duration::from_secs(16);

/// So many of them (RFC 4861 10, `MAX_INITIAL_RTR_ADVERTISEMENTS`).
pub const ADVERTISEMENTS_FIRST: u8 = 3;

/// Later ones come after one another at least and at most so long (RFC 4861 6.2.1).
pub const ADVERTISEMENT_INTERVAL_MIN: Duration = Duration::from_secs(200);
/// See there.
pub const ADVERTISEMENT_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// Answers to all come no sooner after another (RFC 4861 10, `MIN_DELAY_BETWEEN_RAS`).
pub const ADVERTISEMENT_PAUSE: Duration = Duration::from_secs(3);

/// Who asks is answered within this (RFC 4861 10, `MAX_RA_DELAY_TIME`).
pub const ADVERTISEMENT_DELAY_MAX: Duration = Duration::from_millis(500);

/// Seconds for which an advertised router is one (RFC 4861 6.2.1, `AdvDefaultLifetime`: three intervals).
pub const ROUTER_LIFETIME_S: u16 = 1800;

/// Seconds for which an advertised prefix is on the link (RFC 4861 6.2.1, `AdvValidLifetime`: 30 days).
pub const PREFIX_VALID_S: u32 = 2_592_000;

/// Seconds for which addresses of it are preferred (RFC 4861 6.2.1, `AdvPreferredLifetime`: 7 days).
pub const PREFIX_PREFERRED_S: u32 = 604_800;

/// What comes first on a link is delayed by up to so long, since all hosts of a link may start at once
/// (RFC 4861 10, `MAX_RTR_SOLICITATION_DELAY`).
pub const FIRST_DELAY_MAX: Duration = Duration::from_secs(1);

/// Time for an answer to a probe (RFC 4861 10, `RETRANS_TIMER`), unless a router says another.
pub const RETRANS_TIMER: Duration = Duration::from_secs(1);

/// Shorter than this no answer comes, whatever a router says.
pub const RETRANS_TIMER_MIN: Duration = Duration::from_millis(100);

/// Longer than this nobody may keep addresses from being used.
pub const RETRANS_TIMER_MAX: Duration = Duration::from_secs(10);

/// An advertisement that nobody vouches for shortens no address's life to less (RFC 4862 5.5.3).
pub const VALID_MIN: Duration = Duration::from_secs(2 * 3600);

/// The least MTU of a link (RFC 8200 5).
pub const MTU_MIN: u32 = 1280;

/// Probes for one address at most: each takes a second.
pub const PROBES_MAX: u8 = 16;

/// A server that refuses or grants next to no time is asked again after this, and not at once.
pub const DHCP_PAUSE: Duration = Duration::from_secs(1);

/// A server whose address was declined is asked again after this (RFC 2131 3.1, step 5).
pub const DHCP_DECLINED: Duration = Duration::from_secs(10);

/// Time before a DHCP message is sent again, at first (RFC 2131 4.1).
pub const DHCP_RETRY_FIRST: Duration = Duration::from_secs(4);

/// Time before it is sent again, at most (RFC 2131 4.1).
pub const DHCP_RETRY_MAX: Duration = Duration::from_secs(64);

/// Time between two requests to make a lease longer, at least (RFC 2131 4.4.5).
pub const DHCP_RENEW_MIN: Duration = Duration::from_secs(60);

/// Hosts that were started together do not all probe at once (RFC 3927 9, `PROBE_WAIT`).
pub const LL_PROBE_WAIT: Duration = Duration::from_secs(1);

/// Probes for an IPv4 address of a link's own (RFC 3927 9, `PROBE_NUM`).
pub const LL_PROBES: u8 = 3;

/// Time between two of them, at least (RFC 3927 9, `PROBE_MIN`).
pub const LL_PROBE_MIN: Duration = Duration::from_secs(1);

/// And at most so much more (RFC 3927 9, `PROBE_MAX`).
pub const LL_PROBE_MORE: Duration = Duration::from_secs(1);

/// Time for an answer to the last one (RFC 3927 9, `ANNOUNCE_WAIT`).
pub const LL_ANNOUNCE_WAIT: Duration = Duration::from_secs(2);

/// Announcements of an address that nobody else has (RFC 3927 9, `ANNOUNCE_NUM`).
pub const LL_ANNOUNCEMENTS: u8 = 2;

/// Time between them (RFC 3927 9, `ANNOUNCE_INTERVAL`).
pub const LL_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

/// After so many conflicts tries are few (RFC 3927 9, `MAX_CONFLICTS`).
pub const LL_CONFLICTS_MAX: u32 = 10;

/// And so far from each other (RFC 3927 9, `RATE_LIMIT_INTERVAL`).
pub const LL_PAUSE: Duration = Duration::from_secs(60);

/// An address is defended once within this time, and then given up (RFC 3927 9, `DEFEND_INTERVAL`).
pub const LL_DEFEND_INTERVAL: Duration = Duration::from_secs(10);
