//! What is asked of a port and what it answers.

use core::fmt;

use crate::offload::{RxOffloads, TxOffloads};

/// How a port is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthDevConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Largest IP packet; `None` leaves 1500.
    pub mtu: Option<u16>,
    /// Wanted; what the driver lacks is left out.
    pub rx_offloads: RxOffloads,
    /// Wanted; what the driver lacks is left out.
    pub tx_offloads: TxOffloads,
    /// Make receive queues something to sleep on.
    pub rx_interrupts: bool,
    /// Spread flows over the receive queues by their hash, if the driver can.
    pub rss: bool,
    /// The speed that the wire is to have; `None`: what both ends agree on.
    pub media: Option<Media>,
}

impl Default for EthDevConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            mtu: None,
            rx_offloads: RxOffloads::empty(),
            tx_offloads: TxOffloads::empty(),
            rx_interrupts: false,
            rss: false,
            media: None,
        }
    }
}

/// Addresses, and ports where there are any.
const RSS_TYPES: u64 = dpdk_sys::SHIM_ETH_RSS_IPV4
    | dpdk_sys::SHIM_ETH_RSS_IPV6
    | dpdk_sys::SHIM_ETH_RSS_NONFRAG_IPV4_TCP
    | dpdk_sys::SHIM_ETH_RSS_NONFRAG_IPV4_UDP
    | dpdk_sys::SHIM_ETH_RSS_NONFRAG_IPV6_TCP
    | dpdk_sys::SHIM_ETH_RSS_NONFRAG_IPV6_UDP;

impl EthDevConfig {
    pub(super) fn to_raw(self, info: &EthDevInfo) -> dpdk_sys::rte_eth_conf {
        let mut raw = dpdk_sys::rte_eth_conf::default();
        raw.rxmode.mtu = self.mtu.unwrap_or(0).into();
        raw.rxmode.offloads = (self.rx_offloads & info.rx_offloads).bits();
        raw.txmode.offloads = (self.tx_offloads & info.tx_offloads).bits();
        raw.intr_conf.set_rxq(self.rx_interrupts.into());
        raw.link_speeds = self.media.map_or(0, Media::to_bits);
        let rss = RSS_TYPES & info.rss_types;
        if self.rss && self.rx_queues > 1 && rss != 0 {
            raw.rxmode.mq_mode = dpdk_sys::SHIM_ETH_MQ_RX_RSS;
            raw.rx_adv_conf.rss_conf.rss_hf = rss;
        }
        raw
    }
}

/// What a driver offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthDevInfo {
    /// Its name, `net_tap`.
    pub driver: String,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// Work it does on received packets.
    pub rx_offloads: RxOffloads,
    /// Work it does on packets to be sent.
    pub tx_offloads: TxOffloads,
    /// Most buffers of a packet to be sent.
    pub tx_buffers_max: u16,
    /// Smallest MTU.
    pub min_mtu: u16,
    /// Largest MTU.
    pub max_mtu: u16,
    /// The kernel interface behind it.
    pub if_index: Option<u32>,
    /// The NUMA node it is on.
    pub numa: Option<u32>,
    /// DPDK's bits of what it can hash.
    pub(crate) rss_types: u64,
    /// Speeds that its wire can have; none: the driver does not say.
    pub media: Vec<Media>,
}

/// A speed that a port's wire can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// Megabits a second.
    pub speed_mbps: u32,
    /// Both directions at once.
    pub full_duplex: bool,
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duplex = if self.full_duplex { "full" } else { "half" };
        write!(f, "{} Mbit/s {duplex} duplex", self.speed_mbps)
    }
}

impl Media {
    /// By the places of DPDK's bits (`RTE_ETH_LINK_SPEED_*`).
    const ALL: [(u32, u32, bool); 15] = [
        (1, 10, false),
        (2, 10, true),
        (3, 100, false),
        (4, 100, true),
        (5, 1_000, true),
        (6, 2_500, true),
        (7, 5_000, true),
        (8, 10_000, true),
        (9, 20_000, true),
        (10, 25_000, true),
        (11, 40_000, true),
        (12, 50_000, true),
        (13, 56_000, true),
        (14, 100_000, true),
        (15, 200_000, true),
    ];

    /// This speed and no other: `RTE_ETH_LINK_SPEED_FIXED` with its bit. A speed that DPDK does not know is left to both
    /// ends.
    fn to_bits(self) -> u32 {
        let same = |&&(_, speed, duplex): &&(u32, u32, bool)| {
            (speed, duplex) == (self.speed_mbps, self.full_duplex)
        };
        Self::ALL.iter().find(same).map_or(0, |(place, ..)| 1 << place | 1)
    }

    pub(super) fn from_bits(bits: u32) -> Vec<Self> {
        let all = Self::ALL.into_iter().filter(|(place, ..)| bits >> place & 1 != 0);
        all.map(|(_, speed_mbps, full_duplex)| Self { speed_mbps, full_duplex }).collect()
    }
}

/// A port's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EthStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets dropped because the receive queue was full.
    pub rx_missed: u64,
    /// Packets received with errors.
    pub rx_errors: u64,
    /// Packets not sent because of errors.
    pub tx_errors: u64,
    /// Times the pool was empty when a buffer was needed for reception.
    pub rx_no_mbuf: u64,
}

impl EthStats {
    pub(super) fn from_raw(raw: &dpdk_sys::rte_eth_stats) -> Self {
        Self {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_mbuf: raw.rx_nombuf,
        }
    }
}

/// The state of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Frames can pass.
    pub up: bool,
    /// Its speed, if the driver knows.
    pub speed_mbps: Option<u32>,
    /// Both directions at once.
    pub full_duplex: bool,
}

impl Link {
    pub(super) fn from_raw(raw: &dpdk_sys::rte_eth_link) -> Self {
        Self {
            up: raw.link_status() != 0,
            // 0 is "none", all bits are "unknown".
            speed_mbps: (raw.link_speed != 0 && raw.link_speed != u32::MAX)
                .then_some(raw.link_speed),
            full_duplex: raw.link_duplex() != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_speed_is_its_bit_and_that_of_fixed_ones() {
        let bits = |speed_mbps, full_duplex| Media { speed_mbps, full_duplex }.to_bits();
        assert_eq!((bits(10, false), bits(100, true)), (0b11, 0b1_0001));
        assert_eq!((bits(1_000, true), bits(1_000, false), bits(123, true)), (0b10_0001, 0, 0));
        for media in Media::from_bits(u32::MAX) {
            assert_eq!(Media::from_bits(media.to_bits()), [media]);
        }
    }

    #[test]
    fn a_port_is_told_its_speed_if_there_is_one_to_tell() {
        let info = EthDevInfo {
            driver: "net_none".into(),
            max_rx_queues: 1,
            max_tx_queues: 1,
            rx_offloads: RxOffloads::empty(),
            tx_offloads: TxOffloads::empty(),
            tx_buffers_max: 1,
            min_mtu: 68,
            max_mtu: 1500,
            if_index: None,
            numa: None,
            rss_types: 0,
            media: Vec::new(),
        };
        let speeds =
            |media| EthDevConfig { media, ..EthDevConfig::default() }.to_raw(&info).link_speeds;
        let media = Media { speed_mbps: 100, full_duplex: false };
        assert_eq!((speeds(None), speeds(Some(media))), (0, 0b1001));
    }
}
