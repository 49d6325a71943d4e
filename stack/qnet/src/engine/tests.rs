//! What takes a connection years to get to.

use core::time::Duration;

use types::{Instant, MacAddr};

use super::{Engine, Event};
use crate::config::{Address, Config, Link, LinkId, Policy};
use crate::frame::Layer;
use crate::names::Fqnn;

const LINK: LinkId = LinkId(0);

fn address(node: usize) -> Address {
    Address::Mac(MacAddr([2, 0, 0, 0, 0, u8::try_from(node).unwrap()]))
}

fn engine(node: usize) -> Engine {
    let name = Fqnn::new(["alpha", "beta"][node], "").unwrap();
    let mut engine = Engine::new(Config::new(name), (node as u64, 1));
    let link = Link { address: address(node), frame_len_max: 1500 };
    assert!(engine.link_up(LINK, link, Instant::ZERO));
    engine
}

/// Every frame that waits goes to the other node, latest first; one in eleven does not arrive.
fn exchange(nodes: &mut [Engine; 2], count: &mut u64, now: Instant) {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut frames = Vec::new();
        let mut frame = Vec::new();
        while nodes[from].poll_transmit(now, &mut frame).is_some() {
            *count = count.saturating_add(1);
            if !count.is_multiple_of(11) {
                frames.push(frame.clone());
            }
        }
        for frame in frames.iter().rev() {
            let _ = nodes[to].input(LINK, address(from), frame, now);
        }
        nodes[from].timeout(now);
    }
}

#[test]
fn sequence_numbers_go_on_from_0_behind_the_last_one() {
    let mut nodes = [engine(0), engine(1)];
    let mut now = Instant::ZERO;
    let mut count = 0;
    let peer = nodes[0].reach(&Fqnn::new("beta", "").unwrap(), now).unwrap();
    let mut got = Vec::new();
    let messages: Vec<_> = (0..6).map(|at| vec![at; 200_000]).collect();
    nodes[0].send(peer, Policy::LoadBalance, Layer::KernelInterface, vec![7], now).unwrap();
    while now < Instant::from_millis(20_000) && got.len() < 7 {
        exchange(&mut nodes, &mut count, now);
        now += Duration::from_millis(1);
        while let Some(event) = nodes[1].poll_event() {
            let Event::Message { bytes, .. } = event else { continue };
            got.push(bytes);
            if got.len() > 1 {
                continue;
            }
            // The first has been acknowledged soon; then a hundred frames are left until the wrap.
            for _ in 0..300 {
                exchange(&mut nodes, &mut count, now);
                now += Duration::from_millis(1);
            }
            assert!(nodes[0].senders.values().all(crate::sender::Sender::is_idle));
            let [alpha, beta] = &mut nodes;
            alpha.senders.values_mut().for_each(|sender| sender.begin_at(u32::MAX - 100));
            beta.receivers.values_mut().for_each(|receiver| receiver.begin_at(u32::MAX - 100));
            for message in &messages {
                let (policy, layer) = (Policy::LoadBalance, Layer::KernelInterface);
                alpha.send(peer, policy, layer, message.clone(), now).unwrap();
            }
        }
    }
    assert_eq!(got[1..], messages);
}
