//! Aggregated links as an operator makes them.

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
