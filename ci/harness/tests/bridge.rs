//! A bridge in one worker: whom it learns, what it tells the control plane, VLANs as its ports.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::sync::Arc;

use harness::bridged::{BRIDGE, BRIDGE_MAC, NEAR, bridge_between};
use harness::router::{FAR, LOCAL_FAR_MAC, PEER_FAR_MAC};
use harness::{LOCAL_MAC, PEER, PEER_MAC, World};
use inet::command::{BridgeCommand, Command, Event, Flush};
use inet::limits::BPDUS_PER_SECOND;
use inet::links::{Bridge, Links, Member, Traffic, Vlan};
use inet::network::Network;
use types::{DropReason, MacAddr};
use wire::bpdu::Bpdu;
use wire::checksum::Checksum;
use wire::ipv4::{self, Protocol};
use wire::vlan::{Kind, TAG_LEN};
use wire::{IntoBytes, ethernet};

/// Interfaces of VLANs: over the first link, and over that VLAN.
const OUTER: u16 = 4;
const INNER: u16 = 5;
const OUTER_ID: u16 = 10;
const INNER_ID: u16 = 20;

fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    let header = ethernet::Header::new(to, from, ethernet::EtherType(0x88b5));
    [header.as_bytes(), &[0; 46]].concat()
}

/// The frame with tags, the outer one first.
fn tagged(frame: &[u8], tags: &[(Kind, u16)]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let tag =
        |(kind, id): &(Kind, u16)| [kind.ethertype().0.to_be_bytes(), id.to_be_bytes()].concat();
    [addresses, &tags.iter().flat_map(tag).collect::<Vec<u8>>(), rest].concat()
}

struct Bridged(World);

impl Bridged {
    fn new() -> Self {
        let mut world = World::new().expect("a world without hugepages and without root");
        world.become_router().unwrap();
        Self(world)
    }

    /// With another bridge, which knows nobody.
    fn configure(&mut self, change: impl FnOnce(&mut Network)) {
        self.0.route([], |_| {});
        self.0.route([], change);
        let _ = (self.0.sent(), self.0.sent_far());
        let _ = self.told();
    }

    /// With one between both links.
    fn between(&mut self, change: impl FnOnce(&mut Bridge, &mut Member)) {
        self.configure(|network| bridge_between(network, [NEAR, FAR], change));
    }

    /// What leaves by both links when this has come in by the first.
    fn near(&mut self, frame: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        assert!(self.0.inject(frame));
        self.0.pass(Duration::from_millis(1));
        (self.0.sent(), self.0.sent_far())
    }

    /// The same for the second link.
    fn far(&mut self, frame: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        assert!(self.0.inject_far(frame));
        self.0.pass(Duration::from_millis(1));
        (self.0.sent(), self.0.sent_far())
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.0.worker.counters().drops.value(reason as usize)
    }

    /// Ports of which the control plane has heard what bridges say there.
    fn told(&mut self) -> Vec<u16> {
        let all = self.0.events.drain(..);
        let told = |event| match event {
            Event::HeardFrame { interface, .. } => Some(interface),
            _ => None,
        };
        all.filter_map(told).collect()
    }
}

fn plain(_: &mut Bridge, _: &mut Member) {}

fn nobody_becomes_a_station_under_an_address_of_the_bridges_own(bridged: &mut Bridged) {
    bridged.between(plain);
    let others = bridged.drops(DropReason::EthernetType);
    for (dropped, ours) in (1..).zip([BRIDGE_MAC, LOCAL_MAC, LOCAL_FAR_MAC]) {
        assert_eq!(bridged.near(&frame(PEER_FAR_MAC, ours)), (vec![], vec![]), "{ours}");
        assert_eq!(bridged.drops(DropReason::BridgeOwn), dropped, "{ours}");
        // What is for us still is: nobody on the first link gets it.
        assert_eq!(bridged.far(&frame(ours, PEER_FAR_MAC)), (vec![], vec![]), "{ours}");
        assert_eq!(bridged.drops(DropReason::EthernetType) - others, dropped, "{ours}");
    }
    let other = frame(PEER_FAR_MAC, PEER_MAC);
    assert_eq!(bridged.near(&other), (vec![], vec![other]));
}

fn each_port_of_the_tree_has_its_own_share_of_what_bridges_tell(bridged: &mut Bridged) {
    let in_tree =
        |bridge: &mut Bridge, member: &mut Member| (bridge.stp, member.stp) = (true, true);
    bridged.between(in_tree);
    let message = Bpdu::TopologyChange.emit(PEER_MAC);
    for _ in 0..100 {
        assert_eq!(bridged.near(message.as_bytes()), (vec![], vec![]));
    }
    let _ = bridged.far(message.as_bytes());
    let heard = vec![NEAR; BPDUS_PER_SECOND as usize];
    assert_eq!(bridged.told(), [heard, vec![FAR]].concat());
    assert_eq!(bridged.drops(DropReason::ControlQueueFull), 100 - u64::from(BPDUS_PER_SECOND));
}

fn a_port_that_is_not_of_the_tree_wakes_nobody(bridged: &mut Bridged) {
    let no_port = |bridge: &mut Bridge, _: &mut Member| bridge.stp = true;
    bridged.between(no_port);
    let message = Bpdu::TopologyChange.emit(PEER_MAC);
    assert_eq!(bridged.near(message.as_bytes()), (vec![], vec![]));
    assert_eq!((bridged.told(), bridged.drops(DropReason::BridgeReserved)), (vec![], 1));
}

/// A VLAN over the first link and one over that; this one and the second link are ports of a bridge.
fn over_vlans(bridged: &mut Bridged, port: u16, traffic: &Arc<Traffic>) {
    bridged.configure(|network| {
        let parents =
            [(OUTER, NEAR, Kind::Service, OUTER_ID), (INNER, OUTER, Kind::Customer, INNER_ID)];
        network.links = Links::new(parents.map(|(index, parent, kind, id)| {
            let traffic = Arc::clone(traffic);
            (index, Vlan { parent, kind, id, priority: 0, traffic })
        }));
        bridge_between(network, [port, FAR], plain);
        assert_eq!(network.interfaces.len(), usize::from(BRIDGE) + 1);
        for index in [OUTER, INNER] {
            let mut vlan = network.interfaces[usize::from(NEAR)].clone();
            (vlan.index, vlan.name) = (index, format!("vlan{index}"));
            vlan.addresses.clear();
            vlan.addresses6.clear();
            network.interfaces.push(vlan);
        }
    });
}

fn a_vlan_that_is_a_port_takes_what_is_for_others_and_counts_it(bridged: &mut Bridged) {
    let traffic = Arc::new(Traffic::new(1));
    over_vlans(bridged, OUTER, &traffic);
    let stranger = frame(PEER_FAR_MAC, PEER_MAC);
    let with_tag = tagged(&stranger, &[(Kind::Service, OUTER_ID)]);
    assert_eq!(bridged.near(&with_tag), (vec![], vec![stranger.clone()]));
    assert_eq!(traffic.sum(|share| &share.rx_packets), 1);
    assert_eq!(traffic.sum(|share| &share.rx_bytes), stranger.len() as u64);
    let back = frame(PEER_MAC, PEER_FAR_MAC);
    let with_tag = tagged(&back, &[(Kind::Service, OUTER_ID)]);
    assert_eq!(bridged.far(&back), (vec![with_tag.clone()], vec![]));
    assert_eq!(traffic.sum(|share| &share.tx_packets), 1);
    assert_eq!(with_tag.len(), back.len() + TAG_LEN);
}

fn so_does_one_over_another_vlan(bridged: &mut Bridged) {
    let traffic = Arc::new(Traffic::new(1));
    over_vlans(bridged, INNER, &traffic);
    let stranger = frame(PEER_FAR_MAC, PEER_MAC);
    let both = [(Kind::Service, OUTER_ID), (Kind::Customer, INNER_ID)];
    assert_eq!(bridged.near(&tagged(&stranger, &both)), (vec![], vec![stranger.clone()]));
    let nobodys = bridged.drops(DropReason::EthernetNotForUs);
    // In the outer VLAN alone it is nobody's.
    assert_eq!(bridged.near(&tagged(&stranger, &both[..1])), (vec![], vec![]));
    assert_eq!(bridged.drops(DropReason::EthernetNotForUs) - nobodys, 1);
    // Without a tag it is the link's, which is no port.
    assert_eq!(bridged.near(&stranger), (vec![], vec![]));
    assert_eq!(bridged.drops(DropReason::EthernetNotForUs) - nobodys, 2);
}

/// A packet to a group beyond the link, or about one.
fn to_group(group: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let header = ipv4::Header::new(PEER, group, protocol, payload.len()).unwrap().with_ttl(1);
    let mac = ipv4::multicast_mac(group);
    let frame = ethernet::Header::new(mac, PEER_MAC, ethernet::EtherType::IPV4);
    [frame.as_bytes(), header.with_checksum().as_bytes(), payload].concat()
}

/// Who listens is asked by the first link, and somebody does so behind both.
fn a_snooped_stream_is_not_lost_when_a_tree_moves_its_listener(bridged: &mut Bridged) {
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
    bridged.between(|bridge, _| bridge.snoop = true);
    let about = |kind: u8, group: Ipv4Addr| {
        let message = [&[kind, 10, 0, 0][..], &group.octets()].concat();
        let sum = Checksum::new().sum(&message).finish().to_be_bytes();
        to_group(group, Protocol::IGMP, &[&[kind, 10], &sum[..], &group.octets()].concat())
    };
    let mut query = about(0x11, Ipv4Addr::UNSPECIFIED);
    query = to_group(Ipv4Addr::new(224, 0, 0, 1), Protocol::IGMP, &query[34..]);
    let (report, stream) = (about(0x16, GROUP), to_group(GROUP, Protocol::UDP, &[0; 8]));
    let _ = bridged.near(&query);
    bridged.0.pass(Duration::from_secs(2));
    let _ = bridged.near(&report);
    assert_eq!(bridged.near(&stream), (vec![], vec![]), "nobody else listens");
    let _ = bridged.far(&report);
    assert_eq!(bridged.near(&stream), (vec![], vec![stream.clone()]));
    // The first link's listener is behind the second now, or the other way round: nobody has said so yet.
    let what = Flush::Ports([FAR].into());
    bridged.0.send(Command::Bridge(BridgeCommand::Flush { bridge: BRIDGE, what }));
    assert_eq!(bridged.near(&stream), (vec![], vec![stream]));
}

#[test]
fn a_bridge() {
    let mut bridged = Bridged::new();
    nobody_becomes_a_station_under_an_address_of_the_bridges_own(&mut bridged);
    each_port_of_the_tree_has_its_own_share_of_what_bridges_tell(&mut bridged);
    a_port_that_is_not_of_the_tree_wakes_nobody(&mut bridged);
    a_vlan_that_is_a_port_takes_what_is_for_others_and_counts_it(&mut bridged);
    so_does_one_over_another_vlan(&mut bridged);
    a_snooped_stream_is_not_lost_when_a_tree_moves_its_listener(&mut bridged);
    assert_eq!(bridged.0.wind_up(), 0, "buffers are still in use");
}
