//! Bridges in simulated worlds: links with a delay, a clock, and no frame that can go round.

use std::collections::{BTreeSet, HashMap};

use super::*;
use types::MacAddr;

/// Time a message takes over a link.
const DELAY: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// One end of a link: a bridge and a port of it.
type End = (usize, u16);

struct World {
    now: Instant,
    trees: Vec<Tree>,
    links: HashMap<End, End>,
    down: BTreeSet<End>,
    waiting: Vec<(Instant, End, Bpdu)>,
    flushed: Vec<End>,
    /// Messages sent.
    sent: usize,
}

impl World {
    fn new(count: u8, config: TreeConfig) -> Self {
        let mac = |number| MacAddr([2, 0, 0, 0, 0, number]);
        let trees = (1..=count).map(|number| Tree::new(mac(number), config)).collect();
        Self {
            now: Instant::from_millis(1),
            trees,
            links: HashMap::new(),
            down: BTreeSet::new(),
            waiting: Vec::new(),
            flushed: Vec::new(),
            sent: 0,
        }
    }

    fn config(number: u16, up: bool) -> PortConfig {
        PortConfig { number: u8::try_from(number).unwrap(), priority: 128, cost: 20_000, up }
    }

    fn link(&mut self, a: End, b: End) {
        for (end, other) in [(a, b), (b, a)] {
            self.trees[end.0].set_port(end.1, Self::config(end.1, true), self.now);
            let _ = self.links.insert(end, other);
        }
        self.collect();
    }

    /// A link breaks, or comes back; both ends see it, or nobody does.
    fn set_link(&mut self, a: End, up: bool, seen: bool) {
        for end in [a, self.links[&a]] {
            if up {
                let _ = self.down.remove(&end);
            } else {
                let _ = self.down.insert(end);
            }
            if seen {
                self.trees[end.0].set_port(end.1, Self::config(end.1, up), self.now);
            }
        }
        self.collect();
    }

    /// Takes messages from bridges to their links.
    fn collect(&mut self) {
        for (bridge, tree) in self.trees.iter_mut().enumerate() {
            while let Some((port, bpdu)) = tree.poll_transmit() {
                self.sent += 1;
                let end = (bridge, port);
                if let Some(to) = self.links.get(&end).filter(|_| !self.down.contains(&end)) {
                    self.waiting.push((self.now + DELAY, *to, bpdu));
                }
            }
            let flushes = tree.take_flushes(self.now).into_iter();
            self.flushed.extend(flushes.map(|port| (bridge, port)));
        }
        self.no_loop();
    }

    /// Runs for a while.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let message = self.waiting.iter().map(|(at, ..)| *at).min();
            let timer = self.trees.iter().filter_map(Tree::next_timeout).min();
            let Some(next) = message.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let due: Vec<_> = self.waiting.extract_if(.., |(at, ..)| *at <= self.now).collect();
            for (_, to, bpdu) in due {
                self.trees[to.0].bpdu_arrives(to.1, &bpdu, self.now);
                self.collect();
            }
            self.trees.iter_mut().for_each(|tree| tree.timeout(self.now));
            self.collect();
            assert!(self.sent < 100_000, "bridges talk without end");
        }
        self.now = end;
    }

    /// Until all that are connected are connected by the tree; how long that took.
    fn run_until_tree(&mut self, most: Duration) -> Duration {
        let began = self.now;
        while !self.is_tree() {
            assert!(self.now.since(began) < most, "no tree after {most:?}: {:?}", self.roles());
            self.run(Duration::from_millis(10));
        }
        self.now.since(began)
    }

    /// Links that frames pass over: both ends forward.
    fn open_links(&self) -> Vec<(usize, usize)> {
        let forwards = |end: &End| self.trees[end.0].state(end.1) == Some(State::Forwarding);
        let open = self
            .links
            .iter()
            .filter(|(a, b)| a < b && !self.down.contains(a) && forwards(a) && forwards(b));
        open.map(|(a, b)| (a.0, b.0)).collect()
    }

    /// A frame can't come back to where it was, at no moment.
    fn no_loop(&self) {
        let mut group: Vec<usize> = (0..self.trees.len()).collect();
        for (a, b) in self.open_links() {
            let (one, two) = (group[a], group[b]);
            assert_ne!(one, two, "a loop at {:?}: {:?}", self.now, self.roles());
            group.iter_mut().filter(|g| **g == two).for_each(|g| *g = one);
        }
    }

    fn is_tree(&self) -> bool {
        self.components(self.open_links()) == self.components(self.wired())
    }

    fn wired(&self) -> Vec<(usize, usize)> {
        let there = self.links.iter().filter(|(a, b)| a < b && !self.down.contains(a));
        there.map(|(a, b)| (a.0, b.0)).collect()
    }

    fn components(&self, links: Vec<(usize, usize)>) -> usize {
        let mut group: Vec<usize> = (0..self.trees.len()).collect();
        for (a, b) in links {
            let (one, two) = (group[a], group[b]);
            group.iter_mut().filter(|g| **g == two).for_each(|g| *g = one);
        }
        group.into_iter().collect::<BTreeSet<_>>().len()
    }

    fn roles(&self) -> Vec<(usize, u16, PortRow)> {
        let ports = |(bridge, tree): (usize, &Tree)| {
            let names = tree.port_names().into_iter();
            names.map(|port| (bridge, port, tree.row(port).unwrap())).collect::<Vec<_>>()
        };
        self.trees.iter().enumerate().flat_map(ports).collect()
    }

    fn role(&self, end: End) -> Role {
        self.trees[end.0].row(end.1).unwrap().role
    }
}

/// Bridges 0, 1, 2 in a ring; port 1 leads onward, port 2 back.
fn ring(count: usize, config: TreeConfig) -> World {
    let mut world = World::new(u8::try_from(count).unwrap(), config);
    for bridge in 0..count {
        world.link((bridge, 1), ((bridge + 1) % count, 2));
    }
    world
}

const OLDER: TreeConfig = TreeConfig {
    priority: 32768,
    max_age: Duration::from_secs(20),
    hello: Duration::from_secs(2),
    forward_delay: Duration::from_secs(15),
    rapid: false,
};

#[test]
fn a_ring_of_three_has_one_root_and_one_port_that_rests_within_a_second() {
    let mut world = ring(3, TreeConfig::default());
    let took = world.run_until_tree(SECOND);
    world.run(SECOND * 10);
    let roots: Vec<_> = world.trees.iter().map(|tree| tree.root().0).collect();
    assert!(roots.iter().all(|root| *root == world.trees[0].id()), "the lowest address");
    assert_eq!(world.role((0, 1)), Role::Designated);
    assert_eq!((world.role((1, 2)), world.role((2, 1))), (Role::Root, Role::Root));
    // Both ways cost bridge 2 and 1 the same; the higher name's end of the link between them rests.
    assert_eq!((world.role((1, 1)), world.role((2, 2))), (Role::Designated, Role::Alternate));
    assert!(took < SECOND, "{took:?}");
}

#[test]
fn a_broken_link_is_replaced_at_once_and_stations_are_forgotten() {
    let mut world = ring(3, TreeConfig::default());
    world.run(SECOND * 10);
    world.flushed.clear();
    world.set_link((2, 1), false, true);
    let took = world.run_until_tree(SECOND);
    assert!(took < Duration::from_millis(100), "{took:?}");
    world.run(Duration::from_millis(100));
    assert!(world.flushed.iter().any(|(bridge, _)| *bridge == 1), "{:?}", world.flushed);
    assert_eq!(world.role((2, 2)), Role::Root);
    // It comes back, and nothing goes round meanwhile.
    world.set_link((2, 1), true, true);
    world.run(SECOND * 10);
    assert!(world.is_tree());
}

#[test]
fn a_change_said_again_and_again_makes_a_port_forget_once_a_second_and_after_the_last() {
    let mut world = ring(3, TreeConfig::default());
    world.run(SECOND * 10);
    world.flushed.clear();
    let of = |world: &World, end| world.flushed.iter().filter(|flushed| **flushed == end).count();
    for _ in 0..250 {
        world.run(SECOND / 100);
        world.trees[0].bpdu_arrives(1, &Bpdu::TopologyChange, world.now);
        world.collect();
    }
    assert_eq!(of(&world, (0, 2)), 3);
    world.run(SECOND);
    assert_eq!(of(&world, (0, 2)), 4);
    world.run(SECOND * 10);
    assert_eq!(of(&world, (0, 2)), 4);
}

#[test]
fn a_link_that_dies_in_silence_is_replaced_after_three_hellos() {
    let config = TreeConfig { hello: SECOND, ..TreeConfig::default() };
    let mut world = ring(3, config);
    world.run(SECOND * 10);
    world.set_link((2, 1), false, false);
    let took = world.run_until_tree(SECOND * 5);
    assert!(took <= SECOND * 3 + Duration::from_millis(100), "{took:?}");
}

#[test]
fn the_older_protocol_takes_its_forward_delay_twice() {
    let mut world = ring(3, OLDER);
    let took = world.run_until_tree(SECOND * 60);
    assert!((SECOND * 29..SECOND * 40).contains(&took), "{took:?}");
    world.set_link((2, 1), false, true);
    let took = world.run_until_tree(SECOND * 60);
    assert!(took >= SECOND * 29, "{took:?}");
}

#[test]
fn bridges_of_both_kinds_make_one_tree() {
    let mut world = ring(4, TreeConfig::default());
    let mac = MacAddr([2, 0, 0, 0, 0, 2]);
    world.trees[1].set(mac, OLDER, world.now);
    world.collect();
    let _ = world.run_until_tree(SECOND * 60);
    world.run(SECOND * 60);
    assert!(world.is_tree());
    assert!(!world.trees[0].row(1).unwrap().rapid, "it speaks as it is spoken to");
    assert!(world.trees[0].row(2).unwrap().rapid);
}

#[test]
fn two_links_between_two_bridges_leave_one_and_a_port_to_ones_own_link_is_a_backup() {
    let mut world = World::new(2, TreeConfig::default());
    world.link((0, 1), (1, 1));
    world.link((0, 2), (1, 2));
    world.run(SECOND * 10);
    assert!(world.is_tree());
    assert_eq!((world.role((1, 1)), world.role((1, 2))), (Role::Root, Role::Alternate));
    let mut alone = World::new(1, TreeConfig::default());
    alone.link((0, 1), (0, 2));
    alone.run(SECOND * 40);
    assert_eq!((alone.role((0, 1)), alone.role((0, 2))), (Role::Designated, Role::Backup));
}

#[test]
fn a_lower_priority_makes_the_root_and_a_higher_cost_another_way() {
    let mut world = ring(3, TreeConfig::default());
    world.run(SECOND * 10);
    let mac = MacAddr([2, 0, 0, 0, 0, 3]);
    let config = TreeConfig { priority: 4096, ..TreeConfig::default() };
    world.trees[2].set(mac, config, world.now);
    world.collect();
    world.run(SECOND * 10);
    assert!(world.trees.iter().all(|tree| tree.root().0 == world.trees[2].id()));
    assert!(world.is_tree());
    assert_eq!(world.role((1, 1)), Role::Root);
    let dear = PortConfig { cost: 100_000, ..World::config(1, true) };
    world.trees[1].set_port(1, dear, world.now);
    world.collect();
    world.run(SECOND * 10);
    assert_eq!(world.role((1, 2)), Role::Root);
    assert!(world.is_tree());
}

#[test]
fn a_port_with_stations_only_forwards_after_three_seconds() {
    let mut tree = Tree::new(MacAddr([2, 0, 0, 0, 0, 1]), TreeConfig::default());
    let start = Instant::from_millis(1);
    tree.set_port(7, World::config(1, true), start);
    let mut now = start;
    while tree.state(7) != Some(State::Forwarding) {
        now = tree.next_timeout().unwrap();
        tree.timeout(now);
        while tree.poll_transmit().is_some() {}
    }
    assert_eq!(now.since(start), crate::limits::EDGE_DELAY);
    assert!(tree.row(7).unwrap().edge && tree.changes() == 0, "no bridge is told of a station");
}

/// Worlds of all shapes, with links that break and come back: no frame ever goes round, and in the end all
/// are connected.
#[test]
fn no_world_has_a_loop_at_any_moment() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..60 {
        let count = 2 + random(5);
        let mut world = World::new(u8::try_from(count).unwrap(), TreeConfig::default());
        let mut next = vec![1_u16; count];
        for number in 0..count + random(count + 2) {
            let a = if number + 1 < count { number + 1 } else { random(count) };
            let b = if number + 1 < count { random(number + 1) } else { random(count) };
            if a != b {
                let ends = ((a, next[a]), (b, next[b]));
                next[a] += 1;
                next[b] += 1;
                world.link(ends.0, ends.1);
            }
        }
        let mut ends: Vec<End> = world.links.keys().copied().collect();
        ends.sort_unstable();
        let mut silent = BTreeSet::new();
        for _ in 0..8 {
            let end = ends[random(ends.len())];
            let (up, seen) = (world.down.contains(&end), random(3) > 0);
            // Where a link is silent for long enough, an end of it takes itself for the edge: one that comes
            // back without being seen to do so has a loop until the first message.
            if up && silent.contains(&end) {
                continue;
            }
            if !up && !seen {
                silent.extend([end, world.links[&end]]);
            }
            world.set_link(end, up, seen || up);
            world.run(Duration::from_millis(u64::try_from(random(4000)).unwrap()));
        }
        world.run(SECOND * 90);
        assert!(world.is_tree(), "{:?}", world.roles());
    }
}
