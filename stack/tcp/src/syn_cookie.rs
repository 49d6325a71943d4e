//! SYN cookies (RFC 4987 §3.6): a half-open connection of which only the peer keeps the memory.
//!
//! ```text
//!  31                                            3 2  0        5     4     3   0
//! +-----------------------------------------------+----+     +-----+------+-----+
//! | SipHash-2-4 of flow, IRS, period, what follows | MSS|     | ECN | SACK |scale|
//! +-----------------------------------------------+----+     +-----+------+-----+
//!   our ISS                                                    low bits of our TSval
//! ```
//! The acknowledgment of our SYN-ACK brings both words back. Without timestamps only the MSS
//! survives: the connection has neither scaling nor SACK nor ECN, as on Linux. All of it is under
//! the hash, so nobody can raise an option that the SYN did not have.
//!
//! A blind attacker's ACK passes with a chance of 2 in 2²⁹ while cookies are in use, and not at all
//! otherwise ([`crate::Listener`] remembers when it last sent one).

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher24;
use types::{FlowKey, Instant};

use crate::isn::{Purpose, Secret};
use crate::timestamp::{is_older, low_32};
use crate::{Config, Flags, HalfOpen, Options, SegmentIn, SegmentOut, SeqNum, limits};

/// What cookies are made with.
#[derive(Clone, Copy, Debug)]
pub struct SynCookie<'a> {
    /// The host's secret.
    pub secret: &'a Secret,
    /// The connection.
    pub flow: &'a FlowKey,
    /// Its parameters; the same for the SYN and for the ACK.
    pub config: &'a Config,
    /// The window to offer in the SYN-ACK.
    pub rcv_wnd: u16,
}

/// Sizes a cookie can tell apart; a peer's MSS counts as the largest one that is not above it:
/// anything smaller, IPv4's and IPv6's defaults, tunnels, PPPoE, Ethernet, and jumbo frames.
const MSS_TABLE: [u16; 8] = [64, 536, 1_220, 1_300, 1_400, 1_440, 1_460, 8_960];

/// The place of the MSS in the cookie.
const MSS_MASK: u32 = 7;

/// The place of the other options in the timestamp.
const OPTIONS_MASK: u32 = 0x3f;
const SCALE_MASK: u32 = 0x0f;
/// "No window scale option": shifts end at 14.
const SCALE_NONE: u32 = 0x0f;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;

impl SynCookie<'_> {
    /// The SYN-ACK for an acceptable SYN. Nothing has to be remembered.
    #[must_use]
    pub fn syn_ack(&self, syn: &SegmentIn<'_>, now: Instant) -> SegmentOut {
        let iss = SeqNum::new(0);
        let mut half_open = HalfOpen::new(syn, self.config, iss, self.rcv_wnd, now);
        let blank = SegmentOut::control(iss, syn.seq + 1, Flags::SYN | Flags::ACK);
        let mut answer = half_open.poll_transmit(now).unwrap_or(blank);
        let bits = match &mut answer.options.timestamps {
            Some(ours) => {
                let scale = syn
                    .options
                    .window_scale
                    .map_or(SCALE_NONE, |shift| u32::from(shift.min(limits::WINDOW_SCALE_MAX)));
                let sack = if answer.options.sack_permitted { SACK } else { 0 };
                let ecn = if answer.flags.contains(Flags::ECE) { ECN } else { 0 };
                let bits = scale | sack | ecn;
                ours.value = with_low_bits(ours.value, bits);
                Some(bits)
            }
            None => {
                answer.options.window_scale = None;
                answer.options.sack_permitted = false;
                answer.flags = answer.flags.without(Flags::ECE);
                None
            }
        };
        let index = mss_index(syn.options.mss.unwrap_or(self.config.mss_default));
        answer.seq = self.iss(syn.seq, period(now), index, bits);
        answer
    }

    /// The connection that an ACK without one claims to complete, if it brings a cookie that we
    /// made less than two minutes ago: [`HalfOpen::into_tcb`], then feed it the same segment.
    #[must_use]
    pub fn validate(&self, seg: &SegmentIn<'_>, now: Instant) -> Option<HalfOpen> {
        let others = Flags::SYN | Flags::RST;
        if !seg.flags.contains(Flags::ACK) || seg.flags.without(others) != seg.flags {
            return None;
        }
        let (iss, irs) = (seg.ack - 1, seg.seq - 1);
        let timestamps = seg.options.timestamps.filter(|_| self.config.timestamps);
        let bits = timestamps.map(|theirs| theirs.echo & OPTIONS_MASK);
        let index = iss.value() & MSS_MASK;
        let newest = period(now);
        let ours = [newest, newest.wrapping_sub(1)]
            .into_iter()
            .any(|period| self.iss(irs, period, index, bits) == iss);
        if !ours {
            return None;
        }
        let mss = usize::try_from(index).ok().and_then(|index| MSS_TABLE.get(index).copied());
        let scale = bits.map(|bits| bits & SCALE_MASK).filter(|scale| *scale != SCALE_NONE);
        let has = |bit| bits.is_some_and(|bits| bits & bit != 0);
        // The SYN as it was, as far as the cookie knows.
        let syn = SegmentIn {
            seq: irs,
            ack: SeqNum::new(0),
            flags: if has(ECN) { Flags::SYN | Flags::ECE | Flags::CWR } else { Flags::SYN },
            options: Options {
                mss,
                window_scale: scale.and_then(|scale| u8::try_from(scale).ok()),
                sack_permitted: has(SACK),
                timestamps,
                ..Options::default()
            },
            text: &[],
            ..*seg
        };
        Some(HalfOpen::from_cookie(&syn, self.config, iss, self.rcv_wnd, now))
    }

    /// The cookie.
    fn iss(&self, irs: SeqNum, period: u32, mss_index: u32, options: Option<u32>) -> SeqNum {
        let mut hasher = SipHasher24::new_with_key(&self.secret.0);
        hasher.write_u8(Purpose::SynCookie as u8);
        self.flow.hash(&mut hasher);
        hasher.write_u32(irs.value());
        hasher.write_u32(period);
        hasher.write_u32(mss_index);
        hasher.write_u32(options.unwrap_or(u32::MAX));
        SeqNum::new((low_32(hasher.finish()) & !MSS_MASK) | (mss_index & MSS_MASK))
    }
}

fn period(now: Instant) -> u32 {
    let length = u64::try_from(limits::SYN_COOKIE_PERIOD.as_millis()).unwrap_or(u64::MAX);
    low_32(now.as_millis().checked_div(length).unwrap_or(0))
}

fn mss_index(mss: u16) -> u32 {
    let larger = MSS_TABLE.iter().skip(1).take_while(|size| **size <= mss).count();
    u32::try_from(larger).unwrap_or(0)
}

/// A timestamp that is not in the future: the peer will get later ones and must not find them old.
fn with_low_bits(clock: u32, bits: u32) -> u32 {
    let value = (clock & !OPTIONS_MASK) | bits;
    if is_older(clock, value) { value.wrapping_sub(OPTIONS_MASK.wrapping_add(1)) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_timestamp_is_at_most_64_ms_old_and_never_in_the_future() {
        for clock in [0, 1, 63, 64, 1_000, u32::MAX] {
            for bits in 0..=OPTIONS_MASK {
                let value = with_low_bits(clock, bits);
                assert_eq!(value & OPTIONS_MASK, bits);
                assert!(clock.wrapping_sub(value) < 64, "{clock} {bits}");
            }
        }
    }

    #[test]
    fn the_mss_is_never_rounded_up_but_to_the_smallest() {
        for mss in 0..=u16::MAX {
            let known = MSS_TABLE[mss_index(mss) as usize];
            assert!(known <= mss || known == MSS_TABLE[0], "{mss} became {known}");
        }
    }
}
