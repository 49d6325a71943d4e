//! Two systems and the links between them, in a world of its own time.

use core::time::Duration;

use super::*;
use wire::U16;
use wire::lacp::{Info, state};

const HERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const THIRD: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

/// `ends[0]`'s port `n` leads to `ends[1]`'s port `n`, unless the link is cut or silent.
struct World {
    now: Instant,
    ends: [Aggregate; 2],
    silent: Vec<u16>,
    /// The second end asks the first one to speak every 30 seconds.
    slow: bool,
    said: usize,
}

fn config(number: u16, up: bool) -> PortConfig {
    PortConfig { number, speed_mbps: 1000, up }
}

impl World {
    fn new(ports: u16) -> Self {
        let ends = [HERE, THERE].map(|mac| Aggregate::new(Protocol::Lacp, mac));
        let now = Instant::from_millis(1000);
        let mut world = Self { now, ends, silent: Vec::new(), slow: false, said: 0 };
        (1..=ports).for_each(|port| world.plug(port, true));
        world
    }

    fn plug(&mut self, port: u16, up: bool) {
        for end in &mut self.ends {
            end.set_port(port, config(port, up), self.now);
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        loop {
            let from = |end: &mut Aggregate| core::iter::from_fn(|| end.poll_transmit()).collect();
            let mut out: [Vec<(u16, Lacpdu)>; 2] = self.ends.each_mut().map(from);
            if self.slow {
                out[1].iter_mut().for_each(|(_, pdu)| pdu.actor.state &= !state::TIMEOUT);
            }
            if out.iter().all(Vec::is_empty) {
                break;
            }
            self.said += out.iter().map(Vec::len).sum::<usize>();
            for (messages, end) in out.iter().rev().zip(&mut self.ends) {
                let heard = messages.iter().filter(|(port, _)| !self.silent.contains(port));
                heard.for_each(|(port, pdu)| end.lacpdu_arrives(*port, pdu, self.now));
            }
        }
    }

    /// Lets time pass.
    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.ends.iter().filter_map(Aggregate::next_timeout).min() {
            if due > end {
                break;
            }
            assert!(due >= self.now, "time goes back");
            // Who is asked too early is asked again.
            self.now = due.max(self.now + Duration::from_millis(1));
            for end in &mut self.ends {
                end.timeout(self.now);
            }
            self.deliver();
            assert!(self.said < 10_000, "they talk without end");
        }
        self.now = self.now.max(end);
    }

    fn sends(&self, end: usize) -> Vec<u16> {
        let aggregate = &self.ends[end];
        aggregate.port_names().into_iter().filter(|port| aggregate.distributes(*port)).collect()
    }

    fn takes(&self, end: usize) -> Vec<u16> {
        let aggregate = &self.ends[end];
        aggregate.port_names().into_iter().filter(|port| aggregate.collects(*port)).collect()
    }
}

#[test]
fn links_to_one_system_are_used_together_after_the_wait() {
    let mut world = World::new(2);
    world.pass(1900);
    assert_eq!(world.sends(0), []);
    world.pass(300);
    for end in 0..2 {
        assert_eq!((world.takes(end), world.sends(end)), (vec![1, 2], vec![1, 2]), "{end}");
    }
}

#[test]
fn nobody_sends_before_the_other_takes() {
    let mut world = World::new(1);
    for _ in 0..4000 {
        world.pass(1);
        for (end, other) in [(0, 1), (1, 0)] {
            assert!(world.sends(end).iter().all(|port| world.takes(other).contains(port)));
        }
    }
    assert_eq!(world.sends(0), [1]);
}

#[test]
fn a_link_that_breaks_is_left_at_once_and_used_again() {
    let mut world = World::new(2);
    world.pass(3000);
    world.plug(1, false);
    assert_eq!((world.sends(0), world.sends(1)), (vec![2], vec![2]));
    world.plug(1, true);
    world.pass(2500);
    assert_eq!(world.sends(0), [1, 2]);
}

#[test]
fn a_link_that_falls_silent_is_left_after_three_seconds() {
    let mut world = World::new(2);
    world.pass(5000);
    world.silent.push(1);
    world.pass(1900);
    assert_eq!(world.sends(0), [1, 2]);
    world.pass(1200);
    assert_eq!((world.sends(0), world.takes(0)), (vec![2], vec![2]));
    let row = world.ends[0].row(1).unwrap();
    assert!(row.actor.is(state::EXPIRED), "{row:?}");
    world.pass(3100);
    assert!(world.ends[0].row(1).unwrap().actor.is(state::DEFAULTED));
    world.silent.clear();
    world.pass(4000);
    assert_eq!(world.sends(0), [1, 2]);
}

#[test]
fn who_wanted_to_hear_little_and_falls_silent_is_spoken_to_each_second() {
    let mut world = World::new(1);
    world.slow = true;
    world.pass(5000);
    world.silent.push(1);
    world.pass(10_000);
    let before = world.said;
    world.pass(10_000);
    assert!(world.said - before >= 18, "{}", world.said - before);
}

#[test]
fn who_does_not_speak_lacp_gets_nothing() {
    let mut world = World::new(1);
    world.silent.push(1);
    world.pass(20_000);
    assert_eq!((world.sends(0), world.takes(0)), (vec![], vec![]));
}

#[test]
fn messages_are_one_a_second_when_nothing_happens_and_three_at_most() {
    let mut world = World::new(1);
    world.pass(10_000);
    let before = world.said;
    world.pass(10_000);
    assert!((19..=21).contains(&(world.said - before)), "{}", world.said - before);
    // One who contradicts each time is answered three times a second.
    let mut here = Aggregate::new(Protocol::Lacp, HERE);
    here.set_port(1, config(1, true), world.now);
    let mut said = 0;
    for count in 0..1000_u16 {
        let stranger = Lacpdu { actor: other(THERE, count), partner: Info::NONE };
        here.lacpdu_arrives(1, &stranger, world.now + Duration::from_millis(count.into()));
        said += core::iter::from_fn(|| here.poll_transmit()).count();
    }
    assert!(said <= 4, "{said}");
}

/// What a port of a system says that knows us and is ready.
fn other(system: MacAddr, port: u16) -> Info {
    Info {
        system_priority: U16::new(0x8000),
        system: system.0,
        key: U16::new(7),
        port_priority: U16::new(0x8000),
        port: U16::new(port),
        state: state::ACTIVITY
            | state::TIMEOUT
            | state::AGGREGATION
            | state::SYNCHRONIZATION
            | state::COLLECTING
            | state::DISTRIBUTING,
    }
}

/// One system here, with what others say put into its mouth.
fn told(ends: &[(u16, Info)]) -> Vec<u16> {
    let mut here = Aggregate::new(Protocol::Lacp, HERE);
    let start = Instant::from_millis(1000);
    for tenth in 0..60 {
        let now = start + Duration::from_millis(tenth * 100);
        for (port, actor) in ends {
            if tenth == 0 {
                here.set_port(*port, config(*port, true), now);
            }
            let partner = here.row(*port).unwrap().actor;
            here.lacpdu_arrives(*port, &Lacpdu { actor: *actor, partner }, now);
        }
        here.timeout(now);
        let _ = core::iter::from_fn(|| here.poll_transmit()).count();
    }
    here.port_names().into_iter().filter(|port| here.distributes(*port)).collect()
}

#[test]
fn links_to_different_systems_or_of_different_keys_are_not_mixed() {
    let [a, b, c] = [other(THERE, 1), other(THIRD, 2), other(THERE, 3)];
    assert_eq!(told(&[(1, a), (2, b), (3, c)]), [1, 3], "the larger group");
    let d = Info { key: U16::new(8), ..c };
    assert_eq!(told(&[(1, a), (3, d)]), [1], "the first of equals");
}

#[test]
fn a_link_to_ourselves_is_not_used() {
    assert_eq!(told(&[(1, other(HERE, 2)), (2, other(HERE, 1))]), []);
}

#[test]
fn who_does_not_aggregate_has_one_link() {
    let single = |port| {
        let info = other(THERE, port);
        Info { state: info.state & !state::AGGREGATION, ..info }
    };
    assert_eq!(told(&[(1, single(1)), (2, single(2))]), [1]);
}

#[test]
fn one_that_takes_us_for_another_is_not_sent_to() {
    let mut here = Aggregate::new(Protocol::Lacp, HERE);
    let mut now = Instant::from_millis(1000);
    here.set_port(1, config(1, true), now);
    for _ in 0..40 {
        now += Duration::from_millis(100);
        here.lacpdu_arrives(1, &Lacpdu { actor: other(THERE, 1), partner: other(THIRD, 9) }, now);
        here.timeout(now);
    }
    assert_eq!(here.row(1).unwrap().mux, Mux::Attached);
}

#[test]
fn a_neighbour_that_changes_is_waited_for_anew() {
    let mut world = World::new(1);
    world.pass(3000);
    assert_eq!(world.sends(0), [1]);
    let partner = world.ends[0].row(1).unwrap().actor;
    let pdu = Lacpdu { actor: other(THIRD, 5), partner };
    world.ends[0].lacpdu_arrives(1, &pdu, world.now);
    assert_eq!(world.ends[0].row(1).unwrap().mux, Mux::Waiting);
}

#[test]
fn without_lacp_the_operator_decides() {
    let now = Instant::from_millis(1);
    let using = |protocol, down: u16| {
        let mut here = Aggregate::new(protocol, HERE);
        // The first by number is not the first by name.
        for (name, number) in [(4, 3), (7, 1), (9, 2)] {
            here.set_port(name, config(number, number != down), now);
        }
        assert!(here.poll_transmit().is_none() && here.next_timeout().is_none());
        let names = here.port_names();
        names.into_iter().filter(|port| here.distributes(*port)).collect::<Vec<_>>()
    };
    assert_eq!(using(Protocol::LoadBalance, 0), [4, 7, 9]);
    assert_eq!(using(Protocol::LoadBalance, 2), [4, 7]);
    assert_eq!(using(Protocol::Failover, 0), [7]);
    assert_eq!(using(Protocol::Failover, 1), [9]);
}
