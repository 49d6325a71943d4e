//! Why a packet was dropped.
//!
//! One list: the enum value an input function returns is the counter's index, the Prometheus label
//! and the row of the documentation.

macro_rules! drop_reasons {
    ($($(#[$meta:meta])* $name:ident $label:literal $layer:literal $text:literal)*) => {
        /// Why a packet was dropped. Each drop has exactly one reason and is counted exactly once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $text] $(#[$meta])* $name,)* }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many reasons there are: the length of a counter block.
            pub const COUNT: usize = Self::ALL.len();

            /// The value of the `reason` label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// The value of the `layer` label.
            #[must_use]
            pub const fn layer(self) -> &'static str {
                match self { $(Self::$name => $layer,)* }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    EthernetTooShort "ethernet_too_short" "ethernet" "Frame shorter than an Ethernet header."
    EthernetSource "ethernet_source" "ethernet" "Source address is a group address."
    EthernetNotForUs "ethernet_not_for_us" "ethernet" "Unicast destination is another station's."
    EthernetType "ethernet_type" "ethernet" "No protocol is attached to this EtherType."
    VlanTooShort "vlan_too_short" "ethernet" "Frame whose VLAN tag is not followed by a type (IEEE 802.1Q)."
    VlanUnknown "vlan_unknown" "ethernet" "No interface of ours is in the frame's VLAN on this link."
    VlanDepth "vlan_depth" "ethernet" "More VLAN tags than a frame may have."
    BridgeReserved "bridge_reserved" "bridge" "To a group that no bridge passes on (IEEE 802.1D 7.12.6)."
    BridgeBlocked "bridge_blocked" "bridge" "By a port that the spanning tree does not use."
    BridgeStatic "bridge_static" "bridge" "Its source is a static address of another port."
    BridgeMoving "bridge_moving" "bridge" "Its source is heard at several ports in turn: a loop, or somebody who claims its address."
    BridgeOwn "bridge_own" "bridge" "Its source is an address of the bridge or of a port of it: a loop, or somebody who claims it."
    BridgeSamePort "bridge_same_port" "bridge" "Its destination is where it came from."
    BridgeFlood "bridge_flood" "bridge" "More frames for all ports than one port may bring a second."
    BridgeNowhere "bridge_nowhere" "bridge" "No other port takes it."
    BridgeTooBig "bridge_too_big" "bridge" "Longer than the other port takes."
    BpduFormat "bpdu_format" "bridge" "Message between bridges cut off, of an unknown kind or too old (IEEE 802.1D)."
    LaggFormat "lagg_format" "lagg" "Message about an aggregated link cut off or of an unknown kind (IEEE 802.1AX)."
    LaggNotCollecting "lagg_not_collecting" "lagg" "By a port of an aggregated link that takes nothing now."
    LaggNoPort "lagg_no_port" "lagg" "No port of the aggregated link sends now."
    InterfaceDown "interface_down" "ethernet" "The interface is administratively down."
    ArpTooShort "arp_too_short" "arp" "ARP packet shorter than its fixed format (RFC 826)."
    ArpFormat "arp_format" "arp" "Hardware or protocol type or length is not Ethernet/IPv4 (RFC 826)."
    ArpOperation "arp_operation" "arp" "ARP operation is neither request nor reply."
    ArpSender "arp_sender" "arp" "Sender address is a group, zero, or differs from the frame's source."
    ArpNotForUs "arp_not_for_us" "arp" "ARP request for an address that is not ours, sender unknown."
    ArpConflict "arp_conflict" "arp" "Another station claims one of our addresses (RFC 5227)."
    NeighborUnresolved "neighbor_unresolved" "arp" "No answer from the next hop."
    NeighborQueueFull "neighbor_queue_full" "arp" "Too many packets wait for the same next hop."
    NeighborTableFull "neighbor_table_full" "arp" "The neighbour table is at its limit."
    Ipv4TooShort "ipv4_too_short" "ipv4" "Packet shorter than an IPv4 header."
    Ipv4Version "ipv4_version" "ipv4" "Version field is not 4."
    Ipv4HeaderLength "ipv4_header_length" "ipv4" "Header length below 20 or beyond the packet."
    Ipv4TotalLength "ipv4_total_length" "ipv4" "Total length below the header or beyond the frame."
    Ipv4Checksum "ipv4_checksum" "ipv4" "Header checksum is wrong."
    Ipv4Source "ipv4_source" "ipv4" "Source is multicast, broadcast, loopback or unspecified (martian)."
    Ipv4Land "ipv4_land" "ipv4" "Source address is our own."
    Ipv4Destination "ipv4_destination" "ipv4" "Destination is no host's address: 0/8 or 240/4 (martian)."
    Ipv4LinkLocal "ipv4_link_local" "ipv4" "From or to 169.254/16, which stays on its link (RFC 3927)."
    Ipv4LinkBroadcast "ipv4_link_broadcast" "ipv4" "For another host in a frame to a group; not passed on (RFC 1812)."
    Ipv4ReversePath "ipv4_reverse_path" "ipv4" "The way back to the source leads elsewhere (RFC 3704)."
    Ipv4TtlExceeded "ipv4_ttl_exceeded" "ipv4" "Time to live ran out on the way."
    Ipv4NotForUs "ipv4_not_for_us" "ipv4" "Destination is not ours and forwarding is off."
    Ipv4NotMember "ipv4_not_member" "ipv4" "Nobody on this host listens to the group on this interface."
    IgmpFormat "igmp_format" "ipv4" "IGMP message cut off, with a wrong checksum, from beyond the link, or about no group (RFC 3376)."
    IgmpType "igmp_type" "ipv4" "IGMP message that is not for listeners."
    Ipv4SourceRoute "ipv4_source_route" "ipv4" "Loose or strict source route option."
    Ipv4Options "ipv4_options" "ipv4" "Malformed option list."
    Ipv4Protocol "ipv4_protocol" "ipv4" "No transport for this protocol number."
    Ipv4NoRoute "ipv4_no_route" "ipv4" "No route to the destination."
    Ipv4Blackhole "ipv4_blackhole" "ipv4" "The operator's route to the destination lets nothing pass, and nobody is told."
    Ipv4Reject "ipv4_reject" "ipv4" "The operator's route to the destination lets nothing pass, and the sender is told."
    Ipv4TooBig "ipv4_too_big" "ipv4" "Packet larger than the interface's MTU."
    FragmentTiny "fragment_tiny" "fragment" "Fragment without bytes, of a length that no other can follow, or that hides TCP's flags (RFC 1858, RFC 3128)."
    FragmentLength "fragment_length" "fragment" "Fragment that reaches beyond the longest packet."
    FragmentOverlap "fragment_overlap" "fragment" "Of a packet whose fragments overlap or contradict each other (RFC 5722, RFC 3168)."
    FragmentDuplicate "fragment_duplicate" "fragment" "Fragment that had come before."
    FragmentCount "fragment_count" "fragment" "Of a packet in too many pieces."
    FragmentLimit "fragment_limit" "fragment" "Of a packet that made room, the oldest of its source or of all."
    FragmentTimeout "fragment_timeout" "fragment" "Of a packet whose other fragments did not come in time."
    IcmpTooShort "icmp_too_short" "icmp" "Shorter than an ICMP header."
    IcmpChecksum "icmp_checksum" "icmp" "ICMP checksum is wrong."
    IcmpType "icmp_type" "icmp" "Message type is not handled."
    IcmpEchoReply "icmp_echo_reply" "icmp" "Answer to an echo request that nobody here has sent."
    IcmpBroadcast "icmp_broadcast" "icmp" "Echo request to a broadcast or multicast address."
    IcmpQuoted "icmp_quoted" "icmp" "Error message quotes no packet that we sent."
    IcmpRedirect "icmp_redirect" "icmp" "Redirect that is not of the next hop in use, or where none is believed (RFC 1122)."
    IcmpRateLimit "icmp_rate_limit" "icmp" "An error message was due but the rate limit is reached (RFC 1812)."
    Ipv6TooShort "ipv6_too_short" "ipv6" "Packet shorter than an IPv6 header."
    Ipv6Version "ipv6_version" "ipv6" "Version field is not 6."
    Ipv6PayloadLength "ipv6_payload_length" "ipv6" "Payload length beyond the frame."
    Ipv6HeaderChain "ipv6_header_chain" "ipv6" "Extension headers cut off, out of place, repeated or too many (RFC 7112, RFC 8504)."
    Ipv6Option "ipv6_option" "ipv6" "Hop-by-hop or destination option malformed, unknown and mandatory, or one of too many (RFC 8504)."
    Ipv6Source "ipv6_source" "ipv6" "Source is multicast, loopback, IPv4-mapped, or unspecified where an address is needed."
    Ipv6Land "ipv6_land" "ipv6" "Source address is our own."
    Ipv6Scope "ipv6_scope" "ipv6" "From or to an address of a link, which stays on it (RFC 4291)."
    Ipv6LinkGroup "ipv6_link_group" "ipv6" "For another host in a frame to a group; not passed on."
    Ipv6ReversePath "ipv6_reverse_path" "ipv6" "The way back to the source leads elsewhere (RFC 3704)."
    Ipv6HopLimit "ipv6_hop_limit" "ipv6" "Hop limit ran out on the way."
    Ipv6NotForUs "ipv6_not_for_us" "ipv6" "Destination is not ours and forwarding is off."
    Ipv6Protocol "ipv6_protocol" "ipv6" "No transport for this next header."
    Ipv6NoRoute "ipv6_no_route" "ipv6" "No route to the destination."
    Ipv6Blackhole "ipv6_blackhole" "ipv6" "The operator's route to the destination lets nothing pass, and nobody is told."
    Ipv6Reject "ipv6_reject" "ipv6" "The operator's route to the destination lets nothing pass, and the sender is told."
    Ipv6TooBig "ipv6_too_big" "ipv6" "Packet larger than the interface's MTU."
    Ipv6RoutingHeader "ipv6_routing_header" "ipv6" "Routing header with segments left (RFC 5095)."
    Icmp6TooShort "icmp6_too_short" "icmp6" "Shorter than an ICMPv6 header."
    Icmp6Checksum "icmp6_checksum" "icmp6" "ICMPv6 checksum is wrong."
    Icmp6Type "icmp6_type" "icmp6" "Message type is not handled."
    Icmp6Quoted "icmp6_quoted" "icmp6" "Error message quotes no packet that we sent."
    NdpRedirect "ndp_redirect" "icmp6" "Redirect that is not of the next hop in use, or where none is believed (RFC 4861)."
    NdpFormat "ndp_format" "icmp6" "Neighbour discovery message too short, or with an option of length 0 or beyond the message (RFC 4861)."
    NdpInvalid "ndp_invalid" "icmp6" "Neighbour discovery message that RFC 4861 tells to discard: hop limit below 255, source, target or code."
    NdpNotForUs "ndp_not_for_us" "icmp6" "Neighbour solicitation for an address that is not ours."
    NdpConflict "ndp_conflict" "icmp6" "Another station claims one of our addresses (RFC 4862)."
    MldFormat "mld_format" "icmp6" "Multicast listener query too short, or not from a link-local address with one hop (RFC 3810)."
    UdpTooShort "udp_too_short" "udp" "Shorter than a UDP header."
    UdpLength "udp_length" "udp" "Length field below 8 or beyond the packet."
    UdpChecksum "udp_checksum" "udp" "UDP checksum is wrong."
    UdpPort "udp_port" "udp" "Destination port is 0."
    UdpNoSocket "udp_no_socket" "udp" "No socket is bound to the destination port."
    UdpSocketFull "udp_socket_full" "udp" "The socket's receive queue is full."
    TcpTooShort "tcp_too_short" "tcp" "Shorter than a TCP header."
    TcpHeaderLength "tcp_header_length" "tcp" "Data offset below 5 or beyond the segment."
    TcpChecksum "tcp_checksum" "tcp" "TCP checksum is wrong."
    TcpPort "tcp_port" "tcp" "Source or destination port is 0."
    TcpAddress "tcp_address" "tcp" "Segment from or to a broadcast or multicast address."
    TcpFlags "tcp_flags" "tcp" "Combination of control bits that no state accepts."
    TcpNoListener "tcp_no_listener" "tcp" "No connection and no listener; answered with RST."
    TcpListenOverflow "tcp_listen_overflow" "tcp" "The listener's backlog is full."
    TcpSequence "tcp_sequence" "tcp" "No part of the segment is in the receive window (RFC 9293 3.10.7.4)."
    TcpDuplicate "tcp_duplicate" "tcp" "All of the segment's text was received before."
    TcpPaws "tcp_paws" "tcp" "Timestamp older than TS.Recent (RFC 7323 PAWS)."
    TcpTimestampMissing "tcp_timestamp_missing" "tcp" "Timestamps were negotiated but the segment has none (RFC 7323 3.2)."
    TcpAckMissing "tcp_ack_missing" "tcp" "ACK bit is off in a synchronized state."
    TcpAckUnacceptable "tcp_ack_unacceptable" "tcp" "Acknowledges bytes never sent or long gone (RFC 5961 5)."
    TcpResetUnacceptable "tcp_reset_unacceptable" "tcp" "RST that does not match RCV.NXT exactly (RFC 5961 3)."
    TcpSynUnacceptable "tcp_syn_unacceptable" "tcp" "SYN inside a synchronized connection (RFC 5961 4)."
    TcpAfterClose "tcp_after_close" "tcp" "Text after the user closed; the connection is reset."
    TcpReceiveBuffer "tcp_receive_buffer" "tcp" "No room in the receive buffer or the reassembly list."
    TcpTableFull "tcp_table_full" "tcp" "The connection table is at its limit."
    FilterInput "filter_input" "filter" "A protocol module's filter dropped it on its way in."
    FilterOutput "filter_output" "filter" "A protocol module's filter dropped it on its way out."
    ModuleFrame "module_frame" "filter" "A protocol module sent a frame shorter than an Ethernet header or longer than the interface takes."
    ApplicationDropped "application_dropped" "filter" "An application of DPDK dropped it, or ended while it had it."
    ApplicationUnseen "application_unseen" "filter" "No application of DPDK was there to see it or had room, and what is not seen is to be dropped."
    RawSocketFull "raw_socket_full" "raw" "The receive queue of a raw or ping socket is full."
    ModuleNoSocket "module_no_socket" "module" "A protocol module gave it to a socket that is closed, or not the module's."
    ModuleSocketFull "module_socket_full" "module" "The receive queue of a protocol module's socket is full."
    MbufExhausted "mbuf_exhausted" "buffer" "No packet buffer was free."
    MbufChain "mbuf_chain" "buffer" "Frame spans several buffers and could not be joined."
    TransmitQueueFull "transmit_queue_full" "interface" "The port's transmit queue was full."
    ControlQueueFull "control_queue_full" "buffer" "More packets for the control plane than it takes a second."
    HandoffQueueFull "handoff_queue_full" "buffer" "The worker that owns the flow is too far behind."
    ClientMemory "client_memory" "buffer" "The client's memory has no place for another connection."
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn labels_are_unique_and_snake_case() {
        let labels: HashSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        for reason in DropReason::ALL {
            assert!(
                reason
                    .label()
                    .bytes()
                    .all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit())
            );
            assert!(reason.text().ends_with('.'));
        }
    }

    #[test]
    fn discriminant_is_the_counter_index() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
