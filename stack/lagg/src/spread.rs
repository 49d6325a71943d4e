//! Which port a flow takes.

/// The place of a flow's port among those in use: the one that has the highest number for the flow (rendezvous), so
/// that a port that goes moves only its own flows. `None`: there is none.
#[inline]
#[must_use]
pub fn spread(flow: u32, ports: &[u16]) -> Option<u16> {
    let weight = |port: &&u16| {
        let mixed = (flow ^ u32::from(**port).wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b1);
        (mixed ^ mixed >> 15).wrapping_mul(0xc2b2_ae35)
    };
    match ports {
        [only] => Some(*only),
        several => several.iter().max_by_key(weight).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_spread_evenly_and_a_port_that_goes_moves_its_own_only() {
        let all = [3, 4, 9, 12];
        let mut counts = [0; 4];
        for flow in 0..10_000_u32 {
            let flow = flow.wrapping_mul(0x0001_0003);
            let port = spread(flow, &all).unwrap();
            counts[all.iter().position(|p| *p == port).unwrap()] += 1;
            let left = spread(flow, &[3, 4, 12]).unwrap();
            assert!(port == 9 || left == port, "{flow}: from {port} to {left}");
        }
        assert!(counts.iter().all(|count| (2_000..3_000).contains(count)), "{counts:?}");
        assert_eq!((spread(7, &[5]), spread(7, &[])), (Some(5), None));
    }
}
