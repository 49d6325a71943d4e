//! Aggregated links as an operator makes them.

use super::super::carrier::Carrier;
use super::super::tests::with_links;
use super::*;
use proto::BridgeVerb;
use std::net::Ipv4Addr;

fn add(port: &str) -> LaggVerb {
    LaggVerb::Add(port.into())
}

/// `lagg0` over `tap1` and `tap2`, which have addresses of their own.
fn over_two() -> NetworkState {
    let mut state = with_links(3);
    for (index, octet) in [(1, 1), (2, 2), (3, 3)] {
        state.interfaces[index].config.mac = MacAddr([2, 0, 0, 0, 0, octet]);
    }
    state.create("lagg0", 1).unwrap();
    for port in ["tap1", "tap2"] {
        let _ = state.change_lagg("lagg0", &add(port)).unwrap();
    }
    state
}

#[test]
fn it_has_the_address_of_its_first_port_and_is_up() {
    let mut state = over_two();
    let lagg = state.index("lagg0").unwrap();
    assert_eq!(state.mac(lagg), MacAddr([2, 0, 0, 0, 0, 1]));
    let rows = state.interface_rows();
    let row = rows.iter().find(|row| row.name == "lagg0").unwrap();
    assert!(row.up && !row.running && row.driver == "lagg");
    let ports = &row.lagg.as_ref().unwrap().ports;
    assert_eq!((&*ports[0].interface, &*ports[0].flags), ("tap1", &["master".to_owned()][..]));
    let _ = state.change_lagg("lagg0", &LaggVerb::Delete("tap1".into())).unwrap();
    assert_eq!(state.mac(lagg), MacAddr([2, 0, 0, 0, 0, 2]), "the next one's");
    state.clear_interface(2);
    assert!(
        state
            .interface_rows()
            .iter()
            .find(|r| r.name == "lagg0")
            .unwrap()
            .lagg
            .as_ref()
            .unwrap()
            .ports
            .is_empty()
    );
}

#[test]
fn a_port_is_nothing_else_and_nothing_else_is_a_port() {
    let mut state = over_two();
    assert_eq!(state.change_lagg("lagg0", &add("tap1")), Err(Errno::EXIST));
    assert_eq!(state.change_lagg("lagg0", &add("lo0")), Err(Errno::INVAL));
    assert_eq!(state.change_lagg("lagg0", &add("lagg0")), Err(Errno::INVAL));
    assert_eq!(state.change_lagg("tap1", &add("tap3")), Err(Errno::OPNOTSUPP));
    state.create("lagg1", 1).unwrap();
    assert_eq!(state.change_lagg("lagg1", &add("tap1")), Err(Errno::BUSY));
    assert_eq!(state.change_lagg("lagg1", &add("lagg0")), Err(Errno::INVAL));
    assert_eq!(state.change_lagg("lagg1", &LaggVerb::Delete("tap1".into())), Err(Errno::NOENT));
    let net = Ipv4Addr::new(198, 18, 77, 2);
    assert_eq!(state.add_address("tap1", net, 24), Err(Errno::BUSY));
    state.create("bridge0", 1).unwrap();
    let verb = BridgeVerb::Add("tap1".into());
    assert_eq!(state.change_bridge("bridge0", &verb).map(|_| ()), Err(Errno::BUSY));
    state.create("vlan0", 1).unwrap();
    let vlan =
        |parent: &str| proto::Vlan { parent: parent.into(), id: 5, priority: 0, service: false };
    assert_eq!(state.set_vlan("vlan0", Some(&vlan("tap1"))), Err(Errno::BUSY));
    let _ = state.add_address("tap3", net, 24).unwrap();
    assert_eq!(state.change_lagg("lagg0", &add("tap3")), Err(Errno::ADDRINUSE));
    state.delete_address("tap3", net).unwrap();
    state.set_link_local("tap3", true).unwrap();
    assert_eq!(state.change_lagg("lagg0", &add("tap3")), Err(Errno::ADDRINUSE));
    assert_eq!(state.set_link_local("tap1", true), Err(Errno::BUSY));
    let dhcp = |state: &mut NetworkState, on| state.set_dhcp("tap1", on, (Instant::ZERO, 1)).err();
    assert_eq!(dhcp(&mut state, true), Some(Errno::BUSY));
    assert_eq!(dhcp(&mut state, false), None, "that it does not ask is true");
    state.set_link_local("tap3", false).unwrap();
    assert!(state.change_lagg("lagg0", &add("tap3")).is_ok());
    // Over the whole link both may be.
    assert_eq!(state.set_vlan("vlan0", Some(&vlan("lagg0"))), Ok(()));
    let verb = BridgeVerb::Add("vlan0".into());
    assert_eq!(state.change_bridge("bridge0", &verb).map(|_| ()), Ok(()));
}

#[test]
fn no_more_than_there_may_be() {
    let most = u16::try_from(PORTS_MAX).unwrap();
    let mut state = with_links(most + 1);
    state.create("lagg0", 1).unwrap();
    for port in 1..=most {
        let _ = state.change_lagg("lagg0", &add(&format!("tap{port}"))).unwrap();
    }
    assert_eq!(state.change_lagg("lagg0", &add(&format!("tap{}", most + 1))), Err(Errno::NOSPC));
}

#[test]
fn a_port_takes_no_shorter_packets_than_the_whole() {
    let mut state = over_two();
    let mtu = |state: &NetworkState| {
        state.interface_rows().iter().find(|row| row.name == "lagg0").unwrap().mtu
    };
    assert_eq!(mtu(&state), 1500);
    state.set_mtu("tap2", 1400).unwrap();
    assert_eq!(mtu(&state), 1400);
    assert_eq!(state.set_mtu("lagg0", 1500), Err(Errno::INVAL));
    state.set_mtu("lagg0", 1300).unwrap();
    let _ = state.change_lagg("lagg0", &LaggVerb::Delete("tap2".into())).unwrap();
    let _ = state.set_mac("tap1", MacAddr([2, 0, 0, 0, 0, 9]));
    state.fit_laggs_of(1);
    assert_eq!(mtu(&state), 1300, "the operator's word");
    let _ = state.change_lagg("lagg0", &LaggVerb::Delete("tap1".into())).unwrap();
    state.set_mtu("tap3", 1450).unwrap();
    let _ = state.change_lagg("lagg0", &add("tap3")).unwrap();
    assert_eq!(mtu(&state), 1450, "the first port's");
}

#[test]
fn workers_are_told_which_ports_are_used() {
    let mut state = over_two();
    let lagg = state.index("lagg0").unwrap();
    let links = state.links();
    let joined = Joined { lagg, collects: false, lacp: true };
    assert_eq!((links.joined(1), links.joined(3)), (Some(joined), None));
    assert!(links.lagg(lagg).unwrap().distributing.is_empty());
    let verb = LaggVerb::Protocol(LaggProtocol::LoadBalance);
    let _ = state.change_lagg("lagg0", &verb).unwrap();
    let used = |state: &mut NetworkState| {
        let changed = state.attend_laggs(Instant::from_millis(1)).changed;
        (changed, state.links().lagg(lagg).unwrap().distributing.to_vec())
    };
    assert_eq!(used(&mut state), (true, vec![1, 2]));
    assert_eq!(state.links().joined(2), Some(Joined { lacp: false, collects: true, ..joined }));
    assert_eq!(used(&mut state), (false, vec![1, 2]));
    state.set_up("tap1", false).unwrap();
    assert_eq!(used(&mut state), (true, vec![2]));
    assert!(state.remove_cloned(lagg));
    assert_eq!(state.links().joined(1), None);
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// `lagg0` that sends as soon as a port of it has a carrier, which none has.
fn without_carriers(protocol: LaggProtocol) -> (NetworkState, u16) {
    let mut state = over_two();
    for port in [1, 2] {
        state.interfaces[port].seen.up = false;
    }
    let _ = state.change_lagg("lagg0", &LaggVerb::Protocol(protocol)).unwrap();
    assert!(state.attend_laggs(at(1)).moved.is_empty());
    let index = state.index("lagg0").unwrap();
    (state, index)
}

/// Lets time pass on the links; what was sent there.
fn links_run(state: &mut NetworkState, until: u64) -> Vec<(u16, autoconf::Message)> {
    let mut sent = Vec::new();
    while let Some(due) = state.next_timeout().filter(|due| *due <= at(until)) {
        let work = state.attend_links(due.max(Instant::from_nanos(1)), &mut || 5);
        sent.extend(work.messages);
    }
    sent
}

#[test]
fn addresses_of_ipv6_are_looked_for_when_it_sends_and_not_before() {
    let (mut state, lagg) = without_carriers(LaggProtocol::Failover);
    state.create("vlan0", 1).unwrap();
    let vlan = proto::Vlan { parent: "lagg0".into(), id: 5, priority: 0, service: false };
    state.set_vlan("vlan0", Some(&vlan)).unwrap();
    let over = state.index("vlan0").unwrap();
    let own: std::net::Ipv6Addr = "2001:db8::2".parse().unwrap();
    let of_vlan: std::net::Ipv6Addr = "2001:db9::2".parse().unwrap();
    let _ = state.add_address("lagg0", own, 64).unwrap();
    let _ = state.add_address("vlan0", of_vlan, 64).unwrap();
    assert!(links_run(&mut state, 10_000).is_empty(), "nobody would hear it");
    assert!(!state.has_address6(own, 0) && !state.has_address6(of_vlan, 0));
    state.interfaces[1].seen.up = true;
    assert_eq!(state.attend_laggs(at(10_000)).moved, [lagg]);
    assert!(!state.has_address6(own, 0));
    let probed: Vec<_> = links_run(&mut state, 20_000)
        .into_iter()
        .filter_map(|(index, message)| match message {
            autoconf::Message::Probe { target, .. } => Some((index, target)),
            _ => None,
        })
        .collect();
    assert!(probed.contains(&(lagg, own)) && probed.contains(&(over, of_vlan)), "{probed:?}");
    assert!(state.has_address6(own, 0) && state.has_address6(of_vlan, 0));
    // It may be another link when it comes back.
    for (now, up) in [(20_000, false), (21_000, true)] {
        state.interfaces[1].seen.up = up;
        let _ = state.attend_laggs(at(now));
    }
    assert!(!state.has_address6(own, 0) && !links_run(&mut state, 30_000).is_empty());
    assert!(state.has_address6(own, 0));
}

#[test]
fn who_switches_its_frames_hears_of_it_when_they_go_another_way() {
    let (mut state, lagg) = without_carriers(LaggProtocol::Failover);
    state.create("vlan0", 1).unwrap();
    let vlan = proto::Vlan { parent: "lagg0".into(), id: 5, priority: 0, service: false };
    state.set_vlan("vlan0", Some(&vlan)).unwrap();
    let over = state.index("vlan0").unwrap();
    let own = Ipv4Addr::new(198, 18, 5, 2);
    let _ = state.add_address("vlan0", own, 24).unwrap();
    assert_eq!(state.carried(lagg), [lagg, over]);
    assert_eq!(
        (state.usable_addresses(lagg), state.usable_addresses(over)),
        (vec![], vec![std::net::IpAddr::from(own)])
    );
    let moved = |state: &mut NetworkState| {
        let work = state.attend_laggs(at(2));
        assert!(work.changed || work.moved.is_empty());
        work.moved
    };
    for port in [1, 2] {
        state.interfaces[port].seen.up = true;
    }
    assert_eq!(moved(&mut state), [lagg]);
    assert!(moved(&mut state).is_empty());
    state.interfaces[2].seen.up = false;
    assert!(moved(&mut state).is_empty(), "the other one is not sent by");
    state.interfaces[2].seen.up = true;
    state.set_up("tap1", false).unwrap();
    assert_eq!(moved(&mut state), [lagg], "by tap2 from now on");
    let _ = state.change_lagg("lagg0", &LaggVerb::Delete("tap1".into())).unwrap();
    assert_eq!(moved(&mut state), [lagg], "another MAC address");
    let _ = state.change_lagg("lagg0", &LaggVerb::Delete("tap2".into())).unwrap();
    let work = state.attend_laggs(at(3));
    assert!(work.changed && work.moved.is_empty(), "nothing is sent any more");
}

#[test]
fn a_bridge_over_one_runs_as_it_does_and_its_port_costs_what_all_links_carry() {
    let (mut state, _) = without_carriers(LaggProtocol::LoadBalance);
    state.create("bridge0", 1).unwrap();
    let _ = state.change_bridge("bridge0", &BridgeVerb::Add("lagg0".into())).unwrap();
    let look = |state: &mut NetworkState| {
        let _ = state.attend_laggs(at(5));
        let rows = state.interface_rows();
        let running = rows.iter().find(|row| row.name == "bridge0").unwrap().running;
        (running, state.bridge_rows()[0].members[0].cost)
    };
    assert_eq!(look(&mut state), (false, 20_000));
    for port in [1, 2] {
        state.interfaces[port].seen = Carrier { up: true, speed_mbps: 10_000 };
    }
    assert_eq!(look(&mut state), (true, 1000));
}

#[test]
fn a_server_is_asked_and_the_links_own_address_looked_for_when_it_sends() {
    let (mut state, lagg) = without_carriers(LaggProtocol::Failover);
    state.set_link_local("lagg0", true).unwrap();
    assert_eq!(state.next_link_local(), None);
    assert!(state.attend_link_local(at(1000), &mut || 1).messages.is_empty());
    let _ = state.set_dhcp("lagg0", true, (at(1000), 7)).unwrap();
    assert_eq!(state.attend_dhcp(at(1000), &mut || 1000).messages.len(), 1, "nobody hears it");
    assert!(state.attend_dhcp(at(2000), &mut || 1000).messages.is_empty());
    state.interfaces[1].seen.up = true;
    let _ = state.attend_laggs(at(2000));
    assert_eq!(state.attend_dhcp(at(2000), &mut || 1000).messages.len(), 1);
    let _ = state.set_dhcp("lagg0", false, (at(2000), 7)).unwrap();
    let _ = state.attend_link_local(at(2000), &mut || 1);
    assert!(state.next_link_local().is_some());
    assert_eq!(state.index("lagg0"), Ok(lagg));
}
