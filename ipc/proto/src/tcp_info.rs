//! `struct tcp_info` as Linux 6.1 has it (`include/uapi/linux/tcp.h`): the one place that knows its
//! layout.
//!
//! ```text
//!   0  state, ca_state, retransmits, probes, backoff, options, two scales, two flags   8 × u8
//!   8  rto … total_retrans                                                           24 × u32
//! 104  pacing_rate … bytes_received                                                   4 × u64
//! 136  segs_out … data_segs_out                                                       6 × u32
//! 160  delivery_rate … sndbuf_limited                                                 4 × u64
//! 192  delivered, delivered_ce                                                        2 × u32
//! 200  bytes_sent, bytes_retrans                                                      2 × u64
//! 216  dsack_dups … snd_wnd                                                           4 × u32
//! ```

/// Length of the structure.
pub const LEN: usize = 232;

/// Bits of [`TcpInfo::options`].
pub mod option {
    /// Timestamps are in use.
    pub const TIMESTAMPS: u8 = 1;
    /// Selective acknowledgments are in use.
    pub const SACK: u8 = 2;
    /// Window scaling is in use.
    pub const WSCALE: u8 = 4;
    /// ECN was negotiated.
    pub const ECN: u8 = 8;
}

/// A connection in Linux's words. What is not known stays 0. Times are in microseconds, ages in
/// milliseconds, windows and counts without unit in segments, rates in bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Linux's, and so are their meanings")]
pub struct TcpInfo {
    pub state: u8,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub delivery_rate_app_limited: bool,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
}

impl TcpInfo {
    /// The structure as `getsockopt` hands it out, in the machine's byte order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        // The first of two bit fields is the lower half of its byte.
        let scales = self.snd_wscale & 0xf | (self.rcv_wscale & 0xf) << 4;
        let flags = u8::from(self.delivery_rate_app_limited);
        let (state, options) = ([self.state, self.ca_state], [self.options, scales, flags]);
        bytes.extend(state);
        bytes.extend([self.retransmits, self.probes, self.backoff]);
        bytes.extend(options);
        words(&mut bytes, &[self.rto, self.ato, self.snd_mss, self.rcv_mss]);
        words(&mut bytes, &[self.unacked, self.sacked, self.lost, self.retrans, 0]);
        words(&mut bytes, &[self.last_data_sent, 0, self.last_data_recv, self.last_ack_recv]);
        words(&mut bytes, &[self.pmtu, self.rcv_ssthresh, self.rtt, self.rttvar]);
        words(&mut bytes, &[self.snd_ssthresh, self.snd_cwnd, self.advmss, self.reordering]);
        words(&mut bytes, &[self.rcv_rtt, self.rcv_space, self.total_retrans]);
        longs(&mut bytes, &[self.pacing_rate, self.max_pacing_rate]);
        longs(&mut bytes, &[self.bytes_acked, self.bytes_received]);
        words(&mut bytes, &[self.segs_out, self.segs_in, self.notsent_bytes, self.min_rtt]);
        words(&mut bytes, &[self.data_segs_in, self.data_segs_out]);
        longs(&mut bytes, &[self.delivery_rate, self.busy_time]);
        longs(&mut bytes, &[self.rwnd_limited, self.sndbuf_limited]);
        words(&mut bytes, &[self.delivered, self.delivered_ce]);
        longs(&mut bytes, &[self.bytes_sent, self.bytes_retrans]);
        words(&mut bytes, &[self.dsack_dups, self.reord_seen, self.rcv_ooopack, self.snd_wnd]);
        bytes
    }
}

fn words(bytes: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| bytes.extend(value.to_ne_bytes()));
}

fn longs(bytes: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| bytes.extend(value.to_ne_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_where_linux_has_them() {
        let info = TcpInfo {
            state: 1,
            rcv_wscale: 7,
            rto: 2,
            rtt: 3,
            total_retrans: 4,
            pacing_rate: 5,
            segs_out: 6,
            delivery_rate: 7,
            busy_time: 11,
            rwnd_limited: 12,
            sndbuf_limited: 13,
            delivered: 8,
            bytes_sent: 9,
            snd_wnd: 10,
            ..TcpInfo::default()
        };
        let bytes = info.to_bytes();
        assert_eq!(bytes.len(), LEN);
        let word = |at: usize| bytes.get(at).copied();
        // offsetof() of each, as a C compiler has it.
        for (at, value) in [
            (0, 1),
            (6, 0x70),
            (8, 2),
            (68, 3),
            (100, 4),
            (104, 5),
            (136, 6),
            (160, 7),
            (168, 11),
            (176, 12),
            (184, 13),
            (192, 8),
            (200, 9),
            (228, 10),
        ] {
            assert_eq!(word(at), Some(value), "at {at}");
        }
    }
}
