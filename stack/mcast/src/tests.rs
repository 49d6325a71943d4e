//! Filters as algebra, and what a link hears of them, in virtual time.

use core::net::IpAddr;
use core::time::Duration;

use types::Instant;

use crate::limits::{OLDER_ROUTER, RECORDS_MAX};
use crate::{Filter, Host, Mode, Query, Record, RecordKind, Report};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn group() -> IpAddr {
    ip("239.1.2.3")
}

fn filter(mode: Mode, sources: &[&str]) -> Filter {
    Filter { mode, sources: sources.iter().map(|source| ip(source)).collect() }
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// Lets time pass, and returns what was sent.
fn run(host: &mut Host, until: Instant) -> Vec<Report> {
    let mut sent = Vec::new();
    while let Some(due) = host.next_timeout().filter(|due| *due <= until) {
        host.timeout(due, &mut || 300_000_000);
        sent.extend(core::iter::from_fn(|| host.poll_transmit()));
    }
    sent
}

fn told(kind: RecordKind, sources: &[&str]) -> Record {
    let sources = sources.iter().map(|source| ip(source)).collect();
    Record { kind, group: group(), sources }
}

fn record(kind: RecordKind, sources: &[&str]) -> Report {
    Report::Records(vec![told(kind, sources)])
}

fn query(group: Option<IpAddr>, sources: &[&str], is_older: bool) -> Query {
    let sources = sources.iter().map(|source| ip(source)).collect();
    Query { group, sources, max_response: Duration::from_secs(10), is_older }
}

#[test]
fn filters_of_sockets_make_the_hosts() {
    use Mode::{Exclude, Include};
    // RFC 3376 3.2's own example.
    let all = [
        filter(Exclude, &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]),
        filter(Exclude, &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]),
        filter(Include, &["10.0.0.4", "10.0.0.5", "10.0.0.6"]),
    ];
    assert_eq!(Filter::merge(&all.iter()), filter(Exclude, &["10.0.0.2", "10.0.0.3"]));
    let include = [filter(Include, &["10.0.0.2"]), filter(Include, &["10.0.0.1", "10.0.0.2"])];
    assert_eq!(Filter::merge(&include.iter()), filter(Include, &["10.0.0.1", "10.0.0.2"]));
    assert!(Filter::merge(&[].iter()).is_nothing());
}

#[test]
fn a_filter_takes_what_it_says() {
    let mut some = filter(Mode::Include, &["10.0.0.1"]);
    assert!(some.takes(ip("10.0.0.1")) && !some.takes(ip("10.0.0.2")));
    assert!(some.insert(ip("10.0.0.2")) && !some.insert(ip("10.0.0.2")));
    assert!(some.remove(ip("10.0.0.1")) && !some.remove(ip("10.0.0.1")));
    assert!(!some.takes(ip("10.0.0.1")) && Filter::any().takes(ip("10.0.0.1")));
}

#[test]
fn joining_and_leaving_are_told_twice() {
    let mut host = Host::default();
    host.set(group(), Filter::any());
    let join = record(RecordKind::ToExclude, &[]);
    assert_eq!(run(&mut host, at(0)), core::slice::from_ref(&join));
    assert_eq!(run(&mut host, at(5000)), [join]);
    host.set(group(), Filter::nothing());
    let leave = record(RecordKind::ToInclude, &[]);
    assert_eq!(run(&mut host, at(9000)), [leave.clone(), leave]);
    assert_eq!(host.groups().count(), 0);
}

#[test]
fn changes_of_sources_are_told_as_such() {
    let mut host = Host::default();
    host.set(group(), Filter::only(ip("10.0.0.1")));
    let allow = record(RecordKind::Allow, &["10.0.0.1"]);
    assert_eq!(run(&mut host, at(1000)), [allow.clone(), allow]);
    host.set(group(), Filter::only(ip("10.0.0.2")));
    let both = Report::Records(vec![
        told(RecordKind::Allow, &["10.0.0.2"]),
        told(RecordKind::Block, &["10.0.0.1"]),
    ]);
    assert_eq!(run(&mut host, at(2000)), [both.clone(), both]);
    host.set(group(), Filter::nothing());
    let block = record(RecordKind::Block, &["10.0.0.2"]);
    assert_eq!(run(&mut host, at(3000)), [block.clone(), block]);
}

#[test]
fn a_further_change_of_sources_joins_one_that_is_being_told() {
    let mut host = Host::default();
    host.set(group(), Filter::only(ip("10.0.0.1")));
    assert_eq!(run(&mut host, at(0)), [record(RecordKind::Allow, &["10.0.0.1"])]);
    host.set(group(), filter(Mode::Include, &["10.0.0.1", "10.0.0.2"]));
    let second = record(RecordKind::Allow, &["10.0.0.1", "10.0.0.2"]);
    assert_eq!(run(&mut host, at(0)), [second], "the first has been told once only");
    assert_eq!(run(&mut host, at(5000)), [record(RecordKind::Allow, &["10.0.0.2"])]);
}

#[test]
fn what_is_taken_back_while_it_is_being_told_is_told_to_be_so() {
    let mut host = Host::default();
    host.set(group(), Filter::only(ip("10.0.0.1")));
    let _ = run(&mut host, at(0));
    host.set(group(), Filter::nothing());
    let block = record(RecordKind::Block, &["10.0.0.1"]);
    assert_eq!(run(&mut host, at(5000)), [block.clone(), block]);
    assert_eq!((host.groups().count(), host.next_timeout()), (0, None));
}

#[test]
fn a_mode_is_told_twice_whatever_happens_to_sources() {
    let mut host = Host::default();
    host.set(group(), Filter::any());
    assert_eq!(run(&mut host, at(0)), [record(RecordKind::ToExclude, &[])]);
    host.set(group(), filter(Mode::Exclude, &["10.0.0.9"]));
    let sent = run(&mut host, at(5000));
    let mode = record(RecordKind::ToExclude, &["10.0.0.9"]);
    assert_eq!(sent, [mode, record(RecordKind::Block, &["10.0.0.9"])]);
}

#[test]
fn only_sources_that_are_not_wanted_are_cut() {
    let sources: Vec<IpAddr> = (1..=23).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    let counts = |host: &mut Host, mode, until| {
        host.set(group(), Filter { mode, sources: sources.clone() });
        let Some(Report::Records(all)) = run(host, until).pop() else { panic!("nothing") };
        all.iter().map(|record| (record.kind, record.sources.len())).collect::<Vec<_>>()
    };
    let mut host = Host::default();
    let three = |kind| [(kind, 10), (kind, 10), (kind, 3)];
    assert_eq!(counts(&mut host, Mode::Include, at(0)), three(RecordKind::Allow));
    assert_eq!(counts(&mut host, Mode::Exclude, at(5000)), [(RecordKind::ToExclude, 10)]);
    assert_eq!(counts(&mut host, Mode::Include, at(9000)), three(RecordKind::ToInclude));
}

#[test]
fn a_query_is_answered_at_a_random_time_with_all_groups() {
    let mut host = Host::default();
    for n in 0..8 {
        host.set(ip(&format!("239.0.0.{n}")), Filter::any());
    }
    let _ = run(&mut host, at(5000));
    host.query(&query(None, &[], false), at(5000), 2_000_000_000);
    assert_eq!(run(&mut host, at(6999)), []);
    let sent = run(&mut host, at(7000));
    let count = |report: &Report| match report {
        Report::Records(records) => records.len(),
        _ => 0,
    };
    let counts: Vec<_> = sent.iter().map(count).collect();
    assert_eq!(counts, [RECORDS_MAX, 2], "in as many reports as needed");
}

#[test]
fn a_query_about_a_group_is_answered_with_it_and_about_sources_with_those_wanted() {
    let mut host = Host::default();
    host.set(group(), filter(Mode::Include, &["10.0.0.1", "10.0.0.2"]));
    host.set(ip("239.9.9.9"), Filter::any());
    let _ = run(&mut host, at(5000));
    host.query(&query(Some(group()), &[], false), at(5000), 0);
    let both = ["10.0.0.1", "10.0.0.2"];
    assert_eq!(run(&mut host, at(6000)), [record(RecordKind::IsInclude, &both)]);
    host.query(&query(Some(group()), &["10.0.0.2", "10.0.0.7"], false), at(6000), 0);
    assert_eq!(run(&mut host, at(7000)), [record(RecordKind::IsInclude, &["10.0.0.2"])]);
    host.query(&query(Some(group()), &["10.0.0.7"], false), at(7000), 0);
    assert_eq!(run(&mut host, at(8000)), []);
    host.query(&query(Some(ip("239.8.8.8")), &[], false), at(8000), 0);
    assert_eq!(run(&mut host, at(9000)), [], "nobody listens to it");
}

#[test]
fn beside_an_older_router_its_language_is_spoken_for_a_while() {
    let mut host = Host::default();
    host.set(group(), Filter::any());
    let _ = run(&mut host, at(5000));
    host.query(&query(None, &[], true), at(5000), 0);
    assert_eq!(run(&mut host, at(5000)), [Report::Listening(group())]);
    host.set(group(), Filter::nothing());
    assert_eq!(run(&mut host, at(9000)), [Report::Left(group())]);
    let later = at(5000) + OLDER_ROUTER;
    assert!(host.is_older(at(9000)) && !host.is_older(later));
}

#[test]
fn groups_of_everybody_are_not_told() {
    let mut host = Host::default();
    for all in ["224.0.0.1", "ff02::1", "ff01::5"] {
        host.set(ip(all), Filter::any());
    }
    assert_eq!((host.groups().count(), run(&mut host, at(5000))), (3, vec![]));
    host.query(&query(None, &[], false), at(5000), 0);
    assert_eq!(run(&mut host, at(6000)), []);
}

#[test]
fn what_is_wanted_is_told_again_where_others_are_to_hear_it() {
    let mut host = Host::default();
    host.set(group(), Filter::any());
    let joined = run(&mut host, at(10_000));
    host.tell_again();
    assert_eq!(run(&mut host, at(20_000)), joined);
    host.set(group(), Filter::nothing());
    let _ = run(&mut host, at(30_000));
    host.set(ip("224.0.0.1"), Filter::any());
    host.tell_again();
    assert_eq!(run(&mut host, at(40_000)), [], "nobody is told of this one");
}
