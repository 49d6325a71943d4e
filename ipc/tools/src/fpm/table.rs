//! What zebra has said so far, and what of it the stack has not heard yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::netlink::{Group, Hop, Message, Onward, Prefix};

/// Groups may name groups, but not without end.
const DEPTH_MAX: usize = 4;
/// Stations of one route; a route of the stack's has at most 16.
const HOPS_MAX: usize = 64;

/// A route as the stack is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// By these gateways.
    Gateways(Vec<IpAddr>),
    /// Nowhere, in silence.
    Blackhole,
    /// Nowhere, and senders are told.
    Reject,
}

/// All routes, and the changes since the stack was told last.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Each with the session that it was heard in.
    routes: BTreeMap<Prefix, (Onward, u32)>,
    groups: HashMap<u32, Group>,
    changed: BTreeSet<Prefix>,
    /// What the stack may have.
    told: BTreeSet<Prefix>,
    session: u32,
}

impl Table {
    /// zebra has connected, and says all that it knows.
    pub(super) fn begin_session(&mut self) {
        self.session = self.session.wrapping_add(1);
        self.groups.clear();
    }

    /// Takes in a message.
    pub(super) fn apply(&mut self, message: Message) {
        match message {
            Message::Route(to, onward) => {
                let _before = self.routes.insert(to, (onward, self.session));
                let _ = self.changed.insert(to);
            }
            Message::Gone(to) => {
                let _before = self.routes.remove(&to);
                let _ = self.changed.insert(to);
            }
            Message::Hops(number, group) => {
                let changed = self.groups.get(&number).is_none_or(|before| *before != group);
                let _before = self.groups.insert(number, group);
                if changed {
                    let by = |onward: &Onward| self.names(onward, number, 0);
                    let moved: Vec<Prefix> =
                        self.routes.iter().filter(|(_, (o, _))| by(o)).map(|(to, _)| *to).collect();
                    self.changed.extend(moved);
                }
            }
            Message::HopsGone(number) => {
                let _before = self.groups.remove(&number);
            }
        }
    }

    /// What zebra has not said again in this session goes.
    pub(super) fn forget_older(&mut self) {
        let session = self.session;
        self.routes.retain(|_, (_, heard)| *heard == session);
    }

    /// zebra has been away too long.
    pub(super) fn forget_all(&mut self) {
        self.routes.clear();
    }

    /// Nobody knows what the stack has heard of: it hears everything once more.
    pub(super) fn tell_again(&mut self) {
        self.changed.extend(self.routes.keys());
        self.changed.extend(&self.told);
    }

    /// There is something that the stack has not heard.
    pub(super) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What the stack has not heard: `None` for a route that it has and that is gone, until it
    /// [has forgotten](Self::forgotten) it. A route without a gateway, a network of a link of the kernel's, is none
    /// of ours.
    pub(super) fn take_changes(&mut self) -> Vec<(Prefix, Option<Leads>)> {
        let mut news = Vec::new();
        for to in core::mem::take(&mut self.changed) {
            let leads = self.leads(to);
            let known = self.told.contains(&to);
            if leads.is_some() {
                let _new = self.told.insert(to);
            }
            if leads.is_some() || known {
                news.push((to, leads));
            }
        }
        news
    }

    /// The stack no longer has these.
    pub(super) fn forgotten(&mut self, gone: &[Prefix]) {
        for to in gone {
            let _was = self.told.remove(to);
        }
    }

    /// All that the stack is to have, and nothing else.
    pub(super) fn take_all(&mut self) -> Vec<(Prefix, Leads)> {
        self.changed.clear();
        let all: Vec<_> =
            self.routes.keys().filter_map(|to| Some((*to, self.leads(*to)?))).collect();
        self.told = all.iter().map(|(to, _)| *to).collect();
        all
    }

    fn leads(&self, to: Prefix) -> Option<Leads> {
        let hops = match &self.routes.get(&to)?.0 {
            Onward::Blackhole => return Some(Leads::Blackhole),
            Onward::Reject => return Some(Leads::Reject),
            Onward::Hops(hops) => hops.clone(),
            Onward::Named(number) => {
                if self.groups.get(number) == Some(&Group::Blackhole) {
                    return Some(Leads::Blackhole);
                }
                self.members(*number, 0)
            }
        };
        // A link-local gateway says nothing without its link, which the stack numbers otherwise.
        let gateways = hops.iter().filter_map(|hop| hop.gateway).filter(|g| !is_link_local(*g));
        let gateways: Vec<IpAddr> = gateways.filter(|g| g.is_ipv4() == to.0.is_ipv4()).collect();
        (!gateways.is_empty()).then_some(Leads::Gateways(gateways))
    }

    fn members(&self, number: u32, depth: usize) -> Vec<Hop> {
        match self.groups.get(&number) {
            Some(Group::One(hop)) => vec![*hop],
            Some(Group::Several(numbers)) if depth < DEPTH_MAX => {
                let members = numbers.iter().take(HOPS_MAX);
                members.flat_map(|number| self.members(*number, depth + 1)).take(HOPS_MAX).collect()
            }
            _ => Vec::new(),
        }
    }

    fn names(&self, onward: &Onward, wanted: u32, depth: usize) -> bool {
        let Onward::Named(number) = onward else { return false };
        if *number == wanted {
            return true;
        }
        match self.groups.get(number) {
            Some(Group::Several(numbers)) if depth < DEPTH_MAX => numbers
                .iter()
                .take(HOPS_MAX)
                .any(|n| self.names(&Onward::Named(*n), wanted, depth + 1)),
            _ => false,
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 77, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 77, 9));

    fn to(second: u8) -> Prefix {
        ([10, second, 0, 0].into(), 16)
    }

    fn hop(gateway: IpAddr) -> Hop {
        Hop { gateway: Some(gateway), link: Some(3) }
    }

    fn by(gateways: &[IpAddr]) -> Option<Leads> {
        Some(Leads::Gateways(gateways.to_vec()))
    }

    fn with(messages: impl IntoIterator<Item = Message>) -> Table {
        let mut table = Table::default();
        table.begin_session();
        messages.into_iter().for_each(|message| table.apply(message));
        table
    }

    fn straight(second: u8, gateway: IpAddr) -> Message {
        Message::Route(to(second), Onward::Hops(vec![hop(gateway)]))
    }

    #[test]
    fn changes_are_told_once() {
        let mut table = with([straight(1, A), straight(2, A), Message::Gone(to(2))]);
        assert_eq!(table.take_changes(), [(to(1), by(&[A]))], "one was never told");
        assert_eq!(table.take_changes(), []);
        table.apply(Message::Gone(to(1)));
        table.apply(Message::Gone(to(1)));
        assert_eq!(table.take_changes(), [(to(1), None)]);
        table.forgotten(&[to(1)]);
        table.apply(Message::Gone(to(1)));
        assert!(table.has_changes());
        assert_eq!(table.take_changes(), []);
        assert!(!table.has_changes());
    }

    #[test]
    fn everything_can_be_told_once_more() {
        let mut table = with([straight(1, A), straight(2, A)]);
        let _told = table.take_changes();
        table.apply(Message::Gone(to(2)));
        for _ in 0..2 {
            table.tell_again();
            assert_eq!(table.take_changes(), [(to(1), by(&[A])), (to(2), None)]);
        }
        table.forgotten(&[to(2)]);
        table.tell_again();
        assert_eq!(table.take_changes(), [(to(1), by(&[A]))]);
    }

    #[test]
    fn a_network_of_a_link_is_none_of_ours() {
        let link = Hop { gateway: None, link: Some(3) };
        let mut table = with([Message::Route(to(1), Onward::Hops(vec![link]))]);
        assert_eq!(table.take_changes(), []);
        assert!(table.take_all().is_empty());
    }

    #[test]
    fn a_group_that_changes_takes_its_routes_with_it() {
        let mut table = with([
            Message::Hops(1, Group::One(hop(A))),
            Message::Hops(2, Group::One(hop(B))),
            Message::Hops(3, Group::Several(vec![1, 2])),
            Message::Route(to(1), Onward::Named(3)),
            Message::Route(to(2), Onward::Named(2)),
        ]);
        assert_eq!(table.take_changes(), [(to(1), by(&[A, B])), (to(2), by(&[B]))]);
        table.apply(Message::Hops(3, Group::Several(vec![2])));
        assert_eq!(table.take_changes(), [(to(1), by(&[B]))]);
        table.apply(Message::Hops(2, Group::Blackhole));
        assert_eq!(table.take_changes(), [(to(1), None), (to(2), Some(Leads::Blackhole))]);
    }

    #[test]
    fn groups_that_name_each_other_end() {
        let mut table = with([
            Message::Hops(1, Group::Several(vec![2])),
            Message::Hops(2, Group::Several(vec![1])),
            Message::Route(to(1), Onward::Named(1)),
        ]);
        assert_eq!(table.take_changes(), []);
    }

    #[test]
    fn what_a_new_session_does_not_bring_again_goes() {
        let mut table = with([straight(1, A), straight(2, A)]);
        table.begin_session();
        table.apply(straight(2, B));
        assert_eq!(table.take_all().len(), 2, "it may still come");
        table.forget_older();
        assert_eq!(table.take_all(), [(to(2), Leads::Gateways(vec![B]))]);
        table.forget_all();
        assert!(table.take_all().is_empty());
    }
}
