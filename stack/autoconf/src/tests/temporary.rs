//! Temporary addresses, in virtual time.

use super::*;
use crate::Temporary;

const DAYS: Temporary =
    Temporary { preferred: Duration::from_secs(DAY), valid: Duration::from_secs(2 * DAY) };
const MONTH: u32 = 2_592_000;

/// A link, its time, and numbers that differ.
struct Private {
    link: Link,
    now: Instant,
    last: u64,
}

impl Private {
    fn new(temporary: Option<Temporary>) -> Self {
        let mut link = link(1, true);
        link.set(Settings { temporary, ..link.settings });
        Self { link, now: Instant::from_nanos(1), last: 0x9e37_79b9_7f4a_7c15 }
    }

    /// A router advertises a prefix now.
    fn told(&mut self, valid: u32, preferred: u32) {
        let said = prefix("2001:db8:1::", valid, preferred);
        router(&mut self.link, ROUTER, (1800, 0), &said, self.now);
    }

    /// Lets time pass, and looks at each step.
    fn pass(&mut self, until: Instant, mut each: impl FnMut(&Link, Instant)) {
        let Self { link, now, last } = self;
        let mut random = || {
            *last = last.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            *last
        };
        while let Some(due) = link.next_timeout().filter(|due| *due <= until) {
            *now = due.max(*now);
            link.timeout(*now, &mut random);
            each(link, *now);
        }
        *now = until;
    }
}

fn temporary(link: &Link) -> Vec<(Ipv6Addr, State)> {
    let made = link.addresses().filter(|own| own.origin == Origin::Temporary);
    made.map(|own| (own.address, own.state)).collect()
}

#[test]
fn beside_a_stable_address_is_one_that_is_replaced_before_it_is_past_its_use() {
    let mut link = Private::new(Some(DAYS));
    link.told(MONTH, MONTH);
    link.pass(at(5), |_, _| {});
    let [(first, State::Preferred)] = temporary(&link.link)[..] else { panic!("{:?}", link.link) };
    let [stable] = advertised(&link.link)[..] else { panic!("{:?}", link.link) };
    assert_eq!(first.to_bits() >> 64, stable.to_bits() >> 64);
    assert_ne!(first, stable);
    let mut seen = Vec::new();
    link.pass(at(10 * DAY), |link, now| {
        let all = temporary(link);
        assert!(all.len() <= 4, "at {now:?}: {all:?}");
        assert!(all.iter().any(|(_, state)| *state == State::Preferred), "at {now:?}: {all:?}");
        for (address, _) in all {
            if !seen.contains(&address) {
                seen.push(address);
            }
        }
    });
    assert!((11..=18).contains(&seen.len()), "{} addresses in 10 days", seen.len());
    assert!(!temporary(&link.link).iter().any(|(address, _)| *address == first), "it is gone");
    assert_eq!(state(&link.link, stable), Some(State::Preferred));
}

#[test]
fn a_router_makes_their_lives_shorter_and_never_longer() {
    let mut short = Private::new(Some(DAYS));
    short.told(100, 50);
    short.pass(at(49), |_, _| {});
    assert!(matches!(temporary(&short.link)[..], [(_, State::Preferred)]), "{:?}", short.link);
    short.pass(at(60), |_, _| {});
    assert!(
        matches!(temporary(&short.link)[..], [(_, State::Deprecated)]),
        "and no other: {:?}",
        short.link
    );
    short.pass(at(101), |_, _| {});
    assert_eq!(temporary(&short.link), []);
    let mut link = Private::new(Some(DAYS));
    let mut first = None;
    for hour in 0..49 {
        link.told(MONTH, MONTH);
        link.pass(at((hour + 1) * 3600), |_, _| {});
        first = first.or_else(|| temporary(&link.link).first().copied());
    }
    let (first, _) = first.expect("one at least");
    assert_eq!(state(&link.link, first), None, "after two days");
}

#[test]
fn those_that_others_have_are_replaced_some_times() {
    let mut link = Private::new(Some(DAYS));
    link.told(MONTH, MONTH);
    let mut refused = Vec::new();
    for second in 0..60 {
        let tentative = temporary(&link.link).into_iter().find(|(_, s)| *s == State::Tentative);
        if let Some((address, _)) = tentative {
            let body = [&address.octets()[..], &[2, 1, 2, 0, 0, 0, 0, 9]].concat();
            hear(&mut link.link, address, 136, 1 << 29, &body, at(second));
            refused.push(address);
        }
        link.pass(at(second) + Duration::from_millis(100), |_, _| {});
    }
    assert_eq!((refused.len(), temporary(&link.link)), (3, vec![]), "{refused:?}");
    assert_eq!(advertised(&link.link).len(), 1);
    assert!(!link.link.take_news().iter().any(|news| matches!(news, News::Duplicate(..))));
}

#[test]
fn there_are_none_where_nobody_wants_them_or_there_is_no_time() {
    let mut plain = Private::new(None);
    plain.told(MONTH, MONTH);
    plain.pass(at(DAY), |_, _| {});
    assert_eq!(temporary(&plain.link), []);
    let mut link = Private::new(Some(DAYS));
    link.told(100, 5);
    link.pass(at(99), |link, _| assert_eq!(temporary(link), []));
    let second = Duration::from_secs(1);
    let mut hasty = Private::new(Some(Temporary { preferred: second, valid: second }));
    hasty.told(MONTH, MONTH);
    hasty.pass(at(99), |link, _| assert_eq!(temporary(link), []));
}

#[test]
fn they_go_with_the_link() {
    let mut link = Private::new(Some(DAYS));
    link.told(MONTH, MONTH);
    link.pass(at(5), |_, _| {});
    assert_eq!(temporary(&link.link).len(), 1);
    link.link.set_up(false);
    assert_eq!(temporary(&link.link), []);
}
