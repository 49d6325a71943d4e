//! Frames as hosts and routers send them, and such as are broken.

use types::MacAddr;
use zerocopy::IntoBytes as _;

use super::*;
use crate::ethernet;

const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 4);
const HOST6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 7);

fn framed(kind: EtherType, packet: &[&[u8]]) -> Vec<u8> {
    let header = ethernet::Header::new(MacAddr::BROADCAST, MacAddr([2; 6]), kind);
    [header.as_bytes(), &packet.concat()].concat()
}

fn packet4(from: Ipv4Addr, to: Ipv4Addr, protocol: ipv4::Protocol, payload: &[u8]) -> Vec<u8> {
    let header = ipv4::Header::new(from, to, protocol, payload.len()).unwrap().with_ttl(1);
    framed(EtherType::IPV4, &[header.with_checksum().as_bytes(), payload])
}

fn igmp(header: igmp::Header, body: &[u8]) -> Vec<u8> {
    let header = header.with_checksum(body);
    packet4(HOST, GROUP, ipv4::Protocol::IGMP, &[header.as_bytes(), body].concat())
}

fn packet6(to: Ipv6Addr, header: icmp6::Header, body: &[u8]) -> Vec<u8> {
    let header = header.with_checksum(HOST6, to, body);
    let payload = [&mld::ROUTER_ALERT, header.as_bytes(), body].concat();
    let ip = ipv6::Header::new(HOST6, to, ipv4::Protocol(HOP_BY_HOP), payload.len()).unwrap();
    framed(EtherType::IPV6, &[ip.with_hop_limit(1).as_bytes(), &payload])
}

/// Groups that a frame reports.
fn reported(frame: &[u8]) -> Vec<IpAddr> {
    let mut groups = Vec::new();
    match Snooped::parse(frame) {
        Ok(Snooped::Report(report)) => report.groups(|group| groups.push(group)),
        other => panic!("{other:?}"),
    }
    groups
}

#[test]
fn packets_to_groups_beyond_the_link_are_for_their_listeners() {
    let udp = ipv4::Protocol::UDP;
    let to = |to| packet4(HOST, to, udp, &[0; 8]);
    assert_eq!(Snooped::parse(&to(GROUP)), Ok(Snooped::Data(GROUP.into())));
    for everybodys in [Ipv4Addr::new(224, 0, 0, 251), Ipv4Addr::BROADCAST, HOST] {
        assert_eq!(Snooped::parse(&to(everybodys)), Ok(Snooped::Other), "{everybodys}");
    }
    let to = |to| {
        let header = ipv6::Header::new(HOST6, to, udp, 8).unwrap();
        framed(EtherType::IPV6, &[header.as_bytes(), &[0; 8]])
    };
    assert_eq!(Snooped::parse(&to(GROUP6)), Ok(Snooped::Data(GROUP6.into())));
    for of_the_link in [ipv6::solicited_node(HOST6), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)] {
        assert_eq!(Snooped::parse(&to(of_the_link)), Ok(Snooped::Other), "{of_the_link}");
    }
    assert_eq!(Snooped::parse(&framed(EtherType::ARP, &[&[0; 28]])), Ok(Snooped::Other));
    assert_eq!(Snooped::parse(&framed(EtherType::IPV4, &[&[0; 28]])), Ok(Snooped::Other));
}

#[test]
fn who_listens_is_read_from_all_versions() {
    assert_eq!(reported(&igmp(igmp::Header::listening(GROUP), &[])), [IpAddr::from(GROUP)]);
    assert!(reported(&igmp(igmp::Header::left(GROUP), &[])).is_empty());
    use mld::RecordType::*;
    let record = |kind, group, sources| igmp::Record::new(kind, group, sources);
    let records = [
        record(ChangeToExclude, GROUP, 0).as_bytes(),
        record(BlockOldSources, OTHER, 1).as_bytes(),
        &[10, 0, 0, 9],
        record(ChangeToInclude, OTHER, 0).as_bytes(),
        record(AllowNewSources, OTHER, 1).as_bytes(),
        &[10, 0, 0, 9],
    ]
    .concat();
    let frame = igmp(igmp::Header::report(4), &records);
    assert_eq!(reported(&frame), [IpAddr::from(GROUP), OTHER.into()]);
    let record = mld::Record::new(ModeIsExclude, GROUP6, 0);
    let frame = packet6(mld::REPORT_GROUP, mld::report(1), record.as_bytes());
    assert_eq!(reported(&frame), [IpAddr::from(GROUP6)]);
    let of_the_link = igmp::Header::listening(Ipv4Addr::new(224, 0, 0, 251));
    assert!(reported(&igmp(of_the_link, &[])).is_empty(), "nobody keeps it from anybody");
    let older = icmp6::Header::new(Type::MLD_REPORT, icmp6::Code::ZERO, 0);
    assert_eq!(reported(&packet6(GROUP6, older, &GROUP6.octets())), [IpAddr::from(GROUP6)]);
    let done = icmp6::Header::new(Type::MLD_DONE, icmp6::Code::ZERO, 0);
    assert!(reported(&packet6(GROUP6, done, &GROUP6.octets())).is_empty());
}

/// A question of IGMP version 2.
fn query(group: Ipv4Addr) -> igmp::Header {
    let mut header = igmp::Header::listening(group);
    (header.kind, header.max_response) = (QUERY, 10);
    header.with_checksum(&[])
}

#[test]
fn a_question_goes_one_hop_to_everybody_or_to_the_group_that_it_is_about() {
    let nobody = Ipv4Addr::UNSPECIFIED;
    let send = |to, group, ttl| {
        let query = query(group);
        let ip = ipv4::Header::new(HOST, to, ipv4::Protocol::IGMP, 8).unwrap().with_ttl(ttl);
        let packet = [ip.with_checksum().as_bytes(), query.as_bytes()].concat();
        Snooped::parse(&framed(EtherType::IPV4, &[&packet])).map(|_| ())
    };
    for (to, group) in [(igmp::ALL_SYSTEMS, nobody), (GROUP, GROUP), (igmp::ALL_SYSTEMS, GROUP)] {
        assert_eq!(send(to, group, 1), Ok(()), "{to} about {group}");
        assert_eq!(send(to, group, 2), Err(DropReason::IgmpFormat), "from beyond the link");
    }
    for (to, group) in [(GROUP, nobody), (OTHER, GROUP), (HOST, GROUP), (nobody, nobody)] {
        assert_eq!(send(to, group, 1), Err(DropReason::IgmpFormat), "{to} about {group}");
    }
    let send = |to, group: Ipv6Addr| {
        let header = icmp6::Header::new(Type::MLD_QUERY, icmp6::Code::ZERO, 1000 << 16);
        Snooped::parse(&packet6(to, header, &group.octets())).map(|_| ())
    };
    let (nobody, other) = (Ipv6Addr::UNSPECIFIED, Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 8));
    for (to, group) in [(ipv6::ALL_NODES, nobody), (GROUP6, GROUP6), (ipv6::ALL_NODES, GROUP6)] {
        assert_eq!(send(to, group), Ok(()), "{to} about {group}");
    }
    for (to, group) in [(GROUP6, nobody), (other, GROUP6), (HOST6, GROUP6), (HOST6, nobody)] {
        assert_eq!(send(to, group), Err(DropReason::MldFormat), "{to} about {group}");
    }
}

#[test]
fn who_asks_need_have_no_address() {
    let from = |from, group| {
        packet4(from, igmp::ALL_SYSTEMS, ipv4::Protocol::IGMP, query(group).as_bytes())
    };
    let asked = |group: Option<IpAddr>, inet6| {
        let max_response = Duration::from_secs(1);
        Ok(Snooped::Query(Query { inet6, group, max_response }))
    };
    let nobody = Ipv4Addr::UNSPECIFIED;
    assert_eq!(Snooped::parse(&from(HOST, nobody)), asked(None, false));
    assert_eq!(Snooped::parse(&from(nobody, nobody)), asked(None, false));
    assert_eq!(Snooped::parse(&from(HOST, GROUP)), asked(Some(GROUP.into()), false));
    let header = icmp6::Header::new(Type::MLD_QUERY, icmp6::Code::ZERO, 1000 << 16);
    let frame = packet6(ipv6::ALL_NODES, header, &[0; 16]);
    assert_eq!(Snooped::parse(&frame), asked(None, true));
}

#[test]
fn what_is_broken_says_nothing() {
    let records = |count: u16| {
        let record = igmp::Record::new(mld::RecordType::ModeIsExclude, GROUP, count);
        igmp(igmp::Header::report(1), record.as_bytes())
    };
    let wrong = Err(DropReason::IgmpFormat);
    assert_eq!(Snooped::parse(&records(1)), wrong, "no source is there");
    let mut frame = records(0);
    assert!(Snooped::parse(&frame).is_ok());
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(Snooped::parse(&frame), wrong, "checksum");
    assert_eq!(Snooped::parse(&igmp(igmp::Header::report(2), &[0; 8])), wrong);
    assert_eq!(Snooped::parse(&igmp(igmp::Header::listening(HOST), &[])), wrong, "no group");
    let frame = packet6(mld::REPORT_GROUP, mld::report(2), &[4; 24]);
    assert_eq!(Snooped::parse(&frame), Err(DropReason::MldFormat));
    let older = icmp6::Header::new(Type::MLD_REPORT, icmp6::Code::ZERO, 0);
    assert_eq!(
        Snooped::parse(&packet6(GROUP6, older, &HOST6.octets())),
        Err(DropReason::MldFormat)
    );
}
