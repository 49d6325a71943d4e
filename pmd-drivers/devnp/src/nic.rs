//! Counters of a device by io-pkt's names (`nic_stats`), whoever keeps them.

use devnp_abi::{Stat, Stats};
use dpdk::EthStats;

/// A module's places, io-pkt's names, and the names under which DPDK's drivers have the same.
const NAMES: [(Stat, &str, &[&str]); 30] = [
    (Stat::TxPackets, "txed_ok", &[]),
    (Stat::RxPackets, "rxed_ok", &[]),
    (Stat::TxBytes, "octets_txed_ok", &[]),
    (Stat::RxBytes, "octets_rxed_ok", &[]),
    (Stat::TxBroadcast, "txed_broadcast", &["tx_broadcast_packets"]),
    (Stat::RxBroadcast, "rxed_broadcast", &["rx_broadcast_packets"]),
    (Stat::TxMulticast, "txed_multicast", &["tx_multicast_packets"]),
    (Stat::RxMulticast, "rxed_multicast", &["rx_multicast_packets"]),
    (Stat::TxNoBuffer, "tx_failed_allocs", &[]),
    (Stat::RxNoBuffer, "rx_failed_allocs", &[]),
    (Stat::RxMissed, "rx_missed", &[]),
    (Stat::RxFcs, "fcs_errors", &["rx_crc_errors"]),
    (Stat::RxAlignment, "align_errors", &["rx_align_errors", "rx_alignment_symbol_errors"]),
    (Stat::RxShort, "short_packets", &["rx_undersize_packets", "rx_undersized_errors"]),
    (Stat::RxOversized, "oversized_packets", &["rx_oversize_packets", "rx_oversize_errors"]),
    (Stat::RxLength, "length_field_outrange", &["rx_length_errors"]),
    (Stat::RxSymbol, "symbol_errors", &["rx_symbol_errors"]),
    (Stat::RxInternal, "internal_rx_errors", &[]),
    (Stat::TxInternal, "internal_tx_errors", &[]),
    (Stat::TxDeferred, "tx_deferred", &["tx_deferred_packets"]),
    (Stat::TxSingleCollision, "single_collisions", &["tx_single_collision_packets"]),
    (Stat::TxMultipleCollisions, "multi_collisions", &["tx_multiple_collision_packets"]),
    (Stat::TxLateCollision, "late_collisions", &["tx_late_collisions"]),
    (Stat::TxExcessiveCollisions, "xcoll_aborted", &["tx_excessive_collision_packets"]),
    (Stat::TxExcessiveDeferral, "excessive_deferrals", &[]),
    (Stat::TxNoCarrier, "no_carrier", &["tx_no_carrier_sense_packets"]),
    (Stat::TxSqe, "sqe_errors", &[]),
    (Stat::RxJabber, "jabber_detected", &["rx_jabber_errors", "rx_jabbers"]),
    (Stat::RxDribble, "dribble_bits", &[]),
    (Stat::TxCollisions, "total_collision_frames", &["tx_total_collisions"]),
];

/// All that there are.
pub fn counter_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(_, name, _)| *name)
}

/// A module's: those that the daemon counts for it, and those that it says it has.
pub(crate) fn of_module(counted: &EthStats, own: Option<&Stats>) -> Vec<(&'static str, u64)> {
    let value = |stat: Stat| {
        let ours = match stat {
            Stat::TxPackets => Some(counted.tx_packets),
            Stat::RxPackets => Some(counted.rx_packets),
            Stat::TxBytes => Some(counted.tx_bytes),
            Stat::RxBytes => Some(counted.rx_bytes),
            _ => None,
        };
        ours.or_else(|| {
            let own = own.filter(|own| own.valid >> (stat as u32) & 1 != 0)?;
            own.values.get(stat as usize).copied()
        })
    };
    NAMES.iter().filter_map(|(stat, name, _)| Some((*name, value(*stat)?))).collect()
}

/// A device of DPDK: the counters that all its drivers have, and those of this one.
pub(crate) fn of_device(basic: &EthStats, more: &[(String, u64)]) -> Vec<(&'static str, u64)> {
    let value = |stat: Stat, names: &[&str]| match stat {
        Stat::TxPackets => Some(basic.tx_packets),
        Stat::RxPackets => Some(basic.rx_packets),
        Stat::TxBytes => Some(basic.tx_bytes),
        Stat::RxBytes => Some(basic.rx_bytes),
        Stat::RxNoBuffer => Some(basic.rx_no_mbuf),
        Stat::RxMissed => Some(basic.rx_missed),
        Stat::RxInternal => Some(basic.rx_errors),
        Stat::TxInternal => Some(basic.tx_errors),
        _ => more.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| *value),
    };
    NAMES.iter().filter_map(|(stat, name, names)| Some((*name, value(*stat, names)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_shows_what_it_says_it_keeps_and_no_more() {
        let counted = EthStats { rx_packets: 7, ..EthStats::default() };
        let mut own = Stats { size: 0, reserved: 0, valid: 0, values: [0; devnp_abi::STATS_MAX] };
        own.valid = 1 << Stat::RxFcs as u32;
        own.values[Stat::RxFcs as usize] = 3;
        own.values[Stat::RxShort as usize] = 9;
        let rows = of_module(&counted, Some(&own));
        assert_eq!(rows.len(), 5);
        assert!(rows.contains(&("rxed_ok", 7)) && rows.contains(&("fcs_errors", 3)));
        assert_eq!(of_module(&counted, None).len(), 4);
    }

    #[test]
    fn a_devices_own_names_are_translated() {
        let basic = EthStats { tx_errors: 2, ..EthStats::default() };
        let more = [("rx_multicast_packets".to_owned(), 5), ("rx_q0_packets".to_owned(), 1)];
        let rows = of_device(&basic, &more);
        assert!(rows.contains(&("internal_tx_errors", 2)) && rows.contains(&("rxed_multicast", 5)));
        assert!(!rows.iter().any(|(name, _)| *name == "fcs_errors"));
    }

    #[test]
    fn every_place_has_a_name() {
        for (at, (stat, ..)) in NAMES.iter().enumerate() {
            assert!(NAMES.iter().skip(at + 1).all(|(other, ..)| other != stat), "{stat:?} twice");
        }
        assert_eq!(Stat::TxCollisions as usize + 1, NAMES.len());
    }
}
