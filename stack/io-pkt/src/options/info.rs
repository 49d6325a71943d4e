//! `TCP_INFO`: the engine's words in Linux's.

use core::time::Duration;

use inet::command::SocketInfo;
use proto::tcp_info::{TcpInfo, option};
use tcp::State;
use types::Instant;

/// `TCP_INFO` of a socket; a listener and one that was never connected have little to tell.
pub(super) fn tcp_info(info: &SocketInfo, listening: bool) -> Vec<u8> {
    match &info.tcp {
        Some(tcp) => connection(info, tcp).to_bytes(),
        None => {
            let state = number(if listening { State::Listen } else { State::Closed });
            TcpInfo { state, ..TcpInfo::default() }.to_bytes()
        }
    }
}

fn connection(info: &SocketInfo, tcp: &tcp::Info) -> TcpInfo {
    let mss = u32::from(tcp.mss).max(1);
    let age_ms = |at: Instant| u32::try_from(info.now.since(at).as_millis()).unwrap_or(u32::MAX);
    let rto_us = tcp.rto_ms.saturating_mul(1_000);
    let scaled = tcp.snd_scale > 0 || tcp.rcv_scale > 0;
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    TcpInfo {
        state: number(tcp.state),
        ca_state: ca_state(tcp),
        retransmits: tcp.retransmits,
        probes: tcp.probes,
        backoff: tcp.backoff,
        delivery_rate_app_limited: tcp.delivery_rate.app_limited,
        options: bit(tcp.timestamps, option::TIMESTAMPS)
            | bit(scaled, option::WSCALE)
            | bit(tcp.sack, option::SACK)
            | bit(tcp.ecn, option::ECN),
        snd_wscale: tcp.snd_scale,
        rcv_wscale: tcp.rcv_scale,
        rto: rto_us,
        ato: u32::try_from(tcp::limits::DELAYED_ACK.as_micros()).unwrap_or(u32::MAX),
        snd_mss: mss,
        rcv_mss: u32::from(tcp.rcv_mss),
        unacked: tcp.unacked.div_ceil(mss),
        sacked: tcp.sacked_len.div_ceil(mss),
        lost: tcp.lost_len.div_ceil(mss),
        retrans: tcp.resent_in_flight_len.div_ceil(mss),
        last_data_sent: age_ms(tcp.sent_at),
        last_data_recv: age_ms(tcp.heard_at),
        last_ack_recv: age_ms(tcp.heard_at),
        pmtu: mss.saturating_add(HEADERS_LEN).saturating_add(if tcp.timestamps { 12 } else { 0 }),
        rcv_ssthresh: tcp.rcv_wnd_max,
        rtt: tcp.srtt_us,
        rttvar: tcp.rttvar_us,
        snd_ssthresh: if tcp.ssthresh == u32::MAX { SSTHRESH_INFINITE } else { tcp.ssthresh / mss },
        snd_cwnd: tcp.cwnd / mss,
        advmss: u32::from(tcp.rcv_mss),
        reordering: u32::from(tcp::limits::DUP_ACKS),
        // The receive buffer is tuned by the sender's round trip: there is no estimate of its own.
        rcv_rtt: if tcp.text_segments_in > 0 { tcp.srtt_us } else { 0 },
        rcv_space: info.receive_buffer,
        total_retrans: tcp.retransmitted,
        pacing_rate: tcp.pacing_rate.unwrap_or(u64::MAX),
        max_pacing_rate: tcp.pacing_rate_max,
        bytes_acked: info.acknowledged,
        bytes_received: info.received,
        segs_out: tcp.segments_out,
        segs_in: tcp.segments_in,
        notsent_bytes: tcp.unsent,
        min_rtt: tcp.min_rtt_us,
        data_segs_in: tcp.text_segments_in,
        data_segs_out: tcp.text_segments_out,
        delivery_rate: tcp.delivery_rate.bytes_per_second,
        busy_time: micros(info.waited.busy),
        rwnd_limited: micros(info.waited.window),
        sndbuf_limited: micros(info.waited.room),
        delivered: tcp.delivered,
        delivered_ce: tcp.delivered_marked,
        bytes_sent: info
            .acknowledged
            .saturating_add(u64::from(tcp.unacked))
            .saturating_add(tcp.resent_len),
        bytes_retrans: tcp.resent_len,
        dsack_dups: tcp.duplicates,
        rcv_ooopack: tcp.out_of_order,
        reord_seen: u32::from(tcp.reordering_seen),
        snd_wnd: tcp.snd_wnd,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// IPv4 and TCP without options.
const HEADERS_LEN: u32 = 40;
/// `TCP_INFINITE_SSTHRESH`.
const SSTHRESH_INFINITE: u32 = 0x7fff_ffff;

/// `TCP_CA_Open`, `TCP_CA_Disorder`, `TCP_CA_Recovery`, `TCP_CA_Loss`.
const fn ca_state(tcp: &tcp::Info) -> u8 {
    match tcp {
        tcp::Info { in_recovery: true, retransmits: 1.., .. } => 4,
        tcp::Info { in_recovery: true, .. } => 3,
        tcp::Info { sacked_len: 1.., .. } => 1,
        _ => 0,
    }
}

/// Linux's numbers of the states.
const fn number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}
