//! How long an answer takes (RFC 6298, with other bounds).

use core::time::Duration;

use crate::limits::{PROBE_MIN, RTO_FIRST, RTO_MAX, RTO_MIN};

/// Smoothed round trip and its variation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rtt {
    smooth: Option<(Duration, Duration)>,
    backoff: u32,
}

impl Rtt {
    /// A frame that was sent once has been acknowledged (RFC 6298 §2, §3).
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.smooth = Some(match self.smooth {
            None => (rtt, part(rtt, 2)),
            Some((srtt, var)) => {
                let var =
                    part(var.saturating_mul(3), 4).saturating_add(part(srtt.abs_diff(rtt), 4));
                (part(srtt.saturating_mul(7), 8).saturating_add(part(rtt, 8)), var)
            }
        });
    }

    /// Something was acknowledged.
    pub(crate) fn progress(&mut self) {
        self.backoff = 0;
    }

    /// The timeout has passed: the next one is twice as long (RFC 6298 §5.5).
    pub(crate) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(5);
    }

    /// How long to wait for anything before a frame is sent again to see.
    pub(crate) fn probe(&self) -> Duration {
        let rto = self.rto();
        self.smooth.map_or(rto, |(srtt, _)| srtt.saturating_mul(2).max(PROBE_MIN).min(rto))
    }

    /// The retransmission timeout.
    pub(crate) fn rto(&self) -> Duration {
        let measured = self.smooth.map_or(RTO_FIRST, |(srtt, var)| {
            srtt.saturating_add(var.saturating_mul(4)).clamp(RTO_MIN, RTO_MAX)
        });
        measured.saturating_mul(1 << self.backoff).min(RTO_MAX)
    }
}

fn part(time: Duration, of: u32) -> Duration {
    time.checked_div(of).unwrap_or_default()
}
