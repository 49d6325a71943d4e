//! What a worker counts. One writer, any number of readers.

use counters::{Drops, counters};
use types::DropReason;

counters! {
    /// Worker loop.
    pub struct LoopCounters "worker" {
        breaths "Rounds of the worker loop.",
        busy_breaths "Rounds that found work.",
        busy_nanos "Nanoseconds in rounds that found work.",
        sleeps "Times the worker slept because nothing was to do.",
        handoffs "Packets handed to the worker that owns their flow.",
        tokens_sent "Wake-ups written to clients' descriptors.",
        descriptors_received "Transmit descriptors taken from clients.",
    }
}

counters! {
    /// ARP.
    pub struct ArpCounters "arp" {
        packets_received "ARP packets received.",
        packets_sent "ARP packets sent.",
    }
}

counters! {
    /// Bridges.
    pub struct BridgeCounters "bridge" {
        frames_forwarded "Frames passed on to the port of a known station.",
        frames_flooded "Frames sent to all ports: for a group, or for a station that nobody knows.",
        frames_to_listeners "Frames to a group sent to the ports of its listeners and of routers alone.",
        groups_refused "Reports of listeners to a group not taken in, because there are as many groups as may be.",
        stations_learned "Stations heard for the first time.",
        stations_moved "Stations heard at another port than before.",
        stations_refused "Stations not learned, because there are as many as may be.",
    }
}

counters! {
    /// IPv4.
    pub struct Ipv4Counters "ipv4" {
        packets_received "IPv4 packets received.",
        packets_sent "IPv4 packets sent.",
        fragments_sent "Fragments of IPv4 packets sent.",
        packets_reassembled "IPv4 packets made whole from their fragments.",
        packets_forwarded "IPv4 packets passed on for others.",
    }
}

counters! {
    /// IPv6.
    pub struct Ipv6Counters "ipv6" {
        packets_received "IPv6 packets received.",
        packets_sent "IPv6 packets sent.",
        fragments_sent "Fragments of IPv6 packets sent.",
        packets_reassembled "IPv6 packets made whole from their fragments.",
        packets_forwarded "IPv6 packets passed on for others.",
    }
}

counters! {
    /// ICMPv6 with neighbour discovery.
    pub struct Icmp6Counters "icmp6" {
        messages_received "ICMPv6 messages received.",
        messages_sent "ICMPv6 messages sent.",
        echoes_answered "Echo requests answered.",
        errors_sent "Error messages sent.",
    }
}

counters! {
    /// ICMP.
    pub struct IcmpCounters "icmp" {
        messages_received "ICMP messages received.",
        echoes_answered "Echo requests answered.",
        errors_sent "Error messages sent.",
    }
}

counters! {
    /// UDP.
    pub struct UdpCounters "udp" {
        datagrams_received "Datagrams received.",
        datagrams_sent "Datagrams sent.",
    }
}

counters! {
    /// TCP.
    pub struct TcpCounters "tcp" {
        segments_received "Segments received.",
        segments_sent "Segments sent.",
        segments_retransmitted "Segments sent again.",
        active_opens "Connections opened by clients.",
        passive_opens "Connections opened by peers.",
        resets_received "Connections reset by the peer.",
        segments_cut_by_ports "Segments sent that a port has cut out of larger ones.",
        resets_sent "RST segments sent.",
        resets_withheld "RSTs not sent, because enough went to that group of addresses this second.",
        timeouts "Connections given up because the peer was silent.",
        listen_overflows "SYNs dropped because a listener's backlog was full.",
        orphans_reset "Connections reset after their users closed them, because there were too many.",
        time_wait_evicted "Endpoints in TIME-WAIT that ended early, because there were too many.",
        fast_opens_sent "SYNs sent with text on them (Fast Open).",
        fast_opens_received "Connections opened by a SYN with text and a valid cookie (Fast Open).",
        syncookies_sent "SYNs answered with a cookie instead of a half-open entry.",
        syncookies_validated "Connections opened by a cookie that came back.",
        syncookies_failed "ACKs at a listener whose cookie was wrong or too old.",
    }
}

counters! {
    /// Received packets lent to clients.
    pub struct LoanCounters "loans" {
        lent "Received packets lent to a client instead of being copied.",
        returned "Packets lent that their client has read.",
        taken_back "Packets lent that were taken back from a client that ended.",
        over_quota "Packets copied because the client's user has borrowed as many as its quota allows.",
        pool_low "Packets copied because as many of the pool are lent as may be.",
    }
}

/// All counters of one worker, in cache lines that no other worker writes.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerCounters {
    /// Worker loop.
    pub worker: LoopCounters,
    /// Bridges.
    pub bridge: BridgeCounters,
    /// ARP.
    pub arp: ArpCounters,
    /// IPv4.
    pub ipv4: Ipv4Counters,
    /// ICMP.
    pub icmp: IcmpCounters,
    /// IPv6.
    pub ipv6: Ipv6Counters,
    /// ICMPv6.
    pub icmp6: Icmp6Counters,
    /// UDP.
    pub udp: UdpCounters,
    /// TCP.
    pub tcp: TcpCounters,
    /// Received packets lent to clients.
    pub loans: LoanCounters,
    /// Dropped packets by [`DropReason`].
    pub drops: Drops<{ DropReason::COUNT }>,
}

/// One row of [`WorkerCounters::rows`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Subsystem.
    pub subsystem: &'static str,
    /// Name.
    pub name: &'static str,
    /// A sentence for a person.
    pub text: &'static str,
    /// Value.
    pub value: u64,
}

impl WorkerCounters {
    /// All counters but the drops.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        fn row(subsystem: &'static str) -> impl Fn((&'static str, &'static str, u64)) -> Row {
            move |(name, text, value)| Row { subsystem, name, text, value }
        }
        self.worker
            .rows()
            .map(row(LoopCounters::SUBSYSTEM))
            .chain(self.bridge.rows().map(row(BridgeCounters::SUBSYSTEM)))
            .chain(self.arp.rows().map(row(ArpCounters::SUBSYSTEM)))
            .chain(self.ipv4.rows().map(row(Ipv4Counters::SUBSYSTEM)))
            .chain(self.icmp.rows().map(row(IcmpCounters::SUBSYSTEM)))
            .chain(self.ipv6.rows().map(row(Ipv6Counters::SUBSYSTEM)))
            .chain(self.icmp6.rows().map(row(Icmp6Counters::SUBSYSTEM)))
            .chain(self.udp.rows().map(row(UdpCounters::SUBSYSTEM)))
            .chain(self.tcp.rows().map(row(TcpCounters::SUBSYSTEM)))
            .chain(self.loans.rows().map(row(LoanCounters::SUBSYSTEM)))
    }
}
