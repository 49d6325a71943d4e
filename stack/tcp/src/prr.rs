//! Proportional rate reduction (RFC 6937, RFC 9937): in recovery the window follows what arrives,
//! so that it is ssthresh at the end, without a pause and without a burst.

/// The variables of RFC 9937 §6.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prr {
    delivered: u32,
    out: u32,
    /// RecoverFS.
    flight_len: u32,
}

/// One ACK in recovery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PrrAck {
    /// DeliveredData: newly acknowledged or SACKed.
    pub(crate) delivered_len: u32,
    /// inflight, after the ACK.
    pub(crate) pipe: u32,
    pub(crate) ssthresh: u32,
    pub(crate) mss: u32,
    /// SND.UNA moves and nothing more is lost.
    pub(crate) safe: bool,
}

impl Prr {
    /// Recovery begins; `flight_len` was in the network before the ACK that tells of the loss.
    pub(crate) fn begin(flight_len: u32) -> Self {
        Self { delivered: 0, out: 0, flight_len: flight_len.max(1) }
    }

    /// `len` bytes were sent, new or again.
    pub(crate) fn sent(&mut self, len: u32) {
        self.out = self.out.saturating_add(len);
    }

    /// cwnd after an ACK; `None`: it says nothing.
    pub(crate) fn window(&mut self, ack: &PrrAck) -> Option<u32> {
        let first = self.delivered == 0;
        if ack.delivered_len == 0 && !first {
            return None;
        }
        self.delivered = self.delivered.saturating_add(ack.delivered_len);
        let mut count = if ack.pipe > ack.ssthresh {
            self.proportional(ack.ssthresh).saturating_sub(self.out)
        } else {
            let owed = self.delivered.saturating_sub(self.out).max(ack.delivered_len);
            // Slow start reduction bound while all goes well, conservative bound otherwise.
            let bound = if ack.safe { owed.saturating_add(ack.mss) } else { owed };
            bound.min(ack.ssthresh.saturating_sub(ack.pipe))
        };
        if self.out == 0 {
            // Fast retransmit: the first segment goes at once.
            count = count.max(ack.mss);
        }
        Some(ack.pipe.saturating_add(count))
    }

    /// CEIL(prr_delivered * ssthresh / RecoverFS).
    fn proportional(&self, ssthresh: u32) -> u32 {
        let product = u64::from(self.delivered).saturating_mul(u64::from(ssthresh));
        u32::try_from(product.div_ceil(u64::from(self.flight_len.max(1)))).unwrap_or(u32::MAX)
    }
}
