//! Every limit and default of the engine, with the reason for the number.

use core::time::Duration;

/// MSS of an IPv4 peer that sends no MSS option (RFC 9293 §3.7.1).
pub const MSS_DEFAULT: u16 = 536;

/// A smaller MSS of a peer counts as this one, by default. A peer that asks for tiny segments makes
/// us spend a header, a descriptor and an interrupt on each few bytes (CVE-2019-11479). Every host
/// must take datagrams of 576 bytes (RFC 791 §3.2, RFC 1122 §3.3.2), so 536 can do no harm; over
/// IPv6 it is 1220 for the same reason (RFC 8200 §5). An operator with smaller devices lowers
/// [`crate::Config::mss_floor`], down to [`MSS_MIN`].
pub const MSS_FLOOR: u16 = 536;

/// No MSS is smaller, whoever asks for it: a path, the user, or a peer. Linux's limit is 48, plus
/// the timestamps option (12 bytes), which is taken off afterwards.
pub const MSS_MIN: u16 = 64;

/// Largest shift of the window field (RFC 7323 §2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

/// Most bytes a send buffer may hold. Keeps SND.UNA, SND.NXT and the end of the buffer less than
/// half of the sequence space apart.
pub const SEND_QUEUE_MAX: u32 = 1 << 30;

/// Largest congestion window, for the same reason.
pub const CWND_MAX: u32 = 1 << 30;

/// Initial window in segments (RFC 6928 §2).
pub const INITIAL_WINDOW_SEGMENTS: u32 = 10;

/// Upper bound of the initial window in bytes (RFC 6928 §2).
pub const INITIAL_WINDOW_LEN: u32 = 14_600;

/// Pacing rates in bytes per second from which two segments, and more of them, leave at once (BBR
/// draft §4.2.2: 1.2 and 24 Mbit/s).
pub const PACING_SLOW_RATE: u64 = 150_000;

/// See [`PACING_SLOW_RATE`].
pub const PACING_FAST_RATE: u64 = 3_000_000;

/// Most bytes that leave at once at any pacing rate: what a port cuts into segments in one go.
pub const SEND_QUANTUM_MAX: u32 = 65_536;

/// Lateness of a pacing timer that is made up for, with [`SEND_QUANTUM_MAX`] bytes at most: some
/// scheduling delays of a busy host.
pub const PACING_CREDIT: Duration = Duration::from_millis(10);

/// Duplicate ACKs that start a fast retransmit (RFC 5681 §3.2).
pub const DUP_ACKS: u8 = 3;

/// Out-of-order ranges kept per connection. Each hole in a window needs one; with more holes
/// than this the rest is thrown away and sent again. Bounded, so that a peer cannot make the list
/// grow (CVE-2018-5390), and searched by halving. A slow start that overshoots a full queue loses
/// every other segment for a round trip, so hundreds of holes are honest. The list takes 8 bytes a
/// hole while they last.
pub const REASSEMBLY_RANGES: usize = 256;

/// Entries in the record of what is in flight. Half of them are one MSS each; beyond that segments
/// share entries ([`segments_per_entry`]), so that 68 MB can be in flight at 1448 bytes, at less
/// than 250 KB for the record. Bounded, whatever the peer acknowledges (CVE-2019-11478).
pub const FLIGHT_SEGMENTS: usize = 4096;

/// How many segments of one MSS an entry may stand for when there are `entries` of them. An entry
/// is SACKed and sent again as a whole, so coarse ones cost precision; they come only in flights
/// of thousands.
pub(crate) const fn segments_per_entry(entries: usize) -> u32 {
    match entries {
        n if n < FLIGHT_SEGMENTS / 2 => 0,
        n if n < FLIGHT_SEGMENTS / 4 * 3 => 4,
        n if n < FLIGHT_SEGMENTS / 8 * 7 => 16,
        n if n < FLIGHT_SEGMENTS => 64,
        _ => u32::MAX,
    }
}

/// How long the record of an idle connection is kept: the next request then needs no allocation.
pub const FLIGHT_IDLE: Duration = Duration::from_secs(1);

/// RACK.min_RTT forgets a sample after so long (RFC 8985 §6.2 step 1 wants a windowed minimum).
pub const MIN_RTT_S: u32 = 300;

/// RACK: recoveries without DSACK after which the reordering window shrinks again (RFC 8985 §6.2).
pub const REO_WND_PERSIST: u8 = 16;

/// Segments that the reordering timer waits for at once. RFC 8985 §6.2 waits for all that were
/// overtaken; where those are more, the timer fires for them later, and a peer that SACKs the last
/// segment of a long flight makes no ACK expensive.
pub const REORDERING_SEGMENTS: usize = 16;

/// How much sooner than the known round trip an ACK may come before it is doubted, besides a tenth of
/// it: below a millisecond the hosts' schedulers decide, not the path.
pub const DOUBTFUL_RTT: Duration = Duration::from_millis(1);

/// Bytes in one go before a peer is doubted: short answers are not worth a lie, and are not delayed.
pub const DOUBTFUL_LEN: u32 = 256 * 1024;

/// The round trip that is taken for true where the handshake gave none (its SYN was lost, or came
/// back as a cookie): few paths are longer.
pub const UNPROVEN_RTT: Duration = Duration::from_millis(200);

/// TLP.max_ack_delay: how long a peer may delay its ACK (RFC 8985 §7.2; Linux and we 40 ms, others
/// up to 200 ms).
pub const TLP_ACK_DELAY: Duration = Duration::from_millis(200);

/// Shortest PTO: the worker's timers are no finer, and a probe sooner than that is one in vain.
pub const TLP_MIN: Duration = Duration::from_millis(2);

/// PTO before the first measurement (RFC 8985 §7.2).
pub const TLP_INITIAL: Duration = Duration::from_secs(1);

/// RTO before the first measurement (RFC 6298 §2.1).
pub const RTO_INITIAL: Duration = Duration::from_secs(1);

/// RTO for data if the SYN had to be retransmitted and gave no measurement (RFC 6298 §5.7).
pub const RTO_AFTER_SYN_LOSS: Duration = Duration::from_secs(3);

/// Smallest RTO. RFC 6298 §2.4 asks for one second; like Linux we take 200 ms, which is five
/// times our longest delayed ACK.
pub const RTO_MIN: Duration = Duration::from_millis(200);

/// Largest RTO; RFC 6298 §2.5 allows any value from 60 s on.
pub const RTO_MAX: Duration = Duration::from_secs(120);

/// Retransmissions of text before the connection is given up: with an RTO from 200 ms to 120 s
/// this is R2 of about 15 minutes (RFC 9293 §3.8.3 asks for at least 100 s).
pub const RETRIES_MAX: u8 = 15;

/// Retransmissions of a SYN: 127 s in all (RFC 9293 §3.8.3 asks for at least 3 minutes; like Linux
/// we give up earlier, because users do).
pub const SYN_RETRIES_MAX: u8 = 6;

/// Retransmissions of a SYN-ACK: 63 s in all.
pub const SYN_ACK_RETRIES_MAX: u8 = 5;

/// Retransmissions once the user is gone: nobody waits for the outcome.
pub const ORPHAN_RETRIES_MAX: u8 = 8;

/// Shortest user timeout that a peer may ask of us (RFC 5482 §3.1, L_LIMIT): R2's least, 100 s
/// (RFC 9293 §3.8.3). Our own user may ask for less.
pub const USER_TIMEOUT_MIN: Duration = Duration::from_secs(100);

/// Longest (U_LIMIT): a dead peer's connection is kept for no more than an hour at its own wish.
pub const USER_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// A delayed ACK waits no longer (RFC 9293 §3.8.6.3 allows 500 ms).
pub const DELAYED_ACK: Duration = Duration::from_millis(40);

/// An ACK goes out with at least every second segment (RFC 5681 §4.2).
pub const DELAYED_ACK_SEGMENTS: u8 = 2;

/// Segments acknowledged at once at the start, while the peer's congestion window is small.
pub const QUICK_ACKS: u8 = 8;

/// 2 MSL with an MSL of 30 s, as Linux and the BSDs have it.
pub const TIME_WAIT: Duration = Duration::from_secs(60);

/// How long FIN-WAIT-2 lasts once the user is gone (RFC 9293 leaves it open; Linux: 60 s).
pub const FIN_WAIT_2: Duration = Duration::from_secs(60);

/// Challenge ACKs per connection and [`CHALLENGE_PERIOD_MS`] (RFC 5961 §7). The limit is per
/// connection on purpose: a shared one tells an attacker about other connections (CVE-2016-5696).
pub const CHALLENGE_ACKS: u8 = 10;

/// Period over which [`CHALLENGE_ACKS`] counts.
pub const CHALLENGE_PERIOD_MS: u32 = 1_000;

/// TS.Recent older than this is not used for PAWS (RFC 7323 §5.5): 24 days, in units of
/// 2^40 ns.
pub const PAWS_IDLE: u16 = 1_886;

/// How far a connection's ISN must be beyond the last SND.NXT of the one it replaces in
/// TIME-WAIT: beyond any window the old one could have had without scaling (RFC 1122 §4.2.2.13).
pub const REOPEN_ISN_STEP: u32 = 65_537;

/// A SYN cookie's clock moves on so often; a cookie is good in the period it was made in and the
/// next, so for one to two minutes, which is longer than any peer's SYN lives.
pub const SYN_COOKIE_PERIOD: Duration = Duration::from_secs(60);

/// Half-open connections of one listener, in blocks of 64 bytes: a burst of a thousand browsers.
pub const HALF_OPEN_MAX: u32 = 1_024;

/// Half-open connections from which on a listener answers SYNs with cookies: a quarter of the
/// limit. Until then memory is kept, since cookies lose options of peers without timestamps.
pub const SYN_COOKIES_ON: u32 = HALF_OPEN_MAX / 4;

/// Half-open connections down to which it goes on so: an eighth. A flood that pauses does not make
/// the listener switch with every SYN.
pub const SYN_COOKIES_OFF: u32 = HALF_OPEN_MAX / 8;

/// Longest Fast Open cookie (RFC 7413 §4.1.1).
pub const FAST_OPEN_COOKIE_MAX: usize = 16;

/// How often the cookies that we give as a server change (RFC 7413 §4.1.2 asks for that): a day.
/// One is good for one to two of these.
pub const FAST_OPEN_PERIOD_NS: u64 = 24 * 3_600 * 1_000_000_000;

/// For so long at least a Fast Open connection that its peer has reset counts among those whose peer
/// has not been heard: who is sent answers he did not ask for resets them, and a flood must not be
/// paced by its victim (RFC 7413 §5.1). Linux's value.
pub const FAST_OPEN_RESET_TIME: Duration = Duration::from_secs(60);

/// No router makes our segments smaller than this, IP and TCP headers taken off: a path MTU of 552,
/// Linux's least. Smaller ones are forged more often than true, and cost a header per few bytes
/// (RFC 5927 §7.2). Over IPv6 no path is below 1280, and the caller sees to that.
pub const PATH_MSS_MIN: u16 = 512;

/// Timeouts in a row after which large segments are suspected to vanish (RFC 4821 §7.7; Linux's
/// `tcp_retries1`).
pub const BLACK_HOLE_TIMEOUTS: u8 = 3;

/// Text per segment where the search begins: what nearly every path carries (RFC 4821 §7.2).
pub const PLPMTUD_BASE: u16 = 1_024;

/// The search ends this close to the largest size: what is left to win is below one percent of a
/// segment's cost (RFC 4821 §7.3).
pub const PLPMTUD_PRECISION: u16 = 16;

/// How long a size that was found or told is used before a larger one is tried (RFC 1191 §6.3, RFC
/// 8201 §4: at least ten minutes).
pub const PATH_MTU_RAISE: Duration = Duration::from_secs(600);
