//! What the snapshots are made of, kept from one to the next: only what a change touches is made anew.

use std::collections::HashMap;

use crate::address::Address;
use crate::net::Net;
use crate::snapshot::{Fib, GROUP_BITS, Group, PIECE_BITS, Piece, STEP};
use crate::trie::{self, Entry, Hop};
use crate::way::Way;

/// Next hops that may have gone out of use before those that are in use get numbers anew, beside as many
/// as are: what is made anew then pays for itself.
const HOPS_SPARE: usize = 1024;

/// A route as snapshots need it.
pub(crate) type Leading<A> = (Net<A>, Way<A>);

/// What the routes say. Only those that are in use count.
pub(crate) trait Routes<A: Address> {
    /// The best route to an address whose prefix is no longer than this.
    fn best_up_to(&self, len: u8, address: A) -> Option<Way<A>>;
    /// The routes within a prefix that are longer than it, by address and then by length.
    fn within(&self, net: Net<A>, into: &mut Vec<Leading<A>>);
}

/// Groups of pieces of the address space, and which of them are out of date.
#[derive(Clone, Debug)]
pub(crate) struct Pieces<A: Address> {
    groups: Vec<Group>,
    /// Pieces all of which go to the same, by next hop.
    uniform: HashMap<Hop, Piece>,
    /// The last group of which that is true, and where it goes: mostly the next one goes there, too.
    uniform_group: (Hop, Group),
    stale: Vec<bool>,
    numbers: HashMap<Way<A>, Hop>,
    hops: Vec<Way<A>>,
    /// With so many hops they are counted anew.
    hops_max: usize,
    /// Some pieces have been made anew, and others have still to be.
    under_way: bool,
    /// They were all to be made anew since hops were counted.
    recount: bool,
}

impl<A: Address> Pieces<A> {
    pub(crate) fn new() -> Self {
        let nowhere: Group = vec![trie::uniform::<A>(0); STEP].into();
        Self {
            groups: vec![nowhere.clone(); STEP],
            uniform: HashMap::new(),
            uniform_group: (0, nowhere),
            stale: vec![true; STEP * STEP],
            numbers: HashMap::new(),
            hops: Vec::new(),
            hops_max: HOPS_SPARE,
            under_way: false,
            recount: false,
        }
    }

    /// Nothing, until the real ones come back.
    pub(crate) fn none() -> Self {
        Self {
            groups: Vec::new(),
            uniform: HashMap::new(),
            uniform_group: (0, Group::default()),
            stale: Vec::new(),
            numbers: HashMap::new(),
            hops: Vec::new(),
            hops_max: 0,
            under_way: false,
            recount: false,
        }
    }

    /// What is known of these destinations holds no longer.
    pub(crate) fn touch(&mut self, net: Net<A>) {
        let first = A::top(net.addr().bits(), PIECE_BITS);
        let last = A::top(net.last().bits(), PIECE_BITS);
        self.stale.iter_mut().take(last.saturating_add(1)).skip(first).for_each(|s| *s = true);
    }

    /// Nothing holds any longer.
    pub(crate) fn touch_all(&mut self) {
        self.stale.fill(true);
    }

    /// Makes anew what does not hold, group by group until there have been so many pieces. `true`: all
    /// holds.
    pub(crate) fn update(&mut self, routes: &impl Routes<A>, most: usize) -> bool {
        if !core::mem::replace(&mut self.under_way, true) {
            self.recount = self.hops.len() >= self.hops_max;
            if self.recount {
                self.numbers.clear();
                self.hops.clear();
                self.uniform.clear();
                self.touch_all();
            }
        }
        let mut done = 0_usize;
        for number in 0..STEP {
            let first = number.saturating_mul(STEP);
            let stale = self.stale.get_mut(first..first.saturating_add(STEP)).unwrap_or_default();
            let count = stale.iter().filter(|stale| **stale).count();
            if count == 0 {
                continue;
            }
            if done >= most {
                return false;
            }
            done = done.saturating_add(count);
            let mut which = [false; STEP];
            which.copy_from_slice(stale);
            stale.fill(false);
            let group = self.group(number, &which, routes);
            if let Some(place) = self.groups.get_mut(number) {
                *place = group;
            }
        }
        self.under_way = false;
        if core::mem::take(&mut self.recount) {
            self.hops_max = self.hops.len().saturating_mul(2).saturating_add(HOPS_SPARE);
        }
        true
    }

    /// A group, of which these pieces do not hold.
    fn group(&mut self, number: usize, stale: &[bool; STEP], routes: &impl Routes<A>) -> Group {
        let mut ways = Vec::new();
        if let Some(net) = A::piece(number, GROUP_BITS)
            && stale.iter().all(|stale| *stale)
        {
            routes.within(net, &mut ways);
            if ways.is_empty() {
                let hop = self.inherited(GROUP_BITS, net.addr(), routes);
                return self.uniform_group(hop);
            }
        }
        let mut pieces = self.groups.get(number).map(|group| group.to_vec()).unwrap_or_default();
        for (offset, (piece, _)) in
            pieces.iter_mut().zip(stale).enumerate().filter(|(_, (_, stale))| **stale)
        {
            let number = number.saturating_mul(STEP).saturating_add(offset);
            if let Some(net) = A::piece(number, PIECE_BITS) {
                *piece = self.piece(net, routes, &mut ways);
            }
        }
        pieces.into()
    }

    fn piece(&mut self, net: Net<A>, routes: &impl Routes<A>, ways: &mut Vec<Leading<A>>) -> Piece {
        let inherited = self.inherited(PIECE_BITS, net.addr(), routes);
        ways.clear();
        routes.within(net, ways);
        if ways.is_empty() {
            return self.uniform(inherited);
        }
        let entries: Vec<Entry<A>> =
            ways.drain(..).map(|(net, way)| (net, self.number(way))).collect();
        trie::build(&entries, PIECE_BITS, inherited)
    }

    /// A piece all of which goes to the same.
    fn uniform(&mut self, hop: Hop) -> Piece {
        self.uniform.entry(hop).or_insert_with(|| trie::uniform::<A>(hop)).clone()
    }

    /// The same for a group.
    fn uniform_group(&mut self, hop: Hop) -> Group {
        if self.uniform_group.0 != hop {
            self.uniform_group = (hop, vec![self.uniform(hop); STEP].into());
        }
        self.uniform_group.1.clone()
    }

    fn inherited(&mut self, len: u8, address: A, routes: &impl Routes<A>) -> Hop {
        routes.best_up_to(len, address).map_or(0, |hop| self.number(hop))
    }

    /// A snapshot.
    pub(crate) fn publish(&self) -> Fib<A> {
        Fib::new(&self.groups, &self.hops)
    }

    fn number(&mut self, way: Way<A>) -> Hop {
        if let Some(number) = self.numbers.get(&way) {
            return *number;
        }
        self.hops.push(way.clone());
        let number = u32::try_from(self.hops.len()).unwrap_or(u32::MAX);
        let _none = self.numbers.insert(way, number);
        number
    }
}
