//! What a port can do for the stack.

use bitflags::bitflags;

bitflags! {
    /// Work on received packets. The bits are DPDK's, as far as the stack has a use for them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RxOffloads: u64 {
        /// Verifies the IPv4 header's checksum.
        const IPV4_CHECKSUM = dpdk_sys::SHIM_ETH_RX_OFFLOAD_IPV4_CKSUM;
        /// Verifies the UDP checksum.
        const UDP_CHECKSUM = dpdk_sys::SHIM_ETH_RX_OFFLOAD_UDP_CKSUM;
        /// Verifies the TCP checksum.
        const TCP_CHECKSUM = dpdk_sys::SHIM_ETH_RX_OFFLOAD_TCP_CKSUM;
        /// Merges TCP segments.
        const TCP_LRO = dpdk_sys::SHIM_ETH_RX_OFFLOAD_TCP_LRO;
        /// Receives into chains of buffers.
        const SCATTER = dpdk_sys::SHIM_ETH_RX_OFFLOAD_SCATTER;
        /// Delivers the RSS hash.
        const RSS_HASH = dpdk_sys::SHIM_ETH_RX_OFFLOAD_RSS_HASH;
    }

    /// Work on packets to be sent.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TxOffloads: u64 {
        /// Fills in the IPv4 header's checksum.
        const IPV4_CHECKSUM = dpdk_sys::SHIM_ETH_TX_OFFLOAD_IPV4_CKSUM;
        /// Fills in the UDP checksum.
        const UDP_CHECKSUM = dpdk_sys::SHIM_ETH_TX_OFFLOAD_UDP_CKSUM;
        /// Fills in the TCP checksum.
        const TCP_CHECKSUM = dpdk_sys::SHIM_ETH_TX_OFFLOAD_TCP_CKSUM;
        /// Cuts TCP segments.
        const TCP_SEGMENTATION = dpdk_sys::SHIM_ETH_TX_OFFLOAD_TCP_TSO;
        /// Sends chains of buffers.
        const MULTI_SEGMENT = dpdk_sys::SHIM_ETH_TX_OFFLOAD_MULTI_SEGS;
    }
}
