//! The grammar, good and bad, and the picture of an interface.

use proto::table::AddressRow;

use super::*;

fn parse_line(line: &str) -> Result<Vec<Step>, String> {
    parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
}

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn every_spelling_of_an_address() {
    for line in [
        "10.0.0.1/24",
        "inet 10.0.0.1/24",
        "10.0.0.1 netmask 255.255.255.0",
        "inet 10.0.0.1 netmask 0xffffff00",
        "netmask 0xffffff00 10.0.0.1",
        "10.0.0.1 prefixlen 24",
        "10.0.0.1/24 broadcast 10.0.0.255",
    ] {
        assert_eq!(parse_line(line), Ok(vec![Step::Set(A, 24)]), "{line}");
    }
    assert_eq!(parse_line("10.0.0.1/24 alias"), Ok(vec![Step::Alias(A, 24)]));
    assert_eq!(parse_line("alias inet 10.0.0.1/24"), Ok(vec![Step::Alias(A, 24)]));
    for line in ["10.0.0.1 -alias", "10.0.0.1/24 delete", "inet 10.0.0.1 delete", "-alias 10.0.0.1"]
    {
        assert_eq!(parse_line(line), Ok(vec![Step::Remove(A)]), "{line}");
    }
}

#[test]
fn changes_are_made_in_order_and_the_address_first() {
    let expected = vec![Step::Set(A, 8), Step::Mtu(9000), Step::Up(true)];
    assert_eq!(parse_line("mtu 9000 up 10.0.0.1/8"), Ok(expected));
    assert_eq!(parse_line("down"), Ok(vec![Step::Up(false)]));
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    for word in ["lladdr", "ether", "link"] {
        assert_eq!(parse_line(&format!("{word} 02:00:00:00:00:09")), Ok(vec![Step::Mac(mac)]));
    }
    let receive = [
        Step::Receive(ReceiveMode::Promiscuous, true),
        Step::Receive(ReceiveMode::AllMulticast, false),
    ];
    assert_eq!(parse_line("promisc -allmulti"), Ok(receive.to_vec()));
    assert_eq!(parse_line(""), Ok(vec![]));
}

#[test]
fn mistakes_say_what_to_write_instead() {
    for (line, part) in [
        ("10.0.0.1", "write 10.0.0.1/24"),
        ("10.0.0.1/0", "how long"),
        ("10.0.0.1/33", "from 0 to 32"),
        ("10.0.0/24", "not an address"),
        ("10.0.0.1/24 10.0.0.2/24", "second address"),
        ("10.0.0.1/24 netmask 255.0.0.0", "two different masks"),
        ("10.0.0.1/24 broadcast 10.0.0.0", "is 10.0.0.255"),
        ("10.0.0.1/24 netmsk 255.0.0.0", "did you mean netmask?"),
        ("mtu", "needs a value"),
        ("mtu 70000", "65535"),
        ("mtu -1", "65535"),
        ("lladdr 02:00", "not a MAC address"),
        ("up drvspec 1", "stands alone"),
        ("alias", "address is missing"),
        ("inet6 10.0.0.1/24", "write it as 2001:db8::2/64"),
        ("inet fe80::1", "write it as 198.18.77.2/24"),
        ("inet6 fe80::1/129", "from 0 to 128"),
        ("frobnicate", "--help"),
    ] {
        let error = parse_line(line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

pub(crate) fn tap0() -> InterfaceRow {
    InterfaceRow {
        name: "tap0".into(),
        index: 1,
        driver: "net_tap".into(),
        kernel_interface: Some("iop0".into()),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        table: 0,
        up: true,
        running: true,
        speed_mbps: 10_000,
        addresses: vec![
            AddressRow {
                address: Ipv4Addr::new(198, 18, 77, 2).into(),
                prefix_len: 24,
                flags: vec![],
            },
            AddressRow { address: A, prefix_len: 32, flags: vec![] },
            AddressRow { address: "fe80::2".parse().unwrap(), prefix_len: 64, flags: vec![] },
        ],
        rx_packets: 12,
        rx_bytes: 3456,
        rx_errors: 0,
        tx_packets: 7,
        tx_bytes: 890,
        tx_errors: 1,
        promiscuous: false,
        all_multicast: false,
        vlan: None,
        lagg: None,
    }
}

#[test]
fn an_interface_looks_like_bsds() {
    let expected = "\
tap0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500
\taddress: 02:00:00:00:00:01
\tmedia: Ethernet 10000 Mbit/s
\tstatus: active
\tdriver: net_tap, kernel peer: iop0
\tinet 198.18.77.2 netmask 0xffffff00 broadcast 198.18.77.255
\tinet 10.0.0.1 netmask 0xffffffff
\tinet6 fe80::2%tap0 prefixlen 64
";
    assert_eq!(render(&[tap0()]), expected);
    let all = InterfaceRow { promiscuous: true, all_multicast: true, ..tap0() };
    assert!(render(&[all]).starts_with("tap0: flags=8b43<UP,BROADCAST,RUNNING,PROMISC,ALLMULTI,"));
    let down = InterfaceRow { up: false, running: false, kernel_interface: None, ..tap0() };
    assert!(
        render(&[down]).starts_with("tap0: flags=8802<BROADCAST,SIMPLEX,MULTICAST> mtu 1500\n")
    );
}

#[test]
fn an_address_is_set_in_one_piece_and_an_alias_kept_if_it_is_there() {
    let row = tap0();
    let first = row.addresses[0].address;
    let add =
        |address, prefix_len| Request::AddAddress { interface: "tap0".into(), address, prefix_len };
    let delete = |address| Request::DeleteAddress { interface: "tap0".into(), address };
    let new = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    let set = |address, prefix_len| {
        let IpAddr::V4(address) = address else { panic!("{address}") };
        Request::SetAddress { interface: "tap0".into(), address, prefix_len }
    };
    assert_eq!(plan(&row, &Step::Set(new, 8)), Ok(vec![set(new, 8)]));
    assert_eq!(plan(&row, &Step::Alias(new, 8)), Ok(vec![add(new, 8)]));
    assert_eq!(plan(&row, &Step::Set(first, 24)), Ok(vec![set(first, 24)]));
    assert_eq!(plan(&row, &Step::Alias(first, 24)), Ok(vec![]));
    assert_eq!(plan(&row, &Step::Alias(first, 16)), Ok(vec![delete(first), add(first, 16)]));
    let other = InterfaceRow { table: 2, ..tap0() };
    assert!(render(&[other]).contains("mtu 1500\n\tfib: 2\n\taddress:"));
    let bare = InterfaceRow { addresses: vec![], ..tap0() };
    assert_eq!(plan(&bare, &Step::Set(new, 8)), Ok(vec![set(new, 8)]));
}

fn over(row: &InterfaceRow, line: &str) -> Result<Vec<Request>, Failure> {
    plan(row, &parse_line(line).unwrap()[0])
}

#[test]
fn a_vlan_has_a_number_and_an_interface_whatever_they_are_called() {
    let vlan = proto::Vlan { parent: "tap0".into(), id: 5, priority: 0, service: false };
    let row = InterfaceRow { name: "vlan0".into(), ..tap0() };
    let request = |vlan| vec![Request::SetVlan { interface: "vlan0".into(), vlan }];
    for line in ["vlan 5 vlanif tap0", "vlandev tap0 vlan 5", "vlan 5 vlanif tap0 vlanproto 802.1q"]
    {
        assert_eq!(over(&row, line), Ok(request(Some(vlan.clone()))), "{line}");
    }
    let urgent = proto::Vlan { priority: 3, service: true, ..vlan.clone() };
    let line = "vlan 5 vlanif tap0 vlanprio 3 vlanproto 802.1ad";
    assert_eq!(over(&row, line), Ok(request(Some(urgent))));
    assert_eq!(over(&row, "-vlanif"), Ok(request(None)));
    assert!(over(&row, "vlan 5").is_err() && over(&row, "vlanif tap0").is_err());
    // What is not said stays.
    let set = InterfaceRow { vlan: Some(vlan.clone()), ..row };
    let urgent = proto::Vlan { priority: 7, ..vlan };
    assert_eq!(over(&set, "vlanpcp 7"), Ok(request(Some(urgent))));
    let text = render(&[set]);
    let line = "\tvlan: 5 vlanproto: 802.1q vlanpcp: 0 parent interface: tap0\n";
    assert!(text.contains(line), "{text}");
    for (line, part) in [
        ("vlan 0", "from 1 to 4094"),
        ("vlan 4095", "from 1 to 4094"),
        ("vlanpcp 8", "from 0 to 7"),
        ("vlanproto x", "802.1q or 802.1ad"),
        ("up create", "create comes first"),
        ("vlanid 5", "did you mean vlanif?"),
    ] {
        let error = parse_line(line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn an_aggregated_link_has_freebsds_words_and_lines() {
    let row = InterfaceRow { name: "lagg0".into(), ..tap0() };
    let steps = parse_line("laggproto lacp laggport tap0 -laggport tap1 198.18.5.2/24").unwrap();
    let request = |verb| vec![Request::Lagg { lagg: "lagg0".into(), verb }];
    for (step, verb) in steps.iter().zip([
        proto::LaggVerb::Protocol(proto::LaggProtocol::Lacp),
        proto::LaggVerb::Add("tap0".into()),
        proto::LaggVerb::Delete("tap1".into()),
    ]) {
        assert_eq!(plan(&row, step), Ok(request(verb)));
    }
    assert!(matches!(steps[3], Step::Set(..)), "the address comes last: {steps:?}");
    assert!(parse_line("laggproto roundrobin").expect_err("none").contains("loadbalance"));
    assert!(parse_line("lagport tap0").expect_err("none").contains("did you mean laggport?"));
    let end = proto::LaggEndRow {
        system_priority: 0x8000,
        system: MacAddr([2, 0, 0, 0, 0, 1]),
        key: 100,
        port_priority: 0x8000,
        port: 1,
        state: vec!["activity".into(), "sync".into()],
    };
    let port = proto::LaggPortRow {
        interface: "tap0".into(),
        flags: vec!["master".into(), "active".into(), "distributing".into()],
        actor: Some(end),
        partner: None,
    };
    let lagg = proto::LaggRow { protocol: proto::LaggProtocol::Lacp, ports: vec![port] };
    let text = render(&[InterfaceRow { lagg: Some(lagg), ..row }]);
    let lines = "\tlaggproto lacp lagghash l2,l3,l4\n\
                 \tlaggport: tap0 flags=15<MASTER,ACTIVE,DISTRIBUTING>\n\
                 \t\tactor (8000,02:00:00:00:00:01,0064,8000,0001) <ACTIVITY,SYNC>\n";
    assert!(text.contains(lines), "{text}");
}

#[test]
fn a_port_chooses_its_speed_by_itself() {
    assert_eq!(parse_line("media autoselect up"), Ok(vec![Step::Up(true)]));
    let error = parse_line("media 100baseTX").expect_err("it can't be told");
    assert!(error.contains("autoselect"), "{error}");
}
