//! What a frame costs in allocations.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

use qnet::{Address, Config, Engine, Event, Fqnn, Layer, Link, LinkId, Policy};
use types::{Instant, MacAddr};

#[global_allocator]
static ALLOCATIONS: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: Instant = Instant::ZERO;

fn address(node: u8) -> Address {
    Address::Mac(MacAddr([2, 0, 0, 0, 0, node]))
}

/// Frames go to and fro until there are none; returns the message that came and how many frames went.
fn exchange(nodes: &mut [Engine; 2], frame: &mut Vec<u8>) -> (Option<Vec<u8>>, usize) {
    let mut count = 0;
    loop {
        let before = count;
        for (from, to) in [(0, 1), (1, 0)] {
            nodes[from].timeout(NOW);
            while nodes[from].poll_transmit(NOW, frame).is_some() {
                nodes[to]
                    .input(LinkId(0), address(u8::try_from(from).unwrap()), frame, NOW)
                    .unwrap();
                count += 1;
            }
        }
        if count == before {
            break;
        }
    }
    let message = core::iter::from_fn(|| nodes[1].poll_event()).find_map(|event| match event {
        Event::Message { bytes, .. } => Some(bytes),
        _ => None,
    });
    (message, count)
}

/// Those of its message: to begin with it, and to grow.
#[test]
fn a_frame_in_order_costs_none() {
    let mut nodes = ["alpha", "beta"].map(|name| {
        let mut engine = Engine::new(Config::new(Fqnn::new(name, "").unwrap()), (1, 2));
        let own = address(u8::from(name == "beta"));
        assert!(engine.link_up(LinkId(0), Link { address: own, frame_len_max: 1500 }, NOW));
        engine
    });
    let beta = Fqnn::new("beta", "").unwrap();
    let peer = nodes[0].add_path(&beta, LinkId(0), address(1), NOW).unwrap();
    let mut frame = Vec::with_capacity(2000);
    for round in 0..4 {
        let message = vec![round; 250_000];
        let region = Region::new(ALLOCATIONS);
        let (policy, layer) = (Policy::LoadBalance, Layer::KernelInterface);
        nodes[0].send(peer, policy, layer, message, NOW).unwrap();
        let (got, frames) = exchange(&mut nodes, &mut frame);
        let stats = region.change();
        assert_eq!(got.map(|bytes| bytes.len()), Some(250_000));
        let made = stats.allocations + stats.reallocations;
        assert!(frames > 170 && (round == 0 || made <= 16), "{frames} frames: {stats:?}");
        assert!(round == 0 || stats.bytes_allocated < 2 * 250_000, "{stats:?}");
    }
}
