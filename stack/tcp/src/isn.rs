//! Initial sequence numbers and timestamp offsets that strangers cannot guess (RFC 6528, 7323 §5.4).

use core::fmt;
use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher24;
use types::{FlowKey, Instant};

use crate::SeqNum;
use crate::timestamp::low_32;

/// The key of the hash: 16 random bytes, chosen once at start.
#[derive(Clone, Copy)]
pub struct Secret(pub [u8; 16]);

/// Never shows the key.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// ISN = M + F(flow, secret), M being a clock of 4 µs (RFC 6528 §3), F SipHash-2-4.
#[must_use]
pub fn initial_sequence(secret: &Secret, flow: &FlowKey, now: Instant) -> SeqNum {
    let clock = low_32(now.as_nanos() / 4_000);
    SeqNum::new(hash(secret, flow, Purpose::InitialSequence).wrapping_add(clock))
}

/// A flow's timestamp offset (RFC 7323 §5.4): tells nothing about uptime or other flows.
#[must_use]
pub fn timestamp_offset(secret: &Secret, flow: &FlowKey) -> u32 {
    hash(secret, flow, Purpose::TimestampOffset)
}

/// Keeps the uses of one key apart.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    InitialSequence = 1,
    TimestampOffset = 2,
    SynCookie = 3,
    FastOpen = 4,
}

fn hash(secret: &Secret, flow: &FlowKey, purpose: Purpose) -> u32 {
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    hasher.write_u8(purpose as u8);
    flow.hash(&mut hasher);
    low_32(hasher.finish())
}
