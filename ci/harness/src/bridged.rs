//! A bridge between the two links of the worker, and stations behind both.

use inet::links::{Bridge, Member, PortState, Traffic};
use inet::network::Network;
use std::sync::Arc;
use types::MacAddr;
use wire::{IntoBytes, ethernet};

use crate::path::{BURST, quiet};
use crate::router::FAR;
use crate::world::World;

/// Interface of the bridge.
pub const BRIDGE: u16 = 3;
/// Its address.
pub const BRIDGE_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 2, 2]);
/// Interface of the first link.
pub const NEAR: u16 = 1;

/// A bridge with stations.
#[derive(Debug)]
pub struct Bridged {
    stations: u32,
    next: u32,
}

/// The station of that number behind the second link.
fn station(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x02, 0x10, a, b, c, d])
}

/// A frame of 60 bytes from one station to another.
fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    let header = ethernet::Header::new(to, from, ethernet::EtherType(0x88b5));
    [header.as_bytes(), &[0; 46]].concat()
}

impl Bridged {
    /// A bridge that knows so many stations behind the second link.
    ///
    /// # Errors
    /// What DPDK refused, as text.
    pub fn new(world: &mut World, stations: u32) -> Result<Self, String> {
        world.become_router()?;
        world.route([], |network| {
            bridge_between(network, [NEAR, FAR], |bridge, _| {
                bridge.settings.stations_max = stations.saturating_add(100);
                // Stations are made known by frames that nobody is known for.
                bridge.floods_per_second = u32::MAX;
            });
        });
        for first in (0..stations).step_by(BURST as usize) {
            for number in (first..stations).take(BURST as usize) {
                if !world.inject_far(&frame(station(u32::MAX), station(number))) {
                    return Err("no packet buffer is free".into());
                }
            }
            quiet(world);
            world.each_sent(|_| {});
        }
        Ok(Self { stations, next: 0 })
    }

    /// A burst from one station behind the first link to others behind the second. How many came through.
    ///
    /// # Errors
    /// No packet buffer is free.
    pub fn burst(
        &mut self,
        world: &mut World,
        mut breathe: impl FnMut(&mut World),
    ) -> Result<u32, String> {
        for _ in 0..BURST {
            // In an order that no cache foresees.
            self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let to = station((self.next >> 8) % self.stations.max(1));
            if !world.inject(&frame(to, MacAddr([0x02, 0x20, 0, 0, 0, 1]))) {
                return Err("no packet buffer is free".into());
            }
        }
        breathe(world);
        Ok(u32::try_from(world.sent_far().len()).unwrap_or(0))
    }
}

/// Makes two interfaces the ports of a bridge, beside what is there already.
pub fn bridge_between(
    network: &mut Network,
    ports: [u16; 2],
    change: impl FnOnce(&mut Bridge, &mut Member),
) {
    let mut interface = network.interfaces.get(usize::from(NEAR)).cloned();
    if let Some(bridge) = &mut interface {
        (bridge.index, bridge.name) = (BRIDGE, "bridge0".into());
        bridge.mac = BRIDGE_MAC;
        bridge.addresses.clear();
        bridge.addresses6.clear();
    }
    network.interfaces.extend(interface);
    let mut bridge = Bridge {
        members: ports.into(),
        spans: [].into(),
        settings: bridge::Settings::default(),
        statics: [].into(),
        stp: false,
        floods_per_second: 1000,
        snoop: false,
        traffic: Arc::new(Traffic::new(1)),
    };
    let mut member = Member {
        bridge: BRIDGE,
        learns: true,
        discovers: true,
        stp: false,
        state: PortState::Forwarding,
    };
    change(&mut bridge, &mut member);
    network.links.add_bridge(BRIDGE, bridge, ports.map(|port| (port, member)));
}
