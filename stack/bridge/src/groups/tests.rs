//! What listeners, routers and time do to the table.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;

const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 3));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 1, 2, 4));
const GROUP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 7));

fn at(seconds: u64) -> Instant {
    Instant::from_millis(1_000_000 + seconds * 1000)
}

fn general(inet6: bool) -> Asked {
    Asked { inet6, group: None, max_response: Duration::from_secs(10) }
}

/// A router behind port 9 has asked, and all have answered.
fn asked() -> Groups {
    let mut groups = Groups::new(Secret([1, 2]));
    groups.query(&general(false), Some(9), at(0));
    groups
}

fn ports(groups: &Groups, address: IpAddr, now: Instant) -> Option<Vec<u16>> {
    let listeners = groups.listeners(address, now)?;
    Some((0..20).filter(|port| listeners.has(*port)).collect())
}

#[test]
fn a_group_is_for_its_listeners_and_the_routers_and_an_unknown_one_for_all() {
    let mut groups = asked();
    assert_eq!(groups.report(GROUP, 1, at(1)), Heard::News);
    assert_eq!(groups.report(GROUP, 3, at(1)), Heard::News);
    assert_eq!(groups.report(GROUP, 3, at(1)), Heard::Known);
    assert_eq!(ports(&groups, GROUP, at(20)), Some(vec![1, 3, 9]));
    assert_eq!(ports(&groups, OTHER, at(20)), None);
    let routers = groups.routers(at(20)).unwrap();
    assert!(routers.has(9) && !routers.has(1));
}

#[test]
fn nothing_is_kept_from_anybody_unless_somebody_asks_and_all_have_answered() {
    let mut groups = Groups::new(Secret([1, 2]));
    let _ = groups.report(GROUP, 1, at(0));
    assert_eq!(ports(&groups, GROUP, at(20)), None, "nobody asks");
    groups.query(&general(true), Some(9), at(20));
    assert_eq!(ports(&groups, GROUP, at(40)), None, "he asks about IPv6");
    groups.query(&general(false), Some(8), at(40));
    assert_eq!(ports(&groups, GROUP, at(49)), None, "not all have answered");
    assert_eq!(ports(&groups, GROUP, at(50)), Some(vec![1, 8, 9]), "both are told");
    let _ = groups.report(GROUP6, 2, at(51));
    assert_eq!(ports(&groups, GROUP6, at(51)), Some(vec![2, 8, 9]));
    assert_eq!(ports(&groups, GROUP, at(296)), None, "nobody asks any more");
}

#[test]
fn a_listener_that_is_silent_is_forgotten() {
    let mut groups = asked();
    let _ = groups.report(GROUP, 1, at(1));
    groups.query(&general(false), Some(9), at(125));
    let _ = groups.report(GROUP, 2, at(126));
    groups.query(&general(false), Some(9), at(250));
    assert_eq!(ports(&groups, GROUP, at(260)), Some(vec![1, 2, 9]));
    assert_eq!(ports(&groups, GROUP, at(262)), Some(vec![2, 9]));
    assert_eq!(groups.report(GROUP, 2, at(263)), Heard::News, "after a while others hear again");
    assert_eq!(ports(&groups, GROUP, at(500)), Some(vec![2, 9]));
}

#[test]
fn whoever_does_not_answer_when_his_group_is_asked_about_has_left() {
    let mut groups = asked();
    let _ = groups.report(GROUP, 1, at(20));
    let _ = groups.report(GROUP, 2, at(20));
    let one = Duration::from_secs(1);
    let asked = Asked { group: Some(GROUP), max_response: one, ..general(false) };
    groups.query(&asked, Some(9), at(30));
    assert_eq!(groups.report(GROUP, 2, at(31)), Heard::News);
    assert_eq!(ports(&groups, GROUP, at(31)), Some(vec![1, 2, 9]));
    assert_eq!(ports(&groups, GROUP, at(32)), Some(vec![2, 9]));
}

#[test]
fn who_has_answered_before_word_of_the_question_comes_stays() {
    let mut groups = asked();
    let _ = groups.report(GROUP, 1, at(20));
    let _ = groups.report(GROUP, 2, at(31));
    let asked =
        Asked { group: Some(GROUP), max_response: Duration::from_secs(1), ..general(false) };
    groups.query(&asked, Some(9), at(30));
    assert_eq!(ports(&groups, GROUP, at(32)), Some(vec![2, 9]));
    assert_eq!(ports(&groups, GROUP, at(200)), Some(vec![2, 9]));
}

#[test]
fn a_question_about_one_group_keeps_none_from_anybody() {
    let mut groups = Groups::new(Secret([1, 2]));
    let asked = Asked { group: Some(OTHER), ..general(false) };
    groups.query(&asked, Some(9), at(0));
    let _ = groups.report(GROUP, 1, at(1));
    let _ = groups.report(OTHER, 1, at(1));
    assert_eq!(ports(&groups, GROUP, at(20)), None, "nobody was asked about it");
    assert_eq!(ports(&groups, OTHER, at(20)), None);
    groups.query(&general(false), Some(9), at(20));
    groups.query(&asked, Some(9), at(200));
    assert_eq!(ports(&groups, GROUP, at(30)), Some(vec![1, 9]));
    assert_eq!(ports(&groups, GROUP, at(275)), None, "nor does it go on for all");
}

#[test]
fn groups_are_as_many_as_may_be_and_those_past_their_time_make_room() {
    let mut groups = asked();
    let group = |number: u32| IpAddr::V4(Ipv4Addr::from_bits(0xef00_0000 + number));
    let most = u32::try_from(GROUPS_MAX).unwrap();
    for number in 0..most {
        assert_eq!(groups.report(group(number), 1, at(10)), Heard::News);
    }
    assert_eq!(groups.report(group(most), 1, at(10)), Heard::Refused);
    assert_eq!(ports(&groups, group(most), at(20)), None, "for everybody");
    assert_eq!(groups.report(group(7), 2, at(100)), Heard::News, "another port of a known one");
    assert_eq!(groups.report(group(most), 1, at(300)), Heard::News);
    assert_eq!(groups.rows(at(300)).filter(|row| row.group.is_some()).count(), 2);
}

#[test]
fn a_port_that_goes_takes_its_own_with_it() {
    let mut groups = asked();
    for (group, port) in [(GROUP, 1), (GROUP, 2), (OTHER, 1)] {
        let _ = groups.report(group, port, at(20));
    }
    groups.flush_port(1);
    assert_eq!(ports(&groups, GROUP, at(20)), Some(vec![2, 9]));
    assert_eq!(ports(&groups, OTHER, at(20)), None);
    groups.flush_port(9);
    assert!(groups.routers(at(20)).is_none());
    groups.flush();
    assert_eq!(groups.rows(at(20)).count(), 0);
}
