//! How often a connection lets strangers make it send an ACK (RFC 5961 §7).
//!
//! The count is the connection's own. A counter shared by connections would let an attacker see
//! whether a connection that he guessed exists (CVE-2016-5696).

use types::Instant;

use crate::limits;
use crate::timestamp::{low_16, millis};

/// Challenge ACKs of the current period. Four bytes, so that TIME-WAIT can afford one too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChallengeLimit {
    period: u16,
    count: u8,
}

impl ChallengeLimit {
    /// Another ACK may be sent; counts it.
    pub(crate) fn allow(&mut self, now: Instant) -> bool {
        let period = low_16(millis(now) / limits::CHALLENGE_PERIOD_MS);
        if period != self.period {
            *self = Self { period, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limits::CHALLENGE_ACKS
    }
}
